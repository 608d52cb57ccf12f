//! UPDATE (RFC 2136): prerequisites, then changes, all of them or none.

use std::collections::BTreeMap;

use super::change::{
    Change, OwnSet, Sets, is_later, replace, set_of, set_soa_serial, soa, soa_serial,
};
use super::policy::{Policy, Requester};
use super::zone::Zone;
use crate::wire::code::{Class, Rcode, RrType};
use crate::wire::name::{Name, NameRef};
use crate::wire::rdata::decompress;
use crate::wire::reader::{Header, Malformed, Reader};
use crate::wire::record::{OwnRecord, read_ttl};

/// A request for changes, read.
#[derive(Debug, Clone)]
pub struct Update {
    /// The zone.
    pub zone: Name,
    prerequisites: Vec<OwnRecord>,
    changes: Vec<OwnRecord>,
}

/// Records in one request.
const MAX_RECORDS: usize = 16_384;

impl Update {
    /// Reads a request.
    pub fn read(message: &[u8]) -> Result<Update, Malformed> {
        let header = Header::read(message)?;
        let mut reader = Reader::at(message, Header::LEN);
        let zone = reader.name()?.as_ref().to_owned();
        // RFC 2136 2.3: the one zone, with type SOA.
        if header.questions != 1 || reader.u16()? != RrType::SOA.0 || reader.u16()? != Class::IN.0 {
            return Err(Malformed);
        }
        let mut section = |count: u16| -> Result<Vec<OwnRecord>, Malformed> {
            let mut records = Vec::new();
            for _ in 0..count {
                let raw = reader.record()?;
                let mut rdata = Vec::new();
                // Without data a record stands for a set or a name.
                if raw.rdata_len > 0 {
                    decompress(
                        raw.rr_type,
                        message,
                        raw.rdata_at,
                        raw.rdata_len,
                        &mut rdata,
                    )
                    .map_err(|_| Malformed)?;
                } else if raw.class == Class::IN && raw.rr_type != RrType::APL {
                    return Err(Malformed);
                }
                records.push(OwnRecord {
                    owner: raw.owner.as_ref().to_owned(),
                    rr_type: raw.rr_type,
                    class: raw.class,
                    ttl: raw.ttl,
                    rdata,
                });
                if records.len() > MAX_RECORDS {
                    return Err(Malformed);
                }
            }
            Ok(records)
        };
        Ok(Update {
            zone,
            prerequisites: section(header.answers)?,
            changes: section(header.authorities)?,
        })
    }

    /// How many changes it asks for.
    pub fn len(&self) -> usize {
        self.changes.len()
    }

    /// True if it asks for none, as one that only tests does.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }
}

/// What came of a request.
#[derive(Debug)]
pub enum Outcome {
    /// The zone after it, and what led there.
    Changed(Box<Zone>, Change),
    /// It is as it was.
    Unchanged,
    /// Refused with a code, and for the log a reason.
    Refused(Rcode, String),
}

/// Carries a request out on a version of its zone.
pub fn run(zone: &Zone, update: &Update, policy: &Policy, requester: &Requester<'_>) -> Outcome {
    match attempt(zone, update, policy, requester) {
        Ok(Some((zone, change))) => Outcome::Changed(Box::new(zone), change),
        Ok(None) => Outcome::Unchanged,
        Err((rcode, reason)) => Outcome::Refused(rcode, reason),
    }
}

type Refusal = (Rcode, String);

fn attempt(
    zone: &Zone,
    update: &Update,
    policy: &Policy,
    requester: &Requester<'_>,
) -> Result<Option<(Zone, Change)>, Refusal> {
    // RFC 2136 has prerequisites come first (3.2, 3.3). Who may change nothing would learn from
    // them what is in the zone, and is told so before anything of what is asked is looked at.
    policy.admits(requester)?;
    prerequisites(zone, &update.prerequisites)?;
    for record in &update.changes {
        prescan(zone, record)?;
        permitted(zone, record, policy, requester)?;
    }
    let mut draft = Draft {
        zone,
        sets: Sets::new(),
    };
    for record in &update.changes {
        draft.carry_out(record);
    }
    let Some(change) = draft.change()? else {
        return Ok(None);
    };
    let after = replace(zone, &draft.sets).map_err(|reason| (Rcode::REFUSED, reason))?;
    Ok(Some((after, change)))
}

