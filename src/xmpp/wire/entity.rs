//! Character references and the five entities (XML 1.0 4.1 and 4.6), and what a value means once
//! they are resolved.

use std::borrow::Cow;

use memchr::{memchr, memchr2};

use super::{Flaw, chars};

/// Checks every reference in `raw`.
pub(crate) fn references(raw: &str) -> Result<(), Flaw> {
    let mut rest = raw;
    while let Some(at) = memchr(b'&', rest.as_bytes()) {
        let (_, length) = reference(rest.get(at..).unwrap_or_default())?;
        rest = rest.get(at + length..).unwrap_or_default();
    }
    Ok(())
}

/// The character that the reference at the front of `text` stands for, and the reference's length.
fn reference(text: &str) -> Result<(char, usize), Flaw> {
    let end = memchr(b';', text.as_bytes()).ok_or(Flaw::NotWellFormed)?;
    let name = text.get(1..end).ok_or(Flaw::NotWellFormed)?;
    let character = match name {
        "lt" => '<',
        "gt" => '>',
        "amp" => '&',
        "apos" => '\'',
        "quot" => '"',
        _ => {
            let Some(number) = name.strip_prefix('#') else {
                // A name would be an entity, which RFC 6120 11.1 bans; anything else isn't XML.
                let mut characters = name.chars();
                let is_name = characters.next().is_some_and(chars::is_name_start)
                    && characters.all(chars::is_name);
                return Err(if is_name {
                    Flaw::Restricted
                } else {
                    Flaw::NotWellFormed
                });
            };
            let (digits, radix) = match number.strip_prefix('x') {
                Some(hex) => (hex, 16),
                None => (number, 10),
            };
            if !digits.chars().all(|c| c.is_digit(radix)) {
                return Err(Flaw::NotWellFormed);
            }
            let number = u32::from_str_radix(digits, radix).map_err(|_| Flaw::NotWellFormed)?;
            char::from_u32(number)
                .filter(|_| chars::is_char(number))
                .ok_or(Flaw::NotWellFormed)?
        }
    };
    Ok((character, end + 1))
}

/// Character data with its references resolved and line ends normalised (XML 1.0 2.11).
pub(crate) fn unescape(raw: &str) -> Cow<'_, str> {
    if memchr2(b'&', b'\r', raw.as_bytes()).is_none() {
        return Cow::Borrowed(raw);
    }
    Cow::Owned(resolve(raw, |c| c))
}

/// An attribute's value: like [`unescape`], and white space becomes spaces (XML 1.0 3.3.3).
pub(crate) fn normalise(raw: &str) -> Cow<'_, str> {
    if !raw
        .bytes()
        .any(|b| matches!(b, b'&' | b'\r' | b'\n' | b'\t'))
    {
        return Cow::Borrowed(raw);
    }
    Cow::Owned(resolve(
        raw,
        |c| if matches!(c, '\n' | '\t') { ' ' } else { c },
    ))
}

/// Resolves references; `literal` maps the characters that stand for themselves.
fn resolve(raw: &str, literal: impl Fn(char) -> char) -> String {
    let mut text = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some(c) = rest.chars().next() {
        let mut taken = c.len_utf8();
        match c {
            '&' => {
                // The scan has checked every reference.
                if let Ok((character, length)) = reference(rest) {
                    text.push(character);
                    taken = length;
                }
            }
            '\r' => {
                text.push(literal('\n'));
                if rest.as_bytes().get(1) == Some(&b'\n') {
                    taken = 2;
                }
            }
            _ => text.push(literal(c)),
        }
        rest = rest.get(taken..).unwrap_or_default();
    }
    text
}
