//! Percent-encoding (RFC 3986 section 2.1).

/// The byte that `%XY` stands for.
#[must_use]
pub fn decode_pair(high: u8, low: u8) -> Option<u8> {
    let high = char::from(high).to_digit(16)?;
    let low = char::from(low).to_digit(16)?;
    u8::try_from(high * 16 + low).ok()
}

/// The text with its escapes undone; what is none stays as it is.
#[must_use]
pub fn decode(text: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        decoded.push(match (byte, after) {
            (b'%', [high, low, left @ ..]) => match decode_pair(*high, *low) {
                Some(decoded) => {
                    rest = left;
                    decoded
                }
                None => byte,
            },
            _ => byte,
        });
    }
    decoded
}

/// Appends `path` with everything escaped that a path may not hold as it is.
pub fn encode_path(path: &[u8], into: &mut String) {
    for &byte in path {
        if stays(byte) {
            into.push(char::from(byte));
        } else {
            escape(byte, into);
        }
    }
}

/// Appends `query` with everything escaped that a query may not hold as it is. What is escaped
/// already stays so.
pub fn encode_query(query: &[u8], into: &mut String) {
    let mut rest = query;
    while let Some((&byte, after)) = rest.split_first() {
        let escaped =
            byte == b'%' && matches!(after, [high, low, ..] if decode_pair(*high, *low).is_some());
        if stays(byte) || byte == b'?' || escaped {
            into.push(char::from(byte));
        } else {
            escape(byte, into);
        }
        rest = after;
    }
}

/// pchar of RFC 3986 without "%", and "/".
fn stays(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/".contains(&byte)
}

/// Appends a byte, escaped.
pub fn escape(byte: u8, into: &mut String) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    into.push('%');
    for nibble in [byte >> 4, byte & 15] {
        into.push(
            DIGITS
                .get(usize::from(nibble))
                .map_or('0', |&digit| char::from(digit)),
        );
    }
}
