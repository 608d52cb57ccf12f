//! Reads values out of the tree and collects what is wrong with them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::item;
use crate::node::{Entry, Kind, Node, Table};
use crate::outline::outline;
use crate::problem::{Problem, Problems, Severity};
use crate::shape::{Field, Measure, Range, SectionInfo, Shape};
use crate::source::Sources;
use crate::span::{Place, Span};
use crate::suggest::did_you_mean;
use crate::value::Value;

/// Unknown keys reported for one table.
const UNKNOWN_KEYS: usize = 100;

/// Past so many problems, lists are read no further.
const ENOUGH: usize = 1000;

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
    /// Whether all that was written could be made out. If not, checks between values are left
    /// out: what they miss may be in the part that could not be.
    complete: bool,
    directories: Vec<PathBuf>,
    /// Every key of every section, with the sections that know it.
    catalogue: BTreeMap<&'static str, Vec<Known>>,
    path: Vec<Step>,
    range: Option<Range>,
}

/// A section that knows some key.
struct Known {
    header: String,
    /// The header that the key itself is written as, if it is a section.
    below: Option<String>,
}

/// A step on the way from the root to the value being read.
struct Step {
    key: String,
    /// Whether the value is one of a list.
    listed: bool,
}

impl Reader {
    pub(crate) fn new(
        root: &'static SectionInfo,
        sources: &Sources,
        fetch_secrets: bool,
        complete: bool,
    ) -> Self {
        let mut catalogue: BTreeMap<&'static str, Vec<Known>> = BTreeMap::new();
        for section in outline(root) {
            for field in section.info.fields {
                let known = Known {
                    header: section.header(),
                    below: section.below(field),
                };
                catalogue.entry(field.key).or_default().push(known);
            }
        }
        Reader {
            problems: Problems::new(),
            fetch_secrets,
            complete,
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
        let meant = meant(node, expected);
        let help = match meant.or_else(|| expected.example()) {
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

    /// Records that a list of tables stands where there can be only one.
    fn not_one_table(&mut self, node: &Node) {
        let header = self.header();
        let problem = Problem::error(format!("there is only one {header}"))
            .at(node.span, "this is a list of tables")
            .help(format!("write its header once, as {header}"));
        self.problems.push(problem);
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
            .at(node.span, format!("allowed: {range}"));
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
    pub fn resolve(&self, span: Span, path: &Path) -> PathBuf {
        match self.directory(span) {
            // Keeps "./" out of paths that are shown to people.
            directory if directory == Path::new(".") => path.to_path_buf(),
            directory => directory.join(path),
        }
    }

    /// Whether so much is wrong already that nobody would read more.
    pub(crate) fn has_enough(&self) -> bool {
        self.problems.len() >= ENOUGH
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
            Some(step) if !step.listed => format!("{} = {example}", item::key(&step.key)),
            _ => example.into(),
        }
    }

    /// Where the section being read stands: "in [http]".
    fn at_header(&self) -> String {
        match self.path.is_empty() {
            true => "at the top level".into(),
            false => format!("in {}", self.header()),
        }
    }

    /// The header of the section being read: "[http]", "[[http.site]]".
    fn header(&self) -> String {
        let keys: Vec<&str> = self.path.iter().map(|step| step.key.as_str()).collect();
        match self.path.last() {
            None => "the file".into(),
            Some(step) if step.listed => format!("[[{}]]", keys.join(".")),
            Some(_) => format!("[{}]", keys.join(".")),
        }
    }
}

/// What was probably meant, where the wrong type holds the right thing: a number in quotes, a
/// string without a list around it.
fn meant(node: &Node, expected: &Shape) -> Option<String> {
    let written = match &node.kind {
        Kind::String(text) if text.len() <= 60 => item::quote(text),
        Kind::Integer(number) => number.to_string(),
        Kind::Boolean(truth) => truth.to_string(),
        _ => return None,
    };
    let bare = written.trim_matches('"');
    let same_kind = |of: &Shape| {
        matches!(
            (&node.kind, of),
            (
                Kind::String(_),
                Shape::Text(_) | Shape::Choice(_) | Shape::Secret
            ) | (Kind::Integer(_), Shape::Integer { .. } | Shape::Float)
                | (Kind::Boolean(_), Shape::Boolean)
        )
    };
    match expected {
        Shape::List(of) if same_kind(of) => Some(format!("[{written}]")),
        Shape::Integer { .. } => bare.parse::<i128>().ok().map(|number| number.to_string()),
        Shape::Float => bare.parse::<f64>().ok().map(|_| bare.to_string()),
        Shape::Boolean => match bare.to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" | "1" => Some("true".into()),
            "false" | "no" | "off" | "0" => Some("false".into()),
            _ => None,
        },
        // Numbers that say more with a unit are shown one by the example.
        Shape::Text(text) if text.pattern.is_empty() => Some(item::quote(bare)),
        _ => None,
    }
}

/// Reads the keys of one table, then reports what is left over and what is lacking.
pub struct TableReader<'a> {
    info: &'static SectionInfo,
    table: &'a Table,
    place: Place,
    cx: &'a mut Reader,
    missing: Vec<&'static Field>,
    /// Fields that may not be what the operator meant.
    doubtful: Vec<&'static str>,
}

/// What came of reading a section's keys: which of its checks would say something true.
pub struct Soundness {
    complete: bool,
    doubtful: Vec<&'static str>,
}

impl Soundness {
    /// Whether a check that needs certain fields, or all of them if none are named, can be made.
    pub fn allows(&self, needs: &[&str]) -> bool {
        let sound = |field: &&str| !self.doubtful.contains(field);
        self.complete
            && if needs.is_empty() {
                self.doubtful.is_empty()
            } else {
                needs.iter().all(sound)
            }
    }
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
            doubtful: Vec::new(),
        }
    }

    /// Reads the field of that number in the section's description. A value that is wrong has been
    /// reported when this returns, and the default stands in for it, so that one wrong key does
    /// not hide what is wrong with others.
    pub fn field<T: Value>(&mut self, index: usize, default: Option<fn() -> T>) -> Option<T> {
        let field = self.info.fields.get(index)?;
        let Some(entry) = self.table.get(field.key) else {
            let value = default.map(|default| default()).or_else(T::absent);
            if value.is_none() {
                self.missing.push(field);
            }
            return value;
        };
        let range = field.range.map(|range| range());
        let before = self.cx.problems.len();
        let value = self.cx.keyed(field.key, range, &entry.node);
        let new = self.cx.problems.iter().skip(before);
        if new
            .into_iter()
            .any(|problem| problem.severity == Severity::Error)
        {
            self.doubtful.push(field.name);
        }
        value.or_else(|| default.map(|default| default()))
    }

    /// Reports unknown and missing keys.
    pub fn finish(mut self) -> Soundness {
        let table = self.table;
        let known = |entry: &&Entry| self.info.fields.iter().any(|field| field.key == entry.key);
        let unknown: Vec<&Entry> = table.entries.iter().filter(|entry| !known(entry)).collect();
        for entry in unknown.into_iter().take(UNKNOWN_KEYS) {
            self.unknown(entry);
        }
        for field in std::mem::take(&mut self.missing) {
            self.lacking(field);
        }
        Soundness {
            complete: self.cx.complete,
            doubtful: self.doubtful,
        }
    }

    fn lacking(&mut self, field: &Field) {
        let shape = (field.shape)();
        let header = self.cx.header();
        let problem = Problem::absence(format!("{header} lacks the key `{}`", field.key))
            .at(self.place, format!("`{}` is required here", field.key));
        let help = match (&shape, shape.example()) {
            (Shape::Choice(choice), _) => format!("one of {}", choice.allowed()),
            (_, Some(example)) => format!("add {} = {example}", field.key),
            (_, None) => format!("`{}` is {}", field.key, shape.name()),
        };
        self.cx.problems.push(problem.help(help));
    }

    fn unknown(&mut self, entry: &Entry) {
        let at = self.cx.at_header();
        let problem =
            Problem::error(format!("unknown key `{}` {at}", entry.key)).at(entry.span, "");
        let fields = self.info.fields;
        let unset = fields
            .iter()
            .filter(|field| self.table.get(field.key).is_none());
        let similar = did_you_mean(&entry.key, unset.map(|field| field.key));
        let elsewhere = self.cx.catalogue.get(entry.key.as_str());
        let problem = match (similar, elsewhere) {
            (_, Some(sections)) if sections.len() <= 3 => {
                // What was written here is lacking there, wherever that is.
                self.cx.complete = false;
                let headers: Vec<&str> = sections.iter().map(|known| &*known.header).collect();
                let belongs = format!("`{}` belongs in {}", entry.key, headers.join(" or "));
                let below = sections.iter().filter_map(|known| known.below.as_deref());
                let below: Vec<&str> = below.collect();
                match below.is_empty() {
                    true => problem.help(belongs),
                    false => problem.help(format!("{belongs}: {}", below.join(" or "))),
                }
            }
            (Some(similar), _) => {
                // A misspelt key is one fault, not two.
                self.missing.retain(|field| field.key != similar);
                let meant = fields.iter().filter(|field| field.key == similar);
                self.doubtful.extend(meant.map(|field| field.name));
                problem.help(format!("did you mean `{similar}`?"))
            }
            (None, _) if fields.len() <= 24 => {
                let keys: Vec<String> = fields
                    .iter()
                    .map(|field| format!("`{}`", field.key))
                    .collect();
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
        Kind::Array(nodes) if nodes.iter().all(|node| matches!(node.kind, Kind::Table(_))) => {
            cx.not_one_table(node);
            None
        }
        _ => {
            cx.wrong_type(node, &S::shape());
            None
        }
    }
}
