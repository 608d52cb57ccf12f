//! Changes to the fields of responses, and of requests.

use http::{HeaderMap, HeaderName, HeaderValue};
use omnid_config::{Problem, Problems, Span, Spanned};

use crate::{
    config::{HeaderEditConfig, HeadersConfig},
    expression::Pattern,
    rewrite::said,
};

/// Changes, checked and ready to be made.
#[derive(Debug, Clone)]
pub struct HeaderEdits {
    edits: Vec<Edit>,
    failures: bool,
}

impl Default for HeaderEdits {
    fn default() -> Self {
        Self {
            edits: Vec::new(),
            failures: true,
        }
    }
}

#[derive(Debug, Clone)]
enum Edit {
    Remove(HeaderName),
    Set(HeaderName, HeaderValue),
    /// Set where there is none.
    SetMissing(HeaderName, HeaderValue),
    Add(HeaderName, HeaderValue),
    /// Made longer by a comma and the value.
    Append(HeaderName, HeaderValue),
    /// The same, where the value is not among those that are there.
    Merge(HeaderName, HeaderValue),
    Replace {
        name: HeaderName,
        pattern: Pattern,
        to: String,
        every: bool,
    },
}

/// Fields that say how the message is framed: changing one would break the connection.
const FRAMING: [&str; 4] = [
    "connection",
    "content-length",
    "transfer-encoding",
    "upgrade",
];

/// A field that grew beyond this is left as it was.
const LONGEST: usize = 16 * 1024;

type Make = fn(HeaderName, HeaderValue) -> Edit;

impl HeaderEdits {
    pub(super) fn compile(config: &HeadersConfig, problems: &mut Problems) -> Self {
        let mut edits = Vec::new();
        for name in &config.remove {
            edits.extend(field_name(name, name.span, problems).map(Edit::Remove));
        }
        let kinds: [(_, Make); 5] = [
            (&config.set, Edit::Set),
            (&config.set_missing, Edit::SetMissing),
            (&config.add, Edit::Add),
            (&config.append, Edit::Append),
            (&config.merge, Edit::Merge),
        ];
        for (fields, make) in kinds {
            for (name, value) in fields {
                let field = field(name, value, problems);
                edits.extend(field.map(|(name, value)| make(name, value)));
            }
        }
        for edit in &config.edit {
            edits.extend(replacement(edit, problems));
        }
        Self {
            edits,
            failures: config.failures,
        }
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.edits.is_empty()
    }

    /// Makes the changes. `failure` says that the server itself answers with a failure or sends
    /// the client elsewhere.
    pub fn apply(&self, headers: &mut HeaderMap, failure: bool) {
        if failure && !self.failures {
            return;
        }
        for edit in &self.edits {
            edit.apply(headers);
        }
    }
}

impl Edit {
    fn apply(&self, headers: &mut HeaderMap) {
        match self {
            Self::Remove(name) => {
                headers.remove(name);
            }
            Self::Set(name, value) => {
                headers.insert(name, value.clone());
            }
            Self::SetMissing(name, value) => {
                headers.entry(name).or_insert_with(|| value.clone());
            }
            Self::Add(name, value) => {
                headers.append(name, value.clone());
            }
            Self::Append(name, value) => append(headers, name, value),
            Self::Merge(name, value) => {
                let there = headers.get_all(name).iter().any(|field| {
                    let mut values = field.as_bytes().split(|&byte| byte == b',');
                    values.any(|one| one.trim_ascii() == value.as_bytes().trim_ascii())
                });
                if !there {
                    append(headers, name, value);
                }
            }
            Self::Replace {
                name,
                pattern,
                to,
                every,
            } => {
                if !headers.contains_key(name) {
                    return;
                }
                let edited: Vec<HeaderValue> = headers
                    .get_all(name)
                    .iter()
                    .map(|value| edited(value, pattern, to, *every))
                    .collect();
                headers.remove(name);
                for value in edited {
                    headers.append(name, value);
                }
            }
        }
    }
}

fn append(headers: &mut HeaderMap, name: &HeaderName, value: &HeaderValue) {
    let last = headers.get_all(name).iter().next_back();
    let joined = last.map(|last| [last.as_bytes(), b", ", value.as_bytes()].concat());
    let Some(joined) = joined else {
        headers.insert(name, value.clone());
        return;
    };
    let Some(joined) = HeaderValue::from_bytes(&joined)
        .ok()
        .filter(|joined| joined.len() <= LONGEST)
    else {
        return;
    };
    let mut values: Vec<HeaderValue> = headers.get_all(name).iter().cloned().collect();
    if let Some(last) = values.last_mut() {
        *last = joined;
    }
    headers.remove(name);
    for value in values {
        headers.append(name, value);
    }
}

