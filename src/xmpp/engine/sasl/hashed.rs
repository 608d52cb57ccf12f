//! HT-SHA-256-*: a token that the server gave, hashed (draft-schmaus-kitten-sasl-ht, for XEP-0484).
//!
//! A token is long and random, so one HMAC is enough, and one message.

use aws_lc_rs::{constant_time, hmac};
use zeroize::Zeroizing;

use super::{Authenticated, Channel, Failure, account};
use crate::wire::BareJid;

/// What the hash is bound to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenMechanism {
    /// The `tls-exporter` of the channel.
    Exporter,
    /// The server's certificate.
    EndPoint,
    /// Nothing.
    Unbound,
}

impl TokenMechanism {
    /// All of them, strongest first.
    pub const ALL: [TokenMechanism; 3] = [
        TokenMechanism::Exporter,
        TokenMechanism::EndPoint,
        TokenMechanism::Unbound,
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            TokenMechanism::Exporter => "HT-SHA-256-EXPR",
            TokenMechanism::EndPoint => "HT-SHA-256-ENDP",
            TokenMechanism::Unbound => "HT-SHA-256-NONE",
        }
    }

    /// The one of that name that can be offered on `channel`.
    pub fn find(name: &str, channel: &Channel) -> Option<TokenMechanism> {
        TokenMechanism::ALL
            .into_iter()
            .find(|mechanism| mechanism.name() == name && mechanism.fits(channel))
    }

    /// Whether it can be offered on `channel`.
    pub fn fits(self, channel: &Channel) -> bool {
        self.data(channel).is_some()
    }

    fn data(self, channel: &Channel) -> Option<&[u8]> {
        match self {
            TokenMechanism::Exporter => channel.exporter.as_deref(),
            TokenMechanism::EndPoint => channel.server_end_point.as_deref(),
            TokenMechanism::Unbound => Some(&[]),
        }
    }
}

/// A token that was given to a client.
#[derive(Clone)]
pub struct Token {
    /// Its number.
    pub id: i64,
    /// What the client has to know.
    pub secret: Zeroizing<String>,
    /// It is old enough to be followed by another.
    pub due: bool,
}

/// The secret stays out of logs.
impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Token")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// A client's message.
#[derive(Debug)]
pub struct TokenMessage {
    mechanism: TokenMechanism,
    account: BareJid,
    hash: Vec<u8>,
    data: Vec<u8>,
}

impl TokenMessage {
    /// Reads `authcid NUL hash`.
    ///
    /// # Errors
    /// When it isn't that, or the channel has nothing to bind to.
    pub fn parse(
        message: &[u8],
        mechanism: TokenMechanism,
        channel: &Channel,
        host: &str,
    ) -> Result<TokenMessage, Failure> {
        let end = message.iter().position(|byte| *byte == 0);
        let (name, hash) = end
            .and_then(|end| message.split_at_checked(end))
            .ok_or(Failure::MalformedRequest)?;
        let name = str::from_utf8(name).map_err(|_| Failure::MalformedRequest)?;
        let hash = hash.strip_prefix(&[0]).unwrap_or_default();
        if name.is_empty() || hash.is_empty() {
            return Err(Failure::MalformedRequest);
        }
        let data = mechanism.data(channel).ok_or(Failure::InvalidMechanism)?;
        Ok(TokenMessage {
            mechanism,
            account: account(name, None, host)?,
            hash: hash.to_vec(),
            data: data.to_vec(),
        })
    }

    /// Who the client says it is.
    pub fn account(&self) -> &BareJid {
        &self.account
    }

    /// The mechanism: a token counts for the one it was given for.
    pub fn mechanism(&self) -> TokenMechanism {
        self.mechanism
    }

    /// The account is the client's, if it knows one of the `tokens` that the client was given:
    /// which, and what proves the server to the client.
    ///
    /// # Errors
    /// The refusal.
    pub fn checked(
        self,
        tokens: Result<Vec<Token>, Failure>,
    ) -> Result<(Authenticated, Token, Vec<u8>), Failure> {
        let sign = |token: &Token, who: &[u8]| {
            let key = hmac::Key::new(hmac::HMAC_SHA256, token.secret.as_bytes());
            let mut context = hmac::Context::with_key(&key);
            context.update(who);
            context.update(&self.data);
            context.sign()
        };
        let mut right = None;
        for token in tokens? {
            let expected = sign(&token, b"Initiator");
            if constant_time::verify_slices_are_equal(expected.as_ref(), &self.hash).is_ok() {
                right = Some(token);
            }
        }
        let token = right.ok_or(Failure::NotAuthorized)?;
        let answer = sign(&token, b"Responder").as_ref().to_vec();
        Ok((Authenticated(self.account), token, answer))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn hash(secret: &str, text: &[u8]) -> Vec<u8> {
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
        hmac::sign(&key, text).as_ref().to_vec()
    }

    fn channel() -> Channel {
        Channel {
            exporter: Some(b"exported".to_vec()),
            server_end_point: Some(b"end".to_vec()),
        }
    }

    fn token(id: i64, secret: &str) -> Token {
        Token {
            id,
            secret: Zeroizing::new(secret.to_owned()),
            due: false,
        }
    }

    fn parse(message: &[u8], mechanism: TokenMechanism) -> Result<TokenMessage, Failure> {
        TokenMessage::parse(message, mechanism, &channel(), "example.com")
    }

    #[test]
    fn tokens_are_bound_to_the_channel() {
        for (mechanism, data) in [
            (TokenMechanism::Exporter, &b"exported"[..]),
            (TokenMechanism::EndPoint, b"end"),
            (TokenMechanism::Unbound, b""),
        ] {
            let hashed = hash("two", &[b"Initiator", data].concat());
            let message = [b"user\0", &hashed[..]].concat();
            let tokens = vec![token(1, "one"), token(2, "two")];
            let (known, used, answer) = parse(&message, mechanism)
                .unwrap()
                .checked(Ok(tokens))
                .unwrap();
            assert_eq!((known.jid().as_str(), used.id), ("user@example.com", 2));
            assert_eq!(answer, hash("two", &[b"Responder", data].concat()));
            let wrong = parse(&message, mechanism)
                .unwrap()
                .checked(Ok(vec![token(1, "one")]));
            assert_eq!(wrong.map(|_| ()), Err(Failure::NotAuthorized));
            // Another channel.
            if mechanism != TokenMechanism::Unbound {
                let other = [b"user\0", &hash("two", b"Initiatorother")[..]].concat();
                let seen = parse(&other, mechanism)
                    .unwrap()
                    .checked(Ok(vec![token(2, "two")]));
                assert_eq!(seen.map(|_| ()), Err(Failure::NotAuthorized));
            }
        }
    }

    #[test]
    fn refusals() {
        for message in [&b""[..], b"user", b"user\0", b"\0hash", b"\xff\0hash"] {
            let seen = parse(message, TokenMechanism::Unbound).map(|_| ());
            assert_eq!(seen, Err(Failure::MalformedRequest), "{message:?}");
        }
        let none = Channel::default();
        assert!(TokenMechanism::find("HT-SHA-256-EXPR", &none).is_none());
        assert!(TokenMechanism::find("HT-SHA-256-NONE", &none).is_some());
        assert!(TokenMechanism::find("HT-SHA-256-EXPR", &channel()).is_some());
        assert!(TokenMechanism::find("HT-SHA-512-NONE", &channel()).is_none());
    }
}
