//! What is known of names: record sets, denials and failures, each with its time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use super::store::Kept;
use crate::wire::code::RrType;
use crate::wire::name::{Name, NameRef};

/// A record set with the signatures over it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RrSet {
    pub(crate) owner: Name,
    pub(crate) rr_type: RrType,
    pub(crate) ttl: u32,
    pub(crate) data: Vec<Box<[u8]>>,
    pub(crate) signatures: Vec<Box<[u8]>>,
}

impl RrSet {
    pub(crate) fn size(&self) -> usize {
        let octets = |rows: &[Box<[u8]>]| rows.iter().map(|row| row.len() + 16).sum::<usize>();
        96 + self.owner.as_ref().wire().len() + octets(&self.data) + octets(&self.signatures)
    }

    /// The name that a CNAME, DNAME, NS or PTR set leads to.
    pub(crate) fn target(&self) -> Option<NameRef<'_>> {
        NameRef::from_wire(self.data.first()?).ok()
    }
}

/// How far data can be trusted (RFC 4035 4.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Security {
    /// Not looked at.
    Unchecked = 0,
    /// A chain of trust was sought, and one of its links must be there and is not, or is wrong.
    Bogus = 1,
    /// No anchor says anything about it.
    Indeterminate = 2,
    /// Proven to be in an unsigned zone.
    Insecure = 3,
    /// Signed, all the way from an anchor.
    Secure = 4,
}

impl Security {
    fn of(number: u8) -> Security {
        match number {
            1 => Security::Bogus,
            2 => Security::Indeterminate,
            3 => Security::Insecure,
            4 => Security::Secure,
            _ => Security::Unchecked,
        }
    }

    /// What operators call it.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Security::Unchecked => "unchecked",
            Security::Bogus => "bogus",
            Security::Indeterminate => "indeterminate",
            Security::Insecure => "insecure",
            Security::Secure => "secure",
        }
    }
}

/// What is known of a name and type.
#[derive(Debug, Clone)]
pub(crate) enum Fact {
    /// The set exists.
    Set(Arc<RrSet>),
    /// The name is another, for every type (RFC 6672); the CNAME is made from the DNAME.
    Renamed {
        dname: Arc<RrSet>,
        cname: Arc<RrSet>,
    },
    /// The name has no such set.
    NoData,
    /// There is no such name.
    NoName,
    /// It could not be found out (RFC 9520).
    Failed,
}

/// An entry of the record cache.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) name: Name,
    pub(crate) rr_type: RrType,
    pub(crate) fact: Fact,
    /// SOA and proofs of a denial; the proof of a set that a wildcard made.
    pub(crate) authority: Vec<Arc<RrSet>>,
    pub(crate) stored: Instant,
    /// Seconds it counts for, within the bounds of the configuration.
    pub(crate) ttl: u32,
    security: AtomicU8,
    /// Extended error (RFC 8914) of what failed; 65535: none.
    reason: AtomicU16,
    /// Seconds that the signatures let it count for.
    signed: AtomicU32,
    /// Bit by bit, which sets of `authority` are as good as the rest.
    good: AtomicU32,
}

/// The kind under which is kept that a name does not exist: no type has so high a number.
pub(crate) const NO_NAME: u32 = 1 << 16;

/// No extended error.
const NO_REASON: u16 = u16::MAX;

impl Entry {
    pub(crate) fn new(
        name: Name,
        rr_type: RrType,
        fact: Fact,
        authority: Vec<Arc<RrSet>>,
        stored: Instant,
        ttl: u32,
    ) -> Entry {
        Entry {
            name,
            rr_type,
            fact,
            authority,
            stored,
            ttl,
            security: AtomicU8::new(Security::Unchecked as u8),
            reason: AtomicU16::new(NO_REASON),
            signed: AtomicU32::new(u32::MAX),
            good: AtomicU32::new(u32::MAX),
        }
    }

