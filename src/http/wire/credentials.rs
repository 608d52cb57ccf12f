//! The Basic scheme (RFC 7617).

use base64::{Engine as _, engine::general_purpose::STANDARD};

/// A user name and password, as sent.
#[derive(PartialEq, Eq)]
pub struct Basic {
    /// Everything before the first colon.
    pub user: String,
    /// Everything after it.
    pub password: String,
}

impl std::fmt::Debug for Basic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Basic")
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

impl Basic {
    /// Parses an Authorization field. `None` for another scheme or what is not UTF-8 (the
    /// challenge says `charset="UTF-8"`).
    #[must_use]
    pub fn parse(value: &[u8]) -> Option<Self> {
        let (scheme, rest) = value.split_at_checked(6)?;
        if !scheme.eq_ignore_ascii_case(b"basic ") {
            return None;
        }
        let decoded = STANDARD.decode(rest.trim_ascii()).ok()?;
        let text = String::from_utf8(decoded).ok()?;
        let (user, password) = text.split_once(':')?;
        // RFC 7617 section 2: neither may hold control characters.
        if text.chars().any(char::is_control) {
            return None;
        }
        Some(Self {
            user: user.to_owned(),
            password: password.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_examples_of_rfc_7617() {
        let parsed =
            |value: &str| Basic::parse(value.as_bytes()).map(|basic| (basic.user, basic.password));
        let expected = |user: &str, password: &str| Some((user.to_owned(), password.to_owned()));
        assert_eq!(
            parsed("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="),
            expected("Aladdin", "open sesame")
        );
        assert_eq!(
            parsed("basic dGVzdDoxMjPCow=="),
            expected("test", "123\u{a3}")
        );
        assert_eq!(parsed("Basic YTpiOmM="), expected("a", "b:c"));
        for value in [
            "",
            "Basic",
            "Basic !",
            "Bearer abc",
            "Basic YWJj",
            "Basic YTpiAA==",
        ] {
            assert_eq!(parsed(value), None, "{value}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_break_it(value in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = Basic::parse(&value);
            let mut basic = b"Basic ".to_vec();
            basic.extend(value);
            let _ = Basic::parse(&basic);
        }
    }
}
