//! Rosters.

use bytes::Bytes;
use omnid_store::{Reader, Row, StoreError, Transaction, params};

use crate::{
    engine::{
        roster::{Contact, Roster, RosterChange},
        subscription::Subscription,
    },
    wire::BareJid,
};

/// An account's roster; empty if it never had one.
///
/// # Errors
/// When the database fails, or holds what was never written.
pub fn load(reader: &mut Reader<'_>, account: &str) -> Result<Roster, StoreError> {
    let version = reader.query_one(
        "SELECT version FROM xmpp_roster_version WHERE account = $1",
        params![account],
    )?;
    let version = version
        .map(|row| row.get::<u64>(0))
        .transpose()?
        .unwrap_or_default();
    let rows = reader.query(
        "SELECT contact, listed, display_name, group_names, subscription, approved, request
         FROM xmpp_roster WHERE account = $1",
        params![account],
    )?;
    let contacts = rows.iter().map(contact).collect::<Result<Vec<_>, _>>()?;
    Ok(Roster::new(contacts, version))
}

fn contact(row: &Row) -> Result<(BareJid, Contact), StoreError> {
    let jid = BareJid::new(&row.get::<String>(0)?).map_err(StoreError::other)?;
    let groups = serde_json::from_str::<Vec<Box<str>>>(&row.get::<String>(3)?);
    let contact = Contact {
        listed: row.get(1)?,
        name: row.get::<Option<String>>(2)?.map(Into::into),
        groups: groups.map_err(StoreError::other)?,
        subscription: Subscription::from_bits(row.get(4)?),
        approved: row.get(5)?,
        request: row.get::<Option<Vec<u8>>>(6)?.map(Bytes::from),
    };
    Ok((jid, contact))
}

/// Writes changes of one roster.
///
/// # Errors
/// When the database fails.
pub fn write(
    tx: &mut Transaction<'_>,
    account: &str,
    changes: &[RosterChange],
) -> Result<(), StoreError> {
    for change in changes {
        let contact = change.contact.as_str();
        match &change.after {
            Some(after) => {
                let groups = serde_json::to_string(&after.groups).map_err(StoreError::other)?;
                let request = after.request.as_ref().map(|bytes| bytes.to_vec());
                tx.execute(
                    "INSERT INTO xmpp_roster (account, contact, listed, display_name,
                         group_names, subscription, approved, request)
                     VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
                     ON CONFLICT (account, contact) DO UPDATE SET
                         listed = excluded.listed, display_name = excluded.display_name,
                         group_names = excluded.group_names,
                         subscription = excluded.subscription, approved = excluded.approved,
                         request = excluded.request",
                    params![
                        account,
                        contact,
                        after.listed,
                        after.name.as_deref(),
                        groups,
                        after.subscription.to_bits(),
                        after.approved,
                        request,
                    ],
                )?;
            }
            None => {
                tx.execute(
                    "DELETE FROM xmpp_roster WHERE account = $1 AND contact = $2",
                    params![account, contact],
                )?;
            }
        }
        if change.visible {
            let version = i64::try_from(change.version).unwrap_or(i64::MAX);
            tx.execute(
                "INSERT INTO xmpp_roster_version (account, version) VALUES ($1, $2)
                 ON CONFLICT (account) DO UPDATE SET version = excluded.version",
                params![account, version],
            )?;
        }
    }
    Ok(())
}
