//! The jitter buffer: packets come when they like, frames leave every 20 ms.
//!
//! Samples lie in a ring at the place of their timestamp, so that packets of any length and order
//! fall into place. How far the reading runs behind the writing adapts: a packet that comes too late
//! moves it back a frame, five seconds in which that was not needed move it forward again.

use super::{FRAME, Frame};

/// Two seconds of sound; the timestamps' range is a multiple of it.
const RING: usize = 16_384;
/// Samples between arrival and play at the beginning, at least, and at most: 40, 20 and 240 ms.
const BEGIN: u32 = 2 * FRAME as u32;
const LEAST: i32 = FRAME as i32;
const MOST: u32 = 12 * FRAME as u32;
/// A timestamp further from where the reading stands is a new beginning.
const APART: i32 = 8000;
/// Frames until the reading may move forward.
const PATIENCE: u32 = 250;
/// Lost frames that are filled with the fading last one; then there is silence.
const CONCEALED: u32 = 3;

/// What a frame is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    Sound,
    /// Made up, because nothing or not all came in time.
    Concealed,
    /// Nothing has come for a while.
    Silence,
}

#[derive(Clone, Debug)]
pub struct JitterBuffer {
    samples: Box<[i16]>,
    present: Box<[bool]>,
    /// Source and the timestamp that is read next.
    reading: Option<(u32, u32)>,
    depth: u32,
    /// The least time that a packet was ahead of the reading since the last look.
    margin: i32,
    frames: u32,
    last: Frame,
    missed: u32,
    late: u64,
}

impl Default for JitterBuffer {
    fn default() -> Self {
        Self {
            samples: vec![0; RING].into_boxed_slice(),
            present: vec![false; RING].into_boxed_slice(),
            reading: None,
            depth: BEGIN,
            margin: i32::MAX,
            frames: 0,
            last: [0; FRAME],
            missed: u32::MAX,
            late: 0,
        }
    }
}

fn place(timestamp: u32) -> usize {
    timestamp as usize % RING
}

impl JitterBuffer {
    /// Takes a packet's samples.
    pub fn insert(&mut self, ssrc: u32, timestamp: u32, samples: &[i16]) {
        let samples = samples.get(..RING / 4).unwrap_or(samples);
        let ahead = match self.reading {
            Some((known, at)) if known == ssrc => timestamp.wrapping_sub(at) as i32,
            _ => i32::MAX,
        };
        let ahead = if ahead.unsigned_abs() > APART.unsigned_abs() {
            self.begin(ssrc, timestamp);
            self.depth as i32
        } else {
            ahead
        };
        self.margin = self.margin.min(ahead);
        if ahead < 0 {
            self.late += 1;
            // Read a frame later from now on: what is filled in for it is the price.
            if self.depth < MOST
                && let Some((_, at)) = &mut self.reading
            {
                self.depth += FRAME as u32;
                *at = at.wrapping_sub(FRAME as u32);
            }
        }
        let at = self.reading.map_or(timestamp, |(_, at)| at);
        for (index, sample) in (0u32..).zip(samples) {
            let when = timestamp.wrapping_add(index);
            if (when.wrapping_sub(at) as i32) < 0 {
                continue;
            }
            let place = place(when);
            if let (Some(kept), Some(present)) =
                (self.samples.get_mut(place), self.present.get_mut(place))
            {
                *kept = *sample;
                *present = true;
            }
        }
    }

    fn begin(&mut self, ssrc: u32, timestamp: u32) {
        self.present.fill(false);
        self.reading = Some((ssrc, timestamp.wrapping_sub(self.depth)));
        self.margin = i32::MAX;
        self.frames = 0;
    }

    /// The next 20 ms.
    pub fn frame(&mut self, frame: &mut Frame) -> Heard {
        let Some((ssrc, at)) = self.reading else {
            frame.fill(0);
            return Heard::Silence;
        };
        let mut found = 0;
        for (index, sample) in (0u32..).zip(frame.iter_mut()) {
            let place = place(at.wrapping_add(index));
            let present = self.present.get_mut(place).is_some_and(std::mem::take);
            found += usize::from(present);
            *sample = match self.samples.get(place) {
                Some(kept) if present => *kept,
                // What lacks is as soft as the last is far away.
                _ => self.last.get(index as usize).map_or(0, |last| last / 2),
            };
        }
        let mut next = at.wrapping_add(FRAME as u32);
        self.frames += 1;
        if self.frames == PATIENCE {
            // All came with more than a frame to spare: one is left out.
            if self.margin != i32::MAX && self.margin > LEAST + FRAME as i32 {
                for index in 0..FRAME as u32 {
                    if let Some(present) = self.present.get_mut(place(next.wrapping_add(index))) {
                        *present = false;
                    }
                }
                next = next.wrapping_add(FRAME as u32);
                self.depth = self.depth.saturating_sub(FRAME as u32).max(LEAST as u32);
            }
            self.frames = 0;
            self.margin = i32::MAX;
        }
        self.reading = Some((ssrc, next));
        if found == FRAME {
            self.missed = 0;
            self.last = *frame;
            return Heard::Sound;
        }
        if found > 0 {
            self.missed = 0;
            self.last = *frame;
            return Heard::Concealed;
        }
        self.missed = self.missed.saturating_add(1);
        self.last = *frame;
        if self.missed > CONCEALED {
            frame.fill(0);
            self.last.fill(0);
            return Heard::Silence;
        }
        Heard::Concealed
    }

