//! One request and its answer, from the end of the head to the end of the body.

use std::sync::Arc;

use http::HeaderValue;

use super::{Line, executor::StreamProgress};
use crate::log::Record;

/// What the log says where a client went away before it had an answer; nginx's number for it.
const CLIENT_CLOSED: u16 = 499;

/// However an exchange ends, it ends by this being dropped: the guard is told, and the access log
/// gets its line.
pub(super) struct Exchange {
    line: Arc<Line>,
    pub(super) record: Option<Box<Record>>,
    /// What the client takes, where it matters.
    pub(super) accept_encoding: Option<HeaderValue>,
    /// Bytes of the body handed over.
    pub(super) sent: u64,
    /// How its stream gets on, for HTTP/2.
    pub(super) progress: Option<Arc<StreamProgress>>,
}

impl Exchange {
    pub(super) fn new(
        line: Arc<Line>,
        record: Box<Record>,
        progress: Option<Arc<StreamProgress>>,
    ) -> Self {
        Self {
            line,
            record: Some(record),
            accept_encoding: None,
            sent: 0,
            progress,
        }
    }

    pub(super) fn line(&self) -> &Arc<Line> {
        &self.line
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        if let Some(progress) = &self.progress {
            progress.asked();
        }
        self.line.request_ended();
        if let Some(mut record) = self.record.take() {
            if record.status == 0 {
                record.status = CLIENT_CLOSED;
            }
            record.finish(self.sent);
        }
    }
}
