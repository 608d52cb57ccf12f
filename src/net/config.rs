//! The `[net]` section: bounds on connections, and whose PROXY header is believed.

use std::time::Duration;

use omnid_config::{IpNet, ListenAddr};

omnid_config::section! {
    /// Sockets: bounds shared by every listener.
    pub struct NetConfig {
        /// Connections at one time, over all listeners.
        #[range(1..=10_000_000)]
        pub max_connections: u32 = 100_000,
        /// Connections at one time on one listener.
        #[range(1..=10_000_000)]
        pub max_connections_per_listener: u32 = 50_000,
        /// Connections at one time from one client.
        ///
        /// A client is an IPv4 address, or an IPv6 /64. Unix sockets are not counted.
        #[range(1..=10_000_000)]
        pub max_connections_per_client: u32 = 1_000,
        /// How long a TLS handshake may take.
        #[range(Duration::from_millis(100)..=Duration::from_secs(300))]
        pub handshake_timeout: Duration = Duration::from_secs(10),
        /// How long a new connection may stay silent.
        #[range(Duration::from_millis(100)..=Duration::from_secs(300))]
        pub first_byte_timeout: Duration = Duration::from_secs(10),
        /// Connections the kernel may hold before they are accepted.
        ///
        /// The kernel cuts it to net.core.somaxconn.
        #[range(1..=1_000_000)]
        pub backlog: u32 = 4096,
        /// PROXY protocol.
        pub proxy_protocol: ProxyProtocolConfig = ProxyProtocolConfig::default(),
    }
}

omnid_config::section! {
    /// PROXY protocol: clients' addresses as load balancers tell them.
    pub struct ProxyProtocolConfig {
        /// Load balancers: every connection from them must begin with a PROXY header.
        pub trusted: Vec<IpNet> = vec![],
        /// Listeners that they connect to; empty means all.
        ///
        /// A Unix socket named here expects a PROXY header from every peer.
        pub listen: Vec<ListenAddr> = vec![],
    }
}
