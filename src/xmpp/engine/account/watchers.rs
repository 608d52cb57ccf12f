//! Clients that see an account's presence, and what they can do (XEP-0163 4).

use std::{collections::HashMap, sync::Arc};

use super::Account;
use crate::{engine::caps::Caps, wire::Jid};

/// Clients of others whose abilities one account remembers.
const WATCHERS: usize = 5000;

impl Account {
    /// Clients that see the account's presence, and what they can do.
    pub fn watchers(&self) -> impl Iterator<Item = (&Jid, &Arc<Caps>)> {
        self.watchers.iter()
    }

    /// Whether a client that says what it can do is of somebody who may see the account.
    pub fn may_watch(&self, who: &Jid) -> bool {
        !self.blocks(who)
            && (who.bare_str() == self.jid.as_str()
                || self.roster.subscription(who.bare_str()).from)
    }

    /// Remembers what a client can do. Whether that is news.
    pub fn watch(&mut self, who: &Jid, caps: &Arc<Caps>) -> bool {
        if self.watchers.len() >= WATCHERS && !self.watchers.contains_key(who) {
            return false;
        }
        let before = self.watchers.insert(who.clone(), caps.clone());
        before.is_none_or(|before| before != *caps)
    }

    /// A client is gone, or no longer says what it can do.
    pub fn unwatch(&mut self, who: &Jid) {
        self.watchers.remove(who);
        if self.watchers.is_empty() {
            self.watchers = HashMap::new();
        }
    }
}
