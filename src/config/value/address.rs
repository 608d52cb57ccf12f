//! Addresses: where to listen, who somebody is, which networks.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::{Fault, Value, parse_text};
use crate::item::Item;
use crate::node::Node;
use crate::reader::Reader;
use crate::shape::{Shape, Text};

/// Where to listen: an IP address and a port, or a Unix socket.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ListenAddr {
    /// `[::]:53`, `127.0.0.1:0`
    Ip(SocketAddr),
    /// `unix:/run/omnid/x.sock`
    Unix(PathBuf),
}

impl ListenAddr {
    /// Every address of this machine, IPv6 and IPv4.
    pub const fn any(port: u16) -> ListenAddr {
        ListenAddr::Ip(SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), port))
    }

    /// IPv4's loopback address.
    pub const fn loopback(port: u16) -> ListenAddr {
        ListenAddr::Ip(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port))
    }

    /// The IP address and port, if it is one.
    pub fn ip(&self) -> Option<SocketAddr> {
        match self {
            ListenAddr::Ip(address) => Some(*address),
            ListenAddr::Unix(_) => None,
        }
    }

    /// The Unix socket's path, if it is one.
    pub fn unix(&self) -> Option<&Path> {
        match self {
            ListenAddr::Ip(_) => None,
            ListenAddr::Unix(path) => Some(path),
        }
    }
}

impl From<SocketAddr> for ListenAddr {
    fn from(address: SocketAddr) -> Self {
        ListenAddr::Ip(address)
    }
}

impl fmt::Display for ListenAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ListenAddr::Ip(address) => address.fmt(f),
            ListenAddr::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl FromStr for ListenAddr {
    type Err = Fault;

    fn from_str(text: &str) -> Result<Self, Fault> {
        match text.strip_prefix("unix:") {
            Some("") => {
                Err(Fault::new("the path is missing").help("write \"unix:/run/omnid/x.sock\""))
            }
            Some(path) if path.contains('\0') => Err(Fault::new("a path cannot hold a zero byte")),
            Some(path) => Ok(ListenAddr::Unix(PathBuf::from(path))),
            None => socket_address(text).map(ListenAddr::Ip),
        }
    }
}

impl Value for ListenAddr {
    fn parse(node: &Node, cx: &mut Reader) -> Option<Self> {
        Some(match parse_text(node, cx, str::parse)? {
            ListenAddr::Unix(path) => ListenAddr::Unix(cx.resolve(node.span, &path)),
            address @ ListenAddr::Ip(_) => address,
        })
    }

    fn shape() -> Shape {
        Shape::Text(Text {
            name: "an address to listen on",
            plural: "addresses to listen on",
            example: "[::]:53",
            pattern: "^(unix:.+|.+:[0-9]+)$",
        })
    }

    fn item(&self) -> Item {
        Item::text(&self.to_string())
    }
}

fn socket_address(text: &str) -> Result<SocketAddr, Fault> {
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    let bare = text
        .strip_prefix("*:")
        .or_else(|| text.strip_prefix(':'))
        .unwrap_or(text);
    if let Ok(port) = bare.parse::<u16>() {
        return Err(Fault::new("the address is missing").help(format!(
            "write \"[::]:{port}\" for every address of this machine"
        )));
    }
    let split = text.rsplit_once(':');
    // With "2001:db8::1:53" a port was meant, although it is an address too.
    if let Some((host, port)) = split
        && let (Ok(host), Ok(port)) = (host.parse::<Ipv6Addr>(), port.parse::<u16>())
    {
        return Err(Fault::new("an IPv6 address stands in brackets")
            .help(format!("write \"[{host}]:{port}\"")));
    }
    if let Ok(address) = text.trim_matches(['[', ']']).parse::<IpAddr>() {
        let address = match address {
            IpAddr::V4(v4) => v4.to_string(),
            IpAddr::V6(v6) => format!("[{v6}]"),
        };
        return Err(Fault::new("the port is missing").help(format!("write \"{address}:PORT\"")));
    }
    let Some((host, port)) = split else {
        return Err(Fault::new("an IP address, a colon and a port are expected"));
    };
    if port.is_empty() || !port.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Fault::new(format!("\"{port}\" is not a port number")));
    }
    if port.parse::<u16>().is_err() {
        return Err(Fault::new(format!("there is no port {port}")).help("ports: 0 to 65535"));
    }
    if host == "localhost" {
        return Err(Fault::new("a name is not an address")
            .help(format!("write \"127.0.0.1:{port}\" or \"[::1]:{port}\"")));
    }
    Err(Fault::new(format!("\"{host}\" is not an IP address")))
}

impl Value for SocketAddr {
    fn parse(node: &Node, cx: &mut Reader) -> Option<Self> {
        parse_text(node, cx, socket_address)
    }

