//! From files to a tree of directives.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use super::{ImportError, Options, modules};
use crate::report::{Finding, Kind};

/// Files that are read, and the size of one.
const FILES_MAX: usize = 5000;
const LONGEST: u64 = 8 * 1024 * 1024;
/// How deep files may include each other, and sections stand in each other.
const DEPTH: usize = 32;
/// The version that <IfVersion> is told.
const VERSION: [u32; 3] = [2, 4, 60];

/// A directive, or a section with what is in it.
#[derive(Debug, Clone)]
pub struct Directive {
    /// Its name, as written; a section's without its bracket.
    pub name: String,
    /// Its words, without their quotation marks.
    pub words: Vec<String>,
    /// All behind the name, as written.
    pub rest: String,
    /// Where it stands.
    pub file: PathBuf,
    /// From 1.
    pub line: usize,
    /// Whether it is a section.
    pub section: bool,
    /// What is in it.
    pub inner: Vec<Directive>,
}

impl Directive {
    pub(super) fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name)
    }

    pub(super) fn word(&self, at: usize) -> &str {
        self.words.get(at).map_or("", String::as_str)
    }

    pub(super) fn text(&self) -> String {
        let text = format!("{} {}", self.name, self.rest);
        if self.section {
            format!("<{}>", text.trim_end())
        } else {
            text.trim_end().to_owned()
        }
    }
}

/// An installation that is being read.
#[derive(Debug)]
pub struct Source {
    start: PathBuf,
    root: Option<PathBuf>,
    server_root: PathBuf,
    variables: BTreeMap<String, String>,
    macros: BTreeMap<String, (Vec<String>, Vec<String>, PathBuf, usize)>,
    files: usize,
    /// Modules that Apache loads.
    loaded: BTreeSet<String>,
    /// What is found out while reading.
    pub(super) findings: Vec<Finding>,
    /// Directives read.
    pub(super) directives: usize,
}

/// A line, continuation lines joined.
struct Line {
    text: String,
    number: usize,
}

impl Source {
    /// Finds the configuration in a directory, or takes a file.
    ///
    /// # Errors
    /// Where there is none.
    pub fn open(path: &Path, options: &Options) -> Result<Self, ImportError> {
        let candidates = ["apache2.conf", "httpd.conf", "conf/httpd.conf"];
        let start = if path.is_dir() {
            candidates
                .iter()
                .map(|name| path.join(name))
                .find(|path| path.is_file())
                .ok_or_else(|| ImportError::Nothing(path.to_owned()))?
        } else {
            path.to_owned()
        };
        let folder = start.parent().unwrap_or(Path::new("/")).to_owned();
        let mut source = Self {
            start,
            root: options.root.clone(),
            server_root: folder.clone(),
            variables: options
                .defines
                .iter()
                .map(|name| (name.clone(), String::new()))
                .collect(),
            macros: BTreeMap::new(),
            files: 0,
            loaded: BTreeSet::new(),
            findings: Vec::new(),
            directives: 0,
        };
        source.environment(&folder.join("envvars"));
        Ok(source)
    }

    /// Debian's envvars: `export NAME=value`, with `$SUFFIX` empty.
    fn environment(&mut self, path: &Path) {
        let Ok(text) = fs::read_to_string(path) else {
            return;
        };
        for line in text.lines() {
            let assignment = line.trim().strip_prefix("export ");
            if let Some((name, value)) = assignment.and_then(|text| text.split_once('=')) {
                let value = value.trim_matches(['"', '\'']).replace("$SUFFIX", "");
                self.variables
                    .entry(name.trim().to_owned())
                    .or_insert(value);
            }
        }
    }

    /// Reads it all.
    ///
    /// # Errors
    /// Where a file cannot be read.
    pub fn tree(&mut self) -> Result<Vec<Directive>, ImportError> {
        let start = self.start.clone();
        let mut tree = Vec::new();
        self.file(&start, 0, &mut tree)?;
        Ok(tree)
    }

    /// Reads a file beside the configuration, such as a .htaccess.
    pub(super) fn beside(&mut self, path: &Path) -> Vec<Directive> {
        let mut tree = Vec::new();
        if let Err(error) = self.file(path, 0, &mut tree) {
            self.find(path, 1, Kind::Lost, "", error.to_string());
        }
        tree
    }

    /// A path of the configuration as it is on this machine.
    pub(super) fn here(&self, path: &str) -> PathBuf {
        let path = if path.starts_with('/') {
            PathBuf::from(path)
        } else {
            return self.server_root.join(path);
        };
        match &self.root {
            Some(root) if !path.starts_with(root) => {
                root.join(path.strip_prefix("/").unwrap_or(&path))
            }
            _ => path,
        }
    }

