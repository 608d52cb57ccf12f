//! Making sockets: options, dual stack, stale Unix sockets, and errors that say what to do.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;

use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::{ListenAddr, Transport, sys};

/// Bytes that a UDP socket may queue in each direction, as far as the kernel allows.
const DATAGRAM_BUFFER: usize = 2 * 1024 * 1024;

/// Why an address cannot be listened on.
#[derive(Debug, thiserror::Error)]
pub struct BindError {
    /// The address asked for.
    pub address: ListenAddr,
    /// Stream or datagram.
    pub transport: Transport,
    /// The service of this process that has it already, if that is the reason.
    pub taken_by: Option<String>,
    /// The kernel's reason.
    #[source]
    pub source: io::Error,
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let protocol = match (self.transport, &self.address) {
            (_, ListenAddr::Unix(_)) => "",
            (Transport::Stream, _) => " (TCP)",
            (Transport::Datagram, _) => " (UDP)",
        };
        write!(f, "cannot listen on {}{protocol}", self.address)?;
        if let Some(service) = &self.taken_by {
            return write!(f, ": {service} listens there");
        }
        match self.source.kind() {
            io::ErrorKind::AddrInUse => write!(f, ": another process listens there"),
            io::ErrorKind::AddrNotAvailable => write!(f, ": no interface has this address"),
            io::ErrorKind::PermissionDenied if self.is_privileged() => {
                write!(
                    f,
                    ": ports below 1024 need the capability CAP_NET_BIND_SERVICE"
                )
            }
            _ => Ok(()),
        }
    }
}

impl BindError {
    fn is_privileged(&self) -> bool {
        matches!(&self.address, ListenAddr::Ip(address) if (1..1024).contains(&address.port()))
    }
}

pub(crate) fn tcp(address: SocketAddr, backlog: u32, only_ipv6: bool) -> io::Result<Socket> {
    let (socket, address) = open(address, Type::STREAM, Protocol::TCP, only_ipv6)?;
    // Linux: lets a restarted process bind while its old connections are in TIME_WAIT.
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))?;
    Ok(socket)
}

/// The options of a TCP listener, whether we opened it or were passed it.
pub(crate) fn prepare_tcp(socket: &Socket) -> io::Result<()> {
    // Nagle's algorithm only delays protocols that write whole messages. On Linux connections
    // inherit this from their listener, which saves a system call for each.
    socket.set_tcp_nodelay(true)
}

pub(crate) fn udp(address: SocketAddr, shared: bool, only_ipv6: bool) -> io::Result<Socket> {
    let (socket, address) = open(address, Type::DGRAM, Protocol::UDP, only_ipv6)?;
    if shared {
        socket.set_reuse_port(true)?;
    }
    prepare_udp(&socket, address.is_ipv6())?;
    socket.bind(&address.into())?;
    Ok(socket)
}

/// The options of a UDP socket, whether we opened it or were passed it.
pub(crate) fn prepare_udp(socket: &Socket, ipv6: bool) -> io::Result<()> {
    sys::receive_packet_info(socket.as_fd(), ipv6)?;
    // These are for speed and safety, not for function: a kernel without them still serves.
    if let Err(error) = sys::ignore_path_mtu(socket.as_fd(), ipv6)
        .and_then(|()| socket.set_recv_buffer_size(DATAGRAM_BUFFER))
        .and_then(|()| socket.set_send_buffer_size(DATAGRAM_BUFFER))
    {
        tracing::debug!("UDP socket option: {error}");
    }
    socket.set_nonblocking(true)
}

/// A socket of the address's family. `[::]` takes IPv4 too, unless asked not to.
fn open(
    address: SocketAddr,
    kind: Type,
    protocol: Protocol,
    only_ipv6: bool,
) -> io::Result<(Socket, SocketAddr)> {
    let socket = match Socket::new(Domain::for_address(address), kind, Some(protocol)) {
        // A host may have IPv6 turned off; "every address" then means every IPv4 address.
        Err(error)
            if error.raw_os_error() == Some(libc::EAFNOSUPPORT)
                && address.ip() == IpAddr::from([0u16; 8])
                && !only_ipv6 =>
        {
            let address = SocketAddr::new(IpAddr::from([0u8; 4]), address.port());
            tracing::warn!("this host has no IPv6: listening on {address} instead of [::]");
            (Socket::new(Domain::IPV4, kind, Some(protocol))?, address)
        }
        result => (result?, address),
    };
    if socket.1.is_ipv6() {
        socket
            .0
            .set_only_v6(only_ipv6 || !socket.1.ip().is_unspecified())?;
    }
    socket.0.set_nonblocking(true)?;
    Ok(socket)
}

pub(crate) fn unix(path: &Path, backlog: u32) -> io::Result<Socket> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    let address = SockAddr::unix(path)?;
    if let Err(error) = socket.bind(&address) {
        // A process that was killed leaves its socket's file; one that lives answers there.
        if error.kind() != io::ErrorKind::AddrInUse || !is_stale(path, &address) {
            return Err(error);
        }
        std::fs::remove_file(path)?;
        socket.bind(&address)?;
    }
    // Who may connect is decided by the directory that it lies in, or by the service: the umask,
    // meant for files that hold something, would shut everybody out.
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o666))?;
    socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

fn is_stale(path: &Path, address: &SockAddr) -> bool {
    let is_socket = std::fs::symlink_metadata(path).is_ok_and(|meta| meta.file_type().is_socket());
    is_socket
        && Socket::new(Domain::UNIX, Type::STREAM, None)
            .and_then(|probe| probe.connect(address))
            .is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
}
