//! The heads of HTTP/2 frames (RFC 9113 section 4.1), found in a client's bytes as they pass.

/// What comes before a client's first frame (RFC 9113 section 3.4).
const PREFACE: usize = 24;
const HEAD: usize = 9;

/// A frame, as its head says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame {
    /// Its type.
    pub kind: u8,
    /// Its flags.
    pub flags: u8,
    /// The length of its payload.
    pub length: u32,
}

/// Finds frames in what a client sends, however it is cut.
#[derive(Debug)]
pub struct FrameScanner {
    /// Bytes to pass over: the preface, or the rest of a payload.
    skip: usize,
    head: [u8; HEAD],
    /// Bytes of the head that are there.
    filled: usize,
}

impl Default for FrameScanner {
    fn default() -> Self {
        Self {
            skip: PREFACE,
            head: [0; HEAD],
            filled: 0,
        }
    }
}

impl FrameScanner {
    /// Takes the next bytes and tells of each frame whose head is complete.
    pub fn scan(&mut self, mut bytes: &[u8], mut found: impl FnMut(Frame)) {
        while !bytes.is_empty() {
            let passed = self.skip.min(bytes.len());
            self.skip -= passed;
            bytes = bytes.get(passed..).unwrap_or_default();
            let missing = HEAD - self.filled;
            let (more, rest) = bytes.split_at(missing.min(bytes.len()));
            for (to, &from) in self.head.iter_mut().skip(self.filled).zip(more) {
                *to = from;
            }
            self.filled += more.len();
            bytes = rest;
            if self.filled == HEAD {
                let [high, middle, low, kind, flags, ..] = self.head;
                let length = u32::from_be_bytes([0, high, middle, low]);
                self.filled = 0;
                self.skip = usize::try_from(length).unwrap_or(usize::MAX);
                found(Frame {
                    kind,
                    flags,
                    length,
                });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn scan(pieces: &[&[u8]]) -> Vec<(u8, u8, u32)> {
        let mut scanner = FrameScanner::default();
        let mut frames = Vec::new();
        for piece in pieces {
            scanner.scan(piece, |frame| {
                frames.push((frame.kind, frame.flags, frame.length));
            });
        }
        frames
    }

    const CLIENT: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\
        \0\0\0\x04\0\0\0\0\0\
        \0\0\x08\x06\x01\0\0\0\0pingpong\
        \0\0\x03\0\x01\0\0\0\x01abc\
        \0\0\0\0\0\0\0\0\x01";

    #[test]
    fn every_frame_is_found() {
        assert_eq!(
            scan(&[CLIENT]),
            [(4, 0, 0), (6, 1, 8), (0, 1, 3), (0, 0, 0)]
        );
    }

    proptest! {
        #[test]
        fn however_they_are_cut(one in 0..CLIENT.len(), other in 0..CLIENT.len()) {
            let (first, second) = (one.min(other), one.max(other));
            let (head, rest) = CLIENT.split_at(first);
            let (middle, tail) = rest.split_at(second - first);
            prop_assert_eq!(scan(&[head, middle, tail]), scan(&[CLIENT]));
        }
    }
}
