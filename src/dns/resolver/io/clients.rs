//! How much of the resolver's work one client may have: questions at one time, and questions a
//! second. What is in the cache costs next to nothing, and is not counted.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// Clients at which those who have nothing under way are forgotten.
const MAX_CLIENTS: usize = 50_000;

struct Client {
    under_way: u32,
    /// Questions that may be asked at once.
    left: f64,
    seen: Instant,
}

/// The clients.
#[derive(Clone, Default)]
pub(crate) struct Clients(Arc<Mutex<HashMap<IpAddr, Client>>>);

/// A question under way.
pub(crate) struct Slot {
    clients: Clients,
    address: IpAddr,
}

/// A host has as many IPv6 addresses as it likes in a network of 64 bits.
fn group(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(v4) => v4.into(),
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64).into(),
    }
}

impl Clients {
    /// A place for one more question; none if the client has all it may have.
    pub(crate) fn enter(&self, address: IpAddr, now: Instant, limits: (u32, u32)) -> Option<Slot> {
        let (at_once, per_second) = limits;
        let address = group(address);
        let mut clients = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if clients.len() >= MAX_CLIENTS && !clients.contains_key(&address) {
            clients.retain(|_, client| client.under_way > 0);
            if clients.len() >= MAX_CLIENTS {
                return None;
            }
        }
        let full = f64::from(per_second);
        let client = clients.entry(address).or_insert(Client {
            under_way: 0,
            left: full,
            seen: now,
        });
        let since = now.saturating_duration_since(client.seen).as_secs_f64();
        (client.left, client.seen) = ((client.left + since * full).min(full), now);
        if client.under_way >= at_once || client.left < 1.0 {
            return None;
        }
        client.under_way += 1;
        client.left -= 1.0;
        Some(Slot {
            clients: self.clone(),
            address,
        })
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut clients = self
            .clients
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get_mut(&self.address) {
            client.under_way = client.under_way.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use std::time::Duration;

    #[test]
    fn at_once_and_a_second() {
        let (clients, now) = (Clients::default(), Instant::now());
        let address = "192.0.2.1".parse().unwrap();
        let first = clients.enter(address, now, (2, 3)).unwrap();
        let second = clients.enter(address, now, (2, 3)).unwrap();
        assert!(clients.enter(address, now, (2, 3)).is_none(), "two at once");
        drop((first, second));
        assert!(clients.enter(address, now, (2, 3)).is_some());
        assert!(
            clients.enter(address, now, (2, 3)).is_none(),
            "three a second"
        );
        let later = now + Duration::from_secs(1);
        assert!(clients.enter(address, later, (2, 3)).is_some());
        // Others are not affected, and a network of IPv6 is one client.
        let (one, other) = (
            "2001:db8::1".parse().unwrap(),
            "2001:db8::ffff:2".parse().unwrap(),
        );
        let _held = clients.enter(one, now, (1, 3)).unwrap();
        assert!(clients.enter(other, now, (1, 3)).is_none());
    }
}
