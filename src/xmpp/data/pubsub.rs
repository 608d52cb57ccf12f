//! Nodes that accounts publish at (XEP-0163), and their items.

use omnid_store::{Reader, StoreError, Transaction, params};

use crate::engine::pubsub::{Item, NodeConfig};

/// An account's nodes with their configurations.
///
/// # Errors
/// When the database fails.
pub fn nodes(
    reader: &mut Reader<'_>,
    owner: &str,
) -> Result<Vec<(String, NodeConfig)>, StoreError> {
    let rows = reader.query(
        "SELECT node, config FROM xmpp_pubsub_node WHERE owner = $1",
        params![owner],
    )?;
    let nodes = rows.iter().map(|row| {
        let config = serde_json::from_str(&row.get::<String>(1)?).map_err(StoreError::other)?;
        Ok((row.get(0)?, config))
    });
    nodes.collect()
}

/// Makes a node, or configures it anew.
///
/// # Errors
/// When the database fails.
pub fn set_node(
    tx: &mut Transaction<'_>,
    owner: &str,
    node: &str,
    config: &NodeConfig,
) -> Result<(), StoreError> {
    let content = serde_json::to_string(config).map_err(StoreError::other)?;
    tx.execute(
        "INSERT INTO xmpp_pubsub_node (owner, node, config) VALUES ($1, $2, $3)
         ON CONFLICT (owner, node) DO UPDATE SET config = excluded.config",
        params![owner, node, content],
    )?;
    trim(tx, owner, node, config)
}

/// Deletes a node with its items.
///
/// # Errors
/// When the database fails.
pub fn delete_node(tx: &mut Transaction<'_>, owner: &str, node: &str) -> Result<(), StoreError> {
    purge(tx, owner, node)?;
    tx.execute(
        "DELETE FROM xmpp_pubsub_node WHERE owner = $1 AND node = $2",
        params![owner, node],
    )?;
    Ok(())
}

/// Deletes a node's items.
///
/// # Errors
/// When the database fails.
pub fn purge(tx: &mut Transaction<'_>, owner: &str, node: &str) -> Result<(), StoreError> {
    tx.execute(
        "DELETE FROM xmpp_pubsub_item WHERE owner = $1 AND node = $2",
        params![owner, node],
    )?;
    Ok(())
}

/// Publishes at a node, which is made or configured as said.
///
/// # Errors
/// When the database fails.
pub fn publish(
    tx: &mut Transaction<'_>,
    owner: &str,
    node: &str,
    config: &NodeConfig,
    items: &[Item],
) -> Result<(), StoreError> {
    set_node(tx, owner, node, config)?;
    if !config.persist_items {
        return Ok(());
    }
    for item in items {
        retract(tx, owner, node, &item.id)?;
        tx.execute(
            "INSERT INTO xmpp_pubsub_item (owner, node, item, payload) VALUES ($1, $2, $3, $4)",
            params![owner, node, &*item.id, &*item.payload],
        )?;
    }
    trim(tx, owner, node, config)
}

/// Deletes the oldest items of more than there may be.
fn trim(
    tx: &mut Transaction<'_>,
    owner: &str,
    node: &str,
    config: &NodeConfig,
) -> Result<(), StoreError> {
    tx.execute(
        "DELETE FROM xmpp_pubsub_item WHERE owner = $1 AND node = $2 AND id NOT IN
             (SELECT id FROM xmpp_pubsub_item WHERE owner = $1 AND node = $2
              ORDER BY id DESC LIMIT $3)",
        params![owner, node, i64::from(config.max_items)],
    )?;
    Ok(())
}

/// Takes an item back. Whether there was one.
///
/// # Errors
/// When the database fails.
pub fn retract(
    tx: &mut Transaction<'_>,
    owner: &str,
    node: &str,
    item: &str,
) -> Result<bool, StoreError> {
    let gone = tx.execute(
        "DELETE FROM xmpp_pubsub_item WHERE owner = $1 AND node = $2 AND item = $3",
        params![owner, node, item],
    )?;
    Ok(gone > 0)
}

/// A node's last items, oldest first.
///
/// # Errors
/// When the database fails.
pub fn items(
    reader: &mut Reader<'_>,
    owner: &str,
    node: &str,
    most: u32,
) -> Result<Vec<Item>, StoreError> {
    let rows = reader.query(
        "SELECT item, payload FROM xmpp_pubsub_item WHERE owner = $1 AND node = $2
         ORDER BY id DESC LIMIT $3",
        params![owner, node, i64::from(most)],
    )?;
    let items = rows.iter().rev().map(|row| {
        Ok(Item {
            id: row.get(0)?,
            payload: row.get(1)?,
        })
    });
    items.collect()
}

/// One item.
///
/// # Errors
/// When the database fails.
pub fn item(
    reader: &mut Reader<'_>,
    owner: &str,
    node: &str,
    item: &str,
) -> Result<Option<Item>, StoreError> {
    let row = reader.query_one(
        "SELECT item, payload FROM xmpp_pubsub_item WHERE owner = $1 AND node = $2 AND item = $3",
        params![owner, node, item],
    )?;
    let item = row.map(|row| {
        Ok(Item {
            id: row.get(0)?,
            payload: row.get(1)?,
        })
    });
    item.transpose()
}
