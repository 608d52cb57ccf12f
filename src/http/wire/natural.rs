//! Names of files: patterns, and the order that people expect.

use std::cmp::Ordering;

/// Compares names so that "a9" comes before "a10".
#[must_use]
pub fn compare(one: &[u8], other: &[u8]) -> Ordering {
    let (mut left, mut right) = (one, other);
    loop {
        let (Some((&a, left_rest)), Some((&b, right_rest))) =
            (left.split_first(), right.split_first())
        else {
            return left.len().cmp(&right.len()).then_with(|| one.cmp(other));
        };
        if a.is_ascii_digit() && b.is_ascii_digit() {
            let (a, b) = (number(&mut left), number(&mut right));
            match a.len().cmp(&b.len()).then_with(|| a.cmp(b)) {
                Ordering::Equal => {}
                unequal => return unequal,
            }
        } else if a == b {
            (left, right) = (left_rest, right_rest);
        } else {
            return a.cmp(&b);
        }
    }
}

/// Takes the digits at the start, and gives them without leading zeros.
fn number<'a>(text: &mut &'a [u8]) -> &'a [u8] {
    let end = text.iter().position(|byte| !byte.is_ascii_digit());
    let (digits, rest) = text.split_at(end.unwrap_or(text.len()));
    *text = rest;
    let zeros = digits.iter().position(|&digit| digit != b'0');
    digits
        .get(zeros.unwrap_or(digits.len())..)
        .unwrap_or_default()
}

/// Whether a name is like a pattern, in which "*" is anything and "?" one byte. Takes no more
/// steps than the product of their lengths.
#[must_use]
pub fn matches(pattern: &[u8], name: &[u8]) -> bool {
    let (mut at, mut from) = (0, 0);
    // Where to go on from when what follows the last star does not fit.
    let mut star: Option<(usize, usize)> = None;
    while let Some(&byte) = name.get(from) {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at, from));
                at += 1;
            }
            Some(&wanted) if wanted == b'?' || wanted == byte => {
                at += 1;
                from += 1;
            }
            _ => match &mut star {
                Some((after, taken)) => {
                    *taken += 1;
                    (at, from) = (*after + 1, *taken);
                }
                None => return false,
            },
        }
    }
    pattern
        .get(at..)
        .unwrap_or_default()
        .iter()
        .all(|&byte| byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order() {
        let mut names = ["a10", "a9", "b", "a", "a09", "a9b", "10", "9", "a-1"];
        names.sort_by(|one, other| compare(one.as_bytes(), other.as_bytes()));
        assert_eq!(
            names,
            ["9", "10", "a", "a-1", "a09", "a9", "a9b", "a10", "b"]
        );
    }

    #[test]
    fn patterns() {
        for (pattern, name, expected) in [
            ("*", "", true),
            ("*~", "a~", true),
            ("*~", "a~b", false),
            (".??*", "..", false),
            (".??*", ".ab", true),
            ("README*", "README.html", true),
            ("a*b*c", "aXbYbZc", true),
            ("a*b*c", "aXbYbZ", false),
            ("?", "", false),
            ("", "", true),
        ] {
            assert_eq!(
                matches(pattern.as_bytes(), name.as_bytes()),
                expected,
                "{pattern} {name}"
            );
        }
        // A pattern of many stars does not take forever.
        let (pattern, name) = ("*a".repeat(100) + "b", "a".repeat(5000));
        assert!(!matches(pattern.as_bytes(), name.as_bytes()));
    }
}
