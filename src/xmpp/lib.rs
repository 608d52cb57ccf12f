//! XMPP: messages, presence and rosters for the accounts of this server's domains.
//!
//! [`wire`] turns bytes into stanzas and back, [`engine`] decides, [`features`] are what the server
//! does beside routing, `io` drives all of it, [`data`] is what is kept.

mod config;
pub mod data;
pub mod engine;
pub mod features;
pub mod fuzz;
mod io;
mod service;
pub mod wire;

pub use config::Config;
pub use service::{Prepared, Xmpp};

#[cfg(test)]
mod tests {
    /// Property tests write no files: a failure prints the case, and a test with it is added.
    pub(crate) fn cases() -> proptest::test_runner::Config {
        proptest::test_runner::Config {
            failure_persistence: None,
            ..Default::default()
        }
    }
}
