//! One message and what it is answered with, for transports that carry each by itself.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use super::metrics::Tally;
use super::udp::log_query;
use super::{ROOM, Shared, carry_out, script, unix_time};
use crate::engine::answer::{Answered, Client, Outcome, answer, answer_with};
use crate::engine::deferred::Deferred;
use crate::resolver::{Later, Quick};

/// What a message comes to.
pub(super) enum Exchanged {
    /// One message.
    Reply(Vec<u8>),
    /// A zone, which is a row of messages.
    Transfer,
    /// Nothing: it is no request, or there is too much to do.
    Nothing,
}

/// What there is to do for a message once the zones have been asked.
enum Next {
    Reply(Vec<u8>, Answered),
    Later(Box<Later>),
    Deferred(Box<Deferred>),
    Transfer,
    Nothing,
}

/// Answers a message, however long it takes.
pub(super) async fn exchange(
    shared: &Arc<Shared>,
    client: &Client,
    listener: &str,
    peer: SocketAddr,
    message: &[u8],
) -> Exchanged {
    let since = Instant::now();
    let mut tally = Tally::default();
    let reply = match next(shared, client, listener, message).await {
        Next::Reply(bytes, answered) => Some((bytes, answered)),
        Next::Later(later) => {
            let (state, mut out) = (shared.state.load_full(), Vec::new());
            let answered = later.run(&state.settings, &mut out).await;
            answered.map(|answered| (out, answered))
        }
        Next::Deferred(deferred) => carry_out(shared, deferred).await,
        Next::Transfer => return Exchanged::Transfer,
        Next::Nothing => None,
    };
    let exchanged = match reply {
        Some((bytes, answered)) => {
            tally.answered(answered.rr_type, answered.rcode);
            log_query(listener, peer, message, &answered);
            Exchanged::Reply(bytes)
        }
        None => {
            tally.dropped += 1;
            Exchanged::Nothing
        }
    };
    let seconds = since.elapsed().as_secs_f64();
    shared
        .metrics
        .hand_in(client.transport, &mut tally, seconds);
    exchanged
}

async fn next(shared: &Shared, client: &Client, listener: &str, message: &[u8]) -> Next {
    let decision = if script::is_hooked(shared) {
        let _permit = shared.scripted.acquire().await;
        script::decide(shared, client, listener, message).await
    } else {
        None
    };
    let (state, now) = (shared.state.load(), unix_time());
    ROOM.with_borrow_mut(|room| {
        let (out, scratch) = (&mut *room.out, &mut room.scratch);
        let mut outcome = match &decision {
            Some(decision) => answer_with(&state, client, now, message, decision, out, scratch),
            None => answer(&state, client, now, message, out, scratch),
        };
        if let Outcome::Recurse = outcome {
            let times = (Instant::now(), now);
            let names = &mut scratch.names;
            outcome = match shared
                .recursion
                .quick(&state, client, times, message, out, names)
            {
                Quick::Reply(answered) => Outcome::Reply(answered),
                Quick::Later(later) => return Next::Later(later),
                Quick::Drop => Outcome::Drop,
            };
        }
        match outcome {
            Outcome::Reply(answered) => {
                let bytes = out.get(..answered.len).unwrap_or_default();
                Next::Reply(bytes.to_vec(), answered)
            }
            Outcome::Deferred(deferred) => Next::Deferred(deferred),
            Outcome::Transfer(_) => Next::Transfer,
            Outcome::Drop | Outcome::Recurse => Next::Nothing,
        }
    })
}
