//! A request's body on its way to a program, which must be told its length beforehand.

use std::{
    error::Error,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::{Bytes, BytesMut};
use http::StatusCode;
use http_body::{Body, Frame};
use http_body_util::BodyExt;
use omnid_hub::BodyError;

use crate::{
    answer::Failure,
    io::{RequestBody, UploadError},
};

/// A body of unknown length is kept until its end is there; a longer one must say its length.
const KEPT_MAX: usize = 8 * 1024 * 1024;

/// A body whose length is known.
pub(super) enum Upload {
    Stream(RequestBody),
    Kept(Bytes),
}

impl Upload {
    /// The body and its length; `None` where there is none.
    ///
    /// # Errors
    /// 411 where it is long and does not say how long, and what went wrong on the client's side.
    pub(super) async fn new(body: RequestBody) -> Result<Option<(Self, u64)>, Failure> {
        if body.is_empty() {
            return Ok(None);
        }
        if let Some(length) = body.size_hint().exact() {
            return Ok(Some((Self::Stream(body), length)));
        }
        let mut body = body;
        let mut kept = BytesMut::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| refused(&*error))?;
            if let Ok(bytes) = frame.into_data() {
                kept.extend_from_slice(&bytes);
            }
            if kept.len() > KEPT_MAX {
                return Err(Failure::new(StatusCode::LENGTH_REQUIRED).closing());
            }
        }
        let length = kept.len() as u64;
        Ok(Some((Self::Kept(kept.freeze()), length)))
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
            Self::Kept(bytes) if bytes.is_empty() => Poll::Ready(None),
            Self::Kept(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
        }
    }
}
