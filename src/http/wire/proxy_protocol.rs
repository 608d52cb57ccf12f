//! The line or block in front of a connection that tells whose it is (HAProxy's PROXY protocol),
//! written for upstreams.

use std::net::SocketAddr;

/// Its versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// A line of text.
    V1,
    /// A binary block.
    V2,
}

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// What goes before the first byte of a connection made for `client`, who connected to `local`.
#[must_use]
pub fn header(version: Version, client: SocketAddr, local: SocketAddr) -> Vec<u8> {
    let canonical =
        |address: SocketAddr| SocketAddr::new(address.ip().to_canonical(), address.port());
    let (client, local) = (canonical(client), canonical(local));
    match version {
        Version::V1 => {
            let family = match (client, local) {
                (SocketAddr::V4(_), SocketAddr::V4(_)) => "TCP4",
                (SocketAddr::V6(_), SocketAddr::V6(_)) => "TCP6",
                // The two cannot be told in one line.
                _ => return b"PROXY UNKNOWN\r\n".to_vec(),
            };
            format!(
                "PROXY {family} {} {} {} {}\r\n",
                client.ip(),
                local.ip(),
                client.port(),
                local.port()
            )
            .into_bytes()
        }
        Version::V2 => {
            let mut addresses = Vec::with_capacity(36);
            let family = match (client, local) {
                (SocketAddr::V4(client), SocketAddr::V4(local)) => {
                    addresses.extend(client.ip().octets());
                    addresses.extend(local.ip().octets());
                    0x11
                }
                (client, local) => {
                    for address in [client, local] {
                        addresses.extend(match address {
                            SocketAddr::V4(address) => address.ip().to_ipv6_mapped().octets(),
                            SocketAddr::V6(address) => address.ip().octets(),
                        });
                    }
                    0x21
                }
            };
            addresses.extend(client.port().to_be_bytes());
            addresses.extend(local.port().to_be_bytes());
            let mut block = SIGNATURE.to_vec();
            block.extend([0x21, family]);
            // 12 or 36.
            block.extend(u16::try_from(addresses.len()).unwrap_or(0).to_be_bytes());
            block.extend(addresses);
            block
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions() {
        let address = |text: &str| {
            text.parse()
                .unwrap_or_else(|_| SocketAddr::from(([0, 0, 0, 0], 0)))
        };
        let four = (address("192.0.2.1:56324"), address("192.0.2.2:443"));
        let six = (address("[2001:db8::1]:1"), address("[2001:db8::2]:2"));
        let mapped = address("[::ffff:192.0.2.1]:56324");
        assert_eq!(
            header(Version::V1, four.0, four.1),
            b"PROXY TCP4 192.0.2.1 192.0.2.2 56324 443\r\n"
        );
        assert_eq!(
            header(Version::V1, mapped, four.1),
            header(Version::V1, four.0, four.1)
        );
        assert_eq!(
            header(Version::V1, six.0, six.1),
            b"PROXY TCP6 2001:db8::1 2001:db8::2 1 2\r\n"
        );
        assert_eq!(header(Version::V1, six.0, four.1), b"PROXY UNKNOWN\r\n");
        assert_eq!(
            header(Version::V2, four.0, four.1),
            b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x01\xc0\0\x02\x02\xdc\x04\x01\xbb"
        );
        let block = header(Version::V2, six.0, four.1);
        assert_eq!(block.len(), 16 + 36);
        assert_eq!(block.get(13..16), Some(&[0x21, 0, 36][..]));
    }
}
