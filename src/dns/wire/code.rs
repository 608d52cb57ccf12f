//! The numbers of the protocol and their names: types, classes, opcodes, response codes.

use std::fmt;

/// A record or query type (IANA "Resource Record (RR) TYPEs").
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RrType(pub u16);

macro_rules! types {
    ($($name:ident = $text:literal $number:literal,)*) => {
        #[allow(missing_docs)]
        impl RrType {
            $(pub const $name: RrType = RrType($number);)*

            /// The mnemonic, for types that have one.
            pub fn mnemonic(self) -> Option<&'static str> {
                match self.0 {
                    $($number => Some($text),)*
                    _ => None,
                }
            }
        }

        const TYPE_NAMES: &[(&str, u16)] = &[$(($text, $number),)*];
    };
}

types! {
    A = "A" 1, NS = "NS" 2, MD = "MD" 3, MF = "MF" 4, CNAME = "CNAME" 5, SOA = "SOA" 6,
    MB = "MB" 7, MG = "MG" 8, MR = "MR" 9, NULL = "NULL" 10, WKS = "WKS" 11, PTR = "PTR" 12,
    HINFO = "HINFO" 13, MINFO = "MINFO" 14, MX = "MX" 15, TXT = "TXT" 16, RP = "RP" 17,
    AFSDB = "AFSDB" 18, X25 = "X25" 19, ISDN = "ISDN" 20, RT = "RT" 21, NSAP = "NSAP" 22,
    NSAP_PTR = "NSAP-PTR" 23, SIG = "SIG" 24, KEY = "KEY" 25, PX = "PX" 26, GPOS = "GPOS" 27,
    AAAA = "AAAA" 28, LOC = "LOC" 29, NXT = "NXT" 30, EID = "EID" 31, NIMLOC = "NIMLOC" 32,
    SRV = "SRV" 33, ATMA = "ATMA" 34, NAPTR = "NAPTR" 35, KX = "KX" 36, CERT = "CERT" 37,
    A6 = "A6" 38, DNAME = "DNAME" 39, SINK = "SINK" 40, OPT = "OPT" 41, APL = "APL" 42,
    DS = "DS" 43, SSHFP = "SSHFP" 44, IPSECKEY = "IPSECKEY" 45, RRSIG = "RRSIG" 46,
    NSEC = "NSEC" 47, DNSKEY = "DNSKEY" 48, DHCID = "DHCID" 49, NSEC3 = "NSEC3" 50,
    NSEC3PARAM = "NSEC3PARAM" 51, TLSA = "TLSA" 52, SMIMEA = "SMIMEA" 53, HIP = "HIP" 55,
    NINFO = "NINFO" 56, RKEY = "RKEY" 57, TALINK = "TALINK" 58, CDS = "CDS" 59,
    CDNSKEY = "CDNSKEY" 60, OPENPGPKEY = "OPENPGPKEY" 61, CSYNC = "CSYNC" 62,
    ZONEMD = "ZONEMD" 63, SVCB = "SVCB" 64, HTTPS = "HTTPS" 65, DSYNC = "DSYNC" 66,
    SPF = "SPF" 99, UINFO = "UINFO" 100, UID = "UID" 101, GID = "GID" 102, UNSPEC = "UNSPEC" 103,
    NID = "NID" 104, L32 = "L32" 105, L64 = "L64" 106, LP = "LP" 107, EUI48 = "EUI48" 108,
    EUI64 = "EUI64" 109, TKEY = "TKEY" 249, TSIG = "TSIG" 250, IXFR = "IXFR" 251,
    AXFR = "AXFR" 252, MAILB = "MAILB" 253, MAILA = "MAILA" 254, ANY = "ANY" 255,
    URI = "URI" 256, CAA = "CAA" 257, AVC = "AVC" 258, DOA = "DOA" 259, AMTRELAY = "AMTRELAY" 260,
    RESINFO = "RESINFO" 261, WALLET = "WALLET" 262, TA = "TA" 32768, DLV = "DLV" 32769,
}

impl RrType {
    /// Reads a mnemonic, or `TYPEn` (RFC 3597 5).
    pub fn from_text(text: &[u8]) -> Option<RrType> {
        let number = |digits: &[u8]| std::str::from_utf8(digits).ok()?.parse().ok().map(RrType);
        // The few that fill a zone are tried before the table is.
        match text {
            b"A" | b"a" => return Some(RrType::A),
            b"NS" | b"ns" => return Some(RrType::NS),
            b"AAAA" | b"aaaa" => return Some(RrType::AAAA),
            b"MX" | b"mx" => return Some(RrType::MX),
            b"TXT" | b"txt" => return Some(RrType::TXT),
            b"PTR" | b"ptr" => return Some(RrType::PTR),
            b"CNAME" | b"cname" => return Some(RrType::CNAME),
            _ => {}
        }
        let known = TYPE_NAMES
            .iter()
            .find(|(name, _)| name.as_bytes().eq_ignore_ascii_case(text));
        known.map(|(_, number)| RrType(*number)).or_else(|| {
            let (head, digits) = text.split_at_checked(4)?;
            let plain = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
            if plain && head.eq_ignore_ascii_case(b"TYPE") {
                number(digits)
            } else {
                None
            }
        })
    }

    /// Types that ask for something other than a record set of that type, or that live only in a
    /// message: none may stand in a zone (RFC 6895 3.1; OPT is a meta type below the range).
    pub fn is_meta(self) -> bool {
        self == RrType::OPT || (128..=255).contains(&self.0)
    }

