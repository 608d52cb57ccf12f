//! The whole daemon: every service on every kind of listener, and a client of each.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream, UdpSocket},
    os::unix::net::UnixStream,
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use serde_json::{Value, json};

use super::{Daemon, free_port};

/// The domain that the daemon of these tests serves.
pub const DOMAIN: &str = "example.test";

/// Where each kind of listener is.
#[derive(Debug, Clone, Copy)]
pub struct Ports {
    pub dns: u16,
    pub dot: u16,
    pub http: u16,
    pub https: u16,
    pub xmpp: u16,
    pub xmpps: u16,
    pub sip: u16,
    pub sips: u16,
    pub admin: u16,
}

impl Ports {
    /// Free ones.
    pub fn free() -> Self {
        Self {
            dns: free_port(),
            dot: free_port(),
            http: free_port(),
            https: free_port(),
            xmpp: free_port(),
            xmpps: free_port(),
            sip: free_port(),
            sips: free_port(),
            admin: free_port(),
        }
    }

    /// Every listener that takes connections: its name, its port, and whether it begins with TLS.
    pub fn streams(&self) -> [(&'static str, u16, bool); 9] {
        [
            ("dns", self.dns, false),
            ("dot", self.dot, true),
            ("http", self.http, false),
            ("https", self.https, true),
            ("xmpp", self.xmpp, false),
            ("xmpps", self.xmpps, true),
            ("sip", self.sip, false),
            ("sips", self.sips, true),
            ("admin", self.admin, false),
        ]
    }
}

/// What a test says beside the addresses; each is text of that section.
#[derive(Debug, Default, Clone, Copy)]
pub struct More<'a> {
    /// Sections before the services'.
    pub sections: &'a str,
    pub dns: &'a str,
    pub http: &'a str,
    pub site: &'a str,
    pub xmpp: &'a str,
    pub sip: &'a str,
}

/// The configuration. `{dir}` in it is filled in by [`Daemon`].
pub fn config(ports: &Ports, more: More) -> String {
    let Ports {
        dns,
        dot,
        http,
        https,
        xmpp,
        xmpps,
        sip,
        sips,
        admin,
    } = ports;
    let More {
        sections,
        dns: dns_more,
        http: http_more,
        site,
        xmpp: xmpp_more,
        sip: sip_more,
    } = more;
    format!(
        r#"
[server]
hostname = "{DOMAIN}"
data_dir = "{{dir}}/data"
[admin]
socket = "{{dir}}/omnid.sock"
listen = ["127.0.0.1:{admin}"]
[[domain]]
name = "{DOMAIN}"
[tls]
self_signed = true
{sections}
[dns]
listen = ["127.0.0.1:{dns}"]
listen_tls = ["127.0.0.1:{dot}"]
sockets = 2
{dns_more}
  [[dns.zone]]
  name = "{DOMAIN}"
  file = "{{dir}}/zone"
[http]
listen = ["127.0.0.1:{http}"]
listen_tls = ["127.0.0.1:{https}"]
access_log = "{{dir}}/access.log"
{http_more}
  [[http.site]]
  hosts = ["{DOMAIN}"]
  default = true
  root = "{{dir}}/site"
  {site}
[xmpp]
hosts = ["{DOMAIN}"]
listen = ["127.0.0.1:{xmpp}"]
listen_tls = ["127.0.0.1:{xmpps}"]
{xmpp_more}
[sip]
domains = ["{DOMAIN}"]
listen = ["127.0.0.1:{sip}"]
listen_tls = ["127.0.0.1:{sips}"]
{sip_more}
"#
    )
}

/// The zone and the site that [`config`] names.
pub fn lay_out(directory: &Path) {
    let zone =
        "@ 60 SOA ns root 1 3600 600 86400 60\n@ 60 NS ns\n@ 60 A 127.0.0.1\nns 60 A 127.0.0.1\n";
    std::fs::write(directory.join("zone"), zone).unwrap();
    std::fs::create_dir_all(directory.join("site")).unwrap();
    std::fs::write(directory.join("site/index.html"), "here\n").unwrap();
}

/// Runs it.
pub fn start(ports: &Ports, more: More, environment: &[(&str, &str)]) -> Daemon {
    Daemon::start_with(&config(ports, more), environment, lay_out)
}

/// The services, by the names of their supervisors.
pub const SERVICES: [&str; 4] = ["dns", "http", "xmpp", "sip"];

/// Whether a service answers a client that has just come.
pub fn answers(service: &str, ports: &Ports) -> bool {
    match service {
        "dns" => datagram(ports.dns, QUERY, |answer| answer.ends_with(&[127, 0, 0, 1])),
        "http" => stream(ports.http, REQUEST, "here"),
        "xmpp" => stream(ports.xmpp, STREAM, "starttls"),
        "sip" => datagram(ports.sip, options("UDP").as_bytes(), |answer| {
            answer.starts_with(b"SIP/2.0 200")
        }),
        other => panic!("no service {other}"),
    }
}

/// A query for the domain's own address.
pub const QUERY: &[u8] =
    b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x07example\x04test\x00\x00\x01\x00\x01";

