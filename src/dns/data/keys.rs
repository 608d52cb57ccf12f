//! Keys of signed zones and their states, with the last serial that a zone was signed under: in the
//! store before anything of them is published.

use omnid_store::{Database, Migration, StoreError, params};

/// The tables.
pub(crate) const KEY_MIGRATIONS: &[Migration] = &[Migration {
    version: 1,
    sql: "CREATE TABLE dns_keys (
        zone TEXT NOT NULL PRIMARY KEY,
        ring TEXT NOT NULL,
        serial BIGINT NOT NULL
    )",
}];

/// Keys in the store.
pub(crate) struct KeyStore {
    database: Database,
}

impl KeyStore {
    pub(crate) async fn open(database: Database) -> Result<KeyStore, StoreError> {
        database.migrate("dns-keys", KEY_MIGRATIONS).await?;
        Ok(KeyStore { database })
    }

    /// What is kept of a zone; the serial is negative if it was never signed.
    pub(crate) async fn load(&self, zone: &str) -> Result<Option<(String, i64)>, StoreError> {
        let zone = zone.to_owned();
        self.database
            .read(move |tx| {
                let sql = "SELECT ring, serial FROM dns_keys WHERE zone = $1";
                match tx.query_one(sql, params![zone.as_str()])? {
                    Some(row) => Ok(Some((row.get::<String>(0)?, row.get::<i64>(1)?))),
                    None => Ok(None),
                }
            })
            .await
    }

    /// What is kept of a zone of this name in another view, or in none, where `is_gone` says so of
    /// that: the last that was signed.
    pub(crate) async fn load_moved(
        &self,
        name: &str,
        is_gone: impl Fn(&str) -> bool,
    ) -> Result<Option<(String, i64)>, StoreError> {
        let (name, start) = (name.to_owned(), format!("{name}@"));
        let rows = self
            .database
            .read(move |tx| {
                let sql = "SELECT zone, ring, serial FROM dns_keys
                    WHERE zone = $1 OR substr(zone, 1, length($2)) = $2 ORDER BY serial DESC";
                tx.query(sql, params![name.as_str(), start.as_str()])
            })
            .await?;
        for row in &rows {
            if is_gone(&row.get::<String>(0)?) {
                return Ok(Some((row.get(1)?, row.get(2)?)));
            }
        }
        Ok(None)
    }

    /// Keeps a zone's keys and serial; on the disk when this returns.
    pub(crate) async fn save(&self, zone: &str, ring: &str, serial: i64) -> Result<(), StoreError> {
        let (zone, ring) = (zone.to_owned(), ring.to_owned());
        self.database
            .write(move |tx| {
                tx.execute(
                    "DELETE FROM dns_keys WHERE zone = $1",
                    params![zone.as_str()],
                )?;
                tx.execute(
                    "INSERT INTO dns_keys (zone, ring, serial) VALUES ($1, $2, $3)",
                    params![zone.as_str(), ring.as_str(), serial],
                )?;
                Ok(())
            })
            .await
    }
}
