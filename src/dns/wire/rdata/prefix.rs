//! APL: address prefixes (RFC 3123).

use std::fmt::{self, Formatter, Write};
use std::net::{Ipv4Addr, Ipv6Addr};

use super::check::BadRdata;
use super::parse::{Fields, RdataError, push_u16, read_number};

const WHAT: &str = "an address prefix (1:192.0.2.0/24, !2:2001:db8::/32)";

pub(crate) fn parse(fields: &mut Fields<'_>, out: &mut Vec<u8>) -> Result<(), RdataError> {
    while !fields.is_empty() {
        let word = fields.word(WHAT)?;
        let item = read(word).ok_or_else(|| fields.bad(WHAT))?;
        push_u16(out, item.family);
        // Zero octets at the end are not sent (RFC 3123 4).
        let length = item
            .address
            .iter()
            .rposition(|octet| *octet != 0)
            .map_or(0, |at| at + 1);
        out.extend_from_slice(&[item.prefix, u8::from(item.negated) << 7 | length as u8]);
        out.extend(item.address.iter().take(length));
    }
    Ok(())
}

struct Item {
    family: u16,
    prefix: u8,
    negated: bool,
    address: Vec<u8>,
}

fn read(word: &str) -> Option<Item> {
    let (negated, word) = word
        .strip_prefix('!')
        .map_or((false, word), |word| (true, word));
    let (family, rest) = word.split_once(':')?;
    let (address, prefix) = rest.rsplit_once('/')?;
    let prefix: u8 = read_number(prefix.as_bytes())?.try_into().ok()?;
    let (family, address) = match family {
        "1" => (1, address.parse::<Ipv4Addr>().ok()?.octets().to_vec()),
        "2" => (2, address.parse::<Ipv6Addr>().ok()?.octets().to_vec()),
        _ => return None,
    };
    (usize::from(prefix) <= address.len() * 8).then_some(Item {
        family,
        prefix,
        negated,
        address,
    })
}

fn items(mut bytes: &[u8]) -> impl Iterator<Item = Result<Item, BadRdata>> {
    std::iter::from_fn(move || {
        if bytes.is_empty() {
            return None;
        }
        let item = split(bytes);
        bytes = item.as_ref().map_or(&[][..], |(_, rest)| *rest);
        Some(item.map(|(item, _)| item).ok_or(BadRdata))
    })
}

fn split(bytes: &[u8]) -> Option<(Item, &[u8])> {
    let (&[f1, f0, prefix, length], rest) = bytes.split_first_chunk::<4>()?;
    let (part, rest) = rest.split_at_checked(usize::from(length & 0x7f))?;
    let family = u16::from_be_bytes([f1, f0]);
    let full = match family {
        1 => 4,
        2 => 16,
        _ => return None,
    };
    let valid = part.len() <= full
        && usize::from(prefix) <= full * 8
        && part.last().is_none_or(|last| *last != 0);
    let mut address = part.to_vec();
    address.resize(full, 0);
    valid.then_some((
        Item {
            family,
            prefix,
            negated: length & 0x80 != 0,
            address,
        },
        rest,
    ))
}

pub(crate) fn check(bytes: &[u8]) -> Result<(), BadRdata> {
    items(bytes).try_for_each(|item| item.map(|_| ()))
}

pub(crate) fn print(bytes: &[u8], f: &mut Formatter<'_>) -> fmt::Result {
    for (index, item) in items(bytes).flatten().enumerate() {
        if index > 0 {
            f.write_char(' ')?;
        }
        write!(f, "{}{}:", if item.negated { "!" } else { "" }, item.family)?;
        match item.family {
            1 => super::print::ipv4(&item.address, f)?,
            _ => super::print::ipv6(&item.address, f)?,
        }
        write!(f, "/{}", item.prefix)?;
    }
    Ok(())
}
