//! Sources and how far each has come: the rollover counter and the window of packets that were
//! there (RFC 3711 sections 3.3.1 and 3.3.2, appendix A).

/// Sources that one end may have at once: more than any phone has, and a bound.
const MAX_SOURCES: usize = 16;

/// How far a source has come.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Source {
    ssrc: u32,
    /// The highest index seen or sent: rollovers and sequence number. None: nothing yet.
    highest: Option<u64>,
    /// A bit for each of the 64 indexes up to the highest.
    window: u64,
}

impl Source {
    /// The index of a packet that is sent: always forward.
    pub(super) fn sending(&mut self, sequence: u16) -> u64 {
        let index = self.receiving(sequence);
        self.highest = Some(self.highest.map_or(index, |highest| highest.max(index)));
        index
    }

    /// The index that a packet's 16 bits most likely mean.
    pub(super) fn receiving(&self, sequence: u16) -> u64 {
        let Some(highest) = self.highest else {
            return u64::from(sequence);
        };
        let ahead = sequence.wrapping_sub(highest as u16);
        let index = if ahead < 0x8000 {
            highest.saturating_add(u64::from(ahead))
        } else {
            let behind = u64::from(ahead.wrapping_neg());
            // Before the first rollover there is nothing behind zero.
            match highest.checked_sub(behind) {
                Some(index) => index,
                None => u64::from(sequence),
            }
        };
        index & 0xffff_ffff_ffff
    }

    pub(super) fn is_new(&self, index: u64) -> bool {
        let Some(highest) = self.highest else {
            return true;
        };
        match highest.checked_sub(index) {
            None => true,
            Some(behind) => behind < 64 && self.window >> behind & 1 == 0,
        }
    }

    pub(super) fn seen(&mut self, index: u64) {
        let highest = self.highest.unwrap_or(index);
        match index.checked_sub(highest) {
            Some(ahead) => {
                let moved = u32::try_from(ahead).ok();
                let window = moved.and_then(|ahead| self.window.checked_shl(ahead));
                self.window = window.unwrap_or(0) | 1;
                self.highest = Some(index);
            }
            None => {
                let behind = u32::try_from(highest - index).ok();
                let bit = behind.and_then(|behind| 1u64.checked_shl(behind));
                self.window |= bit.unwrap_or(0);
            }
        }
    }
}

/// The sources of one direction, the last used first.
#[derive(Debug, Default)]
pub(super) struct Sources(Vec<Source>);

impl Sources {
    /// A source as far as it is known, without remembering it.
    pub(super) fn peek(&self, ssrc: u32) -> Source {
        let known = self.0.iter().find(|source| source.ssrc == ssrc);
        known.copied().unwrap_or(Source {
            ssrc,
            ..Source::default()
        })
    }

    /// A source, remembered from now on; the one that was used longest ago makes room.
    pub(super) fn of(&mut self, ssrc: u32) -> &mut Source {
        let place = self.0.iter().position(|source| source.ssrc == ssrc);
        match place {
            Some(0) => {}
            Some(place) => {
                if let Some(upto) = self.0.get_mut(..=place) {
                    upto.rotate_right(1);
                }
            }
            None => {
                self.0.truncate(MAX_SOURCES - 1);
                let new = Source {
                    ssrc,
                    ..Source::default()
                };
                self.0.insert(0, new);
            }
        }
        // One is there by now.
        &mut self.0[0]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indexes_roll_over_and_reach_back() {
        let mut source = Source::default();
        for (sequence, index) in [
            (65_534u16, 65_534u64),
            (65_535, 65_535),
            (1, 65_537),
            (65_535, 65_535),
            (0, 65_536),
            (40_000, 40_000 + 65_536 - 65_536),
            (3, 65_539),
        ] {
            assert_eq!(source.receiving(sequence), index, "{sequence}");
            source.seen(index);
        }
        // Nothing is behind the first packets.
        let mut first = Source::default();
        first.seen(5);
        assert_eq!(first.receiving(65_530), 65_530);
    }

    #[test]
    fn each_packet_is_new_once_and_old_ones_are_never() {
        let mut source = Source::default();
        for index in [100, 99, 163, 101] {
            assert!(source.is_new(index), "{index}");
            source.seen(index);
            assert!(!source.is_new(index), "{index}");
        }
        assert!(!source.is_new(99), "left the window");
        source.seen(1_000_000);
        assert!(!source.is_new(163));
        assert!(source.is_new(999_990));
    }

    #[test]
    fn sources_are_bounded_and_the_used_ones_stay() {
        let mut sources = Sources::default();
        for ssrc in 0..100 {
            sources.of(ssrc).seen(7);
            sources.of(1000).seen(7);
        }
        assert_eq!(sources.0.len(), MAX_SOURCES);
        assert!(!sources.peek(1000).is_new(7));
        assert!(sources.peek(3).is_new(7));
    }
}
