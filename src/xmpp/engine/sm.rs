//! Counting and keeping what was sent until the client says it has it (XEP-0198).

use std::{collections::VecDeque, time::SystemTime};

use crate::wire::Stanza;

/// Stanzas that may wait to be acknowledged.
pub const STANZAS: usize = 500;
/// And their bytes.
pub const BYTES: usize = 2 * 1024 * 1024;
/// Stanzas between two requests for an acknowledgement: often enough to keep the queue short,
/// seldom enough to let a phone sleep.
const REQUEST: usize = 8;

/// A stanza that was sent.
#[derive(Debug, Clone)]
pub struct Sent {
    /// The stanza.
    pub stanza: Stanza,
    /// When it was sent.
    pub at: SystemTime,
    /// It is kept in the database until it is acknowledged, so it can't get lost here.
    pub kept: bool,
}

/// What was sent and not acknowledged.
#[derive(Debug, Default)]
pub struct Queue {
    waiting: VecDeque<Sent>,
    bytes: usize,
    /// How many stanzas the client has acknowledged, modulo 2^32.
    acknowledged: u32,
    /// How many have been sent since we last asked.
    unasked: usize,
}

/// The queue is full: the client doesn't acknowledge.
#[derive(Debug, PartialEq, Eq)]
pub struct Full;

/// The client acknowledged more than it was sent.
#[derive(Debug, PartialEq, Eq)]
pub struct TooMany {
    /// What it said.
    pub handled: u32,
    /// What it was sent.
    pub sent: u32,
}

impl Queue {
    /// Keeps a stanza that is being sent. Whether to ask for an acknowledgement now.
    ///
    /// # Errors
    /// When too much waits already.
    pub fn push(&mut self, sent: Sent) -> Result<bool, Full> {
        let bytes = self.bytes + sent.stanza.size();
        if self.waiting.len() >= STANZAS || bytes > BYTES {
            return Err(Full);
        }
        self.bytes = bytes;
        self.waiting.push_back(sent);
        self.unasked += 1;
        if self.unasked < REQUEST {
            return Ok(false);
        }
        self.unasked = 0;
        Ok(true)
    }

    /// The client has had `handled` stanzas of ours in all. How many that acknowledges.
    ///
    /// # Errors
    /// When it can't have had so many.
    pub fn acknowledge(&mut self, handled: u32) -> Result<usize, TooMany> {
        let new = handled.wrapping_sub(self.acknowledged) as usize;
        if new > self.waiting.len() {
            return Err(TooMany {
                handled,
                sent: self.sent(),
            });
        }
        for sent in self.waiting.drain(..new) {
            self.bytes = self.bytes.saturating_sub(sent.stanza.size());
        }
        self.acknowledged = handled;
        if self.waiting.is_empty() {
            // Idle sessions hold no memory.
            self.waiting = VecDeque::new();
        }
        Ok(new)
    }

    /// How many stanzas have been sent, modulo 2^32.
    #[allow(clippy::cast_possible_truncation)]
    pub fn sent(&self) -> u32 {
        self.acknowledged.wrapping_add(self.waiting.len() as u32)
    }

    /// What waits, oldest first.
    pub fn waiting(&self) -> impl Iterator<Item = &Sent> {
        self.waiting.iter()
    }

    /// Bytes that wait.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Gives up the queue: what never got there.
    pub fn into_waiting(self) -> impl Iterator<Item = Sent> {
        self.waiting.into_iter()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::wire::{Element, ns};

    fn sent() -> Sent {
        let stanza = Stanza::from_element(&Element::new("message", ns::CLIENT)).unwrap();
        Sent {
            stanza,
            at: SystemTime::UNIX_EPOCH,
            kept: false,
        }
    }

    #[test]
    fn acknowledging() {
        let mut queue = Queue::default();
        for _ in 0..3 {
            queue.push(sent()).unwrap();
        }
        assert_eq!(queue.acknowledge(2), Ok(2));
        assert_eq!(queue.acknowledge(2), Ok(0));
        assert_eq!(
            queue.acknowledge(4),
            Err(TooMany {
                handled: 4,
                sent: 3
            })
        );
        assert_eq!(
            queue.acknowledge(1),
            Err(TooMany {
                handled: 1,
                sent: 3
            })
        );
        assert_eq!(queue.acknowledge(3), Ok(1));
        assert!(queue.is_empty());
        assert_eq!(queue.waiting.capacity(), 0);
    }

    /// XEP-0198 4: the counters wrap at 2^32.
    #[test]
    fn wraps() {
        let mut queue = Queue {
            acknowledged: u32::MAX - 1,
            ..Queue::default()
        };
        for _ in 0..4 {
            queue.push(sent()).unwrap();
        }
        assert_eq!(queue.sent(), 2);
        assert_eq!(queue.acknowledge(u32::MAX), Ok(1));
        assert_eq!(queue.acknowledge(1), Ok(2));
        assert_eq!(queue.acknowledge(2), Ok(1));
    }

    #[test]
    fn bounded_and_asks() {
        let mut queue = Queue::default();
        let asked = (0..STANZAS).filter(|_| queue.push(sent()).unwrap());
        assert_eq!(asked.count(), STANZAS / REQUEST);
        assert_eq!(queue.push(sent()), Err(Full));
    }
}
