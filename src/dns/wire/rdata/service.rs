//! Service parameters of SVCB and HTTPS (RFC 9460), with `dohpath` (RFC 9461), `ohttp` (RFC 9540)
//! and `tls-supported-groups`.

use std::fmt::{self, Formatter, Write};
use std::net::{Ipv4Addr, Ipv6Addr};

use super::base;
use super::check::BadRdata;
use super::parse::{Fields, RdataError, push_u16, read_number};
use super::print::{ipv4, ipv6, number};
use super::text::{unescape_into, write_quoted};

const MANDATORY: u16 = 0;
const ALPN: u16 = 1;
const NO_DEFAULT_ALPN: u16 = 2;
const PORT: u16 = 3;
const IPV4HINT: u16 = 4;
const ECH: u16 = 5;
const IPV6HINT: u16 = 6;
const DOHPATH: u16 = 7;
const OHTTP: u16 = 8;
const GROUPS: u16 = 9;

const NAMES: [&str; 10] = [
    "mandatory",
    "alpn",
    "no-default-alpn",
    "port",
    "ipv4hint",
    "ech",
    "ipv6hint",
    "dohpath",
    "ohttp",
    "tls-supported-groups",
];

fn key_from_text(text: &[u8]) -> Option<u16> {
    let known = NAMES.iter().position(|name| name.as_bytes() == text);
    known.map(|at| at as u16).or_else(|| {
        let digits = text.strip_prefix(b"key")?;
        // RFC 9460 2.1: no leading zeros.
        let plain = digits == b"0" || !digits.starts_with(b"0");
        read_number(digits)?.try_into().ok().filter(|_| plain)
    })
}

struct Key(u16);

impl fmt::Display for Key {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match NAMES.get(usize::from(self.0)) {
            Some(name) => f.write_str(name),
            None => write!(f, "key{}", self.0),
        }
    }
}

pub(crate) fn parse(fields: &mut Fields<'_>, out: &mut Vec<u8>) -> Result<(), RdataError> {
    let mut parameters: Vec<(u16, Vec<u8>)> = Vec::new();
    while !fields.is_empty() {
        let token = fields.take("a service parameter")?;
        let equals = token.text.iter().position(|byte| *byte == b'=');
        let (key, value) = match equals {
            Some(at) => (
                token.text.get(..at).unwrap_or(&[]),
                Some(token.text.get(at + 1..).unwrap_or(&[])),
            ),
            None => (token.text, None),
        };
        let key = key_from_text(key).ok_or_else(|| fields.bad("a service parameter"))?;
        let quoted = value.and_then(|value| value.strip_prefix(b"\"")?.strip_suffix(b"\""));
        let value = parse_value(key, quoted.or(value))
            .ok_or_else(|| fields.fail(format!("bad value of `{}`", Key(key))))?;
        if parameters.iter().any(|(other, _)| *other == key) {
            return Err(fields.fail(format!("`{}` stands twice", Key(key))));
        }
        parameters.push((key, value));
    }
    parameters.sort();
    let start = out.len();
    for (key, value) in &parameters {
        let length = u16::try_from(value.len());
        push_u16(out, *key);
        push_u16(out, length.map_err(|_| fields.fail("value is too long"))?);
        out.extend_from_slice(value);
    }
    if check(out.get(start..).unwrap_or(&[])).is_err() {
        return Err(fields.fail(
            "parameters do not fit together: each key of `mandatory` must be there, and \
             `no-default-alpn` needs `alpn`",
        ));
    }
    Ok(())
}

fn parse_value(key: u16, value: Option<&[u8]>) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let Some(text) = value else {
        // Only these may stand without a value; of unknown keys it is not known.
        return matches!(key, NO_DEFAULT_ALPN | OHTTP | 10..).then_some(out);
    };
    let mut plain = Vec::new();
    unescape_into(text, usize::from(u16::MAX), &mut plain).ok()?;
    match key {
        MANDATORY => {
            let keys: Option<Vec<u16>> = plain
                .split(|byte| *byte == b',')
                .map(key_from_text)
                .collect();
            let mut keys = keys?;
            keys.sort_unstable();
            keys.iter().for_each(|key| push_u16(&mut out, *key));
        }
        ALPN => {
            for item in split_list(&plain)? {
                out.push(u8::try_from(item.len()).ok().filter(|len| *len > 0)?);
                out.extend_from_slice(&item);
            }
        }
        NO_DEFAULT_ALPN | OHTTP => return plain.is_empty().then_some(out),
        PORT => push_u16(&mut out, read_number(&plain)?.try_into().ok()?),
        IPV4HINT => {
            for item in std::str::from_utf8(&plain).ok()?.split(',') {
                out.extend_from_slice(&item.parse::<Ipv4Addr>().ok()?.octets());
            }
        }
        IPV6HINT => {
            for item in std::str::from_utf8(&plain).ok()?.split(',') {
                out.extend_from_slice(&item.parse::<Ipv6Addr>().ok()?.octets());
            }
        }
        ECH => base::read_base64([&plain[..]].into_iter(), &mut out).ok()?,
        GROUPS => {
            for item in plain.split(|byte| *byte == b',') {
                push_u16(&mut out, read_number(item)?.try_into().ok()?);
            }
        }
        _ => out = plain,
    }
    Some(out)
}

