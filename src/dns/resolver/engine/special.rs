//! Names that are nobody's to ask for: private networks backwards (RFC 6303, 7793, 8375), and
//! names with a meaning of their own (RFC 6761, 7686). They are answered here, so that they do not
//! leak, and so that nobody else's answer counts.

use std::collections::HashSet;
use std::sync::{Arc, LazyLock};

use super::record::{Fact, RrSet};
use super::reply::Learned;
use crate::wire::code::RrType;
use crate::wire::name::{Name, NameRef};

/// Zones with nothing in them; private networks of 172.16/12 and 100.64/10 are added.
const EMPTY: [&str; 24] = [
    "10.in-addr.arpa.",
    "168.192.in-addr.arpa.",
    "0.in-addr.arpa.",
    "127.in-addr.arpa.",
    "254.169.in-addr.arpa.",
    "2.0.192.in-addr.arpa.",
    "100.51.198.in-addr.arpa.",
    "113.0.203.in-addr.arpa.",
    "255.255.255.255.in-addr.arpa.",
    "0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.ip6.arpa.",
    "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.ip6.arpa.",
    "d.f.ip6.arpa.",
    "8.e.f.ip6.arpa.",
    "9.e.f.ip6.arpa.",
    "a.e.f.ip6.arpa.",
    "b.e.f.ip6.arpa.",
    "8.b.d.0.1.0.0.2.ip6.arpa.",
    "home.arpa.",
    "resolver.arpa.",
    "invalid.",
    "onion.",
    "alt.",
    "localhost.",
    "service.arpa.",
];

static ZONES: LazyLock<HashSet<Name>> = LazyLock::new(|| {
    let more = (16..32).map(|net| format!("{net}.172.in-addr.arpa."));
    let shared = (64..128).map(|net| format!("{net}.100.in-addr.arpa."));
    let fixed = EMPTY.iter().map(|text| (*text).to_owned());
    let all = fixed.chain(more).chain(shared);
    all.filter_map(|text| Name::from_text(&text).ok()).collect()
});

/// Seconds (RFC 6303 3).
const TTL: u32 = 10_800;

/// The zone among these that a name is in.
pub(crate) fn zone(name: NameRef<'_>) -> Option<Name> {
    let mut at = Some(name);
    while let Some(zone) = at {
        // None has more labels than a whole address backwards.
        if zone.label_count() <= 34
            && let Some(zone) = ZONES.get(&zone.to_owned())
        {
            return Some(zone.clone());
        }
        at = zone.parent();
    }
    None
}

/// What is said of a name in one of these zones.
pub(crate) fn answer(zone: &Name, name: &Name, rr_type: RrType) -> Option<Learned> {
    let set = |owner: &Name, rr_type: RrType, data: &[u8]| RrSet {
        owner: owner.clone(),
        rr_type,
        ttl: TTL,
        data: vec![data.into()],
        signatures: Vec::new(),
    };
    let mut soa = zone.as_ref().wire().to_vec();
    soa.extend_from_slice(Name::from_text("nobody.invalid.").ok()?.as_ref().wire());
    for field in [1u32, 3600, 1200, 604_800, TTL] {
        soa.extend_from_slice(&field.to_be_bytes());
    }
    let soa = set(zone, RrType::SOA, &soa);
    let localhost = Name::from_text("localhost.").ok()?;
    let shown = name.to_string().to_ascii_lowercase();
    let loopback =
        shown == "1.0.0.127.in-addr.arpa." || shown == EMPTY.get(10).copied().unwrap_or_default();
    let found = match rr_type {
        RrType::A if *zone == localhost => Some(set(name, rr_type, &[127, 0, 0, 1])),
        RrType::AAAA if *zone == localhost => {
            Some(set(name, rr_type, &std::net::Ipv6Addr::LOCALHOST.octets()))
        }
        RrType::PTR if loopback => Some(set(name, rr_type, localhost.as_ref().wire())),
        RrType::SOA if name == zone => Some(soa.clone()),
        RrType::NS if name == zone => Some(set(zone, rr_type, zone.as_ref().wire())),
        _ => None,
    };
    let exists = name == zone || *zone == localhost || loopback;
    let fact = match (found, exists) {
        (Some(set), _) => Fact::Set(Arc::new(set)),
        (None, true) => Fact::NoData,
        (None, false) => Fact::NoName,
    };
    let authority = match fact {
        Fact::Set(_) => Vec::new(),
        _ => vec![Arc::new(soa)],
    };
    Some(Learned {
        name: name.clone(),
        rr_type,
        fact,
        authority,
        ttl: TTL,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn zones_and_answers() {
        let name = |text: &str| Name::from_text(text).unwrap();
        let in_zone = |text: &str| zone(name(text).as_ref()).map(|zone| zone.to_string());
        assert_eq!(
            in_zone("4.3.2.10.in-addr.arpa."),
            Some("10.in-addr.arpa.".into())
        );
        assert_eq!(
            in_zone("1.20.172.in-addr.arpa."),
            Some("20.172.in-addr.arpa.".into())
        );
        assert_eq!(in_zone("1.32.172.in-addr.arpa."), None);
        assert_eq!(
            in_zone("1.64.100.in-addr.arpa."),
            Some("64.100.in-addr.arpa.".into())
        );
        assert_eq!(in_zone("a.b.LOCALHOST."), Some("localhost.".into()));
        assert_eq!(in_zone("www.example."), None);
        let says = |text: &str, rr_type: RrType| {
            let name = name(text);
            let zone = zone(name.as_ref()).unwrap();
            match answer(&zone, &name, rr_type).unwrap().fact {
                Fact::Set(set) => format!("{:?}", set.data[0]),
                Fact::NoData => "nodata".into(),
                _ => "noname".into(),
            }
        };
        assert_eq!(says("localhost.", RrType::A), "[127, 0, 0, 1]");
        assert_eq!(says("x.localhost.", RrType::MX), "nodata");
        assert_eq!(says("x.onion.", RrType::A), "noname");
        assert_eq!(says("10.in-addr.arpa.", RrType::PTR), "nodata");
        assert!(says("1.0.0.127.in-addr.arpa.", RrType::PTR).starts_with("[9, 108"));
    }
}
