//! What the service keeps in the database. All of its SQL is here.

pub mod archive;
pub mod last;
pub mod offline;
pub mod roster;
pub mod storage;

use omnid_store::{Migration, Reader, StoreError};

use crate::{engine::account::Account, wire::BareJid};

/// An account with all that is remembered of it while it is in use.
///
/// # Errors
/// When the database fails, or holds what was never written.
pub fn account(reader: &mut Reader<'_>, jid: &BareJid) -> Result<Account, StoreError> {
    let mut account = Account::new(jid.clone(), roster::load(reader, jid.as_str())?);
    if let Some(content) = archive::preferences(reader, jid.as_str())? {
        account.archive = serde_json::from_str(&content).map_err(StoreError::other)?;
    }
    Ok(account)
}

/// The name that these tables' migrations are counted under.
pub const COMPONENT: &str = "xmpp";

/// The schema, step by step.
pub const MIGRATIONS: &[Migration] = &[ACCOUNTS, ARCHIVE];

const ACCOUNTS: Migration = Migration {
    version: 1,
    sql: "
        CREATE TABLE xmpp_roster (
            account TEXT NOT NULL,
            contact TEXT NOT NULL,
            listed BIGINT NOT NULL,
            display_name TEXT,
            group_names TEXT NOT NULL,
            subscription BIGINT NOT NULL,
            approved BIGINT NOT NULL,
            request {blob},
            PRIMARY KEY (account, contact)
        );
        CREATE TABLE xmpp_roster_version (
            account TEXT NOT NULL PRIMARY KEY,
            version BIGINT NOT NULL
        );
        CREATE TABLE xmpp_offline (
            id {serial},
            account TEXT NOT NULL,
            stored_at BIGINT NOT NULL,
            stanza {blob} NOT NULL
        );
        CREATE INDEX xmpp_offline_by_account ON xmpp_offline (account, id);
        CREATE TABLE xmpp_last (
            account TEXT NOT NULL PRIMARY KEY,
            left_at BIGINT NOT NULL,
            status TEXT NOT NULL
        );
        CREATE TABLE xmpp_vcard (
            account TEXT NOT NULL PRIMARY KEY,
            content TEXT NOT NULL
        );
        CREATE TABLE xmpp_private (
            account TEXT NOT NULL,
            namespace TEXT NOT NULL,
            element TEXT NOT NULL,
            content TEXT NOT NULL,
            PRIMARY KEY (account, namespace, element)
        )",
};

const ARCHIVE: Migration = Migration {
    version: 2,
    sql: "
        CREATE TABLE xmpp_archive (
            id BIGINT NOT NULL PRIMARY KEY,
            owner TEXT NOT NULL,
            peer TEXT NOT NULL,
            resource TEXT NOT NULL,
            stanza {blob} NOT NULL
        );
        CREATE INDEX xmpp_archive_by_owner ON xmpp_archive (owner, id);
        CREATE TABLE xmpp_archive_preferences (
            account TEXT NOT NULL PRIMARY KEY,
            content TEXT NOT NULL
        )",
};

#[cfg(test)]
mod tests;
