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
use crate::systemd::{Notify, Passed, PassedSocket};
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
    Stream(Listener),
    Datagram(Vec<DatagramSocket>),
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
                Kind::Stream(listener) if open.service == service => Ok(listener.clone()),
                _ => Err(taken(transport, address, &open.service)),
            };
        }
        let only_ipv6 = sockets.has_ipv4_twin(transport, address);
        let listener = match sockets.adopt(transport, address) {
            Some(passed) => passed.descriptor.into(),
            None => self
                .open_stream(address, only_ipv6)
                .map_err(|source| BindError {
                    address: address.clone(),
                    transport,
                    taken_by: None,
                    source,
                })?,
        };
        let listener = self
            .make_listener(service, address, listener)
            .map_err(|source| failed(transport, address, source))?;
        self.0.notify.store(
            &store_name(transport, listener.local_address(), 0),
            waiting_fd(listener.socket()),
        );
        sockets.open.insert(
            key,
            Open {
                service: service.to_owned(),
                sockets: Kind::Stream(listener.clone()),
            },
        );
        Ok(listener)
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
        let fail = |source| failed(transport, &listen, source);

        while let Some(passed) = sockets.adopt(transport, &listen) {
            if group.len() >= count {
                // Left open, the kernel would go on giving it its share of the datagrams.
                self.0.notify.remove(&passed.name);
                continue;
            }
            let socket = socket2::Socket::from(passed.descriptor);
            bind::prepare_udp(&socket, address.is_ipv6()).map_err(fail)?;
            group.push(datagram(socket).map_err(fail)?);
        }
        for (index, surplus) in group.iter().enumerate().skip(count) {
            let name = store_name(transport, &ListenAddr::Ip(surplus.local_address()), index);
            self.0.notify.remove(&name);
        }
        group.truncate(count);

        while group.len() < count {
            // The first one may have had its port chosen by the kernel; the others share it.
            let bound = group.first().map_or(address, DatagramSocket::local_address);
            match bind::udp(bound, count > 1, only_ipv6).and_then(datagram) {
                Ok(socket) => {
                    let name = store_name(
                        transport,
                        &ListenAddr::Ip(socket.local_address()),
                        group.len(),
                    );
                    self.0.notify.store(&name, socket.as_fd());
                    group.push(socket);
                }
                // A passed socket without SO_REUSEPORT, or another user's, cannot be joined. The
                // workers then share it, which is slower but serves.
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                    let Some(first) = group.first().cloned() else {
                        return Err(fail(error));
                    };
                    group.push(first);
                }
                Err(error) => return Err(fail(error)),
            }
        }
        sockets.open.insert(
            key,
            Open {
                service: service.to_owned(),
                sockets: Kind::Datagram(group.clone()),
            },
        );
        Ok(group)
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
        match &open.sockets {
            Kind::Stream(listener) => {
                self.0
                    .notify
                    .remove(&store_name(transport, listener.local_address(), 0));
                if let ListenAddr::Unix(path) = address
                    && let Err(error) = std::fs::remove_file(path)
                {
                    tracing::debug!(path = %path.display(), "socket file not removed: {error}");
                }
            }
            Kind::Datagram(group) => {
                for (index, socket) in group.iter().enumerate() {
                    let address = ListenAddr::Ip(socket.local_address());
                    self.0
                        .notify
                        .remove(&store_name(transport, &address, index));
                }
            }
        }
        sockets.open.remove(&key).is_some()
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
            let (address, connections) = match &open.sockets {
                Kind::Stream(listener) => (listener.local_address().clone(), listener.open()),
                Kind::Datagram(group) => (ListenAddr::Ip(group.first()?.local_address()), 0),
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

fn datagram(socket: socket2::Socket) -> io::Result<DatagramSocket> {
    DatagramSocket::new(UdpSocket::from_std(socket.into())?)
}

fn waiting_fd(waiting: &Waiting) -> BorrowedFd<'_> {
    match waiting {
        Waiting::Tcp(listener) => listener.as_fd(),
        Waiting::Unix(listener) => listener.as_fd(),
    }
}

/// The name under which the service manager keeps a socket; one for each socket, so that each can
/// be taken back.
fn store_name(transport: Transport, address: &ListenAddr, index: usize) -> String {
    format!("{transport}-{address}-{index}")
}

fn taken(transport: Transport, address: &ListenAddr, service: &str) -> BindError {
    BindError {
        address: address.clone(),
        transport,
        taken_by: Some(service.to_owned()),
        source: io::ErrorKind::AddrInUse.into(),
    }
}

fn failed(transport: Transport, address: &ListenAddr, source: io::Error) -> BindError {
    BindError {
        address: address.clone(),
        transport,
        taken_by: None,
        source,
    }
}
