//! Streams for programs in browsers, at sites of the HTTP service: over WebSocket (RFC 7395), over
//! requests (BOSH), and where a program finds out about both (XEP-0156).
//!
//! To the rest of the service each is a pipe that a stream comes out of, as it would out of a socket.

mod bosh;
mod websocket;

use std::sync::{Arc, Weak};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use omnid_hub::{Mount, MountContext, MountRequest, MountResponse};
use omnid_supervisor::ChildResult;
use serde_json::json;
use tokio::io::DuplexStream;

use super::{
    login::{self, Peer},
    server::Server,
};
use crate::{
    features,
    wire::{BareJid, Element, Limits, ns, web::Sent},
};

pub(crate) use bosh::Bosh;

/// Bytes that a pipe holds in each direction.
const PIPE: usize = 16 * 1024;

/// What the HTTP service is offered, and at which paths.
pub(crate) fn mounts(server: &Arc<Server>) -> Vec<(&'static str, Arc<dyn Mount>)> {
    let settings = server.settings.load();
    let on = |name| settings.features.has(name);
    let mount = |what| -> Arc<dyn Mount> { Arc::new(Web(Arc::downgrade(server), what)) };
    let mut mounts = Vec::new();
    if on(features::websocket::NAME) {
        mounts.push((features::websocket::PATH, mount(What::WebSocket)));
    }
    if on(features::bosh::NAME) {
        mounts.push((features::bosh::PATH, mount(What::Bosh)));
    }
    if !mounts.is_empty() {
        let meta = "/.well-known/host-meta";
        mounts.push((meta, mount(What::HostMeta { json: false })));
        let meta = "/.well-known/host-meta.json";
        mounts.push((meta, mount(What::HostMeta { json: true })));
    }
    mounts
}

#[derive(Debug, Clone, Copy)]
enum What {
    WebSocket,
    Bosh,
    HostMeta { json: bool },
}

struct Web(Weak<Server>, What);

impl Mount for Web {
    fn serve(&self, request: MountRequest, context: MountContext) -> BoxFuture<'_, MountResponse> {
        let (server, what) = (self.0.upgrade(), self.1);
        Box::pin(async move {
            let Some(server) = server else {
                return plain(StatusCode::SERVICE_UNAVAILABLE);
            };
            let mut response = match what {
                // No password ever goes in clear.
                What::WebSocket | What::Bosh if !context.tls => plain(StatusCode::FORBIDDEN),
                What::WebSocket => websocket::answer(&server, request, &context),
                What::Bosh => bosh::answer(&server, request, &context).await,
                What::HostMeta { json } => host_meta(&server, &request, &context, json),
            };
            // Whoever may log in may do so with a program from anywhere: it is the password that
            // counts, and there are no cookies.
            for (name, value) in [
                ("access-control-allow-origin", "*"),
                ("access-control-allow-methods", "GET, POST, OPTIONS"),
                ("access-control-allow-headers", "Content-Type"),
                ("access-control-max-age", "7200"),
            ] {
                let headers = response.headers_mut();
                headers.insert(name, HeaderValue::from_static(value));
            }
            response
        })
    }
}

fn plain(status: StatusCode) -> MountResponse {
    with_body(status, None, Bytes::new())
}

fn with_body(status: StatusCode, kind: Option<&'static str>, body: Bytes) -> MountResponse {
    let body = Full::new(body).map_err(|never| match never {});
    let mut response = http::Response::new(UnsyncBoxBody::new(body));
    *response.status_mut() = status;
    if let Some(kind) = kind {
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    }
    response
}

