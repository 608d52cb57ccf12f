//! Serials of zones that hold more than their file says.
//!
//! A secondary asks only whether the serial has grown. What other services publish changes a zone
//! without its file, so each change of it takes the next serial; kept over restarts, lest a
//! secondary that holds a later one never hears of anything again.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use omnid_hub::Record;
use omnid_store::{Database, Migration, StoreError, params};

use crate::engine::catalog::Membership;
use crate::engine::zones::ZoneId;

/// The tables.
pub(crate) const MIGRATIONS: &[Migration] = &[
    Migration {
        version: 1,
        sql: "CREATE TABLE dns_serials (
        zone TEXT NOT NULL PRIMARY KEY,
        file_serial BIGINT NOT NULL,
        published TEXT NOT NULL,
        serial BIGINT NOT NULL
    )",
    },
    Migration {
        version: 2,
        sql: "CREATE TABLE dns_secondaries (
        zone TEXT NOT NULL PRIMARY KEY,
        checked BIGINT NOT NULL
    )",
    },
    Migration {
        version: 3,
        sql: "CREATE TABLE dns_members (
        zone TEXT NOT NULL PRIMARY KEY,
        catalog TEXT NOT NULL,
        label TEXT NOT NULL,
        \"group\" TEXT
    )",
    },
];

/// A zone in the tables: its absolute name, and the view that it is in behind the last dot.
fn key(id: &ZoneId) -> String {
    let name = id.name.to_string().to_ascii_lowercase();
    match &id.view {
        Some(view) => format!("{name}@{view}"),
        None => name,
    }
}

/// Serials in the store.
pub(crate) struct Serials {
    database: Database,
    /// Zones whose serial is kept: only these cost a look into the store.
    kept: Mutex<HashSet<String>>,
    /// When the copies of a secondary were last confirmed, in seconds since 1970.
    checked: Mutex<HashMap<String, u64>>,
}

impl Serials {
    /// Of a store whose tables are there.
    pub(crate) async fn open(database: Database) -> Result<Serials, StoreError> {
        let rows = database
            .read(|tx| tx.query("SELECT zone FROM dns_serials", &[]))
            .await?;
        let zones: Result<HashSet<String>, StoreError> =
            rows.iter().map(|row| row.get(0)).collect();
        let rows = database
            .read(|tx| tx.query("SELECT zone, checked FROM dns_secondaries", &[]))
            .await?;
        let mut checked = HashMap::new();
        for row in &rows {
            checked.insert(row.get(0)?, row.get::<i64>(1)?.unsigned_abs());
        }
        Ok(Serials {
            database,
            kept: Mutex::new(zones?),
            checked: Mutex::new(checked),
        })
    }

    /// The zones that catalogs named last.
    pub(crate) async fn members(&self) -> Result<BTreeMap<ZoneId, Membership>, StoreError> {
        let sql = "SELECT zone, catalog, label, \"group\" FROM dns_members";
        let rows = self.database.read(move |tx| tx.query(sql, &[])).await?;
        let mut members = BTreeMap::new();
        for row in &rows {
            let id = |text: String| ZoneId::from_text(&text).ok();
            let (zone, catalog) = (id(row.get(0)?), id(row.get(1)?));
            if let (Some(zone), Some(catalog)) = (zone, catalog) {
                let (label, group) = (row.get(2)?, row.get(3)?);
                members.insert(
                    zone,
                    Membership {
                        catalog,
                        label,
                        group,
                    },
                );
            }
        }
        Ok(members)
    }

    /// Keeps the zones that catalogs name; on the disk when this returns. One that is gone, or is
    /// another one of the same name, was never confirmed.
    pub(crate) async fn keep_members(
        &self,
        members: &BTreeMap<ZoneId, Membership>,
    ) -> Result<(), StoreError> {
        let members = members.clone();
        self.database
            .write(move |tx| {
                tx.execute("DELETE FROM dns_members", &[])?;
                for (
                    id,
                    Membership {
                        catalog,
                        label,
                        group,
                    },
                ) in &members
                {
                    tx.execute(
                        "INSERT INTO dns_members (zone, catalog, label, \"group\")
                         VALUES ($1, $2, $3, $4)",
                        params![
                            id.to_string(),
                            catalog.to_string(),
                            label.as_str(),
                            group.clone()
                        ],
                    )?;
                }
                Ok(())
            })
            .await
    }

