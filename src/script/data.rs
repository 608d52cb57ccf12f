//! What scripts keep: `omnid.store`.

use omnid_store::{Database, Migration, StoreError, params};
use serde_json::Value;

/// The crate's tables.
pub(crate) const MIGRATIONS: &[Migration] = &[Migration {
    version: 1,
    sql: "CREATE TABLE script_values (
        name TEXT PRIMARY KEY,
        value TEXT NOT NULL
    )",
}];

/// The value kept under `key`.
pub(crate) async fn get(database: &Database, key: String) -> Result<Option<Value>, StoreError> {
    let select = "SELECT value FROM script_values WHERE name = $1";
    let row = database
        .read(move |reader| reader.query_one(select, params![key.as_str()]))
        .await?;
    let text = row.map(|row| row.get::<String>(0)).transpose()?;
    Ok(text.and_then(|text| serde_json::from_str(&text).ok()))
}

/// Keeps a value (JSON) under `key`, or nothing any more.
pub(crate) async fn set(
    database: &Database,
    key: String,
    value: Option<String>,
) -> Result<(), StoreError> {
    let write = database.write(move |transaction| match &value {
        None => transaction.execute(
            "DELETE FROM script_values WHERE name = $1",
            params![key.as_str()],
        ),
        Some(value) => transaction.execute(
            "INSERT INTO script_values (name, value) VALUES ($1, $2)
             ON CONFLICT (name) DO UPDATE SET value = excluded.value",
            params![key.as_str(), value.as_str()],
        ),
    });
    write.await.map(|_| ())
}
