//! omnid under systemd: units that are sound and strict, sockets that systemd opened or kept, and
//! what the daemon tells the service manager.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod support;

use std::{
    fs,
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket},
    os::unix::net::UnixDatagram,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;
use support::{Background, binary, free_port, python, run, wait_until};

const LIMIT: Duration = Duration::from_secs(60);

fn units() -> PathBuf {
    support::tests().parent().unwrap().join("systemd")
}

#[test]
fn the_units_are_sound() {
    let directory = tempfile::tempdir().unwrap();
    let mut arguments = vec!["verify".to_owned(), "--man=no".to_owned()];
    for unit in ["omnid.service", "omnid.socket"] {
        let text = fs::read_to_string(units().join(unit)).unwrap();
        let path = directory.path().join(unit);
        fs::write(
            &path,
            text.replace("/usr/bin/omnid", binary().to_str().unwrap()),
        )
        .unwrap();
        arguments.push(path.to_str().unwrap().to_owned());
    }
    let output = run("systemd-analyze", &arguments, LIMIT).success();
    assert_eq!(output.stdout + &output.stderr, "");
}

#[test]
fn the_service_may_do_little() {
    let unit = units().join("omnid.service");
    let arguments = [
        "security",
        "--offline=true",
        "--no-pager",
        "--threshold=20",
        unit.to_str().unwrap(),
    ];
    let output = run("systemd-analyze", &arguments, LIMIT).success();
    let overall = output
        .stdout
        .lines()
        .find(|line| line.contains("Overall exposure level"))
        .unwrap();
    let (_, level) = overall.split_once("omnid.service: ").unwrap();
    let level: f64 = level.split(' ').next().unwrap().parse().unwrap();
    assert!(level <= 2.0, "{overall}");
    // One capability, and no other.
    let text = fs::read_to_string(&unit).unwrap();
    for line in [
        "CapabilityBoundingSet=CAP_NET_BIND_SERVICE",
        "DynamicUser=yes",
        "Type=notify",
    ] {
        assert!(text.lines().any(|found| found == line), "no {line}");
    }
}

#[test]
fn the_units_name_what_there_is() {
    let text = fs::read_to_string(units().join("omnid.service")).unwrap();
    for line in text.lines().filter(|line| line.starts_with("Exec")) {
        let (_, command) = line.split_once("=/usr/bin/omnid ").unwrap();
        let mut arguments: Vec<_> = command.split(' ').collect();
        arguments.push("--help");
        run(binary(), &arguments, LIMIT).success();
    }
}

fn loopback(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

fn lay_out(directory: &Path, config: &str) {
    let path = directory.display();
    let zone = "@ 60 SOA ns root 1 3600 600 86400 60\n@ 60 NS ns\n@ 60 A 127.0.0.1\nns 60 A 127.0.0.1\nwww 60 A 127.0.0.1\n";
    fs::write(directory.join("example.test.zone"), zone).unwrap();
    fs::create_dir(directory.join("site")).unwrap();
    fs::write(directory.join("site/index.html"), "here\n").unwrap();
    let config = format!(
        "[server]\ndata_dir = \"{path}/data\"\n[admin]\nsocket = \"{path}/omnid.sock\"\n{config}"
    );
    fs::write(directory.join("omnid.toml"), config).unwrap();
}

fn http_config(ports: &[u16]) -> String {
    let listen: Vec<_> = ports
        .iter()
        .map(|port| format!("\"127.0.0.1:{port}\""))
        .collect();
    format!(
        "[http]\nlisten = [{}]\n[[http.site]]\nhosts = [\"example.test\"]\ndefault = true\nroot = \"site\"\n",
        listen.join(", ")
    )
}

fn get(port: u16) -> String {
    let mut stream = TcpStream::connect(loopback(port)).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: example.test\r\nConnection: close\r\n\r\n")
        .unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).unwrap();
    reply
}

