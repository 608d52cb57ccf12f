//! Closing so that the peer reads what we said last.
//!
//! Linux answers `close` on a socket with unread bytes by a reset, and a reset makes the peer's
//! kernel throw away what it had not yet read: our alert, or just our FIN. So: end our side, read
//! the rest, and only then close. How long, how much and how many at once is bounded.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Semaphore;

use crate::Socket;

/// Sockets that may linger at once. Past it they are closed the hard way.
const AT_ONCE: usize = 256;
const AT_MOST: Duration = Duration::from_secs(1);
const BYTES: usize = 64 * 1024;

static PLACES: Semaphore = Semaphore::const_new(AT_ONCE);

/// Sends `last`, ends our side, and closes when the peer has ended its own (or a second is over).
/// Returns at once.
pub(crate) fn close(mut socket: Socket, last: &'static [u8]) {
    let Ok(place) = PLACES.try_acquire() else {
        // Closed without waiting: what fits is still sent, and perhaps read.
        drop(socket.try_write(last));
        return;
    };
    tokio::spawn(async move {
        // Whether the peer ends in order or not, the socket is dropped; there is no one to tell.
        drop(tokio::time::timeout(AT_MOST, part(&mut socket, last)).await);
        drop(place);
    });
}

async fn part(socket: &mut Socket, last: &[u8]) -> std::io::Result<()> {
    socket.write_all(last).await?;
    socket.shutdown().await?;
    let mut left = BYTES;
    let mut buffer = [0; 1024];
    while left > 0 {
        match socket.read(&mut buffer).await? {
            0 => break,
            read => left = left.saturating_sub(read),
        }
    }
    Ok(())
}
