//! A user's roster: contacts with their names, groups and subscriptions (RFC 6121 2).
//!
//! Nothing here changes a roster in place. An operation looks at it and gives a [`RosterChange`],
//! which is written to the store first and then applied: what a client is told is what is kept.

use std::{collections::BTreeMap, time::SystemTime};

use bytes::Bytes;

use super::subscription::{Request, Subscription};
use crate::wire::{BareJid, Condition, Element, StanzaError, ns};

/// Contacts in one roster, requests that wait for an answer included.
pub const CONTACTS: usize = 1000;
/// Groups a contact can be in.
const GROUPS: usize = 50;
/// Bytes of a contact's or a group's name.
const NAME: usize = 1023;

/// One contact.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Contact {
    /// Whether the user has it in the roster. If not, it is somebody who asked to subscribe.
    pub listed: bool,
    /// What the user calls it.
    pub name: Option<Box<str>>,
    /// The groups it is in.
    pub groups: Vec<Box<str>>,
    /// Who sees whom.
    pub subscription: Subscription,
    /// A request will be granted without asking (RFC 6121 3.4).
    pub approved: bool,
    /// The request that waits for the user's answer, to be shown at each login (RFC 6121 3.1.3).
    pub request: Option<Bytes>,
}

impl Contact {
    /// Whether there is anything left to keep.
    fn is_empty(&self) -> bool {
        !self.listed && !self.approved && self.subscription == Subscription::default()
    }

    /// As a roster carries it.
    fn to_item(&self, jid: &BareJid) -> Element {
        let mut item = Element::new("item", ns::ROSTER)
            .attr("jid", jid.as_str())
            .attr_opt("name", self.name.as_deref())
            .attr("subscription", self.subscription.as_str());
        if self.subscription.pending_out {
            item.set_attr("ask", "subscribe");
        }
        if self.approved {
            item.set_attr("approved", "true");
        }
        let groups = self.groups.iter();
        item.children_from(groups.map(|group| Element::new("group", ns::ROSTER).text(&**group)))
    }
}

/// A user's contacts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Roster {
    contacts: BTreeMap<BareJid, Contact>,
    version: u64,
}

/// One contact as it will be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RosterChange {
    /// Which contact.
    pub contact: BareJid,
    /// What becomes of it; `None` if it goes.
    pub after: Option<Contact>,
    /// The roster's version after the change.
    pub version: u64,
    /// Whether the user's clients see a difference.
    pub visible: bool,
}

/// What a client asks to change (RFC 6121 2.1.5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RosterSet {
    /// Add or rename.
    Update {
        /// The contact.
        contact: BareJid,
        /// Its name.
        name: Option<Box<str>>,
        /// Its groups.
        groups: Vec<Box<str>>,
    },
    /// Take out.
    Remove(BareJid),
}

impl RosterSet {
    /// Reads the request's payload.
    ///
    /// # Errors
    /// RFC 6121 2.3.3.
    pub fn parse(query: &Element) -> Result<RosterSet, StanzaError> {
        let mut items = query
            .children()
            .filter(|child| child.is("item", ns::ROSTER));
        let (Some(item), None) = (items.next(), items.next()) else {
            return Err(Condition::BadRequest.into());
        };
        let jid = item.get_attr("jid").ok_or(Condition::BadRequest)?;
        let contact = crate::wire::Jid::new(jid)
            .map_err(|_| Condition::JidMalformed)?
            .to_bare();
        if item.get_attr("subscription") == Some("remove") {
            return Ok(RosterSet::Remove(contact));
        }
        let name = item.get_attr("name").filter(|name| !name.is_empty());
        let mut groups: Vec<Box<str>> = Vec::new();
        for group in item
            .children()
            .filter(|child| child.is("group", ns::ROSTER))
        {
            let group = group.text_content();
            if group.is_empty() || group.len() > NAME || groups.len() >= GROUPS {
                return Err(Condition::NotAcceptable.into());
            }
            if groups.iter().any(|before| **before == group) {
                return Err(Condition::BadRequest.into());
            }
            groups.push(group.into());
        }
        if name.is_some_and(|name| name.len() > NAME) {
            return Err(Condition::NotAcceptable.into());
        }
        Ok(RosterSet::Update {
            contact,
            name: name.map(Into::into),
            groups,
        })
    }
}

