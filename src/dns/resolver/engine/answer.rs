//! Answers as they go out: written once, then copied for every client that asks the same, with
//! the times to live counted down where they stand.

use std::time::Instant;

use super::record::{RrSet, Security};
use super::resolve::{Ask, Delivery, Resolved, STALE_TTL};
use super::store::Kept;
use crate::engine::answer::{Client, Transport};
use crate::engine::reply::{ExtendedError, Reply};
use crate::engine::state::Settings;
use crate::wire::code::{Class, Rcode, RrType};
use crate::wire::name::{Name, NameRef};
use crate::wire::query::Query;
use crate::wire::rdata::decompress;
use crate::wire::reader::{Header, Reader, flag};
use crate::wire::writer::{Compression, Full, Layout, Owner, Section, Writer};

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    kind: u32,
    /// The name; the records as they stand behind the question; where in them the times to live
    /// stand, two octets each. One allocation, since each more is a wait for memory.
    body: Box<[u8]>,
    /// Octets of the name.
    name_len: u8,
    /// Octets of the records.
    records_len: u16,
    pub(crate) rcode: Rcode,
    pub(crate) security: Security,
    pub(crate) reason: Option<u16>,
    counts: [u16; 3],
    pub(crate) stored: Instant,
    /// Seconds that it counts for.
    pub(crate) ttl: u32,
    /// It was past its time when it was made.
    pub(crate) stale: bool,
    delivery: Delivery,
    /// Somebody is fetching a new one.
    pub(crate) renewing: std::sync::atomic::AtomicBool,
}

/// The key of an answer beside its name.
pub(crate) fn kind(rr_type: RrType, dnssec_ok: bool, checking_disabled: bool) -> u32 {
    u32::from(rr_type.0) | u32::from(dnssec_ok) << 16 | u32::from(checking_disabled) << 17
}

impl Kept for Answer {
    fn is(&self, name: NameRef<'_>, kind: u32) -> bool {
        self.kind == kind && NameRef::trusted(self.name_wire()) == name
    }

    fn size(&self) -> usize {
        128 + self.body.len()
    }
}

/// Types that a client must ask for DNSSEC to be given unasked.
fn is_dnssec(rr_type: RrType) -> bool {
    matches!(rr_type, RrType::NSEC | RrType::NSEC3)
}

impl Answer {
    /// Writes an answer.
    pub(crate) fn new(ask: &Ask, resolved: &Resolved, now: Instant) -> Answer {
        let mut question = ask.name.as_ref().wire().to_vec();
        question.extend_from_slice(&ask.rr_type.0.to_be_bytes());
        question.extend_from_slice(&Class::IN.0.to_be_bytes());
        let mut buffer = vec![0; usize::from(u16::MAX) - 512];
        let mut names = Box::<Compression>::default();
        let limit = buffer.len();
        let mut rcode = resolved.rcode;
        let start = Header::LEN + question.len();
        let (mut len, mut counts) = (start, [0; 3]);
        if let Ok(mut writer) = Writer::new(&mut buffer, limit, &mut names, &question) {
            let sections = [
                (Section::Answer, &resolved.answer),
                (Section::Authority, &resolved.authority),
            ];
            for (section, sets) in sections {
                for (set, ttl) in sets {
                    let denial = section == Section::Authority && is_dnssec(set.rr_type);
                    if denial && !ask.dnssec_ok {
                        continue;
                    }
                    // What is longer than any message cannot be had at all.
                    if write_set(&mut writer, section, set, *ttl, ask.dnssec_ok).is_none() {
                        rcode = Rcode::SERVFAIL;
                    }
                }
            }
            len = writer.len();
            counts = [
                writer.count(Section::Answer),
                writer.count(Section::Authority),
                writer.count(Section::Additional),
            ];
        }
        let message = buffer.get(..len).unwrap_or_default();
        let name = ask.name.as_ref().wire();
        let records = message.get(start..).unwrap_or_default();
        let mut body = [name, records].concat();
        let mut reader = Reader::at(message, start);
        while let Ok(record) = reader.record() {
            body.extend(((record.rdata_at - 6 - start) as u16).to_le_bytes());
        }
        Answer {
            name_len: name.len() as u8,
            records_len: records.len() as u16,
            body: body.into(),
            kind: ask.kind(),
            rcode,
            security: resolved.security,
            reason: resolved.reason,
            counts,
            stored: now,
            ttl: resolved.ttl,
            stale: resolved.stale,
            delivery: resolved.delivery,
            renewing: std::sync::atomic::AtomicBool::new(false),
        }
    }

    /// Whose question it answers.
    pub(crate) fn name(&self) -> Name {
        NameRef::trusted(self.name_wire()).to_owned()
    }

    fn name_wire(&self) -> &[u8] {
        let name = self.body.get(..usize::from(self.name_len));
        name.unwrap_or(&[0])
    }

