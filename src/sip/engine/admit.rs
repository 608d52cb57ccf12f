//! What becomes of a request that begins something: refused, answered by us, or passed on.
//!
//! The order is RFC 3261's (16.3, 16.4, 8.2): what is wrong with the request itself comes before
//! who sent it, and that before where it goes. Nobody who has not shown who they are learns which
//! users exist, and nobody at all gets a request through us to anywhere but a user of ours, or the
//! other end of a dialog that we let begin.

use std::sync::Arc;

use omnid_identity::{Address, DigestAlgorithm};

use super::{
    Action, Binding, Decision, Engine, Fact, Flow, Question, Settings, Turn,
    forward::Passing,
    proxy::Target,
    registrar::{self, Refusal},
    reply::Reply,
};
use crate::{
    plan::{Caller, Then},
    wire::{HeaderName, Message, Method, SipUri, Uri},
};

/// What is to become of a request.
pub(super) enum Plan {
    Reply(Reply),
    Ask(Box<Question>),
    Pass(Box<Pass>),
}

/// How a request is passed on, and where to.
pub(super) struct Pass {
    pub(super) passing: Passing,
    pub(super) targets: Vec<Target>,
    /// What follows where none of them takes it, and whether they are nothing to each other.
    pub(super) then: Vec<Then>,
    pub(super) apart: bool,
    /// Who calls, where that is known.
    pub(super) from: Option<String>,
    /// The address that was called, where it is one of ours.
    pub(super) to: Option<String>,
}

impl From<Reply> for Plan {
    fn from(reply: Reply) -> Self {
        Self::Reply(reply)
    }
}

/// What is known about a request so far.
#[derive(Debug, Clone, Default)]
pub(super) struct Facts {
    /// Whose it is.
    pub(super) account: Option<Address>,
    pub(super) secret: Option<Option<Box<[u8]>>>,
    secret_of: Option<(String, String, DigestAlgorithm)>,
    pub(super) refused: Option<std::time::Duration>,
    pub(super) reached: Option<Option<Address>>,
    decision: Option<Decision>,
    /// What a registration that is carried out is answered with once it is written down.
    registered: Option<Reply>,
    unknown: bool,
}

impl Facts {
    pub(super) fn asking(&mut self, question: &Question) {
        if let Question::Secret {
            username,
            realm,
            algorithm,
            ..
        } = question
        {
            self.secret_of = Some((username.clone(), realm.clone(), *algorithm));
        }
    }

    pub(super) fn asked_for(&self) -> Option<(&str, &str, DigestAlgorithm)> {
        self.secret_of
            .as_ref()
            .map(|(username, realm, algorithm)| (&**username, &**realm, *algorithm))
    }

    pub(super) fn learn(&mut self, fact: Fact) {
        match fact {
            Fact::Secret(secret) => self.secret = Some(secret),
            Fact::Refused(wait) => self.refused = Some(wait),
            Fact::Account(reached) => self.reached = Some(reached),
            Fact::Script(decision) => self.decision = Some(decision),
            Fact::Written => {}
            Fact::Unknown => self.unknown = true,
        }
    }
}

/// The methods that we answer ourselves or pass on, as `Allow` names them.
fn allow() -> Vec<u8> {
    let names: Vec<&str> = Method::KNOWN.iter().map(|(_, name)| *name).collect();
    names.join(", ").into_bytes()
}

