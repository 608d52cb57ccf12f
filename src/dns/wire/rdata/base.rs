//! The base encodings of record data (RFC 4648), read from text that may be split into pieces
//! anywhere, as zone files split keys and digests.

use std::fmt::{self, Write};

/// Text that is not in the encoding it should be in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BadEncoding;

/// Reads base64 out of pieces; padding is required, as BIND requires it.
pub(crate) fn read_base64<'a>(
    pieces: impl Iterator<Item = &'a [u8]>,
    out: &mut Vec<u8>,
) -> Result<(), BadEncoding> {
    let (mut bits, mut held, mut padding) = (0u32, 0u32, 0u32);
    for &byte in pieces.flatten() {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            b'=' => {
                padding += 1;
                continue;
            }
            _ => return Err(BadEncoding),
        };
        if padding > 0 {
            return Err(BadEncoding);
        }
        bits = bits << 6 | u32::from(value);
        held += 1;
        if held == 4 {
            out.extend_from_slice(&[(bits >> 16) as u8, (bits >> 8) as u8, bits as u8]);
            (bits, held) = (0, 0);
        }
    }
    match (held, padding) {
        (0, 0) => {}
        (2, 2) if bits & 0xf == 0 => out.push((bits >> 4) as u8),
        (3, 1) if bits & 0x3 == 0 => {
            out.extend_from_slice(&[(bits >> 10) as u8, (bits >> 2) as u8]);
        }
        _ => return Err(BadEncoding),
    }
    Ok(())
}

/// Reads hexadecimal out of pieces.
pub(crate) fn read_hex<'a>(
    pieces: impl Iterator<Item = &'a [u8]>,
    out: &mut Vec<u8>,
) -> Result<(), BadEncoding> {
    let mut high = None;
    for &byte in pieces.flatten() {
        let value = (byte as char).to_digit(16).ok_or(BadEncoding)? as u8;
        match high.take() {
            None => high = Some(value),
            Some(high) => out.push(high << 4 | value),
        }
    }
    if high.is_some() {
        Err(BadEncoding)
    } else {
        Ok(())
    }
}

/// Reads base32 with the "extended hex" alphabet, unpadded (RFC 5155 3.3).
pub(crate) fn read_base32hex(text: &[u8], out: &mut Vec<u8>) -> Result<(), BadEncoding> {
    let (mut bits, mut held) = (0u32, 0u32);
    for &byte in text {
        let value = (byte as char).to_digit(32).ok_or(BadEncoding)?;
        bits = bits << 5 | value;
        held += 5;
        if held >= 8 {
            held -= 8;
            out.push((bits >> held) as u8);
            bits &= (1 << held) - 1;
        }
    }
    // What is left must be the zero bits that fill the last digit, not a digit too many.
    if bits != 0 || held >= 5 {
        Err(BadEncoding)
    } else {
        Ok(())
    }
}

pub(crate) fn write_base64(bytes: &[u8], out: &mut dyn Write) -> fmt::Result {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for chunk in bytes.chunks(3) {
        let at = |index: usize| u32::from(chunk.get(index).copied().unwrap_or(0));
        let bits = at(0) << 16 | at(1) << 8 | at(2);
        for digit in 0..4 {
            let shown = digit <= chunk.len();
            let value = (bits >> (18 - 6 * digit)) as usize & 63;
            let char = DIGITS
                .get(value)
                .filter(|_| shown)
                .map_or('=', |byte| *byte as char);
            out.write_char(char)?;
        }
    }
    Ok(())
}

pub(crate) fn write_hex(bytes: &[u8], out: &mut dyn Write) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(out, "{byte:02X}"))
}

pub(crate) fn write_base32hex(bytes: &[u8], out: &mut dyn Write) -> fmt::Result {
    let digit = |value: u32| {
        char::from_digit(value & 31, 32)
            .unwrap_or('0')
            .to_ascii_uppercase()
    };
    let (mut bits, mut held) = (0u32, 0u32);
    for &byte in bytes {
        bits = bits << 8 | u32::from(byte);
        held += 8;
        while held >= 5 {
            held -= 5;
            out.write_char(digit(bits >> held))?;
        }
        bits &= (1 << held) - 1;
    }
    if held > 0 {
        out.write_char(digit(bits << (5 - held)))
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn rfc4648_examples() {
        let cases = [
            ("", "", ""),
            ("f", "Zg==", "CO"),
            ("fo", "Zm8=", "CPNG"),
            ("foo", "Zm9v", "CPNMU"),
            ("foob", "Zm9vYg==", "CPNMUOG"),
            ("fooba", "Zm9vYmE=", "CPNMUOJ1"),
            ("foobar", "Zm9vYmFy", "CPNMUOJ1E8"),
        ];
        for (plain, base64, base32) in cases {
            let (mut out, mut text, mut text32) = (Vec::new(), String::new(), String::new());
            read_base64(base64.as_bytes().chunks(3), &mut out).unwrap();
            assert_eq!(out, plain.as_bytes());
            write_base64(plain.as_bytes(), &mut text).unwrap();
            assert_eq!(text, base64);
            write_base32hex(plain.as_bytes(), &mut text32).unwrap();
            assert_eq!(text32, base32);
        }
        for bad in ["Zg", "Zg=", "Zg=a", "Zh==", "Z", "Zm9v=", "Zm 9"] {
            assert!(
                read_base64([bad.as_bytes()].into_iter(), &mut Vec::new()).is_err(),
                "{bad}"
            );
        }
        assert!(read_hex([&b"abc"[..]].into_iter(), &mut Vec::new()).is_err());
        assert!(read_base32hex(b"C", &mut Vec::new()).is_err());
        assert!(read_base32hex(b"CP", &mut Vec::new()).is_err());
    }

    proptest! {
        #[test]
        fn there_and_back(bytes in prop::collection::vec(any::<u8>(), 0..70)) {
            let (mut b64, mut b32, mut b16) = (String::new(), String::new(), String::new());
            write_base64(&bytes, &mut b64).unwrap();
            write_base32hex(&bytes, &mut b32).unwrap();
            write_hex(&bytes, &mut b16).unwrap();
            let (mut x, mut y, mut z) = (Vec::new(), Vec::new(), Vec::new());
            read_base64([b64.as_bytes()].into_iter(), &mut x).unwrap();
            read_base32hex(b32.as_bytes(), &mut y).unwrap();
            read_hex([b16.as_bytes()].into_iter(), &mut z).unwrap();
            prop_assert_eq!(&x, &bytes);
            prop_assert_eq!(&y, &bytes);
            prop_assert_eq!(&z, &bytes);
        }
    }
}
