//! Processor time that a script may take.
//!
//! Luau calls the interrupt at each turn of a loop, at calls and returns, and within pattern matching:
//! often, so it looks at the clock only now and then. Once time is up every further interrupt is an
//! error, so a script that catches one runs into the next.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Interrupts between two looks at the clock; between two of them a script does little.
const STRIDE: u32 = 16;

/// One per Lua state, in which one script runs at a time.
#[derive(Debug)]
pub(crate) struct Meter {
    base: Instant,
    /// Nanoseconds after `base`.
    deadline: AtomicU64,
    interrupts: AtomicU32,
    exceeded: AtomicBool,
    /// The traceback of the moment in which time was up.
    stopped_at: Mutex<String>,
}

impl Meter {
    pub(crate) fn new() -> Self {
        Self {
            base: Instant::now(),
            deadline: AtomicU64::new(u64::MAX),
            interrupts: AtomicU32::new(0),
            exceeded: AtomicBool::new(false),
            stopped_at: Mutex::default(),
        }
    }

    /// Begins a stretch of at most `budget`.
    pub(crate) fn begin(&self, budget: Duration) {
        self.exceeded.store(false, Ordering::Relaxed);
        self.deadline
            .store(nanos(self.base.elapsed() + budget), Ordering::Relaxed);
    }

    /// Ends it. Where its time was up before: the traceback of that moment.
    pub(crate) fn end(&self) -> Option<String> {
        self.deadline.store(u64::MAX, Ordering::Relaxed);
        let exceeded = self.exceeded.load(Ordering::Relaxed);
        exceeded.then(|| std::mem::take(&mut *self.stopped_at()))
    }

    /// Notes where a script was stopped.
    pub(crate) fn note(&self, traceback: String) {
        *self.stopped_at() = traceback;
    }

    fn stopped_at(&self) -> MutexGuard<'_, String> {
        self.stopped_at
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the script must stop: asked by the interrupt. Only the thread that runs the script asks, so
    /// that counting needs no atomic addition.
    pub(crate) fn interrupt(&self) -> Verdict {
        if self.exceeded.load(Ordering::Relaxed) {
            return Verdict::StopAgain;
        }
        let interrupts = self.interrupts.load(Ordering::Relaxed).wrapping_add(1);
        self.interrupts.store(interrupts, Ordering::Relaxed);
        let is_in_time = !interrupts.is_multiple_of(STRIDE)
            || nanos(self.base.elapsed()) <= self.deadline.load(Ordering::Relaxed);
        if is_in_time {
            return Verdict::GoOn;
        }
        self.exceeded.store(true, Ordering::Relaxed);
        Verdict::Stop
    }
}

/// What an interrupt does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    GoOn,
    Stop,
    /// The script was stopped, caught the error and went on.
    StopAgain,
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
