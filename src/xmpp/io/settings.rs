//! What the configuration says, made ready for use.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, LazyLock},
    time::Duration,
};

use super::{outbox::Patience, s2s::Trust, server::token};
use crate::{
    Config,
    engine::login::{Inlines, Policy},
    features::{Features, bind2, carbons, csi, fast, mam, rooms, sasl2, sm, upload},
    wire::Limits,
};

/// What the configuration says, made ready for use.
pub(crate) struct Settings {
    pub(crate) config: Config,
    pub(crate) hosts: HashSet<Box<str>>,
    pub(crate) policy: Arc<Policy>,
    pub(crate) features: Features,
    /// Messages are archived.
    pub(crate) archives: bool,
    /// Hosts of rooms.
    pub(crate) rooms: HashSet<Box<str>>,
    /// Other servers are spoken with.
    pub(crate) federates: bool,
    /// Whose certificates are believed.
    pub(crate) trust: Arc<Trust>,
    /// Domains of components.
    pub(crate) components: HashSet<Box<str>>,
    /// What the server's disco says that there is beside it.
    pub(crate) neighbours: HashSet<Box<str>>,
}

/// What resources are made from that clients don't choose; for as long as sessions last.
static PEPPER: LazyLock<String> = LazyLock::new(token);

/// What clients can ask for with their login.
fn inlines(features: &Features) -> Option<Inlines> {
    let inlines = Inlines {
        bind: features.has(bind2::NAME),
        carbons: features.has(carbons::FEATURE.name),
        csi: features.has(csi::NAME),
        sm: features.has(sm::NAME),
        fast: features.has(fast::NAME),
    };
    features.has(sasl2::NAME).then_some(inlines)
}

impl Settings {
    pub(crate) fn new(config: Config, hosts: HashSet<Box<str>>, trust: Arc<Trust>) -> Settings {
        let mut off: Vec<_> = config
            .disable
            .iter()
            .map(|name| name.value.clone())
            .collect();
        if config.upload.url.is_none() {
            // Nobody could get what was put.
            off.push(upload::NAME.to_owned());
        }
        let features = Features::without(&off);
        let rooms = if features.has(rooms::NAME) {
            config.rooms.hosts(hosts.iter().map(|host| &**host))
        } else {
            HashSet::new()
        };
        let federates = config.s2s.federates();
        let components: HashSet<Box<str>> = config
            .component
            .iter()
            .map(|component| component.domain.value.as_str().into())
            .collect();
        let neighbours = rooms.union(&components).cloned().collect();
        let policy = Arc::new(Policy {
            hosts: hosts.clone(),
            features: features.stream(),
            inlines: inlines(&features),
            pepper: PEPPER.clone(),
            lacking: HashMap::new(),
        });
        Settings {
            config,
            hosts,
            policy,
            archives: features.has(mam::NAME),
            rooms,
            federates,
            trust,
            components,
            neighbours,
            features,
        }
    }

    /// Whether a domain may prove itself by dialback, without a certificate that is believed.
    pub(crate) fn dialback(&self, domain: &str) -> bool {
        let mut allowed = self.config.s2s.dialback.iter();
        allowed.any(|name| name.value == "*" || name.value == domain)
    }

    pub(crate) fn limits(&self) -> Limits {
        Limits {
            bytes: self.config.stanza_size.as_usize(),
            ..Limits::CLIENT
        }
    }

    pub(crate) fn patience(&self) -> Patience {
        Patience {
            asleep: self.config.resume_timeout,
            write: Duration::from_secs(60),
            silence: self.config.keepalive,
        }
    }
}
