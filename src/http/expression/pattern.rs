//! Regular expressions: linear in time where that can be, bounded in steps where it cannot.

use super::Fault;

/// How many steps a pattern with look-around or back-references may take.
const STEPS: usize = 10_000;
/// The largest compiled pattern, in bytes.
const SIZE: usize = 1024 * 1024;

/// A pattern, perhaps negated.
#[derive(Debug, Clone)]
pub struct Pattern {
    source: String,
    kind: Kind,
    /// Whether it is met where it does not match.
    pub negated: bool,
}

#[derive(Debug, Clone)]
enum Kind {
    /// Matches everything, with nothing captured.
    Anything,
    Linear(Box<regex::Regex>),
    Stepwise(Box<fancy_regex::Regex>),
}

/// What a pattern captured: the whole first.
pub type Captured = Vec<String>;

/// A pattern ran out of steps: nobody knows whether it is met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GaveUp;

impl Pattern {
    /// Compiles a pattern; `!` in front of it negates it.
    ///
    /// # Errors
    /// Where it is none.
    pub fn parse(text: &str, ignore_case: bool) -> Result<Self, Fault> {
        let (negated, source) = match text.strip_prefix('!') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let mut pattern = Self::new(source, ignore_case)?;
        pattern.negated = negated;
        Ok(pattern)
    }

    /// Compiles a pattern in which `!` is an exclamation mark.
    ///
    /// # Errors
    /// Where it is none.
    pub fn new(source: &str, ignore_case: bool) -> Result<Self, Fault> {
        let kind = if matches!(source, "" | "^" | ".*" | "^.*") && !source.contains('.') {
            Kind::Anything
        } else {
            compile(source, ignore_case)?
        };
        Ok(Self {
            source: source.to_owned(),
            kind,
            negated: false,
        })
    }

    /// The text it was compiled from.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Whether it is met, and what it captured where it matches.
    ///
    /// # Errors
    /// Where it ran out of steps: taken as either, it could open what it was to shut.
    pub fn met_by(&self, subject: &str) -> Result<Option<Captured>, GaveUp> {
        let captured = match &self.kind {
            Kind::Anything => Some(vec![String::new()]),
            Kind::Linear(regex) => regex.captures(subject).map(|captures| {
                captures
                    .iter()
                    .map(|group| owned(group.map(|group| group.as_str())))
                    .collect()
            }),
            Kind::Stepwise(regex) => match regex.captures(subject) {
                Ok(captures) => captures.map(|captures| {
                    captures
                        .iter()
                        .map(|group| owned(group.map(|group| group.as_str())))
                        .collect()
                }),
                Err(error) => {
                    tracing::debug!(pattern = self.source, %error, "a pattern gave up");
                    return Err(GaveUp);
                }
            },
        };
        Ok(match (captured, self.negated) {
            (Some(captured), false) => Some(captured),
            (None, true) => Some(Vec::new()),
            _ => None,
        })
    }

    /// The text with each match replaced; `replacement` has `$1` for groups.
    #[must_use]
    pub fn replace(&self, subject: &str, replacement: &str, every: bool) -> String {
        let limit = usize::from(!every);
        let replaced = match &self.kind {
            Kind::Anything => return subject.to_owned(),
            Kind::Linear(regex) => regex.replacen(subject, limit, replacement),
            Kind::Stepwise(regex) => match regex.try_replacen(subject, limit, replacement) {
                Ok(replaced) => replaced,
                Err(_) => return subject.to_owned(),
            },
        };
        replaced.into_owned()
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source && self.negated == other.negated
    }
}

fn owned(text: Option<&str>) -> String {
    text.unwrap_or_default().to_owned()
}

fn compile(source: &str, ignore_case: bool) -> Result<Kind, Fault> {
    let source = tame(source);
    let linear = regex::RegexBuilder::new(&source)
        .case_insensitive(ignore_case)
        .size_limit(SIZE)
        .dfa_size_limit(SIZE)
        .build();
    let error = match linear {
        Ok(regex) => return Ok(Kind::Linear(Box::new(regex))),
        Err(error) => error,
    };
    let with_case = if ignore_case {
        format!("(?i){source}")
    } else {
        source
    };
    let stepwise = fancy_regex::RegexBuilder::new(&with_case)
        .backtrack_limit(STEPS)
        .delegate_size_limit(SIZE)
        .build();
    match stepwise {
        Ok(regex) => Ok(Kind::Stepwise(Box::new(regex))),
        Err(_) => Err(Fault::new(reason(&error))),
    }
}

