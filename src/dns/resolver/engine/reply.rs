//! What a server's response says, and how much of it may be believed: nothing about names outside
//! the zone it was asked as a server of.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use super::delegation::{Delegation, MAX_ADDRESSES, MAX_SERVERS};
use super::network::Opt;
use super::record::{Fact, RrSet};
use crate::wire::code::{Class, Rcode, RrType};
use crate::wire::message::Message;
use crate::wire::name::{Name, NameBuf, NameRef};
use crate::wire::reader::flag;
use crate::wire::record::OwnRecord;

/// CNAME and DNAME records followed within one response.
const MAX_CHAIN: usize = 16;
/// Proof sets kept of one response.
const MAX_PROOFS: usize = 16;

/// One thing a response says.
#[derive(Debug, Clone)]
pub(crate) struct Learned {
    pub(crate) name: Name,
    pub(crate) rr_type: RrType,
    pub(crate) fact: Fact,
    pub(crate) authority: Vec<Arc<RrSet>>,
    pub(crate) ttl: u32,
}

/// What to make of a response.
#[derive(Debug)]
pub(crate) enum Reply {
    /// It answers.
    Facts(Vec<Learned>),
    /// It names the servers of a zone further down, and what it says about that zone's keys.
    Referral(Delegation, Option<Learned>),
    /// It comes from a server that does not serve the zone.
    Lame,
    /// The server failed.
    Failed(Rcode),
}

/// Whom a response is from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Source<'a> {
    /// Nothing outside of this zone counts.
    pub(crate) zone: NameRef<'a>,
    /// It was asked to find out, not to say what it holds itself: not about other names either,
    /// where it is asked for those of one zone.
    pub(crate) forwarder: bool,
}

/// Record sets of one section.
struct Sets(HashMap<(Name, RrType), RrSet>);

impl Sets {
    fn of(records: &[OwnRecord]) -> Sets {
        let mut sets: HashMap<(Name, RrType), RrSet> = HashMap::new();
        let plain = records
            .iter()
            .filter(|record| record.class == Class::IN && !record.rr_type.is_meta());
        for record in plain {
            let signature = record.rr_type == RrType::RRSIG;
            // The type covered stands first in the data of a signature.
            let rr_type = match record.rdata.first_chunk::<2>() {
                Some(covered) if signature => RrType(u16::from_be_bytes(*covered)),
                None if signature => continue,
                _ => record.rr_type,
            };
            let key = (record.owner.clone(), rr_type);
            let set = sets.entry(key).or_insert_with(|| RrSet {
                owner: record.owner.clone(),
                rr_type,
                ttl: ttl_of(record.ttl),
                data: Vec::new(),
                signatures: Vec::new(),
            });
            set.ttl = set.ttl.min(ttl_of(record.ttl));
            let rows = if signature {
                &mut set.signatures
            } else {
                &mut set.data
            };
            rows.push(record.rdata.as_slice().into());
        }
        for set in sets.values_mut() {
            for rows in [&mut set.data, &mut set.signatures] {
                // Twice the same is once (RFC 2181 5); few are compared where they stand.
                if rows.len() > 64 {
                    rows.sort_unstable();
                    rows.dedup();
                } else {
                    let mut kept: Vec<Box<[u8]>> = Vec::with_capacity(rows.len());
                    for row in rows.drain(..) {
                        if !kept.contains(&row) {
                            kept.push(row);
                        }
                    }
                    *rows = kept;
                }
            }
        }
        // Signatures over a set that is not there say nothing.
        sets.retain(|_, set| !set.data.is_empty());
        Sets(sets)
    }

    fn get(&self, name: &Name, rr_type: RrType) -> Option<&RrSet> {
        self.0.get(&(name.clone(), rr_type))
    }
}

/// RFC 2181 8: the first bit set means zero.
fn ttl_of(ttl: u32) -> u32 {
    if ttl > i32::MAX as u32 { 0 } else { ttl }
}

