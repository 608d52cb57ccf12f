//! Who may try a password now.
//!
//! Failures are counted by account and by source. The names that are tried are whatever a peer
//! sends, so existing or not they are treated alike, and the tables are bounded: the oldest
//! failures are forgotten first.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

/// Accounts, sources and pairs of both that are remembered.
const REMEMBERED: usize = 100_000;
/// Attempts from one source that may be under way at once.
const AT_ONCE_FROM_SOURCE: u32 = 64;
/// How long an account's login makes its source one that is known to belong to it.
const FAMILIAR: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// How long to wait when too many attempts are under way.
const BRIEFLY: Duration = Duration::from_secs(1);

/// The rules.
#[derive(Debug, Clone)]
pub(crate) struct Policy {
    pub(crate) account: Limits,
    pub(crate) source: Limits,
    pub(crate) longest_wait: Duration,
    pub(crate) lock_time: Duration,
    pub(crate) forget_after: Duration,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Failures without consequence.
    pub(crate) free: u32,
    /// Failures that lock.
    pub(crate) lock: u32,
}

/// Why an attempt may not be made now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    Wait(Duration),
    Locked(Duration),
}

impl Refusal {
    fn time(self) -> Duration {
        match self {
            Self::Wait(time) | Self::Locked(time) => time,
        }
    }
}

/// Who has just been locked out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Lockout {
    Account,
    Source(IpAddr),
}

#[derive(Debug)]
struct Entry {
    failures: u32,
    /// Attempts whose outcome is not known yet.
    under_way: u32,
    last: Instant,
    until: Option<Instant>,
    locked: bool,
}

#[derive(Debug)]
pub(crate) struct Throttle {
    policy: Policy,
    accounts: Table<String>,
    sources: Table<IpAddr>,
    /// When an account last logged in from a source.
    familiar: HashMap<(String, IpAddr), Instant>,
}

impl Throttle {
    pub(crate) fn new(policy: Policy) -> Self {
        Self {
            policy,
            accounts: Table::default(),
            sources: Table::default(),
            familiar: HashMap::new(),
        }
    }

    /// Whether `account` may be tried from `source` now; `None` is a source that is not counted.
    pub(crate) fn check(
        &self,
        account: &str,
        source: Option<IpAddr>,
        now: Instant,
    ) -> Result<(), Refusal> {
        let of_source = source.map_or(Ok(()), |source| {
            self.sources
                .check(&source, &self.policy.source, AT_ONCE_FROM_SOURCE, now)
        });
        let limits = &self.policy.account;
        let of_account = match source {
            Some(source) if self.is_familiar(account, source, now) => Ok(()),
            _ => self.accounts.check(account, limits, limits.free, now),
        };
        // The longer of the two: to come back after the other would be in vain.
        match (of_source, of_account) {
            (Err(source), Err(account)) if source.time() > account.time() => Err(source),
            (of_source, of_account) => of_account.and(of_source),
        }
    }

    /// Like [`check`](Self::check); counts the attempt as under way until [`end`](Self::end), so
    /// that a thousand guesses made at once are not all free.
    pub(crate) fn begin(
        &mut self,
        account: &str,
        source: Option<IpAddr>,
        now: Instant,
    ) -> Result<(), Refusal> {
        self.check(account, source, now)?;
        let forget = self.policy.forget_after;
        self.accounts.entry(account, now, forget).under_way += 1;
        if let Some(source) = source {
            self.sources.entry(&source, now, forget).under_way += 1;
        }
        Ok(())
    }

    pub(crate) fn end(&mut self, account: &str, source: Option<IpAddr>) {
        self.accounts.end(account);
        if let Some(source) = source {
            self.sources.end(&source);
        }
    }

