//! UDP sockets that move datagrams in batches and know which of our addresses each came to.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use tokio::io::Interest;
use tokio::net::UdpSocket;

use crate::sys::{self, Meta, Outgoing, Scratch};

/// One UDP socket of a group. Clones are the same socket.
#[derive(Clone, Debug)]
pub struct DatagramSocket {
    socket: Arc<UdpSocket>,
    local: SocketAddr,
}

impl DatagramSocket {
    pub(crate) fn new(socket: UdpSocket) -> io::Result<Self> {
        let local = socket.local_addr()?;
        Ok(Self {
            socket: Arc::new(socket),
            local,
        })
    }

    /// The address it is bound to, with the port the kernel chose.
    pub fn local_address(&self) -> SocketAddr {
        self.local
    }

    /// Resolves when datagrams wait to be received.
    pub async fn readable(&self) {
        // The only error is that of a runtime which shuts down, and then nothing comes any more.
        if self.socket.readable().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Resolves when there is room to send.
    pub async fn writable(&self) {
        if self.socket.writable().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Receives what waits, up to the batch, without waiting itself.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] when nothing waits: go back to [`Self::readable`].
    pub fn receive(&self, batch: &mut ReceiveBatch) -> io::Result<usize> {
        batch.count = 0;
        batch.count = self.socket.try_io(Interest::READABLE, || {
            sys::receive(
                self.socket.as_fd(),
                &mut batch.buffer,
                batch.size,
                &mut batch.scratch,
                &mut batch.metas,
            )
        })?;
        Ok(batch.count)
    }

    /// Sends what is in the batch without waiting, and empties it of what went. A datagram that
    /// cannot be sent (no route to its peer, say) is left out and does not hold up the others.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] when the socket has no room and datagrams are left: drop them
    /// with [`SendBatch::clear`], or wait for [`Self::writable`] and send again.
    pub fn send(&self, batch: &mut SendBatch) -> io::Result<usize> {
        let mapped = self.local.is_ipv6();
        let mut sent = 0;
        while batch.next < batch.filled {
            let left = || {
                let left = batch
                    .slots
                    .get(batch.next..batch.filled)
                    .unwrap_or_default();
                left.iter().enumerate().map(|(index, slot)| {
                    let start = batch.next.saturating_add(index).saturating_mul(batch.size);
                    let end = start.saturating_add(slot.length);
                    Outgoing {
                        bytes: batch.buffer.get(start..end).unwrap_or_default(),
                        to: slot.to,
                        from: slot.from,
                        mapped,
                    }
                })
            };
            // There is room nearly always, and tokio does not know it of a socket that has never
            // waited. Only where there is none is it tried again under tokio's eyes, so that
            // `writable` waits for what comes after that.
            let result = match sys::send(self.socket.as_fd(), left()) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.socket.try_io(Interest::WRITABLE, || {
                        sys::send(self.socket.as_fd(), left())
                    })
                }
                result => result,
            };
            match result {
                Ok(count) => {
                    sent += count;
                    batch.next = batch.next.saturating_add(count.max(1));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(error),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // The first datagram's own fault: the next call begins behind it.
                Err(_) => batch.next += 1,
            }
        }
        batch.clear();
        Ok(sent)
    }

    /// Sends all that is in the batch, waiting for room.
    pub async fn send_all(&self, batch: &mut SendBatch) -> usize {
        let before = batch.len();
        while let Err(error) = self.send(batch) {
            if error.kind() != io::ErrorKind::WouldBlock {
                break;
            }
            self.writable().await;
        }
        before
    }

    /// Sends one datagram, from the given address of ours if there is one.
    pub async fn send_to(
        &self,
        bytes: &[u8],
        to: SocketAddr,
        from_local: Option<IpAddr>,
    ) -> io::Result<()> {
        let mapped = self.local.is_ipv6();
        self.socket
            .async_io(Interest::WRITABLE, || {
                let outgoing = Outgoing {
                    bytes,
                    to,
                    from: from_local,
                    mapped,
                };
                sys::send(self.socket.as_fd(), std::iter::once(outgoing))
            })
            .await
            .map(|_| ())
    }
}