    /// When a secondary's copy was last confirmed.
    pub(crate) fn checked(&self, zone: &ZoneId) -> Option<u64> {
        let zone = key(zone);
        let checked = self.checked.lock().unwrap_or_else(PoisonError::into_inner);
        checked.get(&zone).copied()
    }

    /// A primary has confirmed a secondary's copy.
    pub(crate) async fn confirm(&self, zone: &ZoneId) -> Result<(), StoreError> {
        let zone = key(zone);
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs());
        self.checked
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(zone.clone(), now);
        self.database
            .write(move |tx| {
                tx.execute(
                    "DELETE FROM dns_secondaries WHERE zone = $1",
                    params![zone.as_str()],
                )?;
                tx.execute(
                    "INSERT INTO dns_secondaries (zone, checked) VALUES ($1, $2)",
                    params![zone.as_str(), now as i64],
                )?;
                Ok(())
            })
            .await
    }

    /// The serial for a zone with these records published in it: the one it had if neither its
    /// file nor they have changed, else the next. A zone in which nothing is published and never
    /// was has its file's.
    pub(crate) async fn of(
        &self,
        zone: &ZoneId,
        file_serial: u32,
        published: &[Record],
    ) -> Result<u32, StoreError> {
        let zone = key(zone);
        if !self.keep(&zone, !published.is_empty()) {
            return Ok(file_serial);
        }
        let digest = digest(published);
        self.database
            .write(move |tx| {
                let row = tx.query_one(
                    "SELECT file_serial, published, serial FROM dns_serials WHERE zone = $1",
                    params![zone.as_str()],
                )?;
                let before = match row {
                    Some(row) => Some((
                        row.get::<i64>(0)?,
                        row.get::<String>(1)?,
                        row.get::<i64>(2)?,
                    )),
                    None => None,
                };
                let serial = match before {
                    Some((file, held, serial)) => {
                        if file == i64::from(file_serial) && held == digest {
                            return Ok(serial as u32);
                        }
                        next(serial as u32, file_serial)
                    }
                    None => next(file_serial, file_serial),
                };
                tx.execute(
                    "DELETE FROM dns_serials WHERE zone = $1",
                    params![zone.as_str()],
                )?;
                tx.execute(
                    "INSERT INTO dns_serials (zone, file_serial, published, serial)
                     VALUES ($1, $2, $3, $4)",
                    params![
                        zone.as_str(),
                        i64::from(file_serial),
                        digest.as_str(),
                        i64::from(serial)
                    ],
                )?;
                Ok(serial)
            })
            .await
    }

    /// True if a zone's serial is kept, from now on at the latest if `add` says so.
    fn keep(&self, zone: &str, add: bool) -> bool {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if add && !kept.contains(zone) {
            kept.insert(zone.to_owned());
        }
        kept.contains(zone)
    }
}

/// The serial after one that was given out, and no earlier than the file's (RFC 1982).
fn next(given: u32, file: u32) -> u32 {
    let following = given.wrapping_add(1);
    if (file.wrapping_sub(following) as i32) > 0 {
        file
    } else {
        following
    }
}

fn digest(published: &[Record]) -> String {
    // Only ever compared with one made by the same program from the same kind of text.
    let mut hasher = DefaultHasher::new();
    serde_json::to_string(published)
        .unwrap_or_default()
        .hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serials_only_grow() {
        assert_eq!(next(5, 1), 6);
        assert_eq!(next(5, 2026), 2026);
        assert_eq!(next(u32::MAX, 1), 1);
        assert_eq!(next(u32::MAX, u32::MAX), 0);
    }
}
