//! Lua hooks, at named phases of each service.

use std::{path::PathBuf, sync::Arc};

use omnid_config::Problems;
use omnid_hub::Hub;
use omnid_store::Database;

omnid_config::section! {
    /// Lua.
    pub struct ScriptConfig {
        /// Script files.
        pub files: Vec<omnid_config::Spanned<PathBuf>> = vec![],
    }
}

/// A named phase of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hook {
    /// `dns.query`
    DnsQuery,
    /// `http.request`
    HttpRequest,
    /// `sip.request`
    SipRequest,
    /// `xmpp.stanza_in`
    XmppStanzaIn,
}

/// Why a script gave no decision.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ScriptError(String);

/// Compiled scripts.
#[derive(Debug, Default)]
pub struct Prepared;

/// The scripts that run.
#[derive(Debug, Clone, Default)]
pub struct Scripts(Arc<()>);

impl Scripts {
    /// Compiles.
    pub fn load(_: &ScriptConfig, _: Hub, _: Database) -> Result<Prepared, Problems> {
        Ok(Prepared)
    }

    /// Swaps.
    pub fn swap(&self, _: Prepared) {}

    /// Whether any script waits at this phase.
    pub fn hooked(&self, _: Hook) -> bool {
        false
    }

    /// Asks the scripts.
    ///
    /// # Errors
    /// A script's error.
    #[allow(clippy::unused_async)]
    pub async fn call(
        &self,
        _: Hook,
        _: serde_json::Value,
    ) -> Result<Option<serde_json::Value>, ScriptError> {
        Ok(None)
    }
}
