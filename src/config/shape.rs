//! What a key takes, as data: the source of every error's "expected", of the manual and of the
//! JSON schema.

use std::fmt;
use std::time::Duration;

use crate::item::{self, Item};
use crate::value::ByteSize;

/// What a value may be.
#[derive(Clone, Debug)]
pub enum Shape {
    /// true or false
    Boolean,
    /// A whole number between two bounds.
    Integer {
        /// The least.
        min: i128,
        /// The greatest.
        max: i128,
    },
    /// A number, with or without a fraction.
    Float,
    /// Text of some kind.
    Text(Text),
    /// One of a few words.
    Choice(&'static ChoiceInfo),
    /// A secret, written or pointed at.
    Secret,
    /// Any number of one thing.
    List(Box<Shape>),
    /// Names of one's own choosing, each with one thing.
    Map(Box<Shape>),
    /// A table with keys of its own.
    Section(&'static SectionInfo),
}

/// A kind of text.
#[derive(Clone, Copy, Debug)]
pub struct Text {
    /// With its article: "a duration".
    pub name: &'static str,
    /// Several of them: "durations".
    pub plural: &'static str,
    /// As it would be written between the quotes; empty where any text will do.
    pub example: &'static str,
    /// A regular expression (ECMA 262) that every value matches, for editors; may be empty.
    pub pattern: &'static str,
}

/// A section: its keys and what they are for.
#[derive(Debug)]
pub struct SectionInfo {
    /// The Rust type's full path: what tells sections apart.
    pub id: &'static str,
    /// The Rust type's name.
    pub name: &'static str,
    /// Its documentation, line by line.
    pub help: &'static [&'static str],
    /// Its keys, in the order in which they are explained.
    pub fields: &'static [Field],
}

/// One key of a section.
pub struct Field {
    /// The struct's field.
    pub name: &'static str,
    /// Its name in the file.
    pub key: &'static str,
    /// Its documentation, line by line.
    pub help: &'static [&'static str],
    /// What it takes.
    pub shape: fn() -> Shape,
    /// What it is when it is not written; `None` if it must be.
    pub default: Option<fn() -> Item>,
    /// Whether it may be left out even without a default.
    pub absent: bool,
    /// Bounds narrower than its type's.
    pub range: Option<fn() -> Range>,
}

/// A choice: its words and what they mean.
#[derive(Debug)]
pub struct ChoiceInfo {
    /// The Rust type's name.
    pub name: &'static str,
    /// Its documentation, line by line.
    pub help: &'static [&'static str],
    /// Words, each with its documentation.
    pub options: &'static [(&'static str, &'static [&'static str])],
}

impl fmt::Debug for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Field")
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}

impl Shape {
    /// What to tell somebody who wrote something else: "a duration such as \"30s\"".
    pub fn expected(&self) -> String {
        match self.example() {
            Some(example) => format!("{}, such as {example}", self.name()),
            None => self.name(),
        }
    }

    /// With its article: "a list of addresses".
    pub fn name(&self) -> String {
        match self {
            Shape::Boolean => "true or false".into(),
            Shape::Integer { .. } => "a whole number".into(),
            Shape::Float => "a number".into(),
            Shape::Text(text) => text.name.into(),
            Shape::Choice(choice) => format!("one of {}", choice.allowed()),
            Shape::Secret => "a secret".into(),
            Shape::List(of) if of.is_section() => "a list of tables".into(),
            Shape::List(of) => format!("a list of {}", of.plural()),
            Shape::Map(of) if of.is_section() => "a table of named tables".into(),
            Shape::Map(of) => format!("a table of names, each with {}", of.name()),
            Shape::Section(_) => "a table".into(),
        }
    }

    /// Several of them, without an article.
    fn plural(&self) -> String {
        match self {
            Shape::Boolean => "true or false".into(),
            Shape::Integer { .. } => "whole numbers".into(),
            Shape::Float => "numbers".into(),
            Shape::Text(text) => text.plural.into(),
            Shape::Choice(choice) => format!("words out of {}", choice.allowed()),
            Shape::Secret => "secrets".into(),
            Shape::List(_) => "lists".into(),
            Shape::Map(_) | Shape::Section(_) => "tables".into(),
        }
    }

    /// A value as it would be written in the file.
    pub fn example(&self) -> Option<String> {
        match self {
            Shape::Boolean | Shape::Section(_) => None,
            Shape::Choice(choice) => choice.options.first().map(|(word, _)| item::quote(word)),
            Shape::Integer { min, .. } => Some((*min).max(1).to_string()),
            Shape::Float => Some("0.5".into()),
            Shape::Text(text) if text.example.is_empty() => None,
            Shape::Text(text) => Some(format!("\"{}\"", text.example)),
            Shape::Secret => Some("{ file = \"/etc/omnid/secret\" }".into()),
            Shape::List(of) => Some(format!("[{}]", of.example()?)),
            Shape::Map(of) => Some(format!("{{ name = {} }}", of.example()?)),
        }
    }

