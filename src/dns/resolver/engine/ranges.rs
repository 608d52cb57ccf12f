//! What validated NSEC records say of names nobody has asked for yet (RFC 8198): a name that lies
//! in a range known to be empty need not be asked for.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::denial::{Claim, Proof, Proofs};
use super::record::{Fact, RrSet};
use super::reply::Learned;
use crate::dnssec::Nsec;
use crate::wire::code::RrType;
use crate::wire::name::{Name, NameBuf, NameRef};

/// Zones of which ranges are kept, and ranges of one zone.
const MAX_ZONES: usize = 500;
const MAX_RANGES: usize = 4000;
/// Octets that a set takes beside its own.
const OVERHEAD: usize = 128;

struct Zone {
    soa: (Arc<RrSet>, Instant),
    /// NSEC sets by owner, in canonical order, with the time they count until.
    ranges: BTreeMap<Name, (Arc<RrSet>, Instant)>,
    /// Octets that the ranges take.
    octets: usize,
}

impl Zone {
    fn size(&self) -> usize {
        OVERHEAD + self.soa.0.size() + self.octets
    }

    fn insert(&mut self, set: &Arc<RrSet>, until: Instant, now: Instant) {
        if self.ranges.len() >= MAX_RANGES {
            self.sweep(now);
            if self.ranges.len() >= MAX_RANGES {
                self.ranges.clear();
                self.octets = 0;
            }
        }
        let old = self.ranges.insert(set.owner.clone(), (set.clone(), until));
        self.octets += size(set);
        self.octets -= old.map_or(0, |(old, _)| size(&old));
    }

    fn sweep(&mut self, now: Instant) {
        self.ranges.retain(|_, (_, until)| *until > now);
        self.octets = self.ranges.values().map(|(set, _)| size(set)).sum();
    }
}

fn size(set: &RrSet) -> usize {
    OVERHEAD + set.size()
}

#[derive(Default)]
struct Zones {
    zones: HashMap<Name, Zone>,
    octets: usize,
}

impl Zones {
    /// Makes room: what has expired goes first, then whole zones.
    fn shrink(&mut self, limit: usize, now: Instant) {
        if self.octets <= limit && self.zones.len() <= MAX_ZONES {
            return;
        }
        self.zones.retain(|_, zone| zone.soa.1 > now);
        self.zones.values_mut().for_each(|zone| zone.sweep(now));
        self.count();
        // Half of it, so that the next sweep is far.
        while self.octets > limit / 2 || self.zones.len() > MAX_ZONES / 2 {
            let Some(name) = self.zones.keys().next().cloned() else {
                break;
            };
            let gone = self.zones.remove(&name);
            self.octets -= gone.map_or(0, |zone| zone.size());
        }
    }

    fn count(&mut self) {
        self.octets = self.zones.values().map(Zone::size).sum();
    }
}

/// The ranges.
pub(crate) struct Ranges {
    held: Mutex<Zones>,
    /// Octets that they may take.
    limit: usize,
}

impl Ranges {
    /// Ranges of at most so many octets.
    pub(crate) fn new(limit: usize) -> Ranges {
        Ranges {
            held: Mutex::default(),
            limit,
        }
    }

    /// Keeps what a denial proved: its SOA and NSEC sets, all of which were validated.
    pub(crate) fn learn(&self, zone: &Name, authority: &[Arc<RrSet>], now: Instant, ttl: u32) {
        let of = |rr_type: RrType| authority.iter().filter(move |set| set.rr_type == rr_type);
        let Some(soa) =
            of(RrType::SOA).find(|soa| soa.owner == *zone && !soa.signatures.is_empty())
        else {
            return;
        };
        let until = now + Duration::from_secs(ttl.into());
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let held = &mut *held;
        let before = held.zones.get(zone).map_or(0, Zone::size);
        let one = held.zones.entry(zone.clone()).or_insert_with(|| Zone {
            soa: (soa.clone(), until),
            ranges: BTreeMap::new(),
            octets: 0,
        });
        one.soa = (soa.clone(), until);
        for set in of(RrType::NSEC).filter(|set| set.data.len() == 1) {
            one.insert(set, until, now);
        }
        held.octets = (held.octets + one.size()).saturating_sub(before);
        held.shrink(self.limit, now);
    }

