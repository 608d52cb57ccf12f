//! The shape of wire form: whether octets are the data of a type, and how long each part is.

use super::form::{Field, compressible, form};
use super::{bitmap, gateway, location, prefix, service};
use crate::wire::code::RrType;
use crate::wire::name::NameRef;
use crate::wire::reader::{Malformed, Reader};

/// Octets that are not the data of their type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed record data")]
pub struct BadRdata;

impl From<Malformed> for BadRdata {
    fn from(_: Malformed) -> BadRdata {
        BadRdata
    }
}

/// True data of the type, uncompressed and nothing after it? Unknown types are not looked into.
pub fn check(rr_type: RrType, rdata: &[u8]) -> Result<(), BadRdata> {
    let Some(form) = form(rr_type) else {
        return Ok(());
    };
    let mut rest = rdata;
    for field in form {
        let length = field_len(*field, rest)?;
        rest = rest.get(length..).ok_or(BadRdata)?;
    }
    if rest.is_empty() {
        Ok(())
    } else {
        Err(BadRdata)
    }
}

/// How many octets a part takes at the front of what is left of the data.
pub(crate) fn field_len(field: Field, rest: &[u8]) -> Result<usize, BadRdata> {
    let length = match field {
        Field::U8 | Field::Algorithm | Field::Digest | Field::Scheme => 1,
        Field::U16 | Field::Type | Field::CertType => 2,
        Field::U32 | Field::Seconds | Field::Time | Field::Ipv4 => 4,
        Field::Ipv6 => 16,
        Field::Eui48 => 6,
        Field::Eui64 | Field::Locator64 => 8,
        Field::Name => NameRef::split_wire(rest)
            .map(|(name, _)| name.wire().len())
            .map_err(|_| BadRdata)?,
        Field::OptionalString if rest.is_empty() => 0,
        Field::String | Field::OptionalString | Field::Salt => string_len(rest)?,
        // RFC 5155 3.2: a hash is at least one octet.
        Field::Hash => Some(string_len(rest)?)
            .filter(|len| *len > 1)
            .ok_or(BadRdata)?,
        Field::Tag => tag_len(rest)?,
        Field::Strings => strings(rest)?,
        Field::Text => rest.len(),
        Field::Base64 { optional } => nonempty(rest, optional)?,
        Field::Hex | Field::Nsap => nonempty(rest, false)?,
        Field::Types { optional } => bitmap::check(rest, optional).map(|()| rest.len())?,
        Field::NxtTypes => bitmap::check_nxt(rest).map(|()| rest.len())?,
        Field::Location => location::check(rest).map(|()| rest.len())?,
        Field::Prefixes => prefix::check(rest).map(|()| rest.len())?,
        Field::IpsecKey => gateway::check_ipseckey(rest).map(|()| rest.len())?,
        Field::Relay => gateway::check_amtrelay(rest).map(|()| rest.len())?,
        Field::HostIdentity => gateway::check_hip(rest).map(|()| rest.len())?,
        Field::Parameters => service::check(rest).map(|()| rest.len())?,
    };
    if length <= rest.len() {
        Ok(length)
    } else {
        Err(BadRdata)
    }
}

fn nonempty(rest: &[u8], optional: bool) -> Result<usize, BadRdata> {
    if rest.is_empty() && !optional {
        Err(BadRdata)
    } else {
        Ok(rest.len())
    }
}

fn string_len(rest: &[u8]) -> Result<usize, BadRdata> {
    rest.first()
        .map(|length| 1 + usize::from(*length))
        .ok_or(BadRdata)
}

/// RFC 8659 4.1: letters and digits, at least one.
fn tag_len(rest: &[u8]) -> Result<usize, BadRdata> {
    let length = string_len(rest)?;
    let tag = rest.get(1..length).ok_or(BadRdata)?;
    let valid = !tag.is_empty() && tag.iter().all(u8::is_ascii_alphanumeric);
    if valid { Ok(length) } else { Err(BadRdata) }
}

fn strings(rest: &[u8]) -> Result<usize, BadRdata> {
    let mut left = rest;
    while !left.is_empty() {
        left = left.get(string_len(left)?..).ok_or(BadRdata)?;
    }
    nonempty(rest, false)
}

/// Types outside RFC 1035 whose names older software compresses all the same, so that a reader
/// must undo it (RFC 3597 4).
fn decompressible(rr_type: RrType) -> bool {
    use RrType as T;
    compressible(rr_type)
        || matches!(
            rr_type,
            T::RP
                | T::AFSDB
                | T::RT
                | T::SIG
                | T::PX
                | T::NXT
                | T::NAPTR
                | T::SRV
                | T::KX
                | T::DNAME
        )
}

/// Reads the data of a record out of a message, undoes compression, checks it, and appends it.
pub fn decompress(
    rr_type: RrType,
    message: &[u8],
    at: usize,
    length: usize,
    out: &mut Vec<u8>,
) -> Result<(), BadRdata> {
    let end = at.checked_add(length).ok_or(BadRdata)?;
    let rdata = message.get(at..end).ok_or(BadRdata)?;
    let Some(form) = form(rr_type).filter(|_| decompressible(rr_type)) else {
        check(rr_type, rdata)?;
        out.extend_from_slice(rdata);
        return Ok(());
    };
    // Cut at the end of the data, so that nothing is read past it; pointers lead backwards.
    let message = message.get(..end).ok_or(BadRdata)?;
    let mut reader = Reader::at(message, at);
    for field in form {
        if *field == Field::Name {
            out.extend_from_slice(reader.name()?.as_ref().wire());
        } else {
            let rest = message.get(reader.position()..).ok_or(BadRdata)?;
            out.extend_from_slice(reader.bytes(field_len(*field, rest)?)?);
        }
    }
    if reader.position() == end {
        Ok(())
    } else {
        Err(BadRdata)
    }
}

/// Appends data in the form in which records are compared (RFC 4034 6.2): letters of the names
/// that old types hold in lower case.
pub(crate) fn canonical_into(rr_type: RrType, rdata: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(rdata);
    // RFC 6840 5.1 takes NSEC off the list; RRSIG is on it, and newer types never are.
    let listed = decompressible(rr_type) || rr_type == RrType::RRSIG;
    let Some(form) = form(rr_type).filter(|_| listed) else {
        return;
    };
    let mut at = 0;
    for field in form {
        let Ok(length) = field_len(*field, rdata.get(at..).unwrap_or(&[])) else {
            return;
        };
        if *field == Field::Name
            && let Some(name) = out.get_mut(start + at..start + at + length)
        {
            name.make_ascii_lowercase();
        }
        at += length;
    }
}
