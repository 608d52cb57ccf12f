//! A journal: what has happened to a zone since its file was written, and before, as far back as
//! secondaries may ask.
//!
//! A file of entries, each with its length and a digest. It only ever grows at its end, and an
//! entry is on the disk before anybody is told that it counts. An entry that a crash cut off is
//! one that nobody was told of, and goes; a broken entry with others behind it is an error. The
//! length has a digest of its own: a broken one would else look like an entry that was cut off,
//! with all that are behind it.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use aws_lc_rs::digest;

use super::durable::{self, Step, check};
use crate::engine::change::Change;
use crate::engine::zone::Zone;
use crate::wire::code::{Class, RrType};
use crate::wire::name::NameRef;
use crate::wire::rdata::canonical_into;
use crate::wire::reader::Reader;
use crate::wire::record::OwnRecord;

const MAGIC: &[u8; 16] = b"omnid journal 2\n";
/// Of journals whose entries have no digest of their heads: read, and written anew when opened.
const OLD_MAGIC: &[u8; 16] = b"omnid journal 1\n";
/// Octets before an entry's own: length, digest, and a digest of these two.
const HEAD: usize = OLD_HEAD + CHECK;
const OLD_HEAD: usize = 4 + CHECK;
const CHECK: usize = 8;
/// Largest entry.
const MAX_ENTRY: usize = 1 << 30;

/// An entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Entry {
    /// The zone's file was written, or read, with this content.
    Base([u8; 32]),
    /// The zone changed.
    Change(Change),
    /// The file is the operator's to edit, until the next entry.
    Frozen,
}

/// The digest of a zone's records: what tells whether a file is the one that a journal goes with.
pub(crate) fn zone_digest(zone: &Zone) -> [u8; 32] {
    let mut context = digest::Context::new(&digest::SHA256);
    let mut rdata = Vec::new();
    for id in zone.node_ids() {
        for set in zone.sets(id) {
            context.update(&zone.name(id).wire().to_ascii_lowercase());
            context.update(&set.rr_type.0.to_be_bytes());
            context.update(&set.ttl.to_be_bytes());
            for (row, _) in set.records() {
                rdata.clear();
                canonical_into(set.rr_type, row, &mut rdata);
                context.update(&(rdata.len() as u32).to_be_bytes());
                context.update(&rdata);
            }
        }
    }
    let mut digest = [0; 32];
    digest
        .iter_mut()
        .zip(context.finish().as_ref())
        .for_each(|(to, from)| *to = *from);
    digest
}

/// A journal open for writing.
#[derive(Debug)]
pub(crate) struct Journal {
    path: PathBuf,
    /// None until the first entry is to be written.
    file: Option<File>,
    len: u64,
    /// There may be octets behind the last entry that belong to none.
    ragged: bool,
    /// The directory may not have it on the disk yet that the name leads to this file.
    unnamed: bool,
}

/// What a journal holds.
#[derive(Debug, Default)]
pub(crate) struct Contents {
    pub(crate) entries: Vec<Entry>,
    /// Octets of whole entries.
    pub(crate) len: u64,
    /// Octets behind them that a crash left.
    pub(crate) torn: u64,
    /// It is in the form before this one.
    old: bool,
}

/// Reads a journal; one that does not exist is empty.
pub(crate) fn read(path: &Path) -> io::Result<Contents> {
    let mut bytes = Vec::new();
    match File::open(path) {
        Ok(mut file) => file.read_to_end(&mut bytes)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Contents::default()),
        Err(error) => return Err(error),
    };
    parse(&bytes).map_err(|at| {
        let message = format!("{}: broken at octet {at}", path.display());
        io::Error::new(io::ErrorKind::InvalidData, message)
    })
}

