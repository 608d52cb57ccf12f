//! The last steps of every answer: the page of a failure, the fields that all responses have, the
//! line of log.

use std::time::Duration;

use http::{HeaderValue, Method, Response, StatusCode, header};
use omnid_telemetry::limited;

use super::{
    SentBody,
    exchange::Exchange,
    handler::{ConnectionFacts, Handler},
    ruled::Extras,
};
use crate::{
    answer::Failure,
    body::Body,
    files::FileAnswer,
    log::Record,
    site::{Action, Route, Site},
};

const SERVER: HeaderValue = HeaderValue::from_static("omnid");

/// What an answer passes on its way out.
pub(super) struct Place<'a> {
    pub(super) handler: &'a Handler,
    pub(super) site: &'a Site,
    pub(super) route: Option<&'a Route>,
    pub(super) connection: &'a ConnectionFacts,
    /// What the site's rules add.
    pub(super) extras: Option<&'a Extras>,
}

impl Place<'_> {
    /// Makes a response of an answer.
    pub(super) fn finish(&self, answer: FileAnswer, mut exchange: Exchange) -> Response<SentBody> {
        let failure = is_own(&answer, self.route);
        let mut response = match answer {
            Ok(response) => response,
            Err(failure) => {
                log(&failure, exchange.record.as_deref());
                page(failure, self.handler, self.site)
            }
        };
        let headers = response.headers_mut();
        self.site.headers.apply(headers, failure);
        if let Some(route) = self.route {
            route.headers.apply(headers, failure);
        }
        if let Some(extras) = self.extras {
            extras.apply(self.site, failure, &mut response);
        }
        let headers = response.headers_mut();
        if self.connection.tls
            && let Some(hsts) = &self.site.hsts
        {
            headers.insert(header::STRICT_TRANSPORT_SECURITY, hsts.clone());
        }
        headers.entry(header::SERVER).or_insert(SERVER);
        if let Some(compress) = &self.site.compress {
            let method = exchange
                .record
                .as_ref()
                .map_or(&Method::GET, |record| &record.method);
            compress.apply(method, exchange.accept_encoding.as_ref(), &mut response);
        }
        let status = response.status();
        if status == StatusCode::NOT_MODIFIED {
            // RFC 9110 section 15.4.5: it was here to tell whether the content would vary.
            response.headers_mut().remove(header::CONTENT_TYPE);
        }
        if status == StatusCode::SWITCHING_PROTOCOLS {
            exchange.line().upgraded();
        }
        let mut head_only = false;
        if let Some(record) = &mut exchange.record {
            record.status = status.as_u16();
            record.keep_response(response.headers());
            head_only = record.method == Method::HEAD;
        }
        response.map(|body| {
            // HTTP/1 leaves the body of an answer to HEAD away by itself, HTTP/2 does not.
            let body = if head_only { Body::Empty } else { body };
            SentBody::new(body, exchange)
        })
    }
}

/// Whether the server itself answers with a failure or sends the client elsewhere.
fn is_own(answer: &FileAnswer, route: Option<&Route>) -> bool {
    let told = |route: &Route| matches!(route.action, Action::Proxy(_) | Action::Scripts(_));
    answer.as_ref().map_or(true, |response| {
        let status = response.status();
        status.is_redirection() && status != StatusCode::NOT_MODIFIED && !route.is_some_and(told)
    })
}

/// Says why a request failed, where that is news.
fn log(failure: &Failure, record: Option<&Record>) {
    if failure.reason.is_empty() {
        return;
    }
    let (status, reason) = (failure.status.as_u16(), &*failure.reason);
    let serious = failure.status.is_server_error() && failure.status != StatusCode::NOT_IMPLEMENTED;
    if !serious && !tracing::enabled!(tracing::Level::DEBUG) {
        return;
    }
    let span = record.map_or_else(tracing::Span::none, Record::span);
    span.in_scope(|| {
        if serious {
            limited!(
                Duration::from_secs(1),
                key = reason,
                warn,
                "request failed",
                status,
                reason
            );
        } else {
            tracing::debug!(status, reason, "request refused");
        }
    });
}

/// The site's own page for a failure, or the built-in one.
fn page(failure: Failure, handler: &Handler, site: &Site) -> Response<Body> {
    let status = failure.status;
    let own = site
        .error_pages
        .get(&status.as_u16())
        .zip(site.root.as_ref())
        .and_then(|(page, files)| files.page(page, status, &handler.cache.load()));
    match own {
        Some(mut response) => {
            failure.decorate(&mut response);
            response
        }
        None => failure.into_response(),
    }
}
