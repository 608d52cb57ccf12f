//! What other services publish about a domain, merged into its zone.
//!
//! What the zone file says is the operator's word and stands: a published set is left out where
//! the file has one of the same name and type, a CNAME, or a delegation.

use std::fmt::Write;
use std::net::IpAddr;

use omnid_hub::{Record, RecordData};

use crate::engine::zone::{Built, Zone, build};
use crate::wire::code::RrType;
use crate::wire::master::{Place, Records, Sources};
use crate::wire::name::{Name, NameRef};
use crate::wire::record::OwnRecord;

/// A zone with published records.
pub(crate) struct Merged {
    /// The zone; none if it is as its file says.
    pub(crate) zone: Option<Zone>,
    /// Records left out, and why.
    pub(crate) left_out: Vec<String>,
}

/// Merges records into a zone under a serial of its own.
pub(crate) fn merge(base: &Zone, published: &[Record], serial: u32) -> Merged {
    let mut left_out = Vec::new();
    if base.has_signatures() {
        // Who signed the zone elsewhere would have to sign this as well.
        let reason = "the zone file is signed, and what is added to it would not be";
        left_out.extend(
            published
                .iter()
                .map(|record| format!("{}: {reason}", record.name)),
        );
        return Merged {
            zone: None,
            left_out,
        };
    }
    let mut added = Vec::new();
    for record in published {
        match fit(base, record) {
            Ok(record) => added.push(record),
            Err(reason) => left_out.push(format!("{}: {reason}", record.name)),
        }
    }
    if added.is_empty() && serial == base.serial() {
        return Merged {
            zone: None,
            left_out,
        };
    }
    let (mut records, mut sources) = (Records::default(), Sources::default());
    let place = Place {
        file: sources.add("published".into(), Vec::new().into(), None),
        at: 0,
    };
    let mut push = |owner: NameRef<'_>, rr_type, ttl, rdata: &[u8]| {
        records.push(owner, rr_type, ttl, rdata, place).is_ok()
    };
    let mut fits = true;
    for id in base.node_ids() {
        for set in base.sets(id) {
            for (rdata, _) in set.records() {
                let mut own = rdata.to_vec();
                if set.rr_type == RrType::SOA {
                    set_serial(&mut own, serial);
                }
                fits &= push(base.name(id), set.rr_type, set.ttl, &own);
            }
        }
    }
    for record in &added {
        fits &= push(
            record.owner.as_ref(),
            record.rr_type,
            record.ttl,
            &record.rdata,
        );
    }
    let Built { zone, faults } = build(base.apex(), &records, &sources);
    if zone.is_none() || !fits {
        left_out.extend(faults.iter().map(ToString::to_string));
    }
    Merged {
        zone: zone.filter(|_| fits),
        left_out,
    }
}

fn set_serial(soa: &mut [u8], serial: u32) {
    if let Some(slot) = soa
        .len()
        .checked_sub(20)
        .and_then(|at| soa.get_mut(at..at + 4))
    {
        slot.copy_from_slice(&serial.to_be_bytes());
    }
}

/// A published record as one of the zone; or why not.
fn fit(base: &Zone, record: &Record) -> Result<OwnRecord, String> {
    let owner = Name::from_text(&record.name).map_err(|error| error.to_string())?;
    let own = own_record(owner, record)?;
    let owner = own.owner.as_ref();
    if !owner.is_within(base.apex()) {
        return Err(format!("not in the zone {}", base.apex()));
    }
    let (found, cut) = base.search(owner);
    if cut {
        return Err("below a delegation or DNAME of the zone file".to_owned());
    }
    if let Some(id) = found {
        if base.set(id, own.rr_type).is_some() {
            return Err(format!(
                "the zone file has {} records of its own",
                own.rr_type
            ));
        }
        if base.is_alias(id) {
            return Err("the zone file has a CNAME there".to_owned());
        }
    }
    Ok(own)
}

