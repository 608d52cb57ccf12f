//! Is this user reachable, and where? Services answer for what they hold; callers ask all at once.

use std::sync::Arc;

use arc_swap::ArcSwap;
use serde::Serialize;

/// One way to reach a user right now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Contact {
    /// `xmpp` or `sip`.
    pub service: &'static str,
    /// A full JID or a contact URI.
    pub address: String,
    /// What the user or the device says of itself: `available`, `away`, `dnd`, `in a call` ….
    pub state: String,
}

/// A service that knows where some users are.
pub trait Whereabouts: Send + Sync {
    /// Where `address` (`alice@example.org`) can be reached through this service.
    fn contacts(&self, address: &str) -> Vec<Contact>;
}

/// All that services know of users' whereabouts.
#[derive(Default)]
pub struct Directory {
    services: ArcSwap<Vec<(&'static str, Arc<dyn Whereabouts>)>>,
}

impl Directory {
    /// Offers what `service` knows; a second offer takes the place of the first.
    pub fn offer(&self, service: &'static str, whereabouts: &Arc<dyn Whereabouts>) {
        self.services.rcu(|services| {
            let mut services: Vec<_> = services
                .iter()
                .filter(|(name, _)| *name != service)
                .cloned()
                .collect();
            services.push((service, whereabouts.clone()));
            services
        });
    }

    /// Takes away what `service` knows.
    pub fn withdraw(&self, service: &str) {
        self.services.rcu(|services| {
            let left = services.iter().filter(|(name, _)| *name != service);
            left.cloned().collect::<Vec<_>>()
        });
    }

    /// Every way to reach `address` right now.
    #[must_use]
    pub fn contacts(&self, address: &str) -> Vec<Contact> {
        let services = self.services.load();
        services
            .iter()
            .flat_map(|(_, whereabouts)| whereabouts.contacts(address))
            .collect()
    }
}
