//! Writing TOML that reads well.

use std::fmt::Write;

/// A text as a TOML string: literal where that spares escapes.
pub(crate) fn quoted(text: &str) -> String {
    let plain = text.chars().all(|c| !c.is_control());
    if plain && text.contains(['\\', '"']) && !text.contains('\'') {
        return format!("'{text}'");
    }
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            c if c.is_control() => quoted.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// A list of texts.
pub(crate) fn list(texts: &[String]) -> String {
    let texts: Vec<String> = texts.iter().map(|text| quoted(text)).collect();
    format!("[{}]", texts.join(", "))
}

/// A key of a map: bare where it can be.
pub(crate) fn key(text: &str) -> String {
    let bare = !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-');
    if bare { text.to_owned() } else { quoted(text) }
}

/// A table of texts on one line.
pub(crate) fn table(entries: &[(String, String)]) -> String {
    let mut text = String::from("{ ");
    for (at, (name, value)) in entries.iter().enumerate() {
        if at > 0 {
            text.push_str(", ");
        }
        text.push_str(&key(name));
        text.push_str(" = ");
        text.push_str(&quoted(value));
    }
    text.push_str(" }");
    text
}

/// Lines of a document.
#[derive(Default)]
pub(crate) struct Document(pub(crate) String);

impl Document {
    pub(crate) fn line(&mut self, text: impl std::fmt::Display) {
        // Writing to a string does not fail.
        writeln!(self.0, "{text}").unwrap_or_default();
    }

    pub(crate) fn text(&mut self, key: &str, value: &str) {
        self.line(format_args!("{key} = {}", quoted(value)));
    }
}
