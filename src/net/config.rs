//! The `[net]` section: bounds on connections and the peers whose PROXY header is believed.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// Where a service listens.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ListenAddr {
    /// An IPv4 or IPv6 address with its port.
    Ip(SocketAddr),
    /// The path of a Unix socket.
    Unix(PathBuf),
}

impl std::fmt::Display for ListenAddr {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Ip(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Bounds shared by every listener.
#[derive(Clone, Debug, PartialEq)]
pub struct NetConfig {
    /// Connections at one time, over all listeners.
    pub max_connections: usize,
    /// Connections at one time on one listener.
    pub max_connections_per_listener: usize,
    /// Connections at one time from one client: an IPv4 address or an IPv6 /64.
    pub max_connections_per_client: usize,
    /// How long a TLS handshake may take.
    pub handshake_timeout: Duration,
    /// How long a new connection may stay silent.
    pub first_byte_timeout: Duration,
    /// Connections the kernel may hold before they are accepted.
    pub backlog: u32,
    /// PROXY protocol.
    pub proxy_protocol: ProxyProtocolConfig,
}

impl Default for NetConfig {
    fn default() -> Self {
        Self {
            max_connections: 100_000,
            max_connections_per_listener: 50_000,
            max_connections_per_client: 1_000,
            handshake_timeout: Duration::from_secs(10),
            first_byte_timeout: Duration::from_secs(10),
            backlog: 4096,
            proxy_protocol: ProxyProtocolConfig::default(),
        }
    }
}

/// Whose PROXY header is believed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ProxyProtocolConfig {
    /// Load balancers that put a PROXY header before every connection.
    pub trusted: Vec<IpNet>,
}

/// A network prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IpNet {
    /// Any address of the network.
    pub address: IpAddr,
    /// Length of the prefix in bits.
    pub prefix: u8,
}

impl IpNet {
    /// Is `address` within this network?
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(net), IpAddr::V4(ip)) => {
                let mask = u32::MAX
                    .checked_shl(32 - u32::from(self.prefix.min(32)))
                    .unwrap_or(0);
                u32::from(net) & mask == u32::from(ip) & mask
            }
            (IpAddr::V6(net), IpAddr::V6(ip)) => {
                let shift = 128 - u32::from(self.prefix.min(128));
                let mask = u128::MAX.checked_shl(shift).unwrap_or(0);
                u128::from(net) & mask == u128::from(ip) & mask
            }
            _ => false,
        }
    }
}
