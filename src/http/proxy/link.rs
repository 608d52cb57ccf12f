//! One upstream connection, driven by whoever uses it.

use std::{
    future::Future,
    io,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use http::{Request, Response};
use hyper::{
    body::Incoming,
    client::conn::{TrySendError, http1, http2},
};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf},
    net::{TcpStream, UnixStream},
    time::timeout,
};

use super::{Pool, Target, body::UploadBody};

/// The largest head an upstream may answer with.
const HEAD_MAX: usize = 64 * 1024;
/// The same for HTTP/2, unpacked.
const HEAD_LIST_MAX: u32 = 64 * 1024;
/// What an HTTP/2 upstream may send ahead on one stream.
const WINDOW: u32 = 256 * 1024;
/// A dead HTTP/2 upstream is noticed by these.
const PING_INTERVAL: Duration = Duration::from_secs(30);

/// A stream to an upstream.
#[derive(Debug)]
pub enum Stream {
    /// Over TCP.
    Tcp(TcpStream),
    /// Over a Unix socket.
    Unix(UnixStream),
}

type Connection = Pin<Box<dyn Future<Output = hyper::Result<()>> + Send>>;

/// A connection to an upstream, with a request on it or idle; or a stream of one that is shared.
pub(super) struct Link {
    sender: Sender,
    /// `None` when it has ended, and for a stream: the connection has a task of its own.
    connection: Option<Connection>,
    /// Whether it has carried a request before.
    pub(super) reused: bool,
    /// Whether nobody else may use it.
    pub(super) single: bool,
    /// Counts as a request under way to this pool.
    pub(super) busy: Option<Busy>,
}

enum Sender {
    Http1(http1::SendRequest<UploadBody>),
    H2c(Ticket),
}

/// An HTTP/2 connection that carries many requests at once.
pub(super) struct Shared {
    sender: http2::SendRequest<UploadBody>,
    streams: AtomicUsize,
}

impl Shared {
    /// A place for one more stream, as long as there are fewer than `max`.
    pub(super) fn ticket(self: &Arc<Self>, max: usize) -> Option<Ticket> {
        if self.sender.is_closed() || self.streams.load(Ordering::Relaxed) >= max {
            return None;
        }
        self.streams.fetch_add(1, Ordering::Relaxed);
        Some(Ticket(self.clone()))
    }

    pub(super) fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }
}

/// A stream's place on a shared connection.
pub(super) struct Ticket(Arc<Shared>);

