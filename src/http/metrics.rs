//! What is counted.

use std::time::Duration;

use omnid_telemetry::metrics::{self, Counter, Histogram};

/// The counters of one site.
pub struct SiteMeter {
    /// By the first digit of the status, from 1.
    requests: [Counter; 5],
    bytes: Counter,
    seconds: Histogram,
}

impl SiteMeter {
    /// The counters of the site of that name. The same name is the same counters, also over a
    /// reload.
    #[must_use]
    pub fn new(site: &str) -> Self {
        let requests = |class: &str| {
            metrics::counter(
                "omnid_http_requests",
                "Requests answered, by site and class of status",
                &[("site", site), ("status", class)],
            )
        };
        Self {
            requests: ["1xx", "2xx", "3xx", "4xx", "5xx"].map(requests),
            bytes: metrics::counter(
                "omnid_http_response_bytes",
                "Bytes of response bodies",
                &[("site", site)],
            ),
            seconds: metrics::histogram(
                "omnid_http_request_seconds",
                "Time from a request's head to the end of its response",
                &[("site", site)],
                metrics::SECONDS,
            ),
        }
    }

    pub(crate) fn count(&self, status: u16, bytes: u64, took: Duration) {
        if let Some(requests) = self.requests.get(usize::from(status / 100).wrapping_sub(1)) {
            requests.inc();
        }
        self.bytes.inc_by(bytes);
        self.seconds.observe(took.as_secs_f64());
    }
}

impl std::fmt::Debug for SiteMeter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SiteMeter").finish_non_exhaustive()
    }
}
