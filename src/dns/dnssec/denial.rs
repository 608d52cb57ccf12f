//! NSEC and NSEC3 records (RFC 4034 4, RFC 5155 3): what is not there.

use std::cmp::Ordering;

use super::nsec3::{Hash, Nsec3Hash};
use super::types::TypeBitmap;
use crate::wire::name::NameRef;

/// The data of an NSEC record.
#[derive(Debug, Clone, Copy)]
pub struct Nsec<'a> {
    /// The next name of the zone.
    pub next: NameRef<'a>,
    /// Types at the owner.
    pub types: TypeBitmap<'a>,
}

impl<'a> Nsec<'a> {
    /// Reads record data.
    pub fn read(rdata: &'a [u8]) -> Option<Nsec<'a>> {
        let (next, types) = NameRef::split_wire(rdata).ok()?;
        Some(Nsec {
            next,
            types: TypeBitmap(types),
        })
    }

    /// True if a name lies between the owner and the next, so that it is not in the zone. The
    /// last record of a zone leads back to its apex.
    pub fn covers(&self, owner: NameRef<'_>, name: NameRef<'_>) -> bool {
        covers(
            owner.canonical_cmp(self.next),
            owner.canonical_cmp(name),
            name.canonical_cmp(self.next),
        )
    }
}

/// The data of an NSEC3 record whose names are hashed with SHA-1.
#[derive(Debug, Clone, Copy)]
pub struct Nsec3<'a> {
    /// How names are hashed.
    pub hash: Nsec3Hash<'a>,
    /// Flags.
    pub flags: u8,
    /// The next hashed name of the zone.
    pub next: Hash,
    /// Types at the owner.
    pub types: TypeBitmap<'a>,
}

impl<'a> Nsec3<'a> {
    /// Unsigned delegations may lie between this and the next (RFC 5155 3.1.2.1).
    pub const OPT_OUT: u8 = 1;

    /// Reads record data; none for a hash or a flag unknown here: such records are as if absent
    /// (RFC 5155 8.1, 8.2).
    pub fn read(rdata: &'a [u8]) -> Option<Nsec3<'a>> {
        let (hash, flags, rest) = Nsec3Hash::read(rdata)?;
        let (&length, rest) = rest.split_first()?;
        let (next, types) = rest.split_at_checked(usize::from(length))?;
        let next = Hash::try_from(next).ok()?;
        Some(Nsec3 {
            hash,
            flags,
            next,
            types: TypeBitmap(types),
        })
        .filter(|read| read.flags & !Nsec3::OPT_OUT == 0)
    }

    /// True if unsigned delegations may lie between this and the next.
    pub fn is_opt_out(&self) -> bool {
        self.flags & Nsec3::OPT_OUT != 0
    }

    /// True if a hashed name lies between that of the owner and the next.
    pub fn covers(&self, owner: &Hash, hashed: &Hash) -> bool {
        covers(
            owner.cmp(&self.next),
            owner.cmp(hashed),
            hashed.cmp(&self.next),
        )
    }
}

/// True if something lies behind the start and before the end of a stretch of a ring, given how
/// start and end compare, start and it, and it and the end.
pub fn covers(ends: Ordering, start: Ordering, end: Ordering) -> bool {
    match ends {
        Ordering::Less => start == Ordering::Less && end == Ordering::Less,
        // The last stretch goes round.
        Ordering::Greater => start == Ordering::Less || end == Ordering::Less,
        // One record alone: everything but its owner.
        Ordering::Equal => start != Ordering::Equal,
    }
}
