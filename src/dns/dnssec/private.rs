//! Private keys: made, kept as text in the form that BIND, Knot and ldns read, and signed with.

use std::fmt::{self, Write};

use aws_lc_rs::encoding::{AsBigEndian, AsDer, EcPrivateKeyBin, Pkcs8V1Der};
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize, PublicKeyComponents};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair,
    EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RSA_PKCS1_SHA512,
};

use super::algorithm::{Algorithm, rsa_parts, strip_zeros};
use crate::wire::rdata::{read_base64, write_base64};

/// Why a private key cannot be made or read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PrivateKeyError {
    /// An algorithm that is not signed with here.
    #[error("{0} is not an algorithm that can be signed with here")]
    Unsupported(Algorithm),
    /// A size that no key has.
    #[error("an RSA key has 2048, 3072 or 4096 bits")]
    Size,
    /// A line that should be there is not, or is not base64.
    #[error("the private key has no valid {0}")]
    Field(&'static str),
    /// The algorithm is another than that of the public key.
    #[error("the private key is of {0}, the public key of {1}")]
    OtherAlgorithm(Algorithm, Algorithm),
    /// The parts are no key, or not the one of the public key.
    #[error("the private key does not belong to the public key")]
    Mismatch,
    /// The library refused.
    #[error("the cryptographic library failed")]
    Failed,
}

impl From<Unspecified> for PrivateKeyError {
    fn from(_: Unspecified) -> PrivateKeyError {
        PrivateKeyError::Failed
    }
}

