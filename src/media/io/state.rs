//! What a shard holds: its sessions and their sockets.

use std::{
    collections::HashMap,
    io,
    net::UdpSocket,
    os::fd::OwnedFd,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use tokio::{
    io::unix::AsyncFd,
    sync::mpsc::{self, error::TrySendError},
};

use super::{
    ConferenceId, Event, SessionId,
    media::random,
    poll::{Poll, Ticker},
    session,
    shard::{Command, Inbox},
    stage::Stage,
};
use crate::{
    audio::mixer::Mix,
    engine::{
        Channel, Side,
        relay::{self, Forward, LegReport, Relay},
        terminal::Terminal,
    },
};

/// Both ends' figures at the end of a session.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Report {
    pub a: LegReport,
    pub b: LegReport,
}

/// Whether there may be more to do at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    Busy,
    Idle,
}

/// Longer than any packet of sound or pictures that a network carries unbroken, and one byte more,
/// by which a longer one is recognised.
const LONGEST: usize = 2048;

/// How often silence is looked for.
const SWEEP: Duration = Duration::from_secs(1);

/// Sweeps from one report to the next.
const REPORTS: u32 = 5;

/// How often sound is made, and how many times at once where the machine was late: more would be
/// heard as a stutter anyway.
const TICK: Duration = Duration::from_millis(20);
const MOST_TICKS: u64 = 5;

/// Events that may wait for a service that does not read: more than there are sessions.
const UNTOLD: usize = 65_536;

const BELL: u64 = u64::MAX;
const SWEEPER: u64 = u64::MAX - 1;
const TICKER: u64 = u64::MAX - 2;

#[derive(Debug)]
struct Entry {
    id: SessionId,
    relay: Relay,
    /// By side and channel, as [`place`] counts. A call that ends here has side A's only.
    sockets: Vec<UdpSocket>,
    /// Where sound is touched.
    stage: Option<Box<Stage>>,
}

impl Entry {
    fn stage(&mut self) -> &mut Stage {
        self.stage.get_or_insert_default()
    }

    /// Sends the first `length` bytes of a buffer that has room behind them.
    fn send(&mut self, forward: Forward, buffer: &mut [u8], length: usize) {
        let Some(length) = self.relay.protect(forward.side, buffer, length) else {
            return;
        };
        if let Some(packet) = buffer.get(..length)
            && let Some(socket) = self.sockets.get(place(forward.side, forward.channel))
            && let Err(error) = socket.send_to(packet, forward.to)
        {
            // The network says no, or not now: RTP lives with loss, and nobody is helped by a line
            // for each packet.
            tracing::trace!(to = %forward.to, %error, "a packet was not sent");
        }
    }

    fn is_active(&self) -> bool {
        self.stage.as_ref().is_some_and(|stage| stage.is_active())
    }
}

/// A socket's place among the four of its session.
fn place(side: Side, channel: Channel) -> usize {
    match (side, channel) {
        (Side::A, Channel::Rtp) => 0,
        (Side::A, Channel::Rtcp) => 1,
        (Side::B, Channel::Rtp) => 2,
        (Side::B, Channel::Rtcp) => 3,
    }
}

const PLACES: [(Side, Channel); 4] = [
    (Side::A, Channel::Rtp),
    (Side::A, Channel::Rtcp),
    (Side::B, Channel::Rtp),
    (Side::B, Channel::Rtcp),
];

#[derive(Debug)]
pub(super) struct State {
    inbox: Arc<Inbox>,
    events: mpsc::Sender<Event>,
    /// Events that must not be lost and found no room: sessions that ended or fell silent.
    untold: Vec<Event>,
    poll: Poll,
    sweeper: Ticker,
    ticker: Ticker,
    /// Places of the sessions whose sound is touched; empty: the ticker rests.
    active: Vec<usize>,
    mixes: HashMap<ConferenceId, Mix>,
    sweeps: u32,
    numbers: Vec<u64>,
    entries: Vec<Option<Entry>>,
    free: Vec<usize>,
    places: HashMap<SessionId, usize>,
    datagram: Box<[u8; LONGEST]>,
}

