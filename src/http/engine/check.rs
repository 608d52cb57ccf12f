//! The front check: what must be true of a request head before anything is done with it.
//!
//! The HTTP library refuses what breaks its own framing. This refuses the rest of what two readers
//! could understand in two ways, or what no handler should have to think of: RFC 9112 sections 3.2
//! (target and Host) and 6.3 (body length), RFC 9110 section 10.1.1 (Expect), and the sizes.

use http::{HeaderMap, Method, StatusCode, Uri, Version, header, request::Parts};

use crate::wire::{
    head::HeadFacts,
    host::Host,
    target::{NormalPath, PathError},
};

/// How large a request head may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeadLimits {
    /// The whole head, in bytes.
    pub head: usize,
    /// One header line.
    pub line: usize,
    /// The request target.
    pub target: usize,
    /// Header fields.
    pub fields: usize,
}

impl Default for HeadLimits {
    fn default() -> Self {
        Self {
            head: 16 * 1024,
            line: 8190,
            target: 8190,
            fields: 100,
        }
    }
}

/// Why a request is refused before a site is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal {
    /// The answer.
    pub status: StatusCode,
    /// Whether the connection ends with it, because what follows on it cannot be trusted.
    pub close: bool,
    /// For the log.
    pub reason: &'static str,
}

/// What a request that passed is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Checked<'a> {
    /// A path on a host. HTTP/1.0 requests may name none.
    Resource {
        /// The host asked for.
        host: Option<Host<'a>>,
        /// The path asked for, in normal form.
        path: NormalPath<'a>,
    },
    /// `OPTIONS *`: the server itself (RFC 9110 section 9.3.7).
    Server,
}

/// Checks a head. `facts` is what the bytes said, for versions that have bytes to look at.
///
/// # Errors
/// The answer to give instead of serving the request.
pub fn check<'a>(
    head: &'a Parts,
    facts: Option<&HeadFacts>,
    limits: &HeadLimits,
) -> Result<Checked<'a>, Refusal> {
    if let Some(facts) = facts {
        raw(facts, limits)?;
    }
    sizes(head, limits)?;
    transfer_codings(&head.headers)?;
    if head.method == Method::CONNECT || head.method == Method::TRACE {
        return Err(Refusal {
            status: StatusCode::METHOD_NOT_ALLOWED,
            close: head.method == Method::CONNECT,
            reason: "CONNECT and TRACE are not served",
        });
    }
    let host = host(head)?;
    expectation(head)?;
    if head.uri.path() == "*" {
        return if head.method == Method::OPTIONS && head.uri.query().is_none() {
            Ok(Checked::Server)
        } else {
            Err(bad("the target * is for OPTIONS only"))
        };
    }
    // `OPTIONS http://host` is the absolute spelling of `OPTIONS *` (RFC 9112 section 3.2.4);
    // the library gives an absent path as "/", which serves as well.
    let path = NormalPath::parse(head.uri.path()).map_err(|error| bad(path_reason(error)))?;
    Ok(Checked::Resource { host, path })
}

fn bad(reason: &'static str) -> Refusal {
    Refusal {
        status: StatusCode::BAD_REQUEST,
        close: true,
        reason,
    }
}

fn too_large(reason: &'static str) -> Refusal {
    Refusal {
        status: StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        close: true,
        reason,
    }
}

fn raw(facts: &HeadFacts, limits: &HeadLimits) -> Result<(), Refusal> {
    if facts.uncertain {
        return Err(bad("the end of the message before this one is not certain"));
    }
    if facts.target > limits.target {
        return Err(target_too_long());
    }
    if facts.size > limits.head {
        return Err(too_large("the request head is too large"));
    }
    if facts.longest_line > limits.line {
        return Err(too_large("a header line is too long"));
    }
    if facts.bare_line_feed {
        return Err(bad("a line ends in LF without CR"));
    }
    if facts.fragment {
        return Err(bad("the target has a fragment"));
    }
    if facts.content_lengths > 0 && facts.transfer_encodings > 0 {
        return Err(bad("both Content-Length and Transfer-Encoding"));
    }
    if facts.content_lengths > 1 {
        return Err(bad("more than one Content-Length"));
    }
    Ok(())
}

fn target_too_long() -> Refusal {
    Refusal {
        status: StatusCode::URI_TOO_LONG,
        close: true,
        reason: "the request target is too long",
    }
}

/// The same limits where there are no raw facts (HTTP/2 and 3), and the number of fields anywhere.
fn sizes(head: &Parts, limits: &HeadLimits) -> Result<(), Refusal> {
    if head.headers.len() > limits.fields {
        return Err(too_large("too many header fields"));
    }
    if head.version <= Version::HTTP_11 {
        return Ok(());
    }
    let target = head
        .uri
        .path_and_query()
        .map_or(0, |target| target.as_str().len());
    if target > limits.target {
        return Err(target_too_long());
    }
    let mut total = target;
    for (name, value) in &head.headers {
        let line = name.as_str().len() + value.len() + 2;
        if line > limits.line {
            return Err(too_large("a header field is too long"));
        }
        total += line;
    }
    if total > limits.head {
        return Err(too_large("the request head is too large"));
    }
    Ok(())
}

