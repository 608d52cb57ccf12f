//! How long a peer may take.
//!
//! One guard watches one connection. It is told what happens and when, and answers until when
//! the present state of affairs may last; whoever drives the connection closes it then. Deadlines
//! move with progress: there is no limit over a whole transfer, only over standing still.

use std::time::{Duration, Instant};

/// The time limits of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeLimits {
    /// From accept (or the TLS handshake) to the first byte.
    pub first_byte: Duration,
    /// From the first byte of a head to its last.
    pub head: Duration,
    /// The same where the client keeps up [`TimeLimits::rate`].
    pub head_max: Duration,
    /// How long a body may be waited for before it must keep up the rate.
    pub body: Duration,
    /// Bytes a second that a head or body must bring to go on beyond its time.
    pub rate: u64,
    /// From one response to the next request, HTTP/1.
    pub idle: Duration,
    /// The same for HTTP/2.
    pub idle_h2: Duration,
    /// How long the peer may take nothing of what is written.
    pub write: Duration,
    /// How long an HTTP/2 stream's window may stay shut.
    pub window: Duration,
    /// How long a connection that was told to go may take to do so once no request is left.
    pub linger: Duration,
}

impl Default for TimeLimits {
    fn default() -> Self {
        Self {
            first_byte: Duration::from_secs(10),
            head: Duration::from_secs(20),
            head_max: Duration::from_secs(40),
            body: Duration::from_secs(20),
            rate: 500,
            idle: Duration::from_secs(15),
            idle_h2: Duration::from_secs(60),
            write: Duration::from_secs(60),
            window: Duration::from_secs(30),
            linger: Duration::from_secs(5),
        }
    }
}

/// Why a connection's time is up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expiry {
    /// It never said anything.
    Silent,
    /// A request head did not end.
    SlowHead,
    /// Nothing was asked for a while: the usual end of a connection.
    Idle,
    /// The peer takes nothing of what is sent to it.
    WriteStalled,
    /// It was told to go and has not gone.
    Lingering,
}

/// Watches one connection.
#[derive(Debug)]
pub struct Guard {
    limits: TimeLimits,
    opened: Instant,
    h2: bool,
    /// Requests being answered.
    active: u32,
    /// Requests answered or being answered.
    requests: u64,
    /// When the head that is being read began, and its bytes so far.
    head: Option<(Instant, u64)>,
    /// Since when there has been nothing to do.
    idle_since: Instant,
    /// Since when the peer has taken nothing.
    blocked_since: Option<Instant>,
    /// Since when it has been told to go.
    leaving_since: Option<Instant>,
}

impl Guard {
    /// A connection that was opened at `now`.
    #[must_use]
    pub fn new(limits: TimeLimits, h2: bool, now: Instant) -> Self {
        Self {
            limits,
            opened: now,
            h2,
            active: 0,
            requests: 0,
            head: None,
            idle_since: now,
            blocked_since: None,
            leaving_since: None,
        }
    }

    /// A request head is being read and has so many bytes.
    pub fn head_grows(&mut self, size: usize, now: Instant) {
        let started = self.head.map_or(now, |(started, _)| started);
        self.head = Some((started, size as u64));
    }

    /// No head is under way.
    pub fn head_ended(&mut self) {
        self.head = None;
    }

    /// A request is being answered.
    pub fn request_started(&mut self) {
        self.active += 1;
        self.requests += 1;
    }

    /// A response has been handed over, or given up.
    pub fn request_ended(&mut self, now: Instant) {
        self.active = self.active.saturating_sub(1);
        self.idle_since = now;
    }

    /// The peer took bytes.
    pub fn wrote(&mut self, now: Instant) {
        self.blocked_since = None;
        // A response that is still on its way out is not idleness.
        self.idle_since = now;
    }

    /// The peer takes no more for now.
    pub fn write_blocked(&mut self, now: Instant) {
        self.blocked_since.get_or_insert(now);
    }

    /// The connection was told to finish and go.
    pub fn leaving(&mut self, now: Instant) {
        self.leaving_since.get_or_insert(now);
    }

    /// Requests being answered.
    #[must_use]
    pub fn active(&self) -> u32 {
        self.active
    }

    /// Until when this may go on, and what it will have been.
    #[must_use]
    pub fn deadline(&self) -> Option<(Instant, Expiry)> {
        // A peer that is behind with taking a response is neither idle nor late with a request.
        if let Some(since) = self.blocked_since {
            return Some((since + self.limits.write, Expiry::WriteStalled));
        }
        if self.active > 0 {
            return None;
        }
        Some(if let Some(since) = self.leaving_since {
            // Bytes on their way out count as progress for a leaving connection too.
            (
                since.max(self.idle_since) + self.limits.linger,
                Expiry::Lingering,
            )
        } else if let Some((started, size)) = self.head {
            let earned = Duration::from_secs(size / self.limits.rate.max(1));
            let time = (self.limits.head + earned).min(self.limits.head_max);
            (started + time, Expiry::SlowHead)
        } else if self.requests == 0 && !self.h2 {
            (self.opened + self.limits.first_byte, Expiry::Silent)
        } else if self.requests == 0 {
            // The preface, the settings and the first request.
            (self.opened + self.limits.head, Expiry::Silent)
        } else {
            let idle = if self.h2 {
                self.limits.idle_h2
            } else {
                self.limits.idle
            };
            (self.idle_since + idle, Expiry::Idle)
        })
    }

