//! Archives of messages (XEP-0313): of accounts, and of rooms, which are archives by their address
//! too. An entry's id is the microsecond that it was archived in, and no two have the same: order by
//! id is order in time.

use std::collections::HashMap;

use bytes::Bytes;
use omnid_store::{Reader, Row, StoreError, Transaction, params};

use super::whole::Archived;

/// A message as it is archived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Whose archive.
    pub owner: Box<str>,
    /// Its id.
    pub id: u64,
    /// The other side: a bare address,
    pub peer: Box<str>,
    /// and its resource; empty if it had none.
    pub resource: Box<str>,
    /// The stanza.
    pub stanza: Bytes,
}

/// Which entries are asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// From this one on.
    pub from: u64,
    /// Up to this one; 0 means the end.
    pub to: u64,
    /// With this side of the conversation: bare address, and resource if it matters.
    pub with: Option<(String, Option<String>)>,
    /// The last ones first.
    pub backwards: bool,
    /// How many.
    pub limit: u32,
}

/// Writes entries. One that is there already, because the answer to the write was lost, is not
/// written again; one whose id another entry has gets an id of its own, behind all others.
///
/// # Errors
/// When the database fails.
pub fn append(tx: &mut Transaction<'_>, entries: &[Entry]) -> Result<(), StoreError> {
    for entry in entries {
        if insert(tx, entry.id, entry)? || is_there(tx, entry)? {
            continue;
        }
        let free = last(tx)?.saturating_add(1);
        if !insert(tx, free, entry)? {
            return Err(StoreError::other("the archive has no ids left"));
        }
    }
    Ok(())
}

/// Whether the id was free.
fn insert(tx: &mut Transaction<'_>, entry_id: u64, entry: &Entry) -> Result<bool, StoreError> {
    let inserted = tx.execute(
        "INSERT INTO xmpp_archive (id, owner, peer, resource, stanza)
         VALUES ($1, $2, $3, $4, $5) ON CONFLICT (id) DO NOTHING",
        params![
            id(entry_id),
            &*entry.owner,
            &*entry.peer,
            &*entry.resource,
            entry.stanza.to_vec()
        ],
    )?;
    Ok(inserted > 0)
}

/// Whether the entry with that id is this one.
fn is_there(tx: &mut Transaction<'_>, entry: &Entry) -> Result<bool, StoreError> {
    let there = find(tx, &entry.owner, entry.id)?;
    Ok(there.is_some_and(|(_, stanza)| stanza == entry.stanza))
}

fn id(id: u64) -> i64 {
    i64::try_from(id).unwrap_or(i64::MAX)
}

/// Ids and stanzas of the entries that `filter` lets through, oldest first.
///
/// # Errors
/// When the database fails.
pub fn page(
    reader: &mut Reader<'_>,
    owner: &str,
    filter: &Filter,
) -> Result<Vec<(u64, Bytes)>, StoreError> {
    let order = if filter.backwards { "DESC" } else { "ASC" };
    let (peer, resource) = match &filter.with {
        Some((peer, resource)) => (Some(peer.as_str()), resource.as_deref()),
        None => (None, None),
    };
    let to = match filter.to {
        0 => i64::MAX,
        to => id(to),
    };
    let with = match (peer, resource) {
        (None, _) => "AND $4 = '' AND $5 = ''",
        (Some(_), None) => "AND peer = $4 AND $5 = ''",
        (Some(_), Some(_)) => "AND peer = $4 AND resource = $5",
    };
    let rows = reader.query(
        &format!(
            "SELECT id, stanza FROM xmpp_archive
             WHERE owner = $1 AND id >= $2 AND id <= $3 {with} ORDER BY id {order} LIMIT $6"
        ),
        params![
            owner,
            id(filter.from),
            to,
            peer.unwrap_or_default(),
            resource.unwrap_or_default(),
            i64::from(filter.limit)
        ],
    )?;
    let mut found = rows.iter().map(entry).collect::<Result<Vec<_>, _>>()?;
    if filter.backwards {
        found.reverse();
    }
    Ok(found)
}

fn entry(row: &Row) -> Result<(u64, Bytes), StoreError> {
    Ok((row.get(0)?, row.get::<Vec<u8>>(1)?.into()))
}

