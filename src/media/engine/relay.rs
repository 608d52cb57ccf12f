//! Two ends and the packets between them.
//!
//! Nothing is rewritten that need not be: a packet goes on as the bytes it came as, from our port
//! on the other side, so that each end sees one peer at one address. Who may send is decided by
//! [`Latch`]; everything else that comes to a port is dropped and counted.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use super::{
    Quality, Remote,
    latch::{Admission, Latch},
    quality::Reception,
    srtp::Secure,
};
use crate::wire::{
    Kind,
    event::TelephoneEvent,
    rtcp::{Compound, ReportBlock},
    rtp::{self, Packet},
};

/// One of the two ends of a relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Side {
    /// By convention, who calls.
    A,
    /// Who is called.
    B,
}

impl Side {
    pub const BOTH: [Self; 2] = [Self::A, Self::B];

    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }
}

/// Which of a side's two ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Channel {
    Rtp,
    Rtcp,
}

/// Where a packet goes on to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forward {
    /// The side, and the port of it, that it is sent from.
    pub side: Side,
    pub channel: Channel,
    pub to: SocketAddr,
}

/// What the two ends did that the call wants to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The source of this side's packets is known and locked.
    Locked(Side, SocketAddr),
    /// A key was pressed, and told by telephone-event; with how long it was held.
    Key(Side, char, Duration),
    /// This side should send and has not for the timeout. Told once for each silence.
    Silent(Side),
}

/// What came of a packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// It is this side's media, whether or not it goes on.
    pub admitted: bool,
    /// How much of the datagram is left: SRTP is opened in place.
    pub length: usize,
    pub forward: Option<Forward>,
    pub event: Option<Event>,
}

/// Packets of one side that did not go on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dropped {
    /// From a source that is not this side's.
    pub strangers: u64,
    /// No RTP or RTCP.
    pub malformed: u64,
    /// Of a payload type that nobody agreed to.
    pub unagreed: u64,
    /// While one side or the other was on hold, or not yet described.
    pub held: u64,
    /// SRTP that is not genuine, or was there before.
    pub forged: u64,
}

/// What one side's record says.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LegReport {
    /// How well this side's packets arrived here.
    pub quality: Quality,
    pub dropped: Dropped,
    /// Where they came from.
    pub source: Option<SocketAddr>,
}

/// After so long without a packet, a source that is not locked yet may be another.
const CANDIDATE_LIFE: Duration = Duration::from_millis(500);

/// Comfort noise (RFC 3389) is sent by some without a word about it.
const ALWAYS_AGREED: u128 = 1 << 13;

#[derive(Debug)]
struct Leg {
    remote: Option<Remote>,
    latch: Option<Latch>,
    /// Where this side's control packets came from last.
    control: Option<SocketAddr>,
    reception: Reception,
    dropped: Dropped,
    heard: Instant,
    silent: bool,
    /// Timestamp of the last key told, so that its repeated end is told once.
    key: Option<u32>,
    /// Numbers that this side's payload types have on the other; no entry: the same.
    map: Option<Box<[u8; 128]>>,
    /// The keys, where this side speaks SRTP.
    secure: Option<Box<Secure>>,
}

impl Leg {
    fn new(now: Instant) -> Self {
        Self {
            remote: None,
            latch: None,
            control: None,
            reception: Reception::new(8000, now),
            dropped: Dropped::default(),
            heard: now,
            silent: false,
            key: None,
            map: None,
            secure: None,
        }
    }

    /// SRTP whose keys the two ends have and we have not.
    fn is_opaque(&self) -> bool {
        self.secure.is_none() && self.remote.as_ref().is_some_and(|remote| remote.secure)
    }

    fn key(&mut self, packet: &[u8], clock: u32) -> Option<(char, Duration)> {
        let packet = Packet::parse(packet)?;
        let event = TelephoneEvent::parse(packet.payload)?;
        if !event.end || self.key == Some(packet.header.timestamp) {
            return None;
        }
        self.key = Some(packet.header.timestamp);
        let held = u64::from(event.duration) * 1000 / u64::from(clock.max(1));
        let held = Duration::from_millis(held);
        Some((event.key()?, held))
    }
}

/// The two ends of one stream.
#[derive(Debug)]
pub struct Relay {
    legs: [Leg; 2],
    timeout: Duration,
    /// Both sides' payload types: each may send what either described.
    agreed: u128,
    /// Side A's call ends here: there is no side B.
    alone: bool,
}

impl Relay {
    /// A relay whose ends may be silent for `timeout`.
    #[must_use]
    pub fn new(timeout: Duration, now: Instant) -> Self {
        Self {
            legs: [Leg::new(now), Leg::new(now)],
            timeout,
            agreed: 0,
            alone: false,
        }
    }

