//! What one question may cost, counted down wherever somebody else decides how much is done.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use super::record::Entry;
use super::settings::Budget;
use super::store::Kept;
use crate::wire::code::RrType;
use crate::wire::name::{Name, NameRef};

/// Extended errors (RFC 8914) that the resolver gives.
pub(crate) mod reason {
    pub(crate) const OTHER: u16 = 0;
    pub(crate) const UNSUPPORTED_ALGORITHM: u16 = 1;
    pub(crate) const STALE_ANSWER: u16 = 3;
    pub(crate) const FORGED: u16 = 4;
    pub(crate) const BOGUS: u16 = 6;
    pub(crate) const SIGNATURE_EXPIRED: u16 = 7;
    pub(crate) const SIGNATURE_NOT_YET_VALID: u16 = 8;
    pub(crate) const DNSKEY_MISSING: u16 = 9;
    pub(crate) const RRSIGS_MISSING: u16 = 10;
    pub(crate) const NSEC_MISSING: u16 = 12;
    pub(crate) const BLOCKED: u16 = 15;
    pub(crate) const STALE_NXDOMAIN: u16 = 19;
    pub(crate) const NOT_SUPPORTED: u16 = 21;
    pub(crate) const NO_REACHABLE_AUTHORITY: u16 = 22;
    pub(crate) const NETWORK_ERROR: u16 = 23;
    pub(crate) const UNSUPPORTED_ITERATIONS: u16 = 27;
}

/// Why a lookup ends without a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fault(pub(crate) u16);

/// One client's question and all the work it makes.
pub(crate) struct Request {
    pub(crate) deadline: Instant,
    queries: AtomicU32,
    lookups: AtomicU32,
    signatures: AtomicU32,
    /// Something was left undone for want of a budget.
    spent: AtomicBool,
    /// What is older than nine tenths of its time is asked for anew.
    pub(crate) refresh: bool,
    /// What was learned on the way, for as long as the question lives: a TTL of zero is good for
    /// this one question.
    fresh: Mutex<Fresh>,
}

#[derive(Default)]
struct Fresh {
    entries: Vec<Arc<Entry>>,
    octets: usize,
}

/// Entries held for one question, and octets of them: they may be in no cache any more.
const MAX_FRESH: usize = 400;
const MAX_FRESH_OCTETS: usize = 1 << 20;

impl Request {
    pub(crate) fn new(budget: &Budget, now: Instant, refresh: bool) -> Request {
        Request {
            deadline: now + budget.time,
            queries: AtomicU32::new(budget.queries),
            lookups: AtomicU32::new(budget.lookups),
            signatures: AtomicU32::new(budget.signatures),
            spent: AtomicBool::new(false),
            refresh,
            fresh: Mutex::default(),
        }
    }

    /// Takes one message off the budget.
    pub(crate) fn take_query(&self, now: Instant) -> Result<(), Fault> {
        if now >= self.deadline {
            self.spend();
            return Err(Fault(reason::NO_REACHABLE_AUTHORITY));
        }
        self.take(&self.queries).ok_or(Fault(reason::OTHER))
    }

    /// Takes one search for a server's addresses off the budget.
    pub(crate) fn take_lookup(&self) -> Option<()> {
        self.take(&self.lookups)
    }

    /// Takes the check of one signature off the budget.
    pub(crate) fn take_signature(&self) -> Option<()> {
        self.take(&self.signatures)
    }

    fn take(&self, count: &AtomicU32) -> Option<()> {
        let taken = count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
            left.checked_sub(1)
        });
        if taken.is_err() {
            self.spend();
        }
        taken.ok().map(|_| ())
    }

    /// Something is left undone because it would cost this question too much.
    pub(crate) fn spend(&self) {
        self.spent.store(true, Ordering::Relaxed);
    }

    /// True once something was left undone: what failed since says nothing of anybody's zone, and
    /// is no other question's business.
    pub(crate) fn is_spent(&self) -> bool {
        self.spent.load(Ordering::Relaxed)
    }

    pub(crate) fn remember(&self, entry: &Arc<Entry>) {
        let mut fresh = self.fresh.lock().unwrap_or_else(PoisonError::into_inner);
        let octets = fresh.octets + entry.size();
        if fresh.entries.len() < MAX_FRESH && octets <= MAX_FRESH_OCTETS {
            fresh.octets = octets;
            fresh.entries.push(entry.clone());
        }
    }

    pub(crate) fn recall(&self, name: NameRef<'_>, kind: u32) -> Option<Arc<Entry>> {
        let fresh = self.fresh.lock().unwrap_or_else(PoisonError::into_inner);
        let same = |entry: &&Arc<Entry>| entry.kind() == kind && entry.name.as_ref() == name;
        fresh.entries.iter().rev().find(same).cloned()
    }
}

/// The names being looked up, each for the sake of the one before: no name waits for itself.
pub(crate) struct Path<'a> {
    name: &'a Name,
    rr_type: RrType,
    above: Option<&'a Path<'a>>,
    pub(crate) depth: u8,
}

/// Lookups within lookups.
const MAX_DEPTH: u8 = 8;

impl<'a> Path<'a> {
    pub(crate) fn start(name: &'a Name, rr_type: RrType) -> Path<'a> {
        Path {
            name,
            rr_type,
            above: None,
            depth: 0,
        }
    }

    /// True where there is no step further in.
    pub(crate) fn is_deepest(&self) -> bool {
        self.depth >= MAX_DEPTH
    }

    /// One step further in; none if the name is on the path already, or the path too long.
    pub(crate) fn into<'b>(&'b self, name: &'b Name, rr_type: RrType) -> Option<Path<'b>>
    where
        'a: 'b,
    {
        let mut step = Some(self);
        while let Some(path) = step {
            if path.rr_type == rr_type && path.name == name {
                return None;
            }
            step = path.above;
        }
        (!self.is_deepest()).then_some(Path {
            name,
            rr_type,
            above: Some(self),
            depth: self.depth + 1,
        })
    }
}

/// How many queries are under way to the servers of each zone.
#[derive(Default)]
pub(crate) struct Quota(Mutex<HashMap<Name, u32>>);

/// A place among the queries to a zone.
pub(crate) struct Place<'a> {
    quota: &'a Quota,
    zone: Name,
}

impl Quota {
    /// A place, unless all are taken.
    pub(crate) fn enter(&self, zone: &Name, limit: u32) -> Option<Place<'_>> {
        let mut zones = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = zones.entry(zone.clone()).or_default();
        if *count >= limit {
            return None;
        }
        *count += 1;
        Some(Place {
            quota: self,
            zone: zone.clone(),
        })
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut zones = self.quota.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = zones.get_mut(&self.zone) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                zones.remove(&self.zone);
            }
        }
    }
}
