//! Streams over HTTP requests (XEP-0124, XEP-0206).

use std::{
    collections::{HashMap, VecDeque},
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use bytes::Bytes;
use http::{Method, StatusCode};
use http_body_util::BodyExt;
use omnid_hub::{MountContext, MountRequest, MountResponse};
use omnid_net::subnet_key;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf},
    sync::{Notify, oneshot},
};
use tracing::debug;

use super::{PIPE, Progress, begin, not_allowed, plain, with_body};
use crate::{
    engine::bosh::{Body, Came, Window, refusal},
    io::server::{Server, token},
    wire::{
        Limits,
        web::{Outward, Sent},
    },
};

/// Sessions in all.
const SESSIONS: usize = 20_000;
/// Sessions that are not logged in, from one network: they need no connection to be there.
const STRANGERS: usize = 200;
/// Bytes that a request may add to a stanza.
const WRAPPING: usize = 16 * 1024;
/// Bytes of output that wait for a request; then the stream does.
const PENDING: usize = 64 * 1024;
const KIND: &str = "text/xml; charset=utf-8";

/// The sessions there are, by name.
#[derive(Default)]
pub(crate) struct Bosh(Mutex<HashMap<String, Arc<Session>>>);

impl Bosh {
    fn sessions(&self) -> MutexGuard<'_, HashMap<String, Arc<Session>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a session in, if there is room for it.
    fn enter(&self, sid: &str, session: &Arc<Session>) -> bool {
        let mut sessions = self.sessions();
        let strangers = sessions
            .values()
            .filter(|other| other.from == session.from && !other.state().progress.known);
        let room = sessions.len() < SESSIONS && strangers.count() < STRANGERS;
        if room {
            sessions.insert(sid.to_owned(), session.clone());
        }
        room
    }
}

struct Session {
    from: IpAddr,
    state: Mutex<State>,
    /// There is something for the stream.
    fed: Notify,
    /// There is another time to look at the clock.
    changed: Notify,
    /// Output has gone.
    drained: Notify,
}

struct State {
    window: Window,
    progress: Progress,
    /// For the stream: what requests brought whose turn has come. The window bounds it.
    inward: VecDeque<String>,
    waiting: HashMap<u64, oneshot::Sender<String>>,
}

impl Session {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a request; its answer comes later.
    fn take(&self, body: Body) -> Result<oneshot::Receiver<String>, String> {
        let now = Instant::now();
        let mut state = self.state();
        let rid = body.rid;
        match state.window.came(body) {
            Came::Waits => {}
            Came::Again(text) => return Err(text),
            Came::Wrong => {
                state.window.end(Some("item-not-found"));
                state.flush(now);
                drop(state);
                self.changed.notify_one();
                return Err(refusal("item-not-found"));
            }
        }
        let (sender, receiver) = oneshot::channel();
        // A request that is repeated while it waits has lost its connection.
        state.waiting.insert(rid, sender);
        while let Some(body) = state.window.turn(now) {
            let mut stream = body.stream;
            if state.progress.due && (body.sid.is_none() || body.restart) {
                stream.insert_str(0, &body.header);
                state.progress.sent(Sent::Header);
            }
            if !stream.is_empty() {
                state.inward.push_back(stream);
            }
        }
        state.flush(now);
        drop(state);
        self.fed.notify_one();
        self.changed.notify_one();
        self.drained.notify_one();
        Ok(receiver)
    }
}

impl State {
    /// Gives the answers that are due. One whose connection is gone is asked for again.
    fn flush(&mut self, now: Instant) {
        for (rid, text) in self.window.answers(now) {
            if let Some(waiting) = self.waiting.remove(&rid) {
                drop(waiting.send(text));
            }
        }
    }
}

pub(super) async fn answer(
    server: &Arc<Server>,
    request: MountRequest,
    context: &MountContext,
) -> MountResponse {
    match *request.method() {
        Method::POST => {}
        Method::OPTIONS => return plain(StatusCode::NO_CONTENT),
        _ => return not_allowed("POST, OPTIONS"),
    }
    let limits = server.settings.load().limits();
    let mut body = request.into_body();
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else {
            return plain(StatusCode::BAD_REQUEST);
        };
        let data = frame.into_data().unwrap_or_default();
        if bytes.len() + data.len() > limits.bytes.saturating_add(WRAPPING) {
            return plain(StatusCode::PAYLOAD_TOO_LARGE);
        }
        bytes.extend_from_slice(&data);
    }
    drop(body);
    let text = match said(server, context, &bytes, limits) {
        Ok(waits) => waits.await.unwrap_or_else(|_| refusal("item-not-found")),
        Err(text) => text,
    };
    with_body(StatusCode::OK, Some(KIND), Bytes::from(text))
}

