//! What the fuzz target `media_packet` calls: every parser of this room, and what must hold.

use super::{
    Kind,
    event::TelephoneEvent,
    rtcp::Compound,
    rtp::Packet,
    sdp::{MAX_LENGTH, Sdp},
};

/// Any bytes, read as each of the things that a media port or a signalling body may bring.
pub fn fuzz(data: &[u8]) {
    let kind = Kind::of(data);
    if let Some(packet) = Packet::parse(data) {
        assert!(packet.header_length + packet.payload.len() <= data.len());
        assert!(matches!(kind, Kind::Rtp | Kind::Rtcp));
        let _event = TelephoneEvent::parse(packet.payload);
    }
    if let Some(compound) = Compound::parse(data) {
        for packet in compound {
            match packet {
                super::rtcp::Rtcp::SenderReport(_, _, blocks)
                | super::rtcp::Rtcp::ReceiverReport(_, blocks) => assert!(blocks.count() < 32),
                _ => {}
            }
        }
    }
    if let Ok(sdp) = Sdp::parse(data) {
        for media in &sdp.media {
            let _codecs = media.codecs();
            let _direction = sdp.direction(media);
        }
        // What is printed reads as the same again.
        let text = sdp.to_string();
        if text.len() <= MAX_LENGTH {
            assert_eq!(Sdp::parse(text.as_bytes()).as_ref(), Ok(&sdp));
        }
    }
}
