//! What the service keeps in the database. All of its SQL is here.

pub mod archive;
pub mod blocking;
pub mod last;
pub mod offline;
pub mod pubsub;
pub mod rooms;
pub mod roster;
pub mod storage;
pub mod tokens;
pub mod upload;
pub mod whole;

use omnid_store::{Database, Migration, Reader, StoreError};

use crate::{
    engine::{account::Account, pubsub::Item},
    wire::{BareJid, ns},
};

/// An account with all that is remembered of it while it is in use.
///
/// # Errors
/// When the database fails, or holds what was never written.
pub fn account(reader: &mut Reader<'_>, jid: &BareJid) -> Result<Account, StoreError> {
    let mut account = Account::new(jid.clone(), roster::load(reader, jid.as_str())?);
    if let Some(content) = archive::preferences(reader, jid.as_str())? {
        account.archive = serde_json::from_str(&content).map_err(StoreError::other)?;
    }
    account.set_blocked(blocking::load(reader, jid.as_str())?);
    account.nodes = pubsub::nodes(reader, jid.as_str())?.into_iter().collect();
    if account.nodes.contains_key(ns::AVATAR_METADATA) {
        let last = pubsub::items(reader, jid.as_str(), ns::AVATAR_METADATA, 1)?;
        let metadata = last.first().and_then(Item::element);
        let info = metadata.as_ref();
        let info = info.and_then(|metadata| metadata.get_child("info", ns::AVATAR_METADATA));
        let hash = info.and_then(|info| info.get_attr("id"));
        account.set_photo(hash.map(ToOwned::to_owned));
    }
    Ok(account)
}

/// The name that these tables' migrations are counted under.
pub const COMPONENT: &str = "xmpp";

/// The schema, step by step.
pub const MIGRATIONS: &[Migration] = &[ACCOUNTS, ARCHIVE, PUBSUB, ROOMS, UPLOAD, TOKENS];

const TOKENS: Migration = Migration {
    version: 6,
    sql: "
        CREATE TABLE xmpp_token (
            id {serial},
            account TEXT NOT NULL,
            agent TEXT NOT NULL,
            mechanism TEXT NOT NULL,
            mark TEXT NOT NULL,
            secret TEXT NOT NULL,
            given_at BIGINT NOT NULL,
            expires_at BIGINT NOT NULL
        );
        CREATE INDEX xmpp_token_by_account ON xmpp_token (account, agent);
        CREATE INDEX xmpp_token_by_expiry ON xmpp_token (expires_at)",
};

/// The name that the table of ids from elsewhere is counted under,
pub const NAMES_COMPONENT: &str = "xmpp-archive-names";

/// and its schema. Archives that were kept elsewhere have ids that are not ours, and clients hold on
/// to them: they stay valid, beside the number that orders the archive here.
pub const NAMES_MIGRATIONS: &[Migration] = &[Migration {
    version: 1,
    sql: "
        CREATE TABLE xmpp_archive_name (
            owner TEXT NOT NULL,
            name TEXT NOT NULL,
            id BIGINT NOT NULL,
            stamped BIGINT NOT NULL,
            PRIMARY KEY (owner, name)
        );
        CREATE INDEX xmpp_archive_name_by_id ON xmpp_archive_name (id)",
}];

/// Brings all tables up to date.
///
/// # Errors
/// When the database fails.
pub async fn migrate(database: &Database) -> Result<(), StoreError> {
    database.migrate(COMPONENT, MIGRATIONS).await?;
    database.migrate(NAMES_COMPONENT, NAMES_MIGRATIONS).await
}

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

const PUBSUB: Migration = Migration {
    version: 3,
    sql: "
        CREATE TABLE xmpp_pubsub_node (
            owner TEXT NOT NULL,
            node TEXT NOT NULL,
            config TEXT NOT NULL,
            PRIMARY KEY (owner, node)
        );
        CREATE TABLE xmpp_pubsub_item (
            id {serial},
            owner TEXT NOT NULL,
            node TEXT NOT NULL,
            item TEXT NOT NULL,
            payload TEXT NOT NULL,
            UNIQUE (owner, node, item)
        );
        CREATE TABLE xmpp_blocked (
            account TEXT NOT NULL,
            jid TEXT NOT NULL,
            PRIMARY KEY (account, jid)
        )",
};

const ROOMS: Migration = Migration {
    version: 4,
    sql: "
        CREATE TABLE xmpp_room (
            room TEXT NOT NULL PRIMARY KEY,
            host TEXT NOT NULL,
            creator TEXT NOT NULL,
            title TEXT NOT NULL,
            public BIGINT NOT NULL,
            content TEXT NOT NULL
        );
        CREATE INDEX xmpp_room_by_creator ON xmpp_room (creator)",
};

const UPLOAD: Migration = Migration {
    version: 5,
    sql: "
        CREATE TABLE xmpp_upload (
            slot TEXT NOT NULL PRIMARY KEY,
            account TEXT NOT NULL,
            name TEXT NOT NULL,
            kind TEXT NOT NULL,
            size BIGINT NOT NULL,
            given_at BIGINT NOT NULL,
            blob TEXT
        );
        CREATE INDEX xmpp_upload_by_account ON xmpp_upload (account);
        CREATE INDEX xmpp_upload_by_time ON xmpp_upload (given_at)",
};

#[cfg(test)]
mod tests;
