//! Putting an archive back.

use std::path::Path;

use rusqlite::Connection;

use super::{Archive, BLOBS, Verification, rows};
use crate::blobs::{Blobs, path_below};
use crate::database::{Lock, Place, blocking};
use crate::files::{copy_file, make_private_dir, rename};
use crate::migration::{self, Dialect};
use crate::postgres::Postgres;
use crate::sqlite::SqliteSession;
use crate::transaction::{Reader, Transaction};
use crate::{StoreConfig, StoreError, blobs};

/// Restores the archive at `from` into what `config` and `data_dir` name.
pub(crate) async fn restore(
    from: &Path,
    config: &StoreConfig,
    data_dir: &Path,
    force: bool,
) -> Result<Verification, StoreError> {
    let from = from.to_owned();
    let check = move || {
        let archive = Archive::open(&from)?;
        let found = archive.verify()?;
        if let Some(problem) = found.problems.first() {
            return Err(StoreError::Archive {
                path: from.display().to_string(),
                reason: format!("{problem} ({} problems)", found.problems.len()),
            });
        }
        Ok((archive, found))
    };
    let (archive, found) = blocking(check).await?;
    let data_dir = data_dir.to_owned();
    match Place::parse(&config.url, &data_dir)? {
        Place::Sqlite(path) => {
            blocking(move || {
                if let Some(parent) = path.parent() {
                    make_private_dir(parent)?;
                }
                let _lock = Lock::exclusive(&path)?;
                into_sqlite(&archive, &path, &data_dir, force)
            })
            .await?;
        }
        Place::Postgres(url) => {
            let postgres = Postgres::open(&url, config).await?;
            let shown = crate::postgres::without_password(&url);
            let outcome = into_postgres(&postgres, archive, data_dir, force, shown).await;
            postgres.close().await;
            outcome?;
        }
    }
    Ok(found)
}

fn into_sqlite(
    archive: &Archive,
    path: &Path,
    data_dir: &Path,
    force: bool,
) -> Result<(), StoreError> {
    if !force && path.exists() && !is_empty(path)? {
        return Err(StoreError::NotEmpty(path.display().to_string()));
    }
    restore_blobs(archive, data_dir)?;
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".restoring");
    let staging = path.with_file_name(name);
    remove(&staging)?;
    copy_file(&archive.database(), &staging)?;
    // The old file's journal must be gone before the new file has the name: it would be played
    // into it.
    for suffix in ["-wal", "-shm"] {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        remove(Path::new(&name))?;
    }
    rename(&staging, path)
}

fn is_empty(path: &Path) -> Result<bool, StoreError> {
    let connection = Connection::open(path)?;
    // Some tables are made by opening: a database is in use when somebody's migrations are in it.
    let mine: i64 = connection.query_row(
        "SELECT COUNT(*) FROM sqlite_schema WHERE name NOT LIKE 'sqlite\\_%' ESCAPE '\\'
         AND name NOT IN ('omnid_migrations', 'store_blobs') AND type = 'table'",
        [],
        |row| row.get(0),
    )?;
    Ok(mine == 0)
}

async fn into_postgres(
    postgres: &Postgres,
    archive: Archive,
    data_dir: std::path::PathBuf,
    force: bool,
    shown: String,
) -> Result<(), StoreError> {
    let (archive, _) = blocking(move || {
        restore_blobs(&archive, &data_dir)?;
        Ok((archive, ()))
    })
    .await?;
    postgres
        .write(move |tx| {
            clear_postgres(tx, force, &shown)?;
            let source = archive.connect()?;
            let mut session = SqliteSession(&source);
            let mut reader = Reader::new(&mut session);
            let migrations = migration::applied(&mut reader)?;
            rows::replay(tx, Dialect::Postgres, &migrations)?;
            for table in rows::tables(&source)? {
                rows::copy(&mut reader, tx.session(), &table)?;
                if let Some(last) = rows::serial_of_sqlite(&source, &table)? {
                    rows::set_serial(tx.session(), Dialect::Postgres, &table, last)?;
                }
            }
            Ok(())
        })
        .await
}

/// Drops the tables that migrations made, if the caller insists.
fn clear_postgres(tx: &mut Transaction<'_>, force: bool, shown: &str) -> Result<(), StoreError> {
    let table = tx.query_one("SELECT to_regclass('omnid_migrations')::text", &[])?;
    if table
        .map(|row| row.get::<Option<String>>(0))
        .transpose()?
        .flatten()
        .is_none()
    {
        return Ok(());
    }
    let migrations = migration::applied(tx)?;
    if !force
        && migrations
            .iter()
            .any(|step| step.component != crate::database::COMPONENT)
    {
        return Err(StoreError::NotEmpty(shown.to_owned()));
    }
    for table in rows::model(&migrations)?.iter().rev() {
        tx.batch(&format!("DROP TABLE IF EXISTS \"{}\"", table.name))?;
    }
    tx.batch("DROP TABLE omnid_migrations")
}

fn restore_blobs(archive: &Archive, data_dir: &Path) -> Result<(), StoreError> {
    let root = data_dir.join(BLOBS);
    // Makes the directories.
    Blobs::open(data_dir)?;
    let connection = archive.connect()?;
    let mut session = SqliteSession(&connection);
    for id in blobs::linked(&mut Reader::new(&mut session))? {
        let target = path_below(&root, &id);
        if target.exists() && blobs::is_sound(&target, &id)? {
            continue;
        }
        if let Some(parent) = target.parent() {
            make_private_dir(parent)?;
        }
        let staging = root
            .join("new")
            .join(format!("restore-{}-{id}", std::process::id()));
        copy_file(&path_below(&archive.path.join(BLOBS), &id), &staging)?;
        rename(&staging, &target)?;
    }
    crate::files::sync_dir(&root)
}

fn remove(path: &Path) -> Result<(), StoreError> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(StoreError::io(format!(
            "cannot remove {}",
            path.display()
        ))(error)),
        _ => Ok(()),
    }
}
