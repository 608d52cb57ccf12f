//! Timers without a task each: a wheel of slots, one per tick.
//!
//! Timers are never cancelled. Whoever is woken looks at its own deadline, and asks again if it is
//! still to come; almost every SIP timer is superseded rather than fired, and so costs one push.

use std::time::{Duration, Instant};

/// The wheel's resolution.
const TICK: Duration = Duration::from_millis(10);
/// More than 64 × T1, the longest of the timers that every transaction has.
const SLOTS: usize = 4096;
const WORDS: usize = SLOTS / 64;

/// Keys to be woken at their time.
#[derive(Debug)]
pub(super) struct Wheel<K> {
    origin: Instant,
    /// The next tick to be expired.
    tick: u64,
    slots: Vec<Vec<K>>,
    /// One bit per slot that holds something.
    occupied: [u64; WORDS],
    count: usize,
}

impl<K> Wheel<K> {
    /// An empty wheel that starts to turn now.
    #[must_use]
    pub(super) fn new(now: Instant) -> Self {
        Self {
            origin: now,
            tick: 0,
            slots: std::iter::repeat_with(Vec::new).take(SLOTS).collect(),
            occupied: [0; WORDS],
            count: 0,
        }
    }

    /// Wakes `key` at `deadline` or within a tick after it; or before, if it is further off than
    /// the wheel reaches.
    pub(super) fn insert(&mut self, deadline: Instant, key: K) {
        let tick = deadline
            .saturating_duration_since(self.origin)
            .as_nanos()
            .div_ceil(TICK.as_nanos());
        let tick = u64::try_from(tick).unwrap_or(u64::MAX);
        let latest = self.tick + SLOTS as u64 - 1;
        let slot = (tick.clamp(self.tick, latest) % SLOTS as u64) as usize;
        if let Some(keys) = self.slots.get_mut(slot) {
            keys.push(key);
            self.count += 1;
        }
        if let Some(word) = self.occupied.get_mut(slot / 64) {
            *word |= 1 << (slot % 64);
        }
    }

    /// Takes out what is due.
    pub(super) fn expire(&mut self, now: Instant, due: &mut Vec<K>) {
        let elapsed = now.saturating_duration_since(self.origin).as_nanos() / TICK.as_nanos();
        let last = u64::try_from(elapsed).unwrap_or(u64::MAX);
        while self.tick <= last {
            let Some(ahead) = self.next_occupied() else {
                self.tick = last + 1;
                return;
            };
            if self.tick + ahead > last {
                self.tick = last + 1;
                return;
            }
            self.tick += ahead;
            let slot = (self.tick % SLOTS as u64) as usize;
            if let Some(keys) = self.slots.get_mut(slot) {
                self.count -= keys.len();
                due.append(keys);
            }
            if let Some(word) = self.occupied.get_mut(slot / 64) {
                *word &= !(1 << (slot % 64));
            }
            self.tick += 1;
        }
    }

    /// When to call [`Self::expire`] next, if ever.
    #[must_use]
    pub(super) fn next(&self) -> Option<Instant> {
        let ticks = self.tick + self.next_occupied()?;
        let nanos = u64::try_from(TICK.as_nanos()).ok()?.checked_mul(ticks)?;
        self.origin.checked_add(Duration::from_nanos(nanos))
    }

    /// How many ticks from now the next occupied slot is.
    fn next_occupied(&self) -> Option<u64> {
        if self.count == 0 {
            return None;
        }
        let start = (self.tick % SLOTS as u64) as usize;
        for step in 0..=WORDS {
            let word = (start / 64 + step) % WORDS;
            let mut bits = *self.occupied.get(word)?;
            if step == 0 {
                bits &= u64::MAX << (start % 64);
            }
            if bits != 0 {
                let slot = word * 64 + bits.trailing_zeros() as usize;
                return Some(((slot + SLOTS - start) % SLOTS) as u64);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_empty_wheel_waits_for_ever() {
        let start = Instant::now();
        let mut wheel = Wheel::<u32>::new(start);
        assert_eq!(wheel.next(), None);
        let mut due = Vec::new();
        wheel.expire(start + Duration::from_secs(1000), &mut due);
        wheel.insert(start, 1);
        assert!(
            wheel
                .next()
                .is_some_and(|next| next > start + Duration::from_secs(999))
        );
        wheel.expire(start + Duration::from_secs(1001), &mut due);
        assert_eq!(due, [1]);
    }

    proptest! {
        /// Everybody who asks again when woken too early is woken within a tick of its deadline.
        #[test]
        fn everybody_is_woken_in_time(delays in proptest::collection::vec(0u64..200_000, 1..60)) {
            let start = Instant::now();
            let mut wheel = Wheel::new(start);
            for delay in &delays {
                wheel.insert(start + Duration::from_millis(*delay), *delay);
            }
            let mut woken = Vec::new();
            let mut due = Vec::new();
            while let Some(next) = wheel.next() {
                wheel.expire(next, &mut due);
                for delay in due.drain(..) {
                    let deadline = start + Duration::from_millis(delay);
                    if deadline > next {
                        wheel.insert(deadline, delay);
                    } else {
                        prop_assert!(next - deadline <= TICK);
                        woken.push(delay);
                    }
                }
            }
            let mut delays = delays;
            delays.sort_unstable();
            woken.sort_unstable();
            prop_assert_eq!(woken, delays);
        }
    }
}
