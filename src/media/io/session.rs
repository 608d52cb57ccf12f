//! What a call holds of its media.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Instant,
};

use super::{
    ConferenceId, SessionId,
    media::Shared,
    record::Recorder,
    shard::{Act, Command, Inbox},
};
use crate::{
    audio::sound::Sound,
    engine::{
        Anchor, Remote, Side,
        srtp::Secure,
        terminal::{Repeat, Voice},
    },
};

/// The shard has more to do than it can: the call's change was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the media shard does not keep up")]
pub struct Busy;

/// Why a description was not taken over. 488 is the answer to the first two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RefusedRemote {
    #[error("the end's address is one of our own media ports")]
    Ours,
    #[error("the end's address is of this machine only, or of another family than our port")]
    Unreachable,
    #[error(transparent)]
    Busy(#[from] Busy),
}

/// A stream's ports, open as long as this is kept. All calls return at once.
#[derive(Debug)]
pub struct Session {
    id: SessionId,
    shared: Arc<Shared>,
    shard: usize,
    /// Our RTP ports, A's and B's; RTCP is beside each.
    sides: Vec<SocketAddr>,
}

impl Session {
    pub(super) fn new(
        id: SessionId,
        shared: Arc<Shared>,
        shard: usize,
        sides: Vec<SocketAddr>,
    ) -> Self {
        Self {
            id,
            shared,
            shard,
            sides,
        }
    }

    #[must_use]
    pub fn id(&self) -> SessionId {
        self.id
    }

    /// Our RTP address that `side` sends to. RTCP is at the next port. A session of
    /// [`crate::Media::allocate_end`] has side A, and for B the null address.
    #[must_use]
    pub fn local(&self, side: Side) -> SocketAddr {
        let index = match side {
            Side::A => 0,
            Side::B => 1,
        };
        let nowhere = SocketAddr::from(([0, 0, 0, 0], 0));
        self.sides.get(index).copied().unwrap_or(nowhere)
    }

    /// What is to be written into the description that `side` gets; `advertised` is our address as
    /// that side sees it, where a NAT is before us.
    #[must_use]
    pub fn anchor(&self, side: Side, advertised: Option<IpAddr>, mux: bool) -> Anchor {
        let local = self.local(side);
        Anchor {
            rtp: SocketAddr::new(advertised.unwrap_or(local.ip()), local.port()),
            rtcp: local.port().saturating_add(1),
            mux,
        }
    }

    /// What `side`'s newest description says of it: at each offer and answer, holds included.
    pub fn set_remote(&self, side: Side, remote: Remote) -> Result<(), RefusedRemote> {
        let local = self.local(side).ip();
        for address in [remote.rtp, remote.rtcp] {
            if self.shared.is_ours(address) {
                return Err(RefusedRemote::Ours);
            }
            let ip = address.ip();
            let here_only = ip.is_loopback() && !local.is_loopback();
            if here_only || ip.is_ipv4() != local.is_ipv4() {
                return Err(RefusedRemote::Unreachable);
            }
        }
        Ok(self.send(Command::Remote(side, remote))?)
    }

    /// Renumbers `side`'s payload types on their way to the other side (see
    /// [`crate::engine::payload_map`]).
    pub fn set_payload_map(&self, side: Side, map: Vec<(u8, u8)>) -> Result<(), Busy> {
        self.send(Command::PayloadMap(side, map))
    }

    /// `side` speaks SRTP with these keys ([`crate::engine::srtp::sdes`]), or plain RTP. The other
    /// side may do otherwise. To be set before the side is described, so that nothing goes out plain.
    pub fn set_secure(&self, side: Side, secure: Option<Secure>) -> Result<(), Busy> {
        self.send(Command::Secure(side, secure.map(Box::new)))
    }

    /// Sound of `side` is touched from now on, with this coding: it can be played to, recorded,
    /// joined to a conference. `None`: no more. What one side sends still goes on to the other,
    /// except while that other is played to.
    pub fn set_voice(&self, side: Side, voice: Option<Voice>) -> Result<(), Busy> {
        self.send(Command::Voice(side, voice))
    }

    /// Plays a sound to `side`, instead of what it heard before. [`crate::Event::Played`] tells the
    /// end of one that is played once.
    pub fn play(&self, side: Side, sound: Sound, repeat: Repeat) -> Result<(), Busy> {
        self.send(Command::Terminal(side, Act::Play(sound, repeat)))
    }

    pub fn stop(&self, side: Side) -> Result<(), Busy> {
        self.send(Command::Terminal(side, Act::Stop))
    }

    /// Presses keys, for `side` to hear.
    pub fn press(&self, side: Side, keys: &str) -> Result<(), Busy> {
        self.send(Command::Terminal(side, Act::Press(keys.to_owned())))
    }

    /// Listens for `side`'s keys as tones too. Telephone events are told without this.
    pub fn detect_keys(&self, side: Side, detect: bool) -> Result<(), Busy> {
        self.send(Command::Terminal(side, Act::DetectKeys(detect)))
    }

    /// Records what those sides say that have a voice, until told otherwise.
    pub fn record(&self, recorder: Option<Recorder>) -> Result<(), Busy> {
        self.send(Command::Record(recorder))
    }

    /// Side A, which has a voice, hears and is heard by the conference's other members. They meet
    /// if allocated for it (see [`crate::Media::allocate_end`]).
    pub fn join(&self, conference: Option<ConferenceId>) -> Result<(), Busy> {
        self.send(Command::Join(conference))
    }

    /// Both sides have a voice and no codec in common: what each says is coded anew for the other.
    pub fn transcode(&self, transcode: bool) -> Result<(), Busy> {
        self.send(Command::Transcode(transcode))
    }

    fn inbox(&self) -> Option<&Arc<Inbox>> {
        self.shared.inboxes.get(self.shard)
    }

    fn send(&self, command: Command) -> Result<(), Busy> {
        self.inbox().ok_or(Busy)?.push(self.id, command)
    }

    /// What comes once in a session's life cannot be turned away; sessions are counted.
    pub(super) fn send_always(&self, command: Command) {
        if let Some(inbox) = self.inbox() {
            inbox.push_always(self.id, command);
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let sides = std::mem::take(&mut self.sides);
        self.send_always(Command::Release(self.shared.clone(), sides));
    }
}

/// Gives the ports back, once their sockets are closed.
pub(super) fn release(shared: &Shared, sides: &[SocketAddr]) {
    shared.release(sides, Instant::now());
}
