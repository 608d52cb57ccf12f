//! What a room is asked, and what occupants ask each other through it.

use super::{Affiliation, Outcome, Role, Room, refuse};
use crate::{
    engine::wish::Wish,
    wire::{Condition, Element, IqType, Jid, Kind, Scope, Stanza, StanzaError, ns},
};

/// The answer to an iq.
pub enum Answer {
    /// A result with or without payload, and what else comes of it.
    Result(Option<Element>, Outcome),
    /// What the archive says.
    Archive,
    /// A message is to be made unreadable in the archive: its id, what stands there instead, and
    /// what comes of it.
    Moderate(u64, Stanza, Outcome),
    /// Somebody else answers.
    Pass(Outcome),
}

impl From<Element> for Answer {
    fn from(payload: Element) -> Answer {
        Answer::Result(Some(payload), Outcome::default())
    }
}

impl Room {
    /// An iq comes, for the room or for one in it.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn iq(&mut self, stanza: &Stanza) -> Result<Answer, StanzaError> {
        let (Some(from), Some(to)) = (stanza.from(), stanza.to()) else {
            return Err(Condition::BadRequest.into());
        };
        let Kind::Iq(kind) = stanza.kind() else {
            return Err(Condition::BadRequest.into());
        };
        if let Some(nick) = to.resource() {
            return self.between(stanza, kind, from, nick);
        }
        if matches!(kind, IqType::Result | IqType::Error) {
            return Ok(Answer::Pass(Outcome::default()));
        }
        let tree = stanza.to_element().map_err(|_| Condition::BadRequest)?;
        let mut payloads = tree.children();
        let (Some(query), None) = (payloads.next(), payloads.next()) else {
            return Err(Condition::BadRequest.into());
        };
        let set = kind == IqType::Set;
        match (query.ns(), set) {
            (ns::DISCO_INFO, false) => match query.get_attr("node") {
                None => Ok(self.info().into()),
                Some(_) => Err(Condition::ItemNotFound.into()),
            },
            (ns::DISCO_ITEMS, false) => Ok(self.items(from).into()),
            (ns::PING, false) => Ok(Answer::Result(None, Outcome::default())),
            (ns::MUC_ADMIN, false) => self.list(query, from).map(Answer::from),
            (ns::MUC_ADMIN, true) => {
                let out = self.administer(query, from)?;
                Ok(Answer::Result(None, out))
            }
            (ns::MUC_OWNER, false) => {
                self.owner(from)?;
                let form = self.kept.config.to_form();
                Ok(Element::new("query", ns::MUC_OWNER).child(form).into())
            }
            (ns::MUC_OWNER, true) => {
                let out = self.own(query, from)?;
                Ok(Answer::Result(None, out))
            }
            (ns::MAM, _) if self.kept.config.archive && query.name() != "prefs" => {
                self.may_listen(from)?;
                Ok(Answer::Archive)
            }
            (ns::MODERATION, true) => self.moderate(query, from),
            (ns::VCARD, false) => {
                let card = self.kept.card.as_deref();
                let card = card.and_then(|c| Element::parse(c.as_bytes(), &Scope::empty()).ok());
                card.map(Answer::from).ok_or(Condition::ItemNotFound.into())
            }
            (ns::VCARD, true) => {
                self.owner(from)?;
                self.kept.card = Some(query.to_document());
                let mut out = Outcome {
                    keep: true,
                    ..Outcome::default()
                };
                self.announce(&[104], &mut out);
                Ok(Answer::Result(None, out))
            }
            _ => Err(Condition::ServiceUnavailable.into()),
        }
    }

    pub(super) fn owner(&self, from: &Jid) -> Result<(), StanzaError> {
        if self.affiliation(from.bare_str()) == Affiliation::Owner {
            Ok(())
        } else {
            Err(Condition::Forbidden.into())
        }
    }

    /// Whether somebody may read what was said.
    fn may_listen(&self, from: &Jid) -> Result<(), StanzaError> {
        let affiliation = self.affiliation(from.bare_str());
        let inside = self.of(from).is_some();
        let open = !self.kept.config.members_only && self.kept.config.password.is_none();
        if affiliation != Affiliation::Outcast
            && (inside || open || affiliation >= Affiliation::Member)
        {
            Ok(())
        } else {
            Err(Condition::Forbidden.into())
        }
    }

    /// 6.5: who is in, for those who may know.
    fn items(&self, from: &Jid) -> Element {
        let shown = self.of(from).is_some();
        let occupants = self.occupants.iter().filter(|_| shown);
        let items = occupants.map(|occupant| {
            Element::new("item", ns::DISCO_ITEMS).attr("jid", occupant.address.as_str())
        });
        Element::new("query", ns::DISCO_ITEMS).children_from(items)
    }

    /// An iq between occupants (17.4), and whether one is still in (XEP-0410).
    fn between(
        &mut self,
        stanza: &Stanza,
        kind: IqType,
        from: &Jid,
        nick: &str,
    ) -> Result<Answer, StanzaError> {
        let request = matches!(kind, IqType::Get | IqType::Set);
        // Cards are answered by the account, not by a client of it.
        let sender = self.of(from).or_else(|| {
            let mut occupants = self.occupants.iter();
            occupants.find(|o| !request && from.is_bare() && o.bare() == from.bare_str())
        });
        let Some(sender) = sender else {
            return refuse(Condition::NotAcceptable, "not in the room");
        };
        let payload = stanza.payload();
        if sender.nick == nick && kind == IqType::Get && payload == Some(("ping", ns::PING)) {
            return Ok(Answer::Result(None, Outcome::default()));
        }
        let receiver = self.by_nick(nick).ok_or(Condition::ItemNotFound)?;
        let client = receiver.clients.last().ok_or(Condition::ItemNotFound)?;
        let bare;
        let to = match payload {
            Some((_, ns::VCARD)) if request => {
                bare = client.jid.to_bare();
                bare.as_jid()
            }
            _ => &client.jid,
        };
        let passed = stanza.readdress(&sender.address, to);
        Ok(Answer::Pass(Outcome {
            wishes: [Wish::Route(passed)].into_iter().collect(),
            ..Outcome::default()
        }))
    }

    /// XEP-0425: a moderator takes back what somebody said.
    fn moderate(&mut self, query: &Element, from: &Jid) -> Result<Answer, StanzaError> {
        let moderator = self.of(from);
        let Some(moderator) = moderator.filter(|moderator| moderator.role == Role::Moderator)
        else {
            return Err(Condition::Forbidden.into());
        };
        let id: u64 = query
            .get_attr("id")
            .and_then(|id| id.parse().ok())
            .ok_or(Condition::ItemNotFound)?;
        if !query.is("moderate", ns::MODERATION)
            || query.get_child("retract", ns::RETRACTION).is_none()
        {
            return Err(Condition::FeatureNotImplemented.into());
        }
        let reason = query.get_child("reason", ns::MODERATION);
        let reason =
            reason.map(|reason| Element::new("reason", ns::RETRACTION).text(reason.text_content()));
        let by = Element::new("occupant-id", ns::OCCUPANT_ID).attr("id", moderator.id.as_str());
        let moderated = Element::new("moderated", ns::MODERATION)
            .attr("by", moderator.address.as_str())
            .child(by);
        let told = Element::new("message", ns::CLIENT)
            .attr("type", "groupchat")
            .attr("id", format!("moderated-{id}"))
            .attr("from", self.jid.as_str())
            .child(
                Element::new("retract", ns::RETRACTION)
                    .attr("id", id.to_string())
                    .child(moderated.clone())
                    .children_from(reason.clone()),
            );
        let tombstone = Element::new("message", ns::CLIENT)
            .attr("type", "groupchat")
            .attr("from", self.jid.as_str())
            .child(
                Element::new("retracted", ns::RETRACTION)
                    .attr("id", format!("moderated-{id}"))
                    .child(moderated)
                    .children_from(reason),
            );
        let mut out = Outcome::default();
        let all = [
            Stanza::from_element(&told),
            Stanza::from_element(&tombstone),
        ];
        let [Some(told), Some(tombstone)] = all else {
            return Err(Condition::BadRequest.into());
        };
        for (_, client) in self.clients() {
            out.send(&told, &client.jid);
        }
        Ok(Answer::Moderate(id, tombstone, out))
    }

    /// What was taken back is no longer shown to those who enter.
    pub fn forget_said(&mut self, id: u64) {
        self.history.retain(|(at, _)| *at != id);
    }
}
