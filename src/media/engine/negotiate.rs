//! Offer and answer (RFC 3264) for streams that end here: announcements, mailboxes, conferences.
//!
//! One audio stream; all others are refused. One codec is answered, so that nobody changes it in
//! mid-call.

use std::net::SocketAddr;

use crate::wire::sdp::{Attribute, Codec, CodecName, Connection, Direction, Media, Origin, Sdp};

/// What this end can do.
#[derive(Clone, Debug)]
pub struct Capabilities {
    /// In the order of preference, with the payload types that an offer gives them.
    pub codecs: Vec<Codec>,
    /// Milliseconds of sound in a packet.
    pub ptime: u16,
}

impl Capabilities {
    /// These codecs and telephone-event, in packets of 20 ms.
    #[must_use]
    pub fn new(names: &[CodecName]) -> Self {
        let mut codecs: Vec<_> = names.iter().zip(96..).map(codec).collect();
        codecs.push(Codec {
            payload_type: 101,
            name: CodecName::TelephoneEvent,
            clock: 8000,
            channels: 1,
            parameters: Some("0-16".to_owned()),
        });
        Self { codecs, ptime: 20 }
    }
}

fn codec((name, dynamic): (&CodecName, u8)) -> Codec {
    Codec {
        payload_type: name.static_payload_type().unwrap_or(dynamic),
        name: name.clone(),
        clock: name.clock(),
        // Opus always says two (RFC 7587 section 7).
        channels: if *name == CodecName::Opus { 2 } else { 1 },
        parameters: None,
    }
}

/// This end's side of a stream.
#[derive(Clone, Copy, Debug)]
pub struct Local {
    pub rtp: SocketAddr,
    pub rtcp: u16,
    pub direction: Direction,
    /// The session's number, and which description of it this is: one more for each that differs.
    pub session: u64,
    pub version: u64,
}

/// What offer and answer came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agreed {
    /// The stream's place in both descriptions.
    pub stream: usize,
    /// What is sent, under the other end's number for it.
    pub send: Codec,
    /// What may come, under our numbers.
    pub receive: Vec<Codec>,
    /// Telephone events: the number to send them with.
    pub events: Option<u8>,
    /// Milliseconds of sound in the packets we send.
    pub ptime: u16,
    /// Which way the stream flows, as we say it.
    pub direction: Direction,
    pub mux: bool,
}

/// Why there is no agreement; 488 is the answer to all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NegotiationError {
    #[error("the description has no audio over RTP")]
    NoAudio,
    #[error("there is no codec that both ends have")]
    NoCodec,
    #[error("the answer does not have the streams of the offer")]
    Streams,
}

/// Describes this end first.
#[must_use]
pub fn offer(local: &Local, capabilities: &Capabilities) -> Sdp {
    let audio = describe(local, "RTP/AVP", &capabilities.codecs, capabilities.ptime);
    session(local, vec![audio])
}

/// Answers an offer. The order of codecs is the offer's: it knows what its end does best.
pub fn answer(
    offer: &Sdp,
    local: &Local,
    capabilities: &Capabilities,
) -> Result<(Sdp, Agreed), NegotiationError> {
    let plain = |media: &Media| media.is_audio() && media.is_rtp() && !media.is_secure();
    let (stream, media) = offer
        .active()
        .find(|(_, media)| plain(media))
        .ok_or(NegotiationError::NoAudio)?;
    let offered = media.codecs();
    let ours =
        |codec: &&Codec| codec.is_sound() && capabilities.codecs.iter().any(|own| own.same(codec));
    let send = offered.iter().find(ours).ok_or(NegotiationError::NoCodec)?;
    let events =
        events(&offered, send.clock).filter(|_| events(&capabilities.codecs, 8000).is_some());
    let ptime = offer.ptime(media).unwrap_or(capabilities.ptime);
    let direction = local.direction.and(offer.direction(media).reversed());
    let mux = media.has("rtcp-mux");
    let mut receive = vec![send.clone()];
    receive.extend(events.cloned());
    let mut ours = describe(
        &Local {
            direction,
            ..*local
        },
        &media.protocol,
        &receive,
        ptime,
    );
    if mux {
        ours.remove("rtcp");
        ours.attributes.push(Attribute::flag("rtcp-mux"));
    }
    let streams = offer.media.iter().enumerate().map(|(index, media)| {
        if index == stream {
            ours.clone()
        } else {
            media.refused()
        }
    });
    let mut sdp = session(local, streams.collect());
    // The answer's times are the offer's (RFC 3264 section 6).
    sdp.time.clone_from(&offer.time);
    let agreed = Agreed {
        stream,
        send: send.clone(),
        events: events.map(|codec| codec.payload_type),
        receive,
        ptime,
        direction,
        mux,
    };
    Ok((sdp, agreed))
}

