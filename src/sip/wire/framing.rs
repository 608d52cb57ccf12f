//! Messages in a stream (RFC 3261 18.3) and the keep-alives between them (RFC 5626 3.5.1).

use bytes::{Buf, Bytes, BytesMut};

use super::{
    HeaderName,
    lex::{decimal, trim},
};

/// Cuts a stream into messages.
#[derive(Debug, Default)]
pub struct Framer {
    buffer: BytesMut,
    /// How much of the buffer is known not to hold the end of the headers.
    searched: usize,
    /// The length of the message at the front, once its headers are complete.
    length: Option<usize>,
}

/// What a stream held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// One whole message.
    Message(Bytes),
    /// A double CRLF: the peer asks whether we are there, and wants one CRLF.
    Ping,
}

/// Why a stream cannot be read on. It has to be closed, for nobody knows where the next message
/// begins.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FramingError {
    /// a message above the limit
    #[error("a message above the limit")]
    TooLarge(Bytes),
    /// a message whose length cannot be known
    #[error("a message whose length cannot be known")]
    BadLength(Bytes),
}

impl FramingError {
    /// The headers of the message in question, as far as they arrived, to answer it with.
    #[must_use]
    pub const fn headers(&self) -> &Bytes {
        match self {
            Self::TooLarge(headers) | Self::BadLength(headers) => headers,
        }
    }
}

impl Framer {
    /// Takes in what was read.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The buffer, to be read into.
    pub const fn buffer(&mut self) -> &mut BytesMut {
        &mut self.buffer
    }

    /// Whether nothing of a next message has arrived.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.buffer.is_empty()
    }

    /// The next whole frame, if there is one.
    ///
    /// # Errors
    /// Where a message is longer than `limit`, or gives no length that can be relied on.
    pub fn next(&mut self, limit: usize) -> Result<Option<Frame>, FramingError> {
        if self.length.is_none() && self.buffer.first().is_some_and(|byte| *byte == b'\r') {
            if self.buffer.starts_with(b"\r\n\r\n") {
                self.buffer.advance(4);
                return Ok(Some(Frame::Ping));
            }
            // RFC 3261 7.5: CRLFs before a message are ignored. But two may yet become a ping.
            if b"\r\n\r\n".starts_with(&self.buffer) {
                return Ok(None);
            }
            if self.buffer.starts_with(b"\r\n") {
                self.buffer.advance(2);
            }
        }
        let length = match self.length {
            Some(length) => length,
            None => match self.find_length(limit)? {
                Some(length) => length,
                None => return Ok(None),
            },
        };
        if self.buffer.len() < length {
            self.length = Some(length);
            return Ok(None);
        }
        self.length = None;
        self.searched = 0;
        Ok(Some(Frame::Message(self.buffer.split_to(length).freeze())))
    }

    fn find_length(&mut self, limit: usize) -> Result<Option<usize>, FramingError> {
        let from = self.searched.min(self.buffer.len());
        let unsearched = self.buffer.get(from..).unwrap_or_default();
        let Some(at) = memchr::memmem::find(unsearched, b"\r\n\r\n") else {
            self.searched = self.buffer.len().saturating_sub(3);
            if self.buffer.len() > limit {
                return Err(FramingError::TooLarge(self.take_all()));
            }
            return Ok(None);
        };
        let headers = from + at + 4;
        let Some(body) = content_length(self.buffer.get(..headers).unwrap_or_default()) else {
            return Err(FramingError::BadLength(self.take(headers)));
        };
        match headers.checked_add(body).filter(|length| *length <= limit) {
            Some(length) => Ok(Some(length)),
            None => Err(FramingError::TooLarge(self.take(headers))),
        }
    }

    fn take_all(&mut self) -> Bytes {
        self.take(self.buffer.len())
    }

    fn take(&mut self, length: usize) -> Bytes {
        let taken = self.buffer.split_to(length.min(self.buffer.len())).freeze();
        self.buffer.clear();
        taken
    }
}

