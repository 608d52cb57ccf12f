//! What the data of each record type is made of: one table, from which come the reading of text,
//! the printing of text, the check of wire form and the places where names stand.

use crate::wire::code::RrType;

/// A part of the data of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Field {
    U8,
    U16,
    U32,
    /// A number of seconds; text may use units ("1h30m").
    Seconds,
    /// A point in time of RRSIG and SIG: `YYYYMMDDHHmmSS`, or seconds.
    Time,
    Ipv4,
    Ipv6,
    /// A name.
    Name,
    /// One character string.
    String,
    /// A second character string that may be missing (ISDN).
    OptionalString,
    /// Character strings to the end, at least one.
    Strings,
    /// A character string of letters and digits, printed without quotes (CAA).
    Tag,
    /// Octets to the end, written as one quoted text (CAA, URI).
    Text,
    /// Octets to the end in base64; they may be missing if the flag says so.
    Base64 {
        optional: bool,
    },
    /// Octets to the end in hexadecimal.
    Hex,
    /// Octets behind a length octet, in hexadecimal; `-` for none (NSEC3 salt).
    Salt,
    /// Octets behind a length octet, in base32hex (NSEC3 next owner).
    Hash,
    /// A record type, by mnemonic.
    Type,
    /// A row of record types to the end (NSEC, RFC 4034 4.1.2); may be empty if the flag says so.
    Types {
        optional: bool,
    },
    /// The old row of record types (NXT, RFC 2535 5.2).
    NxtTypes,
    /// A DNSSEC algorithm, by number or mnemonic.
    Algorithm,
    /// A digest of DS, by number or mnemonic.
    Digest,
    /// A certificate type, by number or mnemonic (RFC 4398).
    CertType,
    /// The scheme of DSYNC, by number or mnemonic (RFC 9859).
    Scheme,
    /// Six octets `xx-xx-…`.
    Eui48,
    /// Eight octets `xx-xx-…`.
    Eui64,
    /// Eight octets `xxxx:xxxx:xxxx:xxxx` (RFC 6742).
    Locator64,
    /// `0x` and hexadecimal (RFC 1706).
    Nsap,
    /// All of LOC (RFC 1876).
    Location,
    /// All of APL (RFC 3123).
    Prefixes,
    /// All of IPSECKEY (RFC 4025).
    IpsecKey,
    /// All of AMTRELAY (RFC 8777).
    Relay,
    /// All of HIP (RFC 8005).
    HostIdentity,
    /// Service parameters to the end (RFC 9460).
    Parameters,
}

/// The parts of a type's data; nothing for a type whose data is opaque here (RFC 3597).
pub(crate) fn form(rr_type: RrType) -> Option<&'static [Field]> {
    use Field::*;
    use RrType as T;
    let fields: &'static [Field] = match rr_type {
        T::A => &[Ipv4],
        T::AAAA => &[Ipv6],
        T::NS | T::MD | T::MF | T::CNAME | T::MB | T::MG | T::MR | T::PTR | T::DNAME => &[Name],
        T::NSAP_PTR => &[Name],
        T::SOA => &[Name, Name, U32, Seconds, Seconds, Seconds, Seconds],
        T::HINFO => &[String, String],
        T::MINFO | T::RP | T::TALINK => &[Name, Name],
        T::MX | T::AFSDB | T::RT | T::KX | T::LP => &[U16, Name],
        T::TXT | T::SPF | T::NINFO | T::AVC | T::RESINFO | T::WALLET => &[Strings],
        T::X25 => &[String],
        T::ISDN => &[String, OptionalString],
        T::NSAP => &[Nsap],
        T::SIG | T::RRSIG => &[
            Type,
            Algorithm,
            U8,
            Seconds,
            Time,
            Time,
            U16,
            Name,
            Base64 { optional: false },
        ],
        T::KEY => &[U16, U8, Algorithm, Base64 { optional: true }],
        T::DNSKEY | T::CDNSKEY | T::RKEY => &[U16, U8, Algorithm, Base64 { optional: false }],
        T::PX => &[U16, Name, Name],
        T::GPOS => &[String, String, String],
        T::LOC => &[Location],
        T::NXT => &[Name, NxtTypes],
        T::EID | T::NIMLOC => &[Hex],
        T::SRV => &[U16, U16, U16, Name],
        T::NAPTR => &[U16, U16, String, String, String, Name],
        T::CERT => &[CertType, U16, Algorithm, Base64 { optional: false }],
        T::APL => &[Prefixes],
        T::DS | T::CDS | T::DLV | T::TA => &[U16, Algorithm, Digest, Hex],
        T::SSHFP => &[U8, U8, Hex],
        T::IPSECKEY => &[IpsecKey],
        T::NSEC => &[Name, Types { optional: false }],
        T::DHCID | T::OPENPGPKEY => &[Base64 { optional: false }],
        T::NSEC3 => &[U8, U8, U16, Salt, Hash, Types { optional: true }],
        T::NSEC3PARAM => &[U8, U8, U16, Salt],
        T::TLSA | T::SMIMEA => &[U8, U8, U8, Hex],
        T::HIP => &[HostIdentity],
        T::CSYNC => &[U32, U16, Types { optional: true }],
        T::ZONEMD => &[U32, U8, U8, Hex],
        T::SVCB | T::HTTPS => &[U16, Name, Parameters],
        T::DSYNC => &[Type, Scheme, U16, Name],
        T::NID | T::L64 => &[U16, Locator64],
        T::L32 => &[U16, Ipv4],
        T::EUI48 => &[Eui48],
        T::EUI64 => &[Eui64],
        T::URI => &[U16, U16, Text],
        T::CAA => &[U8, Tag, Text],
        T::AMTRELAY => &[Relay],
        T::SINK => &[U8, U8, U8, Base64 { optional: true }],
        _ => return None,
    };
    Some(fields)
}

/// The types whose names may be compressed in a message: those of RFC 1035, which every reader
/// knows (RFC 3597 4).
pub(crate) fn compressible(rr_type: RrType) -> bool {
    use RrType as T;
    matches!(
        rr_type,
        T::NS
            | T::MD
            | T::MF
            | T::CNAME
            | T::SOA
            | T::MB
            | T::MG
            | T::MR
            | T::PTR
            | T::MINFO
            | T::MX
    )
}

/// Where the name stands whose addresses a client will want next (RFC 1035 3.3, and the
/// definitions of the newer types); octets before it.
pub(crate) fn additional_name_at(rr_type: RrType) -> Option<usize> {
    use RrType as T;
    match rr_type {
        T::NS | T::MB => Some(0),
        T::MX | T::AFSDB | T::RT | T::KX | T::LP | T::SVCB | T::HTTPS => Some(2),
        T::SRV => Some(6),
        _ => None,
    }
}
