//! A response under way: flags, the OPT record at its end, and what must be left free for it.

use super::answer::{Client, Transport};
use super::cookie;
use super::limit::{Alike, Kind, Verdict, kind_of};
use super::state::{Settings, State};
use crate::wire::code::{Class, Opcode, Rcode, RrType};
use crate::wire::query::{Query, option};
use crate::wire::reader::{Header, flag};
use crate::wire::writer::{Compression, Full, Mark, Section, Writer};

/// Why a query fails, for people (RFC 8914).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ExtendedError {
    pub(crate) code: u16,
    pub(crate) text: &'static str,
}

impl ExtendedError {
    pub(crate) const NOT_AUTHORITATIVE: ExtendedError = ExtendedError {
        code: 20,
        text: "not a zone of this server",
    };
    pub(crate) const TRANSFER_PROHIBITED: ExtendedError = ExtendedError {
        code: 18,
        text: "zone transfer not allowed to this client",
    };
    pub(crate) const PROHIBITED: ExtendedError = ExtendedError {
        code: 18,
        text: "not allowed to this client",
    };
    pub(crate) const NOT_READY: ExtendedError = ExtendedError {
        code: 14,
        text: "no valid copy of the zone",
    };
    pub(crate) const LOOP: ExtendedError = ExtendedError {
        code: 0,
        text: "the name is an alias of itself",
    };
    pub(crate) const NOT_SUPPORTED: ExtendedError = ExtendedError { code: 21, text: "" };
}

/// A response.
pub(crate) struct Reply<'b> {
    pub(crate) writer: Writer<'b>,
    pub(crate) flags: u16,
    pub(crate) rcode: Rcode,
    pub(crate) extended: Option<ExtendedError>,
    /// A chain of aliases leaves the zones of this server.
    pub(crate) leaves: bool,
    /// What stands for the question's name where responses are counted.
    pub(crate) counted: Counted,
    limit: usize,
    /// Behind the question.
    start: Mark,
}

/// What of the question's name responses that are alike have in common.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) enum Counted {
    /// All of it.
    #[default]
    Whole,
    /// So many octets of its end.
    Tail(usize),
    /// These, below which a wildcard stands.
    Wildcard(usize),
}

/// Octets of an OPT record without options.
const OPT: usize = 11;
/// Octets before an option's value.
const OPTION: usize = 4;
/// Answers over TLS are padded to a multiple of this (RFC 8467 4.1).
const PADDING_BLOCK: usize = 468;

