//! How a resolver works.

use std::sync::Arc;
use std::time::Duration;

use super::anchors::Anchors;
use super::delegation::Delegation;
use super::dns64::Dns64;
use super::network::Server;
use super::policy::Policy;
use crate::wire::name::{Name, NameRef};

/// Where the answers for a zone come from.
#[derive(Debug, Clone)]
pub(crate) enum Route {
    /// Other resolvers; `first`: if none of them answers, the zone's own servers.
    Forward { servers: Vec<Server>, first: bool },
    /// These servers, as if the zone above had named them.
    Stub(Delegation),
    /// The zone's own servers, as the zones above name them, though a wider route says otherwise.
    Iterate,
}

/// Settings.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// Routes, those with the longest names first.
    pub(crate) routes: Vec<(Name, Route)>,
    /// Servers of the root to begin with.
    pub(crate) hints: Delegation,
    /// The port that zones' servers are asked at.
    pub(crate) port: u16,
    pub(crate) minimise: bool,
    pub(crate) mix_case: bool,
    pub(crate) ipv6: bool,
    pub(crate) validate: bool,
    pub(crate) anchors: Anchors,
    /// Names that are not validated, nor anything below them.
    pub(crate) exempt: Vec<Name>,
    /// Answer for private and special names here.
    pub(crate) empty_zones: bool,
    pub(crate) dns64: Option<Dns64>,
    pub(crate) policy: Arc<Policy>,
    pub(crate) min_ttl: u32,
    pub(crate) max_ttl: u32,
    pub(crate) max_negative_ttl: u32,
    /// Seconds that a failure is remembered (RFC 9520).
    pub(crate) failure_ttl: u32,
    pub(crate) prefetch: bool,
    /// How long past its time an answer may be used where no other is to be had; zero: never.
    pub(crate) stale: Duration,
    /// How long a client waits before it is given a stale answer.
    pub(crate) stale_after: Duration,
    pub(crate) budget: Budget,
}

/// What one question may cost.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Budget {
    /// Messages sent.
    pub(crate) queries: u32,
    /// Addresses of servers looked up.
    pub(crate) lookups: u32,
    /// CNAME and DNAME records followed.
    pub(crate) chain: u32,
    /// Signatures checked.
    pub(crate) signatures: u32,
    /// Time.
    pub(crate) time: Duration,
    /// Queries under way to the servers of one zone, for all clients.
    pub(crate) per_zone: u32,
}

impl Default for Budget {
    fn default() -> Budget {
        Budget {
            queries: 100,
            lookups: 24,
            chain: 12,
            signatures: 64,
            time: Duration::from_secs(10),
            per_zone: 200,
        }
    }
}

impl Settings {
    /// The route for a name: that with the longest name above it.
    pub(crate) fn route(&self, name: NameRef<'_>) -> Option<(&Name, &Route)> {
        let above = |entry: &&(Name, Route)| name.is_within(entry.0.as_ref());
        self.routes
            .iter()
            .find(above)
            .map(|(zone, route)| (zone, route))
    }
}
