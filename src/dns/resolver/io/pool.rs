//! Connections to forwarders over TLS that wait for the next question: a handshake costs more
//! than many answers.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

/// Connections kept to one server.
const MAX_KEPT: usize = 8;
/// How long one is kept; servers close theirs after about as long.
const KEPT_FOR: Duration = Duration::from_secs(10);

/// Connections with the time they were last used.
type Kept = Vec<(Instant, TlsStream<TcpStream>)>;

/// The connections.
#[derive(Default)]
pub(crate) struct Pool(Mutex<HashMap<SocketAddr, Kept>>);

impl Pool {
    /// One that was used not long ago.
    pub(crate) fn take(&self, to: SocketAddr) -> Option<TlsStream<TcpStream>> {
        let mut pool = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = pool.get_mut(&to)?;
        kept.retain(|(used, _)| used.elapsed() < KEPT_FOR);
        kept.pop().map(|(_, stream)| stream)
    }

    /// Keeps one for later.
    pub(crate) fn give(&self, to: SocketAddr, stream: TlsStream<TcpStream>) {
        let mut pool = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = pool.entry(to).or_default();
        if kept.len() < MAX_KEPT {
            kept.push((Instant::now(), stream));
        }
    }

    /// Closes all of them.
    pub(crate) fn clear(&self) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
    }
}
