//! Text → wire.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::check::check;
use super::form::{Field, form};
use super::text::{BadText, push_string, unescape_into};
use super::{base, bitmap, gateway, location, prefix, service, text, time};
use crate::wire::code::RrType;
use crate::wire::name::{NameBuf, NameRef};

/// A word of a zone file, its escapes still in place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Token<'a> {
    /// The word, without its quotes.
    pub text: &'a [u8],
    /// True if it stood in quotes.
    pub quoted: bool,
    /// Where it begins in its file.
    pub at: usize,
}

/// The words of one record's data, taken one by one.
#[derive(Debug, Clone)]
pub struct Fields<'t> {
    tokens: &'t [Token<'t>],
    next: usize,
    origin: Option<NameRef<'t>>,
}

/// What is wrong with a record's data, and at which of its words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct RdataError {
    /// Index among the words of the data; one past the last if something is missing.
    pub token: usize,
    /// What is wrong.
    pub message: String,
}

impl<'t> Fields<'t> {
    /// Over the words of a record's data; names without a last dot end in `origin`.
    pub fn new(tokens: &'t [Token<'t>], origin: Option<NameRef<'t>>) -> Fields<'t> {
        Fields {
            tokens,
            next: 0,
            origin,
        }
    }

    /// The next word; `what` says what is missing if there is none.
    pub(crate) fn take(&mut self, what: &str) -> Result<Token<'t>, RdataError> {
        let token = self.tokens.get(self.next).copied();
        let token = token.ok_or_else(|| RdataError {
            token: self.next,
            message: format!("unexpected end of record, expected {what}"),
        })?;
        self.next += 1;
        Ok(token)
    }

    /// The next word as a text; as [`take`](Self::take).
    pub(crate) fn word(&mut self, what: &str) -> Result<&'t str, RdataError> {
        let token = self.take(what)?;
        std::str::from_utf8(token.text).map_err(|_| self.bad(what))
    }

    pub(crate) fn peek(&self) -> Option<Token<'t>> {
        self.tokens.get(self.next).copied()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.next >= self.tokens.len()
    }

    /// All the words that are left.
    pub(crate) fn rest(&mut self) -> impl Iterator<Item = &'t [u8]> + use<'t> {
        let rest = self.tokens.get(self.next..).unwrap_or(&[]);
        self.next = self.tokens.len();
        rest.iter().map(|token| token.text)
    }

    /// An error at the word taken last.
    pub(crate) fn fail(&self, message: impl Into<String>) -> RdataError {
        RdataError {
            token: self.next.saturating_sub(1),
            message: message.into(),
        }
    }

    /// "bad WHAT" with the word taken last.
    pub(crate) fn bad(&self, what: &str) -> RdataError {
        let word = self.tokens.get(self.next.saturating_sub(1));
        let word = word.map_or(String::new(), |token| {
            String::from_utf8_lossy(token.text).into()
        });
        self.fail(format!("`{word}` is not {what}"))
    }

    /// A number below a bound.
    pub(crate) fn number<T: TryFrom<u32>>(&mut self, what: &str) -> Result<T, RdataError> {
        let token = self.take(what)?;
        read_number(token.text)
            .and_then(|number| T::try_from(number).ok())
            .ok_or_else(|| self.bad(what))
    }

    /// A name.
    pub(crate) fn name(&mut self) -> Result<NameBuf, RdataError> {
        let token = self.take("a name")?;
        if token.text == b"@" && !token.quoted {
            return self
                .origin
                .map(NameRef::to_buf)
                .ok_or_else(|| self.fail("`@` without origin"));
        }
        NameBuf::from_text(token.text, self.origin).map_err(|error| self.fail(error.to_string()))
    }
}

