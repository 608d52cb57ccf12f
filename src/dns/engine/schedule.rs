//! When a secondary asks its primaries, and when its copy becomes too old to be served: the timers
//! of the SOA (RFC 1034 4.3.5, RFC 1996).

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::zone::Zone;
use super::zones::ZoneId;
use crate::wire::code::RrType;

/// Between tries for a zone of which there is no copy yet: the first, and the longest.
const FIRST_RETRY: Duration = Duration::from_secs(2);
const LAST_RETRY: Duration = Duration::from_secs(600);
/// Between an answer to a notify and the next try: a storm of them costs no storm of questions.
const PAUSE: Duration = Duration::from_millis(200);

/// The timers of a zone's SOA.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timers {
    /// Between questions whether there is a new version.
    pub refresh: Duration,
    /// Between tries once that has failed.
    pub retry: Duration,
    /// How long a copy is good that could not be confirmed.
    pub expire: Duration,
}

impl Timers {
    /// Those of a zone; a primary cannot make us ask more often than `least`.
    pub fn of(zone: &Zone, least: Duration) -> Option<Timers> {
        let (rdata, _) = zone.set(0, RrType::SOA)?.records().next()?;
        let fields = rdata.last_chunk::<20>()?;
        let seconds = |at: usize| -> Option<Duration> {
            let octets = fields.get(at..at + 4)?.first_chunk::<4>()?;
            Some(Duration::from_secs(u32::from_be_bytes(*octets).into()))
        };
        let (refresh, retry) = (seconds(4)?.max(least), seconds(8)?.max(least));
        Some(Timers {
            refresh,
            retry,
            expire: seconds(12)?.max(refresh + retry),
        })
    }
}

#[derive(Debug)]
struct Entry {
    timers: Option<Timers>,
    next: Instant,
    expires: Option<Instant>,
    /// Somebody is asking.
    busy: bool,
    /// A notify came meanwhile.
    again: bool,
    failures: u32,
}

/// The zones of a secondary.
#[derive(Debug, Default)]
pub struct Schedule {
    entries: HashMap<ZoneId, Entry>,
}

impl Schedule {
    /// A zone whose copy was last confirmed so long ago; one without a copy has no timers.
    pub fn add(&mut self, zone: &ZoneId, timers: Option<Timers>, age: Duration, now: Instant) {
        let expires = timers.and_then(|timers| now.checked_add(timers.expire.saturating_sub(age)));
        self.entries.entry(zone.clone()).or_insert(Entry {
            timers,
            // After a start every zone is asked for at once: much may have happened.
            next: now,
            expires,
            busy: false,
            again: false,
            failures: 0,
        });
    }

    /// Forgets all zones but those that `keep` names.
    pub fn retain(&mut self, keep: impl Fn(&ZoneId) -> bool) {
        self.entries.retain(|name, _| keep(name));
    }

    /// True of a zone that is known.
    pub fn holds(&self, zone: &ZoneId) -> bool {
        self.entries.contains_key(zone)
    }

    /// Somebody says that there is a new version.
    pub fn notified(&mut self, zone: &ZoneId, now: Instant) {
        if let Some(entry) = self.entries.get_mut(zone) {
            if entry.busy {
                entry.again = true;
            } else {
                entry.next = now;
            }
        }
    }

    /// Zones to ask for now.
    pub fn due(&mut self, now: Instant) -> Vec<ZoneId> {
        let mut due = Vec::new();
        for (name, entry) in &mut self.entries {
            if !entry.busy && entry.next <= now {
                entry.busy = true;
                due.push(name.clone());
            }
        }
        due
    }

