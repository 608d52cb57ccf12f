//! Closing so that the last answer arrives.
//!
//! A socket that is closed with unread input is reset, and the reset may overtake the answer
//! (RFC 9112 section 9.6). So the write side is closed first, and what the client still sends is
//! read and thrown away for a while.

use std::{io, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    time::{Instant, timeout, timeout_at},
};

/// How long a client may go on sending after it was told to stop.
const WHOLE: Duration = Duration::from_secs(10);
/// How long it may be silent.
const SILENCE: Duration = Duration::from_secs(2);

/// Says `last`, closes the write side, and reads until the client has done the same.
pub(super) async fn close<S: AsyncRead + AsyncWrite + Unpin>(mut socket: S, last: &[u8]) {
    let deadline = Instant::now() + WHOLE;
    let goodbye = async {
        if !last.is_empty() {
            socket.write_all(last).await?;
        }
        socket.shutdown().await
    };
    // Whatever goes wrong here, the connection is over either way.
    if !matches!(timeout(SILENCE, goodbye).await, Ok(Ok(()))) {
        return;
    }
    let mut discarded = vec![0; 4096];
    loop {
        let wait = deadline.min(Instant::now() + SILENCE);
        let read: Result<io::Result<usize>, _> =
            timeout_at(wait, socket.read(&mut discarded)).await;
        if !matches!(read, Ok(Ok(1..))) {
            return;
        }
    }
}
