//! A transfer as it comes in: the whole zone (RFC 5936), or what has changed (RFC 1995).

use super::change::{Change, is_later, soa_serial};
use super::zone::{Zone, build};
use crate::wire::code::{Class, Opcode, Rcode, RrType};
use crate::wire::master::{Place, Records, Severity, Sources};
use crate::wire::name::{Name, NameRef};
use crate::wire::rdata::decompress;
use crate::wire::reader::{Header, Reader};
use crate::wire::record::{OwnRecord, read_ttl};

/// What came of a transfer.
#[derive(Debug)]
pub enum Received {
    /// All of the zone.
    Whole(Box<Zone>),
    /// The changes since the version held.
    Changes(Vec<Change>),
    /// The version held is the primary's.
    UpToDate,
}

/// Why a transfer counts for nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The primary says no.
    #[error("the primary answers {0}")]
    Refused(Rcode),
    /// What comes is no transfer of this zone.
    #[error("the primary sends what is no transfer: {0}")]
    Malformed(&'static str),
    /// What comes is no zone.
    #[error("the primary sends a zone that cannot be served: {0}")]
    Broken(String),
    /// More than is taken.
    #[error("the primary sends more than {0} octets")]
    TooLarge(usize),
}

/// A transfer under way.
#[derive(Debug)]
pub struct Incoming {
    apex: Name,
    id: u16,
    /// The serial held; none asks for all of the zone.
    held: Option<u32>,
    max_size: usize,
    size: usize,
    stage: Stage,
    serial: u32,
    records: Records,
    changes: Vec<Change>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Nothing has come.
    Begin,
    /// The first SOA has come.
    First,
    Whole,
    Removing,
    Adding,
    End,
}

/// The request for a transfer: all of the zone, or what is new since a version.
pub fn request(id: u16, apex: NameRef<'_>, held: Option<&OwnRecord>) -> Vec<u8> {
    let rr_type = if held.is_some() {
        RrType::IXFR
    } else {
        RrType::AXFR
    };
    let mut message = question(id, apex, rr_type);
    if let (Some(soa), Some(slot)) = (held, message.get_mut(9)) {
        *slot = 1;
        message.extend_from_slice(apex.wire());
        message.extend_from_slice(&RrType::SOA.0.to_be_bytes());
        message.extend_from_slice(&Class::IN.0.to_be_bytes());
        message.extend_from_slice(&soa.ttl.to_be_bytes());
        message.extend_from_slice(&(soa.rdata.len() as u16).to_be_bytes());
        message.extend_from_slice(&soa.rdata);
    }
    message
}

/// A question.
pub fn question(id: u16, name: NameRef<'_>, rr_type: RrType) -> Vec<u8> {
    let mut message = Vec::with_capacity(Header::LEN + name.wire().len() + 4);
    for field in [id, 0, 1, 0, 0, 0] {
        message.extend_from_slice(&field.to_be_bytes());
    }
    message.extend_from_slice(name.wire());
    message.extend_from_slice(&rr_type.0.to_be_bytes());
    message.extend_from_slice(&Class::IN.0.to_be_bytes());
    message
}

/// The serial in the answer to a question for the SOA.
pub fn read_serial(message: &[u8], id: u16, apex: NameRef<'_>) -> Result<u32, Fault> {
    let mut reader = open(message, id, apex)?;
    let header = Header::read(message).map_err(|_| Fault::Malformed("no header"))?;
    for _ in 0..header.answers {
        let record = reader
            .record()
            .map_err(|_| Fault::Malformed("a broken record"))?;
        if record.rr_type == RrType::SOA && record.owner.as_ref() == apex {
            let mut rdata = Vec::new();
            decompress(
                RrType::SOA,
                message,
                record.rdata_at,
                record.rdata_len,
                &mut rdata,
            )
            .map_err(|_| Fault::Malformed("a broken SOA"))?;
            return soa_serial(&rdata).ok_or(Fault::Malformed("a broken SOA"));
        }
    }
    Err(Fault::Malformed("no SOA in the answer"))
}

