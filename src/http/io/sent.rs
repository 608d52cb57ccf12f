//! A response body on its way out. Its exchange is over when it is.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use omnid_hub::BodyError;
use omnid_telemetry::limited;

use super::{exchange::Exchange, executor::StreamProgress};
use crate::body::Body;

/// A body that says when it is over. However it ends, it ends by being dropped.
pub struct SentBody {
    body: Body,
    exchange: Exchange,
    /// For HTTP/2, where pieces are also cut to [`PIECE_MAX`].
    progress: Option<Arc<StreamProgress>>,
    rest: Bytes,
    broken: Option<BodyError>,
}

/// What one HTTP/2 stream hands out at once. A frame holds no more, and a piece that is larger
/// could be on its way for longer than a shut window is allowed to stay shut.
const PIECE_MAX: usize = 16 * 1024;

impl SentBody {
    /// Follows `body`.
    pub(super) fn new(
        body: Body,
        exchange: Exchange,
        progress: Option<Arc<StreamProgress>>,
    ) -> Self {
        Self {
            body,
            exchange,
            progress,
            rest: Bytes::new(),
            broken: None,
        }
    }

    fn hand_out(&mut self, mut bytes: Bytes) -> Frame<Bytes> {
        if let Some(progress) = &self.progress {
            progress.hands_out();
            if bytes.len() > PIECE_MAX {
                self.rest = bytes.split_off(PIECE_MAX);
            }
        }
        self.exchange.sent += bytes.len() as u64;
        Frame::data(bytes)
    }
}

impl http_body::Body for SentBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        if let Some(progress) = &this.progress {
            progress.asked();
        }
        if let Some(error) = this.broken.take() {
            return Poll::Ready(Some(Err(error)));
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
                limited!(Duration::from_secs(1), warn, "response cut off", %error);
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

impl Drop for SentBody {
    fn drop(&mut self) {
        if let Some(progress) = &self.progress {
            progress.asked();
        }
    }
}
