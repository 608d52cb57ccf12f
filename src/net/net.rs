//! The registry of bound sockets.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use tokio::net::{TcpListener, UdpSocket, UnixListener};

use crate::bind::{self, BindError};
use crate::listener::{Common, Waiting};
use crate::systemd::{Notify, Passed, PassedSocket, descriptor_name};
use crate::{DatagramSocket, ListenAddr, Listener, NetConfig};

/// Stream (TCP or Unix) or datagram (UDP).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Transport {
    /// TCP, or a Unix stream socket.
    Stream,
    /// UDP.
    Datagram,
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Stream => "stream",
            Self::Datagram => "datagram",
        })
    }
}

/// A bound socket, as [`Net::bound`] lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bound {
    /// The service that listens.
    pub service: String,
    /// Stream or datagram.
    pub transport: Transport,
    /// The address, with the port the kernel chose.
    pub address: ListenAddr,
    /// Connections open through it.
    pub connections: u32,
}

/// Owner of every listening socket. Clones are the same owner.
#[derive(Clone, Debug)]
pub struct Net(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    common: Arc<Common>,
    notify: Notify,
    sockets: Mutex<Sockets>,
}

#[derive(Debug, Default)]
struct Sockets {
    passed: Vec<PassedSocket>,
    open: BTreeMap<Key, Open>,
}

/// What a socket is asked for by. With port 0 each service has its own.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    transport: Transport,
    address: String,
    service: Option<String>,
}

#[derive(Debug)]
struct Open {
    service: String,
    sockets: Kind,
}

#[derive(Debug)]
enum Kind {
    Stream(Named<Listener>),
    Datagram(Vec<Named<DatagramSocket>>),
}

/// A socket with the name under which the service manager keeps it.
#[derive(Clone, Debug)]
struct Named<S> {
    name: String,
    socket: S,
}

impl Key {
    fn new(transport: Transport, address: &ListenAddr, service: &str) -> Self {
        let chosen = matches!(address, ListenAddr::Ip(ip) if ip.port() == 0);
        Self {
            transport,
            address: address.to_string(),
            service: chosen.then(|| service.to_owned()),
        }
    }
}

impl Net {
    /// An owner of no socket yet. The first one made in a process takes the sockets that the
    /// service manager passed, and tells it which to keep.
    pub fn new(config: &NetConfig) -> Self {
        Self::with(config, Passed::take(), Notify::from_environment())
    }

    /// An owner with the given passed sockets and line to the service manager.
    pub fn with(config: &NetConfig, passed: Passed, notify: Notify) -> Self {
        Self(Arc::new(Shared {
            common: Arc::new(Common {
                config: ArcSwap::from_pointee(config.clone()),
                counts: Arc::default(),
                connections: 0.into(),
            }),
            notify,
            sockets: Mutex::new(Sockets {
                passed: passed.0,
                open: BTreeMap::new(),
            }),
        }))
    }

    /// Takes new bounds; open connections stay, whatever the new bounds say.
    pub fn update(&self, config: &NetConfig) {
        self.0.common.config.store(Arc::new(config.clone()));
    }

    /// The configuration now in force.
    pub fn config(&self) -> Arc<NetConfig> {
        self.0.common.config.load_full()
    }

    /// The line to the service manager.
    pub fn notify(&self) -> &Notify {
        &self.0.notify
    }

    /// Connections open over all listeners.
    pub fn connections(&self) -> u32 {
        self.0.common.counts.total()
    }

    /// Clients (IPv4 addresses and IPv6 /64s) with a connection open.
    pub fn clients(&self) -> usize {
        self.0.common.counts.clients()
    }

    /// Listens for streams. The same address again is the same socket, still open since; with
    /// port 0, the same address asked by the same `service`, which therefore names the listener
    /// ("http", "http tls") where a service has several.
    ///
    /// # Errors
    /// When the kernel refuses, or another service of this process listens there.
    pub fn listen(&self, service: &str, address: &ListenAddr) -> Result<Listener, BindError> {
        let transport = Transport::Stream;
        let key = Key::new(transport, address, service);
        let mut sockets = self.sockets();
        if let Some(open) = sockets.open.get(&key) {
            return match &open.sockets {
                Kind::Stream(kept) if open.service == service => Ok(kept.socket.clone()),
                _ => Err(taken(transport, address, &open.service)),
            };
        }
        let only_ipv6 = sockets.has_ipv4_twin(transport, address);
        let passed = sockets.adopt(transport, address);
        let (passed_as, socket) = match passed {
            Some(passed) => (Some(passed.name), Ok(passed.descriptor.into())),
            None => (None, self.open_stream(address, only_ipv6)),
        };
        let listener = socket
            .and_then(|socket| self.make_listener(service, address, socket))
            .map_err(|source| sockets.failed(transport, address, source))?;
        let name = passed_as.unwrap_or_else(|| {
            self.keep(
                transport,
                listener.local_address(),
                0,
                listener.socket().as_fd(),
            )
        });
        let kept = Named {
            name,
            socket: listener.clone(),
        };
        let open = Open {
            service: service.to_owned(),
            sockets: Kind::Stream(kept),
        };
        sockets.open.insert(key, open);
        Ok(listener)
    }

