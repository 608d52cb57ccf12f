//! Where a stanza goes by its `to`.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use omnid_telemetry::limited;

use super::{accounts::Cell, server::Server};
use crate::{
    engine::{
        account::{SessionId, bounce, bounce_with, from_blocked},
        subscription::Request,
        wish::{Wish, Wishes},
    },
    features::{Asked, Reply, To},
    wire::{BareJid, Condition, Element, IqType, Jid, Kind, PresenceType, Stanza, StanzaError, ns},
};

/// Messages to the one who asks, and then the result.
pub(crate) fn page(iq: &Stanza, messages: Vec<Element>, payload: Element) -> Wishes {
    answers(iq, messages, Some(payload))
}

fn answers(iq: &Stanza, messages: Vec<Element>, payload: Option<Element>) -> Wishes {
    let mut wishes = Wishes::new();
    for mut message in messages {
        if let Some(from) = iq.to() {
            message.set_attr("from", from.as_str());
        }
        if let Some(to) = iq.from() {
            message.set_attr("to", to.as_str());
        }
        wishes.extend(Wish::route(&message));
    }
    let result = iq.result().children_from(payload);
    wishes.extend(Wish::route(&result));
    wishes
}

impl Server {
    /// Sends a stanza on. What comes of it, for the caller to carry out.
    pub(crate) async fn route(&self, stanza: Stanza) -> Wishes {
        let Some(to) = stanza.to().cloned() else {
            return Wishes::new();
        };
        if self.has_rooms(to.domain()) {
            return Box::pin(self.to_room(&to, &stanza)).await;
        }
        // The way that nearly every stanza goes: nothing to wait for.
        let cell = match self.accounts.get(to.bare_str()) {
            Some(cell) => cell,
            None => match self.resolve(&to, &stanza).await {
                Ok(cell) => cell,
                Err(wishes) => return wishes,
            },
        };
        if stanza.from().is_some_and(|from| cell.live().blocks(from)) {
            return from_blocked(&stanza);
        }
        match stanza.kind() {
            Kind::Message(_) => {
                if !self.archive.has_room() {
                    return bounce(&stanza, Condition::ResourceConstraint);
                }
                let (wishes, archived) = {
                    let live = cell.live();
                    let (stanza, archived) = self.received(&live, &stanza);
                    (live.message(&stanza), archived)
                };
                if let Some(archived) = archived {
                    self.archive(archived);
                }
                if wishes.iter().any(|wish| matches!(wish, Wish::Send(..))) {
                    self.tell(&stanza, false);
                }
                wishes
            }
            Kind::Iq(kind) if to.is_bare() => match kind {
                IqType::Get | IqType::Set => {
                    Box::pin(self.answer(&stanza, Some(&cell), None)).await
                }
                IqType::Result => Box::pin(self.answered(&cell, &stanza)).await,
                IqType::Error => Wishes::new(),
            },
            Kind::Iq(_) => cell.live().iq(&stanza),
            Kind::Presence(PresenceType::Probe) => {
                let Some(from) = stanza.from() else {
                    return Wishes::new();
                };
                cell.live().probe(from)
            }
            Kind::Presence(kind) => match Request::from_type(kind) {
                Some(request) => {
                    let now = SystemTime::now();
                    let plan = self
                        .change(
                            &cell,
                            |account| Ok(account.requested(request, &stanza, now)),
                        )
                        .await;
                    plan.unwrap_or_else(|error| bounce_with(&stanza, &error))
                }
                None => {
                    let mut wishes = cell.live().presence(&stanza);
                    wishes.extend(Box::pin(self.seen(&cell, &stanza)).await);
                    wishes
                }
            },
        }
    }

    /// The account behind an address that is not in use, or what to do where there is none.
    async fn resolve(&self, to: &Jid, stanza: &Stanza) -> Result<Arc<Cell>, Wishes> {
        if !self.serves(to.domain()) {
            return Err(match stanza.kind() {
                // Presence to a domain that can't be reached vanishes, but for requests.
                Kind::Presence(kind) if Request::from_type(kind).is_none() => Wishes::new(),
                _ => bounce(stanza, Condition::RemoteServerNotFound),
            });
        }
        if to.local().is_none() {
            return Err(match stanza.kind() {
                Kind::Iq(IqType::Get | IqType::Set) => {
                    Box::pin(self.answer(stanza, None, None)).await
                }
                Kind::Message(_) => bounce(stanza, Condition::ServiceUnavailable),
                _ => Wishes::new(),
            });
        }
        match self.account(&to.to_bare()).await {
            Ok(Some(cell)) => Ok(cell),
            // RFC 6121 8.5.1: as of an account that takes nothing.
            Ok(None) => Err(match stanza.kind() {
                Kind::Presence(_) => Wishes::new(),
                _ => bounce(stanza, Condition::ServiceUnavailable),
            }),
            Err(error) => {
                limited!(Duration::from_secs(10), error, "an account was not read", %error);
                Err(bounce(stanza, Condition::InternalServerError))
            }
        }
    }

