//! Records → zone.

use super::{Found, NONE, Node, NodeId, Zone, check, flag};
use crate::engine::trie::{Key, Trie, common_labels};
use crate::wire::code::RrType;
use crate::wire::master::{Fault, Place, Record, Records, Severity, Sources};
use crate::wire::name::NameRef;
use crate::wire::rdata::{additional_name_at, canonical_into};

/// A zone, if the records make one, and what is wrong with them.
#[derive(Debug)]
pub struct Built {
    /// The zone; none if a fault is an error.
    pub zone: Option<Zone>,
    /// What is wrong, in the order found.
    pub faults: Vec<Fault>,
}

/// Builds a zone out of records, all of them at or below its apex.
pub fn build(apex: NameRef<'_>, records: &Records, sources: &Sources) -> Built {
    let mut builder = Builder::new(apex, records, sources);
    builder.add_all();
    let mut zone = builder.zone;
    let mut faults = builder.faults;
    if !faults.too_large {
        let nodes = zone.nodes.len() as u32;
        zone.trie = Trie::build(nodes, |id| zone.name(id));
        zone.resolve_targets(&builder.targets);
        zone.hide_nsec3();
        if let Err(message) = zone.index_denial() {
            faults.of_zone(Severity::Error, message);
        }
        check::check(&mut zone, &mut faults);
    }
    let broken = faults
        .list
        .iter()
        .any(|fault| fault.severity == Severity::Error);
    Built {
        zone: Some(zone).filter(|_| !broken),
        faults: faults.list,
    }
}

/// Faults, bounded in number.
pub(super) struct Faults<'s> {
    pub(super) list: Vec<Fault>,
    sources: &'s Sources,
    records: &'s Records,
    too_large: bool,
}

const MAX_FAULTS: usize = 50;

impl Faults<'_> {
    fn at(&mut self, severity: Severity, place: Place, message: String) {
        self.push(severity, self.sources.fault(severity, place, message));
    }

    /// A fault of the zone, not of a place in it.
    pub(super) fn of_zone(&mut self, severity: Severity, message: String) {
        self.push(
            severity,
            Fault {
                severity,
                message,
                at: Vec::new(),
            },
        );
    }

    /// A fault at the first record of a name and type; found by a search, since it is rare.
    pub(super) fn of_set(
        &mut self,
        severity: Severity,
        owner: NameRef<'_>,
        rr_type: RrType,
        message: String,
    ) {
        let of =
            |record: &&Record| record.rr_type == rr_type && self.records.owner(record) == owner;
        match self.list.len() < MAX_FAULTS {
            true => match self.records.iter().find(of).map(|record| record.place) {
                Some(place) => self.at(severity, place, message),
                None => self.of_zone(severity, message),
            },
            false => self.push(
                severity,
                Fault {
                    severity,
                    message,
                    at: Vec::new(),
                },
            ),
        }
    }

    fn push(&mut self, severity: Severity, fault: Fault) {
        // An error takes the place of the last warning rather than go unseen.
        if self.list.len() < MAX_FAULTS {
            self.list.push(fault);
        } else if severity == Severity::Error
            && let Some(last) = self.list.last_mut()
        {
            *last = fault;
        }
    }
}

struct Builder<'r> {
    zone: Zone,
    records: &'r Records,
    faults: Faults<'r>,
    /// The nodes from the apex to the last added.
    path: Vec<NodeId>,
    targets: Vec<Target>,
    apex_labels: usize,
}

/// A name in `Zone::data` whose node is to be found.
pub(super) struct Target {
    owner: NodeId,
    rr_type: RrType,
    /// Where the node's number goes.
    slot: u32,
    /// Where the name stands.
    name: u32,
}

/// Records of one owner, next to each other in the file.
struct Run {
    /// The part of the key behind the apex, as far as it fits: most runs are told apart by it
    /// alone, without a look at keys all over the memory.
    prefix: u64,
    key: u32,
    key_len: u16,
    first: u32,
    count: u32,
}

