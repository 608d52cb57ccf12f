//! What the engine is told about where and how it serves.

use std::{fmt::Write, sync::Arc, time::Duration};

use omnid_identity::{Address, DigestAlgorithm};

use super::{Flow, Timers};
use crate::{
    plan::Plan,
    trunk::Trunk,
    wire::{Host, Limits, SipUri, Transport},
};

/// The engine's settings. A reload replaces them whole.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The domains whose users are registered here, in lower case; the first one is what our bare
    /// addresses stand for.
    pub domains: Vec<String>,
    /// Other names of ours.
    pub hosts: Vec<String>,
    /// What to call ourselves in Via and Record-Route instead of the address a message arrived at.
    pub advertised: Option<String>,
    /// The ports that are listened on.
    pub ports: Vec<(Transport, u16)>,
    /// What Server says; empty says nothing.
    pub server: String,
    /// Where calls go.
    pub plan: Arc<Plan>,
    /// The ways to telephones elsewhere, as the plan numbers them.
    pub trunks: Vec<Arc<Trunk>>,
    /// The transactions' times.
    pub timers: Timers,
    /// Bounds on a message.
    pub limits: Limits,
    /// The algorithms offered, the preferred one first.
    pub algorithms: Vec<DigestAlgorithm>,
    /// How long a challenge may be answered.
    pub nonce_life: Duration,
    /// What the registrar allows.
    pub registrar: RegistrarPolicy,
    /// How long a phone may ring (timer C).
    pub ring_timeout: Duration,
    /// How many of a user's phones are called at once.
    pub forks: usize,
    /// How many transactions one source may have open.
    pub transactions_per_source: usize,
    /// How many transactions a shard may have open.
    pub transactions: usize,
    /// How many calls a shard follows.
    pub calls: usize,
    /// How many requests a second a source may make that are not authenticated.
    pub unauthenticated_per_second: u32,
}

/// What the registrar allows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegistrarPolicy {
    /// The shortest registration, in seconds.
    pub min_expires: u32,
    /// The longest; what is longer is cut to it.
    pub max_expires: u32,
    /// That of a client that does not say.
    pub default_expires: u32,
    /// How many contacts an address may have.
    pub max_contacts: usize,
    /// Whether a contact too many pushes out the oldest, instead of being refused.
    pub remove_existing: bool,
}

impl Default for RegistrarPolicy {
    fn default() -> Self {
        Self {
            min_expires: 60,
            max_expires: 7200,
            default_expires: 3600,
            max_contacts: 10,
            remove_existing: false,
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            domains: Vec::new(),
            hosts: Vec::new(),
            advertised: None,
            ports: Vec::new(),
            server: "omnid".to_owned(),
            plan: Arc::default(),
            trunks: Vec::new(),
            timers: Timers::default(),
            limits: Limits::default(),
            algorithms: vec![DigestAlgorithm::Sha256, DigestAlgorithm::Md5],
            nonce_life: Duration::from_secs(30),
            registrar: RegistrarPolicy::default(),
            ring_timeout: Duration::from_secs(180),
            forks: 10,
            transactions_per_source: 4096,
            transactions: 100_000,
            calls: 50_000,
            unauthenticated_per_second: 50,
        }
    }
}

impl Settings {
    /// The domain of ours that a host means: one by name, or, if it is an address or other name of
    /// ours, the first one.
    #[must_use]
    pub fn domain_of(&self, uri: &SipUri<'_>, flow: &Flow) -> Option<&str> {
        self.domains
            .iter()
            .find(|domain| uri.host.is(domain))
            .or_else(|| self.domains.first().filter(|_| self.is_our_host(uri, flow)))
            .map(String::as_str)
    }

    /// Whether a URI leads back to us: a domain, a name or an address of ours, at a port of ours.
    #[must_use]
    pub fn is_us(&self, uri: &SipUri<'_>, flow: &Flow) -> bool {
        self.domains.iter().any(|domain| uri.host.is(domain)) || self.is_our_host(uri, flow)
    }

    fn is_our_host(&self, uri: &SipUri<'_>, flow: &Flow) -> bool {
        // Without a port it is who we are rather than where: a phone may know us by an address and be
        // told the port elsewhere.
        let ours = uri
            .port
            .is_none_or(|port| self.ports.iter().any(|(_, ours)| *ours == port));
        ours && (uri.host.address() == Some(flow.local.ip())
            || self
                .advertised
                .iter()
                .chain(&self.hosts)
                .any(|host| uri.host.is(host)))
    }

    /// The address of record a URI means, if it is one of ours.
    #[must_use]
    pub fn address_of(&self, uri: &SipUri<'_>, flow: &Flow) -> Option<Address> {
        let domain = self.domain_of(uri, flow)?;
        Address::new(&uri.user_text()?, domain).ok()
    }

    /// What to call our end of a flow: `host:port`.
    #[must_use]
    pub fn sent_by(&self, flow: &Flow) -> String {
        let mut text = match &self.advertised {
            Some(advertised) => advertised.clone(),
            None => Host::Address(flow.local.ip()).to_string(),
        };
        let listened = |port: &u16| self.ports.contains(&(flow.transport, *port));
        // A connection we made has a port of its own, at which nobody would find us.
        let port = Some(flow.local.port()).filter(listened).or_else(|| {
            self.ports
                .iter()
                .find(|(transport, _)| *transport == flow.transport)
                .map(|(_, port)| *port)
        });
        // Writing to a String cannot fail.
        write!(text, ":{}", port.unwrap_or_else(|| flow.local.port())).ok();
        text
    }
}
