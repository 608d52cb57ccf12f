//! XML that clients leave with the server: vcard-temp (XEP-0054) and private storage (XEP-0049).

use omnid_store::{Reader, StoreError, Transaction, params};

use super::whole::Private;

/// An account's vCard, as a document of its own.
///
/// # Errors
/// When the database fails.
pub fn vcard(reader: &mut Reader<'_>, account: &str) -> Result<Option<String>, StoreError> {
    let row = reader.query_one(
        "SELECT content FROM xmpp_vcard WHERE account = $1",
        params![account],
    )?;
    row.map(|row| row.get(0)).transpose()
}

/// Puts a vCard in the place of the last one.
///
/// # Errors
/// When the database fails.
pub fn set_vcard(tx: &mut Transaction<'_>, account: &str, content: &str) -> Result<(), StoreError> {
    tx.execute(
        "INSERT INTO xmpp_vcard (account, content) VALUES ($1, $2)
         ON CONFLICT (account) DO UPDATE SET content = excluded.content",
        params![account, content],
    )?;
    Ok(())
}

/// What an account keeps under a namespace and name.
///
/// # Errors
/// When the database fails.
pub fn private(
    reader: &mut Reader<'_>,
    account: &str,
    namespace: &str,
    element: &str,
) -> Result<Option<String>, StoreError> {
    let row = reader.query_one(
        "SELECT content FROM xmpp_private
         WHERE account = $1 AND namespace = $2 AND element = $3",
        params![account, namespace, element],
    )?;
    row.map(|row| row.get(0)).transpose()
}

/// All that an account keeps.
///
/// # Errors
/// When the database fails.
pub fn all_private(reader: &mut Reader<'_>, account: &str) -> Result<Vec<Private>, StoreError> {
    let rows = reader.query(
        "SELECT namespace, element, content FROM xmpp_private WHERE account = $1
         ORDER BY namespace, element",
        params![account],
    )?;
    let found = rows.iter().map(|row| {
        Ok(Private {
            namespace: row.get(0)?,
            element: row.get(1)?,
            content: row.get(2)?,
        })
    });
    found.collect()
}

/// Keeps an element, unless the account would then keep more than `limit` bytes. Whether it did.
///
/// # Errors
/// When the database fails.
pub fn set_private(
    tx: &mut Transaction<'_>,
    account: &str,
    namespace: &str,
    element: &str,
    content: &str,
    limit: usize,
) -> Result<bool, StoreError> {
    let rows = tx.query(
        "SELECT LENGTH(content) FROM xmpp_private
         WHERE account = $1 AND NOT (namespace = $2 AND element = $3)",
        params![account, namespace, element],
    )?;
    let mut sum = content.len() as u64;
    for row in rows {
        sum = sum.saturating_add(row.get::<u64>(0)?);
    }
    if sum > limit as u64 {
        return Ok(false);
    }
    tx.execute(
        "INSERT INTO xmpp_private (account, namespace, element, content)
         VALUES ($1, $2, $3, $4)
         ON CONFLICT (account, namespace, element) DO UPDATE SET content = excluded.content",
        params![account, namespace, element, content],
    )?;
    Ok(true)
}
