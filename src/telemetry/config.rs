//! The `[log]` section.

use std::collections::BTreeMap;
use std::path::PathBuf;

omnid_config::choice! {
    /// How much is logged.
    pub enum LogLevel {
        /// Nothing.
        Off = "off",
        /// What is broken.
        Error = "error",
        /// What may need attention.
        Warn = "warn",
        /// What happens, in broad lines.
        Info = "info",
        /// What happens, step by step.
        Debug = "debug",
        /// Everything.
        Trace = "trace",
    }
}

omnid_config::choice! {
    /// How the log is written.
    pub enum LogFormat {
        /// One line of text for each entry.
        Text = "text",
        /// One JSON object on a line for each entry.
        Json = "json",
        /// The systemd journal, with every field as a journal field of its own.
        Journald = "journald",
    }
}

omnid_config::section! {
    /// The log.
    pub struct LogConfig {
        /// How much is logged.
        ///
        /// Libraries that omnid is built from are logged up to `info` unless they are named in
        /// `targets`.
        pub level: LogLevel = LogLevel::Info,
        /// How it is written.
        pub format: LogFormat = LogFormat::Text,
        /// Other levels for parts of the server: `targets = { dns = "debug" }`.
        ///
        /// A part is a crate or a module, `dns::resolver`; the longest name that fits counts.
        pub targets: BTreeMap<String, LogLevel> = BTreeMap::new(),
        /// The file it is appended to, instead of standard error.
        pub file: Option<PathBuf> = None,
        /// The journal's socket.
        pub journal_socket: PathBuf = "/run/systemd/journal/socket".into(),
    }
}
