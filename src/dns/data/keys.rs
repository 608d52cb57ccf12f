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