impl Engine {
    pub(super) fn admit(
        &mut self,
        request: &Message,
        arrival: &Flow,
        facts: &mut Facts,
        turn: &mut Turn<'_>,
    ) -> Plan {
        if facts.unknown {
            return Reply::new(500).into();
        }
        if let Some(reply) = facts.registered.take() {
            return reply.into();
        }
        let (mut passing, uri_text) = match self.route(request, arrival, turn) {
            Ok(routed) => routed,
            Err(reply) => return reply.into(),
        };
        let Ok(uri) = Uri::parse(&uri_text) else {
            return Reply::unasked(400).into();
        };
        if request.value(HeaderName::ProxyRequire).is_some() {
            return unsupported(request, HeaderName::ProxyRequire).into();
        }
        if passing.leg.is_some() {
            return self.pass_along(request, arrival, passing, turn);
        }
        let settings = turn.settings;
        let sip = match &uri {
            Uri::Sip(sip) => sip,
            Uri::Tel { .. } | Uri::Other(_) => return Reply::unasked(416).into(),
        };
        if request.method() == Method::Register {
            return self.register(request, arrival, sip, facts, turn);
        }
        if !settings.is_us(sip, arrival) {
            // Whoever asks: we are nobody's way to elsewhere.
            return refuse_relay().into();
        }
        if sip.user.is_none() {
            return serve(request);
        }
        if request.method() == Method::Other
            && request.value(HeaderName::ProxyAuthorization).is_none()
        {
            // Passed on for our users, but not worth a challenge from a stranger.
            return Reply::unasked(501).with(HeaderName::Allow, &allow()).into();
        }
        let Some(domain) = settings.domain_of(sip, arrival).map(str::to_owned) else {
            return Reply::unasked(404).into();
        };
        if turn.draining && request.method() == Method::Invite {
            return Reply::new(503).with(HeaderName::RetryAfter, b"5").into();
        }
        if let Some((trunk, called)) = from_trunk(request, arrival, sip, turn) {
            let caller = Caller::Trunk(trunk);
            return self.place(called, caller, passing, request, facts, turn);
        }
        let realm = self
            .realm_of_sender(request, arrival, settings)
            .unwrap_or(domain);
        let proxy = HeaderName::ProxyAuthorization;
        if let Err(plan) = self.authenticate(request, arrival, proxy, &realm, facts, turn) {
            return plan;
        }
        let Some(account) = facts.account.clone() else {
            return Reply::new(500).into();
        };
        if sender(request, arrival, settings).as_ref() != Some(&account) {
            return Reply::because(403, "From Is Not Yours").into();
        }
        let mut called = settings.address_of(sip, arrival);
        match script(request, arrival, &account, facts, turn) {
            Ok(None) => {}
            Ok(Some(elsewhere)) => match redirected(&elsewhere, arrival, settings) {
                Some(address) => called = Some(address),
                None => {
                    return Reply::new(302)
                        .with(HeaderName::Contact, format!("<{elsewhere}>").as_bytes())
                        .into();
                }
            },
            Err(plan) => return plan,
        }
        let Some(called) = called else {
            return Reply::new(404).into();
        };
        if request.method() == Method::Invite {
            let caller = Caller::User(account);
            passing.realm = Some(realm);
            return self.place(called, caller, passing, request, facts, turn);
        }
        find(called, realm, passing, request, facts, turn)
    }

    fn register(
        &self,
        request: &Message,
        arrival: &Flow,
        uri: &SipUri<'_>,
        facts: &mut Facts,
        turn: &mut Turn<'_>,
    ) -> Plan {
        let settings = turn.settings;
        let Some(domain) = settings.domain_of(uri, arrival).map(str::to_owned) else {
            return refuse_relay().into();
        };
        if request.value(HeaderName::Require).is_some() {
            return unsupported(request, HeaderName::Require).into();
        }
        let to = match request.to().map(|to| to.uri) {
            Ok(Uri::Sip(to)) => settings.address_of(&to, arrival),
            Ok(_) => return Reply::unasked(400).into(),
            Err(_) => None,
        };
        let name = HeaderName::Authorization;
        if let Err(plan) = self.authenticate(request, arrival, name, &domain, facts, turn) {
            return plan;
        }
        let Some(account) = facts.account.clone() else {
            return Reply::new(500).into();
        };
        // RFC 3261 10.3 steps 4 and 5. Users register for themselves only.
        match to {
            Some(to) if to == account => {}
            Some(_) => return Reply::new(403).into(),
            None => return Reply::new(404).into(),
        }
        let policy = &settings.registrar;
        let outcome = registrar::register(
            &turn.shared.location,
            &account,
            request,
            arrival,
            policy,
            turn.unix,
        );
        match outcome {
            Ok(registered) => {
                if registered.added {
                    turn.actions.push(Action::Login {
                        name: account.to_string(),
                        source: arrival.remote.ip(),
                        succeeded: true,
                    });
                }
                let mut reply = Reply::new(200);
                for binding in &registered.bindings {
                    let left = binding.expires.saturating_sub(turn.unix);
                    let mut contact = format!("<{}>;expires={left}", binding.uri);
                    if binding.q < 1000 {
                        contact += &format!(";q=0.{:03}", binding.q);
                    }
                    reply.header(HeaderName::Contact, contact.as_bytes());
                }
                match registered.place {
                    // A phone that has its answer does not ask again for an hour: what it was told
                    // must not be lost, whatever happens to us.
                    Some(place) => {
                        facts.registered = Some(reply);
                        Plan::Ask(Box::new(Question::Written(place)))
                    }
                    None => reply.into(),
                }
            }
            Err(Refusal::Bad(reason)) => Reply::because(400, reason).into(),
            Err(Refusal::TooBrief(least)) => Reply::new(423)
                .with(HeaderName::MinExpires, least.to_string().as_bytes())
                .into(),
            Err(Refusal::TooMany) => Reply::because(403, "Too Many Contacts").into(),
            Err(Refusal::OutOfOrder) => Reply::because(500, "CSeq Out Of Order").into(),
        }
    }

