//! Files over HTTP (XEP-0363): put into slots, and got by whoever knows where they are.

use std::{
    collections::HashSet,
    fs::File,
    io::{Read, Seek, SeekFrom},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    task::{Context, Poll},
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use http_body_util::{BodyExt, Empty, combinators::UnsyncBoxBody};
use omnid_hub::{Body, BodyError, Mount, MountContext, MountRequest, MountResponse};
use omnid_telemetry::limited;

use super::server::Server;
use crate::{
    data::{self, upload::Slot},
    features::last::stored,
};

/// How long a slot waits for its file.
pub(crate) const WAIT: Duration = Duration::from_secs(600);
/// Bytes that are read of a file at a time.
const PIECE: usize = 64 * 1024;

/// The place where files are put and got.
pub(crate) struct Files(pub(crate) Weak<Server>);

impl Mount for Files {
    fn serve(&self, request: MountRequest, context: MountContext) -> BoxFuture<'_, MountResponse> {
        let server = self.0.upgrade();
        Box::pin(async move {
            let mut response = match server {
                Some(server) => answer(&server, request, &context).await,
                None => plain(StatusCode::SERVICE_UNAVAILABLE),
            };
            always(response.headers_mut());
            response
        })
    }
}

/// What every answer says: nothing that was uploaded runs in anybody's name, and web clients may
/// read it.
fn always(headers: &mut HeaderMap) {
    for (name, value) in [
        ("access-control-allow-origin", "*"),
        ("access-control-allow-methods", "GET, HEAD, PUT, OPTIONS"),
        ("access-control-allow-headers", "Content-Type, Range"),
        (
            "access-control-expose-headers",
            "Content-Length, Content-Range",
        ),
        ("access-control-max-age", "7200"),
        (
            "content-security-policy",
            "default-src 'none'; frame-ancestors 'none'; sandbox",
        ),
        ("x-content-type-options", "nosniff"),
        ("cross-origin-resource-policy", "cross-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
}

fn plain(status: StatusCode) -> MountResponse {
    let body = Empty::new().map_err(|never| match never {});
    let mut response = http::Response::new(UnsyncBoxBody::new(body));
    *response.status_mut() = status;
    response
}

async fn answer(
    server: &Arc<Server>,
    request: MountRequest,
    context: &MountContext,
) -> MountResponse {
    // The body can't be looked at by two threads, and so not be held while waiting.
    let (head, body) = request.into_parts();
    if head.method == Method::OPTIONS {
        return plain(StatusCode::NO_CONTENT);
    }
    let rest = head.uri.path().strip_prefix(&*context.prefix);
    let token = rest.and_then(|rest| rest.strip_prefix('/')?.split('/').next());
    let Some(token) = token
        .filter(|token| token.len() == 64)
        .map(ToOwned::to_owned)
    else {
        return plain(StatusCode::NOT_FOUND);
    };
    let wanted = token.clone();
    let slot = server
        .ground
        .database
        .read(move |reader| data::upload::find(reader, &wanted))
        .await;
    let slot = match slot {
        Ok(Some(slot)) => slot,
        Ok(None) => return plain(StatusCode::NOT_FOUND),
        Err(error) => return failed(&error),
    };
    match head.method {
        Method::PUT => put(server, &head.headers, body, &token, &slot).await,
        Method::GET | Method::HEAD => get(server, &head, &slot).await,
        _ => {
            let mut response = plain(StatusCode::METHOD_NOT_ALLOWED);
            let allow = HeaderValue::from_static("GET, HEAD, PUT, OPTIONS");
            response.headers_mut().insert(header::ALLOW, allow);
            response
        }
    }
}

fn failed(error: &dyn std::fmt::Display) -> MountResponse {
    limited!(Duration::from_secs(10), error, "a file was not kept or not found", %error);
    plain(StatusCode::INTERNAL_SERVER_ERROR)
}

async fn put(
    server: &Server,
    headers: &HeaderMap,
    mut body: Body,
    token: &str,
    slot: &Slot,
) -> MountResponse {
    let late = stored(SystemTime::now()) > slot.at.saturating_add(WAIT.as_secs());
    if slot.blob.is_some() || late {
        return plain(StatusCode::FORBIDDEN);
    }
    let Some(_hold) = server.filling.hold(token) else {
        return plain(StatusCode::CONFLICT);
    };
    let said = headers.get(header::CONTENT_LENGTH);
    let said = said.and_then(|said| said.to_str().ok()?.parse::<u64>().ok());
    if said.is_some_and(|said| said != slot.size) {
        return plain(StatusCode::PAYLOAD_TOO_LARGE);
    }
    let mut writer = match server.ground.database.blobs().create().await {
        Ok(writer) => writer,
        Err(error) => return failed(&error),
    };
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else {
            return plain(StatusCode::BAD_REQUEST);
        };
        let Ok(bytes) = frame.into_data() else {
            continue;
        };
        if writer.size().saturating_add(bytes.len() as u64) > slot.size {
            return plain(StatusCode::PAYLOAD_TOO_LARGE);
        }
        if let Err(error) = writer.write(bytes).await {
            return failed(&error);
        }
    }
    if writer.size() != slot.size {
        return plain(StatusCode::BAD_REQUEST);
    }
    let blob = match writer.finish().await {
        Ok((blob, _)) => blob,
        Err(error) => return failed(&error),
    };
    let slot = token.to_owned();
    let filled = server
        .ground
        .database
        .write(move |tx| data::upload::fill(tx, &slot, &blob))
        .await;
    match filled {
        Ok(true) => plain(StatusCode::CREATED),
        // Somebody was faster.
        Ok(false) => plain(StatusCode::FORBIDDEN),
        Err(error) => failed(&error),
    }
}

async fn get(server: &Server, request: &http::request::Parts, slot: &Slot) -> MountResponse {
    let Some(blob) = slot.blob else {
        return plain(StatusCode::NOT_FOUND);
    };
    let file = match server.ground.database.blobs().open_blob(&blob).await {
        Ok(Some(file)) => file,
        Ok(None) => return plain(StatusCode::NOT_FOUND),
        Err(error) => return failed(&error),
    };
    let tag = format!("\"{blob}\"");
    let asked = |name| {
        request
            .headers
            .get(name)
            .and_then(|value| value.to_str().ok())
    };
    if asked(header::IF_NONE_MATCH).is_some_and(|known| known.contains(&tag)) {
        return plain(StatusCode::NOT_MODIFIED);
    }
    let whole = 0..slot.size;
    let (status, part) = match asked(header::RANGE).map(|text| range(text, slot.size)) {
        // What isn't understood is ignored (RFC 9110 14.2).
        None | Some(Wanted::Whole) => (StatusCode::OK, whole),
        Some(Wanted::Part(part)) => (StatusCode::PARTIAL_CONTENT, part),
        Some(Wanted::Nothing) => {
            let mut response = plain(StatusCode::RANGE_NOT_SATISFIABLE);
            if let Ok(value) = HeaderValue::from_str(&format!("bytes */{}", slot.size)) {
                response.headers_mut().insert(header::CONTENT_RANGE, value);
            }
            return response;
        }
    };
    let length = part.end.saturating_sub(part.start);
    let body: Body = if request.method == Method::HEAD {
        UnsyncBoxBody::new(Empty::new().map_err(|never| match never {}))
    } else {
        UnsyncBoxBody::new(FileBody {
            file: Some(file),
            at: part.start,
            left: length,
            reading: None,
        })
    };
    let mut response = http::Response::new(body);
    *response.status_mut() = status;
    let (kind, inline) = shown_as(&slot.kind);
    let how = if inline { "inline" } else { "attachment" };
    let mut lines = vec![
        (header::CONTENT_TYPE, kind.to_owned()),
        (header::CONTENT_LENGTH, length.to_string()),
        (header::CONTENT_DISPOSITION, how.to_owned()),
        (header::ACCEPT_RANGES, "bytes".to_owned()),
        (header::ETAG, tag),
        (
            header::CACHE_CONTROL,
            "public, max-age=31536000, immutable".to_owned(),
        ),
    ];
    if status == StatusCode::PARTIAL_CONTENT {
        let last = part.end.saturating_sub(1);
        let text = format!("bytes {}-{last}/{}", part.start, slot.size);
        lines.push((header::CONTENT_RANGE, text));
    }
    for (name, value) in lines {
        if let Ok(value) = HeaderValue::from_str(&value) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

/// What browsers may show: what can't hold a script.
const SHOWN: &[&str] = &[
    "audio/aac",
    "audio/flac",
    "audio/mp4",
    "audio/mpeg",
    "audio/ogg",
    "audio/opus",
    "audio/wav",
    "audio/webm",
    "audio/x-m4a",
    "audio/x-wav",
    "image/apng",
    "image/avif",
    "image/bmp",
    "image/gif",
    "image/heic",
    "image/heif",
    "image/jpeg",
    "image/png",
    "image/tiff",
    "image/webp",
    "video/3gpp",
    "video/mp4",
    "video/mpeg",
    "video/ogg",
    "video/quicktime",
    "video/webm",
    "video/x-matroska",
];

/// What a file is said to be, and whether browsers may show it.
fn shown_as(kind: &str) -> (&'static str, bool) {
    if kind.eq_ignore_ascii_case("text/plain") {
        return ("text/plain; charset=utf-8", true);
    }
    match SHOWN.iter().find(|known| known.eq_ignore_ascii_case(kind)) {
        Some(known) => (known, true),
        None => ("application/octet-stream", false),
    }
}

/// The slots that are being filled. Each by one request at a time: what several wrote at once would
/// all take room until the first is done.
#[derive(Default)]
pub(crate) struct Filling(Mutex<HashSet<String>>);

/// The right to fill a slot.
struct Hold<'a>(&'a Filling, &'a str);

impl Filling {
    fn slots(&self) -> MutexGuard<'_, HashSet<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hold<'a>(&'a self, token: &'a str) -> Option<Hold<'a>> {
        let free = self.slots().insert(token.to_owned());
        free.then(|| Hold(self, token))
    }
}

impl Drop for Hold<'_> {
    fn drop(&mut self) {
        self.0.slots().remove(self.1);
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Wanted {
    Whole,
    Part(std::ops::Range<u64>),
    Nothing,
}

/// One range of bytes; several are answered with the whole.
fn range(text: &str, size: u64) -> Wanted {
    let Some((first, last)) = text
        .trim()
        .strip_prefix("bytes=")
        .filter(|ranges| !ranges.contains(','))
        .and_then(|range| range.split_once('-'))
    else {
        return Wanted::Whole;
    };
    let part = match (first.trim().parse::<u64>(), last.trim().parse::<u64>()) {
        (Ok(first), Ok(last)) if first > last => return Wanted::Whole,
        (Ok(first), Ok(last)) => first..last.saturating_add(1).min(size),
        (Ok(first), Err(_)) if last.trim().is_empty() => first..size,
        (Err(_), Ok(last)) if first.trim().is_empty() => size.saturating_sub(last)..size,
        _ => return Wanted::Whole,
    };
    if part.start >= part.end {
        Wanted::Nothing
    } else {
        Wanted::Part(part)
    }
}

type Reading = tokio::task::JoinHandle<std::io::Result<(File, Bytes)>>;

/// A part of a file, read piece by piece where waiting for a disk holds nobody up.
struct FileBody {
    file: Option<File>,
    at: u64,
    left: u64,
    reading: Option<Reading>,
}

impl http_body::Body for FileBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, BodyError>>> {
        if self.reading.is_none() {
            if self.left == 0 {
                return Poll::Ready(None);
            }
            let Some(mut file) = self.file.take() else {
                return Poll::Ready(None);
            };
            let (at, most) = (self.at, self.left.min(PIECE as u64));
            self.reading = Some(tokio::task::spawn_blocking(move || {
                file.seek(SeekFrom::Start(at))?;
                let mut piece = vec![0; usize::try_from(most).unwrap_or(PIECE)];
                file.read_exact(&mut piece)?;
                Ok((file, piece.into()))
            }));
        }
        let Some(reading) = &mut self.reading else {
            return Poll::Ready(None);
        };
        let done = std::task::ready!(Pin::new(reading).poll(cx));
        self.reading = None;
        match done {
            Ok(Ok((file, piece))) => {
                self.file = Some(file);
                self.at += piece.len() as u64;
                self.left -= piece.len() as u64;
                Poll::Ready(Some(Ok(http_body::Frame::data(piece))))
            }
            Ok(Err(error)) => Poll::Ready(Some(Err(error.into()))),
            Err(error) => Poll::Ready(Some(Err(error.into()))),
        }
    }

    fn size_hint(&self) -> http_body::SizeHint {
        http_body::SizeHint::with_exact(self.left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges() {
        for (text, wanted) in [
            ("bytes=0-0", Wanted::Part(0..1)),
            ("bytes=2-", Wanted::Part(2..10)),
            ("bytes=-3", Wanted::Part(7..10)),
            ("bytes=-30", Wanted::Part(0..10)),
            ("bytes=5-99", Wanted::Part(5..10)),
            ("bytes=10-", Wanted::Nothing),
            ("bytes=-0", Wanted::Nothing),
            ("bytes=0-1,3-4", Wanted::Whole),
            ("bytes=3-1", Wanted::Whole),
            ("lines=1-2", Wanted::Whole),
            ("bytes=x", Wanted::Whole),
        ] {
            assert_eq!(range(text, 10), wanted, "{text}");
        }
    }

    #[test]
    fn slots_are_filled_by_one_at_a_time() {
        let filling = Filling::default();
        let first = filling.hold("a");
        assert!(first.is_some() && filling.hold("a").is_none());
        assert!(filling.hold("b").is_some());
        drop(first);
        assert!(filling.hold("a").is_some());
    }

    #[test]
    fn what_browsers_may_show() {
        for (kind, shown) in [
            ("image/png", "image/png"),
            ("Image/PNG", "image/png"),
            ("video/mp4", "video/mp4"),
            ("text/plain", "text/plain; charset=utf-8"),
            ("TEXT/plain", "text/plain; charset=utf-8"),
        ] {
            assert_eq!(shown_as(kind), (shown, true), "{kind}");
        }
        for kind in [
            "text/html",
            "image/svg+xml",
            "application/pdf",
            "",
            "application/xhtml+xml",
            "image/SVG+XML",
            "Image/svg+xml",
            "image/x+xml",
            "video/html",
        ] {
            assert_eq!(
                shown_as(kind),
                ("application/octet-stream", false),
                "{kind}"
            );
        }
    }
}
