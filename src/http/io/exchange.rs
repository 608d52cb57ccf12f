//! One request and its answer, from the end of the head to the end of the body.

use std::{net::IpAddr, sync::Arc, time::Instant};

use http::{HeaderValue, StatusCode, header};

use super::{Line, executor::StreamProgress};
use crate::{
    answer::Failure,
    engine::rate::{Admission, RateTable, Refused},
    log::Record,
};

/// What the log says where a client went away before it had an answer; nginx's number for it.
const CLIENT_CLOSED: u16 = 499;

/// However an exchange ends, it ends by this being dropped: the guard is told, and the access log
/// gets its line.
pub(super) struct Exchange {
    line: Arc<Line>,
    pub(super) record: Option<Box<Record>>,
    /// Where it was let in, if not without limits.
    pub(super) admissions: Vec<Admission>,
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
            admissions: Vec::new(),
            accept_encoding: None,
            sent: 0,
            progress,
        }
    }

    /// Lets the request in at a place that has limits.
    pub(super) fn admit(
        &mut self,
        rate: Option<&Arc<RateTable>>,
        client: IpAddr,
    ) -> Result<(), Failure> {
        let Some(rate) = rate else { return Ok(()) };
        let wait = match rate.admit(client, Instant::now()) {
            Ok(admission) => {
                self.admissions.push(admission);
                return Ok(());
            }
            Err(Refused::TooFast(wait)) => wait.as_secs().saturating_add(1),
            Err(Refused::TooMany) => 1,
        };
        Err(Failure::new(StatusCode::TOO_MANY_REQUESTS)
            .with(header::RETRY_AFTER, HeaderValue::from(wait)))
    }

    /// So many bytes go out; until when the next are to wait.
    pub(super) fn sends(&mut self, bytes: usize) -> Option<Instant> {
        self.sent += bytes as u64;
        if self.admissions.is_empty() {
            return None;
        }
        let now = Instant::now();
        let waits = self.admissions.iter();
        waits
            .filter_map(|admission| admission.sends(bytes as u64, now))
            .max()
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
