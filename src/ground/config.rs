//! `[server]` and `[[domain]]`: facts that no single service owns.

use std::{net::IpAddr, path::PathBuf};

use omnid_config::{DomainName, Spanned};

omnid_config::section! {
    /// The server as a whole.
    pub struct ServerConfig {
        /// Fully qualified name of this host, used in greetings, certificates and records.
        pub hostname: DomainName = DomainName::localhost(),
        /// Public addresses of this host, for the A and AAAA records that services publish.
        pub addresses: Vec<IpAddr> = Vec::new(),
        /// Where omnid keeps its database, keys and journals.
        pub data_dir: PathBuf = PathBuf::from("/var/lib/omnid"),
        /// How long a stopping service may finish what is under way.
        pub drain: std::time::Duration = std::time::Duration::from_secs(30),
    }
}

omnid_config::section! {
    /// A domain that this server answers for.
    pub struct DomainConfig {
        /// The domain's name.
        pub name: Spanned<DomainName>,
        /// Whether the services' records (SRV, NAPTR, …) appear in the domain's zone.
        pub publish: bool = true,
    }
}
