//! WAV files: prompts and music in, recordings out.

use std::io::{Read, Seek, Write};

use super::{RATE, sound::Sound};

/// Why a file is no sound that can be played.
#[derive(Debug, thiserror::Error)]
pub enum WavError {
    #[error("not a WAV file with PCM samples: {0}")]
    Format(#[from] hound::Error),
    #[error("{0} samples a second: only 8000, 16000, 24000, 32000 and 48000 are played")]
    Rate(u32),
    #[error("{0} channels: only one and two are played")]
    Channels(u16),
    #[error("longer than an hour")]
    TooLong,
}

/// An hour of sound is 58 MB.
const LONGEST: usize = 3600 * RATE as usize;

/// Reads a file whole, brings its channels together and its rate down to 8,000.
pub fn read(file: impl Read) -> Result<Sound, WavError> {
    let mut reader = hound::WavReader::new(file)?;
    let spec = reader.spec();
    let times = match spec.sample_rate {
        rate @ (8_000 | 16_000 | 24_000 | 32_000 | 48_000) => (rate / RATE) as usize,
        rate => return Err(WavError::Rate(rate)),
    };
    let channels = match spec.channels {
        1 | 2 => usize::from(spec.channels),
        other => return Err(WavError::Channels(other)),
    };
    if reader.duration() as usize / times > LONGEST {
        return Err(WavError::TooLong);
    }
    let values: Vec<f32> = match spec.sample_format {
        hound::SampleFormat::Float => reader.samples::<f32>().collect::<Result<_, _>>()?,
        hound::SampleFormat::Int => {
            let full = 1u64 << spec.bits_per_sample.clamp(1, 32).saturating_sub(1);
            let values = reader.samples::<i32>();
            let scaled = values.map(|value| value.map(|value| value as f32 / full as f32));
            scaled.collect::<Result<_, _>>()?
        }
    };
    let mono: Vec<f32> = values
        .chunks(channels)
        .map(|values| values.iter().sum::<f32>() / channels as f32)
        .collect();
    let samples = lower(&mono, times);
    let samples = samples
        .iter()
        .map(|value| (value * 32_768.0).clamp(-32_768.0, 32_767.0) as i16);
    Ok(Sound::new(samples.collect()))
}

/// Keeps every `times`-th sample, behind a filter that takes away what the lower rate cannot hold:
/// a sinc of 16 kept samples in a Hann window, its edge at 3,600 Hz.
fn lower(samples: &[f32], times: usize) -> Vec<f32> {
    if times <= 1 {
        return samples.to_vec();
    }
    let half = 8 * times;
    let edge = 3600.0 / (RATE as f32 * times as f32);
    let taps: Vec<f32> = (0..=2 * half)
        .map(|index| {
            let from_middle = index as f32 - half as f32;
            let angle = std::f32::consts::TAU * edge * from_middle;
            let sinc = if from_middle == 0.0 {
                2.0 * edge
            } else {
                angle.sin() / (std::f32::consts::PI * from_middle)
            };
            let window = 0.5 + 0.5 * (std::f32::consts::PI * from_middle / half as f32).cos();
            sinc * window
        })
        .collect();
    let at = |place: usize| {
        let taps = taps.iter().enumerate();
        let values = taps.filter_map(|(index, tap)| {
            let value = samples.get((place + index).checked_sub(half)?)?;
            Some(tap * value)
        });
        values.sum()
    };
    (0..samples.len()).step_by(times).map(at).collect()
}

/// Writes a recording: 16 bits, 8,000 a second.
pub struct Recording<W: Write + Seek>(hound::WavWriter<W>);

impl<W: Write + Seek> Recording<W> {
    /// `channels` is 2 where each end has its own.
    pub fn new(file: W, channels: u16) -> Result<Self, WavError> {
        let spec = hound::WavSpec {
            channels,
            sample_rate: RATE,
            bits_per_sample: 16,
            sample_format: hound::SampleFormat::Int,
        };
        Ok(Self(hound::WavWriter::new(file, spec)?))
    }

    pub fn write(&mut self, samples: &[i16]) -> Result<(), WavError> {
        for sample in samples {
            self.0.write_sample(*sample)?;
        }
        Ok(())
    }

    /// Makes what is written so far a whole file: who dies afterwards leaves that much.
    pub fn flush(&mut self) -> Result<(), WavError> {
        Ok(self.0.flush()?)
    }

    pub fn finish(self) -> Result<(), WavError> {
        Ok(self.0.finalize()?)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::super::{share_of, tone};
    use super::*;

    fn write(samples: &[i16], rate: u32, channels: u16) -> Vec<u8> {
        let spec = hound::WavSpec {
            channels,
            sample_rate: rate,
            bits_per_sample: 16,
            sample_format: hound::SampleFormat::Int,
        };
        let mut file = Cursor::new(Vec::new());
        let mut writer = hound::WavWriter::new(&mut file, spec).unwrap();
        for sample in samples {
            writer.write_sample(*sample).unwrap();
        }
        writer.finalize().unwrap();
        file.into_inner()
    }

    /// `frequency` at `rate`, half a second of it.
    fn wave(frequency: f32, rate: u32) -> Vec<i16> {
        let value = |index| {
            let seconds = index as f32 / rate as f32;
            (10_000.0 * (seconds * frequency * std::f32::consts::TAU).sin()) as i16
        };
        (0..rate / 2).map(value).collect()
    }

    #[test]
    fn every_rate_sounds_the_same_and_nothing_folds_over() {
        for rate in [8_000, 16_000, 24_000, 32_000, 48_000] {
            let sound = read(&write(&wave(1000.0, rate), rate, 1)[..]).unwrap();
            assert_eq!(sound.frames(), 25, "{rate}");
            let middle = &sound.samples()[800..3200];
            assert!(share_of(1000.0, middle) > 0.98, "{rate}");
            if rate > 8_000 {
                // 5 kHz would come back as 3 kHz.
                let high = read(&write(&wave(5000.0, rate), rate, 1)[..]).unwrap();
                let loudest = high.samples()[800..3200].iter().map(|s| s.abs()).max();
                assert!(loudest < Some(300), "{rate} {loudest:?}");
            }
        }
    }

    #[test]
    fn two_channels_become_one() {
        let both: Vec<_> = wave(440.0, 8000).iter().flat_map(|s| [*s, 0]).collect();
        let sound = read(&write(&both, 8000, 2)[..]).unwrap();
        assert!(share_of(440.0, &sound.samples()[..3200]) > 0.98);
    }

    #[test]
    fn what_is_no_sound_is_refused() {
        assert!(matches!(read(&b"RIFF\0\0"[..]), Err(WavError::Format(_))));
        let odd = write(&[1, 2, 3], 11_025, 1);
        assert!(matches!(read(&odd[..]), Err(WavError::Rate(11_025))));
        let many = write(&[0; 5], 8000, 5);
        assert!(matches!(read(&many[..]), Err(WavError::Channels(5))));
    }

    #[test]
    fn an_unfinished_recording_is_a_whole_file() {
        let mut file = Cursor::new(Vec::new());
        let mut recording = Recording::new(&mut file, 1).unwrap();
        let said = tone::plain(800, 200);
        recording.write(&said).unwrap();
        recording.flush().unwrap();
        // Written and never flushed: lost, with the process.
        recording.write(&[5; 100]).unwrap();
        std::mem::forget(recording);
        let sound = read(&file.get_ref()[..]).unwrap();
        assert_eq!(&sound.samples()[..said.len()], &said[..]);
    }
}
