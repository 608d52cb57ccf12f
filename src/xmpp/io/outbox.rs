//! What waits to be written to one session's client.
//!
//! Whoever has something for a session puts it here and wakes the session's task, which takes all of
//! it at once: many stanzas become one TLS record. The outbox outlives a connection that stream
//! management can resume. It is bounded: a client that doesn't read loses its stream, and nobody
//! waits for it.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Waker},
    time::{Duration, Instant, SystemTime},
};

use crate::{
    engine::{
        account::Outlet,
        csi::{self, Held},
        sm::{Queue, Sent, TooMany},
    },
    wire::{Jid, Stanza, StreamCondition, StreamError, stream},
};

/// How the session shows up in lists.
#[derive(Debug, Clone)]
pub(crate) struct Facts {
    pub(crate) jid: Jid,
    pub(crate) peer: SocketAddr,
    pub(crate) listener: Arc<str>,
    pub(crate) mechanism: &'static str,
    pub(crate) since: SystemTime,
}

/// The queue to one session's client.
pub(crate) struct Outbox {
    pub(crate) facts: Facts,
    /// Bytes that may wait.
    limit: usize,
    /// The last entry that the client's messages made in archives.
    archived: AtomicU64,
    state: Mutex<State>,
    turn: tokio::sync::Mutex<()>,
}

/// The right to handle what the session's client sent, one thing at a time, or to give the session
/// to another connection: while one of them is being done, the other waits.
pub(crate) struct Turn<'a> {
    _alone: tokio::sync::MutexGuard<'a, ()>,
}

type Callback = Box<dyn FnOnce(bool) + Send>;

struct State {
    pending: Vec<u8>,
    phase: Phase,
    waker: Option<Waker>,
    /// Which of the session's connections may take from here: the latest.
    connection: u32,
    /// Since when bytes that were taken are not written.
    busy: Option<Instant>,
    /// When anything was written or read last, for keep-alives.
    active: Instant,
    /// Bytes ever put in, and ever written.
    put: u64,
    written: u64,
    /// To be called when so much is written (or acknowledged, with stream management).
    callbacks: VecDeque<(u64, Callback)>,
    managed: Option<Box<Managed>>,
    /// What waits until somebody looks at the client again; `None` while somebody does.
    held: Option<Box<Held>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// A connection takes what is put in.
    Open,
    /// The connection is gone; another may resume the session.
    Asleep(Instant),
    /// What is pending is the last.
    Closing,
    /// Over.
    Closed,
}

/// Stream management of one session.
struct Managed {
    queue: Queue,
    /// Stanzas ever put in the queue and ever acknowledged.
    sent: u64,
    acknowledged: u64,
    /// Stanzas of the client's that were handled.
    handled: u32,
    /// We asked for an acknowledgement and have had none.
    asked: bool,
    /// What a client that resumes must know; `None` if it did not ask for that.
    token: Option<Arc<str>>,
}

/// What the session's task gets.
pub(crate) enum Taken {
    /// To be written.
    Bytes(Vec<u8>),
    /// To be written, and then the stream is over.
    Last(Vec<u8>),
    /// Nothing.
    Nothing,
    /// The session has another connection, or is over.
    Lost,
}

impl Outbox {
    pub(crate) fn new(facts: Facts, limit: usize) -> Arc<Outbox> {
        let state = State {
            pending: Vec::new(),
            phase: Phase::Open,
            waker: None,
            connection: 0,
            busy: None,
            active: Instant::now(),
            put: 0,
            written: 0,
            callbacks: VecDeque::new(),
            managed: None,
            held: None,
        };
        Arc::new(Outbox {
            facts,
            limit,
            archived: AtomicU64::new(0),
            state: Mutex::new(state),
            turn: tokio::sync::Mutex::new(()),
        })
    }

