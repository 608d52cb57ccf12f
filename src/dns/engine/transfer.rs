//! A zone sent whole (RFC 5936): SOA, everything else, SOA, in as many messages as it takes; or its
//! last changes (RFC 1995): SOA, for each change what goes and what comes, SOA.

use std::sync::Arc;

use super::change::Change;
use super::tsig::StreamSigner;
use super::zone::{RrSet, Zone};
use super::zones::Served;
use crate::wire::code::{Class, RrType};
use crate::wire::query::Query;
use crate::wire::reader::flag;
use crate::wire::writer::{Compression, Full, Layout, Owner, Section, Writer};

/// Octets of a message, unless one record needs more: names can be pointed to in the first 16 KiB
/// of a message, so that longer ones compress worse.
const MESSAGE: usize = 16 * 1024;

/// A transfer under way.
#[derive(Debug)]
pub struct Transfer {
    zone: Arc<Zone>,
    id: u16,
    flags: u16,
    question: Box<[u8]>,
    /// UDP size for the OPT record of the first message; none if the client sent none.
    edns: Option<u16>,
    names: Box<Compression>,
    state: Stage,
    broken: bool,
    /// Sent in place of the zone.
    changes: Option<Vec<Arc<Change>>>,
    signer: Option<StreamSigner>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    First,
    /// At a record of a set of a node.
    Records {
        node: u32,
        set: usize,
        row: usize,
    },
    /// At a record of a change: those that go, then those that come.
    Change {
        change: usize,
        row: usize,
    },
    Last,
    Done,
}

impl Transfer {
    /// Of a zone, for a query that asked for it.
    pub(super) fn new(
        served: &Served,
        query: &Query<'_>,
        question: &[u8],
        udp_size: u16,
    ) -> Transfer {
        let zone = served.zone.clone();
        let incremental = query
            .question
            .is_some_and(|question| question.rr_type == RrType::IXFR);
        let held = query.held_serial.filter(|_| incremental);
        // Changes that are more than the zone are no help to anybody.
        let changes = held
            .filter(|_| served.history.last() == Some(zone.serial()))
            .and_then(|held| served.history.since(held, zone.size()));
        Transfer {
            changes,
            signer: None,
            zone,
            id: query.header.id,
            flags: flag::QR | flag::AA | query.header.flags & flag::RD,
            question: question.into(),
            edns: query.edns.map(|_| udp_size),
            names: Box::default(),
            state: Stage::First,
            broken: false,
        }
    }

    /// Its messages are to be signed.
    pub fn sign_with(&mut self, signer: StreamSigner) {
        self.signer = Some(signer);
    }

    /// True if changes are sent, not the zone.
    pub fn is_incremental(&self) -> bool {
        self.changes.is_some()
    }

    /// The zone.
    pub fn zone(&self) -> &Zone {
        &self.zone
    }

    /// Writes the next message, of up to 65535 octets; none after the last.
    pub fn next_message(&mut self, out: &mut [u8], now: u32) -> Option<usize> {
        let before = self.state;
        let first = before == Stage::First;
        if before == Stage::Done {
            return None;
        }
        // RFC 5936 2.2.1: only the first message must repeat the question.
        let question = if first { &*self.question } else { &[] };
        let (zone, changes) = (&*self.zone, self.changes.as_deref());
        let mut writer = Writer::new(out, usize::MAX, &mut self.names, question).ok()?;
        if let Some(udp_size) = self.edns.filter(|_| first) {
            let [s1, s0] = udp_size.to_be_bytes();
            writer.set_limit(MESSAGE - OPT);
            self.state = fill(zone, changes, &mut writer, self.state);
            writer.set_limit(usize::MAX);
            if writer.bytes(&[0, 0, 41, s1, s0, 0, 0, 0, 0, 0, 0]).is_ok() {
                writer.count_record(Section::Additional);
            }
        } else {
            writer.set_limit(MESSAGE);
            self.state = fill(zone, changes, &mut writer, self.state);
        }
        // A record that fits into no message ends the transfer short of its last SOA, which tells
        // the client that it is broken.
        if self.state == before {
            (self.state, self.broken) = (Stage::Done, true);
            return None;
        }
        let length = writer.finish(self.id, self.flags);
        match &mut self.signer {
            Some(signer) => signer.sign(out, length, now.into()),
            None => Some(length),
        }
    }

