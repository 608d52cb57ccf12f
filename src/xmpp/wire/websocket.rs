//! WebSocket frames, the server's side (RFC 6455 5).

use aws_lc_rs::digest;
use base64::{Engine, engine::general_purpose::STANDARD as BASE64};

/// What a client sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// A text message, whole. Whether it is UTF-8 is for its reader to see.
    Text(Vec<u8>),
    /// It wants this back.
    Ping(Vec<u8>),
    /// It is there.
    Pong,
    /// It wants to end.
    Close,
}

/// Why a client can't go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Not what RFC 6455 allows.
    #[error("not a WebSocket frame")]
    Protocol,
    /// A binary message.
    #[error("a binary message")]
    Binary,
    /// More than is allowed.
    #[error("a message is too big")]
    TooBig,
}

impl Fault {
    /// The status that says so (RFC 6455 7.4.1).
    pub fn status(self) -> u16 {
        match self {
            Fault::Protocol => 1002,
            Fault::Binary => 1003,
            Fault::TooBig => 1009,
        }
    }
}

/// Bytes of a control frame's payload.
const CONTROL: usize = 125;
/// Frames that one message may come in: each costs more to read than it brings.
const PIECES: usize = 1024;

const CONTINUED: u8 = 0;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

/// Cuts what a client sends into messages.
#[derive(Debug, Default)]
pub struct Reader {
    input: Vec<u8>,
    /// The message whose last frame has not come.
    message: Option<(Vec<u8>, usize)>,
}

/// A frame that is complete in the input.
struct Frame {
    last: bool,
    opcode: u8,
    payload: Vec<u8>,
    /// Bytes of input it took.
    taken: usize,
}

impl Reader {
    /// Takes bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
    }

    /// The next message, of at most `limit` bytes.
    ///
    /// # Errors
    /// What the client did that no connection survives.
    pub fn next(&mut self, limit: usize) -> Result<Option<Message>, Fault> {
        loop {
            let held = self.message.as_ref().map_or(0, |(held, _)| held.len());
            let Some(frame) = frame(&self.input, limit.saturating_sub(held))? else {
                return Ok(None);
            };
            self.input.drain(..frame.taken);
            if self.input.is_empty() {
                // An idle connection holds no buffer.
                self.input = Vec::new();
            }
            match (frame.opcode, self.message.take()) {
                (PING, message) => {
                    self.message = message;
                    return Ok(Some(Message::Ping(frame.payload)));
                }
                (PONG, message) => {
                    self.message = message;
                    return Ok(Some(Message::Pong));
                }
                (CLOSE, _) => return Ok(Some(Message::Close)),
                (BINARY, None) => return Err(Fault::Binary),
                (TEXT, None) if frame.last => return Ok(Some(Message::Text(frame.payload))),
                (TEXT, None) => self.message = Some((frame.payload, 1)),
                (CONTINUED, Some((mut held, pieces))) => {
                    held.extend_from_slice(&frame.payload);
                    if frame.last {
                        return Ok(Some(Message::Text(held)));
                    }
                    if pieces >= PIECES {
                        return Err(Fault::TooBig);
                    }
                    self.message = Some((held, pieces + 1));
                }
                _ => return Err(Fault::Protocol),
            }
        }
    }
}

/// The frame at the front of `input`, if all of it is there; its payload of at most `room` bytes.
fn frame(input: &[u8], room: usize) -> Result<Option<Frame>, Fault> {
    let Some((&[first, second], rest)) = input.split_first_chunk::<2>() else {
        return Ok(None);
    };
    let (last, opcode) = (first & 0x80 != 0, first & 0x0f);
    // 5.1: a client masks. 5.2: no extension was agreed on that would give these bits a meaning.
    if second & 0x80 == 0 || first & 0x70 != 0 {
        return Err(Fault::Protocol);
    }
    let control = opcode & 8 != 0;
    let (length, rest) = match second & 0x7f {
        126 => match rest.split_first_chunk::<2>() {
            Some((length, rest)) => (u64::from(u16::from_be_bytes(*length)), rest),
            None => return Ok(None),
        },
        127 => match rest.split_first_chunk::<8>() {
            Some((length, rest)) => (u64::from_be_bytes(*length), rest),
            None => return Ok(None),
        },
        short => (u64::from(short), rest),
    };
    let length = usize::try_from(length).map_err(|_| Fault::TooBig)?;
    if control && (length > CONTROL || !last) {
        return Err(Fault::Protocol);
    }
    if !control && length > room {
        return Err(Fault::TooBig);
    }
    let Some((mask, rest)) = rest.split_first_chunk::<4>() else {
        return Ok(None);
    };
    let Some((payload, after)) = rest.split_at_checked(length) else {
        return Ok(None);
    };
    let mask = mask.iter().cycle();
    let payload = payload.iter().zip(mask).map(|(byte, mask)| byte ^ mask);
    Ok(Some(Frame {
        last,
        opcode,
        payload: payload.collect(),
        taken: input.len() - after.len(),
    }))
}

