//! The answer to a question out of the zones: RFC 1034 4.3.2 with wildcards (RFC 4592), DNAME
//! (RFC 6672), and what later documents made precise.

use super::answer::{Client, Transport, log_refusal};
use super::denial::Proofs;
use super::reply::{Counted, ExtendedError, Reply};
use super::state::State;
use super::trie::Key;
use super::zone::{Cut, Found, NodeId, RrSet, Zone};
use super::zones::Zones;
use crate::wire::code::{Class, Rcode, RrType};
use crate::wire::name::{NameBuf, NameRef};
use crate::wire::query::{Query, Question};
use crate::wire::rdata::additional_name_at;
use crate::wire::reader::{Header, flag};
use crate::wire::writer::{Full, Layout, Owner, Section, can_point_to};

/// CNAME and DNAME records followed for one query.
pub(super) const MAX_CHAIN: usize = 16;
/// Hosts whose addresses are added to one response.
const MAX_ADDITIONAL: usize = 20;

/// Hosts whose addresses the client will want next.
#[derive(Debug, Default)]
pub(super) struct Pending {
    hosts: [(NodeId, u16); MAX_ADDITIONAL],
    len: usize,
    /// What has been proven absent.
    pub(super) proofs: Proofs,
    /// The key of a name other than the one looked for.
    pub(super) star: Key,
}

impl Pending {
    fn add(&mut self, id: NodeId, name_at: u16) {
        let known = self
            .hosts
            .get(..self.len)
            .is_some_and(|hosts| hosts.iter().any(|h| h.0 == id));
        if known {
            return;
        }
        if let Some(slot) = self.hosts.get_mut(self.len) {
            *slot = (id, name_at);
            self.len += 1;
        }
    }
}

/// A search under way.
pub(super) struct Lookup<'a, 'b> {
    zones: &'a Zones,
    question: &'a Question<'a>,
    transport: Transport,
    pub(super) reply: &'a mut Reply<'b>,
    pub(super) key: &'a mut Key,
    pub(super) pending: &'a mut Pending,
    /// Signatures and proofs are wanted.
    pub(super) dnssec: bool,
    /// Proofs that wildcards were rightly expanded on the way: the section they go into comes after
    /// the answer, which a chain is still writing.
    pub(super) expansions: [Option<(&'a Zone, NodeId)>; MAX_CHAIN],
}

/// The name looked for now: the question's, or one that a chain has led to.
#[derive(Clone, Copy)]
pub(super) struct Target<'n> {
    pub(super) name: NameRef<'n>,
    /// Where it stands in the message.
    at: u16,
    /// It is the question's.
    first: bool,
}

// A name on the stack is the price of no allocation for each CNAME followed.
#[allow(clippy::large_enum_variant)]
enum Step {
    Done,
    /// Go on with the name of a CNAME that stands at an offset.
    Follow(NameBuf, u16),
}

impl<'a, 'b> Lookup<'a, 'b> {
    /// With the question's key set.
    pub(super) fn new(
        zones: &'a Zones,
        question: &'a Question<'a>,
        transport: Transport,
        reply: &'a mut Reply<'b>,
        key: &'a mut Key,
        pending: &'a mut Pending,
    ) -> Lookup<'a, 'b> {
        pending.len = 0;
        pending.proofs.clear();
        Lookup {
            zones,
            question,
            transport,
            reply,
            key,
            pending,
            dnssec: false,
            expansions: [None; MAX_CHAIN],
        }
    }

