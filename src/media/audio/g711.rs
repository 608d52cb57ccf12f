//! ITU-T G.711: eight bits a sample, spread so that soft sounds keep their shape.

/// µ-law's bias: it makes every magnitude have a leading bit within eight segments.
const BIAS: i32 = 0x84;
const CLIP: i32 = 32_635;

const fn decode_ulaw(byte: u8) -> i16 {
    // All bits are sent inverted.
    let byte = !byte;
    let segment = (byte >> 4 & 7) as i32;
    let step = (byte & 0x0f) as i32;
    let magnitude = (((step << 3) + BIAS) << segment) - BIAS;
    (if byte & 0x80 != 0 {
        -magnitude
    } else {
        magnitude
    }) as i16
}

const fn decode_alaw(byte: u8) -> i16 {
    // Every other bit is sent inverted.
    let byte = byte ^ 0x55;
    let segment = (byte >> 4 & 7) as i32;
    let step = (byte & 0x0f) as i32;
    let magnitude = if segment == 0 {
        (step << 4) + 8
    } else {
        ((step << 4) + 0x108) << (segment - 1)
    };
    (if byte & 0x80 != 0 {
        magnitude
    } else {
        -magnitude
    }) as i16
}

const fn table(alaw: bool) -> [i16; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = if alaw {
            decode_alaw(byte as u8)
        } else {
            decode_ulaw(byte as u8)
        };
        byte += 1;
    }
    table
}

static ULAW: [i16; 256] = table(false);
static ALAW: [i16; 256] = table(true);

#[must_use]
pub fn from_ulaw(byte: u8) -> i16 {
    ULAW[usize::from(byte)]
}

#[must_use]
pub fn from_alaw(byte: u8) -> i16 {
    ALAW[usize::from(byte)]
}

/// Place of the leading bit above bit 7: the segment, 0 to 7.
fn segment(magnitude: u32) -> u32 {
    (magnitude | 0x80).ilog2() - 7
}

#[must_use]
pub fn to_ulaw(sample: i16) -> u8 {
    let sample = i32::from(sample);
    let magnitude = (sample.abs().min(CLIP) + BIAS) as u32;
    let segment = segment(magnitude).min(7);
    let step = magnitude >> (segment + 3) & 0x0f;
    let sign = if sample < 0 { 0x80 } else { 0 };
    !(sign | segment << 4 | step) as u8
}

#[must_use]
pub fn to_alaw(sample: i16) -> u8 {
    // Thirteen bits count; a negative's complement keeps both halves alike.
    let (sign, magnitude) = if sample < 0 {
        (0, !sample as u32)
    } else {
        (0x80, sample as u32)
    };
    let segment = segment(magnitude);
    let step = if segment == 0 {
        magnitude >> 4 & 0x0f
    } else {
        magnitude >> (segment + 3) & 0x0f
    };
    (sign | segment << 4 | step) as u8 ^ 0x55
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Values of G.711's tables 1a, 1b, 2a and 2b, scaled to 16 bits.
    #[test]
    fn the_standards_values_are_these() {
        for (byte, value) in [
            (0xff, 0),
            (0xfe, 8),
            (0x80, 32_124),
            (0x00, -32_124),
            (0x7f, 0),
            (0xef, 132),
            (0x8f, 16_764),
        ] {
            assert_eq!(from_ulaw(byte), value, "µ {byte:02x}");
        }
        for (byte, value) in [
            (0xd5, 8),
            (0x55, -8),
            (0xaa, 32_256),
            (0x2a, -32_256),
            (0xd4, 24),
            (0xc5, 264),
        ] {
            assert_eq!(from_alaw(byte), value, "A {byte:02x}");
        }
    }

    #[test]
    fn every_byte_comes_back() {
        for byte in 0..=255 {
            assert_eq!(to_alaw(from_alaw(byte)), byte);
            // µ-law has two zeros, and one of them is enough.
            let expected = if byte == 0x7f { 0xff } else { byte };
            assert_eq!(to_ulaw(from_ulaw(byte)), expected);
        }
    }

    proptest! {
        #[test]
        fn what_is_decoded_is_near(sample: i16) {
            let allowed = 16 + (i32::from(sample).abs() >> 4);
            for value in [from_ulaw(to_ulaw(sample)), from_alaw(to_alaw(sample))] {
                let off = (i32::from(value) - i32::from(sample)).abs();
                prop_assert!(off <= allowed.max(650 * i32::from(sample.unsigned_abs() > 32_000)), "{sample} {value}");
            }
        }
    }
}
