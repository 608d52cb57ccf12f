//! Changes to the fields of responses.

use http::{HeaderMap, HeaderName, HeaderValue};
use omnid_config::{Problem, Problems, Spanned};

use crate::config::HeadersConfig;

/// Changes, checked and ready to be made.
#[derive(Debug, Clone, Default)]
pub struct HeaderEdits {
    set: Vec<(HeaderName, HeaderValue)>,
    add: Vec<(HeaderName, HeaderValue)>,
    remove: Vec<HeaderName>,
}

/// Fields that say how the message is framed: changing one would break the connection.
const FRAMING: [&str; 4] = [
    "connection",
    "content-length",
    "transfer-encoding",
    "upgrade",
];

impl HeaderEdits {
    pub(super) fn compile(config: &HeadersConfig, problems: &mut Problems) -> Self {
        let mut edits = Self::default();
        for (name, value) in &config.set {
            edits.set.extend(field(name, value, problems));
        }
        for (name, value) in &config.add {
            edits.add.extend(field(name, value, problems));
        }
        for name in &config.remove {
            edits.remove.extend(field_name(name, name.span, problems));
        }
        edits
    }

    /// Makes the changes.
    pub fn apply(&self, headers: &mut HeaderMap) {
        for name in &self.remove {
            headers.remove(name);
        }
        for (name, value) in &self.set {
            headers.insert(name, value.clone());
        }
        for (name, value) in &self.add {
            headers.append(name, value.clone());
        }
    }
}

fn field(
    name: &str,
    value: &Spanned<String>,
    problems: &mut Problems,
) -> Option<(HeaderName, HeaderValue)> {
    let name = field_name(name, value.span, problems)?;
    match HeaderValue::from_str(value) {
        Ok(value) => Some((name, value)),
        Err(_) => {
            problems.push(
                Problem::error("a field's value holds a control character").at(value.span, ""),
            );
            None
        }
    }
}

fn field_name(
    name: &str,
    span: Option<omnid_config::Span>,
    problems: &mut Problems,
) -> Option<HeaderName> {
    let Ok(parsed) = HeaderName::from_bytes(name.as_bytes()) else {
        problems
            .push(Problem::error(format!("\"{name}\" is not the name of a field")).at(span, ""));
        return None;
    };
    if FRAMING.contains(&parsed.as_str()) {
        problems.push(
            Problem::error(format!("{name} is the server's own to set"))
                .at(span, "it frames the message"),
        );
        return None;
    }
    Some(parsed)
}
