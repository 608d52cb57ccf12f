//! Keys heard as their tones, where the other end sends no telephone events.

use super::{
    RATE, power_of,
    tone::{COLUMNS, KEYS, ROWS},
};

/// Samples that are judged together: 25.6 ms, so that each of the eight frequencies stands near a
/// multiple of the block's, and a key of 40 ms, the shortest there is (ITU-T Q.24), fills one.
const BLOCK: usize = 205;

/// The weakest tone that counts, by its amplitude: about −36 dBm0.
const FLOOR: f32 = 350.0;
/// How much of a block's power the two tones must have: speech has the rest elsewhere.
const SHARE: f32 = 0.75;
/// The row may be this much stronger than the column, in power (4 dB), and the column than the row
/// (8 dB): phones raise the high tones, because lines lower them.
const ROW_OVER: f32 = 2.5;
const COLUMN_OVER: f32 = 6.3;
/// How much stronger than the next of its group a tone is.
const OVER_NEXT: f32 = 6.3;

/// Hears keys in samples.
#[derive(Clone, Debug)]
pub struct Detector {
    block: Vec<i16>,
    /// What the last block held, and what the one before.
    last: Option<char>,
    /// The key that is down: told already.
    down: Option<char>,
    /// Blocks without the key that is down.
    gone: u8,
}

impl Default for Detector {
    fn default() -> Self {
        Self {
            block: Vec::with_capacity(BLOCK),
            last: None,
            down: None,
            gone: 0,
        }
    }
}

impl Detector {
    /// Listens to more samples, and tells each key once, when it has sounded for two blocks.
    pub fn listen(&mut self, samples: &[i16], mut heard: impl FnMut(char)) {
        let mut rest = samples;
        while !rest.is_empty() {
            let wanted = BLOCK.saturating_sub(self.block.len());
            let (part, later) = rest.split_at_checked(wanted).unwrap_or((rest, &[]));
            self.block.extend_from_slice(part);
            rest = later;
            if self.block.len() < BLOCK {
                return;
            }
            let key = judge(&self.block);
            self.block.clear();
            self.step(key, &mut heard);
        }
    }

    fn step(&mut self, key: Option<char>, heard: &mut impl FnMut(char)) {
        if self.down.is_some() && key == self.down {
            self.gone = 0;
        } else if self.down.is_some() {
            // One bad block within a key is not a second press.
            self.gone += 1;
            if self.gone == 2 {
                self.down = None;
            }
        }
        if let Some(key) = key
            && self.down != Some(key)
            && self.last == Some(key)
        {
            self.down = Some(key);
            self.gone = 0;
            heard(key);
        }
        self.last = key;
    }
}

/// The strongest of a group: its place, its power, and that of the next.
fn strongest(frequencies: [u16; 4], block: &[i16]) -> (usize, f32, f32) {
    let mut best = (0, 0.0, 0.0);
    for (index, frequency) in frequencies.into_iter().enumerate() {
        let power = power_of(f32::from(frequency), block);
        if power > best.1 {
            best = (index, power, best.1);
        } else if power > best.2 {
            best.2 = power;
        }
    }
    best
}

fn judge(block: &[i16]) -> Option<char> {
    let count = block.len() as f32;
    let (row, low, low_next) = strongest(ROWS, block);
    let (column, high, high_next) = strongest(COLUMNS, block);
    // A tone of amplitude a has the power (a·n/2)².
    let floor = (FLOOR * count / 2.0).powi(2);
    if low < floor || high < floor {
        return None;
    }
    if low > high * ROW_OVER || high > low * COLUMN_OVER {
        return None;
    }
    if low < low_next * OVER_NEXT || high < high_next * OVER_NEXT {
        return None;
    }
    let energy: f32 = block.iter().map(|sample| f32::from(*sample).powi(2)).sum();
    if 2.0 * (low + high) / count < SHARE * energy {
        return None;
    }
    KEYS.get(row)?.get(column).copied()
}

const _: () = assert!(RATE == 8000, "the block is made for 8,000 samples a second");

#[cfg(test)]
mod tests {
    use super::super::{Coding, tone};
    use super::*;
    use proptest::prelude::*;

    fn heard(samples: &[i16]) -> String {
        let mut keys = String::new();
        let mut detector = Detector::default();
        for frame in samples.chunks(160) {
            detector.listen(frame, |key| keys.push(key));
        }
        keys
    }

    fn typed(keys: &str, on: u32, off: usize) -> Vec<i16> {
        let mut samples = vec![0; 300];
        for key in keys.chars() {
            samples.extend(tone::key(key, on).unwrap());
            samples.extend(vec![0; off * 8]);
        }
        samples
    }

    #[test]
    fn all_keys_are_heard_once_each_also_through_g711() {
        let all = "0123456789*#ABCD";
        for on in [80, 100, 250] {
            assert_eq!(heard(&typed(all, on, 80)), all, "{on} ms");
        }
        assert_eq!(heard(&typed("5555", 100, 60)), "5555");
        for coding in [Coding::Pcmu, Coding::Pcma] {
            let (mut bytes, mut samples) = (Vec::new(), Vec::new());
            coding.encode(&typed(all, 100, 60), &mut bytes);
            coding.decode(&bytes, &mut samples);
            assert_eq!(heard(&samples), all, "{coding:?}");
        }
    }

    #[test]
    fn other_sounds_are_no_keys() {
        for code in tone::Country::all() {
            let country = tone::Country::find(code).unwrap();
            for kind in [tone::Tone::Dial, tone::Tone::Ringback, tone::Tone::Busy] {
                assert_eq!(heard(&country.samples(kind)), "", "{code} {kind:?}");
            }
        }
        for frequency in (300..3400).step_by(50) {
            assert_eq!(heard(&tone::plain(frequency, 300)), "", "{frequency}");
        }
        // Too soft, and too short.
        let soft: Vec<_> = typed("123", 100, 60).iter().map(|s| s / 128).collect();
        assert_eq!(heard(&soft), "");
        assert_eq!(heard(&typed("123", 20, 60)), "");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn noise_is_no_key(samples in prop::collection::vec(any::<i16>(), 4000)) {
            prop_assert_eq!(heard(&samples), "");
        }

        #[test]
        fn keys_are_heard_through_noise_and_level(
            noise in prop::collection::vec(-300i16..300, 8000), down in 1i16..8,
        ) {
            let samples: Vec<_> = typed("159D", 100, 60);
            let samples = samples.iter().zip(noise.iter().cycle());
            let samples: Vec<_> = samples.map(|(sample, noise)| sample / down + noise).collect();
            prop_assert_eq!(heard(&samples), "159D");
        }
    }
}