    /// The records, and where in them the times to live stand.
    fn parts(&self) -> (&[u8], impl Iterator<Item = usize> + '_) {
        let behind = self.body.get(usize::from(self.name_len)..);
        let behind = behind.unwrap_or_default();
        let (records, times) = behind
            .split_at_checked(usize::from(self.records_len))
            .unwrap_or_default();
        let times = times.as_chunks::<2>().0.iter();
        (records, times.map(|at| u16::from_le_bytes(*at).into()))
    }

    /// The data of the records of a type in its answer section.
    pub(crate) fn answers(&self, rr_type: RrType) -> Vec<Vec<u8>> {
        let mut question = vec![0; Header::LEN];
        question.extend_from_slice(self.name_wire());
        question.extend_from_slice(&[0; 4]);
        let start = question.len();
        let message = [&question[..], self.parts().0].concat();
        let mut reader = Reader::at(&message, start);
        let mut found = Vec::new();
        for _ in 0..self.counts[0] {
            let Ok(record) = reader.record() else { break };
            let mut data = Vec::new();
            let (at, length) = (record.rdata_at, record.rdata_len);
            if record.rr_type == rr_type
                && decompress(rr_type, &message, at, length, &mut data).is_ok()
            {
                found.push(data);
            }
        }
        found
    }

    /// Seconds since it was written.
    pub(crate) fn age(&self, now: Instant) -> u32 {
        let age = now.saturating_duration_since(self.stored).as_secs();
        age.min(u64::from(u32::MAX)) as u32
    }

    /// True while it counts.
    pub(crate) fn is_fresh(&self, now: Instant) -> bool {
        self.age(now) < self.ttl
    }

    /// Writes it for one client; gives its length. `late`: it is past its time, and says so.
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn write(
        &self,
        now: Instant,
        unix_time: u32,
        late: bool,
        settings: &Settings,
        client: &Client,
        query: &Query<'_>,
        message: &[u8],
        out: &mut [u8],
        names: &mut Compression,
    ) -> Option<usize> {
        let hint = self.delivery == Delivery::TcpOnly && client.transport == Transport::Udp;
        if self.delivery == Delivery::Drop {
            return None;
        }
        let mut reply = Reply::new(settings, client, query, message, out, names).ok()?;
        reply.flags |= flag::RA;
        reply.rcode = self.rcode;
        reply.extended = self.reason.map(explain);
        if late {
            reply.extended = Some(explain(match self.rcode {
                Rcode::NXDOMAIN => super::budget::reason::STALE_NXDOMAIN,
                _ => super::budget::reason::STALE_ANSWER,
            }));
        }
        let wants =
            query.edns.is_some_and(|edns| edns.dnssec_ok) || query.header.flags & flag::AD != 0;
        if self.security == Security::Secure && wants && !checking_disabled(query) {
            reply.flags |= flag::AD;
        }
        let (records, times) = self.parts();
        let written = match hint {
            true => Err(Full),
            false => reply.writer.records(records, self.counts),
        };
        match written {
            Ok(start) => {
                let age = self.age(now);
                if age > 0 || late {
                    for at in times {
                        let ttl = records.get(at..).and_then(|ttl| ttl.first_chunk());
                        let ttl = ttl.map_or(0, |ttl| u32::from_be_bytes(*ttl));
                        let left = match late {
                            true => STALE_TTL,
                            false => ttl.saturating_sub(age).max(u32::from(self.stale)),
                        };
                        reply.writer.overwrite(start + at, &left.to_be_bytes());
                    }
                }
            }
            Err(Full) => reply.truncate(),
        }
        Some(reply.finish(settings, client, query, unix_time))
    }
}

fn checking_disabled(query: &Query<'_>) -> bool {
    query.header.flags & flag::CD != 0
}

/// What an extended error says in words, where its number alone says too little.
fn explain(code: u16) -> ExtendedError {
    use super::budget::reason;
    let text = match code {
        reason::OTHER => "this question costs more than one may",
        reason::NOT_SUPPORTED => "not a type to ask a resolver for",
        _ => "",
    };
    ExtendedError { code, text }
}

fn write_set(
    writer: &mut Writer<'_>,
    section: Section,
    set: &RrSet,
    ttl: u32,
    dnssec_ok: bool,
) -> Option<()> {
    let owner = Owner::Name(set.owner.as_ref());
    let layout = Layout::of(set.rr_type);
    for data in &set.data {
        writer
            .record(section, owner, set.rr_type, Class::IN, ttl, data, layout, 0)
            .ok()?;
    }
    if dnssec_ok {
        for data in &set.signatures {
            let (rr_type, layout) = (RrType::RRSIG, Layout::Opaque);
            writer
                .record(section, owner, rr_type, Class::IN, ttl, data, layout, 0)
                .ok()?;
        }
    }
    Some(())
}