    pub(super) fn find(
        &mut self,
        file: &Path,
        line: usize,
        kind: Kind,
        text: &str,
        advice: impl Into<String>,
    ) {
        let finding = Finding {
            file: file.to_owned(),
            line,
            kind,
            text: text.chars().take(200).collect(),
            advice: advice.into(),
        };
        if !self.findings.contains(&finding) {
            self.findings.push(finding);
        }
    }

    fn file(
        &mut self,
        path: &Path,
        depth: usize,
        into: &mut Vec<Directive>,
    ) -> Result<(), ImportError> {
        self.files += 1;
        if self.files > FILES_MAX || depth > DEPTH {
            return Err(ImportError::TooMuch(path.to_owned()));
        }
        let fail = |source| ImportError::File {
            path: path.to_owned(),
            source,
        };
        let length = fs::metadata(path).map_err(fail)?.len();
        if length > LONGEST {
            return Err(ImportError::TooMuch(path.to_owned()));
        }
        let bytes = fs::read(path).map_err(fail)?;
        let lines = join(&String::from_utf8_lossy(&bytes));
        let mut lines = lines.into_iter();
        self.block(&mut lines, path, depth, None, into)
    }

    /// Reads lines up to the end of a section, or to their own.
    fn block(
        &mut self,
        lines: &mut std::vec::IntoIter<Line>,
        file: &Path,
        depth: usize,
        section: Option<&str>,
        into: &mut Vec<Directive>,
    ) -> Result<(), ImportError> {
        if depth > DEPTH {
            return Err(ImportError::TooMuch(file.to_owned()));
        }
        while let Some(line) = lines.next() {
            let text = self.expand(&line.text);
            if let Some(end) = text.strip_prefix("</") {
                let name = end.trim_end_matches('>').trim();
                if section.is_some_and(|section| section.eq_ignore_ascii_case(name)) {
                    return Ok(());
                }
                self.find(
                    file,
                    line.number,
                    Kind::Lost,
                    &text,
                    "no section begins that ends here",
                );
                continue;
            }
            self.directives += 1;
            if let Some(opening) = text.strip_prefix('<') {
                let opening = opening.trim_end().trim_end_matches('>');
                let (name, rest) = split_name(opening);
                if name.eq_ignore_ascii_case("macro") {
                    self.define_macro(lines, &rest, file, line.number);
                    continue;
                }
                let mut inner = Vec::new();
                let (holds, known) = self.asks(&name, &rest);
                if known && !holds {
                    self.passed_over(&name, &rest, file, line.number);
                    skip(lines, &name);
                    continue;
                }
                let mut body = take(lines, &name);
                self.block(&mut body, file, depth + 1, None, &mut inner)?;
                if known {
                    into.append(&mut inner);
                    continue;
                }
                into.push(Directive {
                    words: words(&rest),
                    name,
                    rest,
                    file: file.to_owned(),
                    line: line.number,
                    section: true,
                    inner,
                });
                continue;
            }
            let (name, rest) = split_name(&text);
            let directive = Directive {
                words: words(&rest),
                name,
                rest,
                file: file.to_owned(),
                line: line.number,
                section: false,
                inner: Vec::new(),
            };
            self.plain(directive, depth, into)?;
        }
        Ok(())
    }

    fn plain(
        &mut self,
        directive: Directive,
        depth: usize,
        into: &mut Vec<Directive>,
    ) -> Result<(), ImportError> {
        if directive.is("Include") || directive.is("IncludeOptional") {
            let optional = directive.is("IncludeOptional");
            let found = glob(&self.here(directive.word(0)));
            if found.is_empty() && !optional {
                let text = directive.text();
                self.find(
                    &directive.file,
                    directive.line,
                    Kind::Lost,
                    &text,
                    "there is no such file",
                );
            }
            for path in found {
                // A package that is gone leaves links that lead nowhere.
                if path.is_file() {
                    self.file(&path, depth + 1, into)?;
                } else if path.is_dir() {
                    for path in glob(&path.join("*")) {
                        if path.is_file() {
                            self.file(&path, depth + 1, into)?;
                        }
                    }
                }
            }
        } else if directive.is("Define") {
            self.variables
                .insert(directive.word(0).to_owned(), directive.word(1).to_owned());
        } else if directive.is("UnDefine") {
            self.variables.remove(directive.word(0));
        } else if directive.is("Use") {
            self.use_macro(&directive, depth, into)?;
        } else {
            if directive.is("LoadModule") {
                let name = modules::bare(directive.word(0)).to_owned();
                self.loaded.insert(name);
            }
            if directive.is("ServerRoot") {
                self.server_root = self.here(directive.word(0));
            }
            into.push(directive);
        }
        Ok(())
    }

