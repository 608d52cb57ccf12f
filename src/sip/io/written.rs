//! How far changes of registrations are written down, and who waits for that.

use std::time::Duration;

use tokio::{
    sync::{Notify, watch},
    time::timeout,
};

/// How long a registration may wait to be written down. The engine waits no longer either.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Default)]
pub(crate) struct Written {
    /// The place up to which all is.
    up_to: watch::Sender<u64>,
    wanted: Notify,
}

impl Written {
    /// Has the change at `place` written down; false if that did not happen in time.
    pub(super) async fn wait(&self, place: u64) -> bool {
        self.wanted.notify_one();
        let mut up_to = self.up_to.subscribe();
        let reached = timeout(PATIENCE, up_to.wait_for(|up_to| *up_to >= place));
        matches!(reached.await, Ok(Ok(_)))
    }

    /// Resolves when somebody waits.
    pub(crate) async fn wanted(&self) {
        self.wanted.notified().await;
    }

    /// Everything up to `place` is written down.
    pub(crate) fn reached(&self, place: u64) {
        self.up_to.send_if_modified(|up_to| {
            let further = place > *up_to;
            *up_to = place.max(*up_to);
            further
        });
    }
}
