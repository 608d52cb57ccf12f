//! Reads values out of the tree and collects what is wrong with them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::node::{Entry, Kind, Node, Table};
use crate::problem::{Problem, Problems};
use crate::shape::{Field, Measure, Range, SectionInfo, Shape};
use crate::source::Sources;
use crate::span::{Place, Span};
use crate::suggest::did_you_mean;
use crate::value::Value;

/// A section of the config, as [`section!`](crate::section) defines it.
pub trait Section: Value {
    /// Its description.
    const INFO: SectionInfo;

    /// Reads it from its table.
    fn read(table: &Table, place: Place, cx: &mut Reader) -> Option<Self>;
}

/// What the reading of a config carries along.
pub struct Reader {
    /// Everything found so far.
    pub problems: Problems,
    /// Whether secrets may be fetched from files and the environment.
    pub(crate) fetch_secrets: bool,
    directories: Vec<PathBuf>,
    /// Every key of every section, with the sections that know it.
    catalogue: BTreeMap<&'static str, Vec<String>>,
    path: Vec<Step>,
    range: Option<Range>,
}

/// A step on the way from the root to the value being read.
struct Step {
    key: String,
    /// Whether the value is one of a list.
    listed: bool,
}

impl Reader {
    pub(crate) fn new(root: &'static SectionInfo, sources: &Sources, fetch_secrets: bool) -> Self {
        let mut catalogue = BTreeMap::new();
        enter(root, "", &mut Vec::new(), &mut catalogue);
        Reader {
            problems: Problems::new(),
            fetch_secrets,
            directories: sources
                .iter()
                .map(|source| source.directory.clone())
                .collect(),
            catalogue,
            path: Vec::new(),
            range: None,
        }
    }

    /// Records that a value is of the wrong type.
    pub fn wrong_type(&mut self, node: &Node, expected: &Shape) {
        let problem = Problem::error(format!("{} is not {}", self.subject(), expected.name()))
            .at(node.span, format!("this is {}", node.found()));
        let help = match expected.example() {
            Some(example) => Some(format!("write {}", self.assignment(&example))),
            None if expected.section().is_some() => {
                Some("a table has a header of its own, or is written { key = value }".into())
            }
            None => None,
        };
        self.problems.push(problem.maybe_help(help));
    }

    /// Records that a value is of the right type and still wrong.
    pub fn invalid(&mut self, node: &Node, why: impl Into<String>, help: impl Into<String>) {
        let (why, help) = (why.into(), help.into());
        let message = format!("{}: {why}", self.subject());
        let problem = Problem::error(message).at(node.span, "");
        self.problems.push(if help.is_empty() {
            problem
        } else {
            problem.help(help)
        });
    }

    /// Records a fault of a value in full.
    pub(crate) fn fault(&mut self, node: &Node, message: String, why: String, help: String) {
        let problem = Problem::error(message).at(node.span, why);
        self.problems.push(if help.is_empty() {
            problem
        } else {
            problem.help(help)
        });
    }

    /// Records that a single value stands where a list is wanted.
    pub(crate) fn not_a_list(&mut self, node: &Node, expected: &Shape) {
        if let (Kind::Table(_), Some(_)) = (&node.kind, expected.section()) {
            let problem = Problem::error(format!("{} is a list of tables", self.subject()))
                .at(node.span, "this is one table")
                .help(format!(
                    "write its header as {}",
                    self.header().replace('[', "[[").replace(']', "]]")
                ));
            self.problems.push(problem);
        } else {
            self.wrong_type(node, expected);
        }
    }