    /// Counts a failure. Says who is locked out by it.
    pub(crate) fn failed(
        &mut self,
        account: &str,
        source: Option<IpAddr>,
        now: Instant,
    ) -> Vec<Lockout> {
        let mut locked = Vec::new();
        if self
            .accounts
            .entry(account, now, self.policy.forget_after)
            .fail(&self.policy, &self.policy.account, now)
        {
            locked.push(Lockout::Account);
        }
        if let Some(source) = source
            && self
                .sources
                .entry(&source, now, self.policy.forget_after)
                .fail(&self.policy, &self.policy.source, now)
        {
            locked.push(Lockout::Source(source));
        }
        locked
    }

    /// Forgives the account. The source is not forgiven: it could log in to an account of its own
    /// between guesses at others'.
    pub(crate) fn succeeded(&mut self, account: &str, source: Option<IpAddr>, now: Instant) {
        self.accounts.forgive(account);
        let Some(source) = source else { return };
        if self.familiar.len() >= REMEMBERED {
            forget_oldest(&mut self.familiar, |since| *since, |_| true);
        }
        self.familiar.insert((account.into(), source), now);
    }

    /// The account is no more, or has a new password: what is known of it is void.
    pub(crate) fn forget(&mut self, account: &str) {
        self.accounts.forgive(account);
        self.familiar.retain(|(name, _), _| name != account);
    }

    fn is_familiar(&self, account: &str, source: IpAddr, now: Instant) -> bool {
        // Only looked up for accounts with failures: the key has to be built.
        self.accounts.entries.contains_key(account)
            && self
                .familiar
                .get(&(account.into(), source))
                .is_some_and(|since| now.saturating_duration_since(*since) < FAMILIAR)
    }
}

impl Entry {
    fn fail(&mut self, policy: &Policy, limits: &Limits, now: Instant) -> bool {
        self.failures = self.failures.saturating_add(1);
        self.last = now;
        if self.failures >= limits.lock {
            // When the lock is over, the next failures wait again at once, and lock again later.
            self.failures = limits.free;
            self.locked = true;
            self.until = now.checked_add(policy.lock_time);
            return true;
        }
        if let Some(beyond) = self.failures.checked_sub(limits.free) {
            let wait = Duration::from_secs(1u64.checked_shl(beyond).unwrap_or(u64::MAX))
                .min(policy.longest_wait);
            // A failure of an attempt that was under way does not shorten a lock.
            self.until = self.until.max(now.checked_add(wait));
        }
        false
    }
}

#[derive(Debug)]
struct Table<K> {
    entries: HashMap<K, Entry>,
}

impl<K> Default for Table<K> {
    fn default() -> Self {
        Self {
            entries: HashMap::new(),
        }
    }
}

impl<K: Hash + Eq + Clone> Table<K> {
    fn check<Q>(&self, key: &Q, limits: &Limits, at_once: u32, now: Instant) -> Result<(), Refusal>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let Some(entry) = self.entries.get(key) else {
            return Ok(());
        };
        if let Some(wait) = entry
            .until
            .and_then(|until| until.checked_duration_since(now))
            && !wait.is_zero()
        {
            return Err(if entry.locked {
                Refusal::Locked(wait)
            } else {
                Refusal::Wait(wait)
            });
        }
        let at_once = if entry.failures >= limits.free {
            1
        } else {
            at_once.max(1)
        };
        if entry.under_way >= at_once {
            Err(Refusal::Wait(BRIEFLY))
        } else {
            Ok(())
        }
    }

    fn entry<Q>(&mut self, key: &Q, now: Instant, forget: Duration) -> &mut Entry
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        if !self.entries.contains_key(key) && self.entries.len() >= REMEMBERED {
            self.entries.retain(|_, entry| !entry.is_over(now, forget));
            if self.entries.len() >= REMEMBERED {
                forget_oldest(
                    &mut self.entries,
                    |entry| entry.last,
                    |entry| entry.under_way == 0,
                );
            }
        }
        let entry = self.entries.entry(key.to_owned()).or_insert(Entry {
            failures: 0,
            under_way: 0,
            last: now,
            until: None,
            locked: false,
        });
        if entry.is_due(now) {
            entry.locked = false;
            entry.until = None;
            if now.saturating_duration_since(entry.last) >= forget {
                entry.failures = 0;
            }
        }
        entry
    }

    fn end<Q>(&mut self, key: &Q)
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        if let Some(entry) = self.entries.get_mut(key) {
            entry.under_way = entry.under_way.saturating_sub(1);
            if entry.failures == 0 && entry.under_way == 0 {
                self.entries.remove(key);
            }
        }
    }

    fn forgive<Q>(&mut self, key: &Q)
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        if let Some(entry) = self.entries.get_mut(key) {
            if entry.under_way == 0 {
                self.entries.remove(key);
            } else {
                (entry.failures, entry.until, entry.locked) = (0, None, false);
            }
        }
    }
}

