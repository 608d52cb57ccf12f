//! What came of an import.

use std::{fmt, path::PathBuf};

/// How a line fared that is not simply there in another form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// It says something that is not in the result.
    Lost,
    /// It is in the result in a way that may differ from what it was.
    Changed,
    /// It has nothing to say here.
    Needless,
}

/// A line, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The file.
    pub file: PathBuf,
    /// Its line, from 1.
    pub line: usize,
    /// What became of it.
    pub kind: Kind,
    /// The line.
    pub text: String,
    /// Why, and what to do about it.
    pub advice: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            Kind::Lost => "not converted",
            Kind::Changed => "look at this",
            Kind::Needless => "not needed",
        };
        write!(
            f,
            "{}:{}: {kind}: {}: {}",
            self.file.display(),
            self.line,
            self.text,
            self.advice
        )
    }
}

/// A configuration, and what could not be said in it.
#[derive(Debug, Clone)]
pub struct Import {
    /// Our configuration.
    pub toml: String,
    /// Every line that did not simply come over, by file and line.
    pub findings: Vec<Finding>,
    /// Lines that were read.
    pub directives: usize,
}

impl Import {
    /// Whether all of it came over.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.findings
            .iter()
            .all(|finding| finding.kind != Kind::Lost)
    }
}
