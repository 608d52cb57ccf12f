//! How Prosody stores things: names of files, and stanzas in tables.

use std::{
    fs,
    path::{Path, PathBuf},
};

use omnid_xmpp::wire::{Element, Scope, ns, time};

use crate::report::Kind;
use crate::xmpp::{
    MoveError,
    lua::{Lua, Table},
};

/// Stores of which nothing is missed, and why.
const NEEDLESS: &[(&str, &str)] = &[
    ("archive_cleanup", "when to tidy up"),
    ("muc_log_cleanup", "when to tidy up"),
    ("offline_cleanup", "when to tidy up"),
    ("state", "who was in rooms when Prosody stopped"),
    ("smacks_h", "sessions that were to be resumed"),
    ("caps", "what clients can do, which they say again"),
    ("cron", "when tasks were run"),
    ("tombstones", "accounts that are gone"),
    ("pubkey", "keys of this Prosody"),
];

/// What becomes of a store that is not read.
pub(super) fn left(store: &str, path: PathBuf) -> (PathBuf, Kind, &'static str) {
    match NEEDLESS.iter().find(|(name, _)| *name == store) {
        Some((_, why)) => (path, Kind::Needless, why),
        None if store == "cloud_notify" => (
            path,
            Kind::Needless,
            "clients ask for pushes again at their next login",
        ),
        None => (path, Kind::Lost, "this store is not known here"),
    }
}

/// When an item was stored, in microseconds since 1970.
pub(super) fn when(item: &Table) -> u64 {
    let stamp = || time::parse_micros(item.inner("attr")?.text("stamp")?);
    match item.number("when") {
        Some(when) => micros(when),
        None => stamp().unwrap_or_default(),
    }
}

pub(super) fn micros(seconds: f64) -> u64 {
    (seconds * 1e6).clamp(0.0, 9e18) as u64
}

/// A stanza as Prosody stores it: `{ name = …, attr = { … }, children … }`.
pub(super) fn element(table: &Table) -> Option<Element> {
    let mut text = String::new();
    write(table, "", 0, &mut text)?;
    Element::parse(text.as_bytes(), &Scope::client()).ok()
}

fn write(table: &Table, outer: &str, depth: usize, out: &mut String) -> Option<()> {
    let name = table.text("name")?;
    if depth > 64 || name.contains(['<', '>', ' ', '\'', '"', '&']) {
        return None;
    }
    let attrs = table.inner("attr");
    let space = attrs.and_then(|attrs| attrs.text("xmlns"));
    // At the top nothing said means a stanza; within, it means what is around.
    let space = space.unwrap_or(if depth == 0 { ns::CLIENT } else { outer });
    out.push('<');
    out.push_str(name);
    if depth == 0 || space != outer {
        attribute("xmlns", space, out);
    }
    for (at, (key, value)) in attrs.into_iter().flat_map(Table::named).enumerate() {
        let Some(value) = value.text() else { continue };
        // The time of storing, which is no attribute of what was stored.
        if key == "xmlns" || (depth == 0 && (key == "stamp" || key == "stamp_legacy")) {
            continue;
        }
        match key.split_once('\u{1}') {
            Some((space, key)) => {
                attribute(&format!("xmlns:p{at}"), space, out);
                attribute(&format!("p{at}:{key}"), value, out);
            }
            None => attribute(key, value, out),
        }
    }
    out.push('>');
    for child in &table.row {
        match child {
            Lua::Text(text) => escape(text, out),
            Lua::Table(child) => write(child, space, depth + 1, out)?,
            _ => return None,
        }
    }
    out.push_str("</");
    out.push_str(name);
    out.push('>');
    Some(())
}

fn attribute(name: &str, value: &str, out: &mut String) {
    out.push(' ');
    out.push_str(name);
    out.push_str("='");
    escape(value, out);
    out.push('\'');
}

fn escape(text: &str, out: &mut String) {
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '\'' => out.push_str("&apos;"),
            '"' => out.push_str("&quot;"),
            '\r' => out.push_str("&#13;"),
            // White space in attributes, which would else become spaces; in text it is the same.
            '\n' => out.push_str("&#10;"),
            '\t' => out.push_str("&#9;"),
            c => out.push(c),
        }
    }
}

