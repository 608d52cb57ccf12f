//! The path of a query: bytes in, bytes out, nothing allocated.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::access::{Access, Who};
use super::chaos;
use super::deferred::{Deferred, Request};
use super::limit::{Alike, Verdict};
use super::lookup::{Lookup, Pending};
use super::policy::Requester;
use super::reply::{ExtendedError, Reply, bare_reply};
use super::signed::answer_signed;
use super::state::{Settings, State};
use super::transfer::Transfer;
use super::trie::Key;
use super::zones::{ZoneId, Zones};
use crate::wire::code::{Class, Opcode, Rcode, RrType};
use crate::wire::name::{Name, NameRef};
use crate::wire::query::{Query, Question, Unreadable};
use crate::wire::reader::{Header, flag};
use crate::wire::record::OwnRecord;
use crate::wire::writer::{Compression, Layout, Owner, Section};

/// How a query came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Transport {
    /// A datagram.
    Udp,
    /// A TCP connection.
    Tcp,
    /// A TLS connection (RFC 7858).
    Tls,
    /// An HTTP request (RFC 8484).
    Https,
}

impl Transport {
    /// True where nobody on the way reads along: sizes are all that is to be seen (RFC 8467).
    pub fn is_encrypted(self) -> bool {
        matches!(self, Transport::Tls | Transport::Https)
    }

    /// True of a connection of its own, whose idle time is ours to tell of (RFC 7828 3.2).
    pub fn has_keepalive(self) -> bool {
        matches!(self, Transport::Tcp | Transport::Tls)
    }
}

/// What the connection that a client asks by tells of it.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Session {
    /// True if zones may go over it where they go over TLS only: TLS 1.3, with the protocol of DNS
    /// agreed on (RFC 9103 7.1).
    pub carries_zones: bool,
    /// Names in the client's certificate, which an authority has vouched for.
    pub names: Vec<Name>,
}

/// Who asks.
#[derive(Debug, Clone)]
pub struct Client {
    /// From where.
    pub address: IpAddr,
    /// How.
    pub transport: Transport,
    /// To which address, where that is known.
    pub local: Option<SocketAddr>,
    /// The number of the key that a signature of the request was checked with.
    pub key: Option<u16>,
    /// What its connection tells; nothing without TLS.
    pub session: Option<Arc<Session>>,
}

impl Client {
    /// One who has signed nothing yet.
    pub fn new(address: IpAddr, transport: Transport) -> Client {
        Client {
            address,
            transport,
            local: None,
            key: None,
            session: None,
        }
    }

    /// The same, over a connection of which this is known.
    pub fn over(self, session: Arc<Session>) -> Client {
        Client {
            session: Some(session),
            ..self
        }
    }

    /// One who asks at this address of the server.
    pub fn at(self, local: SocketAddr) -> Client {
        Client {
            local: Some(local),
            ..self
        }
    }

    fn carries_zones(&self) -> bool {
        let session = self.session.as_ref();
        session.is_some_and(|session| session.carries_zones)
    }

    /// True of one whose cookie shows that its address is its own.
    pub(super) fn has_cookie(&self, settings: &Settings, query: &Query<'_>, now: u32) -> bool {
        let cookie = query.edns.and_then(|edns| edns.cookie);
        match (&settings.cookie_secret, cookie) {
            (Some(secret), Some(cookie)) => secret.is_good(cookie, self.address, now),
            _ => false,
        }
    }

    /// True if a message about an error may go to it: over UDP there may be a limit to them.
    pub(super) fn may_have_error(&self, state: &State, now: u32) -> bool {
        let limiter = state.settings.limiter.as_ref();
        limiter
            .filter(|_| self.transport == Transport::Udp)
            .is_none_or(|limiter| {
                limiter.count(&self.who(state), Alike::ERROR, now) == Verdict::Send
            })
    }

    /// What access lists ask about.
    pub(super) fn who<'s>(&'s self, state: &'s State) -> Who<'s> {
        Who {
            address: self.address,
            key: self.key.and_then(|number| state.keys.name(number)),
            certified: self.session.as_ref().map_or(&[], |session| &session.names),
        }
    }
}