    /// Whether a section that asks something holds, and whether it asks something at all.
    fn asks(&self, name: &str, rest: &str) -> (bool, bool) {
        let asked = rest.trim();
        let (negated, asked) = match asked.strip_prefix('!') {
            Some(rest) => (true, rest.trim()),
            None => (false, asked),
        };
        let holds = match name.to_ascii_lowercase().as_str() {
            "ifmodule" => modules::is_here(asked),
            "ifdefine" => self.variables.contains_key(asked),
            "ifversion" => version(asked),
            "iffile" => self.here(asked.trim_matches('"')).exists(),
            "ifdirective" | "ifsection" => true,
            _ => return (false, false),
        };
        (holds != negated, true)
    }

    /// What stands in a section for a module that is not here is lost, if Apache had the module.
    fn passed_over(&mut self, name: &str, rest: &str, file: &Path, line: usize) {
        let module = rest.trim();
        if !name.eq_ignore_ascii_case("ifmodule") || module.starts_with('!') {
            return;
        }
        let bare = modules::bare(module).to_owned();
        let (kind, why) = if self.loaded.is_empty() || self.loaded.contains(&bare) {
            let why = if bare.starts_with("php") {
                "PHP runs in php-fpm: its settings go into the pool, php_admin_value[…]"
            } else {
                "what is in it is for a module that has no counterpart"
            };
            (Kind::Lost, why)
        } else {
            (Kind::Needless, "the module is not loaded")
        };
        self.find(file, line, kind, &format!("<{name} {rest}>"), why);
    }

    fn define_macro(
        &mut self,
        lines: &mut std::vec::IntoIter<Line>,
        rest: &str,
        file: &Path,
        line: usize,
    ) {
        let mut parameters = words(rest);
        let name = if parameters.is_empty() {
            String::new()
        } else {
            parameters.remove(0).to_ascii_lowercase()
        };
        let body = take(lines, "Macro").map(|line| line.text).collect();
        self.macros
            .insert(name, (parameters, body, file.to_owned(), line));
    }

    fn use_macro(
        &mut self,
        directive: &Directive,
        depth: usize,
        into: &mut Vec<Directive>,
    ) -> Result<(), ImportError> {
        let name = directive.word(0).to_ascii_lowercase();
        let Some((parameters, body, file, line)) = self.macros.get(&name).cloned() else {
            let text = directive.text();
            self.find(
                &directive.file,
                directive.line,
                Kind::Lost,
                &text,
                "there is no such macro",
            );
            return Ok(());
        };
        let lines: Vec<Line> = body
            .iter()
            .enumerate()
            .map(|(at, text)| {
                let mut text = text.clone();
                for (parameter, value) in parameters.iter().zip(directive.words.iter().skip(1)) {
                    text = text.replace(parameter, value);
                }
                Line {
                    text,
                    number: line + 1 + at,
                }
            })
            .collect();
        self.block(&mut lines.into_iter(), &file, depth + 1, None, into)
    }

    /// `${NAME}`, of what is defined; another is left as it is.
    fn expand(&self, text: &str) -> String {
        let mut expanded = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find("${") {
            let (before, after) = rest.split_at(at);
            expanded.push_str(before);
            let end = after.find('}');
            let name = end.and_then(|end| after.get(2..end));
            match (name.and_then(|name| self.variables.get(name)), end) {
                (Some(value), Some(end)) => {
                    expanded.push_str(value);
                    rest = after.get(end + 1..).unwrap_or_default();
                }
                _ => {
                    expanded.push_str("${");
                    rest = after.get(2..).unwrap_or_default();
                }
            }
        }
        expanded.push_str(rest);
        expanded
    }
}

fn join(text: &str) -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::new();
    let mut open: Option<Line> = None;
    for (at, raw) in text.lines().enumerate() {
        let (part, goes_on) = match raw.strip_suffix('\\') {
            Some(part) => (part, true),
            None => (raw, false),
        };
        let mut line = open.take().unwrap_or(Line {
            text: String::new(),
            number: at + 1,
        });
        line.text.push_str(part);
        if goes_on {
            open = Some(line);
            continue;
        }
        lines.push(line);
    }
    lines.extend(open);
    for line in &mut lines {
        line.text = line.text.trim().to_owned();
    }
    lines.retain(|line| !line.text.is_empty() && !line.text.starts_with('#'));
    lines
}

