//! SQLite: one writer thread that commits in groups, and a pool of readers.

mod readers;
mod session;
mod writer;

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

pub(crate) use readers::Readers;
pub(crate) use session::SqliteSession;
pub(crate) use writer::Writer;

use crate::StoreError;
use crate::database::Lock;
use crate::files::open_private;

/// Prepared statements that each connection remembers.
const STATEMENTS: usize = 256;

/// An open database file.
pub(crate) struct Sqlite {
    pub(crate) path: PathBuf,
    pub(crate) writer: Writer,
    pub(crate) readers: Readers,
    _lock: Lock,
}

impl Sqlite {
    pub(crate) fn open(path: &Path, lock: Lock) -> Result<Self, StoreError> {
        // Made before SQLite makes it, so that it and the journals beside it are private.
        open_private(path)?;
        // The writer first: it is the one that makes the file and turns WAL on.
        let writer = Writer::start(connect(path, true)?)?;
        let readers = Readers::open(path)?;
        Ok(Self {
            path: path.to_owned(),
            writer,
            readers,
            _lock: lock,
        })
    }
}

/// Opens one connection, for writing or for reading only.
pub(crate) fn connect(path: &Path, write: bool) -> Result<Connection, StoreError> {
    let access = if write {
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE
    } else {
        // Not READ_ONLY: a reader may have to recover the WAL's index after a crash.
        OpenFlags::SQLITE_OPEN_READ_WRITE
    };
    let connection = Connection::open_with_flags(path, access | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    // Another process (a backup, an operator's sqlite3) may hold the file for a moment.
    connection.busy_timeout(Duration::from_secs(10))?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    if write {
        connection.pragma_update_and_check(None, "journal_mode", "WAL", |row| {
            let mode: String = row.get(0)?;
            tracing::debug!(mode, "sqlite journal");
            Ok(())
        })?;
        // FULL fsyncs the WAL at each commit, which is what makes an acknowledged write durable;
        // NORMAL would lose the last commits with the machine's power.
        connection.pragma_update(None, "synchronous", "FULL")?;
    } else {
        connection.pragma_update(None, "query_only", true)?;
    }
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    connection.pragma_update(None, "cache_size", -8192)?;
    Ok(connection)
}
