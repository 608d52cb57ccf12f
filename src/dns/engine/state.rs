//! What a server answers from: one snapshot, swapped whole.

use std::sync::Arc;

use super::access::Access;
use super::answer::Client;
use super::cookie::CookieSecret;
use super::limit::Limiter;
use super::tsig::Keys;
use super::view::{Selector, Views};
use super::zones::{Served, ZoneId, Zones};

/// Everything a query needs.
#[derive(Debug)]
pub struct State {
    /// Zones that are in no view: those of whom no view fits.
    pub zones: Zones,
    /// Views.
    pub views: Views,
    /// Keys that clients sign with.
    pub keys: Keys,
    /// Settings.
    pub settings: Settings,
}

impl State {
    /// Of all zones, and who is in which view.
    pub fn new(all: Vec<Served>, selectors: &[Selector], keys: Keys, settings: Settings) -> State {
        let all: Vec<Arc<Served>> = all.into_iter().map(Arc::new).collect();
        let outside = all.iter().filter(|served| served.view.is_none());
        State {
            zones: Zones::of(outside.cloned().collect()),
            views: Views::new(selectors, &all),
            keys,
            settings,
        }
    }

    /// The zones that a client sees, and whether the resolver works for it if it may ask that at
    /// all.
    pub(super) fn seen_by(&self, client: &Client, recursion_desired: bool) -> (&Zones, bool) {
        if self.views.is_empty() {
            return (&self.zones, true);
        }
        let who = client.who(self);
        match self.views.select(client, &who, recursion_desired) {
            Some(view) => (&view.zones, view.selector.recursion),
            None => (&self.zones, true),
        }
    }

    /// A zone as it is served.
    pub fn served(&self, id: &ZoneId) -> Option<&Arc<Served>> {
        let zones = match &id.view {
            None => &self.zones,
            Some(name) => {
                let mut views = self.views.iter();
                &views.find(|view| view.selector.name == *name)?.zones
            }
        };
        let served = zones.entry(id.name.as_ref())?;
        Some(served).filter(|served| served.view == id.view)
    }

    /// The same with one zone in another version.
    pub fn with(&self, running: &Arc<Served>, served: Served) -> State {
        let served = Arc::new(served);
        State {
            zones: self.zones.with(running, &served),
            views: self.views.with(running, &served),
            keys: self.keys.clone(),
            settings: self.settings.clone(),
        }
    }
}

/// How a server answers.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Largest UDP answer.
    pub udp_size: u16,
    /// What `version.bind` and `version.server` say (RFC 4892).
    pub version: Option<Box<str>>,
    /// What `hostname.bind` says.
    pub hostname: Option<Box<str>>,
    /// What `id.server` and the NSID option say (RFC 5001).
    pub server_id: Option<Box<str>>,
    /// Secret of the server's cookies.
    pub cookie_secret: Option<CookieSecret>,
    /// How long a TCP connection may idle, in tenths of a second (RFC 7828).
    pub keepalive: u16,
    /// Who may ask about names outside the zones.
    pub recursion: Access,
    /// How many responses of a kind go to one network; none: as many as are asked for.
    pub limiter: Option<Arc<Limiter>>,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            udp_size: 1232,
            version: None,
            hostname: None,
            server_id: None,
            cookie_secret: None,
            keepalive: 300,
            recursion: Access::default(),
            limiter: None,
        }
    }
}
