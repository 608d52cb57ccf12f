//! Entity tags and HTTP dates (RFC 9110 section 8.8).

use std::time::SystemTime;

/// An entity tag as it stands in a field, its quotes left off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EntityTag<'a> {
    /// `W/` stood before it.
    pub weak: bool,
    /// What stands between the quotes.
    pub opaque: &'a [u8],
}

impl<'a> EntityTag<'a> {
    /// One entity tag at the start of `text`, and what follows it.
    #[must_use]
    pub fn parse(text: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let (weak, text) = match text.strip_prefix(b"W/") {
            Some(text) => (true, text),
            None => (false, text),
        };
        let text = text.strip_prefix(b"\"")?;
        let end = memchr::memchr(b'"', text)?;
        let (opaque, rest) = text.split_at(end);
        // etagc = %x21 / %x23-7E / obs-text
        if !opaque.iter().all(|&byte| byte > b' ' && byte != 0x7f) {
            return None;
        }
        Some((Self { weak, opaque }, rest.get(1..)?))
    }

    /// RFC 9110 section 8.8.3.2: equal, and neither is weak.
    #[must_use]
    pub fn matches_strongly(&self, other: &EntityTag<'_>) -> bool {
        !self.weak && !other.weak && self.opaque == other.opaque
    }

    /// RFC 9110 section 8.8.3.2: equal, weak or not.
    #[must_use]
    pub fn matches_weakly(&self, other: &EntityTag<'_>) -> bool {
        self.opaque == other.opaque
    }
}

/// What If-Match and If-None-Match hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TagList<'a> {
    /// `*`
    Any,
    /// A list of tags; what is no tag is left out.
    Tags(Vec<EntityTag<'a>>),
}

impl<'a> TagList<'a> {
    /// Parses one field value. The size of a request head bounds the list.
    #[must_use]
    pub fn parse(value: &'a [u8]) -> Self {
        let mut rest = value.trim_ascii();
        if rest == b"*" {
            return Self::Any;
        }
        let mut tags = Vec::new();
        while !rest.is_empty() {
            if let Some((tag, after)) = EntityTag::parse(rest) {
                tags.push(tag);
                rest = after;
            }
            // On to the next element, over whatever this one was.
            let comma = memchr::memchr(b',', rest).map_or(rest.len(), |at| at + 1);
            rest = rest.get(comma..).unwrap_or_default().trim_ascii_start();
        }
        Self::Tags(tags)
    }
}

/// Any of the three date forms of RFC 9110 section 5.6.7.
#[must_use]
pub fn parse_date(value: &[u8]) -> Option<SystemTime> {
    httpdate::parse_http_date(std::str::from_utf8(value).ok()?.trim()).ok()
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use proptest::prelude::*;

    use super::*;

    fn tag(weak: bool, opaque: &str) -> EntityTag<'_> {
        EntityTag {
            weak,
            opaque: opaque.as_bytes(),
        }
    }

    #[test]
    fn the_table_of_rfc_9110_8_8_3_2() {
        for (one, other, strong, weak) in [
            (tag(true, "1"), tag(true, "1"), false, true),
            (tag(true, "1"), tag(true, "2"), false, false),
            (tag(true, "1"), tag(false, "1"), false, true),
            (tag(false, "1"), tag(false, "1"), true, true),
        ] {
            assert_eq!(one.matches_strongly(&other), strong);
            assert_eq!(one.matches_weakly(&other), weak);
        }
    }

    #[test]
    fn lists() {
        let list = |value: &'static str| TagList::parse(value.as_bytes());
        assert_eq!(list(" * "), TagList::Any);
        assert_eq!(list("\"xyzzy\""), TagList::Tags(vec![tag(false, "xyzzy")]));
        assert_eq!(
            list("\"xyzzy\", W/\"r2d2,xx\" ,, \"\""),
            TagList::Tags(vec![
                tag(false, "xyzzy"),
                tag(true, "r2d2,xx"),
                tag(false, "")
            ])
        );
        assert_eq!(
            list("xyzzy, \"a b\", \"c\""),
            TagList::Tags(vec![tag(false, "c")])
        );
        assert_eq!(list(""), TagList::Tags(vec![]));
        assert_eq!(list("\"open"), TagList::Tags(vec![]));
    }

    #[test]
    fn the_three_forms_of_a_date() {
        for date in [
            "Sun, 06 Nov 1994 08:49:37 GMT",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun Nov  6 08:49:37 1994",
        ] {
            let parsed = parse_date(date.as_bytes());
            assert_eq!(
                parsed,
                Some(UNIX_EPOCH + Duration::from_secs(784_111_777)),
                "{date}"
            );
        }
        assert_eq!(parse_date(b"yesterday"), None);
    }

    proptest! {
        #[test]
        fn no_bytes_break_it(value in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = TagList::parse(&value);
            let _ = parse_date(&value);
        }
    }
}
