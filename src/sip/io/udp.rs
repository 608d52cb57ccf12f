//! Datagrams: taken in batches, decided upon and answered in the task that took them.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use omnid_net::{DatagramSocket, ReceiveBatch};
use omnid_supervisor::{Child, ChildResult};

use super::{
    core::{Core, flow},
    outbox::Outbox,
};
use crate::wire::Transport;

/// Datagrams in one batch, each of which may be the longest there is.
const BATCH: usize = 16;
const LONGEST: usize = u16::MAX as usize;
/// Batches after which other tasks of the runtime get their turn.
const TURN: usize = 8;
/// How often one that drains looks whether all is done.
const GLANCE: Duration = Duration::from_millis(50);

/// Serves one socket until it is to stop; then for as long as somebody waits for an answer.
pub(crate) async fn run_udp(core: Arc<Core>, child: Child, socket: DatagramSocket) -> ChildResult {
    let _listed = Listed::new(&core, &socket);
    let mut requests = ReceiveBatch::new(BATCH, LONGEST);
    let mut outbox = Outbox::with(socket.clone());
    loop {
        tokio::select! {
            () = socket.readable() => {
                let mut turns = 0;
                while take(&core, &child, &socket, &mut requests, &mut outbox) {
                    turns += 1;
                    if turns % TURN == 0 {
                        tokio::task::yield_now().await;
                    }
                }
            }
            () = drained(&core, &child) => return Ok(()),
        }
    }
}

/// Resolves when a child is to stop and nobody waits for an answer any more, or its time is over.
pub(super) async fn drained(core: &Core, child: &Child) {
    child.draining().await;
    let answered = async {
        while core.unanswered() > 0 {
            tokio::time::sleep(GLANCE).await;
        }
    };
    tokio::select! {
        () = answered => {}
        () = child.cancelled() => {}
    }
}

/// Serves what waits; false once nothing does.
fn take(
    core: &Arc<Core>,
    child: &Child,
    socket: &DatagramSocket,
    requests: &mut ReceiveBatch,
    outbox: &mut Outbox,
) -> bool {
    // Errors here are of earlier datagrams that were sent (ICMP); none keeps the next from coming.
    let Ok(count) = socket.receive(requests) else {
        return false;
    };
    let draining = child.is_draining();
    let own = socket.local_address();
    for (message, peer, local) in requests.iter() {
        // RFC 5626 3.5.1 has STUN for this; phones send line ends all the same, and expect nothing.
        if message.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        let mut address = own;
        if let Some(local) = local {
            address.set_ip(local);
        }
        let flow = flow(Transport::Udp, address, peer, 0);
        core.receive(Bytes::copy_from_slice(message), flow, draining, outbox);
    }
    outbox.flush(&core.metrics);
    count == BATCH
}

/// A socket among those that can be sent from, for as long as somebody reads it.
struct Listed<'a> {
    core: &'a Core,
    socket: &'a DatagramSocket,
}

impl<'a> Listed<'a> {
    fn new(core: &'a Core, socket: &'a DatagramSocket) -> Self {
        core.add_socket(socket);
        Self { core, socket }
    }
}

impl Drop for Listed<'_> {
    fn drop(&mut self) {
        self.core.remove_socket(self.socket);
    }
}
