//! The last steps of every answer: the page of a failure, the fields that all responses have, the
//! line of log.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, Method, Response, StatusCode, header};
use omnid_telemetry::limited;

use super::{
    SentBody,
    exchange::Exchange,
    executor::StreamProgress,
    handler::{ConnectionFacts, Handler},
};
use crate::{
    answer::Failure,
    body::Body,
    files::FileAnswer,
    site::{Route, Site},
};

const SERVER: HeaderValue = HeaderValue::from_static("omnid");

/// Makes a response of an answer.
pub(super) fn finish(
    answer: FileAnswer,
    route: Option<&Route>,
    handler: &Handler,
    site: &Site,
    connection: &ConnectionFacts,
    mut exchange: Exchange,
    progress: Option<Arc<StreamProgress>>,
) -> Response<SentBody> {
    let mut response = answer.unwrap_or_else(|failure| page(failure, handler, site));
    site.headers.apply(response.headers_mut());
    if let Some(route) = route {
        route.headers.apply(response.headers_mut());
    }
    let headers = response.headers_mut();
    if connection.tls
        && let Some(hsts) = &site.hsts
    {
        headers.insert(header::STRICT_TRANSPORT_SECURITY, hsts.clone());
    }
    headers.entry(header::SERVER).or_insert(SERVER);
    let status = response.status();
    if status == StatusCode::SWITCHING_PROTOCOLS {
        exchange.line().upgraded();
    }
    let mut head_only = false;
    if let Some(record) = &mut exchange.record {
        record.status = status.as_u16();
        head_only = record.method == Method::HEAD;
    }
    response.map(|body| {
        // HTTP/1 leaves the body of an answer to HEAD away by itself, HTTP/2 does not.
        let body = if head_only { Body::Empty } else { body };
        SentBody::new(body, exchange, progress)
    })
}

/// The site's own page for a failure, or the built-in one.
fn page(failure: Failure, handler: &Handler, site: &Site) -> Response<Body> {
    let status = failure.status;
    if !failure.reason.is_empty() {
        if status.is_server_error() && status != StatusCode::NOT_IMPLEMENTED {
            limited!(
                Duration::from_secs(1),
                key = &*failure.reason,
                warn,
                "request failed",
                status = status.as_u16(),
                reason = &*failure.reason
            );
        } else {
            tracing::debug!(
                status = status.as_u16(),
                reason = &*failure.reason,
                "request refused"
            );
        }
    }
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
