//! Whom accounts block (XEP-0191).

use std::collections::BTreeSet;

use omnid_store::{Reader, StoreError, Transaction, params};

/// Addresses that an account blocks.
///
/// # Errors
/// When the database fails.
pub fn load(reader: &mut Reader<'_>, account: &str) -> Result<BTreeSet<String>, StoreError> {
    let rows = reader.query(
        "SELECT jid FROM xmpp_blocked WHERE account = $1",
        params![account],
    )?;
    rows.iter().map(|row| row.get(0)).collect()
}

/// Blocks an address.
///
/// # Errors
/// When the database fails.
pub fn add(tx: &mut Transaction<'_>, account: &str, jid: &str) -> Result<(), StoreError> {
    tx.execute(
        "INSERT INTO xmpp_blocked (account, jid) VALUES ($1, $2)
         ON CONFLICT (account, jid) DO NOTHING",
        params![account, jid],
    )?;
    Ok(())
}

/// Blocks an address no more.
///
/// # Errors
/// When the database fails.
pub fn remove(tx: &mut Transaction<'_>, account: &str, jid: &str) -> Result<(), StoreError> {
    tx.execute(
        "DELETE FROM xmpp_blocked WHERE account = $1 AND jid = $2",
        params![account, jid],
    )?;
    Ok(())
}
