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
    progress: watch::Sender<Progress>,
    wanted: Notify,
}

#[derive(Debug, Clone, Copy, Default)]
struct Progress {
    /// The place up to which all is written down.
    up_to: u64,
    /// How often it could not be.
    failures: u64,
}

impl Written {
    /// Has the change at `place` written down; false if that failed, or did not happen in time.
    pub(super) async fn wait(&self, place: u64) -> bool {
        let mut progress = self.progress.subscribe();
        let before = progress.borrow_and_update().failures;
        self.wanted.notify_one();
        let over = |now: &Progress| now.up_to >= place || now.failures > before;
        match timeout(PATIENCE, progress.wait_for(over)).await {
            Ok(Ok(now)) => now.up_to >= place,
            Ok(Err(_)) | Err(_) => false,
        }
    }

    /// Resolves when somebody waits.
    pub(crate) async fn wanted(&self) {
        self.wanted.notified().await;
    }

    /// Everything up to `place` is written down.
    pub(crate) fn reached(&self, place: u64) {
        self.progress
            .send_modify(|progress| progress.up_to = place.max(progress.up_to));
    }

    /// Something could not be written down: whoever waits need not wait for the next attempt.
    pub(crate) fn failed(&self) {
        self.progress.send_modify(|progress| progress.failures += 1);
    }
}
