//! Other servers: what goes to them, and what comes.
//!
//! A pair of domains has one connection out, made when there is something to send ([`outgoing`]),
//! and what the other server sends comes on connections of its own ([`incoming`]).

mod components;
mod incoming;
mod link;
mod outgoing;
mod queue;
mod trust;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Semaphore;

use super::server::{Server, token};
use crate::{
    engine::{account::bounce, wish::Wishes},
    wire::{BareJid, Condition, Kind, PresenceType, Stanza},
};
use queue::{Budget, Queue, Refused};

pub(crate) use components::{Components, begin as begin_component};
pub(crate) use incoming::{begin_plain, begin_tls};
pub(crate) use trust::Trust;

/// Stanzas that may wait for one domain,
const WAITING: usize = 1000;
/// their bytes,
const BYTES: u32 = 1024 * 1024;
/// and those of all together.
const ALL_BYTES: usize = 64 * 1024 * 1024;
/// Pairs of domains with a connection out,
const PAIRS: usize = 10_000;
/// and those that one account may have us try to connect at a time.
const TRIED: usize = 200;

/// Our domain and theirs.
type Pair = (String, String);

/// Connections to other servers.
pub(crate) struct Remotes {
    out: Mutex<HashMap<Pair, Out>>,
    budget: Budget,
    /// Makes the keys by which others know that we are who we are.
    secret: String,
}

/// A connection out.
struct Out {
    queue: Queue,
    /// Who had it made; nobody once it is there.
    wanted: Option<BareJid>,
}

impl Remotes {
    pub(crate) fn new() -> Remotes {
        Remotes {
            out: Mutex::default(),
            budget: Arc::new(Semaphore::new(ALL_BYTES)),
            secret: token() + &token(),
        }
    }

    fn secret(&self) -> &[u8] {
        self.secret.as_bytes()
    }

    fn out(&self) -> MutexGuard<'_, HashMap<Pair, Out>> {
        self.out.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The connection is there.
    fn connected(&self, pair: &Pair) {
        if let Some(out) = self.out().get_mut(pair) {
            out.wanted = None;
        }
    }

    /// The connection has ended: what comes later gets another.
    fn closed(&self, pair: &Pair, queue: &Queue) {
        let mut out = self.out();
        if out.get(pair).is_some_and(|known| known.queue.is(queue)) {
            out.remove(pair);
        }
    }
}

/// Whether there may be another connection, for `who`.
fn may_connect(out: &HashMap<Pair, Out>, who: &BareJid) -> bool {
    let tried = out.values().filter(|out| out.wanted.as_ref() == Some(who));
    out.len() < PAIRS && tried.count() < TRIED
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
        let mut out = self.remotes.out();
        if let Some(known) = out.get(&pair) {
            match known.queue.push(stanza) {
                Ok(()) => return Wishes::new(),
                Err(Refused::Full) => return full(),
                Err(Refused::Closed) => {}
            }
        }
        let who = from.to_bare();
        if !may_connect(&out, &who) {
            return full();
        }
        let (queue, stanzas) = Queue::new(WAITING, BYTES, Some(&self.remotes.budget));
        if queue.push(stanza).is_err() {
            return full();
        }
        let runner = self.runner.load();
        let (Some(runner), Some(server)) = (&**runner, self.me.upgrade()) else {
            return full();
        };
        let own = queue.clone();
        let wanted = Some(who);
        out.insert(pair.clone(), Out { queue, wanted });
        drop(out);
        let span = tracing::info_span!("remote", from = %pair.0, to = %pair.1);
        runner.spawn("remote", span, outgoing::run(server, pair, stanzas, own));
        Wishes::new()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn nobody_takes_all_connections() {
        let jid = |text: &str| BareJid::new(text).unwrap();
        let remotes = Remotes::new();
        let pair = |n: usize| ("b".to_owned(), format!("{n}.test"));
        let (queue, _waiting) = Queue::new(1, 1, None);
        for n in 0..TRIED {
            assert!(may_connect(&remotes.out(), &jid("a@b")), "{n}");
            let out = Out {
                queue: queue.clone(),
                wanted: Some(jid("a@b")),
            };
            remotes.out().insert(pair(n), out);
        }
        assert!(!may_connect(&remotes.out(), &jid("a@b")));
        assert!(may_connect(&remotes.out(), &jid("c@b")));
        // One that is there is everybody's.
        remotes.connected(&pair(7));
        assert!(may_connect(&remotes.out(), &jid("a@b")));
        let (other, _waiting) = Queue::new(1, 1, None);
        remotes.closed(&pair(8), &other);
        assert_eq!(remotes.out().len(), TRIED);
        remotes.closed(&pair(8), &queue);
        assert_eq!(remotes.out().len(), TRIED - 1);
    }
}
