//! A zone as it is served: an immutable snapshot, laid out for reading.
//!
//! Nodes stand in canonical order, empty non-terminals among them, and hold what a query would
//! otherwise have to find out: the node above, the zone cut above, the wildcard below. Record sets
//! are rows of octets that go into a message as they are.

mod build;
mod check;
mod denial;

#[cfg(test)]
pub(crate) mod tests;

pub use build::{Built, build};

use crate::wire::code::RrType;
use crate::wire::name::{Name, NameRef};
use crate::wire::rdata::additional_name_at;

use super::trie::{Key, Trie, common_labels};

/// The number of a node; the apex is 0.
pub type NodeId = u32;

/// No node.
const NONE: NodeId = u32::MAX;

/// Facts about a node.
mod flag {
    /// Has an NS set and is not the apex: what is at and below it is another zone's.
    pub(super) const DELEGATION: u16 = 1;
    /// Has a DNAME: what is below it is elsewhere.
    pub(super) const DNAME: u16 = 2;
    /// Has a CNAME.
    pub(super) const CNAME: u16 = 4;
    /// Is there for its NSEC3 records alone.
    pub(super) const NSEC3: u16 = 8;
}

#[derive(Debug, Clone, Copy)]
struct Node {
    /// Where its name begins in `Zone::names`.
    name: u32,
    /// The node above.
    parent: NodeId,
    /// The topmost delegation at or above it, or DNAME above it.
    cut: NodeId,
    /// The node `*` below it.
    wildcard: NodeId,
    /// Where its record sets begin in `Zone::data`.
    sets: u32,
    /// How many record sets it has.
    set_count: u16,
    flags: u16,
}

/// A zone.
#[derive(Debug)]
pub struct Zone {
    apex: Name,
    nodes: Vec<Node>,
    /// A count of labels before each name.
    names: Vec<u8>,
    data: Vec<u8>,
    trie: Trie,
    serial: u32,
    negative_ttl: u32,
    record_count: usize,
    /// It holds signatures.
    has_signatures: bool,
    denial: denial::Denial,
}

/// Records of one owner and type.
#[derive(Debug, Clone, Copy)]
pub struct RrSet<'z> {
    /// Type.
    pub rr_type: RrType,
    /// Time to live.
    pub ttl: u32,
    count: u16,
    records: &'z [u8],
}

/// Octets of what stands before the records of a set: type, count, TTL, length.
const SET_HEADER: usize = 12;

/// Where a search for a name ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// At the name.
    Exact(NodeId),
    /// The name is not there; this is the closest encloser (RFC 4592 3.3.1).
    Below(NodeId),
}

/// What stands between a name and its zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// The name is in another zone.
    Delegation(NodeId),
    /// The name is below a DNAME.
    Dname(NodeId),
}

impl Zone {
    /// The zone's name.
    pub fn apex(&self) -> NameRef<'_> {
        self.apex.as_ref()
    }

    /// The serial of its SOA.
    pub fn serial(&self) -> u32 {
        self.serial
    }

    /// How long a denial may be kept: the lesser of the SOA's TTL and its MINIMUM (RFC 2308 3).
    pub fn negative_ttl(&self) -> u32 {
        self.negative_ttl
    }

    /// How many records it has.
    pub fn record_count(&self) -> usize {
        self.record_count
    }

    /// True of a zone that holds signatures.
    pub(crate) fn has_signatures(&self) -> bool {
        self.has_signatures
    }

    /// Octets of memory.
    pub fn size(&self) -> usize {
        let nodes = self.nodes.capacity() * size_of::<Node>();
        nodes + self.names.capacity() + self.data.capacity() + self.trie.size() + self.denial_size()
    }

    /// Searches for a name at or below the apex.
    pub(crate) fn find(&self, key: &Key, name: NameRef<'_>) -> Found {
        let Some(nearest) = self.trie.nearest(key) else {
            return Found::Below(0);
        };
        let (labels, other) = self.name_of(nearest);
        if labels == key.labels() && other == name && self.node(nearest).flags & flag::NSEC3 == 0 {
            return Found::Exact(nearest);
        }
        let common = common_labels(name, key.labels(), other, labels);
        let mut node = nearest;
        for _ in common..labels {
            node = self.node(node).parent;
        }
        if self.node(node).flags & flag::NSEC3 != 0 {
            Found::Below(self.node(node).parent)
        } else if common == key.labels() {
            Found::Exact(node)
        } else {
            Found::Below(node)
        }
    }

    /// The node of a name at or below the apex, if there is one, and whether a cut lies over it.
    pub fn search(&self, name: NameRef<'_>) -> (Option<NodeId>, bool) {
        let found = self.find(&Key::of(name), name);
        let node = match found {
            Found::Exact(id) => Some(id),
            Found::Below(_) => None,
        };
        (node, self.cut(found).is_some())
    }

    /// The cut that lies over a search's end.
    pub fn cut(&self, found: Found) -> Option<Cut> {
        let cut = match found {
            Found::Exact(id) => self.node(id).cut,
            Found::Below(id) => {
                let node = self.node(id);
                if node.cut == NONE && node.flags & flag::DNAME != 0 {
                    id
                } else {
                    node.cut
                }
            }
        };
        if cut == NONE {
            None
        } else if self.node(cut).flags & flag::DELEGATION != 0 {
            Some(Cut::Delegation(cut))
        } else {
            Some(Cut::Dname(cut))
        }
    }

    /// The node `*` below a node.
    pub fn wildcard(&self, id: NodeId) -> Option<NodeId> {
        Some(self.node(id).wildcard).filter(|id| *id != NONE)
    }

    /// True of a node with a CNAME.
    pub fn is_alias(&self, id: NodeId) -> bool {
        self.node(id).flags & flag::CNAME != 0
    }

    /// The name of a node.
    pub fn name(&self, id: NodeId) -> NameRef<'_> {
        self.name_of(id).1
    }

    /// True if a node is another or lies below it.
    pub fn is_within(&self, mut id: NodeId, ancestor: NodeId) -> bool {
        // Names sort after those above them.
        while id > ancestor && id != NONE {
            id = self.node(id).parent;
        }
        id == ancestor
    }

    /// The node above; of the apex itself.
    pub(crate) fn above(&self, id: NodeId) -> NodeId {
        self.node(id).parent
    }

    /// Nodes in canonical order.
    pub fn node_ids(&self) -> std::ops::Range<NodeId> {
        0..self.nodes.len() as u32
    }

    /// The record sets of a node, the lowest type first.
    pub fn sets(&self, id: NodeId) -> Sets<'_> {
        let node = self.node(id);
        Sets {
            rest: self.data.get(node.sets as usize..).unwrap_or(&[]),
            left: node.set_count,
        }
    }

    /// The record set of a node and a type.
    pub fn set(&self, id: NodeId, rr_type: RrType) -> Option<RrSet<'_>> {
        self.sets(id).find(|set| set.rr_type == rr_type)
    }

    fn name_of(&self, id: NodeId) -> (usize, NameRef<'_>) {
        let bytes = self
            .names
            .get(self.node(id).name as usize..)
            .unwrap_or(&[0, 0]);
        let (labels, rest) = bytes
            .split_first()
            .map_or((0, &[0][..]), |(l, rest)| (*l, rest));
        let mut at = 0usize;
        while let Some(&length @ 1..) = rest.get(at) {
            at += 1 + usize::from(length);
        }
        (
            labels.into(),
            NameRef::trusted(rest.get(..=at).unwrap_or(&[0])),
        )
    }

    fn node(&self, id: NodeId) -> Node {
        const NOWHERE: Node = Node {
            name: 0,
            parent: 0,
            cut: NONE,
            wildcard: NONE,
            sets: 0,
            set_count: 0,
            flags: 0,
        };
        self.nodes.get(id as usize).copied().unwrap_or(NOWHERE)
    }
}

