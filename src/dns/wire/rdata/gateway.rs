//! The types that point to a machine by address or name: IPSECKEY (RFC 4025), AMTRELAY (RFC 8777)
//! and HIP (RFC 8005).

use std::fmt::{self, Display, Formatter, Write};
use std::net::{Ipv4Addr, Ipv6Addr};

use super::base;
use super::check::BadRdata;
use super::parse::{Fields, RdataError, push_u16};
use super::print::{ipv4, ipv6};
use crate::wire::name::NameRef;

const NONE: u8 = 0;
const IPV4: u8 = 1;
const IPV6: u8 = 2;
const NAME: u8 = 3;

/// Reads the gateway itself, of a kind read before.
fn parse_gateway(kind: u8, fields: &mut Fields<'_>, out: &mut Vec<u8>) -> Result<(), RdataError> {
    match kind {
        NONE if fields.word("`.`")? == "." => {}
        NONE => return Err(fields.bad("`.`, which stands for no gateway")),
        IPV4 => {
            let address = fields.word("an IPv4 address")?.parse::<Ipv4Addr>();
            out.extend_from_slice(&address.map_err(|_| fields.bad("an IPv4 address"))?.octets());
        }
        IPV6 => {
            let address = fields.word("an IPv6 address")?.parse::<Ipv6Addr>();
            out.extend_from_slice(&address.map_err(|_| fields.bad("an IPv6 address"))?.octets());
        }
        NAME => out.extend_from_slice(fields.name()?.as_ref().wire()),
        _ => return Err(fields.bad("a gateway type (0..3)")),
    }
    Ok(())
}

/// Takes the gateway from the front of octets.
fn split_gateway(kind: u8, rest: &[u8]) -> Result<(&[u8], &[u8]), BadRdata> {
    let length = match kind {
        NONE => 0,
        IPV4 => 4,
        IPV6 => 16,
        NAME => NameRef::split_wire(rest)
            .map_err(|_| BadRdata)?
            .0
            .wire()
            .len(),
        _ => return Err(BadRdata),
    };
    rest.split_at_checked(length).ok_or(BadRdata)
}

fn print_gateway(kind: u8, gateway: &[u8], f: &mut Formatter<'_>) -> fmt::Result {
    match kind {
        IPV4 => ipv4(gateway, f),
        IPV6 => ipv6(gateway, f),
        NAME => Display::fmt(&NameRef::trusted(gateway), f),
        _ => f.write_char('.'),
    }
}

pub(crate) fn parse_ipseckey(fields: &mut Fields<'_>, out: &mut Vec<u8>) -> Result<(), RdataError> {
    out.push(fields.number("a precedence (0..255)")?);
    let kind: u8 = fields.number("a gateway type (0..3)")?;
    out.extend_from_slice(&[kind, fields.number("an algorithm (0..255)")?]);
    parse_gateway(kind, fields, out)?;
    base::read_base64(fields.rest(), out).map_err(|_| fields.fail("bad base64"))
}

pub(crate) fn check_ipseckey(bytes: &[u8]) -> Result<(), BadRdata> {
    split_ipseckey(bytes).map(|_| ())
}

/// Precedence, gateway type, algorithm; gateway; key.
type IpsecKey<'a> = ([u8; 3], &'a [u8], &'a [u8]);

fn split_ipseckey(bytes: &[u8]) -> Result<IpsecKey<'_>, BadRdata> {
    let (head, rest) = bytes.split_first_chunk::<3>().ok_or(BadRdata)?;
    let [_, kind, _] = *head;
    let (gateway, key) = split_gateway(kind, rest)?;
    Ok((*head, gateway, key))
}

pub(crate) fn print_ipseckey(bytes: &[u8], f: &mut Formatter<'_>) -> fmt::Result {
    let ([precedence, kind, algorithm], gateway, key) =
        split_ipseckey(bytes).map_err(|_| fmt::Error)?;
    write!(f, "{precedence} {kind} {algorithm} ")?;
    print_gateway(kind, gateway, f)?;
    if !key.is_empty() {
        f.write_char(' ')?;
        base::write_base64(key, f)?;
    }
    Ok(())
}