/// RFC 2136 3.2.
fn prerequisites(zone: &Zone, records: &[OwnRecord]) -> Result<(), Refusal> {
    let malformed = || (Rcode::FORMERR, "malformed prerequisite".to_owned());
    let mut sets: BTreeMap<(&Name, RrType), OwnSet> = BTreeMap::new();
    for record in records {
        let OwnRecord { owner, rr_type, .. } = record;
        if record.ttl != 0 {
            return Err(malformed());
        }
        in_zone(zone, owner)?;
        let empty = record.rdata.is_empty();
        let any = *rr_type == RrType::ANY;
        let fails = |rcode| Err((rcode, format!("prerequisite on {owner} {rr_type} fails")));
        match record.class {
            Class::ANY | Class::NONE if !empty || (rr_type.is_meta() && !any) => {
                return Err(malformed());
            }
            Class::ANY if any && !in_use(zone, owner) => return fails(Rcode::NXDOMAIN),
            Class::ANY if !any && set_of(zone, owner.as_ref(), *rr_type).is_none() => {
                return fails(Rcode::NXRRSET);
            }
            Class::NONE if any && in_use(zone, owner) => return fails(Rcode::YXDOMAIN),
            Class::NONE if !any && set_of(zone, owner.as_ref(), *rr_type).is_some() => {
                return fails(Rcode::YXRRSET);
            }
            Class::ANY | Class::NONE => {}
            Class::IN if !rr_type.is_meta() => {
                sets.entry((owner, *rr_type))
                    .or_default()
                    .put(*rr_type, &record.rdata);
            }
            _ => return Err(malformed()),
        }
    }
    for ((owner, rr_type), wanted) in sets {
        let held = set_of(zone, owner.as_ref(), rr_type).unwrap_or_default();
        if !wanted.has_rows_of(&held) {
            let reason = format!("prerequisite on {owner} {rr_type} fails");
            return Err((Rcode::NXRRSET, reason));
        }
    }
    Ok(())
}

fn in_zone(zone: &Zone, owner: &Name) -> Result<(), Refusal> {
    if owner.as_ref().is_within(zone.apex()) {
        Ok(())
    } else {
        Err((Rcode::NOTZONE, format!("{owner} is not in the zone")))
    }
}

/// A name is in use if it has records (RFC 2136 2.4.4): an empty non-terminal is not.
fn in_use(zone: &Zone, owner: &Name) -> bool {
    let (node, _) = zone.search(owner.as_ref());
    node.is_some_and(|id| zone.sets(id).next().is_some())
}

/// RFC 2136 3.4.1.
fn prescan(zone: &Zone, record: &OwnRecord) -> Result<(), Refusal> {
    let OwnRecord { owner, rr_type, .. } = record;
    in_zone(zone, owner)?;
    let any = *rr_type == RrType::ANY;
    let meta = rr_type.is_meta() && !any;
    let good = match record.class {
        Class::IN => !meta && !any,
        Class::ANY => record.ttl == 0 && record.rdata.is_empty() && !meta,
        Class::NONE => record.ttl == 0 && !meta && !any,
        _ => false,
    };
    if !good {
        return Err((
            Rcode::FORMERR,
            format!("malformed change of {owner} {rr_type}"),
        ));
    }
    // What a signer makes is not to be had by update (RFC 3007 4.3).
    if matches!(*rr_type, RrType::RRSIG | RrType::NSEC | RrType::NSEC3) {
        return Err((
            Rcode::REFUSED,
            format!("{rr_type} records are the signer's"),
        ));
    }
    Ok(())
}

fn permitted(
    zone: &Zone,
    record: &OwnRecord,
    policy: &Policy,
    requester: &Requester<'_>,
) -> Result<(), Refusal> {
    let owner = record.owner.as_ref();
    if record.rr_type != RrType::ANY {
        return policy.permits(requester, zone.apex(), owner, record.rr_type);
    }
    // All sets of a name: each of them must be the client's to change.
    let (node, _) = zone.search(owner);
    for set in node.into_iter().flat_map(|id| zone.sets(id)) {
        let kept = owner == zone.apex() && matches!(set.rr_type, RrType::SOA | RrType::NS);
        if !kept {
            policy.permits(requester, zone.apex(), owner, set.rr_type)?;
        }
    }
    Ok(())
}

/// A version under way.
struct Draft<'z> {
    zone: &'z Zone,
    sets: Sets,
}

