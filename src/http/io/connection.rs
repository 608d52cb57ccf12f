//! One connection from its first byte to its last.

use std::{
    convert::Infallible,
    future::Future,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use http::{Request, Response, StatusCode};
use hyper::{
    body::Incoming,
    server::conn::{http1, http2},
    service::Service,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use omnid_hub::{Hub, StreamContext};
use omnid_net::{Accepted, Permit, Socket, alpn, plain_accept, tls_accept};
use omnid_supervisor::{Child, ChildResult};
use omnid_telemetry::limited;
use omnid_tls::{CertStore, ClientCertificates};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::{Sleep, sleep_until},
};

use super::{
    Answering, ConnectionFacts, Handler, Line, SentBody, Wire,
    executor::{Running, StreamProgress, Streams},
    linger,
};
use crate::engine::guard::{Expiry, TimeLimits};

/// What a listener's connections come in through.
#[derive(Clone)]
pub struct Door {
    /// Answers their requests.
    pub handler: Arc<Handler>,
    /// Certificates, where it is a TLS listener.
    pub certificates: Option<CertStore>,
    /// Takes what speaks another protocol.
    pub hub: Hub,
    /// How long a TLS handshake may take.
    pub handshake: Duration,
}

/// The largest read or write buffer of an HTTP/1 connection. It is also how far a head can grow
/// before the library gives up on it; the front check has the say below that.
const BUFFER_MAX: usize = 64 * 1024;
/// The largest list of fields an HTTP/2 request may have, after HPACK.
const HEADER_LIST_MAX: u32 = 16 * 1024;
/// Streams that a client may make the server reset (CVE-2025-8671) before it is sent away.
const LOCAL_RESETS_MAX: usize = 100;
/// What an HTTP/2 client may send ahead of being read: on one stream, and on all of them.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// What waits to be sent on one HTTP/2 stream.
const SEND_BUFFER: usize = 64 * 1024;
/// A dead peer under a waiting HTTP/2 request is noticed by these.
const PING_INTERVAL: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(20);

/// How long a new connection may take to bring its first request once the server is to finish.
const FIRST_REQUEST: Duration = Duration::from_secs(1);

/// RFC 9113 section 3.4. "PRI" is no method, so that four bytes tell.
const PREFACE: &[u8] = b"PRI ";

const TIMEOUT: &[u8] = b"HTTP/1.1 408 Request Timeout\r\n\
    Connection: close\r\nContent-Length: 0\r\nServer: omnid\r\n\r\n";

/// Serves an accepted connection to its end.
///
/// # Errors
/// None that is the server's: what goes wrong with a peer is logged and over.
pub async fn serve(door: Door, accepted: Accepted, child: Child) -> ChildResult {
    let Accepted {
        socket,
        peer,
        local,
        listener,
        id,
        permit,
    } = accepted;
    let times = door.handler.snapshot.load().times;
    let facts = |tls| {
        Arc::new(ConnectionFacts {
            peer,
            local,
            tls,
            id,
            child: child.clone(),
        })
    };
    let Some(certificates) = &door.certificates else {
        // What cannot be begun has been answered and logged already.
        let accepting = Box::pin(plain_accept(socket, times.first_byte));
        let Some(Ok(socket)) = unless_over(&child, accepting).await else {
            return Ok(());
        };
        let Some(h2) = speaks_h2(&socket, times.first_byte).await else {
            return Ok(());
        };
        return Box::pin(drive(door.handler, socket, h2, facts(false), times, permit)).await;
    };
    let others = door.hub.alpn().protocols();
    let mut protocols = vec!["h2", "http/1.1"];
    protocols.extend(
        others
            .into_iter()
            .filter(|other| !matches!(*other, "h2" | "http/1.1")),
    );
    let config = certificates.server_config(&protocols, ClientCertificates::None);
    let accepting = Box::pin(tls_accept(socket, config, door.handshake));
    let Some(Ok(socket)) = unless_over(&child, accepting).await else {
        return Ok(());
    };
    let h2 = match alpn(&socket) {
        Some("h2") => true,
        Some("http/1.1") | None => false,
        Some(other) => {
            if let Some(handler) = door.hub.alpn().find(other.as_bytes()) {
                let context = StreamContext {
                    peer,
                    local,
                    listener,
                    permit,
                };
                handler.take(socket, context);
            }
            return Ok(());
        }
    };
    Box::pin(drive(door.handler, socket, h2, facts(true), times, permit)).await
}

/// What comes of a new connection's first steps, unless the server is to finish and they take long:
/// a browser that opened a connection ahead of time must not hold up the end.
async fn unless_over<T>(child: &Child, steps: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        done = steps => Some(done),
        () = async {
            child.draining().await;
            tokio::time::sleep(FIRST_REQUEST).await;
        } => None,
    }
}

