//! An account that is in use: its sessions, its roster, and what RFC 6121 has its server do.
//!
//! Everything here is decided from what the account knows. It changes its sessions in place; the
//! roster only by changes that have been written ([`super::roster`]).

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::Arc,
    time::SystemTime,
};

use smallvec::smallvec;

use super::{
    archive::Preferences,
    carbons::{self, Direction},
    delivery::{Destination, Receiver, destination, is_storable},
    pubsub::{Caps, Nodes},
    roster::{Roster, RosterChange, RosterSet},
    subscription::Request,
    wish::{Plan, Wish, Wishes},
};
use crate::wire::{
    BareJid, Condition, Element, Jid, Kind, PresenceType, Stanza, StanzaError, StreamCondition,
    StreamError, ns,
};

mod avatar;
mod blocking;

pub use blocking::{from_blocked, to_blocked};

/// Clients of others whose abilities one account remembers.
const WATCHERS: usize = 5000;
/// Sessions that one account can have at a time.
pub const SESSIONS: usize = 32;
/// Entities that one session can send presence to beside its contacts.
const DIRECTED: usize = 1000;

/// The way to a session's client.
pub trait Outlet: Send + Sync {
    /// Takes a stanza for the client. `false` if it will not get there.
    fn send(&self, stanza: &Stanza) -> bool;
    /// The same for a stanza that stays in the database until the client has it.
    fn send_kept(&self, stanza: &Stanza) -> bool;
    /// Calls back once the client has all that was sent so far, as far as can be known, with
    /// `true`; or with `false` once it is known that it won't get it.
    fn then(&self, done: Box<dyn FnOnce(bool) + Send>);
    /// Ends the stream.
    fn close(&self, error: StreamError);
}

/// Tells an account's sessions apart, across binds of the same resource.
pub type SessionId = u64;

/// One bound resource.
pub struct Session {
    /// Its number.
    pub id: SessionId,
    /// Its full address.
    pub jid: Jid,
    /// The way to it.
    pub outlet: Arc<dyn Outlet>,
    /// It has asked for the roster and hears of changes (RFC 6121 2.2: interested).
    pub interested: bool,
    /// It wants copies of the messages of the account's other sessions (XEP-0280).
    pub carbons: bool,
    /// It has asked whom the account blocks, and hears of changes (XEP-0191).
    pub shows_blocked: bool,
    /// Its presence, if it is available.
    available: Option<Available>,
    /// Who else was sent presence, and must be told when it ends (RFC 6121 4.6).
    directed: HashSet<Jid>,
}

struct Available {
    priority: i8,
    /// As broadcast, for those who ask later.
    presence: Stanza,
}

impl Session {
    /// A session that has just been bound.
    pub fn new(id: SessionId, jid: Jid, outlet: Arc<dyn Outlet>) -> Session {
        Session {
            id,
            jid,
            outlet,
            interested: false,
            carbons: false,
            shows_blocked: false,
            available: None,
            directed: HashSet::new(),
        }
    }

    /// What it says of itself, and its priority, if it is available.
    pub fn presence(&self) -> Option<(&Stanza, i8)> {
        self.available
            .as_ref()
            .map(|available| (&available.presence, available.priority))
    }

    /// Whether it wants messages that are for the account.
    fn wants_messages(&self) -> bool {
        self.available
            .as_ref()
            .is_some_and(|available| available.priority >= 0)
    }

    fn send(&self, stanza: Stanza) -> Wish {
        Wish::Send(self.outlet.clone(), stanza)
    }
}

/// An account in use.
pub struct Account {
    jid: BareJid,
    /// Its contacts.
    pub roster: Roster,
    /// What it wants archived.
    pub archive: Preferences,
    /// The nodes that it publishes at.
    pub nodes: Nodes,
    sessions: Vec<Session>,
    blocked: BTreeSet<String>,
    /// Clients that see its presence, and what they can do.
    watchers: HashMap<Jid, Arc<Caps>>,
    /// The hash of its picture.
    photo: Option<String>,
}

impl Account {
    /// An account without sessions.
    pub fn new(jid: BareJid, roster: Roster) -> Account {
        Account {
            jid,
            roster,
            archive: Preferences::default(),
            nodes: Nodes::new(),
            sessions: Vec::new(),
            blocked: BTreeSet::new(),
            watchers: HashMap::new(),
            photo: None,
        }
    }

    /// Its address.
    pub fn jid(&self) -> &BareJid {
        &self.jid
    }

