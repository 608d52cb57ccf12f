//! Messages on their way out: datagrams in batches by socket, the rest to their connections.

use omnid_net::{DatagramSocket, SendBatch};

use super::{
    connections::{Connections, Outgoing},
    metrics::Metrics,
};
use crate::{
    engine::{Destination, Key},
    wire::Transport,
};

/// Messages in one batch, and the longest that fits; a longer one goes alone.
const BATCH: usize = 16;
const SIZE: usize = 4096;
/// The longest datagram there is.
const LONGEST: usize = 65_507;

/// Batches for the sockets that it has sent over so far.
#[derive(Default)]
pub(crate) struct Outbox {
    batches: Vec<(DatagramSocket, SendBatch)>,
}

impl Outbox {
    /// Sends a message, or keeps it until [`Self::flush`]; false if it cannot be sent.
    pub(crate) fn send(
        &mut self,
        sockets: &[DatagramSocket],
        connections: &Connections,
        metrics: &Metrics,
        to: &Destination,
        outgoing: Outgoing,
    ) -> bool {
        if to.flow.transport == Transport::Udp {
            return self.datagram(sockets, metrics, to, &outgoing.bytes);
        }
        let sent = connections.send(to, outgoing).is_ok();
        if !sent {
            metrics.unsent.inc();
        }
        sent
    }

    /// Sends what is kept, as far as the sockets take it now. They are a whole send buffer behind
    /// if they do not, and what is lost is sent again by whoever misses it.
    pub(crate) fn flush(&mut self, metrics: &Metrics) {
        for (socket, batch) in &mut self.batches {
            flush(socket, batch, metrics);
        }
    }

    fn datagram(
        &mut self,
        sockets: &[DatagramSocket],
        metrics: &Metrics,
        to: &Destination,
        bytes: &[u8],
    ) -> bool {
        let local = to.flow.local;
        let fits = |socket: &DatagramSocket| {
            let own = socket.local_address();
            own.port() == local.port()
                && (own.ip().to_canonical() == local.ip() || own.ip().is_unspecified())
                && (own.is_ipv6() || local.is_ipv4())
        };
        let known = self.batches.iter().position(|(socket, _)| fits(socket));
        let at = match known {
            Some(at) => at,
            None => {
                // After a change of ports a phone is answered from whichever there is now.
                let family =
                    |socket: &&DatagramSocket| socket.local_address().is_ipv6() || local.is_ipv4();
                let Some(socket) = sockets
                    .iter()
                    .find(|socket| fits(socket))
                    .or_else(|| sockets.iter().find(family))
                else {
                    metrics.unsent.inc();
                    return false;
                };
                self.batches
                    .push((socket.clone(), SendBatch::new(BATCH, SIZE)));
                self.batches.len() - 1
            }
        };
        let Some((socket, batch)) = self.batches.get_mut(at) else {
            return false;
        };
        let from = Some(local.ip()).filter(|ip| !ip.is_unspecified());
        if bytes.len() > SIZE {
            if bytes.len() > LONGEST {
                metrics.unsent.inc();
                return false;
            }
            let mut alone = SendBatch::new(1, bytes.len());
            put(&mut alone, bytes, to, from);
            flush(socket, &mut alone, metrics);
            return true;
        }
        if batch.is_full() {
            flush(socket, batch, metrics);
        }
        put(batch, bytes, to, from);
        true
    }

    /// A batch of its own for a socket, so that its datagrams go out over no other.
    pub(crate) fn with(socket: DatagramSocket) -> Self {
        Self {
            batches: vec![(socket, SendBatch::new(BATCH, SIZE))],
        }
    }

    /// Whether all its sockets are still among those.
    pub(crate) fn is_current(&self, sockets: &[DatagramSocket]) -> bool {
        self.batches.iter().all(|(socket, _)| {
            sockets
                .iter()
                .any(|current| current.local_address() == socket.local_address())
        })
    }
}

fn put(batch: &mut SendBatch, bytes: &[u8], to: &Destination, from: Option<std::net::IpAddr>) {
    if let Some(slot) = batch
        .next_slot()
        .and_then(|slot| slot.get_mut(..bytes.len()))
    {
        slot.copy_from_slice(bytes);
        batch.commit(bytes.len(), to.flow.remote, from);
    }
}

fn flush(socket: &DatagramSocket, batch: &mut SendBatch, metrics: &Metrics) {
    if batch.is_empty() {
        batch.clear();
        return;
    }
    if socket.send(batch).is_err() {
        metrics.unsent.inc_by(batch.len() as u64);
        batch.clear();
    }
}

/// Tells apart who is to be told when a message cannot be sent.
pub(crate) fn outgoing(bytes: bytes::Bytes, shard: usize, transaction: Option<Key>) -> Outgoing {
    Outgoing {
        bytes,
        transaction: transaction.map(|key| (shard, key)),
    }
}
