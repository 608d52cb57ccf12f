//! Statements and values, the SQLite way.

use rusqlite::types::{ToSql, ToSqlOutput, ValueRef};
use rusqlite::{Connection, ErrorCode, Statement};

use crate::transaction::Session;
use crate::{Row, StoreError, Value};

pub(crate) struct SqliteSession<'a>(pub(crate) &'a Connection);

impl Session for SqliteSession<'_> {
    fn execute(&mut self, sql: &str, values: &[Value]) -> Result<u64, StoreError> {
        let mut statement = self.0.prepare_cached(sql)?;
        bind(&mut statement, values)?;
        let changed = statement.raw_execute().map_err(refused)?;
        Ok(u64::try_from(changed).unwrap_or(u64::MAX))
    }

    fn batch(&mut self, sql: &str) -> Result<(), StoreError> {
        self.0.execute_batch(sql).map_err(refused)
    }

    fn query(
        &mut self,
        sql: &str,
        values: &[Value],
        each: &mut dyn FnMut(Row) -> Result<bool, StoreError>,
    ) -> Result<(), StoreError> {
        let mut statement = self.0.prepare_cached(sql)?;
        bind(&mut statement, values)?;
        let columns = statement.column_count();
        let mut more = true;
        let mut rows = statement.raw_query();
        while let Some(row) = rows.next().map_err(refused)? {
            if !more {
                // A statement with RETURNING has all its effect only when it has run to its end.
                continue;
            }
            let mut values = Vec::with_capacity(columns);
            for index in 0..columns {
                values.push(match row.get_ref(index)? {
                    ValueRef::Null => Value::Null,
                    ValueRef::Integer(x) => Value::Integer(x),
                    ValueRef::Real(x) => Value::Real(x),
                    ValueRef::Text(x) => Value::Text(String::from_utf8_lossy(x).into_owned()),
                    ValueRef::Blob(x) => Value::Blob(x.to_vec()),
                });
            }
            more = each(Row(values))?;
            if !more && row.as_ref().readonly() {
                break;
            }
        }
        Ok(())
    }
}

/// To SQLite `$2` is a parameter named "$2", numbered in order of appearance; so each parameter of
/// the statement asks for the value its name says.
fn bind(statement: &mut Statement<'_>, values: &[Value]) -> Result<(), StoreError> {
    let wrong = |what: String| StoreError::Other(what.into());
    let count = statement.parameter_count();
    for index in 1..=count {
        let number = statement
            .parameter_name(index)
            .and_then(|name| name.strip_prefix('$'))
            .and_then(|digits| digits.parse::<usize>().ok())
            .ok_or_else(|| wrong("placeholders are written $1, $2, …".into()))?;
        let value = number
            .checked_sub(1)
            .and_then(|at| values.get(at))
            .ok_or_else(|| wrong(format!("no value given for ${number}")))?;
        statement.raw_bind_parameter(index, value)?;
    }
    if count < values.len() {
        // PostgreSQL would refuse it, so that both should.
        return Err(wrong(format!(
            "{} values given for {count} placeholders",
            values.len()
        )));
    }
    Ok(())
}

impl ToSql for Value {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Null => ValueRef::Null,
            Self::Integer(x) => ValueRef::Integer(*x),
            Self::Real(x) => ValueRef::Real(*x),
            Self::Text(x) => ValueRef::Text(x.as_bytes()),
            Self::Blob(x) => ValueRef::Blob(x),
        }))
    }
}

pub(crate) fn refused(error: rusqlite::Error) -> StoreError {
    match error.sqlite_error_code() {
        Some(ErrorCode::ConstraintViolation) => StoreError::Constraint(error.to_string()),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            StoreError::Busy("another process holds the database file")
        }
        _ => StoreError::Sqlite(error),
    }
}