    /// What has expired at `now`.
    #[must_use]
    pub fn expired(&self, now: Instant) -> Option<Expiry> {
        let (deadline, expiry) = self.deadline()?;
        (deadline <= now).then_some(expiry)
    }
}

/// How long a body may still be waited for. Only time spent waiting for the client counts: while
/// an upstream takes its time, the client owes nothing.
#[derive(Debug)]
pub struct BodyPace {
    time: Duration,
    rate: u64,
    waited: Duration,
    since: Option<Instant>,
    bytes: u64,
}

impl BodyPace {
    /// A body of which nothing has come yet.
    #[must_use]
    pub fn new(limits: &TimeLimits) -> Self {
        Self {
            time: limits.body,
            rate: limits.rate,
            waited: Duration::ZERO,
            since: None,
            bytes: 0,
        }
    }

    /// The client is waited for; returns until when.
    pub fn waits(&mut self, now: Instant) -> Instant {
        let since = *self.since.get_or_insert(now);
        let earned = Duration::from_secs(self.bytes / self.rate.max(1));
        since + (self.time + earned).saturating_sub(self.waited)
    }

    /// So many bytes came.
    pub fn came(&mut self, bytes: usize, now: Instant) {
        self.bytes = self.bytes.saturating_add(bytes as u64);
        if let Some(since) = self.since.take() {
            self.waited += now.saturating_duration_since(since);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn guard(h2: bool) -> (Guard, Instant) {
        let now = Instant::now();
        (Guard::new(TimeLimits::default(), h2, now), now)
    }

    fn check(guard: &Guard, start: Instant, expected: Option<(u64, Expiry)>) {
        let deadline = guard
            .deadline()
            .map(|(at, expiry)| (at.saturating_duration_since(start).as_secs(), expiry));
        assert_eq!(deadline, expected);
        if let Some((at, expiry)) = guard.deadline() {
            assert_eq!(guard.expired(at), Some(expiry));
            assert_eq!(guard.expired(at - Duration::from_millis(1)), None);
        }
    }

    #[test]
    fn a_silent_connection_and_a_slow_head() {
        let (mut guard, start) = guard(false);
        check(&guard, start, Some((10, Expiry::Silent)));
        guard.head_grows(10, start + seconds(5));
        check(&guard, start, Some((25, Expiry::SlowHead)));
        // A byte now and then buys nothing, 500 bytes a second do, up to 40 s.
        guard.head_grows(20, start + seconds(20));
        check(&guard, start, Some((25, Expiry::SlowHead)));
        guard.head_grows(5000, start + seconds(20));
        check(&guard, start, Some((35, Expiry::SlowHead)));
        guard.head_grows(15_000, start + seconds(30));
        check(&guard, start, Some((45, Expiry::SlowHead)));
    }

    #[test]
    fn requests_and_idleness() {
        for (h2, idle) in [(false, 15), (true, 60)] {
            let (mut guard, start) = guard(h2);
            guard.request_started();
            guard.request_started();
            check(&guard, start, None);
            guard.request_ended(start + seconds(100));
            check(&guard, start, None);
            guard.request_ended(start + seconds(200));
            check(&guard, start, Some((200 + idle, Expiry::Idle)));
            guard.wrote(start + seconds(230));
            check(&guard, start, Some((230 + idle, Expiry::Idle)));
        }
    }

    #[test]
    fn h2_must_come_to_its_first_request() {
        let (guard, start) = guard(true);
        check(&guard, start, Some((20, Expiry::Silent)));
    }

    #[test]
    fn a_peer_that_takes_nothing() {
        let (mut guard, start) = guard(false);
        guard.request_started();
        guard.write_blocked(start + seconds(1));
        guard.write_blocked(start + seconds(50));
        check(&guard, start, Some((61, Expiry::WriteStalled)));
        guard.wrote(start + seconds(60));
        check(&guard, start, None);
        guard.write_blocked(start + seconds(60));
        check(&guard, start, Some((120, Expiry::WriteStalled)));
        guard.request_ended(start + seconds(61));
        check(&guard, start, Some((120, Expiry::WriteStalled)));
        guard.wrote(start + seconds(70));
        check(&guard, start, Some((85, Expiry::Idle)));
    }

    #[test]
    fn leaving() {
        let (mut guard, start) = guard(true);
        guard.request_started();
        guard.leaving(start + seconds(1));
        check(&guard, start, None);
        guard.request_ended(start + seconds(100));
        check(&guard, start, Some((105, Expiry::Lingering)));
    }

    #[test]
    fn a_body_pays_for_waiting_only() {
        let start = Instant::now();
        let mut pace = BodyPace::new(&TimeLimits::default());
        assert_eq!(pace.waits(start), start + seconds(20));
        pace.came(500, start + seconds(15));
        // An hour of upstream later: 15 of 21 seconds are used up.
        let later = start + seconds(3600);
        assert_eq!(pace.waits(later), later + seconds(6));
        assert_eq!(pace.waits(later + seconds(1)), later + seconds(6));
        pace.came(10_000, later + seconds(1));
        assert_eq!(pace.waits(later + seconds(1)), later + seconds(1 + 25));
    }
}
