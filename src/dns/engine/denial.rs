//! Proofs that something is not there, in the authority section of answers from signed zones
//! (RFC 4035 3.1.3, RFC 5155 7.2).

use super::lookup::{Lookup, Target};
use super::zone::{NodeId, Zone};
use crate::wire::code::RrType;
use crate::wire::name::NameRef;
use crate::wire::writer::{Full, Owner, Section};

/// Records of denial in one answer. A chain of aliases through wildcards needs up to three for each
/// name it passes; an answer that would hold more is not worth its hashing.
const MAX_PROOFS: usize = 32;
/// Names hashed for one answer.
const MAX_HASHES: usize = 20;

/// The records of denial that an answer holds.
#[derive(Debug)]
pub(super) struct Proofs {
    /// Zone, by where it is in memory, and node.
    held: [(usize, NodeId); MAX_PROOFS],
    len: usize,
    hashes: usize,
}

impl Default for Proofs {
    fn default() -> Proofs {
        Proofs {
            held: [(0, 0); MAX_PROOFS],
            len: 0,
            hashes: 0,
        }
    }
}

impl Proofs {
    pub(super) fn clear(&mut self) {
        (self.len, self.hashes) = (0, 0);
    }
}

impl<'a> Lookup<'a, '_> {
    /// There is no such name, and no wildcard either.
    pub(super) fn prove_no_name(&mut self, zone: &Zone, encloser: NodeId, target: Target<'_>) {
        if !self.dnssec || !zone.is_signed() {
            return;
        }
        let proven = if zone.has_nsec() {
            let star = self.star_before(zone, encloser);
            self.nsec(zone, zone.nsec_before(self.key))
                .and_then(|()| self.nsec(zone, star))
        } else {
            self.closest_encloser(zone, encloser, target.name)
                .and_then(|provable| {
                    self.count_hash()?;
                    self.nsec3(zone, zone.nsec3_before_star(provable))
                })
        };
        self.or_truncate(proven);
    }

    /// There is no such name: the answer is a wildcard's.
    pub(super) fn prove_expansion(&mut self, zone: &'a Zone, encloser: NodeId, target: Target<'_>) {
        if !self.dnssec || !zone.is_signed() {
            return;
        }
        let covering = if zone.has_nsec() {
            Ok(zone.nsec_before(self.key))
        } else {
            self.next_closer(zone, encloser, target.name)
        };
        let free = self.expansions.iter_mut().find(|slot| slot.is_none());
        match (covering, free) {
            (Ok(Some(id)), Some(slot)) => *slot = Some((zone, id)),
            (Ok(None), _) => {}
            _ => self.reply.truncate(),
        }
    }

    /// Writes the proofs for wildcards that the chain so far has passed through.
    pub(super) fn prove_expansions(&mut self) {
        for index in 0..self.expansions.len() {
            let Some((zone, id)) = self.expansions.get_mut(index).and_then(Option::take) else {
                return;
            };
            let rr_type = if zone.has_nsec() {
                RrType::NSEC
            } else {
                RrType::NSEC3
            };
            let proven = self.proof(zone, Some(id), rr_type);
            self.or_truncate(proven);
        }
    }

    /// The name has no records of the type; `wildcard` is its closest encloser if it is a wildcard
    /// that stands for the name.
    pub(super) fn prove_no_data(
        &mut self,
        zone: &Zone,
        id: NodeId,
        wildcard: Option<NodeId>,
        target: Target<'_>,
    ) {
        if !self.dnssec || !zone.is_signed() {
            return;
        }
        let proven = match (zone.has_nsec(), wildcard) {
            (true, None) => self.nsec(zone, zone.nsec_of(id)),
            (true, Some(_)) => self
                .nsec(zone, zone.nsec_of(id))
                .and_then(|()| self.nsec(zone, zone.nsec_before(self.key))),
            (false, None) => self.no_data_hashed(zone, id),
            (false, Some(encloser)) => self
                .closest_encloser(zone, encloser, target.name)
                .and_then(|_| self.nsec3(zone, zone.nsec3_of(id))),
        };
        self.or_truncate(proven);
    }

    /// The zone below a cut is not signed: its name has no DS set.
    pub(super) fn prove_insecure(&mut self, zone: &Zone, cut: NodeId) -> Result<(), Full> {
        if zone.has_nsec() {
            self.nsec(zone, zone.nsec_of(cut))
        } else {
            self.no_data_hashed(zone, cut)
        }
    }

    /// RFC 5155 7.2.3, 7.2.4, 7.2.7: the record of the name; where opt-out leaves it none, the
    /// closest encloser that has one, and that which covers what is below it.
    fn no_data_hashed(&mut self, zone: &Zone, id: NodeId) -> Result<(), Full> {
        match zone.nsec3_of(id) {
            Some(own) => self.nsec3(zone, Some(own)),
            None => self.closest_encloser(zone, id, zone.name(id)).map(|_| ()),
        }
    }

    /// RFC 5155 7.2.1: the closest encloser that has a record, and the record that covers the name
    /// one label longer.
    fn closest_encloser(
        &mut self,
        zone: &Zone,
        encloser: NodeId,
        name: NameRef<'_>,
    ) -> Result<NodeId, Full> {
        let mut provable = encloser;
        while provable != 0 && zone.nsec3_of(provable).is_none() {
            provable = zone.above(provable);
        }
        self.nsec3(zone, zone.nsec3_of(provable))?;
        let covering = self.next_closer(zone, provable, name)?;
        self.nsec3(zone, covering)?;
        Ok(provable)
    }

    /// The NSEC3 record that covers the name one label longer than the closest encloser.
    fn next_closer(
        &mut self,
        zone: &Zone,
        encloser: NodeId,
        name: NameRef<'_>,
    ) -> Result<Option<NodeId>, Full> {
        let labels = zone.name(encloser).label_count() + 1;
        let surplus = name.label_count().checked_sub(labels);
        let Some(next) = surplus.and_then(|surplus| name.skip(surplus)) else {
            return Ok(None);
        };
        self.count_hash()?;
        Ok(zone.nsec3_before(next))
    }

    fn count_hash(&mut self) -> Result<(), Full> {
        self.pending.proofs.hashes += 1;
        if self.pending.proofs.hashes > MAX_HASHES {
            return Err(Full);
        }
        Ok(())
    }

    /// The NSEC record that covers `*` below a node.
    fn star_before(&mut self, zone: &Zone, encloser: NodeId) -> Option<NodeId> {
        // `*` sorts behind its parent and before most of what else is below it, but not all.
        let above = zone.name(encloser);
        let mut wire = [0u8; crate::wire::name::MAX_NAME];
        let length = above.wire().len() + 2;
        let slots = wire.get_mut(..length)?;
        let octets = b"\x01*".iter().chain(above.wire());
        slots
            .iter_mut()
            .zip(octets)
            .for_each(|(slot, octet)| *slot = *octet);
        let star = NameRef::trusted(wire.get(..length)?);
        self.pending.star.set(star);
        zone.nsec_before(&self.pending.star)
    }

    fn nsec(&mut self, zone: &Zone, id: Option<NodeId>) -> Result<(), Full> {
        self.proof(zone, id, RrType::NSEC)
    }

    fn nsec3(&mut self, zone: &Zone, id: Option<NodeId>) -> Result<(), Full> {
        self.proof(zone, id, RrType::NSEC3)
    }

    /// Adds a record of denial with its signature, once.
    fn proof(&mut self, zone: &Zone, id: Option<NodeId>, rr_type: RrType) -> Result<(), Full> {
        let Some(id) = id else { return Ok(()) };
        let proof = (std::ptr::from_ref(zone).addr(), id);
        let held = self
            .pending
            .proofs
            .held
            .get(..self.pending.proofs.len)
            .unwrap_or_default();
        if held.contains(&proof) {
            return Ok(());
        }
        let Some(set) = zone.set(id, rr_type) else {
            return Ok(());
        };
        let slot = self
            .pending
            .proofs
            .held
            .get_mut(self.pending.proofs.len)
            .ok_or(Full)?;
        *slot = proof;
        self.pending.proofs.len += 1;
        self.write_signed(
            Section::Authority,
            Owner::Name(zone.name(id)),
            zone,
            id,
            &set,
        )
    }

    fn or_truncate(&mut self, proven: Result<(), Full>) {
        if proven.is_err() {
            self.reply.truncate();
        }
    }
}
