//! DS records (RFC 4034 5): what a zone's parent says of its keys.

use std::fmt;

use aws_lc_rs::digest::{self as lc, SHA1_FOR_LEGACY_USE_ONLY, SHA256, SHA384};

use super::algorithm::Algorithm;
use super::key::{DnsKey, key_tag};
use crate::wire::name::NameRef;

/// A digest's number (IANA "Delegation Signer (DS) Resource Record (RR) Type Digest Algorithms").
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DigestType(pub u8);

impl DigestType {
    /// SHA-1 (RFC 4034 5.1.4): validated where no other is there, never made (RFC 8624 3.3).
    pub const SHA1: DigestType = DigestType(1);
    /// SHA-256 (RFC 4509).
    pub const SHA256: DigestType = DigestType(2);
    /// SHA-384 (RFC 6605).
    pub const SHA384: DigestType = DigestType(4);

    /// True of a digest that is computed here.
    pub fn is_supported(self) -> bool {
        self.algorithm().is_some()
    }

    fn algorithm(self) -> Option<&'static lc::Algorithm> {
        match self {
            DigestType::SHA1 => Some(&SHA1_FOR_LEGACY_USE_ONLY),
            DigestType::SHA256 => Some(&SHA256),
            DigestType::SHA384 => Some(&SHA384),
            _ => None,
        }
    }
}

impl fmt::Debug for DigestType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "digest {}", self.0)
    }
}

/// The data of a DS or CDS record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ds<'a> {
    /// Tag of the key meant.
    pub key_tag: u16,
    /// Algorithm of the key meant.
    pub algorithm: Algorithm,
    /// Digest algorithm.
    pub digest_type: DigestType,
    /// Digest.
    pub digest: &'a [u8],
}

impl<'a> Ds<'a> {
    /// Reads record data.
    pub fn read(rdata: &'a [u8]) -> Option<Ds<'a>> {
        let ([t1, t0, algorithm, digest_type], digest) = rdata.split_first_chunk::<4>()?;
        Some(Ds {
            key_tag: u16::from_be_bytes([*t1, *t0]),
            algorithm: Algorithm(*algorithm),
            digest_type: DigestType(*digest_type),
            digest,
        })
    }

    /// True if this record means that key of that zone.
    pub fn matches(&self, zone: NameRef<'_>, key: &DnsKey<'_>) -> bool {
        self.algorithm == key.algorithm
            && self.key_tag == key.tag()
            && digest(zone, key.rdata(), self.digest_type)
                .is_some_and(|made| made.as_ref() == self.digest)
    }

    /// The data of a DS record for a key.
    pub fn make(zone: NameRef<'_>, dnskey: &[u8], digest_type: DigestType) -> Option<Vec<u8>> {
        let made = digest(zone, dnskey, digest_type)?;
        let algorithm = DnsKey::read(dnskey)?.algorithm;
        let mut rdata = key_tag(dnskey).to_be_bytes().to_vec();
        rdata.extend_from_slice(&[algorithm.0, digest_type.0]);
        rdata.extend_from_slice(made.as_ref());
        Some(rdata)
    }
}

/// The digest of a zone's key (RFC 4034 5.1.4); none for a digest that is not computed here.
pub fn digest(zone: NameRef<'_>, dnskey: &[u8], digest_type: DigestType) -> Option<lc::Digest> {
    let mut context = lc::Context::new(digest_type.algorithm()?);
    context.update(&zone.wire().to_ascii_lowercase());
    context.update(dnskey);
    Some(context.finish())
}