/// Gives a request to its session.
fn said(
    server: &Arc<Server>,
    context: &MountContext,
    bytes: &[u8],
    limits: Limits,
) -> Result<oneshot::Receiver<String>, String> {
    let limits = Limits {
        bytes: limits.bytes.saturating_add(WRAPPING),
        depth: limits.depth + 1,
        ..limits
    };
    let body = Body::parse(bytes, limits).map_err(|flaw| {
        debug!(%flaw, "a request is no BOSH");
        refusal("bad-request")
    })?;
    let Some(sid) = &body.sid else {
        return create(server, context, body);
    };
    let session = server.bosh.sessions().get(sid).cloned();
    let session = session.ok_or_else(|| refusal("item-not-found"))?;
    // Those who are not logged in have less to say.
    if !session.state().progress.known && bytes.len() > Limits::UNAUTHENTICATED.bytes {
        return Err(refusal("policy-violation"));
    }
    session.take(body)
}

fn create(
    server: &Arc<Server>,
    context: &MountContext,
    body: Body,
) -> Result<oneshot::Receiver<String>, String> {
    let sid = token();
    let session = Arc::new(Session {
        from: subnet_key(context.peer.ip()),
        state: Mutex::new(State {
            window: Window::new(sid.clone(), &body, Instant::now()),
            progress: Progress::new(),
            inward: VecDeque::new(),
            waiting: HashMap::new(),
        }),
        fed: Notify::new(),
        changed: Notify::new(),
        drained: Notify::new(),
    });
    if !server.bosh.enter(&sid, &session) {
        return Err(refusal("internal-server-error"));
    }
    let answer = session.take(body);
    let (inner, outer) = tokio::io::duplex(PIPE);
    let stay = Stay {
        server: server.clone(),
        sid,
        session,
    };
    let carried = async move {
        carry(&stay.session, outer).await;
        Ok(())
    };
    if !begin(server, context, "bosh", inner, carried) {
        return Err(refusal("internal-server-error"));
    }
    answer
}

/// A session in the table, as long as somebody carries its stream.
struct Stay {
    server: Arc<Server>,
    sid: String,
    session: Arc<Session>,
}

impl Drop for Stay {
    fn drop(&mut self) {
        self.server.bosh.sessions().remove(&self.sid);
    }
}

/// Carries the stream until the client is gone or has heard the last words.
async fn carry(session: &Session, pipe: DuplexStream) {
    let (from_server, to_server) = tokio::io::split(pipe);
    tokio::select! {
        () = feed(session, to_server) => {}
        () = listen(session, from_server) => {}
        () = watch(session) => return,
    }
    session.state().window.end(None);
    watch(session).await;
}

/// Gives the stream what requests brought.
async fn feed(session: &Session, mut pipe: WriteHalf<DuplexStream>) {
    loop {
        let next = session.state().inward.pop_front();
        let Some(text) = next else {
            session.fed.notified().await;
            continue;
        };
        if pipe.write_all(text.as_bytes()).await.is_err() {
            // The other direction has the last words.
            std::future::pending::<()>().await;
        }
    }
}

/// Hears what the server says, until it has no more to say.
async fn listen(session: &Session, mut pipe: ReadHalf<DuplexStream>) {
    let mut pieces = Outward::default();
    let mut buffer = vec![0; 4 * 1024];
    loop {
        while session.state().window.pending() > PENDING {
            session.drained.notified().await;
        }
        let read = match pipe.read(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(read) => read,
        };
        let mut input = buffer.get(..read).unwrap_or_default();
        let mut state = session.state();
        loop {
            match pieces.next(&mut input) {
                Ok(Some(said)) => {
                    if let crate::wire::web::Said::Element(text) = &said {
                        state.progress.said(text);
                    }
                    state.window.say(said);
                }
                Ok(None) => break,
                Err(_) => return,
            }
        }
        state.flush(Instant::now());
        drop(state);
        session.changed.notify_one();
    }
}

/// Answers requests that have waited long enough, until the session is over.
async fn watch(session: &Session) {
    loop {
        let deadline = {
            let now = Instant::now();
            let mut state = session.state();
            state.flush(now);
            if state.window.is_over(now) {
                return;
            }
            state.window.deadline()
        };
        session.drained.notify_one();
        match deadline {
            Some(deadline) => tokio::select! {
                () = tokio::time::sleep_until(deadline.into()) => {}
                () = session.changed.notified() => {}
            },
            None => session.changed.notified().await,
        }
    }
}
