//! What moderators, admins and owners do (sections 8 to 10).

use super::{AFFILIATIONS, Affiliation, Change, Outcome, Role, Room, refuse};
use crate::wire::{Condition, Element, Jid, StanzaError, form::Form, ns};

/// Items of one request.
const ITEMS: usize = 500;

/// One change that is asked for.
enum Wanted {
    Role { nick: String, role: Role },
    Affiliation { jid: Jid, affiliation: Affiliation },
}

impl Room {
    /// 9.5 and others: a list.
    pub(super) fn list(&self, query: &Element, from: &Jid) -> Result<Element, StanzaError> {
        let item = query
            .get_child("item", ns::MUC_ADMIN)
            .ok_or(Condition::BadRequest)?;
        let asker = self.affiliation(from.bare_str());
        let role = self.of(from).map_or(Role::None, |occupant| occupant.role);
        let mut list = Vec::new();
        if let Some(name) = item.get_attr("affiliation") {
            let wanted = Affiliation::from_name(name).ok_or(Condition::BadRequest)?;
            // Members may know each other where everybody does.
            let open = wanted >= Affiliation::Member
                && !self.kept.config.anonymous
                && asker >= Affiliation::Member;
            if asker < Affiliation::Admin && !open {
                return Err(Condition::Forbidden.into());
            }
            let all = self.kept.affiliations.iter();
            for (bare, affiliation) in all.filter(|(_, affiliation)| **affiliation == wanted) {
                let occupant = self
                    .occupants
                    .iter()
                    .find(|occupant| occupant.bare() == bare);
                list.push(
                    Element::new("item", ns::MUC_ADMIN)
                        .attr("affiliation", affiliation.as_str())
                        .attr("jid", bare.as_str())
                        .attr_opt("nick", occupant.map(|occupant| occupant.nick.as_str())),
                );
            }
        } else {
            let wanted = item.get_attr("role").and_then(Role::from_name);
            let wanted = wanted.ok_or(Condition::BadRequest)?;
            if role < Role::Moderator {
                return Err(Condition::Forbidden.into());
            }
            for occupant in self
                .occupants
                .iter()
                .filter(|occupant| occupant.role == wanted)
            {
                let jid = occupant.clients.last().map(|client| client.jid.as_str());
                list.push(
                    Element::new("item", ns::MUC_ADMIN)
                        .attr("affiliation", self.affiliation(occupant.bare()).as_str())
                        .attr("role", occupant.role.as_str())
                        .attr("nick", occupant.nick.as_str())
                        .attr_opt("jid", jid),
                );
            }
        }
        Ok(Element::new("query", ns::MUC_ADMIN).children_from(list))
    }

    /// Changes of roles and affiliations: all of them or none.
    pub(super) fn administer(
        &mut self,
        query: &Element,
        from: &Jid,
    ) -> Result<Outcome, StanzaError> {
        let mut changes = Vec::new();
        let items = query
            .children()
            .filter(|item| item.is("item", ns::MUC_ADMIN));
        for item in items {
            if changes.len() >= ITEMS {
                return Err(Condition::ResourceConstraint.into());
            }
            let reason = item
                .get_child("reason", ns::MUC_ADMIN)
                .map(Element::text_content);
            let wanted = self.wanted(item)?;
            self.permit(&wanted, from)?;
            changes.push((wanted, reason));
        }
        if changes.is_empty() {
            return Err(Condition::BadRequest.into());
        }
        self.possible(&changes)?;
        let actor = self.of(from).map(|occupant| occupant.nick.clone());
        let mut out = Outcome::default();
        for (wanted, reason) in changes {
            match wanted {
                Wanted::Role { nick, role } => {
                    self.change_role(&nick, role, actor.as_deref(), reason, &mut out);
                }
                Wanted::Affiliation { jid, affiliation } => {
                    self.change_affiliation(
                        jid.bare_str(),
                        affiliation,
                        actor.as_deref(),
                        reason.as_deref(),
                        &mut out,
                    );
                }
            }
        }
        Ok(self.finish(out))
    }