/// What an edit makes of a value; what would be no field is left as it was.
fn edited(value: &HeaderValue, pattern: &Pattern, to: &str, every: bool) -> HeaderValue {
    let Ok(text) = std::str::from_utf8(value.as_bytes()) else {
        return value.clone();
    };
    let edited = pattern.replace(text, to, every);
    match HeaderValue::from_str(&edited) {
        Ok(edited) if edited.len() <= LONGEST => edited,
        _ => value.clone(),
    }
}

fn replacement(config: &HeaderEditConfig, problems: &mut Problems) -> Option<Edit> {
    let name = field_name(&config.field, config.field.span, problems)?;
    let pattern = said(&config.pattern, problems, |text| Pattern::new(text, false))?;
    if HeaderValue::from_str(&config.to).is_err() {
        problems.push(
            Problem::error("a field's value holds a control character").at(config.to.span, ""),
        );
        return None;
    }
    Some(Edit::Replace {
        name,
        pattern,
        to: braced(&config.to),
        every: config.every,
    })
}

/// "$1" is group 1 also where a letter follows: the library would read a longer name.
fn braced(text: &str) -> String {
    let mut braced = String::with_capacity(text.len());
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        if c != '$' {
            braced.push(c);
            continue;
        }
        match rest.next_if(char::is_ascii_digit) {
            Some(digit) => braced.extend(['$', '{', digit, '}']),
            None => braced.push_str("$$"),
        }
    }
    braced
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

fn field_name(name: &str, span: Option<Span>, problems: &mut Problems) -> Option<HeaderName> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Case {
        before: &'static [(&'static str, &'static str)],
        config: &'static str,
        after: &'static [(&'static str, &'static str)],
    }

    const CASES: &[Case] = &[
        Case {
            before: &[("vary", "Origin")],
            config: r#"append = { Vary = "Cookie" }"#,
            after: &[("vary", "Origin, Cookie")],
        },
        Case {
            before: &[("vary", "Origin, Cookie")],
            config: r#"merge = { Vary = "Cookie" }"#,
            after: &[("vary", "Origin, Cookie")],
        },
        Case {
            before: &[],
            config: r#"merge = { Vary = "Cookie" }"#,
            after: &[("vary", "Cookie")],
        },
        Case {
            before: &[("cache-control", "private")],
            config: r#"set_missing = { Cache-Control = "public", X-One = "1" }"#,
            after: &[("cache-control", "private"), ("x-one", "1")],
        },
        Case {
            before: &[("set-cookie", "a=1"), ("set-cookie", "b=2; Secure")],
            config: r#"edit = [{ field = "Set-Cookie", match = "^([^;]*)$", to = "$1; Secure" }]"#,
            after: &[("set-cookie", "a=1; Secure"), ("set-cookie", "b=2; Secure")],
        },
        Case {
            before: &[("x-path", "a/b/c")],
            config: r#"edit = [{ field = "X-Path", match = "/", to = "$" }]"#,
            after: &[("x-path", "a$b/c")],
        },
        Case {
            before: &[("x-path", "a/b/c")],
            config: r#"edit = [{ field = "X-Path", match = "/(.)", to = "-$1x", every = true }]"#,
            after: &[("x-path", "a-bx-cx")],
        },
        Case {
            before: &[("x-gone", "1"), ("x-set", "1")],
            config: r#"remove = ["X-Gone"]
                set = { X-Set = "2" }
                add = { X-Set = "3" }"#,
            after: &[("x-set", "2"), ("x-set", "3")],
        },
    ];

    #[test]
    fn each_kind_of_change() {
        for case in CASES {
            let config = omnid_config::load_str::<HeadersConfig>(case.config);
            let config = config.map(|loaded| loaded.value).unwrap_or_default();
            let mut problems = Problems::default();
            let edits = HeaderEdits::compile(&config, &mut problems);
            assert_eq!(problems.errors(), 0, "{case:?}");
            let mut headers = HeaderMap::new();
            for &(name, value) in case.before {
                headers.append(
                    HeaderName::from_static(name),
                    HeaderValue::from_static(value),
                );
            }
            edits.apply(&mut headers, false);
            let after: Vec<_> = headers
                .iter()
                .map(|(name, value)| (name.as_str(), value.to_str().unwrap_or("?")))
                .collect();
            assert_eq!(after, case.after, "{case:?}");
        }
    }

    #[test]
    fn failures_are_left_out_where_that_is_said() {
        let config =
            omnid_config::load_str::<HeadersConfig>("set = { X-One = '1' }\nfailures = false")
                .map(|loaded| loaded.value)
                .unwrap_or_default();
        let edits = HeaderEdits::compile(&config, &mut Problems::default());
        let mut headers = HeaderMap::new();
        edits.apply(&mut headers, true);
        assert!(headers.is_empty());
        edits.apply(&mut headers, false);
        assert_eq!(headers.len(), 1);
    }
}
