//! Values on their way back into a file.

use std::fmt::{self, Write as _};

use crate::shape::SectionInfo;

/// A value as it would be written.
#[derive(Clone, Debug, PartialEq)]
pub enum Item {
    /// Not written at all: the `None` of an optional key.
    Absent,
    /// A single value, already in TOML's own notation.
    Scalar(String),
    /// Several values.
    List(Vec<Item>),
    /// Values under names of the operator's choosing.
    Map(Vec<(String, Item)>),
    /// A section: one item for each of its fields, in their order.
    Section(SectionItem),
}

/// A section's values beside its description.
#[derive(Clone, Debug)]
pub struct SectionItem {
    /// What the section is.
    pub info: &'static SectionInfo,
    /// One for each field.
    pub items: Vec<Item>,
}

impl PartialEq for SectionItem {
    fn eq(&self, other: &Self) -> bool {
        self.info.id == other.info.id && self.items == other.items
    }
}

impl Item {
    /// A string, quoted and escaped.
    pub fn text(text: &str) -> Item {
        Item::Scalar(quote(text))
    }
}

/// On one line, as it could stand after `key = `.
impl fmt::Display for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Item::Absent => Ok(()),
            Item::Scalar(text) => f.write_str(text),
            Item::List(items) => {
                f.write_char('[')?;
                for (index, item) in items.iter().enumerate() {
                    if index > 0 {
                        f.write_str(", ")?;
                    }
                    item.fmt(f)?;
                }
                f.write_char(']')
            }
            Item::Map(items) => {
                let entries = items.iter().map(|(name, item)| (name.as_str(), item));
                inline_table(f, entries)
            }
            Item::Section(section) => {
                let keys = section.info.fields.iter().map(|field| field.key);
                inline_table(f, keys.zip(&section.items))
            }
        }
    }
}

fn inline_table<'a>(
    f: &mut fmt::Formatter<'_>,
    entries: impl Iterator<Item = (&'a str, &'a Item)>,
) -> fmt::Result {
    let mut open = false;
    for (name, item) in entries.filter(|(_, item)| **item != Item::Absent) {
        f.write_str(if open { ", " } else { "{ " })?;
        open = true;
        write!(f, "{} = {item}", key(name))?;
    }
    f.write_str(if open { " }" } else { "{}" })
}

/// A key as TOML writes it: bare where it can be.
pub(crate) fn key(name: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if !name.is_empty() && name.chars().all(bare) {
        name.into()
    } else {
        quote(name)
    }
}

/// A basic string: quotes, backslashes and control characters escaped.
pub(crate) fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
