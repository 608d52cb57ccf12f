//! When to start a failed child again, and when to give up. Pure: time and chance come in as arguments.

use std::collections::VecDeque;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

use tokio::time::Instant;

/// How many restarts are too many, so that the supervisor gives up and its whole branch begins anew.
///
/// With one-for-one it is each child's own number: the children are independent, and that each of many
/// failed once says nothing about their supervisor. With the other strategies, all restarts are counted
/// together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Intensity {
    /// At most this many restarts…
    pub restarts: u32,
    /// …within any stretch of this length.
    pub within: Duration,
}

impl Intensity {
    /// Never gives up.
    pub const UNLIMITED: Self = Self {
        restarts: u32::MAX,
        within: Duration::ZERO,
    };
}

impl Default for Intensity {
    fn default() -> Self {
        Self {
            restarts: 5,
            within: Duration::from_secs(60),
        }
    }
}

/// How long a failed child waits before it is started again: the first time `first`, then twice as long
/// each time up to `max`. A child that ran for `max` starts again from `first`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// The wait after the first failure.
    pub first: Duration,
    /// The longest wait.
    pub max: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self {
            first: Duration::from_millis(100),
            max: Duration::from_secs(30),
        }
    }
}

impl Backoff {
    /// The wait before restart number `attempt` (from 0). Chance takes away up to half of it, so that
    /// children felled by one cause do not come back in step; it is never added, so `max` is kept.
    pub(crate) fn delay(&self, attempt: u32, chance: u64) -> Duration {
        let doubled = 1_u32
            .checked_shl(attempt)
            .and_then(|factor| self.first.checked_mul(factor));
        let full = doubled.map_or(self.max, |delay| delay.min(self.max));
        let share =
            f64::from(u32::try_from(chance >> 32).unwrap_or(u32::MAX)) / f64::from(u32::MAX);
        full.mul_f64(1.0 - share / 2.0)
    }

    /// Which attempt the next one is, for a child that made `attempt` of them and then ran for `ran`.
    pub(crate) fn next_attempt(&self, attempt: u32, ran: Duration) -> u32 {
        if ran >= self.max { 0 } else { attempt }
    }
}

/// A number to spread restarts with. The standard library seeds its hashers at random and differently
/// each time, which is chance enough here.
pub(crate) fn chance() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// The restarts of the last while, to be held against an [`Intensity`].
#[derive(Debug, Clone, Default)]
pub(crate) struct Window(VecDeque<Instant>);

impl Window {
    /// Notes a restart; false when it is one too many.
    pub(crate) fn allows(&mut self, intensity: Intensity, now: Instant) -> bool {
        if intensity == Intensity::UNLIMITED {
            return true;
        }
        while self
            .0
            .front()
            .is_some_and(|&then| now.duration_since(then) > intensity.within)
        {
            self.0.pop_front();
        }
        self.0.push_back(now);
        self.0.len() <= usize::try_from(intensity.restarts).unwrap_or(usize::MAX)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BACKOFF: Backoff = Backoff {
        first: Duration::from_millis(100),
        max: Duration::from_secs(30),
    };

    #[test]
    fn waits_double_up_to_the_longest() {
        let waits: Vec<u128> = (0..12)
            .map(|attempt| BACKOFF.delay(attempt, 0).as_millis())
            .collect();
        assert_eq!(
            waits,
            [
                100, 200, 400, 800, 1600, 3200, 6400, 12800, 25600, 30000, 30000, 30000
            ]
        );
    }

    #[test]
    fn chance_spreads() {
        let distinct: std::collections::HashSet<u64> = (0..100).map(|_| chance()).collect();
        assert!(distinct.len() > 90, "{} distinct of 100", distinct.len());
    }

    proptest! {
        #[test]
        fn a_wait_is_between_half_and_the_whole(attempt: u32, chance: u64) {
            let whole = BACKOFF.delay(attempt, 0);
            let wait = BACKOFF.delay(attempt, chance);
            prop_assert!(wait <= whole && wait >= whole / 2, "{wait:?} of {whole:?}");
        }

        #[test]
        fn a_window_allows_what_a_count_over_all_pairs_allows(
            restarts in 0_u32..6,
            within in 1_u64..50,
            gaps in prop::collection::vec(0_u64..30, 1..60),
        ) {
            let intensity = Intensity { restarts, within: Duration::from_secs(within) };
            let mut window = Window::default();
            let begin = Instant::now();
            let mut at = 0;
            let mut times = Vec::new();
            for gap in gaps {
                at += gap;
                times.push(at);
                let recent = times.iter().filter(|&&then| at - then <= within).count();
                let allowed = window.allows(intensity, begin + Duration::from_secs(at));
                prop_assert_eq!(allowed, recent <= restarts as usize);
            }
        }
    }
}
