//! One request on a FastCGI connection: sent and answered at the same time, so that neither side
//! waits for the other with its hands full.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker, ready},
    time::{Duration, Instant},
};

use bytes::{Buf, Bytes, BytesMut};
use http_body::Body as _;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{errors::ErrorLog, upload::Upload};
use crate::{
    proxy::{Stream, Target, connect},
    wire::fastcgi::{self, CONTENT_MAX, Decoder, Record},
};

/// How long an idle connection is kept. It holds a worker of the application's, who could do
/// something else.
const IDLE_FOR: Duration = Duration::from_secs(5);
/// What is read at once.
const READ: usize = 16 * 1024;

/// Connections to one FastCGI application.
#[derive(Debug)]
pub struct Workers {
    target: Target,
    /// How many idle ones are kept.
    keep: usize,
    idle: Mutex<Vec<(Stream, Instant)>>,
    /// New connections of which nothing has come back yet: the application may have no worker left
    /// for them.
    waiting: AtomicUsize,
}

/// A new connection that waits for a worker.
struct Waiting(Arc<Workers>);

impl Waiting {
    fn new(workers: Arc<Workers>) -> Self {
        workers.waiting.fetch_add(1, Ordering::Relaxed);
        Self(workers)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Workers {
    /// No connections yet.
    #[must_use]
    pub fn new(target: Target, keep: usize) -> Self {
        Self {
            target,
            keep,
            idle: Mutex::default(),
            waiting: AtomicUsize::new(0),
        }
    }

    /// The application.
    #[must_use]
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// A connection that is still open, where there is one.
    pub(super) fn reuse(&self) -> Option<Stream> {
        loop {
            let (mut stream, since) = self.lock().pop()?;
            if since.elapsed() < IDLE_FOR && is_quiet(&mut stream) {
                return Some(stream);
            }
        }
    }

    /// A new connection. It takes the place of an idle one, whose worker may be the only one that
    /// could serve it.
    pub(super) async fn connect(&self, within: Duration) -> io::Result<Stream> {
        drop(self.lock().pop());
        connect(&self.target, within, &[]).await
    }

    fn keep(&self, stream: Stream) {
        let now = Instant::now();
        let mut idle = self.lock();
        idle.retain(|(_, since)| now.duration_since(*since) < IDLE_FOR);
        if idle.len() < self.keep && self.waiting.load(Ordering::Relaxed) == 0 {
            idle.push((stream, now));
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<(Stream, Instant)>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a connection that should be silent is: an application that closed it has said so.
fn is_quiet(stream: &mut Stream) -> bool {
    let mut byte = [0; 1];
    let mut buffer = ReadBuf::new(&mut byte);
    let mut cx = Context::from_waker(Waker::noop());
    Pin::new(stream)
        .poll_read(&mut cx, &mut buffer)
        .is_pending()
}

/// A request under way.
pub(super) struct Session {
    /// `None` when the connection has been given back or has broken.
    stream: Option<Stream>,
    workers: Arc<Workers>,
    waiting: Option<Waiting>,
    /// The request's body, until its end has been put into `output`.
    body: Option<Upload>,
    /// Bytes that are to be sent: heads of records, and what of them is written already.
    output: Vec<u8>,
    written: usize,
    /// The content that follows `output`.
    content: Bytes,
    input: BytesMut,
    decoder: Decoder,
    errors: ErrorLog,
    /// Bytes of the request that the application has taken.
    pub(super) taken: u64,
    /// Output that came before anybody asked for it.
    early: Option<Bytes>,
}

impl Session {
    /// `output` is the beginning of the request.
    pub(super) fn new(
        stream: Stream,
        is_new: bool,
        workers: Arc<Workers>,
        mut output: Vec<u8>,
        body: Option<Upload>,
        errors: ErrorLog,
    ) -> Self {
        if body.is_none() {
            fastcgi::stdin_head(0, &mut output);
        }
        Self {
            stream: Some(stream),
            waiting: is_new.then(|| Waiting::new(workers.clone())),
            workers,
            body,
            output,
            written: 0,
            content: Bytes::new(),
            input: BytesMut::new(),
            decoder: Decoder::default(),
            errors,
            taken: 0,
            early: None,
        }
    }

    /// The next piece of standard output; `None` at the end of the request.
    pub(super) fn poll_output(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Bytes>>> {
        if let Some(early) = self.early.take() {
            return Poll::Ready(Ok(Some(early)));
        }
        if self.stream.is_none() {
            return Poll::Ready(Ok(None));
        }
        // An application may answer and be done with the request before it has read all of it: a
        // failure to send is none as long as an answer comes.
        let sent = self.poll_send(cx);
        loop {
            while let Some(record) = self
                .decoder
                .next(&mut self.input)
                .map_err(io::Error::other)?
            {
                self.waiting = None;
                match record {
                    Record::Stdout(piece) => return Poll::Ready(Ok(Some(piece))),
                    Record::Stderr(piece) => self.errors.add(&piece)?,
                    Record::End(complete) => {
                        self.errors.end();
                        let all_sent = self.body.is_none() && self.is_sent();
                        if let Some(stream) = self.stream.take()
                            && all_sent
                            && self.input.is_empty()
                        {
                            self.workers.keep(stream);
                        }
                        return Poll::Ready(if complete {
                            Ok(None)
                        } else {
                            Err(io::Error::other(
                                "the application has no room for a request",
                            ))
                        });
                    }
                }
            }
            let Some(stream) = &mut self.stream else {
                return Poll::Ready(Ok(None));
            };
            let mut room = [0; READ];
            let mut buffer = ReadBuf::new(&mut room);
            match Pin::new(stream).poll_read(cx, &mut buffer) {
                Poll::Ready(Ok(())) if buffer.filled().is_empty() => {
                    self.errors.end();
                    self.stream = None;
                    return Poll::Ready(Err(io::Error::other(
                        "the application closed the connection",
                    )));
                }
                Poll::Ready(Ok(())) => self.input.extend_from_slice(buffer.filled()),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    // Nothing to read: what became of sending counts now.
                    return match sent {
                        Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
                        _ => Poll::Pending,
                    };
                }
            }
        }
    }

    /// Whether the application begins to answer, rather than having closed the connection. How
    /// long that may take is for others to say: an application that has the request takes its time.
    pub(super) async fn begins(&mut self) -> bool {
        std::future::poll_fn(|cx| match self.poll_output(cx) {
            Poll::Ready(Ok(Some(piece))) => {
                self.early = Some(piece);
                Poll::Ready(true)
            }
            // An answer of nothing at all, or a failure to say so.
            Poll::Ready(Ok(None)) => Poll::Ready(true),
            Poll::Ready(Err(_)) => Poll::Ready(false),
            Poll::Pending => Poll::Pending,
        })
        .await
    }

    fn is_sent(&self) -> bool {
        self.written == self.output.len() && self.content.is_empty()
    }

    /// Sends the request, as much as goes. Ready when all of it is sent.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let Some(stream) = &mut self.stream else {
                return Poll::Ready(Ok(()));
            };
            if let Some(bytes) = self
                .output
                .get(self.written..)
                .filter(|bytes| !bytes.is_empty())
            {
                let written = ready!(Pin::new(stream).poll_write(cx, bytes))?;
                self.written += written;
                self.taken = self.taken.saturating_add(written as u64);
                continue;
            }
            if !self.content.is_empty() {
                let written = ready!(Pin::new(stream).poll_write(cx, &self.content))?;
                self.content.advance(written);
                self.taken = self.taken.saturating_add(written as u64);
                continue;
            }
            let Some(body) = &mut self.body else {
                return Poll::Ready(Ok(()));
            };
            self.output.clear();
            self.written = 0;
            match ready!(Pin::new(body).poll_frame(cx)) {
                Some(Ok(frame)) => {
                    // Trailers have no place in FastCGI.
                    let Ok(mut bytes) = frame.into_data() else {
                        continue;
                    };
                    // One record at a time; the rest is longer than anything that comes at once.
                    while bytes.len() > CONTENT_MAX {
                        let piece = bytes.split_to(CONTENT_MAX);
                        fastcgi::stdin_head(piece.len(), &mut self.output);
                        self.output.extend_from_slice(&piece);
                    }
                    if !bytes.is_empty() {
                        fastcgi::stdin_head(bytes.len(), &mut self.output);
                        self.content = bytes;
                    }
                }
                Some(Err(error)) => {
                    self.body = None;
                    return Poll::Ready(Err(io::Error::other(error)));
                }
                None => {
                    self.body = None;
                    fastcgi::stdin_head(0, &mut self.output);
                }
            }
        }
    }
}
