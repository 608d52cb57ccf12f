//! Trust anchors that follow their zone's keys (RFC 5011): a new key that an old one vouches for is
//! trusted after thirty days in which nobody took it back, and a revoked one no more.

use crate::dnssec::DnsKey;

/// How long a new key must be seen before it is trusted (RFC 5011 2.4.1).
const HOLD_DOWN: u64 = 30 * 86_400;
/// Keys kept of one zone.
const MAX_KEYS: usize = 20;

/// Where a key stands (RFC 5011 4.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// Seen, and waiting.
    Pending,
    /// Trusted.
    Valid,
    /// Trusted, but no longer in its zone.
    Missing,
    /// Taken back.
    Revoked,
}

impl State {
    pub(crate) fn word(self) -> &'static str {
        match self {
            State::Pending => "pending",
            State::Valid => "valid",
            State::Missing => "missing",
            State::Revoked => "revoked",
        }
    }

    pub(crate) fn from_word(word: &str) -> Option<State> {
        let all = [State::Pending, State::Valid, State::Missing, State::Revoked];
        all.into_iter().find(|state| state.word() == word)
    }
}

/// A key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Key {
    /// The data of its DNSKEY record, without the mark of a revoked key.
    pub(crate) data: Box<[u8]>,
    pub(crate) state: State,
    /// Seconds since 1970 at which it came to stand there.
    pub(crate) since: u64,
}

/// The keys of one zone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Managed {
    pub(crate) keys: Vec<Key>,
}

/// A key's data without the mark of a revoked one.
fn unmarked(data: &[u8]) -> Box<[u8]> {
    let mut data: Box<[u8]> = data.into();
    if let Some(flags) = data.get_mut(1) {
        *flags &= !(DnsKey::REVOKE as u8);
    }
    data
}

impl Managed {
    /// Of the first set of keys that was validated: those that the configuration vouches for are
    /// trusted at once, marked as entry points or not, and are not crowded out by the others.
    pub(crate) fn begin(seen: &[Box<[u8]>], vouched: impl Fn(&[u8]) -> bool, now: u64) -> Managed {
        let key = |data: &[u8], state: State| Key {
            data: data.into(),
            state,
            since: now,
        };
        let (trusted, others): (Vec<_>, Vec<_>) = seen.iter().partition(|data| vouched(data));
        let trusted = trusted.into_iter().map(|data| key(data, State::Valid));
        let others = others.into_iter().filter(|data| is_entry_point(data));
        let others = others.map(|data| key(data, State::Pending));
        Managed {
            keys: trusted.chain(others).take(MAX_KEYS).collect(),
        }
    }

    /// True once any of the keys is more than a candidate: it has been trusted.
    pub(crate) fn is_begun(&self) -> bool {
        self.keys.iter().any(|key| key.state != State::Pending)
    }

    /// The data of the keys that were taken back.
    pub(crate) fn revoked(&self) -> impl Iterator<Item = &[u8]> {
        let revoked = |key: &&Key| key.state == State::Revoked;
        self.keys.iter().filter(revoked).map(|key| &*key.data)
    }

    /// The data of the keys that are trusted.
    pub(crate) fn trusted(&self) -> impl Iterator<Item = &[u8]> {
        let trusted = |key: &&Key| matches!(key.state, State::Valid | State::Missing);
        self.keys.iter().filter(trusted).map(|key| &*key.data)
    }

    /// Takes in the keys of the zone as a trusted key signs them; `revoked` are those with the
    /// mark that sign the set themselves. True if anything changed.
    pub(crate) fn observe(&mut self, seen: &[Box<[u8]>], revoked: &[&[u8]], now: u64) -> bool {
        let before = self.clone();
        let revoked: Vec<Box<[u8]>> = revoked.iter().map(|data| unmarked(data)).collect();
        for key in &mut self.keys {
            let present = seen.contains(&key.data);
            let next = match key.state {
                State::Valid | State::Missing if revoked.contains(&key.data) => State::Revoked,
                State::Valid if !present => State::Missing,
                State::Missing if present => State::Valid,
                State::Pending if present && now.saturating_sub(key.since) >= HOLD_DOWN => {
                    State::Valid
                }
                same => same,
            };
            if next != key.state {
                (key.state, key.since) = (next, now);
            }
        }
        self.keys.retain(|key| match key.state {
            // Who adds a key must leave it there: one that goes begins anew.
            State::Pending => seen.contains(&key.data) && !revoked.contains(&key.data),
            // Remembered, so that the configuration's word for it counts no more.
            State::Revoked | State::Valid | State::Missing => true,
        });
        for data in seen.iter().filter(|data| is_entry_point(data)) {
            if self.keys.len() < MAX_KEYS && self.keys.iter().all(|key| key.data != *data) {
                self.keys.push(Key {
                    data: data.clone(),
                    state: State::Pending,
                    since: now,
                });
            }
        }
        *self != before
    }
}

