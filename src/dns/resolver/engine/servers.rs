//! What is known of other servers: how fast they answer, what they do not understand, which zones
//! they turned out not to serve.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::network::{Carrier, Lost, Network};
use crate::wire::name::{Name, NameRef};

/// Servers remembered; beyond it those heard of longest ago go.
const MAX_SERVERS: usize = 20_000;
/// Zones remembered that one server does not serve.
const MAX_LAME: usize = 16;
/// How long a server is remembered as not serving a zone.
const LAME_FOR: Duration = Duration::from_secs(300);
/// How long a server that never answers is left alone, at first and at most.
const DOWN_FOR: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(120));
/// Timeouts in a row after which a server counts as down.
const DOWN_AFTER: u32 = 3;
/// Bounds of how long an answer is waited for.
const WAIT: (Duration, Duration) = (Duration::from_millis(150), Duration::from_millis(3000));
/// How long the first answer is waited for.
const FIRST_WAIT: Duration = Duration::from_millis(400);
/// Servers this much slower than the best are as good.
const BAND: Duration = Duration::from_millis(30);

/// What is known of one server.
#[derive(Debug, Clone)]
struct Known {
    /// Smoothed round-trip time and its deviation (RFC 6298); none before the first answer.
    rtt: Option<(Duration, Duration)>,
    /// Timeouts since the last answer.
    timeouts: u32,
    down_until: Option<Instant>,
    /// It answers EDNS with FORMERR or not at all.
    no_edns: Option<Instant>,
    client_cookie: [u8; 8],
    server_cookie: Option<Vec<u8>>,
    lame: Vec<(Name, Instant)>,
    heard: Instant,
}

/// All that are known.
pub(crate) struct Servers {
    known: Mutex<HashMap<(IpAddr, u16), Known>>,
}

/// How a server is to be asked.
#[derive(Debug, Clone)]
pub(crate) struct Manner {
    pub(crate) edns: bool,
    pub(crate) cookie: Vec<u8>,
    pub(crate) wait: Duration,
}

impl Servers {
    pub(crate) fn new() -> Servers {
        Servers {
            known: Mutex::default(),
        }
    }

    fn with<T>(
        &self,
        address: SocketAddr,
        network: &dyn Network,
        act: impl FnOnce(&mut Known) -> T,
    ) -> T {
        let now = network.now();
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MAX_SERVERS && !known.contains_key(&(address.ip(), address.port())) {
            // One sweep makes room for many.
            let mut times: Vec<Instant> = known.values().map(|server| server.heard).collect();
            times.sort_unstable();
            let middle = times.get(times.len() / 4).copied().unwrap_or(now);
            known.retain(|_, server| server.heard > middle);
        }
        let server = known
            .entry((address.ip(), address.port()))
            .or_insert_with(|| {
                let mut client_cookie = [0; 8];
                network.random(&mut client_cookie);
                Known {
                    rtt: None,
                    timeouts: 0,
                    down_until: None,
                    no_edns: None,
                    client_cookie,
                    server_cookie: None,
                    lame: Vec::new(),
                    heard: now,
                }
            });
        act(server)
    }

    /// How to ask a server.
    pub(crate) fn manner(&self, address: SocketAddr, network: &dyn Network) -> Manner {
        let now = network.now();
        self.with(address, network, |server| {
            if server.no_edns.is_some_and(|until| until <= now) {
                server.no_edns = None;
            }
            let base = server
                .rtt
                .map_or(FIRST_WAIT, |(mean, deviation)| mean + 4 * deviation);
            let wait = base.clamp(WAIT.0, WAIT.1) * 2u32.pow(server.timeouts.min(3));
            let mut cookie = server.client_cookie.to_vec();
            cookie.extend_from_slice(server.server_cookie.as_deref().unwrap_or_default());
            Manner {
                edns: server.no_edns.is_none(),
                cookie,
                wait: wait.min(WAIT.1),
            }
        })
    }