    /// Whether this is a table with keys of its own.
    pub fn is_section(&self) -> bool {
        matches!(self, Shape::Section(_))
    }

    /// The section that this is, holds a list of or holds by name.
    pub fn section(&self) -> Option<&'static SectionInfo> {
        match self {
            Shape::Section(section) => Some(section),
            Shape::List(of) | Shape::Map(of) => of.section(),
            _ => None,
        }
    }
}

impl ChoiceInfo {
    /// The words, quoted: `"text", "json"`.
    pub fn allowed(&self) -> String {
        let words: Vec<String> = self
            .options
            .iter()
            .map(|(w, _)| format!("\"{w}\""))
            .collect();
        words.join(", ")
    }
}

/// Bounds of a number, a duration or a size; either may be absent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Range {
    /// The least that is allowed.
    pub min: Option<Measure>,
    /// The greatest that is allowed.
    pub max: Option<Measure>,
}

/// Something that has a size and can be bounded.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Measure {
    /// A whole number.
    Integer(i128),
    /// A number.
    Float(f64),
    /// A length of time.
    Duration(Duration),
    /// Bytes.
    Size(ByteSize),
}

impl fmt::Display for Measure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Measure::Integer(number) => number.fmt(f),
            Measure::Float(number) => number.fmt(f),
            Measure::Duration(time) => f.write_str(&crate::value::duration::print(*time)),
            Measure::Size(size) => size.fmt(f),
        }
    }
}

impl PartialOrd for Measure {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        match (self, other) {
            (Measure::Integer(a), Measure::Integer(b)) => a.partial_cmp(b),
            (Measure::Float(a), Measure::Float(b)) => a.partial_cmp(b),
            (Measure::Duration(a), Measure::Duration(b)) => a.partial_cmp(b),
            (Measure::Size(a), Measure::Size(b)) => a.partial_cmp(b),
            _ => None,
        }
    }
}

impl Range {
    /// Bounds as Rust writes them: `1..=65535`, `Duration::from_secs(1)..`.
    pub fn new<T: Copy + Into<Measure>>(bounds: std::ops::RangeInclusive<T>) -> Range {
        Range {
            min: Some((*bounds.start()).into()),
            max: Some((*bounds.end()).into()),
        }
    }

    /// Whether a value lies within; of another kind than the bounds, it does.
    pub fn contains(&self, value: Measure) -> bool {
        use std::cmp::Ordering::{Greater, Less};
        let too_small = self
            .min
            .is_some_and(|min| value.partial_cmp(&min) == Some(Less));
        let too_large = self
            .max
            .is_some_and(|max| value.partial_cmp(&max) == Some(Greater));
        !too_small && !too_large
    }
}

impl<T: Copy + Into<Measure>> From<std::ops::RangeInclusive<T>> for Range {
    fn from(bounds: std::ops::RangeInclusive<T>) -> Range {
        Range::new(bounds)
    }
}

impl<T: Into<Measure>> From<std::ops::RangeFrom<T>> for Range {
    fn from(bounds: std::ops::RangeFrom<T>) -> Range {
        Range {
            min: Some(bounds.start.into()),
            max: None,
        }
    }
}

impl<T: Into<Measure>> From<std::ops::RangeToInclusive<T>> for Range {
    fn from(bounds: std::ops::RangeToInclusive<T>) -> Range {
        Range {
            min: None,
            max: Some(bounds.end.into()),
        }
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.min, self.max) {
            (Some(min), Some(max)) => write!(f, "{min} to {max}"),
            (Some(min), None) => write!(f, "at least {min}"),
            (None, Some(max)) => write!(f, "at most {max}"),
            (None, None) => f.write_str("any"),
        }
    }
}

macro_rules! measure_from {
    ($($integer:ty)*) => { $(
        impl From<$integer> for Measure {
            fn from(number: $integer) -> Measure {
                // usize has no From into i128; all of ours fit.
                Measure::Integer(number as i128)
            }
        }
    )* };
}

measure_from! { u8 u16 u32 u64 usize i8 i16 i32 i64 isize i128 }

impl From<f64> for Measure {
    fn from(number: f64) -> Measure {
        Measure::Float(number)
    }
}

impl From<Duration> for Measure {
    fn from(time: Duration) -> Measure {
        Measure::Duration(time)
    }
}

impl From<ByteSize> for Measure {
    fn from(size: ByteSize) -> Measure {
        Measure::Size(size)
    }
}
