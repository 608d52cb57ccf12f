//! Redirects that are made of the request: to TLS, to the path with its slash, onward from a route.

use http::{Method, Response, StatusCode, request::Parts};

use crate::{
    answer::{self, Failure},
    body::Body,
    files::FileAnswer,
    wire::{host::Host, target::NormalPath},
};

/// A path without its trailing slash.
pub(crate) fn bare(prefix: &str) -> &str {
    prefix.strip_suffix('/').unwrap_or(prefix)
}

/// The same request, over TLS.
pub(crate) fn to_tls(head: &Parts, host: Option<&Host<'_>>, port: Option<u16>) -> FileAnswer {
    let Some(host) = host else {
        return Err(Failure::new(StatusCode::BAD_REQUEST).because("no host to redirect to"));
    };
    let mut location = format!("https://{}", host.name);
    if let Some(port) = port.filter(|&port| port != 443) {
        location.push_str(&format!(":{port}"));
    }
    location.push_str(
        head.uri
            .path_and_query()
            .map_or("/", http::uri::PathAndQuery::as_str),
    );
    Ok(answer::redirect(permanent(&head.method), &location))
}

/// The same path with a slash at its end.
pub(crate) fn add_slash(
    method: &Method,
    query: Option<&str>,
    path: &NormalPath<'_>,
) -> Response<Body> {
    // The path is absolute and begins with one slash, so that it cannot name another host.
    let mut location = path.to_escaped(0);
    location.push('/');
    push_query(&mut location, query);
    answer::redirect(permanent(method), &location)
}

/// 301 for what is read; 308 for the rest, which must not become a GET on the way.
fn permanent(method: &Method) -> StatusCode {
    if method == Method::GET || method == Method::HEAD {
        StatusCode::MOVED_PERMANENTLY
    } else {
        StatusCode::PERMANENT_REDIRECT
    }
}

/// A redirect to `to`, with what follows the route's path and the query.
pub(crate) fn onward(
    to: &str,
    status: StatusCode,
    matched: usize,
    head: &Parts,
    path: &NormalPath<'_>,
) -> Response<Body> {
    let rest = path.to_escaped(matched);
    let mut location = String::with_capacity(to.len() + rest.len() + 16);
    if to.contains('?') {
        // A target with a query of its own is complete.
        location.push_str(to);
    } else {
        location.push_str(if rest.starts_with('/') { bare(to) } else { to });
        location.push_str(&rest);
        push_query(&mut location, head.uri.query());
    }
    answer::redirect(status, &location)
}

fn push_query(location: &mut String, query: Option<&str>) {
    if let Some(query) = query {
        location.push('?');
        location.push_str(query);
    }
}
