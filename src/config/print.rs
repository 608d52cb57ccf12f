//! A config back as a file: what is in effect, with or without what was never written.

use std::fmt::Write as _;

use crate::item::{self, Item, SectionItem};
use crate::reader::Section;
use crate::shape::{Field, SectionInfo, Shape};

/// The config as a file that reads back to the same.
///
/// Without `defaults`, only what differs from them. With `defaults`, every key that there is, each
/// below its one-line help; those that are not set, and sections that are absent, stand as comments
/// that show how they would be written. Secrets written inline are not shown.
pub fn print<R: Section>(value: &R, defaults: bool) -> String {
    let mut printer = Printer {
        out: String::new(),
        defaults,
    };
    if let Item::Section(section) = value.item() {
        printer.section("", &section);
    }
    printer.out
}

struct Printer {
    out: String,
    defaults: bool,
}

impl Printer {
    /// The keys of a section, then the sections within it: TOML gives a key to the header above.
    fn section(&mut self, path: &str, section: &SectionItem) {
        let fields = || section.info.fields.iter().zip(&section.items);
        for (field, item) in fields().filter(|(_, item)| !is_tables(item)) {
            // An empty list of tables is its default, unless somebody emptied it.
            let is_default = field.default.is_none_or(|default| default() == *item);
            if (field.shape)().section().is_some() && is_empty(item) && is_default {
                continue;
            }
            self.key(field, item);
        }
        for (field, item) in fields() {
            let shape = (field.shape)();
            let path = join(path, field.key);
            if is_tables(item) {
                if self.defaults || field.default.is_none_or(|default| default() != *item) {
                    self.tables(&path, field, item);
                }
            } else if let Some(info) = shape.section()
                && self.defaults
                && is_empty(item)
            {
                self.template(&path, &shape, field, info, &mut Vec::new());
            }
        }
    }

    fn key(&mut self, field: &Field, item: &Item) {
        let key = item::key(field.key);
        if self.defaults {
            self.help(field.help);
            match item {
                Item::Absent => self.line(&format!("#{key} = {}", example(field))),
                item => self.line(&format!("{key} = {item}")),
            }
        } else if *item != Item::Absent && field.default.is_none_or(|default| default() != *item) {
            self.line(&format!("{key} = {item}"));
        }
    }

    fn tables(&mut self, path: &str, field: &Field, item: &Item) {
        match item {
            Item::Section(section) => self.table(&format!("[{path}]"), path, field, section),
            Item::List(items) => {
                for item in items {
                    if let Item::Section(section) = item {
                        self.table(&format!("[[{path}]]"), path, field, section);
                    }
                }
            }
            Item::Map(items) => {
                for (name, item) in items {
                    if let Item::Section(section) = item {
                        let path = format!("{path}.{}", item::key(name));
                        self.table(&format!("[{path}]"), &path, field, section);
                    }
                }
            }
            Item::Absent | Item::Scalar(_) => {}
        }
    }

    fn table(&mut self, header: &str, path: &str, field: &Field, section: &SectionItem) {
        self.header(header, field);
        self.section(path, section);
    }

    /// A section that is not there, as comments.
    fn template(
        &mut self,
        path: &str,
        shape: &Shape,
        field: &Field,
        info: &'static SectionInfo,
        inside: &mut Vec<&'static str>,
    ) {
        if inside.contains(&info.id) {
            return;
        }
        inside.push(info.id);
        let (path, header) = match shape {
            Shape::List(_) => (path.to_string(), format!("#[[{path}]]")),
            Shape::Map(_) => (format!("{path}.NAME"), format!("#[{path}.NAME]")),
            _ => (path.to_string(), format!("#[{path}]")),
        };
        self.header(&header, field);
        let nested = |field: &&Field| (field.shape)().section().is_some();
        for field in info.fields.iter().filter(|field| !nested(field)) {
            self.help(field.help);
            let value = match field.default.map(|default| default()) {
                None | Some(Item::Absent) => example(field),
                Some(item) => item.to_string(),
            };
            self.line(&format!("#{} = {value}", item::key(field.key)));
        }
        for field in info.fields.iter().filter(nested) {
            let shape = (field.shape)();
            if let Some(info) = shape.section() {
                self.template(&join(&path, field.key), &shape, field, info, inside);
            }
        }
        inside.pop();
    }

    fn header(&mut self, header: &str, field: &Field) {
        if !self.out.is_empty() {
            self.out.push('\n');
        }
        if self.defaults {
            self.help(field.help);
        }
        self.line(header);
    }

    fn help(&mut self, help: &[&str]) {
        let summary = crate::help::summary(help);
        if !summary.is_empty() {
            self.line(&format!("# {summary}"));
        }
    }

    fn line(&mut self, line: &str) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.out, "{line}");
    }
}

/// Whether an item is written under headers of its own.
fn is_tables(item: &Item) -> bool {
    let section = |item: &Item| matches!(item, Item::Section(_));
    match item {
        Item::Section(_) => true,
        Item::List(items) => !items.is_empty() && items.iter().all(section),
        Item::Map(items) => !items.is_empty() && items.iter().all(|(_, item)| section(item)),
        Item::Absent | Item::Scalar(_) => false,
    }
}

fn is_empty(item: &Item) -> bool {
    match item {
        Item::Absent => true,
        Item::List(items) => items.is_empty(),
        Item::Map(items) => items.is_empty(),
        Item::Scalar(_) | Item::Section(_) => false,
    }
}

fn example(field: &Field) -> String {
    (field.shape)().example().unwrap_or_else(|| "true".into())
}

fn join(path: &str, key: &str) -> String {
    let key = item::key(key);
    if path.is_empty() {
        key
    } else {
        format!("{path}.{key}")
    }
}
