//! Messages on their way into archives: gathered while the last batch is being written, then
//! written together. A client hears that its message was handled only when it is on disk.

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use omnid_store::Database;
use omnid_supervisor::{Child, ChildResult};
use omnid_telemetry::limited;
use tokio::sync::{Notify, watch};

use crate::{
    data::{self, archive::Entry},
    wire::time,
};

/// Bytes that may wait to be written, before senders are told to wait.
const WAITING: usize = 64 * 1024 * 1024;
/// Between two attempts to write what could not be written.
const AGAIN: Duration = Duration::from_secs(1);
/// How long anybody waits for a batch.
const PATIENCE: Duration = Duration::from_secs(30);

/// What waits to be written.
pub(crate) struct Archive {
    /// The id that was given last.
    last: AtomicU64,
    state: Mutex<State>,
    appended: Notify,
    /// How many entries have been written.
    written: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    waiting: Vec<Entry>,
    bytes: usize,
    /// How many entries there have been.
    count: u64,
}

impl Archive {
    /// An archive in which the last entry has the id `last`.
    pub(crate) fn new(last: u64) -> Archive {
        Archive {
            last: AtomicU64::new(last),
            state: Mutex::default(),
            appended: Notify::new(),
            written: watch::Sender::new(0),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The id of the next entry: the time, and more than any before.
    pub(crate) fn next_id(&self) -> u64 {
        let now = time::micros(SystemTime::now());
        let next = |last: u64| Some(now.max(last.saturating_add(1)));
        let last = self
            .last
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
        let (Ok(last) | Err(last)) = last;
        now.max(last.saturating_add(1))
    }

    /// Whether there is room for more.
    pub(crate) fn has_room(&self) -> bool {
        self.state().bytes < WAITING
    }

    /// Takes an entry; the number to wait for ([`Archive::settled`]).
    pub(crate) fn append(&self, entry: Entry) -> u64 {
        let count = {
            let mut state = self.state();
            state.bytes += entry.stanza.len();
            state.waiting.push(entry);
            state.count += 1;
            state.count
        };
        self.appended.notify_one();
        count
    }

    /// How many entries there have been.
    pub(crate) fn count(&self) -> u64 {
        self.state().count
    }

    /// Whether all entries up to number `count` have been written.
    pub(crate) fn is_settled(&self, count: u64) -> bool {
        *self.written.borrow() >= count
    }

    /// Returns when all entries up to number `count` are on disk: `false` if they are not in the
    /// time that anybody waits.
    pub(crate) async fn settled(&self, count: u64) -> bool {
        if self.is_settled(count) {
            return true;
        }
        let mut written = self.written.subscribe();
        let reached = written.wait_for(|written| *written >= count);
        matches!(tokio::time::timeout(PATIENCE, reached).await, Ok(Ok(_)))
    }

    /// Writes what waits. Whether it could.
    pub(crate) async fn flush(&self, database: &Database) -> bool {
        let batch = {
            let mut state = self.state();
            state.bytes = 0;
            std::mem::take(&mut state.waiting)
        };
        if batch.is_empty() {
            return true;
        }
        let entries: std::sync::Arc<[Entry]> = batch.into();
        let writing = entries.clone();
        let done = database
            .write(move |tx| data::archive::append(tx, &writing))
            .await;
        match done {
            Ok(()) => {
                let more = entries.len() as u64;
                self.written.send_modify(|written| *written += more);
                true
            }
            Err(error) => {
                limited!(Duration::from_secs(10), error, "messages were not archived", %error);
                let mut state = self.state();
                let newer = std::mem::take(&mut state.waiting);
                state.waiting = entries.to_vec();
                state.waiting.extend(newer);
                state.bytes = state.waiting.iter().map(|entry| entry.stanza.len()).sum();
                false
            }
        }
    }

    /// Writes whatever comes, until the service drains and nothing is left.
    pub(crate) async fn run(&self, database: Database, child: Child) -> ChildResult {
        child.ready();
        loop {
            tokio::select! {
                () = self.appended.notified() => {}
                () = child.draining() => break,
            }
            if !self.flush(&database).await {
                tokio::time::sleep(AGAIN).await;
                self.appended.notify_one();
            }
        }
        self.flush(&database).await;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_the_time_and_never_the_same() {
        let archive = Archive::new(0);
        let first = archive.next_id();
        let now = time::micros(SystemTime::now());
        assert!(now - first < 10_000_000);
        assert!(
            (0..1000)
                .map(|_| archive.next_id())
                .is_sorted_by(|a, b| a < b)
        );
        // A clock that was set back.
        let ahead = now + 3_600_000_000;
        let archive = Archive::new(ahead);
        assert_eq!(archive.next_id(), ahead + 1);
        assert_eq!(archive.next_id(), ahead + 2);
    }
}