/// A key to sign with.
pub struct PrivateKey {
    algorithm: Algorithm,
    /// The key field of its DNSKEY record.
    public: Vec<u8>,
    /// The secret parts, by the name that a key file gives them.
    parts: Vec<(&'static str, Vec<u8>)>,
    pair: Pair,
}

// RSA and ECDSA pairs are handles; the third is no larger.
enum Pair {
    Rsa(RsaKeyPair),
    Ecdsa(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

/// The parts of an RSA key, in the order in which both key files and PKCS #1 have them.
const RSA_PARTS: [&str; 8] = [
    "Modulus",
    "PublicExponent",
    "PrivateExponent",
    "Prime1",
    "Prime2",
    "Exponent1",
    "Exponent2",
    "Coefficient",
];

impl PrivateKey {
    /// Makes a key; `rsa_bits` is its size if it is one of RSA.
    pub fn generate(algorithm: Algorithm, rsa_bits: u16) -> Result<PrivateKey, PrivateKeyError> {
        match algorithm {
            Algorithm::RSASHA256 | Algorithm::RSASHA512 => {
                let size = match rsa_bits {
                    2048 => KeySize::Rsa2048,
                    3072 => KeySize::Rsa3072,
                    4096 => KeySize::Rsa4096,
                    _ => return Err(PrivateKeyError::Size),
                };
                let pair = RsaKeyPair::generate(size)?;
                let document: Pkcs8V1Der<'_> = pair.as_der()?;
                let values = pkcs1_integers(document.as_ref()).ok_or(PrivateKeyError::Failed)?;
                let parts = RSA_PARTS.iter().copied().zip(values).collect();
                PrivateKey::from_rsa(algorithm, parts)
            }
            Algorithm::ECDSAP256SHA256 | Algorithm::ECDSAP384SHA384 => {
                PrivateKey::of_ecdsa(algorithm, EcdsaKeyPair::generate(curve(algorithm)?)?)
            }
            Algorithm::ED25519 => PrivateKey::of_ed25519(Ed25519KeyPair::generate()?),
            other => Err(PrivateKeyError::Unsupported(other)),
        }
    }

    /// Reads the text of a key file; `algorithm` and `public` are those of the DNSKEY record beside
    /// it, and the key must be that one's.
    pub fn from_text(
        text: &str,
        algorithm: Algorithm,
        public: &[u8],
    ) -> Result<PrivateKey, PrivateKeyError> {
        let line = |name: &str| {
            let mut lines = text.lines().filter_map(|line| line.split_once(':'));
            lines
                .find(|(field, _)| field.trim() == name)
                .map(|(_, value)| value.trim())
        };
        let part = |name: &'static str| {
            let mut octets = Vec::new();
            let value = line(name).ok_or(PrivateKeyError::Field(name))?;
            read_base64(value.split_whitespace().map(str::as_bytes), &mut octets)
                .map_err(|_| PrivateKeyError::Field(name))?;
            Ok::<_, PrivateKeyError>(octets)
        };
        let held = line("Algorithm")
            .and_then(|value| value.split_whitespace().next()?.parse().ok())
            .map(Algorithm)
            .ok_or(PrivateKeyError::Field("Algorithm"))?;
        if held != algorithm {
            return Err(PrivateKeyError::OtherAlgorithm(held, algorithm));
        }
        let key = match algorithm {
            Algorithm::RSASHA256 | Algorithm::RSASHA512 => {
                let parts: Result<Vec<_>, PrivateKeyError> = RSA_PARTS
                    .iter()
                    .map(|name| Ok((*name, part(name)?)))
                    .collect();
                PrivateKey::from_rsa(algorithm, parts?)?
            }
            Algorithm::ECDSAP256SHA256 | Algorithm::ECDSAP384SHA384 => {
                let point = [&[4], public].concat();
                let secret = part("PrivateKey")?;
                let pair = EcdsaKeyPair::from_private_key_and_public_key(
                    curve(algorithm)?,
                    &secret,
                    &point,
                );
                PrivateKey::of_ecdsa(algorithm, pair.map_err(|_| PrivateKeyError::Mismatch)?)?
            }
            Algorithm::ED25519 => {
                let secret = part("PrivateKey")?;
                let pair = Ed25519KeyPair::from_seed_and_public_key(&secret, public);
                PrivateKey::of_ed25519(pair.map_err(|_| PrivateKeyError::Mismatch)?)?
            }
            other => return Err(PrivateKeyError::Unsupported(other)),
        };
        // Of RSA the public key can be written in more than one way: its parts are compared.
        let same = match (&key.pair, rsa_parts(public)) {
            (Pair::Rsa(_), Some(parts)) => rsa_parts(&key.public) == Some(parts),
            _ => key.public == public,
        };
        if !same {
            return Err(PrivateKeyError::Mismatch);
        }
        // The tag of the key, and so every DS, hangs on how the record writes it.
        Ok(PrivateKey {
            public: public.to_vec(),
            ..key
        })
    }

    /// The text of its key file.
    pub fn to_text(&self) -> String {
        let mut text = format!(
            "Private-key-format: v1.3\nAlgorithm: {} ({})\n",
            self.algorithm.0, self.algorithm
        );
        for (name, octets) in &self.parts {
            text += name;
            text += ": ";
            // Writing to a String does not fail.
            let _ = write_base64(octets, &mut text);
            text.push('\n');
        }
        text
    }

    /// Its algorithm.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The public key, as the DNSKEY record has it.
    pub fn public(&self) -> &[u8] {
        &self.public
    }

    /// The data of its DNSKEY record.
    pub fn dnskey(&self, flags: u16) -> Vec<u8> {
        let [f1, f0] = flags.to_be_bytes();
        let mut rdata = vec![f1, f0, 3, self.algorithm.0];
        rdata.extend_from_slice(&self.public);
        rdata
    }

    /// Signs octets.
    pub fn sign(&self, octets: &[u8]) -> Result<Vec<u8>, PrivateKeyError> {
        let random = SystemRandom::new();
        match &self.pair {
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                let encoding = match self.algorithm {
                    Algorithm::RSASHA512 => &RSA_PKCS1_SHA512,
                    _ => &RSA_PKCS1_SHA256,
                };
                pair.sign(encoding, &random, octets, &mut signature)?;
                Ok(signature)
            }
            Pair::Ecdsa(pair) => Ok(pair.sign(&random, octets)?.as_ref().to_vec()),
            Pair::Ed25519(pair) => Ok(pair.try_sign(octets)?.as_ref().to_vec()),
        }
    }

