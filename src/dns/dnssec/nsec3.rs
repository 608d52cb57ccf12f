//! Hashed owner names (RFC 5155 5).

use aws_lc_rs::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY, digest};

use crate::wire::name::{MAX_NAME, Name, NameRef};

/// Octets of the one hash in use, SHA-1.
pub const HASH_LEN: usize = 20;

/// A hashed owner name.
pub type Hash = [u8; HASH_LEN];

/// How names are hashed: what NSEC3PARAM and each NSEC3 record say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Nsec3Hash<'a> {
    /// Rounds after the first.
    pub iterations: u16,
    /// What is hashed along.
    pub salt: &'a [u8],
}

impl<'a> Nsec3Hash<'a> {
    /// SHA-1, the one number assigned (RFC 5155 11).
    pub const SHA1: u8 = 1;

    /// Reads the data of an NSEC3PARAM record, or the front of an NSEC3 record's, with the flags
    /// and what is behind; none if names are hashed in a way unknown here (RFC 5155 8.1).
    pub fn read(rdata: &'a [u8]) -> Option<(Nsec3Hash<'a>, u8, &'a [u8])> {
        let ([algorithm, flags, i1, i0, length], rest) = rdata.split_first_chunk::<5>()?;
        if *algorithm != Self::SHA1 {
            return None;
        }
        let (salt, rest) = rest.split_at_checked(usize::from(*length))?;
        let iterations = u16::from_be_bytes([*i1, *i0]);
        Some((Nsec3Hash { iterations, salt }, *flags, rest))
    }

    /// The data of an NSEC3PARAM record.
    pub fn write(&self, flags: u8) -> Vec<u8> {
        let mut rdata = vec![Self::SHA1, flags];
        rdata.extend_from_slice(&self.iterations.to_be_bytes());
        rdata.push(self.salt.len() as u8);
        rdata.extend_from_slice(self.salt);
        rdata
    }

    /// Hashes a name. Costs `iterations + 1` rounds of SHA-1: who takes the number from others
    /// bounds it first (RFC 9276 3.2).
    pub fn hash(&self, name: NameRef<'_>) -> Hash {
        let mut lower = [0u8; MAX_NAME];
        let wire = name.wire();
        let lower = lower.get_mut(..wire.len()).unwrap_or_default();
        lower.copy_from_slice(wire);
        lower.make_ascii_lowercase();
        let mut hash = self.round(lower);
        for _ in 0..self.iterations {
            hash = self.round(&hash);
        }
        hash
    }

    fn round(&self, octets: &[u8]) -> Hash {
        let made = if self.salt.is_empty() {
            digest(&SHA1_FOR_LEGACY_USE_ONLY, octets)
        } else {
            let mut context = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
            context.update(octets);
            context.update(self.salt);
            context.finish()
        };
        let mut hash = [0; HASH_LEN];
        for (slot, octet) in hash.iter_mut().zip(made.as_ref()) {
            *slot = *octet;
        }
        hash
    }
}

/// The label of a hash: base32hex in lower case, unpadded (RFC 5155 1.3).
pub fn label(hash: &Hash) -> [u8; 32] {
    const DIGITS: &[u8; 32] = b"0123456789abcdefghijklmnopqrstuv";
    let mut label = [0u8; 32];
    let (mut bits, mut held) = (0u32, 0u32);
    let mut slots = label.iter_mut();
    for octet in hash {
        bits = bits << 8 | u32::from(*octet);
        held += 8;
        while held >= 5 {
            held -= 5;
            if let Some(slot) = slots.next() {
                *slot = DIGITS[(bits >> held) as usize & 31];
            }
        }
        bits &= (1 << held) - 1;
    }
    label
}

/// The hash that the first label of an NSEC3 record's owner stands for.
pub fn of_owner(owner: NameRef<'_>) -> Option<Hash> {
    let label = owner.labels().next()?;
    let mut octets = Vec::new();
    crate::wire::rdata::read_base32hex(label, &mut octets).ok()?;
    octets.try_into().ok()
}

/// The owner of the NSEC3 record of a hash; none if the zone's name leaves no room.
pub fn owner(hash: &Hash, zone: NameRef<'_>) -> Option<Name> {
    let mut wire = vec![32];
    wire.extend_from_slice(&label(hash));
    wire.extend_from_slice(zone.wire());
    Name::from_wire(&wire).ok()
}