    /// True once all of the zone has been sent.
    pub fn is_complete(&self) -> bool {
        self.state == Stage::Done && !self.broken
    }
}

const OPT: usize = 11;

/// Writes records up to the limit; gives where to go on.
fn fill(
    zone: &Zone,
    changes: Option<&[Arc<Change>]>,
    writer: &mut Writer<'_>,
    mut stage: Stage,
) -> Stage {
    if matches!(stage, Stage::First | Stage::Last) {
        if soa(zone, writer).is_err() {
            return stage;
        }
        if stage == Stage::Last {
            return Stage::Done;
        }
        stage = match changes {
            Some(_) => Stage::Change { change: 0, row: 0 },
            None => Stage::Records {
                node: 0,
                set: 0,
                row: 0,
            },
        };
    }
    if let Stage::Change { change, row } = stage {
        return fill_changes(zone, changes.unwrap_or_default(), writer, change, row);
    }
    let Stage::Records {
        node: start,
        mut set,
        mut row,
    } = stage
    else {
        return stage;
    };
    for node in start..zone.node_ids().end {
        // The owner is written once in a message and then pointed to.
        let mut owner = Owner::Name(zone.name(node));
        for (index, rr_set) in zone.sets(node).enumerate().skip(set) {
            if node == 0 && rr_set.rr_type == RrType::SOA {
                continue;
            }
            let result = records(writer, &rr_set, &mut owner, row);
            if let Err(row) = result {
                return Stage::Records {
                    node,
                    set: index,
                    row,
                };
            }
            row = 0;
        }
        set = 0;
    }
    if soa(zone, writer).is_err() {
        Stage::Last
    } else {
        Stage::Done
    }
}

fn fill_changes(
    zone: &Zone,
    changes: &[Arc<Change>],
    writer: &mut Writer<'_>,
    first: usize,
    mut row: usize,
) -> Stage {
    for (index, change) in changes.iter().enumerate().skip(first) {
        let records = change.removed.iter().chain(&change.added);
        for (at, record) in records.enumerate().skip(row) {
            let written = writer.record(
                Section::Answer,
                Owner::Name(record.owner.as_ref()),
                record.rr_type,
                Class::IN,
                record.ttl,
                &record.rdata,
                Layout::of(record.rr_type),
                0,
            );
            if written.is_err() {
                return Stage::Change {
                    change: index,
                    row: at,
                };
            }
        }
        row = 0;
    }
    if soa(zone, writer).is_err() {
        Stage::Last
    } else {
        Stage::Done
    }
}

/// Writes the records of a set from one on; on a full message gives the one to go on with.
fn records(
    writer: &mut Writer<'_>,
    set: &RrSet<'_>,
    owner: &mut Owner<'_>,
    from: usize,
) -> Result<(), usize> {
    let layout = Layout::of(set.rr_type);
    for (row, (rdata, _)) in set.records().enumerate().skip(from) {
        let at = writer.len();
        write(writer, *owner, set, rdata, layout).map_err(|Full| row)?;
        if matches!(owner, Owner::Name(name) if !name.is_root()) && at <= 0x3fff {
            *owner = Owner::At(at as u16);
        }
    }
    Ok(())
}

fn soa(zone: &Zone, writer: &mut Writer<'_>) -> Result<(), Full> {
    let set = zone.set(0, RrType::SOA).ok_or(Full)?;
    let (rdata, _) = set.records().next().ok_or(Full)?;
    write(
        writer,
        Owner::Name(zone.apex()),
        &set,
        rdata,
        Layout::TwoNames,
    )
}

