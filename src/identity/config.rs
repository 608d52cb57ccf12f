//! The `[identity]` section.

/// How accounts are checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdentityConfig {
    /// PBKDF2 iterations of new verifiers; at least 10,000.
    pub scram_iterations: u32,
    /// Shortest password that may be set, in characters.
    pub password_length: usize,
}

impl Default for IdentityConfig {
    fn default() -> Self {
        Self {
            scram_iterations: 10_000,
            password_length: 8,
        }
    }
}
