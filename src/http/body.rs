//! Response bodies.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use omnid_hub::{BodyError, BoxFuture};

use crate::{compress::CodedBody, files::FileBody, gateway::GatewayBody, proxy::UpstreamBody};

/// What is sent after a response's head.
#[derive(Default)]
pub enum Body {
    /// Nothing.
    #[default]
    Empty,
    /// These bytes.
    Bytes(Bytes),
    /// Stretches of a file.
    File(Box<FileBody>),
    /// What an upstream sends.
    Upstream(Box<UpstreamBody>),
    /// What a program says.
    Gateway(Box<GatewayBody>),
    /// Another body, compressed as it goes.
    Coded(Box<CodedBody>),
    /// What is not made yet.
    Later(Later),
    /// What another service sends.
    Mount(omnid_hub::Body),
}

/// A body that comes in one piece, later than its head.
pub struct Later(Option<BoxFuture<'static, Result<Bytes, BodyError>>>);

impl Later {
    /// What `making` makes.
    #[must_use]
    pub fn new(making: impl Future<Output = Result<Bytes, BodyError>> + Send + 'static) -> Self {
        Self(Some(Box::pin(making)))
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        if bytes.is_empty() {
            Self::Empty
        } else {
            Self::Bytes(bytes)
        }
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        match this {
            Self::Empty => Poll::Ready(None),
            Self::Bytes(bytes) => {
                let bytes = std::mem::take(bytes);
                *this = Self::Empty;
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Self::File(file) => {
                let next = ready!(file.poll_next(cx));
                Poll::Ready(next.map(|next| next.map(Frame::data).map_err(Into::into)))
            }
            Self::Upstream(upstream) => Pin::new(upstream.as_mut()).poll_frame(cx),
            Self::Gateway(gateway) => Pin::new(gateway.as_mut()).poll_frame(cx),
            Self::Coded(coded) => coded.poll_next(cx),
            Self::Later(later) => {
                let Some(making) = &mut later.0 else {
                    return Poll::Ready(None);
                };
                let made = ready!(making.as_mut().poll(cx));
                later.0 = None;
                Poll::Ready(Some(made.map(Frame::data)))
            }
            Self::Mount(body) => Pin::new(body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Bytes(_) => false,
            Self::File(file) => file.left() == 0,
            Self::Upstream(upstream) => upstream.is_end_stream(),
            Self::Gateway(gateway) => gateway.is_end_stream(),
            Self::Coded(coded) => coded.is_over(),
            Self::Later(later) => later.0.is_none(),
            Self::Mount(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Bytes(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::File(file) => SizeHint::with_exact(file.left()),
            Self::Upstream(upstream) => upstream.size_hint(),
            Self::Gateway(gateway) => gateway.size_hint(),
            Self::Coded(_) | Self::Later(_) => SizeHint::default(),
            Self::Mount(body) => body.size_hint(),
        }
    }
}