impl<'r> Builder<'r> {
    fn new(apex: NameRef<'_>, records: &'r Records, sources: &'r Sources) -> Builder<'r> {
        let zone = Zone {
            apex: apex.to_owned(),
            nodes: Vec::new(),
            names: Vec::new(),
            data: Vec::new(),
            trie: Trie::default(),
            serial: 0,
            negative_ttl: 0,
            record_count: 0,
            has_signatures: false,
            denial: Default::default(),
        };
        let faults = Faults {
            list: Vec::new(),
            sources,
            records,
            too_large: false,
        };
        let apex_labels = apex.label_count();
        Builder {
            zone,
            records,
            faults,
            path: Vec::new(),
            targets: Vec::new(),
            apex_labels,
        }
    }

    /// Sorts the records by owner and lays down node after node.
    fn add_all(&mut self) {
        let (mut runs, keys) = self.runs();
        let key = |run: &Run| {
            let start = run.key as usize;
            keys.get(start..start + usize::from(run.key_len))
                .unwrap_or(&[])
        };
        // Zone files are mostly in order, or nearly: this sort is linear then. It is stable, so
        // that records of one owner stay in the order of the file.
        runs.sort_by(|left, right| {
            left.prefix
                .cmp(&right.prefix)
                .then_with(|| key(left).cmp(key(right)))
        });
        let apex = self.zone.apex.clone();
        let at_apex = runs.first().is_some_and(|run| {
            self.record(run.first)
                .is_some_and(|first| self.records.owner(first) == apex.as_ref())
        });
        if !at_apex {
            self.open(apex.as_ref());
        }
        let mut group = Vec::new();
        for same in runs.chunk_by(|left, right| key(left) == key(right)) {
            group.clear();
            group.extend(same.iter().flat_map(|run| run.first..run.first + run.count));
            self.add_node(&mut group);
            if self.faults.too_large {
                return;
            }
        }
        self.zone.nodes.shrink_to_fit();
        self.zone.names.shrink_to_fit();
        self.zone.data.shrink_to_fit();
    }

    fn runs(&self) -> (Vec<Run>, Vec<u8>) {
        let (mut runs, mut keys): (Vec<Run>, Vec<u8>) = (Vec::new(), Vec::new());
        let mut key = Key::default();
        let behind_apex = Key::of(self.zone.apex()).codes().len();
        let mut previous: Option<&Record> = None;
        for (index, record) in self.records.iter().enumerate() {
            let same = previous.is_some_and(|last| Records::same_owner_object(last, record));
            previous = Some(record);
            match runs.last_mut().filter(|_| same) {
                Some(run) => run.count += 1,
                None => {
                    key.set(self.records.owner(record));
                    let mut prefix = [0u8; 8];
                    let codes = key.codes().get(behind_apex..).unwrap_or_default();
                    prefix
                        .iter_mut()
                        .zip(codes)
                        .for_each(|(slot, code)| *slot = *code);
                    let run = Run {
                        prefix: u64::from_be_bytes(prefix),
                        key: keys.len() as u32,
                        key_len: key.codes().len() as u16,
                        first: index as u32,
                        count: 1,
                    };
                    keys.extend_from_slice(key.codes());
                    runs.push(run);
                }
            }
        }
        (runs, keys)
    }

    fn record(&self, index: u32) -> Option<&'r Record> {
        self.records.get(index as usize)
    }

    /// Adds a node for a name, and those above it that are not there yet: empty non-terminals.
    fn open(&mut self, name: NameRef<'_>) -> NodeId {
        let depth = name.label_count().saturating_sub(self.apex_labels);
        let common = match self.path.last() {
            None => 0,
            Some(last) => {
                let last = self.zone.name(*last);
                let labels = last.label_count();
                common_labels(last, labels, name, depth + self.apex_labels) + 1 - self.apex_labels
            }
        };
        self.path.truncate(common);
        for level in common..=depth {
            let above = name.skip(depth - level).unwrap_or(NameRef::ROOT);
            let id = self.push_node(above, level + self.apex_labels);
            self.path.push(id);
        }
        self.path.last().copied().unwrap_or(0)
    }

