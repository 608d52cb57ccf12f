//! What makes one version of a zone another: records taken out and records put in, as IXFR
//! (RFC 1995) sends them, a journal keeps them and a signer reads them.

use std::collections::BTreeMap;

use super::trie::Key;
use super::zone::{Found, RrSet, Zone, build};
use crate::wire::code::{Class, RrType};
use crate::wire::master::{Place, Records, Sources};
use crate::wire::name::{Name, NameRef};
use crate::wire::rdata::canonical_into;
use crate::wire::record::{OwnRecord, read_ttl};

/// The way from one version of a zone to the next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Serial of the version before.
    pub from: u32,
    /// Serial of the version after.
    pub to: u32,
    /// Records taken out; the SOA of the version before comes first.
    pub removed: Vec<OwnRecord>,
    /// Records put in; the SOA of the version after comes first.
    pub added: Vec<OwnRecord>,
}

/// Why a change does not make a zone.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Mismatch {
    /// It is not a change of this version.
    #[error("the change begins at serial {from}, the zone is at {held}")]
    Serial {
        /// Serial the change begins at.
        from: u32,
        /// Serial of the zone.
        held: u32,
    },
    /// A record to be taken out is not there.
    #[error("the record to be taken out is not there: {0}")]
    Missing(String),
    /// A record to be put in is there already.
    #[error("the record to be put in is there already: {0}")]
    Present(String),
    /// What comes out is no zone.
    #[error("the change makes no zone that can be served: {0}")]
    Broken(String),
}

/// Records of one owner and type that own themselves.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OwnSet {
    /// Time to live.
    pub ttl: u32,
    /// Data of the records, by its canonical form (RFC 4034 6.2), which tells them apart; none
    /// means that there is no such set. A peer may send as many records of one set as a message
    /// or a transfer holds: to look for one costs no walk over the others.
    rows: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl OwnSet {
    /// A set of a zone.
    pub fn of(set: &RrSet<'_>) -> OwnSet {
        let rows = set.records();
        OwnSet {
            ttl: set.ttl,
            rows: rows
                .map(|(rdata, _)| (canonical(set.rr_type, rdata), rdata.to_vec()))
                .collect(),
        }
    }

    /// Data of the records.
    pub fn rows(&self) -> impl Iterator<Item = &[u8]> {
        self.rows.values().map(Vec::as_slice)
    }

    /// How many records.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// True if there is no such set.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// True if a record with such data is in it.
    pub fn holds(&self, rr_type: RrType, rdata: &[u8]) -> bool {
        self.rows.contains_key(&canonical(rr_type, rdata))
    }

    /// True if both hold the same records, whatever their time to live.
    pub fn has_rows_of(&self, other: &OwnSet) -> bool {
        self.rows.keys().eq(other.rows.keys())
    }

    /// Puts a record in, in place of its like; true if there was none.
    pub fn put(&mut self, rr_type: RrType, rdata: &[u8]) -> bool {
        let before = self.rows.insert(canonical(rr_type, rdata), rdata.to_vec());
        before.is_none()
    }

    /// Takes a record out; true if it was there.
    pub fn take(&mut self, rr_type: RrType, rdata: &[u8]) -> bool {
        self.rows.remove(&canonical(rr_type, rdata)).is_some()
    }

    /// Takes all records out.
    pub fn clear(&mut self) {
        self.rows.clear();
    }
}

fn canonical(rr_type: RrType, rdata: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(rdata.len());
    canonical_into(rr_type, rdata, &mut bytes);
    bytes
}

/// Records that a set of a zone holds at most.
const MAX_ROWS: usize = u16::MAX as usize;

/// Sets to stand in a zone in place of its own, by owner and type.
pub type Sets = BTreeMap<Name, BTreeMap<RrType, OwnSet>>;

impl Change {
    /// What leads from one version to another; none if they hold the same records.
    pub fn between(old: &Zone, new: &Zone) -> Option<Change> {
        let mut change = Change {
            from: old.serial(),
            to: new.serial(),
            removed: soa(old).into_iter().collect(),
            added: soa(new).into_iter().collect(),
        };
        let same_soa = change.removed == change.added;
        let (mut olds, mut news) = (old.node_ids().peekable(), new.node_ids().peekable());
        loop {
            let order = match (olds.peek(), news.peek()) {
                (None, None) => break,
                (Some(_), None) => std::cmp::Ordering::Less,
                (None, Some(_)) => std::cmp::Ordering::Greater,
                (Some(left), Some(right)) => old.name(*left).canonical_cmp(new.name(*right)),
            };
            let left = if order.is_le() { olds.next() } else { None };
            let right = if order.is_ge() { news.next() } else { None };
            change.compare(left.map(|id| (old, id)), right.map(|id| (new, id)));
        }
        let same = change.removed.len() == 1 && change.added.len() == 1;
        (!(same && same_soa)).then_some(change)
    }

