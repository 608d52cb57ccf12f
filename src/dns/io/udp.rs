//! UDP: datagrams are taken in batches and answered in place, in the task that took them.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use omnid_net::{DatagramSocket, ReceiveBatch, SendBatch};
use omnid_supervisor::{Child, ChildResult};
use tracing::{Level, debug, debug_span};

use super::metrics::Tally;
use super::{Shared, carry_out, script, unix_time};
use crate::engine::answer::{Answered, Client, Outcome, Scratch, Transport, answer, answer_with};
use crate::engine::deferred::Deferred;
use crate::engine::state::State;
use crate::resolver::{Later, Quick};
use crate::wire::query::Query;

/// Datagrams in one batch.
const BATCH: usize = 64;
/// Largest request over UDP; one that is longer has no business being so.
const MAX_REQUEST: usize = 2048;
/// Largest answer over UDP that the config allows.
const MAX_ANSWER: usize = 4096;
/// Batches after which other tasks of the runtime get their turn.
const TURN: usize = 8;

/// Answers the datagrams of one socket until it is to stop.
pub(crate) async fn udp(shared: Arc<Shared>, child: Child, socket: DatagramSocket) -> ChildResult {
    let mut worker = Worker {
        listener: format!("udp {}", socket.local_address()),
        requests: ReceiveBatch::new(BATCH, MAX_REQUEST),
        answers: SendBatch::new(BATCH, MAX_ANSWER),
        scratch: Scratch::default(),
        tally: Tally::default(),
        shared,
        socket,
    };
    loop {
        tokio::select! {
            () = worker.socket.readable() => {
                let mut turns = 0;
                while worker.batch(&child).await && !child.is_draining() {
                    turns += 1;
                    if turns % TURN == 0 {
                        tokio::task::yield_now().await;
                    }
                }
            }
            () = child.draining() => {
                // What the kernel has queued was sent before anybody could know that we stop.
                worker.batch(&child).await;
                return Ok(());
            }
        }
    }
}

struct Worker {
    shared: Arc<Shared>,
    socket: DatagramSocket,
    listener: String,
    requests: ReceiveBatch,
    answers: SendBatch,
    scratch: Scratch,
    tally: Tally,
}

impl Worker {
    /// Answers what waits. False once nothing waits any more.
    async fn batch(&mut self, child: &Child) -> bool {
        // The socket tells of trouble with earlier datagrams here as well (ICMP): none of it keeps
        // the next ones from coming.
        let Ok(count) = self.socket.receive(&mut self.requests) else {
            return false;
        };
        let since = Instant::now();
        if script::is_hooked(&self.shared) {
            self.hand_to_scripts(child);
        } else {
            self.answer_all(child);
        }
        if !self.answers.is_empty() {
            self.socket.send_all(&mut self.answers).await;
        }
        let Worker { shared, tally, .. } = self;
        shared
            .metrics
            .hand_in(Transport::Udp, tally, since.elapsed().as_secs_f64());
        count == BATCH
    }

    fn answer_all(&mut self, child: &Child) {
        let Worker {
            shared,
            requests,
            answers,
            scratch,
            tally,
            listener,
            socket,
        } = self;
        let state = shared.state.load();
        let (now, since) = (unix_time(), Instant::now());
        let logged = tracing::enabled!(target: "omnid_dns::query", Level::DEBUG);
        for (message, peer, local) in requests.iter() {
            let Some(slot) = answers.next_slot() else {
                return;
            };
            let client = client(socket, peer, local);
            let mut outcome = answer(&state, &client, now, message, slot, scratch);
            if let Outcome::Recurse = outcome {
                let (recursion, names) = (&shared.recursion, &mut scratch.names);
                let times = (since, now);
                outcome = match recursion.quick(&state, &client, times, message, slot, names) {
                    Quick::Reply(answered) => Outcome::Reply(answered),
                    Quick::Later(later) => {
                        let worker = (shared.clone(), socket.clone(), listener.clone());
                        answer_later(child, worker, later, peer, local);
                        continue;
                    }
                    Quick::Drop => Outcome::Drop,
                };
            }
            match outcome {
                Outcome::Reply(answered) => {
                    tally.answered(answered.rr_type, answered.rcode);
                    answers.commit(answered.len, peer, local);
                    if logged {
                        log_query(listener, peer, message, &answered);
                    }
                }
                Outcome::Deferred(deferred) => {
                    let (shared, socket) = (shared.clone(), socket.clone());
                    let span = debug_span!("request", %listener, %peer);
                    child.spawn("request", span, async move {
                        carry_out_here(&shared, &socket, deferred, peer, local).await;
                        Ok(())
                    });
                }
                Outcome::Drop | Outcome::Recurse | Outcome::Transfer(_) => tally.dropped += 1,
            }
        }
    }

