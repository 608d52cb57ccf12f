//! The files that were read, and problems drawn over their text.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use annotate_snippets::{Annotation, AnnotationKind, Element, Group, Level, Renderer, Snippet};

use crate::problem::{Label, Problem, Severity};
use crate::span::Span;

/// One file's name and text.
pub struct Source {
    /// As it is shown to people: the path it was opened by.
    pub name: String,
    /// What relative paths in it are relative to.
    pub directory: PathBuf,
    /// Its text.
    pub text: String,
}

/// Without the text, which may hold secrets.
impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// All files that were read, in the order of their spans' `file`.
#[derive(Clone, Debug, Default)]
pub struct Sources(Vec<Arc<Source>>);

impl Sources {
    /// No files.
    pub fn new() -> Self {
        Sources::default()
    }

    /// Adds a file and returns the number its spans carry.
    pub fn add(&mut self, path: &Path, text: String) -> u32 {
        let directory = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent.to_path_buf(),
            _ => PathBuf::from("."),
        };
        let source = Source {
            name: path.display().to_string(),
            directory,
            text,
        };
        self.0.push(Arc::new(source));
        u32::try_from(self.0.len() - 1).unwrap_or(u32::MAX)
    }

    /// The files, in the order in which they were merged.
    pub fn iter(&self) -> impl Iterator<Item = &Source> {
        self.0.iter().map(|source| &**source)
    }

    /// The file that a span lies in.
    pub fn file(&self, span: Span) -> Option<&Source> {
        self.0.get(span.file as usize).map(|source| &**source)
    }

    /// The text that a span covers.
    pub fn text(&self, span: Span) -> Option<&str> {
        self.file(span)?.text.get(span.range())
    }

    /// `file:line:column`, counted from 1, columns in characters.
    pub fn position(&self, span: Span) -> Option<String> {
        let source = self.file(span)?;
        let (line, column) = source.position(span.start as usize);
        Some(format!("{}:{line}:{column}", source.name))
    }

    /// Draws the problems over the text they are about, with colours for a terminal or plainly.
    pub fn render(&self, problems: &[Problem], color: bool) -> String {
        let renderer = if color {
            Renderer::styled()
        } else {
            Renderer::plain()
        };
        let mut out = String::new();
        for problem in problems {
            if !out.is_empty() {
                out.push('\n');
            }
            let rendered = renderer.render(&self.report(problem));
            for line in rendered.lines() {
                out.push_str(line.trim_end());
                out.push('\n');
            }
        }
        out
    }

    fn report<'a>(&'a self, problem: &'a Problem) -> Vec<Group<'a>> {
        let level = match problem.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let mut group = Group::with_title(level.primary_title(problem.message.as_str()));
        let mut drawn: Vec<u32> = Vec::new();
        for label in &problem.labels {
            if drawn.contains(&label.span.file) {
                continue;
            }
            drawn.push(label.span.file);
            if let Some(source) = self.0.get(label.span.file as usize) {
                let labels = problem
                    .labels
                    .iter()
                    .filter(|other| other.span.file == label.span.file);
                group = group.element(source.snippet(labels));
            }
        }
        let help = problem.help.iter();
        let help = help.map(|line| Element::from(Level::HELP.message(line.as_str())));
        vec![group.elements(help)]
    }
}

impl Source {
    fn snippet<'a>(
        &'a self,
        labels: impl Iterator<Item = &'a Label> + Clone,
    ) -> Snippet<'a, Annotation<'a>> {
        // Only the lines concerned are handed over, so that two hundred problems in a large file
        // do not mean two hundred walks through all of it.
        let window = labels
            .clone()
            .map(|label| self.clamp(label.span))
            .reduce(|a, b| a.start.min(b.start)..a.end.max(b.end))
            .map_or(0..0, |covered| self.whole_lines(covered));
        let text = self.text.get(window.clone()).unwrap_or("");
        let annotations = labels.map(move |label| {
            let kind = if label.primary {
                AnnotationKind::Primary
            } else {
                AnnotationKind::Context
            };
            let span = self.clamp(label.span);
            let annotation = kind.span(span.start - window.start..span.end - window.start);
            if label.text.is_empty() {
                annotation
            } else {
                annotation.label(label.text.as_str())
            }
        });
        Snippet::source(text)
            .line_start(self.position(window.start).0)
            .path(self.name.as_str())
            .annotations(annotations)
    }

    /// Spans come from the text itself, but a check in another crate may have made its own: keep
    /// every range inside the text, on character boundaries, and on one line (a table's value may
    /// run over a hundred lines, and its first says enough).
    fn clamp(&self, span: Span) -> Range<usize> {
        let floor = |offset: usize| {
            let offset = offset.min(self.text.len());
            (0..=offset)
                .rev()
                .find(|&at| self.text.is_char_boundary(at))
                .unwrap_or(0)
        };
        let start = floor(span.start as usize);
        let end = floor(span.end as usize).max(start);
        let covered = self.text.get(start..end).unwrap_or("");
        match covered.find('\n') {
            Some(line) => start..start + covered.get(..line).unwrap_or("").trim_end().len(),
            None => start..end,
        }
    }

    fn whole_lines(&self, covered: Range<usize>) -> Range<usize> {
        let before = self.text.get(..covered.start).unwrap_or("");
        let after = self.text.get(covered.end..).unwrap_or("");
        let start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let end = after
            .find('\n')
            .map_or(self.text.len(), |newline| covered.end + newline);
        start..end
    }

    /// Line and column of a byte, both from 1.
    pub fn position(&self, offset: usize) -> (usize, usize) {
        let before = self.text.get(..offset).unwrap_or(&self.text);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
        (line, column)
    }
}
