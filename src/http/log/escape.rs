//! Bytes of clients in lines of logs. A log line must stay one line, its quotes must stay in
//! pairs, and a terminal that shows it must not obey it (CVE-2024-47252).

const DIGITS: &[u8; 16] = b"0123456789abcdef";

fn hex(byte: u8, into: &mut Vec<u8>) {
    for nibble in [byte >> 4, byte & 15] {
        into.push(DIGITS.get(usize::from(nibble)).copied().unwrap_or(b'0'));
    }
}

/// As Apache does: C escapes for the usual control characters, `\xhh` for the others and for all
/// that is not ASCII.
pub(super) fn apache(text: &[u8], into: &mut Vec<u8>) {
    for &byte in text {
        match byte {
            b'"' => into.extend_from_slice(b"\\\""),
            b'\\' => into.extend_from_slice(b"\\\\"),
            b' '..=b'~' => into.push(byte),
            b'\n' => into.extend_from_slice(b"\\n"),
            b'\r' => into.extend_from_slice(b"\\r"),
            b'\t' => into.extend_from_slice(b"\\t"),
            0x08 => into.extend_from_slice(b"\\b"),
            0x0b => into.extend_from_slice(b"\\v"),
            0x0c => into.extend_from_slice(b"\\f"),
            byte => {
                into.extend_from_slice(b"\\x");
                hex(byte, into);
            }
        }
    }
}

/// The inside of a JSON string (RFC 8259 section 7). Bytes that are not UTF-8 become U+FFFD: the
/// line must be JSON before it is exact.
pub(super) fn json(text: &[u8], into: &mut Vec<u8>) {
    for chunk in text.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '"' => into.extend_from_slice(b"\\\""),
                '\\' => into.extend_from_slice(b"\\\\"),
                '\n' => into.extend_from_slice(b"\\n"),
                '\r' => into.extend_from_slice(b"\\r"),
                '\t' => into.extend_from_slice(b"\\t"),
                '\0'..='\u{1f}' | '\u{7f}' => {
                    into.extend_from_slice(b"\\u00");
                    hex(u8::try_from(u32::from(character)).unwrap_or(0), into);
                }
                character => {
                    into.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                }
            }
        }
        if !chunk.invalid().is_empty() {
            into.extend_from_slice("\u{fffd}".as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn escaped(escape: fn(&[u8], &mut Vec<u8>), text: &[u8]) -> String {
        let mut into = Vec::new();
        escape(text, &mut into);
        String::from_utf8_lossy(&into).into_owned()
    }

    #[test]
    fn as_apache_does() {
        assert_eq!(
            escaped(
                apache,
                b"GET /\"a\\b\" \x1b[31m\r\n\t\x00\x7f\xe4 \x08\x0b\x0c"
            ),
            "GET /\\\"a\\\\b\\\" \\x1b[31m\\r\\n\\t\\x00\\x7f\\xe4 \\b\\v\\f"
        );
    }

    proptest! {
        #[test]
        fn one_printable_line(text in proptest::collection::vec(any::<u8>(), 0..64)) {
            prop_assert!(escaped(apache, &text).bytes().all(|byte| (b' '..=b'~').contains(&byte)));
        }

        #[test]
        fn json_reads_back(text in ".{0,32}") {
            let line = format!("\"{}\"", escaped(json, text.as_bytes()));
            prop_assert_eq!(serde_json::from_str::<String>(&line).ok(), Some(text));
        }

        #[test]
        fn json_of_any_bytes_is_json(text in proptest::collection::vec(any::<u8>(), 0..64)) {
            let line = format!("\"{}\"", escaped(json, &text));
            prop_assert!(serde_json::from_str::<String>(&line).is_ok());
            prop_assert!(!line.contains('\n'));
        }
    }
}