/// Reads a response.
pub(crate) fn read(
    source: Source<'_>,
    name: &Name,
    rr_type: RrType,
    message: &Message,
    opt: &Opt,
) -> Reply {
    let rcode = Rcode(message.header.rcode().0 | opt.extended);
    if rcode != Rcode::NOERROR && rcode != Rcode::NXDOMAIN {
        return Reply::Failed(rcode);
    }
    let flags = message.header.flags;
    let authoritative = flags & flag::AA != 0;
    let (answers, authority) = (Sets::of(&message.answers), Sets::of(&message.authorities));
    let believed = |owner: NameRef<'_>| owner.is_within(source.zone);
    // What a forwarder is asked for may lie within a larger zone: that one's SOA record says how
    // long a denial holds, and its proofs count by their signatures.
    let spoken_for =
        |owner: NameRef<'_>| believed(owner) || source.forwarder && source.zone.is_within(owner);
    let proofs: Vec<Arc<RrSet>> = authority
        .0
        .values()
        .filter(|set| matches!(set.rr_type, RrType::NSEC | RrType::NSEC3))
        .filter(|set| !set.signatures.is_empty())
        .filter(|set| source.forwarder || believed(set.owner.as_ref()))
        .take(MAX_PROOFS)
        .map(|set| Arc::new(set.clone()))
        .collect();

    let mut facts = Vec::new();
    let mut current = name.clone();
    let mut complete = false;
    for _ in 0..MAX_CHAIN {
        if !believed(current.as_ref()) {
            break;
        }
        // The CNAME that a DNAME makes has no signature of its own: it counts as what it is.
        let made = |set: &&RrSet| {
            set.rr_type == RrType::CNAME
                && set.signatures.is_empty()
                && renamed(&answers, &current, source).is_some()
        };
        if let Some(set) = answers.get(&current, rr_type).filter(|set| !made(set)) {
            facts.push(positive(&current, rr_type, set, &proofs));
            complete = true;
            break;
        }
        if let Some((dname, cname)) = renamed(&answers, &current, source) {
            let Some(next) = cname.target().map(NameRef::to_owned) else {
                break;
            };
            let ttl = cname.ttl;
            let (dname, cname) = (Arc::new(dname), Arc::new(cname));
            let authority = proofs.clone();
            facts.push(Learned {
                name: std::mem::replace(&mut current, next),
                rr_type: RrType::CNAME,
                fact: Fact::Renamed { dname, cname },
                authority,
                ttl,
            });
            if rr_type == RrType::CNAME {
                complete = true;
                break;
            }
            continue;
        }
        if rr_type == RrType::CNAME {
            break;
        }
        let Some(cname) = answers.get(&current, RrType::CNAME) else {
            break;
        };
        let Some(next) = cname.target().map(NameRef::to_owned) else {
            break;
        };
        // More than one is a mistake (RFC 2181 10.1); the first is taken.
        let mut cname = cname.clone();
        if cname.data.len() > 1 && cname.signatures.is_empty() {
            cname.data.truncate(1);
        }
        facts.push(positive(&current, RrType::CNAME, &cname, &proofs));
        if facts.iter().any(|learned| learned.name == next) {
            // A loop; who follows it will find out.
            return Reply::Facts(facts);
        }
        current = next;
    }
    if complete {
        // An answer out of a cache is not from a server of the zone.
        let recursive = flags & flag::RA != 0 && !authoritative;
        if recursive && !source.forwarder {
            return Reply::Lame;
        }
        return Reply::Facts(facts);
    }

    if facts.is_empty()
        && rcode == Rcode::NOERROR
        && !source.forwarder
        && let Some((delegation, keys)) = referral(source.zone, name, &authority, message)
    {
        return Reply::Referral(delegation, keys);
    }
    let soa = authority.0.values().find(|set| {
        set.rr_type == RrType::SOA
            && current.as_ref().is_within(set.owner.as_ref())
            && spoken_for(set.owner.as_ref())
            && believed(current.as_ref())
    });
    // Without an SOA a denial says nothing of how long it holds, and where it comes with a chain
    // of names nothing of which of them it speaks.
    let speaks = soa.is_some()
        || facts.is_empty()
            && (authoritative || source.forwarder)
            && message.answers.is_empty()
            && authority.0.values().all(|set| set.rr_type != RrType::NS);
    if speaks {
        let ttl = soa.map_or(0, |soa| soa.ttl.min(minimum(soa)));
        let mut kept: Vec<Arc<RrSet>> = soa.map(|soa| Arc::new(soa.clone())).into_iter().collect();
        kept.extend(proofs);
        let fact = if rcode == Rcode::NXDOMAIN {
            Fact::NoName
        } else {
            Fact::NoData
        };
        facts.push(Learned {
            name: current,
            rr_type,
            fact,
            authority: kept,
            ttl,
        });
    }
    if facts.is_empty() {
        Reply::Lame
    } else {
        Reply::Facts(facts)
    }
}

