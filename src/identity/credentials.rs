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
#[derive(Clone, PartialEq, Eq)]
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

    /// RFC 5802 3: whether a client's proof over the exchange's AuthMessage is good, and if so the
    /// signature that proves the server to the client.
    pub fn prove(&self, hash: ScramHash, auth_message: &[u8], proof: &[u8]) -> Option<Vec<u8>> {
        let sign = |key: &[u8]| hmac::sign(&hmac::Key::new(hash.hmac(), key), auth_message);
        let signature = sign(&self.stored_key);
        if proof.len() != signature.as_ref().len() {
            return None;
        }
        let client_key: Zeroizing<Vec<u8>> = Zeroizing::new(
            proof
                .iter()
                .zip(signature.as_ref())
                .map(|(a, b)| a ^ b)
                .collect(),
        );
        let stored_key = digest::digest(hash.digest(), &client_key);
        let same =
            constant_time::verify_slices_are_equal(stored_key.as_ref(), &self.stored_key).is_ok();
        (same & self.exists).then(|| sign(&self.server_key).as_ref().to_vec())
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

/// Keys are no business of a log's.
impl std::fmt::Debug for ScramVerifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ScramVerifier")
            .field("iterations", &self.iterations)
            .finish_non_exhaustive()
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

/// A new app password: 100 random bits, in groups that can be typed.
pub(crate) fn new_app_password() -> String {
    // Without l, o, 0 and 1; 32 of them, so that five bits choose one evenly.
    const LETTERS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
    let mut password = String::with_capacity(23);
    for (at, byte) in random::<20>().into_iter().enumerate() {
        if at > 0 && at % 5 == 0 {
            password.push('-');
        }
        password.push(char::from(LETTERS[usize::from(byte) % LETTERS.len()]));
    }
    password
}

/// What is kept of an app password. It is random enough that a plain hash gives nothing to guess
/// at. Typed with or without the dashes, in either case, it is the same.
pub(crate) fn app_password_hash(password: &str) -> [u8; 32] {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(b"omnid app password\0");
    for byte in password.bytes().filter(|byte| !matches!(byte, b'-' | b' ')) {
        context.update(&[byte.to_ascii_lowercase()]);
    }
    let mut hash = [0; 32];
    hash.copy_from_slice(context.finish().as_ref());
    hash
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

#[cfg(test)]
mod tests {
    use super::*;
    use base64::{Engine as _, prelude::BASE64_STANDARD as BASE64};

    /// One exchange: the parts that an RFC's example gives, and what must come of them.
    struct Exchange {
        hash: ScramHash,
        salt: &'static str,
        auth_message: &'static str,
        proof: &'static str,
        signature: &'static str,
    }

    fn check(exchange: &Exchange) -> Result<(), Box<dyn std::error::Error>> {
        let decode = |text| BASE64.decode(text);
        let iterations = NonZeroU32::new(4096).ok_or("zero")?;
        let hash = exchange.hash;
        let verifier = ScramVerifier::derive(hash, "pencil", &decode(exchange.salt)?, iterations);
        let (message, proof) = (exchange.auth_message.as_bytes(), decode(exchange.proof)?);
        assert_eq!(
            verifier.prove(hash, message, &proof),
            Some(decode(exchange.signature)?),
            "{hash:?}"
        );
        assert!(verifier.fits(hash, "pencil") && !verifier.fits(hash, "pencils"));
        let mut wrong = proof.clone();
        if let Some(byte) = wrong.last_mut() {
            *byte ^= 1;
        }
        for wrong in [&wrong[..], &proof[1..], &[]] {
            assert_eq!(verifier.prove(hash, message, wrong), None);
        }
        assert_eq!(verifier.prove(hash, b"another message", &proof), None);
        let pretended = ScramVerifier {
            exists: false,
            ..verifier
        };
        assert_eq!(pretended.prove(hash, message, &proof), None);
        Ok(())
    }

    #[test]
    fn scram_examples() -> Result<(), Box<dyn std::error::Error>> {
        // RFC 5802 5.
        check(&Exchange {
            hash: ScramHash::Sha1,
            salt: "QSXCR+Q6sek8bf92",
            auth_message: "n=user,r=fyko+d2lbbFgONRv9qkxdawL,\
                r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096,\
                c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j",
            proof: "v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=",
            signature: "rmF9pqV8S7suAoZWja4dJRkFsKQ=",
        })?;
        // RFC 7677 3.
        check(&Exchange {
            hash: ScramHash::Sha256,
            salt: "W22ZaJ0SNY7soEsUEjb6gQ==",
            auth_message: "n=user,r=rOprNGfwEbeRWgbNEkqO,\
                r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,\
                c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0",
            proof: "dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
            signature: "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
        })?;
        // The same exchange with SHA-512, for which no RFC has an example; by Python's hashlib.
        check(&Exchange {
            hash: ScramHash::Sha512,
            salt: "W22ZaJ0SNY7soEsUEjb6gQ==",
            auth_message: "n=user,r=rOprNGfwEbeRWgbNEkqO,\
                r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,\
                c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0",
            proof: "gMGXRcevScNtxZ6/8lQYpGtnsNAc3mGcmNomv+xnoOMw+3R2xNJdMNnzMlTN8PPC6wdp6dybEmDYXYTxwnYPJQ==",
            signature: "ZQnYEgWQMFmmsM8aQMF0nDDCy/AgCzkwk8CmMZYcMg0vSVlKDanekLtifDSeVGT4+5ZxXnJq199RVG2rR7N7Zw==",
        })
    }

    #[test]
    fn digest_examples() {
        let check = |algorithm: DigestAlgorithm, realm, password, nonce, cnonce, expected| {
            let ha1 = algorithm.ha1("Mufasa", realm, password);
            let ha2 = algorithm.hash(b"GET:/dir/index.html");
            let response = format!("{ha1}:{nonce}:00000001:{cnonce}:auth:{ha2}");
            assert_eq!(algorithm.hash(response.as_bytes()), expected);
        };
        // RFC 2617 3.5.
        check(
            DigestAlgorithm::Md5,
            "testrealm@host.com",
            "Circle Of Life",
            "dcd98b7102dd2f0e8b11d0f600bfb0c093",
            "0a4f113b",
            "6629fae49393a05397450978507c4ef1",
        );
        // RFC 7616 3.9.1.
        for (algorithm, expected) in [
            (DigestAlgorithm::Md5, "8ca523f5e9506fed4657c9700eebdbec"),
            (
                DigestAlgorithm::Sha256,
                "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1",
            ),
        ] {
            check(
                algorithm,
                "http-auth@example.org",
                "Circle of Life",
                "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v",
                "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ",
                expected,
            );
        }
    }

    #[test]
    fn passwords_are_prepared() {
        // RFC 4013 3.
        for (typed, prepared) in [
            ("I\u{ad}X", Some("IX")),
            ("user", Some("user")),
            ("USER", Some("USER")),
            ("\u{aa}", Some("a")),
            ("\u{2168}", Some("IX")),
            ("\u{7}", None),
            ("\u{627}\u{31}", None),
        ] {
            assert_eq!(
                prepare(typed).as_deref().map(String::as_str),
                prepared,
                "{typed:?}"
            );
        }
    }

    #[test]
    fn a_made_up_verifier_stays_and_tells_nothing() {
        let secret = [7; 32];
        for hash in ScramHash::ALL {
            let one = ScramVerifier::pretend(hash, &secret, "nobody@example.org", 10_000);
            assert!(one == ScramVerifier::pretend(hash, &secret, "nobody@example.org", 10_000));
            let other = ScramVerifier::pretend(hash, &secret, "nobody@example.com", 10_000);
            assert_ne!(one.salt, other.salt);
            assert_eq!((one.salt.len(), one.stored_key.len()), (16, hash.length()));
            assert!(!format!("{one:?}").contains("key"));
        }
    }
}