    /// Whether a value lies in the bounds of its key; if not, that is recorded.
    pub fn in_range(&mut self, node: &Node, value: impl Into<Measure>, type_range: Range) -> bool {
        let value = value.into();
        let range = match self.range {
            Some(key_range) => Range {
                min: key_range.min.or(type_range.min),
                max: key_range.max.or(type_range.max),
            },
            None => type_range,
        };
        if range.contains(value) {
            return true;
        }
        let problem = Problem::error(format!("{} is out of range", self.subject()))
            .at(node.span, format!("{value} is not in the range"))
            .help(format!("allowed: {range}"));
        self.problems.push(problem);
        false
    }

    /// The directory of the file that a span lies in.
    pub fn directory(&self, span: Span) -> &Path {
        self.directories
            .get(span.file as usize)
            .map_or(Path::new("."), PathBuf::as_path)
    }

    /// A path as a value names it, relative to the file that names it.
    pub fn resolve(&self, span: Span, path: &str) -> PathBuf {
        let path = Path::new(path);
        match self.directory(span) {
            // Keeps "./" out of paths that are shown to people.
            directory if directory == Path::new(".") => path.to_path_buf(),
            directory => directory.join(path),
        }
    }

    /// Reads one of several values.
    pub fn item<T: Value>(&mut self, node: &Node) -> Option<T> {
        let before = self.path.last().map(|step| step.listed);
        self.set_listed(true);
        let value = T::parse(node, self);
        self.set_listed(before.unwrap_or(false));
        value
    }

    /// Reads the value of a name that the operator chose; the bounds of the key it stands under
    /// hold for each.
    pub(crate) fn named<T: Value>(&mut self, name: &str, node: &Node) -> Option<T> {
        let range = self.range;
        self.keyed(name, range, node)
    }

    /// Reads the value of a key.
    pub fn keyed<T: Value>(&mut self, key: &str, range: Option<Range>, node: &Node) -> Option<T> {
        let outer = std::mem::replace(&mut self.range, range);
        self.path.push(Step {
            key: key.into(),
            listed: false,
        });
        let value = T::parse(node, self);
        self.path.pop();
        self.range = outer;
        value
    }

    /// The key being read, for a message: "`listen`".
    pub fn subject(&self) -> String {
        match self.path.last() {
            Some(step) if step.listed => format!("an item of `{}`", step.key),
            Some(step) => format!("`{}`", step.key),
            None => "the file".into(),
        }
    }

    fn set_listed(&mut self, listed: bool) {
        if let Some(step) = self.path.last_mut() {
            step.listed = listed;
        }
    }

    fn assignment(&self, example: &str) -> String {
        match self.path.last() {
            Some(step) if !step.listed => format!("{} = {example}", crate::item::key(&step.key)),
            _ => example.into(),
        }
    }

    /// The header of the section being read: "[http]", "[[http.site]]".
    fn header(&self) -> String {
        let keys: Vec<&str> = self.path.iter().map(|step| step.key.as_str()).collect();
        match self.path.last() {
            None => "the top level".into(),
            Some(step) if step.listed => format!("[[{}]]", keys.join(".")),
            Some(_) => format!("[{}]", keys.join(".")),
        }
    }
}

/// Sections are not many and not deep; one that holds itself is entered once.
fn enter(
    section: &'static SectionInfo,
    path: &str,
    inside: &mut Vec<&'static str>,
    catalogue: &mut BTreeMap<&'static str, Vec<String>>,
) {
    if inside.contains(&section.name) {
        return;
    }
    inside.push(section.name);
    for field in section.fields {
        let header = match path {
            "" => "the top level".to_string(),
            path => path.to_string(),
        };
        catalogue.entry(field.key).or_default().push(header);
        let shape = (field.shape)();
        if let Some(nested) = shape.section() {
            let trail = path.trim_matches(['[', ']']);
            let dot = if trail.is_empty() { "" } else { "." };
            let path = match shape {
                Shape::List(_) => format!("[[{trail}{dot}{}]]", field.key),
                Shape::Map(_) => format!("[{trail}{dot}{}.NAME]", field.key),
                _ => format!("[{trail}{dot}{}]", field.key),
            };
            enter(nested, &path, inside, catalogue);
        }
    }
    inside.pop();
}

