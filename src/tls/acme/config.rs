//! `tls.acme`.

use std::path::PathBuf;
use std::time::Duration;

use omnid_config::{Problem, Problems, Secret, Spanned};

/// Let's Encrypt.
const DIRECTORY: &str = "https://acme-v02.api.letsencrypt.org/directory";

omnid_config::section! {
    /// Certificates that are asked for and renewed automatically (ACME, RFC 8555): for the hosts
    /// of every site and for every domain, as far as no other certificate has them.
    ///
    /// To use it is to agree to the authority's terms of service.
    #[check(AcmeConfig::check)]
    pub struct AcmeConfig {
        /// Where the authority can reach you: "mailto:ops@example.org".
        pub contact: Option<Spanned<String>> = None,
        /// The authority's directory.
        pub directory: Spanned<String> = Spanned::from(DIRECTORY.to_owned()),
        /// PEM file of the authorities that the directory's own certificate is verified against;
        /// the system's unless given.
        pub trust: Option<Spanned<PathBuf>> = None,
        /// The account with the authority that ours is bound to, where it asks for one.
        pub external_account: Option<ExternalAccountConfig> = None,
        /// The authority's profile that certificates are to follow.
        pub profile: Option<String> = None,
        /// Further names, such as "*.example.org". A wildcard is proven by a record in one of this
        /// server's own zones.
        pub names: Vec<Spanned<String>> = vec![],
        /// How names are proven, in the order that the ways are tried.
        pub challenges: Vec<Challenge> = vec![
            Challenge::TlsAlpn,
            Challenge::Http,
            Challenge::Dns,
        ],
        /// How long after a first failure it is tried again. The wait doubles with each further
        /// failure.
        #[range(Duration::from_secs(1)..=Duration::from_secs(86_400))]
        pub retry: Duration = Duration::from_secs(300),
        /// The longest wait between tries.
        #[range(Duration::from_secs(1)..=Duration::from_secs(604_800))]
        pub retry_max: Duration = Duration::from_secs(43_200),
        /// How long a record is given to reach the zone's other servers.
        #[range(Duration::from_secs(0)..=Duration::from_secs(3600))]
        pub dns_wait: Duration = Duration::from_secs(5),
    }
}

omnid_config::section! {
    /// An account that the authority knows by other means (RFC 8555, section 7.3.4).
    pub struct ExternalAccountConfig {
        /// Its key's name.
        pub key_id: String,
        /// Its key, in URL-safe base64 as authorities hand it out.
        pub key: Spanned<Secret>,
    }
}

omnid_config::choice! {
    /// How a name is proven.
    pub enum Challenge {
        /// By a certificate shown on port 443 (RFC 8737).
        TlsAlpn = "tls-alpn-01",
        /// By a page fetched from port 80 (RFC 8555, section 8.3).
        Http = "http-01",
        /// By a record in one of this server's own zones (RFC 8555, section 8.4).
        Dns = "dns-01",
    }
}

impl AcmeConfig {
    fn check(&self, problems: &mut Problems) {
        if !self.directory.starts_with("https://") || self.directory.parse::<http::Uri>().is_err() {
            problems.push(
                Problem::error(format!(
                    "\"{}\" is not the address of an authority's directory",
                    self.directory.value
                ))
                .at(self.directory.span, "")
                .help("it begins with https://"),
            );
        }
        if let Some(contact) = &self.contact
            && !contact.starts_with("mailto:")
        {
            problems.push(
                Problem::error(format!("\"{}\" is not a contact", contact.value))
                    .at(contact.span, "")
                    .help(format!("\"mailto:{}\"", contact.value)),
            );
        }
        for name in &self.names {
            if !super::plan::is_certifiable(&name.value.to_ascii_lowercase()) {
                problems.push(
                    Problem::error(format!(
                        "\"{}\" is no name that an authority certifies",
                        name.value
                    ))
                    .at(name.span, "")
                    .help(
                        "a name with a dot in it, such as \"www.example.org\" or \"*.example.org\"",
                    ),
                );
            }
        }
        if self.retry_max < self.retry {
            problems.push(
                Problem::error("retry_max is shorter than retry")
                    .at(self.place, "")
                    .help("the wait begins with retry and grows to retry_max"),
            );
        }
        if let Some(account) = &self.external_account
            && account.key_bytes().is_none()
        {
            problems.push(
                Problem::error("the external account's key is not base64").at(account.key.span, ""),
            );
        }
        if self.challenges.is_empty() {
            problems.push(
                Problem::error("no way is left to prove a name").at(self.place, "challenges = []"),
            );
        }
    }
}

impl ExternalAccountConfig {
    /// The key itself.
    pub(crate) fn key_bytes(&self) -> Option<Vec<u8>> {
        use base64::Engine as _;
        let text = self.key.expose().trim().trim_end_matches('=');
        base64::engine::general_purpose::URL_SAFE_NO_PAD
            .decode(text)
            .or_else(|_| base64::engine::general_purpose::STANDARD_NO_PAD.decode(text))
            .ok()
    }
}