    /// Seconds from when it was stored that it counts for.
    fn counts_for(&self) -> u32 {
        self.ttl.min(self.signed.load(Ordering::Relaxed))
    }

    /// Whole seconds it still counts for; none if it has expired.
    pub(crate) fn left(&self, now: Instant) -> Option<u32> {
        let age = now.saturating_duration_since(self.stored).as_secs();
        u32::try_from(age)
            .ok()
            .and_then(|age| self.counts_for().checked_sub(age))
            .filter(|left| *left > 0)
    }

    /// True if less than a tenth of its time is left.
    pub(crate) fn is_old(&self, now: Instant) -> bool {
        self.left(now)
            .is_none_or(|left| u64::from(left) * 10 < u64::from(self.counts_for()))
    }

    /// How long ago it expired; zero if it has not.
    pub(crate) fn stale_for(&self, now: Instant) -> Duration {
        let age = now.saturating_duration_since(self.stored);
        age.saturating_sub(Duration::from_secs(self.counts_for().into()))
    }

    pub(crate) fn security(&self) -> Security {
        Security::of(self.security.load(Ordering::Relaxed))
    }

    pub(crate) fn reason(&self) -> Option<u16> {
        Some(self.reason.load(Ordering::Relaxed)).filter(|reason| *reason != NO_REASON)
    }

    /// Says what became of a check.
    pub(crate) fn judge(&self, security: Security, reason: Option<u16>) {
        self.reason
            .store(reason.unwrap_or(NO_REASON), Ordering::Relaxed);
        self.security.store(security as u8, Ordering::Relaxed);
    }

    /// Says what the signatures that were verified vouch for: which sets of `authority`, and for
    /// how many seconds from now (RFC 4035 5.3.3).
    pub(crate) fn vouch(&self, good: u32, ttl: u32, now: Instant) {
        let age = now.saturating_duration_since(self.stored).as_secs();
        let age = age.min(u32::MAX.into()) as u32;
        self.good.store(good, Ordering::Relaxed);
        self.signed
            .fetch_min(age.saturating_add(ttl), Ordering::Relaxed);
    }

    /// What goes out with it: all of `authority`, or what of it is as secure as the entry is.
    pub(crate) fn vouched(&self) -> impl Iterator<Item = &Arc<RrSet>> {
        let good = self.good.load(Ordering::Relaxed);
        let sets = self.authority.iter().enumerate();
        sets.filter(move |(at, _)| bit(*at) & good != 0)
            .map(|(_, set)| set)
    }

    /// True of what says that the name is another.
    pub(crate) fn is_alias(&self) -> bool {
        match &self.fact {
            Fact::Set(set) => set.rr_type == RrType::CNAME,
            Fact::Renamed { .. } => true,
            Fact::NoData | Fact::NoName | Fact::Failed => false,
        }
    }

    /// The key's number part.
    pub(crate) fn kind(&self) -> u32 {
        match self.fact {
            // The zone above, which answers for a DS set, need not be whom the name is asked of.
            Fact::NoName if self.rr_type != RrType::DS => NO_NAME,
            _ => self.rr_type.0.into(),
        }
    }
}

/// The bit that stands for the set at a place; none for places beyond all that are kept.
pub(crate) fn bit(at: usize) -> u32 {
    u32::try_from(at)
        .ok()
        .and_then(|at| 1u32.checked_shl(at))
        .unwrap_or(0)
}

impl Kept for Entry {
    fn is(&self, name: NameRef<'_>, kind: u32) -> bool {
        self.name.as_ref() == name && self.kind() == kind
    }

    fn size(&self) -> usize {
        let fact = match &self.fact {
            Fact::Set(set) => set.size(),
            Fact::Renamed { dname, cname } => dname.size() + cname.size(),
            _ => 0,
        };
        let authority: usize = self.authority.iter().map(|set| set.size()).sum();
        128 + self.name.as_ref().wire().len() + fact + authority
    }
}
