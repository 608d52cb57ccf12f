//! Authorization and Proxy-Authorization (RFC 3261 22, RFC 8760): what a client answers a challenge.

use super::{
    Malformed,
    lex::{self, find_outside},
};

/// A `Digest` answer. Quoted values have their escapes undone.
#[derive(Debug, Clone, Default)]
pub struct Credentials {
    /// Who it says it is.
    pub username: Vec<u8>,
    /// The realm it answers for.
    pub realm: Vec<u8>,
    /// The challenge it answers.
    pub nonce: Vec<u8>,
    /// The URI it was computed over.
    pub uri: Vec<u8>,
    /// The digest, in hexadecimal.
    pub response: Vec<u8>,
    /// The algorithm's name; empty where none is written, which means MD5.
    pub algorithm: Vec<u8>,
    /// `auth` or `auth-int`; empty where none is written.
    pub qop: Vec<u8>,
    /// The client's own nonce.
    pub cnonce: Vec<u8>,
    /// How often it has used the challenge, as written.
    pub nc: Vec<u8>,
}

impl Credentials {
    /// Parses one header's value; `None` where the scheme is not Digest.
    ///
    /// # Errors
    /// Where it is Digest, but malformed or lacks what every answer must have.
    pub fn parse(value: &[u8]) -> Result<Option<Self>, Malformed> {
        let bad = || Malformed("Authorization");
        let mut credentials = Self::default();
        let mut seen: u16 = 0;
        let is_digest = digest_parameters(value, "Authorization", |name, plain, quoted| {
            if plain.is_empty() && !quoted {
                return Err(bad());
            }
            if let Some((slot, bit)) = credentials.slot(name) {
                // Two answers to one question: which of them was meant is not for us to guess.
                if seen & bit != 0 {
                    return Err(bad());
                }
                seen |= bit;
                *slot = plain;
            }
            Ok(())
        })?;
        if !is_digest {
            return Ok(None);
        }
        let complete = [
            &credentials.username,
            &credentials.realm,
            &credentials.nonce,
            &credentials.uri,
            &credentials.response,
        ];
        if complete.iter().any(|field| field.is_empty()) {
            return Err(bad());
        }
        Ok(Some(credentials))
    }

    fn slot(&mut self, name: &[u8]) -> Option<(&mut Vec<u8>, u16)> {
        let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
        Some(if is("username") {
            (&mut self.username, 1)
        } else if is("realm") {
            (&mut self.realm, 1 << 1)
        } else if is("nonce") {
            (&mut self.nonce, 1 << 2)
        } else if is("uri") {
            (&mut self.uri, 1 << 3)
        } else if is("response") {
            (&mut self.response, 1 << 4)
        } else if is("algorithm") {
            (&mut self.algorithm, 1 << 5)
        } else if is("qop") {
            (&mut self.qop, 1 << 6)
        } else if is("cnonce") {
            (&mut self.cnonce, 1 << 7)
        } else if is("nc") {
            (&mut self.nc, 1 << 8)
        } else {
            return None;
        })
    }
}

/// Hands over each parameter of a `Digest` challenge or of the answer to one: its name, its value
/// with escapes undone, and whether that was quoted. False where the scheme is not Digest.
pub(super) fn digest_parameters(
    value: &[u8],
    what: &'static str,
    mut take: impl FnMut(&[u8], Vec<u8>, bool) -> Result<(), Malformed>,
) -> Result<bool, Malformed> {
    let bad = || Malformed(what);
    let (scheme, mut rest) = lex::take_token(lex::trim(value)).ok_or_else(bad)?;
    if !scheme.eq_ignore_ascii_case(b"Digest") {
        return Ok(false);
    }
    loop {
        let end = find_outside(rest, b',');
        let item = lex::trim(rest.get(..end.unwrap_or(rest.len())).ok_or_else(bad)?);
        let (name, after) = lex::take_token(item).ok_or_else(bad)?;
        let value = lex::trim_start(after)
            .strip_prefix(b"=")
            .map(lex::trim_start)
            .ok_or_else(bad)?;
        match lex::take_quoted(value) {
            Some((inside, b"")) => take(name, lex::unescape(inside), true)?,
            Some(_) => return Err(bad()),
            None if value.contains(&b'"') => return Err(bad()),
            None => take(name, value.to_vec(), false)?,
        }
        match end {
            Some(end) => rest = rest.get(end + 1..).ok_or_else(bad)?,
            None => return Ok(true),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read() {
        let credentials = Credentials::parse(
            b"Digest username=\"bo\\\"b\", realm = \"biloxi.com\",\r\n nonce=\"dcd98b\", uri=\"sip:bob@biloxi.com\", \
              qop=auth, nc=00000001, cnonce=\"0a4f113b\", response=\"6629fae4\", opaque=\"5ccc\", algorithm=SHA-256",
        );
        assert!(
            matches!(credentials, Ok(Some(read)) if read.username == b"bo\"b"
            && read.realm == b"biloxi.com" && read.qop == b"auth" && read.nc == b"00000001"
            && read.algorithm == b"SHA-256" && read.response == b"6629fae4")
        );
    }

    #[test]
    fn another_scheme_is_none_and_a_broken_one_an_error() {
        assert!(matches!(
            Credentials::parse(b"NoOneKnowsThisScheme opaque-data=here"),
            Ok(None)
        ));
        for text in [
            "Digest",
            "Digest x",
            "Digest username=\"a",
            "Digest username=\"a\"",
            "",
            "Digest username=\"a\",realm=\"b\",nonce=\"c\",uri=\"d\",response=\"e\",response=\"f\"",
            "Digest username=\"a\"x,realm=\"b\",nonce=\"c\",uri=\"d\",response=\"e\"",
            "Digest username=\"a\",,realm=\"b\",nonce=\"c\",uri=\"d\",response=\"e\"",
        ] {
            assert!(Credentials::parse(text.as_bytes()).is_err(), "{text}");
        }
    }
}
