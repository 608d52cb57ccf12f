//! Log lines that a peer can cause at will, held to one in an interval.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// At most one line of log in an interval, with a count of those held back.
#[derive(Debug)]
pub(crate) struct Limited {
    interval: Duration,
    /// Milliseconds after [`origin`] at which the next line may be written.
    next: AtomicU64,
    held: AtomicU64,
}

impl Limited {
    pub(crate) const fn new(interval: Duration) -> Self {
        Self {
            interval,
            next: AtomicU64::new(0),
            held: AtomicU64::new(0),
        }
    }

    /// `Some(held back since the last line)` if a line may be written now.
    pub(crate) fn pass(&self) -> Option<u64> {
        self.pass_at(origin().elapsed())
    }

    fn pass_at(&self, now: Duration) -> Option<u64> {
        let now = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
        let next = self.next.load(Ordering::Relaxed);
        let after =
            now.saturating_add(u64::try_from(self.interval.as_millis()).unwrap_or(u64::MAX));
        if now < next
            || self
                .next
                .compare_exchange(next, after, Ordering::Relaxed, Ordering::Relaxed)
                .is_err()
        {
            self.held.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        Some(self.held.swap(0, Ordering::Relaxed))
    }
}

/// As [`Limited`], for each of a bounded number of keys.
#[derive(Debug)]
pub(crate) struct LimitedByKey<K> {
    interval: Duration,
    keys: Mutex<BTreeMap<K, Limited>>,
}

/// Keys kept at one time. Past it all are forgotten, which costs no more than a line too many.
const KEYS: usize = 1024;

impl<K: Ord> LimitedByKey<K> {
    pub(crate) const fn new(interval: Duration) -> Self {
        Self {
            interval,
            keys: Mutex::new(BTreeMap::new()),
        }
    }

    pub(crate) fn pass(&self, key: K) -> Option<u64> {
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        if keys.len() >= KEYS && !keys.contains_key(&key) {
            keys.clear();
        }
        keys.entry(key)
            .or_insert_with(|| Limited::new(self.interval))
            .pass()
    }
}

fn origin() -> Instant {
    static ORIGIN: OnceLock<Instant> = OnceLock::new();
    *ORIGIN.get_or_init(Instant::now)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_in_an_interval_with_a_count() {
        let limited = Limited::new(Duration::from_secs(10));
        let at = |seconds| limited.pass_at(Duration::from_secs(seconds));
        assert_eq!(at(0), Some(0));
        assert_eq!((at(1), at(9)), (None, None));
        assert_eq!(at(10), Some(2));
        assert_eq!(at(25), Some(0));
    }
}
