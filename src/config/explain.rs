//! What one key or section is, asked for by its path.

use std::fmt::Write as _;

use crate::help::{paragraphs, summary};
use crate::reader::Section;
use crate::shape::{Field, SectionInfo, Shape};
use crate::suggest::did_you_mean;

/// Explains a key or a section by its path: "http.site.root", "dns", or "" for all sections. For
/// the name in a table of named tables anything may stand ("dns.policy.NAME"). `Err` says what
/// there is instead.
pub fn explain<R: Section>(path: &str) -> Result<String, String> {
    let path = path.trim_matches(['[', ']', ' ']);
    let mut info = const { &R::INFO };
    let mut walked = String::new();
    let mut parts = path.split('.').filter(|part| !part.is_empty());
    let mut asked: Option<(&Field, Shape)> = None;
    while let Some(part) = parts.next() {
        let Some(field) = info.fields.iter().find(|field| field.key == part) else {
            return Err(unknown(part, &walked, info));
        };
        if !walked.is_empty() {
            walked.push('.');
        }
        walked.push_str(part);
        let shape = (field.shape)();
        match shape.section() {
            Some(section) => {
                info = section;
                if matches!(shape, Shape::Map(_)) {
                    walked.push('.');
                    walked.push_str(parts.next().unwrap_or("NAME"));
                }
            }
            None if parts.next().is_some() => {
                return Err(format!("{walked} is {}: it has no keys", shape.name()));
            }
            None => {}
        }
        asked = Some((field, shape));
    }
    Ok(match asked {
        Some((field, shape)) if shape.section().is_none() => one_key(&walked, field, &shape),
        Some((field, shape)) => one_section(&walked, Some((field, &shape)), info),
        None => one_section("", None, info),
    })
}

fn one_key(path: &str, field: &Field, shape: &Shape) -> String {
    let mut out = format!("{path}: {}\n", field.kind().replace('`', ""));
    // Writing to a string cannot fail.
    let _ = writeln!(out, "default: {}", field.default_text().replace('`', ""));
    if let Some(example) = shape.example() {
        let _ = writeln!(out, "example: {} = {example}", field.key);
    }
    for paragraph in paragraphs(field.help) {
        let _ = writeln!(out, "\n{paragraph}");
    }
    if let Shape::Choice(choice) = shape {
        out.push('\n');
        for (word, help) in choice.options {
            let _ = writeln!(
                out,
                "{}",
                format!("  \"{word}\"  {}", summary(help)).trim_end()
            );
        }
    }
    out
}

fn one_section(path: &str, place: Option<(&Field, &Shape)>, info: &SectionInfo) -> String {
    let mut out = match place {
        None => String::new(),
        Some((_, Shape::List(_))) => format!("[[{path}]]\n"),
        Some(_) => format!("[{path}]\n"),
    };
    let mut help = paragraphs(info.help);
    if help.is_empty() {
        help = place
            .map(|(field, _)| paragraphs(field.help))
            .unwrap_or_default();
    }
    for paragraph in help {
        let _ = writeln!(out, "{paragraph}\n");
    }
    let width = info
        .fields
        .iter()
        .map(|field| field.key.len())
        .max()
        .unwrap_or(0);
    for field in info.fields {
        let line = format!("  {:width$}  {}", field.key, summary(field.help));
        let _ = writeln!(out, "{}", line.trim_end());
    }
    out
}

fn unknown(part: &str, walked: &str, info: &SectionInfo) -> String {
    let within = match walked {
        "" => "at the top level".to_string(),
        walked => format!("in [{walked}]"),
    };
    let keys = || info.fields.iter().map(|field| field.key);
    match did_you_mean(part, keys()) {
        Some(key) => format!("there is no `{part}` {within}; did you mean `{key}`?"),
        None => {
            let keys: Vec<&str> = keys().collect();
            format!(
                "there is no `{part}` {within}; there is {}",
                keys.join(", ")
            )
        }
    }
}
