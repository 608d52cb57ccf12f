//! Conditional requests, in the order of RFC 9110 section 13.2.2.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderName, HeaderValue, Method, header};

use crate::wire::validator::{EntityTag, TagList, parse_date};

/// The validators of what a request selected.
#[derive(Debug, Clone, Copy)]
pub struct Validators<'a> {
    /// The entity tag, as it stands in the ETag field.
    pub tag: EntityTag<'a>,
    /// Last-Modified, in whole seconds.
    pub modified: SystemTime,
}

/// What the preconditions come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Carry out the request.
    Proceed,
    /// 304: the client has it already.
    NotModified,
    /// 412: the client thinks of another state than there is.
    Failed,
}

/// Evaluates If-Match, If-Unmodified-Since, If-None-Match and If-Modified-Since.
#[must_use]
pub fn evaluate(method: &Method, headers: &HeaderMap, current: &Validators<'_>) -> Outcome {
    if headers.contains_key(header::IF_MATCH) {
        if !any_tag(headers, &header::IF_MATCH, |tag| {
            tag.matches_strongly(&current.tag)
        }) {
            return Outcome::Failed;
        }
    } else if let Some(date) = date(headers, &header::IF_UNMODIFIED_SINCE)
        && current.modified > date
    {
        return Outcome::Failed;
    }
    let reads = method == Method::GET || method == Method::HEAD;
    if headers.contains_key(header::IF_NONE_MATCH) {
        if any_tag(headers, &header::IF_NONE_MATCH, |tag| {
            tag.matches_weakly(&current.tag)
        }) {
            return if reads {
                Outcome::NotModified
            } else {
                Outcome::Failed
            };
        }
    } else if reads
        && let Some(date) = date(headers, &header::IF_MODIFIED_SINCE)
        && current.modified <= date
    {
        return Outcome::NotModified;
    }
    Outcome::Proceed
}

/// Whether the Range field is to be heeded as far as If-Range goes (section 13.1.5). `now` tells
/// whether the date is a strong validator yet: at least a second older (section 8.8.2.2).
#[must_use]
pub fn range_applies(headers: &HeaderMap, current: &Validators<'_>, now: SystemTime) -> bool {
    let Some(value) = headers.get(header::IF_RANGE) else {
        return true;
    };
    let value = value.as_bytes().trim_ascii();
    if let Some((tag, rest)) = EntityTag::parse(value) {
        return rest.is_empty() && tag.matches_strongly(&current.tag);
    }
    let strong = now
        .duration_since(current.modified)
        .is_ok_and(|age| age >= Duration::from_secs(1));
    strong && parse_date(value) == Some(current.modified)
}

fn any_tag(
    headers: &HeaderMap,
    name: &HeaderName,
    matches: impl Fn(&EntityTag<'_>) -> bool,
) -> bool {
    headers
        .get_all(name)
        .iter()
        .map(HeaderValue::as_bytes)
        .any(|value| {
            match TagList::parse(value) {
                // The representation exists, or nobody would ask about it here.
                TagList::Any => true,
                TagList::Tags(tags) => tags.iter().any(&matches),
            }
        })
}

/// A date field, if it stands there once and is a date; otherwise "a recipient MUST ignore" it.
fn date(headers: &HeaderMap, name: &HeaderName) -> Option<SystemTime> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?;
    if values.next().is_some() {
        return None;
    }
    parse_date(value.as_bytes())
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    const BEFORE: &str = "Sun, 06 Nov 1994 08:49:36 GMT";
    const AT: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const AFTER: &str = "Sun, 06 Nov 1994 08:49:38 GMT";

    fn current() -> Validators<'static> {
        Validators {
            tag: EntityTag {
                weak: false,
                opaque: b"now",
            },
            modified: UNIX_EPOCH + Duration::from_secs(784_111_777),
        }
    }

    fn headers(text: &[(&'static str, &'static str)]) -> HeaderMap {
        text.iter()
            .map(|(name, value)| {
                (
                    HeaderName::from_static(name),
                    HeaderValue::from_static(value),
                )
            })
            .collect()
    }

    #[test]
    fn in_the_order_of_rfc_9110() {
        use Outcome::{Failed, NotModified, Proceed};
        for (method, fields, expected) in [
            (Method::GET, &[][..], Proceed),
            (Method::GET, &[("if-match", "\"now\"")], Proceed),
            (Method::GET, &[("if-match", "*")], Proceed),
            (Method::GET, &[("if-match", "\"then\", \"now\"")], Proceed),
            (Method::GET, &[("if-match", "\"then\"")], Failed),
            (Method::GET, &[("if-match", "W/\"now\"")], Failed),
            (Method::GET, &[("if-unmodified-since", AT)], Proceed),
            (Method::GET, &[("if-unmodified-since", AFTER)], Proceed),
            (Method::GET, &[("if-unmodified-since", BEFORE)], Failed),
            (Method::GET, &[("if-unmodified-since", "then")], Proceed),
            // If-Match decides, If-Unmodified-Since is not looked at.
            (
                Method::GET,
                &[("if-match", "\"now\""), ("if-unmodified-since", BEFORE)],
                Proceed,
            ),
            (Method::GET, &[("if-none-match", "\"now\"")], NotModified),
            (Method::HEAD, &[("if-none-match", "W/\"now\"")], NotModified),
            (Method::POST, &[("if-none-match", "\"now\"")], Failed),
            (Method::GET, &[("if-none-match", "*")], NotModified),
            (Method::GET, &[("if-none-match", "\"then\"")], Proceed),
            // If-None-Match decides, If-Modified-Since is not looked at.
            (
                Method::GET,
                &[("if-none-match", "\"then\""), ("if-modified-since", AFTER)],
                Proceed,
            ),
            (Method::GET, &[("if-modified-since", AT)], NotModified),
            (Method::GET, &[("if-modified-since", AFTER)], NotModified),
            (Method::GET, &[("if-modified-since", BEFORE)], Proceed),
            (Method::POST, &[("if-modified-since", AT)], Proceed),
            (
                Method::GET,
                &[("if-modified-since", AT), ("if-modified-since", AT)],
                Proceed,
            ),
            // The first failing step wins over a later 304.
            (
                Method::GET,
                &[("if-match", "\"then\""), ("if-none-match", "\"now\"")],
                Failed,
            ),
            (
                Method::GET,
                &[("if-match", "\"now\""), ("if-none-match", "\"now\"")],
                NotModified,
            ),
        ] {
            assert_eq!(
                evaluate(&method, &headers(fields), &current()),
                expected,
                "{method} {fields:?}"
            );
        }
    }

    #[test]
    fn lists_over_several_lines_are_one_list() {
        let headers = headers(&[("if-none-match", "\"a\""), ("if-none-match", "\"now\"")]);
        assert_eq!(
            evaluate(&Method::GET, &headers, &current()),
            Outcome::NotModified
        );
    }

    #[test]
    fn if_range() {
        let later = current().modified + Duration::from_secs(10);
        for (fields, now, expected) in [
            (&[][..], later, true),
            (&[("if-range", "\"now\"")], later, true),
            (&[("if-range", "W/\"now\"")], later, false),
            (&[("if-range", "\"then\"")], later, false),
            (&[("if-range", AT)], later, true),
            (&[("if-range", AFTER)], later, false),
            (&[("if-range", BEFORE)], later, false),
            (&[("if-range", AT)], current().modified, false),
            (&[("if-range", "junk")], later, false),
        ] {
            assert_eq!(
                range_applies(&headers(fields), &current(), now),
                expected,
                "{fields:?}"
            );
        }
    }
}