impl<'b> Reply<'b> {
    /// Begins a response to a request that was read.
    pub(crate) fn new(
        settings: &Settings,
        client: &Client,
        query: &Query<'_>,
        message: &[u8],
        out: &'b mut [u8],
        names: &'b mut Compression,
    ) -> Result<Reply<'b>, Full> {
        let question = message.get(Header::LEN..query.question_end).unwrap_or(&[]);
        let limit = size_limit(settings, client, query).min(out.len());
        let mut writer = Writer::new(out, limit, names, question)?;
        let start = writer.mark();
        writer.set_limit(limit.saturating_sub(reserved(settings, client, query)));
        let flags = reply_flags(query.header.flags);
        Ok(Reply {
            writer,
            flags,
            rcode: Rcode::NOERROR,
            extended: None,
            leaves: false,
            counted: Counted::default(),
            limit,
            start,
        })
    }

    /// True if a resolver is asked for what the zones do not have: another's name, or one that a
    /// delegation or an alias leads away to.
    pub(crate) fn leaves_to_resolver(&self, query: &Query<'_>) -> bool {
        let asked = query.header.opcode() == Opcode::QUERY
            && query.header.flags & flag::RD != 0
            && query.tsig.is_none()
            && query.edns.is_none_or(|edns| edns.version == 0)
            && query
                .question
                .is_some_and(|question| question.class == Class::IN);
        let elsewhere = self.extended == Some(ExtendedError::NOT_AUTHORITATIVE);
        let refused = elsewhere && self.rcode == Rcode::REFUSED;
        let referred = self.rcode == Rcode::NOERROR
            && self.flags & flag::AA == 0
            && self.writer.count(Section::Answer) == 0
            && self.writer.count(Section::Authority) > 0;
        asked && (refused || referred || self.leaves)
    }

    /// Something that had to be in the response did not fit.
    pub(crate) fn truncate(&mut self) {
        self.flags |= flag::TC;
    }

    /// Counts the response against the rate limit; false if it is not to be sent.
    pub(crate) fn is_within_rate(
        &mut self,
        state: &State,
        client: &Client,
        query: &Query<'_>,
        now: u32,
    ) -> bool {
        let Some(limiter) = state.settings.limiter.as_ref() else {
            return true;
        };
        if client.transport != Transport::Udp || client.has_cookie(&state.settings, query, now) {
            return true;
        }
        let (answers, authorities) = (
            self.writer.count(Section::Answer),
            self.writer.count(Section::Authority),
        );
        let authoritative = self.flags & flag::AA != 0;
        let kind = kind_of(self.rcode, authoritative, answers, authorities);
        let alike = match query.question {
            Some(asked) if kind != Kind::Error => {
                let name = asked.name.wire();
                let tail = |length: usize| name.get(name.len().saturating_sub(length)..);
                let (name, wildcard) = match self.counted {
                    Counted::Whole => (Some(name), false),
                    Counted::Tail(length) => (tail(length), false),
                    Counted::Wildcard(length) => (tail(length), true),
                };
                // Denials and referrals are the same whatever type is asked for.
                let rr_type = match kind {
                    Kind::Answer => asked.rr_type,
                    _ => RrType(0),
                };
                Alike {
                    kind,
                    name: name.unwrap_or_default(),
                    wildcard,
                    rr_type,
                    class: asked.class,
                }
            }
            _ => Alike::ERROR,
        };
        match limiter.count(&client.who(state), alike, now) {
            Verdict::Send => true,
            Verdict::Truncate => {
                self.writer.reset(self.start);
                self.truncate();
                true
            }
            Verdict::Drop => false,
        }
    }

    /// Adds the OPT record and closes the message; gives its length.
    pub(crate) fn finish(
        mut self,
        settings: &Settings,
        client: &Client,
        query: &Query<'_>,
        now: u32,
    ) -> usize {
        self.writer.set_limit(self.limit);
        if query.edns.is_some() {
            let mark = self.writer.mark();
            if self.opt(settings, client, query, now).is_err() {
                self.writer.reset(mark);
            }
        }
        let rcode = self.rcode.0 & 15;
        self.writer.finish(query.header.id, self.flags | rcode)
    }

    fn opt(
        &mut self,
        settings: &Settings,
        client: &Client,
        query: &Query<'_>,
        now: u32,
    ) -> Result<(), Full> {
        let Some(edns) = query.edns else {
            return Ok(());
        };
        let [s1, s0] = settings.udp_size.to_be_bytes();
        let [t1, t0] = RrType::OPT.0.to_be_bytes();
        let dnssec_ok = u8::from(edns.dnssec_ok) << 7;
        let extended = (self.rcode.0 >> 4) as u8;
        self.writer
            .bytes(&[0, t1, t0, s1, s0, extended, 0, dnssec_ok, 0, 0, 0])?;
        let start = self.writer.len();
        if let (Some(secret), Some(client_cookie)) = (
            &settings.cookie_secret,
            edns.cookie.and_then(|cookie| cookie.first_chunk()),
        ) {
            let both = secret.both(*client_cookie, client.address, now);
            self.option(option::COOKIE, &both)?;
        }
        if let (true, Some(id)) = (edns.nsid, &settings.server_id) {
            self.option(option::NSID, id.as_bytes())?;
        }
        if edns.keepalive && client.transport.has_keepalive() {
            self.option(option::KEEPALIVE, &settings.keepalive.to_be_bytes())?;
        }
        if let Some(error) = self.extended {
            let [e1, e0] = error.code.to_be_bytes();
            let length = (2 + error.text.len()) as u16;
            let [l1, l0] = length.to_be_bytes();
            let [o1, o0] = option::EXTENDED_ERROR.to_be_bytes();
            self.writer.bytes(&[o1, o0, l1, l0, e1, e0])?;
            self.writer.bytes(error.text.as_bytes())?;
        }
        if edns.padding && client.transport.is_encrypted() {
            self.pad()?;
        }
        let length = (self.writer.len() - start) as u16;
        self.writer.overwrite(start - 2, &length.to_be_bytes());
        self.writer.count_record(Section::Additional);
        Ok(())
    }

    fn option(&mut self, code: u16, value: &[u8]) -> Result<(), Full> {
        let [c1, c0] = code.to_be_bytes();
        let [l1, l0] = (value.len() as u16).to_be_bytes();
        self.writer.bytes(&[c1, c0, l1, l0])?;
        self.writer.bytes(value)
    }

    fn pad(&mut self) -> Result<(), Full> {
        let length = self.writer.len() + OPTION;
        let padded = length.next_multiple_of(PADDING_BLOCK).min(self.limit);
        let mut left = padded.saturating_sub(length);
        let [c1, c0] = option::PADDING.to_be_bytes();
        let [l1, l0] = (left as u16).to_be_bytes();
        self.writer.bytes(&[c1, c0, l1, l0])?;
        while left > 0 {
            let part = left.min(64);
            self.writer.bytes([0u8; 64].get(..part).unwrap_or(&[]))?;
            left -= part;
        }
        Ok(())
    }
}

