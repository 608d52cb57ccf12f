//! What programs write to standard error, in the log.

use tracing::Span;

/// Bytes of one request's that are logged.
const MAX: usize = 16 * 1024;

/// Collects what a program complains about, a line at a time.
pub(super) struct ErrorLog {
    /// What it is logged under.
    name: String,
    span: Span,
    line: Vec<u8>,
    left: usize,
}

impl ErrorLog {
    pub(super) fn new(name: String) -> Self {
        Self {
            name,
            span: Span::current(),
            line: Vec::new(),
            left: MAX,
        }
    }

    /// One for another try at the same request.
    pub(super) fn again(&self) -> Self {
        Self {
            name: self.name.clone(),
            span: self.span.clone(),
            line: Vec::new(),
            left: MAX,
        }
    }

    /// More of it.
    pub(super) fn add(&mut self, bytes: &[u8]) {
        for piece in bytes.split_inclusive(|&byte| byte == b'\n') {
            let taken = piece.get(..piece.len().min(self.left)).unwrap_or_default();
            self.left -= taken.len();
            self.line.extend_from_slice(taken);
            if piece.ends_with(b"\n") {
                self.end();
            }
        }
    }

    /// There is no more of this line.
    pub(super) fn end(&mut self) {
        let line = std::mem::take(&mut self.line);
        let text = String::from_utf8_lossy(line.trim_ascii());
        if !text.is_empty() {
            let name = self.name.as_str();
            self.span
                .in_scope(|| tracing::warn!(program = name, stderr = %text, "program complains"));
        }
    }
}
