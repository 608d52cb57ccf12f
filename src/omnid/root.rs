//! The whole of omnid.toml: each section is defined by the crate that uses it.

use std::path::{Path, PathBuf};

use omnid_config::{Problem, Problems, Spanned};
use omnid_ground::config::{DomainConfig, ServerConfig};

omnid_config::section! {
    /// omnid.toml: one daemon for DNS, HTTP, SIP and XMPP.
    #[check(Root::check_domains, needs(domain))]
    pub struct Root {
        /// The server as a whole.
        pub server: ServerConfig = ServerConfig::default(),
        /// Domains that this server answers for.
        pub domain: Vec<DomainConfig> = Vec::new(),
        /// What is logged, and where to.
        pub log: omnid_telemetry::LogConfig = omnid_telemetry::LogConfig::default(),
        /// Limits on sockets and connections.
        pub net: omnid_net::NetConfig = omnid_net::NetConfig::default(),
        /// Certificates.
        pub tls: omnid_tls::TlsConfig = omnid_tls::TlsConfig::default(),
        /// Where facts are kept.
        pub store: omnid_store::StoreConfig = omnid_store::StoreConfig::default(),
        /// Accounts, passwords and throttling.
        pub identity: omnid_identity::IdentityConfig = omnid_identity::IdentityConfig::default(),
        /// Lua.
        pub script: omnid_script::ScriptConfig = omnid_script::ScriptConfig::default(),
        /// How the operator reaches the running daemon.
        pub admin: omnid_admin::Config = omnid_admin::Config::default(),
        /// Zones served and names resolved. Off where the section is missing.
        pub dns: Option<omnid_dns::Config> = None,
        /// Sites served. Off where the section is missing.
        pub http: Option<omnid_http::Config> = None,
        /// Telephones and calls. Off where the section is missing.
        pub sip: Option<omnid_sip::Config> = None,
        /// Chat and presence. Off where the section is missing.
        pub xmpp: Option<omnid_xmpp::Config> = None,
        /// Expectations that `omnid test` checks against this configuration.
        pub test: Vec<TestConfig> = Vec::new(),
    }
}

omnid_config::section! {
    /// One expectation. Exactly one of `dns`, `http`, `sip` and `xmpp` asks the question.
    #[check(TestConfig::check)]
    pub struct TestConfig {
        /// What the expectation is about, for the report.
        pub name: Option<String> = None,
        /// A DNS name to ask for, such as "www.example.org".
        pub dns: Option<Spanned<String>> = None,
        /// The record type asked for, with `dns`.
        #[key = "type"]
        pub kind: String = "A".to_owned(),
        /// A URL to request, such as "https://www.example.org/".
        pub http: Option<Spanned<String>> = None,
        /// The request's method, with `http`.
        pub method: String = "GET".to_owned(),
        /// The address of record that is called, such as "bob@example.org".
        pub sip: Option<Spanned<String>> = None,
        /// The caller, with `sip`.
        pub from: Option<String> = None,
        /// A JID, such as "alice@example.org".
        pub xmpp: Option<Spanned<String>> = None,
        /// Expected DNS response code, with `dns`.
        pub rcode: Option<String> = None,
        /// Texts that must each occur in the answer: record data, header lines, routes.
        pub answer: Vec<String> = Vec::new(),
        /// Expected HTTP status or SIP refusal.
        pub status: Option<u16> = None,
    }
}

impl Root {
    fn check_domains(&self, problems: &mut Problems) {
        let names = self.domain.iter().map(|domain| {
            let name = domain.name.as_str().to_ascii_lowercase();
            (name, domain.name.span)
        });
        omnid_config::check::unique("domain", names, problems);
    }
}

impl TestConfig {
    fn check(&self, problems: &mut Problems) {
        let asked: Vec<_> = [&self.dns, &self.http, &self.sip, &self.xmpp]
            .into_iter()
            .flatten()
            .collect();
        if let [first, second, ..] = asked.as_slice() {
            problems.push(
                Problem::error("a [[test]] asks one question")
                    .at(second.span, "a second question")
                    .also(first.span, "the first")
                    .help("make it two [[test]] tables"),
            );
        }
    }
}

/// Where the configuration is looked for when no `-c` is given.
pub fn default_path() -> PathBuf {
    std::env::var_os("OMNID_CONFIG")
        .map_or_else(|| PathBuf::from("/etc/omnid/omnid.toml"), PathBuf::from)
}

/// The directory that relative paths of the configuration start from.
pub fn directory(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}
