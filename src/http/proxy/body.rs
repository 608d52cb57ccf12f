//! Bodies on their way through.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use omnid_hub::BodyError;
use tokio::time::Sleep;

use super::{Pool, link::Link};
use crate::io::RequestBody;

/// A client's body on its way to an upstream.
pub(super) struct UploadBody {
    body: Option<RequestBody>,
    progress: Option<Arc<Progress>>,
}

/// How far an upload has come, for whoever waits for the response.
pub(super) struct Progress {
    started: Instant,
    moved: AtomicU64,
}

impl Progress {
    fn moves(&self) {
        let now = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.moved.store(now, Ordering::Relaxed);
    }

    /// When the body last moved.
    pub(super) fn last(&self) -> Instant {
        self.started + Duration::from_millis(self.moved.load(Ordering::Relaxed))
    }
}

impl UploadBody {
    pub(super) fn empty() -> Self {
        Self {
            body: None,
            progress: None,
        }
    }

    pub(super) fn new(body: RequestBody) -> (Self, Option<Arc<Progress>>) {
        if body.is_end_stream() {
            return (Self::empty(), None);
        }
        let progress = Arc::new(Progress {
            started: Instant::now(),
            moved: AtomicU64::new(0),
        });
        let upload = Self {
            body: Some(body),
            progress: Some(progress.clone()),
        };
        (upload, Some(progress))
    }
}

impl Body for UploadBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Some(body) = &mut self.body else {
            return Poll::Ready(None);
        };
        let polled = Pin::new(&mut *body).poll_frame(cx);
        if polled.is_ready()
            && let Some(progress) = &self.progress
        {
            progress.moves();
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body
            .as_ref()
            .map_or(SizeHint::with_exact(0), Body::size_hint)
    }
}

/// An upstream's body on its way to a client. It drives the connection it comes over, and gives it
/// back to the pool at its end.
pub struct UpstreamBody {
    link: Option<Link>,
    body: Incoming,
    pool: Arc<Pool>,
    idle: Duration,
    /// Since when something is waited for. While the client takes its time, the upstream owes
    /// nothing.
    waiting_since: Option<Instant>,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl UpstreamBody {
    pub(super) fn new(link: Link, body: Incoming, pool: Arc<Pool>, idle: Duration) -> Self {
        let mut this = Self {
            link: Some(link),
            body,
            pool,
            idle,
            waiting_since: None,
            sleep: None,
        };
        if this.body.is_end_stream() {
            this.release();
        }
        this
    }

    fn release(&mut self) {
        if let Some(link) = self.link.take() {
            self.pool.keep(link);
        }
    }
}

impl Body for UpstreamBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        // Asking for a frame is what lets the connection read one, and reading it is what makes
        // the frame: so ask, read, ask.
        let mut polled = Pin::new(&mut this.body).poll_frame(cx);
        if polled.is_pending()
            && let Some(link) = &mut this.link
        {
            link.drive(cx);
            polled = Pin::new(&mut this.body).poll_frame(cx);
        }
        match polled {
            Poll::Ready(frame) => {
                this.waiting_since = None;
                match &frame {
                    Some(Ok(_)) if !this.body.is_end_stream() => {}
                    Some(Err(_)) => this.link = None,
                    _ => this.release(),
                }
                Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
            }
            Poll::Pending => {
                let since = *this.waiting_since.get_or_insert_with(Instant::now);
                let deadline = since + this.idle;
                let sleep = this
                    .sleep
                    .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline.into())));
                // The timer is moved only when it goes off early, not at every frame.
                while sleep.as_mut().poll(cx).is_ready() {
                    if deadline <= Instant::now() {
                        this.link = None;
                        return Poll::Ready(Some(Err("the upstream stopped sending".into())));
                    }
                    sleep.as_mut().reset(deadline.into());
                }
                Poll::Pending
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