impl State {
    pub(super) fn new(inbox: Arc<Inbox>, events: mpsc::Sender<Event>) -> io::Result<Self> {
        let poll = Poll::new()?;
        let (sweeper, ticker) = (Ticker::new(SWEEP)?, Ticker::new(Duration::ZERO)?);
        poll.add(&inbox.bell, BELL)?;
        poll.add(&sweeper, SWEEPER)?;
        poll.add(&ticker, TICKER)?;
        Ok(Self {
            inbox,
            events,
            untold: Vec::new(),
            poll,
            sweeper,
            ticker,
            active: Vec::new(),
            mixes: HashMap::new(),
            sweeps: 0,
            numbers: Vec::new(),
            entries: Vec::new(),
            free: Vec::new(),
            places: HashMap::new(),
            datagram: Box::new([0; LONGEST]),
        })
    }

    pub(super) fn waiter(&self) -> io::Result<AsyncFd<OwnedFd>> {
        self.poll.waiter()
    }

    /// Serves every descriptor that can be read now, once.
    pub(super) fn turn(&mut self) -> io::Result<Turn> {
        let mut numbers = std::mem::take(&mut self.numbers);
        let looked = self.poll.look(&mut numbers);
        let now = Instant::now();
        for number in &numbers {
            match *number {
                BELL => self.commands(now),
                SWEEPER => {
                    if self.sweeper.ticks() > 0 {
                        self.sweep(now);
                    }
                }
                TICKER => {
                    for _ in 0..self.ticker.ticks().min(MOST_TICKS) {
                        self.tick();
                    }
                }
                number => self.socket(number, now),
            }
        }
        let turn = if numbers.is_empty() {
            Turn::Idle
        } else {
            Turn::Busy
        };
        self.numbers = numbers;
        looked.map(|()| turn)
    }

    /// A packet waits at a socket: one is taken, so that no flood keeps the others waiting.
    fn socket(&mut self, number: u64, now: Instant) {
        let (index, place_) = ((number / 4) as usize, (number % 4) as usize);
        let Some(Some(entry)) = self.entries.get_mut(index) else {
            return;
        };
        let (Some(socket), Some((side, channel))) =
            (entry.sockets.get(place_), PLACES.get(place_).copied())
        else {
            return;
        };
        let (length, source) = match socket.recv_from(&mut *self.datagram) {
            Ok(received) => received,
            // An old number of a closed socket, or an error of an earlier packet that ICMP brought.
            Err(_) => return,
        };
        // A longer one has lost its end, and is passed on as what it is not: no packet.
        let length = if length == LONGEST { 0 } else { length };
        let Some(datagram) = self.datagram.get_mut(..length) else {
            return;
        };
        let outcome = entry.relay.receive(side, channel, datagram, source, now);
        let mut occupied = false;
        if let Some(stage) = entry.stage.as_deref_mut()
            && outcome.admitted
        {
            occupied = stage.occupies(side.other());
            if let Some(terminal) = stage.terminal(side)
                && let Some(packet) = self.datagram.get(..outcome.length)
            {
                terminal.receive(packet);
            }
        }
        if let Some(forward) = outcome.forward.filter(|_| !occupied) {
            let length = outcome.length;
            entry.send(forward, &mut *self.datagram, length);
        }
        if let Some(relay::Event::Key(_, key, _)) = outcome.event
            && let Some(stage) = entry.stage.as_deref_mut()
            && stage.transcodes
            && let Some(terminal) = stage.terminal(side.other())
        {
            // As the other side understands it: an event under its number, or tones.
            terminal.press(key.encode_utf8(&mut [0; 4]));
        }
        if let Some(event) = outcome.event {
            let event = Event::Ends(entry.id, event);
            self.tell(event, false);
        }
    }