/// Privacy lists as the old store has them, as they are sent.
pub(super) fn old_privacy(table: &Table) -> Element {
    const PRIVACY: &str = "jabber:iq:privacy";
    let mut query = Element::new("query", PRIVACY);
    if let Some(default) = table.text("default") {
        query.push(Element::new("default", PRIVACY).attr("name", default));
    }
    for (name, list) in table.inner("lists").into_iter().flat_map(Table::named) {
        let items = list.table().and_then(|list| list.inner("items"));
        let items = items.into_iter().flat_map(|items| &items.row);
        let items = items.filter_map(Lua::table).map(|item| {
            let attr = |name| item.text(name).map(ToOwned::to_owned);
            Element::new("item", PRIVACY)
                .attr_opt("type", attr("type"))
                .attr_opt("value", attr("value"))
                .attr_opt("action", attr("action"))
        });
        query.push(
            Element::new("list", PRIVACY)
                .attr("name", name)
                .children_from(items),
        );
    }
    query
}

/// The names of files that stand for users.
pub(super) fn files(directory: &Path) -> Result<Vec<String>, MoveError> {
    let found = entries(directory)?.into_iter().filter_map(|(name, path)| {
        let stem = name.strip_suffix(".dat").or(name.strip_suffix(".list"))?;
        path.is_file().then(|| stem.to_owned())
    });
    Ok(found.collect())
}

pub(super) fn directories(directory: &Path) -> Result<Vec<(String, PathBuf)>, MoveError> {
    let mut found = entries(directory)?;
    found.retain(|(_, path)| path.is_dir());
    Ok(found)
}

fn entries(directory: &Path) -> Result<Vec<(String, PathBuf)>, MoveError> {
    let failed = |source| MoveError::File {
        path: directory.to_owned(),
        source,
    };
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if let Ok(name) = entry.file_name().into_string() {
            found.push((name, entry.path()));
        }
    }
    found.sort();
    Ok(found)
}

/// A name as files have it: what is not a letter or digit by its number.
pub(super) fn decoded(name: &str) -> String {
    let mut bytes = Vec::with_capacity(name.len());
    let mut rest = name.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let digits = after.get(..2).filter(|_| byte == b'%');
        let digits = digits.and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(decoded) => {
                bytes.push(decoded);
                rest = after.get(2..).unwrap_or_default();
            }
            None => {
                bytes.push(byte);
                rest = after;
            }
        }
    }
    String::from_utf8(bytes).unwrap_or_else(|_| name.to_owned())
}

/// A store's name as directories have it: what is not a letter, digit or underscore by its number.
pub(super) fn store_name(store: &str) -> String {
    let mut name = String::new();
    for byte in store.bytes() {
        if byte.is_ascii_alphanumeric() || byte == b'_' {
            name.push(char::from(byte));
        } else {
            name.push_str(&format!("%{byte:02x}"));
        }
    }
    name
}

pub(super) fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes().chunks(2);
    let bytes = digits.map(|pair| {
        let pair = std::str::from_utf8(pair)
            .ok()
            .filter(|pair| pair.len() == 2)?;
        u8::from_str_radix(pair, 16).ok()
    });
    bytes.collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::xmpp::lua;

    #[test]
    fn names_of_files() {
        assert_eq!(decoded("one%2etest"), "one.test");
        assert_eq!(decoded("ren%c3%a9"), "rené");
        assert_eq!(decoded("%x"), "%x");
        assert_eq!(store_name("pep_urn:xmpp:x"), "pep_urn%3axmpp%3ax");
    }

    #[test]
    fn stanzas() {
        let text = r#"return { "a\n<"; { name = "b"; attr = {}; }; { "x"; name = "c"; attr = { xmlns = "u"; ["v\1w"] = "1"; }; };
            name = "message"; attr = { to = "a@b"; ["xml:lang"] = "en"; stamp = "2026-11-25T12:39:48Z"; }; when = 5.5; }"#;
        let lua = lua::file(text.as_bytes()).unwrap();
        let table = lua.table().unwrap();
        assert_eq!(
            element(table).unwrap().to_client(),
            "<message to='a@b' xml:lang='en'>a\n&lt;<b/><c xmlns='u' xmlns:a0='v' a0:w='1'>x</c></message>"
        );
        assert_eq!(when(table), 5_500_000);
        let evil = lua::file(br#"return { name = "a b='c'"; attr = {} }"#).unwrap();
        assert_eq!(element(evil.table().unwrap()), None);
    }
}