/// Reads the keys of one table, then reports what is left over and what is lacking.
pub struct TableReader<'a> {
    info: &'static SectionInfo,
    table: &'a Table,
    place: Place,
    cx: &'a mut Reader,
    missing: Vec<&'static Field>,
}

impl<'a> TableReader<'a> {
    /// Starts on a table.
    pub fn new(
        info: &'static SectionInfo,
        table: &'a Table,
        place: Place,
        cx: &'a mut Reader,
    ) -> Self {
        TableReader {
            info,
            table,
            place,
            cx,
            missing: Vec::new(),
        }
    }

    /// Reads the field of that number in the section's description. A value that is wrong has been
    /// reported when this returns, and the default stands in for it, so that one wrong key does
    /// not keep the checks of its section from running.
    pub fn field<T: Value>(&mut self, index: usize, default: Option<fn() -> T>) -> Option<T> {
        let field = self.info.fields.get(index)?;
        match self.table.get(field.key) {
            Some(entry) => {
                let range = field.range.map(|range| range());
                let value = self.cx.keyed(field.key, range, &entry.node);
                value.or_else(|| default.map(|default| default()))
            }
            None => {
                let value = default.map(|default| default()).or_else(T::absent);
                if value.is_none() {
                    self.missing.push(field);
                }
                value
            }
        }
    }

    /// Reports unknown and missing keys.
    pub fn finish(mut self) {
        let table = self.table;
        for entry in &table.entries {
            if !self.info.fields.iter().any(|field| field.key == entry.key) {
                self.unknown(entry);
            }
        }
        for field in std::mem::take(&mut self.missing) {
            let shape = (field.shape)();
            let example = shape.example().unwrap_or_else(|| "…".into());
            let header = self.cx.header();
            let problem = Problem::error(format!("{header} lacks the key `{}`", field.key))
                .at(self.place, format!("`{}` is required here", field.key));
            let problem = match &shape {
                Shape::Choice(choice) => problem.help(format!("one of {}", choice.allowed())),
                _ if shape.section().is_some() => problem,
                _ => problem.help(format!("add {} = {example}", field.key)),
            };
            self.cx.problems.push(problem);
        }
    }

    fn unknown(&mut self, entry: &Entry) {
        let header = self.cx.header();
        let problem =
            Problem::error(format!("unknown key `{}` in {header}", entry.key)).at(entry.span, "");
        let keys = || self.info.fields.iter().map(|field| field.key);
        let unset = keys().filter(|key| self.table.get(key).is_none());
        let similar = did_you_mean(&entry.key, unset);
        let elsewhere = self.cx.catalogue.get(entry.key.as_str());
        let problem = match (similar, elsewhere) {
            (_, Some(headers)) if headers.len() <= 3 => {
                let headers = headers.join(" or ");
                problem.help(format!("`{}` belongs in {headers}", entry.key))
            }
            (Some(similar), _) => {
                // A misspelt key is one fault, not two.
                self.missing.retain(|field| field.key != similar);
                problem.help(format!("did you mean `{similar}`?"))
            }
            (None, _) if self.info.fields.len() <= 24 => {
                let keys: Vec<String> = keys().map(|key| format!("`{key}`")).collect();
                problem.help(format!("keys here: {}", keys.join(", ")))
            }
            (None, _) => problem,
        };
        self.cx.problems.push(problem);
    }
}

/// Reads a section from a value: what [`Value::parse`] of every section is.
pub fn read_section<S: Section>(node: &Node, cx: &mut Reader) -> Option<S> {
    match &node.kind {
        Kind::Table(table) => S::read(table, Place(Some(node.span)), cx),
        // [[x]] where [x] is meant, and one of them: say so rather than "a list is not a table".
        _ => {
            cx.wrong_type(node, &S::shape());
            None
        }
    }
}
