//! Between session descriptions and the relay: what a description says about an end, and the same
//! description with our addresses in the place of the end's.

use std::net::{IpAddr, SocketAddr};

use crate::wire::sdp::{Attribute, Codec, CodecName, Connection, Direction, Sdp};

/// What is known of one end of a stream, out of its description.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remote {
    /// Where it wants RTP, which a NAT may make untrue.
    pub rtp: SocketAddr,
    pub rtcp: SocketAddr,
    /// RTCP comes at the RTP port (RFC 5761).
    pub mux: bool,
    /// The source of the message that the description came in: behind a NAT, RTP comes from there.
    pub signalling: Option<IpAddr>,
    /// Which way the stream flows as this end says it.
    pub direction: Direction,
    /// A bit for each payload type that this end described or agreed to.
    pub payload_types: u128,
    /// Clock rate of the first codec.
    pub clock: u32,
    /// The payload type of telephone-event, and its clock rate: often another than the codec's.
    pub events: Option<(u8, u32)>,
    /// It is SRTP; without keys of it here, what is in it is not ours to read.
    pub secure: bool,
}

/// Why a stream's description is not acted upon.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RemoteError {
    #[error("the description has no such stream, or refuses it")]
    NoStream,
    #[error("the stream is not RTP")]
    NotRtp,
    #[error("the stream's address is a name, which media does not look up")]
    Name,
    #[error("the stream's address is a group or a broadcast, or its port is not one")]
    Address,
}

impl Remote {
    /// Reads stream `index` of a description that came from `signalling`.
    pub fn from_sdp(
        sdp: &Sdp,
        index: usize,
        signalling: Option<IpAddr>,
    ) -> Result<Self, RemoteError> {
        let media = sdp.media.get(index).filter(|media| media.port != 0);
        let media = media.ok_or(RemoteError::NoStream)?;
        if !media.is_rtp() {
            return Err(RemoteError::NotRtp);
        }
        let connection = sdp.connection(media).ok_or(RemoteError::Address)?;
        let ip = connection.ip().ok_or(RemoteError::Name)?;
        // The null address stays: it is a hold. A privileged port is no phone's, but a trap.
        if !sendable(ip) && !ip.is_unspecified() || media.port < 1024 {
            return Err(RemoteError::Address);
        }
        let mux = media.has("rtcp-mux");
        let beside = media.port.checked_add(1).unwrap_or(media.port);
        let rtcp = if mux {
            SocketAddr::new(ip, media.port)
        } else {
            let said = media
                .attribute("rtcp")
                .and_then(|attribute| rtcp(attribute, ip));
            said.unwrap_or(SocketAddr::new(ip, beside))
        };
        let codecs = media.codecs();
        let events = |codec: &&Codec| codec.name == CodecName::TelephoneEvent;
        // Dynamic types that nobody described are let through too: formats count, not codecs.
        let numbers = media
            .formats
            .iter()
            .filter_map(|format| format.parse().ok());
        let payload_types = numbers
            .filter(|number: &u8| *number < 128)
            .fold(0, |types, number| types | 1 << number);
        Ok(Self {
            rtp: SocketAddr::new(ip, media.port),
            rtcp,
            mux,
            signalling,
            direction: sdp.direction(media),
            payload_types,
            clock: codecs.first().map_or(8000, |codec| codec.clock),
            events: codecs
                .iter()
                .find(events)
                .map(|codec| (codec.payload_type, codec.clock)),
            secure: media.is_secure(),
        })
    }
}

/// `a=rtcp:PORT [IN IP4 ADDRESS]` (RFC 3605).
fn rtcp(attribute: &Attribute, ip: IpAddr) -> Option<SocketAddr> {
    let mut words = attribute.value.as_deref()?.split_ascii_whitespace();
    let port: u16 = words.next()?.parse().ok()?;
    let ip = match words.nth(2) {
        Some(address) => address.parse().ok()?,
        None => ip,
    };
    (port >= 1024 && (sendable(ip) || ip.is_unspecified())).then(|| SocketAddr::new(ip, port))
}

/// An address that one end can have. (That it is none of our own ports is seen where the ports are
/// known.)
fn sendable(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => !(ip.is_multicast() || ip.is_broadcast() || ip.is_unspecified()),
        IpAddr::V6(ip) => !(ip.is_multicast() || ip.is_unspecified()),
    }
}

/// Our ports for a stream, as one end is told of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Anchor {
    pub rtp: SocketAddr,
    pub rtcp: u16,
    /// Offer, or answer, that RTCP comes at the RTP port.
    pub mux: bool,
}

/// Attributes that describe a path between two ends that meet no more: they meet us.
const PATHS: [&str; 9] = [
    "candidate",
    "end-of-candidates",
    "ice-lite",
    "ice-mismatch",
    "ice-options",
    "ice-pwd",
    "ice-ufrag",
    "remote-candidates",
    "rtcp",
];

