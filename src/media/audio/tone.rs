//! The tones that tell a caller what goes on, as each country's network sounded (ITU-T E.180
//! supplement 2), and the tones of keys.

use super::RATE;

/// What a tone says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    Dial,
    Ringback,
    Busy,
    Congestion,
}

/// One part of a cadence: the frequencies that sound together for so many milliseconds. None: silence.
type Part = (&'static [u16], u32);

/// What a country's network sounds like.
#[derive(Clone, Copy, Debug)]
pub struct Country {
    /// As ISO 3166 writes it, in small letters.
    pub code: &'static str,
    dial: &'static [Part],
    ringback: &'static [Part],
    busy: &'static [Part],
    congestion: &'static [Part],
}

/// A tone that has no pauses, in a piece that repeats without a seam.
macro_rules! steady {
    ($($frequency:literal),*) => { &[(&[$($frequency),*], 1000)] };
}

const COUNTRIES: &[Country] = &[
    Country {
        code: "us",
        dial: steady!(350, 440),
        ringback: &[(&[440, 480], 2000), (&[], 4000)],
        busy: &[(&[480, 620], 500), (&[], 500)],
        congestion: &[(&[480, 620], 250), (&[], 250)],
    },
    Country {
        code: "gb",
        dial: steady!(350, 440),
        ringback: &[
            (&[400, 450], 400),
            (&[], 200),
            (&[400, 450], 400),
            (&[], 2000),
        ],
        busy: &[(&[400], 375), (&[], 375)],
        congestion: &[(&[400], 400), (&[], 350), (&[400], 225), (&[], 525)],
    },
    Country {
        code: "de",
        dial: steady!(425),
        ringback: &[(&[425], 1000), (&[], 4000)],
        busy: &[(&[425], 480), (&[], 480)],
        congestion: &[(&[425], 240), (&[], 240)],
    },
    Country {
        code: "fr",
        dial: steady!(440),
        ringback: &[(&[440], 1500), (&[], 3500)],
        busy: &[(&[440], 500), (&[], 500)],
        congestion: &[(&[440], 250), (&[], 250)],
    },
    Country {
        code: "es",
        dial: steady!(425),
        ringback: &[(&[425], 1500), (&[], 3000)],
        busy: &[(&[425], 200), (&[], 200)],
        congestion: &[(&[425], 200), (&[], 200), (&[425], 200), (&[], 600)],
    },
    Country {
        code: "it",
        dial: &[(&[425], 200), (&[], 200), (&[425], 600), (&[], 1000)],
        ringback: &[(&[425], 1000), (&[], 4000)],
        busy: &[(&[425], 500), (&[], 500)],
        congestion: &[(&[425], 200), (&[], 200)],
    },
    Country {
        code: "nl",
        dial: steady!(425),
        ringback: &[(&[425], 1000), (&[], 4000)],
        busy: &[(&[425], 500), (&[], 500)],
        congestion: &[(&[425], 250), (&[], 250)],
    },
    Country {
        code: "ch",
        dial: steady!(425),
        ringback: &[(&[425], 1000), (&[], 4000)],
        busy: &[(&[425], 500), (&[], 500)],
        congestion: &[(&[425], 200), (&[], 200)],
    },
    Country {
        code: "at",
        dial: steady!(420),
        ringback: &[(&[420], 1000), (&[], 5000)],
        busy: &[(&[420], 400), (&[], 400)],
        congestion: &[(&[420], 200), (&[], 200)],
    },
    Country {
        code: "au",
        dial: steady!(425, 400),
        ringback: &[
            (&[400, 425], 400),
            (&[], 200),
            (&[400, 425], 400),
            (&[], 2000),
        ],
        busy: &[(&[425], 375), (&[], 375)],
        congestion: &[(&[425], 375), (&[], 375)],
    },
    Country {
        code: "jp",
        dial: steady!(400),
        ringback: &[(&[384, 416], 1000), (&[], 2000)],
        busy: &[(&[400], 500), (&[], 500)],
        congestion: &[(&[400], 500), (&[], 500)],
    },
];

impl Country {
    /// A country by its code; `None` for one whose tones are not known.
    #[must_use]
    pub fn find(code: &str) -> Option<Self> {
        let mut known = COUNTRIES.iter();
        known
            .find(|country| country.code.eq_ignore_ascii_case(code))
            .copied()
    }

    pub fn all() -> impl Iterator<Item = &'static str> {
        COUNTRIES.iter().map(|country| country.code)
    }

    /// One round of the tone, to be repeated.
    #[must_use]
    pub fn samples(&self, tone: Tone) -> Vec<i16> {
        let parts = match tone {
            Tone::Dial => self.dial,
            Tone::Ringback => self.ringback,
            Tone::Busy => self.busy,
            Tone::Congestion => self.congestion,
        };
        let mut samples = Vec::new();
        for (frequencies, ms) in parts {
            sound(frequencies, *ms, LEVEL, &mut samples);
        }
        samples
    }
}

