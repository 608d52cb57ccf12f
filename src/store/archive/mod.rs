//! Backups.
//!
//! An archive is a directory:
//!
//! ```text
//! manifest.json      what it is, and the size and SHA-256 of every other file
//! database.sqlite    every row, in SQLite's file format, whichever engine it came from
//! blobs/ab/abcd…     every blob that a row refers to
//! ```
//!
//! The database remembers the text of its migrations, so an archive brings its schema along, and
//! can be restored into either engine: a backup and a restore are also the way to move from SQLite
//! to PostgreSQL, and back.

mod backup;
mod restore;
mod rows;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags};
use serde::{Deserialize, Serialize};

pub use backup::BackupReport;
pub(crate) use backup::backup;
pub(crate) use restore::restore;

use crate::blobs::{self, path_below};
use crate::database::{Engine, blocking};
use crate::files::{self, Sum};
use crate::migration::{self, checksum};
use crate::sqlite::{self, SqliteSession};
use crate::{Database, Reader, StoreError};

const FORMAT: u32 = 1;
const MANIFEST: &str = "manifest.json";
const DATABASE: &str = "database.sqlite";
const BLOBS: &str = "blobs";
/// A manifest with a line for each blob is long; one beyond this is not one.
const MANIFEST_LIMIT: u64 = 1 << 30;

#[derive(Debug, Serialize, Deserialize)]
struct Manifest {
    format: u32,
    omnid: String,
    /// Seconds since 1970.
    created_at: i64,
    engine: String,
    /// Schema version by component.
    schema: BTreeMap<String, u32>,
    files: BTreeMap<String, FileEntry>,
}

#[derive(Debug, Serialize, Deserialize)]
struct FileEntry {
    size: u64,
    sha256: String,
}

impl From<Sum> for FileEntry {
    fn from(sum: Sum) -> Self {
        Self {
            size: sum.size,
            sha256: sum.sha256,
        }
    }
}

/// What a check found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Verification {
    /// Everything that is wrong; empty is good.
    pub problems: Vec<String>,
    /// Tables read.
    pub tables: u64,
    /// Rows read.
    pub rows: u64,
    /// Blobs whose bytes were compared with their names.
    pub blobs: u64,
}

/// An archive that has a manifest.
pub(crate) struct Archive {
    path: PathBuf,
    manifest: Manifest,
}

impl Archive {
    pub(crate) fn open(path: &Path) -> Result<Self, StoreError> {
        let broken = |reason: String| StoreError::Archive {
            path: path.display().to_string(),
            reason,
        };
        let file = path.join(MANIFEST);
        let size = std::fs::metadata(&file)
            .map_err(|error| broken(format!("no {MANIFEST}: {error}")))?
            .len();
        if size > MANIFEST_LIMIT {
            return Err(broken(format!("{MANIFEST} is too large")));
        }
        let text = std::fs::read(&file)
            .map_err(|error| broken(format!("cannot read {MANIFEST}: {error}")))?;
        let manifest: Manifest = serde_json::from_slice(&text)
            .map_err(|error| broken(format!("{MANIFEST} cannot be understood: {error}")))?;
        if manifest.format > FORMAT {
            return Err(broken(format!(
                "its format is {}, and this omnid knows formats up to {FORMAT}",
                manifest.format
            )));
        }
        Ok(Self {
            path: path.to_owned(),
            manifest,
        })
    }

    fn database(&self) -> PathBuf {
        self.path.join(DATABASE)
    }

