//! A program's output as a response: its head, then its body as it comes.

use std::{
    future::Future,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use bytes::{Bytes, BytesMut};
use http::{HeaderValue, Response, StatusCode, header};
use http_body::{Frame, SizeHint};
use omnid_hub::BodyError;
use tokio::time::Sleep;

use super::{process::Process, session::Session, upload::refused};
use crate::{
    answer::{self, Failure},
    body::Body,
    io::UploadError,
    wire::cgi,
};

/// Where a program's output comes from. It takes the request's body at the same time.
pub(super) enum Source {
    FastCgi(Session),
    Process(Process),
}

impl Source {
    /// The next piece of output; `None` at its end.
    fn poll_output(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Bytes>>> {
        match self {
            Self::FastCgi(session) => session.poll_output(cx),
            Self::Process(process) => process.poll_output(cx),
        }
    }
}

impl Source {
    /// Bytes of the request that have been taken.
    fn taken(&self) -> u64 {
        match self {
            Self::FastCgi(session) => session.taken,
            Self::Process(process) => process.taken,
        }
    }
}

/// Waits for the head and makes a response of it. The time for it begins anew with every piece of
/// the request that is taken: an upload that moves is not late.
///
/// # Errors
/// 502 for what is no response, 504 where nothing comes in time, and what is the client's fault.
pub(super) async fn response(
    mut source: Source,
    name: &str,
    first: Duration,
    idle: Duration,
) -> Result<Response<Body>, Failure> {
    let mut bytes = BytesMut::new();
    let bad =
        |reason: &str| Failure::new(StatusCode::BAD_GATEWAY).because(format!("{name}: {reason}"));
    let mut deadline = Instant::now() + first;
    let mut sleep = std::pin::pin!(tokio::time::sleep_until(deadline.into()));
    let mut taken = source.taken();
    let end = loop {
        let piece = std::future::poll_fn(|cx| {
            if let Poll::Ready(piece) = source.poll_output(cx) {
                return Poll::Ready(Some(piece));
            }
            if source.taken() != taken {
                taken = source.taken();
                deadline = Instant::now() + first;
                sleep.as_mut().reset(deadline.into());
            }
            // A program that keeps the task busy leaves the timer no turn.
            if deadline <= Instant::now() {
                return Poll::Ready(None);
            }
            sleep.as_mut().poll(cx).map(|()| None)
        })
        .await;
        match piece {
            None => {
                return Err(Failure::new(StatusCode::GATEWAY_TIMEOUT)
                    .because(format!("{name}: no response in time")));
            }
            Some(Err(error)) => {
                // The client's own fault, where it is the upload that failed.
                return Err(match error.get_ref() {
                    Some(cause) if cause.is::<UploadError>() => refused(cause),
                    _ => bad(&error.to_string()),
                });
            }
            Some(Ok(None)) if bytes.is_empty() => return Err(bad("it ended without a word")),
            Some(Ok(None)) => return Err(bad(&cgi::Fault::Endless.to_string())),
            Some(Ok(Some(piece))) => bytes.extend_from_slice(&piece),
        }
        if let Some(end) = cgi::end(&bytes) {
            break end;
        }
        if bytes.len() > cgi::HEAD_MAX {
            return Err(bad(&cgi::Fault::Endless.to_string()));
        }
    };
    let head = bytes.split_to(end);
    let head = cgi::parse(&head).map_err(|fault| bad(&fault.to_string()))?;
    let mut response = answer::empty(head.status);
    *response.headers_mut() = head.fields;
    if matches!(
        head.status,
        StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT | StatusCode::NOT_MODIFIED
    ) {
        return Ok(response);
    }
    if let Some(length) = head.length {
        let length = HeaderValue::from(length);
        response
            .headers_mut()
            .insert(header::CONTENT_LENGTH, length);
    }
    *response.body_mut() = Body::Gateway(Box::new(GatewayBody {
        source: Some(source),
        rest: bytes.freeze(),
        left: head.length,
        idle,
        waiting_since: None,
        sleep: None,
    }));
    Ok(response)
}

/// A program's output on its way to a client.
pub struct GatewayBody {
    /// `None` when it has ended.
    source: Option<Source>,
    /// What came with the head.
    rest: Bytes,
    /// Bytes that the program owes, where it said how many.
    left: Option<u64>,
    idle: Duration,
    waiting_since: Option<Instant>,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl GatewayBody {
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        if !self.rest.is_empty() {
            return Poll::Ready(Some(Ok(std::mem::take(&mut self.rest))));
        }
        let Some(source) = &mut self.source else {
            return Poll::Ready(None);
        };
        if let Poll::Ready(piece) = source.poll_output(cx) {
            self.waiting_since = None;
            let piece = piece.transpose();
            if !matches!(piece, Some(Ok(_))) {
                self.source = None;
            }
            return Poll::Ready(piece);
        }
        let since = *self.waiting_since.get_or_insert_with(Instant::now);
        let deadline = since + self.idle;
        let sleep = self
            .sleep
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline.into())));
        loop {
            // Looked at first: a program that keeps the task busy leaves the timer no turn.
            if deadline <= Instant::now() {
                self.source = None;
                let error = io::Error::other("the program stopped sending");
                return Poll::Ready(Some(Err(error)));
            }
            if sleep.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            sleep.as_mut().reset(deadline.into());
        }
    }
}

impl http_body::Body for GatewayBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let piece = ready!(self.poll_piece(cx));
        Poll::Ready(match piece {
            Some(Ok(piece)) => {
                let Some(left) = self.left else {
                    return Poll::Ready(Some(Ok(Frame::data(piece))));
                };
                match left.checked_sub(piece.len() as u64) {
                    Some(left) => {
                        self.left = Some(left);
                        Some(Ok(Frame::data(piece)))
                    }
                    None => Some(Err("the program sent more than it said".into())),
                }
            }
            Some(Err(error)) => Some(Err(error.into())),
            None if self.left.is_some_and(|left| left > 0) => {
                Some(Err("the program sent less than it said".into()))
            }
            None => None,
        })
    }

    fn size_hint(&self) -> SizeHint {
        self.left
            .map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
