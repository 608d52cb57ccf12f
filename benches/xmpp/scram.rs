//! The client's side of SCRAM-SHA-256 (RFC 7677), without channel binding.

use std::num::NonZeroU32;

use aws_lc_rs::{
    digest::{SHA256, digest},
    hmac, pbkdf2,
};
use base64::{Engine, prelude::BASE64_STANDARD};

/// What is derived from a password and a salt (RFC 5802 3).
#[derive(Clone)]
pub struct Keys {
    client: Vec<u8>,
    pub stored: Vec<u8>,
    pub server: Vec<u8>,
}

impl Keys {
    pub fn derive(password: &str, salt: &[u8], iterations: u32) -> Self {
        let mut salted = [0; 32];
        let iterations = NonZeroU32::new(iterations).unwrap();
        let algorithm = pbkdf2::PBKDF2_HMAC_SHA256;
        pbkdf2::derive(
            algorithm,
            iterations,
            salt,
            password.as_bytes(),
            &mut salted,
        );
        let client = sign(&salted, b"Client Key");
        Self {
            stored: digest(&SHA256, &client).as_ref().to_vec(),
            server: sign(&salted, b"Server Key"),
            client,
        }
    }
}

fn sign(key: &[u8], text: &[u8]) -> Vec<u8> {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    hmac::sign(&key, text).as_ref().to_vec()
}

/// One login.
pub struct Exchange {
    bare: String,
}

impl Exchange {
    pub fn new(user: &str) -> Self {
        // No secret depends on it, and no two logins of one user overlap.
        Self {
            bare: format!("n={user},r=nonce-of-{user}"),
        }
    }

    /// The first message.
    pub fn first(&self) -> String {
        BASE64_STANDARD.encode(format!("n,,{}", self.bare))
    }

    /// The answer to the server's challenge.
    pub fn answer(&self, challenge: &str, keys: impl FnOnce(&[u8], u32) -> Keys) -> String {
        let challenge = String::from_utf8(BASE64_STANDARD.decode(challenge).unwrap()).unwrap();
        let part = |name: &str| {
            let found = challenge
                .split(',')
                .find_map(|part| part.strip_prefix(name));
            found.unwrap_or_else(|| panic!("no {name} in {challenge}"))
        };
        let salt = BASE64_STANDARD.decode(part("s=")).unwrap();
        let keys = keys(&salt, part("i=").parse().unwrap());
        // "biws" is "n,,".
        let last = format!("c=biws,r={}", part("r="));
        let signed = format!("{},{challenge},{last}", self.bare);
        let signature = sign(&keys.stored, signed.as_bytes());
        let proof: Vec<u8> = keys
            .client
            .iter()
            .zip(&signature)
            .map(|(key, signature)| key ^ signature)
            .collect();
        BASE64_STANDARD.encode(format!("{last},p={}", BASE64_STANDARD.encode(proof)))
    }
}