    /// Its sessions.
    pub fn sessions(&self) -> &[Session] {
        &self.sessions
    }

    /// One of them.
    pub fn session(&self, id: SessionId) -> Option<&Session> {
        self.sessions.iter().find(|session| session.id == id)
    }

    /// One of them, to be changed.
    pub fn session_mut(&mut self, id: SessionId) -> Option<&mut Session> {
        self.sessions.iter_mut().find(|session| session.id == id)
    }

    /// Adds a session. One that has the same resource makes room (RFC 6120 7.7.2.2): the client
    /// that binds is there, the other may not know yet that its connection is gone.
    ///
    /// # Errors
    /// When there are too many.
    pub fn bind(&mut self, session: Session) -> Result<Wishes, StanzaError> {
        let mut wishes = Wishes::new();
        if let Some(old) = self.sessions.iter().find(|old| old.jid == session.jid) {
            let text = "another client has taken this resource";
            let error = StreamError::new(StreamCondition::Conflict, text);
            wishes.push(Wish::Close(old.outlet.clone(), error));
            let old = old.id;
            wishes.extend(self.unbind(old));
        }
        if self.sessions.len() >= SESSIONS {
            return Err(Condition::ResourceConstraint.into());
        }
        self.sessions.push(session);
        Ok(wishes)
    }

    /// Takes a session out, as if it had said goodbye (RFC 6121 4.5.3).
    pub fn unbind(&mut self, id: SessionId) -> Wishes {
        let Some(at) = self.sessions.iter().position(|session| session.id == id) else {
            return Wishes::new();
        };
        let wishes = self.unavailable(at, None);
        let session = self.sessions.swap_remove(at);
        self.unwatch(&session.jid);
        wishes
    }

    // ----- Who watches (XEP-0163 4) -----

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

    // ----- Presence out (RFC 6121 4) -----

    /// A session sends presence that is for nobody in particular: to all who may see it.
    ///
    /// # Errors
    /// When it is presence that must be for somebody, or its priority is no number.
    pub fn broadcast(&mut self, id: SessionId, presence: &Stanza) -> Result<Wishes, StanzaError> {
        let Some(at) = self.sessions.iter().position(|session| session.id == id) else {
            return Ok(Wishes::new());
        };
        match presence.kind() {
            Kind::Presence(PresenceType::Available) => self.available(at, presence),
            Kind::Presence(PresenceType::Unavailable) => Ok(self.unavailable(at, Some(presence))),
            Kind::Presence(PresenceType::Error) => Ok(Wishes::new()),
            // Requests and probes are always for somebody.
            _ => Err(Condition::BadRequest.into()),
        }
    }

    fn available(&mut self, at: usize, presence: &Stanza) -> Result<Wishes, StanzaError> {
        let priority = priority(presence)?;
        let presence = &self.pictured(presence);
        let mut wishes = Wishes::new();
        let Some(session) = self.sessions.get_mut(at) else {
            return Ok(wishes);
        };
        let before = session.available.replace(Available {
            priority,
            presence: presence.clone(),
        });
        let first = before.is_none();
        let wanted_messages = before.is_some_and(|before| before.priority >= 0);
        let Some(session) = self.sessions.get(at) else {
            return Ok(wishes);
        };
        self.to_subscribers(presence, &mut wishes);
        self.to_own(presence, &mut wishes);
        if first {
            // RFC 6121 4.3: the others of this account, then the contacts' presence.
            let others = self.sessions.iter().filter(|other| other.id != session.id);
            for (other, _) in others.filter_map(Session::presence) {
                wishes.push(session.send(other.with_to(&session.jid)));
            }
            for (contact, item) in self.roster.contacts() {
                if item.subscription.to && !self.blocks(contact) {
                    let (from, contact) = (session.jid.clone(), contact.clone());
                    wishes.push(Wish::Probe { from, contact });
                }
                // 3.1.3: requests that wait, at each login until they are answered.
                let request = item.request.as_ref();
                let request = request.and_then(|r| Stanza::from_stored(r.clone()).ok());
                if let Some(request) = request {
                    wishes.push(session.send(request));
                }
            }
        }
        if priority >= 0 && !wanted_messages {
            wishes.push(Wish::HandOver(self.jid.clone(), session.outlet.clone()));
        }
        Ok(wishes)
    }