    /// A server answered.
    pub(crate) fn answered(&self, address: SocketAddr, took: Duration, network: &dyn Network) {
        let now = network.now();
        self.with(address, network, |server| {
            server.rtt = Some(match server.rtt {
                None => (took, took / 2),
                Some((mean, deviation)) => {
                    let off = mean.abs_diff(took);
                    ((mean * 7 + took) / 8, (deviation * 3 + off) / 4)
                }
            });
            (server.timeouts, server.down_until, server.heard) = (0, None, now);
        });
    }

    /// A server did not answer.
    pub(crate) fn failed(&self, address: SocketAddr, how: Lost, network: &dyn Network) {
        let now = network.now();
        self.with(address, network, |server| {
            server.timeouts = server.timeouts.saturating_add(1);
            server.heard = now;
            if how == Lost::Unreachable || server.timeouts >= DOWN_AFTER {
                let doublings = server.timeouts.saturating_sub(DOWN_AFTER).min(6);
                let pause = (DOWN_FOR.0 * 2u32.pow(doublings)).min(DOWN_FOR.1);
                server.down_until = Some(now + pause);
            }
        });
    }

    /// A server does not understand EDNS.
    pub(crate) fn without_edns(&self, address: SocketAddr, network: &dyn Network) {
        let until = network.now() + Duration::from_secs(900);
        self.with(address, network, |server| server.no_edns = Some(until));
    }

    /// The cookies a server sent: taken if the first part is ours (RFC 7873 5.3).
    pub(crate) fn cookie(&self, address: SocketAddr, both: &[u8], network: &dyn Network) -> bool {
        self.with(address, network, |server| {
            let Some((client, rest)) = both.split_first_chunk::<8>() else {
                return false;
            };
            let ours = *client == server.client_cookie;
            if ours {
                server.server_cookie = Some(rest.to_vec());
            }
            ours
        })
    }

    /// True if a server has sent a cookie: answers of its without one are not its.
    pub(crate) fn has_cookie(&self, address: SocketAddr, network: &dyn Network) -> bool {
        self.with(address, network, |server| server.server_cookie.is_some())
    }

    /// A server does not serve a zone that it should.
    pub(crate) fn lame(&self, address: SocketAddr, zone: NameRef<'_>, network: &dyn Network) {
        let now = network.now();
        self.with(address, network, |server| {
            server
                .lame
                .retain(|(name, until)| *until > now && name.as_ref() != zone);
            if server.lame.len() >= MAX_LAME {
                server.lame.remove(0);
            }
            server.lame.push((zone.to_owned(), now + LAME_FOR));
        });
    }

    /// Servers in the order to ask them: the quick ones first, by chance among equals, then those
    /// that are said to be lame or down.
    pub(crate) fn rank(
        &self,
        zone: NameRef<'_>,
        addresses: impl Iterator<Item = (SocketAddr, Carrier)>,
        network: &dyn Network,
    ) -> Vec<(SocketAddr, Carrier)> {
        let now = network.now();
        let mut ranked: Vec<(u8, Duration, u32, (SocketAddr, Carrier))> = addresses
            .map(|(address, carrier)| {
                let (class, time) = self.with(address, network, |server| {
                    let lame = server
                        .lame
                        .iter()
                        .any(|(name, until)| *until > now && name.as_ref() == zone);
                    let down = server.down_until.is_some_and(|until| until > now);
                    let class = if down { 2 } else { u8::from(lame) };
                    // A server nobody has heard of is tried before one known to be slow.
                    let time = server.rtt.map_or(Duration::from_millis(20), |rtt| rtt.0);
                    (class, time * 2u32.pow(server.timeouts.min(6)))
                });
                (class, time, network.random_u32(), (address, carrier))
            })
            .collect();
        let best = ranked.iter().map(|(class, time, ..)| (*class, *time)).min();
        let best = best.map_or(Duration::ZERO, |(_, time)| time);
        ranked.sort_by_key(|(class, time, chance, _)| {
            let near = *time <= best + BAND;
            let time = if near { Duration::ZERO } else { *time };
            (*class, time, *chance)
        });
        ranked.into_iter().map(|(.., server)| server).collect()
    }

    /// How many servers are known.
    pub(crate) fn count(&self) -> usize {
        self.known
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .len()
    }
}
