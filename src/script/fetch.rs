//! `omnid.fetch`: one HTTP/1.1 request on a connection of its own, bounded in time and size.
//!
//! Redirects are not followed and nothing is kept: a script sees what the server said.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Uri};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use mlua::{Lua, LuaString, Table, Value as LuaValue};
use omnid_config::{IpNet, Problem, Problems};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls_pki_types::pem::PemObject;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio_rustls::TlsConnector;

use crate::config::FetchConfig;

/// Addresses of a name that are tried.
const ADDRESSES_MAX: usize = 4;

/// Bytes of a response's head.
const HEAD_MAX: usize = 64 * 1024;

/// Header lines of a request.
const HEADERS_MAX: usize = 64;

/// Where systems keep the certificates of the authorities they believe.
const SYSTEM_AUTHORITIES: &[&str] = &[
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
];

/// What makes requests for scripts.
pub(crate) struct Fetcher {
    allow: Vec<Allowed>,
    timeout: Duration,
    max_size: usize,
    turns: Semaphore,
    ca_file: Option<PathBuf>,
    /// Made when it is first needed, since most scripts fetch nothing.
    tls: Mutex<Option<TlsConnector>>,
}

/// A destination that is allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Allowed {
    Host(String),
    /// `*.example.org`, as `.example.org`.
    Below(String),
    Net(IpNet),
}

/// A request that is in order.
pub(crate) struct Request {
    is_https: bool,
    host: String,
    port: u16,
    inner: http::Request<Full<Bytes>>,
    timeout: Duration,
}

/// What the server said.
pub(crate) struct Response {
    status: u16,
    headers: HeaderMap,
    body: Bytes,
}

/// Why there is no response.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FetchError {
    #[error("{0} is not an http or https URL")]
    Url(String),
    #[error("{0}")]
    Option(String),
    #[error("[script.fetch] does not allow requests to {0}")]
    NotAllowed(String),
    #[error("cannot find the address of {host}: {source}")]
    Lookup {
        host: String,
        source: std::io::Error,
    },
    #[error("cannot connect to {host}: {source}")]
    Connect {
        host: String,
        source: std::io::Error,
    },
    #[error("no authorities to check certificates by: {0}")]
    Authorities(String),
    #[error("TLS with {host}: {source}")]
    Tls {
        host: String,
        source: std::io::Error,
    },
    #[error("{host}: {source}")]
    Http { host: String, source: hyper::Error },
    #[error("the response is larger than {0} bytes")]
    TooLarge(usize),
    #[error("the response breaks off")]
    Broken,
    #[error("no response within {0:?}")]
    Timeout(Duration),
}

impl Fetcher {
    pub(crate) fn new(config: &FetchConfig, problems: &mut Problems) -> Self {
        let mut allow = Vec::new();
        for entry in &config.allow {
            match entry.parse() {
                Ok(allowed) => allow.push(allowed),
                Err(NotADestination) => problems.push(
                    Problem::error(format!("{:?} is no destination", entry.value))
                        .at(entry.span, "")
                        .help("a host name, *.example.org, an address or a network"),
                ),
            }
        }
        Self {
            allow,
            timeout: config.timeout,
            max_size: config.max_size.as_usize(),
            turns: Semaphore::new(usize::try_from(config.max_concurrent).unwrap_or(1)),
            ca_file: config.ca_file.clone(),
            tls: Mutex::new(None),
        }
    }

    /// Makes the request, within its time.
    pub(crate) async fn fetch(&self, request: Request) -> Result<Response, FetchError> {
        let timeout = request.timeout;
        let fetched = tokio::time::timeout(timeout, self.fetch_unhurried(request)).await;
        fetched.unwrap_or(Err(FetchError::Timeout(timeout)))
    }