    /// A session is no longer available. `presence` is what it said, if it said anything.
    fn unavailable(&mut self, at: usize, presence: Option<&Stanza>) -> Wishes {
        let mut wishes = Wishes::new();
        let Some(session) = self.sessions.get_mut(at) else {
            return wishes;
        };
        let was_available = session.available.take().is_some();
        let directed = std::mem::take(&mut session.directed);
        if !was_available && directed.is_empty() {
            return wishes;
        }
        let own;
        let presence = match presence {
            Some(presence) => presence,
            None => {
                let element = Element::new("presence", ns::CLIENT)
                    .attr("type", "unavailable")
                    .attr("from", session.jid.as_str());
                let Some(stanza) = Stanza::from_element(&element) else {
                    return wishes;
                };
                own = stanza;
                &own
            }
        };
        if was_available {
            self.to_subscribers(presence, &mut wishes);
            self.to_own(presence, &mut wishes);
        }
        for to in directed {
            // Contacts that see the broadcast have had it.
            if !(was_available && self.roster.subscription(to.bare_str()).from) {
                wishes.push(Wish::Route(presence.with_to(&to)));
            }
        }
        if was_available
            && !self
                .sessions
                .iter()
                .any(|session| session.available.is_some())
        {
            wishes.push(Wish::Left(self.jid.clone(), status(presence)));
        }
        wishes
    }

    fn to_subscribers(&self, presence: &Stanza, wishes: &mut Wishes) {
        let subscribers = self
            .roster
            .contacts()
            .filter(|(jid, item)| item.subscription.from && !self.blocks(jid));
        wishes.extend(subscribers.map(|(jid, _)| Wish::Route(presence.with_to(jid))));
    }

    /// RFC 6121 4.2.2: an account sees its own presence, in each available session.
    fn to_own(&self, presence: &Stanza, wishes: &mut Wishes) {
        let stanza = presence.with_to(&self.jid);
        let available = self
            .sessions
            .iter()
            .filter(|session| session.available.is_some());
        wishes.extend(available.map(|session| session.send(stanza.clone())));
    }

    /// A session sends presence to `to` (RFC 6121 4.6): remembers whom to tell when it ends.
    ///
    /// # Errors
    /// When it has been to too many.
    pub fn directed(&mut self, id: SessionId, presence: &Stanza) -> Result<(), StanzaError> {
        let (Some(to), Some(session)) = (presence.to().cloned(), self.session_mut(id)) else {
            return Ok(());
        };
        match presence.kind() {
            Kind::Presence(PresenceType::Available) => {
                if session.directed.len() >= DIRECTED && !session.directed.contains(&to) {
                    return Err(Condition::ResourceConstraint.into());
                }
                session.directed.insert(to);
            }
            Kind::Presence(PresenceType::Unavailable) => {
                session.directed.remove(&to);
            }
            _ => {}
        }
        Ok(())
    }

    /// Sends the presence of every available session to `to`, or their end.
    fn show(&self, to: &Jid, available: bool, wishes: &mut Wishes) {
        for (presence, _) in self.sessions.iter().filter_map(Session::presence) {
            let shown = if available {
                Some(presence.with_to(to))
            } else {
                let element = Element::new("presence", ns::CLIENT)
                    .attr("type", "unavailable")
                    .attr_opt("from", presence.from().map(Jid::as_str))
                    .attr("to", to.as_str());
                Stanza::from_element(&element)
            };
            wishes.extend(shown.map(Wish::Route));
        }
    }

    // ----- Presence in -----

    /// Presence arrives that is no request and no probe (RFC 6121 8.5.2.1.2, 8.5.3).
    pub fn presence(&self, stanza: &Stanza) -> Wishes {
        let Some(to) = stanza.to() else {
            return Wishes::new();
        };
        if !to.is_bare() {
            let session = self.sessions.iter().find(|session| session.jid == *to);
            return session
                .map(|session| session.send(stanza.clone()))
                .into_iter()
                .collect();
        }
        if stanza.kind().is_error() {
            return Wishes::new();
        }
        let available = self
            .sessions
            .iter()
            .filter(|session| session.available.is_some());
        available
            .map(|session| session.send(stanza.clone()))
            .collect()
    }

    /// Somebody asks for this account's presence (RFC 6121 4.3.2).
    pub fn probe(&self, from: &Jid) -> Wishes {
        let mut wishes = Wishes::new();
        let own = from.bare_str() == self.jid.as_str();
        if !own && !self.roster.subscription(from.bare_str()).from {
            let denied = self.own_presence("unsubscribed", &from.to_bare());
            wishes.extend(denied);
            return wishes;
        }
        self.show(from, true, &mut wishes);
        if wishes.is_empty() {
            wishes.extend(self.own_presence("unavailable", from));
        }
        wishes
    }