/// Checks the head of an answer; gives a reader behind the question.
fn open<'m>(message: &'m [u8], id: u16, apex: NameRef<'_>) -> Result<Reader<'m>, Fault> {
    let malformed = |what| Fault::Malformed(what);
    let header = Header::read(message).map_err(|_| malformed("no header"))?;
    if !header.is_response() || header.id != id || header.opcode() != Opcode::QUERY {
        return Err(malformed("not the answer to the question"));
    }
    if header.rcode() != Rcode::NOERROR {
        return Err(Fault::Refused(header.rcode()));
    }
    let mut reader = Reader::at(message, Header::LEN);
    for _ in 0..header.questions {
        let name = reader.name().map_err(|_| malformed("a broken question"))?;
        reader
            .bytes(4)
            .map_err(|_| malformed("a broken question"))?;
        if name.as_ref() != apex {
            return Err(malformed("the answer to another question"));
        }
    }
    Ok(reader)
}

impl Incoming {
    /// Of a zone, asked for by a request with that ID.
    pub fn new(apex: &Name, id: u16, held: Option<u32>, max_size: usize) -> Incoming {
        Incoming {
            apex: apex.clone(),
            id,
            held,
            max_size,
            size: 0,
            stage: Stage::Begin,
            serial: 0,
            records: Records::default(),
            changes: Vec::new(),
        }
    }

    /// Takes the next message. Gives what was received once all of it has come.
    pub fn take(&mut self, message: &[u8]) -> Result<Option<Received>, Fault> {
        let apex = self.apex.clone();
        let mut reader = open(message, self.id, apex.as_ref())?;
        let header = Header::read(message).map_err(|_| Fault::Malformed("no header"))?;
        // Names that are pointers in a message are whole in memory.
        let mut taken = 0;
        for _ in 0..header.answers {
            let raw = reader
                .record()
                .map_err(|_| Fault::Malformed("a broken record"))?;
            let mut rdata = Vec::new();
            decompress(
                raw.rr_type,
                message,
                raw.rdata_at,
                raw.rdata_len,
                &mut rdata,
            )
            .map_err(|_| Fault::Malformed("a broken record"))?;
            taken += raw.owner.as_ref().wire().len() + rdata.len() + size_of::<OwnRecord>();
            if raw.class != Class::IN || raw.rr_type.is_meta() {
                return Err(Fault::Malformed("a record that stands in no zone"));
            }
            self.record(raw.owner.as_ref(), raw.rr_type, read_ttl(raw.ttl), rdata)?;
        }
        self.size = self.size.saturating_add(taken.max(message.len()));
        if self.size > self.max_size {
            return Err(Fault::TooLarge(self.max_size));
        }
        match self.stage {
            Stage::Begin => Err(Fault::Malformed("no record in the first message")),
            // One SOA alone: the answer to who is up to date.
            Stage::First if self.held.is_some_and(|held| !is_later(self.serial, held)) => {
                Ok(Some(Received::UpToDate))
            }
            Stage::End if !self.changes.is_empty() => {
                Ok(Some(Received::Changes(std::mem::take(&mut self.changes))))
            }
            Stage::End => self
                .build()
                .map(|zone| Some(Received::Whole(Box::new(zone)))),
            _ => Ok(None),
        }
    }