    async fn fetch_unhurried(&self, request: Request) -> Result<Response, FetchError> {
        // The semaphore is never closed; were it, requests would do without turns.
        let _turn = self.turns.acquire().await.ok();
        let host = request.host.clone();
        let socket = self.connect(&host, request.port).await?;
        if !request.is_https {
            return self.exchange(socket, &host, request.inner).await;
        }
        let connector = self.connector().await.map_err(FetchError::Authorities)?;
        let name = ServerName::try_from(host.clone());
        let name = name.map_err(|_| FetchError::Url(host.clone()))?;
        let socket = connector.connect(name, socket).await;
        let socket = socket.map_err(|source| FetchError::Tls {
            host: host.clone(),
            source,
        })?;
        self.exchange(socket, &host, request.inner).await
    }

    async fn connector(&self) -> Result<TlsConnector, String> {
        let kept = || self.tls.lock().unwrap_or_else(PoisonError::into_inner);
        let known = kept().clone();
        if let Some(connector) = known {
            return Ok(connector);
        }
        // A bundle is some hundred certificates: not to be read on a worker.
        let ca_file = self.ca_file.clone();
        let made = tokio::task::spawn_blocking(move || connector(ca_file.as_deref())).await;
        let made = made.map_err(|error| error.to_string())??;
        *kept() = Some(made.clone());
        Ok(made)
    }

    /// Reads the authorities anew when they are needed next.
    pub(crate) fn forget_authorities(&self) {
        *self.tls.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    async fn connect(&self, host: &str, port: u16) -> Result<TcpStream, FetchError> {
        let by_name = self.allow.is_empty() || self.allow.iter().any(|entry| entry.is_host(host));
        let found = tokio::net::lookup_host((host, port)).await;
        let found = found.map_err(|source| FetchError::Lookup {
            host: host.to_owned(),
            source,
        })?;
        // Checked after the name was resolved, and connected to without resolving it again: a name
        // cannot point elsewhere in between.
        let is_allowed = |address: &SocketAddr| {
            by_name || self.allow.iter().any(|entry| entry.is_net(address.ip()))
        };
        let mut failure = FetchError::NotAllowed(host.to_owned());
        for address in found.filter(is_allowed).take(ADDRESSES_MAX) {
            match TcpStream::connect(address).await {
                Ok(socket) => return Ok(socket),
                Err(source) => {
                    failure = FetchError::Connect {
                        host: host.to_owned(),
                        source,
                    }
                }
            }
        }
        Err(failure)
    }

    async fn exchange(
        &self,
        socket: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        host: &str,
        request: http::Request<Full<Bytes>>,
    ) -> Result<Response, FetchError> {
        let failed = |source| FetchError::Http {
            host: host.to_owned(),
            source,
        };
        let mut builder = http1::Builder::new();
        builder.max_buf_size(HEAD_MAX);
        let (mut sender, connection) = builder
            .handshake(TokioIo::new(socket))
            .await
            .map_err(failed)?;
        // The connection must be driven beside the request; it ends with it.
        let exchange = async {
            let response = sender.send_request(request).await.map_err(failed)?;
            self.read(response).await
        };
        let mut connection = std::pin::pin!(connection);
        let mut exchange = std::pin::pin!(exchange);
        let mut is_open = true;
        loop {
            tokio::select! {
                biased;
                response = &mut exchange => return response,
                // However it ends, the exchange finds out.
                _ = &mut connection, if is_open => is_open = false,
            }
        }
    }

    async fn read(&self, response: http::Response<Incoming>) -> Result<Response, FetchError> {
        let (head, body) = response.into_parts();
        let body = Limited::new(body, self.max_size)
            .collect()
            .await
            .map_err(|error| {
                if error.is::<LengthLimitError>() {
                    FetchError::TooLarge(self.max_size)
                } else {
                    FetchError::Broken
                }
            })?;
        Ok(Response {
            status: head.status.as_u16(),
            headers: head.headers,
            body: body.to_bytes(),
        })
    }
}

impl Allowed {
    fn is_host(&self, host: &str) -> bool {
        match self {
            Self::Host(name) => name.eq_ignore_ascii_case(host),
            Self::Below(ending) => host.to_ascii_lowercase().ends_with(ending),
            Self::Net(_) => false,
        }
    }