    /// Has the service manager keep a socket that we opened, and returns the name it has there: one
    /// for each socket, so that each can be taken back. What was passed to us is kept already.
    fn keep(
        &self,
        transport: Transport,
        address: &ListenAddr,
        index: usize,
        descriptor: BorrowedFd<'_>,
    ) -> String {
        let name = descriptor_name(&format!("{transport}-{address}-{index}"));
        self.0.notify.store(&name, descriptor);
        name
    }

    fn open_stream(&self, address: &ListenAddr, only_ipv6: bool) -> io::Result<socket2::Socket> {
        let backlog = self.config().backlog;
        match address {
            ListenAddr::Ip(ip) => bind::tcp(*ip, backlog, only_ipv6),
            ListenAddr::Unix(path) => bind::unix(path, backlog),
        }
    }

    fn make_listener(
        &self,
        service: &str,
        asked: &ListenAddr,
        socket: socket2::Socket,
    ) -> io::Result<Listener> {
        socket.set_nonblocking(true)?;
        let (waiting, address) = match asked {
            ListenAddr::Ip(_) => {
                bind::prepare_tcp(&socket)?;
                let listener = TcpListener::from_std(socket.into())?;
                let address = ListenAddr::Ip(listener.local_addr()?);
                (Waiting::Tcp(listener), address)
            }
            ListenAddr::Unix(_) => (
                Waiting::Unix(UnixListener::from_std(socket.into())?),
                asked.clone(),
            ),
        };
        Ok(Listener::new(
            self.0.common.clone(),
            service,
            waiting,
            asked.clone(),
            address,
        ))
    }

    /// A group of `count` UDP sockets that share an address (SO_REUSEPORT), one for each worker.
    /// The same address again is the same group.
    ///
    /// # Errors
    /// When the kernel refuses, or another service of this process listens there.
    pub fn datagrams(
        &self,
        service: &str,
        address: SocketAddr,
        count: usize,
    ) -> Result<Vec<DatagramSocket>, BindError> {
        let transport = Transport::Datagram;
        let listen = ListenAddr::Ip(address);
        let key = Key::new(transport, &listen, service);
        let count = count.clamp(1, 1024);
        let mut sockets = self.sockets();
        let mut group = match sockets.open.get(&key) {
            Some(Open {
                service: owner,
                sockets: Kind::Datagram(group),
            }) if owner == service => group.clone(),
            Some(open) => return Err(taken(transport, &listen, &open.service)),
            None => Vec::new(),
        };
        let only_ipv6 = sockets.has_ipv4_twin(transport, &listen);
        while let Some(passed) = sockets.adopt(transport, &listen) {
            let socket = socket2::Socket::from(passed.descriptor);
            let socket =
                bind::prepare_udp(&socket, address.is_ipv6()).and_then(|()| datagram(socket));
            let socket = socket.map_err(|source| sockets.failed(transport, &listen, source))?;
            group.push(Named {
                name: passed.name,
                socket,
            });
        }
        // Left open, the kernel would go on giving a surplus its share of the datagrams.
        for surplus in group.drain(count.min(group.len())..) {
            self.0.notify.remove(&surplus.name);
        }
        while group.len() < count {
            match self.join(&group, address, only_ipv6) {
                Ok(member) => group.push(member),
                Err(source) => return Err(sockets.failed(transport, &listen, source)),
            }
        }
        let given = group.iter().map(|member| member.socket.clone()).collect();
        let open = Open {
            service: service.to_owned(),
            sockets: Kind::Datagram(group),
        };
        sockets.open.insert(key, open);
        Ok(given)
    }

    /// One more socket for a group.
    fn join(
        &self,
        group: &[Named<DatagramSocket>],
        address: SocketAddr,
        only_ipv6: bool,
    ) -> io::Result<Named<DatagramSocket>> {
        // The first is bound alone, so that a port that another process has is an error and not a
        // port shared with it. Its port may have been the kernel's choice; the others share it.
        let Some(first) = group.first() else {
            let socket = datagram(bind::udp(address, false, only_ipv6)?)?;
            return Ok(self.kept_member(socket, 0));
        };
        for member in group {
            socket2::SockRef::from(&member.socket).set_reuse_port(true)?;
        }
        match bind::udp(first.socket.local_address(), true, only_ipv6).and_then(datagram) {
            Ok(socket) => Ok(self.kept_member(socket, group.len())),
            // A passed socket that belongs to another user cannot be joined. The workers then share
            // it, which is slower but serves.
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => Ok(first.clone()),
            Err(error) => Err(error),
        }
    }

    fn kept_member(&self, socket: DatagramSocket, index: usize) -> Named<DatagramSocket> {
        let address = ListenAddr::Ip(socket.local_address());
        let name = self.keep(Transport::Datagram, &address, index, socket.as_fd());
        Named { name, socket }
    }