/// Digits alone, as a number.
pub(crate) fn read_number(text: &[u8]) -> Option<u32> {
    if text.is_empty() || text.len() > 10 {
        return None;
    }
    text.iter().try_fold(0u32, |number, byte| {
        let digit = byte.is_ascii_digit().then(|| u32::from(byte - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    })
}

/// Reads the data of a record and appends its wire form.
pub fn parse(
    rr_type: RrType,
    fields: &mut Fields<'_>,
    out: &mut Vec<u8>,
) -> Result<(), RdataError> {
    let start = out.len();
    let generic = fields
        .peek()
        .is_some_and(|token| token.text == b"\\#" && !token.quoted);
    if generic {
        parse_generic(rr_type, fields, out)?;
    } else {
        let Some(form) = form(rr_type) else {
            let message =
                format!(r"type {rr_type} has no text form here, expected `\# length hex`");
            return Err(RdataError { token: 0, message });
        };
        for field in form {
            parse_field(*field, fields, out)?;
        }
    }
    if let Some(token) = fields.peek() {
        let word = String::from_utf8_lossy(token.text);
        return Err(RdataError {
            token: fields.next,
            message: format!("extra text `{word}` after the record's data"),
        });
    }
    if out.len() - start > usize::from(u16::MAX) {
        return Err(RdataError {
            token: 0,
            message: "data is longer than 65535 octets".into(),
        });
    }
    Ok(())
}

/// `\# length hex…` (RFC 3597 5), which for a type known here must also be well formed.
fn parse_generic(
    rr_type: RrType,
    fields: &mut Fields<'_>,
    out: &mut Vec<u8>,
) -> Result<(), RdataError> {
    let start = out.len();
    fields.take("`\\#`")?;
    let length: u16 = fields.number("a length (0..65535)")?;
    base::read_hex(fields.rest(), out).map_err(|_| fields.bad("hexadecimal"))?;
    let rdata = out.get(start..).unwrap_or(&[]);
    if rdata.len() != usize::from(length) {
        let message = format!("length says {length} octets, {} follow", rdata.len());
        return Err(RdataError { token: 1, message });
    }
    check(rr_type, rdata).map_err(|_| RdataError {
        token: 2,
        message: format!("these octets are not the data of a {rr_type} record"),
    })
}

fn parse_field(field: Field, fields: &mut Fields<'_>, out: &mut Vec<u8>) -> Result<(), RdataError> {
    match field {
        Field::U8 => out.push(fields.number("a number (0..255)")?),
        Field::U16 => push_u16(out, fields.number("a number (0..65535)")?),
        Field::U32 => push_u32(out, fields.number("a number (0..4294967295)")?),
        Field::Seconds => {
            let token = fields.take("a time in seconds or with units (1h30m)")?;
            let seconds = text::read_seconds(token.text);
            push_u32(
                out,
                seconds.ok_or_else(|| fields.bad("a time (3600, 1h30m)"))?,
            );
        }
        Field::Time => {
            let token = fields.take("a time (YYYYMMDDHHmmSS)")?;
            push_u32(
                out,
                time::read(token.text).ok_or_else(|| fields.bad("YYYYMMDDHHmmSS"))?,
            );
        }
        Field::Ipv4 => {
            let address: Ipv4Addr = fields
                .word("an IPv4 address")?
                .parse()
                .map_err(|_| fields.bad("an IPv4 address"))?;
            out.extend_from_slice(&address.octets());
        }
        Field::Ipv6 => {
            let address: Ipv6Addr = fields
                .word("an IPv6 address")?
                .parse()
                .map_err(|_| fields.bad("an IPv6 address"))?;
            out.extend_from_slice(&address.octets());
        }
        Field::Name => out.extend_from_slice(fields.name()?.as_ref().wire()),
        Field::String => string(fields, out)?,
        Field::OptionalString if fields.is_empty() => {}
        Field::OptionalString => string(fields, out)?,
        Field::Strings => {
            string(fields, out)?;
            while !fields.is_empty() {
                string(fields, out)?;
            }
        }
        Field::Tag => {
            let token = fields.take("a tag")?;
            if token.text.is_empty() || !token.text.iter().all(u8::is_ascii_alphanumeric) {
                return Err(fields.bad("a tag of letters and digits"));
            }
            push_string(token.text, out).map_err(|error| text_error(fields, error))?;
        }
        Field::Text => {
            let token = fields.take("a text")?;
            unescape_into(token.text, usize::from(u16::MAX), out)
                .map_err(|error| text_error(fields, error))?;
        }
        Field::Base64 { optional } => {
            if !optional && fields.is_empty() {
                fields.take("base64")?;
            }
            base::read_base64(fields.rest(), out).map_err(|_| fields.fail("bad base64"))?;
        }
        Field::Hex => {
            if fields.is_empty() {
                fields.take("hexadecimal")?;
            }
            base::read_hex(fields.rest(), out).map_err(|_| fields.fail("bad hexadecimal"))?;
        }
        Field::Salt => {
            let token = fields.take("a salt")?;
            let text = if token.text == b"-" { &[] } else { token.text };
            counted(fields, out, "a salt", |out| {
                base::read_hex([text].into_iter(), out)
            })?;
        }
        Field::Hash => {
            let token = fields.take("a hash")?;
            counted(fields, out, "a base32 hash", |out| {
                base::read_base32hex(token.text, out)
            })?;
        }
        Field::Type => {
            let token = fields.take("a record type")?;
            let rr_type = RrType::from_text(token.text)
                .or_else(|| read_number(token.text)?.try_into().ok().map(RrType));
            push_u16(out, rr_type.ok_or_else(|| fields.bad("a record type"))?.0);
        }
        Field::Types { optional } => bitmap::parse(fields, optional, out)?,
        Field::NxtTypes => bitmap::parse_nxt(fields, out)?,
        Field::Algorithm => out.push(named(fields, "an algorithm", ALGORITHMS)? as u8),
        Field::Digest => out.push(named(fields, "a digest type", DIGESTS)? as u8),
        Field::Scheme => out.push(named(fields, "a scheme", &[("NOTIFY", 1)])? as u8),
        Field::CertType => push_u16(out, named(fields, "a certificate type", CERT_TYPES)?),
        Field::Eui48 => octet_groups(fields, out, 6, "an EUI-48 (xx-xx-xx-xx-xx-xx)")?,
        Field::Eui64 => octet_groups(fields, out, 8, "an EUI-64 (xx-xx-xx-xx-xx-xx-xx-xx)")?,
        Field::Locator64 => locator(fields, out)?,
        Field::Nsap => nsap(fields, out)?,
        Field::Location => location::parse(fields, out)?,
        Field::Prefixes => prefix::parse(fields, out)?,
        Field::IpsecKey => gateway::parse_ipseckey(fields, out)?,
        Field::Relay => gateway::parse_amtrelay(fields, out)?,
        Field::HostIdentity => gateway::parse_hip(fields, out)?,
        Field::Parameters => service::parse(fields, out)?,
    }
    Ok(())
}

pub(crate) fn push_u16(out: &mut Vec<u8>, number: u16) {
    out.extend_from_slice(&number.to_be_bytes());
}

fn push_u32(out: &mut Vec<u8>, number: u32) {
    out.extend_from_slice(&number.to_be_bytes());
}

fn text_error(fields: &Fields<'_>, error: BadText) -> RdataError {
    fields.fail(match error {
        BadText::Escape => "bad escape",
        BadText::TooLong => "text is too long (255 octets in one string)",
    })
}

fn string(fields: &mut Fields<'_>, out: &mut Vec<u8>) -> Result<(), RdataError> {
    let token = fields.take("a text")?;
    push_string(token.text, out).map_err(|error| text_error(fields, error))
}

/// Octets behind a length octet.
fn counted<E>(
    fields: &Fields<'_>,
    out: &mut Vec<u8>,
    what: &str,
    read: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
) -> Result<(), RdataError> {
    let length_at = out.len();
    out.push(0);
    read(out).map_err(|_| fields.bad(what))?;
    let length = u8::try_from(out.len() - length_at - 1).map_err(|_| fields.bad(what))?;
    if let Some(slot) = out.get_mut(length_at) {
        *slot = length;
    }
    Ok(())
}

/// A number, or one of some names for numbers.
fn named(fields: &mut Fields<'_>, what: &str, names: &[(&str, u16)]) -> Result<u16, RdataError> {
    let token = fields.take(what)?;
    let limit = if names.len() == CERT_TYPES.len() {
        u16::MAX
    } else {
        255
    };
    let named = names
        .iter()
        .find(|(name, _)| name.as_bytes().eq_ignore_ascii_case(token.text));
    let number = || {
        read_number(token.text)?
            .try_into()
            .ok()
            .filter(|number| *number <= limit)
    };
    named
        .map(|(_, number)| *number)
        .or_else(number)
        .ok_or_else(|| fields.bad(what))
}

const ALGORITHMS: &[(&str, u16)] = &[
    ("RSAMD5", 1),
    ("DH", 2),
    ("DSA", 3),
    ("ECC", 4),
    ("RSASHA1", 5),
    ("DSA-NSEC3-SHA1", 6),
    ("NSEC3DSA", 6),
    ("RSASHA1-NSEC3-SHA1", 7),
    ("NSEC3RSASHA1", 7),
    ("RSASHA256", 8),
    ("RSASHA512", 10),
    ("ECCGOST", 12),
    ("ECDSAP256SHA256", 13),
    ("ECDSA256", 13),
    ("ECDSAP384SHA384", 14),
    ("ECDSA384", 14),
    ("ED25519", 15),
    ("ED448", 16),
    ("INDIRECT", 252),
    ("PRIVATEDNS", 253),
    ("PRIVATEOID", 254),
];

const DIGESTS: &[(&str, u16)] = &[
    ("SHA-1", 1),
    ("SHA1", 1),
    ("SHA-256", 2),
    ("SHA256", 2),
    ("GOST", 3),
    ("SHA-384", 4),
    ("SHA384", 4),
];

const CERT_TYPES: &[(&str, u16)] = &[
    ("PKIX", 1),
    ("SPKI", 2),
    ("PGP", 3),
    ("IPKIX", 4),
    ("ISPKI", 5),
    ("IPGP", 6),
    ("ACPKIX", 7),
    ("IACPKIX", 8),
    ("URI", 253),
    ("OID", 254),
];

/// `xx-xx-…`, so many octets.
fn octet_groups(
    fields: &mut Fields<'_>,
    out: &mut Vec<u8>,
    count: usize,
    what: &str,
) -> Result<(), RdataError> {
    let token = fields.take(what)?;
    let start = out.len();
    for group in token.text.split(|byte| *byte == b'-') {
        if group.len() != 2 {
            return Err(fields.bad(what));
        }
        base::read_hex([group].into_iter(), out).map_err(|_| fields.bad(what))?;
    }
    if out.len() - start == count {
        Ok(())
    } else {
        Err(fields.bad(what))
    }
}

/// Four groups of up to four hexadecimal digits (RFC 6742 2.1.2).
fn locator(fields: &mut Fields<'_>, out: &mut Vec<u8>) -> Result<(), RdataError> {
    const WHAT: &str = "a locator (xxxx:xxxx:xxxx:xxxx)";
    let word = fields.word(WHAT)?;
    let mut groups = 0;
    for group in word.split(':') {
        let digits = (1..=4).contains(&group.len()) && !group.starts_with('+');
        let value = u16::from_str_radix(group, 16).ok().filter(|_| digits);
        push_u16(out, value.ok_or_else(|| fields.bad(WHAT))?);
        groups += 1;
    }
    if groups == 4 {
        Ok(())
    } else {
        Err(fields.bad(WHAT))
    }
}

/// `0x` and pairs of digits with dots for the eye (RFC 1706 7).
fn nsap(fields: &mut Fields<'_>, out: &mut Vec<u8>) -> Result<(), RdataError> {
    const WHAT: &str = "an NSAP address (0x…)";
    let token = fields.take(WHAT)?;
    let start = out.len();
    let digits = match token.text {
        [b'0', b'x' | b'X', digits @ ..] => digits,
        _ => return Err(fields.bad(WHAT)),
    };
    let pieces = digits.split(|byte| *byte == b'.');
    base::read_hex(pieces, out).map_err(|_| fields.bad(WHAT))?;
    if out.len() > start {
        Ok(())
    } else {
        Err(fields.bad(WHAT))
    }
}
