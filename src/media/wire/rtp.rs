//! RTP packets (RFC 3550 section 5.1), read in place.

use super::{u16_at, u32_at};

/// The fixed part of the header.
pub const HEADER: usize = 12;

/// What an RTP header says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Header {
    pub marker: bool,
    pub payload_type: u8,
    pub sequence: u16,
    pub timestamp: u32,
    pub ssrc: u32,
}

impl Header {
    /// Writes the header of a packet without contributors and extension.
    #[must_use]
    pub fn to_bytes(self) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        let (fixed, ssrc) = bytes.split_at_mut(8);
        let (fixed, timestamp) = fixed.split_at_mut(4);
        fixed.copy_from_slice(&[
            0x80,
            u8::from(self.marker) << 7 | self.payload_type & 0x7f,
            (self.sequence >> 8) as u8,
            self.sequence as u8,
        ]);
        timestamp.copy_from_slice(&self.timestamp.to_be_bytes());
        ssrc.copy_from_slice(&self.ssrc.to_be_bytes());
        bytes
    }

    /// Puts header and payload into `out` and returns the packet's length; `None` where `out` is
    /// too short.
    #[must_use]
    pub fn write(self, payload: &[u8], out: &mut [u8]) -> Option<usize> {
        let length = HEADER.checked_add(payload.len())?;
        let (head, body) = out.get_mut(..length)?.split_at_mut(HEADER);
        head.copy_from_slice(&self.to_bytes());
        body.copy_from_slice(payload);
        Some(length)
    }
}

/// A packet in its datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    pub header: Header,
    /// Without padding.
    pub payload: &'a [u8],
    /// Header with contributors and extension, in bytes.
    pub header_length: usize,
}

impl<'a> Packet<'a> {
    /// Reads a packet; `None` where version, lengths or padding do not fit the datagram.
    #[must_use]
    pub fn parse(datagram: &'a [u8]) -> Option<Self> {
        let (header, header_length) = head(datagram)?;
        let mut payload = datagram.get(header_length..)?;
        if datagram.first()? & 0x20 != 0 {
            let padding = usize::from(*payload.last()?);
            let kept = payload.len().checked_sub(padding)?;
            if padding == 0 {
                return None;
            }
            payload = payload.get(..kept)?;
        }
        Some(Self {
            header,
            payload,
            header_length,
        })
    }
}

/// The header and its whole length. For SRTP too, where the payload is not ours to read yet.
#[must_use]
pub fn head(datagram: &[u8]) -> Option<(Header, usize)> {
    let [first, second, ..] = *datagram else {
        return None;
    };
    if first >> 6 != 2 {
        return None;
    }
    let header = Header {
        marker: second & 0x80 != 0,
        payload_type: second & 0x7f,
        sequence: u16_at(datagram, 2)?,
        timestamp: u32_at(datagram, 4)?,
        ssrc: u32_at(datagram, 8)?,
    };
    let mut length = HEADER + 4 * usize::from(first & 0x0f);
    if first & 0x10 != 0 {
        let words = usize::from(u16_at(datagram, length + 2)?);
        length += 4 + 4 * words;
    }
    (length <= datagram.len()).then_some((header, length))
}

/// Gives a packet another payload type in place.
pub fn set_payload_type(datagram: &mut [u8], payload_type: u8) {
    if let Some(byte) = datagram.get_mut(1) {
        *byte = *byte & 0x80 | payload_type & 0x7f;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn contributors_extension_and_padding_are_not_payload() {
        let mut bytes = vec![0xb1, 0x80, 0, 7, 0, 0, 0, 9, 1, 2, 3, 4];
        bytes.extend([9; 4]); // one contributor
        bytes.extend([0xbe, 0xde, 0, 1, 5, 5, 5, 5]); // an extension of one word
        bytes.extend(b"sound");
        bytes.extend([0, 0, 3]); // padding
        let packet = Packet::parse(&bytes).unwrap();
        assert_eq!(packet.payload, b"sound");
        assert_eq!(packet.header_length, 24);
        assert!(packet.header.marker);
        assert_eq!(packet.header.sequence, 7);
        assert_eq!(packet.header.ssrc, 0x0102_0304);
    }

    #[test]
    fn what_does_not_fit_is_no_packet() {
        for bytes in [
            &[][..],
            &[0x80; 11],
            &[0x40; 12],                                    // version 1
            &[0x81, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],       // a contributor that is not there
            &[0x90, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],       // no extension
            &[0xa0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],       // no padding
            &[0xa0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 9], // more padding than payload
            &[0xa0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0], // padding of none
        ] {
            assert_eq!(Packet::parse(bytes), None, "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn written_packets_read_the_same(
            marker: bool, payload_type in 0u8..128, sequence: u16, timestamp: u32, ssrc: u32,
            payload in prop::collection::vec(any::<u8>(), 0..200),
        ) {
            let header = Header { marker, payload_type, sequence, timestamp, ssrc };
            let mut out = [0; 256];
            let length = header.write(&payload, &mut out).unwrap();
            let packet = Packet::parse(&out[..length]).unwrap();
            prop_assert_eq!(packet.header, header);
            prop_assert_eq!(packet.payload, &payload[..]);
        }
    }
}
