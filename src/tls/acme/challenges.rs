//! What proves names while an authority looks: pages, certificates and records.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use http_body_util::{BodyExt, Full};
use omnid_hub::{
    BoxFuture, Hub, MountContext, MountRequest, MountResponse, Record, RecordData, StreamContext,
    StreamHandler,
};
use omnid_net::TlsSocket;
use rcgen::{CertificateParams, CustomExtension, DistinguishedName, KeyPair};
use rustls::sign::CertifiedKey;
use rustls_pki_types::PrivateKeyDer;

use super::AcmeError;
use crate::provider;

/// RFC 8737 section 4.
pub(crate) const ALPN: &str = "acme-tls/1";
/// RFC 8555 section 8.3.
const PATH: &str = "/.well-known/acme-challenge";
const SERVICE: &str = "acme";
/// Authorities look a few times and then no more: nobody is to keep it longer.
const TTL: u32 = 5;

/// All that is being proven now.
#[derive(Debug, Default)]
pub(crate) struct Challenges(Mutex<Pending>);

#[derive(Debug, Default)]
struct Pending {
    /// Key authorizations by token.
    pages: BTreeMap<String, String>,
    /// Certificates by name.
    certificates: BTreeMap<String, Arc<CertifiedKey>>,
    /// (domain, name, value).
    records: Vec<(String, String, String)>,
}

/// A proof that is on show until this is dropped.
pub(crate) struct Shown {
    challenges: Arc<Challenges>,
    hub: Hub,
    what: What,
}

enum What {
    Page(String),
    Certificate(String),
    Record(String, String, String),
}

impl Challenges {
    fn pending(&self) -> std::sync::MutexGuard<'_, Pending> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The certificate for a handshake that is an authority's look.
    pub(crate) fn certificate(&self, name: Option<&str>) -> Option<Arc<CertifiedKey>> {
        let name = name?.to_ascii_lowercase();
        self.pending().certificates.get(&name).cloned()
    }

    fn page(&self, path: &str) -> Option<String> {
        let token = path.strip_prefix(PATH)?.strip_prefix('/')?;
        self.pending().pages.get(token).cloned()
    }

    /// Offers the ways to look at what is being proven.
    pub(crate) fn offer(self: &Arc<Self>, hub: &Hub) {
        let challenges = self.clone();
        let page =
            move |request: MountRequest, _: MountContext| -> BoxFuture<'static, MountResponse> {
                let answer = answer(challenges.page(request.uri().path()));
                Box::pin(async move { answer })
            };
        hub.mounts().offer(PATH, SERVICE, Arc::new(page));
        let handler: Arc<dyn StreamHandler> = Arc::new(Look);
        hub.alpn().offer(ALPN, &handler);
    }

    /// Takes them back.
    pub(crate) fn withdraw(hub: &Hub) {
        hub.mounts().withdraw(SERVICE);
        hub.alpn().withdraw(ALPN);
    }

    /// Shows a page.
    pub(crate) fn show_page(self: &Arc<Self>, hub: &Hub, token: &str, text: &str) -> Shown {
        self.pending()
            .pages
            .insert(token.to_owned(), text.to_owned());
        self.shown(hub, What::Page(token.to_owned()))
    }

    /// Shows a certificate with a digest (RFC 8737 section 3).
    pub(crate) fn show_certificate(
        self: &Arc<Self>,
        hub: &Hub,
        name: &str,
        digest: &[u8],
    ) -> Result<Shown, AcmeError> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(vec![name.to_owned()])?;
        params.distinguished_name = DistinguishedName::new();
        params.custom_extensions = vec![CustomExtension::new_acme_identifier(digest)];
        let certificate = params.self_signed(&key)?;
        let der = PrivateKeyDer::try_from(key.serialize_der())
            .map_err(|why| AcmeError::Answer(why.to_owned()))?;
        // Put together by hand: the usual way refuses a critical extension that it does not know.
        let key = provider()
            .key_provider
            .load_private_key(der)
            .map_err(|error| AcmeError::Answer(error.to_string()))?;
        let key = CertifiedKey::new(vec![certificate.der().clone()], key);
        self.pending()
            .certificates
            .insert(name.to_owned(), Arc::new(key));
        Ok(self.shown(hub, What::Certificate(name.to_owned())))
    }

    /// Publishes a record about a domain of ours (RFC 8555 section 8.4).
    pub(crate) fn show_record(
        self: &Arc<Self>,
        hub: &Hub,
        domain: &str,
        name: &str,
        value: &str,
    ) -> Shown {
        let base = name.strip_prefix("*.").unwrap_or(name);
        let record = (
            domain.to_owned(),
            format!("_acme-challenge.{base}"),
            value.to_owned(),
        );
        self.pending().records.push(record.clone());
        self.publish(hub, domain);
        let (domain, name, value) = record;
        self.shown(hub, What::Record(domain, name, value))
    }

    fn shown(self: &Arc<Self>, hub: &Hub, what: What) -> Shown {
        Shown {
            challenges: self.clone(),
            hub: hub.clone(),
            what,
        }
    }

    fn publish(&self, hub: &Hub, domain: &str) {
        let records = self
            .pending()
            .records
            .iter()
            .filter(|(of, _, _)| of == domain)
            .map(|(_, name, value)| Record {
                name: name.clone(),
                ttl: TTL,
                data: RecordData::Txt {
                    strings: vec![value.clone()],
                },
            })
            .collect();
        hub.records().publish(SERVICE, domain, records);
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        let mut pending = self.challenges.pending();
        match &self.what {
            What::Page(token) => {
                pending.pages.remove(token);
            }
            What::Certificate(name) => {
                pending.certificates.remove(name);
            }
            What::Record(domain, name, value) => {
                let this = (domain.clone(), name.clone(), value.clone());
                if let Some(at) = pending.records.iter().position(|record| *record == this) {
                    pending.records.swap_remove(at);
                }
                drop(pending);
                self.challenges.publish(&self.hub, domain);
            }
        }
    }
}

fn answer(page: Option<String>) -> MountResponse {
    let status = match page {
        Some(_) => http::StatusCode::OK,
        None => http::StatusCode::NOT_FOUND,
    };
    let body = Full::from(page.unwrap_or_default())
        .map_err(|never| match never {})
        .boxed_unsync();
    let mut response = MountResponse::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(
        http::header::CONTENT_TYPE,
        http::HeaderValue::from_static("application/octet-stream"),
    );
    response
}

/// RFC 8737 section 3: the handshake was all.
struct Look;

impl StreamHandler for Look {
    fn take(&self, stream: TlsSocket, context: StreamContext) {
        tracing::debug!(peer = %context.peer, "an authority has looked");
        drop(stream);
    }
}
