//! The PROXY protocol, versions 1 and 2, as HAProxy's `proxy-protocol.txt` defines it: a header
//! before a connection's first byte, in which a load balancer tells whose connection it passes on.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

/// Section 2.2: chosen so that no other protocol takes it for its own.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// Section 2.1: the longest version 1 line, with its end.
const LONGEST_LINE: usize = 107;

/// The longest version 2 header that is taken, after its first 16 bytes. Two IPv6 addresses need
/// 36; the rest is what load balancers add in type-length-values, which nobody needs more of.
const LONGEST_BODY: usize = 4096;

/// What a header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Header {
    /// The load balancer speaks for itself (a health check), or does not know for whom.
    Local,
    /// It speaks for somebody.
    Proxied {
        /// The client.
        source: SocketAddr,
        /// The address that the client connected to.
        destination: SocketAddr,
    },
}

/// How far a header has been read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The header is at least this long. All of it up to there belongs to the header, so that who
    /// reads up to there and asks again never takes a byte of what follows.
    Needs(usize),
    /// The header is complete, and this long.
    Done(Header, usize),
}

/// Why bytes are no PROXY header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProxyError {
    /// They begin as neither version does.
    #[error("no PROXY header")]
    Missing,
    /// The line is longer than any address makes it.
    #[error("PROXY line too long")]
    LineTooLong,
    /// The line has the wrong words in it.
    #[error("malformed PROXY line")]
    Line,
    /// The header is longer than we take.
    #[error("PROXY header of {0} bytes is too long")]
    TooLong(usize),
    /// Version, command or family is not one that is defined.
    #[error("PROXY header of unknown kind {0:#04x} {1:#04x}")]
    Kind(u8, u8),
    /// The addresses do not fit in it.
    #[error("PROXY header of {0} bytes is too short for its addresses")]
    TooShort(usize),
}

/// Do the first bytes of a connection look like a PROXY header?
pub fn looks_like(bytes: &[u8]) -> bool {
    bytes.starts_with(b"PROXY ") || bytes.starts_with(SIGNATURE)
}

/// Reads a header from the first bytes of a connection.
///
/// # Errors
/// When no further bytes can make it a header.
pub fn parse(bytes: &[u8]) -> Result<Progress, ProxyError> {
    // Twelve bytes tell the versions apart, and both are longer.
    let Some(start) = bytes.first_chunk::<12>() else {
        let could_be = b"PROXY ".starts_with(bytes)
            || bytes.starts_with(b"PROXY ")
            || SIGNATURE.starts_with(bytes);
        return if could_be {
            Ok(Progress::Needs(12))
        } else {
            Err(ProxyError::Missing)
        };
    };
    if start == SIGNATURE {
        parse_binary(bytes)
    } else if start.starts_with(b"PROXY ") {
        parse_line(bytes)
    } else {
        Err(ProxyError::Missing)
    }
}

fn parse_line(bytes: &[u8]) -> Result<Progress, ProxyError> {
    let window = bytes.get(..LONGEST_LINE).unwrap_or(bytes);
    let Some(end) = window.iter().position(|&byte| byte == b'\n') else {
        return if bytes.len() >= LONGEST_LINE {
            Err(ProxyError::LineTooLong)
        } else {
            Ok(Progress::Needs(shortest_line(bytes)))
        };
    };
    let length = end.saturating_add(1);
    let line = window.get(..end).and_then(|line| line.strip_suffix(b"\r"));
    let line = line
        .and_then(|line| std::str::from_utf8(line).ok())
        .ok_or(ProxyError::Line)?;
    let mut words = line.split(' ');
    let (_, family) = (words.next(), words.next());
    let header = match family {
        // Section 2.1: what follows UNKNOWN is to be ignored.
        Some("UNKNOWN") => Header::Local,
        Some("TCP4") => addresses::<Ipv4Addr>(&mut words).ok_or(ProxyError::Line)?,
        Some("TCP6") => addresses::<Ipv6Addr>(&mut words).ok_or(ProxyError::Line)?,
        _ => return Err(ProxyError::Line),
    };
    Ok(Progress::Done(header, length))
}