/// `chunked` once and alone. Other codings are legal and not implemented (RFC 9112 section 6.1:
/// 501); a second `chunked` is not legal (section 7.1).
fn transfer_codings(headers: &HeaderMap) -> Result<(), Refusal> {
    if !headers.contains_key(header::TRANSFER_ENCODING) {
        return Ok(());
    }
    let mut chunked = 0;
    let mut others = 0;
    for value in headers.get_all(header::TRANSFER_ENCODING) {
        for coding in value.as_bytes().split(|&byte| byte == b',') {
            let coding = coding.trim_ascii();
            if coding.eq_ignore_ascii_case(b"chunked") {
                chunked += 1;
            } else if !coding.is_empty() {
                others += 1;
            }
        }
    }
    match (chunked, others) {
        (1, 0) => Ok(()),
        (2.., _) => Err(bad("the chunked coding is applied twice")),
        _ => Err(Refusal {
            status: StatusCode::NOT_IMPLEMENTED,
            close: true,
            reason: "a transfer coding other than chunked",
        }),
    }
}

/// RFC 9112 section 3.2: exactly one valid Host in HTTP/1.1, even beside an absolute target,
/// which then decides. RFC 9113 section 8.3.1: `:authority` and Host must agree.
fn host(head: &Parts) -> Result<Option<Host<'_>>, Refusal> {
    let mut fields = head.headers.get_all(header::HOST).iter();
    let field = fields.next();
    if fields.next().is_some() {
        return Err(bad("more than one Host"));
    }
    let field = match field {
        Some(value) => {
            Some(Host::parse(value.as_bytes()).ok_or_else(|| bad("Host is not a host"))?)
        }
        None => None,
    };
    let authority = match authority(&head.uri, head.version)? {
        Some(authority) => {
            let host = Host::parse(authority.as_bytes());
            Some(host.ok_or_else(|| bad("the target's authority is not a host"))?)
        }
        None => None,
    };
    match (field, authority) {
        (None, None) if head.version > Version::HTTP_10 => Err(bad("no Host")),
        (None, Some(_)) if head.version == Version::HTTP_11 => Err(bad("no Host")),
        (Some(field), Some(authority))
            if head.version >= Version::HTTP_2 && !same(&field, &authority, &head.uri) =>
        {
            Err(bad("Host and :authority differ"))
        }
        (field, authority) => Ok(authority.or(field)),
    }
}

/// `example.org` and `example.org:443` are the same https authority.
fn same(one: &Host<'_>, other: &Host<'_>, uri: &Uri) -> bool {
    let default = match uri.scheme_str() {
        Some("http") => Some(80),
        Some("https") => Some(443),
        _ => None,
    };
    one.name == other.name && one.port.or(default) == other.port.or(default)
}

/// The authority of an absolute target. The authority form is for CONNECT alone.
fn authority(uri: &Uri, version: Version) -> Result<Option<&str>, Refusal> {
    match (uri.scheme_str(), uri.authority()) {
        (None, None) => Ok(None),
        (None, Some(authority)) if version >= Version::HTTP_2 => Ok(Some(authority.as_str())),
        (Some("http" | "https"), Some(authority)) => Ok(Some(authority.as_str())),
        (None, Some(_)) => Err(bad("the target does not begin with a slash")),
        (Some(_), _) => Err(bad("the target has another scheme than http and https")),
    }
}

/// RFC 9110 section 10.1.1: 100-continue is the only expectation there is.
fn expectation(head: &Parts) -> Result<(), Refusal> {
    // "A server that receives a 100-continue expectation in an HTTP/1.0 request MUST ignore it."
    if head.version == Version::HTTP_10 {
        return Ok(());
    }
    let known = |value: &header::HeaderValue| {
        value
            .as_bytes()
            .trim_ascii()
            .eq_ignore_ascii_case(b"100-continue")
    };
    if head.headers.get_all(header::EXPECT).iter().all(known) {
        return Ok(());
    }
    Err(Refusal {
        status: StatusCode::EXPECTATION_FAILED,
        close: true,
        reason: "an unknown expectation",
    })
}

