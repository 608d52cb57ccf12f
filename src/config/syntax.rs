//! Faults of TOML itself, said so that somebody who does not know TOML can mend them.
//!
//! The parser recovers and goes on, and what it then says of the rest of a line, or of everything
//! after a bracket that was never closed, is noise: one fault is reported for each line, and one
//! for each bracket.

use crate::item::quote;
use crate::node::{Kind, Table};
use crate::problem::{Problem, Problems};
use crate::span::Span;

/// Faults of TOML itself that are reported for one file. A file that is no TOML at all has one on
/// every line.
const MOST: usize = 20;

/// What the parser said: the message, and where.
pub(crate) struct Fault {
    pub(crate) message: String,
    pub(crate) span: Span,
}

/// Problems, and the parts of the text that say nothing because of them.
pub(crate) fn problems(
    file: u32,
    mut faults: Vec<Fault>,
    text: &str,
    table: &Table,
) -> (Problems, Vec<Span>) {
    let mut problems = Problems::new();
    let mut unsound = Vec::new();
    faults.sort_by_key(|fault| fault.span.start);
    if faults
        .iter()
        .any(|fault| fault.message.starts_with("unclosed"))
        && let Some((bracket, at)) = unclosed(text)
    {
        faults.retain(|fault| (fault.span.start as usize) < at);
        let line = line_around(text, at);
        unsound.push(Span::new(file, line.start..text.len()));
        let (what, closing) = match bracket {
            '[' => ("list", ']'),
            _ => ("inline table", '}'),
        };
        let problem = Problem::error(format!("this {what} is not closed")).at(
            Span::new(file, at..at + 1),
            format!("its `{closing}` is missing"),
        );
        problems.push(problem);
    }
    faults.dedup_by_key(|fault| line_around(text, fault.span.start as usize).start);
    let more = faults.len().saturating_sub(MOST);
    for fault in faults.iter().take(MOST) {
        unsound.push(Span::new(file, doubtful(text, fault.span.start as usize)));
        problems.push(explain(fault, text, table));
    }
    if more > 0 {
        let message = format!("{more} more lines are not valid TOML");
        problems.push(Problem::error(message).at(Span::new(file, 0..0), "in this file"));
        unsound.push(Span::new(file, 0..text.len()));
    }
    (problems, unsound)
}

/// What says nothing because of a fault: its line, and if that is a header, everything below it
/// up to the next, since those keys have ended up in a table that they were not meant for.
fn doubtful(text: &str, at: usize) -> std::ops::Range<usize> {
    let line = line_around(text, at);
    let is_header = |line: &str| line.trim_start().starts_with('[');
    if !text.get(line.clone()).is_some_and(is_header) {
        return line;
    }
    let mut end = line.end;
    for below in text
        .get(line.end..)
        .unwrap_or("")
        .split_inclusive('\n')
        .skip(1)
    {
        if is_header(below) {
            break;
        }
        end += below.len();
    }
    line.start..(end + 1).min(text.len())
}

fn explain(fault: &Fault, text: &str, table: &Table) -> Problem {
    let span = fault.span;
    let at = span.start as usize;
    let line = text.get(line_around(text, at)).unwrap_or("");
    let covered = text.get(span.range()).unwrap_or("");
    let message = fault.message.as_str();
    let is = |start: &str| message.starts_with(start);
    if is("duplicate key") {
        duplicate(span, text, table)
    } else if is("string values must be quoted") && covered.trim().is_empty() {
        Problem::error("the value is missing").at(span, "a value is expected here")
    } else if is("string values must be quoted")
        || covered.starts_with(char::is_alphabetic) && is("invalid float")
    {
        let key = line.split('=').next().unwrap_or("").trim();
        Problem::error("text must stand in quotes")
            .at(span, "")
            .help(format!("write {key} = {}", quote(covered)))
    } else if is("missing escaped value") {
        Problem::error("this is no escape that TOML knows")
            .at(span, "")
            .help("write \\\\ for a backslash, or put the text in single quotes: 'C:\\path'")
    } else if line.trim_start().starts_with("//") {
        Problem::error("this is not TOML")
            .at(span, "")
            .help("a comment begins with #")
    } else if is("invalid unquoted key") && covered.starts_with(':') {
        Problem::error("this is not TOML")
            .at(span, "")
            .help("write key = value")
    } else if is("key with no value") {
        Problem::error("a key has no value").at(span, "`=` and a value are expected")
    } else if is("invalid basic string") || is("invalid literal string") {
        Problem::error("this text is not closed on its line").at(span, "its quote is missing")
    } else if is("unclosed table") || is("unclosed array of tables") {
        Problem::error("this header is not closed").at(span, "its `]` is missing")
    } else if is("unexpected leading zero") {
        Problem::error("a number does not begin with a zero").at(span, "")
    } else {
        Problem::error(message).at(span, "")
    }
}