fn write(
    writer: &mut Writer<'_>,
    owner: Owner<'_>,
    set: &RrSet<'_>,
    rdata: &[u8],
    layout: Layout,
) -> Result<(), Full> {
    let section = Section::Answer;
    let (rr_type, ttl) = (set.rr_type, set.ttl_of(rdata));
    let result = writer.record(section, owner, rr_type, Class::IN, ttl, rdata, layout, 0);
    if result.is_err() && writer.count(section) == 0 {
        // A record longer than a message should be has one to itself.
        writer.set_limit(usize::MAX);
        writer.record(section, owner, rr_type, Class::IN, ttl, rdata, layout, 0)?;
        return Ok(());
    }
    result.map(|_| ())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use std::fmt::Write;

    use super::super::answer::{Client, Outcome, Scratch, Transport, answer};
    use super::super::state::{Settings, State};
    use super::super::tests::{request, served, show, state};
    use super::super::tsig::Keys;
    use super::super::zones::Zones;
    use crate::wire::reader::Header;

    fn transfer(state: &State, address: &str, rr_type: &str) -> Result<Vec<Vec<u8>>, String> {
        let client = Client::new(address.parse().unwrap(), Transport::Tcp);
        let mut out = vec![0; 65_535];
        let message = request("example", rr_type, &[]);
        match answer(
            state,
            &client,
            0,
            &message,
            &mut out,
            &mut Scratch::default(),
        ) {
            Outcome::Transfer(mut transfer) => {
                let mut messages = Vec::new();
                while let Some(length) = transfer.next_message(&mut out, 0) {
                    messages.push(out[..length].to_vec());
                }
                assert!(transfer.is_complete());
                Ok(messages)
            }
            Outcome::Reply(answered) => Err(show(&out[..answered.len])),
            _ => Err("drop".to_owned()),
        }
    }

    #[test]
    fn transfers() {
        let state = state();
        let messages = transfer(&state, "127.0.0.1", "AXFR").unwrap();
        assert_eq!(messages.len(), 1);
        let shown = show(&messages[0]);
        let records: Vec<&str> = shown.split(['/', ';']).map(str::trim).collect();
        assert_eq!(
            records[1],
            "example. 300 SOA ns.example. hm.example. 7 2 3 4 100"
        );
        let zone = &state.zones.iter().next().unwrap().zone;
        assert_eq!(
            records
                .iter()
                .filter(|record| record.contains(" 300 "))
                .count(),
            zone.record_count() + 1
        );
        assert_eq!(
            records
                .iter()
                .filter(|record| record.contains("SOA"))
                .count(),
            2
        );

        assert_eq!(
            transfer(&state, "192.0.2.1", "AXFR").unwrap_err(),
            "REFUSED / / /"
        );
        assert!(transfer(&state, "127.0.0.1", "IXFR").is_ok());
    }

    #[test]
    fn long_transfers_take_many_messages() {
        let mut text = "$TTL 60\n@ SOA ns hm 1 2 3 4 5\n@ NS ns\nns A 192.0.2.1\n".to_owned();
        for index in 0..5000 {
            writeln!(
                text,
                "h{index} A 192.0.2.{}\n  MX 10 h{}",
                index % 250,
                index / 2
            )
            .unwrap();
        }
        writeln!(text, "big TYPE999 \\# 60000 {}", "ab".repeat(60_000)).unwrap();
        let zones = Zones::new(vec![served("example", &text)]);
        let state = State {
            keys: Keys::default(),
            views: Default::default(),
            zones,
            settings: Settings::default(),
        };
        let messages = transfer(&state, "127.0.0.1", "AXFR").unwrap();
        assert!(messages.len() > 5 && messages.iter().map(Vec::len).sum::<usize>() > 65_536 * 2);
        let records: usize = messages
            .iter()
            .map(|message| usize::from(Header::read(message).unwrap().answers))
            .sum();
        assert_eq!(
            records,
            state.zones.iter().next().unwrap().zone.record_count() + 1
        );
        for message in &messages {
            show(message);
        }
    }
}
