//! XMPP: messages, presence and rosters for the accounts of this server's domains.

pub mod data;
pub mod engine;
pub mod features;
pub mod wire;

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
