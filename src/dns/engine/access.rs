//! Who may do something, by address.

use std::net::IpAddr;
use std::sync::Arc;

/// Address ranges; none lets nobody in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Access(Arc<[Range]>);

/// Addresses that begin with the same bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// An address in the range.
    pub address: IpAddr,
    /// Bits that count.
    pub prefix: u8,
}

impl Access {
    /// Of some ranges.
    pub fn new(ranges: impl IntoIterator<Item = Range>) -> Access {
        Access(ranges.into_iter().collect())
    }

    /// True if an address is in a range. IPv4 addresses mapped into IPv6, which a socket bound to
    /// `::` reports, are taken for what they are.
    pub fn allows(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|range| range.contains(address))
    }
}

impl Range {
    fn contains(self, address: IpAddr) -> bool {
        let same = |left: u128, right: u128, width: u32| {
            let low = width.saturating_sub(u32::from(self.prefix));
            left.checked_shr(low).unwrap_or(0) == right.checked_shr(low).unwrap_or(0)
        };
        match (self.address, address) {
            (IpAddr::V4(left), IpAddr::V4(right)) => {
                same(left.to_bits().into(), right.to_bits().into(), 32)
            }
            (IpAddr::V6(left), IpAddr::V6(right)) => same(left.to_bits(), right.to_bits(), 128),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn ranges() {
        let range = |address: &str, prefix| Range {
            address: address.parse().unwrap(),
            prefix,
        };
        let access = Access::new([range("192.0.2.0", 24), range("2001:db8::", 32)]);
        for (address, allowed) in [
            ("192.0.2.77", true),
            ("192.0.3.1", false),
            ("::ffff:192.0.2.1", true),
            ("2001:db8:1::1", true),
            ("2001:db9::1", false),
        ] {
            assert_eq!(
                access.allows(address.parse().unwrap()),
                allowed,
                "{address}"
            );
        }
        assert!(!Access::default().allows("127.0.0.1".parse().unwrap()));
        assert!(Access::new([range("0.0.0.0", 0)]).allows("203.0.113.1".parse().unwrap()));
    }
}
