//! Codings of sound: 160 bytes for each 20 ms, all of those that end here.

use audio_codec::{
    Decoder as _, Encoder as _,
    g722::{Bitrate, G722Decoder, G722Encoder},
};

use super::g711;
use crate::wire::sdp::CodecName;

/// How sound is coded where it ends here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Coding {
    Pcmu,
    Pcma,
    /// With nothing in its upper half: what ends here has 8,000 samples a second.
    G722,
}

impl Coding {
    pub const ALL: [Self; 3] = [Self::Pcmu, Self::Pcma, Self::G722];

    /// The coding of a codec, where there is one here.
    #[must_use]
    pub fn of(name: &CodecName) -> Option<Self> {
        match name {
            CodecName::Pcmu => Some(Self::Pcmu),
            CodecName::Pcma => Some(Self::Pcma),
            CodecName::G722 => Some(Self::G722),
            _ => None,
        }
    }

    /// Codes a piece that stands alone.
    pub fn encode(self, samples: &[i16], out: &mut Vec<u8>) {
        Encoder::new(self).encode(samples, out);
    }

    /// Reads a piece that stands alone.
    pub fn decode(self, payload: &[u8], out: &mut Vec<i16>) {
        Decoder::new(self).decode(payload, out);
    }
}

/// Codes one stream.
pub struct Encoder {
    coding: Coding,
    g722: Option<Box<(Doubler, G722Encoder)>>,
}

impl std::fmt::Debug for Encoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Encoder").field(&self.coding).finish()
    }
}

impl Encoder {
    #[must_use]
    pub fn new(coding: Coding) -> Self {
        // The crate's encoder for 8,000 samples writes codes that nobody reads: it is given twice
        // as many.
        let g722 = || Box::new((Doubler::default(), G722Encoder::new()));
        Self {
            coding,
            g722: (coding == Coding::G722).then(g722),
        }
    }

    pub fn encode(&mut self, samples: &[i16], out: &mut Vec<u8>) {
        match (self.coding, &mut self.g722) {
            (Coding::Pcma, _) => out.extend(samples.iter().map(|sample| g711::to_alaw(*sample))),
            (Coding::G722, Some(state)) => {
                let (doubler, encoder) = &mut **state;
                let doubled: Vec<i16> = samples
                    .iter()
                    .flat_map(|sample| doubler.two(*sample))
                    .collect();
                out.extend(encoder.encode(&doubled));
            }
            _ => out.extend(samples.iter().map(|sample| g711::to_ulaw(*sample))),
        }
    }
}

/// Samples that one between two is made of.
const TAPS: usize = 16;

/// Makes 16,000 samples a second of 8,000: each, and one between it and the next, by a sinc in a
/// Hann window.
struct Doubler {
    taps: [f32; TAPS],
    last: [i16; TAPS],
}

impl Default for Doubler {
    fn default() -> Self {
        let mut taps = [0.0; TAPS];
        for (index, tap) in taps.iter_mut().enumerate() {
            let from_middle = index as f32 - (TAPS as f32 - 1.0) / 2.0;
            let angle = std::f32::consts::PI * from_middle;
            let window = 0.5 + 0.5 * (2.0 * angle / (TAPS as f32 + 1.0)).cos();
            *tap = angle.sin() / angle * window;
        }
        Self {
            taps,
            last: [0; TAPS],
        }
    }
}

impl Doubler {
    fn two(&mut self, sample: i16) -> [i16; 2] {
        self.last.rotate_left(1);
        let [.., newest] = &mut self.last;
        *newest = sample;
        let parts = self.last.iter().zip(self.taps);
        let between: f32 = parts.map(|(sample, tap)| f32::from(*sample) * tap).sum();
        let middle = self.last.get(TAPS / 2 - 1).copied().unwrap_or(0);
        [middle, between as i16]
    }
}

/// Reads one stream.
pub struct Decoder {
    coding: Coding,
    g722: Option<Box<G722Decoder>>,
}

impl std::fmt::Debug for Decoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Decoder").field(&self.coding).finish()
    }
}

impl Decoder {
    #[must_use]
    pub fn new(coding: Coding) -> Self {
        let g722 = || Box::new(G722Decoder::with_options(Bitrate::Mode1_64000, false, true));
        Self {
            coding,
            g722: (coding == Coding::G722).then(g722),
        }
    }

    pub fn decode(&mut self, payload: &[u8], out: &mut Vec<i16>) {
        match (self.coding, &mut self.g722) {
            (Coding::Pcma, _) => out.extend(payload.iter().map(|byte| g711::from_alaw(*byte))),
            (Coding::G722, Some(decoder)) => out.extend(decoder.decode(payload)),
            _ => out.extend(payload.iter().map(|byte| g711::from_ulaw(*byte))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{FRAME, share_of, tone};
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn tones_come_through_every_coding() {
        for coding in Coding::ALL {
            for frequency in [300, 1000, 2500, 3300] {
                let (mut encoder, mut decoder) = (Encoder::new(coding), Decoder::new(coding));
                let (mut bytes, mut samples) = (Vec::new(), Vec::new());
                for frame in tone::plain(frequency, 400).chunks(FRAME) {
                    let before = bytes.len();
                    encoder.encode(frame, &mut bytes);
                    assert_eq!(bytes.len() - before, FRAME);
                    decoder.decode(&bytes[before..], &mut samples);
                }
                assert_eq!(samples.len(), 3200);
                let share = share_of(f32::from(frequency), &samples[400..]);
                assert!(share > 0.97, "{coding:?} {frequency} {share}");
                let loudest = samples[400..].iter().map(|s| s.abs()).max().unwrap();
                assert!(
                    (6500..8200).contains(&loudest),
                    "{coding:?} {frequency} {loudest}"
                );
            }
        }
    }

    /// A phone's G.722 has both halves. Ours reads its lower one, and its reads ours.
    #[test]
    fn the_lower_half_is_understood_by_whole_g722() {
        let (mut whole, mut lower) = (G722Encoder::new(), Decoder::new(Coding::G722));
        let wave = |rate: u16| -> Vec<i16> {
            let value = |index: u16| {
                let seconds = f32::from(index) / f32::from(rate);
                (8000.0 * (seconds * 1000.0 * std::f32::consts::TAU).sin()) as i16
            };
            (0..rate / 2).map(value).collect()
        };
        let mut samples = Vec::new();
        lower.decode(&whole.encode(&wave(16_000)), &mut samples);
        assert!(share_of(1000.0, &samples[400..]) > 0.97);
        let mut bytes = Vec::new();
        Encoder::new(Coding::G722).encode(&wave(8_000), &mut bytes);
        let samples = G722Decoder::new().decode(&bytes);
        assert_eq!(samples.len(), 8000);
        // Twice the rate: the tone is found at half its frequency.
        assert!(share_of(500.0, &samples[800..]) > 0.97);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn no_bytes_are_fatal(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
            for coding in Coding::ALL {
                let mut samples = Vec::new();
                Decoder::new(coding).decode(&bytes, &mut samples);
                prop_assert_eq!(samples.len(), bytes.len());
            }
        }

        #[test]
        fn no_samples_are_fatal(samples in prop::collection::vec(any::<i16>(), 0..2000)) {
            for coding in Coding::ALL {
                let mut bytes = Vec::new();
                Encoder::new(coding).encode(&samples, &mut bytes);
                prop_assert_eq!(bytes.len(), samples.len());
            }
        }
    }
}