/// Record sets of a node.
#[derive(Debug, Clone)]
pub struct Sets<'z> {
    rest: &'z [u8],
    left: u16,
}

impl<'z> Iterator for Sets<'z> {
    type Item = RrSet<'z>;

    fn next(&mut self) -> Option<RrSet<'z>> {
        self.left = self.left.checked_sub(1)?;
        let (header, rest) = self.rest.split_first_chunk::<SET_HEADER>()?;
        let [t0, t1, c0, c1, s0, s1, s2, s3, l0, l1, l2, l3] = *header;
        let length = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
        let (records, rest) = rest.split_at_checked(length)?;
        self.rest = rest;
        Some(RrSet {
            rr_type: RrType(u16::from_le_bytes([t0, t1])),
            count: u16::from_le_bytes([c0, c1]),
            ttl: u32::from_le_bytes([s0, s1, s2, s3]),
            records,
        })
    }
}

impl<'z> RrSet<'z> {
    /// The same records with another TTL.
    pub fn with_ttl(self, ttl: u32) -> RrSet<'z> {
        RrSet { ttl, ..self }
    }

    /// The TTL of one of its records. Signatures have that of the set they sign, which they name
    /// (RFC 4034 3.1.4); other sets have one for all.
    pub fn ttl_of(&self, rdata: &[u8]) -> u32 {
        let signature = Some(rdata).filter(|_| self.rr_type == RrType::RRSIG);
        match signature.and_then(|rdata| rdata.get(4..8)?.first_chunk()) {
            Some(octets) => u32::from_be_bytes(*octets),
            None => self.ttl,
        }
    }

    /// How many records it has.
    pub fn len(&self) -> usize {
        self.count.into()
    }

    /// Never true of a set in a zone.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The data of its records, in canonical order, and for each the node whose addresses a client
    /// will want next.
    pub fn records(&self) -> Rows<'z> {
        Rows {
            rest: self.records,
            targets: additional_name_at(self.rr_type).is_some(),
        }
    }
}

/// Records of a set.
#[derive(Debug, Clone)]
pub struct Rows<'z> {
    rest: &'z [u8],
    targets: bool,
}

impl<'z> Iterator for Rows<'z> {
    type Item = (&'z [u8], Option<NodeId>);

    fn next(&mut self) -> Option<Self::Item> {
        let (target, rest) = if self.targets {
            let (octets, rest) = self.rest.split_first_chunk::<4>()?;
            (
                Some(u32::from_le_bytes(*octets)).filter(|id| *id != NONE),
                rest,
            )
        } else {
            (None, self.rest)
        };
        let (octets, rest) = rest.split_first_chunk::<2>()?;
        let (rdata, rest) = rest.split_at_checked(u16::from_le_bytes(*octets).into())?;
        self.rest = rest;
        Some((rdata, target))
    }
}
