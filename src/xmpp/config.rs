//! `[xmpp]`.

use std::time::Duration;

use omnid_config::{ByteSize, DomainName, ListenAddr, Problem, Problems, Spanned};

use crate::features;

omnid_config::section! {
    /// XMPP: messages, presence and rosters for accounts.
    #[check(check_disabled, needs(disable))]
    pub struct Config {
        /// Domains served. Empty means every [[domain]].
        pub hosts: Vec<Spanned<DomainName>> = vec![],
        /// Addresses for clients that begin in clear and go on in TLS (STARTTLS).
        ///
        /// Nothing but STARTTLS is accepted in clear: no password ever is.
        pub listen: Vec<Spanned<ListenAddr>> = every_address(5222),
        /// Addresses for clients that begin with TLS.
        pub listen_tls: Vec<Spanned<ListenAddr>> = every_address(5223),
        /// Features switched off, by name.
        pub disable: Vec<Spanned<String>> = vec![],
        /// How long a client may take to log in.
        #[range(Duration::from_secs(1)..=Duration::from_secs(600))]
        pub login_timeout: Duration = Duration::from_secs(30),
        /// Bytes of one stanza.
        #[range(ByteSize::kib(10)..=ByteSize::mib(16))]
        pub stanza_size: ByteSize = ByteSize::kib(256),
        /// Bytes that may wait for a client that does not read; past them its stream is closed.
        #[range(ByteSize::kib(64)..=ByteSize::mib(256))]
        pub output_size: ByteSize = ByteSize::mib(1),
        /// Messages kept for an account while it is away.
        #[range(0..=100_000)]
        pub offline_messages: u32 = 100,
        /// How long a session whose connection broke can be resumed.
        #[range(Duration::ZERO..=Duration::from_secs(24 * 3600))]
        pub resume_timeout: Duration = Duration::from_secs(600),
        /// Bytes that may wait, in all, for clients whose connection broke; past them the sessions
        /// that have been gone longest end, and their messages are kept as for an account away.
        #[range(ByteSize::mib(1)..=ByteSize::gib(64))]
        pub resume_memory: ByteSize = ByteSize::mib(256),
        /// Archives of messages.
        pub archive: ArchiveConfig = ArchiveConfig::default(),
        /// Silence after which a byte is sent, to find out whether a client is still there.
        #[range(Duration::from_secs(10)..=Duration::from_secs(24 * 3600))]
        pub keepalive: Duration = Duration::from_secs(180),
    }
}

omnid_config::section! {
    /// Archives of messages, from which clients catch up.
    pub struct ArchiveConfig {
        /// How long messages are kept in archives.
        #[range(Duration::from_secs(3600)..=Duration::from_secs(100 * 365 * 86_400))]
        pub keep: Duration = Duration::from_secs(90 * 86_400),
    }
}

fn every_address(port: u16) -> Vec<Spanned<ListenAddr>> {
    vec![ListenAddr::any(port).into()]
}

fn check_disabled(config: &Config, problems: &mut Problems) {
    let names: Vec<_> = features::ALL.iter().map(|feature| feature.name).collect();
    for name in &config.disable {
        if !names.contains(&name.value.as_str()) {
            let problem = Problem::error(format!("there is no feature {:?}", name.value))
                .at(name.span, "not a feature")
                .help(format!("the features are {}", names.join(", ")));
            problems.push(problem);
        }
    }
}
