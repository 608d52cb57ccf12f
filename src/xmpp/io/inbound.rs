//! What a bound client sends.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use omnid_script::Hook;
use omnid_telemetry::limited;
use serde_json::{Value, json};

use super::{
    accounts::Cell,
    outbox::Outbox,
    server::{Archived, Server, with_id},
};
use crate::{
    engine::{
        account::{Outlet, SessionId, bounce, bounce_with, to_blocked},
        subscription::Request,
        wish::{Wish, Wishes},
    },
    features::{csi, sm},
    wire::{
        Condition, Element, Flaw, Incoming, IqType, Jid, Kind, PresenceType, Scope, Stanza,
        StanzaError, StreamCondition, StreamError, ns,
        stanza::{self, Draft},
    },
};

/// One thing that a client sent.
pub(crate) enum Item {
    /// A stanza, stamped.
    Stanza(Stanza),
    /// A stanza that got no further than its root tag, and the answer to it.
    Refused(Option<Element>),
    /// Part of the stream itself.
    Element(Element),
    /// The stream is over, because of this.
    Fail(StreamError),
    /// The stream is over.
    Goodbye,
}

/// Reads a first-level element of a bound client's stream.
pub(crate) fn read(bytes: &[u8], scope: &Scope, jid: &Jid, lang: Option<&str>) -> Item {
    match stanza::read(bytes, scope) {
        Ok(Incoming::Stanza(draft)) => admit(draft, jid, lang),
        Ok(Incoming::Element(element)) => Item::Element(element),
        Err(flaw) => Item::Fail(Flaw::into(flaw)),
    }
}

/// RFC 6120 8.1.2.1: a client can only be itself.
fn admit(draft: Draft<'_>, jid: &Jid, lang: Option<&str>) -> Item {
    match draft.from() {
        Ok(None) => {}
        Ok(Some(from)) if from == *jid || from.as_str() == jid.bare_str() => {}
        _ => return Item::Fail(StreamCondition::InvalidFrom.into()),
    }
    let bare;
    let sender = match draft.kind() {
        // RFC 6121 3.1.2: subscriptions are the account's, not the session's.
        Ok(Kind::Presence(kind)) if Request::from_type(kind).is_some() => {
            bare = jid.to_bare();
            bare.as_jid()
        }
        _ => jid,
    };
    let (Ok(kind) | Err(kind)) = draft.kind();
    let id = draft.attribute("id").map(std::borrow::Cow::into_owned);
    let to = draft.attribute("to").map(std::borrow::Cow::into_owned);
    match draft.stamp(sender, lang) {
        Ok(stanza) => Item::Stanza(stanza),
        Err(error) => Item::Refused(refusal(kind, id, to, jid, &error)),
    }
}

fn refusal(
    kind: Kind,
    id: Option<String>,
    to: Option<String>,
    jid: &Jid,
    error: &StanzaError,
) -> Option<Element> {
    if kind.is_error() || kind == Kind::Iq(IqType::Result) {
        return None;
    }
    let element = Element::new(kind.name(), ns::CLIENT)
        .attr("type", "error")
        .attr_opt("id", id)
        .attr_opt("from", to.filter(|to| Jid::new(to).is_ok()))
        .attr("to", jid.as_str());
    Some(element.child(error.to_element()))
}

/// A session as the handling of its stanzas needs it.
pub(crate) struct Client {
    pub(crate) cell: Arc<Cell>,
    pub(crate) id: SessionId,
    pub(crate) jid: Jid,
    pub(crate) outbox: Arc<Outbox>,
}

