//! The HTTP client that the authority is asked with: one connection for each request, HTTPS only,
//! and nothing without a bound.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::provider;

/// For a request from its first byte to the answer's last.
const WHOLE: Duration = Duration::from_secs(30);
/// The longest answer that is read: chains have some 10 KiB.
const LONGEST: usize = 1024 * 1024;

/// Asks an authority.
#[derive(Clone)]
pub(crate) struct Client {
    tls: Arc<ClientConfig>,
    /// What the authority last said about waiting, in seconds; 0 for nothing.
    wait: Arc<AtomicU64>,
}

/// What goes wrong on the way to the authority.
#[derive(Debug, thiserror::Error)]
enum WayError {
    #[error("{0} is not an https address")]
    Address(Uri),
    #[error("cannot reach {host}: {source}")]
    Connect {
        host: String,
        source: std::io::Error,
    },
    #[error("{host}: {source}")]
    Http { host: String, source: hyper::Error },
    #[error("the answer breaks off or is too long: {0}")]
    Body(Box<dyn std::error::Error + Send + Sync>),
    #[error("no answer from {0} in time")]
    Slow(Uri),
}

impl Client {
    /// A client that trusts these authorities.
    pub(crate) fn new(roots: RootCertStore) -> Result<Self, rustls::Error> {
        let config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self {
            tls: Arc::new(config),
            wait: Arc::default(),
        })
    }

    /// How long the authority asked to be left alone, since this was last asked.
    pub(crate) fn told_to_wait(&self) -> Option<Duration> {
        let seconds = self.wait.swap(0, Ordering::Relaxed);
        (seconds > 0).then(|| Duration::from_secs(seconds))
    }

    async fn send(self, request: Request<Bytes>) -> Result<Response<Full<Bytes>>, WayError> {
        let uri = request.uri().clone();
        let not_https = || WayError::Address(uri.clone());
        let host = uri
            .host()
            .filter(|_| uri.scheme_str() == Some("https"))
            .ok_or_else(not_https)?;
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let name = ServerName::try_from(bare.to_owned()).map_err(|_| not_https())?;
        let fail = |source| WayError::Connect {
            host: host.to_owned(),
            source,
        };
        let socket = TcpStream::connect((bare, uri.port_u16().unwrap_or(443)))
            .await
            .map_err(fail)?;
        let stream = TlsConnector::from(self.tls)
            .connect(name, socket)
            .await
            .map_err(fail)?;
        let fail = |source| WayError::Http {
            host: host.to_owned(),
            source,
        };
        let (mut sender, connection) = hyper::client::conn::http1::Builder::new()
            .max_buf_size(64 * 1024)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(fail)?;
        let (mut parts, body) = request.into_parts();
        let authority = uri.authority().map_or(host, http::uri::Authority::as_str);
        let authority = HeaderValue::from_str(authority).map_err(|_| not_https())?;
        parts.headers.insert(header::HOST, authority);
        parts
            .headers
            .insert(header::CONNECTION, HeaderValue::from_static("close"));
        let target = uri.path_and_query().map_or("/", |target| target.as_str());
        parts.uri = target.parse().map_err(|_| not_https())?;
        let exchange = async {
            let response = sender
                .send_request(Request::from_parts(parts, Full::new(body)))
                .await
                .map_err(fail)?;
            let (parts, body) = response.into_parts();
            let body = Limited::new(body, LONGEST)
                .collect()
                .await
                .map_err(WayError::Body)?;
            Ok(Response::from_parts(parts, Full::new(body.to_bytes())))
        };
        tokio::pin!(exchange, connection);
        // The connection is driven beside the exchange, in this task: it ends with it.
        let mut open = true;
        loop {
            tokio::select! {
                answer = &mut exchange => return answer,
                _ended = &mut connection, if open => open = false,
            }
        }
    }

    fn note_wait(&self, response: &Response<Full<Bytes>>) {
        let busy = matches!(
            response.status(),
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE
        );
        let seconds = response
            .headers()
            .get(header::RETRY_AFTER)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.trim().parse::<u64>().ok());
        if let Some(seconds) = seconds.filter(|_| busy) {
            self.wait.fetch_max(seconds, Ordering::Relaxed);
        }
    }
}

impl HttpClient for Client {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let client = self.clone();
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            let body = match body.collect().await {
                Ok(body) => body.to_bytes(),
                Err(never) => match never {},
            };
            let uri = parts.uri.clone();
            let sending = client.clone().send(Request::from_parts(parts, body));
            let response = timeout(WHOLE, Box::pin(sending))
                .await
                .unwrap_or(Err(WayError::Slow(uri)))
                .map_err(|error| Error::Other(Box::new(error)))?;
            client.note_wait(&response);
            Ok(BytesResponse::from(response))
        })
    }
}
