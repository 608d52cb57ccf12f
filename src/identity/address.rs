//! `alice@example.org`, in its one normal form.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

/// Bytes of a user part or a domain, normalised (RFC 7622 3 allows 1023; a domain name has 253).
const USER_LIMIT: usize = 255;
const DOMAIN_LIMIT: usize = 253;

/// An account's address, valid and normalised by construction: two addresses are the same account
/// when they are equal.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Address {
    text: Box<str>,
    at: usize,
}

/// Why a text is not an address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not an address: {reason}")]
pub struct AddressError {
    text: String,
    reason: &'static str,
}

impl Address {
    /// From a user part and a domain, normalising both.
    pub fn new(user: &str, domain: &str) -> Result<Self, AddressError> {
        let refuse = |reason| AddressError {
            text: shorten(&format!("{user}@{domain}")),
            reason,
        };
        let user = normal_user(user).map_err(refuse)?;
        let domain = normal_domain(domain).map_err(refuse)?;
        Ok(Self {
            text: format!("{user}@{domain}").into(),
            at: user.len(),
        })
    }

    /// From `alice@example.org`, or from `alice` and the domain of the place where it was said.
    pub fn parse_in(text: &str, domain: &str) -> Result<Self, AddressError> {
        match text.rsplit_once('@') {
            Some((user, domain)) => Self::new(user, domain),
            None => Self::new(text, domain),
        }
    }

    /// The part before the `@`.
    pub fn user(&self) -> &str {
        self.text.get(..self.at).unwrap_or_default()
    }

    /// The part after the `@`.
    pub fn domain(&self) -> &str {
        self.text.get(self.at + 1..).unwrap_or_default()
    }

    /// Both, with the `@`.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let (user, domain) = text.rsplit_once('@').ok_or_else(|| AddressError {
            text: shorten(text),
            reason: "it has no @",
        })?;
        Self::new(user, domain)
    }
}

impl serde::Serialize for Address {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> serde::Deserialize<'de> for Address {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// RFC 8265 3.3, UsernameCaseMapped: width and case mapped, then NFC; ours goes the older way of
/// RFC 3491 and RFC 3920 A (nodeprep: NFKC and a fixed repertoire), which every deployed client
/// agrees with, and so refuses characters younger than that repertoire. The characters that RFC
/// 7622 3.3.1 keeps out of a JID are kept out everywhere, since an account is one in all protocols.
fn normal_user(user: &str) -> Result<Cow<'_, str>, &'static str> {
    let normal = if user.is_ascii() {
        if user.bytes().any(|b| b.is_ascii_uppercase()) {
            Cow::Owned(user.to_ascii_lowercase())
        } else {
            Cow::Borrowed(user)
        }
    } else {
        stringprep::nodeprep(user).map_err(|_| "the user part has characters that names may not")?
    };
    if normal.is_empty() {
        return Err("the user part is empty");
    }
    if normal.len() > USER_LIMIT {
        return Err("the user part is too long");
    }
    if normal
        .chars()
        .any(|c| c <= ' ' || c == '\u{7f}' || "\"&'/:<>@".contains(c))
    {
        return Err("the user part has characters that names may not");
    }
    Ok(normal)
}

fn normal_domain(domain: &str) -> Result<Cow<'_, str>, &'static str> {
    const WRONG: &str = "the domain is not a domain name";
    let domain = domain.strip_suffix('.').unwrap_or(domain);
    // The config, DNS, SIP and certificates write A-labels, and XMPP U-labels: the former are kept.
    let normal = if !domain.is_ascii() {
        if domain.len() > 4 * DOMAIN_LIMIT {
            return Err(WRONG);
        }
        Cow::Owned(idna::domain_to_ascii(domain).map_err(|_| WRONG)?)
    } else if domain.bytes().any(|b| b.is_ascii_uppercase()) {
        Cow::Owned(domain.to_ascii_lowercase())
    } else {
        Cow::Borrowed(domain)
    };
    if normal.is_empty() || normal.len() > DOMAIN_LIMIT {
        return Err(WRONG);
    }
    let label_is_wrong = |label: &str| {
        label.is_empty()
            || label.len() > 63
            || label.starts_with('-')
            || label.ends_with('-')
            || !label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    if normal.split('.').any(label_is_wrong) {
        return Err(WRONG);
    }
    Ok(normal)
}

/// What a peer sent is quoted in messages, but not at any length.
fn shorten(text: &str) -> String {
    text.chars().take(80).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(text: &str, expected: Option<&str>) {
        let parsed = text.parse::<Address>().ok();
        assert_eq!(parsed.as_ref().map(Address::as_str), expected, "{text:?}");
    }

    #[test]
    fn normal_forms() {
        check("alice@example.org", Some("alice@example.org"));
        check("Alice@Example.ORG.", Some("alice@example.org"));
        check("101@pbx", Some("101@pbx"));
        check("a.b+c_d~e!f@x.y", Some("a.b+c_d~e!f@x.y"));
        // Sharp s folds, full width folds, decomposed composes (RFC 3491).
        check("Stra\u{df}e@example.org", Some("strasse@example.org"));
        check("\u{ff21}lice@example.org", Some("alice@example.org"));
        check(
            "Rene\u{301}@ex\u{e4}mple.org",
            Some("ren\u{e9}@xn--exmple-cua.org"),
        );
        for wrong in [
            "alice",
            "@example.org",
            "alice@",
            "al ice@x",
            "a\"b@x",
            "a/b@x",
            "a:b@x",
            "a<b@x",
            "a&b@x",
            "a'b@x",
            "a@b@c",
            "a\0b@x",
            "a\u{7f}b@x",
            "a@-x",
            "a@x-",
            "a@x..y",
            "a@x y",
            "a@x/y",
            "a\u{200e}\u{5d0}b@x",
            "\u{e000}@x",
        ] {
            check(wrong, None);
        }
        check(
            &format!("{}@x", "a".repeat(255)),
            Some(&format!("{}@x", "a".repeat(255))),
        );
        check(&format!("{}@x", "a".repeat(256)), None);
        check(&format!("a@{}", "b".repeat(64)), None);
    }

    proptest! {
        #[test]
        fn never_panics_and_is_stable(text in "\\PC{0,40}@\\PC{0,40}") {
            if let Ok(address) = text.parse::<Address>() {
                prop_assert_eq!(&address.to_string().parse::<Address>().unwrap(), &address);
                prop_assert_eq!(
                    &Address::new(address.user(), address.domain()).unwrap(), &address);
            }
        }
    }
}
