//! What is said (sections 7.4 to 7.13 and 8.1).

use super::{AFFILIATIONS, Affiliation, Change, Outcome, Role, Room, Said, Subject, refuse};
use crate::engine::wish::Wish;
use crate::wire::{
    Condition, Element, Jid, Kind, MessageType, Stanza, StanzaError,
    form::{self, Form},
    ns,
};

/// Bytes of what a room is about.
const SUBJECT: usize = 4096;
/// Invitations in one message.
const INVITES: usize = 10;
/// Invitations that can be declined: the last ones.
const INVITED: usize = 256;

impl Room {
    pub(super) fn message(
        &mut self,
        stanza: &Stanza,
        from: &Jid,
        to: &Jid,
        next: &mut dyn FnMut() -> u64,
    ) -> Result<Outcome, StanzaError> {
        match (stanza.kind(), to.resource()) {
            (Kind::Message(MessageType::Error), _) => Ok(self.failed(stanza, from)),
            (Kind::Message(MessageType::Groupchat), None) => self.speak(stanza, from, next),
            (Kind::Message(MessageType::Groupchat), Some(_)) => Err(Condition::BadRequest.into()),
            (_, Some(nick)) => self.whisper(stanza, from, nick, next),
            (_, None) => self.request(stanza, from, next()),
        }
    }

    /// 7.4: to everybody.
    fn speak(
        &mut self,
        stanza: &Stanza,
        from: &Jid,
        next: &mut dyn FnMut() -> u64,
    ) -> Result<Outcome, StanzaError> {
        let Some(at) = self.index_of(from) else {
            return refuse(Condition::NotAcceptable, "only occupants can send messages");
        };
        let id = next();
        let config = &self.kept.config;
        let (archive, change_subject) = (config.archive, config.change_subject);
        let role = self.occupants.get(at).map_or(Role::None, |one| one.role);
        if role < Role::Participant {
            return refuse(Condition::Forbidden, "visitors can't speak");
        }
        self.spend(from, id)?;
        let mut tree = stanza.to_element().map_err(|_| Condition::BadRequest)?;
        let subject = tree
            .get_child("subject", ns::CLIENT)
            .map(Element::text_content);
        // 8.1: a subject without a body, and nothing else that would make it part of a thread.
        let only = tree.get_child("body", ns::CLIENT).is_none()
            && tree.get_child("thread", ns::CLIENT).is_none();
        let subject = subject.filter(|_| only);
        if let Some(subject) = &subject {
            if !change_subject && role < Role::Moderator {
                return refuse(Condition::Forbidden, "moderators change the subject");
            }
            if subject.len() > SUBJECT {
                return Err(Condition::NotAcceptable.into());
            }
        }
        Self::strip(&mut tree);
        let occupant = self.occupants.get(at).ok_or(Condition::NotAcceptable)?;
        tree.remove_attr("to");
        tree.set_attr("from", occupant.address.as_str());
        let tree = tree
            .child(Element::new("occupant-id", ns::OCCUPANT_ID).attr("id", occupant.id.as_str()));
        let nick = occupant.nick.clone();
        let worth_keeping = subject.is_none() && is_worth_keeping(stanza);
        let archived = archive && (worth_keeping || subject.is_some());
        let bare = Stanza::from_element(&tree).ok_or(Condition::BadRequest)?;
        let stanza = if archived {
            let by = Element::new("stanza-id", ns::SID)
                .attr("by", self.jid.as_str())
                .attr("id", id.to_string());
            Stanza::from_element(&tree.child(by)).ok_or(Condition::BadRequest)?
        } else {
            bare.clone()
        };
        let mut out = Outcome::default();
        for (_, client) in self.clients() {
            out.send(&stanza, &client.jid);
        }
        if let Some(text) = subject {
            self.kept.subject = Some(Subject {
                text,
                nick: nick.clone(),
                at: id,
            });
            out.keep = true;
        } else if worth_keeping {
            self.remember(id, stanza);
        }
        out.said = archived.then_some(Said {
            id,
            nick,
            stanza: bare,
        });
        Ok(out)
    }

    fn remember(&mut self, at: u64, stanza: Stanza) {
        self.history.push_back((at, stanza));
        while self.history.len() > self.kept.config.history as usize {
            self.history.pop_front();
        }
    }

