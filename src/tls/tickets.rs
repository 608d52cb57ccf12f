//! Session tickets: one rotating key for all listeners, but a session resumes only where the same
//! is asked of clients.

use std::fmt;
use std::sync::Arc;

use rustls::server::ProducesTickets;

/// A ticketer that binds each ticket to a policy on client certificates.
///
/// With a bare shared ticketer a client could open a session where no certificate is asked, and
/// resume it where one is required: rustls checks client certificates in full handshakes only.
pub(crate) struct Bound {
    pub(crate) shared: Arc<dyn ProducesTickets>,
    pub(crate) policy: Arc<dyn Fn() -> [u8; POLICY] + Send + Sync>,
}

/// Bytes of a policy's mark.
pub(crate) const POLICY: usize = 16;

impl ProducesTickets for Bound {
    fn enabled(&self) -> bool {
        self.shared.enabled()
    }

    fn lifetime(&self) -> u32 {
        self.shared.lifetime()
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let marked = [&(self.policy)()[..], plain].concat();
        self.shared.encrypt(&marked)
    }

    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        let marked = self.shared.decrypt(cipher)?;
        // The ticket is authentic here, so that the comparison hides nothing.
        marked
            .strip_prefix(&(self.policy)()[..])
            .map(<[u8]>::to_vec)
    }
}

impl fmt::Debug for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Bound")
    }
}