    fn record(
        &mut self,
        owner: NameRef<'_>,
        rr_type: RrType,
        ttl: u32,
        rdata: Vec<u8>,
    ) -> Result<(), Fault> {
        let soa = rr_type == RrType::SOA && owner == self.apex.as_ref();
        let serial = if soa { soa_serial(&rdata) } else { None };
        match (self.stage, serial) {
            (Stage::Begin, Some(serial)) => {
                self.serial = serial;
                self.stage = Stage::First;
                self.push(owner, rr_type, ttl, &rdata)
            }
            (Stage::Begin, None) => Err(Fault::Malformed("it does not begin with the SOA")),
            // A second SOA at once, and not the same: changes follow (RFC 1995 4).
            (Stage::First, Some(serial)) if self.held.is_some() && serial != self.serial => {
                self.begin_change(owner, ttl, serial, rdata)
            }
            (Stage::First | Stage::Whole, Some(serial)) if serial == self.serial => {
                self.stage = Stage::End;
                Ok(())
            }
            (Stage::First | Stage::Whole, Some(_)) => {
                Err(Fault::Malformed("its first and last SOA differ"))
            }
            (Stage::First | Stage::Whole, None) => {
                self.stage = Stage::Whole;
                // What is not of the zone has no business in it.
                if owner.is_within(self.apex.as_ref()) {
                    self.push(owner, rr_type, ttl, &rdata)
                } else {
                    Ok(())
                }
            }
            (Stage::Removing, Some(serial)) => {
                self.stage = Stage::Adding;
                let own = own(owner, rr_type, ttl, rdata);
                if let Some(change) = self.changes.last_mut() {
                    change.to = serial;
                    change.added.push(own);
                }
                Ok(())
            }
            (Stage::Adding, Some(serial)) => {
                let at = self.changes.last().map(|change| change.to);
                if at == Some(self.serial) && serial == self.serial {
                    self.stage = Stage::End;
                    return Ok(());
                }
                if at != Some(serial) {
                    return Err(Fault::Malformed("a gap between its changes"));
                }
                self.begin_change(owner, ttl, serial, rdata)
            }
            (Stage::Removing | Stage::Adding, None) => {
                let own = own(owner, rr_type, ttl, rdata);
                let adding = self.stage == Stage::Adding;
                if let Some(change) = self.changes.last_mut() {
                    let list = if adding {
                        &mut change.added
                    } else {
                        &mut change.removed
                    };
                    list.push(own);
                }
                Ok(())
            }
            (Stage::End, _) => Err(Fault::Malformed("records behind its end")),
        }
    }

    fn begin_change(
        &mut self,
        owner: NameRef<'_>,
        ttl: u32,
        serial: u32,
        rdata: Vec<u8>,
    ) -> Result<(), Fault> {
        if self.changes.is_empty() && Some(serial) != self.held {
            return Err(Fault::Malformed(
                "changes of another version than asked for",
            ));
        }
        self.stage = Stage::Removing;
        self.changes.push(Change {
            from: serial,
            to: serial,
            removed: vec![own(owner, RrType::SOA, ttl, rdata)],
            added: Vec::new(),
        });
        Ok(())
    }

    fn push(
        &mut self,
        owner: NameRef<'_>,
        rr_type: RrType,
        ttl: u32,
        rdata: &[u8],
    ) -> Result<(), Fault> {
        let place = Place { file: 0, at: 0 };
        self.records
            .push(owner, rr_type, ttl, rdata, place)
            .map_err(|_| Fault::TooLarge(u32::MAX as usize))
    }

    fn build(&self) -> Result<Zone, Fault> {
        let mut sources = Sources::default();
        sources.add("transfer".into(), Vec::new().into(), None);
        let built = build(self.apex.as_ref(), &self.records, &sources);
        built.zone.ok_or_else(|| {
            let faults = built.faults.iter();
            let errors = faults.filter(|fault| fault.severity == Severity::Error);
            let first = errors.map(|fault| fault.message.clone()).next();
            Fault::Broken(first.unwrap_or_default())
        })
    }
}

