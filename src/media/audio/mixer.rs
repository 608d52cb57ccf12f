//! A conference's sound: each hears all others and not himself.

use super::{FRAME, Frame};

/// One tick of a conference: what its members say, summed once.
#[derive(Clone, Debug)]
pub struct Mix {
    sum: [i32; FRAME],
}

impl Default for Mix {
    fn default() -> Self {
        Self { sum: [0; FRAME] }
    }
}

impl Mix {
    /// Adds what a member says.
    pub fn add(&mut self, frame: &Frame) {
        for (sum, sample) in self.sum.iter_mut().zip(frame) {
            *sum = sum.saturating_add(i32::from(*sample));
        }
    }

    /// What somebody hears who said `own`: the others. Too loud a sum is bent, not broken.
    pub fn without(&self, own: Option<&Frame>, heard: &mut Frame) {
        for (index, (heard, sum)) in heard.iter_mut().zip(&self.sum).enumerate() {
            let own = own.and_then(|own| own.get(index)).copied().unwrap_or(0);
            *heard = soften(sum.saturating_sub(i32::from(own)));
        }
    }

    /// All of it, for a recording.
    pub fn all(&self, heard: &mut Frame) {
        self.without(None, heard);
    }
}

/// The level above which a sum is bent: −3 dB of the most.
const KNEE: i32 = 23_197;

/// Bends what is above the knee towards the limit, which it never crosses.
fn soften(sample: i32) -> i16 {
    let magnitude = i64::from(sample.unsigned_abs());
    let knee = i64::from(KNEE);
    let bent = if magnitude <= knee {
        magnitude
    } else {
        let room = i64::from(i16::MAX) - knee;
        let over = magnitude - knee;
        knee + over * room / (over + room)
    };
    let bent = i16::try_from(bent).unwrap_or(i16::MAX);
    if sample < 0 { -bent } else { bent }
}

#[cfg(test)]
mod tests {
    use super::super::{share_of, tone};
    use super::*;
    use proptest::prelude::*;

    fn tone_frame(frequency: u16) -> Frame {
        tone::plain(frequency, 20).try_into().unwrap()
    }

    #[test]
    fn each_hears_the_others() {
        let tones = [500, 1000, 1500];
        let frames = tones.map(tone_frame);
        let mut mix = Mix::default();
        frames.iter().for_each(|frame| mix.add(frame));
        for (own, frame) in frames.iter().enumerate() {
            let mut heard = [0; FRAME];
            mix.without(Some(frame), &mut heard);
            for (index, tone) in tones.into_iter().enumerate() {
                let share = share_of(f32::from(tone), &heard);
                if index == own {
                    assert!(share < 0.01, "hears himself: {share}");
                } else {
                    assert!((0.4..0.6).contains(&share), "{tone}: {share}");
                }
            }
        }
    }

    proptest! {
        #[test]
        fn sums_keep_their_sign_and_their_order(one in -3_000_000i32..3_000_000, two in -3_000_000i32..3_000_000) {
            let (a, b) = (soften(one), soften(two));
            prop_assert_eq!(a.signum(), one.signum() as i16);
            prop_assert!(one > two || a <= b);
            prop_assert!(one.abs() > KNEE || i32::from(a) == one);
        }
    }
}
