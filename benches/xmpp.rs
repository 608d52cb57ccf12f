//! Chat messages over TLS, logins and idle sessions: omnid and Prosody in turns.
//!
//! `cargo bench --bench xmpp` (needs the packages of tests/install)

#[path = "../tests/support/mod.rs"]
mod harness;
mod support;

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    path::Path,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use harness::{Background, Daemon, free_port, run, wait_until};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme, StreamOwned,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use support::{Figure, cpu, memory_kib, print};

const LIMIT: Duration = Duration::from_secs(120);
const DOMAIN: &str = "one.test";
/// Accounts, and sessions that each can have at a time.
const ACCOUNTS: usize = 200;
const RESOURCES: usize = 10;
/// Conversations, and messages that each has under way.
const PAIRS: usize = 50;
const WINDOW: usize = 8;
const MESSAGES: usize = 4000;

/// Takes any certificate: the servers are ours.
#[derive(Debug)]
struct Anybody;

impl ServerCertVerifier for Anybody {
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
        vec![
            SignatureScheme::ECDSA_NISTP256_SHA256,
            SignatureScheme::ED25519,
            SignatureScheme::RSA_PSS_SHA256,
        ]
    }
}

type Tls = StreamOwned<ClientConnection, TcpStream>;

/// A client that is logged in.
struct Client {
    stream: Tls,
    jid: String,
}

const HEADER: &str = "<?xml version='1.0'?><stream:stream to='one.test' version='1.0' \
                      xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>";

/// Reads until `end` has come; what came.
fn until(stream: &mut impl Read, end: &str) -> String {
    let mut seen = Vec::new();
    let mut chunk = [0; 4096];
    while !String::from_utf8_lossy(&seen).contains(end) {
        let read = stream.read(&mut chunk).unwrap();
        let text = String::from_utf8_lossy(&seen);
        assert!(read > 0, "the server closed before {end:?}: {text}");
        seen.extend_from_slice(&chunk[..read]);
    }
    String::from_utf8(seen).unwrap()
}

impl Client {
    fn login(port: u16, user: &str, resource: &str, config: &Arc<ClientConfig>) -> Self {
        let mut socket = TcpStream::connect(("127.0.0.1", port)).unwrap();
        socket.set_nodelay(true).unwrap();
        socket.write_all(HEADER.as_bytes()).unwrap();
        until(&mut socket, "</stream:features>");
        socket
            .write_all(b"<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")
            .unwrap();
        until(&mut socket, "<proceed");
        let name = ServerName::try_from(DOMAIN).unwrap();
        let connection = ClientConnection::new(config.clone(), name).unwrap();
        let mut stream = StreamOwned::new(connection, socket);
        stream.write_all(HEADER.as_bytes()).unwrap();
        until(&mut stream, "</stream:features>");
        let secret = format!("\0{user}\0secret-{user}");
        let auth = format!(
            "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>{}</auth>",
            base64(secret.as_bytes())
        );
        stream.write_all(auth.as_bytes()).unwrap();
        until(&mut stream, "<success");
        stream.write_all(HEADER.as_bytes()).unwrap();
        until(&mut stream, "</stream:features>");
        let bind = format!(
            "<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>\
             <resource>{resource}</resource></bind></iq>"
        );
        stream.write_all(bind.as_bytes()).unwrap();
        until(&mut stream, "</iq>");
        let enter = "<iq type='get' id='r'><query xmlns='jabber:iq:roster'/></iq><presence/>";
        stream.write_all(enter.as_bytes()).unwrap();
        until(&mut stream, "<presence");
        let jid = format!("{user}@{DOMAIN}/{resource}");
        Self { stream, jid }
    }
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let mut bits = 0;
        for index in 0..3 {
            bits = bits << 8 | usize::from(chunk.get(index).copied().unwrap_or(0));
        }
        for index in 0..4 {
            let digit = DIGITS[bits >> (18 - 6 * index) & 63];
            text.push(if index <= chunk.len() {
                char::from(digit)
            } else {
                '='
            });
        }
    }
    text
}

/// A conversation: one side sends, the other reads, so many at a time.
fn converse(sender: &mut Client, reader: &mut Client, messages: usize) -> Vec<Duration> {
    let body = "x".repeat(150);
    let text: String = (0..WINDOW)
        .map(|n| {
            format!(
                "<message type='chat' id='{n:032}' to='{}'><body>{body}</body>\
                 <active xmlns='http://jabber.org/protocol/chatstates'/></message>",
                reader.jid
            )
        })
        .collect();
    let mut chunk = [0; 16 * 1024];
    let mut waits = Vec::with_capacity(messages / WINDOW);
    for _ in 0..messages / WINDOW {
        let since = Instant::now();
        sender.stream.write_all(text.as_bytes()).unwrap();
        let (mut seen, mut tail) = (0, Vec::new());
        while seen < WINDOW {
            let read = reader.stream.read(&mut chunk).unwrap();
            assert!(read > 0, "the server closed");
            tail.extend_from_slice(&chunk[..read]);
            let end = b"</message>";
            let found: Vec<_> = (0..tail.len().saturating_sub(end.len() - 1))
                .filter(|&at| tail[at..].starts_with(end))
                .collect();
            seen += found.len();
            if let Some(last) = found.last() {
                tail.drain(..last + end.len());
            }
        }
        waits.push(since.elapsed());
    }
    waits
}

/// The sides of every conversation.
fn pairs(port: u16, config: &Arc<ClientConfig>) -> Vec<(Client, Client)> {
    let login = |number| Client::login(port, &user(number), "chat", config);
    (0..PAIRS)
        .map(|pair| (login(pair * 2), login(pair * 2 + 1)))
        .collect()
}

