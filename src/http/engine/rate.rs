//! How much one client may ask for: requests in a time, requests at once, bytes a second.
//!
//! Requests and bytes are counted by the time at which all that was asked for would be paid off
//! (the generic cell rate algorithm): one instant a client, no list of past requests. A client is
//! an IPv4 address, or the /64 that an IPv6 address is in, for whoever has one has all of them.

use std::{
    collections::{HashMap, VecDeque},
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// Bounds for each client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimits {
    /// The time that one request costs, and how many may come at once.
    pub requests: Option<(Duration, u32)>,
    /// Requests under way.
    pub concurrent: Option<u32>,
    /// Bytes of bodies a second.
    pub bandwidth: Option<u64>,
    /// Clients that are remembered.
    pub clients: usize,
}

/// Why a request may not come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// Too many came; the next may in so long.
    TooFast(Duration),
    /// Too many are under way.
    TooMany,
}

/// A client, as it is counted.
type Key = [u8; 8];

#[derive(Debug)]
struct Client {
    /// When its requests will be paid off.
    requests: Instant,
    /// When its bytes will be.
    bytes: Instant,
    active: u32,
}

#[derive(Debug, Default)]
struct Clients {
    known: HashMap<Key, Client>,
    /// Each of them once, the longest known first.
    order: VecDeque<Key>,
}

/// What clients have asked for.
#[derive(Debug)]
pub struct RateTable {
    limits: RateLimits,
    clients: Mutex<Clients>,
}

/// A request that was let in; it counts as under way until this is dropped.
#[derive(Debug)]
pub struct Admission {
    table: Arc<RateTable>,
    key: Key,
}

/// Entries that are looked at to find one to forget.
const LOOKS: usize = 16;

impl Client {
    fn is_idle(&self, now: Instant) -> bool {
        self.active == 0 && self.requests <= now && self.bytes <= now
    }
}

impl RateTable {
    /// Nobody has asked for anything.
    #[must_use]
    pub fn new(limits: RateLimits) -> Self {
        Self {
            limits,
            clients: Mutex::default(),
        }
    }

    /// The bounds.
    #[must_use]
    pub fn limits(&self) -> RateLimits {
        self.limits
    }

    /// Lets a request in.
    ///
    /// # Errors
    /// Where it is one too many.
    pub fn admit(self: &Arc<Self>, client: IpAddr, now: Instant) -> Result<Admission, Refused> {
        let key = key(client);
        let mut clients = self.lock();
        let client = clients.of(key, self.limits.clients, now);
        if self
            .limits
            .concurrent
            .is_some_and(|most| client.active >= most)
        {
            return Err(Refused::TooMany);
        }
        if let Some((cost, burst)) = self.limits.requests {
            let paid = client.requests.max(now) + cost;
            let allowed = now + cost.saturating_mul(burst);
            if paid > allowed {
                return Err(Refused::TooFast(paid.saturating_duration_since(allowed)));
            }
            client.requests = paid;
        }
        client.active = client.active.saturating_add(1);
        Ok(Admission {
            table: self.clone(),
            key,
        })
    }

    fn lock(&self) -> MutexGuard<'_, Clients> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many clients are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lock().known.len()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Clients {
    fn of(&mut self, key: Key, most: usize, now: Instant) -> &mut Client {
        if !self.known.contains_key(&key) {
            while self.known.len() >= most.max(1) {
                self.forget(now);
            }
            self.order.push_back(key);
        }
        self.known.entry(key).or_insert(Client {
            requests: now,
            bytes: now,
            active: 0,
        })
    }

    /// Forgets somebody: of those that were known the longest, one who owes nothing, or one who
    /// asks for nothing at present, or whoever is first. Who has so many addresses as to fill the
    /// table is not held up by it; nobody else is either.
    fn forget(&mut self, now: Instant) {
        let mut second: Option<Key> = None;
        for _ in 0..LOOKS.min(self.order.len()) {
            let Some(key) = self.order.pop_front() else {
                return;
            };
            match self.known.get(&key) {
                Some(client) if client.is_idle(now) => {
                    self.known.remove(&key);
                    return;
                }
                Some(client) => {
                    if client.active == 0 && second.is_none() {
                        second = Some(key);
                    }
                    self.order.push_back(key);
                }
                None => {}
            }
        }
        if let Some(key) = second.or_else(|| self.order.front().copied()) {
            self.known.remove(&key);
            self.order.retain(|other| *other != key);
        }
    }
}

impl Admission {
    /// Bytes go to the client; until when the next must wait.
    #[must_use]
    pub fn sends(&self, bytes: u64, now: Instant) -> Option<Instant> {
        let rate = self.table.limits.bandwidth?.max(1);
        let mut clients = self.table.lock();
        let client = clients.known.get_mut(&self.key)?;
        let cost = Duration::from_nanos(bytes.saturating_mul(1_000_000_000) / rate);
        client.bytes = client.bytes.max(now) + cost;
        (client.bytes > now).then_some(client.bytes)
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        if let Some(client) = self.table.lock().known.get_mut(&self.key) {
            client.active = client.active.saturating_sub(1);
        }
    }
}