fn own_record(owner: Name, record: &Record) -> Result<OwnRecord, String> {
    // Names in published records are absolute, with or without the last dot.
    let dotted = |name: &str| match name {
        "" | "." => ".".to_owned(),
        name => format!("{}.", name.trim_end_matches('.')),
    };
    let quoted = |text: &str| {
        let mut quoted = String::new();
        // Writing to a String does not fail.
        let _ = crate::wire::rdata::write_quoted(text.as_bytes(), &mut quoted);
        quoted
    };
    let (rr_type, text) = match &record.data {
        RecordData::Address {
            address: IpAddr::V4(address),
        } => (RrType::A, address.to_string()),
        RecordData::Address {
            address: IpAddr::V6(address),
        } => (RrType::AAAA, address.to_string()),
        RecordData::Srv {
            priority,
            weight,
            port,
            target,
        } => (
            RrType::SRV,
            format!("{priority} {weight} {port} {}", dotted(target)),
        ),
        RecordData::Naptr {
            order,
            preference,
            flags,
            services,
            regexp,
            replacement,
        } => {
            let (flags, services, regexp) = (quoted(flags), quoted(services), quoted(regexp));
            let replacement = dotted(replacement);
            let text = format!("{order} {preference} {flags} {services} {regexp} {replacement}");
            (RrType::NAPTR, text)
        }
        RecordData::Txt { strings } => {
            let mut text = String::new();
            for string in strings {
                let _ = write!(text, "{} ", quoted(string));
            }
            (RrType::TXT, text)
        }
        RecordData::Text { kind, text } => {
            let rr_type = RrType::from_text(kind.as_bytes());
            (
                rr_type.ok_or_else(|| format!("`{kind}` is not a record type"))?,
                text.clone(),
            )
        }
    };
    OwnRecord::from_text(owner, rr_type, record.ttl, &text)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use crate::engine::zone::tests::load;
    use crate::wire::master::write_record;

    fn record(name: &str, data: RecordData) -> Record {
        Record {
            name: name.to_owned(),
            ttl: 60,
            data,
        }
    }

    fn text(zone: &Zone) -> String {
        let mut out = String::new();
        for id in zone.node_ids() {
            for set in zone.sets(id) {
                for (rdata, _) in set.records() {
                    write_record(&mut out, zone.name(id), set.ttl, set.rr_type, rdata).unwrap();
                }
            }
        }
        out.replace('\t', " ")
    }

    #[test]
    fn the_file_has_the_last_word() {
        let base = load(
            "example.org",
            "$TTL 9\n@ SOA ns hm 1 2 3 4 5\n@ NS ns\nns A 192.0.2.1\nwww CNAME ns\nsub NS ns\n\
             _sip._udp SRV 1 1 1 ns",
        );
        let base = base.zone.unwrap();
        let srv = |target: &str| RecordData::Srv {
            priority: 0,
            weight: 5,
            port: 5222,
            target: target.to_owned(),
        };
        let published = [
            record("_xmpp-client._tcp.example.org", srv("ns.example.org")),
            record("_sip._udp.example.org", srv("ns.example.org")),
            record(
                "www.example.org",
                RecordData::Address {
                    address: "192.0.2.2".parse().unwrap(),
                },
            ),
            record("a.sub.example.org", srv(".")),
            record("example.net", srv(".")),
            record(
                "example.org",
                RecordData::Txt {
                    strings: vec!["a \"b\"".into(), "c".into()],
                },
            ),
            record(
                "example.org",
                RecordData::Text {
                    kind: "HTTPS".into(),
                    text: "1 . alpn=h2".into(),
                },
            ),
            record(
                "_sips._tcp.example.org",
                RecordData::Naptr {
                    order: 1,
                    preference: 2,
                    flags: "S".into(),
                    services: "SIPS+D2T".into(),
                    regexp: String::new(),
                    replacement: "_sips._tcp.x.".into(),
                },
            ),
        ];
        let merged = merge(&base, &published, 77);
        assert_eq!(
            merged.left_out,
            [
                "_sip._udp.example.org: the zone file has SRV records of its own",
                "www.example.org: the zone file has a CNAME there",
                "a.sub.example.org: below a delegation or DNAME of the zone file",
                "example.net: not in the zone example.org.",
            ]
        );
        let shown = text(&merged.zone.unwrap());
        for line in [
            "example.org. 9 IN SOA ns.example.org. hm.example.org. 77 2 3 4 5",
            "example.org. 60 IN TXT \"a \\\"b\\\"\" \"c\"",
            "example.org. 60 IN HTTPS 1 . alpn=\"h2\"",
            "_xmpp-client._tcp.example.org. 60 IN SRV 0 5 5222 ns.example.org.",
            "_sips._tcp.example.org. 60 IN NAPTR 1 2 \"S\" \"SIPS+D2T\" \"\" _sips._tcp.x.",
        ] {
            assert!(
                shown.lines().any(|shown| shown == line),
                "{line} in\n{shown}"
            );
        }
        assert!(merge(&base, &published[1..3], 1).zone.is_none());
        assert_eq!(merge(&base, &[], 3).zone.unwrap().serial(), 3);
    }
}
