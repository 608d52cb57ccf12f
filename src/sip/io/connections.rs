//! Connections that messages can be sent over: those that phones made, and those that we make.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use tokio::sync::mpsc;

use crate::{
    engine::{Destination, Flow, Key},
    wire::Transport,
};

/// Messages that may wait for one connection. A peer that reads so slowly loses it.
const QUEUE: usize = 256;
/// Connections that we made ourselves.
const MADE: usize = 10_000;
const SHARDS: usize = 16;
/// The ids of connections that we make; those that peers make are counted from 1 by `net`.
const OWN: u64 = 1 << 48;

/// A message that waits to be written.
pub(crate) struct Outgoing {
    pub(crate) bytes: Bytes,
    /// Who is to be told if it cannot be: the shard's number and the transaction.
    pub(crate) transaction: Option<(usize, Key)>,
}

/// A connection that is to be made.
pub(crate) struct Connect {
    pub(crate) flow: Flow,
    pub(crate) queue: mpsc::Receiver<Outgoing>,
}

/// All of them.
pub(crate) struct Connections {
    shards: [Mutex<HashMap<u64, mpsc::Sender<Outgoing>>>; SHARDS],
    /// Those that we made, by where to.
    made: Mutex<HashMap<SocketAddr, u64>>,
    next: AtomicU64,
    connect: mpsc::Sender<Connect>,
}

impl Connections {
    /// None so far; those that are to be made go to `connect`.
    pub(crate) fn new(connect: mpsc::Sender<Connect>) -> Self {
        Self {
            shards: std::array::from_fn(|_| Mutex::default()),
            made: Mutex::default(),
            next: AtomicU64::new(OWN),
            connect,
        }
    }

    /// A connection was accepted; what is sent over it comes out of the queue, until that closes.
    pub(crate) fn open(&self, id: u64) -> mpsc::Receiver<Outgoing> {
        let (sender, queue) = mpsc::channel(QUEUE);
        self.shard(id).insert(id, sender);
        queue
    }

    /// A connection is no more.
    pub(crate) fn close(&self, flow: &Flow) {
        self.shard(flow.connection).remove(&flow.connection);
        if flow.connection >= OWN {
            let mut made = self.made();
            if made.get(&flow.remote) == Some(&flow.connection) {
                made.remove(&flow.remote);
            }
        }
    }

    /// Whether a flow's connection is there.
    pub(crate) fn is_alive(&self, flow: &Flow) -> bool {
        self.shard(flow.connection).contains_key(&flow.connection)
    }

    /// Queues a message for the connection of a flow, or one that is made for it.
    pub(crate) fn send(&self, to: &Destination, outgoing: Outgoing) -> Result<(), Outgoing> {
        let flow = &to.flow;
        let outgoing = match self.queue(flow.connection, outgoing) {
            Ok(()) => return Ok(()),
            Err(outgoing) => outgoing,
        };
        let remote = if flow.connection == 0 {
            Some(flow.remote)
        } else {
            to.direct
        };
        match remote {
            Some(remote) if flow.transport == Transport::Tcp => {
                self.send_anew(flow, remote, outgoing)
            }
            _ => Err(outgoing),
        }
    }

    fn queue(&self, id: u64, outgoing: Outgoing) -> Result<(), Outgoing> {
        let mut shard = self.shard(id);
        let Some(sender) = shard.get(&id) else {
            return Err(outgoing);
        };
        match sender.try_send(outgoing) {
            Ok(()) => Ok(()),
            Err(error) => {
                // Without its sender the connection's task ends it.
                shard.remove(&id);
                Err(error.into_inner())
            }
        }
    }

    fn send_anew(
        &self,
        flow: &Flow,
        remote: SocketAddr,
        outgoing: Outgoing,
    ) -> Result<(), Outgoing> {
        let mut made = self.made();
        let outgoing = match made.get(&remote).copied() {
            Some(id) => match self.queue(id, outgoing) {
                Ok(()) => return Ok(()),
                Err(outgoing) => outgoing,
            },
            None => outgoing,
        };
        if made.len() >= MADE {
            return Err(outgoing);
        }
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let queue = self.open(id);
        let connect = Connect {
            flow: Flow {
                remote,
                connection: id,
                ..*flow
            },
            queue,
        };
        // The message is in its queue before anybody works on it.
        let queued = self.queue(id, outgoing);
        if queued.is_ok() && self.connect.try_send(connect).is_ok() {
            made.insert(remote, id);
            return Ok(());
        }
        self.shard(id).remove(&id);
        match queued {
            Err(outgoing) => Err(outgoing),
            // Its queue is gone with it: say so for a message like it.
            Ok(()) => Err(Outgoing {
                bytes: Bytes::new(),
                transaction: None,
            }),
        }
    }

    fn shard(&self, id: u64) -> MutexGuard<'_, HashMap<u64, mpsc::Sender<Outgoing>>> {
        self.shards[id as usize % SHARDS]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn made(&self) -> MutexGuard<'_, HashMap<SocketAddr, u64>> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
