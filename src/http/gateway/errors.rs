//! What programs write to standard error, in the log.

use std::io;

use tracing::Span;

/// Bytes of one request's that are logged.
const MAX: usize = 16 * 1024;
/// Bytes that one may write there at all. Reading them is work, also where they are not logged.
const ENOUGH: usize = 1024 * 1024;

/// Collects what a program complains about, a line at a time.
pub(super) struct ErrorLog {
    /// What it is logged under.
    name: String,
    span: Span,
    line: Vec<u8>,
    left: usize,
    /// Bytes that came.
    total: usize,
}

impl ErrorLog {
    pub(super) fn new(name: String) -> Self {
        Self {
            name,
            span: Span::current(),
            line: Vec::new(),
            left: MAX,
            total: 0,
        }
    }

    /// One for another try at the same request.
    pub(super) fn again(&self) -> Self {
        Self {
            name: self.name.clone(),
            span: self.span.clone(),
            line: Vec::new(),
            left: MAX,
            total: 0,
        }
    }

    /// More of it.
    ///
    /// # Errors
    /// Where it is more than any program has to say.
    pub(super) fn add(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.total = self.total.saturating_add(bytes.len());
        if self.total > ENOUGH {
            return Err(io::Error::other("the program complains without end"));
        }
        for piece in bytes.split_inclusive(|&byte| byte == b'\n') {
            let taken = piece.get(..piece.len().min(self.left)).unwrap_or_default();
            self.left -= taken.len();
            self.line.extend_from_slice(taken);
            if piece.ends_with(b"\n") {
                self.end();
            }
        }
        Ok(())
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
