//! What waits to be sent to another server or a component: bounded in number and in bytes.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use crate::wire::Stanza;

/// Bytes that several queues may hold together.
pub(super) type Budget = Arc<Semaphore>;

/// The end that stanzas are put in.
#[derive(Clone)]
pub(super) struct Queue {
    sender: mpsc::Sender<Waiting>,
    /// Bytes that it may still take, and that it may take at all.
    room: Budget,
    bytes: u32,
    /// What it shares with others.
    shared: Option<Budget>,
}

/// A stanza, which takes its room until it is dropped.
pub(super) struct Waiting {
    pub(super) stanza: Stanza,
    _room: (OwnedSemaphorePermit, Option<OwnedSemaphorePermit>),
}

/// Why a stanza was not taken.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refused {
    Full,
    Closed,
}

impl Queue {
    pub(super) fn new(
        number: usize,
        bytes: u32,
        shared: Option<&Budget>,
    ) -> (Queue, mpsc::Receiver<Waiting>) {
        let (sender, receiver) = mpsc::channel(number);
        let queue = Queue {
            sender,
            room: Arc::new(Semaphore::new(bytes as usize)),
            bytes,
            shared: shared.cloned(),
        };
        (queue, receiver)
    }

    pub(super) fn push(&self, stanza: &Stanza) -> Result<(), Refused> {
        // One that is bigger than the queue goes alone.
        let size = u32::try_from(stanza.size()).map_or(self.bytes, |size| size.min(self.bytes));
        let take = |budget: &Budget| {
            let taken = budget.clone().try_acquire_many_owned(size);
            taken.map_err(|_| Refused::Full)
        };
        let room = (
            take(&self.room)?,
            self.shared.as_ref().map(take).transpose()?,
        );
        let waiting = Waiting {
            stanza: stanza.clone(),
            _room: room,
        };
        self.sender.try_send(waiting).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => Refused::Full,
            mpsc::error::TrySendError::Closed(_) => Refused::Closed,
        })
    }

    pub(super) fn is(&self, other: &Queue) -> bool {
        self.sender.same_channel(&other.sender)
    }
}

/// Takes a stanza and those behind it that go along: their bytes. `batch` has them until it is known
/// that they were sent.
pub(super) fn gather(
    first: Waiting,
    waiting: &mut mpsc::Receiver<Waiting>,
    batch: &mut Vec<Waiting>,
) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(first.stanza.size());
    first.stanza.write(&mut bytes);
    batch.push(first);
    while bytes.len() < 64 * 1024
        && let Ok(next) = waiting.try_recv()
    {
        next.stanza.write(&mut bytes);
        batch.push(next);
    }
    bytes
}

/// Nothing is taken any more: what was not sent.
pub(super) fn close(
    batch: Vec<Waiting>,
    waiting: &mut mpsc::Receiver<Waiting>,
) -> impl Iterator<Item = Stanza> {
    waiting.close();
    let rest = std::iter::from_fn(|| waiting.try_recv().ok());
    batch.into_iter().chain(rest).map(|waiting| waiting.stanza)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::wire::{Element, ns};

    fn stanza(bytes: usize) -> Stanza {
        let message = Element::new("message", ns::CLIENT).text("x".repeat(bytes));
        Stanza::from_element(&message).unwrap()
    }

    #[test]
    fn bounded_in_number_and_bytes() {
        let shared = Arc::new(Semaphore::new(5000));
        let (first, mut out) = Queue::new(3, 2000, Some(&shared));
        let big = stanza(900);
        assert_eq!([first.push(&big), first.push(&big)], [Ok(()), Ok(())]);
        assert_eq!(first.push(&big), Err(Refused::Full), "bytes");
        assert_eq!(first.push(&stanza(1)), Ok(()));
        assert_eq!(first.push(&stanza(1)), Err(Refused::Full), "number");
        let (second, _waiting) = Queue::new(1000, 4000, Some(&shared));
        let held = (0..10).filter(|_| second.push(&big).is_ok()).count();
        assert_eq!(held, 3, "what both hold together");
        // What is sent makes room, in all bounds.
        let mut batch = Vec::new();
        let next = out.try_recv().unwrap();
        assert!(gather(next, &mut out, &mut batch).len() > 1800);
        assert_eq!(batch.len(), 3);
        assert_eq!(first.push(&big), Err(Refused::Full), "it may come back");
        batch.clear();
        let pushed = [&first, &second, &second].map(|queue| queue.push(&big));
        assert_eq!(pushed, [Ok(()), Ok(()), Err(Refused::Full)]);
        // One that is too big goes alone.
        let (small, _waiting) = Queue::new(3, 100, None);
        assert_eq!(small.push(&big), Ok(()));
        assert_eq!(small.push(&big), Err(Refused::Full));
    }

    #[test]
    fn all_that_was_not_sent_comes_back() {
        let (queue, mut out) = Queue::new(10, 1_000_000, None);
        for n in [70_000, 1, 2, 3] {
            queue.push(&stanza(n)).unwrap();
        }
        let mut batch = Vec::new();
        let first = out.try_recv().unwrap();
        gather(first, &mut out, &mut batch);
        assert_eq!(batch.len(), 1);
        assert_eq!(close(batch, &mut out).count(), 4);
        assert_eq!(queue.push(&stanza(1)), Err(Refused::Closed));
    }
}