/// RFC 1035 4.1.1: a response repeats the opcode and RD; CD as RFC 4035 3.2.2.
fn reply_flags(request: u16) -> u16 {
    const OPCODE: u16 = 0x7800;
    flag::QR | request & (OPCODE | flag::RD | flag::CD)
}

/// How long a response may be.
pub(super) fn size_limit(settings: &Settings, client: &Client, query: &Query<'_>) -> usize {
    match (client.transport, query.edns) {
        (Transport::Udp, None) => 512,
        // RFC 6891 6.2.3: sizes below 512 count as 512.
        (Transport::Udp, Some(edns)) => edns.udp_size.min(settings.udp_size).max(512).into(),
        _ => usize::from(u16::MAX),
    }
}

/// Octets the OPT record will take, extended errors aside: these go into responses that have room.
fn reserved(settings: &Settings, client: &Client, query: &Query<'_>) -> usize {
    let Some(edns) = query.edns else { return 0 };
    let cookie = edns.cookie.is_some() && settings.cookie_secret.is_some();
    let keepalive = edns.keepalive && client.transport.has_keepalive();
    let padding = edns.padding && client.transport.is_encrypted();
    let nsid = settings.server_id.as_ref().filter(|_| edns.nsid);
    OPT + if cookie { OPTION + cookie::BOTH } else { 0 }
        + nsid.map_or(0, |id| OPTION + id.len())
        + if keepalive { OPTION + 2 } else { 0 }
        + if padding { OPTION } else { 0 }
}

/// A response without sections to a request that could not be read, or is not for this server.
pub(crate) fn bare_reply(
    message: &[u8],
    question_end: usize,
    rcode: Rcode,
    out: &mut [u8],
    names: &mut Compression,
) -> Option<usize> {
    let header = Header::read(message).ok()?;
    let question = message.get(Header::LEN..question_end).unwrap_or(&[]);
    let limit = out.len();
    let writer = Writer::new(out, limit, names, question).ok()?;
    // A question is repeated whole or, where it was not read, not at all.
    Some(writer.finish(header.id, reply_flags(header.flags) | rcode.0 & 15))
}
