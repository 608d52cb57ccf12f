//! Writing of a message into a caller's buffer, with name compression and without allocation.

use super::code::{Class, RrType};
use super::name::NameRef;
use super::rdata::compressible;
use super::reader::{Header, Reader};

/// The record did not fit; the message is as it was before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full;

/// Sections that hold records, in the order a message has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Section {
    /// Answers.
    Answer,
    /// Authority.
    Authority,
    /// Additional.
    Additional,
}

/// Where names stand in the data of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// No name that may be compressed.
    Opaque,
    /// A name after so many octets, and nothing behind it.
    NameAt(usize),
    /// Two names, then octets (SOA, MINFO).
    TwoNames,
}

impl Layout {
    /// The layout of a type's data.
    pub fn of(rr_type: RrType) -> Layout {
        match rr_type {
            RrType::MX => Layout::NameAt(2),
            RrType::SOA | RrType::MINFO => Layout::TwoNames,
            other if compressible(other) => Layout::NameAt(0),
            _ => Layout::Opaque,
        }
    }
}

/// Whose a record is, as the message will say it.
#[derive(Debug, Clone, Copy)]
pub enum Owner<'n> {
    /// A name that stands in the message already.
    At(u16),
    /// A name to be written.
    Name(NameRef<'n>),
}

/// Names a message holds already; kept by who writes many messages, so that none is cleared.
#[derive(Debug, Clone)]
pub struct Compression {
    entries: [Entry; ENTRIES],
    len: usize,
    /// Entry to give up next once all are taken.
    next: usize,
}

/// A tail of a name in the message.
#[derive(Debug, Clone, Copy, Default)]
struct Entry {
    /// Its first octets, so that most others are told apart without reading the message.
    head: u32,
    offset: u16,
    /// Octets of the tail, uncompressed.
    len: u8,
}

const ENTRIES: usize = 64;
/// Entries that stay: the first names of a message are those that the others end in.
const KEPT: usize = 16;
/// A pointer has 14 bits.
const MAX_OFFSET: usize = 0x3fff;

impl Default for Compression {
    fn default() -> Compression {
        Compression {
            entries: [Entry::default(); ENTRIES],
            len: 0,
            next: KEPT,
        }
    }
}

fn head_of(tail: &[u8]) -> u32 {
    match tail.first_chunk::<4>() {
        Some(octets) => u32::from_ne_bytes(*octets),
        None => tail
            .iter()
            .fold(0, |head, octet| head << 8 | u32::from(*octet)),
    }
}

impl Compression {
    fn clear(&mut self) {
        (self.len, self.next) = (0, KEPT);
    }

    /// Where a tail stands already, letter for letter: a name keeps the case its zone gives it.
    fn find(&self, message: &[u8], tail: &[u8]) -> Option<u16> {
        let (head, len) = (head_of(tail), tail.len() as u8);
        let entries = self.entries.get(..self.len)?.iter();
        entries
            .filter(|entry| entry.head == head && entry.len == len)
            .find(|entry| stands_at(message, entry.offset.into(), tail))
            .map(|entry| entry.offset)
    }

    fn add(&mut self, offset: usize, tail: &[u8]) {
        if offset > MAX_OFFSET {
            return;
        }
        let entry = Entry {
            head: head_of(tail),
            offset: offset as u16,
            len: tail.len() as u8,
        };
        if let Some(slot) = self.entries.get_mut(self.len) {
            *slot = entry;
            self.len += 1;
        } else if let Some(slot) = self.entries.get_mut(self.next) {
            *slot = entry;
            self.next = if self.next + 1 < ENTRIES {
                self.next + 1
            } else {
                KEPT
            };
        }
    }
}

/// True if the name at an offset of a message that this room wrote is the tail, byte for byte.
fn stands_at(message: &[u8], mut at: usize, tail: &[u8]) -> bool {
    let mut rest = tail;
    loop {
        let Some(&length) = message.get(at) else {
            return false;
        };
        if length >= 0xc0 {
            let low = message.get(at + 1).copied().unwrap_or(0);
            let target = usize::from(length & 0x3f) << 8 | usize::from(low);
            // Pointers written here lead back; anything else would not end.
            if target >= at {
                return false;
            }
            at = target;
            continue;
        }
        let size = 1 + usize::from(length);
        let Some((label, after)) = rest.split_at_checked(size) else {
            return false;
        };
        if message.get(at..at + size) != Some(label) {
            return false;
        }
        if length == 0 {
            return after.is_empty();
        }
        (at, rest) = (at + size, after);
    }
}

