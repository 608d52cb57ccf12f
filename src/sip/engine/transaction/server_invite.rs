//! The INVITE server transaction (RFC 3261 17.2.1, RFC 6026 8.7).

use std::time::Instant;

use bytes::Bytes;

use super::{Clock, Effects, Tell, Timers};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Proceeding,
    /// A final response other than 2xx was sent.
    Completed,
    /// And acknowledged.
    Confirmed,
    /// A 2xx was sent (RFC 6026).
    Accepted,
}

/// Somebody invited.
#[derive(Debug)]
pub struct ServerInvite {
    state: State,
    reliable: bool,
    timers: Timers,
    clock: Clock,
    last: Option<Bytes>,
}

impl ServerInvite {
    /// An INVITE arrived.
    #[must_use]
    pub fn new(reliable: bool, timers: Timers) -> Self {
        Self {
            state: State::Proceeding,
            reliable,
            timers,
            clock: Clock::default(),
            last: None,
        }
    }

    /// The same INVITE arrived again.
    #[must_use]
    pub fn request_again(&self) -> Effects {
        match (self.state, &self.last) {
            (State::Proceeding | State::Completed, Some(last)) => Effects::send(last.clone()),
            _ => Effects::NONE,
        }
    }

    /// Its ACK arrived.
    pub fn ack(&mut self, now: Instant) -> Effects {
        match self.state {
            State::Completed if self.reliable => Effects::ENDED,
            State::Completed => {
                self.state = State::Confirmed;
                self.clock = Clock::default();
                // Timer I.
                self.clock.end(now, self.timers.t4);
                Effects::NONE
            }
            State::Accepted => Effects::tell(Tell::Ack),
            State::Proceeding | State::Confirmed => Effects::NONE,
        }
    }

    /// Answers it.
    pub fn respond(&mut self, status: u16, response: Bytes, now: Instant) -> Effects {
        match (self.state, status) {
            (State::Proceeding, 100..=199) => {
                self.last = Some(response.clone());
            }
            (State::Proceeding, 200..=299) => {
                self.state = State::Accepted;
                self.last = None;
                // Timer L.
                self.clock.end(now, self.timers.patience());
            }
            (State::Proceeding, _) => {
                self.state = State::Completed;
                self.last = Some(response.clone());
                if !self.reliable {
                    // Timer G.
                    self.clock.retransmit(now, self.timers.t1);
                }
                // Timer H.
                self.clock.end(now, self.timers.patience());
            }
            // Another fork's 2xx, or the same one again: it is end to end that they are repeated.
            (State::Accepted, 200..=299) => {}
            _ => return Effects::NONE,
        }
        Effects::send(response)
    }

    /// Whether a final response has been sent.
    #[must_use]
    pub fn is_answered(&self) -> bool {
        self.state != State::Proceeding
    }

    /// When it wants to be woken.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.clock.next()
    }

    /// It is that late.
    pub fn expire(&mut self, now: Instant) -> Effects {
        if self.clock.ended(now) {
            return Effects {
                tell: (self.state == State::Completed).then_some(Tell::Unacknowledged),
                ..Effects::ENDED
            };
        }
        match &self.last {
            Some(last) if self.clock.again(now, self.timers.t2) => Effects::send(last.clone()),
            _ => Effects::NONE,
        }
    }
}
