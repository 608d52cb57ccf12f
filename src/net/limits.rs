//! How many connections there may be: in all, on one listener, from one client.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// The unit of every per-source limit: an IPv4 address as it is, an IPv6 address cut to its /64.
///
/// One IPv6 host owns a whole /64 and may use a fresh address for each connection (RFC 8981),
/// so that a bound on single addresses would bound nothing.
pub fn subnet_key(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        v4 => v4,
    }
}

/// Which bound refused a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Over {
    Total,
    Listener,
    Client,
}

impl Over {
    pub(crate) fn key(self) -> &'static str {
        match self {
            Self::Total => "net.max_connections",
            Self::Listener => "net.max_connections_per_listener",
            Self::Client => "net.max_connections_per_client",
        }
    }
}

/// A count with a bound that may change while connections are open.
#[derive(Debug, Default)]
pub(crate) struct Gauge(AtomicU32);

impl Gauge {
    fn enter(&self, bound: u32) -> bool {
        self.0
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |n| {
                (n < bound).then(|| n.saturating_add(1))
            })
            .is_ok()
    }

    fn leave(&self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }

    pub(crate) fn count(&self) -> u32 {
        self.0.load(Ordering::Acquire)
    }
}

/// Shards of the client table: one lock would be met by every accept and every close.
const SHARDS: usize = 32;

/// The counts shared by all listeners.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    total: Gauge,
    clients: [Mutex<HashMap<IpAddr, u32>>; SHARDS],
    hasher: RandomState,
}

impl Counts {
    pub(crate) fn total(&self) -> u32 {
        self.total.count()
    }

    /// Clients that hold a connection now. The table forgets a client with its last connection.
    pub(crate) fn clients(&self) -> usize {
        self.clients.iter().map(|shard| lock(shard).len()).sum()
    }

    fn shard(&self, client: IpAddr) -> &Mutex<HashMap<IpAddr, u32>> {
        let hash = self.hasher.hash_one(client);
        // The remainder is below SHARDS, which is the length of the array.
        &self.clients[(hash % SHARDS as u64) as usize]
    }

    fn client_enters(&self, client: IpAddr, bound: u32) -> bool {
        let mut shard = lock(self.shard(client));
        let count = shard.get(&client).copied().unwrap_or(0);
        if count >= bound {
            return false;
        }
        shard.insert(client, count.saturating_add(1));
        true
    }

    fn client_leaves(&self, client: IpAddr) {
        let mut shard = lock(self.shard(client));
        match shard.get_mut(&client) {
            Some(count) if *count > 1 => *count -= 1,
            _ => {
                shard.remove(&client);
                // A flood from many addresses must not leave its table behind.
                if shard.is_empty() && shard.capacity() > 1024 {
                    shard.shrink_to_fit();
                }
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The right to one connection. Dropped, the connection is counted out.
#[derive(Debug)]
pub struct Permit {
    counts: Arc<Counts>,
    listener: Arc<Gauge>,
    client: Option<IpAddr>,
}

impl Permit {
    /// A place in all and on the listener; the client is counted once it is known.
    pub(crate) fn take(
        counts: &Arc<Counts>,
        listener: &Arc<Gauge>,
        max_total: u32,
        max_listener: u32,
    ) -> Result<Self, Over> {
        if !counts.total.enter(max_total) {
            return Err(Over::Total);
        }
        if !listener.enter(max_listener) {
            counts.total.leave();
            return Err(Over::Listener);
        }
        Ok(Self {
            counts: counts.clone(),
            listener: listener.clone(),
            client: None,
        })
    }

    /// Counts the connection to its client.
    pub(crate) fn count_client(&mut self, client: IpAddr, bound: u32) -> Result<(), Over> {
        let client = subnet_key(client);
        if !self.counts.client_enters(client, bound) {
            return Err(Over::Client);
        }
        if let Some(before) = self.client.replace(client) {
            self.counts.client_leaves(before);
        }
        Ok(())
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(client) = self.client {
            self.counts.client_leaves(client);
        }
        self.listener.leave();
        self.counts.total.leave();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv6_client_is_its_64() {
        let table = [
            ("192.0.2.1", "192.0.2.1"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
            ("::1", "::"),
        ];
        for (address, key) in table {
            assert_eq!(
                address.parse::<IpAddr>().map(subnet_key),
                key.parse::<IpAddr>(),
                "{address}"
            );
        }
    }

    #[test]
    fn every_bound_holds_and_every_permit_comes_back() -> Result<(), Over> {
        let counts = Arc::new(Counts::default());
        let (a, b) = (Arc::new(Gauge::default()), Arc::new(Gauge::default()));
        let client = IpAddr::from([192, 0, 2, 1]);

        let mut first = Permit::take(&counts, &a, 3, 2)?;
        first.count_client(client, 1)?;
        let mut second = Permit::take(&counts, &a, 3, 2)?;
        assert_eq!(second.count_client(client, 1), Err(Over::Client));
        assert_eq!(Permit::take(&counts, &a, 3, 2).err(), Some(Over::Listener));
        let third = Permit::take(&counts, &b, 3, 2)?;
        assert_eq!(Permit::take(&counts, &b, 3, 2).err(), Some(Over::Total));
        assert_eq!((counts.total(), counts.clients()), (3, 1));

        drop(first);
        second.count_client(client, 1)?;
        drop((second, third));
        assert_eq!(
            (counts.total(), counts.clients(), a.count(), b.count()),
            (0, 0, 0, 0)
        );
        Ok(())
    }
}
