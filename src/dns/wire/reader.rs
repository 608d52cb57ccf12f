//! Reading of any DNS message: header, questions, records, with compression undone under bounds.

use super::code::{Class, Opcode, Rcode, RrType};
use super::name::{Builder, MAX_LABEL, MAX_NAME, NameBuf, NameError, NameRef};

/// The bytes are not a DNS message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed message")]
pub struct Malformed;

impl From<NameError> for Malformed {
    fn from(_: NameError) -> Malformed {
        Malformed
    }
}

/// The fixed head of a message (RFC 1035 4.1.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Chosen by who asks, returned by who answers.
    pub id: u16,
    /// QR, opcode, AA, TC, RD, RA, Z, AD, CD and RCODE as they stand in the message.
    pub flags: u16,
    /// Entries of the question section.
    pub questions: u16,
    /// Records of the answer section.
    pub answers: u16,
    /// Records of the authority section.
    pub authorities: u16,
    /// Records of the additional section.
    pub additionals: u16,
}

/// Bits of [`Header::flags`].
pub mod flag {
    /// A response.
    pub const QR: u16 = 0x8000;
    /// Authoritative answer.
    pub const AA: u16 = 0x0400;
    /// Truncated.
    pub const TC: u16 = 0x0200;
    /// Recursion desired.
    pub const RD: u16 = 0x0100;
    /// Recursion available.
    pub const RA: u16 = 0x0080;
    /// Authentic data (RFC 4035).
    pub const AD: u16 = 0x0020;
    /// Checking disabled (RFC 4035).
    pub const CD: u16 = 0x0010;
}

impl Header {
    /// Octets of a header.
    pub const LEN: usize = 12;

    /// Reads the first twelve octets.
    pub fn read(message: &[u8]) -> Result<Header, Malformed> {
        let mut reader = Reader::new(message);
        Ok(Header {
            id: reader.u16()?,
            flags: reader.u16()?,
            questions: reader.u16()?,
            answers: reader.u16()?,
            authorities: reader.u16()?,
            additionals: reader.u16()?,
        })
    }

    /// True of a response.
    pub fn is_response(&self) -> bool {
        self.flags & flag::QR != 0
    }

    /// What is asked for.
    pub fn opcode(&self) -> Opcode {
        Opcode((self.flags >> 11) as u8 & 15)
    }

    /// The lower four bits of the response code.
    pub fn rcode(&self) -> Rcode {
        Rcode(self.flags & 15)
    }
}

/// A record as it stands in a message.
#[derive(Debug, Clone, Copy)]
pub struct RawRecord {
    /// Whose it is.
    pub owner: NameBuf,
    /// Type.
    pub rr_type: RrType,
    /// Class, or what OPT makes of the field.
    pub class: Class,
    /// Time to live, or what OPT makes of the field.
    pub ttl: u32,
    /// Where the record begins in the message.
    pub start: usize,
    /// Where its rdata begins in the message.
    pub rdata_at: usize,
    /// Octets of rdata.
    pub rdata_len: usize,
}