impl Roster {
    /// A roster as it was stored.
    pub fn new(contacts: impl IntoIterator<Item = (BareJid, Contact)>, version: u64) -> Roster {
        Roster {
            contacts: contacts.into_iter().collect(),
            version,
        }
    }

    /// Its version, as clients see it (RFC 6121 2.6).
    pub fn version(&self) -> u64 {
        self.version
    }

    /// A contact.
    pub fn get(&self, contact: &str) -> Option<&Contact> {
        self.contacts.get(contact)
    }

    /// The relation with anybody.
    pub fn subscription(&self, contact: &str) -> Subscription {
        self.get(contact)
            .map(|contact| contact.subscription)
            .unwrap_or_default()
    }

    /// All contacts.
    pub fn contacts(&self) -> impl Iterator<Item = (&BareJid, &Contact)> {
        self.contacts.iter()
    }

    /// The answer to a client that asks for the roster; `None` if what it has is current.
    pub fn query(&self, has_version: Option<&str>) -> Option<Element> {
        let version = self.version.to_string();
        if has_version == Some(version.as_str()) {
            return None;
        }
        let items = self.contacts.iter().filter(|(_, contact)| contact.listed);
        let items = items.map(|(jid, contact)| contact.to_item(jid));
        // A version only for clients that know of versions.
        let query = Element::new("query", ns::ROSTER).attr_opt("ver", has_version.map(|_| version));
        Some(query.children_from(items))
    }

    /// What a client is pushed for a change (RFC 6121 2.1.6).
    pub fn push(&self, change: &RosterChange) -> Element {
        let listed = change.after.as_ref().filter(|contact| contact.listed);
        let item = match listed {
            Some(contact) => contact.to_item(&change.contact),
            None => Element::new("item", ns::ROSTER)
                .attr("jid", change.contact.as_str())
                .attr("subscription", "remove"),
        };
        let version = change.version.to_string();
        Element::new("query", ns::ROSTER)
            .attr("ver", version)
            .child(item)
    }

    /// Makes a change that has been written.
    pub fn apply(&mut self, change: &RosterChange) {
        self.version = change.version;
        match &change.after {
            Some(contact) => self
                .contacts
                .insert(change.contact.clone(), contact.clone()),
            None => self.contacts.remove(change.contact.as_str()),
        };
    }

    /// What [`RosterSet::Update`] comes to.
    ///
    /// # Errors
    /// When the roster is full.
    pub fn update(
        &self,
        contact: BareJid,
        name: Option<Box<str>>,
        groups: Vec<Box<str>>,
        now: SystemTime,
    ) -> Result<RosterChange, StanzaError> {
        let before = self.get(contact.as_str()).cloned().unwrap_or_default();
        let after = Contact {
            listed: true,
            name,
            groups,
            ..before
        };
        self.change(contact, after, now)
    }

    /// What it comes to that the contact's relation becomes `subscription`.
    fn relate(
        &self,
        contact: &BareJid,
        subscription: Subscription,
        edit: impl FnOnce(&mut Contact),
        now: SystemTime,
    ) -> Result<Option<RosterChange>, StanzaError> {
        let before = self.get(contact.as_str()).cloned().unwrap_or_default();
        let mut after = Contact {
            subscription,
            ..before.clone()
        };
        edit(&mut after);
        if !after.subscription.pending_in {
            after.request = None;
        }
        if after == before {
            return Ok(None);
        }
        self.change(contact.clone(), after, now).map(Some)
    }

    fn change(
        &self,
        contact: BareJid,
        after: Contact,
        now: SystemTime,
    ) -> Result<RosterChange, StanzaError> {
        let before = self.get(contact.as_str());
        if before.is_none() && self.contacts.len() >= CONTACTS {
            return Err(StanzaError::with_text(
                Condition::ResourceConstraint,
                "the roster is full",
            ));
        }
        // What only the server keeps for itself isn't shown.
        let shown = |contact: &Contact| Contact {
            request: None,
            subscription: Subscription {
                pending_in: false,
                ..contact.subscription
            },
            ..contact.clone()
        };
        let listed_before = before.filter(|before| before.listed).map(shown);
        let listed_after = Some(&after).filter(|after| after.listed).map(shown);
        let visible = listed_before != listed_after;
        let version = if visible {
            self.next_version(now)
        } else {
            self.version
        };
        Ok(RosterChange {
            contact,
            after: (!after.is_empty()).then_some(after),
            version,
            visible,
        })
    }

