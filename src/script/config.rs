//! The `[script]` section.

use std::path::PathBuf;
use std::time::Duration;

use omnid_config::{ByteSize, Spanned};

omnid_config::choice! {
    /// What a service does when a script it asked has failed.
    pub enum OnError {
        /// As if there were no script.
        Continue = "continue",
        /// Refuses what it asked about.
        Deny = "deny",
    }
}

omnid_config::section! {
    /// Lua scripts that take part in what the services decide.
    pub struct ScriptConfig {
        /// Script files; a `*` in a file's name stands for anything.
        ///
        /// They are run in this order, those of one pattern in the order of their names.
        pub files: Vec<Spanned<PathBuf>> = vec![],
        /// What happens when a script fails or takes too long.
        pub on_error: OnError = OnError::Continue,
        /// Processor time that one call of a script may take.
        #[range(Duration::from_millis(1)..=Duration::from_secs(10))]
        pub time_limit: Duration = Duration::from_millis(50),
        /// Time that one call may take together with all it waits for (`omnid.fetch`, `omnid.store`).
        #[range(Duration::from_millis(10)..=Duration::from_secs(3600))]
        pub wait_limit: Duration = Duration::from_secs(30),
        /// Memory that the scripts may take; each processor has its own copy of them.
        #[range(ByteSize::mib(1)..=ByteSize::gib(1))]
        pub memory_limit: ByteSize = ByteSize::mib(32),
        /// Calls under way at one time, those that wait included. More are refused.
        #[range(1..=1_000_000)]
        pub max_calls: u32 = 1000,
        /// HTTP requests that scripts make.
        pub fetch: FetchConfig = FetchConfig::default(),
    }
}

omnid_config::section! {
    /// HTTP requests that scripts make with `omnid.fetch`.
    pub struct FetchConfig {
        /// Where to: host names, `*.example.org`, addresses, networks. Empty means anywhere.
        pub allow: Vec<Spanned<String>> = vec![],
        /// Time that one request may take; a script can ask for less.
        #[range(Duration::from_millis(10)..=Duration::from_secs(600))]
        pub timeout: Duration = Duration::from_secs(10),
        /// Size of a request's or response's body.
        #[range(ByteSize::kib(1)..=ByteSize::mib(64))]
        pub max_size: ByteSize = ByteSize::mib(1),
        /// Requests under way at one time. More wait for their turn.
        #[range(1..=10_000)]
        pub max_concurrent: u32 = 64,
        /// Authorities whose certificates are believed (PEM); the system's where there is no such key.
        pub ca_file: Option<PathBuf> = None,
    }
}
