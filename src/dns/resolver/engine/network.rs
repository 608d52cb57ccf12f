//! What the engine wants of the world: time, chance, and a message taken to a server and back.
//! The daemon gives it sockets, a test gives it a network of its own and a clock it turns itself.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;

use crate::wire::code::{Class, RrType};
use crate::wire::name::{Name, NameRef};
use crate::wire::reader::{Header, Reader};

/// How a message travels.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Carrier {
    Udp,
    Tcp,
    /// TLS (RFC 7858), with the name the server's certificate must have; none: the address.
    Tls(Option<Arc<str>>),
}

/// Why nothing came back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lost {
    /// Nothing came in time.
    Timeout,
    /// The network says that nobody is there.
    Unreachable,
    /// So many wrong answers came that somebody may be guessing.
    Forged,
}

/// A query as it goes out.
#[derive(Debug, Clone)]
pub(crate) struct Outgoing {
    pub(crate) bytes: Vec<u8>,
    /// Octets of the question section.
    question: usize,
    /// The answer must repeat the letter case.
    exact: bool,
}

/// The world.
pub(crate) trait Network: Send + Sync + 'static {
    /// Takes a query to a server; the first message back that is an answer to it, by
    /// [`Outgoing::is_answered_by`].
    fn exchange<'a>(
        &'a self,
        to: SocketAddr,
        carrier: &'a Carrier,
        query: &'a Outgoing,
        limit: Duration,
    ) -> BoxFuture<'a, Result<Vec<u8>, Lost>>;

    /// The time.
    fn now(&self) -> Instant;

    /// Seconds since 1970: what signatures speak of.
    fn unix_time(&self) -> u64;

    /// Octets that nobody can guess.
    fn random(&self, octets: &mut [u8]);

    /// A number that nobody can guess.
    fn random_u32(&self) -> u32 {
        let mut octets = [0; 4];
        self.random(&mut octets);
        u32::from_be_bytes(octets)
    }
}

/// The zones of this server, asked before anybody else is.
pub(crate) trait Local: Send + Sync + 'static {
    /// The zone that a name and type belong to.
    fn zone(&self, name: NameRef<'_>, rr_type: RrType) -> Option<Name>;

    /// The zone that a name and type belong to, and its answer to a query.
    fn ask(&self, name: NameRef<'_>, rr_type: RrType, query: &[u8]) -> Option<(Name, Vec<u8>)>;
}

/// How a query is to look.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Style<'a> {
    /// RD: for forwarders.
    pub(crate) recursion_desired: bool,
    /// CD: we check ourselves (RFC 6840 5.9).
    pub(crate) checking_disabled: bool,
    /// With an OPT record.
    pub(crate) edns: bool,
    /// DO in it.
    pub(crate) dnssec_ok: bool,
    /// A cookie in it.
    pub(crate) cookie: Option<&'a [u8]>,
    /// Letters in a case chosen by chance, which the answer must repeat.
    pub(crate) mix_case: bool,
    /// Padded to a multiple of 128 octets (RFC 8467 4.1).
    pub(crate) padded: bool,
}

/// The size of UDP answers that we take: no fragments on any usual path.
pub(crate) const UDP_SIZE: u16 = 1232;