impl Draft<'_> {
    fn set(&mut self, owner: &Name, rr_type: RrType) -> &mut OwnSet {
        let zone = self.zone;
        self.sets
            .entry(owner.clone())
            .or_default()
            .entry(rr_type)
            .or_insert_with(|| set_of(zone, owner.as_ref(), rr_type).unwrap_or_default())
    }

    /// The types at a name now.
    fn types(&self, owner: &Name) -> Vec<RrType> {
        let edited = self.sets.get(owner);
        let (node, _) = self.zone.search(owner.as_ref());
        let held = node.into_iter().flat_map(|id| self.zone.sets(id));
        let mut types: Vec<RrType> = held
            .map(|set| set.rr_type)
            .filter(|rr_type| edited.is_none_or(|sets| !sets.contains_key(rr_type)))
            .collect();
        let edited = edited.into_iter().flatten();
        types.extend(
            edited
                .filter(|(_, set)| !set.is_empty())
                .map(|(rr_type, _)| *rr_type),
        );
        types
    }

    /// RFC 2136 3.4.2.
    fn carry_out(&mut self, record: &OwnRecord) {
        let OwnRecord { owner, rr_type, .. } = record;
        let apex = owner.as_ref() == self.zone.apex();
        match record.class {
            Class::IN => self.add(record, apex),
            Class::ANY if *rr_type == RrType::ANY => {
                for held in self.types(owner) {
                    if !(apex && matches!(held, RrType::SOA | RrType::NS)) {
                        self.set(owner, held).clear();
                    }
                }
            }
            Class::ANY if !(apex && matches!(*rr_type, RrType::SOA | RrType::NS)) => {
                self.set(owner, *rr_type).clear();
            }
            Class::NONE if *rr_type != RrType::SOA => {
                let set = self.set(owner, *rr_type);
                // 3.4.2.4: the last NS of the zone itself stays.
                let last = apex && *rr_type == RrType::NS && set.len() == 1;
                if !last {
                    set.take(*rr_type, &record.rdata);
                }
            }
            _ => {}
        }
    }

    fn add(&mut self, record: &OwnRecord, apex: bool) {
        let OwnRecord { owner, rr_type, .. } = record;
        let held = self.types(owner);
        // 3.4.2.2: what may not stand beside a CNAME is passed over, and so is a CNAME beside it.
        let blocked = match *rr_type {
            RrType::CNAME => held
                .iter()
                .any(|other| *other != RrType::CNAME && !other.may_join_cname()),
            other => held.contains(&RrType::CNAME) && !other.may_join_cname(),
        };
        if blocked {
            return;
        }
        let zone_serial = self.zone.serial();
        let set = self.set(owner, *rr_type);
        match *rr_type {
            RrType::SOA => {
                let serial = soa_serial(&record.rdata);
                if !apex || !serial.is_some_and(|serial| is_later(serial, zone_serial)) {
                    return;
                }
                set.clear();
            }
            RrType::CNAME | RrType::DNAME => set.clear(),
            _ => {}
        }
        set.ttl = read_ttl(record.ttl);
        set.put(*rr_type, &record.rdata);
    }

    /// The change that the draft makes, with a serial that has grown; none if it makes none.
    fn change(&mut self) -> Result<Option<Change>, Refusal> {
        let broken = || (Rcode::SERVFAIL, "the zone has no SOA".to_owned());
        let apex = self.zone.apex().to_owned();
        let before = soa(self.zone).ok_or_else(broken)?;
        let (mut removed, mut added) = (Vec::new(), Vec::new());
        for (owner, types) in &self.sets {
            for (rr_type, after) in types {
                if *rr_type == RrType::SOA && *owner == apex {
                    continue;
                }
                let held = set_of(self.zone, owner.as_ref(), *rr_type).unwrap_or_default();
                difference(owner, *rr_type, &held, after, &mut removed);
                difference(owner, *rr_type, after, &held, &mut added);
            }
        }
        let held = self.zone.serial();
        let after = self.set(&apex, RrType::SOA);
        let mut rdata = after.rows().next().ok_or_else(broken)?.to_vec();
        let untouched = removed.is_empty() && added.is_empty();
        if untouched && rdata == before.rdata && after.ttl == before.ttl {
            return Ok(None);
        }
        let serial = soa_serial(&rdata).ok_or_else(broken)?;
        let serial = if is_later(serial, held) {
            serial
        } else {
            next_serial(held)
        };
        set_soa_serial(&mut rdata, serial);
        after.clear();
        after.put(RrType::SOA, &rdata);
        let mut soa = before.clone();
        (soa.ttl, soa.rdata) = (after.ttl, rdata);
        removed.insert(0, before);
        added.insert(0, soa);
        Ok(Some(Change {
            from: held,
            to: serial,
            removed,
            added,
        }))
    }
}

