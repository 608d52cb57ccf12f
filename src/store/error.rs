//! What can go wrong between a caller and the database.

use std::error::Error;

/// Why the store did not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The URL in the `[store]` section is not one we know.
    #[error("store url {url:?}: {reason}")]
    Url { url: String, reason: String },
    /// A file could not be read or written.
    #[error("{context}")]
    Io {
        context: String,
        source: std::io::Error,
    },
    /// The database's file could not be opened, or made.
    #[error("cannot open {path}: {reason}")]
    Open { path: String, reason: String },
    /// SQLite refused.
    #[error("sqlite: {0}")]
    Sqlite(#[from] rusqlite::Error),
    /// PostgreSQL refused, or could not be reached.
    #[error("postgresql: {}", postgres_text(.0))]
    Postgres(#[from] tokio_postgres::Error),
    /// The connection was lost while the answer to COMMIT was awaited: the write may have happened.
    #[error(
        "connection to the database lost during commit; the write may or may not have happened"
    )]
    OutcomeUnknown,
    /// A unique or foreign key constraint stands against the write.
    #[error("constraint: {0}")]
    Constraint(String),
    /// A statement of the transaction had failed, and the closure went on.
    #[error("a statement of this transaction failed before")]
    Aborted,
    /// Too much work is waiting already.
    #[error("the database is busy: {0}")]
    Busy(&'static str),
    /// The database has been closed, or its thread has ended.
    #[error("the database is closed")]
    Closed,
    /// A closure given to `read` or `write` panicked; its writes were rolled back.
    #[error("a database closure panicked: {0}")]
    Panicked(String),
    /// A batch of writes could not be committed.
    #[error("commit failed: {0}")]
    Commit(String),
    /// The database was written by a newer omnid.
    #[error(
        "the database is newer than this omnid: {component} has schema version {found}, and this \
         omnid knows versions up to {known}; run the newer omnid, or restore an older backup"
    )]
    Newer {
        component: String,
        found: u32,
        known: u32,
    },
    /// Migrations do not fit what the database says was applied.
    #[error("schema of {component}: {reason}")]
    Migration { component: String, reason: String },
    /// A column did not hold what the query's reader expected.
    #[error("column {column}: expected {expected}, found {found}")]
    Type {
        column: usize,
        expected: &'static str,
        found: &'static str,
    },
    /// A backup archive is not one, or is damaged.
    #[error("archive {path}: {reason}")]
    Archive { path: String, reason: String },
    /// There is something already where a restore would write.
    #[error("{0} is not empty; a restore would replace what is there")]
    NotEmpty(String),
    /// What a closure itself wants to say; its writes are rolled back.
    #[error("{0}")]
    Other(Box<dyn Error + Send + Sync>),
}

impl StoreError {
    /// Wraps a caller's own reason to roll back.
    pub fn other(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Other(error.into())
    }

    pub(crate) fn io(context: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let context = context.into();
        move |source| Self::Io {
            context: format!("{context}: {source}"),
            source,
        }
    }

    /// Whether a unique, foreign key or check constraint stood in the way.
    pub fn is_constraint(&self) -> bool {
        matches!(self, Self::Constraint(_))
    }
}

/// The server's own message: `tokio_postgres::Error` prints only "db error".
fn postgres_text(error: &tokio_postgres::Error) -> String {
    match error.as_db_error() {
        Some(db) => format!("{} ({})", db.message(), db.code().code()),
        None => match error.source() {
            Some(source) => format!("{error}: {source}"),
            None => error.to_string(),
        },
    }
}