/// The same as it goes over TCP.
pub fn framed_query() -> Vec<u8> {
    [&(QUERY.len() as u16).to_be_bytes()[..], QUERY].concat()
}

/// The beginning of a chat.
pub const STREAM: &str = "<?xml version='1.0'?><stream:stream to='example.test' version='1.0' \
     xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>";

/// A request for the site's page, after which the connection may go on.
pub const REQUEST: &str = "GET / HTTP/1.1\r\nHost: example.test\r\n\r\n";

/// A SIP OPTIONS to the server itself.
pub fn options(transport: &str) -> String {
    format!(
        "OPTIONS sip:{DOMAIN} SIP/2.0\r\n\
         Via: SIP/2.0/{transport} 127.0.0.1:5060;branch=z9hG4bK{0:x};rport\r\n\
         Max-Forwards: 70\r\nFrom: <sip:a@{DOMAIN}>;tag=1\r\nTo: <sip:{DOMAIN}>\r\n\
         Call-ID: {0:x}\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n",
        unique()
    )
}

/// A number that no other test has.
pub fn unique() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    (u64::from(std::process::id()) << 32) + NEXT.fetch_add(1, Ordering::Relaxed)
}

/// A loopback address.
pub fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

/// One exchange over UDP, tried until it is answered: datagrams may be lost, answers may not.
pub fn datagram(port: u16, request: &[u8], answered: impl Fn(&[u8]) -> bool) -> bool {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket
        .set_read_timeout(Some(Duration::from_millis(700)))
        .unwrap();
    socket.connect(loopback(port)).unwrap();
    let mut buffer = [0; 4096];
    (0..4).any(|_| {
        socket.send(request).is_ok()
            && socket
                .recv(&mut buffer)
                .is_ok_and(|length| answered(&buffer[..length]))
    })
}

/// One exchange over TCP.
pub fn stream(port: u16, request: &str, answer: &str) -> bool {
    let Ok(mut stream) = TcpStream::connect_timeout(&loopback(port), Duration::from_secs(20))
    else {
        return false;
    };
    stream
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    if stream.write_all(request.as_bytes()).is_err() {
        return false;
    }
    let (mut received, mut buffer) = (Vec::new(), [0; 4096]);
    while let Ok(length) = stream.read(&mut buffer) {
        received.extend_from_slice(&buffer[..length]);
        if String::from_utf8_lossy(&received).contains(answer) {
            return true;
        }
        if length == 0 {
            break;
        }
    }
    false
}

/// Asks the control socket for a verb that the command line does not have.
#[allow(
    clippy::needless_pass_by_value,
    reason = "read as a sentence: control(&daemon, verb, json!({…}))"
)]
pub fn control(daemon: &Daemon, verb: &str, arguments: Value) -> Value {
    let mut stream = UnixStream::connect(daemon.path("omnid.sock")).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(30)))
        .unwrap();
    let request = json!({"verb": verb, "arguments": arguments}).to_string() + "\n";
    stream.write_all(request.as_bytes()).unwrap();
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).unwrap();
    serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error} in {line:?}"))
}

/// A child of the running tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// The names above it and its own.
    pub path: String,
    pub restarts: u64,
    pub state: String,
    /// Whether it has no children of its own.
    pub worker: bool,
    /// Its temporary children: kind, how many there are now, how many failed.
    pub temporary: Vec<(String, u64, u64)>,
}

/// Every child of the running tree.
pub fn children(daemon: &Daemon) -> Vec<Node> {
    fn walk(node: &Value, path: &str, found: &mut Vec<Node>) {
        for child in node["children"].as_array().into_iter().flatten() {
            let name = child["name"].as_str().unwrap();
            let path = if path.is_empty() {
                name.to_owned()
            } else {
                format!("{path}/{name}")
            };
            let temporary = child["temporary"].as_array().into_iter().flatten();
            found.push(Node {
                path: path.clone(),
                restarts: child["restarts"].as_u64().unwrap(),
                state: child["state"].as_str().unwrap().to_owned(),
                worker: child["children"].as_array().is_none_or(Vec::is_empty),
                temporary: temporary
                    .map(|kind| {
                        let count = |member: &str| kind[member].as_u64().unwrap();
                        let name = kind["kind"].as_str().unwrap().to_owned();
                        (name, count("alive"), count("failed"))
                    })
                    .collect(),
            });
            walk(child, &path, found);
        }
    }
    let mut found = Vec::new();
    walk(
        &control(daemon, "status", json!({}))["ok"]["tree"],
        "",
        &mut found,
    );
    found
}

/// The child of a service's listener on a port.
pub fn listener(daemon: &Daemon, service: &str, port: u16) -> String {
    let prefix = format!("{service}/");
    children(daemon)
        .into_iter()
        .map(|child| child.path)
        .find(|path| path.starts_with(&prefix) && path.ends_with(&port.to_string()))
        .unwrap_or_else(|| panic!("no listener of {service} on {port}"))
}

/// Makes the child at `path`, or one of its temporary children of a kind, panic.
pub fn inject(daemon: &Daemon, path: &str) {
    let answer = control(daemon, "test.panic", json!({"child": path}));
    assert_eq!(answer["ok"]["injected"], true, "{path}: {answer}");
}
