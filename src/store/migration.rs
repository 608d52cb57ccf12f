//! Numbered, forward-only changes of the schema.
//!
//! One table tells for each component which versions were applied, with the text that was applied
//! and its hash: an edited migration is found out, and an archive can rebuild its schema in either
//! engine without the code that wrote it.

use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::digest;

use crate::{Reader, Row, StoreError, Transaction, params};

/// One step of a component's schema. Once released it is never edited; the next change is the next
/// version.
#[derive(Debug, Clone, Copy)]
pub struct Migration {
    /// Counts 1, 2, 3, … without a gap.
    pub version: u32,
    /// One or more statements, in the shared subset (see the crate's documentation).
    pub sql: &'static str,
}

/// Which engine a migration's text is written out for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    Sqlite,
    Postgres,
}

const CREATE_TABLE: &str = "CREATE TABLE IF NOT EXISTS omnid_migrations (
    position BIGINT NOT NULL,
    component TEXT NOT NULL,
    version BIGINT NOT NULL,
    checksum TEXT NOT NULL,
    sql TEXT NOT NULL,
    applied_at BIGINT NOT NULL,
    PRIMARY KEY (component, version)
)";

/// A migration as the database remembers it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Applied {
    pub(crate) position: i64,
    pub(crate) component: String,
    pub(crate) version: u32,
    pub(crate) checksum: String,
    pub(crate) sql: String,
}

impl Applied {
    fn from_row(row: &Row) -> Result<Self, StoreError> {
        Ok(Self {
            position: row.get(0)?,
            component: row.get(1)?,
            version: row.get(2)?,
            checksum: row.get(3)?,
            sql: row.get(4)?,
        })
    }
}

/// Every applied migration, in the order in which they were applied.
pub(crate) fn applied(reader: &mut Reader<'_>) -> Result<Vec<Applied>, StoreError> {
    reader
        .query(
            "SELECT position, component, version, checksum, sql FROM omnid_migrations
             ORDER BY position",
            &[],
        )?
        .iter()
        .map(Applied::from_row)
        .collect()
}

/// Makes the table of migrations if it is not there yet.
pub(crate) fn prepare(tx: &mut Transaction<'_>, dialect: Dialect) -> Result<(), StoreError> {
    if dialect == Dialect::Postgres {
        // IF NOT EXISTS does not see a table that another node is making: one after the other. The
        // number is ours alone in this database.
        tx.batch("SELECT pg_advisory_xact_lock(7954271)")?;
    }
    tx.batch(&render(CREATE_TABLE, dialect))
}

/// Brings `component` up to the last of `migrations`, inside `tx`. Says how many were applied.
pub(crate) fn migrate(
    tx: &mut Transaction<'_>,
    dialect: Dialect,
    component: &str,
    migrations: &[Migration],
) -> Result<u32, StoreError> {
    let refuse = |reason: String| {
        Err(StoreError::Migration {
            component: component.to_owned(),
            reason,
        })
    };
    for (expected, migration) in (1..).zip(migrations) {
        if migration.version != expected {
            return refuse(format!(
                "version {} stands where version {expected} should",
                migration.version
            ));
        }
    }
    if dialect == Dialect::Postgres {
        // Two nodes may start at once. LOCK comes before the transaction's snapshot is taken, so
        // the second sees what the first did.
        tx.batch("LOCK TABLE omnid_migrations IN ACCESS EXCLUSIVE MODE")?;
    }
    let all = applied(tx)?;
    let mut position = all.last().map_or(0, |last| last.position);
    let mine: Vec<&Applied> = all.iter().filter(|a| a.component == component).collect();
    let known = u32::try_from(migrations.len()).unwrap_or(u32::MAX);
    let found = mine.iter().map(|a| a.version).max().unwrap_or(0);
    if found > known {
        return Err(StoreError::Newer {
            component: component.to_owned(),
            found,
            known,
        });
    }
    let mut count = 0;
    for migration in migrations {
        let sum = checksum(migration.sql);
        if let Some(before) = mine.iter().find(|a| a.version == migration.version) {
            if before.checksum != sum {
                return refuse(format!(
                    "version {} was applied with other statements than this omnid's",
                    migration.version
                ));
            }
            continue;
        }
        if migration.version <= found {
            return refuse(format!(
                "version {} is missing although version {found} was applied",
                migration.version
            ));
        }
        position += 1;
        apply(
            tx,
            dialect,
            component,
            migration.version,
            migration.sql,
            position,
        )?;
        tracing::info!(component, version = migration.version, "schema migrated");
        count += 1;
    }
    Ok(count)
}