    fn push_node(&mut self, name: NameRef<'_>, labels: usize) -> NodeId {
        let id = self.zone.nodes.len() as u32;
        let parent = self.path.last().copied().unwrap_or(0);
        let above = self.zone.node(parent);
        let cut = if above.cut == NONE && above.flags & flag::DNAME != 0 {
            parent
        } else {
            above.cut
        };
        if name.is_wildcard()
            && let Some(above) = self.zone.nodes.get_mut(parent as usize)
        {
            above.wildcard = id;
        }
        let Ok(at) = u32::try_from(self.zone.names.len()) else {
            self.too_large();
            return 0;
        };
        self.zone.names.push(labels as u8);
        self.zone.names.extend_from_slice(name.wire());
        let sets = self.zone.data.len() as u32;
        let node = Node {
            name: at,
            parent,
            cut,
            wildcard: NONE,
            sets,
            set_count: 0,
            flags: 0,
        };
        self.zone.nodes.push(node);
        id
    }

    fn too_large(&mut self) {
        if !std::mem::replace(&mut self.faults.too_large, true) {
            self.faults
                .of_zone(Severity::Error, "the zone is larger than 4 GiB".to_owned());
        }
    }

    /// Adds a node with all its record sets; `group` holds the indices of its records.
    fn add_node(&mut self, group: &mut [u32]) {
        let Some(first) = group.first().and_then(|index| self.record(*index)) else {
            return;
        };
        let owner = self.records.owner(first);
        let id = self.open(owner);
        let records = self.records;
        let rr_type = |index: &u32| records.get(*index as usize).map(|record| record.rr_type);
        group.sort_by_key(rr_type);
        self.check_alias(owner, group);
        let mut flags = 0;
        let (start, mut sets) = (self.zone.data.len(), 0u16);
        for set in group.chunk_by(|left, right| rr_type(left) == rr_type(right)) {
            let Some(found) = set.first().and_then(rr_type) else {
                continue;
            };
            flags |= match found {
                RrType::NS if id != 0 => flag::DELEGATION,
                RrType::DNAME => flag::DNAME,
                RrType::CNAME => flag::CNAME,
                _ => 0,
            };
            self.zone.has_signatures |= found == RrType::RRSIG;
            self.add_set(id, owner, found, set);
            sets += 1;
        }
        if u32::try_from(self.zone.data.len()).is_err() {
            self.too_large();
        }
        if let Some(node) = self.zone.nodes.get_mut(id as usize) {
            (node.sets, node.set_count, node.flags) = (start as u32, sets, flags);
            if flags & flag::DELEGATION != 0 && node.cut == NONE {
                node.cut = id;
            }
        }
    }

    /// RFC 2181 10.1: beside a CNAME nothing stands but what DNSSEC puts there.
    fn check_alias(&mut self, owner: NameRef<'_>, group: &[u32]) {
        let records = || group.iter().filter_map(|index| self.record(*index));
        let other = records().find(|record| !record.rr_type.may_join_cname());
        let alias = records().find(|record| record.rr_type == RrType::CNAME);
        if let (Some(alias), Some(other)) = (alias, other) {
            let later = if alias.place.at > other.place.at {
                alias
            } else {
                other
            };
            let message = format!("{owner}: CNAME and other data ({})", other.rr_type);
            self.faults.at(Severity::Error, later.place, message);
        }
    }

