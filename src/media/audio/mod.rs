//! Sound as samples: 16 bits, 8,000 a second unless something says otherwise.

mod codec;
pub mod dtmf;
pub mod g711;
pub mod jitter;
pub mod mixer;
pub mod sound;
pub mod tone;
pub mod wav;

pub use codec::{Coding, Decoder, Encoder};

/// Samples of a frame of 20 ms.
pub const FRAME: usize = 160;
/// Samples of a second.
pub const RATE: u32 = 8000;

/// A frame of 20 ms.
pub type Frame = [i16; FRAME];

/// Power of one frequency in `samples`, as a share of the whole power: 1 is a pure tone of it.
/// (Goertzel's algorithm.)
#[must_use]
pub fn share_of(frequency: f32, samples: &[i16]) -> f32 {
    let energy: f32 = samples
        .iter()
        .map(|sample| f32::from(*sample).powi(2))
        .sum();
    if energy == 0.0 {
        return 0.0;
    }
    2.0 * power_of(frequency, samples) / (samples.len() as f32 * energy)
}

/// Power of one frequency, not normalised.
pub(crate) fn power_of(frequency: f32, samples: &[i16]) -> f32 {
    let turn = 2.0 * (std::f32::consts::TAU * frequency / RATE as f32).cos();
    let (mut last, mut before) = (0.0f32, 0.0f32);
    for sample in samples {
        let next = turn * last - before + f32::from(*sample);
        before = last;
        last = next;
    }
    last * last + before * before - turn * last * before
}
