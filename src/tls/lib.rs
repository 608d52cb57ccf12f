//! Certificates and TLS.
//!
//! One [`CertStore`] holds every certificate of the daemon and chooses by the name that a client
//! asks for. It is swapped as a whole, so that a renewal reaches the next handshake and disturbs
//! no connection. Services take their [`rustls::ServerConfig`] from [`CertStore::server_config`].

mod acme;
mod authority;
mod clients;
mod config;
mod info;
mod load;
mod names;
mod prepare;
mod provider;
mod store;
mod tickets;
mod unjudged;
mod watch;

pub use acme::{AcmeConfig, AutomaticInfo, Challenge, ExternalAccountConfig};
pub use authority::{AuthorityError, Issued, PrivateAuthority};
pub use clients::ClientCertificates;
pub use config::{CertificateConfig, MinVersion, TlsConfig};
pub use info::CertificateInfo;
pub use prepare::Prepared;
pub use provider::provider;
pub use store::{CertStore, StoreError};
pub use unjudged::Unjudged;
