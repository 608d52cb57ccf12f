//! What a service holds: ports to give away, and the shards that serve them.

use std::{
    collections::HashSet,
    io,
    net::{IpAddr, SocketAddr, UdpSocket},
    ops::RangeInclusive,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::sync::mpsc;

use super::{
    ConferenceId, Event, SessionId,
    session::Session,
    shard::{Command, Inbox, Shard},
};
use crate::engine::ports::Ports;

/// What media may use.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Ports for RTP and RTCP: each end of a call takes two.
    pub ports: RangeInclusive<u16>,
    /// How long an end that should send may be silent.
    pub timeout: Duration,
    /// Tasks that carry packets; one for each processor is best.
    pub shards: usize,
    /// Sessions at once.
    pub sessions: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            ports: 16_384..=32_767,
            timeout: Duration::from_secs(30),
            shards: std::thread::available_parallelism().map_or(1, usize::from),
            sessions: 4096,
        }
    }
}

/// Why a session cannot be had. 503 is the answer to the first two.
#[derive(Debug, thiserror::Error)]
pub enum AllocateError {
    #[error("there are {0} media sessions already: raise the limit if the machine carries more")]
    TooMany(usize),
    #[error("no media port is free: widen the range of ports")]
    NoPort,
    #[error("media ports cannot be opened at {0}: {1}")]
    Bind(IpAddr, io::Error),
}

/// Tries with other ports, where one is taken by somebody else's program.
const TRIES: usize = 16;

#[derive(Debug)]
pub(crate) struct Shared {
    settings: Settings,
    pool: Mutex<Pool>,
    pub(crate) inboxes: Vec<Arc<Inbox>>,
    next: AtomicU64,
}

#[derive(Debug)]
struct Pool {
    ports: Ports,
    /// Our own ends, so that none is ever sent to: a relay that feeds itself never ends.
    open: HashSet<SocketAddr>,
    sessions: usize,
}

impl Shared {
    fn pool(&self) -> MutexGuard<'_, Pool> {
        // Nothing within the lock leaves the pool half changed.
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The address is one of our own ports that are open.
    pub(crate) fn is_ours(&self, address: SocketAddr) -> bool {
        self.pool().open.contains(&address)
    }

    pub(crate) fn release(&self, sides: &[SocketAddr], now: Instant) {
        let mut pool = self.pool();
        pool.sessions = pool.sessions.saturating_sub(1);
        for rtp in sides {
            let rtcp = SocketAddr::new(rtp.ip(), rtp.port().saturating_add(1));
            pool.open.remove(rtp);
            pool.open.remove(&rtcp);
            pool.ports.release(rtp.port(), now);
        }
    }
}

/// The handle. Cheap to clone; every call on it returns at once.
#[derive(Clone, Debug)]
pub struct Media(Arc<Shared>);

impl Media {
    /// Media that tells `events`, and the shards that must run for anything to flow. Each shard is
    /// to be run by a task of its own, and may be run again after it failed.
    pub fn new(settings: Settings, events: &mpsc::Sender<Event>) -> io::Result<(Self, Vec<Shard>)> {
        let count = settings.shards.max(1);
        let inboxes = (0..count).map(|_| Inbox::new().map(Arc::new));
        let inboxes = inboxes.collect::<io::Result<Vec<_>>>()?;
        let pool = Pool {
            ports: Ports::new(settings.ports.clone()),
            open: HashSet::new(),
            sessions: 0,
        };
        let shared = Arc::new(Shared {
            settings,
            pool: Mutex::new(pool),
            inboxes: inboxes.clone(),
            next: AtomicU64::new(0),
        });
        let shard = |inbox| Shard::new(inbox, events.clone());
        let shards = inboxes.into_iter().map(shard);
        let shards = shards.collect::<io::Result<Vec<_>>>()?;
        Ok((Self(shared), shards))
    }

    /// Opens the ports of one stream between two ends: `addresses` are our own, at which side A and
    /// side B reach us. Nothing flows before both sides are described.
    pub fn allocate(&self, addresses: [IpAddr; 2]) -> Result<Session, AllocateError> {
        self.allocate_at(&addresses, None)
    }

