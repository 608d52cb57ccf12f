//! Reading of a request, in place and without allocation: header, question, EDNS.

use super::code::{Class, Opcode, Rcode, RrType};
use super::name::NameRef;
use super::reader::{Header, Reader};

/// Option codes of EDNS (IANA "DNS EDNS0 Option Codes").
pub mod option {
    /// Name server identifier (RFC 5001).
    pub const NSID: u16 = 3;
    /// Cookie (RFC 7873).
    pub const COOKIE: u16 = 10;
    /// Idle time of a TCP connection (RFC 7828).
    pub const KEEPALIVE: u16 = 11;
    /// Padding (RFC 7830).
    pub const PADDING: u16 = 12;
    /// Extended DNS error (RFC 8914).
    pub const EXTENDED_ERROR: u16 = 15;
}

/// What is asked.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// Name, in the letter case it came in.
    pub name: NameRef<'a>,
    /// Type.
    pub rr_type: RrType,
    /// Class.
    pub class: Class,
}

/// The OPT record of a request (RFC 6891).
#[derive(Debug, Clone, Copy, Default)]
pub struct Edns<'a> {
    /// Largest UDP answer the client takes.
    pub udp_size: u16,
    /// Version.
    pub version: u8,
    /// DNSSEC records wanted (RFC 3225).
    pub dnssec_ok: bool,
    /// The client's cookie, with the server's behind it if the client has one.
    pub cookie: Option<&'a [u8]>,
    /// The client asks which server this is.
    pub nsid: bool,
    /// The client asks how long a connection may idle.
    pub keepalive: bool,
    /// The client pads, and so wants padding (RFC 7830 4).
    pub padding: bool,
}

/// A signature the request carries (RFC 8945); kept where it stands.
#[derive(Debug, Clone, Copy)]
pub struct Tsig<'a> {
    /// Where the record begins in the message.
    pub start: usize,
    /// Name of the key.
    pub key: NameRef<'a>,
    /// The record's rdata.
    pub rdata: &'a [u8],
}

/// A request, read.
#[derive(Debug, Clone, Copy)]
pub struct Query<'a> {
    /// Header.
    pub header: Header,
    /// The one question; none only in a bare cookie request (RFC 7873 5.4).
    pub question: Option<Question<'a>>,
    /// Where the question section ends.
    pub question_end: usize,
    /// EDNS, if the client speaks it.
    pub edns: Option<Edns<'a>>,
    /// Signature.
    pub tsig: Option<Tsig<'a>>,
    /// Serial of the SOA in the authority section: what an IXFR client holds (RFC 1995 3).
    pub held_serial: Option<u32>,
}

/// A request that earns an error, or nothing at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unreadable {
    /// Too short, or itself a response: to answer would feed loops.
    Drop,
    /// Answered with this code and, so far as it was read, the question.
    Reply {
        /// Code.
        rcode: Rcode,
        /// Where the question section ends; 12 if it was not read.
        question_end: usize,
    },
}

