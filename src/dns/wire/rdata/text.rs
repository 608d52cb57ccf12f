//! Character strings, quoted text and TTLs with units.

use std::fmt::{self, Write};

use crate::wire::name::unescape;

/// Why text could not become octets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BadText {
    Escape,
    TooLong,
}

/// Undoes the escapes of a character string or text and appends its octets.
pub(crate) fn unescape_into(text: &[u8], limit: usize, out: &mut Vec<u8>) -> Result<(), BadText> {
    let start = out.len();
    let mut at = 0;
    while let Some(&byte) = text.get(at) {
        at += 1;
        if byte == b'\\' {
            let rest = text.get(at..).unwrap_or(&[]);
            let (value, used) = unescape(rest).map_err(|_| BadText::Escape)?;
            out.push(value);
            at += used;
        } else {
            out.push(byte);
        }
        if out.len() - start > limit {
            return Err(BadText::TooLong);
        }
    }
    Ok(())
}

/// Appends a character string: a length octet and at most 255 more.
pub(crate) fn push_string(text: &[u8], out: &mut Vec<u8>) -> Result<(), BadText> {
    let length_at = out.len();
    out.push(0);
    unescape_into(text, 255, out)?;
    let length = out.len() - length_at - 1;
    if let Some(slot) = out.get_mut(length_at) {
        *slot = length as u8;
    }
    Ok(())
}

/// Writes octets as a quoted text that reads back to the same octets.
pub(crate) fn write_quoted(bytes: &[u8], out: &mut dyn Write) -> fmt::Result {
    out.write_char('"')?;
    write_unquoted(bytes, out)?;
    out.write_char('"')
}

/// As [`write_quoted`], without the quotes.
pub(crate) fn write_unquoted(bytes: &[u8], out: &mut dyn Write) -> fmt::Result {
    for &byte in bytes {
        match byte {
            b'"' | b'\\' => write!(out, "\\{}", byte as char)?,
            0x20..=0x7e => out.write_char(byte as char)?,
            _ => write!(out, "\\{byte:03}")?,
        }
    }
    Ok(())
}

/// Reads seconds: digits, or numbers with the units w, d, h, m, s ("1h30m"), each once at most and
/// in any letter case, as BIND does. A number without a unit may only stand alone.
pub(crate) fn read_seconds(text: &[u8]) -> Option<u32> {
    let (mut total, mut number, mut digits, mut units) = (0u64, 0u64, 0, 0);
    for &byte in text {
        let scale = match byte {
            b'0'..=b'9' => {
                number = number
                    .checked_mul(10)?
                    .checked_add(u64::from(byte - b'0'))?;
                digits += 1;
                continue;
            }
            b'w' | b'W' => 604_800,
            b'd' | b'D' => 86_400,
            b'h' | b'H' => 3_600,
            b'm' | b'M' => 60,
            b's' | b'S' => 1,
            _ => return None,
        };
        if digits == 0 {
            return None;
        }
        total = total.checked_add(number.checked_mul(scale)?)?;
        (number, digits, units) = (0, 0, units + 1);
    }
    match (digits, units) {
        (0, 0) => None,
        (_, 0) => u32::try_from(number).ok(),
        (0, _) => u32::try_from(total).ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds() {
        let cases = [
            ("0", Some(0)),
            ("3600", Some(3600)),
            ("1d", Some(86_400)),
            ("1h30m", Some(5400)),
            ("1W2D3H4M5S", Some(604_800 + 2 * 86_400 + 3 * 3600 + 245)),
            ("4294967295", Some(u32::MAX)),
            ("4294967296", None),
            ("1h30", None),
            ("h", None),
            ("", None),
            ("-1", None),
            ("1y", None),
            ("99999999999999999999999", None),
        ];
        for (text, seconds) in cases {
            assert_eq!(read_seconds(text.as_bytes()), seconds, "{text}");
        }
    }
}
