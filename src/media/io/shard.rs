//! A task that carries the packets of its share of the sessions.

use std::{
    collections::VecDeque,
    io,
    net::{SocketAddr, UdpSocket},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::sync::mpsc;

use super::{
    ConferenceId, Event, SessionId,
    media::Shared,
    poll::Bell,
    record::Recorder,
    session::Busy,
    state::{State, Turn},
};
use crate::{
    audio::sound::Sound,
    engine::{
        Remote, Side,
        srtp::Secure,
        terminal::{Repeat, Terminal, Voice},
    },
};

/// What a session's holder wants of the shard.
#[derive(Debug)]
pub(crate) enum Command {
    Add(Vec<[UdpSocket; 2]>, Duration),
    Remote(Side, Remote),
    PayloadMap(Side, Vec<(u8, u8)>),
    Secure(Side, Option<Box<Secure>>),
    Voice(Side, Option<Voice>),
    Terminal(Side, Act),
    Record(Option<Recorder>),
    Join(Option<ConferenceId>),
    Transcode(bool),
    Release(Arc<Shared>, Vec<SocketAddr>),
}

/// What a terminal is to do.
#[derive(Debug)]
pub(crate) enum Act {
    Play(Sound, Repeat),
    Stop,
    Press(String),
    DetectKeys(bool),
}

impl Act {
    pub(super) fn on(self, terminal: &mut Terminal) {
        match self {
            Self::Play(sound, repeat) => terminal.play(sound, repeat),
            Self::Stop => terminal.stop(),
            Self::Press(keys) => terminal.press(&keys),
            Self::DetectKeys(detect) => terminal.detect_keys(detect),
        }
    }
}

/// Commands that may wait for a shard.
const WAITING: usize = 16_384;

/// Commands on their way to a shard.
#[derive(Debug)]
pub(crate) struct Inbox {
    waiting: Mutex<VecDeque<(SessionId, Command)>>,
    pub(crate) bell: Bell,
}

impl Inbox {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self {
            waiting: Mutex::new(VecDeque::new()),
            bell: Bell::new()?,
        })
    }

    fn put(&self, session: SessionId, command: Command, limit: usize) -> Result<(), Busy> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() >= limit {
            return Err(Busy);
        }
        waiting.push_back((session, command));
        // One ring is heard until the inbox is empty.
        if waiting.len() == 1 {
            self.bell.ring();
        }
        Ok(())
    }

    pub(crate) fn push(&self, session: SessionId, command: Command) -> Result<(), Busy> {
        self.put(session, command, WAITING)
    }

    pub(crate) fn push_always(&self, session: SessionId, command: Command) {
        if self.put(session, command, usize::MAX).is_err() {
            tracing::error!("a media shard's commands have filled the memory");
        }
    }

    pub(crate) fn take(&self) -> VecDeque<(SessionId, Command)> {
        self.bell.silence();
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *waiting)
    }
}

/// Looks at the sockets before other tasks of the runtime have their turn.
const LOOKS: usize = 16;

/// A share of the sessions. What it holds outlives a run of it that failed.
#[derive(Clone, Debug)]
pub struct Shard(Arc<tokio::sync::Mutex<State>>);

impl Shard {
    pub(crate) fn new(inbox: Arc<Inbox>, events: mpsc::Sender<Event>) -> io::Result<Self> {
        let state = State::new(inbox, events)?;
        Ok(Self(Arc::new(tokio::sync::Mutex::new(state))))
    }

    /// Carries packets until the task is dropped, or until the kernel refuses what it must not.
    pub async fn run(&self) -> io::Result<()> {
        // Held for the whole run: nobody else looks into the state.
        let mut state = self.0.lock().await;
        let waiter = state.waiter()?;
        loop {
            let mut ready = waiter.readable().await?;
            let mut looks = 0;
            while state.turn()? == Turn::Busy {
                looks += 1;
                if looks == LOOKS {
                    looks = 0;
                    tokio::task::yield_now().await;
                }
            }
            ready.clear_ready();
        }
    }
}
