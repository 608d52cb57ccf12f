//! How many HTTP/2 frames a client may send that ask for nothing.
//!
//! Each of them is legal and cheap; a stream of them makes the server work for nobody: pings and
//! settings that want an answer (CVE-2019-9512, -9515), streams opened and reset
//! (CVE-2023-44487), priorities, empty pieces of data (CVE-2019-9518, RUSTSEC-2026-0258), header
//! blocks in crumbs (CVE-2024-27316), window updates of one byte. What requests and bodies need of
//! them is allowed for; the rest comes out of a stock that fills up with time.

use std::time::Instant;

use crate::wire::frames::Frame;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const PRIORITY_UPDATE: u8 = 16;
const END_STREAM: u8 = 1;

/// Frames that may go with a request: its priority, more of its head, window updates. A reset is
/// none of them: a request that is taken back has cost what it cost.
const PER_REQUEST: u32 = 4;
/// Bytes sent or taken that a window update may be for.
const PER_UPDATE: u64 = 1024;

/// Counts the frames of one connection.
#[derive(Debug)]
pub struct FloodGuard {
    max: u32,
    left: u32,
    /// Frames that requests still need.
    needed: u32,
    /// Bytes of bodies in both directions that no window update has answered.
    moved: u64,
    filled: Instant,
}

impl FloodGuard {
    /// A guard that lets `max` frames pass at once, and a tenth of them a second.
    #[must_use]
    pub fn new(max: u32, now: Instant) -> Self {
        Self {
            max,
            left: max,
            needed: 0,
            moved: 0,
            filled: now,
        }
    }

    /// Bytes were sent to the client.
    pub fn sent(&mut self, bytes: usize) {
        self.moved = self.moved.saturating_add(bytes as u64);
    }

    /// A frame came. False where it is one too many.
    pub fn came(&mut self, frame: Frame, now: impl FnOnce() -> Instant) -> bool {
        match frame.kind {
            HEADERS => {
                self.needed = self.needed.saturating_add(PER_REQUEST).min(self.max);
                return true;
            }
            DATA if frame.length > 0 || frame.flags & END_STREAM != 0 => {
                self.moved = self.moved.saturating_add(u64::from(frame.length));
                return true;
            }
            WINDOW_UPDATE if self.moved >= PER_UPDATE => {
                self.moved -= PER_UPDATE;
                return true;
            }
            PRIORITY | WINDOW_UPDATE | CONTINUATION | PRIORITY_UPDATE if self.needed > 0 => {
                self.needed -= 1;
                return true;
            }
            _ => {}
        }
        if self.left == 0 {
            self.refill(now());
        }
        match self.left.checked_sub(1) {
            Some(left) => {
                self.left = left;
                true
            }
            None => false,
        }
    }

    fn refill(&mut self, now: Instant) {
        let since = now.saturating_duration_since(self.filled);
        let per_second = u128::from(self.max / 10).max(1);
        let more = since.as_millis() * per_second / 1000;
        if more > 0 {
            self.left = u32::try_from(more).unwrap_or(self.max).min(self.max);
            self.filled = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn frame(kind: u8, flags: u8, length: u32) -> Frame {
        Frame {
            kind,
            flags,
            length,
        }
    }

    /// How many frames of a kind are let pass within one instant.
    fn passed(guard: &mut FloodGuard, frame: Frame, now: Instant) -> usize {
        (0..10_000)
            .take_while(|_| guard.came(frame, || now))
            .count()
    }

    #[test]
    fn what_asks_for_nothing_is_counted() {
        let now = Instant::now();
        for (kind, flags, length) in [
            (6, 0, 8),
            (4, 0, 0),
            (2, 0, 5),
            (3, 0, 4),
            (DATA, 0, 0),
            (9, 0, 1),
            (WINDOW_UPDATE, 0, 4),
            (77, 0, 1),
        ] {
            let mut guard = FloodGuard::new(100, now);
            assert_eq!(passed(&mut guard, frame(kind, flags, length), now), 100);
            let later = now + Duration::from_secs(3);
            assert_eq!(passed(&mut guard, frame(kind, flags, length), later), 30);
            let much_later = later + Duration::from_secs(90);
            assert_eq!(
                passed(&mut guard, frame(kind, flags, length), much_later),
                100
            );
        }
    }

    #[test]
    fn what_requests_and_bodies_need_is_not() {
        let now = Instant::now();
        let mut guard = FloodGuard::new(100, now);
        for _ in 0..10_000 {
            assert!(guard.came(frame(HEADERS, 5, 20), || now));
            assert!(guard.came(frame(PRIORITY, 0, 5), || now));
            assert!(guard.came(frame(DATA, 0, 1), || now));
            assert!(guard.came(frame(DATA, END_STREAM, 0), || now));
            guard.sent(16 * 1024);
            for _ in 0..16 {
                assert!(guard.came(frame(WINDOW_UPDATE, 0, 4), || now));
            }
        }
    }
}
