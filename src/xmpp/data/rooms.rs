//! Rooms that stay.

use omnid_store::{Reader, StoreError, Transaction, params};

use crate::engine::room::Kept;

/// What is kept of a room, if it is one that stays.
///
/// # Errors
/// When the database fails, or holds what was never written.
pub fn load(reader: &mut Reader<'_>, room: &str) -> Result<Option<Kept>, StoreError> {
    let row = reader.query_one(
        "SELECT content FROM xmpp_room WHERE room = $1",
        params![room],
    )?;
    row.map(|row| serde_json::from_str(&row.get::<String>(0)?).map_err(StoreError::other))
        .transpose()
}

/// Keeps a room.
///
/// # Errors
/// When the database fails.
pub fn keep(
    tx: &mut Transaction<'_>,
    room: &str,
    host: &str,
    kept: &Kept,
) -> Result<(), StoreError> {
    let content = serde_json::to_string(kept).map_err(StoreError::other)?;
    tx.execute(
        "INSERT INTO xmpp_room (room, host, creator, title, public, content)
         VALUES ($1, $2, $3, $4, $5, $6)
         ON CONFLICT (room) DO UPDATE SET title = excluded.title, public = excluded.public,
             content = excluded.content",
        params![
            room,
            host,
            &*kept.creator,
            &*kept.config.name,
            kept.config.public,
            content
        ],
    )?;
    Ok(())
}

/// Forgets a room.
///
/// # Errors
/// When the database fails.
pub fn forget(tx: &mut Transaction<'_>, room: &str) -> Result<(), StoreError> {
    tx.execute("DELETE FROM xmpp_room WHERE room = $1", params![room])?;
    Ok(())
}

/// All rooms.
///
/// # Errors
/// When the database fails.
pub fn all(reader: &mut Reader<'_>) -> Result<Vec<String>, StoreError> {
    let rows = reader.query("SELECT room FROM xmpp_room ORDER BY room", params![])?;
    rows.iter().map(|row| row.get(0)).collect()
}

/// Which rooms somebody has made that stay.
///
/// # Errors
/// When the database fails.
pub fn made_by(reader: &mut Reader<'_>, creator: &str) -> Result<Vec<String>, StoreError> {
    let rows = reader.query(
        "SELECT room FROM xmpp_room WHERE creator = $1",
        params![creator],
    )?;
    rows.iter().map(|row| row.get(0)).collect()
}

/// Rooms of a host that everybody may see, with their names, behind `after`.
///
/// # Errors
/// When the database fails.
pub fn public(
    reader: &mut Reader<'_>,
    host: &str,
    after: &str,
    most: u32,
) -> Result<Vec<(String, String)>, StoreError> {
    let rows = reader.query(
        "SELECT room, title FROM xmpp_room WHERE host = $1 AND public = $2 AND room > $3
         ORDER BY room LIMIT $4",
        params![host, true, after, i64::from(most)],
    )?;
    rows.iter()
        .map(|row| Ok((row.get(0)?, row.get(1)?)))
        .collect()
}
