//! Sockets passed at start (sd_listen_fds(3)): from a socket unit, or from our own last run
//! through the descriptor store.

use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::process;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::net::SocketType;

use crate::{ListenAddr, Transport, sys};

/// The first descriptor that is passed; 0 to 2 are the standard streams.
const FIRST: RawFd = 3;

/// More than this would be a mistake of the environment and not a socket unit.
const AT_MOST: RawFd = 4096;

/// A socket that was open before we were.
#[derive(Debug)]
pub struct PassedSocket {
    pub(crate) descriptor: OwnedFd,
    pub(crate) name: String,
    pub(crate) transport: Transport,
    pub(crate) address: ListenAddr,
}

/// The sockets passed to this process.
#[derive(Debug, Default)]
pub struct Passed(pub(crate) Vec<PassedSocket>);

impl Passed {
    /// Takes what the environment says was passed. The first call in a process gets all; the
    /// descriptors have one owner, so that later calls get nothing.
    pub fn take() -> Self {
        static TAKEN: AtomicBool = AtomicBool::new(false);
        if TAKEN.swap(true, Ordering::AcqRel) {
            return Self::default();
        }
        let variable = |name| std::env::var(name).ok();
        let descriptors = passed(
            variable("LISTEN_PID").as_deref(),
            variable("LISTEN_FDS").as_deref(),
            variable("LISTEN_FDNAMES").as_deref(),
            process::id(),
        );
        Self::from_descriptors(descriptors.into_iter().filter_map(|(fd, name)| {
            let descriptor = sys::passed_descriptor(fd);
            if descriptor.is_none() {
                tracing::warn!(
                    fd,
                    name,
                    "descriptor passed by the service manager is not open"
                );
            }
            Some((descriptor?, name))
        }))
    }

    /// Was nothing passed?
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The sockets among `descriptors`; anything else is closed with a line of log.
    pub fn from_descriptors(descriptors: impl IntoIterator<Item = (OwnedFd, String)>) -> Self {
        let mut sockets = Vec::new();
        for (descriptor, name) in descriptors {
            match kind(&descriptor) {
                Some((transport, address)) => {
                    sockets.push(PassedSocket {
                        descriptor,
                        name,
                        transport,
                        address,
                    });
                }
                None => tracing::warn!(
                    name,
                    "descriptor passed by the service manager is no listening socket"
                ),
            }
        }
        Self(sockets)
    }
}

/// Numbers and names of the passed descriptors, if they were passed to this process.
fn passed(
    pid: Option<&str>,
    count: Option<&str>,
    names: Option<&str>,
    our_pid: u32,
) -> Vec<(RawFd, String)> {
    // A child of a process that was passed sockets inherits the variables, but not the sockets.
    if pid.and_then(|pid| pid.parse().ok()) != Some(our_pid) {
        return Vec::new();
    }
    let count = count
        .and_then(|count| count.parse::<RawFd>().ok())
        .unwrap_or(0)
        .clamp(0, AT_MOST);
    let mut names = names.unwrap_or_default().split(':');
    (FIRST..FIRST.saturating_add(count))
        .map(|fd| {
            (
                fd,
                names
                    .next()
                    .filter(|name| !name.is_empty())
                    .unwrap_or("unknown")
                    .to_owned(),
            )
        })
        .collect()
}

fn kind(descriptor: &OwnedFd) -> Option<(Transport, ListenAddr)> {
    let fd = descriptor.as_fd();
    let transport = match rustix::net::sockopt::socket_type(fd).ok()? {
        SocketType::STREAM if rustix::net::sockopt::socket_acceptconn(fd).ok()? => {
            Transport::Stream
        }
        SocketType::DGRAM => Transport::Datagram,
        _ => return None,
    };
    let address = socket2::SockRef::from(&fd).local_addr().ok()?;
    let address = match (address.as_socket(), address.as_pathname()) {
        (Some(ip), _) => ListenAddr::Ip(ip),
        (None, Some(path)) if transport == Transport::Stream => ListenAddr::Unix(path.to_owned()),
        _ => return None,
    };
    Some((transport, address))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_is_read_as_sd_listen_fds_does() {
        let named = |list: &[(RawFd, &str)]| -> Vec<(RawFd, String)> {
            list.iter()
                .map(|(fd, name)| (*fd, (*name).to_owned()))
                .collect()
        };
        let table = [
            (
                Some("7"),
                Some("2"),
                Some("web:dns"),
                named(&[(3, "web"), (4, "dns")]),
            ),
            (
                Some("7"),
                Some("2"),
                Some("web"),
                named(&[(3, "web"), (4, "unknown")]),
            ),
            (Some("7"), Some("1"), None, named(&[(3, "unknown")])),
            (Some("8"), Some("1"), None, vec![]),
            (Some("x"), Some("1"), None, vec![]),
            (None, Some("1"), None, vec![]),
            (Some("7"), Some("-1"), None, vec![]),
            (Some("7"), Some("many"), None, vec![]),
            (Some("7"), None, None, vec![]),
        ];
        for (pid, count, names, expected) in table {
            assert_eq!(
                passed(pid, count, names, 7),
                expected,
                "{pid:?} {count:?} {names:?}"
            );
        }
        assert_eq!(passed(Some("7"), Some("2000000000"), None, 7).len(), 4096);
    }
}
