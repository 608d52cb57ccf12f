//! What a closure given to [`Database::read`](crate::Database::read) or
//! [`write`](crate::Database::write) holds in its hand.

use std::ops::{Deref, DerefMut};

use crate::{Row, StoreError, Value};

/// One connection inside a transaction, of either engine.
pub(crate) trait Session {
    fn execute(&mut self, sql: &str, values: &[Value]) -> Result<u64, StoreError>;
    fn batch(&mut self, sql: &str) -> Result<(), StoreError>;
    fn query(
        &mut self,
        sql: &str,
        values: &[Value],
        each: &mut dyn FnMut(Row) -> Result<bool, StoreError>,
    ) -> Result<(), StoreError>;
}

/// Reads one consistent snapshot.
pub struct Reader<'a> {
    session: &'a mut dyn Session,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(session: &'a mut dyn Session) -> Self {
        Self { session }
    }

    /// All rows of the answer.
    pub fn query(&mut self, sql: &str, values: &[Value]) -> Result<Vec<Row>, StoreError> {
        let mut rows = Vec::new();
        self.session.query(sql, values, &mut |row| {
            rows.push(row);
            Ok(true)
        })?;
        Ok(rows)
    }

    /// The first row of the answer, if there is one.
    pub fn query_one(&mut self, sql: &str, values: &[Value]) -> Result<Option<Row>, StoreError> {
        let mut first = None;
        self.session.query(sql, values, &mut |row| {
            first = Some(row);
            Ok(false)
        })?;
        Ok(first)
    }

    /// Gives each row of the answer to `each` as it arrives, until that says `false`.
    pub fn query_each(
        &mut self,
        sql: &str,
        values: &[Value],
        mut each: impl FnMut(Row) -> Result<bool, StoreError>,
    ) -> Result<(), StoreError> {
        self.session.query(sql, values, &mut each)
    }
}

/// Reads and writes; everything happens, or nothing. Reads through [`Reader`], which it
/// dereferences to, so that one query function serves both.
pub struct Transaction<'a> {
    reader: Reader<'a>,
}

impl<'a> Transaction<'a> {
    pub(crate) fn new(session: &'a mut dyn Session) -> Self {
        Self {
            reader: Reader::new(session),
        }
    }

    /// Runs a statement, and says how many rows it changed.
    pub fn execute(&mut self, sql: &str, values: &[Value]) -> Result<u64, StoreError> {
        self.reader.session.execute(sql, values)
    }

    /// Runs several statements without parameters: migrations.
    pub(crate) fn batch(&mut self, sql: &str) -> Result<(), StoreError> {
        self.reader.session.batch(sql)
    }
}

impl<'a> Deref for Transaction<'a> {
    type Target = Reader<'a>;
    fn deref(&self) -> &Self::Target {
        &self.reader
    }
}

impl DerefMut for Transaction<'_> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.reader
    }
}
