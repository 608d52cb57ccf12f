//! How a signed zone proves what is not in it: where in its chain of NSEC or NSEC3 records each
//! name has its place, found once when the zone is built.

use super::{Cut, Found, NONE, NodeId, RrSet, Zone, flag};
use crate::dnssec::Nsec3;
use crate::dnssec::nsec3::{Hash, Nsec3Hash, of_owner};
use crate::engine::trie::Key;
use crate::wire::code::RrType;
use crate::wire::name::NameRef;

/// Rounds of hashing above which a zone is not served: validators take it for unsigned, or fail
/// (RFC 9276 3.2), and each denial would cost as much.
pub(super) const MAX_ITERATIONS: u16 = 150;

/// How a zone denies.
#[derive(Debug, Default)]
pub(super) enum Denial {
    /// It is not signed, or has no chain.
    #[default]
    None,
    /// For each node the last at or before it that has an NSEC record.
    Nsec(Vec<NodeId>),
    /// By hashes.
    Nsec3(Box<Hashed>),
}

/// A chain of NSEC3 records.
#[derive(Debug)]
pub(super) struct Hashed {
    iterations: u16,
    salt: Box<[u8]>,
    /// In the order of hashes.
    chain: Vec<(Hash, NodeId)>,
    /// For each value of a hash's first bits, where in the chain hashes with them begin.
    starts: Vec<u32>,
    shift: u32,
    /// For each node the NSEC3 record of its name.
    own: Vec<NodeId>,
    /// For each node with others below it the NSEC3 record that covers `*` below it.
    star: Vec<NodeId>,
}

impl Hashed {
    fn hash(&self) -> Nsec3Hash<'_> {
        Nsec3Hash {
            iterations: self.iterations,
            salt: &self.salt,
        }
    }

    fn new(iterations: u16, salt: &[u8], mut chain: Vec<(Hash, NodeId)>) -> Hashed {
        chain.sort_unstable();
        // One place in the table for every one to two records.
        let bits = chain.len().max(2).ilog2().min(24);
        let shift = 32 - bits;
        let mut starts = vec![0u32; (1 << bits) + 1];
        for (hash, _) in &chain {
            if let Some(slot) = starts.get_mut((first_bits(hash) >> shift) as usize + 1) {
                *slot += 1;
            }
        }
        let mut sum = 0;
        for slot in &mut starts {
            sum += *slot;
            *slot = sum;
        }
        Hashed {
            iterations,
            salt: salt.into(),
            chain,
            starts,
            shift,
            own: Vec::new(),
            star: Vec::new(),
        }
    }

    /// The record whose hash is this one, or that with the next lower: the last of all before the
    /// first.
    fn place(&self, hash: &Hash) -> (bool, NodeId) {
        let bucket = (first_bits(hash) >> self.shift) as usize;
        let bound = |index: usize| {
            self.starts
                .get(index)
                .map_or(self.chain.len(), |at| *at as usize)
        };
        let (from, to) = (bound(bucket), bound(bucket + 1));
        let near = self.chain.get(from..to).unwrap_or(&[]);
        let at = from + near.partition_point(|(other, _)| other <= hash);
        let last = self.chain.len().saturating_sub(1);
        match self.chain.get(at.checked_sub(1).unwrap_or(last)) {
            Some((other, id)) => (other == hash, *id),
            None => (false, NONE),
        }
    }
}

fn first_bits(hash: &Hash) -> u32 {
    let [a, b, c, d, ..] = *hash;
    u32::from_be_bytes([a, b, c, d])
}

fn some(id: NodeId) -> Option<NodeId> {
    Some(id).filter(|id| *id != NONE)
}

impl Zone {
    /// True of a zone that proves its denials.
    pub fn is_signed(&self) -> bool {
        !matches!(self.denial, Denial::None)
    }

    /// True of a zone that denies by NSEC.
    pub(crate) fn has_nsec(&self) -> bool {
        matches!(self.denial, Denial::Nsec(_))
    }

    /// The node whose NSEC record is that of a node, or covers its name.
    pub(crate) fn nsec_of(&self, id: NodeId) -> Option<NodeId> {
        match &self.denial {
            Denial::Nsec(previous) => previous.get(id as usize).copied().and_then(some),
            _ => None,
        }
    }

    /// The node whose NSEC record covers a name that is not in the zone.
    pub(crate) fn nsec_before(&self, key: &Key) -> Option<NodeId> {
        let before = self.trie.before(key, |id| self.name(id))?;
        self.nsec_of(before)
    }

    /// The NSEC3 record of a node's name.
    pub(crate) fn nsec3_of(&self, id: NodeId) -> Option<NodeId> {
        match &self.denial {
            Denial::Nsec3(hashed) => hashed.own.get(id as usize).copied().and_then(some),
            _ => None,
        }
    }

    /// The NSEC3 record that covers a name that is not in the zone. Costs a hash.
    pub(crate) fn nsec3_before(&self, name: NameRef<'_>) -> Option<NodeId> {
        match &self.denial {
            Denial::Nsec3(hashed) => some(hashed.place(&hashed.hash().hash(name)).1),
            _ => None,
        }
    }

    /// The NSEC3 record that covers `*` below a node, where no such node is.
    pub(crate) fn nsec3_before_star(&self, id: NodeId) -> Option<NodeId> {
        match &self.denial {
            Denial::Nsec3(hashed) => match hashed.star.get(id as usize).copied().and_then(some) {
                Some(known) => Some(known),
                None => some(hashed.place(&star_hash(hashed.hash(), self.name(id))?).1),
            },
            _ => None,
        }
    }

