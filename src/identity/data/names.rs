//! Other names of accounts: aliases, and telephone extensions.

use omnid_store::{Reader, Row, StoreError, Transaction, params};

use crate::Address;

fn address(row: &Row, user: usize, domain: usize) -> Result<Address, StoreError> {
    Address::new(&row.get::<String>(user)?, &row.get::<String>(domain)?).map_err(StoreError::other)
}

/// The account that an alias stands for.
pub(crate) fn alias(
    reader: &mut Reader<'_>,
    alias: &Address,
) -> Result<Option<Address>, StoreError> {
    reader
        .query_one(
            "SELECT a.username, a.domain FROM identity_aliases n
             JOIN identity_accounts a ON a.id = n.account
             WHERE n.domain = $1 AND n.username = $2",
            params![alias.domain(), alias.user()],
        )?
        .map(|row| address(&row, 0, 1))
        .transpose()
}

pub(crate) fn aliases(reader: &mut Reader<'_>, account: i64) -> Result<Vec<Address>, StoreError> {
    reader
        .query(
            "SELECT username, domain FROM identity_aliases WHERE account = $1
             ORDER BY domain, username",
            params![account],
        )?
        .iter()
        .map(|row| address(row, 0, 1))
        .collect()
}

pub(crate) fn add_alias(
    tx: &mut Transaction<'_>,
    alias: &Address,
    account: i64,
) -> Result<(), StoreError> {
    tx.execute(
        "INSERT INTO identity_aliases (username, domain, account) VALUES ($1, $2, $3)",
        params![alias.user(), alias.domain(), account],
    )?;
    Ok(())
}

pub(crate) fn remove_alias(tx: &mut Transaction<'_>, alias: &Address) -> Result<bool, StoreError> {
    let removed = tx.execute(
        "DELETE FROM identity_aliases WHERE domain = $1 AND username = $2",
        params![alias.domain(), alias.user()],
    )?;
    Ok(removed > 0)
}

/// The account that an extension rings.
pub(crate) fn extension(
    reader: &mut Reader<'_>,
    domain: &str,
    extension: &str,
) -> Result<Option<Address>, StoreError> {
    reader
        .query_one(
            "SELECT a.username, a.domain FROM identity_extensions n
             JOIN identity_accounts a ON a.id = n.account
             WHERE n.domain = $1 AND n.extension = $2",
            params![domain, extension],
        )?
        .map(|row| address(&row, 0, 1))
        .transpose()
}

/// The extensions of a domain, with the account that each rings.
pub(crate) fn extensions(
    reader: &mut Reader<'_>,
    domain: &str,
) -> Result<Vec<(String, Address)>, StoreError> {
    reader
        .query(
            "SELECT n.extension, a.username, a.domain FROM identity_extensions n
             JOIN identity_accounts a ON a.id = n.account
             WHERE n.domain = $1 ORDER BY n.extension",
            params![domain],
        )?
        .iter()
        .map(|row| Ok((row.get(0)?, address(row, 1, 2)?)))
        .collect()
}

pub(crate) fn add_extension(
    tx: &mut Transaction<'_>,
    domain: &str,
    extension: &str,
    account: i64,
) -> Result<(), StoreError> {
    tx.execute(
        "INSERT INTO identity_extensions (domain, extension, account) VALUES ($1, $2, $3)",
        params![domain, extension, account],
    )?;
    Ok(())
}

pub(crate) fn remove_extension(
    tx: &mut Transaction<'_>,
    domain: &str,
    extension: &str,
) -> Result<bool, StoreError> {
    let removed = tx.execute(
        "DELETE FROM identity_extensions WHERE domain = $1 AND extension = $2",
        params![domain, extension],
    )?;
    Ok(removed > 0)
}