    /// Fills in the response.
    pub(super) fn run(mut self, query: &Query<'_>, state: &State, client: &Client) {
        self.dnssec = query.edns.is_some_and(|edns| edns.dnssec_ok);
        let zones = self.zones;
        let rr_type = self.question.rr_type;
        let question = self.question.name;
        let Some(served) = zones.find(self.key, question, rr_type) else {
            self.reply.rcode = Rcode::REFUSED;
            self.reply.extended = Some(ExtendedError::NOT_AUTHORITATIVE);
            return;
        };
        if served.expired {
            self.reply.rcode = Rcode::SERVFAIL;
            self.reply.extended = Some(ExtendedError::NOT_READY);
            return;
        }
        if let Some(access) = &served.rules.query {
            let who = client.who(state);
            if !access.allows(&who) {
                log_refusal("query", served.zone.apex(), &who, access);
                self.reply.rcode = Rcode::REFUSED;
                self.reply.extended = Some(ExtendedError::PROHIBITED);
                return;
            }
        }
        let target = Target {
            name: question,
            at: Header::LEN as u16,
            first: true,
        };
        let mut step = self.step(&served.zone, target);
        // Names of the chain so far, by where they stand in the message; the question's is first.
        let (mut chain, mut length) = ([0u16; MAX_CHAIN], 1);
        chain[0] = Header::LEN as u16;
        while let Step::Follow(name, at) = step {
            let target = Target {
                name: name.as_ref(),
                at,
                first: false,
            };
            let before = chain.get(..length).unwrap_or_default();
            if before
                .iter()
                .any(|at| self.reply.writer.holds_name(*at, target.name))
            {
                // RFC 1034 3.6.2: a loop is signalled as an error.
                self.reply.rcode = Rcode::SERVFAIL;
                self.reply.extended = Some(ExtendedError::LOOP);
                return;
            }
            // A chain longer than this is not wrong: the client asks for the rest of it.
            let Some(slot) = chain.get_mut(length) else {
                self.prove_expansions();
                return;
            };
            *slot = at;
            length += 1;
            self.key.set(target.name);
            // A chain that leaves the zones of this server ends here (RFC 1034 4.3.2 3a).
            let Some(served) = zones.find(self.key, target.name, rr_type) else {
                self.reply.leaves = true;
                self.prove_expansions();
                return;
            };
            // What the client may not ask for it is not told on the way either.
            let access = served.rules.query.as_ref();
            if served.expired || access.is_some_and(|access| !access.allows(&client.who(state))) {
                self.prove_expansions();
                return;
            }
            step = self.step(&served.zone, target);
        }
    }

    /// One name in one zone.
    fn step(&mut self, zone: &'a Zone, target: Target<'_>) -> Step {
        let found = zone.find(self.key, target.name);
        match zone.cut(found) {
            // RFC 4035 3.1.4.1: the DS set of a delegation is the delegating zone's own, and so is
            // the NSEC record that it has there.
            Some(Cut::Delegation(cut))
                if found != Found::Exact(cut) || !self.is_parents(zone, cut) =>
            {
                self.refer(zone, cut, target);
                return Step::Done;
            }
            Some(Cut::Dname(id)) => {
                self.authoritative(target);
                self.counts_as(target, zone, id, Counted::Wildcard);
                return self.follow_dname(zone, id, target);
            }
            _ => self.authoritative(target),
        }
        match found {
            Found::Exact(id) => self.at(zone, id, None, target),
            Found::Below(encloser) => match zone.wildcard(encloser) {
                Some(id) => {
                    self.counts_as(target, zone, encloser, Counted::Wildcard);
                    self.at(zone, id, Some(encloser), target)
                }
                None => {
                    self.counts_as(target, zone, 0, Counted::Tail);
                    self.reply.rcode = Rcode::NXDOMAIN;
                    self.deny(zone, target);
                    self.prove_no_name(zone, encloser, target);
                    Step::Done
                }
            },
        }
    }

    /// Where responses are counted, those to all names below one are one.
    fn counts_as(
        &mut self,
        target: Target<'_>,
        zone: &Zone,
        above: NodeId,
        tail: fn(usize) -> Counted,
    ) {
        if target.first {
            self.reply.counted = tail(zone.name(above).wire().len());
        }
    }

    /// True if what is asked for at a delegation is on this side of it.
    fn is_parents(&self, zone: &Zone, cut: NodeId) -> bool {
        match self.question.rr_type {
            RrType::DS => true,
            RrType::NSEC => zone.has_nsec() && zone.set(cut, RrType::NSEC).is_some(),
            _ => false,
        }
    }

    /// RFC 1034 4.1.1: AA speaks of the first name in the answer section.
    fn authoritative(&mut self, target: Target<'_>) {
        if target.first {
            self.reply.flags |= flag::AA;
        }
    }

