//! What the tests share: a log that can be asked, addresses, and waiting for conditions.

use std::fmt::Write;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use omnid_net::systemd::{Notify, Passed};
use omnid_net::{ListenAddr, Listener, Net, NetConfig};
use tokio::net::TcpStream;
use tracing::field::{Field, Visit};
use tracing::span;

/// Everything that takes longer than this is stuck.
pub(crate) const LONG: Duration = Duration::from_secs(20);

pub(crate) fn net(config: &NetConfig) -> Net {
    log();
    Net::with(config, Passed::default(), Notify::default())
}

pub(crate) fn loopback() -> ListenAddr {
    ListenAddr::loopback(0)
}

pub(crate) fn address(listener: &Listener) -> SocketAddr {
    listener.local_address().ip().expect("an IP listener")
}

/// A port that was free a moment ago, on a loopback address that no other test uses.
pub(crate) fn free_place(ip: [u8; 4]) -> SocketAddr {
    let probe = std::net::TcpListener::bind((std::net::IpAddr::from(ip), 0)).unwrap();
    probe.local_addr().unwrap()
}

pub(crate) async fn connect(listener: &Listener) -> TcpStream {
    soon(TcpStream::connect(address(listener))).await.unwrap()
}

pub(crate) async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(LONG, future)
        .await
        .expect("it never came")
}

pub(crate) async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < LONG, "never: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The lines logged so far that contain every one of `words`.
pub(crate) fn logged(words: &[&str]) -> Vec<String> {
    let lines = log().lock().unwrap();
    lines
        .iter()
        .filter(|line| words.iter().all(|word| line.contains(word)))
        .cloned()
        .collect()
}

fn log() -> &'static Mutex<Vec<String>> {
    static LINES: OnceLock<Arc<Mutex<Vec<String>>>> = OnceLock::new();
    LINES.get_or_init(|| {
        let lines = Arc::new(Mutex::new(Vec::new()));
        tracing::subscriber::set_global_default(Log(lines.clone())).unwrap();
        lines
    })
}

struct Log(Arc<Mutex<Vec<String>>>);

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        write!(self.0, " {}={value:?}", field.name()).unwrap();
    }
}

impl tracing::Subscriber for Log {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        metadata.target().starts_with("omnid") && *metadata.level() <= tracing::Level::INFO
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        let mut line = Line(event.metadata().level().to_string());
        event.record(&mut line);
        self.0.lock().unwrap().push(line.0);
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

/// Runs a test of this binary in a process of its own, where limits and memory are its alone, and
/// returns what it printed. That test must begin by asking [`is_alone`].
pub(crate) fn alone(test: &str) -> String {
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(ALONE, test)
        .output()
        .unwrap();
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{printed}\n{errors}");
    printed
}

/// Is this the process that [`alone`] started for this test?
pub(crate) fn is_alone(test: &str) -> bool {
    std::env::var_os(ALONE).is_some_and(|name| name == test)
}

const ALONE: &str = "OMNID_NET_TEST_ALONE";

/// A server's config with a certificate of its own, and a client's that trusts it.
pub(crate) fn tls(alpn: &[&str]) -> (Arc<rustls::ServerConfig>, Arc<rustls::ClientConfig>) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let certificate = made.cert.der().clone();
    let key = made.signing_key.serialize_der().try_into().unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut server = rustls::ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key)
        .unwrap();
    server.alpn_protocols = alpn.iter().map(|id| id.as_bytes().to_vec()).collect();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate).unwrap();
    let client = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    (Arc::new(server), Arc::new(client))
}

/// A TLS connection over `socket`, offering `alpn`.
pub(crate) async fn tls_connect<S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin>(
    config: &Arc<rustls::ClientConfig>,
    alpn: &[&str],
    socket: S,
) -> std::io::Result<tokio_rustls::client::TlsStream<S>> {
    let mut config = rustls::ClientConfig::clone(config);
    config.alpn_protocols = alpn.iter().map(|id| id.as_bytes().to_vec()).collect();
    let name = "localhost".try_into().unwrap();
    soon(tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, socket)).await
}
