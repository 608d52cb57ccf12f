//! A request's body on its way to a program, which must be told its length beforehand.

use std::{
    error::Error,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::{Bytes, BytesMut};
use http::{HeaderValue, StatusCode, header};
use http_body::{Body, Frame};
use http_body_util::BodyExt;
use omnid_hub::BodyError;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::{
    answer::Failure,
    io::{RequestBody, UploadError},
};

/// A body of unknown length is kept until its end is there; a longer one must say its length.
const KEPT_MAX: usize = 8 * 1024 * 1024;
/// Bytes of all such bodies together.
static ROOM: Semaphore = Semaphore::const_new(8 * KEPT_MAX);

/// A body whose length is known.
pub(super) enum Upload {
    Stream(RequestBody),
    /// With its part of the room, until it has been handed on.
    Kept(Bytes, Option<SemaphorePermit<'static>>),
}

impl Upload {
    /// The body and its length; `None` where there is none.
    ///
    /// # Errors
    /// 411 where it is long and does not say how long, 503 where others fill the room for such
    /// bodies, and what went wrong on the client's side.
    pub(super) async fn new(body: RequestBody) -> Result<Option<(Self, u64)>, Failure> {
        if body.is_empty() {
            return Ok(None);
        }
        if let Some(length) = body.size_hint().exact() {
            return Ok(Some((Self::Stream(body), length)));
        }
        let mut body = body;
        let mut kept = BytesMut::new();
        let mut room: Option<SemaphorePermit<'static>> = None;
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| refused(&*error))?;
            let Ok(bytes) = frame.into_data() else {
                continue;
            };
            if kept.len() + bytes.len() > KEPT_MAX {
                return Err(Failure::new(StatusCode::LENGTH_REQUIRED).closing());
            }
            let part = u32::try_from(bytes.len()).ok();
            let Some(part) = part.and_then(|part| ROOM.try_acquire_many(part).ok()) else {
                return Err(Failure::new(StatusCode::SERVICE_UNAVAILABLE)
                    .closing()
                    .with(header::RETRY_AFTER, HeaderValue::from_static("10"))
                    .because("too many bodies of unknown length wait for their end"));
            };
            match &mut room {
                Some(room) => room.merge(part),
                None => room = Some(part),
            }
            kept.extend_from_slice(&bytes);
        }
        let length = kept.len() as u64;
        Ok(Some((Self::Kept(kept.freeze(), room), length)))
    }
}

/// What went wrong on the client's side of an upload, as an answer.
pub(super) fn refused(error: &(dyn Error + Send + Sync + 'static)) -> Failure {
    let status = match error.downcast_ref::<UploadError>() {
        Some(UploadError::TooSlow) => StatusCode::REQUEST_TIMEOUT,
        Some(UploadError::TooLarge) => StatusCode::PAYLOAD_TOO_LARGE,
        _ => StatusCode::BAD_REQUEST,
    };
    Failure::new(status).closing().because(error.to_string())
}

impl Body for Upload {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.get_mut() {
            Self::Stream(body) => Pin::new(body).poll_frame(cx),
            // Asked for more, the program has got it all.
            Self::Kept(bytes, room) if bytes.is_empty() => {
                *room = None;
                Poll::Ready(None)
            }
            Self::Kept(bytes, _) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
        }
    }
}