    /// Whether the room could be as it would be after all of the changes.
    fn possible(&self, changes: &[(Wanted, Option<String>)]) -> Result<(), StanzaError> {
        let before = &self.kept.affiliations;
        let mut after = before.clone();
        for (wanted, _) in changes {
            match wanted {
                Wanted::Affiliation {
                    jid,
                    affiliation: Affiliation::None,
                } => after.remove(jid.bare_str()),
                Wanted::Affiliation { jid, affiliation } => {
                    after.insert(jid.bare_str().to_owned(), *affiliation)
                }
                Wanted::Role { .. } => None,
            };
        }
        if after.len() > AFFILIATIONS.max(before.len()) {
            return Err(Condition::ResourceConstraint.into());
        }
        // 10.7: somebody must own it.
        if !after.values().any(|one| *one == Affiliation::Owner) {
            return refuse(Condition::Conflict, "the last owner");
        }
        Ok(())
    }

    fn wanted(&self, item: &Element) -> Result<Wanted, StanzaError> {
        let nick = item.get_attr("nick");
        if let Some(name) = item.get_attr("affiliation") {
            let affiliation = Affiliation::from_name(name).ok_or(Condition::BadRequest)?;
            let jid = match (item.get_attr("jid"), nick) {
                (Some(jid), _) => Jid::new(jid).map_err(|_| Condition::JidMalformed)?,
                (None, Some(nick)) => {
                    let occupant = self.by_nick(nick).ok_or(Condition::ItemNotFound)?;
                    Jid::new(occupant.bare()).map_err(|_| Condition::ItemNotFound)?
                }
                (None, None) => return Err(Condition::BadRequest.into()),
            };
            return Ok(Wanted::Affiliation { jid, affiliation });
        }
        let role = item.get_attr("role").and_then(Role::from_name);
        let (Some(role), Some(nick)) = (role, nick) else {
            return Err(Condition::BadRequest.into());
        };
        if self.by_nick(nick).is_none() {
            return Err(Condition::ItemNotFound.into());
        }
        Ok(Wanted::Role {
            nick: nick.to_owned(),
            role,
        })
    }

    /// Whether `from` may do that (tables 6 and 8 of section 5).
    fn permit(&self, wanted: &Wanted, from: &Jid) -> Result<(), StanzaError> {
        let mine = self.affiliation(from.bare_str());
        let role = self.of(from).map_or(Role::None, |occupant| occupant.role);
        match wanted {
            Wanted::Role { nick, role: to } => {
                let target = self.by_nick(nick).ok_or(Condition::ItemNotFound)?;
                let theirs = self.affiliation(target.bare());
                if role < Role::Moderator {
                    return Err(Condition::Forbidden.into());
                }
                // 8.2: nobody is kicked or silenced by one below them. Nor by an equal, but by
                // oneself.
                let above = theirs >= Affiliation::Admin && theirs >= mine;
                if above && target.bare() != from.bare_str() {
                    return refuse(Condition::NotAllowed, "they have a higher affiliation");
                }
                let appoints = *to == Role::Moderator || target.role == Role::Moderator;
                if appoints && mine < Affiliation::Admin && *to != Role::None {
                    return refuse(Condition::Forbidden, "admins appoint moderators");
                }
                Ok(())
            }
            Wanted::Affiliation { jid, affiliation } => {
                let theirs = self.affiliation(jid.bare_str());
                let allowed = match mine {
                    Affiliation::Owner => true,
                    Affiliation::Admin => {
                        theirs < Affiliation::Admin && *affiliation < Affiliation::Admin
                    }
                    _ => false,
                };
                if !allowed {
                    let condition = if mine == Affiliation::Admin {
                        Condition::NotAllowed
                    } else {
                        Condition::Forbidden
                    };
                    return Err(condition.into());
                }
                Ok(())
            }
        }
    }

    fn change_role(
        &mut self,
        nick: &str,
        role: Role,
        actor: Option<&str>,
        reason: Option<String>,
        out: &mut Outcome,
    ) {
        let Some(at) = self
            .occupants
            .iter()
            .position(|occupant| occupant.nick == nick)
        else {
            return;
        };
        if role == Role::None {
            let change = Change {
                status: &[307],
                actor,
                reason,
                ..Change::default()
            };
            return self.remove(at, &change, out);
        }
        if let Some(occupant) = self.occupants.get_mut(at) {
            occupant.role = role;
        }
        if let Some(occupant) = self.occupants.get(at) {
            let change = Change {
                actor,
                reason,
                ..Change::default()
            };
            self.show(occupant, &change, out);
        }
    }

