//! Responses built from requests (RFC 3261 8.2.6).

use std::{io::Write, net::SocketAddr};

use bytes::Bytes;

use super::{
    HeaderName, Message, Via,
    lex::{find_outside, trim_end},
};

/// A response under construction.
pub struct Response {
    text: Vec<u8>,
}

impl Response {
    /// Begins a response with all that it takes from its request. `source` is where the request
    /// came from; `tag` is given to a To that has none.
    ///
    /// What a refused request lacks, its answer lacks too.
    #[must_use]
    pub fn new(
        request: &Message,
        source: SocketAddr,
        status: u16,
        reason: &str,
        tag: &str,
    ) -> Self {
        let mut response = Self {
            text: Vec::with_capacity(512),
        };
        response.put(&[
            b"SIP/2.0 ",
            status.to_string().as_bytes(),
            b" ",
            reason.as_bytes(),
            b"\r\n",
        ]);
        for (at, line) in request.lines(HeaderName::Via).enumerate() {
            if at == 0 {
                let first = find_outside(line, b',').unwrap_or(line.len());
                let (first, rest) = line.split_at_checked(first).unwrap_or((line, &[]));
                match stamped_via(first, source) {
                    Some(stamped) => response.put(&[b"Via: ", &stamped, rest, b"\r\n"]),
                    None => response.put(&[b"Via: ", line, b"\r\n"]),
                }
            } else {
                response.put(&[b"Via: ", line, b"\r\n"]);
            }
        }
        if let Some(from) = request.value(HeaderName::From) {
            response.put(&[b"From: ", from, b"\r\n"]);
        }
        if let Some(to) = request.value(HeaderName::To) {
            let tagless = request.to().is_ok_and(|to| to.tag().is_none());
            if tagless && status > 100 {
                response.put(&[b"To: ", to, b";tag=", tag.as_bytes(), b"\r\n"]);
            } else {
                response.put(&[b"To: ", to, b"\r\n"]);
            }
        }
        for name in [HeaderName::CallId, HeaderName::CSeq] {
            if let Some(value) = request.value(name) {
                response.header(name, value);
            }
        }
        // RFC 3261 8.2.6.1: so that the client can measure.
        if status == 100
            && let Some(value) = request.value(HeaderName::Timestamp)
        {
            response.header(HeaderName::Timestamp, value);
        }
        response
    }

    /// Adds a header line.
    pub fn header(&mut self, name: HeaderName, value: &[u8]) {
        self.put(&[name.as_str().as_bytes(), b": ", value, b"\r\n"]);
    }

    /// Adds a header line with a number.
    pub fn number(&mut self, name: HeaderName, value: u64) {
        self.header(name, value.to_string().as_bytes());
    }

    /// The response, without a body.
    #[must_use]
    pub fn finish(mut self) -> Bytes {
        self.put(&[b"Content-Length: 0\r\n\r\n"]);
        self.text.into()
    }

    fn put(&mut self, pieces: &[&[u8]]) {
        for piece in pieces {
            self.text.extend_from_slice(piece);
        }
    }
}

/// The first Via of a request with where it really came from (RFC 3261 18.2.1, RFC 3581): `received`
/// always, so that nobody can have us answer an address it only claims; `rport` where it is asked
/// for.
pub(crate) fn stamped_via(value: &[u8], source: SocketAddr) -> Option<Vec<u8>> {
    let via = Via::parse(value).ok()?;
    let sent_by = value.iter().position(|byte| *byte == b';');
    let sent_by = value.get(..sent_by.unwrap_or(value.len()))?;
    let mut stamped = Vec::with_capacity(value.len() + 40);
    stamped.extend_from_slice(trim_end(sent_by));
    let mut asked = false;
    for param in via.params.iter() {
        if param.name.eq_ignore_ascii_case(b"rport") {
            asked = true;
        } else if !param.name.eq_ignore_ascii_case(b"received") {
            stamped.push(b';');
            stamped.extend_from_slice(param.name);
            if let Some(value) = param.value {
                stamped.push(b'=');
                stamped.extend_from_slice(value);
            }
        }
    }
    // Writing to a Vec cannot fail.
    write!(stamped, ";received={}", source.ip().to_canonical()).ok()?;
    if asked {
        write!(stamped, ";rport={}", source.port()).ok()?;
    }
    Some(stamped)
}

/// The usual reason phrase of a status (RFC 3261 21 and later ones).
#[must_use]
pub const fn reason_phrase(status: u16) -> &'static str {
    match status {
        100 => "Trying",
        180 => "Ringing",
        181 => "Call Is Being Forwarded",
        182 => "Queued",
        183 => "Session Progress",
        200 => "OK",
        202 => "Accepted",
        300 => "Multiple Choices",
        301 => "Moved Permanently",
        302 => "Moved Temporarily",
        305 => "Use Proxy",
        380 => "Alternative Service",
        400 => "Bad Request",
        401 => "Unauthorized",
        402 => "Payment Required",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        407 => "Proxy Authentication Required",
        408 => "Request Timeout",
        410 => "Gone",
        413 => "Request Entity Too Large",
        414 => "Request-URI Too Long",
        415 => "Unsupported Media Type",
        416 => "Unsupported URI Scheme",
        420 => "Bad Extension",
        421 => "Extension Required",
        422 => "Session Interval Too Small",
        423 => "Interval Too Brief",
        430 => "Flow Failed",
        440 => "Max-Breadth Exceeded",
        480 => "Temporarily Unavailable",
        481 => "Call/Transaction Does Not Exist",
        482 => "Loop Detected",
        483 => "Too Many Hops",
        484 => "Address Incomplete",
        485 => "Ambiguous",
        486 => "Busy Here",
        487 => "Request Terminated",
        488 => "Not Acceptable Here",
        489 => "Bad Event",
        491 => "Request Pending",
        493 => "Undecipherable",
        500 => "Server Internal Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Server Time-out",
        505 => "Version Not Supported",
        513 => "Message Too Large",
        600 => "Busy Everywhere",
        603 => "Decline",
        604 => "Does Not Exist Anywhere",
        606 => "Not Acceptable",
        _ => "Unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(value: &str, source: &str) -> Option<String> {
        let source = source.parse().ok()?;
        String::from_utf8(stamped_via(value.as_bytes(), source)?).ok()
    }

    #[test]
    fn a_via_says_where_its_request_came_from() {
        assert_eq!(
            stamp(
                "SIP/2.0/UDP 10.1.1.1:4540;rport;branch=z9hG4bKkjshdyff",
                "192.0.2.1:9988"
            )
            .as_deref(),
            Some("SIP/2.0/UDP 10.1.1.1:4540;branch=z9hG4bKkjshdyff;received=192.0.2.1;rport=9988"),
        );
        assert_eq!(
            stamp(
                "SIP/2.0/TCP host ; received=1.2.3.4;branch = x",
                "[2001:db8::9]:1"
            )
            .as_deref(),
            Some("SIP/2.0/TCP host;branch=x;received=2001:db8::9"),
        );
        assert_eq!(
            stamp("SIP/2.0/UDP a;rport=1;x", "[::ffff:192.0.2.7]:5").as_deref(),
            Some("SIP/2.0/UDP a;x;received=192.0.2.7;rport=5"),
        );
    }
}