    /// A denial of a name and type made of what is known of zones within `realm`.
    pub(crate) fn deny(
        &self,
        name: &Name,
        rr_type: RrType,
        now: Instant,
        realm: NameRef<'_>,
    ) -> Option<Learned> {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let mut above = Some(name.as_ref());
        let (apex, zone) = loop {
            let at = above.filter(|at| at.is_within(realm))?.to_owned();
            if let Some(zone) = held.zones.get(&at) {
                break (at, zone);
            }
            above = above.and_then(NameRef::parent);
        };
        if zone.soa.1 <= now {
            return None;
        }
        let before = |name: &Name| {
            let bounds = (Bound::Unbounded, Bound::Included(name));
            let (_, (set, until)) = zone.ranges.range(bounds).next_back()?;
            (*until > now).then_some((set, *until))
        };
        let (first, mut until) = before(name)?;
        let mut used = vec![first.clone()];
        let claim = if first.owner == *name {
            Claim::NoData
        } else {
            let encloser = encloser(name, first)?;
            let star = NameRef::from_wire(b"\x01*\0").ok()?;
            let wildcard = NameBuf::join(star, encloser.as_ref()).ok()?;
            let (second, second_until) = before(&wildcard.as_ref().to_owned())?;
            until = until.min(second_until);
            if !Arc::ptr_eq(first, second) {
                used.push(second.clone());
            }
            Claim::NoName
        };
        let proofs = Proofs::of(apex.as_ref(), used.iter().map(|set| &**set));
        if proofs.prove(claim, name, rr_type) != (Proof::Holds { cut: false }) {
            return None;
        }
        let until = until.min(zone.soa.1);
        let ttl = until.saturating_duration_since(now).as_secs() as u32;
        let mut authority = vec![zone.soa.0.clone()];
        authority.extend(used);
        let fact = match claim {
            Claim::NoName => Fact::NoName,
            _ => Fact::NoData,
        };
        Some(Learned {
            name: name.clone(),
            rr_type,
            fact,
            authority,
            ttl,
        })
    }

    /// Forgets zones that a test says.
    pub(crate) fn forget(&self, about: impl Fn(&Name) -> bool) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.zones.retain(|name, _| !about(name));
        held.count();
    }
}

/// The longest name above a missing one that is there, by the range it lies in.
fn encloser(name: &Name, range: &RrSet) -> Option<Name> {
    let nsec = Nsec::read(range.data.first()?)?;
    let mut at = name.as_ref().parent();
    while let Some(above) = at {
        if range.owner.as_ref().is_within(above) || nsec.next.is_within(above) {
            return Some(above.to_owned());
        }
        at = above.parent();
    }
    None
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use crate::wire::record::OwnRecord;

    #[test]
    fn denies_what_lies_between() {
        let name = |text: &str| Name::from_text(text).unwrap();
        let set = |owner: &str, rr_type: RrType, data: &str| {
            let record = OwnRecord::from_text(name(owner), rr_type, 60, data).unwrap();
            Arc::new(RrSet {
                owner: record.owner,
                rr_type,
                ttl: 60,
                data: vec![record.rdata.into()],
                signatures: vec![Box::default()],
            })
        };
        let (ranges, now) = (Ranges::new(1 << 20), Instant::now());
        let authority = [
            set("example.", RrType::SOA, "a. b. 1 2 3 4 60"),
            set("example.", RrType::NSEC, "b.example. NS SOA"),
            set("m.example.", RrType::NSEC, "sub.example. A"),
            set("sub.example.", RrType::NSEC, "z.example. NS"),
        ];
        ranges.learn(&name("example."), &authority, now, 60);
        let says = |text: &str, rr_type: RrType, now: Instant| {
            ranges
                .deny(&name(text), rr_type, now, NameRef::ROOT)
                .map(|learned| matches!(learned.fact, Fact::NoName))
        };
        assert_eq!(says("n.example.", RrType::A, now), Some(true));
        assert_eq!(says("x.n.example.", RrType::A, now), Some(true));
        assert_eq!(says("m.example.", RrType::MX, now), Some(false));
        assert_eq!(says("m.example.", RrType::A, now), None, "it is there");
        assert_eq!(
            says("c.example.", RrType::A, now),
            None,
            "no range is known"
        );
        assert_eq!(
            says("x.sub.example.", RrType::A, now),
            None,
            "another zone's"
        );
        let (missing, below) = (name("n.example."), name("sub.example."));
        let elsewhere = ranges.deny(&missing, RrType::A, now, below.as_ref());
        assert!(elsewhere.is_none(), "whom another source answers for");
        let later = now + Duration::from_secs(61);
        assert_eq!(says("n.example.", RrType::A, later), None);
    }

    /// However many zones and ranges somebody makes up, they take no more than they may.
    #[test]
    fn bounded() {
        let name = |text: &str| Name::from_text(text).unwrap();
        let set = |owner: &str, rr_type: RrType, data: &str| {
            let record = OwnRecord::from_text(name(owner), rr_type, 60, data).unwrap();
            Arc::new(RrSet {
                owner: record.owner,
                rr_type,
                ttl: 60,
                data: vec![record.rdata.into()],
                signatures: vec![vec![0; 2000].into()],
            })
        };
        let (limit, now) = (100_000, Instant::now());
        let ranges = Ranges::new(limit);
        for zone in 0..3 {
            for number in 0..200 {
                let apex = format!("z{zone}.");
                let authority = [
                    set(&apex, RrType::SOA, "a. b. 1 2 3 4 60"),
                    set(&format!("n{number}.{apex}"), RrType::NSEC, "zz. A"),
                ];
                ranges.learn(&name(&apex), &authority, now, 60);
                let held = ranges.held.lock().unwrap();
                let counted: usize = held.zones.values().map(Zone::size).sum();
                assert_eq!(held.octets, counted);
                assert!(counted <= limit, "{counted}");
            }
        }
        ranges.forget(|_| true);
        assert_eq!(ranges.held.lock().unwrap().octets, 0);
    }
}