/// Room that answers are worked out in; one for each worker.
#[derive(Debug, Default)]
pub struct Scratch {
    pub(super) key: Key,
    pub(crate) names: Compression,
    pub(super) pending: Pending,
}

/// What to do with a query.
#[derive(Debug)]
pub enum Outcome {
    /// Send so many octets of the buffer.
    Reply(Answered),
    /// Send nothing.
    Drop,
    /// The zones do not know: the resolver's business.
    Recurse,
    /// Send a row of messages over the connection the query came by.
    Transfer(Box<Transfer>),
    /// Answer once what is asked for has been done.
    Deferred(Box<Deferred>),
}

/// What was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answered {
    /// Octets of the response.
    pub len: usize,
    /// Its code.
    pub rcode: Rcode,
    /// The type asked for; 0 if none was read.
    pub rr_type: RrType,
}

/// Answers one message. `now` is the time in seconds since 1970, which cookies hold.
pub fn answer(
    state: &State,
    client: &Client,
    now: u32,
    message: &[u8],
    out: &mut [u8],
    scratch: &mut Scratch,
) -> Outcome {
    match Query::read(message) {
        Ok(query) => match query.tsig {
            None => answer_query(state, client, now, message, &query, out, scratch),
            Some(tsig) => answer_signed(state, client, now, message, &query, &tsig, out, scratch),
        },
        Err(Unreadable::Drop) => Outcome::Drop,
        Err(Unreadable::Reply {
            rcode,
            question_end,
        }) => {
            if !client.may_have_error(state, now) {
                return Outcome::Drop;
            }
            let len = bare_reply(message, question_end, rcode, out, &mut scratch.names);
            replied(len, rcode, RrType(0))
        }
    }
}

pub(super) fn replied(len: Option<usize>, rcode: Rcode, rr_type: RrType) -> Outcome {
    len.map_or(Outcome::Drop, |len| {
        Outcome::Reply(Answered {
            len,
            rcode,
            rr_type,
        })
    })
}

/// Answers a message that has been read.
pub fn answer_query(
    state: &State,
    client: &Client,
    now: u32,
    message: &[u8],
    query: &Query<'_>,
    out: &mut [u8],
    scratch: &mut Scratch,
) -> Outcome {
    let rr_type = query
        .question
        .map_or(RrType(0), |question| question.rr_type);
    let Scratch {
        key,
        names,
        pending,
    } = scratch;
    let settings = &state.settings;
    let reply = Reply::new(settings, client, query, message, out, names);
    let Ok(mut reply) = reply else {
        return Outcome::Drop;
    };
    let desired = query.header.flags & flag::RD != 0;
    let (zones, recursion) = state.seen_by(client, desired);
    let action = decide(state, zones, client, query, &mut reply, key, pending);
    if action == Action::Transfer
        && let Some(served) = query.question.and_then(|asked| zones.get(asked.name))
    {
        let question = message.get(Header::LEN..query.question_end).unwrap_or(&[]);
        let transfer = Transfer::new(served, query, question, settings.udp_size);
        return Outcome::Transfer(Box::new(transfer));
    }
    if let Action::Defer(request) = action
        && let Some(served) = query.question.and_then(|asked| zones.get(asked.name))
    {
        return Outcome::Deferred(Box::new(Deferred {
            request,
            zone: served.id(),
            message: message.into(),
            client: client.clone(),
            signature: None,
        }));
    }
    if client.key.is_none() && recursion && settings.recursion.allows(&client.who(state)) {
        if reply.leaves_to_resolver(query) {
            return Outcome::Recurse;
        }
        reply.flags |= flag::RA;
    }
    if !reply.is_within_rate(state, client, query, now) {
        return Outcome::Drop;
    }
    let rcode = reply.rcode;
    let len = reply.finish(settings, client, query, now);
    replied(Some(len), rcode, rr_type)
}

