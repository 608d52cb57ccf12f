//! omnid.toml(5).

use std::fmt::Write as _;

use crate::help::{paragraphs, summary};
use crate::outline::outline;
use crate::reader::Section;
use crate::shape::Shape;

/// The manual page omnid.toml(5), in roff.
pub fn man<R: Section>() -> String {
    let mut page = Page(String::from(INTRODUCTION));
    for section in outline(const { &R::INFO }) {
        match section.path.as_str() {
            "" => page.macro_line(".SS", "Top level"),
            _ => page.macro_line(".SS", &section.header()),
        }
        for paragraph in section.help() {
            page.line(".PP");
            page.text(&paragraph);
        }
        for field in section.info.fields {
            let shape = (field.shape)();
            if shape.section().is_some() {
                continue;
            }
            page.line(".TP");
            page.text(&format!(
                "`{}` ({})",
                field.key,
                field.kind().replace('`', "")
            ));
            for (index, paragraph) in paragraphs(field.help).iter().enumerate() {
                if index > 0 {
                    page.line(".IP");
                }
                page.text(paragraph);
            }
            if let Shape::Choice(choice) = shape {
                for (word, help) in choice.options {
                    let help = summary(help);
                    if !help.is_empty() {
                        page.text(&format!("`{word}`: {help}"));
                    }
                }
            }
            page.text(&match field.is_optional() {
                true => format!("Default: {}.", field.default_text()),
                false => "Required.".into(),
            });
        }
    }
    page.0.push_str(SEE_ALSO);
    page.0
}

struct Page(String);

impl Page {
    fn line(&mut self, line: &str) {
        self.0.push_str(line);
        self.0.push('\n');
    }

    fn macro_line(&mut self, name: &str, argument: &str) {
        // Writing to a string cannot fail.
        let _ = writeln!(
            self.0,
            "{name} \"{}\"",
            escape(argument).replace('"', "\\(dq")
        );
    }

    /// Running text; `words in backticks` in bold.
    fn text(&mut self, text: &str) {
        let mut line = String::new();
        for (index, part) in text.split('`').enumerate() {
            match index % 2 {
                1 => line.push_str(&format!("\\fB{}\\fR", escape(part))),
                _ => line.push_str(&escape(part)),
            }
        }
        // A line that begins with a control character is a request to roff.
        if line.starts_with(['.', '\'']) {
            line.insert_str(0, "\\&");
        }
        self.line(&line);
    }
}

/// Only ASCII goes into the page: what other characters are, not every roff is told.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\\' => escaped.push_str("\\e"),
            '-' => escaped.push_str("\\-"),
            '\n' | ' '..='~' => escaped.push(character),
            // Writing to a string cannot fail.
            other => drop(write!(escaped, "\\[u{:04X}]", u32::from(other))),
        }
    }
    escaped
}

const INTRODUCTION: &str = r#".TH OMNID.TOML 5 "" omnid "File formats"
.SH NAME
omnid.toml \- configuration of omnid
.SH SYNOPSIS
.I /etc/omnid/omnid.toml
.br
.I /etc/omnid/omnid.d/*.toml
.SH DESCRIPTION
The file is TOML.
Files in
.I omnid.d
beside it are merged into it in the order of their names, table by table; lists of tables are
appended, and a key that is set twice is an error.
.B omnid check
finds every fault at once,
.B omnid reload
applies a change.
.SS Values
.TP
.B duration
A number with a unit, or several: "30s", "1h30m"; ms, s, m, h, d, w.
.TP
.B size
A number with a unit: "64KiB", "5MiB", "1GB"; B, KiB, MiB, GiB, TiB or kB, MB, GB, TB.
.TP
.B address to listen on
An IP address and a port, "[::]:53", "127.0.0.1:8080"; or a Unix socket, "unix:/run/omnid/x.sock".
.TP
.B network
"192.0.2.0/24", "2001:db8::/32", or one address.
.TP
.B path
Relative to the file that names it.
.TP
.B secret
{ file = "..." }, { env = "..." }, { credential = "..." } for a credential of systemd, or a string.
.SH KEYS
"#;

const SEE_ALSO: &str = ".SH SEE ALSO\n.BR omnid (1)\n";