impl Drop for Ticket {
    fn drop(&mut self) {
        self.0.streams.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A request under way.
pub(super) struct Busy(Arc<Pool>);

impl Busy {
    pub(super) fn new(pool: &Arc<Pool>) -> Self {
        pool.count().fetch_add(1, Ordering::Relaxed);
        Self(pool.clone())
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.count().fetch_sub(1, Ordering::Relaxed);
    }
}

/// Why a request got no response.
pub(super) struct SendError {
    pub(super) error: hyper::Error,
    /// The request, where nothing of it was sent.
    pub(super) unsent: Option<Request<UploadBody>>,
}

/// Connects, and sends what goes before the first request.
pub(crate) async fn connect(
    target: &Target,
    within: Duration,
    preamble: &[u8],
) -> io::Result<Stream> {
    let connecting = async {
        let mut stream = match target {
            Target::Tcp { host, port } => {
                let stream = TcpStream::connect((host.as_str(), *port)).await?;
                stream.set_nodelay(true)?;
                Stream::Tcp(stream)
            }
            Target::Unix(path) => Stream::Unix(UnixStream::connect(path).await?),
        };
        if !preamble.is_empty() {
            stream.write_all(preamble).await?;
        }
        Ok(stream)
    };
    match timeout(within, connecting).await {
        Ok(stream) => stream,
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
    }
}

impl Link {
    /// Speaks HTTP/1.1 over a stream.
    pub(super) async fn http1(stream: Stream) -> io::Result<Self> {
        let (sender, connection) = http1::Builder::new()
            .max_buf_size(HEAD_MAX)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(io::Error::other)?;
        Ok(Self {
            sender: Sender::Http1(sender),
            connection: Some(Box::pin(connection.with_upgrades())),
            reused: false,
            single: false,
            busy: None,
        })
    }

    /// A stream of a shared connection.
    pub(super) fn stream(ticket: Ticket, reused: bool) -> Self {
        Self {
            sender: Sender::H2c(ticket),
            connection: None,
            reused,
            single: false,
            busy: None,
        }
    }

    /// Whether it speaks HTTP/2.
    pub(super) fn is_h2(&self) -> bool {
        matches!(self.sender, Sender::H2c(_))
    }

    /// Moves the connection on. Its end is not an event of its own: what waits for it is told.
    pub(super) fn drive(&mut self, cx: &mut Context<'_>) {
        if let Some(connection) = &mut self.connection
            && let Poll::Ready(ended) = connection.as_mut().poll(cx)
        {
            if let Err(error) = ended {
                tracing::debug!(%error, "upstream connection ended");
            }
            self.connection = None;
        }
    }

    /// Whether it can be kept for another request. Looks whether the upstream has closed meanwhile.
    pub(super) fn is_usable(&mut self) -> bool {
        self.drive(&mut Context::from_waker(Waker::noop()));
        match &self.sender {
            Sender::Http1(sender) => self.connection.is_some() && !self.single && sender.is_ready(),
            Sender::H2c(_) => false,
        }
    }

    /// Sends a request and waits for the head of its response, as long as `patience` says: it
    /// is polled when nothing else moves, and ends the wait by being ready.
    pub(super) async fn send(
        &mut self,
        request: Request<UploadBody>,
        patience: impl Future<Output = ()>,
    ) -> Option<Result<Response<Incoming>, SendError>> {
        let mut patience = pin!(patience);
        let connection = &mut self.connection;
        match &mut self.sender {
            Sender::Http1(sender) => {
                let mut response = pin!(sender.try_send_request(request));
                std::future::poll_fn(|cx| {
                    if let Some(driven) = connection
                        && let Poll::Ready(ended) = driven.as_mut().poll(cx)
                    {
                        if let Err(error) = ended {
                            tracing::debug!(%error, "upstream connection ended");
                        }
                        *connection = None;
                    }
                    if let Poll::Ready(response) = response.as_mut().poll(cx) {
                        return Poll::Ready(Some(response.map_err(send_error)));
                    }
                    patience.as_mut().poll(cx).map(|()| None)
                })
                .await
            }
            Sender::H2c(ticket) => {
                let mut sender = ticket.0.sender.clone();
                let mut response = pin!(sender.try_send_request(request));
                std::future::poll_fn(|cx| {
                    if let Poll::Ready(response) = response.as_mut().poll(cx) {
                        return Poll::Ready(Some(response.map_err(send_error)));
                    }
                    patience.as_mut().poll(cx).map(|()| None)
                })
                .await
            }
        }
    }

    /// Drives the connection to its end, which an upgrade is.
    pub(super) async fn finish(mut self) {
        if let Some(connection) = self.connection.take()
            && let Err(error) = connection.await
        {
            tracing::debug!(%error, "upstream connection ended");
        }
    }
}

fn send_error(mut error: TrySendError<Request<UploadBody>>) -> SendError {
    SendError {
        unsent: error.take_message(),
        error: error.into_error(),
    }
}

/// Speaks HTTP/2 over a stream. The connection runs in a task of its own, and ends with its last
/// user or with the upstream.
pub(super) async fn share(stream: Stream) -> io::Result<Arc<Shared>> {
    let (sender, connection) = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .max_header_list_size(HEAD_LIST_MAX)
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW * 4)
        .keep_alive_interval(PING_INTERVAL)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(io::Error::other)?;
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "upstream connection ended");
        }
    });
    Ok(Arc::new(Shared {
        sender,
        streams: AtomicUsize::new(0),
    }))
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Unix(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, bytes),
            Self::Unix(stream) => Pin::new(stream).poll_write_vectored(cx, bytes),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Self::Unix(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
