//! Rate-limited repeats: what a peer can make happen a million times is logged now and then.

use std::collections::HashMap;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher, Hash};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Keys that one place in the code tells apart; past them they share one limit.
const KEYS_MAX: usize = 1024;

/// Logs at most once per place in the code and interval; the next entry says in `held_back` how many were
/// not logged. With `key = …` before the level, once per key.
///
/// ```
/// # use omnid_telemetry::limited;
/// # use std::time::Duration;
/// # let (peer, error) = ("192.0.2.1", "garbage");
/// limited!(Duration::from_secs(10), warn, "handshake failed", peer, error);
/// limited!(Duration::from_secs(10), key = peer, warn, "handshake failed", peer, error);
/// limited!(Duration::from_secs(10), info, %error, "fields first, as in tracing");
/// ```
#[macro_export]
macro_rules! limited {
    ($every:expr, key = $key:expr, $level:ident, $($entry:tt)+) => {{
        static LIMIT: $crate::limit::KeyedLimit = $crate::limit::KeyedLimit::new();
        if let Some(held_back) = LIMIT.pass(&$key, $every) {
            $crate::__limited_entry!(held_back, $level, $($entry)+);
        }
    }};
    ($every:expr, $level:ident, $($entry:tt)+) => {{
        static LIMIT: $crate::limit::Limit = $crate::limit::Limit::new();
        if let Some(held_back) = LIMIT.pass($every) {
            $crate::__limited_entry!(held_back, $level, $($entry)+);
        }
    }};
}

#[doc(hidden)]
#[macro_export]
macro_rules! __limited_entry {
    ($held_back:ident, $level:ident, $message:literal, $($fields:tt)+) => {
        $crate::tracing::$level!(held_back = $held_back.count(), $($fields)+, $message)
    };
    ($held_back:ident, $level:ident, $($entry:tt)+) => {
        $crate::tracing::$level!(held_back = $held_back.count(), $($entry)+)
    };
}

/// How many entries were held back before one that passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeldBack(u64);

impl HeldBack {
    /// None (no field) where there were none.
    pub fn count(self) -> Option<u64> {
        (self.0 > 0).then_some(self.0)
    }
}

/// The limit of one place in the code.
#[derive(Debug)]
pub struct Limit {
    /// In milliseconds of [`now`].
    next: AtomicU64,
    held_back: AtomicU64,
}

impl Limit {
    /// One that has let nothing pass yet.
    #[allow(clippy::new_without_default, reason = "made in statics only")]
    pub const fn new() -> Self {
        Self {
            next: AtomicU64::new(0),
            held_back: AtomicU64::new(0),
        }
    }

    /// Whether an entry passes.
    pub fn pass(&self, every: Duration) -> Option<HeldBack> {
        self.pass_at(now(), every)
    }

    fn pass_at(&self, now: u64, every: Duration) -> Option<HeldBack> {
        let next = self.next.load(Ordering::Relaxed);
        let after = now.saturating_add(millis(every));
        let passes = now >= next
            && self
                .next
                .compare_exchange(next, after, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok();
        if passes {
            return Some(HeldBack(self.held_back.swap(0, Ordering::Relaxed)));
        }
        self.held_back.fetch_add(1, Ordering::Relaxed);
        None
    }
}

/// The limit of one place in the code, for each key apart.
#[derive(Debug)]
pub struct KeyedLimit {
    /// By the key's hash: two keys that share one share a limit, which is no harm.
    keys: Mutex<HashMap<u64, Limit, BuildHasherDefault<DefaultHasher>>>,
    others: Limit,
}

impl KeyedLimit {
    /// One that has let nothing pass yet.
    #[allow(clippy::new_without_default, reason = "made in statics only")]
    pub const fn new() -> Self {
        let keys = Mutex::new(HashMap::with_hasher(BuildHasherDefault::new()));
        Self {
            keys,
            others: Limit::new(),
        }
    }

    /// Whether an entry about `key` passes.
    pub fn pass(&self, key: &(impl Hash + ?Sized), every: Duration) -> Option<HeldBack> {
        self.pass_at(key, now(), every)
    }

    fn pass_at(&self, key: &(impl Hash + ?Sized), now: u64, every: Duration) -> Option<HeldBack> {
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        let hash = keys.hasher().hash_one(key);
        if keys.len() >= KEYS_MAX && !keys.contains_key(&hash) {
            keys.retain(|_, limit| *limit.next.get_mut() > now);
            if keys.len() >= KEYS_MAX {
                drop(keys);
                return self.others.pass_at(now, every);
            }
        }
        keys.entry(hash)
            .or_insert_with(Limit::new)
            .pass_at(now, every)
    }
}

/// Milliseconds since this was first asked, plus one: no limit's `next` is reached by chance at 0.
fn now() -> u64 {
    static BEGIN: LazyLock<Instant> = LazyLock::new(Instant::now);
    millis(BEGIN.elapsed()).saturating_add(1)
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVERY: Duration = Duration::from_secs(10);

    #[test]
    fn one_passes_in_each_interval_and_says_how_many_did_not() {
        let limit = Limit::new();
        let passed: Vec<_> = (0..25)
            .filter_map(|second| {
                limit
                    .pass_at(second * 1000, EVERY)
                    .map(|held| (second, held.count()))
            })
            .collect();
        assert_eq!(passed, [(0, None), (10, Some(9)), (20, Some(9))]);
    }

    #[test]
    fn keys_are_told_apart_within_a_bound() {
        let limit = KeyedLimit::new();
        let keys = KEYS_MAX as u64 + 100;
        let passed = (0..keys)
            .filter(|key| limit.pass_at(key, 1, EVERY).is_some())
            .count();
        assert_eq!(passed, KEYS_MAX + 1, "and one for all the others");
        assert_eq!(limit.pass_at(&5_u64, 2, EVERY), None);
        assert_eq!(limit.pass_at(&5_u64, 10_001, EVERY), Some(HeldBack(1)));
        assert_eq!(limit.pass_at("new", 20_001, EVERY), Some(HeldBack(0)));
        let kept = limit
            .keys
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .len();
        assert!(
            kept <= 2,
            "{kept} keys kept though their intervals are over"
        );
    }

    #[test]
    fn many_threads_pass_once() {
        let limit = Limit::new();
        let passed = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..1000 {
                        if limit.pass_at(5, EVERY).is_some() {
                            passed.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                });
            }
        });
        assert_eq!(passed.into_inner(), 1);
        assert_eq!(limit.pass_at(20_000, EVERY), Some(HeldBack(3999)));
    }
}
