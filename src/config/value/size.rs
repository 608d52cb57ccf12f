//! Numbers of bytes: "64KiB", "5MiB", "1GB".

use std::fmt;

use super::{Fault, Value, parse_text};
use crate::item::Item;
use crate::node::Node;
use crate::reader::Reader;
use crate::shape::{Range, Shape, Text};

/// A number of bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

const UNITS: &[(&str, u64)] = &[
    ("TiB", 1 << 40),
    ("TB", 1_000_000_000_000),
    ("GiB", 1 << 30),
    ("GB", 1_000_000_000),
    ("MiB", 1 << 20),
    ("MB", 1_000_000),
    ("KiB", 1 << 10),
    ("kB", 1000),
    ("B", 1),
];

impl ByteSize {
    /// Units of 1024 bytes.
    pub const fn kib(number: u64) -> ByteSize {
        ByteSize(number.saturating_mul(1 << 10))
    }

    /// Units of 1024 × 1024 bytes.
    pub const fn mib(number: u64) -> ByteSize {
        ByteSize(number.saturating_mul(1 << 20))
    }

    /// Units of 1024 × 1024 × 1024 bytes.
    pub const fn gib(number: u64) -> ByteSize {
        ByteSize(number.saturating_mul(1 << 30))
    }

    /// The number of bytes.
    pub const fn bytes(self) -> u64 {
        self.0
    }

    /// The number of bytes as a length in memory.
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fits = |unit: &&(&str, u64)| self.0 >= unit.1 && self.0.is_multiple_of(unit.1);
        let (unit, bytes) = UNITS.iter().find(fits).unwrap_or(&("B", 1));
        write!(f, "{}{unit}", self.0 / bytes)
    }
}

impl std::str::FromStr for ByteSize {
    type Err = Fault;

    fn from_str(text: &str) -> Result<Self, Fault> {
        let digits = text
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        if number.is_empty() {
            return Err(Fault::new("a number is expected"));
        }
        if unit.is_empty() {
            return Err(
                Fault::new("the unit is missing").help(format!("write \"{text}B\" for bytes"))
            );
        }
        let known = UNITS
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(unit));
        let Some((_, bytes)) = known else {
            return Err(Fault::new(format!("there is no unit \"{}\"", unit.trim()))
                .help("units: B, KiB, MiB, GiB, TiB (of 1024) or kB, MB, GB, TB (of 1000)"));
        };
        let number: Option<u64> = number.parse().ok();
        let bytes = number.and_then(|number| number.checked_mul(*bytes));
        bytes
            .map(ByteSize)
            .ok_or_else(|| Fault::new("it is too large"))
    }
}

impl Value for ByteSize {
    fn parse(node: &Node, cx: &mut Reader) -> Option<Self> {
        let size: ByteSize = parse_text(node, cx, str::parse)?;
        cx.in_range(
            node,
            size,
            Range {
                min: None,
                max: None,
            },
        )
        .then_some(size)
    }

    fn shape() -> Shape {
        Shape::Text(Text {
            name: "a size",
            plural: "sizes",
            example: "5MiB",
            pattern: "^[0-9]+([kKmMgGtT][iI]?)?[bB]$",
        })
    }

    fn item(&self) -> Item {
        Item::text(&self.to_string())
    }
}
