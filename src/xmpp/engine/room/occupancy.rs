//! Entering, changing and leaving (section 7).

use super::{
    Affiliation, Change, Client, Occupant, Outcome, PRESENCE, Role, Room, delayed, refuse,
};
use crate::wire::{Condition, Element, Jid, Stanza, StanzaError, ns, time};

/// Bytes of what was said before that one who enters is shown.
const SHOWN: u64 = 256 * 1024;
/// Clients that one nick can have.
const CLIENTS: usize = 16;

impl Room {
    pub(super) fn available(
        &mut self,
        stanza: &Stanza,
        from: &Jid,
        to: &Jid,
        next: &mut dyn FnMut() -> u64,
    ) -> Result<Outcome, StanzaError> {
        let Some(nick) = to.resource() else {
            // 7.2.1: which nick?
            return Err(Condition::JidMalformed.into());
        };
        if stanza.size() > PRESENCE {
            return refuse(Condition::PolicyViolation, "the presence is too big");
        }
        let now = next();
        let tree = stanza.to_element().map_err(|_| Condition::BadRequest)?;
        let wants_in = tree.get_child("x", ns::MUC).cloned();
        match (self.index_of(from), wants_in) {
            (None, None) => refuse(Condition::NotAcceptable, "enter the room first"),
            (None, Some(x)) => {
                self.admit(from, nick, &x)?;
                self.spend(from, now)?;
                Ok(self.enter(tree, from, to, nick, &x, now))
            }
            // A client that lost track begins anew, if it is still let in.
            (Some(at), Some(x)) if self.nick_of(at) == Some(nick) => {
                self.admit(from, nick, &x)?;
                self.spend(from, now)?;
                self.forget(at, from);
                Ok(self.enter(tree, from, to, nick, &x, now))
            }
            (Some(at), _) if self.nick_of(at) == Some(nick) => {
                self.spend(from, now)?;
                Ok(self.update(at, from, tree))
            }
            (Some(at), _) => {
                self.spend(from, now)?;
                self.rename(at, from, to, nick, tree)
            }
        }
    }

    fn nick_of(&self, at: usize) -> Option<&str> {
        self.occupants
            .get(at)
            .map(|occupant| occupant.nick.as_str())
    }

    /// Takes a client out without a word.
    fn forget(&mut self, at: usize, jid: &Jid) {
        if let Some(occupant) = self.occupants.get_mut(at) {
            occupant.clients.retain(|client| client.jid != *jid);
            if occupant.clients.is_empty() {
                self.occupants.remove(at);
            }
        }
    }

    /// 7.2: whether somebody is let in.
    fn admit(&self, from: &Jid, nick: &str, x: &Element) -> Result<(), StanzaError> {
        let bare = from.bare_str();
        let affiliation = self.affiliation(bare);
        let config = &self.kept.config;
        if affiliation == Affiliation::Outcast {
            return refuse(Condition::Forbidden, "banned from this room");
        }
        if config.members_only && affiliation < Affiliation::Member {
            return refuse(Condition::RegistrationRequired, "this room is for members");
        }
        let given = x.get_child("password", ns::MUC).map(Element::text_content);
        if config.password.is_some() && config.password != given && affiliation < Affiliation::Owner
        {
            return refuse(Condition::NotAuthorized, "the password is wrong");
        }
        match self.by_nick(nick) {
            Some(other) if other.bare() != bare => {
                refuse(Condition::Conflict, "somebody else has that nick")
            }
            Some(other)
                if other.clients.len() >= CLIENTS
                    && other.clients.iter().all(|client| client.jid != *from) =>
            {
                refuse(
                    Condition::ResourceConstraint,
                    "too many clients with that nick",
                )
            }
            None if self.occupants.len() >= self.most && affiliation < Affiliation::Admin => {
                refuse(Condition::ServiceUnavailable, "the room is full")
            }
            _ => Ok(()),
        }
    }

