//! Connections that negotiated `dot` on a port of another service.

use std::sync::Arc;

use omnid_hub::{StreamContext, StreamHandler};
use omnid_net::TlsSocket;
use omnid_supervisor::{Child, ChildResult};
use tokio::sync::{Mutex, mpsc};

use super::{Shared, dot};

/// Connections that another service's port took in and that wait to be served.
const HANDED: usize = 256;

/// The queue, and who fills it.
pub(crate) fn queue() -> (Arc<dyn StreamHandler>, Handed) {
    let (sender, receiver) = mpsc::channel(HANDED);
    (Arc::new(Handler(sender)), Handed(Mutex::new(receiver)))
}

/// What waits to be served; it outlives a restart of the child that serves it.
pub(crate) struct Handed(Mutex<mpsc::Receiver<(TlsSocket, StreamContext)>>);

impl Handed {
    /// Serves what comes until the service drains.
    pub(crate) async fn serve(&self, shared: &Arc<Shared>, child: &Child) -> ChildResult {
        let mut handed = self.0.lock().await;
        child.ready();
        loop {
            tokio::select! {
                next = handed.recv() => {
                    let Some((socket, context)) = next else { return Ok(()) };
                    let StreamContext { peer, local, listener, permit, .. } = context;
                    let (shared, own) = (shared.clone(), child.clone());
                    let span = tracing::info_span!("connection", %listener, %peer);
                    child.spawn("connection", span, async move {
                        let _permit = permit;
                        dot(shared, own, socket, (peer, local), listener).await
                    });
                }
                () = child.draining() => return Ok(()),
            }
        }
    }
}

struct Handler(mpsc::Sender<(TlsSocket, StreamContext)>);

impl StreamHandler for Handler {
    fn take(&self, stream: TlsSocket, context: StreamContext) {
        // A full queue closes the connection, as a full listen queue would.
        if self.0.try_send((stream, context)).is_err() {
            tracing::debug!("too many connections handed over at once");
        }
    }
}
