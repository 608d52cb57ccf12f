//! Handlers by TLS application protocol, so that one TLS port can serve many protocols.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc};

use arc_swap::ArcSwap;
use omnid_net::{Permit, TlsSocket};

/// What is known of a stream that is handed over after its TLS handshake.
pub struct StreamContext {
    /// The client, after the PROXY protocol.
    pub peer: SocketAddr,
    /// The address the connection came in on.
    pub local: SocketAddr,
    /// The listener's name, for logs.
    pub listener: Arc<str>,
    /// Counts the connection until it is dropped.
    pub permit: Permit,
}

/// Takes over a decrypted stream whose client negotiated the handler's protocol.
pub trait StreamHandler: Send + Sync {
    /// Takes the stream and returns at once; the handler runs it in a task of its own service.
    fn take(&self, stream: TlsSocket, context: StreamContext);
}

/// Handlers by ALPN protocol id (RFC 7301), such as `xmpp-client` or `dot`.
#[derive(Default)]
pub struct Alpn {
    handlers: ArcSwap<BTreeMap<&'static str, Arc<dyn StreamHandler>>>,
}

impl Alpn {
    /// Offers a handler for a protocol; a later offer takes the place of an earlier one.
    pub fn offer(&self, protocol: &'static str, handler: &Arc<dyn StreamHandler>) {
        self.handlers.rcu(|handlers| {
            let mut handlers = BTreeMap::clone(handlers);
            handlers.insert(protocol, handler.clone());
            handlers
        });
    }

    /// Takes a protocol's handler away.
    pub fn withdraw(&self, protocol: &str) {
        self.handlers.rcu(|handlers| {
            let mut handlers = BTreeMap::clone(handlers);
            handlers.remove(protocol);
            handlers
        });
    }

    /// The handler for what a client negotiated.
    #[must_use]
    pub fn find(&self, protocol: &[u8]) -> Option<Arc<dyn StreamHandler>> {
        let protocol = std::str::from_utf8(protocol).ok()?;
        self.handlers.load().get(protocol).cloned()
    }

    /// The protocols on offer, for a listener's ALPN list.
    #[must_use]
    pub fn protocols(&self) -> Vec<&'static str> {
        self.handlers.load().keys().copied().collect()
    }
}
