//! The client transaction of everything but INVITE (RFC 3261 17.1.2).

use std::time::Instant;

use bytes::Bytes;

use super::{Clock, Effects, Tell, Timers};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Trying,
    Proceeding,
    Completed,
}

/// We ask somebody.
#[derive(Debug)]
pub struct Client {
    state: State,
    reliable: bool,
    timers: Timers,
    clock: Clock,
    request: Bytes,
}

impl Client {
    /// Sends the request.
    #[must_use]
    pub fn new(request: Bytes, reliable: bool, timers: Timers, now: Instant) -> (Self, Effects) {
        let mut clock = Clock::default();
        if !reliable {
            // Timer E.
            clock.retransmit(now, timers.t1);
        }
        // Timer F.
        clock.end(now, timers.patience());
        let transaction = Self {
            state: State::Trying,
            reliable,
            timers,
            clock,
            request: request.clone(),
        };
        (transaction, Effects::send(request))
    }

    /// A response arrived.
    pub fn response(&mut self, status: u16, now: Instant) -> Effects {
        match (self.state, status) {
            (State::Completed, _) => Effects::NONE,
            (_, 100..=199) => {
                if self.state == State::Trying && !self.reliable {
                    // RFC 3261 17.1.2.2: slower from now on, though not never.
                    self.clock.interval = self.timers.t2;
                }
                self.state = State::Proceeding;
                Effects::tell(Tell::Response)
            }
            _ => {
                self.state = State::Completed;
                self.clock = Clock::default();
                // Timer K.
                self.clock.end(now, self.timers.t4);
                Effects {
                    ended: self.reliable,
                    ..Effects::tell(Tell::Response)
                }
            }
        }
    }

    /// Whether a final response has come.
    #[must_use]
    pub fn is_answered(&self) -> bool {
        self.state == State::Completed
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
                tell: (self.state != State::Completed).then_some(Tell::Timeout),
                ..Effects::ENDED
            };
        }
        if self.clock.again(now, self.timers.t2) {
            Effects::send(self.request.clone())
        } else {
            Effects::NONE
        }
    }
}
