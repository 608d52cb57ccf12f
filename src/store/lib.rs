//! What omnid keeps: SQL for facts, files for bytes.
//!
//! [`Database`] is one thin face over two engines, chosen by the `[store]` section's URL: SQLite,
//! compiled in, for one node with nothing else to run; or PostgreSQL. Schema, migrations and
//! queries are written once, in the subset of SQL that both speak:
//!
//! - placeholders are `$1`, `$2`, … and may repeat;
//! - column types, in capitals, are `INTEGER` or `BIGINT` (64 bits either way), `DOUBLE PRECISION`, `TEXT`
//!   (compared byte by byte), `{blob}` for bytes and `{serial}` for a key that counts itself;
//! - flags are integers 0 and 1;
//! - `INSERT … ON CONFLICT (…) DO UPDATE SET x = excluded.x` and `… RETURNING id` work on both.
//!
//! Each crate owns its tables, and names them with its own prefix (`identity_accounts`); no other
//! crate writes SQL about them.
//!
//! A write is a closure. It is durable when [`Database::write`] returns, and it may be run more
//! than once before that, so it must have no effect other than through its transaction. It reads
//! and writes as if it were alone. A statement that fails ends its transaction, so a unique key
//! that may be taken is asked for with `ON CONFLICT DO NOTHING` or looked up first.

mod archive;
mod blobs;
mod config;
mod database;
mod error;
mod files;
mod migration;
mod postgres;
mod sqlite;
mod transaction;
mod value;

pub use archive::{BackupReport, Verification};
pub use blobs::{BlobId, BlobIdError, BlobWriter, Blobs};
pub use config::StoreConfig;
pub use database::Database;
pub use error::StoreError;
pub use migration::Migration;
pub use transaction::{Reader, Transaction};
pub use value::{FromValue, Row, Value};
