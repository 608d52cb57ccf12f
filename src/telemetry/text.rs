//! An entry as a line for people.
//!
//! `2026-01-02T03:04:05.678Z WARN  http connection{peer=192.0.2.1}:request{path="/a b"}: message key=1`

use std::fmt::Write;

use time::OffsetDateTime;
use tracing::Level;

use crate::record::{Fields, Record, Value};

/// Writes `record` as one line, with its end.
pub(crate) fn line(record: &Record, color: bool) -> String {
    let mut line = String::with_capacity(160);
    let paint = |code: &'static str| if color { code } else { "" };
    let (dim, plain) = (paint("\x1b[2m"), paint("\x1b[0m"));
    let level = match record.level {
        Level::ERROR => (paint("\x1b[31m"), "ERROR"),
        Level::WARN => (paint("\x1b[33m"), "WARN "),
        Level::INFO => (paint("\x1b[32m"), "INFO "),
        Level::DEBUG => (paint("\x1b[34m"), "DEBUG"),
        Level::TRACE => (paint("\x1b[35m"), "TRACE"),
    };
    let target = record
        .target
        .strip_prefix("omnid_")
        .unwrap_or(&record.target);
    line.push_str(dim);
    timestamp(&mut line, record.time);
    line.push_str(plain);
    push(
        &mut line,
        &[" ", level.0, level.1, plain, " ", dim, target, plain],
    );
    for (index, (name, fields)) in record.spans.iter().enumerate() {
        push(&mut line, &[if index == 0 { " " } else { ":" }, name]);
        if !fields.is_empty() {
            line.push('{');
            push_fields(&mut line, fields, dim, plain);
            line.push('}');
        }
    }
    line.push_str(": ");
    push_escaped(&mut line, &record.message);
    if !record.fields.is_empty() {
        if !record.message.is_empty() {
            line.push(' ');
        }
        push_fields(&mut line, &record.fields, dim, plain);
    }
    line.push('\n');
    line
}

/// RFC 3339, in UTC, to the millisecond.
pub(crate) fn timestamp(line: &mut String, time: OffsetDateTime) {
    let (year, month, day) = time.to_calendar_date();
    let (hour, minute, second, milli) = time.to_hms_milli();
    let month = u8::from(month);
    // Writing to a String does not fail.
    let _ = write!(
        line,
        "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z"
    );
}

fn push(line: &mut String, parts: &[&str]) {
    for part in parts {
        line.push_str(part);
    }
}

fn push_fields(line: &mut String, fields: &Fields, dim: &str, plain: &str) {
    for (index, (name, value)) in fields.iter().enumerate() {
        push(
            line,
            &[if index == 0 { "" } else { " " }, dim, name, "=", plain],
        );
        match value {
            Value::Text(text) if !text.is_empty() && text.chars().all(is_bare) => {
                line.push_str(text);
            }
            Value::Text(text) => drop(write!(line, "{text:?}")),
            value => drop(write!(line, "{value}")),
        }
    }
}

/// Whether a value needs no quotes around it for this: whoever splits the line at spaces gets it whole.
fn is_bare(c: char) -> bool {
    c.is_alphanumeric() || (c.is_ascii_graphic() && !matches!(c, '"' | '{' | '}' | '\\'))
}

/// The message unquoted, but with nothing in it that could end the line or speak to the terminal: a peer
/// must not be able to write entries of its own.
fn push_escaped(line: &mut String, text: &str) {
    for c in text.chars() {
        if matches!(c, '"' | '\'' | '\\') {
            line.push(c);
        } else {
            line.extend(c.escape_debug());
        }
    }
}