impl Entry {
    /// Whether no wait or lock holds it.
    fn is_due(&self, now: Instant) -> bool {
        self.until.is_none_or(|until| until <= now)
    }

    fn is_over(&self, now: Instant, forget: Duration) -> bool {
        self.under_way == 0
            && self.is_due(now)
            && now.saturating_duration_since(self.last) >= forget
    }
}

/// Makes room by dropping the oldest eighth of what may be dropped. A scan of the whole table, but
/// only once in so many insertions.
fn forget_oldest<K: Hash + Eq, V>(
    table: &mut HashMap<K, V>,
    since: impl Fn(&V) -> Instant,
    may_go: impl Fn(&V) -> bool,
) {
    let mut ages: Vec<Instant> = table
        .values()
        .filter(|value| may_go(value))
        .map(&since)
        .collect();
    let eighth = ages.len() / 8;
    if ages.is_empty() {
        return;
    }
    let (_, limit, _) = ages.select_nth_unstable(eighth);
    let limit = *limit;
    table.retain(|_, value| !may_go(value) || since(value) > limit);
}

/// The unit of a source: an IPv4 address, or the /64 that one IPv6 customer has to himself.
pub(crate) fn subnet(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(ip) => {
            let bits = ip.to_bits() & !u128::from(u64::MAX);
            IpAddr::V6(Ipv6Addr::from_bits(bits))
        }
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    const HOME: Option<IpAddr> = Some(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)));
    const AWAY: Option<IpAddr> = Some(IpAddr::V4(Ipv4Addr::new(198, 51, 100, 7)));

    fn throttle() -> Throttle {
        Throttle::new(Policy {
            account: Limits { free: 3, lock: 6 },
            source: Limits { free: 5, lock: 12 },
            longest_wait: Duration::from_secs(4),
            lock_time: Duration::from_secs(900),
            forget_after: Duration::from_secs(1800),
        })
    }

    fn secs(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn waits_double_and_then_there_is_a_lock() {
        let mut throttle = throttle();
        let mut now = Instant::now();
        for wait in [0, 0, 1, 2, 4] {
            assert_eq!(throttle.check("a", AWAY, now), Ok(()));
            assert!(throttle.failed("a", AWAY, now).is_empty());
            if wait > 0 {
                assert_eq!(
                    throttle.check("a", AWAY, now),
                    Err(Refusal::Wait(secs(wait)))
                );
                assert_eq!(
                    throttle.check("a", HOME, now),
                    Err(Refusal::Wait(secs(wait)))
                );
                assert_eq!(throttle.check("b", HOME, now), Ok(()));
            }
            now += secs(wait);
        }
        assert_eq!(throttle.failed("a", AWAY, now), [Lockout::Account]);
        assert_eq!(
            throttle.check("a", HOME, now),
            Err(Refusal::Locked(secs(900)))
        );
        assert_eq!(throttle.check("b", AWAY, now), Err(Refusal::Wait(secs(2))));
        now += secs(900);
        assert_eq!(throttle.check("a", HOME, now), Ok(()));
        // One more, and there is a wait at once.
        throttle.failed("a", HOME, now);
        assert_eq!(throttle.check("a", HOME, now), Err(Refusal::Wait(secs(2))));
        now += secs(1800);
        throttle.failed("a", HOME, now);
        assert_eq!(
            throttle.check("a", HOME, now),
            Ok(()),
            "failures are forgotten"
        );
    }

    #[test]
    fn a_source_that_tries_many_names_is_shut_out() {
        let mut throttle = throttle();
        let mut now = Instant::now();
        let mut locked = None;
        for n in 0..40 {
            while let Err(Refusal::Wait(wait)) = throttle.check(&format!("user{n}"), AWAY, now) {
                now += wait;
            }
            if !throttle.failed(&format!("user{n}"), AWAY, now).is_empty() {
                locked = Some(n);
                break;
            }
            // A login of its own does not help it.
            throttle.succeeded("mallory", AWAY, now);
        }
        assert_eq!(locked, Some(11));
        assert_eq!(
            throttle.check("mallory", AWAY, now),
            Err(Refusal::Locked(secs(900)))
        );
        assert_eq!(throttle.check("user0", HOME, now), Ok(()));
    }

    #[test]
    fn strangers_cannot_lock_somebody_out_of_home() {
        let mut throttle = throttle();
        let now = Instant::now();
        throttle.succeeded("a", HOME, now);
        for n in 0..6 {
            throttle.failed("a", Some(IpAddr::V4(Ipv4Addr::new(203, 0, 113, n))), now);
        }
        assert!(matches!(
            throttle.check("a", AWAY, now),
            Err(Refusal::Locked(_))
        ));
        assert_eq!(throttle.check("a", HOME, now), Ok(()));
        throttle.forget("a");
        for n in 0..6 {
            throttle.failed("a", Some(IpAddr::V4(Ipv4Addr::new(203, 0, 113, n))), now);
        }
        assert!(
            throttle.check("a", HOME, now).is_err(),
            "with a new password, home is to be proved"
        );
    }

    #[test]
    fn guesses_made_at_once_are_not_free() {
        let mut throttle = throttle();
        let now = Instant::now();
        let begun = (0..100)
            .filter(|_| throttle.begin("a", AWAY, now).is_ok())
            .count();
        assert_eq!(begun, 3);
        for _ in 0..3 {
            throttle.failed("a", AWAY, now);
            throttle.end("a", AWAY);
        }
        assert!(throttle.begin("a", AWAY, now).is_err());
        let later = now + secs(1);
        assert!(throttle.begin("a", AWAY, later).is_ok());
        assert!(
            throttle.begin("a", AWAY, later).is_err(),
            "one at a time from here on"
        );
        throttle.succeeded("a", AWAY, later);
        throttle.end("a", AWAY);
        assert!(
            throttle.accounts.entries.is_empty(),
            "nothing is kept of the innocent"
        );
    }

    #[test]
    fn tables_are_bounded() {
        let mut throttle = throttle();
        let start = Instant::now();
        let mut now = start;
        for n in 0u32..130_000 {
            now = start + Duration::from_millis(n.into());
            let source = IpAddr::V4(Ipv4Addr::from_bits(n));
            throttle.failed(&format!("user{n}"), Some(source), now);
            throttle.succeeded(&format!("user{n}"), Some(source), now);
            throttle.failed(&format!("user{n}"), Some(source), now);
        }
        assert!(throttle.accounts.entries.len() <= REMEMBERED);
        assert!(throttle.sources.entries.len() <= REMEMBERED);
        assert!(throttle.familiar.len() <= REMEMBERED);
        // The newest are those that are kept.
        throttle.failed("user129999", HOME, now);
        throttle.failed("user129999", HOME, now);
        assert!(throttle.check("user129999", AWAY, now).is_err());
    }

    #[test]
    fn sources() {
        let check = |ip: &str, expected: &str| {
            assert_eq!(
                ip.parse::<IpAddr>()
                    .map(subnet)
                    .map(|ip| ip.to_string())
                    .as_deref(),
                Ok(expected)
            );
        };
        check("192.0.2.77", "192.0.2.77");
        check("::ffff:192.0.2.77", "192.0.2.77");
        check("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::");
    }
}
