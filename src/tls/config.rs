//! The `[tls]` section: where certificates come from, and how old a client may be.

use std::path::PathBuf;

use omnid_config::Spanned;

use crate::acme::AcmeConfig;
use crate::load::Pair;

omnid_config::section! {
    /// TLS: certificates and versions.
    pub struct TlsConfig {
        /// Certificates with their keys.
        ///
        /// The first is shown to clients that ask for a name no certificate has.
        pub certificates: Vec<CertificateConfig> = vec![],
        /// A folder of certificates.
        ///
        /// It holds pairs NAME.crt and NAME.key, or folders with fullchain.pem and privkey.pem
        /// as certbot leaves them (/etc/letsencrypt/live).
        pub directory: Option<Spanned<PathBuf>> = None,
        /// Issue certificates from a private authority where no other covers a name.
        ///
        /// For development and closed networks: clients must be told to trust
        /// tls/authority.pem in the data directory.
        pub self_signed: bool = false,
        /// Ask an authority for certificates and renew them, for every name that is served and that
        /// no certificate above has.
        pub acme: Option<AcmeConfig> = None,
        /// Authorities that client certificates are verified against.
        ///
        /// PEM files. Without any, the system's authorities are used.
        pub client_authorities: Vec<Spanned<PathBuf>> = vec![],
        /// The oldest version spoken.
        pub min_version: MinVersion = MinVersion::Tls12,
    }
}

omnid_config::section! {
    /// A certificate and its key.
    pub struct CertificateConfig {
        /// Names it is shown for; by default those that it is issued for.
        pub names: Vec<Spanned<String>> = vec![],
        /// PEM file with the certificate and its chain.
        pub cert: Spanned<PathBuf>,
        /// PEM file with the private key.
        pub key: Spanned<PathBuf>,
    }
}

omnid_config::choice! {
    /// A version of TLS.
    pub enum MinVersion {
        /// TLS 1.2 (RFC 5246).
        Tls12 = "1.2",
        /// TLS 1.3 (RFC 8446).
        Tls13 = "1.3",
    }
}

impl CertificateConfig {
    pub(crate) fn pair(&self) -> Pair {
        Pair {
            cert: self.cert.value.clone(),
            key: self.key.value.clone(),
            names: self.names.iter().map(|name| name.value.clone()).collect(),
            cert_span: self.cert.span,
            key_span: self.key.span,
        }
    }
}
