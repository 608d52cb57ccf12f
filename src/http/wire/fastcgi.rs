//! FastCGI records (FastCGI Specification 1.0, sections 3 and 5), one request on a connection at a
//! time: what php-fpm and its like speak.

use bytes::{Buf, Bytes, BytesMut};

const VERSION: u8 = 1;
const HEAD: usize = 8;
/// The only request on a connection.
const REQUEST: u16 = 1;
/// The most that one record holds.
pub const CONTENT_MAX: usize = 65_535;

const BEGIN_REQUEST: u8 = 1;
const END_REQUEST: u8 = 3;
const PARAMS: u8 = 4;
const STDIN: u8 = 5;
const STDOUT: u8 = 6;
const STDERR: u8 = 7;

fn head(kind: u8, length: usize, padding: u8, into: &mut Vec<u8>) {
    let length = u16::try_from(length).unwrap_or(u16::MAX);
    into.extend([VERSION, kind]);
    into.extend(REQUEST.to_be_bytes());
    into.extend(length.to_be_bytes());
    into.extend([padding, 0]);
}

/// Writes the beginning of a request: its role, and the parameters.
pub fn begin<'a>(
    parameters: impl IntoIterator<Item = (&'a [u8], &'a [u8])>,
    keep: bool,
    into: &mut Vec<u8>,
) {
    head(BEGIN_REQUEST, 8, 0, into);
    into.extend([0, 1, u8::from(keep), 0, 0, 0, 0, 0]);
    let mut pairs = Vec::with_capacity(1024);
    for (name, value) in parameters {
        pair_length(name.len(), &mut pairs);
        pair_length(value.len(), &mut pairs);
        pairs.extend_from_slice(name);
        pairs.extend_from_slice(value);
    }
    for piece in pairs.chunks(CONTENT_MAX) {
        head(PARAMS, piece.len(), 0, into);
        into.extend_from_slice(piece);
    }
    head(PARAMS, 0, 0, into);
}

/// One byte below 128, else four with the highest bit set.
fn pair_length(length: usize, into: &mut Vec<u8>) {
    match u8::try_from(length) {
        Ok(length) if length < 128 => into.push(length),
        _ => {
            let length = u32::try_from(length).unwrap_or(u32::MAX >> 1) | 1 << 31;
            into.extend(length.to_be_bytes());
        }
    }
}

/// Writes the head of a record of standard input; of no bytes, its end.
pub fn stdin_head(length: usize, into: &mut Vec<u8>) {
    head(STDIN, length, 0, into);
}

/// What an application sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    /// Bytes of the response.
    Stdout(Bytes),
    /// Bytes for the log.
    Stderr(Bytes),
    /// The request is over; whether it was carried out.
    End(bool),
}

/// What is no FastCGI.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the application does not speak FastCGI")]
pub struct NotFastCgi;

/// Takes records apart as their bytes come. Content is passed on before its record is complete.
#[derive(Debug, Default)]
pub struct Decoder {
    kind: u8,
    /// Bytes of content, and of padding behind it, that are still to come.
    content: usize,
    padding: usize,
    /// The content of a record that is needed whole.
    whole: Vec<u8>,
}

impl Decoder {
    /// The next piece of `bytes`; `None` where more are needed.
    ///
    /// # Errors
    /// Where they are no records of the one request.
    pub fn next(&mut self, bytes: &mut BytesMut) -> Result<Option<Record>, NotFastCgi> {
        loop {
            if self.content == 0 {
                let skipped = self.padding.min(bytes.len());
                bytes.advance(skipped);
                self.padding -= skipped;
                if self.padding > 0 || !self.begin(bytes)? {
                    return Ok(None);
                }
                if self.content == 0 && self.kind != END_REQUEST {
                    // The end of a stream says nothing that the end of the request does not.
                    continue;
                }
            }
            if bytes.is_empty() {
                return Ok(None);
            }
            let piece = bytes.split_to(self.content.min(bytes.len()));
            self.content -= piece.len();
            match self.kind {
                STDOUT => return Ok(Some(Record::Stdout(piece.freeze()))),
                STDERR => return Ok(Some(Record::Stderr(piece.freeze()))),
                END_REQUEST => {
                    // Eight bytes of content, as `begin` made sure.
                    self.whole.extend_from_slice(&piece);
                    if self.content == 0 {
                        let complete = self.whole.get(4) == Some(&0);
                        self.whole.clear();
                        return Ok(Some(Record::End(complete)));
                    }
                }
                // What is not known is passed over (section 3.3).
                _ => {}
            }
        }
    }

