//! Which certificates of other servers are believed.

use std::{path::Path, sync::Arc};

use omnid_tls::Unjudged;
use rustls::{
    ClientConfig, RootCertStore, SignatureScheme,
    client::{ResolvesClientCert, WebPkiServerVerifier, danger::ServerCertVerifier},
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject},
    sign::CertifiedKey,
};

/// Authorities whose certificates are believed.
pub(crate) struct Trust {
    verifier: Option<Arc<WebPkiServerVerifier>>,
}

impl Trust {
    /// Nobody.
    pub(crate) fn nobody() -> Trust {
        Trust { verifier: None }
    }

    /// Reads a file of certificates.
    ///
    /// # Errors
    /// Why it can't be used.
    pub(crate) fn load(file: &Path) -> Result<Trust, String> {
        let pem = std::fs::read(file).map_err(|error| error.to_string())?;
        let certificates = CertificateDer::pem_slice_iter(&pem).filter_map(Result::ok);
        let mut roots = RootCertStore::empty();
        let (good, _) = roots.add_parsable_certificates(certificates);
        if good == 0 {
            return Err("it holds no certificate".to_owned());
        }
        let built =
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), omnid_tls::provider())
                .build()
                .map_err(|error| error.to_string())?;
        Ok(Trust {
            verifier: Some(built),
        })
    }

    /// Whether a chain of certificates proves that its owner is `domain` (RFC 6120 13.7.2).
    pub(crate) fn proves(&self, chain: Option<&[CertificateDer<'_>]>, domain: &str) -> bool {
        let (Some(verifier), Some((own, others))) =
            (&self.verifier, chain.and_then(<[_]>::split_first))
        else {
            return false;
        };
        let Ok(name) = ServerName::try_from(domain.to_owned()) else {
            return false;
        };
        verifier
            .verify_server_cert(own, others, &name, &[], UnixTime::now())
            .is_ok()
    }
}

/// Our certificate, whatever authorities the other side names: it judges for itself.
#[derive(Debug)]
struct Own(Option<Arc<CertifiedKey>>);

impl ResolvesClientCert for Own {
    fn resolve(&self, _: &[&[u8]], schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        let key = self.0.as_ref()?;
        key.key.choose_scheme(schemes)?;
        Some(key.clone())
    }

    fn has_certs(&self) -> bool {
        self.0.is_some()
    }
}

/// How we connect to another server, as one that has the certificate `own`.
pub(super) fn client(
    own: Option<Arc<CertifiedKey>>,
    direct: bool,
) -> Result<Arc<ClientConfig>, rustls::Error> {
    let mut config = ClientConfig::builder_with_provider(omnid_tls::provider())
        .with_safe_default_protocol_versions()?
        .dangerous()
        // [`Trust::proves`] judges afterwards, because a server without a good certificate may still
        // prove itself by dialback.
        .with_custom_certificate_verifier(Unjudged::new())
        .with_client_cert_resolver(Arc::new(Own(own)));
    if direct {
        config.alpn_protocols = vec![b"xmpp-server".to_vec()];
    }
    // What was negotiated is judged anew each time.
    config.resumption = rustls::client::Resumption::disabled();
    Ok(Arc::new(config))
}