impl Server {
    /// Delivers a stanza that needs nothing to be waited for: a message to somebody who is there.
    /// Nearly all are; for them no task state and no allocation is spent on what might be.
    ///
    /// # Errors
    /// The stanza, if it is for [`Server::handle`].
    pub(crate) fn quick(&self, client: &Client, stanza: Stanza) -> Result<(), Stanza> {
        let plain = match stanza.kind() {
            Kind::Message(_) => true,
            Kind::Iq(_) => stanza.to().is_some_and(|to| !to.is_bare()),
            Kind::Presence(_) => false,
        };
        if !plain || self.ground.scripts.hooked(Hook::XmppStanzaIn) {
            return Err(stanza);
        }
        let cell = stanza.to().and_then(|to| self.accounts.get(to.bare_str()));
        let Some(cell) = cell else { return Err(stanza) };
        if stanza.to().is_some_and(|to| client.cell.live().blocks(to))
            || cell.live().blocks(&client.jid)
        {
            return Err(stanza);
        }
        let is_message = is_message(&stanza);
        if is_message && !self.archive.has_room() {
            return Err(stanza);
        }
        let (wishes, received) = if is_message {
            let live = cell.live();
            let (received, archived) = self.received(&live, &stanza);
            (live.message(&received), archived)
        } else {
            (cell.live().iq(&stanza), None)
        };
        if wishes.is_empty() || !wishes.iter().all(|wish| matches!(wish, Wish::Send(..))) {
            return Err(stanza);
        }
        let mut sent = false;
        for wish in &wishes {
            if let Wish::Send(outlet, stanza) = wish {
                sent |= outlet.send(stanza);
            }
        }
        if !sent {
            return Err(stanza);
        }
        let (copies, sending) = self.sent(client, &stanza);
        for archived in [sending, received].into_iter().flatten() {
            client.outbox.archived(self.archive(archived));
        }
        for wish in copies {
            if let Wish::Send(outlet, copy) = wish {
                outlet.send(&copy);
            }
        }
        self.metrics.stanza(stanza.kind());
        if is_message {
            self.tell(&stanza, false);
        }
        Ok(())
    }

    /// Copies of a message that a client sends, for the others of its account, and its entry in
    /// the account's archive.
    fn sent(&self, client: &Client, stanza: &Stanza) -> (Wishes, Option<Archived>) {
        if !is_message(stanza) {
            return (Wishes::new(), None);
        }
        let live = client.cell.live();
        let archived = self.sending(&live, stanza);
        let copies = match &archived {
            // The others learn where it is in the archive.
            Some(archived) if live.sessions().len() > 1 => {
                let by = live.jid().as_str();
                live.sent(client.id, &with_id(stanza, by, archived.id()))
            }
            _ => live.sent(client.id, stanza),
        };
        (copies, archived)
    }

    /// Does what a client's stanza asks for. When it returns, what had to be kept is on disk.
    pub(crate) async fn handle(&self, client: &Client, stanza: Stanza) {
        self.metrics.stanza(stanza.kind());
        if self.ground.scripts.hooked(Hook::XmppStanzaIn) {
            match Box::pin(self.hook(client, &stanza)).await {
                Decision::GoOn => {}
                Decision::Instead(wishes) => return self.apply(wishes).await,
            }
        }
        let blocked = |to| client.cell.live().blocks(to);
        if stanza.to().is_some_and(blocked) && may_not_reach(stanza.kind()) {
            if let Some(refusal) = to_blocked(&stanza) {
                client.outbox.send(&refusal);
            }
            return;
        }
        let is_message = is_message(&stanza);
        let wishes = match (stanza.kind(), stanza.to()) {
            (Kind::Message(_), to) => {
                if !self.archive.has_room() {
                    return self
                        .apply(bounce(&stanza, Condition::ResourceConstraint))
                        .await;
                }
                let (mut wishes, archived) = self.sent(client, &stanza);
                if let Some(archived) = archived {
                    client.outbox.archived(self.archive(archived));
                }
                // RFC 6120 10.3.1: a message to nobody is to the sender's own account.
                let routed = match to {
                    Some(_) => stanza,
                    None => stanza.with_to(&client.jid.to_bare()),
                };
                wishes.insert(0, Wish::Route(routed));
                wishes
            }
            (Kind::Presence(kind), to) => {
                Box::pin(self.presence(client, kind, to.cloned(), &stanza)).await
            }
            (Kind::Iq(_), _) if !self.settle(client).await => Wishes::new(),
            (Kind::Iq(kind), to) if is_own(to, &client.jid) => match kind {
                IqType::Get | IqType::Set => {
                    Box::pin(self.answer(&stanza, Some(&client.cell), Some(client.id))).await
                }
                // Answers to roster pushes are waited for by nobody, others may be.
                IqType::Result => Box::pin(self.answered(&client.cell, &stanza)).await,
                IqType::Error => Wishes::new(),
            },
            _ => Wishes::from_iter([Wish::Route(stanza)]),
        };
        self.apply(wishes).await;
        if is_message {
            // What it made in the receivers' archives counts too.
            client.outbox.archived(self.archive.count());
        }
    }

