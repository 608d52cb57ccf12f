//! Whom an account blocks (XEP-0191).

use std::collections::BTreeSet;

use super::{Account, Session};
use crate::{
    engine::wish::Wishes,
    wire::{Condition, Element, Jid, Kind, Stanza, StanzaError, ns},
};

impl Account {
    /// The addresses that it blocks.
    pub fn blocked(&self) -> &BTreeSet<String> {
        &self.blocked
    }

    /// What was loaded of them.
    pub fn set_blocked(&mut self, blocked: BTreeSet<String>) {
        self.blocked = blocked;
    }

    /// Whether it blocks `who` (section 2): the address, the account, the domain with the resource,
    /// or the domain. Never itself.
    pub fn blocks(&self, who: &Jid) -> bool {
        if self.blocked.is_empty() || who.bare_str() == self.jid.as_str() {
            return false;
        }
        let with_resource = || {
            let resource = who.resource()?;
            Some(
                self.blocked
                    .contains(&format!("{}/{resource}", who.domain())),
            )
        };
        self.blocked.contains(who.as_str())
            || self.blocked.contains(who.bare_str())
            || self.blocked.contains(who.domain())
            || with_resource() == Some(true)
    }

    /// Blocks addresses: they no longer see the account, and its clients hear of it.
    pub fn block(&mut self, jids: &[Jid]) -> Wishes {
        let seen_before = self.seeing(jids);
        let mut wishes = Wishes::new();
        for contact in &seen_before {
            self.show(contact, false, &mut wishes);
        }
        let names = jids.iter().map(|jid| jid.as_str().to_owned());
        self.blocked.extend(names);
        let watchers = std::mem::take(&mut self.watchers);
        let stay = |(who, _): &(Jid, _)| !self.blocks(who);
        self.watchers = watchers.into_iter().filter(stay).collect();
        wishes.extend(self.push_blocking("block", jids));
        wishes
    }

    /// Blocks them no more. `all` if it is everybody.
    pub fn unblock(&mut self, jids: &[Jid], all: bool) -> Wishes {
        for jid in jids {
            self.blocked.remove(jid.as_str());
        }
        let mut wishes = Wishes::new();
        for contact in self.seeing(jids) {
            if !self.blocks(&contact) {
                self.show(&contact, true, &mut wishes);
            }
        }
        let named = if all { &[] } else { jids };
        wishes.extend(self.push_blocking("unblock", named));
        wishes
    }

    /// Contacts that can see the account's presence and are meant by one of `jids`.
    fn seeing(&self, jids: &[Jid]) -> Vec<Jid> {
        let meant = |contact: &str| {
            jids.iter().any(|jid| {
                jid.as_str() == contact
                    || jid.bare_str() == contact
                    || (jid.local().is_none() && contact.ends_with(&format!("@{}", jid.domain())))
            })
        };
        let contacts = self.roster.contacts();
        contacts
            .filter(|(jid, item)| item.subscription.from && meant(jid.as_str()))
            .map(|(jid, _)| jid.as_jid().clone())
            .collect()
    }

    fn push_blocking(&self, name: &'static str, jids: &[Jid]) -> Wishes {
        let items = jids
            .iter()
            .map(|jid| Element::new("item", ns::BLOCKING).attr("jid", jid.as_str()));
        let payload = Element::new(name, ns::BLOCKING).children_from(items);
        let told = self.sessions.iter().filter(|session| session.shows_blocked);
        let push = |session: &Session| {
            let iq = Element::new("iq", ns::CLIENT)
                .attr("type", "set")
                .attr("id", format!("{name}-{}", session.id))
                .attr("from", self.jid.as_str())
                .attr("to", session.jid.as_str())
                .child(payload.clone());
            Stanza::from_element(&iq).map(|iq| session.send(iq))
        };
        told.filter_map(push).collect()
    }
}

/// What becomes of a stanza from somebody who is blocked (section 3.2): the sender can't tell it
/// from an account that isn't there.
pub fn from_blocked(stanza: &Stanza) -> Wishes {
    match stanza.kind() {
        Kind::Presence(_) => Wishes::new(),
        _ => super::bounce(stanza, Condition::ServiceUnavailable),
    }
}

/// And of one to somebody who is: what its sender is told, for the session itself, because nothing
/// from that address is routed to it.
pub fn to_blocked(stanza: &Stanza) -> Option<Stanza> {
    let error = StanzaError {
        application: Some(Box::new(Element::new("blocked", ns::BLOCKING_ERRORS))),
        ..Condition::NotAcceptable.into()
    };
    stanza.error(&error).as_ref().and_then(Stanza::from_element)
}
