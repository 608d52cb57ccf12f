//! What can be wrong with a config, collected rather than thrown.

use std::ops::{Deref, DerefMut};

use crate::span::Span;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Severity {
    /// The config cannot be used.
    Error,
    /// The config can be used, but somebody should look.
    Warning,
}

/// One thing that is wrong, with the places it concerns and advice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Error or warning.
    pub severity: Severity,
    /// What is wrong, in one line.
    pub message: String,
    /// Where it is wrong; the first is the one reported as file:line:column.
    pub labels: Vec<Label>,
    /// What to do about it, a line each.
    pub help: Vec<String>,
    /// Whether something is lacking, rather than wrong: in a file that is broken or has a key
    /// misspelt it may be there all the same.
    pub is_absence: bool,
}

/// A place and what is to be said about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    /// The bytes to underline.
    pub span: Span,
    /// What to write beside them; may be empty.
    pub text: String,
    /// Whether this is where the fault is (^^^), or only something it has to do with (---).
    pub primary: bool,
}

impl Problem {
    /// An error: the config cannot be used.
    pub fn error(message: impl Into<String>) -> Self {
        Problem::new(Severity::Error, message.into())
    }

    /// A warning: the config can be used.
    pub fn warning(message: impl Into<String>) -> Self {
        Problem::new(Severity::Warning, message.into())
    }

    /// An error: something is lacking.
    pub fn absence(message: impl Into<String>) -> Self {
        Problem {
            is_absence: true,
            ..Problem::error(message)
        }
    }

    fn new(severity: Severity, message: String) -> Self {
        let message = printable(message);
        Problem {
            severity,
            message,
            labels: Vec::new(),
            help: Vec::new(),
            is_absence: false,
        }
    }

    /// Points at the fault. Nothing is added where the span is `None` (a default).
    #[must_use]
    pub fn at(self, span: impl Into<Option<Span>>, text: impl Into<String>) -> Self {
        self.label(span.into(), text.into(), true)
    }

    /// Points at a second place that the fault has to do with.
    #[must_use]
    pub fn also(self, span: impl Into<Option<Span>>, text: impl Into<String>) -> Self {
        self.label(span.into(), text.into(), false)
    }

    /// Adds a line of advice.
    #[must_use]
    pub fn help(mut self, text: impl Into<String>) -> Self {
        self.help.push(printable(text.into()));
        self
    }

    /// Adds a line of advice where there is one, such as what [`did_you_mean`](crate::did_you_mean)
    /// found.
    #[must_use]
    pub fn maybe_help(self, text: Option<String>) -> Self {
        match text {
            Some(text) => self.help(text),
            None => self,
        }
    }

    /// The place reported as file:line:column.
    pub fn span(&self) -> Option<Span> {
        self.labels.first().map(|label| label.span)
    }

    fn label(mut self, span: Option<Span>, text: String, primary: bool) -> Self {
        if let Some(span) = span {
            let text = printable(text);
            self.labels.push(Label {
                span,
                text,
                primary,
            });
        }
        self
    }
}

/// Messages quote what was written, and go to a terminal: control characters are shown, not sent.
fn printable(text: String) -> String {
    if !text.chars().any(char::is_control) {
        return text;
    }
    let shown = |c: char| match c {
        c if c.is_control() => c.escape_default().to_string(),
        c => c.into(),
    };
    text.chars().map(shown).collect()
}

/// Everything found so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Problems(Vec<Problem>);

impl Problems {
    /// Nothing found yet.
    pub fn new() -> Self {
        Problems::default()
    }

    /// Whether any of them is an error.
    pub fn has_errors(&self) -> bool {
        self.0
            .iter()
            .any(|problem| problem.severity == Severity::Error)
    }

    /// How many are errors.
    pub fn errors(&self) -> usize {
        self.0
            .iter()
            .filter(|problem| problem.severity == Severity::Error)
            .count()
    }
}

impl Deref for Problems {
    type Target = Vec<Problem>;

    fn deref(&self) -> &Vec<Problem> {
        &self.0
    }
}

impl DerefMut for Problems {
    fn deref_mut(&mut self) -> &mut Vec<Problem> {
        &mut self.0
    }
}

impl From<Problem> for Problems {
    fn from(problem: Problem) -> Self {
        Problems(vec![problem])
    }
}

impl FromIterator<Problem> for Problems {
    fn from_iter<I: IntoIterator<Item = Problem>>(problems: I) -> Self {
        Problems(problems.into_iter().collect())
    }
}

impl IntoIterator for Problems {
    type Item = Problem;
    type IntoIter = std::vec::IntoIter<Problem>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<'a> IntoIterator for &'a Problems {
    type Item = &'a Problem;
    type IntoIter = std::slice::Iter<'a, Problem>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}
