//! Views: which zones there are depends on who asks, with whose key, and where.

use std::net::SocketAddr;
use std::sync::Arc;

use super::access::{Access, Who};
use super::answer::Client;
use super::zones::{Served, ZoneId, Zones};

/// Who is in a view, and what of others' zones it has.
#[derive(Debug, Clone, Default)]
pub struct Selector {
    /// The view's name.
    pub name: Arc<str>,
    /// Whose questions are for it; none: everybody's.
    pub clients: Option<Access>,
    /// To which addresses of this server they come; none: to all.
    pub destinations: Option<Access>,
    /// To which listeners they come; none of them: to all.
    pub listeners: Vec<SocketAddr>,
    /// Only those that want a resolver's answer.
    pub recursive_only: bool,
    /// Names outside its zones are found out for those who may ask for them.
    pub recursion: bool,
    /// Zones of other views that are in this one as well.
    pub shared: Vec<ZoneId>,
}

impl Selector {
    fn fits(&self, client: &Client, who: &Who<'_>, recursion_desired: bool) -> bool {
        if self.recursive_only && !recursion_desired {
            return false;
        }
        if self.clients.as_ref().is_some_and(|list| !list.allows(who)) {
            return false;
        }
        if let Some(list) = &self.destinations {
            let own = client.local.map(|local| Who {
                address: local.ip(),
                key: who.key,
                certified: who.certified,
            });
            if !own.is_some_and(|own| list.allows(&own)) {
                return false;
            }
        }
        let here = |listener: &SocketAddr| {
            client.local.is_some_and(|local| {
                let anywhere = listener.ip().is_unspecified();
                listener.port() == local.port() && (anywhere || listener.ip() == local.ip())
            })
        };
        self.listeners.is_empty() || self.listeners.iter().any(here)
    }
}

/// A view.
#[derive(Debug, Clone)]
pub struct View {
    /// Who is in it.
    pub selector: Selector,
    /// Its zones: its own, those that it shares, and those that are in no view.
    pub zones: Zones,
}

/// All views, the first that fits first.
#[derive(Debug, Clone, Default)]
pub struct Views(Vec<View>);

impl Views {
    /// Of all zones of a server.
    pub(super) fn new(selectors: &[Selector], all: &[Arc<Served>]) -> Views {
        let view = |selector: &Selector| {
            let outside = all.iter().filter(|served| served.view.is_none());
            let shared = selector.shared.iter();
            let shared = shared.filter_map(|id| all.iter().find(|served| served.id() == *id));
            let own = |served: &&Arc<Served>| served.view.as_ref() == Some(&selector.name);
            let own = all.iter().filter(own);
            let zones = outside.chain(shared).chain(own).cloned().collect();
            View {
                selector: selector.clone(),
                zones: Zones::of(zones),
            }
        };
        Views(selectors.iter().map(view).collect())
    }

    /// True where there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Those that there are.
    pub fn iter(&self) -> impl Iterator<Item = &View> {
        self.0.iter()
    }

    /// The view that a question is for.
    pub(super) fn select(
        &self,
        client: &Client,
        who: &Who<'_>,
        recursion_desired: bool,
    ) -> Option<&View> {
        let fits = |view: &&View| view.selector.fits(client, who, recursion_desired);
        self.0.iter().find(fits)
    }

    /// The same views with one version of a zone in place of another, wherever that is.
    pub(super) fn with(&self, running: &Arc<Served>, served: &Arc<Served>) -> Views {
        let view = |view: &View| View {
            selector: view.selector.clone(),
            zones: view.zones.with(running, served),
        };
        Views(self.0.iter().map(view).collect())
    }
}

#[cfg(test)]
mod tests;