    /// Answers from a node: the one of the name, or the wildcard below the closest encloser that
    /// stands for it.
    fn at(
        &mut self,
        zone: &'a Zone,
        id: NodeId,
        wildcard: Option<NodeId>,
        target: Target<'_>,
    ) -> Step {
        let rr_type = self.question.rr_type;
        let owner = owner_at(target.at, target.name);
        if rr_type == RrType::ANY {
            self.any(zone, id, wildcard, owner, target);
            return Step::Done;
        }
        if zone.is_alias(id)
            && !rr_type.may_join_cname()
            && let Some(alias) = zone.set(id, RrType::CNAME)
        {
            return self.follow_cname(zone, id, wildcard, &alias, owner, target);
        }
        match zone.set(id, rr_type) {
            Some(set) => {
                if self
                    .write_signed(Section::Answer, owner, zone, id, &set)
                    .is_err()
                {
                    self.reply.truncate();
                } else {
                    if let Some(encloser) = wildcard {
                        self.prove_expansion(zone, encloser, target);
                    }
                    self.prove_expansions();
                    self.additional(zone, None);
                }
            }
            None => {
                self.deny(zone, target);
                self.prove_no_data(zone, id, wildcard, target);
            }
        }
        Step::Done
    }

    /// RFC 8482: over UDP, whose sender may be forged, one set stands for all.
    fn any(
        &mut self,
        zone: &'a Zone,
        id: NodeId,
        wildcard: Option<NodeId>,
        owner: Owner<'_>,
        target: Target<'_>,
    ) {
        let few = if self.transport == Transport::Udp {
            1
        } else {
            usize::MAX
        };
        let mut empty = true;
        for set in zone.sets(id).take(few) {
            empty = false;
            // Where all sets are given the signatures are one of them.
            let written = if few == 1 {
                self.write_signed(Section::Answer, owner, zone, id, &set)
            } else {
                self.write_set(Section::Answer, owner, &set)
            };
            if written.is_err() {
                self.reply.truncate();
                return;
            }
        }
        if empty {
            self.deny(zone, target);
            self.prove_no_data(zone, id, wildcard, target);
        } else {
            if let Some(encloser) = wildcard {
                self.prove_expansion(zone, encloser, target);
            }
            self.prove_expansions();
            self.additional(zone, Some(id));
        }
    }

    fn follow_cname(
        &mut self,
        zone: &'a Zone,
        id: NodeId,
        wildcard: Option<NodeId>,
        alias: &RrSet<'_>,
        owner: Owner<'_>,
        target: Target<'_>,
    ) -> Step {
        let Some((rdata, _)) = alias.records().next() else {
            return Step::Done;
        };
        let (section, layout) = (Section::Answer, Layout::NameAt(0));
        let (class, ttl) = (Class::IN, alias.ttl);
        let writer = &mut self.reply.writer;
        match writer.record(section, owner, RrType::CNAME, class, ttl, rdata, layout, 0) {
            Ok(at) => {
                if self.signatures(section, owner, zone, id, alias).is_err() {
                    self.reply.truncate();
                    return Step::Done;
                }
                if let Some(encloser) = wildcard {
                    self.prove_expansion(zone, encloser, target);
                }
                Step::Follow(NameRef::trusted(rdata).to_buf(), at)
            }
            Err(Full) => {
                self.reply.truncate();
                Step::Done
            }
        }
    }

