//! What a key can hold: the trait, and its implementation for numbers, text and containers.

mod address;
mod domain;
pub(crate) mod duration;
mod secret;
mod size;
mod url;

use std::collections::BTreeMap;
use std::path::PathBuf;

pub use address::{IpNet, ListenAddr};
pub use domain::DomainName;
pub use secret::{Secret, SecretSource};
pub use size::ByteSize;
pub use url::Url;

use crate::item::Item;
use crate::node::{Kind, Node};
use crate::reader::Reader;
use crate::shape::{Range, Shape, Text};
use crate::span::Spanned;

/// Something that a key can hold.
pub trait Value: Sized {
    /// Whether [`absent`](Value::absent) gives a value.
    const MAY_BE_ABSENT: bool = false;

    /// Reads it. `None` means that it is wrong and that what is wrong has been reported.
    fn parse(node: &Node, cx: &mut Reader) -> Option<Self>;

    /// What is accepted.
    fn shape() -> Shape;

    /// The value as it would be written. A secret is not.
    fn item(&self) -> Item;

    /// What it is when its key is not written and has no default: `None` where it must be.
    fn absent() -> Option<Self> {
        None
    }

    /// The value as it would be written, on one line.
    fn print(&self) -> String {
        self.item().to_string()
    }
}

/// Reads a value from text, where the text says it all.
pub(crate) fn parse_text<T: Value>(
    node: &Node,
    cx: &mut Reader,
    parse: impl FnOnce(&str) -> Result<T, Fault>,
) -> Option<T> {
    let Kind::String(text) = &node.kind else {
        cx.wrong_type(node, &T::shape());
        return None;
    };
    match parse(text) {
        Ok(value) => Some(value),
        Err(fault) => {
            let help = match (fault.help, T::shape().example()) {
                (Some(help), _) => help,
                (None, Some(example)) => format!("{} is written like {example}", T::shape().name()),
                (None, None) => String::new(),
            };
            let message = format!("\"{}\" is not {}", shorten(text), T::shape().name());
            cx.fault(node, message, fault.why, help);
            None
        }
    }
}

/// Why a text is not what it should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct Fault {
    /// The reason, short enough to stand beside the caret.
    pub why: String,
    /// What to write instead, if that is known.
    pub help: Option<String>,
}

impl Fault {
    pub(crate) fn new(why: impl Into<String>) -> Fault {
        Fault {
            why: why.into(),
            help: None,
        }
    }

    pub(crate) fn help(mut self, help: impl Into<String>) -> Fault {
        self.help = Some(help.into());
        self
    }
}

/// Values of any length may be quoted in a message; a message has one line.
fn shorten(text: &str) -> String {
    let printable: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    if printable.chars().count() <= 60 {
        return printable;
    }
    printable.chars().take(57).chain("…".chars()).collect()
}

impl Value for bool {
    fn parse(node: &Node, cx: &mut Reader) -> Option<Self> {
        if let Kind::Boolean(truth) = node.kind {
            return Some(truth);
        }
        cx.wrong_type(node, &Shape::Boolean);
        None
    }

    fn shape() -> Shape {
        Shape::Boolean
    }

    fn item(&self) -> Item {
        Item::Scalar(self.to_string())
    }
}

macro_rules! integers {
    ($($integer:ty)*) => { $(
        impl Value for $integer {
            fn parse(node: &Node, cx: &mut Reader) -> Option<Self> {
                let Kind::Integer(number) = node.kind else {
                    cx.wrong_type(node, &Self::shape());
                    return None;
                };
                let range = Range::new(<$integer>::MIN..=<$integer>::MAX);
                if !cx.in_range(node, number, range) {
                    return None;
                }
                // A key's own bounds are meant to lie within its type's; if they do not, the
                // conversion still fails rather than wraps.
                <$integer>::try_from(number).ok()
            }

            fn shape() -> Shape {
                Shape::Integer { min: <$integer>::MIN as i128, max: <$integer>::MAX as i128 }
            }

            fn item(&self) -> Item {
                Item::Scalar(self.to_string())
            }
        }
    )* };
}

integers! { u8 u16 u32 u64 usize i8 i16 i32 i64 }

impl Value for f64 {
    fn parse(node: &Node, cx: &mut Reader) -> Option<Self> {
        let number = match node.kind {
            Kind::Float(number) => number,
            Kind::Integer(number) => number as f64,
            _ => {
                cx.wrong_type(node, &Shape::Float);
                return None;
            }
        };
        if !number.is_finite() {
            cx.invalid(node, "must be a finite number", "");
            return None;
        }
        cx.in_range(
            node,
            number,
            Range {
                min: None,
                max: None,
            },
        )
        .then_some(number)
    }

