//! Processor time that a script may take.
//!
//! Luau calls the interrupt at each turn of a loop, at calls and returns, and within pattern matching:
//! often, so it looks at the clock only now and then. Once time is up every further interrupt is an
//! error, so a script that catches one runs into the next.
//!
//! What counts is the thread's own time: on a busy machine a script is not to blame for waiting for its
//! processor. But the kernel must be asked for that, which would cost a short call a good part of what it
//! takes at all. So the ordinary clock, which costs nearly nothing, measures the first eighth.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// Interrupts between two looks at the clock; between two of them a script does little.
const STRIDE: u32 = 16;

/// The part of the time that the ordinary clock measures.
const FIRST: u64 = 8;

/// Stands in `mark` for none.
const UNMARKED: u64 = u64::MAX;

/// One per Lua state, in which one script runs at a time. All numbers are nanoseconds. Only the thread that
/// runs the script uses them, so none of them needs an atomic operation that costs anything.
#[derive(Debug)]
pub(crate) struct Meter {
    base: Instant,
    /// When the stretch began, after `base`.
    begun: AtomicU64,
    /// What it may take.
    budget: AtomicU64,
    /// When to look closer, after `base`.
    look_at: AtomicU64,
    /// The thread's own time when its first eighth was over.
    mark: AtomicU64,
    interrupts: AtomicU32,
    exceeded: AtomicBool,
    /// The traceback of the moment in which time was up.
    stopped_at: Mutex<String>,
}

/// What a stretch came to.
pub(crate) struct Stretch {
    pub(crate) took: Duration,
    /// Where its time was up: the traceback of that moment.
    pub(crate) stopped_at: Option<String>,
}

/// What an interrupt does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    GoOn,
    Stop,
    /// The script was stopped, caught the error and went on.
    StopAgain,
}

impl Meter {
    pub(crate) fn new() -> Self {
        Self {
            base: Instant::now(),
            begun: AtomicU64::new(0),
            budget: AtomicU64::new(u64::MAX),
            look_at: AtomicU64::new(u64::MAX),
            mark: AtomicU64::new(UNMARKED),
            interrupts: AtomicU32::new(0),
            exceeded: AtomicBool::new(false),
            stopped_at: Mutex::default(),
        }
    }

    /// Begins a stretch of at most `budget`.
    pub(crate) fn begin(&self, budget: Duration) {
        let (now, budget) = (self.now(), nanos(budget));
        self.begun.store(now, Relaxed);
        self.budget.store(budget, Relaxed);
        self.look_at
            .store(now.saturating_add(budget / FIRST), Relaxed);
        self.mark.store(UNMARKED, Relaxed);
        self.exceeded.store(false, Relaxed);
    }

    /// Ends it.
    pub(crate) fn end(&self) -> Stretch {
        self.look_at.store(u64::MAX, Relaxed);
        let exceeded = self.exceeded.load(Relaxed);
        Stretch {
            took: Duration::from_nanos(self.taken()),
            stopped_at: exceeded.then(|| std::mem::take(&mut *self.stopped_at())),
        }
    }

    /// Notes where a script was stopped.
    pub(crate) fn note(&self, traceback: String) {
        *self.stopped_at() = traceback;
    }

    /// Whether the script must stop: asked by the interrupt.
    pub(crate) fn interrupt(&self) -> Verdict {
        if self.exceeded.load(Relaxed) {
            return Verdict::StopAgain;
        }
        let interrupts = self.interrupts.load(Relaxed).wrapping_add(1);
        self.interrupts.store(interrupts, Relaxed);
        if !interrupts.is_multiple_of(STRIDE) || self.now() <= self.look_at.load(Relaxed) {
            return Verdict::GoOn;
        }
        if self.mark.load(Relaxed) == UNMARKED {
            self.mark.store(own_time(), Relaxed);
        }
        let left = self.budget.load(Relaxed).saturating_sub(self.taken());
        if left > 0 {
            // It cannot have taken more by then.
            self.look_at.store(self.now().saturating_add(left), Relaxed);
            return Verdict::GoOn;
        }
        self.exceeded.store(true, Relaxed);
        Verdict::Stop
    }

    /// What the stretch has taken so far.
    fn taken(&self) -> u64 {
        let first = self.budget.load(Relaxed) / FIRST;
        match self.mark.load(Relaxed) {
            UNMARKED => self
                .now()
                .saturating_sub(self.begun.load(Relaxed))
                .min(first),
            mark => first.saturating_add(own_time().saturating_sub(mark)),
        }
    }

    fn now(&self) -> u64 {
        nanos(self.base.elapsed())
    }

    fn stopped_at(&self) -> MutexGuard<'_, String> {
        self.stopped_at
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// The time for which this thread has had a processor.
fn own_time() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    // Neither is ever negative.
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    let rest = u64::try_from(time.tv_nsec).unwrap_or_default();
    seconds.saturating_mul(1_000_000_000).saturating_add(rest)
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUDGET: Duration = Duration::from_millis(40);

    /// Spins until it is stopped, and says how much of the thread's time that took.
    fn spin(meter: &Meter) -> Duration {
        let begin = own_time();
        while meter.interrupt() == Verdict::GoOn {}
        Duration::from_nanos(own_time() - begin)
    }

    #[test]
    fn who_works_is_stopped_in_time() {
        let meter = Meter::new();
        for _ in 0..3 {
            meter.begin(BUDGET);
            let took = spin(&meter);
            // Where the processor was taken away in the first eighth, that may be left of it.
            assert!(
                took >= BUDGET / 8 * 7 - Duration::from_millis(1),
                "{took:?}"
            );
            assert!(took < BUDGET * 2, "{took:?}");
            assert_eq!(meter.interrupt(), Verdict::StopAgain);
            meter.note("there".to_owned());
            let stretch = meter.end();
            assert_eq!(stretch.stopped_at.as_deref(), Some("there"));
            assert!(stretch.took >= BUDGET);
        }
    }

    #[test]
    fn who_waits_for_a_processor_is_not() {
        let meter = Meter::new();
        meter.begin(BUDGET);
        for _ in 0..5 {
            std::thread::sleep(BUDGET);
            for _ in 0..STRIDE {
                assert_eq!(meter.interrupt(), Verdict::GoOn);
            }
        }
        let stretch = meter.end();
        assert!(stretch.took < BUDGET / 2, "{:?}", stretch.took);
        assert_eq!(stretch.stopped_at, None);
    }
}