    /// RFC 6672 3.2: the DNAME, and the CNAME that follows from it for this name.
    fn follow_dname(&mut self, zone: &Zone, id: NodeId, target: Target<'_>) -> Step {
        let Some(dname) = zone.set(id, RrType::DNAME) else {
            return Step::Done;
        };
        let Some((rdata, _)) = dname.records().next() else {
            return Step::Done;
        };
        let owner = self.ancestor(zone, id, target);
        if self
            .write_signed(Section::Answer, owner, zone, id, &dname)
            .is_err()
        {
            self.reply.truncate();
            return Step::Done;
        }
        let below = target
            .name
            .wire()
            .len()
            .checked_sub(zone.name(id).wire().len());
        let prefix = below
            .and_then(|length| target.name.wire().get(..length))
            .unwrap_or(&[]);
        let Some(name) = replaced(prefix, rdata) else {
            self.reply.rcode = Rcode::YXDOMAIN;
            return Step::Done;
        };
        let owner = owner_at(target.at, target.name);
        let (section, layout) = (Section::Answer, Layout::NameAt(0));
        let (bytes, ttl) = (name.as_ref(), dname.ttl);
        let writer = &mut self.reply.writer;
        let cname = RrType::CNAME;
        match writer.record(
            section,
            owner,
            cname,
            Class::IN,
            ttl,
            bytes.wire(),
            layout,
            0,
        ) {
            // The CNAME is what was asked for.
            Ok(_) if self.question.rr_type == RrType::CNAME => Step::Done,
            Ok(at) => Step::Follow(name, at),
            Err(Full) => {
                self.reply.truncate();
                Step::Done
            }
        }
    }

    /// Refers the client to the servers of a delegated zone, with the glue it needs (RFC 9471).
    fn refer(&mut self, zone: &Zone, cut: NodeId, target: Target<'_>) {
        let Some(servers) = zone.set(cut, RrType::NS) else {
            return;
        };
        self.counts_as(target, zone, cut, Counted::Tail);
        let owner = self.ancestor(zone, cut, target);
        if self.write_set(Section::Authority, owner, &servers).is_err() {
            self.reply.truncate();
            return;
        }
        let secured = match zone.set(cut, RrType::DS) {
            _ if !self.dnssec => Ok(()),
            Some(ds) => self.write_signed(Section::Authority, owner, zone, cut, &ds),
            None => self.prove_insecure(zone, cut),
        };
        if secured.is_err() {
            self.reply.truncate();
            return;
        }
        self.prove_expansions();
        // Hosts inside the delegated zone first: without them it cannot be reached.
        for needed in [true, false] {
            for index in 0..self.pending.len {
                let Some(&(host, at)) = self.pending.hosts.get(index) else {
                    break;
                };
                if zone.is_within(host, cut) != needed {
                    continue;
                }
                if self.addresses(zone, host, at).is_err() {
                    if needed {
                        self.reply.truncate();
                    }
                    return;
                }
            }
        }
    }

    /// RFC 2308 3: the SOA, with the TTL that a denial has.
    fn deny(&mut self, zone: &Zone, target: Target<'_>) {
        let owner = self.ancestor(zone, 0, target);
        let soa = zone
            .set(0, RrType::SOA)
            .map(|set| set.with_ttl(zone.negative_ttl()));
        if let Some(soa) = soa
            && self
                .write_signed(Section::Authority, owner, zone, 0, &soa)
                .is_err()
        {
            self.reply.truncate();
        }
        self.prove_expansions();
    }

    /// The name of a node above the target, as the tail of the question's if it is one.
    fn ancestor<'z>(&self, zone: &'z Zone, id: NodeId, target: Target<'_>) -> Owner<'z> {
        let name = zone.name(id);
        match target.name.wire().len().checked_sub(name.wire().len()) {
            // The root is shorter than a pointer.
            Some(offset) if target.first && !name.is_root() => {
                Owner::At((Header::LEN + offset) as u16)
            }
            _ => Owner::Name(name),
        }
    }

    /// Writes all of a set with its signatures, if they are wanted, or nothing.
    pub(super) fn write_signed(
        &mut self,
        section: Section,
        owner: Owner<'_>,
        zone: &Zone,
        id: NodeId,
        set: &RrSet<'_>,
    ) -> Result<(), Full> {
        let (mark, hosts) = (self.reply.writer.mark(), self.pending.len);
        self.write_set(section, owner, set)?;
        self.signatures(section, owner, zone, id, set)
            .inspect_err(|_| {
                self.reply.writer.reset(mark);
                self.pending.len = hosts;
            })
    }

