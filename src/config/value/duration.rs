//! Lengths of time: "30s", "1h30m", "7d".

use std::time::Duration;

use super::{Fault, Value, parse_text};
use crate::item::Item;
use crate::node::Node;
use crate::reader::Reader;
use crate::shape::{Range, Shape, Text};

const UNITS: &[(&str, u64)] = &[
    ("w", 7 * 24 * 3600 * 1000),
    ("d", 24 * 3600 * 1000),
    ("h", 3600 * 1000),
    ("m", 60 * 1000),
    ("s", 1000),
    ("ms", 1),
];

impl Value for Duration {
    fn parse(node: &Node, cx: &mut Reader) -> Option<Self> {
        let time: Duration = parse_text(node, cx, parse)?;
        cx.in_range(
            node,
            time,
            Range {
                min: None,
                max: None,
            },
        )
        .then_some(time)
    }

    fn shape() -> Shape {
        Shape::Text(Text {
            name: "a duration",
            plural: "durations",
            example: "30s",
            pattern: "^([0-9]+(w|d|h|m|s|ms))+$",
        })
    }

    fn item(&self) -> Item {
        Item::text(&print(*self))
    }
}

/// Numbers with units, largest first or not, each unit once: "1h30m".
fn parse(text: &str) -> Result<Duration, Fault> {
    if text.is_empty() {
        return Err(Fault::new("it is empty"));
    }
    let mut rest = text;
    let mut total: u64 = 0;
    let mut seen: Vec<&str> = Vec::new();
    while !rest.is_empty() {
        let digits = rest
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(rest.len());
        let (number, after) = rest.split_at(digits);
        if number.is_empty() {
            return Err(Fault::new("a number is expected"));
        }
        let letters = after
            .find(|c: char| !c.is_alphabetic())
            .unwrap_or(after.len());
        let (unit, after) = after.split_at(letters);
        if unit.is_empty() {
            return Err(match after.is_empty() {
                true => {
                    Fault::new("the unit is missing").help(format!("write \"{text}s\" for seconds"))
                }
                false => Fault::new("only digits and units, without spaces or fractions"),
            });
        }
        let Some((unit, milliseconds)) = UNITS.iter().find(|(name, _)| *name == unit) else {
            return Err(Fault::new(format!("there is no unit \"{unit}\""))
                .help("units: ms, s, m (minutes), h, d, w"));
        };
        if seen.contains(unit) {
            return Err(Fault::new(format!("the unit \"{unit}\" stands twice")));
        }
        seen.push(unit);
        total = number
            .parse::<u64>()
            .ok()
            .and_then(|number| number.checked_mul(*milliseconds))
            .and_then(|part| total.checked_add(part))
            .ok_or_else(|| Fault::new("it is too long"))?;
        rest = after;
    }
    Ok(Duration::from_millis(total))
}

/// The shortest way to write it.
pub(crate) fn print(time: Duration) -> String {
    let mut rest = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    if rest == 0 {
        return "0s".into();
    }
    let mut out = String::new();
    for (unit, milliseconds) in UNITS {
        // Weeks are read and not written: "7d" says the same to everybody.
        if *unit != "w" && rest >= *milliseconds {
            out.push_str(&format!("{}{unit}", rest / milliseconds));
            rest %= milliseconds;
        }
    }
    out
}