    /// Returns when what the client's messages brought into archives is on disk, so that an answer
    /// means that. If it can't be written the stream ends: the client can't go on believing it.
    pub(crate) async fn settle(&self, client: &Client) -> bool {
        let settled = self.archive.settled(client.outbox.last_archived()).await;
        if !settled {
            client
                .outbox
                .close(StreamCondition::InternalServerError.into());
        }
        settled
    }

    async fn presence(
        &self,
        client: &Client,
        kind: PresenceType,
        to: Option<Jid>,
        stanza: &Stanza,
    ) -> Wishes {
        let done = match (Request::from_type(kind), to) {
            (Some(request), Some(_)) => {
                let now = SystemTime::now();
                self.change(&client.cell, |account| {
                    account.request(request, stanza, now)
                })
                .await
            }
            (_, None) => {
                let done = client.cell.live().broadcast(client.id, stanza);
                match done {
                    Ok(mut wishes) => {
                        wishes.extend(self.seen(&client.cell, stanza).await);
                        Ok(wishes)
                    }
                    error => error,
                }
            }
            (None, Some(_)) => {
                let noted = client.cell.live().directed(client.id, stanza);
                noted.map(|()| Wishes::from_iter([Wish::Route(stanza.clone())]))
            }
        };
        done.unwrap_or_else(|error| {
            // The sender is the session, whatever the stanza is stamped with.
            let id = stanza.id().map(std::borrow::Cow::into_owned);
            let to = stanza.to().map(ToString::to_string);
            let refusal = refusal(stanza.kind(), id, to, &client.jid, &error);
            refusal.as_ref().and_then(Wish::route).into_iter().collect()
        })
    }

    // ----- Lua -----

    /// Asks the scripts about a stanza.
    async fn hook(&self, client: &Client, stanza: &Stanza) -> Decision {
        let tree = stanza.to_element().ok();
        let body = tree
            .as_ref()
            .and_then(|tree| tree.get_child("body", ns::CLIENT));
        let arguments = json!({
            "kind": stanza.kind().name(),
            "type": stanza.kind().type_str(),
            "from": client.jid.as_str(),
            "to": stanza.to().map(Jid::as_str),
            "id": stanza.id(),
            "body": body.map(Element::text_content),
            "xml": String::from_utf8_lossy(&stanza.bytes()),
        });
        match self
            .ground
            .scripts
            .call(Hook::XmppStanzaIn, arguments)
            .await
        {
            Ok(None) => Decision::GoOn,
            Ok(Some(decision)) => decide(stanza, &client.jid, &decision),
            Err(error) => {
                // The script's own setting has decided whether an error denies.
                limited!(Duration::from_secs(10), warn, "a script refused a stanza", %error);
                let denied = StanzaError::from(Condition::InternalServerError);
                Decision::Instead(bounce_with(stanza, &denied))
            }
        }
    }
}

/// What the scripts want.
enum Decision {
    GoOn,
    Instead(Wishes),
}

/// Reads a script's decision: `{drop = true}`, `{error = "condition"}` or `{reply = "text"}`.
fn decide(stanza: &Stanza, sender: &Jid, decision: &Value) -> Decision {
    if decision.get("drop").and_then(Value::as_bool) == Some(true) {
        return Decision::Instead(Wishes::new());
    }
    if let Some(name) = decision.get("error").and_then(Value::as_str) {
        let condition = Condition::from_name(name).unwrap_or(Condition::NotAllowed);
        return Decision::Instead(bounce_with(stanza, &condition.into()));
    }
    if let Some(text) = decision.get("reply").and_then(Value::as_str) {
        let answer = Element::new("message", ns::CLIENT)
            .attr_opt(
                "type",
                stanza.kind().type_str().filter(|_| is_message(stanza)),
            )
            .attr_opt("from", stanza.to().map(Jid::as_str))
            .attr("to", sender.as_str())
            .child(Element::new("body", ns::CLIENT).text(text));
        return Decision::Instead(Wish::route(&answer).into_iter().collect());
    }
    Decision::GoOn
}

