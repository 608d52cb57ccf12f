//! Files and proxied replies: omnid and nginx in turns, asked by wrk and h2load.
//!
//! `cargo bench --bench http` (needs the packages of tests/install)
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

#[path = "../tests/support/mod.rs"]
mod harness;
mod support;

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use harness::{Background, Daemon, free_port, run, wait_until};
use support::{in_turns, number};

const SECONDS: &str = "5";
const LIMIT: Duration = Duration::from_secs(60);

struct Ports {
    plain: u16,
    tls: u16,
}

/// `wrk` over HTTP/1.1 on keep-alive connections.
fn wrk(connections: &str, url: &str) -> (f64, String) {
    let arguments = ["-t1", "-c", connections, "-d", SECONDS, "--latency", url];
    let output = run("wrk", &arguments, LIMIT).success().stdout;
    let line = |label: &str| {
        let line = output.lines().find(|line| line.trim().starts_with(label));
        line.map(|line| {
            line.split_whitespace()
                .last()
                .unwrap_or_default()
                .to_owned()
        })
    };
    assert!(!output.contains("Non-2xx"), "{output}");
    let total = output
        .lines()
        .find(|line| line.contains(" requests in "))
        .unwrap();
    let requests = total.split_whitespace().next().unwrap().parse().unwrap();
    let quantile = |label| line(label).unwrap_or_default();
    (
        requests,
        format!("p50 {} p99 {}", quantile("50%"), quantile("99%")),
    )
}

/// `h2load` over TLS, HTTP/2 or HTTP/1.1.
fn h2load(protocol: &[&str], url: &str) -> (f64, String) {
    let arguments = [&["-c", "16", "-m", "16", "-D", SECONDS], protocol, &[url]].concat();
    let output = run("h2load", &arguments, LIMIT).success().stdout;
    let time = output
        .lines()
        .find(|line| line.starts_with("time for request:"));
    let mean = time
        .and_then(|line| line.split_whitespace().nth(5))
        .unwrap_or_default();
    (number("requests: ", &output), format!("mean {mean}"))
}

