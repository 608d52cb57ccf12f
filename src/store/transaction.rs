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
    /// A statement failed. PostgreSQL refuses whatever comes after it in the transaction, so SQLite
    /// is made to do the same: a closure behaves alike on both.
    failed: bool,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(session: &'a mut dyn Session) -> Self {
        Self {
            session,
            failed: false,
        }
    }

    /// All rows of the answer.
    pub fn query(&mut self, sql: &str, values: &[Value]) -> Result<Vec<Row>, StoreError> {
        let mut rows = Vec::new();
        self.query_each(sql, values, |row| {
            rows.push(row);
            Ok(true)
        })?;
        Ok(rows)
    }

    /// The first row of the answer, if there is one.
    pub fn query_one(&mut self, sql: &str, values: &[Value]) -> Result<Option<Row>, StoreError> {
        let mut first = None;
        self.query_each(sql, values, |row| {
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
        self.statement(|session| session.query(sql, values, &mut each))
    }

    fn statement<T>(
        &mut self,
        run: impl FnOnce(&mut dyn Session) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        if self.failed {
            return Err(StoreError::Aborted);
        }
        let outcome = run(self.session);
        self.failed = outcome.is_err();
        outcome
    }
}

/// Reads and writes; everything happens, or nothing. A statement that fails ends the transaction:
/// return its error, and the caller of `write` gets it. Reads through [`Reader`], which it
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
        self.reader
            .statement(|session| session.execute(sql, values))
    }

    pub(crate) fn session(&mut self) -> &mut dyn Session {
        self.reader.session
    }

    /// Runs several statements without parameters: migrations.
    pub(crate) fn batch(&mut self, sql: &str) -> Result<(), StoreError> {
        self.reader.statement(|session| session.batch(sql))
    }

    /// The closure's value, unless it swallowed an error after which nothing can be committed.
    pub(crate) fn whole<T>(&self, value: T) -> Result<T, StoreError> {
        if self.reader.failed {
            Err(StoreError::Aborted)
        } else {
            Ok(value)
        }
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
