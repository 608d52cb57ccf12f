//! A record by itself, off the hot path: out of a message, a script or another service.

use std::fmt;

use super::code::{Class, RrType};
use super::master::tokens_of;
use super::name::{Name, NameRef};
use super::rdata::{Fields, Rdata, parse};

/// A record that owns its parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnRecord {
    /// Whose it is.
    pub owner: Name,
    /// Type.
    pub rr_type: RrType,
    /// Class.
    pub class: Class,
    /// Time to live.
    pub ttl: u32,
    /// Data in wire form.
    pub rdata: Vec<u8>,
}

/// Longest time to live.
pub const MAX_TTL: u32 = i32::MAX as u32;

/// A time to live as a peer wrote it: one with the highest bit set counts for none at all
/// (RFC 2181 8), as it does in a zone's file.
pub fn read_ttl(ttl: u32) -> u32 {
    if ttl > MAX_TTL { 0 } else { ttl }
}

impl OwnRecord {
    /// A record of class IN with its data as a zone file would have it; names in it are absolute.
    pub fn from_text(
        owner: Name,
        rr_type: RrType,
        ttl: u32,
        data: &str,
    ) -> Result<OwnRecord, String> {
        if rr_type.is_meta() {
            return Err(format!("{rr_type} records cannot stand in a zone"));
        }
        let tokens = tokens_of(data.as_bytes()).map_err(|error| error.message.to_owned())?;
        let mut rdata = Vec::new();
        parse(
            rr_type,
            &mut Fields::new(&tokens, Some(NameRef::ROOT)),
            &mut rdata,
        )
        .map_err(|error| error.message)?;
        Ok(OwnRecord {
            owner,
            rr_type,
            class: Class::IN,
            ttl,
            rdata,
        })
    }
}

impl fmt::Display for OwnRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let OwnRecord {
            owner,
            rr_type,
            class,
            ttl,
            rdata,
        } = self;
        let data = Rdata {
            rr_type: *rr_type,
            bytes: rdata,
        };
        write!(f, "{owner} {ttl} {class} {rr_type} {data}")
    }
}
