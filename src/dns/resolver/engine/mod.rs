//! The decisions of the resolver. Written as straight-line asynchronous functions over the trait
//! [`network::Network`], the only way out: no socket, no clock and no runtime is named here, and a
//! test runs all of it in virtual time against a network of its own making.

pub(crate) mod anchors;
pub(crate) mod answer;
mod ask;
pub(crate) mod budget;
mod delegation;
mod denial;
pub(crate) mod dns64;
mod filter;
mod follow;
mod fuzz;
mod hints;
mod iterate;
mod lookup;
pub(crate) mod managed;
pub(crate) mod network;
pub(crate) mod policy;
mod ranges;
pub(crate) mod record;
mod reply;
mod resolve;
mod servers;
pub(crate) mod settings;
mod special;
pub(crate) mod store;
#[cfg(test)]
pub(crate) mod tests;
pub(crate) mod trust;

use std::collections::HashMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};

use crate::wire::name::Name;
use answer::Answer;
use network::{Local, Network};
use record::Entry;
use servers::Servers;
use settings::Settings;
use store::Store;

pub(crate) use delegation::Delegation;
pub use fuzz::fuzz_response;
pub(crate) use reply::address_of;
#[cfg(test)]
pub(crate) use resolve::Resolved;
pub(crate) use resolve::{Ask, Pending, is_sought};

/// What outlives a change of the settings.
pub(crate) struct Memory {
    pub(crate) records: Store<Entry>,
    pub(crate) answers: Store<Answer>,
    delegations: Store<Delegation>,
    /// How names stand in the chains of trust.
    links: Store<trust::Link>,
    /// What signed zones have said is not there.
    ranges: ranges::Ranges,
    /// Keys that trust anchors have come to follow.
    pub(crate) managed: Mutex<HashMap<Name, managed::Managed>>,
    /// Names that are not validated for a time.
    pub(crate) exempt: Mutex<Vec<anchors::Exemption>>,
    pub(crate) servers: Servers,
    pub(crate) counts: Counts,
    quota: budget::Quota,
    in_flight: Mutex<resolve::InFlight>,
}

/// What has been counted.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) hits: AtomicU64,
    pub(crate) misses: AtomicU64,
    pub(crate) stale: AtomicU64,
    pub(crate) prefetched: AtomicU64,
    pub(crate) sent: AtomicU64,
    pub(crate) lost: AtomicU64,
    pub(crate) failed: AtomicU64,
    pub(crate) bogus: AtomicU64,
    pub(crate) limited: AtomicU64,
    pub(crate) rewritten: AtomicU64,
    pub(crate) denied: AtomicU64,
}

impl Memory {
    /// Room for so many octets of what was learned.
    pub(crate) fn new(octets: usize) -> Memory {
        Memory {
            records: Store::new(octets / 2),
            answers: Store::new(octets / 4),
            delegations: Store::new(octets / 8),
            links: Store::new(octets / 16),
            ranges: ranges::Ranges::new(octets / 16),
            managed: Mutex::default(),
            exempt: Mutex::default(),
            servers: Servers::new(),
            counts: Counts::default(),
            quota: budget::Quota::default(),
            in_flight: Mutex::default(),
        }
    }
}

/// A resolver: settings, what is remembered, and the way out.
pub(crate) struct Resolver {
    pub(crate) settings: Settings,
    pub(crate) memory: Arc<Memory>,
    pub(crate) network: Arc<dyn Network>,
    /// This server's own zones.
    pub(crate) local: Option<Arc<dyn Local>>,
}