/// The one Content-Length in these headers; 0 where there is none, `None` where there are several
/// or it is no number.
fn content_length(headers: &[u8]) -> Option<usize> {
    let mut found = None;
    let mut rest = headers;
    while let Some(newline) = memchr::memchr(b'\n', rest) {
        let (line, after) = rest.split_at_checked(newline + 1)?;
        rest = after;
        // A folded value is gathered with its first line: the fold can only be white space here.
        let Some(colon) = memchr::memchr(b':', line) else {
            continue;
        };
        let name = line.get(..colon)?.trim_ascii_end();
        if name.first().is_some_and(u8::is_ascii_whitespace)
            || HeaderName::from_bytes(name) != HeaderName::ContentLength
        {
            continue;
        }
        let mut end = line.len() - colon - 1;
        let value = headers.get(headers.len() - after.len() - end..)?;
        while value
            .get(end)
            .is_some_and(|byte| matches!(byte, b' ' | b'\t'))
        {
            end += memchr::memchr(b'\n', value.get(end..)?)? + 1;
        }
        let number = decimal::<u32>(trim(value.get(..end)?))?;
        if found.replace(number).is_some() {
            return None;
        }
    }
    Some(found.unwrap_or(0) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: usize = 1000;

    fn frames(chunks: &[&str]) -> Result<Vec<Frame>, FramingError> {
        let mut framer = Framer::default();
        let mut frames = Vec::new();
        for chunk in chunks {
            framer.push(chunk.as_bytes());
            while let Some(frame) = framer.next(LIMIT)? {
                frames.push(frame);
            }
        }
        Ok(frames)
    }

    fn message(text: &str) -> Frame {
        Frame::Message(Bytes::copy_from_slice(text.as_bytes()))
    }

    const ONE: &str = "A sip:a SIP/2.0\r\nl: 3\r\n\r\nabc";
    const TWO: &str = "B sip:b SIP/2.0\r\nX: y\r\n\r\n";
    const FOLDED: &str = "C sip:c SIP/2.0\r\nContent-Length :\r\n 2\r\nX: y\r\n\r\nde";

    #[test]
    fn pipelined_messages_are_cut_apart() {
        let all = [ONE, "\r\n\r\n", TWO, "\r\n", FOLDED].concat();
        assert_eq!(
            frames(&[&all]),
            Ok(vec![
                message(ONE),
                Frame::Ping,
                message(TWO),
                message(FOLDED)
            ])
        );
    }

    #[test]
    fn messages_may_arrive_octet_by_octet() {
        let all = [ONE, "\r\n\r\n", FOLDED, TWO].concat();
        let octets: Vec<String> = all.chars().map(String::from).collect();
        let octets: Vec<&str> = octets.iter().map(String::as_str).collect();
        assert_eq!(
            frames(&octets),
            Ok(vec![
                message(ONE),
                Frame::Ping,
                message(FOLDED),
                message(TWO)
            ])
        );
    }

    #[test]
    fn lengths_that_lie_or_exceed_close_the_stream() {
        for bad in [
            "l: -1",
            "l: 1\r\nContent-Length: 1",
            "l: x",
            "l:",
            "l: 99999999999999999999",
        ] {
            let text = format!("A sip:a SIP/2.0\r\n{bad}\r\n\r\n");
            assert!(
                matches!(frames(&[&text]), Err(FramingError::BadLength(_))),
                "{bad}"
            );
        }
        let large = "A sip:a SIP/2.0\r\nl: 1000\r\n\r\n";
        assert!(
            matches!(frames(&[large]), Err(FramingError::TooLarge(headers)) if headers == large)
        );
        let endless = "x".repeat(LIMIT + 1);
        assert!(matches!(
            frames(&[&endless]),
            Err(FramingError::TooLarge(_))
        ));
    }
}
