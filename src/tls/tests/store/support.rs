//! What the tests share: certificates made to measure, configs, and handshakes in memory.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use omnid_config::{Problems, Spanned};
use omnid_tls::{CertStore, CertificateConfig, ClientCertificates, Prepared, TlsConfig, provider};
use rcgen::{CertificateParams, Issuer, KeyPair};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme};
use tokio::io::DuplexStream;
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};

/// A certificate with its key, not yet in files.
pub(crate) struct Made {
    pub(crate) cert: String,
    pub(crate) key: String,
}

pub(crate) fn made(names: &[&str]) -> Made {
    made_as(names, &rcgen::PKCS_ECDSA_P256_SHA256, |_| {})
}

pub(crate) fn made_as(
    names: &[&str],
    algorithm: &'static rcgen::SignatureAlgorithm,
    change: impl FnOnce(&mut CertificateParams),
) -> Made {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let key = KeyPair::generate_for(algorithm).unwrap();
    let mut params = CertificateParams::new(names).unwrap();
    change(&mut params);
    let cert = params.self_signed(&key).unwrap().pem();
    Made {
        cert,
        key: key.serialize_pem(),
    }
}

impl Made {
    /// Writes it as NAME.crt and NAME.key, as a careful administrator would.
    pub(crate) fn write(&self, folder: &Path, name: &str) -> (PathBuf, PathBuf) {
        let cert = folder.join(format!("{name}.crt"));
        let key = folder.join(format!("{name}.key"));
        put(&key, &self.key);
        put(&cert, &self.cert);
        (cert, key)
    }
}

/// Replaces a file by a new one, so that its inode changes whatever the clock says.
pub(crate) fn put(path: &Path, text: &str) {
    let new = path.with_extension("new");
    fs::write(&new, text).unwrap();
    fs::set_permissions(&new, fs::Permissions::from_mode(0o600)).unwrap();
    fs::rename(new, path).unwrap();
}

pub(crate) fn listed((cert, key): (PathBuf, PathBuf)) -> CertificateConfig {
    CertificateConfig {
        names: vec![],
        cert: Spanned::from(cert),
        key: Spanned::from(key),
        place: Default::default(),
    }
}

pub(crate) fn config(certificates: Vec<CertificateConfig>) -> TlsConfig {
    TlsConfig {
        certificates,
        ..TlsConfig::default()
    }
}

pub(crate) fn load(config: &TlsConfig) -> Result<Prepared, Problems> {
    CertStore::load(config, &[], Path::new("/nonexistent"))
}

pub(crate) fn store(config: &TlsConfig) -> CertStore {
    CertStore::new(load(config).unwrap()).unwrap()
}

/// A store with one certificate for each list of names.
pub(crate) fn store_of(folder: &Path, lists: &[&[&str]]) -> CertStore {
    let write =
        |(index, names): (usize, &&[&str])| listed(made(names).write(folder, &index.to_string()));
    store(&config(lists.iter().enumerate().map(write).collect()))
}

/// A client that takes any certificate, and keeps sessions for the next connection.
pub(crate) fn client(versions: &[&'static rustls::SupportedProtocolVersion]) -> ClientConfig {
    client_reading(versions, all_schemes())
}

/// The same, able to read only these kinds of signature.
pub(crate) fn client_reading(
    versions: &[&'static rustls::SupportedProtocolVersion],
    schemes: Vec<SignatureScheme>,
) -> ClientConfig {
    ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(versions)
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Credulous(schemes)))
        .with_no_client_auth()
}

fn all_schemes() -> Vec<SignatureScheme> {
    provider()
        .signature_verification_algorithms
        .supported_schemes()
}

pub(crate) const BOTH: &[&rustls::SupportedProtocolVersion] =
    &[&rustls::version::TLS13, &rustls::version::TLS12];

/// The same, showing a certificate of its own.
pub(crate) fn client_with(made: &Made) -> ClientConfig {
    use rustls::pki_types::pem::PemObject;
    let chain = vec![CertificateDer::from_pem_slice(made.cert.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(made.key.as_bytes()).unwrap();
    ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(BOTH)
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Credulous(all_schemes())))
        .with_client_auth_cert(chain, key)
        .unwrap()
}

pub(crate) type Ends = (
    client::TlsStream<DuplexStream>,
    server::TlsStream<DuplexStream>,
);

/// A handshake in memory, both ways.
pub(crate) async fn shake(
    server: Arc<rustls::ServerConfig>,
    client: &Arc<ClientConfig>,
    name: &str,
) -> std::io::Result<Ends> {
    let (near, far) = tokio::io::duplex(1 << 16);
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let connecting = TlsConnector::from(client.clone()).connect(name, near);
    let accepting = TlsAcceptor::from(server).accept(far);
    let both = async { tokio::join!(connecting, accepting) };
    let (near, far) = tokio::time::timeout(Duration::from_secs(20), both)
        .await
        .expect("stuck");
    Ok((near?, far?))
}

pub(crate) async fn shown(store: &CertStore, name: &str) -> std::io::Result<Vec<String>> {
    let server = store.server_config(&[], ClientCertificates::None);
    let (near, _far) = shake(server, &Arc::new(client(BOTH)), name).await?;
    Ok(names_of(near.get_ref().1))
}

/// The names of the certificate that the server showed.
pub(crate) fn names_of(connection: &ClientConnection) -> Vec<String> {
    names_in(&connection.peer_certificates().unwrap()[0])
}

fn names_in(der: &CertificateDer<'_>) -> Vec<String> {
    use x509_parser::prelude::*;
    let (_, certificate) = X509Certificate::from_der(der).unwrap();
    let names = certificate.subject_alternative_name().unwrap().unwrap();
    let names = names
        .value
        .general_names
        .iter()
        .filter_map(|name| match name {
            GeneralName::DNSName(name) => Some((*name).to_owned()),
            _ => None,
        });
    names.collect()
}

/// An authority for client certificates.
pub(crate) fn authority(name: &str) -> (String, Issuer<'static, KeyPair>) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params
        .distinguished_name
        .push(rcgen::DnType::CommonName, name);
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let pem = params.self_signed(&key).unwrap().pem();
    (pem, Issuer::new(params, key))
}

pub(crate) fn issued(issuer: &Issuer<'static, KeyPair>, name: &str) -> Made {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    let cert = params.signed_by(&key, issuer).unwrap().pem();
    Made {
        cert,
        key: key.serialize_pem(),
    }
}

/// Takes every certificate, and reads the given kinds of signature.
#[derive(Debug)]
struct Credulous(Vec<SignatureScheme>);

impl ServerCertVerifier for Credulous {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.clone()
    }
}