    /// Writes the signatures of a set of a node, if they are wanted.
    fn signatures(
        &mut self,
        section: Section,
        owner: Owner<'_>,
        zone: &Zone,
        id: NodeId,
        set: &RrSet<'_>,
    ) -> Result<(), Full> {
        if !self.dnssec || !zone.has_signatures() {
            return Ok(());
        }
        let Some(signatures) = zone.set(id, RrType::RRSIG) else {
            return Ok(());
        };
        let covered = set.rr_type.0.to_be_bytes();
        for (rdata, _) in signatures.records() {
            if rdata.starts_with(&covered) {
                let (kind, class, layout) = (RrType::RRSIG, Class::IN, Layout::Opaque);
                self.reply
                    .writer
                    .record(section, owner, kind, class, set.ttl, rdata, layout, 0)?;
            }
        }
        Ok(())
    }

    /// Writes all of a set or nothing, and notes the hosts it points to.
    fn write_set(
        &mut self,
        section: Section,
        owner: Owner<'_>,
        set: &RrSet<'_>,
    ) -> Result<(), Full> {
        let (mark, hosts) = (self.reply.writer.mark(), self.pending.len);
        let layout = Layout::of(set.rr_type);
        let watch = additional_name_at(set.rr_type).unwrap_or(0);
        for (rdata, host) in set.records() {
            let writer = &mut self.reply.writer;
            let (rr_type, ttl) = (set.rr_type, set.ttl_of(rdata));
            match writer.record(
                section,
                owner,
                rr_type,
                Class::IN,
                ttl,
                rdata,
                layout,
                watch,
            ) {
                Ok(at) => {
                    if let Some(host) = host {
                        self.pending.add(host, at);
                    }
                }
                Err(Full) => {
                    self.reply.writer.reset(mark);
                    self.pending.len = hosts;
                    return Err(Full);
                }
            }
        }
        Ok(())
    }

    /// The addresses of the hosts noted, so far as there is room; `answered` has been answered
    /// with all its sets.
    fn additional(&mut self, zone: &Zone, answered: Option<NodeId>) {
        for index in 0..self.pending.len {
            let Some(&(host, at)) = self.pending.hosts.get(index) else {
                return;
            };
            if answered != Some(host) && self.addresses(zone, host, at).is_err() {
                return;
            }
        }
    }

    fn addresses(&mut self, zone: &Zone, host: NodeId, at: u16) -> Result<(), Full> {
        // A name that is the root in its record ("." of SVCB) means the owner, whose name is
        // elsewhere; and past 16 KiB nothing can be pointed to.
        let owner = match self.reply.writer.octet(at) {
            Some(1..) if can_point_to(at) => Owner::At(at),
            _ => Owner::Name(zone.name(host)),
        };
        for set in zone.sets(host) {
            if matches!(set.rr_type, RrType::A | RrType::AAAA) {
                self.write_signed(Section::Additional, owner, zone, host, &set)?;
            }
        }
        Ok(())
    }
}

fn owner_at(at: u16, name: NameRef<'_>) -> Owner<'_> {
    if can_point_to(at) && !name.is_root() {
        Owner::At(at)
    } else {
        Owner::Name(name)
    }
}

/// A prefix put before the target of a DNAME; none if that makes no name (RFC 6672 2.2).
fn replaced(prefix: &[u8], target: &[u8]) -> Option<NameBuf> {
    let mut whole = [0u8; crate::wire::name::MAX_NAME];
    let length = prefix.len() + target.len();
    let slots = whole.get_mut(..length)?;
    slots
        .iter_mut()
        .zip(prefix.iter().chain(target))
        .for_each(|(slot, octet)| *slot = *octet);
    NameRef::from_wire(whole.get(..length)?)
        .ok()
        .map(NameRef::to_buf)
}

/// Answers with the SOA of a zone.
pub(super) fn write_soa_answer(zone: &Zone, owner: Owner<'_>, reply: &mut Reply<'_>) {
    reply.flags |= flag::AA;
    let Some(soa) = zone.set(0, RrType::SOA) else {
        return;
    };
    let Some((rdata, _)) = soa.records().next() else {
        return;
    };
    let (section, layout) = (Section::Answer, Layout::TwoNames);
    let (rr_type, class) = (RrType::SOA, Class::IN);
    if reply
        .writer
        .record(section, owner, rr_type, class, soa.ttl, rdata, layout, 0)
        .is_err()
    {
        reply.truncate();
    }
}
