//! The manual's page of every key, in Markdown.

use std::fmt::Write as _;

use crate::help::{paragraphs, summary};
use crate::outline::{Outline, outline};
use crate::reader::Section;
use crate::shape::Shape;

/// Every section, each with a table of its keys: type, default and help.
pub fn reference<R: Section>() -> String {
    let mut out = String::new();
    let sections = outline(const { &R::INFO });
    for section in sections
        .iter()
        .filter(|section| !section.info.fields.is_empty())
    {
        one(&mut out, section);
    }
    out
}

fn one(out: &mut String, section: &Outline) {
    // Writing to a string cannot fail.
    let _ = match section.path.as_str() {
        "" => writeln!(out, "## Top level\n"),
        _ => writeln!(out, "\n## `{}`\n", section.header()),
    };
    for paragraph in section.help() {
        let _ = writeln!(out, "{paragraph}\n");
    }
    let _ = writeln!(out, "| Key | Type | Default | |\n|---|---|---|---|");
    for field in section.info.fields {
        let shape = (field.shape)();
        let kind = match section.below(field) {
            Some(header) => format!("`{header}`"),
            None => field.kind(),
        };
        let mut help = paragraphs(field.help).join(" ");
        help.push_str(&options(&shape));
        let cells = [format!("`{}`", field.key), kind, field.default_text(), help];
        let cells = cells.map(|cell| cell.replace('|', "\\|"));
        let _ = writeln!(out, "| {} |", cells.join(" | "));
    }
}

/// What the words of a choice mean, where that is documented.
fn options(shape: &Shape) -> String {
    let choice = match shape {
        Shape::Choice(choice) => choice,
        Shape::List(of) => match &**of {
            Shape::Choice(choice) => choice,
            _ => return String::new(),
        },
        _ => return String::new(),
    };
    let mut out = String::new();
    for (word, help) in choice.options {
        let help = summary(help);
        if !help.is_empty() {
            let _ = write!(out, " `\"{word}\"`: {help}");
        }
    }
    out
}