/// Reads the octets of a journal; where they are broken other than by a crash, gives the place.
pub(crate) fn parse(bytes: &[u8]) -> Result<Contents, usize> {
    let old = bytes.starts_with(OLD_MAGIC);
    let torn = |len: usize, entries| {
        Ok(Contents {
            entries,
            len: len as u64,
            torn: (bytes.len() - len) as u64,
            old,
        })
    };
    let blank = |bytes: &[u8]| bytes.iter().all(|octet| *octet == 0);
    let (magic, head_len) = if old {
        (OLD_MAGIC, OLD_HEAD)
    } else {
        (MAGIC, HEAD)
    };
    let Some(mut rest) = bytes.strip_prefix(magic) else {
        let end = bytes.iter().rposition(|octet| *octet != 0);
        let written = bytes.get(..end.map_or(0, |at| at + 1)).unwrap_or_default();
        let begun = MAGIC.starts_with(written) || OLD_MAGIC.starts_with(written);
        return if begun { torn(0, Vec::new()) } else { Err(0) };
    };
    let mut entries = Vec::new();
    while !rest.is_empty() {
        let at = bytes.len() - rest.len();
        let head = rest.split_at_checked(head_len);
        if let Some((head, tail)) = head
            && let Some((fields, check)) = head.split_at_checked(OLD_HEAD)
            && !old
            && check_of(fields) != check
        {
            // Its end may never have been written; with anything behind it, it was.
            return if blank(tail) {
                torn(at, entries)
            } else {
                Err(at)
            };
        }
        let body = head.and_then(|(head, tail)| {
            let (length, rest) = head.split_first_chunk::<4>()?;
            let (body, tail) = tail.split_at_checked(u32::from_be_bytes(*length) as usize)?;
            Some((rest.get(..CHECK)?, body, tail))
        });
        let Some((check, body, tail)) = body else {
            // Longer than the file: its end was never written.
            return torn(at, entries);
        };
        let whole = check_of(body).as_slice() == check;
        let entry = if whole { read_entry(body) } else { None };
        match entry {
            Some(entry) => entries.push(entry),
            // The last entry, with room behind it that the file system set aside and never filled.
            None if blank(tail) => {
                return if whole { Err(at) } else { torn(at, entries) };
            }
            None => return Err(at),
        }
        rest = tail;
    }
    torn(bytes.len(), entries)
}

/// Reads any octets: none may do harm, and what is read is written the same.
pub(crate) fn fuzz_journal(bytes: &[u8]) {
    if let Some(entry) = read_entry(bytes) {
        let mut written = Vec::new();
        assert!(write_entry(&entry, &mut written).is_ok());
        assert_eq!(written.get(HEAD..), Some(bytes));
    }
    if let Ok(contents) = parse(bytes) {
        assert!(contents.len + contents.torn == bytes.len() as u64);
    }
}

fn check_of(bytes: &[u8]) -> [u8; CHECK] {
    let digest = digest::digest(&digest::SHA256, bytes);
    let mut check = [0; CHECK];
    check
        .iter_mut()
        .zip(digest.as_ref())
        .for_each(|(to, from)| *to = *from);
    check
}

fn read_entry(body: &[u8]) -> Option<Entry> {
    let (kind, rest) = body.split_first()?;
    match kind {
        b'B' => Some(Entry::Base(rest.try_into().ok()?)),
        b'F' => rest.is_empty().then_some(Entry::Frozen),
        b'C' => {
            let mut reader = Reader::new(rest);
            let (from, to) = (reader.u32().ok()?, reader.u32().ok()?);
            let counts = [reader.u32().ok()?, reader.u32().ok()?];
            let [removed, added] = counts.map(|count| {
                let mut records = Vec::new();
                for _ in 0..count {
                    records.push(read_record(rest, &mut reader)?);
                }
                Some(records)
            });
            (reader.position() == rest.len()).then_some(Entry::Change(Change {
                from,
                to,
                removed: removed?,
                added: added?,
            }))
        }
        _ => None,
    }
}

fn read_record(bytes: &[u8], reader: &mut Reader<'_>) -> Option<OwnRecord> {
    let (owner, _) = NameRef::split_wire(bytes.get(reader.position()..)?).ok()?;
    reader.bytes(owner.wire().len()).ok()?;
    let rr_type = RrType(reader.u16().ok()?);
    let ttl = reader.u32().ok()?;
    let length = reader.u16().ok()?;
    let rdata = reader.bytes(length.into()).ok()?;
    crate::wire::rdata::check(rr_type, rdata).ok()?;
    Some(OwnRecord {
        owner: owner.to_owned(),
        rr_type,
        class: Class::IN,
        ttl,
        rdata: rdata.to_vec(),
    })
}

fn write_entry(entry: &Entry, to: &mut Vec<u8>) -> io::Result<()> {
    let mut body = Vec::new();
    match entry {
        Entry::Base(digest) => {
            body.push(b'B');
            body.extend(digest);
        }
        Entry::Frozen => body.push(b'F'),
        Entry::Change(change) => {
            body.push(b'C');
            let counts = [change.removed.len() as u32, change.added.len() as u32];
            for number in [change.from, change.to].into_iter().chain(counts) {
                body.extend(number.to_be_bytes());
            }
            for record in change.removed.iter().chain(&change.added) {
                body.extend(record.owner.as_ref().wire());
                body.extend(record.rr_type.0.to_be_bytes());
                body.extend(record.ttl.to_be_bytes());
                body.extend((record.rdata.len() as u16).to_be_bytes());
                body.extend(&record.rdata);
            }
        }
    }
    if body.len() > MAX_ENTRY {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            "the change is too large",
        ));
    }
    let mut head = (body.len() as u32).to_be_bytes().to_vec();
    head.extend(check_of(&body));
    to.extend(&head);
    to.extend(check_of(&head));
    to.extend(body);
    Ok(())
}

