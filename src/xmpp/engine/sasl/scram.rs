//! SCRAM, the server's side (RFC 5802, RFC 7677), with and without channel binding.
//!
//! Only what is stored of a password is needed ([`Verifier`]): two HMACs and a hash a login.

use aws_lc_rs::{constant_time, digest, hmac};
use base64::{Engine, engine::general_purpose::STANDARD as BASE64};

use super::{Authenticated, Channel, Failure, Hash, Verifier, account};
use crate::wire::BareJid;

impl Hash {
    fn hmac(self) -> hmac::Algorithm {
        match self {
            Hash::Sha1 => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
            Hash::Sha256 => hmac::HMAC_SHA256,
            Hash::Sha512 => hmac::HMAC_SHA512,
        }
    }

    fn digest(self) -> &'static digest::Algorithm {
        match self {
            Hash::Sha1 => &digest::SHA1_FOR_LEGACY_USE_ONLY,
            Hash::Sha256 => &digest::SHA256,
            Hash::Sha512 => &digest::SHA512,
        }
    }
}

/// What was offered, as its hash is made of it (XEP-0474 4).
pub fn offer<'a>(mechanisms: impl Iterator<Item = &'a str>, channel: &Channel) -> String {
    let sorted = |mut names: Vec<&str>| {
        names.sort_unstable();
        names.join("\u{1e}")
    };
    let mut text = sorted(mechanisms.collect());
    let bindings: Vec<_> = channel.bindings().map(|(name, _)| name).collect();
    if !bindings.is_empty() {
        text.push('\u{1f}');
        text.push_str(&sorted(bindings));
    }
    text
}

/// The client's first message, checked against what the channel offers.
#[derive(Debug, Clone)]
pub struct ClientFirst {
    hash: Hash,
    account: BareJid,
    /// The message without its GS2 header.
    bare: String,
    nonce: String,
    /// The GS2 header and the channel binding data: what the final message must repeat.
    binding: Vec<u8>,
}

impl ClientFirst {
    /// Reads `gs2-header client-first-message-bare` (RFC 5802 7).
    ///
    /// # Errors
    /// When it isn't that, when it binds to the channel otherwise than the mechanism says, or when
    /// somebody has taken the `-PLUS` mechanisms out of what was offered.
    pub fn parse(
        message: &[u8],
        hash: Hash,
        bound: bool,
        channel: &Channel,
        host: &str,
    ) -> Result<ClientFirst, Failure> {
        let text = str::from_utf8(message).map_err(|_| Failure::MalformedRequest)?;
        let (flag, rest) = text.split_once(',').ok_or(Failure::MalformedRequest)?;
        let (authzid, bare) = rest.split_once(',').ok_or(Failure::MalformedRequest)?;
        let data: &[u8] = match (flag, bound) {
            ("n", false) => &[],
            // The client can bind and believes that we can't. We offered it, so somebody between
            // us changed the list (RFC 5802 6).
            ("y", false) if channel.bindings().next().is_some() => {
                return Err(Failure::NotAuthorized);
            }
            ("y", false) => &[],
            (_, true) => {
                let name = flag.strip_prefix("p=").ok_or(Failure::MalformedRequest)?;
                channel.data(name).ok_or(Failure::NotAuthorized)?
            }
            _ => return Err(Failure::MalformedRequest),
        };
        let authzid = match authzid {
            "" => None,
            _ => Some(name(
                authzid
                    .strip_prefix("a=")
                    .ok_or(Failure::MalformedRequest)?,
            )?),
        };
        // An extension before the name is one that must be understood; none is.
        let mut parts = bare.split(',');
        let user = parts.next().and_then(|part| part.strip_prefix("n="));
        let user = name(user.ok_or(Failure::MalformedRequest)?)?;
        let nonce = parts.next().and_then(|part| part.strip_prefix("r="));
        let nonce = nonce
            .filter(|nonce| is_nonce(nonce))
            .ok_or(Failure::MalformedRequest)?;
        let account = account(&user, authzid.as_deref(), host)?;
        let header = text.len() - bare.len();
        let mut binding = message.get(..header).unwrap_or_default().to_vec();
        binding.extend_from_slice(data);
        Ok(ClientFirst {
            hash,
            account,
            bare: bare.to_owned(),
            nonce: nonce.to_owned(),
            binding,
        })
    }