impl AsFd for DatagramSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Datagrams received together. Made once by a worker, and filled again and again.
pub struct ReceiveBatch {
    buffer: Box<[u8]>,
    size: usize,
    metas: Box<[Meta]>,
    scratch: Scratch,
    count: usize,
}

impl ReceiveBatch {
    /// Room for `messages` datagrams (64 at most) of up to `size` bytes each.
    pub fn new(messages: usize, size: usize) -> Self {
        let messages = messages.clamp(1, sys::MAX_BATCH);
        let size = size.clamp(1, usize::from(u16::MAX));
        Self {
            buffer: vec![0; messages * size].into_boxed_slice(),
            size,
            metas: vec![Meta::EMPTY; messages].into_boxed_slice(),
            scratch: Scratch::new(messages),
            count: 0,
        }
    }

    /// The datagrams of the last [`DatagramSocket::receive`]: bytes, peer, and the address of ours
    /// that it was sent to, from which the answer must leave. A datagram longer than the batch's
    /// size has lost its end, and is left out.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], SocketAddr, Option<IpAddr>)> {
        self.buffer
            .chunks_exact(self.size)
            .zip(self.metas.iter())
            .take(self.count)
            .filter(|(_, meta)| !meta.truncated)
            .map(|(slot, meta)| {
                (
                    slot.get(..meta.length).unwrap_or_default(),
                    meta.peer,
                    meta.local,
                )
            })
    }

    /// Datagrams received by the last call.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Did the last call receive none?
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }
}

impl fmt::Debug for ReceiveBatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReceiveBatch")
            .field("size", &self.size)
            .field("count", &self.count)
            .finish()
    }
}

/// Datagrams to be sent together. Write into [`Self::next_slot`], then [`Self::commit`].
pub struct SendBatch {
    buffer: Box<[u8]>,
    size: usize,
    slots: Box<[Slot]>,
    /// The first datagram that is not yet sent.
    next: usize,
    filled: usize,
}

#[derive(Clone)]
struct Slot {
    length: usize,
    to: SocketAddr,
    from: Option<IpAddr>,
}

impl SendBatch {
    /// Room for `messages` datagrams (64 at most) of up to `size` bytes each.
    pub fn new(messages: usize, size: usize) -> Self {
        let messages = messages.clamp(1, sys::MAX_BATCH);
        let size = size.clamp(1, usize::from(u16::MAX));
        let nowhere = Slot {
            length: 0,
            to: Meta::EMPTY.peer,
            from: None,
        };
        Self {
            buffer: vec![0; messages * size].into_boxed_slice(),
            size,
            slots: vec![nowhere; messages].into_boxed_slice(),
            next: 0,
            filled: 0,
        }
    }

    /// The next free buffer, or `None` when the batch is full and must be sent first.
    pub fn next_slot(&mut self) -> Option<&mut [u8]> {
        if self.is_full() {
            return None;
        }
        let start = self.filled.checked_mul(self.size)?;
        self.buffer.get_mut(start..start.checked_add(self.size)?)
    }

    /// Makes the first `length` bytes of the [`Self::next_slot`] a datagram to `to`, leaving from
    /// our address `from` if given.
    pub fn commit(&mut self, length: usize, to: SocketAddr, from: Option<IpAddr>) {
        if let Some(slot) = self.slots.get_mut(self.filled) {
            *slot = Slot {
                length: length.min(self.size),
                to,
                from,
            };
            self.filled += 1;
        }
    }

    /// Datagrams not yet sent.
    pub fn len(&self) -> usize {
        self.filled.saturating_sub(self.next)
    }

    /// Is there nothing to send?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Must it be sent before more can be written?
    pub fn is_full(&self) -> bool {
        self.filled >= self.slots.len()
    }

    /// Forgets what is not yet sent.
    pub fn clear(&mut self) {
        self.next = 0;
        self.filled = 0;
    }
}

impl fmt::Debug for SendBatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SendBatch")
            .field("size", &self.size)
            .field("left", &self.len())
            .finish()
    }
}
