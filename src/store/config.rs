//! The `[store]` section.

/// Where facts are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreConfig {
    /// `sqlite` (a file in the data directory), `sqlite:/path/to/file`, or a `postgres://` URL.
    pub url: String,
}

impl Default for StoreConfig {
    fn default() -> Self {
        Self {
            url: "sqlite".into(),
        }
    }
}