/// One entry.
///
/// # Errors
/// When the database fails.
pub fn find(
    reader: &mut Reader<'_>,
    owner: &str,
    entry_id: u64,
) -> Result<Option<(u64, Bytes)>, StoreError> {
    let row = reader.query_one(
        "SELECT id, stanza FROM xmpp_archive WHERE owner = $1 AND id = $2",
        params![owner, id(entry_id)],
    )?;
    row.as_ref().map(entry).transpose()
}

/// What an entry from elsewhere is called there, and when it was archived, in microseconds since
/// 1970.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name {
    /// The id that clients know.
    pub name: String,
    /// When.
    pub stamped: u64,
}

/// The entry that has that name, in either way of naming.
///
/// # Errors
/// When the database fails.
pub fn named(reader: &mut Reader<'_>, owner: &str, name: &str) -> Result<Option<u64>, StoreError> {
    let row = reader.query_one(
        "SELECT id FROM xmpp_archive_name WHERE owner = $1 AND name = $2",
        params![owner, name],
    )?;
    if let Some(row) = row {
        return Ok(Some(row.get(0)?));
    }
    // Ours are written in one way only.
    let ours = name.parse::<u64>().ok().filter(|id| id.to_string() == name);
    let Some(ours) = ours.filter(|id| i64::try_from(*id).is_ok()) else {
        return Ok(None);
    };
    Ok(find(reader, owner, ours)?.map(|(id, _)| id))
}

/// Names of the entries between two ids, by id.
///
/// # Errors
/// When the database fails.
pub fn names(
    reader: &mut Reader<'_>,
    owner: &str,
    first: u64,
    last: u64,
) -> Result<HashMap<u64, Name>, StoreError> {
    let rows = reader.query(
        "SELECT id, name, stamped FROM xmpp_archive_name
         WHERE id >= $2 AND id <= $3 AND owner = $1",
        params![owner, id(first), id(last)],
    )?;
    let named = rows.iter().map(|row| {
        let name = Name {
            name: row.get(1)?,
            stamped: row.get(2)?,
        };
        Ok((row.get(0)?, name))
    });
    named.collect()
}

/// Puts an entry from elsewhere where it belongs in time. Whether it was not there yet.
///
/// # Errors
/// When the database fails.
pub fn restore(
    tx: &mut Transaction<'_>,
    owner: &str,
    message: &Archived,
) -> Result<bool, StoreError> {
    if named(tx, owner, &message.name)?.is_some() {
        return Ok(false);
    }
    let entry = |entry_id| Entry {
        owner: owner.into(),
        id: entry_id,
        peer: message.peer.clone(),
        resource: message.resource.clone(),
        stanza: message.stanza.clone(),
    };
    // An id that could be ours, from here or from a server with the same custom.
    if message.name == message.at.to_string() && insert(tx, message.at, &entry(message.at))? {
        return Ok(true);
    }
    let mut free = message.at;
    if !insert(tx, free, &entry(free))? {
        let row = tx.query_one(
            "SELECT a.id FROM xmpp_archive a WHERE a.id >= $1 AND NOT EXISTS
                 (SELECT 1 FROM xmpp_archive b WHERE b.id = a.id + 1)
             ORDER BY a.id LIMIT 1",
            params![id(free)],
        )?;
        let end = row.map(|row| row.get::<u64>(0)).transpose()?;
        free = end.unwrap_or(free).saturating_add(1);
        if !insert(tx, free, &entry(free))? {
            return Err(StoreError::other("the archive has no ids left"));
        }
    }
    tx.execute(
        "INSERT INTO xmpp_archive_name (owner, name, id, stamped) VALUES ($1, $2, $3, $4)",
        params![owner, &*message.name, id(free), id(message.at)],
    )?;
    Ok(true)
}