    fn from_rsa(
        algorithm: Algorithm,
        parts: Vec<(&'static str, Vec<u8>)>,
    ) -> Result<PrivateKey, PrivateKeyError> {
        let part = |index: usize| {
            let found = parts.get(index).map(|(_, octets)| strip_zeros(octets));
            found.ok_or(PrivateKeyError::Mismatch)
        };
        let (n, e) = (part(0)?, part(1)?);
        let components = aws_lc_rs::rsa::KeyPairComponents {
            public_key: PublicKeyComponents { n, e },
            d: part(2)?,
            p: part(3)?,
            q: part(4)?,
            dP: part(5)?,
            dQ: part(6)?,
            qInv: part(7)?,
        };
        let pair = RsaKeyPair::from_components(&components);
        let pair = pair.map_err(|_| PrivateKeyError::Mismatch)?;
        let mut public = match u8::try_from(e.len()) {
            Ok(length @ 1..) => vec![length],
            _ => return Err(PrivateKeyError::Mismatch),
        };
        public.extend_from_slice(e);
        public.extend_from_slice(n);
        Ok(PrivateKey {
            algorithm,
            public,
            parts,
            pair: Pair::Rsa(pair),
        })
    }

    fn of_ecdsa(algorithm: Algorithm, pair: EcdsaKeyPair) -> Result<PrivateKey, PrivateKeyError> {
        let secret: EcPrivateKeyBin<'_> = pair.private_key().as_be_bytes()?;
        let (_, public) = pair
            .public_key()
            .as_ref()
            .split_first()
            .ok_or(PrivateKeyError::Failed)?;
        Ok(PrivateKey {
            algorithm,
            public: public.to_vec(),
            parts: vec![("PrivateKey", secret.as_ref().to_vec())],
            pair: Pair::Ecdsa(pair),
        })
    }

    fn of_ed25519(pair: Ed25519KeyPair) -> Result<PrivateKey, PrivateKeyError> {
        let seed = pair.seed()?;
        let seed: aws_lc_rs::encoding::Curve25519SeedBin<'_> = seed.as_be_bytes()?;
        Ok(PrivateKey {
            algorithm: Algorithm::ED25519,
            public: pair.public_key().as_ref().to_vec(),
            parts: vec![("PrivateKey", seed.as_ref().to_vec())],
            pair: Pair::Ed25519(pair),
        })
    }
}

impl fmt::Debug for PrivateKey {
    /// Nothing secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("private key of ")?;
        fmt::Display::fmt(&self.algorithm, f)?;
        f.write_char(' ')?;
        write_base64(&self.public, f)
    }
}

fn curve(algorithm: Algorithm) -> Result<&'static EcdsaSigningAlgorithm, PrivateKeyError> {
    match algorithm {
        Algorithm::ECDSAP256SHA256 => Ok(&ECDSA_P256_SHA256_FIXED_SIGNING),
        Algorithm::ECDSAP384SHA384 => Ok(&ECDSA_P384_SHA384_FIXED_SIGNING),
        other => Err(PrivateKeyError::Unsupported(other)),
    }
}

/// The numbers of the RSA key in a PKCS #8 document (RFC 5208 5, RFC 8017 A.1.2), its version
/// left out.
fn pkcs1_integers(document: &[u8]) -> Option<Vec<Vec<u8>>> {
    const INTEGER: u8 = 2;
    const OCTETS: u8 = 4;
    const SEQUENCE: u8 = 0x30;
    let (outer, _) = der(document, SEQUENCE)?;
    let (_, rest) = der(outer, INTEGER)?;
    let (_, rest) = der(rest, SEQUENCE)?;
    let (key, _) = der(rest, OCTETS)?;
    let (numbers, _) = der(key, SEQUENCE)?;
    let (_, mut rest) = der(numbers, INTEGER)?;
    let mut values = Vec::new();
    for _ in RSA_PARTS {
        let (value, after) = der(rest, INTEGER)?;
        values.push(strip_zeros(value).to_vec());
        rest = after;
    }
    Some(values)
}

/// The content of the element at the front, if it has this tag, and what is behind it.
fn der(octets: &[u8], wanted: u8) -> Option<(&[u8], &[u8])> {
    let (&[tag, short], rest) = octets.split_first_chunk::<2>()?;
    let (length, rest) = match short {
        0..=0x7f => (usize::from(short), rest),
        0x81..=0x84 => {
            let (long, rest) = rest.split_at_checked(usize::from(short & 0x7f))?;
            let length = long
                .iter()
                .fold(0usize, |sum, octet| sum << 8 | usize::from(*octet));
            (length, rest)
        }
        _ => return None,
    };
    rest.split_at_checked(length).filter(|_| tag == wanted)
}