/// A place in a message.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    message: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// At the start of a message.
    pub fn new(message: &'a [u8]) -> Reader<'a> {
        Reader { message, at: 0 }
    }

    /// At an offset.
    pub fn at(message: &'a [u8], at: usize) -> Reader<'a> {
        Reader { message, at }
    }

    /// Where the reader is.
    pub fn position(&self) -> usize {
        self.at
    }

    /// The next `count` octets.
    pub fn bytes(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let end = self.at.checked_add(count).ok_or(Malformed)?;
        let bytes = self.message.get(self.at..end).ok_or(Malformed)?;
        self.at = end;
        Ok(bytes)
    }

    /// One octet.
    pub fn u8(&mut self) -> Result<u8, Malformed> {
        self.bytes(1)
            .map(|bytes| bytes.iter().fold(0, |_, byte| *byte))
    }

    /// Two octets, high first.
    pub fn u16(&mut self) -> Result<u16, Malformed> {
        let bytes: [u8; 2] = self.bytes(2)?.try_into().map_err(|_| Malformed)?;
        Ok(u16::from_be_bytes(bytes))
    }

    /// Four octets, high first.
    pub fn u32(&mut self) -> Result<u32, Malformed> {
        let bytes: [u8; 4] = self.bytes(4)?.try_into().map_err(|_| Malformed)?;
        Ok(u32::from_be_bytes(bytes))
    }

    /// A name, decompressed. A pointer must lead to before where the name it stands in began, so
    /// that every jump goes back: no loop is possible, and the length bound ends the rest.
    pub fn name(&mut self) -> Result<NameBuf, Malformed> {
        let mut builder = Builder::new();
        let (mut at, mut floor, mut after) = (self.at, self.at, None);
        loop {
            let length = *self.message.get(at).ok_or(Malformed)? as usize;
            match length {
                0 => break,
                1..=MAX_LABEL => {
                    builder.label(self.message.get(at + 1..at + 1 + length).ok_or(Malformed)?)?;
                    at += 1 + length;
                }
                0xc0..=0xff => {
                    let low = *self.message.get(at + 1).ok_or(Malformed)? as usize;
                    let target = (length & 0x3f) << 8 | low;
                    if target >= floor || target < Header::LEN {
                        return Err(Malformed);
                    }
                    after = after.or(Some(at + 2));
                    (at, floor) = (target, target);
                }
                // 0x40 and 0x80: extended label types, given up by RFC 6891 5.
                _ => return Err(Malformed),
            }
        }
        self.at = after.unwrap_or(at + 1);
        Ok(builder.append(NameRef::ROOT)?)
    }

    /// Passes over a name without decompressing it.
    pub fn skip_name(&mut self) -> Result<(), Malformed> {
        let start = self.at;
        loop {
            match self.u8()? as usize {
                0 => return Ok(()),
                length @ 1..=MAX_LABEL => {
                    self.bytes(length)?;
                    if self.at - start > MAX_NAME {
                        return Err(Malformed);
                    }
                }
                0xc0..=0xff => return self.u8().map(|_| ()),
                _ => return Err(Malformed),
            }
        }
    }

    /// A record; its rdata is passed over.
    pub fn record(&mut self) -> Result<RawRecord, Malformed> {
        let start = self.at;
        let owner = self.name()?;
        let rr_type = RrType(self.u16()?);
        let class = Class(self.u16()?);
        let ttl = self.u32()?;
        let rdata_len = self.u16()? as usize;
        let rdata_at = self.at;
        self.bytes(rdata_len)?;
        Ok(RawRecord {
            owner,
            rr_type,
            class,
            ttl,
            start,
            rdata_at,
            rdata_len,
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn at(tail: &[u8], start: usize) -> Result<(String, usize), Malformed> {
        let mut message = vec![0; Header::LEN];
        message.extend_from_slice(tail);
        let mut reader = Reader::at(&message, Header::LEN + start);
        let name = reader.name()?;
        Ok((format!("{name:?}"), reader.position() - Header::LEN))
    }

    #[test]
    fn decompression() {
        // "a.bc." at 0, "d" then a pointer to "bc." at 6, a pointer to that at 10.
        let tail = b"\x01a\x02bc\0\x01d\xc0\x0e\xc0\x12";
        assert_eq!(at(tail, 0).unwrap(), ("a.bc.".to_owned(), 6));
        assert_eq!(at(tail, 6).unwrap(), ("d.bc.".to_owned(), 10));
        assert_eq!(at(tail, 10).unwrap(), ("d.bc.".to_owned(), 12));
    }

    #[test]
    fn refused_pointers() {
        assert_eq!(at(b"\xc0\x0c", 0), Err(Malformed), "to itself");
        assert_eq!(at(b"\xc0\x0e\xc0\x0c", 0), Err(Malformed), "forward");
        assert_eq!(
            at(b"\x01a\xc0\x0c", 0),
            Err(Malformed),
            "into its own label"
        );
        assert_eq!(
            at(b"\x01a\xc0\x0c\xc0\x0c", 4),
            Err(Malformed),
            "loop behind"
        );
        assert_eq!(at(b"\xc0\x00", 0), Err(Malformed), "into the header");
        assert_eq!(at(b"\xc0", 0), Err(Malformed), "cut off");
        assert_eq!(at(b"\x41aa", 0), Err(Malformed), "extended label");
        assert_eq!(at(b"\x05ab", 0), Err(Malformed), "label past the end");
    }

    /// Pointers may chain, and a name so built still ends at 255 octets.
    #[test]
    fn chained_names_are_bounded() {
        let mut tail = Vec::new();
        let mut previous = None;
        for _ in 0..40 {
            let here = tail.len();
            tail.extend_from_slice(b"\x07abcdefg");
            match previous {
                Some(at) => tail.extend_from_slice(&(0xc000 | (12 + at) as u16).to_be_bytes()),
                None => tail.push(0),
            }
            previous = Some(here);
        }
        let offset = |index: usize| if index == 0 { 0 } else { 9 + 10 * (index - 1) };
        assert!(
            at(&tail, offset(30)).is_ok(),
            "31 labels of 8 octets and the root: 249"
        );
        assert_eq!(at(&tail, offset(31)), Err(Malformed), "257 octets");
    }
}