    /// Presence of the account itself.
    fn own_presence(&self, kind: &'static str, to: &Jid) -> Option<Wish> {
        let element = Element::new("presence", ns::CLIENT)
            .attr("type", kind)
            .attr("from", self.jid.as_str())
            .attr("to", to.as_str());
        Wish::route(&element)
    }

    // ----- Subscriptions (RFC 6121 3) -----

    /// A session sends `request`; `stanza` is stamped with the account's bare address.
    ///
    /// # Errors
    /// When the roster is full.
    pub fn request(
        &self,
        request: Request,
        stanza: &Stanza,
        now: SystemTime,
    ) -> Result<Plan, StanzaError> {
        let mut plan = Plan::default();
        let Some(contact) = stanza.to().map(Jid::to_bare).filter(|to| *to != self.jid) else {
            return Ok(plan);
        };
        let out = self.roster.outbound(&contact, request, now)?;
        plan.changes.extend(out.change);
        if out.route {
            plan.then.push(Wish::Route(stanza.clone()));
        }
        if out.granted || out.revoked {
            self.show(&contact, out.granted, &mut plan.then);
        }
        Ok(plan)
    }

    /// A contact's `request` arrives.
    pub fn requested(&self, request: Request, stanza: &Stanza, now: SystemTime) -> Plan {
        let mut plan = Plan::default();
        let Some(contact) = stanza
            .from()
            .map(Jid::to_bare)
            .filter(|from| *from != self.jid)
        else {
            return plan;
        };
        // A full roster takes no more strangers: they hear nothing, as of anybody who ignores them.
        let Ok(seen) = self.roster.inbound(&contact, request, &stanza.bytes(), now) else {
            return plan;
        };
        plan.changes.extend(seen.change);
        if seen.deliver {
            let asks = request == Request::Subscribe;
            let hears = |session: &&Session| {
                if asks {
                    session.available.is_some()
                } else {
                    session.interested
                }
            };
            let sessions = self.sessions.iter().filter(hears);
            plan.then
                .extend(sessions.map(|session| session.send(stanza.clone())));
        }
        if seen.grant {
            plan.then.extend(self.own_presence("subscribed", &contact));
        }
        if seen.granted || seen.revoked {
            self.show(&contact, seen.granted, &mut plan.then);
        }
        plan
    }

    /// A client changes the roster.
    ///
    /// # Errors
    /// RFC 6121 2.3.3 and 2.5.3.
    pub fn set_roster(&self, set: RosterSet, now: SystemTime) -> Result<Plan, StanzaError> {
        let mut plan = Plan::default();
        match set {
            RosterSet::Update {
                contact,
                name,
                groups,
            } => {
                plan.changes
                    .push(self.roster.update(contact, name, groups, now)?);
            }
            RosterSet::Remove(contact) => {
                let (change, requests) = self.roster.remove(&contact, now)?;
                plan.changes.push(change);
                for request in requests {
                    plan.then
                        .extend(self.own_presence(request.as_str(), &contact));
                    if request == Request::Unsubscribed {
                        self.show(&contact, false, &mut plan.then);
                    }
                }
            }
        }
        Ok(plan)
    }

    /// Makes a change that has been written, and tells the clients that show the roster.
    pub fn commit(&mut self, change: &RosterChange) -> Wishes {
        self.roster.apply(change);
        if !change.visible {
            return Wishes::new();
        }
        let push = self.roster.push(change);
        let interested = self.sessions.iter().filter(|session| session.interested);
        let pushes = interested.filter_map(|session| {
            let iq = Element::new("iq", ns::CLIENT)
                .attr("type", "set")
                .attr("id", format!("push-{}", change.version))
                .attr("to", session.jid.as_str())
                .child(push.clone());
            Stanza::from_element(&iq).map(|iq| session.send(iq))
        });
        pushes.collect()
    }

    // ----- Messages and iq in (RFC 6121 8.5) -----