    fn compare(&mut self, left: Option<(&Zone, u32)>, right: Option<(&Zone, u32)>) {
        let left_sets = left.into_iter().flat_map(|(zone, id)| zone.sets(id));
        for set in left_sets.filter(|set| set.rr_type != RrType::SOA) {
            let other = right.and_then(|(zone, id)| zone.set(id, set.rr_type));
            let Some((zone, id)) = left else { continue };
            push_missing(&mut self.removed, zone.name(id), &set, other.as_ref());
        }
        let right_sets = right.into_iter().flat_map(|(zone, id)| zone.sets(id));
        for set in right_sets.filter(|set| set.rr_type != RrType::SOA) {
            let other = left.and_then(|(zone, id)| zone.set(id, set.rr_type));
            let Some((zone, id)) = right else { continue };
            push_missing(&mut self.added, zone.name(id), &set, other.as_ref());
        }
    }

    /// Owners and types it touches, each once.
    pub fn touched(&self) -> std::collections::BTreeSet<(&Name, RrType)> {
        let records = self.removed.iter().chain(&self.added);
        records
            .map(|record| (&record.owner, record.rr_type))
            .collect()
    }

    /// Octets it takes in memory and in a journal, nearly.
    pub fn size(&self) -> usize {
        let records = self.removed.iter().chain(&self.added);
        records
            .map(|record| record.owner.as_ref().wire().len() + record.rdata.len() + 10)
            .sum()
    }

    /// The version of a zone that this change makes of it. Nothing in it is taken on trust: what
    /// is taken out must be there, and what is put in must not.
    pub fn apply(&self, zone: &Zone) -> Result<Zone, Mismatch> {
        apply_all(zone, std::iter::once(self))
    }
}

/// The version of a zone that a row of changes makes of it, at the cost of one.
pub fn apply_all<'c>(
    zone: &Zone,
    changes: impl IntoIterator<Item = &'c Change>,
) -> Result<Zone, Mismatch> {
    let (mut sets, mut held) = (Sets::new(), zone.serial());
    for change in changes {
        if change.from != held {
            return Err(Mismatch::Serial {
                from: change.from,
                held,
            });
        }
        for record in &change.removed {
            let set = editable(zone, &mut sets, record);
            if !set.take(record.rr_type, &record.rdata) {
                return Err(Mismatch::Missing(record.to_string()));
            }
        }
        for record in &change.added {
            let set = editable(zone, &mut sets, record);
            if !set.put(record.rr_type, &record.rdata) {
                return Err(Mismatch::Present(record.to_string()));
            }
            if set.len() > MAX_ROWS {
                let (owner, rr_type) = (&record.owner, record.rr_type);
                let message = format!("{owner} {rr_type}: more than {MAX_ROWS} records");
                return Err(Mismatch::Broken(message));
            }
            // A journal may hold one of a peer from before it was looked at.
            set.ttl = read_ttl(record.ttl);
        }
        held = change.to;
    }
    replace(zone, &sets).map_err(Mismatch::Broken)
}

fn editable<'s>(zone: &Zone, sets: &'s mut Sets, record: &OwnRecord) -> &'s mut OwnSet {
    let owner = record.owner.as_ref();
    let types = sets.entry(record.owner.clone()).or_default();
    types
        .entry(record.rr_type)
        .or_insert_with(|| set_of(zone, owner, record.rr_type).unwrap_or_default())
}

/// A set of a zone, cuts or not.
pub fn set_of(zone: &Zone, owner: NameRef<'_>, rr_type: RrType) -> Option<OwnSet> {
    let (node, _) = zone.search(owner);
    zone.set(node?, rr_type).map(|set| OwnSet::of(&set))
}

