//! The supervisor tree of the running daemon: every kind of child is made to panic, and only that
//! child restarts, while every service answers throughout and every port stays bound.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod support;

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream, UdpSocket},
    os::unix::net::UnixStream,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use support::{Daemon, free_port, wait_until};

struct Ports {
    dns: u16,
    http: u16,
    xmpp: u16,
    sip: u16,
}

fn start(environment: &[(&str, &str)]) -> (Daemon, Ports) {
    let ports = Ports {
        dns: free_port(),
        http: free_port(),
        xmpp: free_port(),
        sip: free_port(),
    };
    let tls: Vec<u16> = (0..4).map(|_| free_port()).collect();
    let config = format!(
        r#"
[tls]
self_signed = true
[dns]
listen = ["127.0.0.1:{dns}"]
listen_tls = ["127.0.0.1:{}"]
  [[dns.zone]]
  name = "example.test"
  file = "{{dir}}/example.test.zone"
[http]
listen = ["127.0.0.1:{http}"]
listen_tls = ["127.0.0.1:{}"]
  [[http.site]]
  hosts = ["example.test"]
  default = true
  root = "{{dir}}/site"
[xmpp]
hosts = ["example.test"]
listen = ["127.0.0.1:{xmpp}"]
listen_tls = ["127.0.0.1:{}"]
[sip]
domains = ["example.test"]
listen = ["127.0.0.1:{sip}"]
listen_tls = ["127.0.0.1:{}"]
"#,
        tls[0],
        tls[1],
        tls[2],
        tls[3],
        dns = ports.dns,
        http = ports.http,
        xmpp = ports.xmpp,
        sip = ports.sip,
    );
    let daemon = Daemon::start_with(&config, environment, |directory| {
        let zone = "@ 60 SOA ns root 1 3600 600 86400 60\n@ 60 NS ns\n@ 60 A 127.0.0.1\nns 60 A 127.0.0.1\n";
        std::fs::write(directory.join("example.test.zone"), zone).unwrap();
        std::fs::create_dir(directory.join("site")).unwrap();
        std::fs::write(directory.join("site/index.html"), "here\n").unwrap();
    });
    (daemon, ports)
}

/// Asks the control socket for a verb that the command line does not have.
fn control(daemon: &Daemon, verb: &str, arguments: Value) -> Value {
    let mut stream = UnixStream::connect(daemon.path("omnid.sock")).unwrap();
    let request = json!({"verb": verb, "arguments": arguments}).to_string() + "\n";
    stream.write_all(request.as_bytes()).unwrap();
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).unwrap();
    serde_json::from_str(&line).unwrap()
}

