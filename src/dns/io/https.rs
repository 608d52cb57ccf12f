//! DNS over HTTPS (RFC 8484): a handler that the HTTP service serves on the sites that ask.

use std::sync::{Arc, Weak};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::future::BoxFuture;
use http::{HeaderValue, Method, StatusCode, header};
use http_body_util::{BodyExt, Full};
use omnid_hub::{Body, Mount, MountContext, MountRequest, MountResponse};

use super::exchange::{Exchanged, exchange};
use super::{MAX_MESSAGE, Shared};
use crate::engine::answer::{Client, Transport};
use crate::wire::code::{Opcode, Rcode, RrType};
use crate::wire::reader::{Header, Malformed, Reader, flag};

const MEDIA_TYPE: &str = "application/dns-message";
/// As the query log names it; which port it was is the HTTP service's business.
const LISTENER: &str = "https";

/// The handler.
pub(crate) struct Https(pub(crate) Weak<Shared>);

impl Mount for Https {
    fn serve(&self, request: MountRequest, context: MountContext) -> BoxFuture<'_, MountResponse> {
        let shared = self.0.upgrade();
        Box::pin(async move {
            let Some(shared) = shared else {
                return failed(StatusCode::SERVICE_UNAVAILABLE);
            };
            match answer(&shared, request, &context).await {
                Ok(message) => answered(message),
                Err(status) => failed(status),
            }
        })
    }
}

async fn answer(
    shared: &Arc<Shared>,
    request: MountRequest,
    context: &MountContext,
) -> Result<Vec<u8>, StatusCode> {
    let (head, body) = request.into_parts();
    // It is small, and some clients take an answer that does not wait for it for a failure.
    let body = from_body(body).await?;
    if head.uri.path() != &*context.prefix {
        return Err(StatusCode::NOT_FOUND);
    }
    let message = match head.method {
        Method::GET | Method::HEAD => from_query(head.uri.query())?,
        Method::POST => {
            if !is_message(head.headers.get(header::CONTENT_TYPE)) {
                return Err(StatusCode::UNSUPPORTED_MEDIA_TYPE);
            }
            body
        }
        _ => return Err(StatusCode::METHOD_NOT_ALLOWED),
    };
    let header = Header::read(&message).map_err(|_| StatusCode::BAD_REQUEST)?;
    if header.is_response() {
        return Err(StatusCode::BAD_REQUEST);
    }
    // A page of another site can make a browser send a GET: nothing may be changed by it. Nobody
    // changes or copies zones this way, and a response is one message.
    if header.opcode() != Opcode::QUERY || asks_for_zone(&message) {
        return Ok(not_here(header));
    }
    let client = Client::new(context.peer.ip(), Transport::Https).at(context.local);
    match exchange(shared, &client, LISTENER, context.peer, &message).await {
        Exchanged::Reply(bytes) => Ok(bytes),
        Exchanged::Transfer => Ok(not_here(header)),
        Exchanged::Nothing => Err(StatusCode::SERVICE_UNAVAILABLE),
    }
}

/// NOTIMP, without sections.
fn not_here(request: Header) -> Vec<u8> {
    const OPCODE: u16 = 0x7800;
    let flags = flag::QR | request.flags & (OPCODE | flag::RD | flag::CD) | Rcode::NOTIMP.0;
    let mut message = vec![0; Header::LEN];
    let head = request
        .id
        .to_be_bytes()
        .into_iter()
        .chain(flags.to_be_bytes());
    message
        .iter_mut()
        .zip(head)
        .for_each(|(at, octet)| *at = octet);
    message
}

fn asks_for_zone(message: &[u8]) -> bool {
    let mut reader = Reader::at(message, Header::LEN);
    reader.skip_name().is_ok()
        && reader
            .u16()
            .is_ok_and(|kind| matches!(RrType(kind), RrType::AXFR | RrType::IXFR))
}

/// The variable `dns` of the URI template (RFC 8484 4.1).
fn from_query(query: Option<&str>) -> Result<Vec<u8>, StatusCode> {
    let variables = query.unwrap_or_default().split('&');
    let text = variables
        .filter_map(|variable| variable.strip_prefix("dns="))
        .next()
        .ok_or(StatusCode::BAD_REQUEST)?;
    // Some pad, though they must not (RFC 8484 6).
    let decoded = URL_SAFE_NO_PAD.decode(text.trim_end_matches('='));
    decoded.map_err(|_| StatusCode::BAD_REQUEST)
}

fn is_message(media_type: Option<&HeaderValue>) -> bool {
    let text = media_type.and_then(|value| value.to_str().ok());
    let essence = text.and_then(|text| text.split(';').next());
    essence.is_some_and(|essence| essence.trim().eq_ignore_ascii_case(MEDIA_TYPE))
}

async fn from_body(mut body: Body) -> Result<Vec<u8>, StatusCode> {
    let mut message = Vec::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| StatusCode::BAD_REQUEST)?.into_data() else {
            continue;
        };
        if message.len().saturating_add(data.len()) > MAX_MESSAGE {
            return Err(StatusCode::PAYLOAD_TOO_LARGE);
        }
        message.extend_from_slice(&data);
    }
    Ok(message)
}

fn answered(message: Vec<u8>) -> MountResponse {
    // What one client is told need not be what the next is told: access goes by address, cookies
    // are for one.
    let age = format!("private, max-age={}", freshness(&message).unwrap_or(0));
    let mut response = http::Response::new(body(message));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
    if let Ok(age) = HeaderValue::from_str(&age) {
        headers.insert(header::CACHE_CONTROL, age);
    }
    response
}