/// Whether the first bytes are HTTP/2's, known in advance ("prior knowledge"). `None` where the
/// client does not say within the time.
async fn speaks_h2(socket: &Socket, within: Duration) -> Option<bool> {
    let deadline = Instant::now() + within;
    let mut bytes = [0; PREFACE.len()];
    loop {
        let read = match socket.try_peek(&mut bytes) {
            Ok(read) => read,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => 0,
            Err(_) => return None,
        };
        let seen = bytes.get(..read).unwrap_or_default();
        if seen == PREFACE {
            return Some(true);
        }
        if !PREFACE.starts_with(seen) || (seen.is_empty() && deadline <= Instant::now()) {
            return Some(false);
        }
        if deadline <= Instant::now() {
            return None;
        }
        // One to three bytes of the preface: hardly ever, and nothing wakes us for the fourth
        // while those are not read.
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// What hyper calls for each request.
struct Requests {
    handler: Arc<Handler>,
    facts: Arc<ConnectionFacts>,
    line: Arc<Line>,
    h2: bool,
}

impl Service<Request<Incoming>> for Requests {
    type Response = Response<SentBody>;
    type Error = Infallible;
    type Future = Answering;

    fn call(&self, request: Request<Incoming>) -> Answering {
        let progress = self.h2.then(|| {
            let progress = Arc::new(StreamProgress::default());
            self.line.stream_born(progress.clone());
            progress
        });
        self.handler
            .answer(request, &self.facts, &self.line, progress)
    }
}

async fn drive<S>(
    handler: Arc<Handler>,
    socket: S,
    h2: bool,
    facts: Arc<ConnectionFacts>,
    times: TimeLimits,
    permit: Permit,
) -> ChildResult
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (streams, frames) = {
        let snapshot = handler.snapshot.load();
        (snapshot.streams, snapshot.idle_frames)
    };
    let line = Arc::new(Line::new(times, h2.then_some(frames)));
    let io = TokioIo::new(Wire::new(socket, line.clone(), Some(permit)));
    let child = facts.child.clone();
    let requests = Requests {
        handler,
        facts,
        line: line.clone(),
        h2,
    };
    // Each in its own box: what a connection does not speak should not cost it memory.
    if h2 {
        Box::pin(drive_h2(io, requests, &line, &child, &times, streams)).await;
    } else {
        Box::pin(drive_h1(io, requests, &line, &child)).await;
    }
    Ok(())
}

async fn drive_h2<S>(
    io: TokioIo<Wire<S>>,
    requests: Requests,
    line: &Arc<Line>,
    child: &Child,
    times: &TimeLimits,
    streams: u32,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (executor, running) = Streams::new(line.clone(), times.window);
    let mut builder = http2::Builder::new(executor);
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(streams)
        .max_header_list_size(HEADER_LIST_MAX)
        .max_local_error_reset_streams(LOCAL_RESETS_MAX)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(SEND_BUFFER)
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT);
    let mut connection = builder.serve_connection(io, requests);
    let driven = Driven {
        streams: Some(running),
        connection: &mut connection,
        line,
        timer: Timer::new(),
        leaving: false,
    };
    report(driven.run(child).await);
}

async fn drive_h1<S>(io: TokioIo<Wire<S>>, requests: Requests, line: &Line, child: &Child)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (handler, facts) = (requests.handler.clone(), requests.facts.clone());
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        // The guard has the time of heads: one timer for a connection, not one for each request.
        .header_read_timeout(None)
        .half_close(true)
        .max_buf_size(BUFFER_MAX)
        .serve_connection(io, requests)
        .with_upgrades();
    let driven = Driven {
        streams: None,
        connection: &mut connection,
        line,
        timer: Timer::new(),
        leaving: false,
    };
    let ended = driven.run(child).await;
    if let Some(status) = ended.status() {
        handler.log_no_request(&facts, status);
    }
    let last: &[u8] = match ended {
        // RFC 9110 section 15.5.9. A connection that never asked for anything is not answered.
        Ended::Expired(Expiry::SlowHead) => TIMEOUT,
        _ => &[],
    };
    let unread = matches!(ended, Ended::Expired(Expiry::SlowHead)) || line.is_mid_message();
    report(ended);
    // An upgraded connection has no parts left here.
    if unread && let Some(parts) = connection.into_parts() {
        line.discards();
        Box::pin(linger::close(parts.io.into_inner(), last)).await;
    }
}

/// How a connection ended.
enum Ended {
    /// By itself.
    Done(hyper::Result<()>),
    /// Because its time was up.
    Expired(Expiry),
}