/// One line a child: its path, how often it was restarted, whether it is a worker.
fn children(daemon: &Daemon) -> Vec<(String, u64, bool)> {
    fn walk(node: &Value, path: &str, found: &mut Vec<(String, u64, bool)>) {
        for child in node["children"].as_array().into_iter().flatten() {
            let name = child["name"].as_str().unwrap();
            let path = if path.is_empty() {
                name.to_owned()
            } else {
                format!("{path}/{name}")
            };
            let worker = child["children"].as_array().is_none_or(Vec::is_empty);
            found.push((path.clone(), child["restarts"].as_u64().unwrap(), worker));
            walk(child, &path, found);
        }
    }
    let mut found = Vec::new();
    walk(&daemon.json(&["status"])["tree"], "", &mut found);
    found
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

/// One exchange over UDP, tried until it is answered: datagrams may be lost, answers may not.
fn datagram(port: u16, request: &[u8], answered: impl Fn(&[u8]) -> bool) -> bool {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket
        .set_read_timeout(Some(Duration::from_millis(500)))
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

fn stream(port: u16, request: &str, answer: &str) -> bool {
    let Ok(mut stream) = TcpStream::connect_timeout(&loopback(port), Duration::from_secs(3)) else {
        return false;
    };
    stream
        .set_read_timeout(Some(Duration::from_secs(3)))
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

/// Whether a service answers a client that has just come.
fn answers(service: &str, ports: &Ports) -> bool {
    match service {
        "dns" => {
            let query = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x07example\x04test\x00\x00\x01\x00\x01";
            datagram(ports.dns, query, |answer| answer.ends_with(&[127, 0, 0, 1]))
        }
        "http" => stream(
            ports.http,
            "GET / HTTP/1.1\r\nHost: example.test\r\nConnection: close\r\n\r\n",
            "here",
        ),
        "xmpp" => stream(
            ports.xmpp,
            "<?xml version='1.0'?><stream:stream to='example.test' version='1.0' xmlns='jabber:client' \
             xmlns:stream='http://etherx.jabber.org/streams'>",
            "starttls",
        ),
        _ => {
            let request = format!(
                "OPTIONS sip:example.test SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:5060;branch=z9hG4bK{:x};rport\r\n\
                 Max-Forwards: 70\r\nFrom: <sip:a@example.test>;tag=1\r\nTo: <sip:example.test>\r\n\
                 Call-ID: {:x}\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n",
                unique(),
                unique()
            );
            datagram(ports.sip, request.as_bytes(), |answer| {
                answer.starts_with(b"SIP/2.0 200")
            })
        }
    }
}

fn unique() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    (u64::from(std::process::id()) << 32) + NEXT.fetch_add(1, Ordering::Relaxed)
}

const SERVICES: [&str; 4] = ["dns", "http", "xmpp", "sip"];

#[test]
fn a_panic_in_any_child_restarts_that_child_and_disturbs_nobody_else() {
    let (daemon, ports) = start(&[("OMNID_TEST_HOOKS", "1")]);
    let ports = Arc::new(ports);
    let over = Arc::new(AtomicBool::new(false));
    // The service whose child panics right now; every other must answer, all the time.
    let disturbed = Arc::new(Mutex::new(String::new()));
    let probes: Vec<_> = SERVICES
        .into_iter()
        .map(|service| {
            let (ports, over, disturbed) = (ports.clone(), over.clone(), disturbed.clone());
            thread::spawn(move || {
                let mut asked = 0_u32;
                while !over.load(Ordering::Relaxed) {
                    let before = disturbed.lock().unwrap().clone();
                    let answered = answers(service, &ports);
                    let after = disturbed.lock().unwrap().clone();
                    if before != service && after != service {
                        assert!(
                            answered,
                            "{service} did not answer while {before:?} was disturbed"
                        );
                        asked += 1;
                    }
                    thread::sleep(Duration::from_millis(20));
                }
                asked
            })
        })
        .collect();

    let workers: Vec<String> = children(&daemon)
        .into_iter()
        // The conversation that carries the order would go with its own listener's child.
        .filter(|(path, _, worker)| *worker && !path.contains("control "))
        .map(|(path, ..)| path)
        .collect();
    assert!(workers.len() >= 10, "only {workers:?}");
    for path in &workers {
        let service = path.split('/').next().unwrap().to_owned();
        *disturbed.lock().unwrap() = service.clone();
        let before = children(&daemon);
        let injected = control(&daemon, "test.panic", json!({"child": path}));
        assert_eq!(injected["ok"]["injected"], true, "{path}: {injected}");
        wait_until(&format!("{path} is back"), Duration::from_secs(20), || {
            let now = children(&daemon);
            let of = |all: &[(String, u64, bool)]| {
                all.iter()
                    .find(|(other, ..)| other == path)
                    .map(|(_, restarts, _)| *restarts)
            };
            of(&now) > of(&before)
        });
        for (other, restarts, _) in children(&daemon) {
            let earlier = before
                .iter()
                .find(|(name, ..)| *name == other)
                .map(|(_, n, _)| *n);
            if &other != path && earlier.is_some() {
                assert_eq!(
                    Some(restarts),
                    earlier,
                    "{other} restarted when {path} panicked"
                );
            }
        }
        if SERVICES.contains(&&*service) {
            wait_until(
                &format!("{service} answers again"),
                Duration::from_secs(20),
                || answers(&service, &ports),
            );
        }
        disturbed.lock().unwrap().clear();
    }
    over.store(true, Ordering::Relaxed);
    for probe in probes {
        let asked = probe.join().unwrap();
        assert!(asked > 10, "a probe asked only {asked} times");
    }
    let log = daemon.log();
    assert!(
        log.contains("panic"),
        "no word of panics in the log:\n{log}"
    );
}

#[test]
fn a_restarted_listener_finds_its_port_bound_with_those_who_waited() {
    let (daemon, ports) = start(&[("OMNID_TEST_HOOKS", "1")]);
    let listener = children(&daemon)
        .into_iter()
        .map(|(path, ..)| path)
        .find(|path| path.starts_with("http/") && path.ends_with(&ports.http.to_string()))
        .unwrap();
    control(&daemon, "test.panic", json!({"child": listener}));
    // Nobody is refused in the moment without a child: the kernel queues for the socket.
    let deadline = Instant::now() + Duration::from_secs(3);
    while Instant::now() < deadline {
        assert!(
            answers("http", &ports),
            "refused while the listener restarted"
        );
    }
}

#[test]
fn a_connection_that_panics_ends_alone() {
    let (daemon, ports) = start(&[("OMNID_TEST_HOOKS", "1")]);
    let open = || {
        let stream = TcpStream::connect(loopback(ports.http)).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(5)))
            .unwrap();
        stream
    };
    let mut connections = [open(), open()];
    let request = "GET / HTTP/1.1\r\nHost: example.test\r\n\r\n";
    let mut buffer = [0; 4096];
    for stream in &mut connections {
        stream.write_all(request.as_bytes()).unwrap();
        assert!(stream.read(&mut buffer).unwrap() > 0);
    }
    let listener = children(&daemon)
        .into_iter()
        .map(|(path, ..)| path)
        .find(|path| path.starts_with("http/") && path.ends_with(&ports.http.to_string()))
        .unwrap();
    let kind = format!("{listener}/connection");
    let injected = control(&daemon, "test.panic", json!({"child": kind}));
    assert_eq!(injected["ok"]["injected"], true, "{injected}");
    // One of the two is gone, the other goes on.
    let mut alive = 0;
    for stream in &mut connections {
        let answered = stream.write_all(request.as_bytes()).is_ok()
            && stream.read(&mut buffer).is_ok_and(|length| length > 0);
        alive += u32::from(answered);
    }
    assert_eq!(alive, 1);
    assert!(
        children(&daemon)
            .iter()
            .all(|(_, restarts, _)| *restarts == 0),
        "a child restarted"
    );
}