/// A message under way.
#[derive(Debug)]
pub struct Writer<'b> {
    buffer: &'b mut [u8],
    len: usize,
    limit: usize,
    names: &'b mut Compression,
    /// The question's name is among the names to point to.
    seeded: bool,
    question_len: usize,
    counts: [u16; 3],
}

/// A point to go back to.
#[derive(Debug, Clone, Copy)]
pub struct Mark {
    len: usize,
    names: usize,
    counts: [u16; 3],
}

impl<'b> Writer<'b> {
    /// Begins a message of at most `limit` octets with a header to be filled in last, and the
    /// question section of the request, octet for octet: the client may check its letter case.
    pub fn new(
        buffer: &'b mut [u8],
        limit: usize,
        names: &'b mut Compression,
        question: &[u8],
    ) -> Result<Writer<'b>, Full> {
        names.clear();
        let limit = limit.min(buffer.len());
        let len = Header::LEN + question.len();
        if len > limit {
            return Err(Full);
        }
        buffer.get_mut(..Header::LEN).ok_or(Full)?.fill(0);
        buffer
            .get_mut(Header::LEN..len)
            .ok_or(Full)?
            .copy_from_slice(question);
        let question_len = question.len();
        Ok(Writer {
            buffer,
            len,
            limit,
            names,
            seeded: false,
            question_len,
            counts: [0; 3],
        })
    }

    /// Octets written.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Never true: a message has a header.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Records of a section so far.
    pub fn count(&self, section: Section) -> u16 {
        self.counts.get(section as usize).copied().unwrap_or(0)
    }

    /// Sets how long the message may become.
    pub fn set_limit(&mut self, limit: usize) {
        self.limit = limit.min(self.buffer.len());
    }

    /// Here.
    pub fn mark(&self) -> Mark {
        Mark {
            len: self.len,
            names: self.names.len,
            counts: self.counts,
        }
    }

    /// Takes back all since a mark.
    pub fn reset(&mut self, mark: Mark) {
        (self.len, self.counts) = (mark.len, mark.counts);
        // Entries written over since then point past the end: they go as well.
        let end = mark.len as u16;
        self.names.len = mark.names.min(self.names.len);
        if let Some(entries) = self.names.entries.get_mut(..self.names.len) {
            for entry in entries.iter_mut().filter(|entry| entry.offset >= end) {
                entry.len = 0;
            }
        }
    }

    /// Appends octets.
    pub fn bytes(&mut self, bytes: &[u8]) -> Result<(), Full> {
        let end = self.len + bytes.len();
        if end > self.limit {
            return Err(Full);
        }
        self.buffer
            .get_mut(self.len..end)
            .ok_or(Full)?
            .copy_from_slice(bytes);
        self.len = end;
        Ok(())
    }

    /// Appends whole records that were written behind the same question before, so that their
    /// pointers hold; gives where they begin.
    pub fn records(&mut self, octets: &[u8], counts: [u16; 3]) -> Result<usize, Full> {
        let start = self.len;
        self.bytes(octets)?;
        for (count, more) in self.counts.iter_mut().zip(counts) {
            *count = count.saturating_add(more);
        }
        Ok(start)
    }

    /// True if the name at an offset is this one, letter case aside.
    pub fn holds_name(&self, at: u16, name: NameRef<'_>) -> bool {
        let message = self.buffer.get(..self.len).unwrap_or_default();
        Reader::at(message, at.into())
            .name()
            .is_ok_and(|held| held.as_ref() == name)
    }

    /// An octet that is there already.
    pub fn octet(&self, at: u16) -> Option<u8> {
        self.buffer.get(usize::from(at)).copied()
    }

    /// Writes over octets that are there already.
    pub fn overwrite(&mut self, at: usize, bytes: &[u8]) {
        if let Some(target) = self.buffer.get_mut(at..at + bytes.len()) {
            target.copy_from_slice(bytes);
        }
    }

    /// Counts a record that was appended as octets.
    pub fn count_record(&mut self, section: Section) {
        if let Some(count) = self.counts.get_mut(section as usize) {
            *count = count.saturating_add(1);
        }
    }

    /// Appends a name, of which what the message holds already is pointed to.
    fn name(&mut self, name: &[u8]) -> Result<(), Full> {
        self.seed();
        let mut tail = name;
        while let Some(&length @ 1..) = tail.first() {
            if let Some(offset) = self.names.find(self.buffer, tail) {
                return self.bytes(&(0xc000 | offset).to_be_bytes());
            }
            let size = 1 + usize::from(length);
            let (label, rest) = tail.split_at_checked(size).ok_or(Full)?;
            self.names.add(self.len, tail);
            self.bytes(label)?;
            tail = rest;
        }
        self.bytes(&[0])
    }

    /// Adds the question's name to the names to point to, once a name is written at all.
    fn seed(&mut self) {
        if std::mem::replace(&mut self.seeded, true) {
            return;
        }
        let question = self
            .buffer
            .get(Header::LEN..Header::LEN + self.question_len);
        let Some(name) = question.and_then(|question| question.split_last_chunk::<4>()) else {
            return;
        };
        let (mut tail, mut at) = (name.0, Header::LEN);
        while let Some(&length) = tail.first().filter(|length| (1..=63).contains(*length)) {
            self.names.add(at, tail);
            let size = 1 + usize::from(length);
            at += size;
            tail = tail.get(size..).unwrap_or(&[]);
        }
    }

    /// Appends one record. `rdata` is uncompressed; the offset of the name in it that begins at
    /// `watch` is returned, for records that will point to it.
    #[allow(clippy::too_many_arguments)]
    pub fn record(
        &mut self,
        section: Section,
        owner: Owner<'_>,
        rr_type: RrType,
        class: Class,
        ttl: u32,
        rdata: &[u8],
        layout: Layout,
        watch: usize,
    ) -> Result<u16, Full> {
        let mark = self.mark();
        let result = self.try_record(owner, rr_type, class, ttl, rdata, layout, watch);
        match result {
            Ok(offset) => {
                if let Some(count) = self.counts.get_mut(section as usize) {
                    *count = count.checked_add(1).ok_or(Full)?;
                }
                Ok(offset)
            }
            Err(Full) => {
                self.reset(mark);
                Err(Full)
            }
        }
    }

    #[allow(clippy::too_many_arguments)]
    fn try_record(
        &mut self,
        owner: Owner<'_>,
        rr_type: RrType,
        class: Class,
        ttl: u32,
        rdata: &[u8],
        layout: Layout,
        watch: usize,
    ) -> Result<u16, Full> {
        match owner {
            Owner::At(offset) => self.bytes(&(0xc000 | offset).to_be_bytes())?,
            Owner::Name(name) => self.name(name.wire())?,
        }
        let [t1, t0] = rr_type.0.to_be_bytes();
        let [c1, c0] = class.0.to_be_bytes();
        let [s3, s2, s1, s0] = ttl.to_be_bytes();
        let [l1, l0] = (rdata.len() as u16).to_be_bytes();
        self.bytes(&[t1, t0, c1, c0, s3, s2, s1, s0, l1, l0])?;
        let start = self.len;
        let mut watched = start + watch;
        match layout {
            Layout::Opaque => self.bytes(rdata)?,
            Layout::NameAt(at) => {
                let (head, name) = rdata.split_at_checked(at).ok_or(Full)?;
                self.bytes(head)?;
                self.name(name)?;
            }
            Layout::TwoNames => {
                let (first, rest) = NameRef::split_wire(rdata).map_err(|_| Full)?;
                let (second, rest) = NameRef::split_wire(rest).map_err(|_| Full)?;
                self.name(first.wire())?;
                watched = if watch == 0 { watched } else { self.len };
                self.name(second.wire())?;
                self.bytes(rest)?;
            }
        }
        if layout != Layout::Opaque {
            let length = (self.len - start) as u16;
            let at = start - 2;
            self.buffer
                .get_mut(at..start)
                .ok_or(Full)?
                .copy_from_slice(&length.to_be_bytes());
        }
        Ok(watched.min(usize::from(u16::MAX)) as u16)
    }

    /// Fills in the header; gives the message's length.
    pub fn finish(self, id: u16, flags: u16) -> usize {
        let questions = u16::from(self.question_len > 0);
        let [answers, authorities, additionals] = self.counts;
        let fields = [id, flags, questions, answers, authorities, additionals];
        for (slot, field) in self.buffer.chunks_mut(2).zip(fields) {
            slot.copy_from_slice(&field.to_be_bytes());
        }
        self.len
    }
}

