//! What of a message goes on to the next hop, and what is said about the one before.

use std::net::SocketAddr;

use http::{
    HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version, header, request, response,
};

use crate::wire::forwarded;

/// What an upstream is told about the client.
#[derive(Debug, Clone, Copy)]
pub struct Client<'a> {
    /// Its address.
    pub peer: SocketAddr,
    /// Where it connected.
    pub local: SocketAddr,
    /// The host it asked for, with the port if it named one.
    pub authority: &'a str,
    /// Whether it came over TLS.
    pub tls: bool,
}

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
/// CGI-like back ends turn this into HTTP_PROXY and then into their own proxy (httpoxy).
const PROXY: HeaderName = HeaderName::from_static("proxy");
const WEBSOCKET: HeaderValue = HeaderValue::from_static("websocket");
const UPGRADE: HeaderValue = HeaderValue::from_static("upgrade");
const TRAILERS: HeaderValue = HeaderValue::from_static("trailers");

/// Whether this asks to become a websocket (RFC 6455 section 4.1). Other upgrades, h2c above all,
/// end here: the next hop would speak something this one no longer understands.
pub(super) fn wants_websocket(head: &request::Parts) -> bool {
    head.version == Version::HTTP_11
        && head.method == Method::GET
        && lists(&head.headers, &header::CONNECTION, b"upgrade")
        && head.headers.get_all(header::UPGRADE).iter().count() == 1
        && is_websocket(&head.headers)
}

/// Whether an upstream's 101 is the one that was asked for.
pub(super) fn became_websocket(head: &response::Parts) -> bool {
    head.status == StatusCode::SWITCHING_PROTOCOLS && is_websocket(&head.headers)
}

fn is_websocket(headers: &HeaderMap) -> bool {
    headers.get(header::UPGRADE).is_some_and(|value| {
        value
            .as_bytes()
            .trim_ascii()
            .eq_ignore_ascii_case(b"websocket")
    })
}

/// Whether a list-valued field has this element, whatever its case.
fn lists(headers: &HeaderMap, name: &HeaderName, element: &[u8]) -> bool {
    headers.get_all(name).iter().any(|value| {
        value
            .as_bytes()
            .split(|&byte| byte == b',')
            .any(|listed| listed.trim_ascii().eq_ignore_ascii_case(element))
    })
}

/// RFC 9110 section 7.6.1: takes out Connection, all it lists, and what is known to be for one hop
/// only.
fn strip_hop_by_hop(headers: &mut HeaderMap) {
    if headers.contains_key(header::CONNECTION) {
        let mut listed: Vec<HeaderName> = Vec::new();
        for value in headers.get_all(header::CONNECTION) {
            for name in value.as_bytes().split(|&byte| byte == b',') {
                if let Ok(name) = HeaderName::from_bytes(name.trim_ascii()) {
                    listed.push(name);
                }
            }
        }
        for name in listed {
            // "A sender MUST NOT send a connection option corresponding to a field that is
            // intended for all recipients": a client cannot take the length or the host away.
            if name != header::CONTENT_LENGTH && name != header::HOST {
                headers.remove(name);
            }
        }
        headers.remove(header::CONNECTION);
    }
    for name in [
        header::TE,
        header::TRANSFER_ENCODING,
        header::UPGRADE,
        header::PROXY_AUTHORIZATION,
        header::PROXY_AUTHENTICATE,
        KEEP_ALIVE,
        PROXY_CONNECTION,
    ] {
        headers.remove(name);
    }
}

