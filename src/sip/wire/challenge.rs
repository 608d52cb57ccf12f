//! WWW-Authenticate and Proxy-Authenticate (RFC 3261 22, RFC 8760): what a client is asked.

use super::{Malformed, auth::digest_parameters, lex};

/// A `Digest` challenge. Quoted values have their escapes undone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Challenge {
    /// The realm that a password is asked for.
    pub realm: Vec<u8>,
    /// What is to be hashed with it.
    pub nonce: Vec<u8>,
    /// The algorithm's name; empty where none is written, which means MD5.
    pub algorithm: Vec<u8>,
    /// What is to be returned as it is.
    pub opaque: Option<Vec<u8>>,
    /// Whether `auth` is among the protections offered.
    pub auth: bool,
    /// Whether none is: the forerunner, RFC 2069.
    pub plain: bool,
}

impl Challenge {
    /// Parses one header's value; `None` where the scheme is not Digest.
    ///
    /// # Errors
    /// Where it is Digest, but malformed or without realm or nonce.
    pub fn parse(value: &[u8]) -> Result<Option<Self>, Malformed> {
        let bad = || Malformed("challenge");
        let mut challenge = Self {
            plain: true,
            ..Self::default()
        };
        let mut realm = None;
        let is_digest = digest_parameters(value, "challenge", |name, plain, _| {
            let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
            if is("realm") {
                realm = Some(plain);
            } else if is("nonce") {
                challenge.nonce = plain;
            } else if is("algorithm") {
                challenge.algorithm = plain;
            } else if is("opaque") {
                challenge.opaque = Some(plain);
            } else if is("qop") {
                challenge.plain = false;
                let mut offered = plain.split(|byte| *byte == b',');
                challenge.auth = offered.any(|one| lex::trim(one).eq_ignore_ascii_case(b"auth"));
            }
            Ok(())
        })?;
        if !is_digest {
            return Ok(None);
        }
        challenge.realm = realm.ok_or_else(bad)?;
        // They go back inside quotes, in a header of ours.
        let clean = |text: &[u8]| !text.iter().any(u8::is_ascii_control);
        let opaque = challenge.opaque.as_deref().unwrap_or_default();
        if challenge.nonce.is_empty()
            || ![&challenge.realm, &challenge.nonce, opaque]
                .into_iter()
                .all(clean)
        {
            return Err(bad());
        }
        Ok(Some(challenge))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges_are_read() -> Result<(), Malformed> {
        let read = |text: &str| Challenge::parse(text.as_bytes());
        let challenge = read(
            "Digest realm=\"a \\\"b\\\", c\", qop=\"auth-int, auth\" , nonce=\"n\",algorithm=MD5, \
             opaque=\"\", stale=FALSE, domain=\"sip:x\"",
        )?
        .unwrap_or_default();
        assert_eq!(challenge.realm, b"a \"b\", c");
        assert_eq!(challenge.nonce, b"n");
        assert_eq!(challenge.algorithm, b"MD5");
        assert_eq!(challenge.opaque.as_deref(), Some(&b""[..]));
        assert!(challenge.auth && !challenge.plain);
        let old = read("Digest realm=\"\", nonce=\"n\"")?.unwrap_or_default();
        assert!(!old.auth && old.plain);
        assert_eq!(read("Bearer x=y")?, None);
        for text in [
            "",
            "Digest",
            "Digest realm=\"a\"",
            "Digest nonce=\"a\"",
            "Digest realm=\"a",
            "Digest =,",
        ] {
            assert!(read(text).is_err(), "{text}");
        }
        Ok(())
    }
}
