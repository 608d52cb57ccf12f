//! Websockets: bytes carried both ways until one side has enough.

use std::{
    io,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};

use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf, copy_bidirectional_with_sizes};

use super::link::Link;

/// A websocket mostly waits; 10,000 of them must not hold much while they do.
const BUFFER: usize = 4 * 1024;

/// Waits for both sides to have switched, then carries bytes until one ends or both are silent for
/// `idle`.
pub(super) async fn run(
    client: OnUpgrade,
    upstream: OnUpgrade,
    link: Link,
    idle: Duration,
) -> io::Result<()> {
    // The upstream's connection ends in the switch; the client's is driven by its own task.
    let upstream = async {
        link.finish().await;
        upstream.await
    };
    let (client, upstream) = tokio::try_join!(client, upstream).map_err(io::Error::other)?;
    let activity = Arc::new(Activity {
        started: Instant::now(),
        last: AtomicU64::new(0),
    });
    let mut client = Watched {
        inner: TokioIo::new(client),
        activity: activity.clone(),
    };
    let mut upstream = TokioIo::new(upstream);
    let copy = copy_bidirectional_with_sizes(&mut client, &mut upstream, BUFFER, BUFFER);
    let mut copy = pin!(copy);
    loop {
        let silent_at = activity.last() + idle;
        tokio::select! {
            copied = &mut copy => return ended(copied),
            () = tokio::time::sleep_until(silent_at.into()) => {
                if activity.last() + idle <= Instant::now() {
                    tracing::debug!("websocket closed after {idle:?} of silence");
                    return Ok(());
                }
            }
        }
    }
}

/// How most websockets end is no news.
fn ended(copied: io::Result<(u64, u64)>) -> io::Result<()> {
    match copied {
        Ok((sent, received)) => {
            tracing::debug!(sent, received, "websocket closed");
            Ok(())
        }
        Err(error) => {
            tracing::debug!(%error, "websocket broke");
            Ok(())
        }
    }
}

struct Activity {
    started: Instant,
    last: AtomicU64,
}

impl Activity {
    fn last(&self) -> Instant {
        self.started + Duration::from_millis(self.last.load(Ordering::Relaxed))
    }
}

/// Notes when bytes moved, either way.
struct Watched {
    inner: TokioIo<Upgraded>,
    activity: Arc<Activity>,
}

impl Watched {
    fn note(&self, moved: bool) {
        if moved {
            let now = self.activity.started.elapsed().as_millis();
            let now = u64::try_from(now).unwrap_or(u64::MAX);
            self.activity.last.store(now, Ordering::Relaxed);
        }
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.inner).poll_read(cx, buffer);
        self.note(buffer.filled().len() > before);
        polled
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.inner).poll_write(cx, bytes);
        self.note(matches!(polled, Poll::Ready(Ok(1..))));
        polled
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