    /// Takes out what only the room may say, and what only archives behind it may: nothing that
    /// gives ids is between a client and the room, so whatever id is there, whoever it is said to
    /// be by, an occupant's own account among them, is a lie (XEP-0359 6).
    fn strip(tree: &mut Element) {
        tree.retain(|child| {
            !(child.is("stanza-id", ns::SID)
                || child.is("x", ns::MUC_USER)
                || child.ns() == ns::OCCUPANT_ID
                || child.is("delay", ns::DELAY))
        });
    }

    /// 7.5: to one of them.
    fn whisper(
        &mut self,
        stanza: &Stanza,
        from: &Jid,
        nick: &str,
        next: &mut dyn FnMut() -> u64,
    ) -> Result<Outcome, StanzaError> {
        let Some(at) = self.index_of(from) else {
            return refuse(Condition::NotAcceptable, "only occupants can send messages");
        };
        let free = self.kept.config.private_messages;
        let now = next();
        let role = self.occupants.get(at).map_or(Role::None, |one| one.role);
        if !free && role < Role::Moderator {
            return refuse(Condition::Forbidden, "no private messages here");
        }
        self.spend(from, now)?;
        let mut tree = stanza.to_element().map_err(|_| Condition::BadRequest)?;
        Self::strip(&mut tree);
        let sender = self.occupants.get(at).ok_or(Condition::NotAcceptable)?;
        let receiver = self.by_nick(nick).ok_or(Condition::ItemNotFound)?;
        tree.remove_attr("to");
        tree.set_attr("from", sender.address.as_str());
        let tree = tree
            .child(Element::new("occupant-id", ns::OCCUPANT_ID).attr("id", sender.id.as_str()))
            .child(Element::new("x", ns::MUC_USER));
        let stanza = Stanza::from_element(&tree).ok_or(Condition::BadRequest)?;
        let mut out = Outcome::default();
        for client in &receiver.clients {
            out.send(&stanza, &client.jid);
        }
        Ok(out)
    }

    /// 7.8.2 and 8.6: what occupants ask of the room.
    fn request(&mut self, stanza: &Stanza, from: &Jid, now: u64) -> Result<Outcome, StanzaError> {
        self.spend(from, now)?;
        let tree = stanza.to_element().map_err(|_| Condition::BadRequest)?;
        if let Some(x) = tree.get_child("x", ns::MUC_USER) {
            if let Some(decline) = x.get_child("decline", ns::MUC_USER) {
                return Ok(self.decline(decline, from));
            }
            return self.invite(x, from, now);
        }
        if let Some(form) = Form::find(&tree, ns::MUC_REQUEST) {
            return self.voice(&form, from);
        }
        Err(Condition::BadRequest.into())
    }

    fn invite(&mut self, x: &Element, from: &Jid, now: u64) -> Result<Outcome, StanzaError> {
        let Some(inviter) = self.of(from) else {
            return refuse(Condition::NotAcceptable, "only occupants can invite");
        };
        let may = match (self.kept.config.members_only, self.kept.config.invites) {
            (true, _) => self.affiliation(from.bare_str()) >= Affiliation::Admin,
            (false, true) => true,
            (false, false) => inviter.role == Role::Moderator,
        };
        if !may {
            return refuse(Condition::Forbidden, "not everybody can invite here");
        }
        let mut invites = Vec::new();
        for invite in x
            .children()
            .filter(|child| child.name() == "invite")
            .take(INVITES)
        {
            let to = Jid::new(invite.get_attr("to").unwrap_or_default())
                .map_err(|_| Condition::JidMalformed)?;
            if self.affiliation(to.bare_str()) == Affiliation::Outcast {
                return refuse(Condition::Forbidden, "banned from this room");
            }
            self.spend(from, now)?;
            invites.push((to, invite));
        }
        let known = self.kept.affiliations.len();
        if self.kept.config.members_only && known.saturating_add(invites.len()) > AFFILIATIONS {
            return Err(Condition::ResourceConstraint.into());
        }
        let mut out = Outcome::default();
        for (to, invite) in invites {
            // 9.3: an invitation to a room for members makes one.
            if self.kept.config.members_only && self.affiliation(to.bare_str()) == Affiliation::None
            {
                self.set_affiliation(to.bare_str(), Affiliation::Member);
                out.keep = true;
            }
            let mut invite = invite.clone();
            invite.remove_attr("to");
            invite.set_attr("from", from.as_str());
            let password = self.kept.config.password.as_deref();
            let password = password.map(|text| Element::new("password", ns::MUC_USER).text(text));
            let x = Element::new("x", ns::MUC_USER)
                .child(invite)
                .children_from(password);
            let message = Element::new("message", ns::CLIENT)
                .attr("from", self.jid.as_str())
                .attr("to", to.as_str())
                .child(x);
            out.wishes.extend(Wish::route(&message));
            self.invited.push_back((from.to_bare(), to.to_bare()));
        }
        let old = self.invited.len().saturating_sub(INVITED);
        self.invited.drain(..old);
        Ok(out)
    }

