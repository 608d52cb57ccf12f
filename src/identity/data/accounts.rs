//! Accounts and what is kept of their passwords.

use omnid_store::{Reader, Row, StoreError, Transaction, params};

use crate::credentials::{Derived, ScramVerifier};
use crate::moving::{DigestVerifier, Lacking};
use crate::{Account, Address, DigestAlgorithm, Roles, ScramHash};

const COLUMNS: &str = "a.id, a.username, a.domain, a.display_name, a.enabled, a.roles,
    a.created_at, a.password_changed_at";

fn from_row(row: &Row) -> Result<(i64, Account), StoreError> {
    let address =
        Address::new(&row.get::<String>(1)?, &row.get::<String>(2)?).map_err(StoreError::other)?;
    Ok((
        row.get(0)?,
        Account {
            address,
            display_name: row.get(3)?,
            enabled: row.get(4)?,
            roles: Roles::from_text(&row.get::<String>(5)?),
            created_at: row.get(6)?,
            password_changed_at: row.get(7)?,
        },
    ))
}

pub(crate) fn find(
    reader: &mut Reader<'_>,
    address: &Address,
) -> Result<Option<(i64, Account)>, StoreError> {
    reader
        .query_one(
            &format!(
                "SELECT {COLUMNS} FROM identity_accounts a
                 WHERE a.domain = $1 AND a.username = $2"
            ),
            params![address.domain(), address.user()],
        )?
        .as_ref()
        .map(from_row)
        .transpose()
}

pub(crate) fn list(
    reader: &mut Reader<'_>,
    domain: Option<&str>,
) -> Result<Vec<Account>, StoreError> {
    let rows = match domain {
        Some(domain) => reader.query(
            &format!(
                "SELECT {COLUMNS} FROM identity_accounts a WHERE a.domain = $1
                 ORDER BY a.username"
            ),
            params![domain],
        )?,
        None => reader.query(
            &format!("SELECT {COLUMNS} FROM identity_accounts a ORDER BY a.domain, a.username"),
            &[],
        )?,
    };
    rows.iter().map(|row| Ok(from_row(row)?.1)).collect()
}

pub(crate) fn insert(
    tx: &mut Transaction<'_>,
    address: &Address,
    roles: Roles,
    derived: &Derived,
    now: i64,
) -> Result<Account, StoreError> {
    let account = Account {
        address: address.clone(),
        display_name: String::new(),
        enabled: true,
        roles,
        created_at: now,
        password_changed_at: now,
    };
    insert_as(tx, &account, derived)?;
    Ok(account)
}

/// Makes an account that is as `account` says.
pub(crate) fn insert_as(
    tx: &mut Transaction<'_>,
    account: &Account,
    derived: &Derived,
) -> Result<(), StoreError> {
    let address = &account.address;
    let row = tx
        .query_one(
            "INSERT INTO identity_accounts
                 (username, domain, display_name, enabled, roles, created_at, password_changed_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7) RETURNING id",
            params![
                address.user(),
                address.domain(),
                &account.display_name,
                account.enabled,
                account.roles.to_text(),
                account.created_at,
                account.password_changed_at
            ],
        )?
        .ok_or_else(|| StoreError::other("INSERT … RETURNING gave no row"))?;
    keep(tx, row.get(0)?, address, derived)
}

/// Puts a new password's verifiers in the old one's place.
pub(crate) fn replace_password(
    tx: &mut Transaction<'_>,
    account: i64,
    address: &Address,
    derived: &Derived,
    now: i64,
) -> Result<(), StoreError> {
    tx.execute(
        "DELETE FROM identity_scram WHERE account = $1",
        params![account],
    )?;
    tx.execute(
        "DELETE FROM identity_digest WHERE account = $1",
        params![account],
    )?;
    tx.execute(
        "UPDATE identity_accounts SET password_changed_at = $2 WHERE id = $1",
        params![account, now],
    )?;
    keep(tx, account, address, derived)
}

fn keep(
    tx: &mut Transaction<'_>,
    account: i64,
    address: &Address,
    derived: &Derived,
) -> Result<(), StoreError> {
    for (hash, verifier) in &derived.scram {
        tx.execute(
            "INSERT INTO identity_scram
                 (account, mechanism, salt, iterations, stored_key, server_key)
             VALUES ($1, $2, $3, $4, $5, $6)",
            params![
                account,
                hash.mechanism(),
                &verifier.salt,
                verifier.iterations,
                &verifier.stored_key,
                &verifier.server_key
            ],
        )?;
    }
    for secret in &derived.digest {
        tx.execute(
            "INSERT INTO identity_digest (account, username, realm, algorithm, ha1)
             VALUES ($1, $2, $3, $4, $5)",
            params![
                account,
                &secret.username,
                address.domain(),
                secret.algorithm.name(),
                &secret.ha1
            ],
        )?;
    }
    Ok(())
}

pub(crate) fn set_enabled(
    tx: &mut Transaction<'_>,
    account: i64,
    enabled: bool,
) -> Result<(), StoreError> {
    tx.execute(
        "UPDATE identity_accounts SET enabled = $2 WHERE id = $1",
        params![account, enabled],
    )?;
    Ok(())
}

