//! The row of types that NSEC, NSEC3 and CSYNC records end with (RFC 4034 4.1.2).

use crate::wire::code::RrType;

/// A row of types, in wire form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TypeBitmap<'a>(pub &'a [u8]);

impl<'a> TypeBitmap<'a> {
    /// True if a type is in the row.
    pub fn contains(self, rr_type: RrType) -> bool {
        let (window, bit) = ((rr_type.0 >> 8) as u8, rr_type.0 & 0xff);
        let mask = 0x80u8 >> (bit & 7);
        self.windows()
            .find(|(number, _)| *number == window)
            .and_then(|(_, bits)| bits.get(usize::from(bit >> 3)))
            .is_some_and(|octet| octet & mask != 0)
    }

    /// The types in the row, the lowest first.
    pub fn types(self) -> impl Iterator<Item = RrType> {
        self.windows().flat_map(|(number, bits)| {
            let base = u16::from(number) << 8;
            bits.iter().enumerate().flat_map(move |(index, octet)| {
                let octet = *octet;
                (0..8u16)
                    .filter(move |bit| octet & (0x80u8 >> bit) != 0)
                    .map(move |bit| RrType(base | (index as u16) << 3 | bit))
            })
        })
    }

    /// Windows as far as they are well formed.
    fn windows(self) -> impl Iterator<Item = (u8, &'a [u8])> {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            let (&[number, length], after) = rest.split_first_chunk::<2>()?;
            let (bits, after) = after.split_at_checked(usize::from(length))?;
            rest = after;
            Some((number, bits))
        })
    }
}

/// Appends a row of types, given in rising order.
pub fn write_types(types: &[RrType], out: &mut Vec<u8>) {
    for window in types.chunk_by(|left, right| left.0 >> 8 == right.0 >> 8) {
        let mut bits = [0u8; 32];
        let mut length = 0;
        for rr_type in window {
            let index = usize::from(rr_type.0 >> 3 & 31);
            if let Some(octet) = bits.get_mut(index) {
                *octet |= 0x80u8 >> (rr_type.0 & 7);
                length = length.max(index + 1);
            }
        }
        let number = window.first().map_or(0, |rr_type| (rr_type.0 >> 8) as u8);
        out.extend_from_slice(&[number, length as u8]);
        out.extend_from_slice(bits.get(..length).unwrap_or(&[]));
    }
}
