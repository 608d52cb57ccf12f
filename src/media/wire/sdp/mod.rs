//! Session descriptions (RFC 8866), kept whole so that what is only passed on is not lost.

mod codec;
mod parse;
mod print;

use std::net::IpAddr;

pub use codec::{Codec, CodecName};
pub use parse::SdpError;

/// Bytes that a description may have.
pub const MAX_LENGTH: usize = 64 * 1024;
/// Streams that a description may have.
pub const MAX_MEDIA: usize = 32;
/// Attributes that a stream, or the session above the streams, may have.
pub const MAX_ATTRIBUTES: usize = 64;
/// Formats that a stream may offer.
pub const MAX_FORMATS: usize = 64;

/// A session description.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sdp {
    pub origin: Origin,
    /// `s=`: `-` where nobody gave it a name.
    pub name: String,
    pub connection: Option<Connection>,
    /// `i=`, `u=`, `e=`, `p=`, `b=` of the session: kept, not understood.
    pub other: Vec<(char, String)>,
    /// `t=`; `0 0` is without end.
    pub time: String,
    pub attributes: Vec<Attribute>,
    pub media: Vec<Media>,
}

/// `o=`: who described the session, and which version of the description this is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    pub user: String,
    pub id: String,
    pub version: String,
    pub address: Connection,
}

/// `c=`: where media goes to. The address may be a name, or a group with its lifetime.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connection {
    pub six: bool,
    pub address: String,
}

impl Connection {
    #[must_use]
    pub fn new(address: IpAddr) -> Self {
        Self {
            six: address.is_ipv6(),
            address: address.to_string(),
        }
    }

    /// The address, where it is one and no name.
    #[must_use]
    pub fn ip(&self) -> Option<IpAddr> {
        self.address.parse().ok()
    }
}

/// `a=`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attribute {
    pub name: String,
    pub value: Option<String>,
}

impl Attribute {
    pub fn new(name: impl Into<String>, value: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            value: Some(value.into()),
        }
    }

    pub fn flag(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            value: None,
        }
    }
}

/// `m=` and the lines below it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Media {
    /// `audio`, `video` …
    pub kind: String,
    /// 0 refuses the stream.
    pub port: u16,
    /// `/n` behind the port, of layered codings.
    pub ports: Option<u16>,
    /// `RTP/AVP`, `RTP/SAVP`, `UDP/TLS/RTP/SAVPF`, `udptl` …
    pub protocol: String,
    /// Payload types of RTP, or what else the protocol has.
    pub formats: Vec<String>,
    pub connection: Option<Connection>,
    pub other: Vec<(char, String)>,
    pub attributes: Vec<Attribute>,
}

/// Which way media flows, as the one says who wrote the description.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Direction {
    #[default]
    SendReceive,
    SendOnly,
    ReceiveOnly,
    Inactive,
}

impl Direction {
    pub const NAMES: [(&str, Self); 4] = [
        ("sendrecv", Self::SendReceive),
        ("sendonly", Self::SendOnly),
        ("recvonly", Self::ReceiveOnly),
        ("inactive", Self::Inactive),
    ];

    #[must_use]
    pub fn new(sends: bool, receives: bool) -> Self {
        match (sends, receives) {
            (true, true) => Self::SendReceive,
            (true, false) => Self::SendOnly,
            (false, true) => Self::ReceiveOnly,
            (false, false) => Self::Inactive,
        }
    }

    #[must_use]
    pub fn sends(self) -> bool {
        matches!(self, Self::SendReceive | Self::SendOnly)
    }

    #[must_use]
    pub fn receives(self) -> bool {
        matches!(self, Self::SendReceive | Self::ReceiveOnly)
    }

    /// The same flow as the other end says it.
    #[must_use]
    pub fn reversed(self) -> Self {
        Self::new(self.receives(), self.sends())
    }

    /// What both allow.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self::new(
            self.sends() && other.sends(),
            self.receives() && other.receives(),
        )
    }

    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::SendReceive => "sendrecv",
            Self::SendOnly => "sendonly",
            Self::ReceiveOnly => "recvonly",
            Self::Inactive => "inactive",
        }
    }
}

