//! Rows of record types: the windowed bitmap of NSEC (RFC 4034 4.1.2) and the flat one of NXT
//! (RFC 2535 5.2).

use std::fmt::{self, Write};

use super::check::BadRdata;
use super::parse::{Fields, RdataError};
use crate::wire::code::RrType;

pub(crate) fn parse(
    fields: &mut Fields<'_>,
    optional: bool,
    out: &mut Vec<u8>,
) -> Result<(), RdataError> {
    if !optional && fields.is_empty() {
        fields.take("a record type")?;
    }
    let mut types = Vec::new();
    while !fields.is_empty() {
        let token = fields.take("a record type")?;
        types.push(
            RrType::from_text(token.text)
                .ok_or_else(|| fields.bad("a record type"))?
                .0,
        );
    }
    types.sort_unstable();
    for window in types.chunk_by(|left, right| left >> 8 == right >> 8) {
        let mut bits = [0u8; 32];
        let mut length = 0;
        for rr_type in window {
            let index = usize::from(rr_type >> 3 & 31);
            if let Some(octet) = bits.get_mut(index) {
                *octet |= 0x80 >> (rr_type & 7);
                length = index + 1;
            }
        }
        let number = window.first().map_or(0, |rr_type| (rr_type >> 8) as u8);
        out.extend_from_slice(&[number, length as u8]);
        out.extend_from_slice(bits.get(..length).unwrap_or(&[]));
    }
    Ok(())
}

pub(crate) fn parse_nxt(fields: &mut Fields<'_>, out: &mut Vec<u8>) -> Result<(), RdataError> {
    let mut bits = [0u8; 16];
    let mut length = 0;
    while !fields.is_empty() {
        let token = fields.take("a record type")?;
        let rr_type = RrType::from_text(token.text).ok_or_else(|| fields.bad("a record type"))?;
        let index = usize::from(rr_type.0 >> 3);
        let octet = bits
            .get_mut(index)
            .ok_or_else(|| fields.bad("a record type below 128"))?;
        *octet |= 0x80 >> (rr_type.0 & 7);
        length = length.max(index + 1);
    }
    out.extend_from_slice(bits.get(..length).unwrap_or(&[]));
    Ok(())
}

/// Windows in rising order, each of 1 to 32 octets, the last of which is not zero.
pub(crate) fn check(bytes: &[u8], optional: bool) -> Result<(), BadRdata> {
    if bytes.is_empty() && !optional {
        return Err(BadRdata);
    }
    windows(bytes).try_fold(None, |previous, window| {
        let (number, bits) = window?;
        let rising = previous.is_none_or(|previous| number > previous);
        let ends = bits.last().is_some_and(|last| *last != 0);
        if rising && ends {
            Ok(Some(number))
        } else {
            Err(BadRdata)
        }
    })?;
    Ok(())
}

/// Types below 128, no zero octet at the end; the first bit set would mean another format.
pub(crate) fn check_nxt(bytes: &[u8]) -> Result<(), BadRdata> {
    let ends = bytes.last().is_none_or(|last| *last != 0);
    let known = bytes.first().is_none_or(|first| first & 0x80 == 0);
    if bytes.len() <= 16 && ends && known {
        Ok(())
    } else {
        Err(BadRdata)
    }
}

fn windows(mut bytes: &[u8]) -> impl Iterator<Item = Result<(u8, &[u8]), BadRdata>> {
    std::iter::from_fn(move || {
        let (&number, rest) = bytes.split_first()?;
        let window = rest.split_first().and_then(|(&length, rest)| {
            rest.split_at_checked(usize::from(length))
                .filter(|_| (1..=32).contains(&length))
        });
        let Some((bits, rest)) = window else {
            bytes = &[];
            return Some(Err(BadRdata));
        };
        bytes = rest;
        Some(Ok((number, bits)))
    })
}

pub(crate) fn print(bytes: &[u8], out: &mut dyn Write) -> fmt::Result {
    for (number, bits) in windows(bytes).flatten() {
        print_bits(u16::from(number) << 8, bits, out)?;
    }
    Ok(())
}

/// Each type set in a row of bits that begins at `base`, with a space before it.
pub(crate) fn print_bits(base: u16, bits: &[u8], out: &mut dyn Write) -> fmt::Result {
    for (index, octet) in bits.iter().enumerate() {
        for bit in 0..8 {
            if octet & (0x80 >> bit) != 0 {
                write!(out, " {}", RrType(base | (index as u16) << 3 | bit))?;
            }
        }
    }
    Ok(())
}