fn positive(name: &Name, rr_type: RrType, set: &RrSet, proofs: &[Arc<RrSet>]) -> Learned {
    let authority = if set.signatures.is_empty() {
        Vec::new()
    } else {
        proofs.to_vec()
    };
    Learned {
        name: name.clone(),
        rr_type,
        fact: Fact::Set(Arc::new(set.clone())),
        authority,
        ttl: set.ttl,
    }
}

/// The last field of an SOA record.
pub(crate) fn minimum(soa: &RrSet) -> u32 {
    let last = soa.data.first().and_then(|data| data.last_chunk::<4>());
    last.map_or(0, |octets| ttl_of(u32::from_be_bytes(*octets)))
}

/// A DNAME among the answers that renames a name, and the CNAME it makes (RFC 6672 2.2).
fn renamed(answers: &Sets, name: &Name, source: Source<'_>) -> Option<(RrSet, RrSet)> {
    let mut above = name.as_ref().parent();
    while let Some(owner) = above {
        if !owner.is_within(source.zone) {
            return None;
        }
        if let Some(dname) = answers.get(&owner.to_owned(), RrType::DNAME) {
            let cname = rename(dname, name)?;
            return Some((dname.clone(), cname));
        }
        above = owner.parent();
    }
    None
}

/// The CNAME that a DNAME makes for a name below it.
pub(crate) fn rename(dname: &RrSet, name: &Name) -> Option<RrSet> {
    let (owner, target) = (dname.owner.as_ref(), dname.target()?);
    let kept = name
        .as_ref()
        .label_count()
        .checked_sub(owner.label_count())
        .filter(|kept| *kept > 0)?;
    let wire = name.as_ref().wire();
    let head = wire.len().checked_sub(owner.wire().len())?;
    let mut prefix = wire.get(..head)?.to_vec();
    prefix.push(0);
    let prefix = Name::from_wire(&prefix).ok()?;
    debug_assert_eq!(prefix.as_ref().label_count(), kept);
    let renamed = NameBuf::join(prefix.as_ref(), target).ok()?;
    Some(RrSet {
        owner: name.clone(),
        rr_type: RrType::CNAME,
        ttl: dname.ttl,
        data: vec![renamed.as_ref().wire().into()],
        signatures: Vec::new(),
    })
}

/// A referral to a zone between the one asked and the name asked for.
fn referral(
    zone: NameRef<'_>,
    name: &Name,
    authority: &Sets,
    message: &Message,
) -> Option<(Delegation, Option<Learned>)> {
    let cut = authority.0.values().find(|set| {
        let owner = set.owner.as_ref();
        set.rr_type == RrType::NS
            && name.as_ref().is_within(owner)
            && owner.is_within(zone)
            && owner != zone
    })?;
    let mut servers: Vec<(Name, Vec<IpAddr>)> = Vec::new();
    for data in cut.data.iter().take(MAX_SERVERS) {
        if let Ok(server) = Name::from_wire(data) {
            servers.push((server, Vec::new()));
        }
    }
    let addresses = message
        .additionals
        .iter()
        .filter(|record| record.class == Class::IN && record.owner.as_ref().is_within(zone));
    add_addresses(&mut servers, addresses);
    let delegation = Delegation::new(cut.owner.clone(), servers, cut.ttl);
    let owner = &cut.owner;
    let keys = match authority.get(owner, RrType::DS) {
        Some(set) => Some(positive(owner, RrType::DS, set, &[])),
        None => {
            let proofs: Vec<Arc<RrSet>> = authority
                .0
                .values()
                .filter(|set| matches!(set.rr_type, RrType::NSEC | RrType::NSEC3))
                .filter(|set| !set.signatures.is_empty() && set.owner.as_ref().is_within(zone))
                .take(MAX_PROOFS)
                .map(|set| Arc::new(set.clone()))
                .collect();
            (!proofs.is_empty()).then(|| Learned {
                name: owner.clone(),
                rr_type: RrType::DS,
                fact: Fact::NoData,
                ttl: proofs.iter().map(|set| set.ttl).min().unwrap_or(0),
                authority: proofs,
            })
        }
    };
    Some((delegation, keys))
}

