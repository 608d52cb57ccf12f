//! The grammar's small parts: tokens, white space, quoted strings, lists and parameters.
//!
//! Folded lines stay folded in the bytes, so CR and LF count as white space here; the parser has
//! made sure that inside a header's value they are only ever followed by a space or a tab.

use super::Malformed;

/// RFC 3261 25.1: `token`.
pub(super) const fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'-' | b'.' | b'!' | b'%' | b'*' | b'_' | b'+' | b'`' | b'\'' | b'~'
        )
}

pub(super) fn is_token(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().copied().all(is_token_byte)
}

pub(super) const fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

pub(super) fn trim_start(mut text: &[u8]) -> &[u8] {
    while let [first, rest @ ..] = text {
        if !is_space(*first) {
            break;
        }
        text = rest;
    }
    text
}

pub(super) fn trim_end(mut text: &[u8]) -> &[u8] {
    while let [rest @ .., last] = text {
        if !is_space(*last) {
            break;
        }
        text = rest;
    }
    text
}

pub(super) fn trim(text: &[u8]) -> &[u8] {
    trim_end(trim_start(text))
}

/// The token at the start of `text`, and what follows it.
pub(super) fn take_token(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = text
        .iter()
        .position(|byte| !is_token_byte(*byte))
        .unwrap_or(text.len());
    if end == 0 {
        return None;
    }
    text.split_at_checked(end)
}

/// The quoted string at the start of `text` (without its quotes, escapes kept), and what follows.
pub(super) fn take_quoted(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let inside = text.strip_prefix(b"\"")?;
    let mut escaped = false;
    for (at, byte) in inside.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return Some((inside.get(..at)?, inside.get(at + 1..)?)),
            _ => {}
        }
    }
    None
}

/// Undoes the escapes of a quoted string's inside.
pub(super) fn unescape(text: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(text.len());
    let mut bytes = text.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' => plain.extend(bytes.next()),
            byte => plain.push(*byte),
        }
    }
    plain
}

/// Where the first `wanted` byte stands outside quoted strings and angle brackets.
pub(super) fn find_outside(text: &[u8], wanted: u8) -> Option<usize> {
    let mut quoted = false;
    let mut escaped = false;
    let mut bracketed = false;
    for (at, byte) in text.iter().copied().enumerate() {
        if quoted {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => quoted = false,
                _ => {}
            }
        } else if bracketed {
            bracketed = byte != b'>';
        } else if byte == wanted {
            return Some(at);
        } else if byte == b'"' {
            quoted = true;
        } else if byte == b'<' {
            bracketed = true;
        }
    }
    None
}

/// The comma-separated values of one header line (RFC 3261 7.3.1), trimmed. An empty value is
/// yielded as such, so that its parser can refuse it.
#[derive(Debug, Clone)]
pub struct Values<'a> {
    rest: Option<&'a [u8]>,
}

impl<'a> Values<'a> {
    /// Splits a header's value.
    #[must_use]
    pub const fn new(value: &'a [u8]) -> Self {
        Self { rest: Some(value) }
    }
}

impl<'a> Iterator for Values<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let rest = self.rest?;
        let (value, rest) = match find_outside(rest, b',') {
            Some(at) => (rest.get(..at)?, rest.get(at + 1..)),
            None => (rest, None),
        };
        self.rest = rest;
        Some(trim(value))
    }
}

/// One `;name=value` of a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Param<'a> {
    /// The name as written; compare without regard to case.
    pub name: &'a [u8],
    /// The value as written, with its quotes if it has some.
    pub value: Option<&'a [u8]>,
}

/// The parameters behind a header's value; well-formed by construction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Params<'a> {
    text: &'a [u8],
}

impl<'a> Params<'a> {
    /// Parses `*( ";" name [ "=" value ] )`; `what` names the header in the error.
    ///
    /// # Errors
    /// Where a name is missing or not a token, a value is empty or unbalanced, or anything else
    /// stands between.
    pub fn parse(text: &'a [u8], what: &'static str) -> Result<Self, Malformed> {
        let text = trim(text);
        let mut rest = text;
        while !rest.is_empty() {
            let (_, after) = take_param(rest).ok_or(Malformed(what))?;
            rest = trim_start(after);
        }
        Ok(Self { text })
    }