    /// Asks a contact for its presence when a session of `from` becomes available.
    pub(crate) async fn probe(&self, from: &Jid, contact: &BareJid) -> Wishes {
        if let Some(cell) = self.accounts.get(contact.as_str()) {
            let live = cell.live();
            if live.blocks(from) {
                return Wishes::new();
            }
            return live.probe(from);
        }
        if self.serves(contact.domain()) {
            // No session there, and the asker's roster says that it may know: no need to load an
            // account only to find that it is away.
            let away = Element::new("presence", ns::CLIENT)
                .attr("type", "unavailable")
                .attr("from", contact.as_str())
                .attr("to", from.as_str());
            return Wish::route(&away).into_iter().collect();
        }
        Wishes::new()
    }

    /// The answer to a request that the server or one of its accounts is asked; and whatever else
    /// the request brings about.
    pub(crate) async fn answer(
        &self,
        iq: &Stanza,
        cell: Option<&Arc<Cell>>,
        session: Option<SessionId>,
    ) -> Wishes {
        match self.reply(iq, cell, session).await {
            Ok((messages, payload, more)) => {
                let mut wishes = answers(iq, messages, payload);
                wishes.extend(more);
                wishes
            }
            Err(error) => bounce_with(iq, &error),
        }
    }

    async fn reply(
        &self,
        iq: &Stanza,
        cell: Option<&Arc<Cell>>,
        session: Option<SessionId>,
    ) -> Result<(Vec<Element>, Option<Element>, Wishes), StanzaError> {
        let mut reply = self.ask(iq, cell, session)?;
        let failed = |error| {
            limited!(Duration::from_secs(10), error, "a request failed", %error);
            StanzaError::from(Condition::InternalServerError)
        };
        // Each step looks or writes once; no feature needs more than a few.
        for _ in 0..8 {
            reply = match reply {
                Reply::Result(payload) => return Ok((Vec::new(), payload, Wishes::new())),
                Reply::Error(error) => return Err(error),
                Reply::Read(read) => self.ground.database.read(read).await.map_err(failed)?,
                Reply::Write(write) => self.ground.database.write(write).await.map_err(failed)?,
                Reply::Account(deed) => {
                    let cell = cell.ok_or(Condition::ServiceUnavailable)?;
                    deed(&mut cell.live())
                }
                Reply::Done(payload, wishes) => return Ok((Vec::new(), payload, wishes)),
                Reply::Page(messages, payload) => {
                    return Ok((messages, Some(payload), Wishes::new()));
                }
                Reply::Change(change) => {
                    let cell = cell.ok_or(Condition::ServiceUnavailable)?;
                    let wishes = self.change(cell, change).await?;
                    return Ok((Vec::new(), None, wishes));
                }
            };
        }
        Err(Condition::InternalServerError.into())
    }

    /// Has the feature answer that the request is for.
    fn ask(
        &self,
        iq: &Stanza,
        cell: Option<&Arc<Cell>>,
        session: Option<SessionId>,
    ) -> Result<Reply, StanzaError> {
        // RFC 6120 8.2.3: a request has exactly one payload.
        if iq.children().count() != 1 {
            return Err(Condition::BadRequest.into());
        }
        let settings = self.settings.load();
        let from = iq.from().ok_or(Condition::BadRequest)?;
        let own = cell.is_some_and(|cell| cell.live().jid().as_str() == from.bare_str());
        let fits = |to| match to {
            To::Server => cell.is_none(),
            To::Own => own,
            To::Anybody => cell.is_some(),
        };
        let (_, namespace) = iq.payload().ok_or(Condition::BadRequest)?;
        let handler = settings
            .features
            .find(namespace, fits)
            .ok_or(Condition::ServiceUnavailable)?;
        let tree = iq.to_element().map_err(|_| Condition::BadRequest)?;
        let query = tree.children().next().ok_or(Condition::BadRequest)?;
        let mut live = cell.map(|cell| cell.live());
        Ok((handler.answer)(&mut Asked {
            iq,
            query,
            set: iq.kind() == Kind::Iq(IqType::Set),
            from,
            account: live.as_deref_mut(),
            session: session.filter(|_| own),
            features: &settings.features,
            config: &settings.config,
            local: settings.hosts.contains(from.domain()) && from.local().is_some(),
            neighbours: &settings.rooms,
            now: SystemTime::now(),
            uptime: self.started.elapsed(),
        }))
    }
}
