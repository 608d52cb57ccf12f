//! Which bytes a Range field selects (RFC 9110 section 14.2).

use std::ops::Range;

use crate::wire::range::RangeSpec;

/// What is sent of a representation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selection {
    /// All of it: 200.
    Whole,
    /// Nothing the client asked for exists: 416.
    Unsatisfiable,
    /// One range: 206.
    One(Range<u64>),
    /// Several: 206 with multipart/byteranges.
    Many(Vec<Range<u64>>),
}

/// Resolves ranges against a length. Ranges that overlap or touch are joined, so that no answer
/// is larger than the representation (and the heads of its parts).
#[must_use]
pub fn select(specs: &[RangeSpec], length: u64) -> Selection {
    if length == 0 {
        // There is no range to speak of in nothing, and no Content-Range to say so with. Apache
        // and nginx send all of it, and clients that resume downloads rely on that.
        return Selection::Whole;
    }
    let mut ranges: Vec<Range<u64>> = specs
        .iter()
        .filter_map(|spec| resolve(spec, length))
        .collect();
    if ranges.is_empty() {
        return Selection::Unsatisfiable;
    }
    join(&mut ranges);
    match ranges.pop() {
        Some(only) if ranges.is_empty() => Selection::One(only),
        Some(last) => {
            ranges.push(last);
            Selection::Many(ranges)
        }
        None => Selection::Unsatisfiable,
    }
}

fn resolve(spec: &RangeSpec, length: u64) -> Option<Range<u64>> {
    let range = match *spec {
        RangeSpec::From { first, last } => {
            first..last.map_or(length, |last| last.saturating_add(1).min(length))
        }
        RangeSpec::Suffix { length: suffix } => length.saturating_sub(suffix)..length,
    };
    (range.start < range.end).then_some(range)
}

/// Joins what overlaps or touches. The client's order is kept where nothing does ("a server SHOULD
/// send them in the order"); joined ranges come in the order of the bytes.
fn join(ranges: &mut Vec<Range<u64>>) {
    let mut sorted = ranges.clone();
    sorted.sort_unstable_by_key(|range| range.start);
    let mut joined: Vec<Range<u64>> = Vec::with_capacity(sorted.len());
    for range in sorted {
        match joined.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => joined.push(range),
        }
    }
    if joined.len() < ranges.len() {
        *ranges = joined;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::wire::range::parse;

    fn check(value: &str, length: u64, expected: &Selection) {
        let specs = parse(value.as_bytes()).unwrap_or_default();
        assert_eq!(&select(&specs, length), expected, "{value} of {length}");
    }

    #[test]
    fn selections() {
        let one = |range| Selection::One(range);
        let many = |ranges: &[Range<u64>]| Selection::Many(ranges.to_vec());
        for (value, length, expected) in [
            ("bytes=0-499", 10_000, one(0..500)),
            ("bytes=-500", 10_000, one(9500..10_000)),
            ("bytes=9500-", 10_000, one(9500..10_000)),
            ("bytes=0-", 10, one(0..10)),
            ("bytes=0-99999999999999999999", 10, one(0..10)),
            ("bytes=-99", 10, one(0..10)),
            ("bytes=10-", 10, Selection::Unsatisfiable),
            ("bytes=-0", 10, Selection::Unsatisfiable),
            ("bytes=5-6,20-", 10, one(5..7)),
            ("bytes=0-0,-1", 10_000, many(&[0..1, 9999..10_000])),
            ("bytes=8-9,0-1", 10, many(&[8..10, 0..2])),
            ("bytes=500-600,601-999", 10_000, one(500..1000)),
            ("bytes=500-700,601-999", 10_000, one(500..1000)),
            ("bytes=0-9,5-14,20-29", 100, many(&[0..15, 20..30])),
            ("bytes=0-", 0, Selection::Whole),
            ("bytes=-5", 0, Selection::Whole),
        ] {
            check(value, length, &expected);
        }
    }

    proptest! {
        #[test]
        fn never_more_than_there_is(
            specs in proptest::collection::vec((0_u64..50, proptest::option::of(0_u64..50), any::<bool>()), 0..20),
            length in 0_u64..50,
        ) {
            let specs: Vec<RangeSpec> = specs.into_iter().map(|(first, last, suffix)| if suffix {
                RangeSpec::Suffix { length: first }
            } else {
                RangeSpec::From { first, last: last.map(|last| first + last) }
            }).collect();
            let ranges = match select(&specs, length) {
                Selection::One(range) => vec![range],
                Selection::Many(ranges) => { prop_assert!(ranges.len() > 1); ranges }
                _ => vec![],
            };
            prop_assert!(ranges.iter().all(|range| range.start < range.end && range.end <= length));
            let wanted = |byte: u64| specs.iter().filter_map(|spec| resolve(spec, length)).any(|range| range.contains(&byte));
            for byte in 0..length {
                let times = ranges.iter().filter(|range| range.contains(&byte)).count();
                prop_assert_eq!(times, usize::from(wanted(byte)));
            }
        }
    }
}