    fn is_net(&self, address: IpAddr) -> bool {
        match self {
            Self::Net(net) => net.contains(address.to_canonical()),
            Self::Host(_) | Self::Below(_) => false,
        }
    }
}

struct NotADestination;

impl FromStr for Allowed {
    type Err = NotADestination;

    fn from_str(text: &str) -> Result<Self, NotADestination> {
        if let Ok(address) = text.parse::<IpAddr>() {
            let length = if address.is_ipv4() { 32 } else { 128 };
            return IpNet::new(address, length)
                .map(Self::Net)
                .ok_or(NotADestination);
        }
        if let Ok(net) = text.parse() {
            return Ok(Self::Net(net));
        }
        let (is_below, name) = match text.strip_prefix("*.") {
            Some(name) => (true, name),
            None => (false, text),
        };
        let is_label = |label: &str| {
            !label.is_empty()
                && label
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'))
        };
        if !name.split('.').all(is_label) {
            return Err(NotADestination);
        }
        let name = name.to_ascii_lowercase();
        Ok(if is_below {
            Self::Below(format!(".{name}"))
        } else {
            Self::Host(name)
        })
    }
}

impl Request {
    /// From what a script wrote: a URL and `{method, headers, body, timeout}`.
    pub(crate) fn new(
        url: &str,
        options: Option<&Table>,
        fetcher: &Fetcher,
    ) -> Result<Self, FetchError> {
        let not_a_url = || FetchError::Url(format!("{url:?}"));
        let uri: Uri = url.parse().map_err(|_| not_a_url())?;
        let is_https = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(not_a_url()),
        };
        let authority = uri.authority().ok_or_else(not_a_url)?;
        if authority.as_str().contains('@') {
            return Err(FetchError::Option(
                "a URL must not hold a password".to_owned(),
            ));
        }
        // An IPv6 address stands in brackets in a URL, and without them anywhere else.
        let host = authority
            .host()
            .trim_start_matches('[')
            .trim_end_matches(']')
            .to_owned();
        let port = authority
            .port_u16()
            .unwrap_or(if is_https { 443 } else { 80 });
        let path = uri
            .path_and_query()
            .map_or("/", http::uri::PathAndQuery::as_str);

        let options = Options::read(options, fetcher)?;
        let mut builder = http::Request::builder().method(options.method).uri(path);
        if let Some(headers) = builder.headers_mut() {
            let agent = concat!("omnid/", env!("CARGO_PKG_VERSION"));
            headers.insert(header::USER_AGENT, HeaderValue::from_static(agent));
            let authority = HeaderValue::from_str(authority.as_str()).map_err(|_| not_a_url())?;
            headers.insert(header::HOST, authority);
            headers.extend(options.headers);
        }
        let inner = builder
            .body(Full::new(options.body))
            .map_err(|_| not_a_url())?;
        Ok(Self {
            is_https,
            host,
            port,
            inner,
            timeout: options.timeout,
        })
    }
}

struct Options {
    method: Method,
    headers: HeaderMap,
    body: Bytes,
    timeout: Duration,
}

impl Options {
    fn read(table: Option<&Table>, fetcher: &Fetcher) -> Result<Self, FetchError> {
        let mut options = Self {
            method: Method::GET,
            headers: HeaderMap::new(),
            body: Bytes::new(),
            timeout: fetcher.timeout,
        };
        let Some(table) = table else {
            return Ok(options);
        };
        for pair in table.pairs::<String, LuaValue>() {
            let (name, value) = pair.map_err(|error| wrong(&error.to_string()))?;
            options.set(&name, &value, fetcher)?;
        }
        Ok(options)
    }