    /// Each parameter in turn.
    pub fn iter(&self) -> impl Iterator<Item = Param<'a>> + use<'a> {
        let mut rest = self.text;
        std::iter::from_fn(move || {
            let (param, after) = take_param(rest)?;
            rest = trim_start(after);
            Some(param)
        })
    }

    /// The first parameter of that name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Param<'a>> {
        self.iter()
            .find(|param| param.name.eq_ignore_ascii_case(name.as_bytes()))
    }

    /// The value of the first parameter of that name; nothing where it has none.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<&'a [u8]> {
        self.get(name)?.value
    }

    /// The parameters as written.
    #[must_use]
    pub const fn as_bytes(&self) -> &'a [u8] {
        self.text
    }
}

fn take_param(text: &[u8]) -> Option<(Param<'_>, &[u8])> {
    let text = trim_start(text.strip_prefix(b";")?);
    let (name, rest) = take_token(text)?;
    let after_name = trim_start(rest);
    let Some(rest) = after_name.strip_prefix(b"=") else {
        return (after_name.is_empty() || after_name.starts_with(b";"))
            .then_some((Param { name, value: None }, after_name));
    };
    let rest = trim_start(rest);
    let (value, rest) = if rest.starts_with(b"\"") {
        let (_, after) = take_quoted(rest)?;
        rest.split_at_checked(rest.len() - after.len())?
    } else {
        // Wider than gen-value: addresses stand here bare (`received=2001:db8::1`) too.
        let end = rest
            .iter()
            .position(|byte| is_space(*byte) || matches!(byte, b';' | b',' | b'"' | b'<' | b'>'))
            .unwrap_or(rest.len());
        rest.split_at_checked(end)?
    };
    if value.is_empty() {
        return None;
    }
    let rest = trim_start(rest);
    (rest.is_empty() || rest.starts_with(b";")).then_some((
        Param {
            name,
            value: Some(value),
        },
        rest,
    ))
}

/// A decimal number that fits, with nothing around it.
pub(super) fn decimal<T: TryFrom<u64>>(text: &[u8]) -> Option<T> {
    if text.is_empty() || text.len() > 20 {
        return None;
    }
    let mut number: u64 = 0;
    for byte in text {
        if !byte.is_ascii_digit() {
            return None;
        }
        number = number
            .checked_mul(10)?
            .checked_add(u64::from(byte - b'0'))?;
    }
    T::try_from(number).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_split_outside_quotes_and_brackets() {
        let values: Vec<_> =
            Values::new(b"\"a,\\\",b\" <sip:x,y@z>;q=1 , <sip:c@d>\r\n , ").collect();
        assert_eq!(
            values,
            [&b"\"a,\\\",b\" <sip:x,y@z>;q=1"[..], b"<sip:c@d>", b""]
        );
    }

    #[test]
    fn params_accept_white_space_and_quotes() {
        let params = Params::parse(b" ; tag = 98asjd8;lr ;x=\"a;b\"", "From").map(|params| {
            (
                params.value("TAG"),
                params.get("lr").map(|param| param.value),
                params.value("x"),
                params.get("y"),
            )
        });
        assert_eq!(
            params,
            Ok((
                Some(&b"98asjd8"[..]),
                Some(None),
                Some(&b"\"a;b\""[..]),
                None
            ))
        );
    }

    #[test]
    fn params_refuse_what_is_not_one() {
        for text in [
            ";;", ";", ";a=", ";a=\"b", ";a b", "a", ";a=b c", ";=b", ";a=b,c",
        ] {
            assert!(
                Params::parse(text.as_bytes(), "Via").is_err(),
                "{text} was accepted"
            );
        }
    }

    #[test]
    fn decimals_are_bounded() {
        assert_eq!(decimal::<u8>(b"0068"), Some(68));
        assert_eq!(decimal::<u8>(b"256"), None);
        assert_eq!(decimal::<u32>(b"36893488147419103232"), None);
        assert_eq!(decimal::<u32>(b"-1"), None);
        assert_eq!(decimal::<u32>(b""), None);
    }
}
