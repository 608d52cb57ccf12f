//! What happens every 20 ms: ends that end here are heard and spoken to, conferences mixed,
//! recordings fed.

use std::collections::HashMap;

use super::{Event, SessionId, record::Recorder};
use crate::{
    audio::{FRAME, Frame, mixer::Mix},
    engine::{Side, relay, terminal::Terminal},
};

/// A conference's number. Its members meet in one shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConferenceId(pub u64);

/// What a session has beside its relay, where sound is touched.
#[derive(Debug, Default)]
pub(super) struct Stage {
    pub(super) terminals: [Option<Box<Terminal>>; 2],
    pub(super) recorder: Option<Recorder>,
    pub(super) conference: Option<ConferenceId>,
    /// Each side hears what the other says, coded anew.
    pub(super) transcodes: bool,
}

fn index(side: Side) -> usize {
    match side {
        Side::A => 0,
        Side::B => 1,
    }
}

impl Stage {
    pub(super) fn terminal(&mut self, side: Side) -> &mut Option<Box<Terminal>> {
        let [a, b] = &mut self.terminals;
        if index(side) == 0 { a } else { b }
    }

    /// Something happens here every 20 ms.
    pub(super) fn is_active(&self) -> bool {
        self.terminals.iter().any(Option::is_some)
    }

    /// This side hears what we say, and nothing else.
    pub(super) fn occupies(&self, side: Side) -> bool {
        let terminal = self.terminals.get(index(side));
        self.transcodes
            || self.conference.is_some()
            || terminal.is_some_and(|terminal| {
                terminal
                    .as_ref()
                    .is_some_and(|terminal| terminal.is_speaking())
            })
    }

    /// The first half of a tick: everybody is heard.
    pub(super) fn hear(
        &mut self,
        id: SessionId,
        mixes: &mut HashMap<ConferenceId, Mix>,
        tell: &mut impl FnMut(Event),
    ) {
        for side in Side::BOTH {
            if let Some(terminal) = self.terminal(side) {
                let pressed = |key| {
                    let event = relay::Event::Key(side, key, HEARD);
                    tell(Event::Ends(id, event));
                };
                terminal.hear(pressed);
            }
        }
        let [a, b] = &self.terminals;
        if let (Some(conference), Some(a)) = (self.conference, a) {
            mixes.entry(conference).or_default().add(a.heard());
        }
        if let Some(recorder) = &mut self.recorder {
            let silence = [0; FRAME];
            let a = a.as_ref().map_or(&silence, |a| a.heard());
            recorder.frame(a, b.as_ref().map(|b| b.heard()));
        }
    }

    /// The second half: what a side is told, as a packet in `out`; its length.
    pub(super) fn speak(
        &mut self,
        id: SessionId,
        side: Side,
        mixes: &HashMap<ConferenceId, Mix>,
        out: &mut [u8],
        tell: &mut impl FnMut(Event),
    ) -> Option<usize> {
        let conference = self.conference.filter(|_| side == Side::A);
        let transcodes = self.transcodes;
        let other = self.terminal(side.other()).as_ref();
        let said = other
            .filter(|_| transcodes)
            .and_then(|other| other.said().copied());
        let terminal = self.terminal(side).as_mut()?;
        let mut others: Frame = [0; FRAME];
        let mix = conference.and_then(|conference| mixes.get(&conference));
        let others = match mix {
            Some(mix) => {
                mix.without(Some(terminal.heard()), &mut others);
                Some(&others)
            }
            None => said.as_ref(),
        };
        let spoken = terminal.speak(others, out);
        if spoken.finished {
            tell(Event::Played(id, side));
        }
        spoken.length
    }
}

/// How long a key was held that was heard as tones: it is told while it is down.
const HEARD: std::time::Duration = std::time::Duration::from_millis(51);