/// Makes a client's request head fit for an upstream. `host` is what the upstream is to see as
/// Host.
pub(super) fn request(
    head: &mut request::Parts,
    host: &HeaderValue,
    client: &Client<'_>,
    upgrade: bool,
) {
    let trailers =
        head.headers.contains_key(header::TE) && lists(&head.headers, &header::TE, b"trailers");
    strip_hop_by_hop(&mut head.headers);
    let headers = &mut head.headers;
    // 100 Continue is between the client and this server, which sends it when the body is wanted.
    headers.remove(header::EXPECT);
    headers.remove(PROXY);
    join_cookies(headers);
    headers.insert(header::HOST, host.clone());

    // What a client says about the hops before it is not believed.
    let field = |text: &str| HeaderValue::from_str(text).ok();
    let address = client.peer.ip().to_canonical();
    let proto = HeaderValue::from_static(if client.tls { "https" } else { "http" });
    let element = forwarded::element(address, client.authority, client.tls);
    for (name, value) in [
        (header::FORWARDED, field(&element)),
        (FORWARDED_FOR, field(&address.to_string())),
        (FORWARDED_HOST, field(client.authority)),
        (FORWARDED_PROTO, Some(proto)),
    ] {
        match value {
            Some(value) => headers.insert(name, value),
            None => headers.remove(name),
        };
    }
    if upgrade {
        headers.insert(header::CONNECTION, UPGRADE);
        headers.insert(header::UPGRADE, WEBSOCKET);
    } else if trailers {
        headers.insert(header::TE, TRAILERS);
        headers.insert(header::CONNECTION, HeaderValue::from_static("te"));
    }
    head.version = Version::HTTP_11;
}

/// RFC 9113 section 8.2.3: HTTP/2 may split Cookie; HTTP/1.1 back ends expect one.
fn join_cookies(headers: &mut HeaderMap) {
    let mut cookies = headers.get_all(header::COOKIE).iter();
    let (Some(first), Some(second)) = (cookies.next(), cookies.next()) else {
        return;
    };
    let mut joined = first.as_bytes().to_vec();
    for cookie in std::iter::once(second).chain(cookies) {
        joined.extend_from_slice(b"; ");
        joined.extend_from_slice(cookie.as_bytes());
    }
    if let Ok(joined) = HeaderValue::from_bytes(&joined) {
        headers.insert(header::COOKIE, joined);
    }
}

/// Makes an upstream's response head fit for the client.
pub(super) fn response(head: &mut response::Parts) {
    if head.headers.contains_key(header::TRANSFER_ENCODING) {
        // Of two lengths the transfer coding is the true one (RFC 9112 section 6.3).
        head.headers.remove(header::CONTENT_LENGTH);
    }
    strip_hop_by_hop(&mut head.headers);
    head.version = Version::HTTP_11;
    head.extensions.clear();
}

/// An interim response as it goes on to an HTTP/1.1 client; `None` for those that are between the
/// two hops alone.
pub(super) fn interim(status: StatusCode, fields: &HeaderMap) -> Option<Vec<u8>> {
    if matches!(
        status,
        StatusCode::CONTINUE | StatusCode::SWITCHING_PROTOCOLS
    ) {
        return None;
    }
    let mut fields = fields.clone();
    strip_hop_by_hop(&mut fields);
    fields.remove(header::CONTENT_LENGTH);
    let reason = status.canonical_reason().unwrap_or_default();
    let mut bytes = format!("HTTP/1.1 {} {reason}\r\n", status.as_u16()).into_bytes();
    for (name, value) in &fields {
        bytes.extend_from_slice(name.as_str().as_bytes());
        bytes.extend_from_slice(b": ");
        bytes.extend_from_slice(value.as_bytes());
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"\r\n");
    Some(bytes)
}

/// Changes a request head that is fit for HTTP/1.1 for HTTP/2 (RFC 9113 section 8.2.2).
pub(super) fn for_h2(headers: &mut HeaderMap) {
    headers.remove(header::CONNECTION);
    headers.remove(header::HOST);
}

