//! What every service stands on: the handles it is given ([`Ground`]), what a service is
//! ([`Service`]), and the listeners all of them open the same way ([`ListenerSet`]).

pub mod config;
mod listeners;
mod service;

use std::sync::Arc;

use arc_swap::ArcSwap;
use config::{DomainConfig, ServerConfig};
use omnid_hub::Hub;
use omnid_identity::Identity;
use omnid_net::Net;
use omnid_script::Scripts;
use omnid_store::Database;
use omnid_tls::CertStore;

pub use listeners::{ListenerSet, Wanted, datagrams, release_all, streams};
pub use omnid_net::Transport;
pub use service::{Change, ListenerClaim, Prepare, Service, ServiceError};

/// The handles every service is given. Cheap to clone; all clones share the same parts.
#[derive(Clone)]
pub struct Ground {
    /// `[server]` and `[[domain]]` as last applied.
    pub server: Arc<ArcSwap<ServerFacts>>,
    /// Sockets and their limits.
    pub net: Net,
    /// Certificates by server name.
    pub certificates: CertStore,
    /// Facts, in SQL.
    pub database: Database,
    /// Accounts, and who may do what.
    pub identity: Identity,
    /// Where services meet.
    pub hub: Hub,
    /// Lua.
    pub scripts: Scripts,
}

/// What the configuration says about the server as a whole.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ServerFacts {
    /// `[server]`.
    pub server: ServerConfig,
    /// Every `[[domain]]`.
    pub domains: Vec<DomainConfig>,
}
