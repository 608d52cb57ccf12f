//! Faults of TOML itself, said so that somebody who does not know TOML can mend them.

use crate::node::{Kind, Table};
use crate::problem::Problem;
use crate::span::Span;

/// What the TOML parser reports, with the second place and the advice that it does not give.
pub(crate) fn problem(message: &str, span: Span, text: &str, table: &Table) -> Problem {
    if message.starts_with("duplicate key") {
        return duplicate(span, text, table);
    }
    Problem::error(message).at(span, "")
}

fn duplicate(span: Span, text: &str, table: &Table) -> Problem {
    let key = text.get(span.range()).unwrap_or("");
    let at = span.start as usize;
    let line = line_at(text, at);
    if line.trim_start().starts_with('[') {
        let header = line.split('#').next().unwrap_or(line).trim();
        return Problem::error(format!("{header} stands twice"))
            .at(span, "a second time here")
            .also(earlier_header(span.file, text, header, at), "first here")
            .help("put the keys of both under one header");
    }
    Problem::error(format!("`{key}` is set twice"))
        .at(span, "set again here")
        .also(earlier_key(table, span, text), "first set here")
        .help("keep one of them")
}

fn line_at(text: &str, at: usize) -> &str {
    let start = text
        .get(..at)
        .and_then(|before| before.rfind('\n'))
        .map_or(0, |newline| newline + 1);
    text.get(start..)
        .and_then(|rest| rest.lines().next())
        .unwrap_or("")
}

fn earlier_header(file: u32, text: &str, header: &str, before: usize) -> Option<Span> {
    let mut start = 0;
    for line in text.get(..before)?.split_inclusive('\n') {
        let content = line.split('#').next().unwrap_or(line).trim();
        if content == header {
            let at = start + line.find('[')?;
            return Some(Span::new(file, at..at + header.len()));
        }
        start += line.len();
    }
    None
}

/// The nearest place above where a key of that name is set, if no header stands between: the
/// parser keeps the first value and forgets where it met the second.
fn earlier_key(table: &Table, span: Span, text: &str) -> Option<Span> {
    let key = text.get(span.range())?.trim_matches(['"', '\'']);
    let nearest = find(table, key, span)?;
    let between = text.get(nearest.range().end..span.range().start)?;
    let header = between
        .lines()
        .skip(1)
        .any(|line| line.trim_start().starts_with('['));
    (!header).then_some(nearest)
}

fn find(table: &Table, key: &str, before: Span) -> Option<Span> {
    let mut nearest: Option<Span> = None;
    let mut consider = |span: Option<Span>| {
        if span.is_some_and(|span| span.start < before.start) && span > nearest {
            nearest = span;
        }
    };
    for entry in &table.entries {
        if entry.key == key {
            consider(Some(entry.span));
        }
        match &entry.node.kind {
            Kind::Table(table) => consider(find(table, key, before)),
            Kind::Array(nodes) => {
                for node in nodes {
                    if let Kind::Table(table) = &node.kind {
                        consider(find(table, key, before));
                    }
                }
            }
            _ => {}
        }
    }
    nearest
}
