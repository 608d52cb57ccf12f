//! When accounts were last there (XEP-0012).

use omnid_store::{Reader, StoreError, Transaction, params};

/// Notes that an account is no longer available, and what it said last.
///
/// # Errors
/// When the database fails.
pub fn left(
    tx: &mut Transaction<'_>,
    account: &str,
    at: u64,
    status: &str,
) -> Result<(), StoreError> {
    tx.execute(
        "INSERT INTO xmpp_last (account, left_at, status) VALUES ($1, $2, $3)
         ON CONFLICT (account) DO UPDATE SET left_at = excluded.left_at,
             status = excluded.status",
        params![account, i64::try_from(at).unwrap_or(i64::MAX), status],
    )?;
    Ok(())
}

/// When it left, in seconds since 1970, and what it said; `None` if it never was there.
///
/// # Errors
/// When the database fails.
pub fn when(reader: &mut Reader<'_>, account: &str) -> Result<Option<(u64, String)>, StoreError> {
    let row = reader.query_one(
        "SELECT left_at, status FROM xmpp_last WHERE account = $1",
        params![account],
    )?;
    row.map(|row| Ok((row.get(0)?, row.get(1)?))).transpose()
}