    /// Side A alone: nothing goes on, and what it sends is admitted or not.
    #[must_use]
    pub fn alone(timeout: Duration, now: Instant) -> Self {
        Self {
            alone: true,
            ..Self::new(timeout, now)
        }
    }

    fn leg(&mut self, side: Side) -> &mut Leg {
        let [a, b] = &mut self.legs;
        match side {
            Side::A => a,
            Side::B => b,
        }
    }

    fn peek(&self, side: Side) -> &Leg {
        let [a, b] = &self.legs;
        match side {
            Side::A => a,
            Side::B => b,
        }
    }

    /// What a side's newest description says of it.
    pub fn set_remote(&mut self, side: Side, remote: Remote, now: Instant) {
        let leg = self.leg(side);
        match &mut leg.latch {
            Some(latch) => latch.describe(remote.rtp, remote.signalling),
            None => leg.latch = Some(Latch::new(remote.rtp, remote.signalling)),
        }
        if leg.remote.as_ref().map(|old| old.rtcp) != Some(remote.rtcp) {
            leg.control = None;
        }
        leg.reception.set_clock(remote.clock);
        leg.heard = now;
        leg.silent = false;
        leg.remote = Some(remote);
        let remotes = self.legs.iter().filter_map(|leg| leg.remote.as_ref());
        self.agreed = remotes.fold(ALWAYS_AGREED, |types, remote| types | remote.payload_types);
    }

    /// The keys of this side, or none: it is plain RTP. The same keys again change nothing, so that
    /// a re-INVITE does not make packets that were there before new.
    pub fn set_secure(&mut self, side: Side, secure: Option<Box<Secure>>) {
        let leg = self.leg(side);
        let same = match (&leg.secure, &secure) {
            (Some(old), Some(new)) => old.has_keys_of(new),
            _ => false,
        };
        if !same {
            leg.secure = secure;
        }
    }

    /// Makes a packet ready for `side`, in a buffer with room behind its `length` bytes
    /// ([`super::srtp::GROWTH`]). Gives its new length; `None`: it must not be sent.
    #[must_use]
    pub fn protect(&mut self, side: Side, buffer: &mut [u8], length: usize) -> Option<usize> {
        let Some(secure) = &mut self.leg(side).secure else {
            return Some(length);
        };
        match Kind::of(buffer.get(..length)?) {
            Kind::Rtcp => secure.protector.rtcp(buffer, length),
            _ => secure.protector.rtp(buffer, length),
        }
    }

    /// Gives this side's payload types other numbers on their way to the other side.
    pub fn set_payload_map(&mut self, side: Side, map: &[(u8, u8)]) {
        let mut numbers = Box::new([0; 128]);
        for (number, place) in (0..).zip(numbers.iter_mut()) {
            *place = number;
        }
        for (from, to) in map {
            if let Some(place) = numbers.get_mut(usize::from(*from)) {
                *place = to & 0x7f;
            }
        }
        self.leg(side).map = (!map.is_empty()).then_some(numbers);
    }

    /// Both this side may send and the other may receive.
    fn flows(&self, from: Side) -> bool {
        let sends = |remote: &Remote| remote.direction.sends();
        let here = self.peek(from).remote.as_ref();
        here.is_some_and(sends) && (self.alone || self.hears(from.other()))
    }

    /// Decides about a datagram that came from `source` to a port of `side`. It may be changed in
    /// place; before it goes on, [`Self::protect`] has it.
    pub fn receive(
        &mut self,
        side: Side,
        channel: Channel,
        datagram: &mut [u8],
        source: SocketAddr,
        now: Instant,
    ) -> Outcome {
        match (Kind::of(datagram), channel) {
            (Kind::Rtp, Channel::Rtp) => self.media(side, datagram, source, now),
            (Kind::Rtcp, Channel::Rtcp) => self.control(side, datagram, source),
            (Kind::Rtcp, Channel::Rtp) if self.muxes(side) => self.control(side, datagram, source),
            _ => {
                self.leg(side).dropped.malformed += 1;
                Outcome::default()
            }
        }
    }

    fn muxes(&self, side: Side) -> bool {
        let remote = self.peek(side).remote.as_ref();
        remote.is_some_and(|remote| remote.mux)
    }