fn key(address: IpAddr) -> Key {
    let mut key = [0; 8];
    match address.to_canonical() {
        // No IPv6 network begins with these bytes, for 0::/8 is never a client's.
        IpAddr::V4(address) => {
            for (to, from) in key.iter_mut().skip(4).zip(address.octets()) {
                *to = from;
            }
        }
        IpAddr::V6(address) => {
            for (to, from) in key.iter_mut().zip(address.octets()) {
                *to = from;
            }
        }
    }
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn table(limits: RateLimits) -> Arc<RateTable> {
        Arc::new(RateTable::new(limits))
    }

    const NONE: RateLimits = RateLimits {
        requests: None,
        concurrent: None,
        bandwidth: None,
        clients: 100,
    };

    fn at(text: &str) -> IpAddr {
        text.parse().unwrap_or(IpAddr::from([0, 0, 0, 0]))
    }

    #[test]
    fn as_many_as_the_burst_and_then_at_the_rate() {
        let table = table(RateLimits {
            requests: Some((SECOND / 2, 3)),
            ..NONE
        });
        let start = Instant::now();
        let let_in = |client: &str, after: u64| {
            let now = start + Duration::from_millis(after);
            table.admit(at(client), now).map(drop)
        };
        for _ in 0..3 {
            assert_eq!(let_in("192.0.2.1", 0), Ok(()));
        }
        assert_eq!(let_in("192.0.2.1", 0), Err(Refused::TooFast(SECOND / 2)));
        // What is refused costs nothing.
        assert_eq!(
            let_in("192.0.2.1", 100),
            Err(Refused::TooFast(2 * SECOND / 5))
        );
        assert_eq!(let_in("192.0.2.2", 100), Ok(()));
        assert_eq!(let_in("192.0.2.1", 500), Ok(()));
        assert_eq!(
            let_in("192.0.2.1", 501),
            Err(Refused::TooFast(Duration::from_millis(499)))
        );
        for _ in 0..3 {
            assert_eq!(let_in("192.0.2.1", 10_000), Ok(()));
        }
    }

    #[test]
    fn a_network_of_ipv6_is_one_client() {
        let table = table(RateLimits {
            requests: Some((SECOND, 1)),
            ..NONE
        });
        let now = Instant::now();
        assert!(table.admit(at("2001:db8:1:2::1"), now).is_ok());
        assert!(table.admit(at("2001:db8:1:2:ffff::9"), now).is_err());
        assert!(table.admit(at("2001:db8:1:3::1"), now).is_ok());
        assert!(table.admit(at("192.0.2.1"), now).is_ok());
        assert!(table.admit(at("::ffff:192.0.2.1"), now).is_err());
    }

    #[test]
    fn requests_under_way() {
        let table = table(RateLimits {
            concurrent: Some(2),
            ..NONE
        });
        let now = Instant::now();
        let first = table.admit(at("192.0.2.1"), now);
        let second = table.admit(at("192.0.2.1"), now);
        assert!(first.is_ok() && second.is_ok());
        assert_eq!(
            table.admit(at("192.0.2.1"), now).err(),
            Some(Refused::TooMany)
        );
        assert!(table.admit(at("192.0.2.2"), now).is_ok());
        drop(first);
        assert!(table.admit(at("192.0.2.1"), now).is_ok());
    }

    #[test]
    fn bytes_of_all_its_requests_together() {
        let table = table(RateLimits {
            bandwidth: Some(1000),
            ..NONE
        });
        let now = Instant::now();
        let (Ok(one), Ok(other)) = (
            table.admit(at("192.0.2.1"), now),
            table.admit(at("192.0.2.1"), now),
        ) else {
            return assert!(table.is_empty());
        };
        assert_eq!(one.sends(500, now), Some(now + SECOND / 2));
        assert_eq!(other.sends(500, now), Some(now + SECOND));
        let later = now + 5 * SECOND;
        assert_eq!(one.sends(0, later), None);
        assert_eq!(one.sends(1000, later), Some(later + SECOND));
    }

    #[test]
    fn the_table_is_bounded_and_who_is_at_it_stays() {
        let table = table(RateLimits {
            requests: Some((SECOND, 1)),
            concurrent: Some(1),
            clients: 50,
            ..NONE
        });
        let now = Instant::now();
        let held = table.admit(at("198.51.100.1"), now);
        for index in 0..1000_u32 {
            let client = IpAddr::from(index.to_be_bytes());
            assert!(table.admit(client, now).is_ok());
            assert!(table.len() <= 50);
        }
        assert_eq!(
            table.admit(at("198.51.100.1"), now).err(),
            Some(Refused::TooMany)
        );
        drop(held);
        let order = table.lock().order.len();
        assert_eq!(order, table.len());
    }
}