fn path_reason(error: PathError) -> &'static str {
    match error {
        PathError::Relative => "the target does not begin with a slash",
        PathError::Escape => "a percent sign without two hexadecimal digits",
        PathError::Nul => "a zero byte in the path",
        PathError::Backslash => "a backslash in the path",
        PathError::Climbs => "the path climbs above the root",
    }
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    /// Builds the head that a lenient parser would hand over, with the facts of its bytes.
    fn head(text: &str) -> (Parts, HeadFacts) {
        let mut facts = HeadFacts::default();
        let mut scanner = crate::wire::head::HeadScanner::new();
        scanner.scan(text.as_bytes(), |found| facts = found);
        let mut lines = text.split("\r\n");
        let mut words = lines.next().unwrap_or_default().split(' ');
        let mut request = Request::builder()
            .method(words.next().unwrap_or_default())
            .uri(words.next().unwrap_or_default())
            .version(match words.next() {
                Some("HTTP/1.0") => Version::HTTP_10,
                Some("HTTP/2") => Version::HTTP_2,
                _ => Version::HTTP_11,
            });
        for line in lines.take_while(|line| !line.is_empty()) {
            let (name, value) = line.split_once(':').unwrap_or((line, ""));
            request = request.header(name, value.trim());
        }
        let (parts, ()) = request.body(()).map(Request::into_parts).expect("a head");
        (parts, facts)
    }

    fn status(text: &str) -> u16 {
        let (parts, facts) = head(text);
        let facts = (parts.version <= Version::HTTP_11).then_some(&facts);
        match check(&parts, facts, &HeadLimits::default()) {
            Ok(_) => 200,
            Err(refusal) => refusal.status.as_u16(),
        }
    }

    #[test]
    fn the_probes() {
        for (text, expected) in [
            ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", 200),
            ("GET / HTTP/1.0\r\n\r\n", 200),
            ("GET / HTTP/1.1\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400),
            ("GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nHost:\r\n\r\n", 400),
            (
                "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
                400,
            ),
            (
                "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n",
                400,
            ),
            (
                "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
                200,
            ),
            (
                "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
                501,
            ),
            (
                "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, chunked\r\n\r\n",
                400,
            ),
            (
                "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
                400,
            ),
            ("GET http://a/ HTTP/1.1\r\nHost: b\r\n\r\n", 200),
            ("GET http://a/ HTTP/1.1\r\n\r\n", 400),
            ("GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
            ("GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
            ("GET example.org HTTP/1.1\r\nHost: a\r\n\r\n", 400),
            ("GET example.org:80 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
            ("GET /#x HTTP/1.1\r\nHost: a\r\n\r\n", 400),
            ("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", 200),
            ("GET * HTTP/1.1\r\nHost: a\r\n\r\n", 400),
            ("CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n", 405),
            ("TRACE / HTTP/1.1\r\nHost: a\r\n\r\n", 405),
            (
                "GET / HTTP/1.1\r\nHost: a\r\nExpect: 100-Continue\r\n\r\n",
                200,
            ),
            (
                "GET / HTTP/1.1\r\nHost: a\r\nExpect: the-unexpected\r\n\r\n",
                417,
            ),
            ("GET / HTTP/1.0\r\nHost: a\r\nExpect: x\r\n\r\n", 200),
            ("GET /../etc HTTP/1.1\r\nHost: a\r\n\r\n", 400),
            ("GET /%00 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
            ("GET https://a/ HTTP/2\r\n\r\n", 200),
            ("GET https://a/ HTTP/2\r\nHost: a:443\r\n\r\n", 200),
            ("GET https://a/ HTTP/2\r\nHost: b\r\n\r\n", 400),
            ("GET / HTTP/2\r\nHost: b\r\n\r\n", 200),
            ("GET / HTTP/2\r\n\r\n", 400),
        ] {
            assert_eq!(status(text), expected, "{text:?}");
        }
    }

    #[test]
    fn sizes_on_the_line() {
        let target = |length: usize| {
            format!(
                "GET /{} HTTP/1.1\r\nHost: a\r\n\r\n",
                "a".repeat(length - 1)
            )
        };
        assert_eq!(status(&target(8190)), 200);
        assert_eq!(status(&target(8191)), 414);
        assert_eq!(status(&target(60_000)), 414);
        let line = |length: usize| {
            format!(
                "GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n",
                "a".repeat(length - 3)
            )
        };
        assert_eq!(status(&line(8190)), 200);
        assert_eq!(status(&line(8191)), 431);
        let head = |count: usize| {
            format!(
                "GET / HTTP/1.1\r\nHost: a\r\n{}\r\n",
                format!("X: {}\r\n", "a".repeat(1019)).repeat(count)
            )
        };
        assert_eq!(status(&head(15)), 200);
        assert_eq!(status(&head(16)), 431);
        let fields = |count: usize| {
            format!(
                "GET / HTTP/1.1\r\nHost: a\r\n{}\r\n",
                "X: y\r\n".repeat(count - 1)
            )
        };
        assert_eq!(status(&fields(100)), 200);
        assert_eq!(status(&fields(101)), 431);
        assert_eq!(status(&line(8191).replace("HTTP/1.1", "HTTP/2")), 431);
        assert_eq!(status(&target(8191).replace("HTTP/1.1", "HTTP/2")), 414);
    }

    #[test]
    fn the_target_decides_over_host() {
        let (parts, facts) =
            head("GET http://A.example:8080/x HTTP/1.1\r\nHost: b.example\r\n\r\n");
        let checked = check(&parts, Some(&facts), &HeadLimits::default());
        assert!(matches!(
            checked,
            Ok(Checked::Resource { host: Some(Host { name, port: Some(8080) }), .. }) if name == "a.example"
        ));
    }
}