/// A response that a script decided on: a code, or records of its own.
pub fn answer_with(
    state: &State,
    client: &Client,
    now: u32,
    message: &[u8],
    decision: &Decision,
    out: &mut [u8],
    scratch: &mut Scratch,
) -> Outcome {
    let Ok(query) = Query::read(message) else {
        return Outcome::Drop;
    };
    let rr_type = query
        .question
        .map_or(RrType(0), |question| question.rr_type);
    let reply = Reply::new(
        &state.settings,
        client,
        &query,
        message,
        out,
        &mut scratch.names,
    );
    let Ok(mut reply) = reply else {
        return Outcome::Drop;
    };
    reply.rcode = decision.rcode;
    reply.flags |= flag::AA;
    for record in &decision.answers {
        let owner = Owner::Name(record.owner.as_ref());
        let layout = Layout::Opaque;
        let section = Section::Answer;
        let (rdata, ttl) = (&record.rdata, record.ttl);
        let written = reply.writer.record(
            section,
            owner,
            record.rr_type,
            Class::IN,
            ttl,
            rdata,
            layout,
            0,
        );
        if written.is_err() {
            reply.truncate();
            break;
        }
    }
    if !reply.is_within_rate(state, client, &query, now) {
        return Outcome::Drop;
    }
    let rcode = reply.rcode;
    let len = reply.finish(&state.settings, client, &query, now);
    replied(Some(len), rcode, rr_type)
}

/// What a script wants answered.
#[derive(Debug, Clone)]
pub struct Decision {
    /// Code.
    pub rcode: Rcode,
    /// Answer section.
    pub answers: Vec<OwnRecord>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    Send,
    Transfer,
    Defer(Request),
}

/// Fills in the response, or says that it is a transfer.
#[allow(clippy::too_many_arguments)]
fn decide(
    state: &State,
    zones: &Zones,
    client: &Client,
    query: &Query<'_>,
    reply: &mut Reply<'_>,
    key: &mut Key,
    pending: &mut Pending,
) -> Action {
    if query.edns.is_some_and(|edns| edns.version != 0) {
        reply.rcode = Rcode::BADVERS;
        return Action::Send;
    }
    let Some(question) = query.question else {
        return Action::Send;
    };
    key.set(question.name);
    if query.header.opcode() != Opcode::QUERY {
        return match other_opcode(state, zones, client, query.header.opcode(), &question) {
            Ok(request) => Action::Defer(request),
            Err((rcode, extended)) => {
                (reply.rcode, reply.extended) = (rcode, Some(extended));
                Action::Send
            }
        };
    }
    match question.class {
        Class::IN => {}
        // RFC 1035 3.2.5 lets a question be for any class; zones here are of one.
        Class::ANY => {}
        Class::CH => {
            chaos::answer(&state.settings, &question, reply);
            return Action::Send;
        }
        _ => {
            reply.rcode = Rcode::REFUSED;
            reply.extended = Some(ExtendedError::NOT_AUTHORITATIVE);
            return Action::Send;
        }
    }
    match question.rr_type {
        RrType::AXFR | RrType::IXFR => transfer(state, zones, client, query, &question, reply),
        RrType::MAILA | RrType::MAILB => {
            reply.rcode = Rcode::NOTIMP;
            Action::Send
        }
        RrType::ANY => {
            Lookup::new(zones, &question, client.transport, reply, key, pending)
                .run(query, state, client);
            Action::Send
        }
        rr_type if rr_type.is_meta() => {
            reply.rcode = Rcode::FORMERR;
            Action::Send
        }
        _ => {
            Lookup::new(zones, &question, client.transport, reply, key, pending)
                .run(query, state, client);
            Action::Send
        }
    }
}

/// NOTIFY and UPDATE: whether they are for a zone here at all, and from somebody who may.
fn other_opcode(
    state: &State,
    zones: &Zones,
    client: &Client,
    opcode: Opcode,
    question: &Question<'_>,
) -> Result<Request, (Rcode, ExtendedError)> {
    let Some(served) = zones.get(question.name) else {
        return Err((Rcode::NOTAUTH, ExtendedError::NOT_AUTHORITATIVE));
    };
    let who = client.who(state);
    let rules = &served.rules;
    match opcode {
        // Zones that have no other server as their primary hear of nothing (RFC 1996 3.10).
        Opcode::NOTIFY if !served.secondary => {
            Err((Rcode::NOTAUTH, ExtendedError::NOT_AUTHORITATIVE))
        }
        Opcode::NOTIFY if !rules.notify.allows(&who) => {
            log_refusal("notify", question.name, &who, &rules.notify);
            Err((Rcode::REFUSED, ExtendedError::PROHIBITED))
        }
        Opcode::NOTIFY => Ok(Request::Notify),
        Opcode::UPDATE if rules.update.is_closed() => {
            log_refusal("update", question.name, &who, &rules.update.from);
            Err((Rcode::REFUSED, ExtendedError::PROHIBITED))
        }
        // Who may change nothing takes no place in the queue.
        Opcode::UPDATE => match rules.update.admits(&requester(&who)) {
            Ok(()) => Ok(Request::Update),
            Err((rcode, reason)) => {
                log_update_refused(&served.id(), &requester(&who), rcode, &reason);
                Err((Rcode::REFUSED, ExtendedError::PROHIBITED))
            }
        },
        _ => Err((Rcode::REFUSED, ExtendedError::NOT_SUPPORTED)),
    }
}

