//! Which servers a zone has, as the zone above says; nothing else is ever learned from glue.

use std::net::IpAddr;
use std::time::Instant;

use super::store::Kept;
use crate::wire::name::{Name, NameRef};

/// Servers of one zone that count (NXNS: a referral may name hundreds).
pub(crate) const MAX_SERVERS: usize = 20;
/// Glue addresses of one referral that count.
pub(crate) const MAX_ADDRESSES: usize = 40;

/// The servers of a zone.
#[derive(Debug, Clone)]
pub(crate) struct Delegation {
    pub(crate) zone: Name,
    /// Names with the addresses that came with them.
    pub(crate) servers: Vec<(Name, Vec<IpAddr>)>,
    pub(crate) ttl: u32,
    /// None: it does not expire, since the configuration or the root hints say it.
    pub(crate) stored: Option<Instant>,
}

impl Delegation {
    pub(crate) fn new(zone: Name, servers: Vec<(Name, Vec<IpAddr>)>, ttl: u32) -> Delegation {
        Delegation {
            zone,
            servers,
            ttl,
            stored: None,
        }
    }

    pub(crate) fn is_fresh(&self, now: Instant) -> bool {
        self.stored.is_none_or(|stored| {
            now.saturating_duration_since(stored).as_secs() < u64::from(self.ttl)
        })
    }
}

impl Kept for Delegation {
    fn is(&self, name: NameRef<'_>, _: u32) -> bool {
        self.zone.as_ref() == name
    }

    fn size(&self) -> usize {
        let server = |(name, addresses): &(Name, Vec<IpAddr>)| {
            48 + name.as_ref().wire().len() + 17 * addresses.len()
        };
        96 + self.zone.as_ref().wire().len() + self.servers.iter().map(server).sum::<usize>()
    }
}