/// The same for a 101, whose Connection and Upgrade are the point of it.
pub(super) fn switching(head: &mut response::Parts) {
    response(head);
    head.headers.insert(header::CONNECTION, UPGRADE);
    head.headers.insert(header::UPGRADE, WEBSOCKET);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::expect_used)]

    use http::Request;

    use super::*;

    fn head(fields: &[(&str, &str)]) -> request::Parts {
        let mut request = Request::builder().uri("/x");
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        request.body(()).expect("a request").into_parts().0
    }

    fn sent(fields: &[(&str, &str)], upgrade: bool) -> Vec<String> {
        let mut head = head(fields);
        let client = Client {
            peer: "192.0.2.7:1234".parse().expect("an address"),
            local: "192.0.2.1:443".parse().expect("an address"),
            authority: "example.org:8080",
            tls: true,
        };
        request(
            &mut head,
            &HeaderValue::from_static("app"),
            &client,
            upgrade,
        );
        let mut lines: Vec<String> = head
            .headers
            .iter()
            .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap_or("?")))
            .collect();
        lines.sort();
        lines
    }

    const ALWAYS: [&str; 5] = [
        "forwarded: for=192.0.2.7;host=\"example.org:8080\";proto=https",
        "host: app",
        "x-forwarded-for: 192.0.2.7",
        "x-forwarded-host: example.org:8080",
        "x-forwarded-proto: https",
    ];

    #[test]
    fn what_is_for_one_hop_stays_behind() {
        let lines = sent(
            &[
                ("host", "example.org:8080"),
                ("connection", "close, X-Hop , content-length,host"),
                ("connection", "x-other"),
                ("x-hop", "1"),
                ("x-other", "1"),
                ("content-length", "5"),
                ("keep-alive", "timeout=5"),
                ("te", "gzip"),
                ("transfer-encoding", "chunked"),
                ("upgrade", "h2c"),
                ("proxy-authorization", "x"),
                ("proxy-connection", "close"),
                ("proxy", "http://evil"),
                ("expect", "100-continue"),
                ("x-forwarded-for", "10.0.0.1"),
                ("x-forwarded-host", "evil"),
                ("x-forwarded-proto", "gopher"),
                ("forwarded", "for=10.0.0.1"),
                ("accept", "*/*"),
            ],
            false,
        );
        let mut expected: Vec<&str> = ALWAYS.to_vec();
        expected.extend(["accept: */*", "content-length: 5"]);
        expected.sort_unstable();
        assert_eq!(lines, expected);
    }

    #[test]
    fn cookies_are_joined_and_trailers_announced() {
        let lines = sent(
            &[
                ("cookie", "a=1"),
                ("cookie", "b=2"),
                ("te", "deflate, trailers"),
            ],
            false,
        );
        assert!(lines.contains(&"cookie: a=1; b=2".to_owned()));
        assert!(lines.contains(&"te: trailers".to_owned()));
        assert!(lines.contains(&"connection: te".to_owned()));
    }

    #[test]
    fn websockets_and_nothing_else() {
        let asks = |connection: &str, upgrade: &str| {
            wants_websocket(&head(&[("connection", connection), ("upgrade", upgrade)]))
        };
        assert!(asks("Upgrade", "websocket"));
        assert!(asks("keep-alive, Upgrade", "WebSocket"));
        assert!(!asks("keep-alive", "websocket"));
        assert!(!asks("Upgrade, HTTP2-Settings", "h2c"));
        assert!(!asks("Upgrade", "websocket, h2c"));
        let lines = sent(&[("connection", "Upgrade"), ("upgrade", "websocket")], true);
        assert!(lines.contains(&"connection: upgrade".to_owned()));
        assert!(lines.contains(&"upgrade: websocket".to_owned()));
    }

    #[test]
    fn responses() {
        let mut head = http::Response::builder()
            .header("connection", "close, x-hop")
            .header("x-hop", "1")
            .header("content-length", "5")
            .header("transfer-encoding", "chunked")
            .header("server", "app")
            .body(())
            .expect("a response")
            .into_parts()
            .0;
        response(&mut head);
        assert_eq!(head.headers.len(), 1);
        assert!(head.headers.contains_key("server"));
    }
}