/// The zone with some of its sets in another form.
pub fn replace(zone: &Zone, sets: &Sets) -> Result<Zone, String> {
    let (mut records, mut sources) = (Records::default(), Sources::default());
    let place = Place {
        file: sources.add("change".into(), Vec::new().into(), None),
        at: 0,
    };
    let mut fits = true;
    let mut push = |owner: NameRef<'_>, rr_type, ttl, rdata: &[u8]| {
        fits &= records.push(owner, rr_type, ttl, rdata, place).is_ok();
    };
    let mut key = Key::default();
    let mut replaced = BTreeMap::new();
    for (owner, types) in sets {
        key.set(owner.as_ref());
        if let Found::Exact(id) = zone.find(&key, owner.as_ref()) {
            replaced.insert(id, types);
        }
    }
    // Both walks are in canonical order, so that the builder finds its input sorted: names that
    // are new come last, few runs among many.
    for id in zone.node_ids() {
        let types = replaced.get(&id);
        for set in zone.sets(id) {
            if types.is_some_and(|types| types.contains_key(&set.rr_type)) {
                continue;
            }
            for (rdata, _) in set.records() {
                push(zone.name(id), set.rr_type, set.ttl, rdata);
            }
        }
        for (rr_type, set) in types.into_iter().copied().flatten() {
            for rdata in set.rows() {
                push(zone.name(id), *rr_type, set.ttl, rdata);
            }
        }
    }
    for (owner, types) in sets {
        key.set(owner.as_ref());
        if matches!(zone.find(&key, owner.as_ref()), Found::Exact(_)) {
            continue;
        }
        for (rr_type, set) in types {
            for rdata in set.rows() {
                push(owner.as_ref(), *rr_type, set.ttl, rdata);
            }
        }
    }
    if !fits {
        return Err("the zone is larger than 4 GiB".to_owned());
    }
    let built = build(zone.apex(), &records, &sources);
    built.zone.ok_or_else(|| {
        let faults = built.faults.iter();
        faults
            .filter(|fault| fault.severity == crate::wire::master::Severity::Error)
            .map(|fault| fault.message.clone())
            .collect::<Vec<_>>()
            .join("; ")
    })
}

/// Adds the records of a set that another has not, or has with another TTL.
fn push_missing(
    to: &mut Vec<OwnRecord>,
    owner: NameRef<'_>,
    set: &RrSet<'_>,
    other: Option<&RrSet<'_>>,
) {
    let same_ttl = other.is_some_and(|other| other.ttl == set.ttl);
    let alike = other.filter(|_| same_ttl);
    let equal = alike.is_some_and(|other| {
        let rows = set.records().map(|(rdata, _)| rdata);
        rows.eq(other.records().map(|(rdata, _)| rdata))
    });
    if equal {
        return;
    }
    let held: std::collections::HashSet<Vec<u8>> = alike
        .into_iter()
        .flat_map(RrSet::records)
        .map(|(rdata, _)| canonical(set.rr_type, rdata))
        .collect();
    for (rdata, _) in set.records() {
        if !held.contains(&canonical(set.rr_type, rdata)) {
            to.push(own(owner, set, rdata));
        }
    }
}

fn own(owner: NameRef<'_>, set: &RrSet<'_>, rdata: &[u8]) -> OwnRecord {
    OwnRecord {
        owner: owner.to_owned(),
        rr_type: set.rr_type,
        class: Class::IN,
        ttl: set.ttl,
        rdata: rdata.to_vec(),
    }
}

/// The SOA record of a zone.
pub fn soa(zone: &Zone) -> Option<OwnRecord> {
    let set = zone.set(0, RrType::SOA)?;
    let (rdata, _) = set.records().next()?;
    Some(own(zone.apex(), &set, rdata))
}

/// The serial in the data of an SOA record.
pub fn soa_serial(rdata: &[u8]) -> Option<u32> {
    let fields = rdata.last_chunk::<20>()?;
    fields.first_chunk::<4>().copied().map(u32::from_be_bytes)
}

/// Puts another serial into the data of an SOA record.
pub fn set_soa_serial(rdata: &mut [u8], serial: u32) {
    let slot = rdata
        .last_chunk_mut::<20>()
        .and_then(|fields| fields.first_chunk_mut::<4>());
    if let Some(slot) = slot {
        *slot = serial.to_be_bytes();
    }
}