    /// The turn of whoever takes the session over.
    pub(crate) async fn turn(&self) -> Turn<'_> {
        Turn {
            _alone: self.turn.lock().await,
        }
    }

    /// The turn of `connection`, for one thing that its client sent; none once another has the
    /// session, whose client sends again what was not handled.
    pub(crate) async fn turn_of(&self, connection: u32) -> Option<Turn<'_>> {
        let turn = self.turn().await;
        (self.state().connection == connection).then_some(turn)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that a message of the client's is entry `count` of what is to be archived.
    pub(crate) fn archived(&self, count: u64) {
        self.archived.fetch_max(count, Ordering::Relaxed);
    }

    /// The entry that must be written before the client hears that its messages were handled.
    pub(crate) fn last_archived(&self) -> u64 {
        self.archived.load(Ordering::Relaxed)
    }

    /// Puts in text that is no stanza: parts of the stream itself.
    pub(crate) fn write(&self, text: &str) {
        let mut state = self.state();
        if state.phase == Phase::Open {
            state.put(text.as_bytes());
            state.wake();
        }
    }

    /// Ends the stream after what is pending: with the closing tag alone, or an error before it.
    fn end(&self, text: &str) {
        let mut state = self.state();
        match state.phase {
            Phase::Open => {
                state.put(text.as_bytes());
                state.phase = Phase::Closing;
            }
            Phase::Asleep(_) => state.phase = Phase::Closed,
            Phase::Closing | Phase::Closed => {}
        }
        state.wake();
    }

    /// Answers the client's goodbye.
    pub(crate) fn goodbye(&self) {
        self.end(stream::CLOSE);
    }

    /// Whether `connection` still has the session. The task is woken when it no longer has, and
    /// when there is something to take.
    pub(crate) fn watch(&self, connection: u32, cx: &mut Context<'_>) -> bool {
        let mut state = self.state();
        match &mut state.waker {
            Some(waker) => waker.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
        state.connection == connection && matches!(state.phase, Phase::Open | Phase::Closing)
    }

    /// What `connection` is to write, all of it.
    pub(crate) fn take(&self, connection: u32) -> Taken {
        let mut state = self.state();
        if state.connection != connection {
            return Taken::Lost;
        }
        match state.phase {
            Phase::Asleep(_) | Phase::Closed => Taken::Lost,
            Phase::Closing if state.pending.is_empty() => Taken::Lost,
            Phase::Closing => Taken::Last(state.hand_out()),
            Phase::Open if state.pending.is_empty() => Taken::Nothing,
            Phase::Open => Taken::Bytes(state.hand_out()),
        }
    }

    /// What was taken is with the kernel.
    pub(crate) fn wrote(&self, connection: u32, bytes: usize) {
        let done = {
            let mut state = self.state();
            if state.connection != connection {
                return;
            }
            state.busy = None;
            state.active = Instant::now();
            state.written += bytes as u64;
            if state.managed.is_some() {
                Vec::new()
            } else {
                state.due()
            }
        };
        for callback in done {
            callback(true);
        }
    }

    /// Notes that the client is alive.
    pub(crate) fn heard(&self) {
        self.state().active = Instant::now();
    }

    /// The connection is gone. Whether the session may be resumed, and so lives on.
    pub(crate) fn sleep(&self, connection: u32) -> bool {
        let mut state = self.state();
        if state.connection != connection {
            // Another connection has the session already.
            return true;
        }
        if matches!(state.phase, Phase::Asleep(_)) {
            return true;
        }
        let resumable = state
            .managed
            .as_ref()
            .is_some_and(|managed| managed.token.is_some());
        if state.phase != Phase::Open || !resumable {
            return false;
        }
        // What was not written is in the queue.
        state.pending = Vec::new();
        state.busy = None;
        state.waker = None;
        state.phase = Phase::Asleep(Instant::now());
        true
    }

    /// Gives the session to a new connection, whose client has had `handled` of our stanzas: the
    /// connection's number and how many of the client's stanzas were handled. `greeting` gets that
    /// count, and what it returns is written before the stanzas that the client missed. Nothing that
    /// the client sent is being handled meanwhile, so that the count is of all that ever will be.
    ///
    /// # Errors
    /// When the session can't be resumed.
    pub(crate) fn resume(
        &self,
        _turn: &Turn<'_>,
        handled: u32,
        greeting: impl FnOnce(u32) -> String,
    ) -> Result<u32, ()> {
        let (connection, done) = {
            let mut state = self.state();
            if !matches!(state.phase, Phase::Open | Phase::Asleep(_)) {
                return Err(());
            }
            let managed = state.managed.as_mut().ok_or(())?;
            let new = managed
                .queue
                .acknowledge(handled)
                .map_err(|_: TooMany| ())?;
            managed.acknowledged += new as u64;
            let mut bytes = greeting(managed.handled).into_bytes();
            for sent in managed.queue.waiting() {
                sent.stanza.write(&mut bytes);
            }
            managed.asked = !managed.queue.is_empty();
            if managed.asked {
                bytes.extend_from_slice(REQUEST);
            }
            // The other connection, if it still is one, finds that it is not the latest.
            state.wake();
            state.connection = state.connection.wrapping_add(1);
            state.phase = Phase::Open;
            state.busy = None;
            state.active = Instant::now();
            state.pending = Vec::new();
            state.put(&bytes);
            // XEP-0352 5: a stream begins active.
            self.let_go(&mut state);
            (state.connection, state.due())
        };
        for callback in done {
            callback(true);
        }
        Ok(connection)
    }

    /// Begins stream management, with `greeting` to tell the client so; `false` if it has begun
    /// before. In one step, because both sides count from there on.
    pub(crate) fn manage(&self, token: Option<Arc<str>>, greeting: &str) -> bool {
        let mut state = self.state();
        if state.managed.is_some() || state.phase != Phase::Open {
            return false;
        }
        state.put(greeting.as_bytes());
        state.wake();
        let managed = Managed {
            queue: Queue::default(),
            sent: 0,
            acknowledged: 0,
            handled: 0,
            asked: false,
            token,
        };
        state.managed = Some(Box::new(managed));
        true
    }

    /// The token that resumes the session, and how many of its client's stanzas were handled.
    pub(crate) fn token(&self) -> Option<(Arc<str>, u32)> {
        let state = self.state();
        let managed = state.managed.as_ref()?;
        Some((managed.token.clone()?, managed.handled))
    }

    /// Bytes that wait for the client to acknowledge them.
    pub(crate) fn unacknowledged(&self) -> usize {
        let state = self.state();
        state.managed.as_ref().map_or(0, |m| m.queue.bytes())
    }

    /// Counts a stanza of the client's as handled.
    pub(crate) fn handled(&self) {
        if let Some(managed) = &mut self.state().managed {
            managed.handled = managed.handled.wrapping_add(1);
        }
    }

    /// Tells the client how many of its stanzas were handled.
    pub(crate) fn answer(&self) {
        let mut state = self.state();
        if let Some(handled) = state.managed.as_ref().map(|managed| managed.handled) {
            state.put(format!("<a xmlns='urn:xmpp:sm:3' h='{handled}'/>").as_bytes());
            state.wake();
        }
    }

    /// The client has had `handled` of our stanzas.
    ///
    /// # Errors
    /// When it can't have.
    pub(crate) fn acknowledge(&self, handled: u32) -> Result<(), TooMany> {
        let done = {
            let mut state = self.state();
            let Some(managed) = &mut state.managed else {
                return Ok(());
            };
            let new = managed.queue.acknowledge(handled)?;
            managed.acknowledged += new as u64;
            state.due()
        };
        for callback in done {
            callback(true);
        }
        Ok(())
    }

    /// The session is over: gives back what the client never acknowledged and nobody else keeps.
    pub(crate) fn finish(&self) -> Vec<Sent> {
        let (callbacks, managed) = {
            let mut state = self.state();
            state.phase = Phase::Closed;
            state.pending = Vec::new();
            state.wake();
            (std::mem::take(&mut state.callbacks), state.managed.take())
        };
        for (_, callback) in callbacks {
            callback(false);
        }
        // What the database still keeps is handed over from there.
        managed
            .map(|managed| {
                managed
                    .queue
                    .into_waiting()
                    .filter(|sent| !sent.kept)
                    .collect()
            })
            .unwrap_or_default()
    }

    /// Looks after the session: ends what has taken too long, greets what has been silent.
    pub(crate) fn tend(&self, now: Instant, patience: &Patience) -> Fate {
        let mut state = self.state();
        match state.phase {
            Phase::Asleep(since) if now.duration_since(since) >= patience.asleep => Fate::Over,
            Phase::Asleep(since) => Fate::Asleep(since),
            Phase::Closed => Fate::Over,
            Phase::Open | Phase::Closing => {
                if state
                    .busy
                    .is_some_and(|since| now.duration_since(since) >= patience.write)
                {
                    state.phase = Phase::Closed;
                    state.pending = Vec::new();
                    state.wake();
                } else if state.phase == Phase::Open
                    && now.duration_since(state.active) >= patience.silence
                {
                    // A byte of white space finds out whether the connection is still one, and
                    // keeps it open in the routers on the way (RFC 6120 4.6.1).
                    state.put(b" ");
                    state.active = now;
                    state.wake();
                } else if state.phase == Phase::Open && state.ask() {
                    state.wake();
                }
                Fate::Awake
            }
        }
    }
}