    /// Each query in a task of its own, since a script may take its time.
    fn hand_to_scripts(&mut self, child: &Child) {
        for (message, peer, local) in self.requests.iter() {
            let Ok(permit) = self.shared.scripted.clone().try_acquire_owned() else {
                self.tally.dropped += 1;
                continue;
            };
            let (shared, socket) = (self.shared.clone(), self.socket.clone());
            let (message, listener) = (message.to_vec(), self.listener.clone());
            let span = debug_span!("query", %listener, %peer);
            child.spawn("query", span, async move {
                let _permit = permit;
                scripted(&shared, &socket, &listener, &message, peer, local).await;
                Ok(())
            });
        }
    }
}

/// Who sent a datagram, and to which of the addresses that the socket has.
fn client(socket: &DatagramSocket, peer: SocketAddr, local: Option<IpAddr>) -> Client {
    let own = socket.local_address();
    let at = SocketAddr::new(local.unwrap_or(own.ip()), own.port());
    Client::new(peer.ip(), Transport::Udp).at(at)
}

/// Has a request carried out and sends the response.
async fn carry_out_here(
    shared: &Shared,
    socket: &DatagramSocket,
    deferred: Box<Deferred>,
    peer: SocketAddr,
    local: Option<IpAddr>,
) {
    let mut tally = Tally::default();
    match carry_out(shared, deferred).await {
        Some((bytes, answered)) => {
            tally.answered(answered.rr_type, answered.rcode);
            if let Err(error) = socket.send_to(&bytes, peer, local).await {
                debug!(%error, "answer not sent");
            }
        }
        None => tally.dropped += 1,
    }
    shared.metrics.hand_in(Transport::Udp, &mut tally, 0.0);
}

/// Answers a query once the resolver has found out.
fn answer_later(
    child: &Child,
    worker: (Arc<Shared>, DatagramSocket, String),
    later: Box<Later>,
    peer: SocketAddr,
    local: Option<IpAddr>,
) {
    let (shared, socket, listener) = worker;
    let span = debug_span!("query", %listener, %peer);
    let since = Instant::now();
    child.spawn("query", span, async move {
        let state = shared.state.load_full();
        let (message, mut out) = (later.message().to_vec(), Vec::new());
        let mut tally = Tally::default();
        match later.run(&state.settings, &mut out).await {
            Some(answered) => {
                tally.answered(answered.rr_type, answered.rcode);
                log_query(&listener, peer, &message, &answered);
                if let Err(error) = socket.send_to(&out, peer, local).await {
                    debug!(%error, "answer not sent");
                }
            }
            None => tally.dropped += 1,
        }
        let seconds = since.elapsed().as_secs_f64();
        shared.metrics.hand_in(Transport::Udp, &mut tally, seconds);
        Ok(())
    });
}

async fn scripted(
    shared: &Shared,
    socket: &DatagramSocket,
    listener: &str,
    message: &[u8],
    peer: SocketAddr,
    local: Option<IpAddr>,
) {
    let since = Instant::now();
    let client = client(socket, peer, local);
    let decision = script::decide(shared, &client, listener, message).await;
    let state: Arc<State> = shared.state.load_full();
    let (mut out, mut scratch) = (vec![0; MAX_ANSWER], Box::<Scratch>::default());
    let now = unix_time();
    let outcome = match &decision {
        Some(decision) => answer_with(
            &state,
            &client,
            now,
            message,
            decision,
            &mut out,
            &mut scratch,
        ),
        None => answer(&state, &client, now, message, &mut out, &mut scratch),
    };
    let mut outcome = outcome;
    if let Outcome::Recurse = outcome {
        let (recursion, names) = (&shared.recursion, &mut scratch.names);
        outcome = match recursion.quick(&state, &client, (since, now), message, &mut out, names) {
            Quick::Reply(answered) => Outcome::Reply(answered),
            Quick::Later(later) => match later.run(&state.settings, &mut out).await {
                Some(answered) => Outcome::Reply(answered),
                None => Outcome::Drop,
            },
            Quick::Drop => Outcome::Drop,
        };
    }
    let mut tally = Tally::default();
    if let Outcome::Reply(answered) = outcome {
        tally.answered(answered.rr_type, answered.rcode);
        log_query(listener, peer, message, &answered);
        let bytes = out.get(..answered.len).unwrap_or_default();
        if let Err(error) = socket.send_to(bytes, peer, local).await {
            debug!(%error, "answer not sent");
        }
    } else if let Outcome::Deferred(deferred) = outcome {
        carry_out_here(shared, socket, deferred, peer, local).await;
    } else {
        tally.dropped += 1;
    }
    shared
        .metrics
        .hand_in(Transport::Udp, &mut tally, since.elapsed().as_secs_f64());
}

/// The query log: a line for each query at level debug.
pub(super) fn log_query(listener: &str, peer: SocketAddr, message: &[u8], answered: &Answered) {
    let Ok(Query {
        question: Some(question),
        ..
    }) = Query::read(message)
    else {
        return;
    };
    debug!(
        target: "omnid_dns::query",
        listener,
        %peer,
        name = %question.name,
        r#type = %question.rr_type,
        rcode = %answered.rcode,
        octets = answered.len,
        "query"
    );
}