/// Puts our addresses into a description on its way from one end to the other: `streams` has one
/// entry for each of its streams, and a stream without an anchor is refused. All else stays.
pub fn anchor(sdp: &mut Sdp, address: IpAddr, streams: &[Option<Anchor>]) {
    sdp.origin.address = Connection::new(address);
    sdp.connection = Some(Connection::new(address));
    let path = |attribute: &Attribute| PATHS.contains(&attribute.name.as_str());
    sdp.attributes.retain(|attribute| !path(attribute));
    // Streams are no longer bundled: each has its own port.
    sdp.attributes.retain(|attribute| attribute.name != "group");
    for (index, media) in sdp.media.iter_mut().enumerate() {
        let stream = streams.get(index).copied().flatten();
        let Some(anchor) = stream.filter(|_| media.port != 0) else {
            *media = media.refused();
            continue;
        };
        media.port = anchor.rtp.port();
        media.ports = None;
        media.connection = (anchor.rtp.ip() != address).then(|| Connection::new(anchor.rtp.ip()));
        media.attributes.retain(|attribute| !path(attribute));
        media.remove("rtcp-mux");
        if anchor.mux {
            media.attributes.push(Attribute::flag("rtcp-mux"));
        } else if Some(anchor.rtcp) != anchor.rtp.port().checked_add(1) {
            let rtcp = Attribute::new("rtcp", anchor.rtcp.to_string());
            media.attributes.push(rtcp);
        }
    }
}

/// Payload types that the two ends gave different numbers: packets that come with the first number
/// go on with the second.
#[must_use]
pub fn payload_map(from: &[Codec], to: &[Codec]) -> Vec<(u8, u8)> {
    let pairs = from.iter().filter_map(|codec| {
        let other = to.iter().find(|other| other.same(codec))?;
        Some((codec.payload_type, other.payload_type))
    });
    pairs.filter(|(from, to)| from != to).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sdp(media: &str) -> Sdp {
        let head = "v=0\r\no=x 1 1 IN IP4 10.0.0.5\r\ns=-\r\nc=IN IP4 10.0.0.5\r\nt=0 0\r\n";
        Sdp::parse(format!("{head}{media}").as_bytes()).unwrap()
    }

    #[test]
    fn an_end_is_read_out_of_its_description() {
        let text = "m=audio 4000 RTP/AVP 8 101\r\na=rtpmap:101 telephone-event/8000\r\n\
            a=rtcp:4444\r\na=recvonly\r\n";
        let remote = Remote::from_sdp(&sdp(text), 0, "192.0.2.1".parse().ok()).unwrap();
        assert_eq!(remote.rtp, "10.0.0.5:4000".parse().unwrap());
        assert_eq!(remote.rtcp, "10.0.0.5:4444".parse().unwrap());
        assert_eq!(remote.payload_types, 1 << 8 | 1 << 101);
        assert_eq!((remote.events, remote.clock), (Some((101, 8000)), 8000));
        assert_eq!(remote.direction, Direction::ReceiveOnly);
    }

    #[test]
    fn addresses_that_nobody_has_are_refused() {
        for (media, error) in [
            ("m=audio 0 RTP/AVP 0\r\n", RemoteError::NoStream),
            ("m=image 4000 udptl t38\r\n", RemoteError::NotRtp),
            ("m=audio 22 RTP/AVP 0\r\n", RemoteError::Address),
            (
                "m=audio 4000 RTP/AVP 0\r\nc=IN IP4 224.0.0.1\r\n",
                RemoteError::Address,
            ),
            (
                "m=audio 4000 RTP/AVP 0\r\nc=IN IP4 255.255.255.255\r\n",
                RemoteError::Address,
            ),
            (
                "m=audio 4000 RTP/AVP 0\r\nc=IN IP6 ff02::1\r\n",
                RemoteError::Address,
            ),
            (
                "m=audio 4000 RTP/AVP 0\r\nc=IN IP4 a.example\r\n",
                RemoteError::Name,
            ),
        ] {
            assert_eq!(
                Remote::from_sdp(&sdp(media), 0, None),
                Err(error),
                "{media}"
            );
        }
        let held = sdp("m=audio 4000 RTP/AVP 0\r\nc=IN IP4 0.0.0.0\r\n");
        let held = Remote::from_sdp(&held, 0, None).unwrap();
        assert!(!held.direction.receives());
    }

    #[test]
    fn an_anchored_description_names_only_us() {
        let mut offer = sdp("m=audio 4000 RTP/AVP 0 96\r\nc=IN IP4 10.0.0.6\r\n\
            a=rtpmap:96 opus/48000/2\r\na=rtcp:4001\r\na=ice-ufrag:x\r\n\
            a=candidate:1 1 UDP 1 10.0.0.5 4000 typ host\r\na=sendrecv\r\n\
            m=video 5000 RTP/AVP 31\r\na=sendrecv\r\n");
        let ours: IpAddr = "192.0.2.9".parse().unwrap();
        let stream = Anchor {
            rtp: SocketAddr::new(ours, 20_000),
            rtcp: 20_001,
            mux: false,
        };
        anchor(&mut offer, ours, &[Some(stream), None]);
        let text = offer.to_string();
        assert_eq!(
            text,
            "v=0\r\no=x 1 1 IN IP4 192.0.2.9\r\ns=-\r\nc=IN IP4 192.0.2.9\r\nt=0 0\r\n\
             m=audio 20000 RTP/AVP 0 96\r\na=rtpmap:96 opus/48000/2\r\na=sendrecv\r\n\
             m=video 0 RTP/AVP 31\r\n"
        );
    }

    #[test]
    fn the_same_codec_may_have_two_numbers() {
        let one = sdp(
            "m=audio 4000 RTP/AVP 0 96 101\r\na=rtpmap:96 opus/48000/2\r\n\
            a=rtpmap:101 telephone-event/8000\r\n",
        );
        let two = sdp(
            "m=audio 4000 RTP/AVP 111 0 101\r\na=rtpmap:111 OPUS/48000/2\r\n\
            a=rtpmap:101 telephone-event/8000\r\n",
        );
        let map = payload_map(&one.media[0].codecs(), &two.media[0].codecs());
        assert_eq!(map, [(96, 111)]);
    }
}
