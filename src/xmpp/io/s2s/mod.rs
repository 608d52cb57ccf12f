//! Other servers: what goes to them, and what comes.
//!
//! A pair of domains has one connection out, made when there is something to send ([`outgoing`]),
//! and what the other server sends comes on connections of its own ([`incoming`]).

mod incoming;
mod link;
mod outgoing;
mod trust;

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use tokio::sync::mpsc;

use super::server::{Server, token};
use crate::{
    engine::{account::bounce, wish::Wishes},
    wire::{Condition, Kind, PresenceType, Stanza},
};

pub(crate) use incoming::{begin_plain, begin_tls};
pub(crate) use trust::Trust;

/// Stanzas that may wait for one domain.
const WAITING: usize = 1000;
/// Pairs of domains with a connection out.
const PAIRS: usize = 10_000;

/// Our domain and theirs.
type Pair = (String, String);

/// Connections to other servers.
pub(crate) struct Remotes {
    queues: Mutex<HashMap<Pair, mpsc::Sender<Stanza>>>,
    /// Makes the keys by which others know that we are who we are.
    secret: String,
}

impl Remotes {
    pub(crate) fn new() -> Remotes {
        Remotes {
            queues: Mutex::default(),
            secret: token() + &token(),
        }
    }

    fn secret(&self) -> &[u8] {
        self.secret.as_bytes()
    }

    /// The connection has ended: what comes later gets another.
    fn closed(&self, pair: &Pair, queue: &mpsc::WeakSender<Stanza>) {
        let mut queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        let same = |known: &mpsc::Sender<Stanza>| {
            queue
                .upgrade()
                .is_none_or(|queue| known.same_channel(&queue))
        };
        if queues.get(pair).is_some_and(same) {
            queues.remove(pair);
        }
    }
}

impl Server {
    /// Sends a stanza to another server, in its turn. What comes of it at once.
    pub(crate) fn to_remote(&self, stanza: &Stanza) -> Wishes {
        let (Some(from), Some(to)) = (stanza.from(), stanza.to()) else {
            return Wishes::new();
        };
        if !self.settings.load().federates {
            return match stanza.kind() {
                // Presence to a domain that can't be reached vanishes, but for requests.
                Kind::Presence(
                    PresenceType::Available
                    | PresenceType::Unavailable
                    | PresenceType::Probe
                    | PresenceType::Error,
                ) => Wishes::new(),
                _ => bounce(stanza, Condition::RemoteServerNotFound),
            };
        }
        let pair = (from.domain().to_owned(), to.domain().to_owned());
        let full = || bounce(stanza, Condition::ResourceConstraint);
        let mut queues = self
            .remotes
            .queues
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let mut stanza = stanza.clone();
        if let Some(queue) = queues.get(&pair) {
            match queue.try_send(stanza) {
                Ok(()) => return Wishes::new(),
                Err(mpsc::error::TrySendError::Full(_)) => return full(),
                Err(mpsc::error::TrySendError::Closed(back)) => stanza = back,
            }
        }
        if queues.len() >= PAIRS {
            return full();
        }
        let (queue, stanzas) = mpsc::channel(WAITING);
        if queue.try_send(stanza).is_err() {
            return full();
        }
        let runner = self.runner.load();
        let (Some(runner), Some(server)) = (&**runner, self.me.upgrade()) else {
            return full();
        };
        let weak = queue.downgrade();
        queues.insert(pair.clone(), queue);
        drop(queues);
        let span = tracing::info_span!("remote", from = %pair.0, to = %pair.1);
        runner.spawn("remote", span, outgoing::run(server, pair, stanzas, weak));
        Wishes::new()
    }
}
