//! One upstream connection, driven by whoever uses it.

use std::{
    future::Future,
    io,
    pin::{Pin, pin},
    task::{Context, Poll, Waker},
    time::Duration,
};

use http::{Request, Response};
use hyper::{
    body::Incoming,
    client::conn::http1::{Builder, SendRequest},
};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpStream, UnixStream},
    time::timeout,
};

use super::{Target, body::UploadBody};

/// The largest head an upstream may answer with.
const HEAD_MAX: usize = 64 * 1024;

/// A stream to an upstream.
#[derive(Debug)]
pub(super) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

type Connection = Pin<Box<dyn Future<Output = hyper::Result<()>> + Send>>;

/// A connection to an upstream, with a request on it or idle.
pub(super) struct Link {
    sender: SendRequest<UploadBody>,
    /// `None` when it has ended.
    connection: Option<Connection>,
    /// Whether it has carried a request before.
    pub(super) reused: bool,
}

/// Why a request got no response.
pub(super) struct SendError {
    pub(super) error: hyper::Error,
    /// The request, where nothing of it was sent.
    pub(super) unsent: Option<Request<UploadBody>>,
}

impl Link {
    /// Connects.
    pub(super) async fn open(target: &Target, within: Duration) -> io::Result<Self> {
        let connecting = async {
            Ok::<_, io::Error>(match target {
                Target::Tcp { host, port } => {
                    let stream = TcpStream::connect((host.as_str(), *port)).await?;
                    stream.set_nodelay(true)?;
                    Stream::Tcp(stream)
                }
                Target::Unix(path) => Stream::Unix(UnixStream::connect(path).await?),
            })
        };
        let stream = match timeout(within, connecting).await {
            Ok(stream) => stream?,
            Err(_) => return Err(io::ErrorKind::TimedOut.into()),
        };
        let (sender, connection) = Builder::new()
            .max_buf_size(HEAD_MAX)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(io::Error::other)?;
        Ok(Self {
            sender,
            connection: Some(Box::pin(connection.with_upgrades())),
            reused: false,
        })
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

    /// Whether a request can be sent now. Looks whether the upstream has closed meanwhile.
    pub(super) fn is_usable(&mut self) -> bool {
        self.drive(&mut Context::from_waker(Waker::noop()));
        self.connection.is_some() && self.sender.is_ready()
    }

    /// Sends a request and waits for the head of its response, as long as `patience` says: it
    /// is polled when nothing else moves, and ends the wait by being ready.
    pub(super) async fn send(
        &mut self,
        request: Request<UploadBody>,
        patience: impl Future<Output = ()>,
    ) -> Option<Result<Response<Incoming>, SendError>> {
        let mut response = pin!(self.sender.try_send_request(request));
        let mut patience = pin!(patience);
        let connection = &mut self.connection;
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
                return Poll::Ready(Some(response.map_err(|mut error| SendError {
                    unsent: error.take_message(),
                    error: error.into_error(),
                })));
            }
            patience.as_mut().poll(cx).map(|()| None)
        })
        .await
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