fn requester<'a>(who: &Who<'a>) -> Requester<'a> {
    Requester {
        address: who.address,
        key: who.key,
    }
}

/// Says why an update was refused. The reason names the rule and the record, so that each is told
/// of once in a while, however many come.
pub(crate) fn log_update_refused(
    zone: &ZoneId,
    requester: &Requester<'_>,
    rcode: Rcode,
    reason: &str,
) {
    let every = std::time::Duration::from_secs(1);
    omnid_telemetry::limited!(
        every, key = (zone, reason), info, %zone, %requester, %rcode, reason, "update refused"
    );
}

/// Says who was refused what, and by which rule: a client is told only that it was.
pub(super) fn log_refusal(action: &str, zone: NameRef<'_>, who: &Who<'_>, access: &Access) {
    let client = who.address;
    let key = who
        .key
        .map_or_else(|| "none".to_owned(), |key| key.to_string());
    let rule = access
        .decider(who)
        .map_or("none fits", |entry| &*entry.text);
    let every = std::time::Duration::from_millis(200);
    omnid_telemetry::limited!(
        every, key = (client, action.len()), info, %zone, %client, key, rule, action, "refused"
    );
}

/// AXFR (RFC 5936) and IXFR (RFC 1995). An IXFR is answered with changes where they are known, else
/// with the whole zone; with the SOA alone for a client that is up to date, or that asks over UDP.
fn transfer(
    state: &State,
    zones: &Zones,
    client: &Client,
    query: &Query<'_>,
    question: &Question<'_>,
    reply: &mut Reply<'_>,
) -> Action {
    let incremental = question.rr_type == RrType::IXFR;
    let udp = client.transport == Transport::Udp;
    if udp && !incremental {
        reply.rcode = Rcode::FORMERR;
        return Action::Send;
    }
    let Some(served) = zones.get(question.name) else {
        reply.rcode = Rcode::NOTAUTH;
        reply.extended = Some(ExtendedError::NOT_AUTHORITATIVE);
        return Action::Send;
    };
    let who = client.who(state);
    if !served.rules.transfer.allows(&who) {
        log_refusal("transfer", question.name, &who, &served.rules.transfer);
        reply.rcode = Rcode::REFUSED;
        reply.extended = Some(ExtendedError::TRANSFER_PROHIBITED);
        return Action::Send;
    }
    if served.rules.transfer_by_tls && !client.carries_zones() {
        let (every, zone) = (std::time::Duration::from_millis(200), question.name);
        omnid_telemetry::limited!(
            every, key = client.address, info, %zone, client = %client.address, "refused: the zone \
                is sent over TLS 1.3 only"
        );
        reply.rcode = Rcode::REFUSED;
        reply.extended = Some(ExtendedError::TRANSFER_PROHIBITED);
        return Action::Send;
    }
    if served.expired {
        reply.rcode = Rcode::SERVFAIL;
        reply.extended = Some(ExtendedError::NOT_READY);
        return Action::Send;
    }
    let current = |held: u32| (held.wrapping_sub(served.zone.serial()) as i32) >= 0;
    let up_to_date = incremental && query.held_serial.is_some_and(current);
    if !udp && !up_to_date {
        return Action::Transfer;
    }
    let owner = Owner::At(Header::LEN as u16);
    super::lookup::write_soa_answer(&served.zone, owner, reply);
    Action::Send
}
