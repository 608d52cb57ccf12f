//! The socket under a connection, watched: what is read goes past the head scanner, what is
//! written and what cannot be written is told to the guard.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use omnid_net::Permit;
use omnid_telemetry::limited;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::Line;

/// A watched socket. It counts as a connection until it is dropped, also after an upgrade.
#[derive(Debug)]
pub struct Wire<S> {
    socket: S,
    line: Arc<Line>,
    /// Interim responses on their way out.
    interim: Vec<u8>,
    _permit: Option<Permit>,
}

impl<S> Wire<S> {
    /// Watches `socket`.
    #[must_use]
    pub fn new(socket: S, line: Arc<Line>, permit: Option<Permit>) -> Self {
        Self {
            socket,
            line,
            interim: Vec::new(),
            _permit: permit,
        }
    }

    fn written(&self, polled: &Poll<io::Result<usize>>) {
        match polled {
            Poll::Ready(Ok(bytes @ 1..)) => self.line.wrote(*bytes),
            Poll::Pending => self.line.write_blocked(),
            Poll::Ready(_) => {}
        }
    }
}

impl<S: AsyncWrite + Unpin> Wire<S> {
    /// Writes what there is of interim responses.
    fn poll_interim(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.interim.is_empty() {
            let written = ready!(Pin::new(&mut self.socket).poll_write(cx, &self.interim))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.interim.drain(..written);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Wire<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        let polled = Pin::new(&mut this.socket).poll_read(cx, buffer);
        if let Some(bytes) = buffer.filled().get(before..)
            && !bytes.is_empty()
            && !this.line.read(bytes)
        {
            limited!(
                Duration::from_secs(10),
                warn,
                "HTTP/2 connection closed: a flood of frames that ask for nothing"
            );
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Wire<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.poll_interim(cx))?;
        let polled = Pin::new(&mut this.socket).poll_write(cx, bytes);
        this.written(&polled);
        polled
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.poll_interim(cx))?;
        let polled = Pin::new(&mut this.socket).poll_write_vectored(cx, slices);
        this.written(&polled);
        polled
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_interim(cx))?;
        ready!(Pin::new(&mut this.socket).poll_flush(cx))?;
        // The library cannot send interim responses. It flushes when it has handed over all it
        // has: the response before is whole then, and the next has not begun.
        let Some(interim) = this.line.take_interim() else {
            return Poll::Ready(Ok(()));
        };
        this.interim.extend_from_slice(&interim);
        ready!(this.poll_interim(cx))?;
        Pin::new(&mut this.socket).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_shutdown(cx)
    }
}
