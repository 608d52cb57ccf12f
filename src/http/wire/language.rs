//! Languages that a client reads (RFC 9110 section 12.5.4, RFC 4647).

use super::coding::weight;

/// How much a client wants a language, in thousandths: by the longest of its ranges that the tag
/// is in; a little where one of its ranges is a dialect of it; else as "*" says.
#[must_use]
pub fn quality(accept: &[u8], tag: &str) -> u16 {
    let tag = tag.as_bytes();
    let mut best: Option<(usize, u16)> = None;
    let (mut any, mut dialect) = (None, false);
    for element in accept.split(|&byte| byte == b',').take(64) {
        let mut parts = element.split(|&byte| byte == b';');
        let range = parts.next().unwrap_or_default().trim_ascii();
        let quality = parts
            .find_map(|part| {
                let part = part.trim_ascii();
                part.strip_prefix(b"q=").or(part.strip_prefix(b"Q="))
            })
            .map_or(1000, weight);
        if range == b"*" {
            any = Some(quality);
        } else if covers(range, tag) {
            if best.is_none_or(|(length, _)| range.len() > length) {
                best = Some((range.len(), quality));
            }
        } else if covers(tag, range) && quality > 0 {
            dialect = true;
        }
    }
    match best {
        Some((_, quality)) => quality,
        None if dialect => 1,
        None => any.unwrap_or(0),
    }
}

/// RFC 4647 section 3.3.1: a range covers tags that it is the whole of, or the beginning of up to
/// a hyphen.
fn covers(range: &[u8], tag: &[u8]) -> bool {
    let Some((head, rest)) = tag.split_at_checked(range.len()) else {
        return false;
    };
    !range.is_empty()
        && head.eq_ignore_ascii_case(range)
        && matches!(rest.first(), None | Some(b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn qualities() {
        for (accept, tag, expected) in [
            ("en", "en", 1000),
            ("EN", "en", 1000),
            ("en", "en-gb", 1000),
            ("en;q=0.5, en-gb", "en-gb", 1000),
            ("en;q=0.5, en-gb", "en", 500),
            ("en-gb", "en", 1),
            ("en-gb;q=0", "en", 0),
            ("da, en;q=0.3", "en", 300),
            ("da, *;q=0.2", "en", 200),
            ("*, en;q=0", "en", 0),
            ("e", "en", 0),
            ("english", "en", 0),
            ("", "en", 0),
        ] {
            assert_eq!(quality(accept.as_bytes(), tag), expected, "{accept} {tag}");
        }
    }
}