/// Where the host's streams for browsers are (XEP-0156 3).
fn host_meta(
    server: &Server,
    request: &MountRequest,
    context: &MountContext,
    as_json: bool,
) -> MountResponse {
    if ![Method::GET, Method::HEAD].contains(request.method()) {
        return not_allowed("GET, HEAD");
    }
    let host = BareJid::from_domain(&context.host).ok();
    // Other sites have other things to say there, or nothing.
    if !host.is_some_and(|host| server.serves(host.as_str())) {
        return plain(StatusCode::NOT_FOUND);
    }
    let authority = authority(request.headers(), context);
    let settings = server.settings.load();
    let links = [
        (
            features::websocket::NAME,
            "urn:xmpp:alt-connections:websocket",
            format!("wss://{authority}{}", features::websocket::PATH),
        ),
        (
            features::bosh::NAME,
            "urn:xmpp:alt-connections:xbosh",
            format!("https://{authority}{}", features::bosh::PATH),
        ),
    ];
    let links = links
        .into_iter()
        .filter(|(name, ..)| settings.features.has(name))
        .map(|(_, rel, href)| (rel, href));
    if as_json {
        let links: Vec<_> = links
            .map(|(rel, href)| json!({ "rel": rel, "href": href }))
            .collect();
        let body = json!({ "links": links }).to_string();
        return with_body(StatusCode::OK, Some("application/json"), body.into());
    }
    let links = links.map(|(rel, href)| {
        let link = Element::new("Link", ns::XRD);
        link.attr("rel", rel).attr("href", href)
    });
    let body = Element::new("XRD", ns::XRD).children_from(links);
    let body = format!(
        "<?xml version='1.0' encoding='utf-8'?>{}",
        body.to_document()
    );
    with_body(StatusCode::OK, Some("application/xrd+xml"), body.into())
}

/// The host and the port at which the client can reach this server.
fn authority(headers: &HeaderMap, context: &MountContext) -> String {
    let port = headers.get(header::HOST).and_then(|host| {
        let (_, port) = host.to_str().ok()?.rsplit_once(':')?;
        port.parse::<u16>().ok()
    });
    // Streams are over TLS only: a port without it is not the one.
    match port.filter(|port| context.tls && *port != 443) {
        None => context.host.to_string(),
        Some(port) => format!("{}:{port}", context.host),
    }
}

fn not_allowed(methods: &'static str) -> MountResponse {
    let mut response = plain(StatusCode::METHOD_NOT_ALLOWED);
    let headers = response.headers_mut();
    headers.insert(header::ALLOW, HeaderValue::from_static(methods));
    response
}

/// What is known of a stream on its way in.
struct Progress {
    /// A header is due.
    due: bool,
    /// The client has proven who it is.
    known: bool,
}

impl Progress {
    fn new() -> Progress {
        Progress {
            due: true,
            known: false,
        }
    }

    fn sent(&mut self, sent: Sent) {
        if sent == Sent::Header {
            self.due = false;
        }
    }

    /// Looks at what the server says. RFC 6120 6.4.6: a stream begins anew behind a login.
    fn said(&mut self, text: &str) {
        if !self.known && text.starts_with("<success") {
            self.known = true;
            self.due = text.contains(ns::SASL);
        }
    }

    fn limits(&self, server: &Server) -> Limits {
        if self.known {
            server.settings.load().limits()
        } else {
            Limits::UNAUTHENTICATED
        }
    }
}

/// Has the stream in `pipe` served, and `carrier` run that fills and empties the pipe's other end.
/// `false` if the service is not running.
fn begin(
    server: &Arc<Server>,
    context: &MountContext,
    listener: &'static str,
    pipe: DuplexStream,
    carrier: impl Future<Output = ChildResult> + Send + 'static,
) -> bool {
    let runner = server.runner.load();
    let Some(runner) = &**runner else {
        return false;
    };
    let span = tracing::info_span!(
        "connection",
        listener,
        peer = %context.peer,
        user = tracing::field::Empty,
    );
    let peer = Peer {
        server: server.clone(),
        address: context.peer,
        listener: listener.into(),
        permit: None,
    };
    runner.spawn("carrier", span.clone(), carrier);
    runner.spawn("login", span, login::begin_web(pipe, peer));
    true
}
