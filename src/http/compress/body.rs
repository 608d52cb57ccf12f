//! A body that is compressed as it goes.

use std::{
    pin::Pin,
    sync::OnceLock,
    task::{Context, Poll, ready},
    thread::available_parallelism,
};

use bytes::Bytes;
use http_body::{Body as _, Frame};
use omnid_hub::{BodyError, BoxFuture};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::encoder::{Encoder, Step};
use crate::body::Body;

type Worked = Result<(Option<Encoder>, Vec<u8>), BodyError>;

/// A body that is compressed as it goes. At most one piece of it is in memory, beside what the
/// encoder keeps.
pub struct CodedBody {
    inner: Body,
    /// Here between two steps, gone after the last.
    encoder: Option<Encoder>,
    working: Option<BoxFuture<'static, Worked>>,
    /// Whether the encoder holds something that the client could already have.
    dirty: bool,
    trailers: Option<Frame<Bytes>>,
    _permit: OwnedSemaphorePermit,
}

/// Steps that are taken at once: more would only wait for each other.
fn turns() -> &'static Semaphore {
    static TURNS: OnceLock<Semaphore> = OnceLock::new();
    TURNS.get_or_init(|| Semaphore::new(available_parallelism().map_or(1, usize::from)))
}

async fn work(encoder: Encoder, step: Step) -> Worked {
    let _turn = turns().acquire().await?;
    let stepped = tokio::task::spawn_blocking(move || encoder.step(&step)).await?;
    Ok(stepped?)
}

impl CodedBody {
    pub(super) fn new(inner: Body, encoder: Encoder, permit: OwnedSemaphorePermit) -> Self {
        Self {
            inner,
            encoder: Some(encoder),
            working: None,
            dirty: false,
            trailers: None,
            _permit: permit,
        }
    }

    fn start(&mut self, step: Step) {
        self.dirty = matches!(step, Step::Input(_));
        if let Some(encoder) = self.encoder.take() {
            self.working = Some(Box::pin(work(encoder, step)));
        }
    }

    /// Whether nothing more will come.
    pub fn is_over(&self) -> bool {
        self.encoder.is_none() && self.working.is_none() && self.trailers.is_none()
    }

    /// The next piece.
    pub fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        loop {
            if let Some(working) = &mut self.working {
                let worked = ready!(working.as_mut().poll(cx));
                self.working = None;
                let (encoder, out) = match worked {
                    Ok(worked) => worked,
                    Err(error) => return Poll::Ready(Some(Err(error))),
                };
                self.encoder = encoder;
                if !out.is_empty() {
                    return Poll::Ready(Some(Ok(Frame::data(Bytes::from(out)))));
                }
                continue;
            }
            if self.encoder.is_none() {
                return Poll::Ready(self.trailers.take().map(Ok));
            }
            match Pin::new(&mut self.inner).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(bytes) => self.start(Step::Input(bytes)),
                    Err(trailers) => {
                        self.trailers = Some(trailers);
                        self.start(Step::Finish);
                    }
                },
                Poll::Ready(Some(Err(error))) => {
                    self.encoder = None;
                    return Poll::Ready(Some(Err(error)));
                }
                Poll::Ready(None) => self.start(Step::Finish),
                Poll::Pending if self.dirty => self.start(Step::Flush),
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}