    fn enter(
        &mut self,
        tree: Element,
        from: &Jid,
        to: &Jid,
        nick: &str,
        x: &Element,
        now: u64,
    ) -> Outcome {
        let mut out = Outcome::default();
        // 7.2.2: the others, then oneself.
        for occupant in &self.occupants {
            if occupant.nick != nick {
                self.introduce(occupant, from, &mut out);
            }
        }
        let client = Client {
            jid: from.clone(),
            presence: said(tree),
        };
        match self
            .occupants
            .iter_mut()
            .find(|occupant| occupant.nick == nick)
        {
            Some(occupant) => occupant.clients.push(client),
            None => {
                let affiliation = self.affiliation(from.bare_str());
                self.occupants.push(Occupant {
                    nick: nick.to_owned(),
                    address: to.clone(),
                    role: self.role_for(affiliation),
                    clients: vec![client],
                    id: self.occupant_id(from.bare_str()),
                });
            }
        }
        let mut own = Vec::new();
        if !self.kept.config.anonymous {
            own.push(100);
        }
        if self.kept.config.archive {
            own.push(170);
        }
        if std::mem::take(&mut self.fresh) {
            own.push(201);
        }
        if let Some(occupant) = self.by_nick(nick) {
            let change = Change {
                own: &own,
                ..Change::default()
            };
            self.show(occupant, &change, &mut out);
        }
        self.replay(from, x, now, &mut out);
        if let Some(subject) = self.subject() {
            out.send(&subject, from);
        }
        out
    }

    /// An occupant's presence for somebody who enters.
    fn introduce(&self, occupant: &Occupant, to: &Jid, out: &mut Outcome) {
        let newcomer = self.role_for(self.affiliation(to.bare_str()));
        let mut shown = Outcome::default();
        let Some(client) = occupant.clients.last() else {
            return;
        };
        let address = self.sees_addresses(newcomer).then(|| client.jid.as_str());
        let item = Element::new("item", ns::MUC_USER)
            .attr("affiliation", self.affiliation(occupant.bare()).as_str())
            .attr("role", occupant.role.as_str())
            .attr_opt("jid", address);
        let id = Element::new("occupant-id", ns::OCCUPANT_ID).attr("id", occupant.id.as_str());
        let mut presence = client.presence.clone();
        presence.set_attr("from", occupant.address.as_str());
        let presence = presence
            .child(id)
            .child(Element::new("x", ns::MUC_USER).child(item));
        if let Some(stanza) = Stanza::from_element(&presence) {
            shown.send(&stanza, to);
        }
        out.wishes.extend(shown.wishes);
    }

    /// 7.2.13: what was said before, as much of it as is asked for.
    fn replay(&self, to: &Jid, x: &Element, now: u64, out: &mut Outcome) {
        let asked = x.get_child("history", ns::MUC);
        let number = |name| {
            let value = asked?.get_attr(name)?;
            value.parse::<u64>().ok()
        };
        let most = number("maxstanzas").unwrap_or(u64::MAX);
        let most = most.min(u64::from(self.kept.config.history));
        let since = asked
            .and_then(|asked| asked.get_attr("since"))
            .and_then(time::parse_micros);
        let seconds = number("seconds").map(|s| now.saturating_sub(s.saturating_mul(1_000_000)));
        let since = since.max(seconds).unwrap_or(0);
        let mut characters = number("maxchars").unwrap_or(u64::MAX).min(SHOWN);
        let mut shown = Vec::new();
        for (at, stanza) in self.history.iter().rev() {
            if shown.len() as u64 >= most || *at < since {
                break;
            }
            let Some(left) = characters.checked_sub(stanza.size() as u64) else {
                break;
            };
            characters = left;
            shown.push(delayed(stanza, &self.jid, *at));
        }
        for stanza in shown.into_iter().rev() {
            out.send(&stanza, to);
        }
    }

    /// 7.2.15: what the room is about, if it is about anything.
    fn subject(&self) -> Option<Stanza> {
        let subject = self.kept.subject.as_ref();
        let from = match subject {
            Some(subject) => self.jid.with_resource(&subject.nick).ok()?,
            None => self.jid.as_jid().clone(),
        };
        let text = subject
            .map(|subject| subject.text.as_str())
            .unwrap_or_default();
        let message = Element::new("message", ns::CLIENT)
            .attr("type", "groupchat")
            .attr("from", from.as_str())
            .child(Element::new("subject", ns::CLIENT).text(text));
        let stanza = Stanza::from_element(&message)?;
        Some(match subject {
            Some(subject) => delayed(&stanza, &self.jid, subject.at),
            None => stanza,
        })
    }

