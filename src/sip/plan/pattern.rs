//! Patterns of numbers, as office telephone systems have written them for twenty years.

use std::cmp::Ordering;

/// A number, or a pattern of numbers.
///
/// Without a leading `_` it is the number itself. After it, `X` is a digit, `Z` one but 0, `N` one
/// but 0 and 1, `[1-57]` one of those, `.` one or more of anything and `!` any rest, also none; all
/// else is itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    text: Box<str>,
    places: Vec<Place>,
    rest: Rest,
}

/// What one character may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Itself.
    One(u8),
    /// Any of a set: bit n stands for the character n.
    Set(u128),
}

/// What may follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rest {
    Nothing,
    Some,
    Any,
}

/// The longest pattern: no number is longer.
const LONGEST: usize = 64;

impl Pattern {
    /// Reads it.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("it is empty".to_owned());
        }
        if text.len() > LONGEST {
            return Err(format!("it is longer than {LONGEST} characters"));
        }
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err("it has characters that nobody can dial".to_owned());
        }
        let mut pattern = Self {
            text: text.into(),
            places: Vec::new(),
            rest: Rest::Nothing,
        };
        let Some(mut rest) = text.strip_prefix('_').map(str::as_bytes) else {
            let itself = text
                .bytes()
                .map(|byte| Place::One(byte.to_ascii_lowercase()));
            pattern.places = itself.collect();
            return Ok(pattern);
        };
        while let Some((first, after)) = rest.split_first() {
            rest = after;
            if pattern.rest != Rest::Nothing {
                return Err("nothing may follow \".\" or \"!\"".to_owned());
            }
            let place = match first.to_ascii_uppercase() {
                b'X' => Place::Set(digits(b'0')),
                b'Z' => Place::Set(digits(b'1')),
                b'N' => Place::Set(digits(b'2')),
                b'.' => {
                    pattern.rest = Rest::Some;
                    continue;
                }
                b'!' => {
                    pattern.rest = Rest::Any;
                    continue;
                }
                b'[' => {
                    let end = rest.iter().position(|byte| *byte == b']');
                    let (set, after) = end
                        .and_then(|end| rest.split_at_checked(end))
                        .ok_or("a \"[\" has no \"]\"")?;
                    rest = after.get(1..).unwrap_or_default();
                    Place::Set(read_set(set)?)
                }
                b']' => return Err("a \"]\" has no \"[\"".to_owned()),
                _ => Place::One(first.to_ascii_lowercase()),
            };
            pattern.places.push(place);
        }
        if pattern.places.is_empty() && pattern.rest == Rest::Nothing {
            return Err("nothing follows the \"_\"".to_owned());
        }
        Ok(pattern)
    }

    /// Whether it is a number itself rather than a pattern.
    #[must_use]
    pub fn is_exact(&self) -> bool {
        !self.text.starts_with('_')
    }

    /// As it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether a number is one of these.
    #[must_use]
    pub fn matches(&self, number: &str) -> bool {
        let number = number.as_bytes();
        let Some((head, tail)) = number.split_at_checked(self.places.len()) else {
            return false;
        };
        let fits = |(place, byte): (&Place, &u8)| {
            let byte = byte.to_ascii_lowercase();
            match place {
                Place::One(one) => *one == byte,
                Place::Set(set) => byte < 128 && set & (1 << byte) != 0,
            }
        };
        self.places.iter().zip(head).all(fits)
            && match self.rest {
                Rest::Nothing => tail.is_empty(),
                Rest::Some => !tail.is_empty(),
                Rest::Any => true,
            }
    }

    /// Which of two says more of a number that both match: the one that leaves less choice at the
    /// first place where they differ.
    #[must_use]
    pub fn compare(&self, other: &Self) -> Ordering {
        other.choices().cmp(self.choices())
    }

    /// How many characters each place allows; a rest counts as more than any of them.
    fn choices(&self) -> impl Iterator<Item = u32> {
        let rest = match self.rest {
            Rest::Nothing => None,
            Rest::Some => Some(1000),
            Rest::Any => Some(1001),
        };
        let places = self.places.iter().map(|place| match place {
            Place::One(_) => 1,
            Place::Set(set) => set.count_ones(),
        });
        places.chain(rest)
    }
}

const fn digits(from: u8) -> u128 {
    let all = (1_u128 << (b'9' + 1)) - 1;
    all & !((1_u128 << from) - 1)
}

fn read_set(text: &[u8]) -> Result<u128, String> {
    let mut set = 0;
    let mut rest = text;
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        if !first.is_ascii_alphanumeric() && !b"*#+".contains(first) {
            return Err(format!("{:?} cannot be dialled", char::from(*first)));
        }
        let last = match rest {
            [b'-', last, after @ ..] => {
                rest = after;
                *last
            }
            _ => *first,
        };
        if last < *first || !last.is_ascii_alphanumeric() && last != *first {
            return Err(format!(
                "\"{}-{}\" is no range",
                char::from(*first),
                char::from(last)
            ));
        }
        for byte in *first..=last {
            set |= 1_u128 << byte.to_ascii_lowercase();
        }
    }
    if set == 0 {
        return Err("\"[]\" is nothing".to_owned());
    }
    Ok(set)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pattern(text: &str) -> Pattern {
        Pattern::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn numbers_match() {
        for (text, numbers, others) in [
            ("200", &["200"][..], &["20", "2000", "201"][..]),
            ("Alice", &["alice", "ALICE"], &["alic"]),
            ("_XXX", &["000", "999"], &["12", "1234", "12a"]),
            ("_NXX", &["200", "999"], &["100", "199", "2a0"]),
            ("_0Z.", &["0301", "019"], &["03", "001", "13"]),
            ("_00!", &["00", "0049"], &["0", "01"]),
            ("_[1-35]X", &["10", "39", "55"], &["40", "60", "1"]),
            ("_*7[29]X!", &["*721", "*7912345"], &["*731", "721"]),
            ("_+49.", &["+49301"], &["+49", "49301"]),
            ("_.", &["1", "anything"], &[""]),
        ] {
            let pattern = pattern(text);
            for number in numbers {
                assert!(pattern.matches(number), "{text} {number}");
            }
            for number in others {
                assert!(!pattern.matches(number), "{text} {number}");
            }
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for text in [
            "", "_", "_[1", "_1]", "_1.2", "_[]", "_[5-1]", "_[ä]", "a b", "_[1-]",
        ] {
            assert!(Pattern::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_one_that_says_more_comes_first() {
        let ordered = [
            "112", "_11X", "_1NX", "_1XX", "_1X.", "_NXX", "_ZXX", "_XXX", "_X.", "_X!", "_.", "_!",
        ];
        for (index, first) in ordered.iter().enumerate() {
            for second in &ordered[index + 1..] {
                let order = pattern(first).compare(&pattern(second));
                assert_eq!(order, Ordering::Greater, "{first} {second}");
            }
        }
    }

    proptest! {
        #[test]
        fn no_text_does_harm(text in "\\PC{0,70}", number in "\\PC{0,70}") {
            if let Ok(pattern) = Pattern::parse(&text) {
                prop_assert_eq!(pattern.matches(&number), pattern.matches(&number));
            }
        }

        #[test]
        fn a_number_is_itself(number in "[0-9a-z*#+]{1,20}") {
            prop_assert!(pattern(&number).matches(&number));
        }
    }
}
