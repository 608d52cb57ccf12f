//! A client's body, read at the pace and up to the size that the limits say.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Instant,
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use omnid_hub::BodyError;
use tokio::time::Sleep;

use crate::engine::guard::{BodyPace, TimeLimits};

/// What can go wrong with a client's body.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    /// It came too slowly.
    #[error("the request body came too slowly")]
    TooSlow,
    /// There was more of it than allowed.
    #[error("the request body is too large")]
    TooLarge,
    /// It was cut off or not what its framing says.
    #[error("the request body broke off")]
    Broken(#[source] hyper::Error),
}

/// A client's body.
pub struct RequestBody {
    incoming: Option<Incoming>,
    pace: BodyPace,
    /// Bytes that may still come.
    allowed: u64,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl RequestBody {
    /// Watches over `incoming`.
    #[must_use]
    pub fn new(incoming: Incoming, limits: &TimeLimits, size_max: u64) -> Self {
        Self {
            incoming: Some(incoming),
            pace: BodyPace::new(limits),
            allowed: size_max,
            sleep: None,
        }
    }

    /// No body.
    #[must_use]
    pub fn none() -> Self {
        Self {
            incoming: None,
            pace: BodyPace::new(&TimeLimits::default()),
            allowed: 0,
            sleep: None,
        }
    }

    /// Whether there is no body at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.is_end_stream()
    }

    /// Whether it says itself that it is larger than allowed.
    #[must_use]
    pub fn is_too_large(&self) -> bool {
        self.size_hint().lower() > self.allowed
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        let Some(incoming) = &mut this.incoming else {
            return Poll::Ready(None);
        };
        match Pin::new(incoming).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                let length = frame.data_ref().map_or(0, Bytes::len);
                this.pace.came(length, Instant::now());
                match this.allowed.checked_sub(length as u64) {
                    Some(allowed) => {
                        this.allowed = allowed;
                        Poll::Ready(Some(Ok(frame)))
                    }
                    None => Poll::Ready(Some(Err(UploadError::TooLarge.into()))),
                }
            }
            Poll::Ready(Some(Err(error))) => {
                Poll::Ready(Some(Err(UploadError::Broken(error).into())))
            }
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Pending => {
                let deadline = this.pace.waits(Instant::now());
                let sleep = this
                    .sleep
                    .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline.into())));
                // Deadlines mostly move on: the timer is reset when it goes off early.
                while sleep.as_mut().poll(cx).is_ready() {
                    if deadline <= Instant::now() {
                        return Poll::Ready(Some(Err(UploadError::TooSlow.into())));
                    }
                    sleep.as_mut().reset(deadline.into());
                }
                Poll::Pending
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.as_ref().is_none_or(Incoming::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let nothing = SizeHint::with_exact(0);
        self.incoming.as_ref().map_or(nothing, Incoming::size_hint)
    }
}
