//! Compression of responses on their way out, for clients that take it.
//!
//! What is compressed is decided by the head alone. The work is done on the blocking pool, a
//! piece at a time, by no more tasks than there are processors; no more responses at once are
//! compressed than `streams`, and those beyond go out as they are.

mod body;
mod encoder;

use std::sync::Arc;

use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};
use tokio::sync::Semaphore;

pub use body::CodedBody;
use encoder::Encoder;

use crate::{
    body::Body,
    wire::coding::{Coding, quality},
};

/// What is compressed.
#[derive(Debug)]
pub struct Compress {
    /// Codings, the best first.
    pub codings: Vec<Coding>,
    /// Media types; one that ends in "/" stands for all that begin with it.
    pub types: Vec<String>,
    /// The smallest body that is worth it.
    pub min: u64,
    /// Responses that are compressed at once.
    pub streams: Arc<Semaphore>,
}

const ACCEPT_ENCODING: HeaderValue = HeaderValue::from_static("accept-encoding");

impl Compress {
    /// Compresses a response if it may be and is worth it. `accept` is the client's
    /// Accept-Encoding.
    pub fn apply(
        &self,
        method: &Method,
        accept: Option<&HeaderValue>,
        response: &mut Response<Body>,
    ) {
        if !self.fits(response) {
            return;
        }
        // Whatever comes of it: another client would get something else (RFC 9110 section 12.5.5).
        add_vary(response.headers_mut());
        let Some(coding) = accept.and_then(|accept| self.choose(accept.as_bytes())) else {
            return;
        };
        if response.status() == StatusCode::NOT_MODIFIED {
            weaken(response.headers_mut());
            return;
        }
        if *method != Method::HEAD {
            let Ok(permit) = self.streams.clone().try_acquire_owned() else {
                return;
            };
            let body = std::mem::take(response.body_mut());
            let encoder = match Encoder::new(coding) {
                Ok(encoder) => encoder,
                Err(error) => {
                    tracing::warn!(%error, "cannot compress");
                    *response.body_mut() = body;
                    return;
                }
            };
            *response.body_mut() = Body::Coded(Box::new(CodedBody::new(body, encoder, permit)));
        }
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_ENCODING,
            HeaderValue::from_static(coding.name()),
        );
        headers.remove(header::CONTENT_LENGTH);
        // Ranges are of the bytes as they are in the file.
        headers.remove(header::ACCEPT_RANGES);
        headers.remove("content-md5");
        weaken(headers);
    }

    fn fits(&self, response: &Response<Body>) -> bool {
        let status = response.status();
        let headers = response.headers();
        let of_status = matches!(
            status.as_u16(),
            200 | 203 | 304 | 401 | 403 | 404 | 410 | 500..
        );
        let coded = headers.contains_key(header::CONTENT_ENCODING)
            || headers.contains_key(header::CONTENT_RANGE);
        // RFC 9110 section 7.7, RFC 9111 section 5.2.2.6.
        let untouchable = headers
            .get_all(header::CACHE_CONTROL)
            .iter()
            .any(|value| contains(value.as_bytes(), b"no-transform"));
        let long = headers
            .get(header::CONTENT_LENGTH)
            .and_then(|length| length.to_str().ok()?.parse::<u64>().ok())
            .is_none_or(|length| length >= self.min || status == StatusCode::NOT_MODIFIED);
        of_status && !coded && !untouchable && long && self.is_of_type(headers)
    }

    fn is_of_type(&self, headers: &HeaderMap) -> bool {
        let Some(kind) = headers.get(header::CONTENT_TYPE) else {
            return false;
        };
        let kind = kind.as_bytes();
        let end = kind.iter().position(|&byte| byte == b';');
        let kind = kind.get(..end.unwrap_or(kind.len())).unwrap_or_default();
        let kind = kind.trim_ascii();
        // Events must not wait in a compressor for others to come.
        !kind.eq_ignore_ascii_case(b"text/event-stream")
            && self.types.iter().any(|wanted| {
                let wanted = wanted.as_bytes();
                match wanted.last() {
                    Some(b'/') => kind
                        .get(..wanted.len())
                        .is_some_and(|start| start.eq_ignore_ascii_case(wanted)),
                    _ => kind.eq_ignore_ascii_case(wanted),
                }
            })
    }

    /// The coding that the client likes best; of several that it likes as well, the first of ours.
    fn choose(&self, accept: &[u8]) -> Option<Coding> {
        let mut best: Option<(u16, Coding)> = None;
        for &coding in &self.codings {
            let quality = quality(accept, coding);
            if quality > best.map_or(0, |(quality, _)| quality) {
                best = Some((quality, coding));
            }
        }
        best.map(|(_, coding)| coding)
    }
}

fn contains(list: &[u8], wanted: &[u8]) -> bool {
    list.split(|&byte| byte == b',')
        .any(|element| element.trim_ascii().eq_ignore_ascii_case(wanted))
}

