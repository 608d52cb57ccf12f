//! Signature algorithms (IANA "DNS Security Algorithm Numbers"), and the check of a signature.

use std::fmt;

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519,
    RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY, RSA_PKCS1_1024_8192_SHA512_FOR_LEGACY_USE_ONLY,
    RsaParameters, RsaPublicKeyComponents, UnparsedPublicKey, VerificationAlgorithm,
};

/// An algorithm's number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Algorithm(pub u8);

impl Algorithm {
    /// Of the CDS and CDNSKEY records that ask for the removal of the DS set (RFC 8078 4).
    pub const DELETE: Algorithm = Algorithm(0);
    /// RSA with SHA-256 (RFC 5702).
    pub const RSASHA256: Algorithm = Algorithm(8);
    /// RSA with SHA-512 (RFC 5702).
    pub const RSASHA512: Algorithm = Algorithm(10);
    /// ECDSA over P-256 with SHA-256 (RFC 6605).
    pub const ECDSAP256SHA256: Algorithm = Algorithm(13);
    /// ECDSA over P-384 with SHA-384 (RFC 6605).
    pub const ECDSAP384SHA384: Algorithm = Algorithm(14);
    /// Ed25519 (RFC 8080).
    pub const ED25519: Algorithm = Algorithm(15);

    /// The algorithms that are signed with and validated here.
    pub const SUPPORTED: [Algorithm; 5] = [
        Algorithm::RSASHA256,
        Algorithm::RSASHA512,
        Algorithm::ECDSAP256SHA256,
        Algorithm::ECDSAP384SHA384,
        Algorithm::ED25519,
    ];

    /// True of an algorithm that is signed with and validated here. A zone that has others alone
    /// is to a validator as if unsigned (RFC 4035 5.2).
    pub fn is_supported(self) -> bool {
        Algorithm::SUPPORTED.contains(&self)
    }

    /// The mnemonic, for algorithms in use.
    pub fn mnemonic(self) -> Option<&'static str> {
        let text = match self.0 {
            3 => "DSA",
            5 => "RSASHA1",
            6 => "DSA-NSEC3-SHA1",
            7 => "NSEC3RSASHA1",
            8 => "RSASHA256",
            10 => "RSASHA512",
            12 => "ECC-GOST",
            13 => "ECDSAP256SHA256",
            14 => "ECDSAP384SHA384",
            15 => "ED25519",
            16 => "ED448",
            _ => return None,
        };
        Some(text)
    }

    /// Reads the mnemonic or number of a supported algorithm.
    pub fn from_text(text: &str) -> Option<Algorithm> {
        let supported = Algorithm::SUPPORTED.iter().copied();
        let named = |algorithm: &Algorithm| {
            algorithm
                .mnemonic()
                .is_some_and(|name| name.eq_ignore_ascii_case(text))
                || text.parse() == Ok(algorithm.0)
        };
        supported.into_iter().find(named)
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.mnemonic() {
            Some(text) => f.write_str(text),
            None => write!(f, "algorithm {}", self.0),
        }
    }
}

impl fmt::Debug for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why a signature is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// An algorithm that is not computed here.
    #[error("unsupported algorithm")]
    Unsupported,
    /// The key is not one of its algorithm, or too small or too large to be used.
    #[error("unusable key")]
    BadKey,
    /// The signature is not of this key over these octets.
    #[error("wrong signature")]
    BadSignature,
}

/// Largest RSA modulus (RFC 5702 2); a larger one costs a validator and gains nothing.
const MAX_RSA: usize = 4096 / 8;
/// Smallest RSA modulus: what is still found in zones. Smaller ones are broken in practice.
const MIN_RSA: usize = 1024 / 8;

/// Checks a signature; `key` is the public key field of a DNSKEY record.
pub fn verify(
    algorithm: Algorithm,
    key: &[u8],
    message: &[u8],
    signature: &[u8],
) -> Result<(), VerifyError> {
    match algorithm {
        Algorithm::RSASHA256 => {
            let parameters = &RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY;
            verify_rsa(parameters, key, message, signature)
        }
        Algorithm::RSASHA512 => {
            let parameters = &RSA_PKCS1_1024_8192_SHA512_FOR_LEGACY_USE_ONLY;
            verify_rsa(parameters, key, message, signature)
        }
        Algorithm::ECDSAP256SHA256 => {
            let point: [u8; 65] = point(key).ok_or(VerifyError::BadKey)?;
            verify_with(&ECDSA_P256_SHA256_FIXED, &point, message, signature)
        }
        Algorithm::ECDSAP384SHA384 => {
            let point: [u8; 97] = point(key).ok_or(VerifyError::BadKey)?;
            verify_with(&ECDSA_P384_SHA384_FIXED, &point, message, signature)
        }
        Algorithm::ED25519 if key.len() == 32 => verify_with(&ED25519, key, message, signature),
        Algorithm::ED25519 => Err(VerifyError::BadKey),
        _ => Err(VerifyError::Unsupported),
    }
}

fn verify_with(
    algorithm: &'static dyn VerificationAlgorithm,
    key: &[u8],
    message: &[u8],
    signature: &[u8],
) -> Result<(), VerifyError> {
    UnparsedPublicKey::new(algorithm, key)
        .verify(message, signature)
        .map_err(|_| VerifyError::BadSignature)
}

/// RFC 6605 4: the DNSKEY holds the two coordinates alone.
fn point<const LEN: usize>(key: &[u8]) -> Option<[u8; LEN]> {
    let mut point = [0u8; LEN];
    let (form, coordinates) = point.split_first_mut()?;
    *form = 4;
    if coordinates.len() != key.len() {
        return None;
    }
    coordinates.copy_from_slice(key);
    Some(point)
}

fn verify_rsa(
    parameters: &RsaParameters,
    key: &[u8],
    message: &[u8],
    signature: &[u8],
) -> Result<(), VerifyError> {
    let (e, n) = rsa_parts(key).ok_or(VerifyError::BadKey)?;
    if !(MIN_RSA..=MAX_RSA).contains(&n.len()) {
        return Err(VerifyError::BadKey);
    }
    RsaPublicKeyComponents { n, e }
        .verify(parameters, message, signature)
        .map_err(|_| VerifyError::BadSignature)
}

/// Exponent and modulus of a key (RFC 3110 2), without leading zeros.
pub(super) fn rsa_parts(key: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = match *key {
        [0, high, low, ref rest @ ..] => (usize::from(high) << 8 | usize::from(low), rest),
        [length, ref rest @ ..] => (usize::from(length), rest),
        [] => return None,
    };
    let (exponent, modulus) = rest.split_at_checked(length)?;
    let strip = |octets| strip_zeros(octets);
    Some((strip(exponent), strip(modulus)))
        .filter(|(exponent, modulus)| !exponent.is_empty() && !modulus.is_empty())
}

/// A number without its leading zero octets.
pub(super) fn strip_zeros(octets: &[u8]) -> &[u8] {
    let zeros = octets.iter().take_while(|octet| **octet == 0).count();
    octets.get(zeros..).unwrap_or(&[])
}
