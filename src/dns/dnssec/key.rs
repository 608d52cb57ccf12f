//! DNSKEY records (RFC 4034 2).

use super::algorithm::Algorithm;

/// The data of a DNSKEY or CDNSKEY record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DnsKey<'a> {
    /// Flags.
    pub flags: u16,
    /// Always 3 (RFC 4034 2.1.2).
    pub protocol: u8,
    /// Algorithm.
    pub algorithm: Algorithm,
    /// The key itself.
    pub key: &'a [u8],
    rdata: &'a [u8],
}

impl<'a> DnsKey<'a> {
    /// The key may sign records of the zone (RFC 4034 2.1.1).
    pub const ZONE: u16 = 0x0100;
    /// A secure entry point (RFC 3757).
    pub const SEP: u16 = 0x0001;
    /// The key is revoked (RFC 5011 2.1).
    pub const REVOKE: u16 = 0x0080;

    /// Reads record data.
    pub fn read(rdata: &'a [u8]) -> Option<DnsKey<'a>> {
        let ([f1, f0, protocol, algorithm], key) = rdata.split_first_chunk::<4>()?;
        Some(DnsKey {
            flags: u16::from_be_bytes([*f1, *f0]),
            protocol: *protocol,
            algorithm: Algorithm(*algorithm),
            key,
            rdata,
        })
    }

    /// True of a key that records of a zone may be validated with (RFC 4034 2.1, RFC 5011 2.1).
    pub fn is_zone_key(&self) -> bool {
        self.flags & DnsKey::ZONE != 0 && self.flags & DnsKey::REVOKE == 0 && self.protocol == 3
    }

    /// True of a secure entry point.
    pub fn is_sep(&self) -> bool {
        self.flags & DnsKey::SEP != 0
    }

    /// The key's tag.
    pub fn tag(&self) -> u16 {
        key_tag(self.rdata)
    }

    /// The whole record data.
    pub fn rdata(&self) -> &'a [u8] {
        self.rdata
    }
}

/// The key tag of a DNSKEY's data (RFC 4034 appendix B): a hint, by no means unique.
pub fn key_tag(rdata: &[u8]) -> u16 {
    // Algorithm 1 alone counts otherwise (appendix B.1); it is neither signed with nor validated.
    let sum = rdata.chunks(2).fold(0u32, |sum, pair| {
        let high = pair.first().copied().unwrap_or(0);
        let low = pair.get(1).copied().unwrap_or(0);
        // At most 2^15 pairs of at most 2^16: no overflow.
        sum.wrapping_add(u32::from(high) << 8 | u32::from(low))
    });
    (sum.wrapping_add(sum >> 16) & 0xffff) as u16
}
