//! What is asked of clients' certificates.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{verify_tls12_signature, verify_tls13_signature};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore,
    SignatureScheme,
};
use rustls_pki_types::{CertificateDer, UnixTime};

use crate::provider;
use crate::tickets::POLICY;

/// Whether clients show a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ClientCertificates {
    /// Not asked for.
    None,
    /// Asked for; one that is shown must be valid.
    Optional,
    /// Without a valid one there is no connection.
    Required,
    /// Asked for and taken as it is, with proof that the client has its key. The service must judge
    /// it by [`CertStore::verify_client`](crate::CertStore::verify_client): XMPP servers go on with
    /// dialback where a certificate does not convince (XEP-0178).
    Unverified,
}

impl ClientCertificates {
    fn mark(self) -> u8 {
        match self {
            Self::None => 0,
            Self::Optional => 1,
            Self::Required => 2,
            Self::Unverified => 3,
        }
    }
}

/// The authorities that client certificates are verified against, now.
#[derive(Debug)]
pub(crate) struct Authorities {
    verifier: Option<Arc<dyn ClientCertVerifier>>,
    mark: [u8; 15],
}

impl Authorities {
    pub(crate) fn new(roots: RootCertStore) -> Self {
        let mut all = Vec::new();
        for root in &roots.roots {
            all.extend_from_slice(&root.subject);
            all.extend_from_slice(&root.subject_public_key_info);
        }
        let mut mark = [0; 15];
        for (mark, byte) in mark.iter_mut().zip(crate::info::sha256(&all)) {
            *mark = byte;
        }
        // Without any authority the builder fails, and nobody can be verified.
        let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider());
        Self {
            verifier: builder.build().ok(),
            mark,
        }
    }

    pub(crate) fn verify(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Error> {
        let Some(verifier) = &self.verifier else {
            return Err(CertificateError::UnknownIssuer.into());
        };
        verifier
            .verify_client_cert(end_entity, intermediates, now)
            .map(|_| ())
    }

    /// What a session that was established under this policy may be resumed under.
    pub(crate) fn policy(&self, clients: ClientCertificates) -> [u8; POLICY] {
        let mut policy = [0; POLICY];
        let (mode, authorities) = policy.split_at_mut(1);
        mode.fill(clients.mark());
        if clients != ClientCertificates::None {
            authorities.copy_from_slice(&self.mark);
        }
        policy
    }
}

/// A verifier that asks the authorities of the moment, so that a config outlives their change.
pub(crate) struct Live {
    pub(crate) clients: ClientCertificates,
    pub(crate) authorities: Arc<ArcSwap<Authorities>>,
}

impl fmt::Debug for Live {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.clients.fmt(f)
    }
}

impl ClientCertVerifier for Live {
    fn offer_client_auth(&self) -> bool {
        self.clients != ClientCertificates::None
    }

    fn client_auth_mandatory(&self) -> bool {
        self.clients == ClientCertificates::Required
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        // No hints: they would go out of date here, and the system's authorities fill kilobytes.
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        if self.clients != ClientCertificates::Unverified {
            self.authorities
                .load()
                .verify(end_entity, intermediates, now)?;
        }
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = provider().signature_verification_algorithms;
        verify_tls12_signature(message, cert, dss, &algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = provider().signature_verification_algorithms;
        verify_tls13_signature(message, cert, dss, &algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}