const REQUEST: &[u8] = b"<r xmlns='urn:xmpp:sm:3'/>";

/// How long things may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// A session without connection.
    pub(crate) asleep: Duration,
    /// A write.
    pub(crate) write: Duration,
    /// A connection without traffic before we send a byte.
    pub(crate) silence: Duration,
}

/// What became of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    Awake,
    /// Since when it has no connection.
    Asleep(Instant),
    /// It is to be taken out.
    Over,
}

impl State {
    fn put(&mut self, bytes: &[u8]) {
        self.pending.extend_from_slice(bytes);
        self.put += bytes.len() as u64;
    }

    fn put_stanza(&mut self, stanza: &Stanza) {
        let before = self.pending.len();
        stanza.write(&mut self.pending);
        self.put += (self.pending.len() - before) as u64;
    }

    /// Asks for an acknowledgement, if there is something to acknowledge. Whether it did.
    fn ask(&mut self) -> bool {
        let Some(managed) = &mut self.managed else {
            return false;
        };
        if managed.asked || managed.queue.is_empty() || self.phase != Phase::Open {
            return false;
        }
        managed.asked = true;
        self.put(REQUEST);
        true
    }

    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    fn hand_out(&mut self) -> Vec<u8> {
        self.busy.get_or_insert_with(Instant::now);
        std::mem::take(&mut self.pending)
    }