impl Ended {
    /// The answer that what came before the end had, where it never became a request.
    fn status(&self) -> Option<StatusCode> {
        match self {
            Self::Done(Err(error)) if error.is_parse_too_large() => {
                Some(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE)
            }
            Self::Done(Err(error)) if error.is_parse() => Some(StatusCode::BAD_REQUEST),
            Self::Expired(Expiry::SlowHead) => Some(StatusCode::REQUEST_TIMEOUT),
            _ => None,
        }
    }
}

/// What the end of a connection is worth in the log.
fn report(ended: Ended) {
    match ended {
        Ended::Done(Ok(())) | Ended::Expired(Expiry::Idle) => {}
        Ended::Done(Err(error)) if error.is_parse() => {
            limited!(Duration::from_secs(10), info, "not an HTTP request", error = %chain(&error));
        }
        Ended::Done(Err(error)) => tracing::debug!(error = %chain(&error), "connection ended"),
        Ended::Expired(expiry) => tracing::debug!(?expiry, "connection closed: its time was up"),
    }
}

fn chain(error: &hyper::Error) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

/// A connection that can be told to finish.
trait Leave: Future<Output = hyper::Result<()>> + Unpin {
    fn leave(&mut self);
}

impl<S> Leave for http1::UpgradeableConnection<TokioIo<Wire<S>>, Requests>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    fn leave(&mut self) {
        Pin::new(self).graceful_shutdown();
    }
}

impl<S> Leave for http2::Connection<TokioIo<Wire<S>>, Requests, Streams>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    fn leave(&mut self) {
        Pin::new(self).graceful_shutdown();
    }
}

/// A connection, its deadline, and the drain it may be told of.
struct Driven<'a, C> {
    connection: &'a mut C,
    line: &'a Line,
    timer: Timer,
    leaving: bool,
    /// For HTTP/2.
    streams: Option<Running>,
}

impl<C: Leave> Driven<'_, C> {
    async fn run(mut self, child: &Child) -> Ended {
        // Told to finish, hyper closes a connection of which it has read nothing, though its first
        // request may lie in the socket: who was let in before the drain is heard once.
        let mut told = pin!(async {
            child.draining().await;
            if self.line.is_silent() {
                tokio::time::sleep(FIRST_REQUEST).await;
            }
        });
        let mut over = false;
        std::future::poll_fn(|cx| {
            loop {
                if let Poll::Ready(done) = Pin::new(&mut *self.connection).poll(cx) {
                    return Poll::Ready(Ended::Done(done));
                }
                // What they answer wakes this task again, if it is anything.
                if let Some(streams) = &mut self.streams {
                    streams.poll(cx);
                }
                over = over || told.as_mut().poll(cx).is_ready();
                let now = over || (child.is_draining() && !self.line.is_silent());
                if self.leaving || !now {
                    return self.poll_time(cx).map(Ended::Expired);
                }
                self.leave();
            }
        })
        .await
    }

    fn leave(&mut self) {
        self.leaving = true;
        self.line.leaving();
        self.connection.leave();
    }

    fn poll_time(&mut self, cx: &mut Context<'_>) -> Poll<Expiry> {
        loop {
            let Some(deadline) = self.line.deadline() else {
                return Poll::Pending;
            };
            if self.timer.poll(deadline, cx).is_pending() {
                return Poll::Pending;
            }
            match self.line.expired() {
                // HTTP/2 is told before it is closed (RFC 9113 section 6.8), so that no request
                // is lost that was on its way.
                Some(Expiry::Idle) if self.streams.is_some() && !self.leaving => {
                    self.leave();
                    cx.waker().wake_by_ref();
                }
                Some(expiry) => return Poll::Ready(expiry),
                None => {}
            }
        }
    }
}

/// One timer for a deadline that keeps moving. It is set anew only when the deadline comes to lie
/// before it, or when it goes off early: never in the course of a quick request.
struct Timer {
    sleep: Option<(Pin<Box<Sleep>>, Instant)>,
}

impl Timer {
    fn new() -> Self {
        Self { sleep: None }
    }

    /// Ready when `deadline` has come.
    fn poll(&mut self, deadline: Instant, cx: &mut Context<'_>) -> Poll<()> {
        let (sleep, set_to) = self
            .sleep
            .get_or_insert_with(|| (Box::pin(sleep_until(deadline.into())), deadline));
        if deadline < *set_to {
            sleep.as_mut().reset(deadline.into());
            *set_to = deadline;
        }
        while sleep.as_mut().poll(cx).is_ready() {
            if deadline <= Instant::now() {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(deadline.into());
            *set_to = deadline;
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size_of_future<A, B, C, F>(_: impl FnOnce(A, B, C) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn a_connection_costs_little_memory() {
        let task = size_of_future(serve);
        assert!(task < 2048, "{task}");
    }
}
