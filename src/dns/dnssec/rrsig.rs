//! RRSIG records (RFC 4034 3).

use super::algorithm::{Algorithm, VerifyError, verify};
use super::key::DnsKey;
use super::rrset::canonical_rrset;
use crate::wire::code::{Class, RrType};
use crate::wire::name::NameRef;

/// The data of an RRSIG record.
#[derive(Debug, Clone, Copy)]
pub struct Rrsig<'a> {
    /// Type of the set signed.
    pub covered: RrType,
    /// Algorithm.
    pub algorithm: Algorithm,
    /// Labels of the owner that was signed.
    pub labels: u8,
    /// TTL of the set in its zone.
    pub original_ttl: u32,
    /// Last second of validity, modulo 2^32.
    pub expiration: u32,
    /// First second of validity, modulo 2^32.
    pub inception: u32,
    /// Tag of the key.
    pub key_tag: u16,
    /// The zone whose key it is.
    pub signer: NameRef<'a>,
    /// The signature.
    pub signature: &'a [u8],
}

/// Whether a signature is of this time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Validity {
    /// Valid now.
    Valid,
    /// Not valid yet.
    NotYet,
    /// No longer valid.
    Expired,
}

/// True if a point in time is not after another, of times modulo 2^32 (RFC 1982, RFC 4034 3.1.5).
fn not_after(earlier: u32, later: u32) -> bool {
    (later.wrapping_sub(earlier) as i32) >= 0
}

impl<'a> Rrsig<'a> {
    /// Reads record data.
    pub fn read(rdata: &'a [u8]) -> Option<Rrsig<'a>> {
        let (head, rest) = rdata.split_first_chunk::<18>()?;
        let [
            c1,
            c0,
            algorithm,
            labels,
            o3,
            o2,
            o1,
            o0,
            e3,
            e2,
            e1,
            e0,
            i3,
            i2,
            i1,
            i0,
            t1,
            t0,
        ] = *head;
        let (signer, signature) = NameRef::split_wire(rest).ok()?;
        Some(Rrsig {
            covered: RrType(u16::from_be_bytes([c1, c0])),
            algorithm: Algorithm(algorithm),
            labels,
            original_ttl: u32::from_be_bytes([o3, o2, o1, o0]),
            expiration: u32::from_be_bytes([e3, e2, e1, e0]),
            inception: u32::from_be_bytes([i3, i2, i1, i0]),
            key_tag: u16::from_be_bytes([t1, t0]),
            signer,
            signature,
        })
    }

    /// Whether it is valid at a time, seconds since 1970 modulo 2^32.
    pub fn validity(&self, now: u32) -> Validity {
        if !not_after(self.inception, now) {
            Validity::NotYet
        } else if !not_after(now, self.expiration) {
            Validity::Expired
        } else {
            Validity::Valid
        }
    }

    /// Its data without the signature, the signer in lower case: what comes before the set in the
    /// octets that are signed (RFC 4034 3.1.8.1).
    pub fn head(&self) -> Vec<u8> {
        let mut head = Vec::with_capacity(18 + self.signer.wire().len());
        head.extend_from_slice(&self.covered.0.to_be_bytes());
        head.extend_from_slice(&[self.algorithm.0, self.labels]);
        head.extend_from_slice(&self.original_ttl.to_be_bytes());
        head.extend_from_slice(&self.expiration.to_be_bytes());
        head.extend_from_slice(&self.inception.to_be_bytes());
        head.extend_from_slice(&self.key_tag.to_be_bytes());
        head.extend_from_slice(&self.signer.wire().to_ascii_lowercase());
        head
    }

    /// The octets that are signed; none if the owner has fewer labels than the signature counts.
    pub fn signed_octets<'r>(
        &self,
        owner: NameRef<'_>,
        class: Class,
        records: impl Iterator<Item = &'r [u8]>,
    ) -> Option<Vec<u8>> {
        let mut octets = self.head();
        let (labels, covered, ttl) = (self.labels, self.covered, self.original_ttl);
        canonical_rrset(owner, labels, covered, class, ttl, records, &mut octets).then_some(octets)
    }

    /// True if the set it signs was made from a wildcard for this owner (RFC 4035 5.3.4): then the
    /// absence of the owner itself is still to be proven.
    pub fn is_expanded(&self, owner: NameRef<'_>) -> bool {
        self.labels < super::rrset::signed_labels(owner)
    }

    /// Checks it over a set with a key of the zone. Time, and whether that key is to be trusted,
    /// are the caller's to judge (RFC 4035 5.3.1).
    pub fn verify<'r>(
        &self,
        key: &DnsKey<'_>,
        owner: NameRef<'_>,
        class: Class,
        records: impl Iterator<Item = &'r [u8]>,
    ) -> Result<(), VerifyError> {
        if !key.is_zone_key() || key.algorithm != self.algorithm {
            return Err(VerifyError::BadKey);
        }
        let octets = self
            .signed_octets(owner, class, records)
            .ok_or(VerifyError::BadSignature)?;
        verify(self.algorithm, key.key, &octets, self.signature)
    }
}