/// How long a line that begins so must be at least. It spares most of the reads of single bytes.
fn shortest_line(bytes: &[u8]) -> usize {
    let shortest = if bytes.starts_with(b"PROXY TCP4 ") {
        "PROXY TCP4 0.0.0.0 0.0.0.0 0 0\r\n".len()
    } else if bytes.starts_with(b"PROXY TCP6 ") {
        "PROXY TCP6 :: :: 0 0\r\n".len()
    } else {
        "PROXY UNKNOWN\r\n".len()
    };
    shortest.max(bytes.len().saturating_add(1))
}

fn addresses<'a, A: FromStr + Into<IpAddr>>(
    words: &mut impl Iterator<Item = &'a str>,
) -> Option<Header> {
    let mut address = || words.next()?.parse::<A>().ok().map(Into::into);
    let (source, destination) = (address()?, address()?);
    let mut port = || {
        let word = words.next()?;
        // Section 2.1: decimal digits without leading zeros; u16's parser would take "+1".
        let plain = word.bytes().all(|byte| byte.is_ascii_digit());
        let leading = word.len() > 1 && word.starts_with('0');
        word.parse::<u16>().ok().filter(|_| plain && !leading)
    };
    let (from, to) = (port()?, port()?);
    words.next().is_none().then(|| Header::Proxied {
        source: SocketAddr::new(source, from),
        destination: SocketAddr::new(destination, to),
    })
}

fn parse_binary(bytes: &[u8]) -> Result<Progress, ProxyError> {
    let Some((start, rest)) = bytes.split_first_chunk::<16>() else {
        return Ok(Progress::Needs(16));
    };
    let [.., version_command, family, high, low] = *start;
    let length = usize::from(u16::from_be_bytes([high, low]));
    let unknown = ProxyError::Kind(version_command, family);
    if length > LONGEST_BODY {
        return Err(ProxyError::TooLong(length));
    }
    let is_local = match version_command {
        0x20 => true,
        0x21 => false,
        _ => return Err(unknown),
    };
    let total = start.len().saturating_add(length);
    let Some(body) = rest.get(..length) else {
        return Ok(Progress::Needs(total));
    };
    let short = ProxyError::TooShort(length);
    let header = match family {
        // Section 2.2: a LOCAL connection's addresses are to be ignored, whatever they are.
        _ if is_local => Header::Local,
        // AF_INET and AF_INET6, over a stream or datagrams.
        0x11 | 0x12 => {
            let (source, rest) = body.split_first_chunk::<4>().ok_or(short)?;
            let (destination, rest) = rest.split_first_chunk::<4>().ok_or(short)?;
            with_ports(Ipv4Addr::from(*source), Ipv4Addr::from(*destination), rest).ok_or(short)?
        }
        0x21 | 0x22 => {
            let (source, rest) = body.split_first_chunk::<16>().ok_or(short)?;
            let (destination, rest) = rest.split_first_chunk::<16>().ok_or(short)?;
            with_ports(Ipv6Addr::from(*source), Ipv6Addr::from(*destination), rest).ok_or(short)?
        }
        // AF_UNSPEC and AF_UNIX have no address of use here.
        0x00 | 0x31 | 0x32 => Header::Local,
        _ => return Err(unknown),
    };
    Ok(Progress::Done(header, total))
}

fn with_ports(
    source: impl Into<IpAddr>,
    destination: impl Into<IpAddr>,
    rest: &[u8],
) -> Option<Header> {
    let &[a, b, c, d] = rest.first_chunk()?;
    Some(Header::Proxied {
        source: SocketAddr::new(source.into(), u16::from_be_bytes([a, b])),
        destination: SocketAddr::new(destination.into(), u16::from_be_bytes([c, d])),
    })
}

impl Header {
    /// The header as a version 1 line.
    pub fn to_line(&self) -> String {
        match self {
            // A line has one family for both addresses.
            Self::Proxied {
                source,
                destination,
            } if source.is_ipv4() == destination.is_ipv4() => {
                let family = if source.is_ipv4() { "TCP4" } else { "TCP6" };
                format!(
                    "PROXY {family} {} {} {} {}\r\n",
                    source.ip(),
                    destination.ip(),
                    source.port(),
                    destination.port()
                )
            }
            Self::Local | Self::Proxied { .. } => "PROXY UNKNOWN\r\n".to_owned(),
        }
    }

