//! PLAIN (RFC 4616): the name and the password in one message.

use zeroize::Zeroizing;

use super::{Authenticated, Failure, account};
use crate::wire::BareJid;

/// A name and a password, to be checked.
pub struct PlainMessage {
    account: BareJid,
    password: Zeroizing<String>,
}

impl PlainMessage {
    /// Reads `[authzid] NUL authcid NUL passwd`.
    ///
    /// # Errors
    /// When it isn't that, or asks to act as somebody else.
    pub fn parse(message: &[u8], host: &str) -> Result<PlainMessage, Failure> {
        let text = str::from_utf8(message).map_err(|_| Failure::MalformedRequest)?;
        let mut parts = text.split('\0');
        let (authzid, name, password) = match (parts.next(), parts.next(), parts.next()) {
            (Some(authzid), Some(name), Some(password)) if parts.next().is_none() => {
                (authzid, name, password)
            }
            _ => return Err(Failure::MalformedRequest),
        };
        if name.is_empty() || password.is_empty() {
            return Err(Failure::MalformedRequest);
        }
        let account = account(name, Some(authzid), host)?;
        Ok(PlainMessage {
            account,
            password: Zeroizing::new(password.to_owned()),
        })
    }

    /// Whose password it is said to be.
    pub fn account(&self) -> &BareJid {
        &self.account
    }

    /// The password.
    pub fn password(&self) -> &str {
        &self.password
    }

    /// The account is the client's, if whoever keeps the passwords says that this one is right.
    ///
    /// # Errors
    /// The refusal.
    pub fn checked(self, verdict: Result<(), Failure>) -> Result<Authenticated, Failure> {
        verdict.map(|()| Authenticated(self.account))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn rfc_4616_4_examples() {
        let plain = PlainMessage::parse(b"\0tim\0tanstaaftanstaaf", "example.com").unwrap();
        assert_eq!(plain.account().as_str(), "tim@example.com");
        assert_eq!(plain.password(), "tanstaaftanstaaf");
        let right = plain.checked(Ok(())).unwrap();
        assert_eq!(right.jid().as_str(), "tim@example.com");
        // Kurt may not act as Ursel.
        let seen = PlainMessage::parse(b"Ursel\0Kurt\0xipj3plmq", "example.com").map(|_| ());
        assert_eq!(seen, Err(Failure::InvalidAuthzid));
    }

    #[test]
    fn refusals() {
        for (message, failure) in [
            (&b""[..], Failure::MalformedRequest),
            (b"\0tim", Failure::MalformedRequest),
            (b"\0tim\0", Failure::MalformedRequest),
            (b"\0\0x", Failure::MalformedRequest),
            (b"\0tim\0x\0y", Failure::MalformedRequest),
            (b"\0tim\0\xff", Failure::MalformedRequest),
            (b"\0t m\0x", Failure::NotAuthorized),
            (b"tim@example.net\0tim\0x", Failure::InvalidAuthzid),
        ] {
            let seen = PlainMessage::parse(message, "example.com").map(|_| ());
            assert_eq!(seen, Err(failure), "{message:?}");
        }
        assert!(PlainMessage::parse(b"tim@Example.com\0tim\0x", "example.com").is_ok());
        let plain = PlainMessage::parse(b"\0tim\0x", "example.com").unwrap();
        assert_eq!(
            plain.checked(Err(Failure::NotAuthorized)),
            Err(Failure::NotAuthorized)
        );
    }
}
