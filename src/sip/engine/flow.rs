//! Where messages come from and go to.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::wire::Transport;

/// Two ends and what joins them: a datagram association, or a connection. Requests to a phone go
/// back over the flow on which it registered (RFC 5626), the only way through its NAT.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Flow {
    /// What it runs over.
    pub transport: Transport,
    /// Our end.
    pub local: SocketAddr,
    /// The peer's end.
    pub remote: SocketAddr,
    /// Which connection; 0 for datagrams, and for a connection that is yet to be made.
    pub connection: u64,
}

/// Where a message goes: along a flow or, where that is no more, to an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Destination {
    /// The flow.
    pub flow: Flow,
    /// Where to connect to if the flow's connection is gone.
    pub direct: Option<SocketAddr>,
}

impl From<Flow> for Destination {
    fn from(flow: Flow) -> Self {
        Self { flow, direct: None }
    }
}

impl Flow {
    /// Writes it down in a few octets.
    pub fn encode(&self, into: &mut Vec<u8>) {
        let transport = match self.transport {
            Transport::Udp => 0,
            Transport::Tcp => 1,
            Transport::Tls => 2,
        };
        let bit = |address: SocketAddr, bit: u8| if address.is_ipv6() { bit } else { 0 };
        let connected = if self.connection == 0 { 0 } else { 16 };
        into.push(transport | bit(self.local, 4) | bit(self.remote, 8) | connected);
        for address in [self.local, self.remote] {
            match address.ip() {
                IpAddr::V4(ip) => into.extend_from_slice(&ip.octets()),
                IpAddr::V6(ip) => into.extend_from_slice(&ip.octets()),
            }
            into.extend_from_slice(&address.port().to_be_bytes());
        }
        if connected != 0 {
            into.extend_from_slice(&self.connection.to_be_bytes());
        }
    }

    /// Reads it back, and what follows it.
    #[must_use]
    pub fn decode(from: &[u8]) -> Option<(Self, &[u8])> {
        let (kind, rest) = from.split_first()?;
        let transport = match kind & 3 {
            0 => Transport::Udp,
            1 => Transport::Tcp,
            2 => Transport::Tls,
            _ => return None,
        };
        let (local, rest) = decode_address(rest, kind & 4 != 0)?;
        let (remote, rest) = decode_address(rest, kind & 8 != 0)?;
        let (connection, rest) = if kind & 16 == 0 {
            (0, rest)
        } else {
            let (octets, rest) = rest.split_first_chunk()?;
            (u64::from_be_bytes(*octets), rest)
        };
        let flow = Self {
            transport,
            local,
            remote,
            connection,
        };
        Some((flow, rest))
    }
}

fn decode_address(from: &[u8], v6: bool) -> Option<(SocketAddr, &[u8])> {
    let (ip, rest): (IpAddr, &[u8]) = if v6 {
        let (octets, rest) = from.split_first_chunk::<16>()?;
        (Ipv6Addr::from(*octets).into(), rest)
    } else {
        let (octets, rest) = from.split_first_chunk::<4>()?;
        (Ipv4Addr::from(*octets).into(), rest)
    };
    let (port, rest) = rest.split_first_chunk()?;
    Some((SocketAddr::new(ip, u16::from_be_bytes(*port)), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() -> Result<(), std::net::AddrParseError> {
        for (local, remote, transport, connection) in [
            ("192.0.2.1:5060", "198.51.100.7:40000", Transport::Udp, 0),
            ("[2001:db8::1]:5061", "[2001:db8::2]:1", Transport::Tls, 77),
            ("127.0.0.1:5060", "[::1]:9", Transport::Tcp, u64::MAX),
        ] {
            let flow = Flow {
                transport,
                local: local.parse()?,
                remote: remote.parse()?,
                connection,
            };
            let mut octets = Vec::new();
            flow.encode(&mut octets);
            octets.push(9);
            assert_eq!(Flow::decode(&octets), Some((flow, &[9][..])));
            octets.truncate(octets.len() - 2);
            assert_eq!(Flow::decode(&octets), None);
        }
        Ok(())
    }
}
