//! A transaction on one connection.

use std::pin::pin;

use futures_util::TryStreamExt;
use tokio::runtime::Handle;
use tokio_postgres::error::SqlState;

use super::Failed;
use super::pool::Connection;
use super::types::row_values;
use crate::transaction::Session;
use crate::{Row, StoreError, Value};

/// Whether a failure is worth another run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It is not.
    None,
    /// Another transaction was in the way.
    Conflict,
    /// The server or the connection to it is gone, before anything was committed.
    Lost,
}

impl Fault {
    pub(super) fn of(error: &StoreError) -> Self {
        match error {
            StoreError::Postgres(error) => Self::of_postgres(error),
            _ => Self::None,
        }
    }

    fn of_postgres(error: &tokio_postgres::Error) -> Self {
        let Some(db) = error.as_db_error() else {
            let io = std::error::Error::source(error)
                .is_some_and(|source| source.downcast_ref::<std::io::Error>().is_some());
            return if error.is_closed() || io {
                Self::Lost
            } else {
                Self::None
            };
        };
        let code = db.code();
        // "cached plan must not change result type": a plan made before a migration, which another
        // run makes anew, since a conflict forgets the statements.
        let stale = db.routine() == Some("RevalidateCachedQuery");
        if stale
            || [
                &SqlState::T_R_SERIALIZATION_FAILURE,
                &SqlState::T_R_DEADLOCK_DETECTED,
            ]
            .contains(&code)
        {
            return Self::Conflict;
        }
        if [
            &SqlState::ADMIN_SHUTDOWN,
            &SqlState::CRASH_SHUTDOWN,
            &SqlState::CANNOT_CONNECT_NOW,
            &SqlState::TOO_MANY_CONNECTIONS,
        ]
        .contains(&code)
        {
            return Self::Lost;
        }
        Self::None
    }
}

pub(super) struct PostgresSession<'a> {
    connection: &'a mut Connection,
    runtime: Handle,
    /// What went wrong in a statement, whatever the closure makes of it.
    fault: Fault,
}

impl<'a> PostgresSession<'a> {
    pub(super) fn begin(connection: &'a mut Connection, begin: &str) -> Result<Self, Failed> {
        let runtime = Handle::current();
        match runtime.block_on(connection.client.batch_execute(begin)) {
            Ok(()) => Ok(Self {
                connection,
                runtime,
                fault: Fault::None,
            }),
            Err(error) => {
                let error = StoreError::from(error);
                Err(Failed {
                    fault: Fault::of(&error),
                    error,
                })
            }
        }
    }

    pub(super) fn commit(self) -> Result<(), Failed> {
        match self
            .runtime
            .block_on(self.connection.client.batch_execute("COMMIT"))
        {
            Ok(()) => Ok(()),
            Err(error) if Fault::of_postgres(&error) == Fault::Lost => {
                tracing::warn!(%error, "connection lost while committing");
                Err(Failed {
                    error: StoreError::OutcomeUnknown,
                    fault: Fault::None,
                })
            }
            Err(error) => {
                let error = refused(error);
                Err(Failed {
                    fault: Fault::of(&error),
                    error,
                })
            }
        }
    }

    pub(super) fn roll_back(self, error: StoreError) -> Failed {
        if self.fault == Fault::Conflict {
            self.connection.forget_statements();
        }
        let outcome = self
            .runtime
            .block_on(self.connection.client.batch_execute("ROLLBACK"));
        if let Err(error) = outcome {
            // The transaction ends with the connection, which the pool will find closed.
            tracing::debug!(%error, "rollback failed");
        }
        Failed {
            error,
            fault: self.fault,
        }
    }

    fn noted(&mut self, error: tokio_postgres::Error) -> StoreError {
        self.fault = Fault::of_postgres(&error);
        refused(error)
    }
}

impl Session for PostgresSession<'_> {
    fn execute(&mut self, sql: &str, values: &[Value]) -> Result<u64, StoreError> {
        let connection = &mut *self.connection;
        let run = async {
            let statement = connection.prepare(sql).await?;
            check_count(&statement, values)?;
            Ok::<_, Refused>(connection.client.execute_raw(&statement, values).await?)
        };
        self.runtime
            .block_on(run)
            .map_err(|refused| refused.noted(self))
    }

    fn batch(&mut self, sql: &str) -> Result<(), StoreError> {
        self.runtime
            .block_on(self.connection.client.batch_execute(sql))
            .map_err(|error| self.noted(error))
    }

    fn query(
        &mut self,
        sql: &str,
        values: &[Value],
        each: &mut dyn FnMut(Row) -> Result<bool, StoreError>,
    ) -> Result<(), StoreError> {
        let connection = &mut *self.connection;
        let run = async {
            let statement = connection.prepare(sql).await?;
            check_count(&statement, values)?;
            let mut rows = pin!(connection.client.query_raw(&statement, values).await?);
            while let Some(row) = rows.try_next().await? {
                if !each(row_values(&row)?)? {
                    break;
                }
            }
            Ok::<_, Refused>(())
        };
        self.runtime
            .block_on(run)
            .map_err(|refused| refused.noted(self))
    }
}

/// An error on its way out of a statement: the server's, or ours.
enum Refused {
    Postgres(tokio_postgres::Error),
    Store(StoreError),
}

impl Refused {
    fn noted(self, session: &mut PostgresSession<'_>) -> StoreError {
        match self {
            Self::Postgres(error) => session.noted(error),
            Self::Store(error) => error,
        }
    }
}

impl From<tokio_postgres::Error> for Refused {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Postgres(error)
    }
}

impl From<StoreError> for Refused {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// tokio-postgres panics where the numbers differ.
fn check_count(statement: &tokio_postgres::Statement, values: &[Value]) -> Result<(), StoreError> {
    let count = statement.params().len();
    if count == values.len() {
        return Ok(());
    }
    Err(StoreError::Other(
        format!("{} values given for {count} placeholders", values.len()).into(),
    ))
}

fn refused(error: tokio_postgres::Error) -> StoreError {
    match error.as_db_error() {
        // Class 23: integrity constraint violation.
        Some(db) if db.code().code().starts_with("23") => {
            StoreError::Constraint(db.message().to_owned())
        }
        _ => StoreError::Postgres(error),
    }
}