    fn shape() -> Shape {
        Shape::Text(Text {
            name: "an address and port",
            plural: "addresses with ports",
            example: "192.0.2.1:53",
            pattern: "^.+:[0-9]+$",
        })
    }

    fn item(&self) -> Item {
        Item::text(&self.to_string())
    }
}

fn ip_address(text: &str) -> Result<IpAddr, Fault> {
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Err(Fault::new("there is no port here").help(format!("write \"{}\"", address.ip())));
    }
    if text.parse::<IpNet>().is_ok() {
        return Err(Fault::new("this is a network, and one address is wanted"));
    }
    Err(Fault::new("neither an IPv4 nor an IPv6 address"))
}

impl Value for IpAddr {
    fn parse(node: &Node, cx: &mut Reader) -> Option<Self> {
        parse_text(node, cx, ip_address)
    }

    fn shape() -> Shape {
        Shape::Text(Text {
            name: "an IP address",
            plural: "IP addresses",
            example: "192.0.2.1",
            pattern: "^[0-9A-Fa-f:.]+$",
        })
    }

    fn item(&self) -> Item {
        Item::text(&self.to_string())
    }
}

/// A network: `192.0.2.0/24`, `2001:db8::/32`, or one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct IpNet {
    address: IpAddr,
    length: u8,
}

impl IpNet {
    /// A network by its first address and prefix length; `None` if the length is too long or the
    /// address has bits set beyond it.
    pub fn new(address: IpAddr, length: u8) -> Option<IpNet> {
        let net = IpNet { address, length };
        (length <= width(address) && net.first() == address).then_some(net)
    }

    /// The network's first address.
    pub fn address(self) -> IpAddr {
        self.address
    }

    /// How many leading bits belong to the network.
    pub fn prefix_length(self) -> u8 {
        self.length
    }

    /// Whether an address belongs to it. An IPv4 address in IPv6's notation (`::ffff:192.0.2.1`,
    /// as a dual-stack socket reports it) counts as IPv4.
    pub fn contains(self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        let same_family = address.is_ipv4() == self.address.is_ipv4();
        same_family
            && IpNet {
                address,
                length: self.length,
            }
            .first()
                == self.address
    }

    /// The address with all bits beyond the prefix cleared.
    fn first(self) -> IpAddr {
        let length = u32::from(self.length);
        match self.address {
            IpAddr::V4(v4) => {
                let mask = u32::MAX
                    .checked_shl(32_u32.saturating_sub(length))
                    .unwrap_or(0);
                IpAddr::V4((u32::from(v4) & mask).into())
            }
            IpAddr::V6(v6) => {
                let mask = u128::MAX
                    .checked_shl(128_u32.saturating_sub(length))
                    .unwrap_or(0);
                IpAddr::V6((u128::from(v6) & mask).into())
            }
        }
    }
}

fn width(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

impl From<IpAddr> for IpNet {
    fn from(address: IpAddr) -> Self {
        IpNet {
            address,
            length: width(address),
        }
    }
}

impl fmt::Display for IpNet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.length == width(self.address) {
            self.address.fmt(f)
        } else {
            write!(f, "{}/{}", self.address, self.length)
        }
    }
}

impl FromStr for IpNet {
    type Err = Fault;

    fn from_str(text: &str) -> Result<Self, Fault> {
        let Some((address, length)) = text.split_once('/') else {
            let address: Result<IpAddr, _> = text.parse();
            return address
                .map(IpNet::from)
                .map_err(|_| Fault::new("not an IP address"));
        };
        let address: IpAddr = address
            .parse()
            .map_err(|_| Fault::new("no IP address stands before the slash"))?;
        let width = width(address);
        let digits = length.bytes().all(|byte| byte.is_ascii_digit());
        let length: Option<u8> = length
            .parse()
            .ok()
            .filter(|length| digits && *length <= width);
        let length = length.ok_or_else(|| {
            Fault::new(format!("after the slash stands a number from 0 to {width}"))
        })?;
        let net = IpNet { address, length };
        if net.first() != address {
            let first = IpNet {
                address: net.first(),
                length,
            };
            return Err(
                Fault::new(format!("bits are set beyond the first {length}")).help(format!(
                    "write \"{first}\" for the network, \"{address}\" for the one address"
                )),
            );
        }
        Ok(net)
    }
}

impl Value for IpNet {
    fn parse(node: &Node, cx: &mut Reader) -> Option<Self> {
        parse_text(node, cx, str::parse)
    }

    fn shape() -> Shape {
        Shape::Text(Text {
            name: "a network",
            plural: "networks",
            example: "192.0.2.0/24",
            pattern: "^[0-9A-Fa-f:.]+(/[0-9]+)?$",
        })
    }

    fn item(&self) -> Item {
        Item::text(&self.to_string())
    }
}