    /// The domain of whoever From names, if it is one of ours: that is where they have a password.
    fn realm_of_sender(
        &self,
        request: &Message,
        arrival: &Flow,
        settings: &Settings,
    ) -> Option<String> {
        match request.from().ok()?.uri {
            Uri::Sip(from) => settings.domain_of(&from, arrival).map(str::to_owned),
            _ => None,
        }
    }
}

/// What a request asks of the server itself.
fn serve(request: &Message) -> Plan {
    match request.method() {
        Method::Options if request.value(HeaderName::Require).is_some() => {
            unsupported(request, HeaderName::Require).into()
        }
        Method::Options => Reply::unasked(200).with(HeaderName::Allow, &allow()).into(),
        Method::Other => Reply::unasked(501).with(HeaderName::Allow, &allow()).into(),
        Method::Subscribe | Method::Publish => Reply::unasked(489).into(),
        Method::Bye | Method::Update | Method::Info | Method::Prack | Method::Notify => {
            Reply::unasked(481).into()
        }
        _ => Reply::unasked(404).into(),
    }
}

pub(super) fn refuse_relay() -> Reply {
    Reply {
        reason: Some("Relaying Denied".into()),
        ..Reply::unasked(403)
    }
}

fn unsupported(request: &Message, name: HeaderName) -> Reply {
    let mut reply = Reply::unasked(420);
    for value in request.lines(name) {
        reply.header(HeaderName::Unsupported, value);
    }
    reply
}

/// Who From says the request is from, if it is one of ours.
fn sender(request: &Message, arrival: &Flow, settings: &Settings) -> Option<Address> {
    match request.from().ok()?.uri {
        Uri::Sip(from) => settings.address_of(&from, arrival),
        _ => None,
    }
}

/// The trunk that a call comes in through, and the number that is called there: from an address of
/// the trunk's, and to a number that a route is for.
fn from_trunk(
    request: &Message,
    arrival: &Flow,
    uri: &SipUri<'_>,
    turn: &Turn<'_>,
) -> Option<(usize, Address)> {
    let settings = turn.settings;
    if request.method() != Method::Invite
        || settings.trunks.is_empty()
        || request.value(HeaderName::ProxyAuthorization).is_some()
    {
        return None;
    }
    let called = settings.address_of(uri, arrival)?;
    let mut trunks = turn.shared.trunks.from(arrival.remote.ip(), settings);
    trunks.find_map(|index| {
        let trunk = settings.trunks.get(index)?;
        // What we have registered there as stands for all numbers; To has the one that was dialled.
        let registered = trunk
            .login
            .as_ref()
            .is_some_and(|(name, _)| name == called.user());
        let dialled = match request.to().ok()?.uri {
            Uri::Sip(to) if registered => to.user_text(),
            Uri::Tel { number, .. } if registered => Some(
                String::from_utf8_lossy(number)
                    .replace(['-', '.', '(', ')'], "")
                    .into(),
            ),
            _ => None,
        };
        let dialled = dialled.and_then(|user| Address::new(&user, called.domain()).ok());
        let candidates = dialled.into_iter().chain([called.clone()]);
        let mut candidates =
            candidates.filter(|called| settings.plan.takes_from(index, called.user()));
        Some((index, candidates.next()?))
    })
}

