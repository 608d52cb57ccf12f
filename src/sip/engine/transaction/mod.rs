//! The four transaction machines of RFC 3261 17 with RFC 6026's corrections.
//!
//! Each is a small value that is told what happened and says what to do. It sends nothing and keeps
//! no clock: it names the moment at which it wants to be woken.

mod client;
mod client_invite;
mod server;
mod server_invite;

use std::time::{Duration, Instant};

use bytes::Bytes;

pub use client::Client;
pub use client_invite::ClientInvite;
pub use server::Server;
pub use server_invite::ServerInvite;

/// RFC 3261's basic times, from which all others follow (its table 4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timers {
    /// Estimate of a round trip.
    pub t1: Duration,
    /// The longest pause between retransmissions of anything but INVITE.
    pub t2: Duration,
    /// How long a message can linger in the network.
    pub t4: Duration,
}

impl Default for Timers {
    fn default() -> Self {
        Self {
            t1: Duration::from_millis(500),
            t2: Duration::from_secs(4),
            t4: Duration::from_secs(5),
        }
    }
}

impl Timers {
    /// How long a transaction is tried before it is given up: timers B, D, F, H, J, L and M.
    #[must_use]
    pub const fn patience(&self) -> Duration {
        self.t1.saturating_mul(64)
    }
}

/// What a machine wants done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Effects {
    /// Send this, once, to where the transaction goes.
    pub send: Option<Bytes>,
    /// Tell whoever uses the transaction.
    pub tell: Option<Tell>,
    /// The transaction is over and can be forgotten.
    pub ended: bool,
}

/// What a machine has to tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tell {
    /// The response at hand is to be acted upon.
    Response,
    /// There will be none.
    Timeout,
    /// The ACK at hand confirms a 2xx, and is for the other end.
    Ack,
    /// The final response was never acknowledged.
    Unacknowledged,
}

impl Effects {
    const NONE: Self = Self {
        send: None,
        tell: None,
        ended: false,
    };

    const fn send(bytes: Bytes) -> Self {
        Self {
            send: Some(bytes),
            ..Self::NONE
        }
    }

    const fn tell(tell: Tell) -> Self {
        Self {
            tell: Some(tell),
            ..Self::NONE
        }
    }

    const ENDED: Self = Self {
        ended: true,
        ..Self::NONE
    };
}

/// The two timers a machine can have: one that sends again, one that gives up.
#[derive(Debug, Clone, Copy, Default)]
struct Clock {
    again: Option<Instant>,
    interval: Duration,
    end: Option<Instant>,
}

impl Clock {
    fn retransmit(&mut self, now: Instant, interval: Duration) {
        self.interval = interval;
        self.again = now.checked_add(interval);
    }

    fn end(&mut self, now: Instant, after: Duration) {
        self.end = now.checked_add(after);
    }

    fn next(&self) -> Option<Instant> {
        match (self.again, self.end) {
            (Some(again), Some(end)) => Some(again.min(end)),
            (again, end) => again.or(end),
        }
    }

    fn ended(&self, now: Instant) -> bool {
        self.end.is_some_and(|end| end <= now)
    }

    /// Whether to send again now; if so, the next time is twice as far off, up to `longest`.
    fn again(&mut self, now: Instant, longest: Duration) -> bool {
        let due = self.again.is_some_and(|again| again <= now);
        if due {
            let interval = self.interval.saturating_mul(2).min(longest);
            self.retransmit(now, interval);
        }
        due
    }
}
