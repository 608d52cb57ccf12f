//! Files that accounts have uploaded (XEP-0363): slots, and what was put into them.

use omnid_store::{BlobId, Reader, Row, StoreError, Transaction, params};

/// A slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slot {
    /// What the file is called.
    pub name: String,
    /// What it is said to be.
    pub kind: String,
    /// Its size.
    pub size: u64,
    /// When the slot was given, in seconds since 1970.
    pub at: u64,
    /// What was put into it.
    pub blob: Option<BlobId>,
}

fn number(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

/// What the smallest file takes of a disk, and so of what an account may have: that bounds how many
/// there can be.
const LEAST: u64 = 4096;

/// Gives a slot, unless the account would then have more than `most` bytes. Whether it did.
///
/// # Errors
/// When the database fails.
pub fn give(
    tx: &mut Transaction<'_>,
    token: &str,
    account: &str,
    slot: &Slot,
    most: u64,
) -> Result<bool, StoreError> {
    let row = tx.query_one(
        "SELECT CAST(COALESCE(SUM(CASE WHEN size < $2 THEN $2 ELSE size END), 0) AS BIGINT)
         FROM xmpp_upload WHERE account = $1",
        params![account, number(LEAST)],
    )?;
    let used = row.map(|row| row.get::<u64>(0)).transpose()?;
    if used
        .unwrap_or_default()
        .saturating_add(slot.size.max(LEAST))
        > most
    {
        return Ok(false);
    }
    tx.execute(
        "INSERT INTO xmpp_upload (slot, account, name, kind, size, given_at, blob)
         VALUES ($1, $2, $3, $4, $5, $6, NULL)",
        params![
            token,
            account,
            &*slot.name,
            &*slot.kind,
            number(slot.size),
            number(slot.at)
        ],
    )?;
    Ok(true)
}

/// A slot.
///
/// # Errors
/// When the database fails.
pub fn find(reader: &mut Reader<'_>, token: &str) -> Result<Option<Slot>, StoreError> {
    let row = reader.query_one(
        "SELECT name, kind, size, given_at, blob FROM xmpp_upload WHERE slot = $1",
        params![token],
    )?;
    let read = |row: Row| {
        Ok(Slot {
            name: row.get(0)?,
            kind: row.get(1)?,
            size: row.get(2)?,
            at: row.get(3)?,
            blob: row
                .get::<Option<String>>(4)?
                .and_then(|blob| blob.parse().ok()),
        })
    };
    row.map(read).transpose()
}

/// Fills a slot that is empty. Whether it was.
///
/// # Errors
/// When the database fails.
pub fn fill(tx: &mut Transaction<'_>, token: &str, blob: &BlobId) -> Result<bool, StoreError> {
    let filled = tx.execute(
        "UPDATE xmpp_upload SET blob = $2 WHERE slot = $1 AND blob IS NULL",
        params![token, blob.to_string()],
    )?;
    if filled > 0 {
        blob.link(tx)?;
    }
    Ok(filled > 0)
}

/// Takes back slots that were given before `before`, and those that were given before `unused` and
/// not filled; up to `most` of them.
///
/// # Errors
/// When the database fails.
pub fn expire(
    tx: &mut Transaction<'_>,
    before: u64,
    unused: u64,
    most: u32,
) -> Result<(), StoreError> {
    let rows = tx.query(
        "SELECT slot, blob FROM xmpp_upload
         WHERE given_at < $1 OR (blob IS NULL AND given_at < $2) LIMIT $3",
        params![number(before), number(unused), i64::from(most)],
    )?;
    for row in rows {
        let blob = row.get::<Option<String>>(1)?;
        if let Some(blob) = blob.and_then(|blob| blob.parse::<BlobId>().ok()) {
            blob.unlink(tx)?;
        }
        tx.execute(
            "DELETE FROM xmpp_upload WHERE slot = $1",
            params![row.get::<String>(0)?],
        )?;
    }
    Ok(())
}
