//! Writing an archive while the daemon runs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rusqlite::Connection;
use serde::Serialize;

use super::{Archive, BLOBS, DATABASE, FORMAT, FileEntry, MANIFEST, Manifest, rows};
use crate::blobs::{self, Blobs, path_below};
use crate::database::{Engine, blocking};
use crate::files::{self, create_private, make_private_dir, rename, sync_dir};
use crate::migration::{self, Dialect, unix_now};
use crate::sqlite::{self, SqliteSession};
use crate::transaction::{Reader, Transaction};
use crate::{Database, StoreError};

/// What a backup wrote.
#[derive(Debug, Clone, Serialize)]
pub struct BackupReport {
    /// Where it is.
    pub path: PathBuf,
    /// Files in it.
    pub files: u64,
    /// Bytes in them.
    pub bytes: u64,
    /// What could not be saved, such as a blob that the disk has lost.
    pub problems: Vec<String>,
}

/// Writes an archive beside `to`, and gives it that name when it is whole.
pub(crate) async fn backup(database: &Database, to: &Path) -> Result<BackupReport, StoreError> {
    let refuse = |reason: &str| StoreError::Archive {
        path: to.display().to_string(),
        reason: reason.into(),
    };
    let name = to.file_name().ok_or_else(|| refuse("it has no name"))?;
    let is_empty = match std::fs::read_dir(to) {
        Ok(mut entries) => entries.next().is_none(),
        Err(_) => !to.exists(),
    };
    if !is_empty {
        return Err(refuse("there is something of that name already"));
    }
    let mut staging = name.to_owned();
    staging.push(format!(".{}-{}.partial", std::process::id(), unix_now()));
    let staging = to.with_file_name(staging);
    make_private_dir(&staging)?;
    let outcome = write(database, &staging).await.and_then(|report| {
        rename(&staging, to)?;
        Ok(BackupReport {
            path: to.to_owned(),
            ..report
        })
    });
    if outcome.is_err() {
        // The reason of the failure says more than this one's.
        std::fs::remove_dir_all(&staging).ok();
    }
    outcome
}

async fn write(database: &Database, into: &Path) -> Result<BackupReport, StoreError> {
    // Rows first, then the blobs that they refer to; what is unlinked meanwhile stays until then.
    let _held = database.blobs().hold().await;
    let file = into.join(DATABASE);
    match database.engine() {
        Engine::Sqlite(source) => {
            let (source, file) = (source.path.clone(), file.clone());
            blocking(move || snapshot(&source, &file)).await?;
        }
        Engine::Postgres(_) => {
            let file = file.clone();
            database.read(move |reader| dump(reader, &file)).await?;
        }
    }
    let engine = database.engine().name();
    let (blobs, into) = (database.blobs().clone(), into.to_owned());
    blocking(move || finish(&blobs, &into, engine)).await
}

/// Copies a SQLite file page by page, as it was at one moment.
fn snapshot(source: &Path, file: &Path) -> Result<(), StoreError> {
    let source = sqlite::connect(source, false)?;
    // With a read transaction open, every step sees the same state, and writers do not make the
    // copy begin again, as they otherwise would.
    source.execute_batch("BEGIN; SELECT COUNT(*) FROM sqlite_schema")?;
    create_private(file)?;
    let mut target = Connection::open(file)?;
    {
        let copy = rusqlite::backup::Backup::new(&source, &mut target)?;
        copy.run_to_completion(1024, std::time::Duration::ZERO, None)?;
    }
    source.execute_batch("ROLLBACK")?;
    settle(target)
}