fn is_message(stanza: &Stanza) -> bool {
    matches!(stanza.kind(), Kind::Message(_))
}

/// Whether a client can't send a stanza of that kind to whom its account blocks (XEP-0191 3.2):
/// that it is gone, or that there is no subscription, it can always say.
fn may_not_reach(kind: Kind) -> bool {
    match kind {
        Kind::Presence(kind) => matches!(kind, PresenceType::Available | PresenceType::Subscribe),
        Kind::Iq(kind) => matches!(kind, IqType::Get | IqType::Set),
        Kind::Message(_) => true,
    }
}

/// Whether an iq is for the sender's own account (RFC 6120 10.3.3).
fn is_own(to: Option<&Jid>, jid: &Jid) -> bool {
    to.is_none_or(|to| to.as_str() == jid.bare_str())
}

/// Parts of the stream that a bound client can send.
impl Server {
    /// Stream management (XEP-0198); anything else ends the stream.
    pub(crate) async fn element(&self, client: &Client, element: &Element) {
        let number = |name| {
            element
                .get_attr(name)
                .and_then(|value| value.parse::<u32>().ok())
        };
        match (element.ns(), element.name()) {
            (ns::SM, "r") => {
                if self.settle(client).await {
                    client.outbox.answer();
                }
            }
            (ns::SM, "a") => {
                let Some(handled) = number("h") else { return };
                if let Err(error) = client.outbox.acknowledge(handled) {
                    client.outbox.close(StreamError::new(
                        StreamCondition::UndefinedCondition,
                        format!(
                            "{} stanzas acknowledged, {} sent",
                            error.handled, error.sent
                        ),
                    ));
                }
            }
            (ns::SM, "enable") => self.enable(client, element),
            (ns::CSI, state @ ("active" | "inactive"))
                if self.settings.load().features.has(csi::NAME) =>
            {
                client.outbox.inactive(state == "inactive");
            }
            (ns::SM, "resume") => client.outbox.write(UNEXPECTED),
            _ => client
                .outbox
                .close(StreamCondition::UnsupportedStanzaType.into()),
        }
    }

    /// What a client is told for which stream management begins, and what resumes its session if
    /// it `wants` that.
    pub(crate) fn enabled(&self, wants: bool) -> (Element, Option<Arc<str>>) {
        let longest = self.settings.load().config.resume_timeout;
        let token: Option<Arc<str>> =
            (wants && !longest.is_zero()).then(|| super::server::token().into());
        let mut enabled = Element::new("enabled", ns::SM);
        if let Some(token) = &token {
            enabled.set_attr("id", &**token);
            enabled.set_attr("resume", "true");
            enabled.set_attr("max", longest.as_secs().to_string());
        }
        (enabled, token)
    }

    fn enable(&self, client: &Client, element: &Element) {
        if !self.settings.load().features.has(sm::NAME) {
            client.outbox.write(UNAVAILABLE);
            return;
        }
        let wants = matches!(element.get_attr("resume"), Some("true" | "1"));
        let (enabled, token) = self.enabled(wants);
        if !client.outbox.manage(token.clone(), &enabled.to_client()) {
            client.outbox.write(UNEXPECTED);
            return;
        }
        if let Some(token) = token {
            self.allow_resume(token, client.id);
        }
    }
}

const UNAVAILABLE: &str = "<failed xmlns='urn:xmpp:sm:3'><service-unavailable \
                           xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></failed>";
const UNEXPECTED: &str = "<failed xmlns='urn:xmpp:sm:3'><unexpected-request \
                          xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></failed>";
