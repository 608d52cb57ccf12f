//! The face that both engines share.

use std::fs::{File, TryLockError};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::archive::{self, Archive, BackupReport, Verification};
use crate::blobs::Blobs;
use crate::files::{make_private_dir, open_private};
use crate::migration::{self, Dialect};
use crate::postgres::{Postgres, without_password};
use crate::sqlite::Sqlite;
use crate::{Migration, Reader, StoreConfig, StoreError, Transaction};

/// The store's own tables.
pub(crate) const COMPONENT: &str = "store";
const MIGRATIONS: &[Migration] = &[Migration {
    version: 1,
    sql: include_str!("data/1.sql"),
}];

/// A handle to the database; clones share it.
#[derive(Clone)]
pub struct Database {
    inner: Arc<Inner>,
}

struct Inner {
    engine: Engine,
    blobs: Blobs,
    data_dir: PathBuf,
}

pub(crate) enum Engine {
    Sqlite(Sqlite),
    Postgres(Postgres),
}

impl Engine {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Sqlite(_) => "sqlite",
            Self::Postgres(_) => "postgresql",
        }
    }
}

/// What SQLite says of a file, with the file, and with what it does not say: "disk I/O error" is
/// also what it calls a lack of room.
fn opening(path: &Path, error: StoreError) -> StoreError {
    let StoreError::Sqlite(reason) = &error else {
        return error;
    };
    let room = path
        .parent()
        .and_then(|parent| rustix::fs::statvfs(parent).ok())
        .map_or(u64::MAX, |system| {
            system.f_bavail.saturating_mul(system.f_frsize)
        });
    let mut reason = reason.to_string();
    if room < 64 * 1024 {
        reason += "; its file system is full";
    }
    StoreError::Open {
        path: path.display().to_string(),
        reason,
    }
}

impl Database {
    /// Opens the database that `config` names; a SQLite file without a path of its own lies in
    /// `data_dir`, which is made if it is not there.
    pub async fn open(config: &StoreConfig, data_dir: &Path) -> Result<Self, StoreError> {
        let place = Place::parse(&config.url, data_dir)?;
        let data_dir = data_dir.to_owned();
        let directory = data_dir.clone();
        let blobs = blocking(move || Blobs::open(&directory)).await?;
        let mut file = None;
        let engine = match place {
            Place::Sqlite(path) => {
                let path = file.insert(path).clone();
                let open = move || {
                    if let Some(parent) = path.parent() {
                        make_private_dir(parent)?;
                    }
                    let opened = Sqlite::open(&path, Lock::shared(&path)?);
                    opened.map_err(|error| opening(&path, error))
                };
                Engine::Sqlite(blocking(open).await?)
            }
            Place::Postgres(url) => Engine::Postgres(Postgres::open(&url, config).await?),
        };
        let database = Self {
            inner: Arc::new(Inner {
                engine,
                blobs,
                data_dir,
            }),
        };
        // The first write: a disk that is full shows here at the latest.
        let prepared = database.prepare().await;
        prepared.map_err(|error| match &file {
            Some(path) => opening(path, error),
            None => error,
        })?;
        database.migrate(COMPONENT, MIGRATIONS).await?;
        Ok(database)
    }

    /// Makes the table of migrations.
    async fn prepare(&self) -> Result<(), StoreError> {
        let dialect = self.dialect();
        self.write(move |tx| migration::prepare(tx, dialect)).await
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
            Engine::Postgres(postgres) => postgres.write(write).await,
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
            Engine::Postgres(postgres) => postgres.read(read).await,
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
            Engine::Postgres(postgres) => postgres.close().await,
        }
    }

    /// The files beside the database.
    pub fn blobs(&self) -> &Blobs {
        &self.inner.blobs
    }

    /// Writes everything into an archive: a new directory at `to`. Reads and writes go on
    /// meanwhile; the archive shows the state at one moment.
    pub async fn backup(&self, to: &Path) -> Result<BackupReport, StoreError> {
        archive::backup(self, to).await
    }

    /// Puts an archive in the place that `config` and `data_dir` name, of either engine. Unless
    /// `force`, that place must be empty. Nobody may have it open.
    pub async fn restore(
        from: &Path,
        config: &StoreConfig,
        data_dir: &Path,
        force: bool,
    ) -> Result<Verification, StoreError> {
        archive::restore(from, config, data_dir, force).await
    }

    /// Checks an archive, without touching anything.
    pub async fn verify_archive(path: &Path) -> Result<Verification, StoreError> {
        let path = path.to_owned();
        blocking(move || Archive::open(&path)?.verify()).await
    }

    /// Checks the database and every blob that it refers to.
    pub async fn verify(&self) -> Result<Verification, StoreError> {
        archive::verify(self).await
    }

    /// What is to be done now and then, say once an hour: removes blobs that nothing refers to.
    pub async fn maintain(&self) -> Result<(), StoreError> {
        let removed = self.inner.blobs.sweep(self).await?;
        if removed > 0 {
            tracing::info!(removed, "unreferenced blobs removed");
        }
        Ok(())
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.inner.engine
    }

    /// The directory that files beside the database are kept in.
    pub fn data_dir(&self) -> &Path {
        &self.inner.data_dir
    }

    fn dialect(&self) -> Dialect {
        match self.inner.engine {
            Engine::Sqlite(_) => Dialect::Sqlite,
            Engine::Postgres(_) => Dialect::Postgres,
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
                url: without_password(url),
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

/// Tells `omnid restore` that somebody has the SQLite file open, and everybody that a restore is
/// under way. The kernel lets go of it however the process ends.
pub(crate) struct Lock(#[allow(dead_code, reason = "held, not read")] File);

impl Lock {
    fn shared(database: &Path) -> Result<Self, StoreError> {
        Self::take(
            database,
            File::try_lock_shared,
            "the database is being restored",
        )
    }

    pub(crate) fn exclusive(database: &Path) -> Result<Self, StoreError> {
        Self::take(
            database,
            File::try_lock,
            "the database is in use; stop omnid first",
        )
    }

    fn take(
        database: &Path,
        lock: fn(&File) -> Result<(), TryLockError>,
        busy: &'static str,
    ) -> Result<Self, StoreError> {
        let mut path = database.as_os_str().to_owned();
        path.push(".lock");
        let path = Path::new(&path);
        let file = open_private(path)?;
        match lock(&file) {
            Ok(()) => Ok(Self(file)),
            Err(TryLockError::WouldBlock) => Err(StoreError::Busy(busy)),
            Err(TryLockError::Error(error)) => Err(StoreError::io(format!(
                "cannot lock {}",
                path.display()
            ))(error)),
        }
    }
}

pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| StoreError::Closed)?
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
