//! The Range field (RFC 9110 section 14.1).

/// More ranges than this in one request and the field is ignored, as Apache's MaxRanges does.
pub const RANGES_MAX: usize = 200;

/// One range as the client wrote it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RangeSpec {
    /// `first-` or `first-last`.
    From {
        /// The first byte wanted.
        first: u64,
        /// The last one, or up to the end.
        last: Option<u64>,
    },
    /// `-length`: the last bytes.
    Suffix {
        /// How many.
        length: u64,
    },
}

/// Parses `bytes=…`. `None` where the field is to be ignored: another unit, a syntax error, more
/// than [`RANGES_MAX`] ranges (RFC 9110 section 14.2: "MAY ignore").
#[must_use]
pub fn parse(value: &[u8]) -> Option<Vec<RangeSpec>> {
    let value = std::str::from_utf8(value).ok()?.trim_matches([' ', '\t']);
    let (unit, set) = value.split_once('=')?;
    if !unit.eq_ignore_ascii_case("bytes") {
        return None;
    }
    let mut ranges = Vec::new();
    for spec in set.split(',') {
        let spec = spec.trim_matches([' ', '\t']);
        if spec.is_empty() {
            // RFC 9110 section 5.6.1.2: empty list elements are ignored.
            continue;
        }
        if ranges.len() == RANGES_MAX {
            return None;
        }
        ranges.push(range(spec)?);
    }
    (!ranges.is_empty()).then_some(ranges)
}

fn range(spec: &str) -> Option<RangeSpec> {
    let (first, last) = spec.split_once('-')?;
    if first.is_empty() {
        return Some(RangeSpec::Suffix {
            length: number(last)?,
        });
    }
    let first = number(first)?;
    let last = if last.is_empty() {
        None
    } else {
        Some(number(last)?)
    };
    // "invalid if the last-pos value is present and less than first-pos"
    let valid = last.is_none_or(|last| last >= first);
    valid.then_some(RangeSpec::From { first, last })
}

/// Digits of any length; beyond what fits, every file ends sooner anyway.
fn number(digits: &str) -> Option<u64> {
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some(digits.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn from(first: u64, last: u64) -> RangeSpec {
        RangeSpec::From {
            first,
            last: Some(last),
        }
    }

    #[test]
    fn the_examples_of_rfc_9110_14_1_2() {
        let suffix = RangeSpec::Suffix { length: 500 };
        let open = RangeSpec::From {
            first: 9500,
            last: None,
        };
        for (value, expected) in [
            ("bytes=0-499", Some(vec![from(0, 499)])),
            ("bytes=-500", Some(vec![suffix])),
            ("bytes=9500-", Some(vec![open])),
            ("bytes=0-0,-500", Some(vec![from(0, 0), suffix])),
            (
                "bytes= 0-999, 4500-5499,,\t-500",
                Some(vec![from(0, 999), from(4500, 5499), suffix]),
            ),
            ("BYTES=0-1", Some(vec![from(0, 1)])),
            (
                "bytes=0-99999999999999999999999",
                Some(vec![from(0, u64::MAX)]),
            ),
            ("lines=0-1", None),
            ("bytes", None),
            ("bytes=", None),
            ("bytes=,", None),
            ("bytes=-", None),
            ("bytes=5-4", None),
            ("bytes=a-b", None),
            ("bytes=+1-2", None),
            ("bytes=1-2 3-4", None),
            ("bytes=0-1,x", None),
        ] {
            assert_eq!(parse(value.as_bytes()), expected, "{value}");
        }
    }

    #[test]
    fn two_hundred_and_no_more() {
        let list = |count| format!("bytes={}", vec!["0-0"; count].join(","));
        assert!(parse(list(RANGES_MAX).as_bytes()).is_some());
        assert!(parse(list(RANGES_MAX + 1).as_bytes()).is_none());
    }

    proptest! {
        #[test]
        fn no_bytes_break_it(value in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = parse(&value);
        }
    }
}