    /// 7.7: an occupant says something else of itself.
    fn update(&mut self, at: usize, from: &Jid, tree: Element) -> Outcome {
        let mut out = Outcome::default();
        if let Some(occupant) = self.occupants.get_mut(at) {
            occupant.clients.retain(|client| client.jid != *from);
            occupant.clients.push(Client {
                jid: from.clone(),
                presence: said(tree),
            });
        }
        if let Some(occupant) = self.occupants.get(at) {
            self.show(occupant, &Change::default(), &mut out);
        }
        out
    }

    /// 7.6: an occupant wants another nick.
    fn rename(
        &mut self,
        at: usize,
        from: &Jid,
        to: &Jid,
        nick: &str,
        tree: Element,
    ) -> Result<Outcome, StanzaError> {
        if self.by_nick(nick).is_some() {
            return refuse(Condition::Conflict, "somebody else has that nick");
        }
        let mut out = Outcome::default();
        if let Some(occupant) = self.occupants.get(at) {
            let change = Change {
                status: &[303],
                nick: Some(nick),
                ..Change::default()
            };
            self.show(occupant, &change, &mut out);
        }
        if let Some(occupant) = self.occupants.get_mut(at) {
            nick.clone_into(&mut occupant.nick);
            occupant.address = to.clone();
        }
        out.wishes.extend(self.update(at, from, tree).wishes);
        Ok(out)
    }

    /// 7.14: an occupant leaves.
    pub(super) fn unavailable(&mut self, stanza: &Stanza, from: &Jid) -> Outcome {
        // Somebody who says too much leaves all the same.
        let short = stanza.size() <= PRESENCE;
        let tree = short.then(|| stanza.to_element().ok()).flatten();
        self.leave(from, tree, &Change::default())
    }

    /// An answer to what the room sent says that nobody is there any more.
    pub(super) fn failed(&mut self, stanza: &Stanza, from: &Jid) -> Outcome {
        let tree = stanza.to_element().ok();
        let error = tree
            .as_ref()
            .and_then(|tree| tree.get_child("error", ns::CLIENT));
        let condition = error.and_then(|error| error.children().next());
        let gone = condition.is_none_or(|condition| {
            matches!(
                condition.name(),
                "gone"
                    | "internal-server-error"
                    | "item-not-found"
                    | "jid-malformed"
                    | "recipient-unavailable"
                    | "redirect"
                    | "remote-server-not-found"
                    | "remote-server-timeout"
                    | "service-unavailable"
            )
        });
        if !gone {
            return Outcome::default();
        }
        let change = Change {
            status: &[307, 333],
            reason: Some("the client is not there any more".to_owned()),
            ..Change::default()
        };
        self.leave(from, None, &change)
    }

    fn leave(&mut self, from: &Jid, words: Option<Element>, change: &Change<'_>) -> Outcome {
        let mut out = Outcome::default();
        let Some(at) = self.index_of(from) else {
            return out;
        };
        let last = self
            .occupants
            .get(at)
            .is_some_and(|occupant| occupant.clients.len() == 1);
        if let (Some(words), Some(occupant)) = (words, self.occupants.get_mut(at))
            && last
            && let Some(client) = occupant.clients.last_mut()
        {
            client.presence = said(words);
        }
        if last {
            self.remove(at, change, &mut out);
            return self.finish(out);
        }
        // Another client of the same occupant stays; the one that leaves hears that it has left.
        if let Some(occupant) = self.occupants.get(at) {
            let item = Element::new("item", ns::MUC_USER)
                .attr("affiliation", self.affiliation(from.bare_str()).as_str())
                .attr("role", Role::None.as_str());
            let x = Element::new("x", ns::MUC_USER)
                .child(item)
                .child(Element::new("status", ns::MUC_USER).attr("code", "110"));
            let gone = Element::new("presence", ns::CLIENT)
                .attr("type", "unavailable")
                .attr("from", occupant.address.as_str())
                .child(x);
            if let Some(stanza) = Stanza::from_element(&gone) {
                out.send(&stanza, from);
            }
        }
        self.forget(at, from);
        if let Some(occupant) = self.occupants.get(at) {
            self.show(occupant, &Change::default(), &mut out);
        }
        out
    }
}

/// What a client says of itself, without what only the room may say.
fn said(mut presence: Element) -> Element {
    presence.retain(|child| {
        !matches!(
            child.ns(),
            ns::MUC | ns::MUC_USER | ns::OCCUPANT_ID | ns::DELAY
        )
    });
    for name in ["to", "from", "type"] {
        presence.remove_attr(name);
    }
    presence
}
