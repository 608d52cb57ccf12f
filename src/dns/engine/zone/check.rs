//! What a zone must have to be served, and what in it is hardly meant: BIND's checks at its
//! default settings.

use super::build::Faults;
use super::{Cut, Found, Zone};
use crate::engine::trie::Key;
use crate::wire::code::RrType;
use crate::wire::master::Severity;
use crate::wire::name::NameRef;
use crate::wire::rdata::additional_name_at;

/// Checks a zone, and takes from its SOA what every answer needs.
pub(super) fn check(zone: &mut Zone, faults: &mut Faults<'_>) {
    match soa_fields(zone) {
        Some((serial, negative_ttl)) => (zone.serial, zone.negative_ttl) = (serial, negative_ttl),
        None => faults.of_zone(Severity::Error, format!("{}: no SOA record", zone.apex)),
    }
    if zone.set(0, RrType::NS).is_none() {
        faults.of_zone(Severity::Error, format!("{}: no NS record", zone.apex));
    }
    let mut key = Key::default();
    for id in zone.node_ids() {
        // What lies below a cut is glue, and pointed to from here rather than checked itself.
        let cut = zone.cut(Found::Exact(id));
        let at_cut = cut == Some(Cut::Delegation(id));
        if cut.is_some() && !at_cut {
            continue;
        }
        for set in zone.sets(id) {
            let checked = matches!(set.rr_type, RrType::NS | RrType::MX | RrType::SRV);
            let Some(name_at) = additional_name_at(set.rr_type).filter(|_| checked) else {
                continue;
            };
            for (rdata, _) in set.records() {
                let Some(Ok(target)) = rdata.get(name_at..).map(NameRef::from_wire) else {
                    continue;
                };
                let fatal = set.rr_type == RrType::NS && id == 0;
                let severity = if fatal {
                    Severity::Error
                } else {
                    Severity::Warning
                };
                if let Some(message) = target_fault(zone, &mut key, target, at_cut.then_some(id)) {
                    let owner = zone.name(id);
                    let message = format!("{owner} {}: '{target}' {message}", set.rr_type);
                    faults.of_set(severity, owner, set.rr_type, message);
                }
            }
        }
    }
}

/// Serial, and the lesser of TTL and MINIMUM.
fn soa_fields(zone: &Zone) -> Option<(u32, u32)> {
    let set = zone.set(0, RrType::SOA)?;
    let (rdata, _) = set.records().next()?;
    let fields = rdata.last_chunk::<20>()?;
    let serial = fields.first_chunk::<4>()?;
    let minimum = fields.last_chunk::<4>()?;
    Some((
        u32::from_be_bytes(*serial),
        set.ttl.min(u32::from_be_bytes(*minimum)),
    ))
}

/// What is wrong with a host that records point to.
fn target_fault(
    zone: &Zone,
    key: &mut Key,
    target: NameRef<'_>,
    delegation: Option<u32>,
) -> Option<&'static str> {
    // "." says that there is no such service (RFC 2782, RFC 7505).
    if target.is_root() || !target.is_within(zone.apex()) {
        return None;
    }
    key.set(target);
    let found = zone.find(key, target);
    let below = match zone.cut(found) {
        Some(Cut::Dname(_)) => return None,
        Some(Cut::Delegation(cut)) => Some(cut),
        None => None,
    };
    let id = match found {
        Found::Exact(id) => Some(id),
        Found::Below(id) if below.is_none() => zone.wildcard(id),
        Found::Below(_) => None,
    };
    let has = |rr_type| id.is_some_and(|id| zone.set(id, rr_type).is_some());
    if has(RrType::A) || has(RrType::AAAA) {
        return None;
    }
    match below {
        // Another zone's host: only that zone's own servers need their addresses here.
        Some(cut) if delegation == Some(cut) => Some("has no glue address (A or AAAA)"),
        Some(_) => None,
        None if id.is_some_and(|id| zone.is_alias(id)) => Some("is a CNAME, which it may not be"),
        None => Some("has no address (A or AAAA)"),
    }
}
