//! omnid.toml: any bytes are a configuration or a list of problems.
#![no_main]

use libfuzzer_sys::fuzz_target;

omnid_config::section! {
    /// The sections that hold every kind of value.
    pub struct Root {
        /// The server as a whole.
        pub server: omnid_ground::config::ServerConfig = Default::default(),
        /// Domains.
        pub domain: Vec<omnid_ground::config::DomainConfig> = Vec::new(),
        /// The log.
        pub log: omnid_telemetry::LogConfig = Default::default(),
        /// Limits.
        pub net: omnid_net::NetConfig = Default::default(),
        /// Certificates.
        pub tls: omnid_tls::TlsConfig = Default::default(),
    }
}

fuzz_target!(|data: &[u8]| {
    let _ = omnid_config::parse_str_any::<Root>(data);
});
