//! The notification protocol of sd_notify(3): datagrams of `KEY=value` lines.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};

use crate::sys;

/// How long a message waits for room in the manager's queue.
const PATIENCE: Duration = Duration::from_millis(500);

/// A line to the service manager. Without one, or when it does not listen, nothing is said.
#[derive(Clone, Debug, Default)]
pub struct Notify(Option<Arc<Line>>);

#[derive(Debug)]
struct Line {
    socket: UnixDatagram,
    watchdog: Option<Duration>,
    /// The manager let us wait in vain the last time, and is not waited for until it reads again.
    deaf: AtomicBool,
}

impl Notify {
    /// The line that `NOTIFY_SOCKET` and `WATCHDOG_USEC` describe.
    pub fn from_environment() -> Self {
        let Some(name) = std::env::var_os("NOTIFY_SOCKET") else {
            return Self::default();
        };
        let variable = |name| std::env::var(name).ok();
        let watchdog = watchdog(
            variable("WATCHDOG_PID").as_deref(),
            variable("WATCHDOG_USEC").as_deref(),
            process::id(),
        );
        match Self::connect(name.as_bytes(), watchdog) {
            Ok(notify) => notify,
            Err(error) => {
                tracing::warn!(?name, "cannot reach the service manager: {error}");
                Self::default()
            }
        }
    }

    /// A line to the socket `name`: a path, or an abstract name after `@`.
    ///
    /// # Errors
    /// When the name is no Unix socket's, or nothing listens there.
    pub fn connect(name: &[u8], watchdog: Option<Duration>) -> io::Result<Self> {
        let address = match name {
            [b'@', rest @ ..] => SocketAddr::from_abstract_name(rest)?,
            [b'/', ..] => SocketAddr::from_pathname(std::ffi::OsStr::from_bytes(name))?,
            _ => {
                return Err(io::Error::new(
                    io::ErrorKind::Unsupported,
                    "NOTIFY_SOCKET is neither a path nor an abstract name",
                ));
            }
        };
        let socket = UnixDatagram::unbound()?;
        socket.connect_addr(&address)?;
        // A manager that is slow to read (its queue holds ten messages, and every parked socket is
        // one) is waited for, or READY=1 would be lost; one that does not read at all must not stop
        // a service.
        socket.set_write_timeout(Some(PATIENCE))?;
        let deaf = AtomicBool::new(false);
        Ok(Self(Some(Arc::new(Line {
            socket,
            watchdog,
            deaf,
        }))))
    }

    /// Is there a service manager to tell?
    pub fn is_connected(&self) -> bool {
        self.0.is_some()
    }

    /// Every listener is bound, or a reload is done.
    pub fn ready(&self) {
        self.say("READY=1");
    }

    /// Shutdown has begun.
    pub fn stopping(&self) {
        self.say("STOPPING=1");
    }

    /// A reload has begun; [`Self::ready`] ends it.
    pub fn reloading(&self) {
        // sd_notify(3): Type=notify-reload wants the time, to tell this reload from an earlier one.
        self.say(&format!(
            "RELOADING=1\nMONOTONIC_USEC={}",
            sys::monotonic_microseconds()
        ));
    }

    /// We live. Due at least every [`Self::watchdog_interval`].
    pub fn watchdog(&self) {
        self.say("WATCHDOG=1");
    }

    /// How often [`Self::watchdog`] must be said, which is half the manager's limit, as sd_notify(3)
    /// recommends. `None`: the manager does not watch.
    pub fn watchdog_interval(&self) -> Option<Duration> {
        self.0.as_ref()?.watchdog.map(|limit| limit / 2)
    }

    /// One line for `systemctl status`.
    pub fn status(&self, text: &str) {
        let line: String = text
            .chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .collect();
        self.say(&format!("STATUS={line}"));
    }

    /// Has `descriptor` kept for the next run (`FDSTORE=1`), under a name.
    pub fn store(&self, name: &str, descriptor: BorrowedFd<'_>) {
        self.send(
            &format!("FDSTORE=1\nFDNAME={}", descriptor_name(name)),
            &[descriptor],
        );
    }

    /// Has what is kept under `name` closed.
    pub fn remove(&self, name: &str) {
        self.say(&format!(
            "FDSTOREREMOVE=1\nFDNAME={}",
            descriptor_name(name)
        ));
    }

    fn say(&self, text: &str) {
        self.send(text, &[]);
    }

    fn send(&self, text: &str, descriptors: &[BorrowedFd<'_>]) {
        let Some(line) = &self.0 else { return };
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if !descriptors.is_empty() {
            // There is room for the one that any caller sends.
            ancillary.push(SendAncillaryMessage::ScmRights(descriptors));
        }
        let mut flags = SendFlags::NOSIGNAL;
        flags.set(SendFlags::DONTWAIT, line.deaf.load(Ordering::Relaxed));
        let result = rustix::net::sendmsg(
            line.socket.as_fd(),
            &[IoSlice::new(text.as_bytes())],
            &mut ancillary,
            flags,
        );
        let deaf = result == Err(rustix::io::Errno::AGAIN);
        line.deaf.store(deaf, Ordering::Relaxed);
        if let Err(error) = result {
            tracing::warn!(text, "the service manager was not told: {error}");
        }
    }
}

/// FDNAME is at most 255 ASCII characters without colons or control characters.
pub(crate) fn descriptor_name(name: &str) -> String {
    name.chars()
        .map(|c| {
            if c.is_ascii_graphic() && c != ':' {
                c
            } else {
                '_'
            }
        })
        .take(255)
        .collect()
}

fn watchdog(pid: Option<&str>, microseconds: Option<&str>, our_pid: u32) -> Option<Duration> {
    // sd_watchdog_enabled(3): without WATCHDOG_PID it is for whoever reads it.
    if pid.is_some_and(|pid| pid.parse() != Ok(our_pid)) {
        return None;
    }
    let limit = Duration::from_micros(microseconds?.parse().ok()?);
    (!limit.is_zero()).then_some(limit)
}