fn own(owner: NameRef<'_>, rr_type: RrType, ttl: u32, rdata: Vec<u8>) -> OwnRecord {
    OwnRecord {
        owner: owner.to_owned(),
        rr_type,
        class: Class::IN,
        ttl,
        rdata,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use std::sync::Arc;

    use super::*;
    use crate::engine::answer::{Client, Outcome, Scratch, Transport, answer};
    use crate::engine::change::soa;
    use crate::engine::history::History;
    use crate::engine::state::{Settings, State};
    use crate::engine::tests::served;
    use crate::engine::tsig::Keys;
    use crate::engine::zone::tests::load;
    use crate::engine::zones::Zones;

    fn zone(serial: u32, rows: usize) -> Zone {
        let mut text = format!("$TTL 9\n@ SOA ns hm {serial} 2 3 4 5\n@ NS ns\nns A 192.0.2.1\n");
        for row in 0..rows {
            text += &format!("n{row} TXT \"{}\"\n", "x".repeat(200));
        }
        load("example", &text).zone.unwrap()
    }

    fn state(zone: Zone, history: History) -> State {
        let mut served = served(
            "example",
            "@ 1 SOA ns hm 1 2 3 4 5\n@ 1 NS ns\nns 1 A 192.0.2.1",
        );
        (served.zone, served.history) = (Arc::new(zone), Arc::new(history));
        State {
            zones: Zones::new(vec![served]),
            keys: Keys::default(),
            views: Default::default(),
            settings: Settings::default(),
        }
    }

    /// Our two sides with each other, no socket between them.
    fn fetch(state: &State, held: Option<&Zone>) -> Result<Received, Fault> {
        let apex = Name::from_text("example").unwrap();
        let soa = held.and_then(soa);
        let message = request(7, apex.as_ref(), soa.as_ref());
        let client = Client::new("127.0.0.1".parse().unwrap(), Transport::Tcp);
        let (mut out, mut scratch) = (vec![0; 65_535], Scratch::default());
        let mut incoming = Incoming::new(&apex, 7, held.map(Zone::serial), 1 << 24);
        match answer(state, &client, 0, &message, &mut out, &mut scratch) {
            Outcome::Transfer(mut transfer) => {
                while let Some(length) = transfer.next_message(&mut out, 0) {
                    if let Some(received) = incoming.take(&out[..length])? {
                        assert!(transfer.next_message(&mut out, 0).is_none());
                        return Ok(received);
                    }
                }
                panic!("the transfer never ended");
            }
            Outcome::Reply(answered) => Ok(incoming.take(&out[..answered.len])?.unwrap()),
            _ => panic!(),
        }
    }

    #[test]
    fn whole_and_in_part() {
        let versions: Vec<Zone> = (1..=4).map(|n| zone(n, 400 * n as usize)).collect();
        let mut history = History::default();
        for pair in versions.windows(2) {
            let change = Change::between(&pair[0], &pair[1]).unwrap();
            history.push(Arc::new(change), usize::MAX);
        }
        let last = &versions[3];
        let state = state(zone(4, 1600), history);
        let Received::Whole(whole) = fetch(&state, None).unwrap() else {
            panic!()
        };
        assert!(Change::between(&whole, last).is_none());
        for held in &versions[1..3] {
            let Received::Changes(changes) = fetch(&state, Some(held)).unwrap() else {
                panic!()
            };
            let made = super::super::change::apply_all(held, &changes).unwrap();
            assert!(Change::between(&made, last).is_none());
        }
        assert!(matches!(fetch(&state, Some(last)), Ok(Received::UpToDate)));
        // A version that nobody knows any more is answered with all of the zone.
        let unknown = zone(0, 1);
        assert!(matches!(
            fetch(&state, Some(&unknown)),
            Ok(Received::Whole(_))
        ));
    }

    /// A message of records as `OWNER TYPE DATA`.
    fn message(ttl: u32, texts: &[&str]) -> Vec<u8> {
        let apex = Name::from_text("example").unwrap();
        let mut message = question(7, apex.as_ref(), RrType::IXFR);
        message[2] |= 0x80;
        message[6..8].copy_from_slice(&(texts.len() as u16).to_be_bytes());
        for text in texts {
            let mut words = text.splitn(3, ' ');
            let mut word = || words.next().unwrap();
            let owner = Name::from_text(word()).unwrap();
            let rr_type = RrType::from_text(word().as_bytes()).unwrap();
            let record = OwnRecord::from_text(owner, rr_type, 9, word()).unwrap();
            message.extend(record.owner.as_ref().wire());
            message.extend(record.rr_type.0.to_be_bytes());
            message.extend([0, 1]);
            message.extend(ttl.to_be_bytes());
            message.extend((record.rdata.len() as u16).to_be_bytes());
            message.extend(record.rdata);
        }
        message
    }

    #[test]
    fn a_ttl_beyond_the_highest() {
        let apex = Name::from_text("example").unwrap();
        let (one, two) = ("example SOA . . 1 1 1 1 1", "example SOA . . 2 1 1 1 1");
        let (ns, row) = ("example NS a.example", "a.example A 192.0.2.1");
        let whole = message(1 << 31, &[two, ns, row, two]);
        let taken = Incoming::new(&apex, 7, None, 10_000).take(&whole);
        let Ok(Some(Received::Whole(zone))) = taken else {
            panic!("{taken:?}")
        };
        let ttl = |name: &str| {
            let (node, _) = zone.search(Name::from_text(name).unwrap().as_ref());
            zone.sets(node.unwrap()).map(|set| set.ttl).max()
        };
        assert_eq!((ttl("example"), ttl("a.example")), (Some(0), Some(0)));
        let changes = message(u32::MAX, &[two, one, two, row, two]);
        let taken = Incoming::new(&apex, 7, Some(1), 10_000).take(&changes);
        let Ok(Some(Received::Changes(changes))) = taken else {
            panic!("{taken:?}")
        };
        assert!(changes[0].added.iter().all(|record| record.ttl == 0));
    }

    /// A zone is as large as its records are in memory, however short they come.
    #[test]
    fn the_bound_is_on_what_records_take() {
        let apex = Name::from_text("example").unwrap();
        let soa = "example SOA . . 2 1 1 1 1";
        let first = message(9, &[soa]);
        let long = format!("{0}.{0}.{0}.example A 192.0.2.1", "x".repeat(60));
        let mut second = message(9, &[&long]);
        let row = second.split_off(second.len() - 14);
        let owner = second.len() - Name::from_text(&long[..190]).unwrap().as_ref().wire().len();
        second.extend(&row);
        for number in 1..1000u16 {
            // The owner as a pointer to the first one.
            second.extend((0xc000 | owner as u16).to_be_bytes());
            second.extend(&row[..10]);
            second.extend([10, 0]);
            second.extend(number.to_be_bytes());
        }
        second[6..8].copy_from_slice(&1000u16.to_be_bytes());
        assert!(second.len() < 17_000);
        for (bound, good) in [(1 << 17, false), (1 << 19, true)] {
            let mut incoming = Incoming::new(&apex, 7, None, bound);
            assert!(matches!(incoming.take(&first), Ok(None)));
            let taken = incoming.take(&second);
            assert_eq!(taken.is_ok(), good, "{bound}: {taken:?}");
        }
    }

    #[test]
    fn a_primary_that_lies() {
        let apex = Name::from_text("example").unwrap();
        let take =
            |held, texts: &[&str]| Incoming::new(&apex, 7, held, 10_000).take(&message(9, texts));
        let (one, two, three) = (
            "example SOA . . 1 1 1 1 1",
            "example SOA . . 2 1 1 1 1",
            "example SOA . . 3 1 1 1 1",
        );
        let row = "a.example A 192.0.2.1";
        let cases: [(Option<u32>, &[&str]); 7] = [
            (None, &[]),
            (None, &[row]),
            (None, &[two, row, three]),
            (Some(1), &[three, two, row]),
            (Some(1), &[three, one, two, three, three]),
            (Some(1), &[two, one, two, two, row]),
            (None, &[two, row, two]),
        ];
        for (held, texts) in cases {
            assert!(take(held, texts).is_err(), "{texts:?}");
        }
        assert!(
            matches!(take(Some(1), &[three, one]), Ok(None)),
            "not over yet"
        );
    }
}