    /// Versions grow with the time, so that an account that is removed and made anew doesn't meet
    /// the versions its clients remember.
    fn next_version(&self, now: SystemTime) -> u64 {
        let now = now
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default()
            .as_millis();
        u64::try_from(now)
            .unwrap_or_default()
            .max(self.version.saturating_add(1))
    }

    /// What [`RosterSet::Remove`] comes to: the change, and the requests that the user's server
    /// sends for it (RFC 6121 2.5.2).
    ///
    /// # Errors
    /// When there is no such contact.
    pub fn remove(
        &self,
        contact: &BareJid,
        now: SystemTime,
    ) -> Result<(RosterChange, Vec<Request>), StanzaError> {
        let before = self.get(contact.as_str()).filter(|contact| contact.listed);
        let Some(before) = before else {
            return Err(Condition::ItemNotFound.into());
        };
        let Subscription {
            to,
            from,
            pending_out,
            pending_in,
        } = before.subscription;
        let mut requests = Vec::new();
        if to || pending_out {
            requests.push(Request::Unsubscribe);
        }
        if from || pending_in {
            requests.push(Request::Unsubscribed);
        }
        let version = self.next_version(now);
        let change = RosterChange {
            contact: contact.clone(),
            after: None,
            version,
            visible: true,
        };
        Ok((change, requests))
    }

    /// The user sends `request` to `contact`.
    ///
    /// # Errors
    /// When the roster is full.
    pub fn outbound(
        &self,
        contact: &BareJid,
        request: Request,
        now: SystemTime,
    ) -> Result<Outbound, StanzaError> {
        let before = self.subscription(contact.as_str());
        let (after, route) = before.outbound(request);
        let edit = |item: &mut Contact| match request {
            Request::Subscribe => item.listed = true,
            // Approving somebody makes a contact of them; approving nobody yet waits for them
            // (RFC 6121 3.4.2).
            Request::Subscribed if before.pending_in => item.listed = true,
            Request::Subscribed if !before.from => {
                item.listed = true;
                item.approved = true;
            }
            Request::Unsubscribed => item.approved = false,
            _ => {}
        };
        let change = self.relate(contact, after, edit, now)?;
        Ok(Outbound {
            change,
            route,
            granted: !before.from && after.from,
            revoked: before.from && !after.from,
        })
    }

    /// The contact's `request`, whose bytes are `stanza`, arrives for the user.
    ///
    /// # Errors
    /// When the roster is full.
    pub fn inbound(
        &self,
        contact: &BareJid,
        request: Request,
        stanza: &Bytes,
        now: SystemTime,
    ) -> Result<Inbound, StanzaError> {
        let before = self.subscription(contact.as_str());
        let (mut after, mut deliver) = before.inbound(request);
        let approved = self
            .get(contact.as_str())
            .is_some_and(|contact| contact.approved);
        let mut grant = false;
        if request == Request::Subscribe {
            // Allowed already, or in advance: the server answers for the user (3.1.3, 3.4.2).
            grant = before.from || approved;
            if grant {
                after = Subscription {
                    from: true,
                    pending_in: false,
                    ..after
                };
                deliver = false;
            }
        }
        let edit = |item: &mut Contact| {
            if after.pending_in && !before.pending_in {
                item.request = Some(stanza.clone());
            }
            if grant {
                item.approved = false;
            }
        };
        let change = self.relate(contact, after, edit, now)?;
        Ok(Inbound {
            change,
            deliver,
            grant,
            granted: !before.from && after.from,
            revoked: before.from && !after.from,
        })
    }
}

/// What comes of a request that the user sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outbound {
    /// The roster's change, if it changes.
    pub change: Option<RosterChange>,
    /// Whether the request goes on to the contact.
    pub route: bool,
    /// The contact sees the user's presence from now on.
    pub granted: bool,
    /// It no longer does.
    pub revoked: bool,
}

/// What comes of a request that arrives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inbound {
    /// The roster's change, if it changes.
    pub change: Option<RosterChange>,
    /// Whether the user's clients are shown the request.
    pub deliver: bool,
    /// Whether the server answers `subscribed` for the user.
    pub grant: bool,
    /// The contact sees the user's presence from now on.
    pub granted: bool,
    /// It no longer does.
    pub revoked: bool,
}

#[cfg(test)]
mod tests;
