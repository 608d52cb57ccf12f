//! Tells secondaries of changes, over UDP from sockets of its own.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use omnid_supervisor::{Child, ChildResult};
use tokio::net::UdpSocket;
use tokio::sync::{Mutex, mpsc};
use tracing::{debug, info, warn};

use super::unix_time;
use crate::engine::notify::{Heard, Notifier};
use crate::engine::tsig::Key;
use crate::wire::code::Rcode;
use crate::wire::name::Name;

/// A zone has changed.
#[derive(Debug)]
pub(crate) struct News {
    pub(crate) zone: Name,
    pub(crate) secondaries: Vec<SocketAddr>,
    pub(crate) key: Option<Arc<Key>>,
}

/// Answers are headers with a question.
const MAX_ANSWER: usize = 1232;

/// How long secondaries may wait for our own listeners.
const PATIENCE: Duration = Duration::from_secs(10);

/// Runs until the child is to stop. News outlives a restart in its queue. Nobody is told before
/// `listening`: a secondary that hears of a change and then finds no server here believes the
/// server dead, and leaves it alone for long minutes.
pub(crate) async fn notify(
    child: Child,
    queue: &Mutex<mpsc::Receiver<News>>,
    listening: impl Future<Output = bool>,
) -> ChildResult {
    let mut queue = queue.lock().await;
    let mut notifier = Notifier::default();
    let v4 = UdpSocket::bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0))).await?;
    // A host may be without IPv6; its secondaries then have no IPv6 address either.
    let v6 = UdpSocket::bind(SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)))
        .await
        .ok();
    child.ready();
    tokio::select! {
        _listening_or_late = tokio::time::timeout(PATIENCE, listening) => {}
        () = child.draining() => return Ok(()),
    }
    let (mut from_v4, mut from_v6) = ([0u8; MAX_ANSWER], [0u8; MAX_ANSWER]);
    loop {
        let wait = notifier.next().map_or(Duration::MAX, |next| {
            next.saturating_duration_since(Instant::now())
        });
        tokio::select! {
            news = queue.recv() => match news {
                None => return Ok(()),
                Some(News { zone, secondaries, key }) => {
                    let now = Instant::now();
                    notifier.changed(&zone, &secondaries, key.as_ref(), now, random);
                }
            },
            () = tokio::time::sleep(wait.min(Duration::from_secs(3600))) => {}
            received = v4.recv_from(&mut from_v4) => if let Ok((length, from)) = received {
                report(notifier.received(from, from_v4.get(..length).unwrap_or_default(), unix_time().into()));
            },
            received = receive(v6.as_ref(), &mut from_v6) => if let Ok((length, from)) = received {
                report(notifier.received(from, from_v6.get(..length).unwrap_or_default(), unix_time().into()));
            },
            () = child.draining() => return Ok(()),
        }
        let (sends, lost) = notifier.due(Instant::now(), unix_time().into());
        for send in sends {
            let socket = match send.to.ip() {
                IpAddr::V4(_) => Some(&v4),
                IpAddr::V6(_) => v6.as_ref(),
            };
            let Some(socket) = socket else { continue };
            if let Err(error) = socket.send_to(&send.message, send.to).await {
                debug!(to = %send.to, %error, "notify not sent; trying again");
            }
        }
        lost.into_iter().for_each(|lost| report(Some(lost)));
    }
}

async fn receive(
    socket: Option<&UdpSocket>,
    buffer: &mut [u8],
) -> std::io::Result<(usize, SocketAddr)> {
    match socket {
        Some(socket) => socket.recv_from(buffer).await,
        None => std::future::pending().await,
    }
}

fn report(heard: Option<Heard>) {
    match heard {
        None => {}
        Some(Heard::Answered { zone, by, code: 0 }) => {
            info!(%zone, secondary = %by, "secondary heard of the change");
        }
        Some(Heard::Answered { zone, by, code }) => {
            let rcode = Rcode(code.into());
            warn!(%zone, secondary = %by, %rcode, "secondary refuses to hear of changes");
        }
        Some(Heard::GaveUp { zone, by }) => {
            warn!(%zone, secondary = %by, "secondary does not answer; it will see the change only \
                when it asks by itself");
        }
    }
}

/// Numbers that a forger cannot guess.
fn random() -> u16 {
    let mut octets = [0u8; 2];
    crate::random(&mut octets);
    u16::from_be_bytes(octets)
}
