//! The INVITE client transaction (RFC 3261 17.1.1, RFC 6026 8.4).

use std::time::{Duration, Instant};

use bytes::Bytes;

use super::{Clock, Effects, Tell, Timers};
use crate::wire::{Limits, Message, ack};

#[derive(Debug)]
enum State {
    Calling,
    Proceeding,
    /// A final response other than 2xx came, and this acknowledges it.
    Completed(Bytes),
    /// A 2xx came (RFC 6026).
    Accepted,
}

/// We invite somebody.
#[derive(Debug)]
pub struct ClientInvite {
    state: State,
    reliable: bool,
    timers: Timers,
    clock: Clock,
    request: Bytes,
}

impl ClientInvite {
    /// Sends the INVITE.
    #[must_use]
    pub fn new(request: Bytes, reliable: bool, timers: Timers, now: Instant) -> (Self, Effects) {
        let mut clock = Clock::default();
        if !reliable {
            // Timer A.
            clock.retransmit(now, timers.t1);
        }
        // Timer B.
        clock.end(now, timers.patience());
        let transaction = Self {
            state: State::Calling,
            reliable,
            timers,
            clock,
            request: request.clone(),
        };
        (transaction, Effects::send(request))
    }

    /// A response arrived.
    pub fn response(&mut self, response: &Message, now: Instant) -> Effects {
        let status = response.status().unwrap_or(0);
        match (&self.state, status) {
            (State::Calling | State::Proceeding, 100..=199) => {
                self.state = State::Proceeding;
                // From here on it is for the user to lose patience (timer C).
                self.clock = Clock::default();
                Effects::tell(Tell::Response)
            }
            (State::Calling | State::Proceeding, 200..=299) => {
                self.state = State::Accepted;
                self.clock = Clock::default();
                // Timer M.
                self.clock.end(now, self.timers.patience());
                Effects::tell(Tell::Response)
            }
            (State::Calling | State::Proceeding, 300..) => {
                let acknowledgement = self.acknowledge(response);
                self.state = State::Completed(acknowledgement.clone());
                self.clock = Clock::default();
                // Timer D: at least 32 s, for the peer may repeat its response that long.
                self.clock
                    .end(now, self.timers.patience().max(Duration::from_secs(32)));
                Effects {
                    send: Some(acknowledgement),
                    tell: Some(Tell::Response),
                    ended: self.reliable,
                }
            }
            (State::Completed(acknowledgement), 300..) => Effects::send(acknowledgement.clone()),
            (State::Accepted, 200..=299) => Effects::tell(Tell::Response),
            _ => Effects::NONE,
        }
    }

    /// Whether a final response has come.
    #[must_use]
    pub const fn is_answered(&self) -> bool {
        matches!(self.state, State::Completed(_) | State::Accepted)
    }

    /// Whether a CANCEL may be sent: the peer has shown that it has the INVITE (RFC 3261 9.1).
    #[must_use]
    pub const fn is_proceeding(&self) -> bool {
        matches!(self.state, State::Proceeding)
    }

    /// The request as it was sent.
    #[must_use]
    pub const fn request(&self) -> &Bytes {
        &self.request
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
                tell: matches!(self.state, State::Calling).then_some(Tell::Timeout),
                ..Effects::ENDED
            };
        }
        if self.clock.again(now, Duration::MAX) {
            Effects::send(self.request.clone())
        } else {
            Effects::NONE
        }
    }

    fn acknowledge(&self, response: &Message) -> Bytes {
        // We made the request ourselves; should it not parse, there is nothing to acknowledge with.
        Message::parse(self.request.clone(), &Limits::RELAXED)
            .map(|request| ack(&request, response))
            .unwrap_or_default()
    }
}