/// −13 dBm0 for each tone, about, as networks had them.
const LEVEL: f32 = 7200.0;

/// Appends `ms` milliseconds in which `frequencies` share `level`.
fn sound(frequencies: &[u16], ms: u32, level: f32, samples: &mut Vec<i16>) {
    let count = u64::from(ms) * u64::from(RATE) / 1000;
    let level = level / frequencies.len().max(1) as f32;
    samples.extend((0..count).map(|index| {
        let seconds = index as f32 / RATE as f32;
        let wave = |frequency: &u16| {
            let turns = (seconds * f32::from(*frequency)).fract();
            (turns * std::f32::consts::TAU).sin()
        };
        (level * frequencies.iter().map(wave).sum::<f32>()) as i16
    }));
}

/// The rows and columns of a telephone's keys (ITU-T Q.23).
pub(crate) const ROWS: [u16; 4] = [697, 770, 852, 941];
pub(crate) const COLUMNS: [u16; 4] = [1209, 1336, 1477, 1633];
pub(crate) const KEYS: [[char; 4]; 4] = [
    ['1', '2', '3', 'A'],
    ['4', '5', '6', 'B'],
    ['7', '8', '9', 'C'],
    ['*', '0', '#', 'D'],
];

/// A key's two tones for `ms` milliseconds; `None` for what is no key.
#[must_use]
pub fn key(key: char, ms: u32) -> Option<Vec<i16>> {
    let key = key.to_ascii_uppercase();
    for (row, keys) in ROWS.iter().zip(KEYS) {
        for (column, known) in COLUMNS.iter().zip(keys) {
            if known == key {
                let mut samples = Vec::new();
                sound(&[*row, *column], ms, 2.0 * LEVEL, &mut samples);
                return Some(samples);
            }
        }
    }
    None
}

/// A plain tone, for announcements and for telling one end from another in tests.
#[must_use]
pub fn plain(frequency: u16, ms: u32) -> Vec<i16> {
    let mut samples = Vec::new();
    sound(&[frequency], ms, LEVEL, &mut samples);
    samples
}

#[cfg(test)]
mod tests {
    use super::super::share_of;
    use super::*;

    #[test]
    fn every_tone_sounds_as_written_and_pauses_as_written() {
        for code in Country::all() {
            let country = Country::find(code).unwrap();
            for tone in [Tone::Dial, Tone::Ringback, Tone::Busy, Tone::Congestion] {
                let samples = country.samples(tone);
                let parts = match tone {
                    Tone::Dial => country.dial,
                    Tone::Ringback => country.ringback,
                    Tone::Busy => country.busy,
                    Tone::Congestion => country.congestion,
                };
                let mut at = 0;
                for (frequencies, ms) in parts {
                    let part = &samples[at..at + *ms as usize * 8];
                    at += part.len();
                    if frequencies.is_empty() {
                        assert!(part.iter().all(|sample| *sample == 0), "{code} {tone:?}");
                        continue;
                    }
                    let shares = frequencies.iter();
                    let shares: f32 = shares.map(|f| share_of(f32::from(*f), part)).sum();
                    assert!(shares > 0.9, "{code} {tone:?} {shares}");
                }
                assert_eq!(at, samples.len());
            }
        }
        assert!(Country::find("DE").is_some());
        assert!(Country::find("xx").is_none());
    }
}
