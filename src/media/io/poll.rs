//! One epoll set inside of tokio's.
//!
//! tokio watches sockets by edges: each packet costs it a wake-up of its own and a second receive
//! that finds nothing. A set of our own, watched by levels, tells of all sockets that have packets
//! at once, and costs nothing for a socket after its packet is read. tokio watches the set.

use std::{
    io,
    mem::MaybeUninit,
    os::fd::{AsFd, OwnedFd},
    time::Duration,
};

use rustix::{
    event::{EventfdFlags, Timespec, epoll, eventfd},
    time::{
        Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, timerfd_create,
        timerfd_settime,
    },
};
use tokio::io::{Interest, unix::AsyncFd};

/// Sockets that one look tells of.
const LOOK: usize = 128;

/// A set of descriptors, each with a number.
#[derive(Debug)]
pub(crate) struct Poll(OwnedFd);

impl Poll {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self(epoll::create(epoll::CreateFlags::CLOEXEC)?))
    }

    pub(crate) fn add(&self, descriptor: impl AsFd, number: u64) -> io::Result<()> {
        let data = epoll::EventData::new_u64(number);
        Ok(epoll::add(
            &self.0,
            descriptor,
            data,
            epoll::EventFlags::IN,
        )?)
    }

    /// The set as something that tokio can wait for. To be made within the runtime.
    #[expect(
        deprecated,
        reason = "unsound for types that give away another descriptor each time; OwnedFd does not"
    )]
    pub(crate) fn waiter(&self) -> io::Result<AsyncFd<OwnedFd>> {
        AsyncFd::with_interest(self.0.try_clone()?, Interest::READABLE)
    }

    /// Puts the numbers of all descriptors that can be read now into `numbers`, without waiting.
    pub(crate) fn look(&self, numbers: &mut Vec<u64>) -> io::Result<()> {
        const NOW: Timespec = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        numbers.clear();
        let mut found = [MaybeUninit::uninit(); LOOK];
        match epoll::wait(&self.0, &mut found, Some(&NOW)) {
            // The event's data lies unaligned within it: copied, not borrowed.
            Ok((found, _)) => numbers.extend(found.iter().map(|event| { event.data }.u64())),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }
}

/// Wakes a shard that waits.
#[derive(Debug)]
pub(crate) struct Bell(OwnedFd);

impl Bell {
    pub(crate) fn new() -> io::Result<Self> {
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        Ok(Self(eventfd(0, flags)?))
    }

    pub(crate) fn ring(&self) {
        if let Err(error) = rustix::io::write(&self.0, &1u64.to_ne_bytes()) {
            // It rings already, or the shard looks at the next tick.
            tracing::trace!(%error, "a media shard was not woken");
        }
    }

    pub(crate) fn silence(&self) {
        if let Err(error) = rustix::io::read(&self.0, &mut [0u8; 8]) {
            tracing::trace!(%error, "a media shard was woken for nothing");
        }
    }
}

impl AsFd for Bell {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// A clock that ticks, exact to microseconds where tokio's is to milliseconds.
#[derive(Debug)]
pub(crate) struct Ticker(OwnedFd);

impl Ticker {
    pub(crate) fn new(every: Duration) -> io::Result<Self> {
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        let ticker = Self(timerfd_create(TimerfdClockId::Monotonic, flags)?);
        ticker.set(every)?;
        Ok(ticker)
    }

    pub(crate) fn set(&self, every: Duration) -> io::Result<()> {
        let every = Timespec {
            tv_sec: every.as_secs().try_into().unwrap_or(i64::MAX),
            tv_nsec: every.subsec_nanos().into(),
        };
        let timer = Itimerspec {
            it_interval: every,
            it_value: every,
        };
        timerfd_settime(&self.0, TimerfdTimerFlags::empty(), &timer)?;
        Ok(())
    }

    /// How often it has ticked since the last question.
    pub(crate) fn ticks(&self) -> u64 {
        let mut count = [0; 8];
        match rustix::io::read(&self.0, &mut count) {
            Ok(_) => u64::from_ne_bytes(count),
            Err(_) => 0,
        }
    }
}

impl AsFd for Ticker {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.0.as_fd()
    }
}