/// Runs the daemon behind systemd-socket-activate, which starts it when something arrives.
fn activated(directory: &Path, options: &[&str]) -> Background {
    let log = fs::File::create(directory.join("log")).unwrap();
    let child = Command::new("systemd-socket-activate")
        .args(options)
        .arg(binary())
        .arg("-c")
        .arg(directory.join("omnid.toml"))
        .arg("run")
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .expect("systemd-socket-activate; tests/install installs it");
    Background(child)
}

fn log(directory: &Path) -> String {
    fs::read_to_string(directory.join("log")).unwrap()
}

#[test]
fn a_connection_starts_the_daemon_and_is_answered() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let (port, unclaimed) = (free_port(), free_port());
    lay_out(directory, &http_config(&[port]));
    let (listen, other) = (loopback(port).to_string(), loopback(unclaimed).to_string());
    let _daemon = activated(
        directory,
        &["-l", &listen, "-l", &other, "--fdname=web:other"],
    );
    wait_until("the sockets are open", LIMIT, || {
        log(directory).contains(&format!("Listening on {other}"))
    });
    assert!(
        !directory.join("omnid.sock").exists(),
        "started before anybody came"
    );
    let reply = get(port);
    assert!(
        reply.starts_with("HTTP/1.1 200"),
        "{reply}\n{}",
        log(directory)
    );
    assert!(reply.ends_with("here\n"), "{reply}");
    // What the configuration does not name is not left open, to take connections for nobody.
    wait_until("the other socket is closed", LIMIT, || {
        TcpStream::connect(loopback(unclaimed)).is_err()
    });
    assert!(
        log(directory).contains(&other),
        "nothing is said of it: {}",
        log(directory)
    );
    assert!(get(port).starts_with("HTTP/1.1 200"));
}

#[test]
fn a_datagram_starts_the_daemon_and_is_answered() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let port = free_port();
    lay_out(
        directory,
        &format!(
            "[dns]\nlisten = [\"127.0.0.1:{port}\"]\nsockets = 1\n\
             [[dns.zone]]\nname = \"example.test\"\nfile = \"example.test.zone\"\n"
        ),
    );
    let listen = loopback(port).to_string();
    let _daemon = activated(directory, &["--datagram", "-l", &listen]);
    wait_until("the socket is open", LIMIT, || {
        log(directory).contains("Listening on")
    });
    let client = UdpSocket::bind(loopback(0)).unwrap();
    client.connect(loopback(port)).unwrap();
    client.set_read_timeout(Some(LIMIT)).unwrap();
    client
        .send(b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x03www\x07example\x04test\x00\x00\x01\x00\x01")
        .unwrap();
    let mut reply = [0; 512];
    let length = client.recv(&mut reply).unwrap();
    assert_eq!(
        (&reply[..2], reply[3] & 15),
        (&b"\x12\x34"[..], 0),
        "{:?}",
        &reply[..length]
    );
    assert_eq!(reply[7], 1, "one answer: {:?}", &reply[..length]);
}

#[test]
fn a_restart_refuses_nobody() {
    let directory = tempfile::tempdir().unwrap();
    let (http, dns) = (free_port(), free_port());
    lay_out(
        directory.path(),
        &format!(
            "{}[dns]\nlisten = [\"127.0.0.1:{dns}\"]\n\
             [[dns.zone]]\nname = \"example.test\"\nfile = \"example.test.zone\"\n",
            http_config(&[http])
        ),
    );
    let config = directory.path().join("omnid.toml");
    let (http, dns) = (http.to_string(), dns.to_string());
    let arguments = [
        binary().as_os_str(),
        config.as_os_str(),
        http.as_ref(),
        dns.as_ref(),
    ];
    let output = python("service_manager.py", &arguments, LIMIT * 4).success();
    let seen: Value = serde_json::from_str(output.stdout.lines().last().unwrap()).unwrap();
    assert_eq!(seen["failed"], serde_json::json!([]), "{seen}");
    // A TCP listener for HTTP and one for DNS, and DNS's UDP sockets, each time.
    let handed: Vec<_> = seen["handed"]
        .as_array()
        .unwrap()
        .iter()
        .map(|n| n.as_u64().unwrap())
        .collect();
    assert!(
        handed.len() == 2 && handed[0] >= 3 && handed[0] == handed[1],
        "{seen}"
    );
}

