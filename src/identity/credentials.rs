//! What is derived from a password, and how a password is checked against it.

use std::num::NonZeroU32;

use aws_lc_rs::{constant_time, digest, hmac, pbkdf2, rand};
use md5::{Digest as _, Md5};
use zeroize::Zeroizing;

use crate::{Address, IdentityError};

/// The hash of a SCRAM mechanism (RFC 5802, RFC 7677).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ScramHash {
    Sha1,
    Sha256,
    Sha512,
}

impl ScramHash {
    /// Each of them.
    pub const ALL: [Self; 3] = [Self::Sha1, Self::Sha256, Self::Sha512];

    /// The mechanism's name, without `-PLUS`.
    pub fn mechanism(self) -> &'static str {
        match self {
            Self::Sha1 => "SCRAM-SHA-1",
            Self::Sha256 => "SCRAM-SHA-256",
            Self::Sha512 => "SCRAM-SHA-512",
        }
    }

    /// Bytes of a key.
    pub fn length(self) -> usize {
        self.digest().output_len()
    }

    fn digest(self) -> &'static digest::Algorithm {
        match self {
            Self::Sha1 => &digest::SHA1_FOR_LEGACY_USE_ONLY,
            Self::Sha256 => &digest::SHA256,
            Self::Sha512 => &digest::SHA512,
        }
    }

    fn hmac(self) -> hmac::Algorithm {
        match self {
            Self::Sha1 => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
            Self::Sha256 => hmac::HMAC_SHA256,
            Self::Sha512 => hmac::HMAC_SHA512,
        }
    }

    fn pbkdf2(self) -> pbkdf2::Algorithm {
        match self {
            Self::Sha1 => pbkdf2::PBKDF2_HMAC_SHA1,
            Self::Sha256 => pbkdf2::PBKDF2_HMAC_SHA256,
            Self::Sha512 => pbkdf2::PBKDF2_HMAC_SHA512,
        }
    }
}

/// What a server needs to run SCRAM: nothing in it lets one log in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScramVerifier {
    pub salt: Vec<u8>,
    pub iterations: u32,
    pub stored_key: Vec<u8>,
    pub server_key: Vec<u8>,
    /// False for a name that may not log in: the salt is made up (and stays the same), and no proof
    /// will fit the keys. Go on with the exchange as if it were true.
    pub exists: bool,
}

impl ScramVerifier {
    /// RFC 5802 3: the keys of `password` (SASLprepared), with this salt and cost.
    pub fn derive(hash: ScramHash, password: &str, salt: &[u8], iterations: NonZeroU32) -> Self {
        let mut salted = Zeroizing::new(vec![0; hash.length()]);
        pbkdf2::derive(
            hash.pbkdf2(),
            iterations,
            salt,
            password.as_bytes(),
            &mut salted,
        );
        let key = hmac::Key::new(hash.hmac(), &salted);
        let client_key = hmac::sign(&key, b"Client Key");
        let server_key = hmac::sign(&key, b"Server Key");
        Self {
            salt: salt.to_vec(),
            iterations: iterations.get(),
            stored_key: digest::digest(hash.digest(), client_key.as_ref())
                .as_ref()
                .to_vec(),
            server_key: server_key.as_ref().to_vec(),
            exists: true,
        }
    }

    /// A new verifier, with a salt of its own.
    pub(crate) fn create(hash: ScramHash, password: &str, iterations: NonZeroU32) -> Self {
        Self::derive(hash, password, &random::<16>(), iterations)
    }

