//! How much a source may ask before it has shown who it is.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use omnid_net::subnet_key;

const SHARDS: usize = 16;
/// Sources remembered per shard.
const REMEMBERED: usize = 8192;
/// Seconds' worth of requests that may come at once: an office's phones after a power cut.
const BURST: f32 = 4.0;

/// A token bucket for each source.
#[derive(Default)]
pub(super) struct Limiter {
    shards: [Mutex<Shard>; SHARDS],
}

#[derive(Default)]
struct Shard {
    buckets: HashMap<IpAddr, Bucket>,
    /// When full ones were last looked for: not for every packet of a flood.
    swept: Option<Instant>,
}

struct Bucket {
    tokens: f32,
    filled: Instant,
}

impl Limiter {
    /// Whether one more request of that source may be answered.
    pub(super) fn allow(&self, source: IpAddr, per_second: u32, now: Instant) -> bool {
        let rate = per_second as f32;
        let key = subnet_key(source);
        let mut shard = self.shard(key);
        if shard.buckets.len() >= REMEMBERED && !shard.buckets.contains_key(&key) {
            shard.sweep(rate, now);
            if shard.buckets.len() >= REMEMBERED {
                // So many sources at once are one that forges them.
                return false;
            }
        }
        let bucket = shard.buckets.entry(key).or_insert(Bucket {
            tokens: rate * BURST,
            filled: now,
        });
        bucket.tokens = bucket.level(rate, now);
        bucket.filled = now;
        let allowed = bucket.tokens >= 1.0;
        if allowed {
            bucket.tokens -= 1.0;
        }
        allowed
    }

    /// Gives back what a request took that turned out to be somebody's.
    pub(super) fn refund(&self, source: IpAddr) {
        let key = subnet_key(source);
        if let Some(bucket) = self.shard(key).buckets.get_mut(&key) {
            bucket.tokens += 1.0;
        }
    }

    fn shard(&self, key: IpAddr) -> MutexGuard<'_, Shard> {
        let octet = match key {
            IpAddr::V4(v4) => v4.octets()[3],
            IpAddr::V6(v6) => v6.octets()[7],
        };
        self.shards[usize::from(octet) % SHARDS]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shard {
    fn sweep(&mut self, rate: f32, now: Instant) {
        let recently = |at: Instant| now.saturating_duration_since(at).as_millis() < 1000;
        if !self.swept.is_some_and(recently) {
            self.swept = Some(now);
            self.buckets
                .retain(|_, bucket| bucket.level(rate, now) < rate * BURST);
        }
    }
}

impl Bucket {
    fn level(&self, rate: f32, now: Instant) -> f32 {
        let seconds = now.saturating_duration_since(self.filled).as_secs_f32();
        (self.tokens + seconds * rate).min(rate * BURST)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_flood_is_cut_to_the_rate() {
        let limiter = Limiter::default();
        let start = Instant::now();
        let source = IpAddr::from([192, 0, 2, 1]);
        let count = |now| (0..1000).filter(|_| limiter.allow(source, 10, now)).count();
        assert_eq!(count(start), 40);
        assert_eq!(count(start + Duration::from_secs(1)), 10);
        assert!(limiter.allow(IpAddr::from([192, 0, 2, 2]), 10, start));
        limiter.refund(source);
        assert_eq!(count(start + Duration::from_secs(1)), 1);
    }

    #[test]
    fn forged_sources_do_not_fill_memory() {
        let limiter = Limiter::default();
        let now = Instant::now();
        let allowed = (0..400_000_u32)
            .filter(|source| limiter.allow(IpAddr::from(source.to_be_bytes()), 10, now))
            .count();
        assert!(allowed <= SHARDS * REMEMBERED);
    }
}