/// A whole archive, the oldest entry first.
///
/// # Errors
/// When the database fails.
pub fn whole(reader: &mut Reader<'_>, owner: &str) -> Result<Vec<Archived>, StoreError> {
    let mut names = names(reader, owner, 0, u64::MAX)?;
    let rows = reader.query(
        "SELECT id, peer, resource, stanza FROM xmpp_archive WHERE owner = $1 ORDER BY id",
        params![owner],
    )?;
    let entries = rows.iter().map(|row| {
        let entry_id = row.get::<u64>(0)?;
        let name = names.remove(&entry_id).unwrap_or_else(|| Name {
            name: entry_id.to_string(),
            stamped: entry_id,
        });
        Ok(Archived {
            name: name.name,
            at: name.stamped,
            peer: row.get::<String>(1)?.into(),
            resource: row.get::<String>(2)?.into(),
            stanza: row.get::<Vec<u8>>(3)?.into(),
        })
    });
    entries.collect()
}

/// The first and last entry's ids.
///
/// # Errors
/// When the database fails.
pub fn ends(reader: &mut Reader<'_>, owner: &str) -> Result<Option<(u64, u64)>, StoreError> {
    let row = reader.query_one(
        "SELECT MIN(id), MAX(id) FROM xmpp_archive WHERE owner = $1",
        params![owner],
    )?;
    let Some(row) = row else { return Ok(None) };
    let ends = (row.get::<Option<u64>>(0)?, row.get::<Option<u64>>(1)?);
    Ok(ends.0.zip(ends.1))
}

/// The last id that was ever given.
///
/// # Errors
/// When the database fails.
pub fn last(reader: &mut Reader<'_>) -> Result<u64, StoreError> {
    let row = reader.query_one("SELECT MAX(id) FROM xmpp_archive", params![])?;
    let last = row.map(|row| row.get::<Option<u64>>(0)).transpose()?;
    Ok(last.flatten().unwrap_or_default())
}

/// Puts another stanza in an entry's place. Whether there was one.
///
/// # Errors
/// When the database fails.
pub fn replace(
    tx: &mut Transaction<'_>,
    owner: &str,
    entry_id: u64,
    stanza: &[u8],
) -> Result<bool, StoreError> {
    let changed = tx.execute(
        "UPDATE xmpp_archive SET stanza = $3 WHERE owner = $1 AND id = $2",
        params![owner, id(entry_id), stanza.to_vec()],
    )?;
    Ok(changed > 0)
}

/// Deletes up to `most` entries that are older than `before`. How many there were.
///
/// # Errors
/// When the database fails.
pub fn expire(tx: &mut Transaction<'_>, before: u64, most: u32) -> Result<u64, StoreError> {
    tx.execute(
        "DELETE FROM xmpp_archive_name WHERE id IN
             (SELECT id FROM xmpp_archive WHERE id < $1 ORDER BY id LIMIT $2)",
        params![id(before), i64::from(most)],
    )?;
    tx.execute(
        "DELETE FROM xmpp_archive WHERE id IN
             (SELECT id FROM xmpp_archive WHERE id < $1 ORDER BY id LIMIT $2)",
        params![id(before), i64::from(most)],
    )
}

/// Deletes a whole archive.
///
/// # Errors
/// When the database fails.
pub fn clear(tx: &mut Transaction<'_>, owner: &str) -> Result<(), StoreError> {
    tx.execute("DELETE FROM xmpp_archive WHERE owner = $1", params![owner])?;
    tx.execute(
        "DELETE FROM xmpp_archive_name WHERE owner = $1",
        params![owner],
    )?;
    Ok(())
}

/// What an account wants archived, as it was written.
///
/// # Errors
/// When the database fails.
pub fn preferences(reader: &mut Reader<'_>, account: &str) -> Result<Option<String>, StoreError> {
    let row = reader.query_one(
        "SELECT content FROM xmpp_archive_preferences WHERE account = $1",
        params![account],
    )?;
    row.map(|row| row.get(0)).transpose()
}

/// Writes what an account wants archived.
///
/// # Errors
/// When the database fails.
pub fn set_preferences(
    tx: &mut Transaction<'_>,
    account: &str,
    content: &str,
) -> Result<(), StoreError> {
    tx.execute(
        "INSERT INTO xmpp_archive_preferences (account, content) VALUES ($1, $2)
         ON CONFLICT (account) DO UPDATE SET content = excluded.content",
        params![account, content],
    )?;
    Ok(())
}