    fn add_set(&mut self, id: NodeId, owner: NameRef<'_>, rr_type: RrType, set: &[u32]) {
        let records = self.records;
        let mut rows: Vec<&Record> = set.iter().filter_map(|index| self.record(*index)).collect();
        let Some(first) = rows.first().copied() else {
            return;
        };
        let ttl = first.ttl;
        let one_ttl = rr_type != RrType::RRSIG;
        for record in rows.iter().filter(|record| one_ttl && record.ttl != ttl) {
            // RFC 2181 5.2: one TTL for the set; BIND takes the first.
            let message = format!("{owner} {rr_type}: TTL {} taken for {ttl}", record.ttl);
            self.faults.at(Severity::Warning, record.place, message);
        }
        if rows.len() > 1 {
            let canonical = |record: &&Record| {
                let mut bytes = Vec::new();
                canonical_into(rr_type, records.rdata(record), &mut bytes);
                bytes
            };
            rows.sort_by_cached_key(canonical);
            rows.dedup_by_key(|record| canonical(record));
        }
        let single = matches!(rr_type, RrType::CNAME | RrType::DNAME | RrType::SOA);
        if single && rows.len() > 1 {
            let last = rows
                .iter()
                .max_by_key(|record| (record.place.file, record.place.at));
            let place = last.map_or(first.place, |record| record.place);
            let message = format!("{owner}: more than one {rr_type} record");
            self.faults.at(Severity::Error, place, message);
        }
        if rr_type == RrType::SOA && id != 0 {
            let message = format!("{owner}: SOA record not at the top of the zone");
            self.faults.at(Severity::Error, first.place, message);
        }
        if rr_type == RrType::NS && owner.is_wildcard() {
            let message = format!("{owner}: NS record at a wildcard");
            self.faults.at(Severity::Error, first.place, message);
        }
        let Ok(count) = u16::try_from(rows.len()) else {
            let message = format!("{owner} {rr_type}: more than 65535 records");
            self.faults.at(Severity::Error, first.place, message);
            return;
        };
        self.lay_down(id, rr_type, ttl, count, &rows);
    }

    fn lay_down(&mut self, id: NodeId, rr_type: RrType, ttl: u32, count: u16, rows: &[&Record]) {
        self.zone.record_count += rows.len();
        let data = &mut self.zone.data;
        data.extend_from_slice(&rr_type.0.to_le_bytes());
        data.extend_from_slice(&count.to_le_bytes());
        data.extend_from_slice(&ttl.to_le_bytes());
        let length_at = data.len();
        data.extend_from_slice(&[0; 4]);
        for record in rows {
            let rdata = self.records.rdata(record);
            if let Some(name_at) = additional_name_at(rr_type) {
                let slot = data.len();
                data.extend_from_slice(&NONE.to_le_bytes());
                let name = (slot + 6 + name_at) as u32;
                self.targets.push(Target {
                    owner: id,
                    rr_type,
                    slot: slot as u32,
                    name,
                });
            }
            data.extend_from_slice(&(rdata.len() as u16).to_le_bytes());
            data.extend_from_slice(rdata);
        }
        let length = (data.len() - length_at - 4) as u32;
        if let Some(slot) = data.get_mut(length_at..length_at + 4) {
            slot.copy_from_slice(&length.to_le_bytes());
        }
    }
}

impl Zone {
    /// Finds for each name whose addresses clients will want the node that holds them.
    fn resolve_targets(&mut self, targets: &[Target]) {
        let mut key = Key::default();
        for target in targets {
            let bytes = self.data.get(target.name as usize..).unwrap_or(&[]);
            let Ok((name, _)) = NameRef::split_wire(bytes) else {
                continue;
            };
            let service = matches!(target.rr_type, RrType::SVCB | RrType::HTTPS);
            let found = if service && name.is_root() {
                // RFC 9460 2.5: "." is the owner; in alias mode it is nowhere.
                let before = (target.name as usize).checked_sub(2);
                let priority = before.and_then(|at| self.data.get(at..at + 2));
                Some(target.owner).filter(|_| priority != Some(&[0, 0]))
            } else if name.is_within(self.apex.as_ref()) {
                key.set(name);
                self.holder(self.find(&key, name))
            } else {
                None
            };
            let slot = target.slot as usize;
            if let (Some(id), Some(slot)) = (found, self.data.get_mut(slot..slot + 4)) {
                slot.copy_from_slice(&id.to_le_bytes());
            }
        }
    }

    /// The node that answers for a name: itself, or the wildcard over it.
    fn holder(&self, found: Found) -> Option<NodeId> {
        match found {
            Found::Exact(id) => Some(id),
            Found::Below(id) if self.cut(found).is_none() => self.wildcard(id),
            Found::Below(_) => None,
        }
    }
}
