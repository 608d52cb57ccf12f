//! Passwords that are made for one device each.

use omnid_store::{Reader, StoreError, Transaction, params};

use crate::AppPassword;

pub(crate) fn insert(
    tx: &mut Transaction<'_>,
    account: i64,
    label: &str,
    hash: &[u8],
    now: i64,
) -> Result<(), StoreError> {
    tx.execute(
        "INSERT INTO identity_app_passwords (account, label, hash, created_at)
         VALUES ($1, $2, $3, $4)",
        params![account, label, hash, now],
    )?;
    Ok(())
}

pub(crate) fn count(reader: &mut Reader<'_>, account: i64) -> Result<i64, StoreError> {
    reader
        .query_one(
            "SELECT COUNT(*) FROM identity_app_passwords WHERE account = $1",
            params![account],
        )?
        .map_or(Ok(0), |row| row.get(0))
}

pub(crate) fn list(reader: &mut Reader<'_>, account: i64) -> Result<Vec<AppPassword>, StoreError> {
    reader
        .query(
            "SELECT id, label, created_at, used_at FROM identity_app_passwords
             WHERE account = $1 ORDER BY id",
            params![account],
        )?
        .iter()
        .map(|row| {
            Ok(AppPassword {
                id: row.get(0)?,
                label: row.get(1)?,
                created_at: row.get(2)?,
                used_at: row.get(3)?,
            })
        })
        .collect()
}

/// The account's app password with this hash.
pub(crate) fn find(
    reader: &mut Reader<'_>,
    account: i64,
    hash: &[u8],
) -> Result<Option<i64>, StoreError> {
    reader
        .query_one(
            "SELECT id FROM identity_app_passwords WHERE hash = $1 AND account = $2",
            params![hash, account],
        )?
        .map(|row| row.get(0))
        .transpose()
}

pub(crate) fn used(tx: &mut Transaction<'_>, id: i64, now: i64) -> Result<(), StoreError> {
    tx.execute(
        "UPDATE identity_app_passwords SET used_at = $2 WHERE id = $1",
        params![id, now],
    )?;
    Ok(())
}

pub(crate) fn remove(
    tx: &mut Transaction<'_>,
    account: i64,
    id: i64,
) -> Result<Option<String>, StoreError> {
    tx.query_one(
        "DELETE FROM identity_app_passwords WHERE id = $1 AND account = $2 RETURNING label",
        params![id, account],
    )?
    .map(|row| row.get(0))
    .transpose()
}