fn nginx_config(directory: &Path, ports: &Ports, origin: u16) -> String {
    let directory = directory.display();
    let Ports { plain, tls } = ports;
    format!(
        r"
worker_processes 2; pid {directory}/nginx.pid; error_log {directory}/nginx-error.log;
daemon off; master_process on;
events {{ worker_connections 4096; }}
http {{
  # Buffered, as omnid's is.
  access_log {directory}/nginx-access.log combined buffer=64k flush=1s;
  types {{ text/html html; application/octet-stream bin; }}
  sendfile on; tcp_nopush on; keepalive_requests 1000000;
  open_file_cache max=1000 inactive=60s; open_file_cache_valid 30s;
  client_body_temp_path {directory}/b; proxy_temp_path {directory}/p; fastcgi_temp_path {directory}/f;
  uwsgi_temp_path {directory}/u; scgi_temp_path {directory}/s;
  upstream origin {{ server 127.0.0.1:{origin}; keepalive 64; }}
  server {{
    listen 127.0.0.1:{plain}; root {directory}/site;
    location /app/ {{ proxy_pass http://origin; proxy_http_version 1.1; proxy_set_header Connection ''; }}
  }}
  server {{
    listen 127.0.0.1:{tls} ssl http2; root {directory}/site;
    ssl_certificate {directory}/cert.pem; ssl_certificate_key {directory}/key.pem;
    ssl_protocols TLSv1.2 TLSv1.3;
  }}
}}
"
    )
}

/// A server for the twenty bytes behind the proxy.
fn origin_config(directory: &Path, port: u16) -> String {
    let directory = directory.display();
    format!(
        r"
worker_processes 1; pid {directory}/origin.pid; error_log {directory}/origin-error.log; daemon off;
events {{ worker_connections 4096; }}
http {{
  access_log off; keepalive_requests 1000000;
  client_body_temp_path {directory}/ob; proxy_temp_path {directory}/op; fastcgi_temp_path {directory}/of;
  uwsgi_temp_path {directory}/ou; scgi_temp_path {directory}/os;
  server {{ listen 127.0.0.1:{port}; location / {{ return 200 'twenty bytes to send'; }} }}
}}
"
    )
}

fn main() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    fs::create_dir(path.join("site")).unwrap();
    for (name, size) in [
        ("1k.html", 1 << 10),
        ("100k.bin", 100 << 10),
        ("10m.bin", 10 << 20),
    ] {
        fs::write(path.join("site").join(name), vec![b'x'; size]).unwrap();
    }
    // nginx's workers run as another user where it is started by root.
    run("chmod", &["-R", "a+rX", path.to_str().unwrap()], LIMIT).success();
    let (cert, key) = (path.join("cert.pem"), path.join("key.pem"));
    let arguments = [
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
        "/CN=localhost",
        "-addext",
        "subjectAltName=DNS:localhost,IP:127.0.0.1",
        "-keyout",
        key.to_str().unwrap(),
        "-out",
        cert.to_str().unwrap(),
    ];
    run("openssl", &arguments, LIMIT).success();

    let origin = free_port();
    fs::write(path.join("origin.conf"), origin_config(path, origin)).unwrap();
    let conf = path.join("origin.conf").display().to_string();
    let _origin = Background::start("nginx", &["-c", &conf], &path.join("origin.log"));

    let ours = Ports {
        plain: free_port(),
        tls: free_port(),
    };
    let config = format!(
        r#"
[log]
level = "warn"
[tls]
certificates = [{{ cert = "{}", key = "{}" }}]
[http]
listen = ["127.0.0.1:{}"]
listen_tls = ["127.0.0.1:{}"]
access_log = "{}"
  [[http.site]]
  hosts = ["localhost"]
  default = true
  root = "{}"
    [[http.site.route]]
    path = "/app/"
    proxy = ["http://127.0.0.1:{origin}"]
"#,
        cert.display(),
        key.display(),
        ours.plain,
        ours.tls,
        path.join("omnid-access.log").display(),
        path.join("site").display(),
    );
    let since = Instant::now();
    let omnid = Daemon::start(&config);
    println!("omnid ready in {:?}", since.elapsed());

    let theirs = Ports {
        plain: free_port(),
        tls: free_port(),
    };
    fs::write(path.join("nginx.conf"), nginx_config(path, &theirs, origin)).unwrap();
    let conf = path.join("nginx.conf").display().to_string();
    let nginx = Background::start("nginx", &["-c", &conf], &path.join("nginx.log"));
    wait_until("nginx listens", LIMIT, || {
        std::net::TcpStream::connect(("127.0.0.1", theirs.tls)).is_ok()
    });

    type Load = (&'static str, fn(&Ports) -> (f64, String));
    let loads: [Load; 6] = [
        ("1 KiB file, HTTP/1.1", |ports| {
            wrk("64", &format!("http://127.0.0.1:{}/1k.html", ports.plain))
        }),
        ("100 KiB file, HTTP/1.1", |ports| {
            wrk("16", &format!("http://127.0.0.1:{}/100k.bin", ports.plain))
        }),
        ("10 MiB file, HTTP/1.1", |ports| {
            wrk("8", &format!("http://127.0.0.1:{}/10m.bin", ports.plain))
        }),
        ("20 bytes through the proxy", |ports| {
            wrk("64", &format!("http://127.0.0.1:{}/app/x", ports.plain))
        }),
        ("1 KiB file, TLS, HTTP/2", |ports| {
            h2load(&[], &format!("https://127.0.0.1:{}/1k.html", ports.tls))
        }),
        ("1 KiB file, TLS, HTTP/1.1", |ports| {
            h2load(
                &["--h1"],
                &format!("https://127.0.0.1:{}/1k.html", ports.tls),
            )
        }),
    ];
    let servers = [("omnid", omnid.pid()), ("nginx", nginx.0.id())];
    let ports = [&ours, &theirs];
    for (name, load) in loads {
        in_turns(name, servers, |server| load(ports[server]));
    }
}