    /// What an unknown name is offered. `secret` makes it the same each time and tells nobody that
    /// it is made up.
    pub(crate) fn pretend(hash: ScramHash, secret: &[u8], name: &str, iterations: u32) -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA512, secret);
        let made_up = |purpose: &str, length: usize| {
            let mut context = hmac::Context::with_key(&key);
            for part in [purpose, "\0", hash.mechanism(), "\0", name] {
                context.update(part.as_bytes());
            }
            context
                .sign()
                .as_ref()
                .iter()
                .copied()
                .take(length)
                .collect::<Vec<u8>>()
        };
        Self {
            salt: made_up("salt", 16),
            iterations,
            stored_key: made_up("stored key", hash.length()),
            server_key: made_up("server key", hash.length()),
            exists: false,
        }
    }

    /// Whether `password` (SASLprepared) is the one. Costs the same for a made-up verifier.
    pub(crate) fn fits(&self, hash: ScramHash, password: &str) -> bool {
        let Some(iterations) = NonZeroU32::new(self.iterations) else {
            return false;
        };
        let derived = Self::derive(hash, password, &self.salt, iterations);
        let same =
            constant_time::verify_slices_are_equal(&derived.stored_key, &self.stored_key).is_ok();
        same & self.exists
    }
}

/// The hash of a digest (RFC 7616 3.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DigestAlgorithm {
    Md5,
    Sha256,
}

impl DigestAlgorithm {
    /// Each of them.
    pub const ALL: [Self; 2] = [Self::Md5, Self::Sha256];

    /// The name in `algorithm=`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Md5 => "MD5",
            Self::Sha256 => "SHA-256",
        }
    }

    /// H(data), in lower-case hexadecimal.
    pub fn hash(self, data: &[u8]) -> String {
        match self {
            Self::Md5 => hex(&Md5::digest(data)),
            Self::Sha256 => hex(digest::digest(&digest::SHA256, data).as_ref()),
        }
    }

    /// RFC 7616 3.4.2: H(A1) = H(username:realm:password), in lower-case hexadecimal.
    ///
    /// Of the password as it was typed: phones hash its bytes and know nothing of SASLprep.
    pub fn ha1(self, username: &str, realm: &str, password: &str) -> String {
        let a1 = Zeroizing::new(format!("{username}:{realm}:{password}"));
        self.hash(a1.as_bytes())
    }
}

/// A HA1 with whom and what it is for.
pub(crate) struct DigestSecret {
    pub(crate) username: String,
    pub(crate) algorithm: DigestAlgorithm,
    pub(crate) ha1: String,
}

/// Everything that is kept of a password.
pub(crate) struct Derived {
    pub(crate) scram: Vec<(ScramHash, ScramVerifier)>,
    pub(crate) digest: Vec<DigestSecret>,
}

impl Derived {
    pub(crate) fn new(
        address: &Address,
        password: &str,
        iterations: NonZeroU32,
    ) -> Result<Self, IdentityError> {
        let prepared = prepare(password)
            .ok_or_else(|| IdentityError::Password("has characters that it may not have".into()))?;
        let scram = ScramHash::ALL
            .into_iter()
            .map(|hash| (hash, ScramVerifier::create(hash, &prepared, iterations)))
            .collect();
        // Some phones send the whole address as username, and HA1 depends on it.
        let usernames = [address.user(), address.as_str()];
        let digest = usernames
            .into_iter()
            .flat_map(|username| DigestAlgorithm::ALL.map(|algorithm| (username, algorithm)))
            .map(|(username, algorithm)| DigestSecret {
                username: username.to_owned(),
                algorithm,
                ha1: algorithm.ha1(username, address.domain(), password),
            })
            .collect();
        Ok(Self { scram, digest })
    }
}

/// SASLprep (RFC 4013), which SCRAM puts passwords through on both sides.
pub(crate) fn prepare(password: &str) -> Option<Zeroizing<String>> {
    stringprep::saslprep(password)
        .ok()
        .map(|prepared| Zeroizing::new(prepared.into_owned()))
}

pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    // The one failure is a kernel without randomness, with which nothing here would be safe.
    if rand::fill(&mut bytes).is_err() {
        panic!("the system gives no random numbers");
    }
    bytes
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            // Writing to a String cannot fail.
            write!(text, "{byte:02x}").ok();
            text
        })
}