impl Outgoing {
    pub(crate) fn new(
        name: NameRef<'_>,
        rr_type: RrType,
        style: Style<'_>,
        network: &dyn Network,
    ) -> Outgoing {
        use crate::wire::query::option;
        use crate::wire::reader::flag;
        let mut id = [0; 2];
        network.random(&mut id);
        let mut flags = 0u16;
        if style.recursion_desired {
            flags |= flag::RD;
        }
        if style.checking_disabled {
            flags |= flag::CD;
        }
        let mut bytes = Vec::with_capacity(128);
        bytes.extend_from_slice(&id);
        bytes.extend_from_slice(&flags.to_be_bytes());
        bytes.extend_from_slice(&[0, 1, 0, 0, 0, 0, 0, u8::from(style.edns)]);
        let name_at = bytes.len();
        bytes.extend_from_slice(name.wire());
        if style.mix_case {
            let mut coins = [0u8; 32];
            network.random(&mut coins);
            let octets = bytes.get_mut(name_at..).unwrap_or_default();
            for (index, octet) in octets.iter_mut().enumerate() {
                let coin = coins.get(index / 8).copied().unwrap_or(0) >> (index % 8);
                // Lengths are below 64 and no letters.
                if octet.is_ascii_alphabetic() {
                    *octet = if coin & 1 == 1 {
                        octet.to_ascii_uppercase()
                    } else {
                        octet.to_ascii_lowercase()
                    };
                }
            }
        }
        bytes.extend_from_slice(&rr_type.0.to_be_bytes());
        bytes.extend_from_slice(&Class::IN.0.to_be_bytes());
        let question = bytes.len() - name_at;
        if style.edns {
            let [s1, s0] = UDP_SIZE.to_be_bytes();
            let dnssec_ok = u8::from(style.dnssec_ok) << 7;
            bytes.extend_from_slice(&[0, 0, 41, s1, s0, 0, 0, dnssec_ok, 0]);
            let mut options = Vec::new();
            if let Some(cookie) = style.cookie {
                options.extend_from_slice(&option::COOKIE.to_be_bytes());
                options.extend_from_slice(&(cookie.len() as u16).to_be_bytes());
                options.extend_from_slice(cookie);
            }
            if style.padded {
                let length = bytes.len() + 2 + options.len() + 4;
                let padding = length.next_multiple_of(128) - length;
                options.extend_from_slice(&option::PADDING.to_be_bytes());
                options.extend_from_slice(&(padding as u16).to_be_bytes());
                options.resize(options.len() + padding, 0);
            }
            bytes.extend_from_slice(&(options.len() as u16).to_be_bytes());
            bytes.extend_from_slice(&options);
        }
        Outgoing {
            bytes,
            question,
            exact: style.mix_case,
        }
    }

    /// True if a message answers this query: same ID, same question. A response without a question
    /// is one from a server that could not read ours, or did not care to repeat it.
    pub(crate) fn is_answered_by(&self, message: &[u8]) -> bool {
        let Ok(header) = Header::read(message) else {
            return false;
        };
        let id = self.bytes.get(..2).unwrap_or_default();
        if !header.is_response() || message.get(..2) != Some(id) || header.opcode().0 != 0 {
            return false;
        }
        if header.questions == 0 {
            return header.rcode().0 != 0 && message.len() <= Header::LEN + 64;
        }
        let question = self.bytes.get(Header::LEN..Header::LEN + self.question);
        let theirs = message.get(Header::LEN..Header::LEN + self.question);
        let (Some(question), Some(theirs)) = (question, theirs) else {
            return false;
        };
        header.questions == 1
            && if self.exact {
                question == theirs
            } else {
                question.eq_ignore_ascii_case(theirs) && tail(question) == tail(theirs)
            }
    }
}

/// Type and class.
fn tail(question: &[u8]) -> Option<&[u8; 4]> {
    question.last_chunk()
}

/// Cookie and extended response code out of a response's OPT record.
#[derive(Debug, Clone, Default)]
pub(crate) struct Opt {
    pub(crate) present: bool,
    /// The upper bits of the response code.
    pub(crate) extended: u16,
    pub(crate) cookie: Option<Vec<u8>>,
    /// Extended errors (RFC 8914).
    pub(crate) errors: Vec<u16>,
}

impl Opt {
    pub(crate) fn of(message: &crate::wire::message::Message) -> Opt {
        use crate::wire::query::option;
        let is_opt = |record: &&crate::wire::record::OwnRecord| record.rr_type == RrType::OPT;
        let Some(record) = message.additionals.iter().find(is_opt) else {
            return Opt::default();
        };
        let mut opt = Opt {
            present: true,
            extended: ((record.ttl >> 24) as u16) << 4,
            ..Opt::default()
        };
        let mut reader = Reader::new(&record.rdata);
        while let (Ok(code), Ok(length)) = (reader.u16(), reader.u16()) {
            let Ok(value) = reader.bytes(length.into()) else {
                break;
            };
            match code {
                option::COOKIE if (16..=40).contains(&value.len()) => {
                    opt.cookie = Some(value.to_vec());
                }
                option::EXTENDED_ERROR if opt.errors.len() < 4 => {
                    if let Some([high, low]) = value.first_chunk::<2>() {
                        opt.errors.push(u16::from_be_bytes([*high, *low]));
                    }
                }
                _ => {}
            }
        }
        opt
    }
}

/// A server to ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) carrier: Carrier,
    /// Its name, where one is known.
    pub(crate) name: Option<Name>,
}
