//! People who move here from Prosody, and away as XEP-0227 has it: filled in by slixmpp there, found
//! again by slixmpp here.

use std::{
    fs,
    net::TcpStream,
    process::{Child, Command, Stdio},
};

use serde_json::Value;

use crate::{
    LIMIT, config,
    support::{Daemon, Output, binary, free_port, python_binary, run, run_with, tests, wait_until},
};

const SCRIPT: &str = "xmpp_moving.py";
const ROOMS: &str = "rooms.one.test";

/// A Prosody with its data in a directory of its own.
struct Prosody {
    child: Option<Child>,
    address: String,
    directory: tempfile::TempDir,
}

impl Prosody {
    fn with(authentication: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().to_str().unwrap().to_owned();
        let port = free_port();
        let (key, certificate) = (format!("{path}/key.pem"), format!("{path}/cert.pem"));
        let openssl = "req -x509 -newkey rsa:2048 -nodes -days 30 -subj /CN=one.test";
        let mut openssl: Vec<&str> = openssl.split(' ').collect();
        openssl.extend(["-keyout", &key, "-out", &certificate]);
        run("openssl", &openssl, LIMIT).success();
        fs::create_dir(directory.path().join("data")).unwrap();
        fs::write(
            directory.path().join("prosody.cfg.lua"),
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
modules_enabled = {{ "roster", "saslauth", "tls", "disco", "ping", "offline", "private", "vcard_legacy", "pep", "blocklist", "mam" }}
modules_disabled = {{ "s2s" }}
authentication = "{authentication}"
storage = "internal"
log = {{ info = "{path}/log" }}
VirtualHost "one.test"
  ssl = {{ key = "{key}", certificate = "{certificate}" }}
Component "{ROOMS}" "muc"
  modules_enabled = {{ "muc_mam" }}
"#
            ),
        )
        .unwrap();
        let prosody = Self {
            child: None,
            address: format!("127.0.0.1:{port}"),
            directory,
        };
        let config = prosody.path("prosody.cfg.lua");
        for user in ["alice", "bob", "carol"] {
            let secret = format!("secret-{user}");
            let register = ["--config", &config, "register", user, "one.test", &secret];
            run("prosodyctl", &register, LIMIT).success();
        }
        prosody
    }

    fn path(&self, below: &str) -> String {
        let path = self.directory.path().join(below);
        path.to_str().unwrap().to_owned()
    }

    /// Fills it, and ends it so that all is on disk. What clients know of it.
    fn fill(&mut self) -> String {
        let config = self.path("prosody.cfg.lua");
        let child = Command::new("prosody")
            .args(["-F", "--config", &config])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("prosody; tests/install installs it");
        let pid = child.id().to_string();
        self.child = Some(child);
        wait_until("Prosody's port", LIMIT, || {
            TcpStream::connect(&self.address).is_ok()
        });
        let seen = client("fill", &self.address, "", &[]).success().stdout;
        run("kill", &["-s", "TERM", &pid], LIMIT).success();
        let mut child = self.child.take().unwrap();
        wait_until("Prosody's end", LIMIT, || {
            child.try_wait().unwrap().is_some()
        });
        seen
    }
}

impl Drop for Prosody {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ended = child.kill().and_then(|()| child.wait());
        }
        if std::thread::panicking() {
            let log = fs::read_to_string(self.directory.path().join("log")).unwrap_or_default();
            eprintln!("--- Prosody's log\n{log}");
        }
    }
}

fn client(what: &str, address: &str, input: &str, more: &[&str]) -> Output {
    let script = tests().join("clients").join(SCRIPT);
    let script = script.to_str().unwrap();
    let mut arguments = vec![script, what, address, ROOMS];
    arguments.extend(more);
    run_with(python_binary(), &arguments, input, &[], LIMIT)
}

/// A daemon for one.test that is stopped, and the address for clients once it runs.
fn stopped() -> (Daemon, String) {
    let (plain, tls) = (free_port(), free_port());
    let mut daemon = Daemon::start(&config(plain, tls, ""));
    daemon.kill();
    (daemon, format!("127.0.0.1:{plain}"))
}

fn import(daemon: &Daemon, arguments: &[&str]) -> Value {
    let mut all = vec!["import"];
    all.extend(arguments);
    daemon.json(&all)
}