    /// The callbacks whose time has come.
    fn due(&mut self) -> Vec<Callback> {
        let reached = self
            .managed
            .as_ref()
            .map_or(self.written, |managed| managed.acknowledged);
        let mut due = Vec::new();
        while self.callbacks.front().is_some_and(|(at, _)| *at <= reached) {
            due.extend(self.callbacks.pop_front().map(|(_, callback)| callback));
        }
        due
    }
}

impl Outbox {
    /// Whether somebody looks at the client (XEP-0352).
    pub(crate) fn inactive(&self, inactive: bool) {
        let mut state = self.state();
        if inactive {
            state.held.get_or_insert_default();
        } else {
            self.let_go(&mut state);
        }
    }

    /// Sends what was held back, and holds nothing back any more.
    fn let_go(&self, state: &mut State) {
        if let Some(mut held) = state.held.take() {
            for stanza in held.release() {
                self.push_in(state, &stanza, false);
            }
        }
    }

    fn push(&self, stanza: &Stanza, kept: bool) -> bool {
        let mut state = self.state();
        if !matches!(state.phase, Phase::Open | Phase::Asleep(_)) {
            return false;
        }
        if let Some(held) = &mut state.held {
            // What can't wait takes with it what was before it.
            let (due, waits) = if csi::can_wait(stanza) && !kept {
                (held.hold(stanza), true)
            } else {
                (held.release(), false)
            };
            for stanza in due {
                self.push_in(&mut state, &stanza, false);
            }
            if waits {
                return true;
            }
        }
        self.push_in(&mut state, stanza, kept)
    }

    fn push_in(&self, state: &mut State, stanza: &Stanza, kept: bool) -> bool {
        if !matches!(state.phase, Phase::Open | Phase::Asleep(_)) {
            return false;
        }
        let mut request = false;
        if let Some(managed) = &mut state.managed {
            let sent = Sent {
                stanza: stanza.clone(),
                at: SystemTime::now(),
                kept,
            };
            match managed.queue.push(sent) {
                Ok(asks) => {
                    managed.sent += 1;
                    request = asks;
                }
                Err(_) => {
                    state.overflow();
                    return false;
                }
            }
        }
        if state.phase != Phase::Open {
            return true;
        }
        if state.pending.len() + stanza.size() > self.limit {
            state.overflow();
            return false;
        }
        state.put_stanza(stanza);
        if request {
            state.ask();
        }
        state.wake();
        true
    }
}

impl Outlet for Outbox {
    fn send(&self, stanza: &Stanza) -> bool {
        self.push(stanza, false)
    }

    fn send_kept(&self, stanza: &Stanza) -> bool {
        self.push(stanza, true)
    }

    fn then(&self, done: Callback) {
        let mut state = self.state();
        let over = !matches!(state.phase, Phase::Open | Phase::Asleep(_));
        let (at, reached) = match &state.managed {
            Some(managed) => (managed.sent, managed.acknowledged),
            None => (state.put, state.written),
        };
        if over || at <= reached {
            drop(state);
            done(!over);
        } else {
            state.callbacks.push_back((at, done));
            // Somebody waits for it.
            state.ask();
            state.wake();
        }
    }

    fn close(&self, error: StreamError) {
        self.end(&error.closing());
    }
}

impl State {
    /// The client doesn't read, or doesn't acknowledge: the stream ends. An error is put behind
    /// what is pending, for what it's worth.
    fn overflow(&mut self) {
        if self.phase == Phase::Open {
            let text = "the client does not read what it is sent";
            let error = StreamError::new(StreamCondition::ResourceConstraint, text);
            self.put(error.closing().as_bytes());
            self.phase = Phase::Closing;
        } else {
            self.phase = Phase::Closed;
        }
        self.wake();
    }
}

#[cfg(test)]
mod tests;