fn add_vary(headers: &mut HeaderMap) {
    let said = headers.get_all(header::VARY).iter().any(|value| {
        contains(value.as_bytes(), b"accept-encoding") || contains(value.as_bytes(), b"*")
    });
    if !said {
        headers.append(header::VARY, ACCEPT_ENCODING);
    }
}

/// The same content in other bytes: RFC 9110 section 8.8.1 wants another tag, or a weak one.
fn weaken(headers: &mut HeaderMap) {
    let Some(tag) = headers.get(header::ETAG) else {
        return;
    };
    if tag.as_bytes().starts_with(b"W/") {
        return;
    }
    if let Ok(weak) = HeaderValue::from_bytes(&[b"W/", tag.as_bytes()].concat()) {
        headers.insert(header::ETAG, weak);
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http_body_util::BodyExt;

    use super::*;

    fn compress() -> Compress {
        Compress {
            codings: vec![Coding::Zstd, Coding::Brotli, Coding::Gzip],
            types: vec!["text/".into(), "application/json".into()],
            min: 10,
            streams: Arc::new(Semaphore::new(1)),
        }
    }

    fn response(fields: &[(&'static str, &'static str)], body: &'static [u8]) -> Response<Body> {
        let mut response = Response::new(Body::from(Bytes::from_static(body)));
        for (name, value) in fields {
            let value = HeaderValue::from_static(value);
            response.headers_mut().append(*name, value);
        }
        response
    }

    fn coded(accept: Option<&'static str>, response: &mut Response<Body>) -> Option<String> {
        let accept = accept.map(HeaderValue::from_static);
        compress().apply(&Method::GET, accept.as_ref(), response);
        let coding = response.headers().get(header::CONTENT_ENCODING)?;
        Some(coding.to_str().unwrap_or_default().to_owned())
    }

    const TEXT: (&str, &str) = ("content-type", "text/plain; charset=utf-8");

    #[test]
    fn what_is_compressed_and_how() {
        for (accept, expected) in [
            ("gzip", Some("gzip")),
            ("gzip, br", Some("br")),
            ("gzip, br, zstd", Some("zstd")),
            ("gzip;q=1, zstd;q=0.5", Some("gzip")),
            ("gzip;q=0", None),
            ("identity", None),
            ("deflate", None),
        ] {
            let mut response = response(&[TEXT, ("etag", "\"x\"")], b"0123456789");
            assert_eq!(
                coded(Some(accept), &mut response).as_deref(),
                expected,
                "{accept}"
            );
            let headers = response.headers();
            assert_eq!(headers["vary"], "accept-encoding", "{accept}");
            let tag = if expected.is_some() {
                "W/\"x\""
            } else {
                "\"x\""
            };
            assert_eq!(headers["etag"], tag, "{accept}");
        }
        let mut none = response(&[TEXT], b"0123456789");
        assert_eq!(coded(None, &mut none), None);
        assert_eq!(none.headers()["vary"], "accept-encoding");
    }

    #[test]
    fn what_is_left_as_it_is() {
        for fields in [
            &[("content-type", "image/png")][..],
            &[],
            &[("content-type", "text/event-stream")],
            &[TEXT, ("content-encoding", "br")],
            &[TEXT, ("content-range", "bytes 0-9/10")],
            &[TEXT, ("cache-control", "public, No-Transform")],
            &[TEXT, ("content-length", "9")],
            &[("content-type", "application/jsonp")],
        ] {
            let mut response = response(fields, b"0123456789");
            let before = response.headers().get(header::CONTENT_ENCODING).cloned();
            coded(Some("gzip"), &mut response);
            let headers = response.headers();
            assert_eq!(
                headers.get(header::CONTENT_ENCODING),
                before.as_ref(),
                "{fields:?}"
            );
            assert!(!headers.contains_key(header::VARY), "{fields:?}");
        }
        for status in [204, 206, 301, 416] {
            let mut response = response(&[TEXT], b"0123456789");
            *response.status_mut() = StatusCode::from_u16(status).unwrap_or_default();
            assert_eq!(coded(Some("gzip"), &mut response), None, "{status}");
        }
    }

    #[tokio::test]
    async fn beyond_the_bound_it_goes_out_as_it_is() {
        let compress = compress();
        let gzip = HeaderValue::from_static("gzip");
        let mut first = response(&[TEXT], b"0123456789");
        compress.apply(&Method::GET, Some(&gzip), &mut first);
        let mut second = response(&[TEXT], b"0123456789");
        compress.apply(&Method::GET, Some(&gzip), &mut second);
        assert!(first.headers().contains_key(header::CONTENT_ENCODING));
        assert!(!second.headers().contains_key(header::CONTENT_ENCODING));
        let body = first.into_body().collect().await;
        let bytes = body
            .map(http_body_util::Collected::to_bytes)
            .unwrap_or_default();
        assert!(bytes.starts_with(&[0x1f, 0x8b]));
        let mut third = response(&[TEXT], b"0123456789");
        compress.apply(&Method::GET, Some(&gzip), &mut third);
        assert!(third.headers().contains_key(header::CONTENT_ENCODING));
    }
}
