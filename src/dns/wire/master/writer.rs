//! Zone → text, in the form that every reader of zone files takes.

use std::fmt;

use super::records::{Record, Records};
use crate::wire::code::RrType;
use crate::wire::name::NameRef;
use crate::wire::rdata::Rdata;

/// Records, shown as a zone file: absolute names, every TTL said, one record a line.
#[derive(Debug, Clone, Copy)]
pub struct ZoneText<'a>(pub &'a Records);

impl fmt::Display for ZoneText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = |record: &Record| {
            let owner = self.0.owner(record);
            write_record(f, owner, record.ttl, record.rr_type, self.0.rdata(record))
        };
        self.0.iter().try_for_each(&mut line)
    }
}

/// Writes one record and a newline.
pub fn write_record(
    out: &mut dyn fmt::Write,
    owner: NameRef<'_>,
    ttl: u32,
    rr_type: RrType,
    rdata: &[u8],
) -> fmt::Result {
    writeln!(
        out,
        "{owner}\t{ttl}\tIN\t{rr_type}\t{}",
        Rdata {
            rr_type,
            bytes: rdata
        }
    )
}