impl Journal {
    /// Opens a journal whose contents were read, and cuts off what a crash left.
    pub(crate) fn open(path: &Path, contents: &Contents) -> io::Result<Journal> {
        let mut journal = Journal {
            path: path.to_owned(),
            file: None,
            len: contents.len,
            ragged: false,
            unnamed: false,
        };
        if contents.old {
            journal.rewrite(&contents.entries)?;
        } else if contents.len > 0 || contents.torn > 0 {
            let file = OpenOptions::new().read(true).write(true).open(path)?;
            file.set_len(contents.len)?;
            journal.file = Some(file);
        }
        Ok(journal)
    }

    /// Octets of it.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// Appends entries; they are on the disk when this returns. After an error the journal is as
    /// it was before.
    pub(crate) fn append(&mut self, entries: &[Entry]) -> io::Result<()> {
        let mut bytes = Vec::new();
        if self.len == 0 {
            bytes.extend(MAGIC);
        }
        for entry in entries {
            write_entry(entry, &mut bytes)?;
        }
        if self.file.is_none() {
            std::fs::create_dir_all(self.path.parent().unwrap_or(Path::new(".")))?;
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .open(&self.path)?;
            (self.file, self.unnamed) = (Some(file), true);
        }
        self.settle()?;
        let Some(file) = &mut self.file else {
            return Err(io::ErrorKind::NotFound.into());
        };
        self.ragged = true;
        let written = file
            .seek(SeekFrom::Start(self.len))
            .and_then(|_| check(Step::Write))
            .and_then(|()| file.write_all(&bytes))
            .and_then(|()| check(Step::Sync))
            .and_then(|()| file.sync_data());
        if let Err(error) = written {
            // What was written of it is not to be found by a later start.
            self.settle()?;
            return Err(error);
        }
        self.ragged = false;
        self.len += bytes.len() as u64;
        Ok(())
    }

    /// Makes up for what failed before: without it an entry could be written where no later start
    /// finds it, or in front of the rest of another.
    fn settle(&mut self) -> io::Result<()> {
        if let Some(file) = self.file.as_ref().filter(|_| self.ragged) {
            check(Step::Truncate)?;
            file.set_len(self.len)?;
            self.ragged = false;
        }
        if self.unnamed {
            durable::sync_directory(&self.path)?;
            self.unnamed = false;
        }
        Ok(())
    }

    /// Puts other entries in place of all of them, in one step.
    pub(crate) fn rewrite(&mut self, entries: &[Entry]) -> io::Result<()> {
        let mut bytes = MAGIC.to_vec();
        for entry in entries {
            write_entry(entry, &mut bytes)?;
        }
        // The name leads to this file from here on, whatever fails behind: the one before is no
        // journal any more.
        self.file = Some(durable::replace(&self.path, &bytes)?);
        self.len = bytes.len() as u64;
        (self.ragged, self.unnamed) = (false, true);
        self.settle()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use crate::data::durable::faults::failing;
    use crate::engine::zone::tests::load;

    fn entries() -> Vec<Entry> {
        let zone = |serial: u32, rows: &str| {
            let text =
                format!("$TTL 9\n@ SOA ns hm {serial} 2 3 4 5\n@ NS ns\nns A 192.0.2.1\n{rows}");
            load("example.org", &text).zone.unwrap()
        };
        let (old, new) = (zone(1, "a TXT x"), zone(2, "b MX 1 c\nc AAAA ::1"));
        vec![
            Entry::Base(zone_digest(&old)),
            Entry::Change(Change::between(&old, &new).unwrap()),
            Entry::Base(zone_digest(&new)),
            Entry::Change(Change::between(&new, &zone(3, "")).unwrap()),
            Entry::Frozen,
        ]
    }

    /// A crash may cut the file at any octet: what was whole is still there, and can be added to.
    #[test]
    fn cut_off_anywhere() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("zone.journal");
        let mut journal = Journal::open(&path, &read(&path).unwrap()).unwrap();
        let all = entries();
        let mut ends = Vec::new();
        for entry in &all {
            journal.append(std::slice::from_ref(entry)).unwrap();
            ends.push(journal.len() as usize);
        }
        let bytes = std::fs::read(&path).unwrap();
        assert_eq!(parse(&bytes).unwrap().entries, all);
        for cut in 0..bytes.len() {
            let contents = parse(&bytes[..cut]).unwrap();
            let whole = ends.iter().filter(|end| **end <= cut).count();
            assert_eq!(contents.entries, all[..whole], "cut at {cut}");
            std::fs::write(&path, [&bytes[..cut], &[0; 5000]].concat()).unwrap();
            let contents = read(&path).unwrap();
            assert!(contents.entries.len() >= whole);
            let kept = contents.entries.len();
            let mut journal = Journal::open(&path, &contents).unwrap();
            journal.append(&[Entry::Frozen]).unwrap();
            assert_eq!(read(&path).unwrap().entries.len(), kept + 1);
        }
    }