pub(crate) fn set_roles(
    tx: &mut Transaction<'_>,
    account: i64,
    roles: Roles,
) -> Result<(), StoreError> {
    tx.execute(
        "UPDATE identity_accounts SET roles = $2 WHERE id = $1",
        params![account, roles.to_text()],
    )?;
    Ok(())
}

pub(crate) fn set_display_name(
    tx: &mut Transaction<'_>,
    account: i64,
    name: &str,
) -> Result<(), StoreError> {
    tx.execute(
        "UPDATE identity_accounts SET display_name = $2 WHERE id = $1",
        params![account, name],
    )?;
    Ok(())
}

pub(crate) fn remove(tx: &mut Transaction<'_>, account: i64) -> Result<(), StoreError> {
    tx.execute(
        "DELETE FROM identity_accounts WHERE id = $1",
        params![account],
    )?;
    Ok(())
}

/// The account and its verifier of one mechanism.
pub(crate) fn with_verifier(
    reader: &mut Reader<'_>,
    address: &Address,
    hash: ScramHash,
) -> Result<Option<(i64, Account, ScramVerifier)>, StoreError> {
    let row = reader.query_one(
        &format!(
            "SELECT {COLUMNS}, s.salt, s.iterations, s.stored_key, s.server_key
             FROM identity_accounts a JOIN identity_scram s ON s.account = a.id
             WHERE a.domain = $1 AND a.username = $2 AND s.mechanism = $3"
        ),
        params![address.domain(), address.user(), hash.mechanism()],
    )?;
    let Some(row) = row else { return Ok(None) };
    let (id, account) = from_row(&row)?;
    let verifier = ScramVerifier {
        salt: row.get(8)?,
        iterations: row.get(9)?,
        stored_key: row.get(10)?,
        server_key: row.get(11)?,
        exists: true,
    };
    Ok(Some((id, account, verifier)))
}

/// What a password that is handed over is checked against: the best there is.
pub(crate) fn with_any_verifier(
    reader: &mut Reader<'_>,
    address: &Address,
) -> Result<Option<(i64, Account, ScramHash, ScramVerifier)>, StoreError> {
    for hash in [ScramHash::Sha256, ScramHash::Sha512, ScramHash::Sha1] {
        if let Some((id, account, verifier)) = with_verifier(reader, address, hash)? {
            return Ok(Some((id, account, hash, verifier)));
        }
    }
    Ok(None)
}

/// Whether an account has a verifier for every hash.
pub(crate) fn is_complete(reader: &mut Reader<'_>, account: i64) -> Result<bool, StoreError> {
    let row = reader.query_one(
        "SELECT COUNT(*) FROM identity_scram WHERE account = $1",
        params![account],
    )?;
    let count = row.map(|row| row.get::<i64>(0)).transpose()?;
    Ok(count.is_some_and(|count| count >= 3))
}

/// Domains in which accounts lack verifiers, and of which hashes.
pub(crate) fn lacking(reader: &mut Reader<'_>) -> Result<Lacking, StoreError> {
    let mut lacking = Lacking::new();
    for hash in ScramHash::ALL {
        let rows = reader.query(
            "SELECT DISTINCT a.domain FROM identity_accounts a WHERE NOT EXISTS
                 (SELECT 1 FROM identity_scram s WHERE s.account = a.id AND s.mechanism = $1)
             AND EXISTS (SELECT 1 FROM identity_scram s WHERE s.account = a.id)",
            params![hash.mechanism()],
        )?;
        for row in rows {
            lacking.entry(row.get(0)?).or_default().push(hash);
        }
    }
    Ok(lacking)
}

/// Every HA1 of an account.
pub(crate) fn digests(
    reader: &mut Reader<'_>,
    account: i64,
) -> Result<Vec<DigestVerifier>, StoreError> {
    let rows = reader.query(
        "SELECT username, algorithm, ha1 FROM identity_digest WHERE account = $1
         ORDER BY username, algorithm",
        params![account],
    )?;
    let mut found = Vec::new();
    for row in rows {
        let name = row.get::<String>(1)?;
        let algorithm = DigestAlgorithm::ALL.into_iter().find(|a| a.name() == name);
        if let Some(algorithm) = algorithm {
            found.push(DigestVerifier {
                username: row.get(0)?,
                algorithm,
                ha1: row.get(2)?,
            });
        }
    }
    Ok(found)
}

/// HA1 of an account that may log in.
pub(crate) fn ha1(
    reader: &mut Reader<'_>,
    username: &str,
    realm: &str,
    algorithm: DigestAlgorithm,
) -> Result<Option<String>, StoreError> {
    reader
        .query_one(
            "SELECT d.ha1 FROM identity_digest d JOIN identity_accounts a ON a.id = d.account
             WHERE d.username = $1 AND d.realm = $2 AND d.algorithm = $3 AND a.enabled = 1",
            params![username, realm, algorithm.name()],
        )?
        .map(|row| row.get(0))
        .transpose()
}

/// A random secret that is made once and stays.
pub(crate) fn secret(
    tx: &mut Transaction<'_>,
    name: &str,
    fresh: &[u8],
) -> Result<Vec<u8>, StoreError> {
    tx.execute(
        "INSERT INTO identity_secrets (name, value) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING",
        params![name, fresh],
    )?;
    tx.query_one(
        "SELECT value FROM identity_secrets WHERE name = $1",
        params![name],
    )?
    .ok_or_else(|| StoreError::other("a secret vanished"))?
    .get(0)
}
