//! The `[identity]` section.

use std::time::Duration;

use omnid_config::IpNet;

const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

omnid_config::section! {
    /// Accounts: what a password must be, and who is shut out after failed logins.
    pub struct IdentityConfig {
        /// Rounds of PBKDF2 for each password.
        ///
        /// More makes a stolen database harder to guess passwords from, and a login slower.
        /// An account is brought to this number when its password is next set, or next checked
        /// by HTTP basic or SASL PLAIN.
        #[range(10_000..=10_000_000)]
        pub scram_iterations: u32 = 10_000,
        /// Shortest password that may be set, in characters.
        #[range(1..=256)]
        pub password_length: u32 = 8,
        /// How long a password that was right is remembered, as a keyed hash in memory.
        ///
        /// Makes a browser's many requests cheap. A change of the account forgets it at once.
        #[range(Duration::ZERO..=MINUTE * 60)]
        pub remember: Duration = Duration::from_secs(30),
        /// How long security events are kept.
        #[range(DAY..=DAY * 3650)]
        pub audit_retention: Duration = DAY * 90,
        /// Security events that are kept at most.
        #[range(100..=100_000_000)]
        pub audit_events: u32 = 100_000,
        /// Failed logins.
        pub throttle: ThrottleConfig = ThrottleConfig::default(),
    }
}

omnid_config::section! {
    /// Failed logins: counted over all services, by account and by source.
    ///
    /// A source is an IPv4 address or an IPv6 /64. After some failures, each further one makes the
    /// next attempt wait twice as long; after many, there is a lock for a while. A source from
    /// which an account has logged in before is not shut out by that account's failures elsewhere,
    /// so nobody can be locked out by strangers.
    pub struct ThrottleConfig {
        /// Failures of one account without consequence.
        #[range(1..=1000)]
        pub account_failures: u32 = 5,
        /// Failures of one account that lock it.
        #[range(2..=100_000)]
        pub account_lock: u32 = 20,
        /// Failures from one source without consequence.
        #[range(1..=10_000)]
        pub source_failures: u32 = 20,
        /// Failures from one source that lock it out.
        #[range(2..=1_000_000)]
        pub source_lock: u32 = 200,
        /// The longest wait between two attempts.
        #[range(Duration::from_secs(1)..=MINUTE * 60)]
        pub longest_wait: Duration = Duration::from_secs(30),
        /// How long a lock lasts.
        #[range(Duration::from_secs(1)..=DAY)]
        pub lock_time: Duration = MINUTE * 15,
        /// How long without a further failure until failures are forgotten.
        #[range(Duration::from_secs(1)..=DAY * 7)]
        pub forget_after: Duration = MINUTE * 30,
        /// Sources that are not counted: a proxy or a gateway that many people share.
        pub trusted: Vec<IpNet> = vec![],
    }
}