    /// Packets that came too late to be heard.
    #[must_use]
    pub fn late(&self) -> u64 {
        self.late
    }

    /// Milliseconds between arrival and play, as they are now.
    #[must_use]
    pub fn delay(&self) -> u32 {
        self.depth / 8
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A packet whose samples count up, so that each can be told.
    fn packet(timestamp: u32, length: usize) -> Vec<i16> {
        let samples =
            (0..length as u32).map(|index| (timestamp.wrapping_add(index) % 30_000) as i16);
        samples.collect()
    }

    fn frames(buffer: &mut JitterBuffer, count: usize) -> Vec<(Heard, Frame)> {
        let frame = |_| {
            let mut frame = [0; FRAME];
            (buffer.frame(&mut frame), frame)
        };
        (0..count).map(frame).collect()
    }

    #[test]
    fn order_and_length_do_not_matter() {
        let mut buffer = JitterBuffer::default();
        for (at, length) in [(1000, 160), (1320, 240), (1160, 160), (1560, 80)] {
            buffer.insert(1, at, &packet(at, length));
        }
        let heard = frames(&mut buffer, 6);
        // 40 ms of delay, then all of it.
        assert!(heard[..2].iter().all(|(heard, _)| *heard != Heard::Sound));
        let samples: Vec<_> = heard[2..].iter().flat_map(|(_, frame)| *frame).collect();
        assert_eq!(samples, packet(1000, 640));
        assert_eq!(buffer.late(), 0);
    }

    #[test]
    fn loss_is_filled_and_fades() {
        let mut buffer = JitterBuffer::default();
        buffer.insert(1, 0, &[8000; FRAME]);
        let heard = frames(&mut buffer, 8);
        let levels: Vec<_> = heard.iter().map(|(_, frame)| frame[0]).collect();
        assert_eq!(levels[2..], [8000, 4000, 2000, 1000, 0, 0]);
        assert_eq!(heard[7].0, Heard::Silence);
    }

    #[test]
    fn late_packets_deepen_it_and_peace_makes_it_shallow_again() {
        let mut buffer = JitterBuffer::default();
        let mut timestamp = 0;
        buffer.insert(1, timestamp, &packet(timestamp, 160));
        frames(&mut buffer, 4); // the next is awaited, and comes too late
        for _ in 0..3 {
            timestamp += 160;
            buffer.insert(1, timestamp, &packet(timestamp, 160));
        }
        assert!(buffer.late() > 0);
        let deep = buffer.delay();
        assert!(deep > 40);
        for _ in 0..2000 {
            timestamp += 160;
            buffer.insert(1, timestamp, &packet(timestamp, 160));
            frames(&mut buffer, 1);
        }
        assert!(buffer.delay() < deep, "{}", buffer.delay());
    }

    #[test]
    fn another_source_and_a_jump_begin_anew() {
        let mut buffer = JitterBuffer::default();
        for (ssrc, at) in [(1, 5000), (2, 9_000_000), (2, 77)] {
            buffer.insert(ssrc, at, &packet(at, 160));
            let heard = frames(&mut buffer, 3);
            assert_eq!(heard[2].0, Heard::Sound);
            assert_eq!(heard[2].1[..], packet(at, 160)[..]);
        }
    }

    proptest! {
        /// Whatever comes, in whatever order: nothing fails, and no sample is invented louder.
        #[test]
        fn nothing_is_fatal(
            packets in prop::collection::vec((0u32..3, any::<u32>(), 0usize..3000), 0..40),
        ) {
            let mut buffer = JitterBuffer::default();
            for (ssrc, timestamp, length) in packets {
                buffer.insert(ssrc, timestamp, &vec![1000; length]);
                for (_, frame) in frames(&mut buffer, 2) {
                    prop_assert!(frame.iter().all(|sample| (0..=1000).contains(sample)));
                }
            }
        }

        /// Across the wrap of timestamps, a stream in jitter of less than its delay arrives whole.
        #[test]
        fn an_uneven_stream_arrives_whole(start: u32, uneven in prop::collection::vec(0u32..2, 50)) {
            let mut buffer = JitterBuffer::default();
            let mut waiting: Vec<(usize, u32)> = uneven.iter().enumerate()
                .map(|(index, late)| (index + *late as usize, start.wrapping_add(index as u32 * 160)))
                .collect();
            let mut heard = Vec::new();
            for tick in 0..56 {
                waiting.retain(|(when, at)| {
                    if *when == tick {
                        buffer.insert(1, *at, &packet(*at, 160));
                    }
                    *when > tick
                });
                let mut frame = [0; FRAME];
                if buffer.frame(&mut frame) == Heard::Sound {
                    heard.extend(frame);
                }
            }
            prop_assert_eq!(buffer.late(), 0);
            prop_assert_eq!(heard.len(), 50 * 160);
        }
    }
}