    fn commands(&mut self, now: Instant) {
        for (id, command) in self.inbox.take() {
            if let Command::Add(sockets, timeout) = command {
                let relay = match sockets.len() {
                    1 => Relay::alone(timeout, now),
                    _ => Relay::new(timeout, now),
                };
                self.add(id, sockets, relay);
                continue;
            }
            let Some(index) = self.places.get(&id).copied() else {
                if let Command::Release(shared, sides) = command {
                    session::release(&shared, &sides);
                }
                continue;
            };
            let Some(Some(entry)) = self.entries.get_mut(index) else {
                continue;
            };
            match command {
                Command::Add(..) => {}
                Command::Remote(side, remote) => entry.relay.set_remote(side, remote, now),
                Command::PayloadMap(side, map) => entry.relay.set_payload_map(side, &map),
                Command::Secure(side, secure) => entry.relay.set_secure(side, secure),
                Command::Voice(side, voice) => {
                    let place = entry.stage().terminal(side);
                    match (voice, place.as_mut()) {
                        (Some(voice), Some(terminal)) => terminal.set_voice(voice),
                        (Some(voice), None) => {
                            let terminal = Terminal::new(voice, [random(), random()]);
                            *place = Some(Box::new(terminal));
                        }
                        (None, _) => *place = None,
                    }
                    self.activate(index);
                }
                Command::Terminal(side, act) => {
                    if let Some(terminal) = entry.stage().terminal(side) {
                        act.on(terminal);
                    }
                }
                Command::Record(recorder) => entry.stage().recorder = recorder,
                Command::Join(conference) => entry.stage().conference = conference,
                Command::Transcode(transcode) => entry.stage().transcodes = transcode,
                Command::Release(shared, sides) => {
                    let report = Report {
                        a: entry.relay.report(Side::A),
                        b: entry.relay.report(Side::B),
                    };
                    self.remove(id, index);
                    session::release(&shared, &sides);
                    self.tell(Event::Ended(id, report), true);
                }
            }
        }
    }

    fn add(&mut self, id: SessionId, sockets: Vec<[UdpSocket; 2]>, relay: Relay) {
        let sockets: Vec<_> = sockets.into_iter().flatten().collect();
        let index = self.free.pop().unwrap_or_else(|| {
            self.entries.push(None);
            self.entries.len() - 1
        });
        for (place, socket) in (0..).zip(&sockets) {
            if let Err(error) = self.poll.add(socket, index as u64 * 4 + place) {
                tracing::error!(%error, "a media port cannot be watched: raise the limit of files");
            }
        }
        self.places.insert(id, index);
        if let Some(entry) = self.entries.get_mut(index) {
            *entry = Some(Entry {
                id,
                relay,
                sockets,
                stage: None,
            });
        }
    }

    /// Closes a session's sockets, which takes them out of the set.
    fn remove(&mut self, id: SessionId, index: usize) {
        self.places.remove(&id);
        if let Some(entry) = self.entries.get_mut(index) {
            *entry = None;
            self.free.push(index);
        }
        self.activate(index);
    }

    /// Puts a session among those whose sound is touched, or takes it away; the ticker runs while
    /// there are any.
    fn activate(&mut self, index: usize) {
        let entry = self.entries.get(index).and_then(Option::as_ref);
        let now = entry.is_some_and(Entry::is_active);
        let before = self.active.iter().position(|active| *active == index);
        let ran = !self.active.is_empty();
        match (before, now) {
            (None, true) => self.active.push(index),
            (Some(place), false) => {
                self.active.swap_remove(place);
            }
            _ => {}
        }
        let runs = !self.active.is_empty();
        if ran != runs {
            let every = if runs { TICK } else { Duration::ZERO };
            if let Err(error) = self.ticker.set(every) {
                tracing::error!(%error, "the media clock cannot be set");
            }
        }
    }

