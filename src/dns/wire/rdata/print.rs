//! Wire → text.

use std::fmt::{self, Display, Formatter, Write};
use std::net::{Ipv4Addr, Ipv6Addr};

use super::check::{check, field_len};
use super::form::{Field, form};
use super::{base, bitmap, gateway, location, prefix, service, text, time};
use crate::wire::code::RrType;
use crate::wire::name::NameRef;

/// The data of a record; shows itself as a zone file writes it. Data that is not what its type
/// says is shown in the form of RFC 3597, and so is the data of an unknown type.
#[derive(Debug, Clone, Copy)]
pub struct Rdata<'a> {
    /// Type.
    pub rr_type: RrType,
    /// Wire form, uncompressed.
    pub bytes: &'a [u8],
}

impl Display for Rdata<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Some(form) = form(self.rr_type).filter(|_| check(self.rr_type, self.bytes).is_ok())
        else {
            write!(f, r"\# {}", self.bytes.len())?;
            if !self.bytes.is_empty() {
                f.write_char(' ')?;
                base::write_hex(self.bytes, f)?;
            }
            return Ok(());
        };
        let mut rest = self.bytes;
        for (index, field) in form.iter().enumerate() {
            let length = field_len(*field, rest).map_err(|_| fmt::Error)?;
            let (part, tail) = rest.split_at_checked(length).ok_or(fmt::Error)?;
            rest = tail;
            // These bring their own space, or none if they are empty.
            let spaced = match field {
                Field::Types { .. } | Field::NxtTypes | Field::Parameters => true,
                Field::OptionalString | Field::Base64 { .. } => part.is_empty(),
                _ => false,
            };
            if index > 0 && !spaced {
                f.write_char(' ')?;
            }
            print_field(*field, part, f)?;
        }
        Ok(())
    }
}

pub(crate) fn number(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0, |number, byte| number << 8 | u64::from(*byte))
}

fn print_field(field: Field, part: &[u8], f: &mut Formatter<'_>) -> fmt::Result {
    let counted = part.get(1..).unwrap_or(&[]);
    match field {
        Field::U8
        | Field::U16
        | Field::U32
        | Field::Seconds
        | Field::Algorithm
        | Field::Digest
        | Field::CertType => write!(f, "{}", number(part)),
        Field::Scheme if part == [1] => f.write_str("NOTIFY"),
        Field::Scheme => write!(f, "{}", number(part)),
        Field::Time => time::write(number(part) as u32, f),
        Field::Ipv4 => ipv4(part, f),
        Field::Ipv6 => ipv6(part, f),
        Field::Name => Display::fmt(&NameRef::trusted(part), f),
        Field::OptionalString if part.is_empty() => Ok(()),
        Field::String | Field::OptionalString => text::write_quoted(counted, f),
        Field::Strings => print_strings(part, f),
        Field::Tag => text::write_unquoted(counted, f),
        Field::Text => text::write_quoted(part, f),
        Field::Base64 { .. } => base::write_base64(part, f),
        Field::Hex => base::write_hex(part, f),
        Field::Salt if counted.is_empty() => f.write_char('-'),
        Field::Salt => base::write_hex(counted, f),
        Field::Hash => base::write_base32hex(counted, f),
        Field::Type => write!(f, "{}", RrType(number(part) as u16)),
        Field::Types { .. } => bitmap::print(part, f),
        Field::NxtTypes => bitmap::print_bits(0, part, f),
        Field::Eui48 | Field::Eui64 => joined(
            part.chunks(1),
            '-',
            |octet, f| write!(f, "{:02x}", number(octet)),
            f,
        ),
        Field::Locator64 => joined(
            part.chunks(2),
            ':',
            |group, f| write!(f, "{:04x}", number(group)),
            f,
        ),
        Field::Nsap => {
            f.write_str("0x")?;
            base::write_hex(part, f)
        }
        Field::Location => location::print(part, f),
        Field::Prefixes => prefix::print(part, f),
        Field::IpsecKey => gateway::print_ipseckey(part, f),
        Field::Relay => gateway::print_amtrelay(part, f),
        Field::HostIdentity => gateway::print_hip(part, f),
        Field::Parameters => service::print(part, f),
    }
}

fn joined<'a>(
    parts: impl Iterator<Item = &'a [u8]>,
    separator: char,
    print: impl Fn(&[u8], &mut Formatter<'_>) -> fmt::Result,
    f: &mut Formatter<'_>,
) -> fmt::Result {
    for (index, part) in parts.enumerate() {
        if index > 0 {
            f.write_char(separator)?;
        }
        print(part, f)?;
    }
    Ok(())
}

fn print_strings(mut part: &[u8], f: &mut Formatter<'_>) -> fmt::Result {
    let mut first = true;
    while let Some((&length, rest)) = part.split_first() {
        let (string, rest) = rest
            .split_at_checked(usize::from(length))
            .ok_or(fmt::Error)?;
        if !first {
            f.write_char(' ')?;
        }
        text::write_quoted(string, f)?;
        (part, first) = (rest, false);
    }
    Ok(())
}

pub(crate) fn ipv4(bytes: &[u8], f: &mut dyn Write) -> fmt::Result {
    let octets: [u8; 4] = bytes.try_into().map_err(|_| fmt::Error)?;
    write!(f, "{}", Ipv4Addr::from(octets))
}

pub(crate) fn ipv6(bytes: &[u8], f: &mut dyn Write) -> fmt::Result {
    let octets: [u8; 16] = bytes.try_into().map_err(|_| fmt::Error)?;
    write!(f, "{}", Ipv6Addr::from(octets))
}
