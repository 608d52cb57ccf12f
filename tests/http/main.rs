//! The HTTP service of the built daemon, before real clients and hostile ones.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

#[path = "../support/mod.rs"]
mod support;

mod acme;
mod balance;
mod clients;
mod compressed;
mod floods;
mod frames;
mod front;
mod listings;
mod moved;
mod programs;
mod proxy;
mod rates;
mod rules;
mod slow;
mod smuggling;
mod twins;

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    path::Path,
    time::{Duration, Instant},
};

use support::{Daemon, free_port};

const LIMIT: Duration = Duration::from_secs(60);

/// A daemon with one site, and the ports that it listens on.
struct Server {
    daemon: Daemon,
    plain: u16,
    tls: u16,
}

impl Server {
    /// One site for every host. `http` goes into `[http]`, `site` into the site and behind it.
    fn start(http: &str, site: &str) -> Self {
        let (plain, tls) = (free_port(), free_port());
        let daemon = Daemon::start_with(&config(plain, tls, http, site), &[], lay_out);
        Self { daemon, plain, tls }
    }

    /// The same, with more files laid out.
    fn start_with_files(http: &str, site: &str, files: fn(&Path)) -> Self {
        let (plain, tls) = (free_port(), free_port());
        let daemon = Daemon::start_with(&config(plain, tls, http, site), &[], |directory| {
            lay_out(directory);
            files(directory);
        });
        Self { daemon, plain, tls }
    }

    fn reload(&self, http: &str, site: &str) {
        self.daemon
            .write_config(&config(self.plain, self.tls, http, site));
        self.daemon.omnid(&["reload"]).success();
    }

    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.plain)
    }

    fn tls_url(&self, path: &str) -> String {
        format!("https://127.0.0.1:{}{path}", self.tls)
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(("127.0.0.1", self.plain)).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(30)))
            .unwrap();
        stream
    }

    /// Sends bytes on a connection of their own and reads until the server closes.
    fn exchange(&self, bytes: &[u8]) -> String {
        let mut stream = self.connect();
        stream.write_all(bytes).unwrap();
        read_to_end(&mut stream)
    }

    /// Lines of the access log, once there are so many.
    fn log_lines(&self, count: usize) -> Vec<String> {
        let mut lines = Vec::new();
        support::wait_until("the access log has its lines", LIMIT, || {
            let text = fs::read_to_string(self.daemon.path("access.log")).unwrap_or_default();
            lines = text.lines().map(str::to_owned).collect();
            lines.len() >= count
        });
        lines
    }
}

fn config(plain: u16, tls: u16, http: &str, site: &str) -> String {
    format!(
        r#"
[tls]
self_signed = true
[[domain]]
name = "example.test"
[http]
listen = ["127.0.0.1:{plain}"]
listen_tls = ["127.0.0.1:{tls}"]
access_log = "{{dir}}/access.log"
{http}
[[http.site]]
hosts = ["example.test"]
default = true
root = "{{dir}}/site"
{site}
"#
    )
}

/// The site's files.
fn lay_out(directory: &Path) {
    let site = directory.join("site");
    fs::create_dir_all(site.join("sub")).unwrap();
    fs::create_dir_all(site.join("empty")).unwrap();
    fs::write(site.join("index.html"), "<h1>here</h1>\n").unwrap();
    fs::write(site.join("sub/index.html"), "sub\n").unwrap();
    fs::write(site.join("digits.txt"), "0123456789").unwrap();
    fs::write(site.join("large.bin"), large()).unwrap();
    fs::write(site.join(".secret"), "secret\n").unwrap();
}

/// Four megabytes in which every piece tells its place.
fn large() -> Vec<u8> {
    (0..1_u32 << 20).flat_map(u32::to_be_bytes).collect()
}

fn read_to_end(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    // A reset is an end too; what came before it counts.
    drop(stream.read_to_end(&mut bytes));
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The status of a response's first line; 0 where there was no response.
fn status(response: &str) -> u16 {
    response
        .strip_prefix("HTTP/1.")
        .and_then(|rest| rest.get(2..5))
        .and_then(|status| status.parse().ok())
        .unwrap_or(0)
}

/// How many responses there are.
fn responses(text: &str) -> usize {
    text.matches("HTTP/1.1 ").count() + text.matches("HTTP/1.0 ").count()
}

/// How long it took until the server closed.
fn time_to_close(stream: &mut TcpStream) -> (Duration, String) {
    let since = Instant::now();
    let text = read_to_end(stream);
    (since.elapsed(), text)
}