/// What a script says of a request: nothing, another URI for it, or what becomes of it instead.
fn script(
    request: &Message,
    arrival: &Flow,
    account: &Address,
    facts: &Facts,
    turn: &Turn<'_>,
) -> Result<Option<String>, Plan> {
    match &facts.decision {
        Some(Decision::Continue) => Ok(None),
        Some(Decision::Redirect(uri)) => Ok(Some(uri.clone())),
        Some(Decision::Refuse(status, reason)) => {
            let mut reply = Reply::new(*status);
            // A script's text must not become a header.
            if !reason.is_empty() && !reason.contains(['\r', '\n']) {
                reply.reason = Some(reason.clone().into());
            }
            Err(reply.into())
        }
        None if !turn.scripted => Ok(None),
        None => {
            let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
            let address = |address: Result<crate::wire::Address<'_>, _>| {
                address.map_or_else(|_| String::new(), |address| text(address.uri_text))
            };
            Err(Plan::Ask(Box::new(Question::Script {
                method: text(request.method_text()),
                from: address(request.from()),
                to: address(request.to()),
                uri: text(request.uri_text()),
                source: arrival.remote.ip(),
                user: Some(account.to_string()),
            })))
        }
    }
}

/// The user of ours that a script sends a request to instead.
fn redirected(elsewhere: &str, arrival: &Flow, settings: &Settings) -> Option<Address> {
    match Uri::parse(elsewhere.as_bytes()) {
        Ok(Uri::Sip(uri)) => settings.address_of(&uri, arrival),
        _ => None,
    }
}

/// Where a user is reached (RFC 3261 16.5).
fn find(
    called: Address,
    realm: String,
    mut passing: Passing,
    request: &Message,
    facts: &Facts,
    turn: &Turn<'_>,
) -> Plan {
    let account = match &facts.reached {
        Some(Some(account)) => account,
        Some(None) => return Reply::new(404).into(),
        None => &called,
    };
    let bindings = turn.shared.location.lookup(account, turn.unix);
    if bindings.is_empty() && facts.reached.is_none() {
        return Plan::Ask(Box::new(Question::Account(called)));
    }
    let targets = phones(account, bindings, turn);
    if targets.is_empty() {
        return Reply::new(480).into();
    }
    passing.realm = Some(realm);
    passing.record_route = matches!(request.method(), Method::Subscribe | Method::Refer);
    Plan::Pass(Box::new(Pass {
        passing,
        targets,
        then: Vec::new(),
        apart: false,
        from: facts.account.as_ref().map(Address::to_string),
        to: Some(called.to_string()),
    }))
}

/// An account's phones, as targets.
pub(super) fn phones(
    account: &Address,
    mut bindings: Vec<Arc<Binding>>,
    turn: &Turn<'_>,
) -> Vec<Target> {
    bindings.sort_by_key(|binding| std::cmp::Reverse(binding.q));
    let targets = bindings.iter().filter_map(|binding| {
        Some(Target {
            uri: Some(without_headers(binding.uri.as_bytes()).into()),
            rank: binding.q.into(),
            account: Some(account.clone()),
            ..Target::only(binding.destination(turn.alive)?)
        })
    });
    targets.take(turn.settings.forks).collect()
}

/// A contact may ask for headers; in a request's URI they are not allowed (RFC 3261 19.1.1), and to
/// obey them would let a phone write into others' requests.
fn without_headers(uri: &[u8]) -> &[u8] {
    match uri.iter().position(|byte| *byte == b'?') {
        // A `?` in the user part is part of it.
        Some(at) if !uri.get(at..).unwrap_or_default().contains(&b'@') => {
            uri.get(..at).unwrap_or(uri)
        }
        _ => uri,
    }
}