/// Splits at commas that no backslash guards (RFC 9460 A.1).
fn split_list(text: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut items = vec![Vec::new()];
    let mut bytes = text.iter();
    while let Some(&byte) = bytes.next() {
        match byte {
            b',' => items.push(Vec::new()),
            b'\\' => items
                .last_mut()?
                .push(*bytes.next().filter(|byte| b",\\".contains(byte))?),
            _ => items.last_mut()?.push(byte),
        }
    }
    Some(items)
}

fn parameters(mut bytes: &[u8]) -> impl Iterator<Item = Result<(u16, &[u8]), BadRdata>> {
    std::iter::from_fn(move || {
        if bytes.is_empty() {
            return None;
        }
        let split = bytes
            .split_first_chunk::<4>()
            .and_then(|(&[k1, k0, l1, l0], rest)| {
                let (value, rest) = rest.split_at_checked(u16::from_be_bytes([l1, l0]).into())?;
                Some((u16::from_be_bytes([k1, k0]), value, rest))
            });
        bytes = split.map_or(&[], |(_, _, rest)| rest);
        Some(split.map(|(key, value, _)| (key, value)).ok_or(BadRdata))
    })
}

/// RFC 9460 2.2: keys rise; 7 and 8: what each must look like.
pub(crate) fn check(bytes: &[u8]) -> Result<(), BadRdata> {
    let mut previous = None;
    for parameter in parameters(bytes) {
        let (key, value) = parameter?;
        let rising = previous.is_none_or(|previous| key > previous);
        if !rising || !check_value(key, value, bytes) {
            return Err(BadRdata);
        }
        previous = Some(key);
    }
    Ok(())
}

fn check_value(key: u16, value: &[u8], all: &[u8]) -> bool {
    let present = |wanted: u16| parameters(all).flatten().any(|(key, _)| key == wanted);
    match key {
        MANDATORY => {
            let keys = || value.chunks(2).map(|key| number(key) as u16);
            let rising = keys().zip(keys().skip(1)).all(|(left, right)| left < right);
            let fits = |key: u16| key != MANDATORY && present(key);
            !value.is_empty() && value.len().is_multiple_of(2) && rising && keys().all(fits)
        }
        ALPN => strings(value).is_some_and(|items| items.iter().all(|item| !item.is_empty())),
        NO_DEFAULT_ALPN => value.is_empty() && present(ALPN),
        OHTTP => value.is_empty(),
        PORT => value.len() == 2,
        IPV4HINT => !value.is_empty() && value.len().is_multiple_of(4),
        IPV6HINT => !value.is_empty() && value.len().is_multiple_of(16),
        ECH => !value.is_empty(),
        GROUPS => !value.is_empty() && value.len().is_multiple_of(2),
        DOHPATH => std::str::from_utf8(value).is_ok_and(is_doh_template),
        _ => true,
    }
}

/// RFC 9461 5: a relative URI template with the variable `dns`.
fn is_doh_template(template: &str) -> bool {
    let in_braces = |part: &str| {
        let expression = part
            .split_once('}')
            .map_or("", |(expression, _)| expression);
        let names = expression.trim_start_matches(['+', '#', '.', '/', ';', '?', '&']);
        names.split(',').any(|name| name == "dns")
    };
    template.starts_with('/') && template.split('{').skip(1).any(in_braces)
}

/// A row of length-prefixed strings, at least one.
fn strings(mut bytes: &[u8]) -> Option<Vec<&[u8]>> {
    let mut items = Vec::new();
    while let Some((&length, rest)) = bytes.split_first() {
        let (item, rest) = rest.split_at_checked(usize::from(length))?;
        items.push(item);
        bytes = rest;
    }
    Some(items).filter(|items| !items.is_empty())
}

/// Each parameter with a space before it.
pub(crate) fn print(bytes: &[u8], f: &mut Formatter<'_>) -> fmt::Result {
    for (key, value) in parameters(bytes).flatten() {
        write!(f, " {}", Key(key))?;
        if value.is_empty() {
            continue;
        }
        f.write_char('=')?;
        let comma = |index: usize, f: &mut Formatter<'_>| match index {
            0 => Ok(()),
            _ => f.write_char(','),
        };
        match key {
            MANDATORY => {
                for (index, key) in value.chunks(2).enumerate() {
                    comma(index, f)?;
                    write!(f, "{}", Key(number(key) as u16))?;
                }
            }
            ALPN => {
                let mut list = Vec::new();
                for item in strings(value).unwrap_or_default() {
                    if !list.is_empty() {
                        list.push(b',');
                    }
                    for byte in item {
                        if b",\\".contains(byte) {
                            list.push(b'\\');
                        }
                        list.push(*byte);
                    }
                }
                write_quoted(&list, f)?;
            }
            PORT => write!(f, "{}", number(value))?,
            IPV4HINT => {
                for (index, address) in value.chunks(4).enumerate() {
                    comma(index, f)?;
                    ipv4(address, f)?;
                }
            }
            IPV6HINT => {
                for (index, address) in value.chunks(16).enumerate() {
                    comma(index, f)?;
                    ipv6(address, f)?;
                }
            }
            ECH => base::write_base64(value, f)?,
            GROUPS => {
                for (index, group) in value.chunks(2).enumerate() {
                    comma(index, f)?;
                    write!(f, "{}", number(group))?;
                }
            }
            _ => write_quoted(value, f)?,
        }
    }
    Ok(())
}