/// The last line of the library's explanation is the reason; the rest draws it.
fn reason(error: &regex::Error) -> String {
    let text = error.to_string();
    let line = text.lines().rev().find(|line| !line.trim().is_empty());
    let line = line.unwrap_or("not a regular expression").trim();
    line.strip_prefix("error: ").unwrap_or(line).to_owned()
}

/// What other engines read literally and this one refuses: a brace that begins no repetition, an
/// escaped character that needs none.
fn tame(source: &str) -> String {
    let mut tamed = String::with_capacity(source.len());
    let mut rest = source.chars().peekable();
    let mut in_class = false;
    while let Some(c) = rest.next() {
        match c {
            '\\' => match rest.next() {
                Some(
                    next @ ('_' | '/' | '"' | '\'' | ' ' | '%' | '@' | ',' | ';' | '!' | '=' | ':'
                    | '<' | '>'),
                ) => {
                    tamed.push(next);
                }
                Some(next) => {
                    tamed.push('\\');
                    tamed.push(next);
                }
                None => tamed.push_str("\\\\"),
            },
            '[' if in_class && rest.peek() != Some(&':') => tamed.push_str("\\["),
            '[' => {
                tamed.push('[');
                if !in_class {
                    in_class = true;
                    if rest.peek() == Some(&'^') {
                        tamed.extend(rest.next());
                    }
                    if rest.peek() == Some(&']') {
                        rest.next();
                        tamed.push_str("\\]");
                    }
                } else {
                    // A named class: "[:alpha:]" up to its own end.
                    for c in rest.by_ref() {
                        tamed.push(c);
                        if c == ']' {
                            break;
                        }
                    }
                }
            }
            ']' if in_class => {
                in_class = false;
                tamed.push(']');
            }
            '&' | '~' if in_class => {
                tamed.push('\\');
                tamed.push(c);
            }
            '{' if !in_class && !begins_repetition(rest.clone()) => tamed.push_str("\\{"),
            c => tamed.push(c),
        }
    }
    tamed
}

fn begins_repetition(mut rest: impl Iterator<Item = char>) -> bool {
    let mut digits = false;
    loop {
        match rest.next() {
            Some(c) if c.is_ascii_digit() => digits = true,
            Some(',') if digits => {}
            Some('}') => return digits,
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn met(pattern: &str, subject: &str) -> Option<Captured> {
        Pattern::parse(pattern, false).ok()?.met_by(subject).ok()?
    }

    #[test]
    fn patterns_as_other_servers_read_them() {
        for (pattern, subject, captured) in [
            ("^/a/(.*)$", "/a/b", Some(vec!["/a/b", "b"])),
            ("", "x", Some(vec![""])),
            ("!^x", "y", Some(vec![])),
            ("!^x", "x", None),
            (r"^\.(?!well-known)", ".git", Some(vec!["."])),
            (r"^\.(?!well-known)", ".well-known", None),
            (r"(.)\1", "abba", Some(vec!["bb", "b"])),
            (r"a{b", "a{b", Some(vec!["a{b"])),
            (r"a{2}", "aa", Some(vec!["aa"])),
            (r"\/x\_y", "/x_y", Some(vec!["/x_y"])),
            (r"[]a]+", "a]", Some(vec!["a]"])),
            (r"[[:digit:]]+", "x12", Some(vec!["12"])),
            (r"[a&&b]+", "&", Some(vec!["&"])),
            (r"^(a)?(b)$", "b", Some(vec!["b", "", "b"])),
        ] {
            let captured =
                captured.map(|captured| captured.into_iter().map(str::to_owned).collect());
            assert_eq!(met(pattern, subject), captured, "{pattern} on {subject}");
        }
        assert!(Pattern::parse("(", false).is_err());
        assert!(Pattern::parse("a{1000000000}", false).is_err());
    }

    #[test]
    fn a_pattern_that_runs_away_is_stopped_and_says_so() {
        let evil = r"^(a|b|ab)*(?>c)";
        let subject = "ab".repeat(2500);
        let since = std::time::Instant::now();
        for pattern in [evil.to_owned(), format!("!{evil}")] {
            let pattern = Pattern::parse(&pattern, false);
            let pattern = pattern.map(|pattern| pattern.met_by(&subject));
            assert_eq!(pattern, Ok(Err(GaveUp)));
        }
        assert!(since.elapsed() < std::time::Duration::from_secs(5));
    }

    proptest! {
        #[test]
        fn no_text_breaks_it(pattern in ".{0,24}", subject in ".{0,24}") {
            if let Ok(pattern) = Pattern::parse(&pattern, true) {
                assert!(pattern.met_by(&subject).is_ok() || pattern.met_by(&subject) == Err(GaveUp));
                drop(pattern.replace(&subject, "$1$9", true));
            }
        }
    }
}
