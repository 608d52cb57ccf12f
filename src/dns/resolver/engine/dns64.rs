//! Addresses of IPv6 for hosts that have none, made of those of IPv4 (RFC 6147, RFC 6052).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use omnid_config::IpNet;

use super::record::RrSet;
use crate::wire::code::RrType;
use crate::wire::name::Name;

/// How addresses are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Dns64 {
    prefix: u128,
    length: u8,
}

impl Dns64 {
    /// With a prefix of one of the lengths of RFC 6052 2.2.
    pub(crate) fn new(prefix: IpNet) -> Option<Dns64> {
        let IpAddr::V6(address) = prefix.address() else {
            return None;
        };
        let length = prefix.prefix_length();
        let bits = address.to_bits();
        // Octet 8 is zero whatever the prefix.
        let octet = (bits >> 56) as u8;
        let known = matches!(length, 32 | 40 | 48 | 56 | 64 | 96);
        (known && octet == 0).then_some(Dns64 {
            prefix: bits,
            length,
        })
    }

    /// The address for one of IPv4.
    pub(crate) fn make(self, v4: Ipv4Addr) -> Ipv6Addr {
        let mut octets = Ipv6Addr::from_bits(self.prefix).octets();
        let mut at = usize::from(self.length / 8);
        for octet in v4.octets() {
            if at == 8 {
                at += 1;
            }
            if let Some(place) = octets.get_mut(at) {
                *place = octet;
            }
            at += 1;
        }
        octets.into()
    }

    /// The address of IPv4 in one that was made.
    pub(crate) fn unmake(self, v6: Ipv6Addr) -> Option<Ipv4Addr> {
        let octets = v6.octets();
        let (mut found, mut at) = ([0; 4], usize::from(self.length / 8));
        for octet in &mut found {
            if at == 8 {
                at += 1;
            }
            *octet = *octets.get(at)?;
            at += 1;
        }
        let v4 = Ipv4Addr::from(found);
        (self.make(v4) == v6).then_some(v4)
    }

    /// The AAAA set for an A set.
    pub(crate) fn set(self, set: &RrSet) -> Arc<RrSet> {
        let made = set.data.iter().filter_map(|data| {
            let octets: [u8; 4] = (**data).try_into().ok()?;
            Some(self.make(octets.into()).octets().as_slice().into())
        });
        Arc::new(RrSet {
            owner: set.owner.clone(),
            rr_type: RrType::AAAA,
            ttl: set.ttl,
            data: made.collect(),
            signatures: Vec::new(),
        })
    }

    /// The name to look for in place of a made address backwards (RFC 6147 5.3.1).
    pub(crate) fn reverse(self, name: &Name) -> Option<Name> {
        let labels: Vec<&[u8]> = name.as_ref().labels().collect();
        let (digits, tail) = labels.split_at_checked(32)?;
        let arpa = matches!(tail, [ip6, arpa]
            if ip6.eq_ignore_ascii_case(b"ip6") && arpa.eq_ignore_ascii_case(b"arpa"));
        if !arpa {
            return None;
        }
        let mut bits = 0u128;
        for label in digits.iter().rev() {
            let [digit] = *label else { return None };
            bits = bits << 4 | u128::from((*digit as char).to_digit(16)?);
        }
        let [a, b, c, d] = self.unmake(Ipv6Addr::from_bits(bits))?.octets();
        Name::from_text(&format!("{d}.{c}.{b}.{a}.in-addr.arpa.")).ok()
    }
}

/// True of an address that is none to a host that has only IPv6 (RFC 6147 5.1.4).
pub(crate) fn is_mapped(data: &[u8]) -> bool {
    let octets = <[u8; 16]>::try_from(data);
    octets.is_ok_and(|octets| Ipv6Addr::from(octets).to_ipv4_mapped().is_some())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    /// The table of RFC 6052 2.4.
    #[test]
    fn addresses() {
        let cases = [
            ("2001:db8::/32", "2001:db8:c000:221::"),
            ("2001:db8:100::/40", "2001:db8:1c0:2:21::"),
            ("2001:db8:122::/48", "2001:db8:122:c000:2:2100::"),
            ("2001:db8:122:300::/56", "2001:db8:122:3c0:0:221::"),
            ("2001:db8:122:344::/64", "2001:db8:122:344:c0:2:2100::"),
            ("2001:db8:122:344::/96", "2001:db8:122:344::192.0.2.33"),
            ("64:ff9b::/96", "64:ff9b::192.0.2.33"),
        ];
        for (prefix, expected) in cases {
            let dns64 = Dns64::new(prefix.parse().unwrap()).unwrap();
            let v4 = Ipv4Addr::new(192, 0, 2, 33);
            let made = dns64.make(v4);
            assert_eq!(made, expected.parse::<Ipv6Addr>().unwrap(), "{prefix}");
            assert_eq!(dns64.unmake(made), Some(v4), "{prefix}");
        }
        assert!(Dns64::new("64:ff9b::/95".parse().unwrap()).is_none());
        assert!(Dns64::new("192.0.2.0/24".parse().unwrap()).is_none());
        let dns64 = Dns64::new("64:ff9b::/96".parse().unwrap()).unwrap();
        let digits = "1.2.2.0.0.0.0.c.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.b.9.f.f.4.6.0.0";
        let name = Name::from_text(&format!("{digits}.ip6.arpa.")).unwrap();
        assert_eq!(
            dns64.reverse(&name).unwrap().to_string(),
            "33.2.0.192.in-addr.arpa."
        );
    }
}