fn counts(report: &Value, which: &str) -> Vec<(String, u64)> {
    let counts = report["counts"].as_object().unwrap().iter();
    let counts = counts.map(|(name, count)| (name.clone(), count[which].as_u64().unwrap()));
    counts.filter(|(_, count)| *count > 0).collect()
}

fn exported(daemon: &Daemon) -> String {
    daemon.omnid(&["export"]).success().stdout
}

#[test]
fn prosody_moves_here_and_everything_moves_on() {
    let mut prosody = Prosody::with("internal_hashed");
    let known = prosody.fill();
    let data = prosody.path("data");
    let (mut daemon, address) = stopped();

    // A rehearsal says what comes and leaves no trace; twice is as good as once.
    let empty = exported(&daemon);
    let planned = import(&daemon, &["prosody", &data, "--dry-run"]);
    assert_eq!(exported(&daemon), empty);
    let done = import(&daemon, &["prosody", &data]);
    assert_eq!(planned, done);
    let lost = done["findings"].as_array().unwrap().iter();
    let lost: Vec<_> = lost.filter(|finding| finding["kind"] == "lost").collect();
    assert!(lost.is_empty(), "{lost:?}");
    let came = counts(&done, "new");
    for (name, count) in [
        ("accounts", 3),
        ("archived_messages", 25),
        ("blocked_addresses", 1),
        ("contacts", 5),
        ("nodes", 3),
        ("private_elements", 1),
        ("rooms", 1),
        ("vcards", 1),
        ("waiting_messages", 1),
    ] {
        assert!(came.contains(&(name.to_owned(), count)), "{name}: {came:?}");
    }
    let all = exported(&daemon);
    let again = import(&daemon, &["prosody", &data]);
    assert_eq!(counts(&again, "new"), []);
    assert_eq!(counts(&again, "there"), came);
    assert_eq!(exported(&daemon), all);

    // From there to another omnid, and nothing is different.
    let document = daemon.path("all.xml");
    let document = document.to_str().unwrap();
    daemon.omnid(&["export", "-o", document]).success();
    let (second, _) = stopped();
    let moved = import(&second, &["xep0227", document]);
    assert_eq!(counts(&moved, "new"), came);
    assert_eq!(moved["findings"].as_array().unwrap().len(), 0, "{moved}");
    assert_eq!(exported(&second), all);

    // Old passwords work, by what all accounts have hashes for, and everything is where it was.
    daemon.start_again();
    let refused = daemon.omnid(&["import", "prosody", &data]);
    assert!(refused.stderr.contains("stop it first"), "{refused:?}");
    let login = client("login", &address, "", &[]).success().stdout;
    let words: Vec<_> = login.split_whitespace().collect();
    assert!(words[0].starts_with("SCRAM-SHA-1"), "{login}");
    assert!(
        !login.contains("SHA-256") && !login.contains("SHA-512"),
        "{login}"
    );
    client("seen", &address, &known, &[]).success();
}

/// Passwords in clear become hashes of every kind at once, and a login by PLAIN makes of one hash
/// all of them.
#[test]
fn passwords_get_every_hash() {
    let prosody = Prosody::with("internal_plain");
    let (mut daemon, address) = stopped();
    import(&daemon, &["prosody", &prosody.path("data")]);
    daemon.start_again();
    let login = client("login", &address, "", &[]).success().stdout;
    assert!(login.starts_with("SCRAM-SHA-512"), "{login}");

    let prosody = Prosody::with("internal_hashed");
    let (mut daemon, address) = stopped();
    import(&daemon, &["prosody", &prosody.path("data")]);
    daemon.start_again();
    for user in ["bob", "carol"] {
        let secret = format!("secret-{user}");
        let user = format!("{user}@one.test");
        let config = daemon.path("omnid.toml");
        let arguments = [
            "-c",
            config.to_str().unwrap(),
            "user",
            "passwd",
            &user,
            "--stdin",
        ];
        run_with(binary(), &arguments, &secret, &[], LIMIT).success();
    }
    let login = client("login", &address, "", &["PLAIN"]).success().stdout;
    assert!(!login.contains("SHA-256"), "{login}");
    // It is done behind the login's back.
    wait_until("all hashes of alice's password", LIMIT, || {
        let login = client("login", &address, "", &[]).success().stdout;
        login.starts_with("SCRAM-SHA-512")
    });
}
