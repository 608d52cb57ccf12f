//! What is known of a connection while it is served: the guard over its time, and the raw facts
//! of the request heads that came over it.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Poll, Waker},
    time::Instant,
};

use super::executor::StreamProgress;
use crate::{
    engine::{
        flood::FloodGuard,
        guard::{Expiry, Guard, TimeLimits},
    },
    wire::{
        frames::FrameScanner,
        head::{HeadFacts, HeadScanner},
    },
};

/// Bytes of interim responses that wait.
const INTERIM_MAX: usize = 16 * 1024;

/// One connection, as its socket, its driver and its requests see it. All three run in one task
/// for HTTP/1 and meet briefly for HTTP/2, so that the lock is hardly ever waited for.
#[derive(Debug)]
pub struct Line {
    state: Mutex<State>,
    /// Whether there is something in [`State::interim`].
    has_interim: AtomicBool,
}

#[derive(Debug)]
struct State {
    guard: Guard,
    /// `None` for HTTP/2, which has no heads to scan.
    scanner: Option<HeadScanner>,
    facts: VecDeque<HeadFacts>,
    /// For HTTP/2.
    frames: Option<(FrameScanner, FloodGuard)>,
    /// Interim responses that are to go out before the final one.
    interim: Vec<u8>,
    /// A final response that waits for them to go.
    held: Option<Waker>,
    /// The stream whose handler was called and whose task is about to be made.
    newborn: Option<Arc<StreamProgress>>,
    /// Whether nothing has come yet. HTTP/2 has its own way to finish, and never counts as silent.
    silent: bool,
}

impl Line {
    /// A connection that begins now. For HTTP/2 with the number of frames that it may send for
    /// nothing.
    #[must_use]
    pub fn new(limits: TimeLimits, h2: Option<u32>) -> Self {
        let now = Instant::now();
        let flood = |frames| (FrameScanner::default(), FloodGuard::new(frames, now));
        Self {
            state: Mutex::new(State {
                guard: Guard::new(limits, h2.is_some(), now),
                scanner: h2.is_none().then(HeadScanner::new),
                frames: h2.map(flood),
                facts: VecDeque::new(),
                interim: Vec::new(),
                held: None,
                newborn: None,
                silent: h2.is_none(),
            }),
            has_interim: AtomicBool::new(false),
        }
    }

    /// Bytes came. False where they are a flood.
    pub(super) fn read(&self, bytes: &[u8]) -> bool {
        let mut state = self.lock();
        state.silent = false;
        if let Some((scanner, guard)) = &mut state.frames {
            let mut fits = true;
            scanner.scan(bytes, |frame| {
                fits &= guard.came(frame, Instant::now);
            });
            return fits;
        }
        let State {
            guard,
            scanner: Some(scanner),
            facts,
            ..
        } = &mut *state
        else {
            return true;
        };
        scanner.scan(bytes, |found| facts.push_back(found));
        if scanner.in_head() {
            guard.head_grows(scanner.head_size(), Instant::now());
        } else {
            guard.head_ended();
        }
        true
    }

    /// Sends an interim response (RFC 9110 section 15.2) ahead of the final one, HTTP/1 only. More
    /// of them than a client would take an interest in are left out.
    pub(super) fn send_interim(&self, bytes: &[u8]) {
        let mut state = self.lock();
        if state.interim.len() + bytes.len() <= INTERIM_MAX {
            state.interim.extend_from_slice(bytes);
            self.has_interim.store(true, Ordering::Relaxed);
        }
    }

    /// Interim responses that are to go out now.
    pub(super) fn take_interim(&self) -> Option<Vec<u8>> {
        if !self.has_interim.load(Ordering::Relaxed) {
            return None;
        }
        self.has_interim.store(false, Ordering::Relaxed);
        let mut state = self.lock();
        if let Some(held) = state.held.take() {
            held.wake();
        }
        Some(std::mem::take(&mut state.interim))
    }

    /// Waits until no interim response is left to be taken. One that came together with the final
    /// response would otherwise go out behind its head.
    pub(super) async fn interim_taken(&self) {
        std::future::poll_fn(|cx| {
            if !self.has_interim.load(Ordering::Relaxed) {
                return Poll::Ready(());
            }
            self.lock().held = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }

    /// Whether nothing has come yet.
    pub(super) fn is_silent(&self) -> bool {
        self.lock().silent
    }

    /// Bytes went.
    pub(super) fn wrote(&self, bytes: usize) {
        let mut state = self.lock();
        state.guard.wrote(Instant::now());
        if let Some((_, flood)) = &mut state.frames {
            flood.sent(bytes);
        }
    }

    /// Bytes could not go.
    pub(super) fn write_blocked(&self) {
        self.lock().guard.write_blocked(Instant::now());
    }

    /// A request begins; returns the raw facts of its head, where there are any.
    pub(super) fn request_started(&self) -> Option<HeadFacts> {
        let mut state = self.lock();
        state.guard.request_started();
        state.scanner.as_ref()?;
        // The scanner has seen every byte that the parser has. A head it did not see end is one
        // that the two do not agree about.
        Some(state.facts.pop_front().unwrap_or(HeadFacts {
            uncertain: true,
            ..HeadFacts::default()
        }))
    }

    /// A response has been handed over.
    pub(super) fn request_ended(&self) {
        self.lock().guard.request_ended(Instant::now());
    }

    /// The connection becomes something else than HTTP.
    pub(super) fn upgraded(&self) {
        if let Some(scanner) = &mut self.lock().scanner {
            scanner.stop();
        }
    }

    /// What still comes is thrown away: nobody will ask for the facts of its heads.
    pub(super) fn discards(&self) {
        self.upgraded();
        self.lock().facts = VecDeque::new();
    }

    /// The connection was told to finish.
    pub(super) fn leaving(&self) {
        self.lock().guard.leaving(Instant::now());
    }

    /// Whether input that was not made use of may still be on its way: closing at once would
    /// reset the connection, and with it the answer.
    pub(super) fn is_mid_message(&self) -> bool {
        let state = self.lock();
        state
            .scanner
            .as_ref()
            .is_some_and(|scanner| !scanner.between_messages())
            || !state.facts.is_empty()
    }

    /// Until when the present state may last.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.lock().guard.deadline().map(|(deadline, _)| deadline)
    }

    /// What has expired.
    pub(super) fn expired(&self) -> Option<Expiry> {
        self.lock().guard.expired(Instant::now())
    }

    /// A handler was called for a stream.
    pub(super) fn stream_born(&self, progress: Arc<StreamProgress>) {
        self.lock().newborn = Some(progress);
    }

    /// Its task is made.
    pub(super) fn take_newborn(&self) -> Option<Arc<StreamProgress>> {
        self.lock().newborn.take()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_thrown_away_leaves_nothing_behind() {
        let line = Line::new(TimeLimits::default(), None);
        let requests = b"GET / HTTP/1.1\r\n\r\n".repeat(100);
        assert!(line.read(&requests));
        assert_eq!(line.lock().facts.len(), 100);
        line.discards();
        assert!(line.read(&requests));
        assert_eq!(line.lock().facts.capacity(), 0);
    }
}