    /// Opens the ports of one stream that ends here; `address` is our own. Who may join a
    /// conference says which: its members are served by one shard.
    pub fn allocate_end(
        &self,
        address: IpAddr,
        conference: Option<ConferenceId>,
    ) -> Result<Session, AllocateError> {
        self.allocate_at(&[address], conference)
    }

    fn allocate_at(
        &self,
        addresses: &[IpAddr],
        conference: Option<ConferenceId>,
    ) -> Result<Session, AllocateError> {
        let now = Instant::now();
        let limit = self.0.settings.sessions;
        {
            let mut pool = self.0.pool();
            if pool.sessions >= limit {
                return Err(AllocateError::TooMany(limit));
            }
            pool.sessions += 1;
        }
        let mut open = Vec::new();
        let mut sockets = Vec::new();
        for address in addresses {
            match self.open(*address, now) {
                Ok((rtp, pair)) => {
                    open.push(rtp);
                    sockets.push(pair);
                }
                Err(error) => {
                    drop(sockets);
                    self.0.release(&open, now);
                    return Err(error);
                }
            }
        }
        let id = SessionId(self.0.next.fetch_add(1, Ordering::Relaxed));
        let add = Command::Add(sockets, self.0.settings.timeout);
        let number = conference.map_or(id.0, |conference| conference.0);
        let shards = self.0.inboxes.len() as u64;
        let shard = number.checked_rem(shards).unwrap_or(0) as usize;
        let session = Session::new(id, self.0.clone(), shard, open);
        session.send_always(add);
        Ok(session)
    }

    /// Ports that are taken now, and sessions.
    #[must_use]
    pub fn in_use(&self) -> (usize, usize) {
        let pool = self.0.pool();
        (pool.open.len(), pool.sessions)
    }

    fn open(
        &self,
        address: IpAddr,
        now: Instant,
    ) -> Result<(SocketAddr, [UdpSocket; 2]), AllocateError> {
        let mut last = None;
        for _ in 0..TRIES {
            let port = self.0.pool().ports.take(random(), now);
            let port = port.ok_or(AllocateError::NoPort)?;
            match bind(address, port) {
                Ok(pair) => {
                    let (rtp, rtcp) = (
                        SocketAddr::new(address, port),
                        SocketAddr::new(address, port.saturating_add(1)),
                    );
                    self.0.pool().open.extend([rtp, rtcp]);
                    return Ok((rtp, pair));
                }
                Err(error) => {
                    self.0.pool().ports.release(port, now);
                    let taken = error.kind() == io::ErrorKind::AddrInUse;
                    last = Some(error);
                    if !taken {
                        break;
                    }
                }
            }
        }
        let error = last.unwrap_or_else(|| io::ErrorKind::AddrInUse.into());
        Err(AllocateError::Bind(address, error))
    }
}

fn bind(address: IpAddr, port: u16) -> io::Result<[UdpSocket; 2]> {
    let socket = |port| -> io::Result<UdpSocket> {
        let socket = UdpSocket::bind((address, port))?;
        socket.set_nonblocking(true)?;
        // Expedited forwarding (RFC 4594 section 4.1), where the network cares; it need not.
        let marked = match address {
            IpAddr::V4(_) => rustix::net::sockopt::set_ip_tos(&socket, 46 << 2),
            IpAddr::V6(_) => rustix::net::sockopt::set_ipv6_tclass(&socket, 46 << 2),
        };
        if let Err(error) = marked {
            tracing::debug!(%error, "media packets are not marked as urgent");
        }
        Ok(socket)
    };
    let rtcp = port.checked_add(1).ok_or(io::ErrorKind::InvalidInput)?;
    Ok([socket(port)?, socket(rtcp)?])
}

/// Four bytes that nobody can guess.
pub(crate) fn random() -> u32 {
    let mut bytes = [0; 4];
    if aws_lc_rs::rand::fill(&mut bytes).is_err() {
        tracing::error!("the machine has no randomness: media ports can be guessed");
    }
    u32::from_ne_bytes(bytes)
}
