//! A pool of reading connections. In WAL mode readers see the last commit and never wait for the
//! writer.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::Connection;
use tokio::sync::Semaphore;

use super::{SqliteSession, connect};
use crate::database::{Waiting, caught};
use crate::{Reader, StoreError};

/// Reading connections, and so reads under way at once.
const READERS: usize = 4;

#[derive(Clone)]
pub(crate) struct Readers {
    idle: Arc<Mutex<Vec<Connection>>>,
    permits: Arc<Semaphore>,
    waiting: Waiting,
}

impl Readers {
    pub(super) fn open(path: &Path) -> Result<Self, StoreError> {
        let idle = (0..READERS)
            .map(|_| connect(path, false))
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Self {
            idle: Arc::new(Mutex::new(idle)),
            permits: Arc::new(Semaphore::new(READERS)),
            waiting: Waiting::default(),
        })
    }

    pub(crate) async fn read<T, F>(&self, mut read: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnMut(&mut Reader<'_>) -> Result<T, StoreError> + Send + 'static,
    {
        let permit = self.waiting.acquire(&self.permits).await?;
        let idle = Arc::clone(&self.idle);
        let work = move || {
            let _permit = permit;
            let Some(connection) = lock(&idle).pop() else {
                return Err(StoreError::Closed);
            };
            let outcome = snapshot(&connection, &mut read);
            lock(&idle).push(connection);
            outcome
        };
        tokio::task::spawn_blocking(work)
            .await
            .map_err(|_| StoreError::Closed)?
    }

    /// Closes the idle connections; no read begins after this.
    pub(crate) async fn close(&self) {
        // With every permit in hand, no read is under way.
        if let Ok(permits) = self.permits.acquire_many(READERS as u32).await {
            permits.forget();
        }
        self.permits.close();
        lock(&self.idle).clear();
    }
}

/// Runs the closure in a read transaction, so that all its queries see one state.
fn snapshot<T>(
    connection: &Connection,
    read: &mut impl FnMut(&mut Reader<'_>) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    connection.prepare_cached("BEGIN")?.raw_execute()?;
    let outcome = caught(|| read(&mut Reader::new(&mut SqliteSession(connection))));
    if !connection.is_autocommit() {
        connection.prepare_cached("ROLLBACK")?.raw_execute()?;
    }
    outcome
}

fn lock(idle: &Mutex<Vec<Connection>>) -> std::sync::MutexGuard<'_, Vec<Connection>> {
    idle.lock().unwrap_or_else(PoisonError::into_inner)
}
