//! How well packets arrive: loss and jitter (RFC 3550 appendix A), and what a listener would say.

use std::time::{Duration, Instant};

use crate::wire::{rtcp::ReportBlock, rtp::Header};

/// A jump of the sequence number that is loss, and no new beginning (RFC 3550 appendix A.1).
const MAX_DROPOUT: u16 = 3000;
/// How far back a packet may come from that only took a longer way.
const MAX_MISORDER: u16 = 100;

/// What has arrived from one end so far.
#[derive(Clone, Debug)]
pub struct Reception {
    clock: u32,
    source: Option<Source>,
    /// Packets that earlier sources should have delivered.
    expected_before: u64,
    received: u64,
    /// In 16ths of a timestamp unit.
    jitter: u32,
    began: Instant,
    /// Packets due and received at the last report.
    reported: (u64, u64),
}

#[derive(Clone, Debug)]
struct Source {
    ssrc: u32,
    base: u64,
    highest: u64,
    transit: u32,
    timestamp: u32,
}

impl Reception {
    #[must_use]
    pub fn new(clock: u32, now: Instant) -> Self {
        Self {
            clock: clock.max(1),
            source: None,
            expected_before: 0,
            received: 0,
            jitter: 0,
            began: now,
            reported: (0, 0),
        }
    }

    pub fn set_clock(&mut self, clock: u32) {
        self.clock = clock.max(1);
    }

    /// Counts a packet that came at `now`.
    pub fn packet(&mut self, header: &Header, now: Instant) {
        self.received += 1;
        let micros = now.saturating_duration_since(self.began).as_micros() as u64;
        let arrival = (micros.wrapping_mul(u64::from(self.clock)) / 1_000_000) as u32;
        let transit = arrival.wrapping_sub(header.timestamp);
        let Some(source) = self
            .source
            .as_mut()
            .filter(|source| source.ssrc == header.ssrc)
        else {
            self.begin(header, transit);
            return;
        };
        let ahead = header.sequence.wrapping_sub(source.highest as u16);
        if ahead < MAX_DROPOUT {
            source.highest += u64::from(ahead);
        } else if ahead <= u16::MAX - MAX_MISORDER {
            self.begin(header, transit);
            return;
        }
        // A new spurt of talk, or an event that keeps its timestamp, says nothing about the way.
        if !header.marker && header.timestamp != source.timestamp {
            let difference = (transit.wrapping_sub(source.transit) as i32).unsigned_abs();
            let down = (self.jitter + 8) >> 4;
            self.jitter = self.jitter.saturating_add(difference).saturating_sub(down);
        }
        source.transit = transit;
        source.timestamp = header.timestamp;
    }

    fn begin(&mut self, header: &Header, transit: u32) {
        if let Some(source) = self.source.take() {
            self.expected_before += source.highest - source.base + 1;
        }
        let base = u64::from(header.sequence);
        self.source = Some(Source {
            ssrc: header.ssrc,
            base,
            highest: base,
            transit,
            timestamp: header.timestamp,
        });
    }

    #[must_use]
    pub fn received(&self) -> u64 {
        self.received
    }

    /// The figures as a report has them (RFC 3550 section 6.4.1), loss since the last report too.
    pub fn block(&mut self) -> Option<ReportBlock> {
        let source = self.source.as_ref()?;
        let expected = self.expected_before + (source.highest - source.base + 1);
        let (before_expected, before_received) = self.reported;
        let due = expected.saturating_sub(before_expected);
        let came = self.received.saturating_sub(before_received);
        let fraction = (due.saturating_sub(came) * 256).checked_div(due);
        let lost = expected.saturating_sub(self.received);
        let block = ReportBlock {
            ssrc: source.ssrc,
            fraction_lost: u8::try_from(fraction.unwrap_or(0)).unwrap_or(u8::MAX),
            lost: i32::try_from(lost).unwrap_or(i32::MAX),
            highest_sequence: source.highest as u32,
            jitter: self.jitter >> 4,
            last_report: 0,
            delay: 0,
        };
        self.reported = (expected, self.received);
        Some(block)
    }

    #[must_use]
    pub fn quality(&self) -> Quality {
        let source = self.source.as_ref();
        let expected =
            self.expected_before + source.map_or(0, |source| source.highest - source.base + 1);
        let lost = expected.saturating_sub(self.received);
        let micros = u64::from(self.jitter >> 4) * 1_000_000 / u64::from(self.clock);
        Quality::new(self.received, lost, Duration::from_micros(micros))
    }
}

