//! From a path to a config, or to everything that is wrong with it.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use crate::merge::merge;
use crate::node::{self, Kind, Table};
use crate::problem::{Label, Problem, Problems, Severity};
use crate::reader::{Reader, Section};
use crate::source::Sources;
use crate::span::{Place, Span};
use crate::value::ByteSize;

/// A config that can be used.
#[derive(Debug)]
pub struct Loaded<R> {
    /// The config.
    pub value: R,
    /// The files that it came from, for problems found later.
    pub sources: Sources,
    /// What somebody should look at.
    pub warnings: Problems,
}

/// What could be made of a config, be it one that can be used or not.
#[derive(Debug)]
pub struct Draft<R> {
    /// The config, where all of it could be read. What is wrong with it may be in the problems.
    pub value: Option<R>,
    /// The files that were read.
    pub sources: Sources,
    /// Everything that is wrong with the files themselves, and what somebody should look at.
    pub problems: Problems,
}

/// A config that cannot be used, and why. Displays as it is to be shown, without colours.
#[derive(Debug)]
pub struct Report {
    /// The files that were read.
    pub sources: Sources,
    /// Everything that is wrong.
    pub problems: Problems,
}

impl Report {
    /// Everything that is wrong, as [`Sources::render`] draws it.
    pub fn render(&self, color: bool) -> String {
        self.sources.render(&self.problems, color)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl std::error::Error for Report {}

/// How much is read at most.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of one file.
    pub file_bytes: u64,
    /// Files of `omnid.d`.
    pub files: usize,
    /// Problems reported; the rest are counted.
    pub problems: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            file_bytes: 1024 * 1024,
            files: 256,
            problems: 200,
        }
    }
}

/// Reads a config: the file at `path`, then `NAME.d/*.toml` beside it in the order of their names.
pub fn load<R: Section>(path: &Path) -> Result<Loaded<R>, Report> {
    load_within(path, Limits::default())
}

/// As [`load`], for who goes on to look for more that is wrong and reports all of it together.
pub fn draft<R: Section>(path: &Path) -> Draft<R> {
    let mut loader = Loader::new(Limits::default());
    loader.file(path);
    loader.directory(&path.with_extension("d"));
    loader.draft(true)
}

/// As [`load`], with limits of one's own.
pub fn load_within<R: Section>(path: &Path, limits: Limits) -> Result<Loaded<R>, Report> {
    let mut loader = Loader::new(limits);
    loader.file(path);
    loader.directory(&path.with_extension("d"));
    loader.read(true)
}

/// Reads whatever bytes there are, touching neither files nor the environment, and draws whatever
/// is wrong with them: what a fuzzer calls.
pub fn parse_str_any<R: Section>(bytes: &[u8]) -> Result<R, String> {
    let mut loader = Loader::new(Limits::default());
    loader.text(Path::new("omnid.toml"), bytes);
    match loader.read::<R>(false) {
        Ok(loaded) => Ok(loaded.value),
        Err(report) => Err(report.to_string()),
    }
}

/// Reads a config from a text alone, as a file `omnid.toml` in the current directory.
pub fn load_str<R: Section>(text: &str) -> Result<Loaded<R>, Report> {
    let mut loader = Loader::new(Limits::default());
    loader.text(Path::new("omnid.toml"), text.as_bytes());
    loader.read(true)
}

/// The text at a path of keys, such as `["admin", "socket"]`, whatever else is wrong with the
/// files: for a command that must find the running daemon while its config is being edited.
pub fn peek(path: &Path, keys: &[&str]) -> Option<String> {
    let mut loader = Loader::new(Limits::default());
    loader.file(path);
    loader.directory(&path.with_extension("d"));
    let (last, outer) = keys.split_last()?;
    let mut table = &loader.table;
    for key in outer {
        match &table.get(key)?.node.kind {
            Kind::Table(inner) => table = inner,
            _ => return None,
        }
    }
    match &table.get(last)?.node.kind {
        Kind::String(text) => Some(text.clone()),
        _ => None,
    }
}

pub(crate) struct Loader {
    limits: Limits,
    sources: Sources,
    problems: Problems,
    table: Table,
    /// Parts with a fault of TOML itself: whatever was made out of them says nothing.
    unsound: Vec<Span>,
    /// Whether a file could not be read at all.
    incomplete: bool,
}

impl Loader {
    pub(crate) fn new(limits: Limits) -> Self {
        Loader {
            limits,
            sources: Sources::new(),
            problems: Problems::new(),
            table: Table::default(),
            unsound: Vec::new(),
            incomplete: false,
        }
    }