fn failed(status: StatusCode) -> MountResponse {
    let mut response = http::Response::new(body(Vec::new()));
    *response.status_mut() = status;
    if status == StatusCode::METHOD_NOT_ALLOWED {
        let allow = HeaderValue::from_static("GET, HEAD, POST");
        response.headers_mut().insert(header::ALLOW, allow);
    }
    response
}

fn body(bytes: Vec<u8>) -> Body {
    Full::from(bytes)
        .map_err(|never| match never {})
        .boxed_unsync()
}

/// How long a response is good, in seconds (RFC 8484 5.1): as long as the shortest-lived of its
/// answers, and no longer than what it denies is denied.
fn freshness(message: &[u8]) -> Result<u32, Malformed> {
    let header = Header::read(message)?;
    if !matches!(header.rcode(), Rcode::NOERROR | Rcode::NXDOMAIN) {
        return Ok(0);
    }
    let mut reader = Reader::at(message, Header::LEN);
    for _ in 0..header.questions {
        reader.skip_name()?;
        reader.u32()?;
    }
    let mut shortest = None;
    let mut take = |ttl: u32| shortest = Some(shortest.map_or(ttl, |known: u32| known.min(ttl)));
    for _ in 0..header.answers {
        take(reader.record()?.ttl);
    }
    for _ in 0..header.authorities {
        let record = reader.record()?;
        if record.rr_type == RrType::SOA {
            // MINIMUM is the last of its fields.
            let end = record.rdata_at.checked_add(record.rdata_len);
            let at = end.and_then(|end| end.checked_sub(4)).ok_or(Malformed)?;
            take(record.ttl.min(Reader::at(message, at).u32()?));
        }
    }
    Ok(shortest.unwrap_or(0))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    /// The query of RFC 8484 4.1.1.
    const EXAMPLE: &str = "AAABAAABAAAAAAAAA3d3dwdleGFtcGxlA2NvbQAAAQAB";

    #[test]
    fn the_query_of_the_rfc() {
        let query = from_query(Some(&format!("dns={EXAMPLE}"))).unwrap();
        assert_eq!(query.len(), 33);
        assert!(query.ends_with(b"\x03www\x07example\x03com\0\0\x01\0\x01"));
        let padded = from_query(Some(&format!("a=b&dns={EXAMPLE}==&dns=x")));
        assert_eq!(padded.unwrap(), query);
        for bad in [None, Some(""), Some("dns"), Some("dns=?"), Some("dns=a+b/")] {
            assert_eq!(from_query(bad), Err(StatusCode::BAD_REQUEST), "{bad:?}");
        }
    }

    #[test]
    fn media_types() {
        for (text, expected) in [
            ("application/dns-message", true),
            ("Application/DNS-Message; charset=x", true),
            ("application/dns-json", false),
            ("", false),
        ] {
            let value = HeaderValue::from_static(text);
            assert_eq!(is_message(Some(&value)), expected, "{text}");
        }
        assert!(!is_message(None));
    }

    /// A response with these answers' TTLs, and an SOA with this TTL and MINIMUM.
    fn response(rcode: u8, ttls: &[u32], soa: Option<(u32, u32)>) -> Vec<u8> {
        let count = |count: usize| u8::try_from(count).unwrap();
        let mut message = vec![0, 0, 0x84, rcode, 0, 1, 0, count(ttls.len()), 0];
        message.extend([count(soa.iter().len()), 0, 0]);
        message.extend(b"\x01a\0\0\x01\0\x01");
        for ttl in ttls {
            message.extend(b"\xc0\x0c\0\x01\0\x01");
            message.extend(ttl.to_be_bytes());
            message.extend([0, 4, 192, 0, 2, 1]);
        }
        if let Some((ttl, minimum)) = soa {
            message.extend(b"\xc0\x0c\0\x06\0\x01");
            message.extend(ttl.to_be_bytes());
            message.extend([0, 22, 0, 0]);
            message.extend([0; 16]);
            message.extend(minimum.to_be_bytes());
        }
        message
    }

    #[test]
    fn how_long_responses_are_good() {
        for (rcode, ttls, soa, expected) in [
            (0, &[300, 60, 3600][..], None, 60),
            (0, &[], Some((3600, 30)), 30),
            (3, &[], Some((20, 30)), 20),
            // An alias that leads to nothing.
            (3, &[300], Some((3600, 30)), 30),
            (0, &[], None, 0),
            (2, &[300], None, 0),
        ] {
            let message = response(rcode, ttls, soa);
            assert_eq!(freshness(&message), Ok(expected), "{rcode} {ttls:?}");
            for cut in 0..message.len() {
                // Never a panic; whether it shows is for whom it is sent to.
                let _ = freshness(message.get(..cut).unwrap());
            }
        }
    }

    #[test]
    fn what_is_not_a_query_is_not_implemented() {
        let request = Header::read(&[1, 2, 0x29, 0x20, 0, 1, 0, 0, 0, 0, 0, 0]).unwrap();
        let answer = not_here(request);
        assert_eq!(answer, [1, 2, 0xa9, 4, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert!(asks_for_zone(
            b"\0\0\0\0\0\x01\0\0\0\0\0\0\x01a\0\0\xfc\0\x01"
        ));
        assert!(!asks_for_zone(
            b"\0\0\0\0\0\x01\0\0\0\0\0\0\x01a\0\0\x01\0\x01"
        ));
    }
}
