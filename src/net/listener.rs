//! Listening sockets, and the connections that come through the bounds.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{Mutex, mpsc};
use tokio::time::timeout;

use crate::introduce::introduce;
use crate::limited::Limited;
use crate::limits::{Counts, Gauge, Over, Permit};
use crate::socket::{UNIX_PEER, canonical};
use crate::wire::proxy::Header;
use crate::{ListenAddr, NetConfig, ProxyProtocolConfig, Socket, linger};

/// What all sockets of one [`Net`](crate::Net) share.
#[derive(Debug)]
pub(crate) struct Common {
    pub(crate) config: ArcSwap<NetConfig>,
    pub(crate) counts: Arc<Counts>,
    pub(crate) connections: AtomicU64,
}

/// A listening socket. Clones are the same socket; so is the next one asked of
/// [`Net::listen`](crate::Net::listen) for the same address.
#[derive(Clone, Debug)]
pub struct Listener {
    socket: Arc<Waiting>,
    door: Arc<Door>,
}

/// A listener without its socket: connections that are still being introduced hold on to this, and
/// must not keep the port open after it was released.
#[derive(Debug)]
struct Door {
    common: Arc<Common>,
    /// The address as the service asked for it, perhaps with port 0.
    asked: ListenAddr,
    address: ListenAddr,
    name: Arc<str>,
    open: Arc<Gauge>,
    failures: AtomicU32,
    failing: Limited,
    refusing: Limited,
    unintroduced: Limited,
    introduced: Introduced,
}

#[derive(Debug)]
pub(crate) enum Waiting {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// Connections whose PROXY header has been read, beside the accept loop: a load balancer that
/// is slow with one must not hold up the others.
#[derive(Debug)]
struct Introduced {
    sender: mpsc::Sender<Accepted>,
    receiver: Mutex<mpsc::Receiver<Accepted>>,
}

/// A connection, counted and introduced.
#[derive(Debug)]
pub struct Accepted {
    /// The connection.
    pub socket: Socket,
    /// The client: the peer of the socket, or whom a trusted load balancer names. A Unix socket's
    /// peer has no address, and is `0.0.0.0:0`.
    pub peer: SocketAddr,
    /// The address the client connected to.
    pub local: SocketAddr,
    /// The listener's name for logs: service and address.
    pub listener: Arc<str>,
    /// A number that no other connection of this process has.
    pub id: u64,
    /// The connection counts against the bounds until this is dropped.
    pub permit: Permit,
}

impl Accepted {
    /// The span that every line of log about this connection stands in.
    pub fn span(&self) -> tracing::Span {
        tracing::info_span!(
            "connection",
            listener = &*self.listener,
            peer = %self.peer,
            id = self.id,
            user = tracing::field::Empty,
        )
    }
}

impl Listener {
    pub(crate) fn new(
        common: Arc<Common>,
        service: &str,
        socket: Waiting,
        asked: ListenAddr,
        address: ListenAddr,
    ) -> Self {
        let (sender, receiver) = mpsc::channel(64);
        let name = format!("{service} {address}").into();
        let door = Door {
            common,
            asked,
            address,
            name,
            open: Arc::default(),
            failures: AtomicU32::new(0),
            failing: Limited::new(Duration::from_secs(10)),
            refusing: Limited::new(Duration::from_secs(10)),
            unintroduced: Limited::new(Duration::from_secs(10)),
            introduced: Introduced {
                sender,
                receiver: Mutex::new(receiver),
            },
        };
        Self {
            socket: Arc::new(socket),
            door: Arc::new(door),
        }
    }

    /// The address it is bound to, with the port the kernel chose.
    pub fn local_address(&self) -> &ListenAddr {
        &self.door.address
    }

    /// Its name in logs: service and address.
    pub fn name(&self) -> &Arc<str> {
        &self.door.name
    }

    /// Connections that came through it and are still open.
    pub fn open(&self) -> u32 {
        self.door.open.count()
    }

    pub(crate) fn socket(&self) -> &Waiting {
        &self.socket
    }

    /// The next connection that the bounds let in. Never fails and never spins: what goes wrong
    /// with a connection is logged and passed over, and at the descriptor limit it waits.
    /// Dropping the future loses no connection.
    pub async fn accept(&self) -> Accepted {
        loop {
            let arrived = tokio::select! {
                accepted = self.door.introduced.next() => return accepted,
                arrived = self.socket.accept() => arrived,
            };
            match arrived {
                Ok((socket, peer)) => {
                    self.door.failures.store(0, Ordering::Relaxed);
                    if let Some(accepted) = self.door.admit(socket, peer) {
                        return accepted;
                    }
                }
                Err(error) => self.door.pause(&error).await,
            }
        }
    }
}

impl AsFd for Waiting {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(listener) => listener.as_fd(),
            Self::Unix(listener) => listener.as_fd(),
        }
    }
}

