//! The server transaction of everything but INVITE (RFC 3261 17.2.2).

use std::time::Instant;

use bytes::Bytes;

use super::{Clock, Effects, Timers};

/// Somebody asked.
#[derive(Debug)]
pub struct Server {
    reliable: bool,
    timers: Timers,
    clock: Clock,
    last: Option<Bytes>,
    completed: bool,
}

impl Server {
    /// A request arrived.
    #[must_use]
    pub fn new(reliable: bool, timers: Timers) -> Self {
        Self {
            reliable,
            timers,
            clock: Clock::default(),
            last: None,
            completed: false,
        }
    }

    /// The same request arrived again.
    #[must_use]
    pub fn request_again(&self) -> Effects {
        self.last.clone().map_or(Effects::NONE, Effects::send)
    }

    /// Answers it.
    pub fn respond(&mut self, status: u16, response: Bytes, now: Instant) -> Effects {
        if self.completed {
            return Effects::NONE;
        }
        if status < 200 {
            self.last = Some(response.clone());
            return Effects::send(response);
        }
        self.completed = true;
        let effects = Effects {
            ended: self.reliable,
            ..Effects::send(response.clone())
        };
        self.last = Some(response);
        // Timer J: as long as the request may still be repeated.
        self.clock.end(now, self.timers.patience());
        effects
    }

    /// Whether a final response has been sent.
    #[must_use]
    pub const fn is_answered(&self) -> bool {
        self.completed
    }

    /// When it wants to be woken.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.clock.next()
    }

    /// It is that late.
    #[must_use]
    pub fn expire(&self, now: Instant) -> Effects {
        if self.clock.ended(now) {
            Effects::ENDED
        } else {
            Effects::NONE
        }
    }
}