/// A leg's figures, as a call's record has them.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Quality {
    pub packets: u64,
    pub lost: u64,
    pub jitter: Duration,
    /// Mean opinion score that ITU-T G.107 estimates for G.711: 1 (bad) to 4.4. Nothing heard is 0.
    pub mos: f32,
}

impl Quality {
    #[must_use]
    pub fn new(packets: u64, lost: u64, jitter: Duration) -> Self {
        Self {
            packets,
            lost,
            jitter,
            mos: mos(packets, lost, jitter),
        }
    }
}

/// The E-model with its defaults; loss weighs as for G.711 with concealment (G.113: Bpl 25.1), and
/// the delay is that of a frame and a jitter buffer twice as deep as the jitter.
fn mos(packets: u64, lost: u64, jitter: Duration) -> f32 {
    if packets == 0 {
        return 0.0;
    }
    let loss = 100.0 * lost as f32 / (packets + lost) as f32;
    let delay = 20.0 + 2.0 * jitter.as_secs_f32() * 1000.0;
    let over = (delay - 177.3).max(0.0);
    let impairment = 95.0 * loss / (loss + 25.1);
    let r = (93.2 - 0.024 * delay - 0.11 * over - impairment).clamp(0.0, 100.0);
    (1.0 + 0.035 * r + r * (r - 60.0) * (100.0 - r) * 7e-6).clamp(1.0, 4.5)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(start: Instant, ms: u64) -> Instant {
        start + Duration::from_millis(ms)
    }

    fn header(sequence: u16, timestamp: u32) -> Header {
        Header {
            sequence,
            timestamp,
            ssrc: 1,
            ..Header::default()
        }
    }

    #[test]
    fn an_even_stream_has_no_loss_no_jitter_and_the_best_score() {
        let start = Instant::now();
        let mut reception = Reception::new(8000, start);
        // Across the wrap of the sequence number.
        for index in 0..200u16 {
            let header = header(65_500u16.wrapping_add(index), u32::from(index) * 160);
            reception.packet(&header, at(start, u64::from(index) * 20));
        }
        let quality = reception.quality();
        assert_eq!((quality.packets, quality.lost), (200, 0));
        assert_eq!(quality.jitter, Duration::ZERO);
        assert!(quality.mos > 4.35, "{}", quality.mos);
    }

    #[test]
    fn loss_jitter_and_order_are_told_apart() {
        let start = Instant::now();
        let mut reception = Reception::new(8000, start);
        for index in 0..1000u64 {
            // Every tenth is lost, every second comes 10 ms late.
            if index % 10 != 3 {
                let late = if index % 2 == 0 { 0 } else { 10 };
                reception.packet(
                    &header(index as u16, index as u32 * 160),
                    at(start, index * 20 + late),
                );
            }
        }
        let quality = reception.quality();
        let block = reception.block().unwrap();
        assert_eq!((block.fraction_lost, block.lost), (25, 100));
        assert_eq!(block.highest_sequence, 999);
        assert_eq!(reception.block().unwrap().fraction_lost, 0, "since then");
        assert_eq!((quality.packets, quality.lost), (900, 100));
        let ms = quality.jitter.as_millis();
        assert!((6..=10).contains(&ms), "{ms}");
        assert!((2.5..3.5).contains(&quality.mos), "{}", quality.mos);
        // Two packets that overtook one another are not lost.
        let mut swapped = Reception::new(8000, start);
        for sequence in [1, 3, 2, 4] {
            swapped.packet(&header(sequence, u32::from(sequence) * 160), start);
        }
        assert_eq!(swapped.quality().lost, 0);
    }

    #[test]
    fn another_source_is_another_beginning() {
        let start = Instant::now();
        let mut reception = Reception::new(8000, start);
        reception.packet(&header(10, 0), start);
        let other = Header {
            ssrc: 2,
            ..header(40_000, 77)
        };
        reception.packet(&other, start);
        reception.packet(&header(20_000, 5), start); // back, and far away
        assert_eq!(reception.quality().lost, 0);
        assert_eq!(
            Reception::new(8000, start).quality().mos,
            0.0,
            "nothing heard"
        );
    }
}