    fn media(
        &mut self,
        side: Side,
        datagram: &mut [u8],
        source: SocketAddr,
        now: Instant,
    ) -> Outcome {
        let mut outcome = Outcome::default();
        let (flows, agreed, alone) = (self.flows(side), self.agreed, self.alone);
        let leg = self.leg(side);
        let Some((header, _)) = rtp::head(datagram) else {
            leg.dropped.malformed += 1;
            return outcome;
        };
        let Some(latch) = &mut leg.latch else {
            leg.dropped.held += 1;
            return outcome;
        };
        if agreed & (1 << header.payload_type) == 0 {
            leg.dropped.unagreed += 1;
            return outcome;
        }
        if now.saturating_duration_since(leg.heard) > CANDIDATE_LIFE {
            latch.forget_candidate();
        }
        if latch.locked().is_some_and(|locked| locked != source) {
            leg.dropped.strangers += 1;
            return outcome;
        }
        let mut length = datagram.len();
        if let Some(secure) = &mut leg.secure {
            // Before anything is learnt from it: who has not the key is nobody.
            let Some(opened) = secure.opener.rtp(datagram) else {
                leg.dropped.forged += 1;
                return outcome;
            };
            length = opened;
        }
        let datagram = datagram.get_mut(..length).unwrap_or_default();
        match latch.admit(source, &header) {
            Admission::Stranger => {
                leg.dropped.strangers += 1;
                return outcome;
            }
            Admission::Locked(source) => outcome.event = Some(Event::Locked(side, source)),
            Admission::Accepted => {}
        }
        leg.heard = now;
        leg.silent = false;
        leg.reception.packet(&header, now);
        outcome.admitted = true;
        outcome.length = length;
        let events = leg.remote.as_ref().and_then(|remote| remote.events);
        if let Some((number, clock)) = events
            && number == header.payload_type
            && !leg.is_opaque()
            && let Some((key, held)) = leg.key(datagram, clock)
        {
            outcome.event = Some(Event::Key(side, key, held));
        }
        if alone {
            return outcome;
        }
        if !flows {
            leg.dropped.held += 1;
            return outcome;
        }
        if let Some(number) = leg
            .map
            .as_ref()
            .and_then(|map| map.get(usize::from(header.payload_type)))
        {
            rtp::set_payload_type(datagram, *number);
        }
        outcome.forward = self.target(side.other(), Channel::Rtp);
        outcome
    }

    fn control(&mut self, side: Side, datagram: &mut [u8], source: SocketAddr) -> Outcome {
        let leg = self.leg(side);
        let Some(latch) = &leg.latch else {
            leg.dropped.held += 1;
            return Outcome::default();
        };
        if !latch.admits_control(source) {
            leg.dropped.strangers += 1;
            return Outcome::default();
        }
        let mut length = datagram.len();
        if let Some(secure) = &mut leg.secure {
            let Some(opened) = secure.opener.rtcp(datagram) else {
                leg.dropped.forged += 1;
                return Outcome::default();
            };
            length = opened;
        }
        let datagram = datagram.get(..length).unwrap_or_default();
        if !leg.is_opaque() && Compound::parse(datagram).is_none() {
            leg.dropped.malformed += 1;
            return Outcome::default();
        }
        leg.control = Some(source);
        // Reports go on while a call is on hold: they are what says that the other end lives.
        Outcome {
            admitted: false,
            length,
            forward: self.target(side.other(), Channel::Rtcp),
            event: None,
        }
    }

    /// `side` wants to hear something.
    #[must_use]
    pub fn hears(&self, side: Side) -> bool {
        let remote = self.peek(side).remote.as_ref();
        remote.is_some_and(|remote| remote.direction.receives())
    }

    /// Where packets for `side` go to, and from which of its ports.
    #[must_use]
    pub fn target(&self, side: Side, channel: Channel) -> Option<Forward> {
        let leg = self.peek(side);
        let (remote, latch) = (leg.remote.as_ref()?, leg.latch.as_ref()?);
        let (channel, to) = match channel {
            Channel::Rtp => (Channel::Rtp, latch.target()),
            Channel::Rtcp if remote.mux => (Channel::Rtp, latch.target()),
            Channel::Rtcp => (Channel::Rtcp, leg.control.unwrap_or(remote.rtcp)),
        };
        let somewhere = !to.ip().is_unspecified();
        somewhere.then_some(Forward { side, channel, to })
    }

    /// Looks for ends that have fallen silent. To be called every second or so.
    pub fn tick(&mut self, now: Instant, mut tell: impl FnMut(Event)) {
        for side in Side::BOTH {
            if self.peek(side).remote.is_none() {
                continue;
            }
            let (expected, timeout) = (self.flows(side), self.timeout);
            let leg = self.leg(side);
            if !expected {
                // Time begins when the hold ends.
                leg.heard = now;
            } else if !leg.silent && now.saturating_duration_since(leg.heard) >= timeout {
                leg.silent = true;
                tell(Event::Silent(side));
            }
        }
    }

    /// What a report tells this side of its own packets; nothing before the first.
    #[must_use]
    pub fn report_block(&mut self, side: Side) -> Option<ReportBlock> {
        self.leg(side).reception.block()
    }

    #[must_use]
    pub fn report(&self, side: Side) -> LegReport {
        let leg = self.peek(side);
        LegReport {
            quality: leg.reception.quality(),
            dropped: leg.dropped,
            source: leg.latch.as_ref().and_then(Latch::locked),
        }
    }
}