    /// The header in version 2.
    pub fn to_binary(&self) -> Vec<u8> {
        let mut out = SIGNATURE.to_vec();
        match *self {
            Self::Local => out.extend([0x20, 0, 0, 0]),
            Self::Proxied {
                source,
                destination,
            } => {
                match (source.ip(), destination.ip()) {
                    (IpAddr::V4(source), IpAddr::V4(destination)) => {
                        out.extend([0x21, 0x11, 0, 12]);
                        out.extend(source.octets());
                        out.extend(destination.octets());
                    }
                    (source, destination) => {
                        out.extend([0x21, 0x21, 0, 36]);
                        out.extend(ipv6(source).octets());
                        out.extend(ipv6(destination).octets());
                    }
                }
                out.extend(source.port().to_be_bytes());
                out.extend(destination.port().to_be_bytes());
            }
        }
        out
    }
}

fn ipv6(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn proxied(source: &str, destination: &str) -> Result<Header, std::net::AddrParseError> {
        Ok(Header::Proxied {
            source: source.parse()?,
            destination: destination.parse()?,
        })
    }

    #[test]
    fn lines() -> Result<(), Box<dyn std::error::Error>> {
        let four = proxied("192.168.0.1:56324", "192.168.0.11:443")?;
        let six = proxied("[2001:db8::1]:1", "[2001:db8::2]:65535")?;
        let longest = "PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n";
        let table: &[(&str, Result<Header, ProxyError>)] = &[
            // Section 2.1's own examples.
            (
                "PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\nGET / HTTP/1.1\r\n",
                Ok(four),
            ),
            ("PROXY UNKNOWN\r\n", Ok(Header::Local)),
            (longest, Ok(Header::Local)),
            ("PROXY TCP6 2001:db8::1 2001:db8::2 1 65535\r\n", Ok(six)),
            (
                "PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\nGET",
                Err(ProxyError::Line),
            ),
            (
                "PROXY TCP4 2001:db8::1 2001:db8::2 1 65535\r\n",
                Err(ProxyError::Line),
            ),
            (
                "PROXY TCP6 192.168.0.1 192.168.0.11 1 2\r\n",
                Err(ProxyError::Line),
            ),
            (
                "PROXY TCP4 192.168.0.1 192.168.0.11 65536 443\r\n",
                Err(ProxyError::Line),
            ),
            (
                "PROXY TCP4 192.168.0.1 192.168.0.11 +1 443\r\n",
                Err(ProxyError::Line),
            ),
            (
                "PROXY TCP4 192.168.0.1 192.168.0.11 01 443\r\n",
                Err(ProxyError::Line),
            ),
            (
                "PROXY TCP4 192.168.0.01 192.168.0.11 1 443\r\n",
                Err(ProxyError::Line),
            ),
            (
                "PROXY TCP4 192.168.0.1 192.168.0.11 1 443 \r\n",
                Err(ProxyError::Line),
            ),
            (
                "PROXY TCP4  192.168.0.1 192.168.0.11 1 443\r\n",
                Err(ProxyError::Line),
            ),
            (
                "PROXY TCP4 192.168.0.1 192.168.0.11 1\r\n",
                Err(ProxyError::Line),
            ),
            (
                "PROXY UDP4 192.168.0.1 192.168.0.11 1 2\r\n",
                Err(ProxyError::Line),
            ),
            ("GET / HTTP/1.1\r\n\r\n", Err(ProxyError::Missing)),
            ("PROXIES ARE FINE\r\n", Err(ProxyError::Missing)),
        ];
        for (text, expected) in table {
            let parsed = parse(text.as_bytes());
            let end = text.find('\n').map_or(0, |end| end + 1);
            let expected = expected.map(|header| Progress::Done(header, end));
            assert_eq!(parsed, expected, "{text:?}");
        }
        let endless = format!("PROXY TCP4 {}", "1".repeat(200));
        assert_eq!(parse(endless.as_bytes()), Err(ProxyError::LineTooLong));
        Ok(())
    }

    #[test]
    fn binary() -> Result<(), Box<dyn std::error::Error>> {
        let four = proxied("192.0.2.1:1025", "192.0.2.2:443")?;
        let header = |kind: [u8; 2], body: &[u8]| {
            let length = u16::try_from(body.len()).unwrap_or(u16::MAX).to_be_bytes();
            [SIGNATURE, &kind[..], &length, body].concat()
        };
        let addresses = [192, 0, 2, 1, 192, 0, 2, 2, 4, 1, 1, 187];
        let with_values = [&addresses[..], &[1, 0, 2, b'h', b'2']].concat();
        let table = [
            (header([0x21, 0x11], &addresses), Ok(four)),
            (header([0x21, 0x11], &with_values), Ok(four)),
            (header([0x20, 0x11], &addresses), Ok(Header::Local)),
            (header([0x20, 0x00], &[]), Ok(Header::Local)),
            (header([0x21, 0x00], &[1, 2, 3]), Ok(Header::Local)),
            (header([0x21, 0x31], &[0; 216]), Ok(Header::Local)),
            (
                header([0x21, 0x11], &addresses[..11]),
                Err(ProxyError::TooShort(11)),
            ),
            (
                header([0x21, 0x21], &addresses),
                Err(ProxyError::TooShort(12)),
            ),
            (
                header([0x11, 0x11], &addresses),
                Err(ProxyError::Kind(0x11, 0x11)),
            ),
            (
                header([0x22, 0x11], &addresses),
                Err(ProxyError::Kind(0x22, 0x11)),
            ),
            (
                header([0x21, 0x51], &addresses),
                Err(ProxyError::Kind(0x21, 0x51)),
            ),
            (
                header([0x21, 0x11], &[0; 5000]),
                Err(ProxyError::TooLong(5000)),
            ),
        ];
        for (bytes, expected) in table {
            let expected = expected.map(|header| Progress::Done(header, bytes.len()));
            assert_eq!(parse(&bytes), expected, "{}", bytes.escape_ascii());
        }
        Ok(())
    }

    fn header() -> impl Strategy<Value = Header> {
        let four = (any::<[u8; 4]>(), any::<[u8; 4]>())
            .prop_map(|(a, b)| (IpAddr::from(a), IpAddr::from(b)));
        let six = (any::<[u8; 16]>(), any::<[u8; 16]>())
            .prop_map(|(a, b)| (IpAddr::from(a), IpAddr::from(b)));
        let proxied = (prop_oneof![four, six], any::<(u16, u16)>()).prop_map(|((a, b), (p, q))| {
            Header::Proxied {
                source: SocketAddr::new(a, p),
                destination: SocketAddr::new(b, q),
            }
        });
        prop_oneof![1 => Just(Header::Local), 9 => proxied]
    }

    /// Reads as the listener does: only as far as asked.
    fn read(bytes: &[u8]) -> Result<(Header, usize), ProxyError> {
        let mut have = 0;
        loop {
            match parse(&bytes[..have])? {
                Progress::Done(header, length) => {
                    assert_eq!(length, have, "read beyond the header");
                    return Ok((header, length));
                }
                Progress::Needs(needs) => {
                    assert!(needs > have, "no progress");
                    if needs > bytes.len() {
                        return Err(ProxyError::Missing);
                    }
                    have = needs;
                }
            }
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(header in header(), rest: Vec<u8>) {
            let line = header.to_line().into_bytes();
            prop_assert_eq!(read(&[&line[..], &rest].concat()), Ok((header, line.len())));
            let binary = header.to_binary();
            prop_assert_eq!(read(&[&binary[..], &rest].concat()), Ok((header, binary.len())));
        }

        #[test]
        fn nothing_panics(bytes: Vec<u8>, tail: Vec<u8>, version: bool) {
            let start: &[u8] = if version { b"PROXY TCP4 " } else { SIGNATURE };
            for bytes in [bytes.clone(), [start, &bytes, &tail].concat()] {
                if let Ok(Progress::Done(_, length)) = parse(&bytes) {
                    prop_assert!(length <= bytes.len());
                }
                if let Ok((_, length)) = read(&bytes) {
                    prop_assert!(length <= bytes.len());
                }
            }
        }

        #[test]
        fn cut_short_it_asks_for_no_more_than_there_is(header in header(), cut in 0.0..1.0f64) {
            for bytes in [header.to_line().into_bytes(), header.to_binary()] {
                let at = (bytes.len() as f64 * cut) as usize;
                match parse(&bytes[..at]) {
                    Ok(Progress::Needs(needs)) => prop_assert!(at < needs && needs <= bytes.len()),
                    other => prop_assert!(false, "{:?}", other),
                }
            }
        }
    }
}