impl Waiting {
    async fn accept(&self) -> io::Result<(Socket, SocketAddr)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                Ok((Socket::Tcp(stream), canonical(peer)))
            }
            Self::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                Ok((Socket::Unix(stream), UNIX_PEER))
            }
        }
    }
}

impl Introduced {
    async fn next(&self) -> Accepted {
        match self.receiver.lock().await.recv().await {
            Some(accepted) => accepted,
            // `self` holds a sender, so that the channel stays open.
            None => std::future::pending().await,
        }
    }
}

impl Door {
    /// Counts a connection in. `None`: it was refused, or its PROXY header is read first.
    fn admit(self: &Arc<Self>, socket: Socket, peer: SocketAddr) -> Option<Accepted> {
        let config = self.common.config.load();
        let permit = Permit::take(
            &self.common.counts,
            &self.open,
            config.max_connections,
            config.max_connections_per_listener,
        );
        let permit = match permit {
            Ok(permit) => permit,
            Err(over) => {
                self.refuse(socket, peer, over);
                return None;
            }
        };
        if self.expects_header(&config.proxy_protocol, &socket, peer) {
            tokio::spawn(
                self.clone()
                    .introduce(socket, peer, permit, config.first_byte_timeout),
            );
            return None;
        }
        // A peer that is gone already has no local address to tell.
        let local = socket.local_addr().ok()?;
        self.admit_client(socket, peer, local, permit)
    }

    /// Counts a connection to its client, once it is known who that is.
    fn admit_client(
        &self,
        socket: Socket,
        peer: SocketAddr,
        local: SocketAddr,
        mut permit: Permit,
    ) -> Option<Accepted> {
        let bound = self.common.config.load().max_connections_per_client;
        if peer != UNIX_PEER
            && let Err(over) = permit.count_client(peer.ip(), bound)
        {
            self.refuse(socket, peer, over);
            return None;
        }
        let id = self
            .common
            .connections
            .fetch_add(1, Ordering::Relaxed)
            .saturating_add(1);
        Some(Accepted {
            socket,
            peer,
            local,
            listener: self.name.clone(),
            id,
            permit,
        })
    }

    fn expects_header(
        &self,
        config: &ProxyProtocolConfig,
        socket: &Socket,
        peer: SocketAddr,
    ) -> bool {
        let named = config.listen.contains(&self.asked) || config.listen.contains(&self.address);
        match socket {
            Socket::Tcp(_) => {
                (named || config.listen.is_empty())
                    && config.trusted.iter().any(|net| net.contains(peer.ip()))
            }
            Socket::Unix(_) => named,
        }
    }

    /// Reads a load balancer's header, and hands the connection to the accept loop.
    async fn introduce(
        self: Arc<Self>,
        mut socket: Socket,
        peer: SocketAddr,
        permit: Permit,
        deadline: Duration,
    ) {
        let why = match timeout(deadline, introduce(&mut socket)).await {
            Ok(Ok(header)) => {
                let (peer, local) = match header {
                    Header::Proxied {
                        source,
                        destination,
                    } => (canonical(source), canonical(destination)),
                    Header::Local => match socket.local_addr() {
                        Ok(local) => (peer, local),
                        Err(_) => return,
                    },
                };
                if let Some(accepted) = self.admit_client(socket, peer, local, permit) {
                    // An error is the accept loop's end, and with it the connection's.
                    drop(self.introduced.sender.send(accepted).await);
                }
                return;
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => "no PROXY header within the time allowed".to_owned(),
        };
        linger::close(socket, &[]);
        if let Some(held) = self.unintroduced.pass() {
            tracing::warn!(
                listener = &*self.name,
                %peer,
                held_back = held,
                "connection of a trusted load balancer refused: {why}",
            );
        }
    }

    /// Closes a connection that is one too many.
    fn refuse(&self, socket: Socket, peer: SocketAddr, over: Over) {
        linger::close(socket, &[]);
        if let Some(held) = self.refusing.pass() {
            tracing::warn!(
                listener = &*self.name,
                %peer,
                held_back = held,
                "connection refused: {} is reached",
                over.key(),
            );
        }
    }

    /// Waits after a failed accept for as long as the failure calls for.
    async fn pause(&self, error: &io::Error) {
        // accept(2): errors of the connection that was about to be accepted are passed on through
        // accept, and the next may be well. Only those of our own resources call for a pause.
        let ours = matches!(
            error.raw_os_error(),
            Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM)
        );
        let failures = self.failures.fetch_add(1, Ordering::Relaxed);
        if !ours && failures < 16 {
            return;
        }
        if let Some(held) = self.failing.pass() {
            tracing::error!(
                listener = &*self.name,
                held_back = held,
                "cannot accept connections, trying again: {error}",
            );
        }
        // 10 ms, doubled up to a second.
        let pause = Duration::from_millis(10u64.checked_shl(failures.min(7)).unwrap_or(1000));
        tokio::time::sleep(pause.min(Duration::from_secs(1))).await;
    }
}