/// The serial after one. 0 is left out: some take it for none at all.
pub fn next_serial(serial: u32) -> u32 {
    serial.wrapping_add(1).max(1)
}

/// The records of a set that another has not, or has with another TTL.
fn difference(owner: &Name, rr_type: RrType, of: &OwnSet, other: &OwnSet, to: &mut Vec<OwnRecord>) {
    for row in of.rows() {
        if of.ttl != other.ttl || !other.holds(rr_type, row) {
            to.push(OwnRecord {
                owner: owner.clone(),
                rr_type,
                class: Class::IN,
                ttl: of.ttl,
                rdata: row.to_vec(),
            });
        }
    }
}

/// The name a request is for, without reading the rest.
pub fn zone_of(message: &[u8]) -> Option<Name> {
    let (name, _) = NameRef::split_wire(message.get(Header::LEN..)?).ok()?;
    Some(name.to_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use proptest::prelude::*;

    use super::*;
    use crate::engine::access::Access;
    use crate::engine::zone::tests::load;

    const TEXT: &str = "$TTL 9\n@ SOA ns hm 7 2 3 4 5\n@ NS ns\nns A 192.0.2.1\n\
        a A 192.0.2.2\na A 192.0.2.3\nc CNAME a\nx.deep TXT t";

    /// Records as `OWNER CLASS TTL TYPE [DATA]`, with `any` and `none` for those without data.
    fn section(texts: &[&str], message: &mut Vec<u8>) {
        for text in texts {
            let mut words = text.splitn(5, ' ');
            let mut word = || words.next().unwrap_or_default();
            let owner = match word() {
                "@" => "example.".to_owned(),
                label => format!("{label}.example."),
            };
            let owner = Name::from_text(&owner).unwrap();
            let class: u16 = match word() {
                "any" => 255,
                "none" => 254,
                _ => 1,
            };
            let ttl: u32 = word().parse().unwrap();
            let rr_type = RrType::from_text(word().as_bytes()).unwrap();
            let data = word();
            let rdata = match data {
                "" => Vec::new(),
                data => {
                    OwnRecord::from_text(owner.clone(), rr_type, 1, data)
                        .unwrap()
                        .rdata
                }
            };
            message.extend(owner.as_ref().wire());
            message.extend(rr_type.0.to_be_bytes());
            message.extend(class.to_be_bytes());
            message.extend(ttl.to_be_bytes());
            message.extend((rdata.len() as u16).to_be_bytes());
            message.extend(rdata);
        }
    }

    fn message(prerequisites: &[&str], changes: &[&str]) -> Vec<u8> {
        let mut message = vec![0, 1, 0x28, 0, 0, 1];
        for count in [prerequisites.len(), changes.len(), 0] {
            message.extend((count as u16).to_be_bytes());
        }
        message.extend(b"\x07example\0\0\x06\0\x01");
        section(prerequisites, &mut message);
        section(changes, &mut message);
        message
    }

    fn carry_out(prerequisites: &[&str], changes: &[&str]) -> Outcome {
        let update = Update::read(&message(prerequisites, changes)).unwrap();
        carry_out_for("0.0.0.0/0", &update)
    }

    /// As [`carry_out`], where clients of one network may.
    fn carry_out_for(network: &str, update: &Update) -> Outcome {
        let zone = load("example", TEXT).zone.unwrap();
        let policy = Policy {
            from: Access::networks([network.parse().unwrap()]),
            rules: Vec::new(),
        };
        let requester = Requester {
            address: "192.0.2.9".parse().unwrap(),
            key: None,
        };
        run(&zone, update, &policy, &requester)
    }

    /// Whatever is asked, who may change nothing gets one answer.
    #[test]
    fn prerequisites_tell_strangers_nothing() {
        for text in [
            "a any 0 ANY",
            "b any 0 ANY",
            "a none 0 A",
            "a in 0 A 192.0.2.2",
        ] {
            let update = Update::read(&message(&[text], &[])).unwrap();
            let outcome = carry_out_for("198.51.100.0/24", &update);
            assert!(
                matches!(outcome, Outcome::Refused(Rcode::REFUSED, _)),
                "{text}: {outcome:?}"
            );
        }
    }

    #[test]
    fn as_many_records_of_one_set_as_a_request_holds() {
        let mut update = Update::read(&message(&["a in 0 A 192.0.2.2"], &[])).unwrap();
        let row = update.prerequisites.pop().unwrap();
        let rows = (0..MAX_RECORDS as u32).map(|number| OwnRecord {
            rdata: number.to_be_bytes().to_vec(),
            ..row.clone()
        });
        update.prerequisites = rows.clone().collect();
        let begun = std::time::Instant::now();
        let outcome = carry_out_for("0.0.0.0/0", &update);
        assert!(matches!(outcome, Outcome::Refused(Rcode::NXRRSET, _)));
        (update.prerequisites, update.changes) = (Vec::new(), rows.collect());
        let outcome = carry_out_for("0.0.0.0/0", &update);
        assert!(matches!(outcome, Outcome::Changed(..)));
        // Looked for one after the other they take a minute.
        assert!(begun.elapsed() < std::time::Duration::from_secs(20));
    }

    #[test]
    fn prerequisites_of_every_kind() {
        let cases = [
            ("a any 0 ANY", Rcode::NOERROR),
            ("b any 0 ANY", Rcode::NXDOMAIN),
            ("deep any 0 ANY", Rcode::NXDOMAIN),
            ("a any 0 A", Rcode::NOERROR),
            ("a any 0 TXT", Rcode::NXRRSET),
            ("b none 0 ANY", Rcode::NOERROR),
            ("a none 0 ANY", Rcode::YXDOMAIN),
            ("a none 0 TXT", Rcode::NOERROR),
            ("a none 0 A", Rcode::YXRRSET),
            ("a in 0 A 192.0.2.2", Rcode::NXRRSET),
            ("a in 0 TXT t", Rcode::NXRRSET),
            ("x.deep in 0 TXT t", Rcode::NOERROR),
            ("a any 1 A", Rcode::FORMERR),
            ("a any 0 A 192.0.2.2", Rcode::FORMERR),
        ];
        for (text, expected) in cases {
            let code = match carry_out(&[text], &[]) {
                Outcome::Unchanged => Rcode::NOERROR,
                Outcome::Refused(rcode, _) => rcode,
                Outcome::Changed(..) => panic!("{text} changed something"),
            };
            assert_eq!(code, expected, "{text}");
        }
        let both = carry_out(&["a in 0 A 192.0.2.3", "a in 0 A 192.0.2.2"], &[]);
        assert!(matches!(both, Outcome::Unchanged), "in any order");
    }

    #[test]
    fn all_or_nothing() {
        let Outcome::Changed(after, change) = carry_out(
            &[],
            &[
                "a none 0 A 192.0.2.2",
                "b in 60 MX 1 a.example.",
                "c in 9 A 192.0.2.4",
                "x.deep any 0 ANY",
            ],
        ) else {
            panic!();
        };
        assert_eq!((after.serial(), change.from, change.to), (8, 7, 8));
        assert_eq!((change.removed.len(), change.added.len()), (3, 2));
        let refused = carry_out(&[], &["a any 0 A", "b in 9 NSEC a.example. A"]);
        assert!(matches!(refused, Outcome::Refused(Rcode::REFUSED, _)));
        let refused = carry_out(&["b any 0 ANY"], &["a any 0 A"]);
        assert!(matches!(refused, Outcome::Refused(Rcode::NXDOMAIN, _)));
        let same = carry_out(&[], &["a in 9 A 192.0.2.2", "nothing any 0 ANY"]);
        assert!(matches!(same, Outcome::Unchanged));
    }

    /// What no zone file can say must not get into a zone: the file written of it would read as
    /// another zone.
    #[test]
    fn a_ttl_beyond_the_highest() {
        let rows = [
            "b in 2147483648 TXT x",
            "c2 in 2147483647 TXT x",
            "@ in 4294967295 SOA ns. hm. 9 2 3 4 5",
        ];
        let Outcome::Changed(after, change) = carry_out(&[], &rows) else {
            panic!();
        };
        let ttls: Vec<u32> = change.added.iter().map(|record| record.ttl).collect();
        assert_eq!(ttls, [0, 0, i32::MAX as u32]);
        let read = load("example", &crate::control::zone_text(&after)).zone;
        assert!(Change::between(&after, &read.unwrap()).is_none());
    }

    proptest! {
        /// Updates with octets changed at random, and octets altogether random.
        #[test]
        fn never_panics(at in 0usize..200, octet in any::<u8>(), tail in prop::collection::vec(any::<u8>(), 0..60)) {
            let mut bytes = message(&["a any 0 A"], &["a none 0 A 192.0.2.2", "b in 60 MX 1 a.example."]);
            if let Some(slot) = bytes.get_mut(at) {
                *slot = octet;
            }
            crate::engine::fuzz_changes(&bytes);
            bytes.truncate(at);
            bytes.extend(tail);
            crate::engine::fuzz_changes(&bytes);
        }
    }
}