/// Writes PostgreSQL's rows into a SQLite file with the schema that the same migrations make.
fn dump(reader: &mut Reader<'_>, file: &Path) -> Result<(), StoreError> {
    // A closure may be run again.
    if file.exists() {
        std::fs::remove_file(file)
            .map_err(StoreError::io(format!("cannot remove {}", file.display())))?;
    }
    create_private(file)?;
    let target = Connection::open(file)?;
    target.execute_batch("PRAGMA synchronous = OFF; PRAGMA foreign_keys = OFF; BEGIN")?;
    let migrations = migration::applied(reader)?;
    let mut session = SqliteSession(&target);
    rows::replay(
        &mut Transaction::new(&mut session),
        Dialect::Sqlite,
        &migrations,
    )?;
    for table in rows::tables(&target)? {
        let mut session = SqliteSession(&target);
        rows::copy(reader, &mut session, &table)?;
        if let Some(last) = rows::serial_of_postgres(reader, &table)? {
            rows::set_serial(&mut session, Dialect::Sqlite, &table, last)?;
        }
    }
    target.execute_batch("COMMIT")?;
    settle(target)
}

/// Leaves one plain file, without a journal beside it.
fn settle(target: Connection) -> Result<(), StoreError> {
    target.pragma_update_and_check(None, "journal_mode", "DELETE", |_| Ok(()))?;
    target
        .close()
        .map_err(|(_, error)| StoreError::Sqlite(error))
}

fn finish(blobs: &Blobs, into: &Path, engine: &'static str) -> Result<BackupReport, StoreError> {
    let file = into.join(DATABASE);
    std::fs::File::open(&file)
        .and_then(|file| file.sync_all())
        .map_err(StoreError::io(format!("cannot sync {}", file.display())))?;
    let mut manifest = Manifest {
        format: FORMAT,
        omnid: env!("CARGO_PKG_VERSION").into(),
        created_at: unix_now(),
        engine: engine.into(),
        schema: BTreeMap::new(),
        files: BTreeMap::from([(DATABASE.into(), files::sum(&file)?.into())]),
    };
    let archive = Archive {
        path: into.to_owned(),
        manifest,
    };
    let connection = archive.connect()?;
    let mut session = SqliteSession(&connection);
    let mut reader = Reader::new(&mut session);
    manifest = archive.manifest;
    for step in migration::applied(&mut reader)? {
        let version = manifest.schema.entry(step.component).or_default();
        *version = step.version.max(*version);
    }
    let mut problems = Vec::new();
    for id in blobs::linked(&mut reader)? {
        let target = path_below(&into.join(BLOBS), &id);
        if let Some(parent) = target.parent() {
            make_private_dir(parent)?;
        }
        match files::copy_file(&blobs.path(&id), &target) {
            Ok(sum) if sum.sha256 == id.to_string() => {
                let name = format!("{BLOBS}/{}", path_below(Path::new(""), &id).display());
                manifest.files.insert(name, sum.into());
            }
            Ok(_) => {
                problems.push(format!("blob {id} is damaged and was left out"));
                std::fs::remove_file(&target).map_err(StoreError::io(format!(
                    "cannot remove {}",
                    target.display()
                )))?;
            }
            Err(error) => problems.push(format!("blob {id} was left out: {error}")),
        }
    }
    write_manifest(into, &manifest)?;
    Ok(BackupReport {
        path: into.to_owned(),
        files: manifest.files.len() as u64,
        bytes: manifest
            .files
            .values()
            .map(|FileEntry { size, .. }| size)
            .sum(),
        problems,
    })
}

fn write_manifest(into: &Path, manifest: &Manifest) -> Result<(), StoreError> {
    let path = into.join(MANIFEST);
    let text = serde_json::to_vec_pretty(manifest).map_err(StoreError::other)?;
    let mut file = create_private(&path)?;
    std::io::Write::write_all(&mut file, &text)
        .and_then(|()| file.sync_all())
        .map_err(StoreError::io(format!("cannot write {}", path.display())))?;
    if into.join(BLOBS).is_dir() {
        for directory in std::fs::read_dir(into.join(BLOBS))
            .map_err(StoreError::io("cannot list the archive's blobs"))?
        {
            sync_dir(
                &directory
                    .map_err(StoreError::io("cannot list the archive's blobs"))?
                    .path(),
            )?;
        }
        sync_dir(&into.join(BLOBS))?;
    }
    sync_dir(into)
}