    /// Gives up an address, under the names it was asked for. It closes when the service has
    /// dropped what it got for it. Says whether there was such a socket.
    pub fn release(&self, service: &str, transport: Transport, address: &ListenAddr) -> bool {
        let key = Key::new(transport, address, service);
        let mut sockets = self.sockets();
        let Some(open) = sockets
            .open
            .get(&key)
            .filter(|open| open.service == service)
        else {
            return false;
        };
        self.part_with(open, address);
        sockets.open.remove(&key).is_some()
    }

    /// Gives up all that is listened on under names that are `gone`.
    pub fn release_all(&self, gone: impl Fn(&str) -> bool) {
        self.sockets().open.retain(|_, open| {
            let stays = !gone(&open.service);
            if !stays && let Some(address) = open.sockets.local_address() {
                self.part_with(open, &address);
            }
            stays
        });
    }

    /// Nobody is to find a socket again: neither the next run nor a client of its path.
    fn part_with(&self, open: &Open, address: &ListenAddr) {
        match &open.sockets {
            Kind::Stream(kept) => {
                self.0.notify.remove(&kept.name);
                if let ListenAddr::Unix(path) = address
                    && let Err(error) = std::fs::remove_file(path)
                {
                    tracing::debug!(path = %path.display(), "socket file not removed: {error}");
                }
            }
            Kind::Datagram(group) => {
                group
                    .iter()
                    .for_each(|member| self.0.notify.remove(&member.name));
            }
        }
    }

    /// Closes the passed sockets that no service has asked for. To be called when all services
    /// have started: until then one may still ask, and later they would only swallow connections
    /// that nobody accepts.
    pub fn close_unclaimed(&self) {
        for passed in self.sockets().passed.drain(..) {
            tracing::info!(
                name = passed.name,
                "closing {}: nothing listens there any more",
                passed.address
            );
            self.0.notify.remove(&passed.name);
        }
    }

    /// Every socket that is bound.
    pub fn bound(&self) -> Vec<Bound> {
        let sockets = self.sockets();
        let bound = sockets.open.iter().filter_map(|(key, open)| {
            let address = open.sockets.local_address()?;
            let connections = match &open.sockets {
                Kind::Stream(kept) => kept.socket.open(),
                Kind::Datagram(_) => 0,
            };
            let service = open.service.clone();
            Some(Bound {
                service,
                transport: key.transport,
                address,
                connections,
            })
        });
        bound.collect()
    }

    fn sockets(&self) -> MutexGuard<'_, Sockets> {
        self.0
            .sockets
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sockets {
    /// A passed socket of this transport and address.
    fn adopt(&mut self, transport: Transport, address: &ListenAddr) -> Option<PassedSocket> {
        let index = self
            .passed
            .iter()
            .position(|passed| passed.transport == transport && passed.address == *address)?;
        Some(self.passed.swap_remove(index))
    }

    /// The error for a bind that failed, naming whoever of us is in the way.
    fn failed(&self, transport: Transport, address: &ListenAddr, source: io::Error) -> BindError {
        let in_the_way = self.open.iter().find(|(key, open)| {
            key.transport == transport
                && source.kind() == io::ErrorKind::AddrInUse
                && open
                    .sockets
                    .local_address()
                    .is_some_and(|local| meet(&local, address))
        });
        BindError {
            address: address.clone(),
            transport,
            taken_by: in_the_way.map(|(_, open)| open.service.clone()),
            source,
        }
    }

    /// Is `0.0.0.0` with the same port open already? Then `[::]` must leave IPv4 to it.
    fn has_ipv4_twin(&self, transport: Transport, address: &ListenAddr) -> bool {
        let ListenAddr::Ip(ip) = address else {
            return false;
        };
        let twin = ListenAddr::Ip(SocketAddr::from(([0, 0, 0, 0], ip.port())));
        ip.port() != 0
            && ip.is_ipv6()
            && ip.ip().is_unspecified()
            && self.open.contains_key(&Key::new(transport, &twin, ""))
    }
}

impl Kind {
    fn local_address(&self) -> Option<ListenAddr> {
        match self {
            Self::Stream(kept) => Some(kept.socket.local_address().clone()),
            Self::Datagram(group) => Some(ListenAddr::Ip(group.first()?.socket.local_address())),
        }
    }
}

/// Would a socket on the one be in the way of a socket on the other?
fn meet(one: &ListenAddr, other: &ListenAddr) -> bool {
    match (one, other) {
        (ListenAddr::Ip(one), ListenAddr::Ip(other)) => {
            let any = one.ip().is_unspecified() || other.ip().is_unspecified();
            one.port() == other.port() && (any || one.ip() == other.ip())
        }
        (one, other) => one == other,
    }
}

fn datagram(socket: socket2::Socket) -> io::Result<DatagramSocket> {
    DatagramSocket::new(UdpSocket::from_std(socket.into())?)
}

fn taken(transport: Transport, address: &ListenAddr, service: &str) -> BindError {
    BindError {
        address: address.clone(),
        transport,
        taken_by: Some(service.to_owned()),
        source: io::ErrorKind::AddrInUse.into(),
    }
}
