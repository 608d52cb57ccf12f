//! Several files into one tree.

use std::collections::HashMap;

use crate::node::{Entry, Kind, Node, Table};
use crate::problem::{Problem, Problems};

/// Merges a file's table into what earlier files said: tables key by key, lists of tables one
/// after the other; anything else that is set twice is an error that names both places.
pub(crate) fn merge(into: &mut Table, from: Table, problems: &mut Problems) {
    let known: HashMap<String, usize> = into
        .entries
        .iter()
        .enumerate()
        .map(|(index, entry)| (entry.key.clone(), index))
        .collect();
    for entry in from.entries {
        match known
            .get(&entry.key)
            .and_then(|index| into.entries.get_mut(*index))
        {
            None => into.entries.push(entry),
            Some(known) => merge_entry(known, entry, problems),
        }
    }
}

fn merge_entry(known: &mut Entry, entry: Entry, problems: &mut Problems) {
    let appendable = is_list_of_tables(&known.node) && is_list_of_tables(&entry.node);
    match (&mut known.node.kind, entry.node.kind) {
        (Kind::Table(into), Kind::Table(from)) => merge(into, from, problems),
        (Kind::Array(into), Kind::Array(from)) if appendable => into.extend(from),
        _ => problems.push(
            Problem::error(format!("`{}` is set twice", entry.key))
                .at(entry.span, "set again here")
                .also(known.span, "first set here")
                .help(
                    "keep one of them: a later file can add to an earlier one, but not change it",
                ),
        ),
    }
}

fn is_list_of_tables(node: &Node) -> bool {
    match &node.kind {
        Kind::Array(items) => items.iter().all(|item| matches!(item.kind, Kind::Table(_))),
        _ => false,
    }
}