pub(crate) fn parse_amtrelay(fields: &mut Fields<'_>, out: &mut Vec<u8>) -> Result<(), RdataError> {
    out.push(fields.number("a precedence (0..255)")?);
    let discovery: u8 = fields.number("the discovery bit (0 or 1)")?;
    if discovery > 1 {
        return Err(fields.bad("the discovery bit (0 or 1)"));
    }
    let kind: u8 = fields.number("a relay type (0..3)")?;
    out.push(discovery << 7 | kind);
    parse_gateway(kind, fields, out)
}

pub(crate) fn check_amtrelay(bytes: &[u8]) -> Result<(), BadRdata> {
    let (head, rest) = bytes.split_first_chunk::<2>().ok_or(BadRdata)?;
    let (_, rest) = split_gateway(head[1] & 0x7f, rest)?;
    if rest.is_empty() {
        Ok(())
    } else {
        Err(BadRdata)
    }
}

pub(crate) fn print_amtrelay(bytes: &[u8], f: &mut Formatter<'_>) -> fmt::Result {
    let (&[precedence, kind], relay) = bytes.split_first_chunk::<2>().ok_or(fmt::Error)?;
    write!(f, "{precedence} {} {} ", kind >> 7, kind & 0x7f)?;
    print_gateway(kind & 0x7f, relay, f)
}

pub(crate) fn parse_hip(fields: &mut Fields<'_>, out: &mut Vec<u8>) -> Result<(), RdataError> {
    let algorithm: u8 = fields.number("an algorithm (0..255)")?;
    let (mut tag, mut key) = (Vec::new(), Vec::new());
    let token = fields.take("a host identity tag")?;
    base::read_hex([token.text].into_iter(), &mut tag).map_err(|_| fields.bad("hexadecimal"))?;
    let tag_len = u8::try_from(tag.len()).ok().filter(|len| *len > 0);
    let tag_len = tag_len.ok_or_else(|| fields.bad("a tag of 1 to 255 octets"))?;
    let token = fields.take("a public key")?;
    base::read_base64([token.text].into_iter(), &mut key).map_err(|_| fields.fail("bad base64"))?;
    let key_len = u16::try_from(key.len()).ok().filter(|len| *len > 0);
    let key_len = key_len.ok_or_else(|| fields.bad("a key of 1 to 65535 octets"))?;
    out.extend_from_slice(&[tag_len, algorithm]);
    push_u16(out, key_len);
    out.extend_from_slice(&tag);
    out.extend_from_slice(&key);
    while !fields.is_empty() {
        out.extend_from_slice(fields.name()?.as_ref().wire());
    }
    Ok(())
}

struct Hip<'a> {
    algorithm: u8,
    tag: &'a [u8],
    key: &'a [u8],
    servers: &'a [u8],
}

fn split_hip(bytes: &[u8]) -> Result<Hip<'_>, BadRdata> {
    let (&[tag_len, algorithm, k1, k0], rest) = bytes.split_first_chunk::<4>().ok_or(BadRdata)?;
    let (tag, rest) = rest
        .split_at_checked(usize::from(tag_len))
        .ok_or(BadRdata)?;
    let key_len = usize::from(u16::from_be_bytes([k1, k0]));
    let (key, servers) = rest.split_at_checked(key_len).ok_or(BadRdata)?;
    if tag.is_empty() || key.is_empty() {
        return Err(BadRdata);
    }
    Ok(Hip {
        algorithm,
        tag,
        key,
        servers,
    })
}

pub(crate) fn check_hip(bytes: &[u8]) -> Result<(), BadRdata> {
    let mut servers = split_hip(bytes)?.servers;
    while !servers.is_empty() {
        servers = NameRef::split_wire(servers).map_err(|_| BadRdata)?.1;
    }
    Ok(())
}

pub(crate) fn print_hip(bytes: &[u8], f: &mut Formatter<'_>) -> fmt::Result {
    let hip = split_hip(bytes).map_err(|_| fmt::Error)?;
    write!(f, "{} ", hip.algorithm)?;
    base::write_hex(hip.tag, f)?;
    f.write_char(' ')?;
    base::write_base64(hip.key, f)?;
    let mut servers = hip.servers;
    while let Ok((name, rest)) = NameRef::split_wire(servers) {
        write!(f, " {name}")?;
        servers = rest;
    }
    Ok(())
}
