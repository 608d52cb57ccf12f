//! Trust anchors, and the names exempt from validation for a time (RFC 7646).

use std::collections::BTreeMap;

use super::managed::{Key, Managed};
use crate::dnssec::{DigestType, DnsKey, Ds};
use crate::wire::code::RrType;
use crate::wire::name::{Name, NameRef};

/// The keys of the root of the Internet: of 2017 and of 2024
/// (https://data.iana.org/root-anchors/root-anchors.xml).
const ROOT: [(u16, [u8; 32]); 2] = [
    (
        20326,
        [
            0xe0, 0x6d, 0x44, 0xb8, 0x0b, 0x8f, 0x1d, 0x39, 0xa9, 0x5c, 0x0b, 0x0d, 0x7c, 0x65,
            0xd0, 0x84, 0x58, 0xe8, 0x80, 0x40, 0x9b, 0xbc, 0x68, 0x34, 0x57, 0x10, 0x42, 0x37,
            0xc7, 0xf8, 0xec, 0x8d,
        ],
    ),
    (
        38696,
        [
            0x68, 0x3d, 0x2d, 0x0a, 0xcb, 0x8c, 0x9b, 0x71, 0x2a, 0x19, 0x48, 0xb2, 0x7f, 0x74,
            0x12, 0x19, 0x29, 0x8d, 0x0a, 0x45, 0x0d, 0x61, 0x2c, 0x48, 0x3a, 0xf4, 0x44, 0xa4,
            0xc0, 0xfb, 0x2b, 0x16,
        ],
    ),
];

/// What is trusted of one zone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Anchor {
    pub(crate) zone: Name,
    /// The data of DS and DNSKEY records.
    pub(crate) records: Vec<(RrType, Box<[u8]>)>,
}

impl Anchor {
    /// The data of DS records for all that is trusted.
    pub(crate) fn digests(&self) -> Vec<Box<[u8]>> {
        let digest = |(rr_type, data): &(RrType, Box<[u8]>)| match *rr_type {
            RrType::DS => Some(data.clone()),
            _ => Ds::make(self.zone.as_ref(), data, DigestType::SHA256).map(Into::into),
        };
        self.records.iter().filter_map(digest).collect()
    }
}

impl Anchor {
    /// True if one of the keys that an earlier run knew is among those that the configuration
    /// names now.
    pub(crate) fn vouches_for(&self, state: &Managed) -> bool {
        let digests = self.digests();
        let named = |key: &Key| {
            let read = DnsKey::read(&key.data);
            let mut digests = digests.iter().filter_map(|data| Ds::read(data));
            read.is_some_and(|read| digests.any(|ds| ds.matches(self.zone.as_ref(), &read)))
        };
        state.keys.iter().any(named)
    }
}

/// All anchors.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Anchors(Vec<Anchor>);

impl Anchors {
    /// Those given; the root's own, unless it is among them.
    pub(crate) fn new(given: Vec<(Name, RrType, Box<[u8]>)>) -> Anchors {
        let mut anchors = BTreeMap::new();
        for (zone, rr_type, data) in given {
            let records: &mut Vec<_> = anchors.entry(zone).or_default();
            records.push((rr_type, data));
        }
        anchors.entry(Name::root()).or_insert_with(|| {
            let record = |(tag, digest): &(u16, [u8; 32])| {
                let mut data = tag.to_be_bytes().to_vec();
                data.extend_from_slice(&[8, 2]);
                data.extend_from_slice(digest);
                (RrType::DS, data.into())
            };
            ROOT.iter().map(record).collect()
        });
        let anchors = anchors.into_iter();
        Anchors(
            anchors
                .map(|(zone, records)| Anchor { zone, records })
                .collect(),
        )
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Anchor> {
        self.0.iter()
    }

    /// The closest anchor at or above a name.
    pub(crate) fn above(&self, name: NameRef<'_>) -> Option<&Anchor> {
        let above = self
            .0
            .iter()
            .filter(|anchor| name.is_within(anchor.zone.as_ref()));
        above.max_by_key(|anchor| anchor.zone.as_ref().label_count())
    }
}

/// A name that is not validated, nor anything below it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Exemption {
    pub(crate) name: Name,
    /// Seconds since 1970; none: as long as the configuration says so.
    pub(crate) until: Option<u64>,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn the_closest_counts() {
        let name = |text: &str| Name::from_text(text).unwrap();
        let given = vec![(
            name("example."),
            RrType::DS,
            Box::from([0, 1, 13, 2, 0].as_slice()),
        )];
        let anchors = Anchors::new(given);
        let above = |text: &str| anchors.above(name(text).as_ref()).unwrap().zone.to_string();
        assert_eq!(above("www.example."), "example.");
        assert_eq!(above("www.test."), ".");
        let root = anchors.above(NameRef::ROOT).unwrap();
        let tags: Vec<u16> = root
            .digests()
            .iter()
            .map(|data| Ds::read(data).unwrap().key_tag)
            .collect();
        assert_eq!(tags, [20326, 38696]);
    }
}