    /// The node of a name, those included that are there for their NSEC3 records alone.
    pub(crate) fn node_named(&self, name: NameRef<'_>) -> Option<NodeId> {
        let key = Key::of(name);
        let nearest = self.trie.nearest(&key)?;
        if self.name(nearest) == name {
            return Some(nearest);
        }
        match self.find(&key, name) {
            Found::Exact(id) => Some(id),
            Found::Below(_) => None,
        }
    }

    /// Octets of memory.
    pub(super) fn denial_size(&self) -> usize {
        match &self.denial {
            Denial::None => 0,
            Denial::Nsec(previous) => previous.capacity() * size_of::<NodeId>(),
            Denial::Nsec3(hashed) => {
                let Hashed {
                    chain,
                    starts,
                    own,
                    star,
                    ..
                } = &**hashed;
                let numbers = starts.capacity() + own.capacity() + star.capacity();
                chain.capacity() * size_of::<(Hash, NodeId)>() + numbers * size_of::<u32>()
            }
        }
    }

    /// Marks the nodes that are there for their NSEC3 records alone: to a query they are not
    /// (RFC 5155 7.2.8).
    pub(super) fn hide_nsec3(&mut self) {
        for id in self.node_ids() {
            let node = self.node(id);
            let mut sets = self.sets(id).map(|set| set.rr_type);
            let alone = node.set_count > 0
                && sets.all(|kind| matches!(kind, RrType::NSEC3 | RrType::RRSIG))
                && self.set(id, RrType::NSEC3).is_some();
            let below = self.nodes.get(id as usize + 1);
            let has_children = below.is_some_and(|below| below.parent == id);
            if alone
                && id != 0
                && !has_children
                && let Some(node) = self.nodes.get_mut(id as usize)
            {
                node.flags |= flag::NSEC3;
            }
        }
    }

    /// Finds the chain, or says why it cannot be used.
    pub(super) fn index_denial(&mut self) -> Result<(), String> {
        if self.set(0, RrType::DNSKEY).is_none() {
            return Ok(());
        }
        if self.set(0, RrType::NSEC).is_some() {
            self.denial = Denial::Nsec(self.index_nsec());
            return Ok(());
        }
        let parameters = self.set(0, RrType::NSEC3PARAM);
        let rows = parameters.iter().flat_map(RrSet::records);
        // RFC 5155 4.1.2: a record with flags is not there for the server.
        let usable = rows.filter_map(|(rdata, _)| {
            let (hash, flags, _) = Nsec3Hash::read(rdata)?;
            (flags == 0).then_some(hash)
        });
        for hash in usable {
            if hash.iterations > MAX_ITERATIONS {
                let (apex, iterations) = (&self.apex, hash.iterations);
                return Err(format!(
                    "{apex} NSEC3PARAM: {iterations} iterations, more than {MAX_ITERATIONS} \
                     (RFC 9276 wants 0)"
                ));
            }
            if let Some(hashed) = self.index_nsec3(hash) {
                self.denial = Denial::Nsec3(Box::new(hashed));
                return Ok(());
            }
        }
        Ok(())
    }

    fn index_nsec(&self) -> Vec<NodeId> {
        let mut last = NONE;
        let mut previous = Vec::with_capacity(self.nodes.len());
        for id in self.node_ids() {
            if self.set(id, RrType::NSEC).is_some() {
                last = id;
            }
            previous.push(last);
        }
        previous
    }

    /// The chain of these parameters; none unless the apex has its place in it.
    fn index_nsec3(&self, hash: Nsec3Hash<'_>) -> Option<Hashed> {
        let mut chain = Vec::new();
        for id in self.node_ids() {
            let Some(set) = self.set(id, RrType::NSEC3) else {
                continue;
            };
            let ours = |rdata| Nsec3::read(rdata).is_some_and(|nsec3| nsec3.hash == hash);
            if set.records().any(|(rdata, _)| ours(rdata))
                && let Some(owner) = of_owner(self.name(id))
            {
                chain.push((owner, id));
            }
        }
        let mut hashed = Hashed::new(hash.iterations, hash.salt, chain);
        let (mut own, mut star) = (Vec::new(), Vec::new());
        for id in self.node_ids() {
            let node = self.node(id);
            let occluded = match self.cut(Found::Exact(id)) {
                Some(Cut::Delegation(cut)) => cut != id,
                Some(Cut::Dname(_)) => true,
                None => false,
            };
            if occluded || node.flags & flag::NSEC3 != 0 {
                own.push(NONE);
                star.push(NONE);
                continue;
            }
            let (found, place) = hashed.place(&hash.hash(self.name(id)));
            own.push(if found { place } else { NONE });
            let next = self.nodes.get(id as usize + 1);
            let encloses = next.is_some_and(|next| next.parent == id) && node.wildcard == NONE;
            let covering = star_hash(hash, self.name(id)).filter(|_| encloses);
            star.push(covering.map_or(NONE, |hash| hashed.place(&hash).1));
        }
        (hashed.own, hashed.star) = (own, star);
        Some(hashed).filter(|hashed| hashed.own.first() != Some(&NONE))
    }
}

/// The hash of `*` below a name; none if the name leaves no room for it.
fn star_hash(hash: Nsec3Hash<'_>, name: NameRef<'_>) -> Option<Hash> {
    let mut wire = [0u8; crate::wire::name::MAX_NAME];
    let length = name.wire().len() + 2;
    let slots = wire.get_mut(..length)?;
    let octets = b"\x01*".iter().chain(name.wire());
    slots
        .iter_mut()
        .zip(octets)
        .for_each(|(slot, octet)| *slot = *octet);
    Some(hash.hash(NameRef::trusted(wire.get(..length)?)))
}
