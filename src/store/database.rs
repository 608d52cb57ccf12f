//! The face that both engines share.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::migration::{self, Dialect};
use crate::sqlite::Sqlite;
use crate::{Migration, Reader, StoreConfig, StoreError, Transaction};

/// A handle to the database; clones share it.
#[derive(Clone)]
pub struct Database {
    inner: Arc<Inner>,
}

struct Inner {
    engine: Engine,
    data_dir: PathBuf,
}

enum Engine {
    Sqlite(Sqlite),
}

impl Database {
    /// Opens the database that `config` names; a SQLite file without a path of its own lies in
    /// `data_dir`, which is made if it is not there.
    pub async fn open(config: &StoreConfig, data_dir: &Path) -> Result<Self, StoreError> {
        let place = Place::parse(&config.url, data_dir)?;
        let data_dir = data_dir.to_owned();
        let engine = match place {
            Place::Sqlite(path) => {
                let open = move || {
                    if let Some(parent) = path.parent() {
                        make_private_dir(parent)?;
                    }
                    Sqlite::open(&path)
                };
                let opened = tokio::task::spawn_blocking(open).await;
                Engine::Sqlite(opened.map_err(|_| StoreError::Closed)??)
            }
            Place::Postgres(url) => {
                return Err(StoreError::Url {
                    url,
                    reason: "not yet".into(),
                });
            }
        };
        Ok(Self {
            inner: Arc::new(Inner { engine, data_dir }),
        })
    }

    /// Brings `component`'s tables up to the last of `migrations`. Refuses a database in which a
    /// newer omnid has gone further.
    pub async fn migrate(
        &self,
        component: &str,
        migrations: &'static [Migration],
    ) -> Result<(), StoreError> {
        let component = component.to_owned();
        let dialect = self.dialect();
        self.write(move |tx| migration::migrate(tx, dialect, &component, migrations))
            .await?;
        Ok(())
    }

    /// Runs `write` in a transaction. When this returns `Ok`, what it wrote is on the disk. An
    /// error or a panic in the closure rolls back what it did and nothing else.
    ///
    /// The closure may be run more than once (a conflict between two writes makes PostgreSQL refuse
    /// one of them), so it must not move out of what it captures. Once queued it runs, even if the
    /// caller stops waiting.
    pub async fn write<T, F>(&self, write: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnMut(&mut Transaction<'_>) -> Result<T, StoreError> + Send + 'static,
    {
        match &self.inner.engine {
            Engine::Sqlite(sqlite) => sqlite.writer.write(write).await,
        }
    }

    /// Runs `read` against one consistent snapshot of what is committed.
    pub async fn read<T, F>(&self, read: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnMut(&mut Reader<'_>) -> Result<T, StoreError> + Send + 'static,
    {
        match &self.inner.engine {
            Engine::Sqlite(sqlite) => sqlite.readers.read(read).await,
        }
    }

    /// Finishes the writes that are queued and closes. Whoever asks later gets
    /// [`StoreError::Closed`].
    pub async fn close(&self) {
        match &self.inner.engine {
            Engine::Sqlite(sqlite) => {
                sqlite.readers.close().await;
                sqlite.writer.close().await;
            }
        }
    }

    /// The directory that files beside the database are kept in.
    pub fn data_dir(&self) -> &Path {
        &self.inner.data_dir
    }

    fn dialect(&self) -> Dialect {
        match self.inner.engine {
            Engine::Sqlite(_) => Dialect::Sqlite,
        }
    }
}

/// What a `url` names.
pub(crate) enum Place {
    Sqlite(PathBuf),
    Postgres(String),
}

impl Place {
    pub(crate) fn parse(url: &str, data_dir: &Path) -> Result<Self, StoreError> {
        if url.starts_with("postgres://") || url.starts_with("postgresql://") {
            return Ok(Self::Postgres(url.to_owned()));
        }
        let refuse = |reason: &str| {
            Err(StoreError::Url {
                url: url.to_owned(),
                reason: reason.to_owned(),
            })
        };
        match url.strip_prefix("sqlite") {
            Some("") => Ok(Self::Sqlite(data_dir.join("omnid.db"))),
            Some(rest) => match rest.strip_prefix(':') {
                Some("") | None => refuse("expected sqlite:/path/to/file"),
                Some(path) => Ok(Self::Sqlite(data_dir.join(path))),
            },
            None => refuse("expected sqlite, sqlite:/path/to/file or postgres://…"),
        }
    }
}

/// Makes a directory that only its owner can look into: it holds password verifiers.
pub(crate) fn make_private_dir(path: &Path) -> Result<(), StoreError> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(StoreError::io(format!("cannot make {}", path.display())))
}

/// Runs a caller's closure so that its panic is an error of that closure alone.
pub(crate) fn caught<T>(run: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| {
        let text = panic
            .downcast_ref::<&str>()
            .map(|text| (*text).to_owned())
            .or_else(|| panic.downcast_ref::<String>().cloned())
            .unwrap_or_else(|| "no message".into());
        Err(StoreError::Panicked(text))
    })
}

/// A bounded line in front of a pool.
#[derive(Clone, Default)]
pub(crate) struct Waiting(Arc<AtomicUsize>);

/// Callers that may wait for a connection.
const LINE: usize = 4096;
/// How long each waits.
const PATIENCE: Duration = Duration::from_secs(10);

impl Waiting {
    pub(crate) async fn acquire(
        &self,
        permits: &Arc<Semaphore>,
    ) -> Result<OwnedSemaphorePermit, StoreError> {
        struct Place(Arc<AtomicUsize>);
        impl Drop for Place {
            fn drop(&mut self) {
                self.0.fetch_sub(1, Ordering::Relaxed);
            }
        }
        let before = self.0.fetch_add(1, Ordering::Relaxed);
        let _place = Place(Arc::clone(&self.0));
        if before >= LINE {
            return Err(StoreError::Busy("too many callers wait for a connection"));
        }
        tokio::time::timeout(PATIENCE, Arc::clone(permits).acquire_owned())
            .await
            .map_err(|_| StoreError::Busy("no connection became free in time"))?
            .map_err(|_| StoreError::Closed)
    }
}