    /// The primaries were asked; `timers` are those of the copy that was confirmed or fetched.
    pub fn done(&mut self, zone: &ZoneId, timers: Option<Timers>, now: Instant) {
        let Some(entry) = self.entries.get_mut(zone) else {
            return;
        };
        entry.busy = false;
        let wait = match timers {
            Some(timers) => {
                entry.failures = 0;
                entry.timers = Some(timers);
                entry.expires = now.checked_add(timers.expire);
                timers.refresh
            }
            None => {
                let doubled = FIRST_RETRY.saturating_mul(1 << entry.failures.min(16));
                entry.failures = entry.failures.saturating_add(1);
                let backoff = doubled.min(LAST_RETRY);
                entry.timers.map_or(backoff, |timers| timers.retry)
            }
        };
        let wait = if std::mem::take(&mut entry.again) {
            PAUSE
        } else {
            wait
        };
        entry.next = now.checked_add(wait).unwrap_or(now);
    }

    /// Zones whose copies have become too old; each is told of once.
    pub fn expired(&mut self, now: Instant) -> Vec<ZoneId> {
        let mut expired = Vec::new();
        for (name, entry) in &mut self.entries {
            if entry.expires.is_some_and(|expires| expires <= now) {
                entry.expires = None;
                expired.push(name.clone());
            }
        }
        expired
    }

    /// When there is something to do next.
    pub fn next(&self) -> Option<Instant> {
        let entries = self.entries.values();
        let times = entries.flat_map(|entry| {
            let next = (!entry.busy).then_some(entry.next);
            [next, entry.expires].into_iter().flatten()
        });
        times.min()
    }

    /// How long until a zone is asked for again, and until it expires.
    pub fn state(&self, zone: &ZoneId, now: Instant) -> Option<(Duration, Option<Duration>)> {
        let entry = self.entries.get(zone)?;
        let until = |at: Instant| at.saturating_duration_since(now);
        Some((until(entry.next), entry.expires.map(until)))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn a_secondary_whose_primary_dies() {
        let start = Instant::now();
        let zone = ZoneId::from_text("example").unwrap();
        let seconds = Duration::from_secs;
        let timers = Timers {
            refresh: seconds(100),
            retry: seconds(10),
            expire: seconds(135),
        };
        let mut schedule = Schedule::default();
        schedule.add(&zone, None, Duration::ZERO, start);
        // Without a copy: more and more seldom.
        let mut now = start;
        for wait in [2, 4, 8, 16] {
            assert_eq!(schedule.due(now), std::slice::from_ref(&zone));
            assert!(schedule.due(now).is_empty(), "busy");
            schedule.done(&zone, None, now);
            assert_eq!(schedule.next(), Some(now + seconds(wait)));
            now += seconds(wait);
        }
        assert_eq!(schedule.due(now).len(), 1);
        schedule.done(&zone, Some(timers), now);
        assert_eq!(schedule.next(), Some(now + seconds(100)));

        // A notify while a question is under way leads to another one.
        schedule.notified(&zone, now + seconds(1));
        now += seconds(1);
        assert_eq!(schedule.due(now).len(), 1);
        schedule.notified(&zone, now);
        schedule.done(&zone, Some(timers), now);
        now += PAUSE;
        assert_eq!(schedule.due(now).len(), 1);
        schedule.done(&zone, Some(timers), now);
        let confirmed = now;

        // The primary is gone: asked every ten seconds, and after 135 the copy is no good.
        let mut asked = 0;
        loop {
            now = schedule.next().unwrap();
            if !schedule.expired(now).is_empty() {
                break;
            }
            for zone in schedule.due(now) {
                asked += 1;
                schedule.done(&zone, None, now);
            }
        }
        assert_eq!((now - confirmed, asked), (seconds(135), 4));
        assert!(schedule.expired(now).is_empty(), "told of once");

        // What was confirmed before the start counts.
        let mut schedule = Schedule::default();
        schedule.add(&zone, Some(timers), seconds(130), start);
        assert!(schedule.expired(start + seconds(4)).is_empty());
        assert_eq!(schedule.expired(start + seconds(5)).len(), 1);
    }
}
