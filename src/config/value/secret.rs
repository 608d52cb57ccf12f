//! Secrets: written in the config, or better, pointed at.

use std::fmt;
use std::path::{Path, PathBuf};

use super::Value;
use crate::item::Item;
use crate::load::{describe, read_bounded};
use crate::node::{Entry, Kind, Node, Table};
use crate::problem::Problem;
use crate::reader::Reader;
use crate::shape::Shape;

/// Largest secret that is read from a file.
const BYTES: u64 = 64 * 1024;

/// Something that must not be shown: a password, a key, a token.
///
/// It is fetched once, when the config is read. Neither `Debug` nor any printing of the config
/// shows it, and its memory is wiped when it is dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret {
    source: SecretSource,
    value: zeroize::Zeroizing<String>,
}

/// Where a secret comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretSource {
    /// It stands in the config itself.
    Inline,
    /// `{ file = "…" }`
    File(PathBuf),
    /// `{ env = "…" }`
    Environment(String),
    /// `{ credential = "…" }`: a file below systemd's `$CREDENTIALS_DIRECTORY`.
    Credential(String),
}

impl Secret {
    /// A secret made by the program.
    pub fn new(value: impl Into<String>) -> Secret {
        Secret {
            source: SecretSource::Inline,
            value: value.into().into(),
        }
    }

    /// The secret itself: for the one who uses it, never for a message.
    pub fn expose(&self) -> &str {
        &self.value
    }

    /// Where it comes from.
    pub fn source(&self) -> &SecretSource {
        &self.source
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({:?})", self.source)
    }
}

impl Value for Secret {
    fn parse(node: &Node, cx: &mut Reader) -> Option<Self> {
        match &node.kind {
            Kind::String(text) if text.is_empty() => {
                cx.invalid(node, "a secret cannot be empty", "");
                None
            }
            Kind::String(text) => Some(Secret::new(text.as_str())),
            Kind::Table(table) => pointed_at(node, table, cx),
            _ => {
                cx.wrong_type(node, &Shape::Secret);
                None
            }
        }
    }

    fn shape() -> Shape {
        Shape::Secret
    }

    fn item(&self) -> Item {
        let pointer = |key: &str, value: &str| {
            Item::Scalar(format!("{{ {key} = {} }}", crate::item::quote(value)))
        };
        match &self.source {
            SecretSource::Inline => Item::text("(secret)"),
            SecretSource::File(path) => pointer("file", &path.to_string_lossy()),
            SecretSource::Environment(name) => pointer("env", name),
            SecretSource::Credential(name) => pointer("credential", name),
        }
    }
}

const HELP: &str =
    "a secret is { file = \"…\" }, { env = \"…\" }, { credential = \"…\" } or a string";

fn pointed_at(node: &Node, table: &Table, cx: &mut Reader) -> Option<Secret> {
    let [entry] = table.entries.as_slice() else {
        cx.invalid(node, "a secret comes from exactly one place", HELP);
        return None;
    };
    let source = match (entry.key.as_str(), &entry.node.kind) {
        ("file", _) => SecretSource::File(cx.keyed("file", None, &entry.node)?),
        ("env", _) => SecretSource::Environment(cx.keyed("env", None, &entry.node)?),
        ("credential", _) => SecretSource::Credential(cx.keyed("credential", None, &entry.node)?),
        _ => {
            let problem = Problem::error(format!("a secret has no key `{}`", entry.key));
            cx.problems.push(problem.at(entry.span, "").help(HELP));
            return None;
        }
    };
    if !cx.fetch_secrets {
        return Some(Secret {
            source,
            value: String::new().into(),
        });
    }
    let value = match &source {
        SecretSource::Inline => return None,
        SecretSource::File(path) => from_file(path, entry, cx)?,
        SecretSource::Environment(name) => from_environment(name, entry, cx)?,
        SecretSource::Credential(name) => from_credential(name, entry, cx)?,
    };
    Some(Secret {
        source,
        value: value.into(),
    })
}

fn from_file(path: &Path, entry: &Entry, cx: &mut Reader) -> Option<String> {
    let mut fail = |why: String| {
        let problem = Problem::error(format!("cannot read the secret in {}", path.display()));
        cx.problems.push(problem.at(entry.node.span, why));
        None
    };
    // A pipe or a device would keep a start, or a check, waiting for ever.
    match std::fs::metadata(path) {
        Ok(metadata) if !metadata.is_file() => return fail("this is not a regular file".into()),
        Ok(_) => {}
        Err(error) => return fail(describe(&error)),
    }
    let bytes = match read_bounded(path, BYTES) {
        Ok(Some(bytes)) => bytes,
        Ok(None) => return fail(format!("it is larger than {BYTES} bytes")),
        Err(error) => return fail(describe(&error)),
    };
    let Ok(mut text) = String::from_utf8(bytes) else {
        return fail("it is not UTF-8 text".into());
    };
    // Editors and echo end a file with a newline that is not part of the secret.
    text.truncate(text.trim_end_matches(['\r', '\n']).len());
    if text.is_empty() {
        return fail("it is empty".into());
    }
    warn_if_readable(path, entry, cx);
    Some(text)
}

#[cfg(unix)]
fn warn_if_readable(path: &Path, entry: &Entry, cx: &mut Reader) {
    use std::os::unix::fs::PermissionsExt as _;
    let mode = std::fs::metadata(path).map_or(0, |metadata| metadata.permissions().mode());
    if mode & 0o004 != 0 {
        let problem = Problem::warning(format!("everybody can read {}", path.display()))
            .at(
                entry.node.span,
                "others than its owner and group may read it",
            )
            .help(format!("chmod o= {}", path.display()));
        cx.problems.push(problem);
    }
}

#[cfg(not(unix))]
fn warn_if_readable(_: &Path, _: &Entry, _: &mut Reader) {}

fn from_environment(name: &str, entry: &Entry, cx: &mut Reader) -> Option<String> {
    let why = match std::env::var(name) {
        Ok(value) if !value.is_empty() => return Some(value),
        Ok(_) => "it is empty",
        Err(std::env::VarError::NotPresent) => "it is not set",
        Err(std::env::VarError::NotUnicode(_)) => "it is not UTF-8 text",
    };
    let problem = Problem::error(format!("no secret in the environment variable {name}"));
    cx.problems.push(problem.at(entry.node.span, why));
    None
}

fn from_credential(name: &str, entry: &Entry, cx: &mut Reader) -> Option<String> {
    let problem = Problem::error(format!("no credential \"{name}\""));
    if name.is_empty() || name.contains('/') || name.starts_with('.') {
        let why = "a credential's name is a file's name, without directories";
        cx.problems.push(problem.at(entry.node.span, why));
        return None;
    }
    let Some(directory) = std::env::var_os("CREDENTIALS_DIRECTORY") else {
        let problem = problem
            .at(entry.node.span, "CREDENTIALS_DIRECTORY is not set")
            .help(format!(
                "the systemd unit needs LoadCredential={name}:/path/of/the/secret"
            ));
        cx.problems.push(problem);
        return None;
    };
    from_file(&Path::new(&directory).join(name), entry, cx)
}
