//! Where services meet.
//!
//! DNS, HTTP, SIP and XMPP know nothing of each other. What one of them offers to the others it
//! hangs up here, under a type that belongs to neither: an HTTP handler at a path ([`Mounts`]), a
//! handler for a TLS application protocol ([`Alpn`]), DNS records about a domain ([`Records`]),
//! news of what happened ([`Events`]), the answer to "where is this user" ([`Directory`]) and
//! verbs for the operator ([`Control`]), and names looked up with DNSSEC's word on them
//! ([`Resolver`]).
//!
//! Every meeting point is process-local today and asked only through these types, so that a
//! cluster can stand behind them later.

mod alpn;
mod control;
mod directory;
mod events;
mod mounts;
mod records;
mod resolver;

use std::sync::Arc;

pub use alpn::{Alpn, StreamContext, StreamHandler};
pub use control::{Control, ControlError, ControlHandler};
pub use directory::{Contact, Directory, Whereabouts};
pub use events::{Event, Events, Published, Subscription};
pub use futures_util::future::BoxFuture;
pub use mounts::{Body, BodyError, Mount, MountContext, MountRequest, MountResponse, Mounts};
pub use records::{Record, RecordData, Records};
pub use resolver::{Resolution, Resolve, ResolveError, Resolver};

/// The meeting points of one daemon. Cheap to clone; every clone is the same hub.
#[derive(Clone, Default)]
pub struct Hub {
    points: Arc<Points>,
}

#[derive(Default)]
struct Points {
    alpn: Alpn,
    control: Control,
    directory: Directory,
    events: Events,
    mounts: Mounts,
    records: Records,
    resolver: Resolver,
}

impl Hub {
    /// An empty hub: nothing offered yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Handlers by TLS application protocol.
    #[must_use]
    pub fn alpn(&self) -> &Alpn {
        &self.points.alpn
    }

    /// Verbs for the operator, answered by services and carried by the control socket.
    #[must_use]
    pub fn control(&self) -> &Control {
        &self.points.control
    }

    /// Who is reachable, and where.
    #[must_use]
    pub fn directory(&self) -> &Directory {
        &self.points.directory
    }

    /// News of what happened.
    #[must_use]
    pub fn events(&self) -> &Events {
        &self.points.events
    }

    /// HTTP handlers that other services offer.
    #[must_use]
    pub fn mounts(&self) -> &Mounts {
        &self.points.mounts
    }

    /// Names outside this server, looked up.
    #[must_use]
    pub fn resolver(&self) -> &Resolver {
        &self.points.resolver
    }

    /// DNS records that services want published.
    #[must_use]
    pub fn records(&self) -> &Records {
        &self.points.records
    }
}
