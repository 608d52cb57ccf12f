//! Telephone events: key presses as packets of their own (RFC 4733 section 2.3).

/// The payload of one telephone-event packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TelephoneEvent {
    /// The event's code: 0 to 15 are the keys (see [`Self::key`]), 16 is a hook flash.
    pub code: u8,
    /// The event is over. Sent three times, so that losing one does no harm.
    pub end: bool,
    /// Power below 0 dBm0, in dB: 0 to 63.
    pub volume: u8,
    /// How long the event has lasted up to here, in timestamp units.
    pub duration: u16,
}

/// Keys in the order of their event codes (RFC 4733 section 3.2).
const KEYS: &[u8; 16] = b"0123456789*#ABCD";

impl TelephoneEvent {
    #[must_use]
    pub fn parse(payload: &[u8]) -> Option<Self> {
        // Some phones append redundant events (RFC 2198 without saying so): the first counts.
        let [code, flags, high, low, ..] = *payload else {
            return None;
        };
        Some(Self {
            code,
            end: flags & 0x80 != 0,
            volume: flags & 0x3f,
            duration: u16::from_be_bytes([high, low]),
        })
    }

    #[must_use]
    pub fn to_bytes(self) -> [u8; 4] {
        let [high, low] = self.duration.to_be_bytes();
        let flags = u8::from(self.end) << 7 | self.volume & 0x3f;
        [self.code, flags, high, low]
    }

    /// The key pressed, where the event is one.
    #[must_use]
    pub fn key(self) -> Option<char> {
        KEYS.get(usize::from(self.code)).map(|key| char::from(*key))
    }
}

/// The event code of a key.
#[must_use]
pub fn code(key: char) -> Option<u8> {
    let key = u8::try_from(key).ok()?.to_ascii_uppercase();
    let at = KEYS.iter().position(|known| *known == key)?;
    u8::try_from(at).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The packets of RFC 4733 section 2.5.2.1's figure: digit 9, volume 7, then digit 1 at 20.
    #[test]
    fn the_rfcs_example_reads_and_writes() {
        let bytes = [9, 0x07, 0x06, 0x40];
        let event = TelephoneEvent::parse(&bytes).unwrap();
        assert_eq!((event.code, event.volume, event.duration), (9, 7, 1600));
        assert!(!event.end);
        assert_eq!(event.key(), Some('9'));
        assert_eq!(event.to_bytes(), bytes);
        let last = TelephoneEvent {
            code: 1,
            end: true,
            volume: 20,
            duration: 800,
        };
        assert_eq!(last.to_bytes(), [1, 0x94, 0x03, 0x20]);
        assert_eq!(TelephoneEvent::parse(&last.to_bytes()), Some(last));
        assert_eq!(TelephoneEvent::parse(&[1, 2, 3]), None);
    }

    #[test]
    fn keys_have_their_codes() {
        for (code_, key) in (0u8..).zip("0123456789*#ABCD".chars()) {
            assert_eq!(code(key), Some(code_));
        }
        assert_eq!(code('b'), Some(13));
        assert_eq!(code('x'), None);
        assert_eq!(code('é'), None);
    }
}