    fn file(&mut self, path: &Path) {
        match read_bounded(path, self.limits.file_bytes) {
            Ok(Some(bytes)) => self.text(path, &bytes),
            Ok(None) => {
                self.incomplete = true;
                let most = ByteSize(self.limits.file_bytes);
                let message = format!("{} is larger than {most}", path.display());
                self.problems.push(Problem::error(message));
            }
            Err(error) => {
                self.incomplete = true;
                let message = format!("cannot read {}: {}", path.display(), describe(&error));
                self.problems.push(Problem::error(message));
            }
        }
    }

    fn directory(&mut self, directory: &Path) {
        let mut files = match toml_files(directory) {
            Ok(files) => files,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return,
            Err(error) => {
                let message = format!("cannot read {}: {}", directory.display(), describe(&error));
                self.problems.push(Problem::error(message));
                return;
            }
        };
        files.sort();
        if files.len() > self.limits.files {
            let message = format!(
                "{} holds {} files; at most {} are read",
                directory.display(),
                files.len(),
                self.limits.files
            );
            self.problems.push(Problem::error(message));
            files.truncate(self.limits.files);
        }
        for file in files {
            self.file(&file);
        }
    }

    pub(crate) fn text(&mut self, path: &Path, bytes: &[u8]) {
        let text = String::from_utf8_lossy(bytes).into_owned();
        let file = self.sources.add(path, text.clone());
        if let Err(error) = std::str::from_utf8(bytes) {
            self.incomplete = true;
            let at = error.valid_up_to();
            // The replacement character stands at the very byte where the text went wrong.
            let span = Span::new(file, at..at + char::REPLACEMENT_CHARACTER.len_utf8());
            let problem = Problem::error(format!("{} is not UTF-8 text", path.display()));
            self.problems
                .push(problem.at(span, "this byte is no character"));
            return;
        }
        let document = node::parse(file, &text);
        self.unsound.extend(document.unsound);
        self.problems.extend(document.problems);
        merge(&mut self.table, document.table, &mut self.problems);
    }

    pub(crate) fn read<R: Section>(self, fetch_secrets: bool) -> Result<Loaded<R>, Report> {
        let Draft {
            value,
            sources,
            problems,
        } = self.draft(fetch_secrets);
        match value {
            Some(value) if !problems.has_errors() => Ok(Loaded {
                value,
                sources,
                warnings: problems,
            }),
            _ => Err(Report { sources, problems }),
        }
    }

    fn draft<R: Section>(self, fetch_secrets: bool) -> Draft<R> {
        let Loader {
            limits,
            sources,
            mut problems,
            table,
            unsound,
            incomplete,
        } = self;
        let incomplete = incomplete || !unsound.is_empty();
        let mut reader = Reader::new(const { &R::INFO }, &sources, fetch_secrets, !incomplete);
        let start = sources.iter().next().map(|_| Span::new(0, 0..0));
        let value = R::read(&table, Place(start), &mut reader);
        // Where the TOML is broken, keys may be lacking or wrong because of that alone.
        let follows = |problem: &Problem| {
            let within = |label: &Label| unsound.iter().any(|line| line.contains(label.span));
            problem.labels.iter().any(within) || (problem.is_absence && incomplete)
        };
        problems.extend(
            reader
                .problems
                .into_iter()
                .filter(|problem| !follows(problem)),
        );
        problems.sort_by_key(Problem::span);
        if problems.has_errors() {
            bound(&mut problems, limits.problems);
        }
        Draft {
            // What is made out of half a file would be found wrong for what it lacks.
            value: value.filter(|_| !incomplete),
            sources,
            problems,
        }
    }
}

fn bound(problems: &mut Problems, most: usize) {
    let more = problems.len().saturating_sub(most);
    if more > 0 {
        problems.sort_by_key(|problem| problem.severity == Severity::Warning);
        problems.truncate(most);
        problems.push(Problem::error(format!("not shown: {more} more")));
    }
}

/// An error of the operating system, in words that are the same on each.
pub(crate) fn describe(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "there is no such file".into(),
        io::ErrorKind::PermissionDenied => "permission denied".into(),
        io::ErrorKind::IsADirectory => "it is a directory".into(),
        io::ErrorKind::NotADirectory => "it is not a directory".into(),
        _ => error.to_string(),
    }
}

/// `None` if the file is larger than `most`. A pipe or a device is read no further than that.
pub(crate) fn read_bounded(path: &Path, most: u64) -> io::Result<Option<Vec<u8>>> {
    let file = File::open(path)?;
    if file.metadata()?.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    let mut bytes = Vec::new();
    file.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
    Ok((bytes.len() as u64 <= most).then_some(bytes))
}

fn toml_files(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let hidden = path
            .file_name()
            .is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
        if !hidden
            && path
                .extension()
                .is_some_and(|extension| extension == "toml")
        {
            files.push(path);
        }
    }
    Ok(files)
}