fn is_entry_point(data: &[u8]) -> bool {
    DnsKey::read(data).is_some_and(|key| key.is_zone_key() && key.is_sep())
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 86_400;

    fn key(flags: u8, number: u8) -> Box<[u8]> {
        [1, flags, 3, 13, number].into()
    }

    fn shown(managed: &Managed) -> String {
        let shown = |key: &Key| format!("{}:{}", key.data[4], key.state.word());
        managed.keys.iter().map(shown).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_key_rolls() {
        let (old, new, zsk) = (key(1, 1), key(1, 2), key(0, 9));
        let mut managed = Managed::begin(&[old.clone(), zsk.clone()], |data| *data == *old, 0);
        assert_eq!(shown(&managed), "1:valid");
        let both = [old.clone(), new.clone(), zsk.clone()];
        assert!(managed.observe(&both, &[], DAY));
        assert_eq!(shown(&managed), "1:valid 2:pending");
        assert!(!managed.observe(&both, &[], 20 * DAY));
        assert_eq!(managed.trusted().count(), 1);
        assert!(managed.observe(&both, &[], 31 * DAY));
        assert_eq!(shown(&managed), "1:valid 2:valid");
        // The old key is taken back: it signs its own end.
        let marked = key(0x81, 1);
        let seen = [marked.clone(), new.clone()];
        assert!(managed.observe(&seen, &[&marked], 40 * DAY));
        assert_eq!(shown(&managed), "1:revoked 2:valid");
        assert!(!managed.observe(std::slice::from_ref(&new), &[], 71 * DAY));
        assert_eq!(shown(&managed), "1:revoked 2:valid");
        // One that is only gone is still trusted, and valid when it comes back.
        assert!(managed.observe(std::slice::from_ref(&zsk), &[], 72 * DAY));
        assert_eq!(shown(&managed), "1:revoked 2:missing");
        assert_eq!(managed.trusted().count(), 1);
        assert!(managed.observe(&[new], &[], 73 * DAY));
        assert_eq!(shown(&managed), "1:revoked 2:valid");
    }

    /// What the configuration names is trusted though it is no entry point, and though the zone
    /// has more keys than are kept.
    #[test]
    fn what_is_vouched_for_comes_first() {
        let others = (10..40).map(|number| key(1, number));
        let seen: Vec<_> = others.chain([key(0, 1), key(1, 2)]).collect();
        let mut managed = Managed::begin(&seen, |data| data[4] < 3, 0);
        assert!(shown(&managed).starts_with("1:valid 2:valid 10:pending"));
        assert_eq!(managed.keys.len(), MAX_KEYS);
        assert!(!managed.observe(&seen, &[], DAY));
        assert_eq!(managed.trusted().count(), 2);
    }

    #[test]
    fn a_key_that_does_not_stay_begins_anew() {
        let (old, new) = (key(1, 1), key(1, 2));
        let mut managed = Managed::begin(std::slice::from_ref(&old), |_| true, 0);
        managed.observe(&[old.clone(), new.clone()], &[], DAY);
        managed.observe(std::slice::from_ref(&old), &[], 20 * DAY);
        assert_eq!(shown(&managed), "1:valid");
        managed.observe(&[old.clone(), new.clone()], &[], 25 * DAY);
        managed.observe(&[old.clone(), new.clone()], &[], 40 * DAY);
        assert_eq!(shown(&managed), "1:valid 2:pending");
        // A mark without a signature of the key's own revokes nothing.
        managed.observe(&[key(0x81, 1), new], &[], 41 * DAY);
        assert_eq!(shown(&managed), "1:missing 2:pending");
    }
}