/// Adds the addresses that records give to the servers they belong to.
pub(crate) fn add_addresses<'r>(
    servers: &mut [(Name, Vec<IpAddr>)],
    records: impl Iterator<Item = &'r OwnRecord>,
) {
    let mut total = 0;
    for record in records {
        let Some(address) = address_of(record.rr_type, &record.rdata) else {
            continue;
        };
        let server = servers.iter_mut().find(|(name, _)| *name == record.owner);
        if let Some((_, addresses)) = server
            && !addresses.contains(&address)
            && total < MAX_ADDRESSES
        {
            addresses.push(address);
            total += 1;
        }
    }
}

/// The address in an A or AAAA record.
pub(crate) fn address_of(rr_type: RrType, data: &[u8]) -> Option<IpAddr> {
    match rr_type {
        RrType::A => <[u8; 4]>::try_from(data).ok().map(IpAddr::from),
        RrType::AAAA => <[u8; 16]>::try_from(data).ok().map(IpAddr::from),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use crate::wire::reader::Header;

    fn name(text: &str) -> Name {
        Name::from_text(text).unwrap()
    }

    fn records(text: &str) -> Vec<OwnRecord> {
        text.lines()
            .map(|line| {
                let mut parts = line.trim().splitn(4, ' ');
                let owner = name(parts.next().unwrap());
                let ttl = parts.next().unwrap().parse().unwrap();
                let rr_type = RrType::from_text(parts.next().unwrap().as_bytes()).unwrap();
                OwnRecord::from_text(owner, rr_type, ttl, parts.next().unwrap()).unwrap()
            })
            .collect()
    }

    fn message(flags: u16, sections: [&str; 3]) -> Message {
        let [answers, authorities, additionals] = sections.map(records);
        Message {
            header: Header {
                id: 0,
                flags: 0x8000 | flags,
                questions: 1,
                answers: 0,
                authorities: 0,
                additionals: 0,
            },
            questions: Vec::new(),
            answers,
            authorities,
            additionals,
        }
    }

    fn ask(zone: &str, asked: &str, rr_type: RrType, message: &Message) -> String {
        let zone = name(zone);
        let source = Source {
            zone: zone.as_ref(),
            forwarder: false,
        };
        show(&read(
            source,
            &name(asked),
            rr_type,
            message,
            &Opt::default(),
        ))
    }

    fn show(reply: &Reply) -> String {
        match reply {
            Reply::Facts(facts) => {
                let fact = |learned: &Learned| {
                    let what = match &learned.fact {
                        Fact::Set(set) => format!("{}×{}", set.rr_type, set.data.len()),
                        Fact::Renamed { cname, .. } => format!("→{}", cname.target().unwrap()),
                        Fact::NoData => "nodata".into(),
                        Fact::NoName => "noname".into(),
                        Fact::Failed => "failed".into(),
                    };
                    format!(
                        "{} {} {what} {}",
                        learned.name, learned.rr_type, learned.ttl
                    )
                };
                facts.iter().map(fact).collect::<Vec<_>>().join("; ")
            }
            Reply::Referral(delegation, keys) => {
                let servers: Vec<String> = delegation
                    .servers
                    .iter()
                    .map(|(name, addresses)| format!("{name}{addresses:?}"))
                    .collect();
                let keys = keys.as_ref().map(|keys| matches!(keys.fact, Fact::Set(_)));
                format!("{} by {} keys {keys:?}", delegation.zone, servers.join(" "))
            }
            Reply::Lame => "lame".into(),
            Reply::Failed(rcode) => rcode.to_string(),
        }
    }

    const AA: u16 = flag::AA;
    const SOA: &str = "example. 300 SOA ns.example. hm.example. 1 2 3 4 60";

    #[test]
    fn answers() {
        let plain = message(
            AA,
            [
                "a.example. 60 A 192.0.2.1\na.example. 30 A 192.0.2.1",
                "",
                "",
            ],
        );
        assert_eq!(
            ask("example.", "a.example.", RrType::A, &plain),
            "a.example. A A×1 30"
        );
        let chain = "a.example. 60 CNAME b.example.\nb.example. 50 CNAME c.other.\n\
                     c.other. 40 A 192.0.2.66";
        let chain = message(AA, [chain, "", ""]);
        // What the server says of a name that is not its own is not taken.
        assert_eq!(
            ask("example.", "a.example.", RrType::A, &chain),
            "a.example. CNAME CNAME×1 60; b.example. CNAME CNAME×1 50"
        );
        let elsewhere = message(AA, ["b.example. 60 A 192.0.2.1", "", ""]);
        assert_eq!(ask("example.", "a.example.", RrType::A, &elsewhere), "lame");
        let dname = message(AA, ["d.example. 60 DNAME x.test.", "", ""]);
        assert_eq!(
            ask("example.", "a.d.example.", RrType::A, &dname),
            "a.d.example. CNAME →a.x.test. 60"
        );
        let made = "d.example. 60 DNAME x.test.\na.d.example. 60 CNAME a.x.test.";
        let made = message(AA, [made, "", ""]);
        assert_eq!(
            ask("example.", "a.d.example.", RrType::CNAME, &made),
            "a.d.example. CNAME →a.x.test. 60"
        );
        let looped = "a.example. 60 CNAME b.example.\nb.example. 50 CNAME a.example.";
        let looped = message(AA, [looped, "", ""]);
        assert!(
            ask("example.", "a.example.", RrType::A, &looped)
                .ends_with("b.example. CNAME CNAME×1 50")
        );
        let cached = message(flag::RA, ["a.example. 60 A 192.0.2.1", "", ""]);
        assert_eq!(ask("example.", "a.example.", RrType::A, &cached), "lame");
    }

    #[test]
    fn denials() {
        let none = message(AA, ["", SOA, ""]);
        assert_eq!(
            ask("example.", "a.example.", RrType::A, &none),
            "a.example. A nodata 60"
        );
        let none = message(AA | 3, ["", SOA, ""]);
        assert_eq!(
            ask("example.", "a.example.", RrType::A, &none),
            "a.example. A noname 60"
        );
        let behind = message(AA | 3, ["a.example. 60 CNAME b.example.", SOA, ""]);
        assert_eq!(
            ask("example.", "a.example.", RrType::A, &behind),
            "a.example. CNAME CNAME×1 60; b.example. A noname 60"
        );
        // A denial that comes from above the zone asked, or from beside it, is no denial.
        let above = message(AA | 3, ["", SOA, ""]);
        assert_eq!(
            ask("sub.example.", "a.sub.example.", RrType::A, &above),
            "a.sub.example. A noname 0"
        );
        let bare = message(0, ["", "", ""]);
        assert_eq!(ask("example.", "a.example.", RrType::A, &bare), "lame");
        let servfail = message(2, ["", "", ""]);
        assert_eq!(
            ask("example.", "a.example.", RrType::A, &servfail),
            "SERVFAIL"
        );
    }

    /// A forwarder for one zone says what it found of that zone, and not of what it led to.
    #[test]
    fn forwarders() {
        let told = |zone: &str, asked: &str, message: &Message| {
            let zone = name(zone);
            let source = Source {
                zone: zone.as_ref(),
                forwarder: true,
            };
            let opt = Opt::default();
            show(&read(source, &name(asked), RrType::A, message, &opt))
        };
        let chain = "a.example. 60 CNAME b.other.\nb.other. 40 A 192.0.2.66";
        let chain = message(flag::RA, [chain, "", ""]);
        assert_eq!(
            told("example.", "a.example.", &chain),
            "a.example. CNAME CNAME×1 60"
        );
        assert_eq!(
            told(".", "a.example.", &chain),
            "a.example. CNAME CNAME×1 60; b.other. A A×1 40"
        );
        let above = message(flag::RA, ["example. 60 DNAME other.", "", ""]);
        assert_eq!(told("d.example.", "a.d.example.", &above), "lame");
        // The zone it is asked for may lie within a larger one.
        let none = message(flag::RA | 3, ["", SOA, ""]);
        assert_eq!(
            told("d.example.", "a.d.example.", &none),
            "a.d.example. A noname 60"
        );
    }

    #[test]
    fn referrals() {
        let authority = "sub.example. 60 NS ns.sub.example.\nsub.example. 60 NS ns.other.\n\
                         sub.example. 60 DS 1 8 2 00";
        let additional = "ns.sub.example. 60 A 192.0.2.1\nns.other. 60 A 192.0.2.66\n\
                          x.example. 60 A 192.0.2.67";
        let down = message(0, ["", authority, additional]);
        assert_eq!(
            ask("example.", "a.sub.example.", RrType::A, &down),
            "sub.example. by ns.sub.example.[192.0.2.1] ns.other.[] keys Some(true)"
        );
        // To itself, upwards, or to the side: no servers of the zone.
        for (zone, asked) in [
            ("sub.example.", "a.sub.example."),
            ("x.sub.example.", "a.x.sub.example."),
            ("example.", "a.example."),
        ] {
            assert_eq!(ask(zone, asked, RrType::A, &down), "lame", "{zone} {asked}");
        }
    }
}
