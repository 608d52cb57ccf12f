//! What a certificate says of itself.

use rustls_pki_types::CertificateDer;
use serde::{Serialize, Serializer};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

/// A certificate as operators see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CertificateInfo {
    /// Names and addresses it is shown for.
    pub names: Vec<String>,
    /// Who issued it.
    pub issuer: String,
    /// The first moment it is valid.
    #[serde(serialize_with = "rfc3339")]
    pub not_before: OffsetDateTime,
    /// The last moment it is valid.
    #[serde(serialize_with = "rfc3339")]
    pub not_after: OffsetDateTime,
    /// The file it was read from.
    pub source: String,
    /// SHA-256 of the certificate, in hex.
    pub fingerprint: String,
}

impl CertificateInfo {
    /// Reads an end-entity certificate.
    pub(crate) fn read(der: &CertificateDer<'_>, source: String) -> Result<Self, String> {
        let (_, certificate) = X509Certificate::from_der(der)
            .map_err(|error| format!("not an X.509 certificate: {error}"))?;
        let validity = certificate.validity();
        Ok(Self {
            names: names(&certificate),
            issuer: certificate.issuer().to_string(),
            not_before: validity.not_before.to_datetime(),
            not_after: validity.not_after.to_datetime(),
            source,
            fingerprint: hex(&sha256(der)),
        })
    }

    /// Is it valid at `now`?
    pub fn is_valid_at(&self, now: OffsetDateTime) -> bool {
        self.not_before <= now && now <= self.not_after
    }
}

pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes);
    out.copy_from_slice(digest.as_ref());
    out
}

/// The alternative names; the common name only where there are none (RFC 9525 forbids it to
/// clients, but it is what an old internal certificate has).
fn names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let mut names = Vec::new();
    if let Ok(Some(alternatives)) = certificate.subject_alternative_name() {
        for name in &alternatives.value.general_names {
            match name {
                GeneralName::DNSName(name) => names.push(name.to_ascii_lowercase()),
                GeneralName::IPAddress(bytes) => names.extend(ip(bytes)),
                _ => {}
            }
        }
    }
    if names.is_empty() {
        let common = certificate.subject().iter_common_name();
        names.extend(
            common
                .filter_map(|name| name.as_str().ok())
                .map(str::to_ascii_lowercase),
        );
    }
    names
}

fn ip(bytes: &[u8]) -> Option<String> {
    if let Ok(v4) = <[u8; 4]>::try_from(bytes) {
        return Some(std::net::Ipv4Addr::from(v4).to_string());
    }
    <[u8; 16]>::try_from(bytes)
        .ok()
        .map(|v6| std::net::Ipv6Addr::from(v6).to_string())
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn rfc3339<S: Serializer>(time: &OffsetDateTime, serializer: S) -> Result<S::Ok, S::Error> {
    let text = time.format(&Rfc3339).map_err(serde::ser::Error::custom)?;
    serializer.serialize_str(&text)
}