    fn shape() -> Shape {
        Shape::Float
    }

    fn item(&self) -> Item {
        Item::Scalar(format!("{self:?}"))
    }
}

impl Value for String {
    fn parse(node: &Node, cx: &mut Reader) -> Option<Self> {
        parse_text(node, cx, |text| Ok(text.to_string()))
    }

    fn shape() -> Shape {
        Shape::Text(Text {
            name: "a string",
            plural: "strings",
            example: "text",
            pattern: "",
        })
    }

    fn item(&self) -> Item {
        Item::text(self)
    }
}

/// A path; a relative one is relative to the directory of the file that names it.
impl Value for PathBuf {
    fn parse(node: &Node, cx: &mut Reader) -> Option<Self> {
        let path: PathBuf = parse_text(node, cx, |text| match text {
            "" => Err(Fault::new("a path cannot be empty")),
            text if text.contains('\0') => Err(Fault::new("a path cannot hold a zero byte")),
            text => Ok(text.into()),
        })?;
        Some(cx.resolve(node.span, &path))
    }

    fn shape() -> Shape {
        Shape::Text(Text {
            name: "a path",
            plural: "paths",
            example: "/path/to/it",
            pattern: "",
        })
    }

    fn item(&self) -> Item {
        Item::text(&self.to_string_lossy())
    }
}

impl<T: Value> Value for Vec<T> {
    fn parse(node: &Node, cx: &mut Reader) -> Option<Self> {
        let Kind::Array(nodes) = &node.kind else {
            cx.not_a_list(node, &Self::shape());
            return None;
        };
        // Every item is read, so that every fault is found.
        let mut values = Vec::with_capacity(nodes.len());
        for node in nodes {
            values.extend(cx.item::<T>(node));
            if cx.has_enough() {
                return None;
            }
        }
        (values.len() == nodes.len()).then_some(values)
    }

    fn shape() -> Shape {
        Shape::List(Box::new(T::shape()))
    }

    fn item(&self) -> Item {
        Item::List(self.iter().map(T::item).collect())
    }
}

impl<T: Value> Value for BTreeMap<String, T> {
    fn parse(node: &Node, cx: &mut Reader) -> Option<Self> {
        let Kind::Table(table) = &node.kind else {
            cx.wrong_type(node, &Self::shape());
            return None;
        };
        let mut values = BTreeMap::new();
        for entry in &table.entries {
            if let Some(value) = cx.named(&entry.key, &entry.node) {
                values.insert(entry.key.clone(), value);
            }
            if cx.has_enough() {
                return None;
            }
        }
        (values.len() == table.entries.len()).then_some(values)
    }

    fn shape() -> Shape {
        Shape::Map(Box::new(T::shape()))
    }

    fn item(&self) -> Item {
        Item::Map(
            self.iter()
                .map(|(name, value)| (name.clone(), value.item()))
                .collect(),
        )
    }
}

impl<T: Value> Value for Option<T> {
    const MAY_BE_ABSENT: bool = true;

    fn parse(node: &Node, cx: &mut Reader) -> Option<Self> {
        T::parse(node, cx).map(Some)
    }

    fn shape() -> Shape {
        T::shape()
    }

    fn item(&self) -> Item {
        self.as_ref().map_or(Item::Absent, T::item)
    }

    fn absent() -> Option<Self> {
        Some(None)
    }
}

impl<T: Value> Value for Box<T> {
    const MAY_BE_ABSENT: bool = T::MAY_BE_ABSENT;

    fn parse(node: &Node, cx: &mut Reader) -> Option<Self> {
        T::parse(node, cx).map(Box::new)
    }

    fn shape() -> Shape {
        T::shape()
    }

    fn item(&self) -> Item {
        T::item(self)
    }

    fn absent() -> Option<Self> {
        T::absent().map(Box::new)
    }
}

impl<T: Value> Value for Spanned<T> {
    const MAY_BE_ABSENT: bool = T::MAY_BE_ABSENT;

    fn parse(node: &Node, cx: &mut Reader) -> Option<Self> {
        T::parse(node, cx).map(|value| Spanned::new(value, node.span))
    }

    fn shape() -> Shape {
        T::shape()
    }

    fn item(&self) -> Item {
        self.value.item()
    }

    fn absent() -> Option<Self> {
        T::absent().map(Spanned::from)
    }
}