/// True if an offset can be pointed to.
pub fn can_point_to(offset: u16) -> bool {
    usize::from(offset) <= MAX_OFFSET
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use crate::wire::name::Name;
    use crate::wire::reader::Reader;

    fn name(text: &str) -> Name {
        Name::from_text(text).unwrap()
    }

    fn ns(writer: &mut Writer<'_>, owner: &str, target: &str) -> Result<u16, Full> {
        let (owner, target) = (name(owner), name(target));
        let rdata = target.as_ref().wire();
        let owner = Owner::Name(owner.as_ref());
        writer.record(
            Section::Answer,
            owner,
            RrType::NS,
            Class::IN,
            60,
            rdata,
            Layout::NameAt(0),
            0,
        )
    }

    #[test]
    fn names_are_compressed_and_case_is_kept() {
        let (mut buffer, mut names) = ([0u8; 512], Compression::default());
        let question = b"\x01x\x07Example\x03org\0\0\x02\0\x01";
        let mut writer = Writer::new(&mut buffer, 512, &mut names, question).unwrap();
        let start = writer.len();
        ns(&mut writer, "x.Example.org", "ns.Example.org").unwrap();
        assert_eq!(writer.len() - start, 2 + 10 + 3 + 2);
        // Other case: written anew, then pointed to.
        ns(&mut writer, "x.Example.org", "NS.example.org").unwrap();
        let before = writer.len();
        let at = ns(&mut writer, "x.Example.org", "a.NS.example.org").unwrap();
        assert_eq!(writer.len() - before, 2 + 10 + 2 + 2);
        let len = writer.finish(7, 0x8400);

        let message = &buffer[..len];
        assert_eq!(Header::read(message).unwrap().answers, 3);
        let mut reader = Reader::at(message, start);
        let mut shown = Vec::new();
        for _ in 0..3 {
            let record = reader.record().unwrap();
            let target = Reader::at(message, record.rdata_at).name().unwrap();
            shown.push(format!("{:?} {target:?}", record.owner));
        }
        assert_eq!(
            shown,
            [
                "x.Example.org. ns.Example.org.",
                "x.Example.org. NS.example.org.",
                "x.Example.org. a.NS.example.org.",
            ]
        );
        assert_eq!(
            Reader::at(message, at.into())
                .name()
                .unwrap()
                .as_ref()
                .to_string(),
            "a.NS.example.org."
        );
    }

    #[test]
    fn what_does_not_fit_leaves_no_trace() {
        let (mut buffer, mut names) = ([0u8; 512], Compression::default());
        let mut writer = Writer::new(&mut buffer, 60, &mut names, b"\x01x\0\0\x02\0\x01").unwrap();
        ns(&mut writer, "x", "a.b.c").unwrap();
        let before = writer.len();
        assert_eq!(
            ns(
                &mut writer,
                "q.r.s.t.u.v",
                "long.name.that.goes.past.the.end"
            ),
            Err(Full)
        );
        assert_eq!(writer.len(), before);
        // The names it began to write are not pointed to.
        ns(&mut writer, "x", "t.u.v").unwrap();
        let len = writer.finish(0, 0);
        let mut reader = Reader::at(&buffer[..len], before);
        let record = reader.record().unwrap();
        let target = Reader::at(&buffer[..len], record.rdata_at).name().unwrap();
        assert_eq!(target.as_ref().to_string(), "t.u.v.");
    }

    /// Past 64 names the table gives up old ones, and past 16 KiB it takes none: all still reads.
    #[test]
    fn long_messages_stay_right() {
        let (mut buffer, mut names) = (vec![0u8; 65_535], Compression::default());
        let mut writer = Writer::new(&mut buffer, 65_535, &mut names, b"").unwrap();
        let text = |index: usize| format!("h{index}.s{}.example.org", index % 97);
        let mut count = 0;
        while ns(&mut writer, &text(count), &text(count * 7)).is_ok() {
            count += 1;
        }
        let len = writer.finish(0, 0);
        assert!(count > 1000 && len > 60_000);
        let mut reader = Reader::at(&buffer[..len], Header::LEN);
        for index in 0..count {
            let record = reader.record().unwrap();
            assert_eq!(
                record.owner.as_ref().to_string(),
                format!("{}.", text(index))
            );
            let target = Reader::at(&buffer[..len], record.rdata_at).name().unwrap();
            assert_eq!(target.as_ref().to_string(), format!("{}.", text(index * 7)));
        }
        assert_eq!(reader.position(), len);
    }
}