    /// An invitation is declined. What answers none goes nowhere, and nobody learns from that who is
    /// in.
    fn decline(&mut self, decline: &Element, from: &Jid) -> Outcome {
        let mut out = Outcome::default();
        let to = Jid::new(decline.get_attr("to").unwrap_or_default()).ok();
        let pair = to.map(|to| (to.to_bare(), from.to_bare()));
        let Some(at) = self
            .invited
            .iter()
            .position(|one| Some(one) == pair.as_ref())
        else {
            return out;
        };
        let Some((inviter, invited)) = self.invited.remove(at) else {
            return out;
        };
        let reason = decline.get_child("reason", ns::MUC_USER);
        let reason =
            reason.map(|reason| Element::new("reason", ns::MUC_USER).text(reason.text_content()));
        let decline = Element::new("decline", ns::MUC_USER)
            .attr("from", invited.as_str())
            .children_from(reason);
        let message = Element::new("message", ns::CLIENT)
            .attr("from", self.jid.as_str())
            .attr("to", inviter.as_str())
            .child(Element::new("x", ns::MUC_USER).child(decline));
        out.wishes.extend(Wish::route(&message));
        out
    }

    /// 7.13, 8.6: a visitor asks for voice, or a moderator gives it.
    fn voice(&mut self, form: &Form, from: &Jid) -> Result<Outcome, StanzaError> {
        let Some(asker) = self.of(from) else {
            return Err(Condition::NotAcceptable.into());
        };
        let mut out = Outcome::default();
        let Some(allowed) = form.flag("muc#request_allow") else {
            if asker.role != Role::Visitor {
                return Ok(out);
            }
            let text = |name, value: &str| form::field(name, "text-single", [value]);
            let role = form::field("muc#role", "list-single", ["participant"]);
            let jid = form::field("muc#jid", "jid-single", [from.as_str()]);
            let allow = form::field("muc#request_allow", "boolean", ["false"]);
            let fields = [role, jid, text("muc#roomnick", &asker.nick), allow];
            let message = Element::new("message", ns::CLIENT)
                .attr("from", self.jid.as_str())
                .child(form::form("form", ns::MUC_REQUEST, fields));
            if let Some(stanza) = Stanza::from_element(&message) {
                for (occupant, client) in self.clients() {
                    if occupant.role == Role::Moderator {
                        out.send(&stanza, &client.jid);
                    }
                }
            }
            return Ok(out);
        };
        if asker.role != Role::Moderator {
            return Err(Condition::Forbidden.into());
        }
        let nick = form.get("muc#roomnick").unwrap_or_default();
        let at = self
            .occupants
            .iter()
            .position(|occupant| occupant.nick == nick);
        if let Some(occupant) = at.and_then(|at| self.occupants.get_mut(at))
            && allowed
            && occupant.role == Role::Visitor
        {
            occupant.role = Role::Participant;
            if let Some(occupant) = self.by_nick(nick) {
                self.show(occupant, &Change::default(), &mut out);
            }
        }
        Ok(out)
    }
}

/// Whether it says something that those who come later should know.
fn is_worth_keeping(stanza: &Stanza) -> bool {
    let hint = |name| stanza.has_child(name, ns::HINTS);
    if hint("no-store") || hint("no-permanent-store") {
        return false;
    }
    let passing = |(name, namespace): (&str, &str)| {
        namespace == ns::CHAT_STATES || (name == "thread" && namespace == ns::CLIENT)
    };
    hint("store") || !stanza.children().all(passing)
}