    fn set(&mut self, name: &str, value: &LuaValue, fetcher: &Fetcher) -> Result<(), FetchError> {
        match (name, value) {
            ("method", LuaValue::String(method)) => {
                let method = Method::from_bytes(&method.as_bytes());
                self.method = method.map_err(|_| wrong("that is no method"))?;
            }
            ("headers", LuaValue::Table(headers)) => {
                for pair in headers.pairs::<LuaString, LuaString>() {
                    let (name, value) = pair.map_err(|error| wrong(&error.to_string()))?;
                    self.header(&name, &value)?;
                }
            }
            ("body", LuaValue::String(body)) => {
                let body = body.as_bytes();
                if body.len() > fetcher.max_size {
                    let message = format!("the body has more than {} bytes", fetcher.max_size);
                    return Err(FetchError::Option(message));
                }
                self.body = Bytes::copy_from_slice(&body);
            }
            ("timeout", LuaValue::Integer(_) | LuaValue::Number(_)) => {
                let seconds = match value {
                    LuaValue::Number(seconds) => *seconds,
                    other => other.as_i32().map_or(f64::NAN, f64::from),
                };
                let timeout = Duration::try_from_secs_f64(seconds);
                let timeout = timeout.map_err(|_| wrong("the timeout is no number of seconds"))?;
                self.timeout = timeout.min(fetcher.timeout);
            }
            ("method" | "headers" | "body" | "timeout", value) => {
                return Err(wrong(&format!(
                    "{name} must not be a {}",
                    value.type_name()
                )));
            }
            _ => {
                let known = "method, headers, body and timeout";
                return Err(wrong(&format!("there is no option {name:?}, but {known}")));
            }
        }
        Ok(())
    }

    fn header(&mut self, name: &LuaString, value: &LuaString) -> Result<(), FetchError> {
        let name = HeaderName::from_bytes(&name.as_bytes());
        let name = name.map_err(|_| wrong("a header's name is malformed"))?;
        // These say where the message ends; only who sends it knows.
        let framing = [
            header::CONTENT_LENGTH,
            header::TRANSFER_ENCODING,
            header::CONNECTION,
            header::UPGRADE,
        ];
        if framing.contains(&name) {
            return Err(wrong(&format!(
                "the header {name} is not the script's to set"
            )));
        }
        if self.headers.len() >= HEADERS_MAX {
            return Err(wrong("too many headers"));
        }
        let value = HeaderValue::from_bytes(&value.as_bytes());
        let value = value.map_err(|_| wrong(&format!("the value of {name} is malformed")))?;
        self.headers.insert(name, value);
        Ok(())
    }
}

fn wrong(what: &str) -> FetchError {
    FetchError::Option(what.to_owned())
}

impl Response {
    /// `{status, headers, body}`: names of headers in lower case, values of one name joined by commas.
    pub(crate) fn to_lua(&self, lua: &Lua) -> mlua::Result<Table> {
        let headers = lua.create_table()?;
        for name in self.headers.keys() {
            let values: Vec<&[u8]> = self
                .headers
                .get_all(name)
                .iter()
                .map(HeaderValue::as_bytes)
                .collect();
            headers.raw_set(name.as_str(), lua.create_string(values.join(&b", "[..]))?)?;
        }
        let response = lua.create_table()?;
        response.raw_set("status", self.status)?;
        response.raw_set("headers", headers)?;
        response.raw_set("body", lua.create_string(&self.body)?)?;
        Ok(response)
    }
}

fn connector(ca_file: Option<&Path>) -> Result<TlsConnector, String> {
    let system = SYSTEM_AUTHORITIES
        .iter()
        .map(Path::new)
        .find(|path| path.exists());
    let path = ca_file
        .or(system)
        .ok_or("the system has no bundle of them, and ca_file is not set")?;
    let fault = |what: String| format!("{}: {what}", path.display());
    let certificates =
        CertificateDer::pem_file_iter(path).map_err(|error| fault(error.to_string()))?;
    let mut roots = rustls::RootCertStore::empty();
    // Systems' bundles hold some that rustls does not take; the others are what counts.
    roots.add_parsable_certificates(certificates.filter_map(Result::ok));
    if roots.is_empty() {
        return Err(fault("no certificates in it".to_owned()));
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}