/// Runs one migration's statements and remembers them.
pub(crate) fn apply(
    tx: &mut Transaction<'_>,
    dialect: Dialect,
    component: &str,
    version: u32,
    sql: &str,
    position: i64,
) -> Result<(), StoreError> {
    tx.batch(&render(sql, dialect))?;
    tx.execute(
        "INSERT INTO omnid_migrations (position, component, version, checksum, sql, applied_at)
         VALUES ($1, $2, $3, $4, $5, $6)",
        params![position, component, version, checksum(sql), sql, unix_now()],
    )?;
    Ok(())
}

pub(crate) fn checksum(sql: &str) -> String {
    hex(digest::digest(&digest::SHA256, sql.as_bytes()).as_ref())
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    text
}

pub(crate) fn unix_now() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| {
            i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
        })
}

/// Writes a migration's text out for one engine.
///
/// In PostgreSQL's CREATE TABLE and ALTER TABLE, INTEGER becomes BIGINT, since SQLite's integers
/// have 64 bits and a timestamp in milliseconds does not fit in 32; and TEXT compares and sorts by
/// its bytes, as SQLite's does, whatever the server's locale. Types are written in capitals.
pub(crate) fn render(sql: &str, dialect: Dialect) -> String {
    match dialect {
        Dialect::Sqlite => sql
            .replace("{blob}", "BLOB")
            .replace("{serial}", "INTEGER PRIMARY KEY AUTOINCREMENT"),
        Dialect::Postgres => render_postgres(sql).replace("{blob}", "BYTEA").replace(
            "{serial}",
            "BIGINT GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY",
        ),
    }
}

fn render_postgres(sql: &str) -> String {
    let mut out = String::with_capacity(sql.len() + 64);
    let mut rest = sql;
    let mut statement: Vec<String> = Vec::new();
    while let Some(c) = rest.chars().next() {
        let length = match c {
            '\'' | '"' => rest
                .char_indices()
                .skip(1)
                .find(|(_, x)| *x == c)
                .map_or(rest.len(), |(at, _)| at + 1),
            '-' if rest.starts_with("--") => rest.find('\n').unwrap_or(rest.len()),
            c if c.is_ascii_alphabetic() || c == '_' => rest
                .find(|x: char| !(x.is_ascii_alphanumeric() || x == '_'))
                .unwrap_or(rest.len()),
            c => c.len_utf8(),
        };
        let (token, after) = rest.split_at(length);
        rest = after;
        if c == ';' {
            statement.clear();
        }
        if c.is_ascii_alphabetic() && statement.len() < 2 {
            statement.push(token.to_ascii_uppercase());
        }
        let defines = matches!(
            statement.iter().map(String::as_str).collect::<Vec<_>>()[..],
            ["CREATE" | "ALTER", "TABLE"]
        );
        // In capitals it is the type; in lower case, as names are, a column may be called so.
        match token {
            "INTEGER" if defines => out.push_str("BIGINT"),
            "TEXT" if defines => out.push_str("TEXT COLLATE \"C\""),
            _ => out.push_str(token),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renders_for_each_engine() {
        let sql =
            "CREATE TABLE t (id {serial}, text INTEGER, name TEXT DEFAULT 'INTEGER; TEXT', b {blob});
-- INTEGER
CREATE INDEX TEXT ON t (name)";
        assert_eq!(
            render(sql, Dialect::Sqlite),
            "CREATE TABLE t (id INTEGER PRIMARY KEY AUTOINCREMENT, text INTEGER, name TEXT DEFAULT 'INTEGER; TEXT', b BLOB);
-- INTEGER
CREATE INDEX TEXT ON t (name)"
        );
        assert_eq!(
            render(sql, Dialect::Postgres),
            "CREATE TABLE t (id BIGINT GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY, text BIGINT, name TEXT COLLATE \"C\" DEFAULT 'INTEGER; TEXT', b BYTEA);
-- INTEGER
CREATE INDEX TEXT ON t (name)"
        );
    }
}
