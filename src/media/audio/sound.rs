//! A piece of sound to be played: prompts, music, tones. Coded once, however many hear it.

use std::sync::{Arc, OnceLock};

use super::{Coding, FRAME, Frame, tone};

/// A piece of sound. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Sound(Arc<Piece>);

#[derive(Debug)]
struct Piece {
    samples: Vec<i16>,
    pcmu: OnceLock<Vec<u8>>,
    pcma: OnceLock<Vec<u8>>,
    g722: OnceLock<Vec<u8>>,
}

impl Sound {
    /// Sound of these samples, 8,000 a second. The last frame is filled with silence; to repeat
    /// without a seam, a piece has whole frames.
    #[must_use]
    pub fn new(mut samples: Vec<i16>) -> Self {
        let frames = samples.len().div_ceil(FRAME).max(1);
        samples.resize(frames * FRAME, 0);
        Self(Arc::new(Piece {
            samples,
            pcmu: OnceLock::new(),
            pcma: OnceLock::new(),
            g722: OnceLock::new(),
        }))
    }

    /// One round of a country's tone.
    #[must_use]
    pub fn tone(country: tone::Country, tone: tone::Tone) -> Self {
        Self::new(country.samples(tone))
    }

    /// Frames of 20 ms.
    #[must_use]
    pub fn frames(&self) -> usize {
        self.0.samples.len() / FRAME
    }

    #[must_use]
    pub fn samples(&self) -> &[i16] {
        &self.0.samples
    }

    /// Frame `index` as samples.
    #[must_use]
    pub fn frame(&self, index: usize) -> Option<&Frame> {
        let at = index.checked_mul(FRAME)?;
        let samples = self.0.samples.get(at..at.checked_add(FRAME)?)?;
        samples.try_into().ok()
    }

    /// Frame `index` as a packet's payload. Coded for the whole piece at the first question.
    #[must_use]
    pub fn coded(&self, coding: Coding, index: usize) -> Option<&[u8]> {
        let place = match coding {
            Coding::Pcmu => &self.0.pcmu,
            Coding::Pcma => &self.0.pcma,
            Coding::G722 => &self.0.g722,
        };
        let bytes = place.get_or_init(|| {
            let mut bytes = Vec::with_capacity(self.0.samples.len());
            coding.encode(&self.0.samples, &mut bytes);
            bytes
        });
        let at = index.checked_mul(FRAME)?;
        bytes.get(at..at.checked_add(FRAME)?)
    }
}
