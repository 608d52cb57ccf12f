//! The XMPP service beside Prosody: where the RFCs leave a choice, ours is the one that people's
//! clients know.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod support;

use std::{
    fs,
    net::TcpStream,
    process::{Child, Command, Stdio},
    time::Duration,
};

use support::{Daemon, free_port, python, run, wait_until};

const LIMIT: Duration = Duration::from_secs(90);
const USERS: [&str; 3] = ["alice", "bob", "carol"];

/// Prosody in a directory of its own, serving one.test.
struct Prosody {
    child: Child,
    address: String,
    directory: tempfile::TempDir,
}

impl Prosody {
    fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().to_str().unwrap().to_owned();
        let port = free_port();
        let (key, certificate) = (format!("{path}/key.pem"), format!("{path}/cert.pem"));
        let openssl = [
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-days",
            "30",
            "-subj",
            "/CN=one.test",
            "-keyout",
            &key,
            "-out",
            &certificate,
        ];
        run("openssl", &openssl, LIMIT).success();
        fs::create_dir(directory.path().join("data")).unwrap();
        let config = directory.path().join("prosody.cfg.lua");
        fs::write(
            &config,
            format!(
                r#"
run_as_root = true
pidfile = "{path}/pid"
data_path = "{path}/data"
interfaces = {{ "127.0.0.1" }}
c2s_ports = {{ {port} }}
s2s_ports = {{ }}
http_ports = {{ }}
https_ports = {{ }}
modules_enabled = {{ "roster", "saslauth", "tls", "disco", "ping", "offline" }}
modules_disabled = {{ "s2s" }}
authentication = "internal_hashed"
log = {{ info = "{path}/log" }}
VirtualHost "one.test"
  ssl = {{ key = "{key}", certificate = "{certificate}" }}
"#
            ),
        )
        .unwrap();
        let config = config.to_str().unwrap();
        for user in USERS {
            let secret = format!("secret-{user}");
            let register = ["--config", config, "register", user, "one.test", &secret];
            run("prosodyctl", &register, LIMIT).success();
        }
        let child = Command::new("prosody")
            .args(["-F", "--config", config])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("prosody; tests/install installs it");
        let address = format!("127.0.0.1:{port}");
        wait_until("Prosody's port", LIMIT, || {
            TcpStream::connect(&address).is_ok()
        });
        Self {
            child,
            address,
            directory,
        }
    }
}

impl Drop for Prosody {
    fn drop(&mut self) {
        let _ended = self.child.kill().and_then(|()| self.child.wait());
        if std::thread::panicking() {
            let log = fs::read_to_string(self.directory.path().join("log")).unwrap_or_default();
            eprintln!("--- Prosody's log\n{log}");
        }
    }
}

/// Which session gets a message, by priorities, address and type: RFC 6121 8.5 in 105 cases.
#[test]
fn messages_go_where_prosody_sends_them() {
    let port = free_port();
    let daemon = Daemon::start(&format!(
        r#"
[[domain]]
name = "one.test"
[tls]
self_signed = true
[xmpp]
listen = ["127.0.0.1:{port}"]
listen_tls = []
"#
    ));
    for user in USERS {
        daemon.add_user(&format!("{user}@one.test"), &format!("secret-{user}"));
    }
    let prosody = Prosody::start();
    let ours = format!("127.0.0.1:{port}");
    let [ours, theirs] = [&ours, &prosody.address].map(|address| {
        let seen = python("xmpp_matrix.py", &[address], LIMIT).success().stdout;
        seen.lines().map(str::to_owned).collect::<Vec<_>>()
    });
    assert!(theirs.len() > 105, "{theirs:#?}");
    let differ: Vec<_> = ours.iter().zip(&theirs).filter(|(a, b)| a != b).collect();
    assert!(differ.is_empty(), "ours, Prosody's: {differ:#?}");
    assert_eq!(ours.len(), theirs.len());
}
