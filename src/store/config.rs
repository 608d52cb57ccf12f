//! The `[store]` section.

use std::path::Path;

use omnid_config::{Problem, Problems, Secret, Spanned};

use crate::database::Place;

omnid_config::section! {
    /// Where accounts, messages and all other facts are kept.
    #[check(check)]
    pub struct StoreConfig {
        /// The database: `sqlite`, `sqlite:/path/to/file` or `postgres://user@host/name`.
        ///
        /// `sqlite` is the file `omnid.db` in the data directory. A PostgreSQL server behind a Unix
        /// socket is named by its directory: `postgres://user@/name?host=/run/postgresql`.
        pub url: Spanned<String> = "sqlite".to_owned().into(),
        /// PostgreSQL's password, so that it need not stand in the URL.
        pub password: Option<Secret> = None,
        /// Connections to PostgreSQL.
        #[range(1..=1000)]
        pub connections: u32 = 8,
    }
}

fn check(config: &StoreConfig, problems: &mut Problems) {
    match Place::parse(&config.url, Path::new("")) {
        Err(error) => problems.push(
            Problem::error(error.to_string())
                .at(config.url.span, "this database")
                .help("expected sqlite, sqlite:/path/to/file or postgres://user@host/name"),
        ),
        Ok(Place::Sqlite(_)) if config.password.is_some() => problems.push(
            Problem::error("a SQLite database has no password")
                .at(config.url.span, "this is a SQLite database"),
        ),
        Ok(_) => {}
    }
}