fn direction(attributes: &[Attribute]) -> Option<Direction> {
    attributes.iter().find_map(|attribute| {
        let mut names = Direction::NAMES.iter();
        let (_, direction) = names.find(|(name, _)| *name == attribute.name)?;
        Some(*direction)
    })
}

impl Sdp {
    /// Where the stream's media goes to: its own address, or else the session's.
    #[must_use]
    pub fn connection<'a>(&'a self, media: &'a Media) -> Option<&'a Connection> {
        media.connection.as_ref().or(self.connection.as_ref())
    }

    /// Which way the stream flows, as the description's writer says it: the stream's attribute, or
    /// else the session's. The null address is the old way to hold a call (RFC 3264 section 8.4).
    #[must_use]
    pub fn direction(&self, media: &Media) -> Direction {
        let said = direction(&media.attributes).or_else(|| direction(&self.attributes));
        let said = said.unwrap_or_default();
        let nowhere = self.connection(media).and_then(Connection::ip);
        match nowhere {
            // Nothing can be sent to the null address; the writer may still send.
            Some(ip) if ip.is_unspecified() => Direction::new(said.sends(), false),
            _ => said,
        }
    }

    /// An attribute of the stream, or else of the session.
    #[must_use]
    pub fn attribute<'a>(&'a self, media: &'a Media, name: &str) -> Option<&'a Attribute> {
        let own = media.attribute(name);
        own.or_else(|| self.attributes.iter().find(|other| other.name == name))
    }

    /// Milliseconds of sound in one packet, as the writer wants to receive them.
    #[must_use]
    pub fn ptime(&self, media: &Media) -> Option<u16> {
        let value = self.attribute(media, "ptime")?.value.as_deref()?;
        // Some write 20.0.
        let whole = value.trim().split('.').next()?;
        whole.parse().ok().filter(|ms| (1..=200).contains(ms))
    }

    /// The streams that are not refused, with their places.
    pub fn active(&self) -> impl Iterator<Item = (usize, &Media)> {
        let media = self.media.iter().enumerate();
        media.filter(|(_, media)| media.port != 0)
    }
}

impl Media {
    #[must_use]
    pub fn attribute(&self, name: &str) -> Option<&Attribute> {
        self.attributes
            .iter()
            .find(|attribute| attribute.name == name)
    }

    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.attribute(name).is_some()
    }

    #[must_use]
    pub fn is_audio(&self) -> bool {
        self.kind.eq_ignore_ascii_case("audio")
    }

    /// The profile is one of RTP's, so that formats are payload types.
    #[must_use]
    pub fn is_rtp(&self) -> bool {
        self.protocol
            .rsplit('/')
            .next()
            .is_some_and(|last| ["AVP", "AVPF", "SAVP", "SAVPF"].contains(&last))
    }

    /// Keys are exchanged: the packets are SRTP.
    #[must_use]
    pub fn is_secure(&self) -> bool {
        self.protocol.ends_with("/SAVP") || self.protocol.ends_with("/SAVPF")
    }

    /// Removes an attribute wherever it stands in the stream.
    pub fn remove(&mut self, name: &str) {
        self.attributes.retain(|attribute| attribute.name != name);
    }

    /// Says which way the stream flows.
    pub fn set_direction(&mut self, direction: Direction) {
        let is_one = |name: &str| Direction::NAMES.iter().any(|(known, _)| *known == name);
        self.attributes.retain(|other| !is_one(&other.name));
        self.attributes.push(Attribute::flag(direction.name()));
    }

    /// The same stream refused: port 0, and nothing about it but what an answer must repeat
    /// (RFC 3264 section 6).
    #[must_use]
    pub fn refused(&self) -> Self {
        Self {
            kind: self.kind.clone(),
            port: 0,
            ports: None,
            protocol: self.protocol.clone(),
            formats: self.formats.clone(),
            connection: None,
            other: Vec::new(),
            attributes: Vec::new(),
        }
    }
}