/// Every conversation at once.
fn chat(clients: Vec<(Client, Client)>) -> (f64, String) {
    let threads: Vec<_> = clients
        .into_iter()
        .map(|(mut sender, mut reader)| {
            thread::spawn(move || converse(&mut sender, &mut reader, MESSAGES))
        })
        .collect();
    let mut waits: Vec<_> = threads
        .into_iter()
        .flat_map(|t| t.join().unwrap())
        .collect();
    waits.sort();
    let quantile = |part: usize| waits[waits.len() * part / 100];
    let latency = format!(
        "p50 {:.1?} p99 {:.1?} for {WINDOW}",
        quantile(50),
        quantile(99)
    );
    ((PAIRS * MESSAGES) as f64, latency)
}

fn user(number: usize) -> String {
    format!("user{number:04}")
}

fn login_all(port: u16, config: &Arc<ClientConfig>) -> Vec<Client> {
    let logins = |part: usize| {
        let config = config.clone();
        thread::spawn(move || {
            let mut clients = Vec::new();
            for account in (0..ACCOUNTS).filter(|account| account % 4 == part) {
                for resource in 0..RESOURCES {
                    let resource = format!("r{resource}");
                    clients.push(Client::login(port, &user(account), &resource, &config));
                }
            }
            clients
        })
    };
    let threads: Vec<_> = (0..4).map(logins).collect();
    threads
        .into_iter()
        .flat_map(|t| t.join().unwrap())
        .collect()
}

fn prosody_config(directory: &Path, port: u16) -> String {
    let directory = directory.display();
    format!(
        r#"
run_as_root = true
pidfile = "{directory}/prosody.pid"
data_path = "{directory}/prosody"
interfaces = {{ "127.0.0.1" }}
c2s_ports = {{ {port} }}
s2s_ports = {{ }}
http_ports = {{ }}
https_ports = {{ }}
network_backend = "epoll"
modules_enabled = {{ "roster", "saslauth", "tls", "disco", "ping", "offline", "private", "vcard_legacy", "smacks" }}
modules_disabled = {{ "s2s" }}
authentication = "internal_hashed"
log = {{ warn = "{directory}/prosody.log" }}
VirtualHost "{DOMAIN}"
  ssl = {{ key = "{directory}/key.pem", certificate = "{directory}/cert.pem" }}
"#
    )
}

fn main() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    fs::create_dir(path.join("prosody")).unwrap();
    let (certificate, key) = (path.join("cert.pem"), path.join("key.pem"));
    let openssl = [
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/CN=one.test",
        "-addext",
        "subjectAltName=DNS:one.test",
        "-keyout",
        key.to_str().unwrap(),
        "-out",
        certificate.to_str().unwrap(),
    ];
    run("openssl", &openssl, LIMIT).success();

    let ours = free_port();
    let omnid = Daemon::start(&format!(
        r#"
[[domain]]
name = "{DOMAIN}"
[log]
level = "warn"
[net]
max_connections_per_client = 100000
[tls]
certificates = [{{ cert = "{}", key = "{}" }}]
[xmpp]
listen = ["127.0.0.1:{ours}"]
listen_tls = []
"#,
        certificate.display(),
        key.display(),
    ));
    let theirs = free_port();
    let config = path.join("prosody.cfg.lua");
    fs::write(&config, prosody_config(path, theirs)).unwrap();
    let config = config.to_str().unwrap().to_owned();
    thread::scope(|scope| {
        for part in 0..4 {
            let (omnid, config) = (&omnid, &config);
            scope.spawn(move || {
                for account in (0..ACCOUNTS).filter(|account| account % 4 == part) {
                    let user = user(account);
                    let secret = format!("secret-{user}");
                    omnid.add_user(&format!("{user}@{DOMAIN}"), &secret);
                    let register = ["--config", config, "register", &user, DOMAIN, &secret];
                    run("prosodyctl", &register, LIMIT).success();
                }
            });
        }
    });
    let log = path.join("prosody.out");
    let prosody = Background::start("prosody", &["-F", "--config", &config], &log);
    wait_until("Prosody listens", LIMIT, || {
        TcpStream::connect(("127.0.0.1", theirs)).is_ok()
    });

    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let client = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody))
        .with_no_client_auth();
    let client = Arc::new(client);
    let servers = [
        ("omnid", omnid.pid(), ours),
        ("prosody", prosody.pid(), theirs),
    ];

    let chats: Vec<_> = servers
        .iter()
        .map(|&(name, pid, port)| {
            let clients = pairs(port, &client);
            Figure::measure(name, pid, || chat(clients))
        })
        .collect();
    print("chat messages of 330 bytes over TLS", &chats);

    let mut logins = Vec::new();
    println!("\nidle sessions");
    for (name, pid, port) in servers {
        let before = memory_kib(pid);
        let mut held = Vec::new();
        logins.push(Figure::measure(name, pid, || {
            held = login_all(port, &client);
            (held.len() as f64, String::new())
        }));
        // What was only needed for the logins is let go of.
        thread::sleep(Duration::from_secs(5));
        let grown = memory_kib(pid).saturating_sub(before);
        let idle = cpu(pid);
        thread::sleep(Duration::from_secs(10));
        let used = cpu(pid);
        println!(
            "  {name:<10} {:>8.0} bytes a session ({} sessions), {:.2} % of a core",
            grown as f64 * 1024.0 / held.len() as f64,
            held.len(),
            (used.user + used.system - idle.user - idle.system) * 10.0,
        );
    }
    print("logins over STARTTLS with PLAIN", &logins);
}