fn duplicate(span: Span, text: &str, table: &Table) -> Problem {
    let key = text.get(span.range()).unwrap_or("");
    let at = span.start as usize;
    let line = text.get(line_around(text, at)).unwrap_or("");
    if !line.trim_start().starts_with('[') {
        return Problem::error(format!("`{key}` is set twice"))
            .at(span, "set again here")
            .also(earlier_key(table, span, text), "first set here")
            .help("keep one of them");
    }
    let header = header(line);
    let name = header.trim_matches(['[', ']']);
    match earlier_header(span.file, text, name, at) {
        Some((first, same)) if same == header => Problem::error(format!("{header} stands twice"))
            .at(span, "a second time here")
            .also(first, "first here")
            .help("put the keys of both under one header"),
        Some((first, other)) => Problem::error(format!("{header} cannot follow {other}"))
            .at(span, "")
            .also(first, "first here")
            .help(format!(
                "if there may be several, each has the header [[{name}]]"
            )),
        None => Problem::error(format!("`{name}` is set twice"))
            .at(span, "a second time here")
            .also(
                earlier_assignment(span.file, text, name, at),
                "first set here",
            )
            .help("put all of its keys in one place"),
    }
}

/// The whole of the line that a span begins in.
pub(crate) fn line(span: Span, text: &str) -> Span {
    Span::new(span.file, line_around(text, span.start as usize))
}

/// The bytes of the line that one lies in, without the newline.
fn line_around(text: &str, at: usize) -> std::ops::Range<usize> {
    let before = text.get(..at).unwrap_or(text);
    let start = before.rfind('\n').map_or(0, |newline| newline + 1);
    let rest = text.get(start..).unwrap_or("");
    start
        ..rest
            .find('\n')
            .map_or(text.len(), |newline| start + newline)
}

fn header(line: &str) -> &str {
    line.split('#').next().unwrap_or(line).trim()
}

/// Where a header for the same name stands above, and how it is written.
fn earlier_header<'a>(
    file: u32,
    text: &'a str,
    name: &str,
    before: usize,
) -> Option<(Span, &'a str)> {
    let mut start = 0;
    for line in text.get(..before)?.split_inclusive('\n') {
        let written = header(line);
        // The line being looked at is cut off in front of its name, and cannot match itself.
        if written.starts_with('[') && written.trim_matches(['[', ']']) == name {
            let at = start + line.find('[')?;
            return Some((Span::new(file, at..at + written.len()), written));
        }
        start += line.len();
    }
    None
}

/// Where `name = …` or `name.key = …` stands above.
fn earlier_assignment(file: u32, text: &str, name: &str, before: usize) -> Option<Span> {
    let mut start = 0;
    for line in text.get(..before)?.split_inclusive('\n') {
        let indent = line.len() - line.trim_start().len();
        let rest = line.trim_start().strip_prefix(name);
        if rest.is_some_and(|rest| rest.trim_start().starts_with(['=', '.'])) {
            let at = start + indent;
            return Some(Span::new(file, at..at + name.len()));
        }
        start += line.len();
    }
    None
}

/// The nearest place above where a key of that name is set, if no header stands between: the
/// parser keeps the first value and forgets where it met the second.
fn earlier_key(table: &Table, span: Span, text: &str) -> Option<Span> {
    let key = text.get(span.range())?.trim_matches(['"', '\'']);
    let nearest = nearest(table, key, span)?;
    let between = text.get(nearest.range().end..span.range().start)?;
    let header = between
        .lines()
        .skip(1)
        .any(|line| line.trim_start().starts_with('['));
    (!header).then_some(nearest)
}

fn nearest(table: &Table, key: &str, before: Span) -> Option<Span> {
    let within = |kind: &Kind| match kind {
        Kind::Table(table) => nearest(table, key, before),
        Kind::Array(nodes) => {
            let tables = nodes.iter().filter_map(|node| match &node.kind {
                Kind::Table(table) => nearest(table, key, before),
                _ => None,
            });
            tables.max()
        }
        _ => None,
    };
    let own = table
        .entries
        .iter()
        .filter(|entry| entry.key == key)
        .map(|entry| entry.span);
    let own = own.filter(|span| span.start < before.start);
    let deeper = table
        .entries
        .iter()
        .filter_map(|entry| within(&entry.node.kind));
    own.chain(deeper).max()
}

/// The bracket that is never closed, or closed by the other kind.
fn unclosed(text: &str) -> Option<(char, usize)> {
    let mut open: Vec<(char, usize)> = Vec::new();
    let mut in_value = false;
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let at = text.len() - rest.len();
        let skip = match c {
            '#' => rest.find('\n').unwrap_or(rest.len()),
            '"' | '\'' => quoted(rest, c),
            _ => c.len_utf8(),
        };
        match c {
            '=' => in_value = true,
            '\n' if open.is_empty() => in_value = false,
            '[' | '{' if in_value => open.push((c, at)),
            ']' | '}' if in_value => match (open.pop(), c) {
                (Some(('[', _)), ']') | (Some(('{', _)), '}') | (None, _) => {}
                (Some(mismatched), _) => return Some(mismatched),
            },
            _ => {}
        }
        rest = rest.get(skip..).unwrap_or("");
    }
    open.first().copied()
}

/// The length of a quoted text, or of its line if it is not closed there.
fn quoted(text: &str, quote: char) -> usize {
    let triple: String = [quote; 3].iter().collect();
    if text.starts_with(&triple) {
        let end = text.get(3..).and_then(|rest| rest.find(&triple));
        return end.map_or(text.len(), |end| end + 6);
    }
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            '\n' => return at,
            _ if escaped => escaped = false,
            '\\' if quote == '"' => escaped = true,
            c if c == quote => return at + 1,
            _ => {}
        }
    }
    text.len()
}
