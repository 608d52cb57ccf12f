//! The tree that sections are read from: TOML's values, each with its place, whichever file it
//! came from.

use crate::problem::{Problem, Problems};
use crate::span::Span;
use crate::syntax::{self, Fault};
use toml::de::{DeTable, DeValue};

/// A value of the config.
#[derive(Clone, Debug)]
pub struct Node {
    /// What it is.
    pub kind: Kind,
    /// Where it was written. For a table with a header, the header.
    pub span: Span,
}

/// What a value is.
#[derive(Clone, Debug)]
pub enum Kind {
    /// `"text"`
    String(String),
    /// `5`
    Integer(i128),
    /// `0.5`
    Float(f64),
    /// `true`
    Boolean(bool),
    /// `2026-01-01`: no key of ours takes one, so the text is enough for the error.
    Datetime(String),
    /// `[1, 2]` or `[[x]]`
    Array(Vec<Node>),
    /// `{ a = 1 }` or `[x]`
    Table(Table),
}

/// A table: its keys, in the order in which they were written.
#[derive(Clone, Debug, Default)]
pub struct Table {
    /// Keys and values.
    pub entries: Vec<Entry>,
}

/// A key and its value.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The key's name.
    pub key: String,
    /// Where the key was written.
    pub span: Span,
    /// Its value.
    pub node: Node,
}

/// Deepest nesting of tables and arrays that is read.
pub const DEPTH: usize = 32;

impl Node {
    /// What was found, for an error: "a string", "a table" …
    pub fn found(&self) -> &'static str {
        match &self.kind {
            Kind::String(_) => "a string",
            Kind::Integer(_) => "a whole number",
            Kind::Float(_) => "a number with a fraction",
            Kind::Boolean(_) => "true or false",
            Kind::Datetime(_) => "a date or time",
            Kind::Array(_) => "a list",
            Kind::Table(_) => "a table",
        }
    }
}

impl Table {
    /// The entry of a key.
    pub fn get(&self, key: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.key == key)
    }
}

/// What one file says.
pub(crate) struct Document {
    /// What could be made out, also where there are faults.
    pub(crate) table: Table,
    /// Faults of TOML itself.
    pub(crate) problems: Problems,
    /// The parts of the text that say nothing because of those.
    pub(crate) unsound: Vec<Span>,
}

/// Parses one file's text.
pub(crate) fn parse(file: u32, text: &str) -> Document {
    let (document, errors) = DeTable::parse_recoverable(text);
    let faults: Vec<Fault> = errors
        .into_iter()
        .map(|error| Fault {
            message: error.message().to_string(),
            span: Span::new(file, error.span().unwrap_or(0..0)),
        })
        .collect();
    let mut converter = Converter {
        file,
        problems: Problems::new(),
    };
    let table = converter.table(document.into_inner(), 0);
    let (mut problems, mut unsound) = syntax::problems(file, faults, text, &table);
    // A value that could not be made out has been reported with its line.
    let reported = |span: Span| unsound.iter().any(|unsound| unsound.contains(span));
    let refused = converter.problems.into_iter();
    let refused: Problems = refused
        .filter(|p| !p.span().is_some_and(reported))
        .collect();
    unsound.extend(
        refused
            .iter()
            .filter_map(|p| Some(syntax::line(p.span()?, text))),
    );
    problems.extend(refused);
    Document {
        table,
        problems,
        unsound,
    }
}

struct Converter {
    file: u32,
    problems: Problems,
}

impl Converter {
    fn table(&mut self, table: DeTable<'_>, depth: usize) -> Table {
        let mut entries = Vec::with_capacity(table.len());
        for (key, value) in table {
            let span = Span::new(self.file, key.span());
            let Some(node) = self.node(value, depth + 1) else {
                continue;
            };
            entries.push(Entry {
                key: key.into_inner().into_owned(),
                span,
                node,
            });
        }
        // toml sorts keys by name; people read their file from the top.
        entries.sort_by_key(|entry| entry.span.start);
        Table { entries }
    }

    fn node(&mut self, value: toml::Spanned<DeValue<'_>>, depth: usize) -> Option<Node> {
        let span = Span::new(self.file, value.span());
        if depth > DEPTH {
            dismantle(value.into_inner());
            return self.refuse(span, format!("nested more than {DEPTH} levels deep"));
        }
        let kind = match value.into_inner() {
            DeValue::String(text) => Kind::String(text.into_owned()),
            DeValue::Integer(digits) => {
                match i128::from_str_radix(digits.as_str(), digits.radix()) {
                    Ok(number) => Kind::Integer(number),
                    Err(_) => return self.refuse(span, "this number is too large"),
                }
            }
            DeValue::Float(digits) => match digits.as_str().parse() {
                Ok(number) => Kind::Float(number),
                Err(_) => return self.refuse(span, "this is not a number"),
            },
            DeValue::Boolean(truth) => Kind::Boolean(truth),
            DeValue::Datetime(time) => Kind::Datetime(time.to_string()),
            DeValue::Array(values) => {
                let nodes = values
                    .into_iter()
                    .filter_map(|value| self.node(value, depth + 1));
                Kind::Array(nodes.collect())
            }
            DeValue::Table(table) => Kind::Table(self.table(table, depth)),
        };
        Some(Node { kind, span })
    }

    fn refuse(&mut self, span: Span, why: impl Into<String>) -> Option<Node> {
        self.problems
            .push(Problem::error(why).at(span, "this value is not read"));
        None
    }
}

/// Drops a tree without recursion: a dotted key half a million parts long (`a.a.a…`) makes one so
/// deep that its own drop would overflow the stack.
fn dismantle(value: DeValue<'_>) {
    let mut pending = vec![value];
    while let Some(value) = pending.pop() {
        match value {
            DeValue::Array(values) => {
                pending.extend(values.into_iter().map(toml::Spanned::into_inner));
            }
            DeValue::Table(table) => {
                pending.extend(table.into_iter().map(|(_, value)| value.into_inner()));
            }
            _ => {}
        }
    }
}