    /// Opens the archive's rows, and touches nothing.
    fn connect(&self) -> Result<Connection, StoreError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        Ok(Connection::open_with_flags(self.database(), flags)?)
    }

    /// Reads the whole archive and compares it with its manifest and with itself.
    pub(crate) fn verify(&self) -> Result<Verification, StoreError> {
        let mut found = Verification::default();
        for (name, entry) in &self.manifest.files {
            // A manifest is a file like any other: it may not send us elsewhere.
            if name
                .split('/')
                .any(|part| part.is_empty() || part == "." || part == "..")
            {
                found.problems.push(format!("{MANIFEST} names {name:?}"));
                continue;
            }
            match files::sum(&self.path.join(name)) {
                Err(error) => found.problems.push(error.to_string()),
                Ok(sum) if sum.size != entry.size || sum.sha256 != entry.sha256 => {
                    found
                        .problems
                        .push(format!("{name} is not what was written"));
                }
                Ok(_) => {}
            }
        }
        if !self.manifest.files.contains_key(DATABASE) {
            found
                .problems
                .push(format!("{MANIFEST} does not name {DATABASE}"));
        }
        if found.problems.is_empty() {
            self.verify_database(&mut found)?;
        }
        Ok(found)
    }

    fn verify_database(&self, found: &mut Verification) -> Result<(), StoreError> {
        let connection = self.connect()?;
        check_sqlite(&connection, found)?;
        let mut session = SqliteSession(&connection);
        let mut reader = Reader::new(&mut session);
        check_migrations(&mut reader, found)?;
        for id in blobs::linked(&mut reader)? {
            let name = format!("{BLOBS}/{}", path_below(Path::new(""), &id).display());
            match self.manifest.files.get(&name) {
                Some(entry) if entry.sha256 == id.to_string() => found.blobs += 1,
                Some(_) => found.problems.push(format!("blob {id} has other bytes")),
                None => found.problems.push(format!("blob {id} is missing")),
            }
        }
        Ok(())
    }
}

/// Checks what a running database holds.
pub(crate) async fn verify(database: &Database) -> Result<Verification, StoreError> {
    let _held = database.blobs().hold().await;
    let (mut found, linked) = match database.engine() {
        Engine::Sqlite(sqlite) => {
            let path = sqlite.path.clone();
            blocking(move || {
                let connection = sqlite::connect(&path, false)?;
                let mut found = Verification::default();
                check_sqlite(&connection, &mut found)?;
                let mut session = SqliteSession(&connection);
                let mut reader = Reader::new(&mut session);
                check_migrations(&mut reader, &mut found)?;
                Ok((found, blobs::linked(&mut reader)?))
            })
            .await?
        }
        Engine::Postgres(_) => {
            database
                .read(|reader| {
                    let mut found = Verification::default();
                    check_migrations(reader, &mut found)?;
                    check_postgres(reader, &mut found)?;
                    Ok((found, blobs::linked(reader)?))
                })
                .await?
        }
    };
    let blobs = database.blobs().clone();
    blocking(move || {
        for id in linked {
            match blobs::is_sound(&blobs.path(&id), &id) {
                Ok(true) => {}
                Ok(false) => found.problems.push(format!("blob {id} has other bytes")),
                Err(error) => found
                    .problems
                    .push(format!("blob {id} cannot be read: {error}")),
            }
            found.blobs += 1;
        }
        Ok(found)
    })
    .await
}

/// Reads every row, which is as much as a client can check: the server minds its own pages.
fn check_postgres(reader: &mut Reader<'_>, found: &mut Verification) -> Result<(), StoreError> {
    for table in rows::model(&migration::applied(reader)?)? {
        found.tables += 1;
        rows::each(reader, &table, |_| {
            found.rows += 1;
            Ok(true)
        })?;
    }
    Ok(())
}

/// SQLite's own check of a file, and a count of what is in it.
pub(crate) fn check_sqlite(
    connection: &Connection,
    found: &mut Verification,
) -> Result<(), StoreError> {
    let mut check = connection.prepare("PRAGMA integrity_check(100)")?;
    let mut rows = check.query([])?;
    while let Some(row) = rows.next()? {
        let text: String = row.get(0)?;
        if text != "ok" {
            found.problems.push(text);
        }
    }
    let mut check = connection.prepare("PRAGMA foreign_key_check")?;
    let mut rows = check.query([])?;
    while let Some(row) = rows.next()? {
        let (table, parent): (String, String) = (row.get(0)?, row.get(2)?);
        found.problems.push(format!(
            "a row of {table} refers to a row of {parent} that is not"
        ));
    }
    for table in rows::tables(connection)? {
        let count: i64 = connection.query_row(
            &format!("SELECT COUNT(*) FROM \"{}\"", table.name),
            [],
            |row| row.get(0),
        )?;
        found.tables += 1;
        found.rows += u64::try_from(count).unwrap_or(0);
    }
    Ok(())
}

/// Whether each migration's text is the one that was applied.
pub(crate) fn check_migrations(
    reader: &mut Reader<'_>,
    found: &mut Verification,
) -> Result<(), StoreError> {
    for applied in migration::applied(reader)? {
        if checksum(&applied.sql) != applied.checksum {
            found.problems.push(format!(
                "version {} of {}'s schema is not what was applied",
                applied.version, applied.component
            ));
        }
    }
    Ok(())
}
