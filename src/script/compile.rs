//! From files to bytecode, or to what is wrong with them.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mlua::chunk::Compiler;
use omnid_config::{Problem, Problems, Sources, Span, Spanned};

use crate::state::LoadFailure;

/// The largest script file.
const FILE_MAX: u64 = 1024 * 1024;

/// Scripts, in the order in which they run.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Program {
    pub(crate) scripts: Vec<Compiled>,
}

/// One script.
#[derive(Debug)]
pub(crate) struct Compiled {
    /// As errors and tracebacks call it.
    pub(crate) name: String,
    pub(crate) bytecode: Arc<[u8]>,
    /// Its number among the sources.
    file: u32,
}

impl PartialEq for Compiled {
    /// The number of the file says nothing about the script.
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && self.bytecode == other.bytecode
    }
}

impl Program {
    /// Reads and compiles what `files` name.
    pub(crate) fn compile(
        files: &[Spanned<PathBuf>],
        sources: &mut Sources,
        problems: &mut Problems,
    ) -> Self {
        let mut program = Self::default();
        for pattern in files {
            let paths = match expand(pattern) {
                Ok(paths) => paths,
                Err(error) => {
                    let message = format!("cannot list {}: {error}", pattern.display());
                    problems.push(Problem::error(message).at(pattern.span, ""));
                    continue;
                }
            };
            if paths.is_empty() {
                let message = format!("no script is named like {}", pattern.display());
                problems.push(Problem::warning(message).at(pattern.span, ""));
            }
            for path in paths {
                let text = match read(&path) {
                    Ok(text) => text,
                    Err(error) => {
                        let message = format!("cannot read {}: {error}", path.display());
                        problems.push(Problem::error(message).at(pattern.span, ""));
                        continue;
                    }
                };
                match program.add(&path, text, sources) {
                    Ok(()) => {}
                    Err(problem) => problems.push(problem),
                }
            }
        }
        program
    }

    fn add(&mut self, path: &Path, text: String, sources: &mut Sources) -> Result<(), Problem> {
        let name = path.display().to_string();
        let compiler = Compiler::new().set_optimization_level(1).set_debug_level(1);
        let compiled = compiler.compile(&text);
        let file = sources.add(path, text);
        let bytecode = compiled.map_err(|error| {
            // `3: what is wrong`
            let message = match &error {
                mlua::Error::SyntaxError { message, .. } => message.clone(),
                other => other.to_string(),
            };
            let message = message.trim_start_matches(':');
            match message
                .split_once(": ")
                .map(|(line, said)| (line.parse().ok(), said))
            {
                Some((Some(line), said)) => problem_at(sources, file, &name, Some(line), said),
                _ => problem_at(sources, file, &name, None, message),
            }
        })?;
        self.scripts.push(Compiled {
            name,
            bytecode: bytecode.into(),
            file,
        });
        Ok(())
    }

    /// What went wrong while a script was loaded, at its place.
    pub(crate) fn problem(&self, sources: &Sources, failure: &LoadFailure) -> Problem {
        let Some(script) = self.scripts.get(failure.script) else {
            return Problem::error(format!("Lua: {}", failure.message));
        };
        // `runtime error: NAME:3: what is wrong`, and the traceback; without a place where a verb says
        // it, but then the traceback's first place in this script is where it was called.
        let place = format!("{}:", script.name);
        let first = failure.message.lines().next().unwrap_or_default();
        let (line, said) = match first.split_once(&place) {
            Some((_, rest)) => (leading_number(rest), rest),
            None => {
                let rest = failure.message.split_once(&place).map(|(_, rest)| rest);
                (rest.and_then(leading_number), first)
            }
        };
        let said = said
            .trim_start_matches(|c: char| c.is_ascii_digit() || c == ':')
            .trim_start();
        let said = said.strip_prefix("runtime error: ").unwrap_or(said);
        problem_at(sources, script.file, &script.name, line, said)
    }
}

fn leading_number(text: &str) -> Option<usize> {
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    text.get(..end)?.parse().ok()
}

fn problem_at(
    sources: &Sources,
    file: u32,
    name: &str,
    line: Option<usize>,
    said: &str,
) -> Problem {
    let span = line.and_then(|line| line_span(sources, file, line));
    let problem = Problem::error(format!("Lua: {said}")).at(span, "");
    match span {
        Some(_) => problem,
        None => problem.help(format!("in {name}")),
    }
}

/// The text of a line, counted from 1, without the space around it.
fn line_span(sources: &Sources, file: u32, line: usize) -> Option<Span> {
    let text = &sources
        .file(Span {
            file,
            start: 0,
            end: 0,
        })?
        .text;
    let content = text.lines().nth(line.checked_sub(1)?)?;
    let begin = content.as_ptr().addr().checked_sub(text.as_ptr().addr())?;
    let start = begin + (content.len() - content.trim_start().len());
    let end = begin + content.trim_end().len();
    Some(Span {
        file,
        start: u32::try_from(start).ok()?,
        end: u32::try_from(end).ok()?,
    })
}

/// The files a pattern stands for: itself, or, with `*` in its last part, those in the directory that fit.
fn expand(pattern: &Path) -> io::Result<Vec<PathBuf>> {
    let name = pattern
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or_default();
    if !name.contains('*') {
        return Ok(vec![pattern.to_owned()]);
    }
    let directory = pattern.parent().unwrap_or(Path::new("."));
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let fits = entry
            .file_name()
            .to_str()
            .is_some_and(|entry| fits(name, entry));
        if fits && entry.path().is_file() {
            paths.push(entry.path());
        }
    }
    paths.sort();
    Ok(paths)
}

/// Whether `name` is like `pattern`, in which `*` stands for anything; as in a shell, not for a dot at the
/// beginning.
fn fits(pattern: &str, name: &str) -> bool {
    if name.starts_with('.') && !pattern.starts_with('.') {
        return false;
    }
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| name.strip_prefix(first)) else {
        return false;
    };
    let mut parts = parts.peekable();
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        let Some((_, after)) = rest.split_once(part) else {
            return false;
        };
        rest = after;
    }
    rest.is_empty()
}

fn read(path: &Path) -> io::Result<String> {
    let size = std::fs::metadata(path)?.len();
    if size > FILE_MAX {
        let message = format!("it has {size} bytes, and a script has at most {FILE_MAX}");
        return Err(io::Error::other(message));
    }
    let bytes = std::fs::read(path)?;
    String::from_utf8(bytes).map_err(|_| io::Error::other("it is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_patterns() {
        for (pattern, name, expected) in [
            ("*.lua", "a.lua", true),
            ("*.lua", ".a.lua", false),
            ("*.lua", "a.lua.bak", false),
            ("a*b*c", "abc", true),
            ("a*b*c", "axxbyybzzc", true),
            ("a*b*c", "acb", false),
            ("*", "anything", true),
            ("a*", "b", false),
            ("*a*a", "a", false),
        ] {
            assert_eq!(fits(pattern, name), expected, "{pattern} {name}");
        }
    }
}