impl<'a> Query<'a> {
    /// Reads a request.
    pub fn read(message: &'a [u8]) -> Result<Query<'a>, Unreadable> {
        let header = Header::read(message).map_err(|_| Unreadable::Drop)?;
        if header.is_response() {
            return Err(Unreadable::Drop);
        }
        let bare = |rcode| Unreadable::Reply {
            rcode,
            question_end: Header::LEN,
        };
        match header.opcode() {
            Opcode::QUERY | Opcode::NOTIFY | Opcode::UPDATE => {}
            _ => return Err(bare(Rcode::NOTIMP)),
        }
        let mut query = Query {
            header,
            question: None,
            question_end: Header::LEN,
            edns: None,
            tsig: None,
            held_serial: None,
        };
        match header.questions {
            0 => {}
            1 => query.read_question(message).ok_or(bare(Rcode::FORMERR))?,
            // RFC 9619: more than one is malformed.
            _ => return Err(bare(Rcode::FORMERR)),
        }
        let question_end = query.question_end;
        query.read_records(message).ok_or(Unreadable::Reply {
            rcode: Rcode::FORMERR,
            question_end,
        })?;
        let cookie_only = query.edns.is_some_and(|edns| edns.cookie.is_some());
        if query.question.is_none() && !(cookie_only && header.opcode() == Opcode::QUERY) {
            return Err(bare(Rcode::FORMERR));
        }
        Ok(query)
    }

    fn read_question(&mut self, message: &'a [u8]) -> Option<()> {
        // Nothing stands before the first name that a pointer could lead to, so none is read.
        let (name, rest) = NameRef::split_wire(message.get(Header::LEN..)?).ok()?;
        let (fields, _) = rest.split_first_chunk::<4>()?;
        let [t1, t0, c1, c0] = *fields;
        self.question_end = Header::LEN + name.wire().len() + 4;
        self.question = Some(Question {
            name,
            rr_type: RrType(u16::from_be_bytes([t1, t0])),
            class: Class(u16::from_be_bytes([c1, c0])),
        });
        Some(())
    }

    fn read_records(&mut self, message: &'a [u8]) -> Option<()> {
        let header = self.header;
        let before = u32::from(header.answers) + u32::from(header.authorities);
        let total = before + u32::from(header.additionals);
        let mut reader = Reader::at(message, self.question_end);
        for index in 0..total {
            let start = reader.position();
            reader.skip_name().ok()?;
            let name_end = reader.position();
            let rr_type = RrType(reader.u16().ok()?);
            let class = reader.u16().ok()?;
            let ttl = reader.u32().ok()?;
            let length = reader.u16().ok()? as usize;
            let rdata_at = reader.position();
            let rdata = reader.bytes(length).ok()?;
            let additional = index >= before;
            match rr_type {
                RrType::OPT => {
                    let root = name_end == start + 1;
                    if !additional || !root || self.edns.is_some() {
                        return None;
                    }
                    self.edns = Some(read_edns(class, ttl, rdata)?);
                }
                RrType::TSIG => {
                    // RFC 8945 5.1: the last record of the message, or malformed.
                    if index + 1 != total || !additional {
                        return None;
                    }
                    let key = NameRef::from_wire(message.get(start..name_end)?).ok()?;
                    self.tsig = Some(Tsig { start, key, rdata });
                }
                RrType::SOA if !additional && self.held_serial.is_none() => {
                    let mut soa = Reader::at(message, rdata_at);
                    soa.skip_name().ok()?;
                    soa.skip_name().ok()?;
                    self.held_serial = Some(soa.u32().ok()?);
                }
                _ => {}
            }
        }
        Some(())
    }
}

fn read_edns(class: u16, ttl: u32, rdata: &[u8]) -> Option<Edns<'_>> {
    let mut edns = Edns {
        udp_size: class,
        version: (ttl >> 16) as u8,
        dnssec_ok: ttl & 0x8000 != 0,
        ..Edns::default()
    };
    if edns.version != 0 {
        // What the options of another version look like is not ours to judge.
        return Some(edns);
    }
    let mut rest = rdata;
    while !rest.is_empty() {
        let (head, tail) = rest.split_first_chunk::<4>()?;
        let [c1, c0, l1, l0] = *head;
        let (value, tail) = tail.split_at_checked(u16::from_be_bytes([l1, l0]) as usize)?;
        rest = tail;
        match u16::from_be_bytes([c1, c0]) {
            option::NSID => edns.nsid = true,
            option::COOKIE => {
                // RFC 7873 5.2.2: any other length is malformed.
                if !matches!(value.len(), 8 | 16..=40) {
                    return None;
                }
                edns.cookie = edns.cookie.or(Some(value));
            }
            option::KEEPALIVE => edns.keepalive = true,
            option::PADDING => edns.padding = true,
            _ => {}
        }
    }
    Some(edns)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use proptest::prelude::*;

    fn message(counts: [u16; 4], flags: u16, tail: &[u8]) -> Vec<u8> {
        let mut message = vec![0x12, 0x34];
        message.extend_from_slice(&flags.to_be_bytes());
        for count in counts {
            message.extend_from_slice(&count.to_be_bytes());
        }
        message.extend_from_slice(tail);
        message
    }

    const QUESTION: &[u8] = b"\x01a\x02BC\0\0\x01\0\x01";

    fn with_opt(opt: &[u8]) -> Vec<u8> {
        message([1, 0, 0, 1], 0, &[QUESTION, opt].concat())
    }

    fn rcode(message: &[u8]) -> Option<Rcode> {
        match Query::read(message) {
            Ok(_) => Some(Rcode::NOERROR),
            Err(Unreadable::Drop) => None,
            Err(Unreadable::Reply { rcode, .. }) => Some(rcode),
        }
    }