    /// A message arrives.
    pub fn message(&self, stanza: &Stanza) -> Wishes {
        let Kind::Message(kind) = stanza.kind() else {
            return Wishes::new();
        };
        let full = stanza.to().filter(|to| !to.is_bare());
        let exact = full.and_then(|full| self.sessions.iter().find(|session| session.jid == *full));
        let receiver = Receiver {
            full: full.is_some(),
            matched: exact.is_some(),
            available: self.sessions.iter().any(Session::wants_messages),
        };
        let highest = || {
            let wanting = self
                .sessions
                .iter()
                .filter(|session| session.wants_messages());
            wanting
                .filter_map(Session::presence)
                .map(|(_, priority)| priority)
                .max()
        };
        let destination = destination(kind, receiver);
        let takes: &dyn Fn(&Session) -> bool = match destination {
            Destination::Exact => &|session| exact.is_some_and(|exact| exact.id == session.id),
            Destination::All => &Session::wants_messages,
            Destination::MostAvailable => {
                let highest = highest();
                return self.hand_to(stanza, &|session| {
                    let priority = session.presence().map(|(_, priority)| priority);
                    session.wants_messages() && priority == highest
                });
            }
            Destination::Offline => return self.undelivered(stanza),
            Destination::Error => return bounce(stanza, Condition::ServiceUnavailable),
            Destination::Nowhere => return Wishes::new(),
        };
        self.hand_to(stanza, takes)
    }

    /// The message to those that take it, copies to those that want some.
    fn hand_to(&self, stanza: &Stanza, takes: &dyn Fn(&Session) -> bool) -> Wishes {
        let taking = self.sessions.iter().filter(|session| takes(session));
        let mut wishes: Wishes = taking.map(|session| session.send(stanza.clone())).collect();
        self.copies(stanza, Direction::Received, takes, &mut wishes);
        wishes
    }

    /// Copies of a message that session `id` sent, for the account's other sessions.
    pub fn sent(&self, id: SessionId, stanza: &Stanza) -> Wishes {
        let mut wishes = Wishes::new();
        self.copies(
            stanza,
            Direction::Sent,
            &|session| session.id == id,
            &mut wishes,
        );
        wishes
    }

    fn copies(
        &self,
        stanza: &Stanza,
        direction: Direction,
        has_it: &dyn Fn(&Session) -> bool,
        wishes: &mut Wishes,
    ) {
        let wants = |session: &&Session| session.carbons && !has_it(session);
        // A message to the account itself comes to the others anyway, as a received one.
        let own = stanza
            .from()
            .is_some_and(|from| from.bare_str() == self.jid.as_str())
            && stanza
                .to()
                .is_some_and(|to| to.bare_str() == self.jid.as_str());
        if (own && direction == Direction::Sent)
            || !self.sessions.iter().any(|session| wants(&session))
            || !carbons::is_copied(stanza)
        {
            return;
        }
        for session in self.sessions.iter().filter(wants) {
            let copy = carbons::copy(stanza, direction, &self.jid, &session.jid);
            wishes.push(session.send(copy));
        }
    }

    /// A message that no session took.
    pub fn undelivered(&self, stanza: &Stanza) -> Wishes {
        if is_storable(stanza) {
            smallvec![Wish::Keep(stanza.clone())]
        } else {
            Wishes::new()
        }
    }

    /// An iq for a full address.
    pub fn iq(&self, stanza: &Stanza) -> Wishes {
        let session = self
            .sessions
            .iter()
            .find(|session| stanza.to() == Some(&session.jid));
        match session {
            Some(session) => smallvec![session.send(stanza.clone())],
            None => bounce(stanza, Condition::ServiceUnavailable),
        }
    }
}

/// The sender is told; answers and errors are not answered.
pub fn bounce(stanza: &Stanza, condition: Condition) -> Wishes {
    bounce_with(stanza, &condition.into())
}

/// The same with more to say.
pub fn bounce_with(stanza: &Stanza, error: &StanzaError) -> Wishes {
    stanza
        .error(error)
        .as_ref()
        .and_then(Wish::route)
        .into_iter()
        .collect()
}

/// What presence says in words (RFC 6121 4.7.2.2).
fn status(presence: &Stanza) -> String {
    if !presence.has_child("status", ns::CLIENT) {
        return String::new();
    }
    let element = presence.to_element().ok();
    let status = element
        .as_ref()
        .and_then(|element| element.get_child("status", ns::CLIENT));
    status.map(Element::text_content).unwrap_or_default()
}

/// RFC 6121 4.7.2.3.
fn priority(presence: &Stanza) -> Result<i8, StanzaError> {
    if !presence.has_child("priority", ns::CLIENT) {
        return Ok(0);
    }
    let element = presence.to_element().map_err(|_| Condition::BadRequest)?;
    let text = element
        .get_child("priority", ns::CLIENT)
        .map(Element::text_content);
    let text = text.unwrap_or_default();
    match text.trim_ascii() {
        "" => Ok(0),
        text => text.parse().map_err(|_| Condition::BadRequest.into()),
    }
}

#[cfg(test)]
mod tests;