    /// Reads the head of a record.
    fn begin(&mut self, bytes: &mut BytesMut) -> Result<bool, NotFastCgi> {
        let Some((&[version, kind, id_high, id_low, high, low, padding, _], _)) =
            bytes.split_first_chunk::<HEAD>()
        else {
            return Ok(false);
        };
        let id = u16::from_be_bytes([id_high, id_low]);
        let length = u16::from_be_bytes([high, low]);
        let ours = matches!(kind, STDOUT | STDERR | END_REQUEST);
        if version != VERSION || (ours && id != REQUEST) || (kind == END_REQUEST && length != 8) {
            return Err(NotFastCgi);
        }
        bytes.advance(HEAD);
        self.kind = kind;
        self.content = usize::from(length);
        self.padding = usize::from(padding);
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Standard output, standard error, and the ends of requests.
    type Decoded = (Vec<u8>, Vec<u8>, Vec<bool>);

    fn decode(pieces: &[&[u8]]) -> Result<Decoded, NotFastCgi> {
        let mut decoder = Decoder::default();
        let mut bytes = BytesMut::new();
        let (mut out, mut log, mut ends) = (Vec::new(), Vec::new(), Vec::new());
        for piece in pieces {
            bytes.extend_from_slice(piece);
            while let Some(record) = decoder.next(&mut bytes)? {
                match record {
                    Record::Stdout(piece) => out.extend_from_slice(&piece),
                    Record::Stderr(piece) => log.extend_from_slice(&piece),
                    Record::End(complete) => ends.push(complete),
                }
            }
        }
        Ok((out, log, ends))
    }

    const ANSWER: &[u8] = b"\x01\x06\0\x01\0\x05\x03\0hellopad\
        \x01\x07\0\x01\0\x04\0\0oops\
        \x01\x06\0\x01\0\x06\0\0 world\
        \x01\x06\0\x01\0\0\0\0\
        \x01\x0b\0\0\0\x08\0\0\x09\0\0\0\0\0\0\0\
        \x01\x03\0\x01\0\x08\0\0\0\0\0\0\0\0\0\0";

    #[test]
    fn an_answer() {
        assert_eq!(
            decode(&[ANSWER]),
            Ok((b"hello world".to_vec(), b"oops".to_vec(), vec![true]))
        );
        for wrong in [
            &b"HTTP/1.1 200 OK\r\n"[..],
            b"\x01\x06\0\x02\0\x05\x03\0hello",
            b"\x01\x03\0\x01\0\x02\0\0\0\0",
        ] {
            assert_eq!(decode(&[wrong]), Err(NotFastCgi));
        }
    }

    #[test]
    fn a_request() {
        let mut bytes = Vec::new();
        let long = [b'v'; 200];
        begin([(&b"A"[..], &b"bc"[..]), (b"L", &long)], true, &mut bytes);
        stdin_head(0, &mut bytes);
        let mut expected = b"\x01\x01\0\x01\0\x08\0\0\0\x01\x01\0\0\0\0\0".to_vec();
        expected.extend(b"\x01\x04\0\x01\0\xd3\0\0\x01\x02Abc\x01\x80\0\0\xc8L");
        expected.extend(long);
        expected.extend(b"\x01\x04\0\x01\0\0\0\0\x01\x05\0\x01\0\0\0\0");
        assert_eq!(bytes, expected);
    }

    proptest! {
        #[test]
        fn however_it_is_cut(one in 0..ANSWER.len(), other in 0..ANSWER.len()) {
            let (first, second) = (one.min(other), one.max(other));
            let (head, rest) = ANSWER.split_at(first);
            let (middle, tail) = rest.split_at(second - first);
            prop_assert_eq!(decode(&[head, middle, tail]), decode(&[ANSWER]));
        }

        #[test]
        fn nothing_makes_it_fail(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            drop(decode(&[&bytes]));
        }
    }
}