#[test]
fn past_the_intensity_the_process_ends_for_the_service_manager_to_take_over() {
    let (mut daemon, _) = start(&[("OMNID_TEST_HOOKS", "1")]);
    let deadline = Instant::now() + Duration::from_secs(120);
    while daemon.is_running() {
        assert!(
            Instant::now() < deadline,
            "still running:\n{}",
            daemon.log()
        );
        // While it waits out its back-off there is nothing to make panic.
        if let Ok(mut stream) = UnixStream::connect(daemon.path("omnid.sock")) {
            let request = json!({"verb": "test.panic", "arguments": {"child": "certificates"}});
            let _gone = stream.write_all((request.to_string() + "\n").as_bytes());
            let mut line = String::new();
            let _gone = BufReader::new(stream).read_line(&mut line);
        }
        thread::sleep(Duration::from_millis(50));
    }
    let log = daemon.log();
    assert!(log.contains("given up"), "{log}");
}

#[test]
fn without_the_test_hooks_nobody_can_order_a_panic() {
    let (daemon, _) = start(&[]);
    let answer = control(&daemon, "test.panic", json!({"child": "certificates"}));
    assert!(
        answer["error"]["message"]
            .as_str()
            .unwrap()
            .contains("no running service answers")
    );
}

#[test]
fn stopping_ends_well_and_in_time() {
    let (daemon, ports) = start(&[]);
    let mut idle = TcpStream::connect(loopback(ports.xmpp)).unwrap();
    idle.set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    let (code, took) = daemon.stop();
    assert_eq!(code, Some(0));
    assert!(took < Duration::from_secs(20), "took {took:?}");
    let mut rest = Vec::new();
    idle.read_to_end(&mut rest).unwrap();
}
