//! The streams of an HTTP/2 connection, and an end to those whose client shuts its window and leaves
//! it so.

use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::{Duration, Instant},
};

use futures_util::{StreamExt, stream::FuturesUnordered};
use hyper::rt::Executor;
use tokio::time::Sleep;

use super::Line;

/// How the body of one stream's response gets on. It is asked for its next piece only when the
/// last one has found room in the stream's window, so that a piece handed out long ago means a
/// window that stays shut.
#[derive(Debug, Default)]
pub struct StreamProgress {
    handed_out: Mutex<Option<Instant>>,
}

impl StreamProgress {
    /// The body is asked for more, or has ended.
    pub(super) fn asked(&self) {
        *self.lock() = None;
    }

    /// A piece is on its way, and there is more to come.
    pub(super) fn hands_out(&self) {
        *self.lock() = Some(Instant::now());
    }

    fn stuck_since(&self) -> Option<Instant> {
        *self.lock()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Instant>> {
        self.handed_out
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes the streams that a connection begins. They run in the connection's own task: what they
/// do is short or waits, a task of their own would mostly be woken on another worker, and a
/// connection that ends takes them along.
#[derive(Clone)]
pub(super) struct Streams {
    line: Arc<Line>,
    window: Duration,
    begun: Arc<Mutex<Vec<StreamTask>>>,
}

/// The streams that run.
pub(super) struct Running {
    begun: Arc<Mutex<Vec<StreamTask>>>,
    running: FuturesUnordered<StreamTask>,
}

impl Streams {
    pub(super) fn new(line: Arc<Line>, window: Duration) -> (Self, Running) {
        let begun = Arc::default();
        let running = Running {
            begun: Arc::clone(&begun),
            running: FuturesUnordered::new(),
        };
        let streams = Self {
            line,
            window,
            begun,
        };
        (streams, running)
    }
}

impl Running {
    /// Moves every stream on that can be.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) {
        let mut begun = self.begun.lock().unwrap_or_else(PoisonError::into_inner);
        self.running.extend(begun.drain(..));
        drop(begun);
        while let Poll::Ready(Some(())) = self.running.poll_next_unpin(cx) {}
    }
}

impl<F> Executor<F> for Streams
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, stream: F) {
        let task = StreamTask {
            stream: Box::pin(stream),
            progress: self.line.take_newborn(),
            window: self.window,
            sleep: None,
        };
        let mut begun = self.begun.lock().unwrap_or_else(PoisonError::into_inner);
        begun.push(task);
    }
}

/// One stream. Dropping it resets the stream.
pub(super) struct StreamTask {
    stream: Pin<Box<dyn Future<Output = ()> + Send>>,
    progress: Option<Arc<StreamProgress>>,
    window: Duration,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Future for StreamTask {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        if this.stream.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        let Some(since) = this
            .progress
            .as_ref()
            .and_then(|progress| progress.stuck_since())
        else {
            return Poll::Pending;
        };
        let deadline = since + this.window;
        let sleep = this
            .sleep
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline.into())));
        while sleep.as_mut().poll(cx).is_ready() {
            if deadline <= Instant::now() {
                tracing::debug!("stream reset: its window stays shut");
                return Poll::Ready(());
            }
            sleep.as_mut().reset(deadline.into());
        }
        Poll::Pending
    }
}
