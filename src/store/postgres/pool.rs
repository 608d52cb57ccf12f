//! Connections, so many and no more, made when they are wanted and replaced when they break.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_postgres::{Client, NoTls, Statement};

use crate::StoreError;
use crate::database::Waiting;

/// Prepared statements that each connection remembers.
const STATEMENTS: usize = 256;

pub(super) struct Connection {
    pub(super) client: Client,
    statements: HashMap<Box<str>, Statement>,
}

impl Connection {
    pub(super) async fn prepare(&mut self, sql: &str) -> Result<Statement, tokio_postgres::Error> {
        if let Some(statement) = self.statements.get(sql) {
            return Ok(statement.clone());
        }
        let statement = self.client.prepare(sql).await?;
        if self.statements.len() >= STATEMENTS {
            self.statements.clear();
        }
        self.statements.insert(sql.into(), statement.clone());
        Ok(statement)
    }

    /// Forgets the plans: the schema they were made for has changed.
    pub(super) fn forget_statements(&mut self) {
        self.statements.clear();
    }
}

#[derive(Clone)]
pub(super) struct Pool {
    settings: Arc<tokio_postgres::Config>,
    idle: Arc<Mutex<Vec<Connection>>>,
    permits: Arc<Semaphore>,
    size: u32,
    waiting: Waiting,
}

impl Pool {
    pub(super) fn new(settings: tokio_postgres::Config, size: u32) -> Self {
        Self {
            settings: Arc::new(settings),
            idle: Arc::default(),
            permits: Arc::new(Semaphore::new(size as usize)),
            size,
            waiting: Waiting::default(),
        }
    }

    /// The right to have one connection.
    pub(super) async fn permit(&self) -> Result<OwnedSemaphorePermit, StoreError> {
        self.waiting.acquire(&self.permits).await
    }

    /// An idle connection, or a new one. Only for who has a permit.
    pub(super) async fn take(&self) -> Result<Connection, StoreError> {
        loop {
            let idle = self.lock().pop();
            match idle {
                Some(connection) if connection.client.is_closed() => {}
                Some(connection) => return Ok(connection),
                None => return self.connect().await,
            }
        }
    }

    pub(super) fn give_back(&self, connection: Connection) {
        if !connection.client.is_closed() && !self.is_closed() {
            self.lock().push(connection);
        }
    }

    pub(super) async fn connect(&self) -> Result<Connection, StoreError> {
        let (client, driver) = self.settings.connect(NoTls).await?;
        tokio::spawn(async move {
            if let Err(error) = driver.await {
                // Whoever was using it has the error too.
                tracing::debug!(%error, "connection to postgresql ended");
            }
        });
        // A server may be set up to acknowledge before the disk has it; for us it must not.
        let settings = client
            .query_one(
                "SELECT current_setting('server_encoding'), current_setting('fsync'),
                     CASE WHEN current_setting('synchronous_commit') = 'off'
                     THEN set_config('synchronous_commit', 'on', false) END",
                &[],
            )
            .await?;
        let encoding: &str = settings.try_get(0)?;
        if encoding != "UTF8" {
            return Err(StoreError::Other(
                format!("the database's encoding is {encoding}; omnid needs UTF8").into(),
            ));
        }
        if settings.try_get::<_, &str>(1)? == "off" {
            tracing::warn!("postgresql runs with fsync off: a power cut can lose writes");
        }
        Ok(Connection {
            client,
            statements: HashMap::new(),
        })
    }

    pub(super) fn is_closed(&self) -> bool {
        self.permits.is_closed()
    }

    pub(super) async fn close(&self) {
        // With every permit in hand, nothing is under way.
        if let Ok(all) = self.permits.acquire_many(self.size).await {
            all.forget();
        }
        self.permits.close();
        self.lock().clear();
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
