//! What comes out of a zone file: records in one arena, and faults with the places they are at.

use std::fmt;
use std::sync::Arc;

use crate::wire::code::RrType;
use crate::wire::name::NameRef;
use crate::wire::rdata::Rdata;

/// A place in one of the files of a zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Index of the file.
    pub file: u32,
    /// Offset in it.
    pub at: u32,
}

/// A record, its octets kept in [`Records`].
#[derive(Debug, Clone, Copy)]
pub struct Record {
    owner: u32,
    rdata: u32,
    rdata_len: u16,
    /// Type.
    pub rr_type: RrType,
    /// Time to live.
    pub ttl: u32,
    /// Where it was read.
    pub place: Place,
}

/// Records in the order they were read.
#[derive(Debug, Default)]
pub struct Records {
    arena: Vec<u8>,
    list: Vec<Record>,
}

/// More octets than a zone may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooLarge;

impl Records {
    /// The records.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Record> {
        self.list.iter()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// True without records.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The record at an index.
    pub fn get(&self, index: usize) -> Option<&Record> {
        self.list.get(index)
    }

    /// Whose a record is.
    pub fn owner(&self, record: &Record) -> NameRef<'_> {
        let bytes = self.arena.get(record.owner as usize..).unwrap_or(&[0]);
        NameRef::split_wire(bytes).map_or(NameRef::ROOT, |(name, _)| name)
    }

    /// A record's data in wire form.
    pub fn rdata(&self, record: &Record) -> &[u8] {
        let start = record.rdata as usize;
        self.arena
            .get(start..start + usize::from(record.rdata_len))
            .unwrap_or(&[])
    }

    /// A record's data, to be shown.
    pub fn shown(&self, record: &Record) -> Rdata<'_> {
        Rdata {
            rr_type: record.rr_type,
            bytes: self.rdata(record),
        }
    }

    /// True if two records have the same owner object; false says nothing.
    pub(crate) fn same_owner_object(left: &Record, right: &Record) -> bool {
        left.owner == right.owner
    }

    /// Adds a record.
    pub fn push(
        &mut self,
        owner: NameRef<'_>,
        rr_type: RrType,
        ttl: u32,
        rdata: &[u8],
        place: Place,
    ) -> Result<(), TooLarge> {
        let owner = match self.list.last() {
            Some(last) if self.owner(last).same_bytes(owner) => last.owner,
            _ => self.append(owner.wire())?,
        };
        let rdata_len = u16::try_from(rdata.len()).map_err(|_| TooLarge)?;
        let rdata = self.append(rdata)?;
        self.list.push(Record {
            owner,
            rdata,
            rdata_len,
            rr_type,
            ttl,
            place,
        });
        Ok(())
    }

    fn append(&mut self, bytes: &[u8]) -> Result<u32, TooLarge> {
        let at = u32::try_from(self.arena.len()).map_err(|_| TooLarge)?;
        self.arena.extend_from_slice(bytes);
        Ok(at)
    }
}

/// How bad a fault is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// The zone cannot be served.
    Error,
    /// The zone can be served, but something in it is hardly meant.
    Warning,
}

/// Something wrong in a zone file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// How bad.
    pub severity: Severity,
    /// What is wrong.
    pub message: String,
    /// Where; then, if that file was included, where from, and so on outwards. Empty if the fault
    /// is one of the zone and not of a place in it.
    pub at: Vec<Position>,
}

/// A place as a person reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    /// File.
    pub file: Arc<str>,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut places = self.at.iter();
        if let Some(place) = places.next() {
            write!(f, "{place}: ")?;
        }
        f.write_str(&self.message)?;
        places.try_for_each(|place| write!(f, "\n  included from {place}"))
    }
}

/// The files of a zone, kept while faults may still be found in them.
#[derive(Debug, Default)]
pub struct Sources {
    files: Vec<Source>,
}

#[derive(Debug)]
struct Source {
    name: Arc<str>,
    text: Arc<[u8]>,
    included_from: Option<Place>,
}

impl Sources {
    pub(crate) fn add(
        &mut self,
        name: Arc<str>,
        text: Arc<[u8]>,
        included_from: Option<Place>,
    ) -> u32 {
        self.files.push(Source {
            name,
            text,
            included_from,
        });
        self.files.len() as u32 - 1
    }

    pub(crate) fn name(&self, file: u32) -> Arc<str> {
        self.files
            .get(file as usize)
            .map_or_else(|| "".into(), |source| source.name.clone())
    }

    /// The names of the files, the zone's own first.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.files.iter().map(|source| &*source.name)
    }

    /// How deep a file is included, the outermost counting zero.
    pub(crate) fn depth(&self, file: u32) -> usize {
        self.chain(Place { file, at: 0 }).count() - 1
    }

    fn chain(&self, place: Place) -> impl Iterator<Item = Place> {
        std::iter::successors(Some(place), |place| {
            self.files
                .get(place.file as usize)
                .and_then(|source| source.included_from)
        })
    }

    /// A fault at a place.
    pub fn fault(&self, severity: Severity, place: Place, message: String) -> Fault {
        Fault {
            severity,
            message,
            at: self
                .chain(place)
                .map(|place| self.position(place))
                .collect(),
        }
    }

    fn position(&self, place: Place) -> Position {
        let Some(source) = self.files.get(place.file as usize) else {
            return Position {
                file: "".into(),
                line: 0,
                column: 0,
            };
        };
        let before = source.text.get(..place.at as usize).unwrap_or(&source.text);
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        let start = before
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |at| at + 1);
        let head = String::from_utf8_lossy(before.get(start..).unwrap_or(&[]))
            .chars()
            .count();
        Position {
            file: source.name.clone(),
            line,
            column: head + 1,
        }
    }
}
