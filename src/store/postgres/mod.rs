//! PostgreSQL: a bounded pool of connections, each used by one closure at a time.
//!
//! Writes run at SERIALIZABLE, so that a closure means the same here as on SQLite, where there is
//! one writer. PostgreSQL refuses one of two writes that it cannot put in an order, and the refused
//! closure is run again. Reads run at REPEATABLE READ: one snapshot.
//!
//! Connections are not encrypted yet: use a Unix socket, or a network that is.

mod pool;
mod session;
mod types;

use std::time::{Duration, Instant};

use crate::database::caught;
use crate::{Reader, StoreConfig, StoreError, Transaction};
use pool::{Connection, Pool};
pub(crate) use session::Fault;
use session::PostgresSession;

/// Runs of one closure before a conflict is given back to the caller.
const ATTEMPTS: u32 = 30;
/// How long a closure goes on trying while the server is away or restarts.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Clone)]
pub(crate) struct Postgres {
    pool: Pool,
}

/// How one run of a closure ended, other than well.
struct Failed {
    error: StoreError,
    fault: Fault,
}

impl Postgres {
    pub(crate) async fn open(url: &str, config: &StoreConfig) -> Result<Self, StoreError> {
        let refuse = |reason: String| StoreError::Url {
            url: without_password(url),
            reason,
        };
        let mut settings: tokio_postgres::Config =
            url.parse().map_err(|error: tokio_postgres::Error| {
                refuse(
                    std::error::Error::source(&error)
                        .map_or_else(|| error.to_string(), |source| format!("{error}: {source}")),
                )
            })?;
        if settings.get_ssl_mode() == tokio_postgres::config::SslMode::Require {
            return Err(refuse(
                "encrypted connections to PostgreSQL are not supported yet".into(),
            ));
        }
        if let Some(password) = &config.password {
            settings.password(password.expose());
        }
        if settings.get_application_name().is_none() {
            settings.application_name("omnid");
        }
        settings
            .connect_timeout(Duration::from_secs(5))
            .tcp_user_timeout(Duration::from_secs(30))
            .keepalives_idle(Duration::from_secs(30))
            .keepalives_interval(Duration::from_secs(10))
            .keepalives_retries(3);
        let pool = Pool::new(settings, config.connections);
        // The first connection tells at start what is wrong with the settings or the server.
        let first = pool.connect().await?;
        pool.give_back(first);
        Ok(Self { pool })
    }

    pub(crate) async fn write<T, F>(&self, mut write: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnMut(&mut Transaction<'_>) -> Result<T, StoreError> + Send + 'static,
    {
        self.run(move |connection| {
            let mut session =
                PostgresSession::begin(connection, "BEGIN ISOLATION LEVEL SERIALIZABLE")?;
            let outcome = caught(|| {
                let mut tx = Transaction::new(&mut session);
                write(&mut tx).and_then(|value| tx.whole(value))
            });
            match outcome {
                Ok(value) => session.commit().map(|()| value),
                Err(error) => Err(session.roll_back(error)),
            }
        })
        .await
    }

    pub(crate) async fn read<T, F>(&self, mut read: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnMut(&mut Reader<'_>) -> Result<T, StoreError> + Send + 'static,
    {
        self.run(move |connection| {
            let mut session = PostgresSession::begin(
                connection,
                "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
            )?;
            let outcome = caught(|| read(&mut Reader::new(&mut session)));
            match outcome {
                Ok(value) => session.commit().map(|()| value),
                Err(error) => Err(session.roll_back(error)),
            }
        })
        .await
    }

    /// Runs `attempt` on a connection of the pool, on a blocking thread, again and again while the
    /// fault is one that passes.
    async fn run<T, F>(&self, mut attempt: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnMut(&mut Connection) -> Result<T, Failed> + Send + 'static,
    {
        let permit = self.pool.permit().await?;
        let pool = self.pool.clone();
        let runtime = tokio::runtime::Handle::current();
        let work = move || {
            let _permit = permit;
            let began = Instant::now();
            let mut runs = 0;
            loop {
                runs += 1;
                let failed = match runtime.block_on(pool.take()) {
                    Ok(mut connection) => {
                        let outcome = attempt(&mut connection);
                        pool.give_back(connection);
                        match outcome {
                            Ok(value) => return Ok(value),
                            Err(failed) => failed,
                        }
                    }
                    Err(error) => Failed {
                        fault: Fault::of(&error),
                        error,
                    },
                };
                let again = match failed.fault {
                    Fault::Conflict => runs < ATTEMPTS,
                    Fault::Lost => began.elapsed() < PATIENCE && !pool.is_closed(),
                    Fault::None => false,
                };
                if !again {
                    return Err(failed.error);
                }
                tracing::debug!(error = %failed.error, runs, "running a database closure again");
                runtime.block_on(tokio::time::sleep(pause(runs, failed.fault)));
            }
        };
        tokio::task::spawn_blocking(work)
            .await
            .map_err(|_| StoreError::Closed)?
    }

    pub(crate) async fn close(&self) {
        self.pool.close().await;
    }
}

/// Longer with each run, and never the same for two closures that got in each other's way.
fn pause(runs: u32, fault: Fault) -> Duration {
    use std::hash::{BuildHasher, RandomState};
    let most = match (fault, runs) {
        // A connection that died while it lay idle; the next one is fresh.
        (Fault::Lost, 1) => return Duration::ZERO,
        (Fault::Lost, _) => 50_000 << runs.min(4),
        _ => 500 << runs.min(7),
    };
    Duration::from_micros(RandomState::new().hash_one(runs) % most)
}

/// A URL that may be shown.
pub(crate) fn without_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return url.to_owned();
    };
    let (authority, tail) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    let authority = match authority.rsplit_once('@') {
        Some((user, host)) => match user.split_once(':') {
            Some((user, _)) => format!("{user}:…@{host}"),
            None => authority.to_owned(),
        },
        None => authority.to_owned(),
    };
    // A password may also be a parameter.
    let tail = match tail.split_once("password=") {
        Some((before, value)) => {
            let rest = value.find('&').map_or("", |at| value.split_at(at).1);
            format!("{before}password=…{rest}")
        }
        None => tail.to_owned(),
    };
    format!("{scheme}://{authority}{tail}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_password_is_shown() {
        for (url, shown) in [
            ("postgres://a:secret@h/d", "postgres://a:…@h/d"),
            ("postgres://a:se@cret@h:1/d?x=y", "postgres://a:…@h:1/d?x=y"),
            (
                "postgres://a@h/d?password=secret&x=y",
                "postgres://a@h/d?password=…&x=y",
            ),
            ("postgres://a@/d?host=/run", "postgres://a@/d?host=/run"),
            ("sqlite:/a:b@c", "sqlite:/a:b@c"),
        ] {
            assert_eq!(without_password(url), shown);
        }
    }
}
