//! What the resolver keeps over restarts: names exempt from validation, and the keys that trust
//! anchors have come to follow.

use omnid_store::{Database, Migration, StoreError, params};

use crate::resolver::{AnchorKey, Exemption, Managed, State};
use crate::wire::name::Name;

/// The component that owns the tables.
pub(crate) const COMPONENT: &str = "dns_resolver";

/// The tables.
pub(crate) const RESOLVER_MIGRATIONS: &[Migration] = &[Migration {
    version: 1,
    sql: "CREATE TABLE dns_resolver_exempt (
        name TEXT NOT NULL PRIMARY KEY,
        until BIGINT NOT NULL
    );
    CREATE TABLE dns_resolver_anchors (
        zone TEXT NOT NULL,
        key {blob} NOT NULL,
        state TEXT NOT NULL,
        since BIGINT NOT NULL,
        PRIMARY KEY (zone, key)
    )",
}];

/// What was kept.
#[derive(Default)]
pub(crate) struct Kept {
    pub(crate) exempt: Vec<Exemption>,
    pub(crate) anchors: Vec<(Name, Managed)>,
}

pub(crate) async fn load(database: &Database) -> Result<Kept, StoreError> {
    let (exempt, keys) = database
        .read(|tx| {
            let exempt = tx.query("SELECT name, until FROM dns_resolver_exempt", &[])?;
            let keys = tx.query(
                "SELECT zone, key, state, since FROM dns_resolver_anchors ORDER BY zone, since",
                &[],
            )?;
            Ok((exempt, keys))
        })
        .await?;
    let mut kept = Kept::default();
    for row in exempt {
        let (name, until) = (row.get::<String>(0)?, row.get::<i64>(1)?);
        if let Ok(name) = Name::from_text(&name) {
            let until = u64::try_from(until).ok();
            kept.exempt.push(Exemption { name, until });
        }
    }
    for row in keys {
        let (zone, state) = (row.get::<String>(0)?, row.get::<String>(2)?);
        let (Ok(zone), Some(state)) = (Name::from_text(&zone), State::from_word(&state)) else {
            continue;
        };
        let key = AnchorKey {
            data: row.get::<Vec<u8>>(1)?.into(),
            state,
            since: u64::try_from(row.get::<i64>(3)?).unwrap_or(0),
        };
        match kept.anchors.iter_mut().find(|(name, _)| *name == zone) {
            Some((_, managed)) => managed.keys.push(key),
            None => kept.anchors.push((zone, Managed { keys: vec![key] })),
        }
    }
    Ok(kept)
}

/// Keeps an exemption, or with no `exemption` forgets it.
pub(crate) async fn keep_exempt(
    database: &Database,
    name: &Name,
    exemption: Option<Exemption>,
) -> Result<(), StoreError> {
    let name = name.to_string().to_ascii_lowercase();
    database
        .write(move |tx| {
            tx.execute(
                "DELETE FROM dns_resolver_exempt WHERE name = $1",
                params![name.as_str()],
            )?;
            if let Some(exemption) = &exemption {
                let until = exemption.until.map_or(-1, |until| until as i64);
                tx.execute(
                    "INSERT INTO dns_resolver_exempt (name, until) VALUES ($1, $2)",
                    params![name.as_str(), until],
                )?;
            }
            Ok(())
        })
        .await
}

/// Keeps the keys of a zone in place of those that were.
pub(crate) async fn keep_anchor(
    database: &Database,
    zone: &Name,
    managed: Managed,
) -> Result<(), StoreError> {
    let zone = zone.to_string().to_ascii_lowercase();
    database
        .write(move |tx| {
            tx.execute(
                "DELETE FROM dns_resolver_anchors WHERE zone = $1",
                params![zone.as_str()],
            )?;
            for key in &managed.keys {
                tx.execute(
                    "INSERT INTO dns_resolver_anchors (zone, key, state, since)
                     VALUES ($1, $2, $3, $4)",
                    params![
                        zone.as_str(),
                        key.data.to_vec(),
                        key.state.word(),
                        key.since as i64
                    ],
                )?;
            }
            Ok(())
        })
        .await
}
