//! What a service is to the daemon: it prepares a configuration without touching anything, then
//! makes what runs into what was prepared. The first start is a reload from nothing.

use std::{future::Future, path::Path, sync::Arc};

use omnid_config::{ListenAddr, Problems, Section, Span, Spanned};
use omnid_net::Transport;
use omnid_supervisor::Handle;
use serde::Serialize;

use crate::{
    Ground,
    config::{DomainConfig, ServerConfig},
};

/// One of DNS, HTTP, SIP, XMPP.
pub trait Service: Send + Sync + Sized + 'static {
    /// The name of its section, its supervisor and its log target: `dns`.
    const NAME: &'static str;

    /// Its section.
    type Config: Section + Clone + PartialEq + Send + Sync + 'static;

    /// All that the section stands for, loaded and checked: zones, sites, routes.
    type Prepared: Send + Sync + 'static;

    /// Loads and checks everything the section names, and reports every problem it finds.
    /// Changes nothing and binds nothing: `omnid check` ends here. `None` where there were errors.
    fn prepare(
        config: &Self::Config,
        context: &Prepare<'_>,
        problems: &mut Problems,
    ) -> Option<Self::Prepared>;

    /// The addresses the section claims, so that two claims to one address are found in `check`.
    fn listeners(config: &Self::Config) -> Vec<ListenerClaim>;

    /// The service with nothing started: runs its migrations, loads its state, offers itself to
    /// the hub.
    ///
    /// # Errors
    /// Where its state cannot be loaded.
    fn open(ground: Ground) -> impl Future<Output = Result<Arc<Self>, ServiceError>> + Send;

    /// What [`Service::apply`] would change, for `omnid reload --dry-run`.
    fn plan(&self, prepared: &Self::Prepared) -> Vec<Change>;

    /// Makes what runs into what was prepared: swaps snapshots, adds and removes listeners in
    /// `tree` (this service's supervisor). What did not change is not touched; no connection,
    /// transfer or call is dropped. A listener that cannot be bound yet is no error: it shows as
    /// failed in the tree and is tried again.
    ///
    /// # Errors
    /// Where the service cannot run at all.
    fn apply(
        self: &Arc<Self>,
        prepared: Self::Prepared,
        tree: &Handle,
    ) -> impl Future<Output = Result<(), ServiceError>> + Send;

    /// Answers a question of `omnid test` from what was prepared, as the running service would.
    /// The members of question and answer are the service's own; its manual page lists them.
    ///
    /// # Errors
    /// Why the question makes no sense to this service.
    fn rehearse(
        prepared: &Self::Prepared,
        question: &serde_json::Value,
    ) -> Result<serde_json::Value, String>;

    /// Ends what the service still has open after its children have drained: last words to
    /// clients, state to disk.
    fn close(self: &Arc<Self>) -> impl Future<Output = ()> + Send {
        async {}
    }
}

/// What `prepare` may look at.
#[derive(Debug, Clone, Copy)]
pub struct Prepare<'a> {
    /// `[server]`.
    pub server: &'a ServerConfig,
    /// Every `[[domain]]`.
    pub domains: &'a [DomainConfig],
    /// The directory of the configuration file.
    pub directory: &'a Path,
    /// Whether `[tls]` offers any certificate at all.
    pub tls: bool,
}

/// Why a service cannot run, in words for the operator.
#[derive(Debug, thiserror::Error)]
#[error("{service}: {reason}")]
pub struct ServiceError {
    /// The service.
    pub service: &'static str,
    /// What is wrong, and what to do about it.
    pub reason: String,
}

/// One difference between what runs and what is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// What changes: `zone example.org`, `listener udp 127.0.0.1:53`.
    pub what: String,
    /// `added`, `removed`, `changed live`, `restarted`.
    pub how: &'static str,
    /// Live connections, calls or transfers that it touches.
    pub connections: u64,
}

/// An address that a section claims.
#[derive(Debug, Clone)]
pub struct ListenerClaim {
    /// Stream (with or without TLS) or datagram (QUIC included).
    pub transport: Transport,
    /// The address.
    pub address: ListenAddr,
    /// Where the configuration says so.
    pub span: Option<Span>,
}

impl ListenerClaim {
    /// Claims for one key's list of addresses.
    pub fn all(transport: Transport, addresses: &[Spanned<ListenAddr>]) -> Vec<Self> {
        let claim = |address: &Spanned<ListenAddr>| Self {
            transport,
            address: address.value.clone(),
            span: address.span,
        };
        addresses.iter().map(claim).collect()
    }
}
