//! The ports that media is received at: pairs of an even port for RTP and the next for RTCP.

use std::collections::VecDeque;
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

/// How long a port rests after a call, so that its last packets do not enter the next call.
pub const QUARANTINE: Duration = Duration::from_secs(5);

/// The even ports of a range that are free, and those that rest.
#[derive(Debug)]
pub struct Ports {
    free: Vec<u16>,
    resting: VecDeque<(Instant, u16)>,
}

impl Ports {
    /// The pairs that lie in `range` wholly.
    #[must_use]
    pub fn new(range: RangeInclusive<u16>) -> Self {
        let (first, last) = range.into_inner();
        let free = (first..last).filter(|port| port % 2 == 0).collect();
        Self {
            free,
            resting: VecDeque::new(),
        }
    }

    /// A free even port, which one is up to `random`: who cannot guess the port cannot aim at it.
    pub fn take(&mut self, random: u32, now: Instant) -> Option<u16> {
        while let Some((until, port)) = self.resting.front().copied() {
            if until > now {
                break;
            }
            self.resting.pop_front();
            self.free.push(port);
        }
        let index = (random as usize).checked_rem(self.free.len())?;
        Some(self.free.swap_remove(index))
    }

    /// Gives back a port that was used.
    pub fn release(&mut self, port: u16, now: Instant) {
        self.resting.push_back((now + QUARANTINE, port));
    }

    /// Pairs that are free now.
    #[must_use]
    pub fn free(&self) -> usize {
        self.free.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn ports_are_even_unique_and_rest_after_use() {
        let now = Instant::now();
        let mut ports = Ports::new(10_001..=10_010);
        let taken: BTreeSet<u16> = (0..).map_while(|n| ports.take(n * 7, now)).collect();
        // 10,010 has no port behind it within the range.
        assert_eq!(taken, BTreeSet::from([10_002, 10_004, 10_006, 10_008]));
        ports.release(10_004, now);
        assert_eq!(ports.take(0, now + Duration::from_secs(4)), None);
        assert_eq!(ports.take(3, now + QUARANTINE), Some(10_004));
    }

    #[test]
    fn a_range_of_nothing_gives_nothing() {
        let now = Instant::now();
        assert_eq!(Ports::new(9..=9).take(1, now), None);
        assert_eq!(Ports::new(65_534..=65_535).take(1, now), Some(65_534));
    }
}
