//! Messages for accounts that were not there (XEP-0160).

use bytes::Bytes;
use omnid_store::{Reader, StoreError, Transaction, params};

/// A message that was kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// Its number: they are handed over in this order.
    pub id: i64,
    /// When it was kept, in seconds since 1970.
    pub at: u64,
    /// The stanza.
    pub stanza: Bytes,
}

/// Keeps a message, unless there are `limit` already. Whether it was kept.
///
/// # Errors
/// When the database fails.
pub fn keep(
    tx: &mut Transaction<'_>,
    account: &str,
    at: u64,
    stanza: &[u8],
    limit: u32,
) -> Result<bool, StoreError> {
    let count = tx.query_one(
        "SELECT COUNT(*) FROM xmpp_offline WHERE account = $1",
        params![account],
    )?;
    let count = count
        .map(|row| row.get::<u32>(0))
        .transpose()?
        .unwrap_or_default();
    if count >= limit {
        return Ok(false);
    }
    tx.execute(
        "INSERT INTO xmpp_offline (account, stored_at, stanza) VALUES ($1, $2, $3)",
        params![
            account,
            i64::try_from(at).unwrap_or(i64::MAX),
            stanza.to_vec()
        ],
    )?;
    Ok(true)
}

/// All messages kept for an account, oldest first.
///
/// # Errors
/// When the database fails.
pub fn kept(reader: &mut Reader<'_>, account: &str) -> Result<Vec<Kept>, StoreError> {
    let rows = reader.query(
        "SELECT id, stored_at, stanza FROM xmpp_offline WHERE account = $1 ORDER BY id",
        params![account],
    )?;
    let kept = rows.iter().map(|row| {
        Ok(Kept {
            id: row.get(0)?,
            at: row.get(1)?,
            stanza: row.get::<Vec<u8>>(2)?.into(),
        })
    });
    kept.collect()
}

/// Forgets the messages up to number `last`, which have been handed over.
///
/// # Errors
/// When the database fails.
pub fn forget(tx: &mut Transaction<'_>, account: &str, last: i64) -> Result<(), StoreError> {
    tx.execute(
        "DELETE FROM xmpp_offline WHERE account = $1 AND id <= $2",
        params![account, last],
    )?;
    Ok(())
}
