//! What is kept of a request until its response is over.

use std::{
    cell::RefCell,
    net::SocketAddr,
    sync::Arc,
    time::{Instant, SystemTime},
};

use http::{HeaderMap, HeaderValue, Method, Uri, Version};

use super::{Custom, Format, format::Ended};
use crate::{data::LogFile, wire::host::Host};

/// Where a site's lines go, and how they look.
#[derive(Debug, Clone)]
pub struct AccessLog {
    /// The file, or the daemon's own log.
    pub file: Arc<LogFile>,
    /// The look.
    pub format: Format,
}

/// A request, as its line of log will tell it.
pub struct Record {
    pub(super) log: Option<AccessLog>,
    /// The site's name.
    pub site: Arc<str>,
    /// The client.
    pub peer: SocketAddr,
    /// Where it connected.
    pub local: SocketAddr,
    /// Whether over TLS.
    pub tls: bool,
    /// The connection's number.
    pub connection: u64,
    /// The Host field.
    pub host: Option<HeaderValue>,
    /// Who it is, once that is known.
    pub user: Option<Box<str>>,
    /// The method.
    pub method: Method,
    /// The target; `None` where what came was no request.
    pub target: Option<Uri>,
    /// The version.
    pub version: Version,
    /// Referer.
    pub referer: Option<HeaderValue>,
    /// User-Agent.
    pub agent: Option<HeaderValue>,
    /// All fields of the request, where the format tells some of them.
    pub request: Option<Box<HeaderMap>>,
    /// All fields of the response, likewise.
    pub response: Option<Box<HeaderMap>>,
    /// The status of the answer.
    pub status: u16,
    pub(super) started_at: SystemTime,
    started: Instant,
    /// Told how it ended.
    pub(crate) meter: Option<Arc<crate::metrics::SiteMeter>>,
}

thread_local! {
    /// Lines are made here and copied into the log's buffer under its lock.
    static LINE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

impl Record {
    /// A request that came at `started_at`.
    #[must_use]
    pub fn new(
        log: Option<AccessLog>,
        site: Arc<str>,
        peer: SocketAddr,
        local: SocketAddr,
        started_at: SystemTime,
    ) -> Self {
        Self {
            log,
            site,
            peer,
            local,
            tls: false,
            connection: 0,
            host: None,
            user: None,
            method: Method::GET,
            target: None,
            version: Version::HTTP_11,
            referer: None,
            agent: None,
            request: None,
            response: None,
            status: 0,
            started_at,
            started: Instant::now(),
            meter: None,
        }
    }

    /// The request's fields, where they are told.
    pub fn keep_request(&mut self, headers: &HeaderMap) {
        if self.custom().is_some_and(|custom| custom.wants_request) {
            self.request = Some(Box::new(headers.clone()));
        }
    }

    /// The response's fields, where they are told.
    pub fn keep_response(&mut self, headers: &HeaderMap) {
        if self.custom().is_some_and(|custom| custom.wants_response) {
            self.response = Some(Box::new(headers.clone()));
        }
    }

    fn custom(&self) -> Option<&Custom> {
        match &self.log.as_ref()?.format {
            Format::Custom(custom) => Some(custom),
            _ => None,
        }
    }

    /// The host asked for, in lower case and without a port.
    #[must_use]
    pub fn host(&self) -> Option<Host<'_>> {
        let authority = self.target.as_ref().and_then(Uri::authority);
        let authority = authority.map(|authority| authority.as_str().as_bytes());
        Host::parse(authority.or(self.host.as_ref().map(HeaderValue::as_bytes))?)
    }

    /// The span for what is logged about this request.
    #[must_use]
    pub fn span(&self) -> tracing::Span {
        let host = self.host();
        tracing::info_span!(
            "request",
            method = %self.method,
            host = host.as_ref().map(|host| &*host.name),
            path = self.target.as_ref().map(Uri::path),
            user = self.user.as_deref(),
        )
    }

    /// The response is over, after so many bytes of its body.
    pub fn finish(self: Box<Self>, bytes: u64) {
        let took = self.started.elapsed();
        if let Some(meter) = &self.meter {
            meter.count(self.status, bytes, took);
        }
        let Some(log) = &self.log else {
            return;
        };
        let ended = Ended {
            at: self.started_at + took,
            bytes,
            micros: u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
        };
        LINE.with_borrow_mut(|line| {
            line.clear();
            log.format.write(&self, &ended, line);
            log.file.append(line);
        });
    }
}
