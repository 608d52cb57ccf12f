//! Bytes ↔ typed messages: RTP, RTCP, telephone-event, SDP. No I/O, no clock, no policy. Fuzzed.

pub mod event;
pub mod fuzz;
pub mod rtcp;
pub mod rtp;
pub mod sdp;

/// What a datagram on a media port is, by its first bytes (RFC 7983 section 7, RFC 5761 section 4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Stun,
    Dtls,
    Rtp,
    Rtcp,
    Unknown,
}

impl Kind {
    #[must_use]
    pub fn of(datagram: &[u8]) -> Self {
        match datagram {
            [0..=3, ..] => Self::Stun,
            [20..=63, ..] => Self::Dtls,
            // RTCP's packet types, as they look where RTP has marker and payload type.
            [128..=191, 192..=223, ..] => Self::Rtcp,
            [128..=191, _, ..] => Self::Rtp,
            _ => Self::Unknown,
        }
    }
}

/// Big-endian 16 bits at `at`.
pub(crate) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    let bytes = bytes.get(at..at.checked_add(2)?)?;
    Some(u16::from_be_bytes(bytes.try_into().ok()?))
}

/// Big-endian 32 bits at `at`.
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_be_bytes(bytes.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::Kind;

    #[test]
    fn first_bytes_tell_the_protocols_apart() {
        for (datagram, kind) in [
            (&[0x00, 0x01, 0, 0][..], Kind::Stun),
            (&[22, 254, 253], Kind::Dtls),
            (&[0x80, 0x00, 0, 1], Kind::Rtp),
            (&[0x80, 0xe5, 0, 1], Kind::Rtp),
            (&[0x80, 200, 0, 6], Kind::Rtcp),
            (&[0x81, 201, 0, 7], Kind::Rtcp),
            (&[0x40, 0, 0, 0], Kind::Unknown),
            (&[0x80], Kind::Unknown),
            (&[], Kind::Unknown),
        ] {
            assert_eq!(Kind::of(datagram), kind, "{datagram:?}");
        }
    }
}
