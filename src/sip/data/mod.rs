//! What outlives a restart: registrations, and the key that signs the ways of calls.

use std::{net::SocketAddr, sync::Arc};

use omnid_identity::Address;
use omnid_store::{Database, Migration, Reader, Row, StoreError, Transaction, params};

use crate::{
    engine::{Binding, Flow},
    wire::Transport,
};

/// The tables.
pub(crate) const MIGRATIONS: &[Migration] = &[Migration {
    version: 1,
    sql: include_str!("1.sql"),
}];

/// A connection that no longer is: those that were open at a restart.
const GONE: u64 = u64::MAX;

/// The secret that is the same at every start; `fresh` becomes it at the first one.
pub(crate) async fn key(database: &Database, fresh: [u8; 32]) -> Result<Vec<u8>, StoreError> {
    database
        .write(move |tx| {
            tx.execute(
                "INSERT INTO sip_secrets (name, value) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING",
                params!["key", fresh.to_vec()],
            )?;
            let row = tx.query_one(
                "SELECT value FROM sip_secrets WHERE name = $1",
                params!["key"],
            )?;
            row.map_or_else(|| Ok(fresh.to_vec()), |row| row.get(0))
        })
        .await
}

/// All registrations that have not run out, by user; drops those that have.
pub(crate) async fn load(
    database: &Database,
    unix: u64,
) -> Result<Vec<(Address, Vec<Binding>)>, StoreError> {
    let now = stored(unix);
    database
        .write(move |tx| {
            tx.execute("DELETE FROM sip_bindings WHERE expires <= $1", params![now])?;
            read(tx)
        })
        .await
}

fn read(reader: &mut Reader<'_>) -> Result<Vec<(Address, Vec<Binding>)>, StoreError> {
    let mut users: Vec<(Address, Vec<Binding>)> = Vec::new();
    reader.query_each(
        "SELECT address, uri, q, expires, since, call_id, cseq, transport, local, remote, instance,
            user_agent, behind_nat
         FROM sip_bindings ORDER BY address, since",
        params![],
        |row| {
            // A row of a later version that makes no sense to this one is no reason not to start.
            if let Some((user, binding)) = binding(&row)? {
                match users.last_mut() {
                    Some((last, bindings)) if *last == user => bindings.push(binding),
                    _ => users.push((user, vec![binding])),
                }
            }
            Ok(true)
        },
    )?;
    Ok(users)
}

fn binding(row: &Row) -> Result<Option<(Address, Binding)>, StoreError> {
    let number = |index| -> Result<u64, StoreError> {
        Ok(u64::try_from(row.get::<i64>(index)?).unwrap_or(0))
    };
    let text = |index| -> Result<Box<str>, StoreError> { Ok(row.get::<String>(index)?.into()) };
    let (Ok(user), Some(transport), Ok(local), Ok(remote)) = (
        text(0)?.parse::<Address>(),
        Transport::from_bytes(text(7)?.as_bytes()),
        text(8)?.parse::<SocketAddr>(),
        text(9)?.parse::<SocketAddr>(),
    ) else {
        return Ok(None);
    };
    let binding = Binding {
        uri: text(1)?,
        q: u16::try_from(number(2)?).unwrap_or(1000),
        expires: number(3)?,
        since: number(4)?,
        call_id: text(5)?,
        cseq: u32::try_from(number(6)?).unwrap_or(0),
        flow: Flow {
            transport,
            local,
            remote,
            connection: if transport.is_reliable() { GONE } else { 0 },
        },
        instance: row.get::<Option<String>>(10)?.map(Into::into),
        user_agent: text(11)?,
        behind_nat: row.get::<i64>(12)? != 0,
    };
    Ok(Some((user, binding)))
}

/// Writes down what these users' bindings are at the moment of writing, so that no write that was
/// held up puts older ones over newer.
pub(crate) async fn save(
    database: &Database,
    users: Vec<Address>,
    bindings: impl Fn(&Address) -> Vec<Arc<Binding>> + Send + 'static,
) -> Result<(), StoreError> {
    database
        .write(move |tx| {
            for user in &users {
                replace(tx, user, &bindings(user))?;
            }
            Ok(())
        })
        .await
}

fn replace(
    tx: &mut Transaction<'_>,
    user: &Address,
    bindings: &[Arc<Binding>],
) -> Result<(), StoreError> {
    tx.execute(
        "DELETE FROM sip_bindings WHERE address = $1",
        params![user.as_str()],
    )?;
    for binding in bindings {
        let flow = &binding.flow;
        tx.execute(
            "INSERT INTO sip_bindings (address, uri, q, expires, since, call_id, cseq, transport,
                local, remote, instance, user_agent, behind_nat)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)",
            params![
                user.as_str(),
                &*binding.uri,
                i64::from(binding.q),
                stored(binding.expires),
                stored(binding.since),
                &*binding.call_id,
                i64::from(binding.cseq),
                flow.transport.as_str(),
                flow.local.to_string(),
                flow.remote.to_string(),
                binding.instance.as_deref().map(str::to_owned),
                &*binding.user_agent,
                i64::from(binding.behind_nat),
            ],
        )?;
    }
    Ok(())
}

fn stored(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