/// True if a serial is later than another (RFC 1982 3.2). Of two that are half the circle apart
/// neither is.
pub fn is_later(serial: u32, than: u32) -> bool {
    (serial.wrapping_sub(than) as i32) > 0
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use crate::control::zone_text;
    use crate::engine::zone::tests::load;
    use proptest::prelude::*;

    fn zone(serial: u32, rows: &str) -> Zone {
        let text = format!("$TTL 9\n@ SOA ns hm {serial} 2 3 4 5\n@ NS ns\nns A 192.0.2.1\n{rows}");
        load("example.org", &text).zone.unwrap()
    }

    fn same(left: &Zone, right: &Zone) -> bool {
        zone_text(left) == zone_text(right)
    }

    #[test]
    fn from_one_version_to_the_next_and_back() {
        let old = zone(
            1,
            "a A 192.0.2.2\na A 192.0.2.3\nb 5 TXT x\nd.e MX 1 Ns\nc NS ns.c\nns.c A 192.0.2.4",
        );
        let new = zone(
            2,
            "a A 192.0.2.3\nb 6 TXT x\nd.e MX 1 ns\nx.y A 192.0.2.5\n* A 192.0.2.6",
        );
        let change = Change::between(&old, &new).unwrap();
        assert_eq!((change.from, change.to), (1, 2));
        assert_eq!(change.removed[0].rr_type, RrType::SOA);
        // A: one gone; TXT: another TTL; NS and glue gone. MX differs in letter case only.
        assert_eq!(change.removed.len(), 1 + 1 + 1 + 2);
        assert_eq!(change.added.len(), 1 + 1 + 2);
        let made = change.apply(&old).unwrap();
        assert!(same(&change.apply(&old).unwrap(), &made));
        assert!(Change::between(&made, &new).is_none());
        let back = Change::between(&new, &old).unwrap();
        assert!(Change::between(&back.apply(&new).unwrap(), &old).is_none());
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let (old, new) = (zone(1, "a A 192.0.2.2"), zone(2, "b A 192.0.2.2"));
        let change = Change::between(&old, &new).unwrap();
        assert!(matches!(change.apply(&new), Err(Mismatch::Serial { .. })));
        let other = zone(1, "c A 192.0.2.2");
        assert!(matches!(change.apply(&other), Err(Mismatch::Missing(_))));
        let other = zone(1, "a A 192.0.2.2\nb A 192.0.2.2");
        assert!(matches!(change.apply(&other), Err(Mismatch::Present(_))));
        let mut broken = change.clone();
        broken
            .removed
            .extend(zone(1, "").set(0, RrType::NS).map(|set| {
                let (rdata, _) = set.records().next().unwrap();
                own(old.apex(), &set, rdata)
            }));
        assert!(matches!(broken.apply(&old), Err(Mismatch::Broken(_))));
    }

    /// A primary may send a set of any size: it is told at the bound, and soon.
    #[test]
    fn a_set_without_end() {
        let old = zone(1, "");
        let row = |number: usize| OwnRecord {
            owner: old.apex().to_owned(),
            rr_type: RrType::A,
            class: Class::IN,
            ttl: 9,
            rdata: (number as u32).to_be_bytes().to_vec(),
        };
        let soa = |serial: u32| soa(&zone(serial, "")).into_iter();
        let change = |from: u32, rows: std::ops::Range<usize>, added: bool| {
            let (head, tail) = (rows.clone().map(row), rows.map(row));
            Change {
                from,
                to: from + 1,
                removed: soa(from).chain(head.filter(|_| !added)).collect(),
                added: soa(from + 1).chain(tail.filter(|_| added)).collect(),
            }
        };
        let begun = std::time::Instant::now();
        let full = [change(1, 0..MAX_ROWS, true), change(2, 0..MAX_ROWS, false)];
        assert!(same(&apply_all(&old, &full).unwrap(), &zone(3, "")));
        let over = change(1, 0..MAX_ROWS + 1, true).apply(&old);
        assert!(matches!(over, Err(Mismatch::Broken(_))), "{over:?}");
        // Looked for one after the other they take minutes.
        assert!(begun.elapsed() < std::time::Duration::from_secs(20));
    }

    #[test]
    fn serials_are_compared_on_a_circle() {
        assert!(is_later(1, 0) && is_later(0, u32::MAX) && is_later(0x7fff_ffff, 0));
        assert!(!is_later(0, 0) && !is_later(0x8000_0000, 0) && !is_later(0, 1));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Any two versions: the change between them leads from the one to the other.
        #[test]
        fn differences_apply(old in prop::collection::btree_set((0u8..6, 0u8..4), 0..20),
                             new in prop::collection::btree_set((0u8..6, 0u8..4), 0..20)) {
            let text = |rows: &std::collections::BTreeSet<(u8, u8)>| -> String {
                rows.iter().map(|(owner, row)| format!("n{}.n{owner} TXT t{row}\n", owner % 2)).collect()
            };
            let (old, new) = (zone(7, &text(&old)), zone(8, &text(&new)));
            let change = Change::between(&old, &new).unwrap();
            prop_assert!(same(&change.apply(&old).unwrap(), &new));
        }
    }
}