    /// Who the client says it is.
    pub fn account(&self) -> &BareJid {
        &self.account
    }

    /// The hash its mechanism uses.
    pub fn hash(&self) -> Hash {
        self.hash
    }

    /// The challenge, once the account's verifier is known. `nonce` must never come twice.
    /// `offered` is all that was ([`offer`]): the client sees that nobody took anything away.
    pub fn challenge(
        self,
        verifier: Verifier,
        nonce: &str,
        offered: Option<&str>,
    ) -> (Exchange, String) {
        let nonce = format!("{}{nonce}", self.nonce);
        let salt = BASE64.encode(&verifier.salt);
        let mut challenge = format!("r={nonce},s={salt},i={}", verifier.iterations);
        if let Some(offered) = offered {
            let hash = digest::digest(self.hash.digest(), offered.as_bytes());
            challenge.push_str(",h=");
            challenge.push_str(&BASE64.encode(hash));
        }
        let exchange = Exchange {
            first: self,
            verifier,
            nonce,
            challenge: challenge.clone(),
        };
        (exchange, challenge)
    }
}

/// A challenge that was sent.
#[derive(Debug, Clone)]
pub struct Exchange {
    first: ClientFirst,
    verifier: Verifier,
    nonce: String,
    challenge: String,
}

impl Exchange {
    /// Who the client says it is.
    pub fn account(&self) -> &BareJid {
        &self.first.account
    }

    /// Checks the client's final message. With success comes what proves the server to the client.
    ///
    /// # Errors
    /// When the proof is wrong, or the message is no such message.
    pub fn finish(self, message: &[u8]) -> Result<(Authenticated, String), Failure> {
        let text = str::from_utf8(message).map_err(|_| Failure::MalformedRequest)?;
        let (without_proof, proof) = text.rsplit_once(",p=").ok_or(Failure::MalformedRequest)?;
        let mut parts = without_proof.split(',');
        let binding = parts.next().and_then(|part| part.strip_prefix("c="));
        let binding = decode(binding.ok_or(Failure::MalformedRequest)?)?;
        let nonce = parts.next().and_then(|part| part.strip_prefix("r="));
        let nonce = nonce.ok_or(Failure::MalformedRequest)?;
        let proof = decode(proof)?;
        let equal = |a: &[u8], b: &[u8]| constant_time::verify_slices_are_equal(a, b).is_ok();
        let mut right = equal(&binding, &self.first.binding);
        right &= equal(nonce.as_bytes(), self.nonce.as_bytes());

        let signed = format!("{},{},{without_proof}", self.first.bare, self.challenge);
        let hash = self.first.hash;
        let sign = |key: &[u8]| {
            let key = hmac::Key::new(hash.hmac(), key);
            hmac::sign(&key, signed.as_bytes())
        };
        let client_signature = sign(&self.verifier.stored_key);
        right &= proof.len() == client_signature.as_ref().len();
        let client_key: Vec<u8> = proof
            .iter()
            .zip(client_signature.as_ref())
            .map(|(a, b)| a ^ b)
            .collect();
        let stored_key = digest::digest(hash.digest(), &client_key);
        right &= equal(stored_key.as_ref(), &self.verifier.stored_key);
        if !(right && self.verifier.exists) {
            return Err(Failure::NotAuthorized);
        }
        let server_signature = sign(&self.verifier.server_key);
        let answer = format!("v={}", BASE64.encode(server_signature.as_ref()));
        Ok((Authenticated(self.first.account), answer))
    }
}

fn decode(text: &str) -> Result<Vec<u8>, Failure> {
    BASE64.decode(text).map_err(|_| Failure::MalformedRequest)
}