/// A daemon whose service manager this test is.
struct Managed {
    daemon: Background,
    manager: UnixDatagram,
    directory: tempfile::TempDir,
}

impl Managed {
    fn start(environment: &[(&str, &str)]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        lay_out(directory.path(), "");
        let notify = directory.path().join("manager.sock");
        let manager = UnixDatagram::bind(&notify).unwrap();
        manager.set_read_timeout(Some(LIMIT)).unwrap();
        let child = Command::new(binary())
            .arg("-c")
            .arg(directory.path().join("omnid.toml"))
            .arg("run")
            .env("NOTIFY_SOCKET", notify)
            .envs(environment.iter().copied())
            .stderr(fs::File::create(directory.path().join("log")).unwrap())
            .spawn()
            .unwrap();
        let daemon = Background(child);
        let managed = Self {
            daemon,
            manager,
            directory,
        };
        managed.until("READY=1");
        managed
    }

    /// The notices up to the one that has this line.
    fn until(&self, wanted: &str) -> Vec<String> {
        let mut notices = Vec::new();
        loop {
            let mut buffer = [0; 4096];
            let length = self.manager.recv(&mut buffer).unwrap_or_else(|error| {
                panic!("no {wanted}: {error}\n{}", log(self.directory.path()))
            });
            let notice = String::from_utf8_lossy(&buffer[..length]).into_owned();
            let last = notice.lines().any(|line| line == wanted);
            notices.push(notice);
            if last {
                return notices;
            }
        }
    }

    fn signal(&self, name: &str) {
        run(
            "kill",
            &["-s", name, &self.daemon.0.id().to_string()],
            LIMIT,
        )
        .success();
    }

    fn omnid(&self, arguments: &[&str]) {
        let config = self.directory.path().join("omnid.toml");
        let mut all = vec!["-c", config.to_str().unwrap()];
        all.extend(arguments);
        run(binary(), &all, LIMIT).success();
    }
}

#[test]
fn a_manager_that_watches_is_told_that_all_is_well() {
    let interval = Duration::from_millis(400);
    let managed = Managed::start(&[("WATCHDOG_USEC", &interval.as_micros().to_string())]);
    let since = Instant::now();
    for _ in 0..5 {
        managed.until("WATCHDOG=1");
    }
    // Twice in each interval; much more often would be noise.
    assert!(since.elapsed() >= interval / 2, "{:?}", since.elapsed());
    managed.signal("TERM");
    managed.until("STOPPING=1");
}

#[test]
fn a_watchdog_meant_for_another_process_is_left_alone() {
    let managed = Managed::start(&[("WATCHDOG_USEC", "100000"), ("WATCHDOG_PID", "1")]);
    // A command that takes several of those intervals.
    managed.omnid(&["top", "--once", "--interval", "0.5"]);
    managed.signal("TERM");
    let notices = managed.until("STOPPING=1");
    assert!(
        !notices.iter().any(|notice| notice.contains("WATCHDOG")),
        "{notices:?}"
    );
}

#[test]
fn a_reload_is_told_with_its_time() {
    let managed = Managed::start(&[]);
    managed.signal("HUP");
    // sd_notify(3): without the time, Type=notify-reload cannot tell this reload from an older one.
    let notices = managed.until("RELOADING=1");
    let reloading = notices.last().unwrap();
    assert!(
        reloading
            .lines()
            .any(|line| line.starts_with("MONOTONIC_USEC=")),
        "{reloading}"
    );
    managed.until("READY=1");
    managed.omnid(&["reload"]);
    managed.until("RELOADING=1");
    managed.until("READY=1");
}