    /// Types that may stand beside a CNAME (RFC 2181 10.1, RFC 4034, RFC 2535).
    pub fn may_join_cname(self) -> bool {
        matches!(
            self,
            RrType::RRSIG | RrType::NSEC | RrType::SIG | RrType::NXT | RrType::KEY | RrType::CNAME
        )
    }
}

impl fmt::Display for RrType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.mnemonic() {
            Some(text) => f.write_str(text),
            None => write!(f, "TYPE{}", self.0),
        }
    }
}

impl fmt::Debug for RrType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A class.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Class(pub u16);

impl Class {
    /// Internet.
    pub const IN: Class = Class(1);
    /// Chaos: in use only for a server's questions about itself (RFC 4892).
    pub const CH: Class = Class(3);
    /// Hesiod.
    pub const HS: Class = Class(4);
    /// In an update: the absence of a record (RFC 2136).
    pub const NONE: Class = Class(254);
    /// Any class.
    pub const ANY: Class = Class(255);

    /// Reads a mnemonic, or `CLASSn` (RFC 3597 5).
    pub fn from_text(text: &[u8]) -> Option<Class> {
        let known = [
            ("IN", 1),
            ("CH", 3),
            ("CHAOS", 3),
            ("HS", 4),
            ("NONE", 254),
            ("ANY", 255),
        ];
        let named = known
            .iter()
            .find(|(name, _)| name.as_bytes().eq_ignore_ascii_case(text));
        named.map(|(_, number)| Class(*number)).or_else(|| {
            let (head, digits) = text.split_at_checked(5)?;
            if !head.eq_ignore_ascii_case(b"CLASS") || !digits.iter().all(u8::is_ascii_digit) {
                return None;
            }
            std::str::from_utf8(digits).ok()?.parse().ok().map(Class)
        })
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            1 => f.write_str("IN"),
            3 => f.write_str("CH"),
            4 => f.write_str("HS"),
            254 => f.write_str("NONE"),
            255 => f.write_str("ANY"),
            other => write!(f, "CLASS{other}"),
        }
    }
}

impl fmt::Debug for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What a message asks to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Opcode(pub u8);

impl Opcode {
    /// A question.
    pub const QUERY: Opcode = Opcode(0);
    /// A zone has changed (RFC 1996).
    pub const NOTIFY: Opcode = Opcode(4);
    /// A change to a zone (RFC 2136).
    pub const UPDATE: Opcode = Opcode(5);
}

/// A response code. Above 15 the upper bits travel in the OPT record (RFC 6891 6.1.3).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Rcode(pub u16);

macro_rules! rcodes {
    ($($(#[$doc:meta])* $name:ident = $number:literal,)*) => {
        impl Rcode {
            $($(#[$doc])* pub const $name: Rcode = Rcode($number);)*

            /// The mnemonic, for codes that have one.
            pub fn mnemonic(self) -> Option<&'static str> {
                match self.0 {
                    $($number => Some(stringify!($name)),)*
                    _ => None,
                }
            }

            /// Reads a mnemonic.
            pub fn from_text(text: &str) -> Option<Rcode> {
                let known = [$((stringify!($name), $number)),*];
                let found = known.iter().find(|(name, _)| name.eq_ignore_ascii_case(text));
                found.map(|(_, number)| Rcode(*number))
            }
        }
    };
}

rcodes! {
    /// Done.
    NOERROR = 0,
    /// The message could not be read.
    FORMERR = 1,
    /// The server failed.
    SERVFAIL = 2,
    /// No such name.
    NXDOMAIN = 3,
    /// The server does not do this.
    NOTIMP = 4,
    /// The server will not do this.
    REFUSED = 5,
    /// A name exists that should not (RFC 2136).
    YXDOMAIN = 6,
    /// A record set exists that should not (RFC 2136).
    YXRRSET = 7,
    /// A record set is missing (RFC 2136).
    NXRRSET = 8,
    /// Not authoritative, or not authorised (RFC 2136, RFC 8945).
    NOTAUTH = 9,
    /// A name outside the zone (RFC 2136).
    NOTZONE = 10,
    /// An EDNS version unknown here (RFC 6891).
    BADVERS = 16,
    /// A cookie missing or stale (RFC 7873).
    BADCOOKIE = 23,
}

impl fmt::Display for Rcode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.mnemonic() {
            Some(text) => f.write_str(text),
            None => write!(f, "RCODE{}", self.0),
        }
    }
}

impl fmt::Debug for Rcode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn type_names_and_numbers() {
        for (text, number) in TYPE_NAMES {
            assert_eq!(RrType::from_text(text.as_bytes()), Some(RrType(*number)));
            assert_eq!(
                RrType::from_text(text.to_ascii_lowercase().as_bytes()),
                Some(RrType(*number))
            );
            assert_eq!(RrType(*number).to_string(), *text);
        }
        assert_eq!(RrType::from_text(b"TYPE731"), Some(RrType(731)));
        assert_eq!(RrType::from_text(b"type1"), Some(RrType::A));
        assert_eq!(RrType(731).to_string(), "TYPE731");
        for bad in ["TYPE", "TYPE65536", "TYPE+1", "TYPE 1", "B", ""] {
            assert_eq!(RrType::from_text(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn classes() {
        assert_eq!(Class::from_text(b"in"), Some(Class::IN));
        assert_eq!(Class::from_text(b"CLASS1"), Some(Class::IN));
        assert_eq!(Class::from_text(b"CLASS"), None);
        assert_eq!(Class(32).to_string(), "CLASS32");
    }
}