/// A `saslname`: comma and equals sign come as `=2C` and `=3D`.
fn name(text: &str) -> Result<String, Failure> {
    let mut out = String::with_capacity(text.len());
    let mut parts = text.split('=');
    out.push_str(parts.next().unwrap_or_default());
    for part in parts {
        let (escaped, rest) = match (part.strip_prefix("2C"), part.strip_prefix("3D")) {
            (Some(rest), _) => (',', rest),
            (_, Some(rest)) => ('=', rest),
            _ => return Err(Failure::MalformedRequest),
        };
        out.push(escaped);
        out.push_str(rest);
    }
    if out.is_empty() {
        Err(Failure::MalformedRequest)
    } else {
        Ok(out)
    }
}

/// Printable ASCII without the comma (RFC 5802 7).
fn is_nonce(nonce: &str) -> bool {
    !nonce.is_empty() && nonce.bytes().all(|b| b.is_ascii_graphic() && b != b',')
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::num::NonZeroU32;

    use aws_lc_rs::pbkdf2;

    use super::*;

    /// What identity stores of a password.
    fn verifier(hash: Hash, password: &str, salt: &[u8], iterations: u32) -> Verifier {
        let algorithm = match hash {
            Hash::Sha1 => pbkdf2::PBKDF2_HMAC_SHA1,
            Hash::Sha256 => pbkdf2::PBKDF2_HMAC_SHA256,
            Hash::Sha512 => pbkdf2::PBKDF2_HMAC_SHA512,
        };
        let mut salted = vec![0; hash.digest().output_len()];
        let rounds = NonZeroU32::new(iterations).unwrap();
        pbkdf2::derive(algorithm, rounds, salt, password.as_bytes(), &mut salted);
        let key = hmac::Key::new(hash.hmac(), &salted);
        let client_key = hmac::sign(&key, b"Client Key");
        Verifier {
            salt: salt.to_vec(),
            iterations,
            stored_key: digest::digest(hash.digest(), client_key.as_ref())
                .as_ref()
                .to_vec(),
            server_key: hmac::sign(&key, b"Server Key").as_ref().to_vec(),
            exists: true,
        }
    }

    fn first(message: &str, bound: bool, channel: &Channel) -> Result<ClientFirst, Failure> {
        ClientFirst::parse(
            message.as_bytes(),
            Hash::Sha256,
            bound,
            channel,
            "example.com",
        )
    }

    fn channel() -> Channel {
        Channel {
            exporter: Some(b"exported".to_vec()),
            server_end_point: Some(b"end".to_vec()),
        }
    }

    /// RFC 5802 5 and RFC 7677 3: both conversations word for word.
    #[test]
    fn rfc_conversations() {
        for (hash, client_first, nonce, salt, challenge, client_final, server_final) in [
            (
                Hash::Sha1,
                "n,,n=user,r=fyko+d2lbbFgONRv9qkxdawL",
                "3rfcNHYJY1ZVvWVs7j",
                "QSXCR+Q6sek8bf92",
                "r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096",
                "c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=",
                "v=rmF9pqV8S7suAoZWja4dJRkFsKQ=",
            ),
            (
                Hash::Sha256,
                "n,,n=user,r=rOprNGfwEbeRWgbNEkqO",
                "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0",
                "W22ZaJ0SNY7soEsUEjb6gQ==",
                "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
                "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
                "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
            ),
        ] {
            let verifier = verifier(hash, "pencil", &BASE64.decode(salt).unwrap(), 4096);
            let none = Channel::default();
            let parsed =
                ClientFirst::parse(client_first.as_bytes(), hash, false, &none, "example.com");
            let (exchange, sent) = parsed.unwrap().challenge(verifier.clone(), nonce, None);
            assert_eq!(sent, challenge);
            let (who, answer) = exchange.clone().finish(client_final.as_bytes()).unwrap();
            assert_eq!(
                (who.jid().as_str(), answer.as_str()),
                ("user@example.com", server_final)
            );
            // One character of the proof changed; then an account that does not exist.
            let wrong = client_final.replacen(",p=", ",p=A", 1).replace("==", "=");
            assert!(exchange.clone().finish(wrong.as_bytes()).is_err());
            let mut nobody = exchange;
            nobody.verifier.exists = false;
            let seen = nobody.finish(client_final.as_bytes()).map(|_| ());
            assert_eq!(seen, Err(Failure::NotAuthorized));
        }
    }

    /// What a client would send for the challenge.
    fn answer(challenge: &str, bare: &str, binding: &[u8], password: &str) -> String {
        let part = |name: &str| {
            challenge
                .split(',')
                .find_map(|part| part.strip_prefix(name))
                .unwrap()
                .to_owned()
        };
        let salt = BASE64.decode(part("s=")).unwrap();
        let mut salted = vec![0; 32];
        let rounds = NonZeroU32::new(part("i=").parse().unwrap()).unwrap();
        let algorithm = pbkdf2::PBKDF2_HMAC_SHA256;
        pbkdf2::derive(algorithm, rounds, &salt, password.as_bytes(), &mut salted);
        let key = hmac::Key::new(hmac::HMAC_SHA256, &salted);
        let client_key = hmac::sign(&key, b"Client Key");
        let stored_key = digest::digest(&digest::SHA256, client_key.as_ref());
        let without = format!("c={},r={}", BASE64.encode(binding), part("r="));
        let signed = format!("{bare},{challenge},{without}");
        let key = hmac::Key::new(hmac::HMAC_SHA256, stored_key.as_ref());
        let signature = hmac::sign(&key, signed.as_bytes());
        let proof: Vec<u8> = client_key
            .as_ref()
            .iter()
            .zip(signature.as_ref())
            .map(|(a, b)| a ^ b)
            .collect();
        format!("{without},p={}", BASE64.encode(proof))
    }

    #[test]
    fn channel_binding() {
        let bare = "n=user,r=abc";
        for (name, data) in [
            ("tls-exporter", "exported"),
            ("tls-server-end-point", "end"),
        ] {
            let header = format!("p={name},,");
            let parsed = first(&format!("{header}{bare}"), true, &channel()).unwrap();
            let stored = verifier(Hash::Sha256, "secret", b"salt", 4096);
            let (exchange, challenge) = parsed.challenge(stored, "xyz", None);
            let reply = |data: &str, password: &str| {
                answer(
                    &challenge,
                    bare,
                    format!("{header}{data}").as_bytes(),
                    password,
                )
            };
            assert!(
                exchange
                    .clone()
                    .finish(reply(data, "secret").as_bytes())
                    .is_ok()
            );
            // Somebody in the middle has another channel; then a wrong password.
            for wrong in [
                reply("other", "secret"),
                reply("", "secret"),
                reply(data, "x"),
            ] {
                let seen = exchange.clone().finish(wrong.as_bytes()).map(|_| ());
                assert_eq!(seen, Err(Failure::NotAuthorized));
            }
        }
    }

    /// XEP-0474 6.
    #[test]
    fn what_was_offered_is_hashed() {
        let mechanisms = ["SCRAM-SHA-1-PLUS", "SCRAM-SHA-1"];
        let offered = offer(mechanisms.into_iter(), &channel());
        let message = b"n,,n=user,r=12C4CD5C-E38E-4A98-8F6D-15C38F51CCC6";
        let none = Channel::default();
        let parsed = ClientFirst::parse(message, Hash::Sha1, false, &none, "example.org");
        let stored = verifier(
            Hash::Sha1,
            "pencil",
            &BASE64.decode("QSXCR+Q6sek8bf92").unwrap(),
            4096,
        );
        let nonce = "a09117a6-ac50-4f2f-93f1-93799c2bddf6";
        let (_, challenge) = parsed.unwrap().challenge(stored, nonce, Some(&offered));
        assert_eq!(
            challenge,
            "r=12C4CD5C-E38E-4A98-8F6D-15C38F51CCC6a09117a6-ac50-4f2f-93f1-93799c2bddf6,\
             s=QSXCR+Q6sek8bf92,i=4096,h=G6k/rBLDqgOhRRaCuuatSDFkJ08="
        );
        assert_eq!(offer(["A", "B"].into_iter(), &none), "A\u{1e}B");
    }

    #[test]
    fn first_messages() {
        let none = Channel::default();
        let ok = |message: &str| first(message, false, &none).map(|f| f.account.to_string());
        assert_eq!(ok("n,,n=user,r=abc").as_deref(), Ok("user@example.com"));
        assert_eq!(
            ok("y,,n=User,r=abc,x=ext").as_deref(),
            Ok("user@example.com")
        );
        assert_eq!(
            ok("n,a=user@example.com,n=user,r=a").as_deref(),
            Ok("user@example.com")
        );
        assert_eq!(ok("n,,n=a=3Db,r=a").as_deref(), Ok("a=b@example.com"));
        assert_eq!(
            ok("n,a=other@example.com,n=user,r=a"),
            Err(Failure::InvalidAuthzid)
        );
        assert_eq!(ok("n,,n=a@b,r=a"), Err(Failure::NotAuthorized));
        for message in [
            "",
            "n",
            "n,",
            "n,,",
            "n,,n=user",
            "n,,n=,r=a",
            "n,,n=user,r=",
            "n,,r=a,n=user",
            "x,,n=user,r=a",
            "n,,m=ext,n=user,r=a",
            "n,b=x,n=user,r=a",
            "n,,n=a=,r=b",
            "n,,n=a=2c,r=b",
            "n,,n=a=2,r=b",
            "n,,n=user,r=\u{e9}",
            "n,,n=user,r=a b",
            "p=tls-exporter,,n=user,r=a",
        ] {
            assert_eq!(ok(message), Err(Failure::MalformedRequest), "{message}");
        }
    }

    #[test]
    fn downgrades() {
        let seen = |message: &str, bound| first(message, bound, &channel()).map(|_| ());
        // The -PLUS mechanisms were offered: a client that could bind and doesn't was deceived.
        assert_eq!(seen("y,,n=user,r=a", false), Err(Failure::NotAuthorized));
        assert_eq!(seen("n,,n=user,r=a", false), Ok(()));
        assert_eq!(
            seen("p=tls-unique,,n=user,r=a", true),
            Err(Failure::NotAuthorized)
        );
        assert_eq!(seen("n,,n=user,r=a", true), Err(Failure::MalformedRequest));
        assert_eq!(seen("y,,n=user,r=a", true), Err(Failure::MalformedRequest));
    }

    #[test]
    fn final_messages() {
        let none = Channel::default();
        let parsed = first("n,,n=user,r=abc", false, &none).unwrap();
        let stored = verifier(Hash::Sha256, "secret", b"salt", 4096);
        let (exchange, _) = parsed.challenge(stored, "xyz", None);
        for (message, failure) in [
            ("", Failure::MalformedRequest),
            ("c=biws,r=abcxyz", Failure::MalformedRequest),
            ("r=abcxyz,c=biws,p=AAAA", Failure::MalformedRequest),
            ("c=*,r=abcxyz,p=AAAA", Failure::MalformedRequest),
            ("c=biws,r=abcxyz,p=*", Failure::MalformedRequest),
            ("c=biws,r=abcxyz,p=", Failure::NotAuthorized),
            ("c=biws,r=abcxyz,p=AAAA", Failure::NotAuthorized),
            ("c=biws,r=abc,p=AAAA", Failure::NotAuthorized),
            ("c=eSws,r=abcxyz,p=AAAA", Failure::NotAuthorized),
        ] {
            let seen = exchange.clone().finish(message.as_bytes()).map(|_| ());
            assert_eq!(seen, Err(failure), "{message}");
        }
    }
}
