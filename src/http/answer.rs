//! Answers that need no file and no upstream: failures, redirects, fixed texts.

use std::borrow::Cow;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Response, StatusCode, header};

use crate::{body::Body, engine::check::Refusal};

/// Why a request is not carried out, before it has been given a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The status.
    pub status: StatusCode,
    /// Whether the connection ends with it.
    pub close: bool,
    /// Fields that belong to it: Allow, WWW-Authenticate, Retry-After, Content-Range.
    pub fields: Vec<(HeaderName, HeaderValue)>,
    /// For the log; empty for everyday statuses.
    pub reason: Cow<'static, str>,
}

impl Failure {
    /// A failure with its status.
    #[must_use]
    pub fn new(status: StatusCode) -> Self {
        Self {
            status,
            close: false,
            fields: Vec::new(),
            reason: Cow::Borrowed(""),
        }
    }

    /// Adds a reason for the log.
    #[must_use]
    pub fn because(mut self, reason: impl Into<Cow<'static, str>>) -> Self {
        self.reason = reason.into();
        self
    }

    /// Adds a field.
    #[must_use]
    pub fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.fields.push((name, value));
        self
    }

    /// Ends the connection too.
    #[must_use]
    pub fn closing(mut self) -> Self {
        self.close = true;
        self
    }

    /// The built-in page.
    #[must_use]
    pub fn into_response(self) -> Response<Body> {
        let body = page(self.status);
        let mut response = text(self.status, HTML, body);
        self.decorate(&mut response);
        response
    }

    /// Adds the failure's fields to a response that says it in other words.
    pub fn decorate(self, response: &mut Response<Body>) {
        for (name, value) in self.fields {
            response.headers_mut().append(name, value);
        }
        if self.close {
            let close = HeaderValue::from_static("close");
            response.headers_mut().insert(header::CONNECTION, close);
        }
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        let mut failure = Self::new(refusal.status).because(refusal.reason);
        failure.close = refusal.close;
        if refusal.status == StatusCode::METHOD_NOT_ALLOWED {
            // RFC 9110 section 15.5.6: 405 MUST come with Allow.
            let allow = HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");
            failure = failure.with(header::ALLOW, allow);
        }
        failure
    }
}

const HTML: HeaderValue = HeaderValue::from_static("text/html; charset=utf-8");

/// Nothing of the request is repeated here: what is not there cannot be injected.
fn page(status: StatusCode) -> Bytes {
    let code = status.as_u16();
    let reason = status.canonical_reason().unwrap_or("Error");
    Bytes::from(format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <title>{code} {reason}</title></head>\n<body><h1>{code} {reason}</h1></body></html>\n"
    ))
}

/// A response with a text.
#[must_use]
pub(crate) fn text(
    status: StatusCode,
    content_type: HeaderValue,
    body: impl Into<Bytes>,
) -> Response<Body> {
    let body = body.into();
    let mut response = Response::new(Body::Empty);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, content_type);
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
    *response.body_mut() = Body::from(body);
    response
}

/// A response without a body.
#[must_use]
pub(crate) fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::Empty);
    *response.status_mut() = status;
    response
}

/// What may be done (RFC 9110 section 9.3.7).
#[must_use]
pub(crate) fn options(allow: HeaderValue) -> Response<Body> {
    let mut response = empty(StatusCode::OK);
    let headers = response.headers_mut();
    headers.insert(header::ALLOW, allow);
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
    response
}

/// A redirect. `location` is percent-encoded already; what is no field value becomes a 500.
#[must_use]
pub(crate) fn redirect(status: StatusCode, location: &str) -> Response<Body> {
    let Ok(location) = HeaderValue::from_str(location) else {
        return Failure::new(StatusCode::INTERNAL_SERVER_ERROR).into_response();
    };
    let mut response = text(status, HTML, page(status));
    response.headers_mut().insert(header::LOCATION, location);
    response
}