/// Reads the answer to an offer of [`offer`].
pub fn accept(
    offer: &Sdp,
    answer: &Sdp,
    capabilities: &Capabilities,
) -> Result<Agreed, NegotiationError> {
    if offer.media.len() != answer.media.len() {
        return Err(NegotiationError::Streams);
    }
    let stream = offer.media.iter().position(Media::is_audio);
    let stream = stream.ok_or(NegotiationError::NoAudio)?;
    let (Some(ours), Some(theirs)) = (offer.media.get(stream), answer.media.get(stream)) else {
        return Err(NegotiationError::Streams);
    };
    if theirs.port == 0 || !theirs.is_audio() {
        return Err(NegotiationError::NoAudio);
    }
    let (offered, answered) = (ours.codecs(), theirs.codecs());
    let send = answered
        .iter()
        .find(|codec| codec.is_sound() && offered.iter().any(|own| own.same(codec)))
        .ok_or(NegotiationError::NoCodec)?;
    let receive = offered
        .iter()
        .filter(|own| answered.iter().any(|codec| codec.same(own)));
    let receive = receive.cloned().collect();
    let said = offer.direction(ours);
    Ok(Agreed {
        stream,
        send: send.clone(),
        receive,
        events: events(&answered, send.clock).map(|codec| codec.payload_type),
        ptime: answer.ptime(theirs).unwrap_or(capabilities.ptime),
        direction: said.and(answer.direction(theirs).reversed()),
        mux: ours.has("rtcp-mux") && theirs.has("rtcp-mux"),
    })
}

/// The telephone events that go with a codec: those of its clock, or else of any.
fn events(codecs: &[Codec], clock: u32) -> Option<&Codec> {
    let mut events = codecs
        .iter()
        .filter(|codec| codec.name == CodecName::TelephoneEvent);
    let first = events.clone().next();
    events.find(|codec| codec.clock == clock).or(first)
}

fn session(local: &Local, media: Vec<Media>) -> Sdp {
    let connection = Connection::new(local.rtp.ip());
    Sdp {
        origin: Origin {
            user: "-".to_owned(),
            id: local.session.to_string(),
            version: local.version.to_string(),
            address: connection.clone(),
        },
        name: "-".to_owned(),
        connection: Some(connection),
        other: Vec::new(),
        time: "0 0".to_owned(),
        attributes: Vec::new(),
        media,
    }
}

fn describe(local: &Local, protocol: &str, codecs: &[Codec], ptime: u16) -> Media {
    let mut attributes: Vec<_> = codecs.iter().flat_map(Codec::attributes).collect();
    attributes.push(Attribute::new("ptime", ptime.to_string()));
    if Some(local.rtcp) != local.rtp.port().checked_add(1) {
        attributes.push(Attribute::new("rtcp", local.rtcp.to_string()));
    }
    attributes.push(Attribute::flag(local.direction.name()));
    let formats = codecs.iter().map(|codec| codec.payload_type.to_string());
    Media {
        kind: "audio".to_owned(),
        port: local.rtp.port(),
        ports: None,
        protocol: protocol.to_owned(),
        formats: formats.collect(),
        connection: None,
        other: Vec::new(),
        attributes,
    }
}
