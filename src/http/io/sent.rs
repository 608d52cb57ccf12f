//! A response body on its way out. Its exchange is over when it is.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use omnid_hub::BodyError;
use omnid_telemetry::limited;
use tokio::time::Sleep;

use super::exchange::Exchange;
use crate::body::Body;

/// A body whose exchange is over when it is dropped.
pub struct SentBody {
    body: Body,
    exchange: Exchange,
    rest: Bytes,
    /// Where the client has had as much as it may.
    pause: Option<Pin<Box<Sleep>>>,
    broken: Option<BodyError>,
}

/// What one HTTP/2 stream hands out at once. A frame holds no more, and a piece that is larger
/// could be on its way for longer than a shut window is allowed to stay shut.
const PIECE_MAX: usize = 16 * 1024;

impl SentBody {
    /// Follows `body`.
    pub(super) fn new(body: Body, mut exchange: Exchange) -> Self {
        let owes = exchange.sends(0);
        Self {
            body,
            exchange,
            rest: Bytes::new(),
            pause: owes.map(pause),
            broken: None,
        }
    }

    fn hand_out(&mut self, mut bytes: Bytes) -> Frame<Bytes> {
        if let Some(progress) = &self.exchange.progress {
            progress.hands_out();
            if bytes.len() > PIECE_MAX {
                self.rest = bytes.split_off(PIECE_MAX);
            }
        }
        if let Some(until) = self.exchange.sends(bytes.len()) {
            self.pause = Some(pause(until));
        }
        Frame::data(bytes)
    }
}

fn pause(until: Instant) -> Pin<Box<Sleep>> {
    Box::pin(tokio::time::sleep_until(until.into()))
}

impl http_body::Body for SentBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        if let Some(progress) = &this.exchange.progress {
            progress.asked();
        }
        if let Some(error) = this.broken.take() {
            return Poll::Ready(Some(Err(error)));
        }
        if let Some(pause) = &mut this.pause {
            ready!(pause.as_mut().poll(cx));
            this.pause = None;
        }
        if !this.rest.is_empty() {
            let rest = std::mem::take(&mut this.rest);
            return Poll::Ready(Some(Ok(this.hand_out(rest))));
        }
        match Pin::new(&mut this.body).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => Poll::Ready(Some(Ok(match frame.into_data() {
                Ok(bytes) => this.hand_out(bytes),
                Err(trailers) => trailers,
            }))),
            Poll::Ready(Some(Err(error))) => {
                let span = this.exchange.record.as_ref().map(|record| record.span());
                span.unwrap_or_else(tracing::Span::none).in_scope(|| {
                    limited!(Duration::from_secs(1), warn, "response cut off", %error);
                });
                // What was handed over before is sent before the error ends the connection.
                this.broken = Some(error);
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            other => other,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let mut hint = self.body.size_hint();
        let rest = self.rest.len() as u64;
        match hint.exact() {
            Some(exact) => hint.set_exact(exact.saturating_add(rest)),
            None => hint.set_lower(hint.lower().saturating_add(rest)),
        }
        hint
    }
}