    /// 20 ms of sound.
    fn tick(&mut self) {
        let mut told = Vec::new();
        self.mixes.clear();
        for index in &self.active {
            if let Some(Some(entry)) = self.entries.get_mut(*index)
                && let Some(stage) = &mut entry.stage
            {
                stage.hear(entry.id, &mut self.mixes, &mut |event| told.push(event));
            }
        }
        for index in &self.active {
            let Some(Some(entry)) = self.entries.get_mut(*index) else {
                continue;
            };
            let Some(mut stage) = entry.stage.take() else {
                continue;
            };
            for side in Side::BOTH {
                let mut tell = |event| told.push(event);
                let spoken =
                    stage.speak(entry.id, side, &self.mixes, &mut *self.datagram, &mut tell);
                if let Some(length) = spoken
                    && entry.relay.hears(side)
                    && let Some(forward) = entry.relay.target(side, Channel::Rtp)
                {
                    entry.send(forward, &mut *self.datagram, length);
                }
            }
            entry.stage = Some(stage);
        }
        for event in told {
            // That something was played to its end moves a call on: it must be told.
            let must = matches!(event, Event::Played(..));
            self.tell(event, must);
        }
    }

    fn sweep(&mut self, now: Instant) {
        for event in std::mem::take(&mut self.untold) {
            self.tell(event, true);
        }
        let mut silent = Vec::new();
        for entry in self.entries.iter_mut().flatten() {
            let id = entry.id;
            entry
                .relay
                .tick(now, |event| silent.push(Event::Ends(id, event)));
        }
        for event in silent {
            self.tell(event, true);
        }
        self.sweeps = self.sweeps.wrapping_add(1);
        if self.sweeps.is_multiple_of(REPORTS) {
            self.send_reports();
        }
    }

    /// Tells ends that end here how they are received, as they tell us (RFC 3550 section 6).
    fn send_reports(&mut self) {
        for index in &self.active {
            let Some(Some(entry)) = self.entries.get_mut(*index) else {
                continue;
            };
            let Some(stage) = &mut entry.stage else {
                continue;
            };
            let mut reports = [None, None];
            for (side, report) in Side::BOTH.into_iter().zip(&mut reports) {
                if let Some(terminal) = stage.terminal(side)
                    && let Some(forward) = entry.relay.target(side, Channel::Rtcp)
                {
                    let block = entry.relay.report_block(side);
                    let mut bytes = Vec::new();
                    terminal.report(network_time(), block, &mut bytes);
                    *report = Some((forward, bytes));
                }
            }
            for (forward, bytes) in reports.into_iter().flatten() {
                let length = bytes.len();
                if let Some(place) = self.datagram.get_mut(..length) {
                    place.copy_from_slice(&bytes);
                    entry.send(forward, &mut *self.datagram, length);
                }
            }
        }
    }

    /// Tells the service; what must be told and finds no room is told at the next sweep.
    fn tell(&mut self, event: Event, must: bool) {
        if let Err(TrySendError::Full(event)) = self.events.try_send(event)
            && must
            && self.untold.len() < UNTOLD
        {
            self.untold.push(event);
        }
    }
}

/// Seconds since 1900 and their fraction, as RTCP has them.
fn network_time() -> u64 {
    const FROM_1900: u64 = 2_208_988_800;
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let since = since.unwrap_or_default();
    let fraction = (u64::from(since.subsec_nanos()) << 32) / 1_000_000_000;
    since.as_secs().wrapping_add(FROM_1900) << 32 | fraction
}

impl Drop for State {
    fn drop(&mut self) {
        // Who released a session after the last run gets its ports back all the same.
        for (_, command) in self.inbox.take() {
            if let Command::Release(shared, sides) = command {
                session::release(&shared, &sides);
            }
        }
    }
}
