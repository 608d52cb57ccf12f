//! One suite, two engines.

#![allow(dead_code, unreachable_pub, reason = "not every test uses every part")]

#[path = "../../../../tests/support/postgres.rs"]
pub mod postgres;

use std::error::Error;

use omnid_store::{Database, StoreConfig};
use postgres::Server;

pub type Outcome<T = ()> = Result<T, Box<dyn Error + Send + Sync>>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    Sqlite,
    Postgres,
}

/// An empty database of one engine, and its directory.
pub struct World {
    pub config: StoreConfig,
    pub directory: tempfile::TempDir,
}

impl World {
    pub fn new(engine: Engine) -> Outcome<Self> {
        let url = match engine {
            Engine::Sqlite => "sqlite".to_owned(),
            Engine::Postgres => Server::shared()?.database()?,
        };
        let config = StoreConfig {
            url: url.into(),
            ..StoreConfig::default()
        };
        Ok(Self {
            config,
            directory: tempfile::tempdir()?,
        })
    }

    pub async fn open(&self) -> Outcome<Database> {
        Ok(Database::open(&self.config, self.directory.path()).await?)
    }
}

/// Makes of each `async fn name(engine: Engine) -> Outcome` a test on each engine.
#[macro_export]
macro_rules! on_each_engine {
    ($($name:ident),* $(,)?) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() -> $crate::support::Outcome {
                super::$name($crate::support::Engine::Sqlite).await
            })*
        }
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() -> $crate::support::Outcome {
                super::$name($crate::support::Engine::Postgres).await
            })*
        }
    };
}