    #[test]
    fn broken_in_the_middle() {
        let mut bytes = MAGIC.to_vec();
        for entry in entries() {
            write_entry(&entry, &mut bytes).unwrap();
        }
        bytes[MAGIC.len() + HEAD + 3] ^= 1;
        assert_eq!(parse(&bytes).err(), Some(MAGIC.len()));
        assert_eq!(parse(b"something else").err(), Some(0));
    }

    /// One bit that is not as it was written, anywhere but in what the last entry says, takes no
    /// entry away in silence.
    #[test]
    fn a_bit_that_turns() {
        let mut bytes = MAGIC.to_vec();
        for entry in entries() {
            write_entry(&entry, &mut bytes).unwrap();
        }
        // The last one is of one octet.
        for bit in 0..(bytes.len() - 1) * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            let parsed = parse(&bytes);
            assert!(parsed.is_err(), "bit {bit}: {parsed:?}");
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
    }

    #[test]
    fn the_form_before_this_one() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("zone.journal");
        let mut bytes = OLD_MAGIC.to_vec();
        for entry in entries() {
            let mut written = Vec::new();
            write_entry(&entry, &mut written).unwrap();
            written.drain(OLD_HEAD..HEAD);
            bytes.extend(written);
        }
        for torn in [0, 7] {
            let cut = [&bytes[..], &bytes[16..16 + torn]].concat();
            std::fs::write(&path, &cut).unwrap();
            let contents = read(&path).unwrap();
            assert_eq!(contents.entries, entries());
            assert_eq!(contents.torn, torn as u64);
            let mut journal = Journal::open(&path, &contents).unwrap();
            journal.append(&[Entry::Frozen]).unwrap();
            assert!(std::fs::read(&path).unwrap().starts_with(MAGIC));
            let now = read(&path).unwrap();
            assert_eq!(now.entries[..entries().len()], entries());
            assert_eq!((now.entries.len(), now.torn), (entries().len() + 1, 0));
        }
    }

    /// Whatever fails: an entry that was taken is read again, and one that was not is not.
    #[test]
    fn steps_that_fail() {
        let all = entries();
        let steps = [
            Step::Write,
            Step::Sync,
            Step::Truncate,
            Step::Rename,
            Step::SyncDirectory,
        ];
        for first in steps {
            for second in steps {
                let directory = tempfile::tempdir().unwrap();
                let path = directory.path().join("dns/zone.journal");
                let mut journal = Journal::open(&path, &read(&path).unwrap()).unwrap();
                let mut taken = Vec::new();
                for entry in &all {
                    let one = std::slice::from_ref(entry);
                    if failing(&[first, second], || journal.append(one)).is_ok() {
                        taken.push(entry.clone());
                    }
                    // Longer than what comes next, so that something of it would be left over.
                    if failing(&[first, second], || journal.append(&all)).is_ok() {
                        taken.extend(all.iter().cloned());
                    }
                    journal.append(one).unwrap();
                    taken.push(entry.clone());
                    let case = format!("{first:?} {second:?}");
                    assert_eq!(read(&path).unwrap().entries, taken, "{case}");

                    // Either the old entries or the new ones, and what is added is added to those.
                    let before = read(&path).unwrap().entries;
                    let rewritten = failing(&[first, second], || journal.rewrite(&all));
                    taken = read(&path).unwrap().entries;
                    assert!(
                        taken == all || rewritten.is_err() && taken == before,
                        "{case}"
                    );
                    journal.append(one).unwrap();
                    taken.push(entry.clone());
                    assert_eq!(read(&path).unwrap().entries, taken, "{case}");
                }
            }
        }
    }
}