/// The lines of a section, without its last.
fn take(lines: &mut std::vec::IntoIter<Line>, name: &str) -> std::vec::IntoIter<Line> {
    let mut body = Vec::new();
    let mut depth = 0_usize;
    for line in lines.by_ref() {
        let text = line.text.to_ascii_lowercase();
        let lower = name.to_ascii_lowercase();
        if let Some(end) = text.strip_prefix("</")
            && end.trim_end_matches('>').trim() == lower
        {
            if depth == 0 {
                break;
            }
            depth -= 1;
        } else if let Some(start) = text.strip_prefix('<')
            && split_name(start.trim_end_matches('>')).0 == lower
        {
            depth += 1;
        }
        body.push(line);
    }
    body.into_iter()
}

fn skip(lines: &mut std::vec::IntoIter<Line>, name: &str) {
    drop(take(lines, name));
}

fn split_name(text: &str) -> (String, String) {
    let (name, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    (name.to_owned(), rest.trim().to_owned())
}

/// Words, in quotation marks where they hold spaces; a backslash escapes a quotation mark only.
pub(super) fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut chars = text.trim().chars().peekable();
    while let Some(&c) = chars.peek() {
        if c.is_whitespace() {
            chars.next();
            continue;
        }
        let mut word = String::new();
        if c == '"' || c == '\'' {
            chars.next();
            while let Some(inner) = chars.next() {
                if inner == c {
                    break;
                }
                if inner == '\\' && chars.peek().is_some_and(|&next| next == c || next == '\\') {
                    // "\\" stays two for a pattern, in which it is one.
                    if chars.peek() == Some(&'\\') {
                        word.push('\\');
                    }
                    word.extend(chars.next());
                    continue;
                }
                word.push(inner);
            }
        } else {
            while let Some(&inner) = chars.peek() {
                if inner.is_whitespace() {
                    break;
                }
                chars.next();
                // An escaped space belongs to the word.
                if inner == '\\' && chars.peek().is_some_and(|next| next.is_whitespace()) {
                    word.push('\\');
                    word.extend(chars.next());
                    continue;
                }
                word.push(inner);
            }
        }
        words.push(word);
    }
    words
}

fn version(asked: &str) -> bool {
    let (sign, number) = match asked.split_once(char::is_whitespace) {
        Some((sign, number)) => (sign, number.trim()),
        None => {
            let at = asked.find(|c: char| c.is_ascii_digit()).unwrap_or(0);
            asked.split_at(at)
        }
    };
    let parts: Vec<u32> = number
        .split('.')
        .filter_map(|part| part.parse().ok())
        .collect();
    let ours = VERSION.get(..parts.len().min(3)).unwrap_or(&VERSION);
    let order = ours.cmp(parts.as_slice());
    match sign {
        "" | "=" | "==" => order.is_eq(),
        ">" => order.is_gt(),
        ">=" => order.is_ge(),
        "<" => order.is_lt(),
        "<=" => order.is_le(),
        "~" => false,
        _ => true,
    }
}

/// Files that a path with `*` and `?` in its last parts names, in order.
pub(super) fn glob(path: &Path) -> Vec<PathBuf> {
    let mut found = vec![PathBuf::from("/")];
    for part in path.components().skip(1) {
        let part = part.as_os_str().to_string_lossy();
        let mut next = Vec::new();
        for folder in found {
            if !part.contains(['*', '?', '[']) {
                next.push(folder.join(&*part));
                continue;
            }
            let Ok(entries) = fs::read_dir(&folder) else {
                continue;
            };
            for entry in entries.flatten() {
                let name = entry.file_name();
                let name = name.to_string_lossy();
                if fits(part.as_bytes(), name.as_bytes()) && !name.starts_with('.') {
                    next.push(entry.path());
                }
            }
        }
        found = next;
        if found.len() > FILES_MAX {
            found.truncate(FILES_MAX);
        }
    }
    found.retain(|path| path.exists());
    found.sort();
    found
}

pub(super) fn fits(glob: &[u8], name: &[u8]) -> bool {
    // One star at a time, going back to the last: linear in the product.
    let (mut at, mut from) = (0, 0);
    let (mut star, mut retry) = (None, 0);
    while from < name.len() {
        match glob.get(at) {
            Some(b'*') => {
                star = Some(at);
                retry = from;
                at += 1;
            }
            Some(&byte) if byte == b'?' || Some(&byte) == name.get(from) => {
                at += 1;
                from += 1;
            }
            _ => match star {
                Some(star) => {
                    at = star + 1;
                    retry += 1;
                    from = retry;
                }
                None => return false,
            },
        }
    }
    glob.get(at..)
        .is_some_and(|rest| rest.iter().all(|&byte| byte == b'*'))
}
