//! Who vouches for servers that are asked over TLS, and how they are asked.

use std::path::Path;
use std::sync::Arc;

use omnid_config::{Problem, Problems, Span};
use omnid_tls::{CertStore, Unjudged};
use rustls::{ClientConfig, Error, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};

/// Where systems keep the authorities that they trust.
const SYSTEM_AUTHORITIES: [&str; 3] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
];

/// The authorities in a file; without one, those that the system trusts.
pub(crate) fn authorities(
    file: Option<&Path>,
    at: Option<Span>,
    problems: &mut Problems,
) -> RootCertStore {
    let mut store = RootCertStore::empty();
    let system = || SYSTEM_AUTHORITIES.iter().map(Path::new);
    let Some(file) = file.or_else(|| system().find(|file| file.exists())) else {
        problems.push(
            Problem::error("nothing says which authorities vouch for a server asked over TLS")
                .at(at, "this host trusts none by itself")
                .help("name a file of certificates"),
        );
        return store;
    };
    let shown = file.display();
    match std::fs::read(file) {
        Ok(pem) => {
            let certificates = CertificateDer::pem_slice_iter(&pem).filter_map(Result::ok);
            let (good, _bad) = store.add_parsable_certificates(certificates);
            if good == 0 {
                let message = format!("{shown} holds no certificate");
                problems.push(Problem::error(message).at(at, "authorities"));
            }
        }
        Err(error) => {
            let message = format!("{shown} cannot be read: {error}");
            problems.push(Problem::error(message).at(at, "authorities"));
        }
    }
    store
}

/// How a primary is asked over TLS.
#[derive(Debug, Clone)]
pub(crate) struct Secured {
    pub(crate) config: Arc<ClientConfig>,
    pub(crate) name: ServerName<'static>,
}

/// TLS 1.3 only (RFC 9103 7.1), to a server whose certificate these authorities vouch for (none:
/// whatever it shows), as one that has the certificate of this name.
pub(crate) fn to_primary(
    authorities: Option<Arc<RootCertStore>>,
    store: &CertStore,
    certificate: Option<&str>,
) -> Result<ClientConfig, Error> {
    let builder = ClientConfig::builder_with_provider(omnid_tls::provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?;
    let builder = match authorities {
        Some(authorities) => builder.with_root_certificates(authorities),
        None => builder
            .dangerous()
            .with_custom_certificate_verifier(Unjudged::new()),
    };
    let mut config = match certificate {
        Some(name) => builder.with_client_cert_resolver(store.shown_as(name)),
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"dot".to_vec()];
    Ok(config)
}