    fn change_affiliation(
        &mut self,
        bare: &str,
        affiliation: Affiliation,
        actor: Option<&str>,
        reason: Option<&str>,
        out: &mut Outcome,
    ) {
        self.set_affiliation(bare, affiliation);
        out.keep = true;
        let shut_out = match affiliation {
            Affiliation::Outcast => Some(&[301_u16]),
            Affiliation::None if self.kept.config.members_only => Some(&[321_u16]),
            _ => None,
        };
        let role = self.role_for(affiliation);
        // From the back, because some are taken out.
        for at in (0..self.occupants.len()).rev() {
            if self
                .occupants
                .get(at)
                .is_none_or(|occupant| occupant.bare() != bare)
            {
                continue;
            }
            let change = Change {
                status: shut_out.map(|codes| &codes[..]).unwrap_or_default(),
                actor,
                reason: reason.map(ToOwned::to_owned),
                ..Change::default()
            };
            if shut_out.is_some() {
                self.remove(at, &change, out);
                continue;
            }
            if let Some(occupant) = self.occupants.get_mut(at) {
                occupant.role = role;
            }
            if let Some(occupant) = self.occupants.get(at) {
                self.show(occupant, &change, out);
            }
        }
    }

    /// 10.2 and 10.9: an owner configures the room, or destroys it.
    pub(super) fn own(&mut self, query: &Element, from: &Jid) -> Result<Outcome, StanzaError> {
        self.owner(from)?;
        if let Some(destroy) = query.get_child("destroy", ns::MUC_OWNER) {
            return Ok(self.destroy(destroy));
        }
        let mut out = Outcome::default();
        let x = query
            .get_child("x", ns::DATA_FORMS)
            .ok_or(Condition::BadRequest)?;
        if x.get_attr("type") == Some("cancel") {
            return Ok(out);
        }
        let form = Form::parse(x).ok_or(Condition::BadRequest)?;
        let before = self.kept.config.clone();
        self.kept.config = before.with(&form)?;
        let now = &self.kept.config;
        out.keep = *now != before;
        let mut codes = Vec::new();
        match (before.anonymous, now.anonymous) {
            (true, false) => codes.push(172),
            (false, true) => codes.push(173),
            _ => {}
        }
        match (before.archive, now.archive) {
            (false, true) => codes.push(170),
            (true, false) => codes.push(171),
            _ => {}
        }
        let plain = |config: &super::RoomConfig| super::RoomConfig {
            anonymous: true,
            archive: true,
            ..config.clone()
        };
        if plain(now) != plain(&before) {
            codes.push(104);
        }
        let (closes, moderates) = (
            now.members_only && !before.members_only,
            now.moderated != before.moderated,
        );
        if closes {
            for at in (0..self.occupants.len()).rev() {
                let stays = self.occupants.get(at).is_none_or(|occupant| {
                    self.affiliation(occupant.bare()) >= Affiliation::Member
                });
                if !stays {
                    let change = Change {
                        status: &[322],
                        ..Change::default()
                    };
                    self.remove(at, &change, &mut out);
                }
            }
        }
        if moderates {
            for at in 0..self.occupants.len() {
                let Some(occupant) = self.occupants.get(at) else {
                    continue;
                };
                let affiliation = self.affiliation(occupant.bare());
                let role = self.role_for(affiliation);
                if affiliation == Affiliation::None
                    && occupant.role != Role::Moderator
                    && occupant.role != role
                {
                    if let Some(occupant) = self.occupants.get_mut(at) {
                        occupant.role = role;
                    }
                    if let Some(occupant) = self.occupants.get(at) {
                        self.show(occupant, &Change::default(), &mut out);
                    }
                }
            }
        }
        self.announce(&codes, &mut out);
        Ok(self.finish(out))
    }

    fn destroy(&mut self, destroy: &Element) -> Outcome {
        let mut out = Outcome::default();
        let jid = destroy.get_attr("jid").filter(|jid| Jid::new(jid).is_ok());
        let reason = destroy
            .get_child("reason", ns::MUC_OWNER)
            .map(Element::text_content);
        let reason = reason.map(|reason| Element::new("reason", ns::MUC_USER).text(reason));
        let told = Element::new("destroy", ns::MUC_USER)
            .attr_opt("jid", jid)
            .children_from(reason);
        let change = Change {
            leaves: true,
            destroy: Some(&told),
            ..Change::default()
        };
        // Each hears of oneself only: there is nobody left to hear of others.
        let occupants = std::mem::take(&mut self.occupants);
        for occupant in occupants {
            self.occupants = vec![occupant];
            if let Some(occupant) = self.occupants.first() {
                self.show(occupant, &change, &mut out);
            }
        }
        self.occupants = Vec::new();
        out.gone = true;
        out
    }
}