fn write(out: &mut Vec<u8>, opcode: u8, payload: &[u8]) {
    out.push(0x80 | opcode);
    match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
        (Ok(length @ 0..=125), _) => out.push(length),
        (_, Ok(length)) => {
            out.push(126);
            out.extend_from_slice(&length.to_be_bytes());
        }
        _ => {
            out.push(127);
            out.extend_from_slice(&(payload.len() as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(payload);
}

/// Appends a text message.
pub fn write_text(out: &mut Vec<u8>, text: &[u8]) {
    write(out, TEXT, text);
}

/// Appends a question whether the client is there.
pub fn write_ping(out: &mut Vec<u8>) {
    write(out, PING, &[]);
}

/// Appends the answer to such a question.
pub fn write_pong(out: &mut Vec<u8>, payload: &[u8]) {
    write(out, PONG, payload);
}

/// Appends the end.
pub fn write_close(out: &mut Vec<u8>, status: u16) {
    write(out, CLOSE, &status.to_be_bytes());
}

/// What proves that the server read the client's `Sec-WebSocket-Key` (RFC 6455 4.2.2).
pub fn accept(key: &str) -> String {
    let text = format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    let hash = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, text.as_bytes());
    BASE64.encode(hash.as_ref())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut frame = Vec::new();
        write(&mut frame, 0, payload);
        frame[0] = first;
        frame[1] |= 0x80;
        let header = frame.len() - payload.len();
        let mask = [1_u8, 2, 3, 4];
        let mut out = frame[..header].to_vec();
        out.extend_from_slice(&mask);
        out.extend(payload.iter().zip(mask.iter().cycle()).map(|(a, b)| a ^ b));
        out
    }

    fn read(bytes: &[u8]) -> Result<Vec<Message>, Fault> {
        let mut reader = Reader::default();
        reader.push(bytes);
        let mut seen = Vec::new();
        while let Some(message) = reader.next(70_000)? {
            seen.push(message);
        }
        Ok(seen)
    }

    #[test]
    fn rfc_6455_5_7_examples() {
        let hello = [
            0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58,
        ];
        assert_eq!(read(&hello), Ok(vec![Message::Text(b"Hello".to_vec())]));
        let ping = [
            0x89, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58,
        ];
        assert_eq!(read(&ping), Ok(vec![Message::Ping(b"Hello".to_vec())]));
        let mut out = Vec::new();
        write_text(&mut out, b"Hello");
        assert_eq!(out, [0x81, 0x05, 0x48, 0x65, 0x6c, 0x6c, 0x6f]);
        out.clear();
        write_text(&mut out, &[b'x'; 256]);
        assert_eq!(out[..4], [0x81, 0x7e, 0x01, 0x00]);
        out.clear();
        write_text(&mut out, &[b'x'; 65536]);
        assert_eq!(out[..10], [0x81, 0x7f, 0, 0, 0, 0, 0, 1, 0, 0]);
        // RFC 6455 1.3.
        let key = "dGhlIHNhbXBsZSBub25jZQ==";
        assert_eq!(accept(key), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn pieces_with_control_frames_between() {
        let mut bytes = masked(0x01, b"Hel");
        bytes.extend(masked(0x89, b"?"));
        bytes.extend(masked(0x00, b"l"));
        bytes.extend(masked(0x8a, b""));
        bytes.extend(masked(0x80, b"o"));
        bytes.extend(masked(0x88, &1000_u16.to_be_bytes()));
        let seen = [
            Message::Ping(b"?".to_vec()),
            Message::Pong,
            Message::Text(b"Hello".to_vec()),
            Message::Close,
        ];
        assert_eq!(read(&bytes), Ok(seen.to_vec()));
    }

    #[test]
    fn refusals() {
        for (bytes, fault) in [
            // Not masked; a reserved bit; an opcode that is none; binary.
            (vec![0x81, 0x01, b'x'], Fault::Protocol),
            (masked(0xc1, b"x"), Fault::Protocol),
            (masked(0x83, b"x"), Fault::Protocol),
            (masked(0x82, b"x"), Fault::Binary),
            // Control frames are short and whole.
            (masked(0x09, b"x"), Fault::Protocol),
            (masked(0x89, &[0; 126]), Fault::Protocol),
            // Nothing to continue; something to continue.
            (masked(0x80, b"x"), Fault::Protocol),
            (
                [masked(0x01, b"x"), masked(0x81, b"y")].concat(),
                Fault::Protocol,
            ),
            // Refused before it has come.
            (
                vec![0x81, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
                Fault::TooBig,
            ),
            (
                [masked(0x01, &[0; 40_000]), masked(0x80, &[0; 40_000])].concat(),
                Fault::TooBig,
            ),
            (masked(0x00, b"").repeat(2), Fault::Protocol),
        ] {
            assert_eq!(read(&bytes), Err(fault), "{:?}", bytes.get(..12));
        }
        let mut many = masked(0x01, b"");
        many.extend(masked(0x00, b"").repeat(2000));
        assert_eq!(read(&many), Err(Fault::TooBig));
    }

    proptest! {
        #![proptest_config(crate::tests::cases())]

        #[test]
        fn however_it_comes(text in proptest::collection::vec(any::<u8>(), 0..400), size in 1_usize..50) {
            let bytes = masked(0x81, &text);
            let mut reader = Reader::default();
            let mut seen = Vec::new();
            for piece in bytes.chunks(size) {
                reader.push(piece);
                seen.extend(reader.next(1000).unwrap());
            }
            prop_assert_eq!(seen, vec![Message::Text(text)]);
        }
    }
}
