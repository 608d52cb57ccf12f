//! What happened, for those who have to find out afterwards.

use omnid_store::{Reader, StoreError, Transaction, params};

use crate::AuditEvent;

pub(crate) fn insert(tx: &mut Transaction<'_>, event: &AuditEvent) -> Result<(), StoreError> {
    tx.execute(
        "INSERT INTO identity_audit (at, event, subject, source, service, detail)
         VALUES ($1, $2, $3, $4, $5, $6)",
        params![
            event.at,
            &event.event,
            &event.subject,
            event.source.clone(),
            event.service.clone(),
            event.detail.clone()
        ],
    )?;
    Ok(())
}

/// The last `limit` events, the newest first.
pub(crate) fn last(reader: &mut Reader<'_>, limit: u32) -> Result<Vec<AuditEvent>, StoreError> {
    reader
        .query(
            "SELECT at, event, subject, source, service, detail FROM identity_audit
             ORDER BY id DESC LIMIT $1",
            params![limit],
        )?
        .iter()
        .map(|row| {
            Ok(AuditEvent {
                at: row.get(0)?,
                event: row.get(1)?,
                subject: row.get(2)?,
                source: row.get(3)?,
                service: row.get(4)?,
                detail: row.get(5)?,
            })
        })
        .collect()
}

/// Removes what is older than `before`, and all but the newest `keep`.
pub(crate) fn trim(tx: &mut Transaction<'_>, before: i64, keep: u32) -> Result<u64, StoreError> {
    let last = tx.query_one("SELECT MAX(id) FROM identity_audit", &[])?;
    let last = last
        .map(|row| row.get::<Option<i64>>(0))
        .transpose()?
        .flatten()
        .unwrap_or(0);
    // Two statements, each by an index.
    let old = tx.execute("DELETE FROM identity_audit WHERE at < $1", params![before])?;
    let surplus = tx.execute(
        "DELETE FROM identity_audit WHERE id <= $1",
        params![last.saturating_sub(keep.into())],
    )?;
    Ok(old + surplus)
}