    #[test]
    fn plain_and_edns() {
        let bytes = message([1, 0, 0, 0], flag_rd(), QUESTION);
        let query = Query::read(&bytes).unwrap();
        let question = query.question.unwrap();
        assert_eq!(question.name.to_string(), "a.BC.");
        assert_eq!((question.rr_type, question.class), (RrType::A, Class::IN));
        assert!(query.edns.is_none());

        let bytes = with_opt(b"\0\0\x29\x04\xd0\0\0\x80\0\0\x10\0\x03\0\0\0\x0a\0\x08abcdefgh");
        let edns = Query::read(&bytes).unwrap().edns.unwrap();
        assert_eq!((edns.udp_size, edns.version), (1232, 0));
        assert!(edns.dnssec_ok && edns.nsid && !edns.keepalive);
        assert_eq!(edns.cookie, Some(&b"abcdefgh"[..]));
    }

    fn flag_rd() -> u16 {
        super::super::reader::flag::RD
    }

    #[test]
    fn what_is_refused_and_how() {
        let good = message([1, 0, 0, 0], 0, QUESTION);
        assert_eq!(rcode(&good), Some(Rcode::NOERROR));
        assert_eq!(rcode(&good[..11]), None, "shorter than a header");
        assert_eq!(
            rcode(&message([1, 0, 0, 0], 0x8000, QUESTION)),
            None,
            "a response"
        );
        assert_eq!(
            rcode(&message([1, 0, 0, 0], 0x1000, QUESTION)),
            Some(Rcode::NOTIMP),
            "STATUS"
        );
        assert_eq!(rcode(&good[..18]), Some(Rcode::FORMERR), "question cut off");
        assert_eq!(
            rcode(&message([0, 0, 0, 0], 0, b"")),
            Some(Rcode::FORMERR),
            "no question"
        );
        let two = message([2, 0, 0, 0], 0, &[QUESTION, QUESTION].concat());
        assert_eq!(rcode(&two), Some(Rcode::FORMERR), "two questions");
        let pointer = message([1, 0, 0, 0], 0, b"\xc0\x0c\0\x01\0\x01");
        assert_eq!(
            rcode(&pointer),
            Some(Rcode::FORMERR),
            "pointer in the question"
        );
        let counts = message([1, 9, 0, 0], 0, QUESTION);
        assert_eq!(
            rcode(&counts),
            Some(Rcode::FORMERR),
            "records promised, none there"
        );

        let opt = b"\0\0\x29\x04\xd0\0\0\0\0\0\0";
        let twice = message([1, 0, 0, 2], 0, &[QUESTION, opt, opt].concat());
        assert_eq!(rcode(&twice), Some(Rcode::FORMERR), "two OPT records");
        let early = message([1, 1, 0, 0], 0, &[QUESTION, opt].concat());
        assert_eq!(rcode(&early), Some(Rcode::FORMERR), "OPT among the answers");
        assert_eq!(
            rcode(&with_opt(b"\x01a\0\0\x29\x04\xd0\0\0\0\0\0\0")),
            Some(Rcode::FORMERR)
        );
        let short_option = with_opt(b"\0\0\x29\x04\xd0\0\0\0\0\0\x05\0\x0a\0\x08a");
        assert_eq!(
            rcode(&short_option),
            Some(Rcode::FORMERR),
            "option past the end"
        );
        let short_cookie = with_opt(b"\0\0\x29\x04\xd0\0\0\0\0\0\x05\0\x0a\0\x01a");
        assert_eq!(
            rcode(&short_cookie),
            Some(Rcode::FORMERR),
            "cookie of one octet"
        );
        let trailing = [&good[..], b"xyz"].concat();
        assert_eq!(
            rcode(&trailing),
            Some(Rcode::NOERROR),
            "octets past the end are let be"
        );
    }

    #[test]
    fn bare_cookie_request() {
        let tail = b"\0\0\x29\x04\xd0\0\0\0\0\0\x0c\0\x0a\0\x08abcdefgh";
        assert!(
            Query::read(&message([0, 0, 0, 1], 0, tail))
                .unwrap()
                .question
                .is_none()
        );
    }

    proptest! {
        #[test]
        fn never_panics(mut bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            // Make most of it a plausible request, so that the deep parts are reached.
            if let Some(flags) = bytes.get_mut(2) { *flags &= 0x01; }
            for at in [4, 6, 8, 10] { if let Some(high) = bytes.get_mut(at) { *high = 0; } }
            for at in [5, 7, 9, 11] { if let Some(low) = bytes.get_mut(at) { *low &= 1; } }
            let _ = Query::read(&bytes);
        }
    }
}
