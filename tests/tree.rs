//! The supervisor tree of the running daemon: every kind of child is made to panic, and only that
//! child restarts, while every service answers throughout and every port stays bound.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod support;

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, ErrorKind, Read, Write},
    net::{TcpStream, UdpSocket},
    os::unix::net::UnixStream,
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use serde_json::json;
use support::{
    Daemon, python_binary, tests, wait_until,
    whole::{
        self, More, Ports, REQUEST, SERVICES, STREAM, answers, children, control, framed_query,
        inject, listener, loopback, options,
    },
};

const LIMIT: Duration = Duration::from_secs(30);

fn start(environment: &[(&str, &str)]) -> (Daemon, Ports) {
    let ports = Ports::free();
    (whole::start(&ports, More::default(), environment), ports)
}

fn with_hooks() -> (Daemon, Ports) {
    start(&[("OMNID_TEST_HOOKS", "1")])
}

/// Clients that come without end while something else happens, and must all be served.
struct Clients {
    over: Arc<AtomicBool>,
    services: Vec<(&'static str, JoinHandle<(u32, Duration)>)>,
    doors: JoinHandle<u32>,
}

impl Clients {
    fn come(ports: Ports) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let ask = |service: &'static str| {
            let over = over.clone();
            let ask = move || {
                let (mut asked, mut longest) = (0, Duration::ZERO);
                while !over.load(Ordering::Relaxed) {
                    let since = Instant::now();
                    assert!(answers(service, &ports), "{service} did not answer");
                    longest = longest.max(since.elapsed());
                    asked += 1;
                    thread::sleep(Duration::from_millis(10));
                }
                (asked, longest)
            };
            (service, thread::spawn(ask))
        };
        let services = SERVICES.map(ask).into();
        let stop = over.clone();
        let doors = thread::spawn(move || knock(&ports, &stop));
        Self {
            over,
            services,
            doors,
        }
    }

    /// Ends them; a failed test where one was not served.
    fn leave(self) {
        self.over.store(true, Ordering::Relaxed);
        for (service, client) in self.services {
            let (asked, longest) = client.join().unwrap();
            println!("{service}: {asked} clients served, the slowest in {longest:?}");
            assert!(asked > 10, "only {asked} clients of {service}");
        }
        println!(
            "{} times at every port, none closed",
            self.doors.join().unwrap()
        );
    }
}

/// Finds every port bound, again and again: a connection may have to wait, but is not refused.
fn knock(ports: &Ports, over: &AtomicBool) -> u32 {
    let datagrams = [ports.dns, ports.sip].map(|port| {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(loopback(port)).unwrap();
        (port, socket)
    });
    let mut rounds = 0;
    while !over.load(Ordering::Relaxed) {
        for (name, port, _) in ports.streams() {
            if let Err(error) = TcpStream::connect(loopback(port)) {
                panic!("{name} on {port}: {error}");
            }
        }
        for (port, socket) in &datagrams {
            // The kernel tells of a closed port with the next datagram.
            if let Err(error) = socket.send(b"\r\n") {
                assert_ne!(error.kind(), ErrorKind::ConnectionRefused, "UDP on {port}");
            }
        }
        rounds += 1;
        thread::sleep(Duration::from_millis(10));
    }
    rounds
}

/// Makes one child panic and sees that it comes back, and that nobody else was restarted.
fn fell(daemon: &Daemon, path: &str) {
    let restarts = || -> BTreeMap<String, u64> {
        let all = children(daemon).into_iter();
        all.map(|child| (child.path, child.restarts)).collect()
    };
    let mut expected = restarts();
    inject(daemon, path);
    *expected.get_mut(path).unwrap() += 1;
    wait_until(&format!("{path} is back"), LIMIT, || {
        let again = children(daemon)
            .into_iter()
            .find(|child| child.path == path);
        again.is_some_and(|child| child.restarts == expected[path] && child.state == "ready")
    });
    assert_eq!(restarts(), expected, "after the panic of {path}");
}

#[test]
fn a_panic_in_any_child_restarts_that_child_and_disturbs_nobody() {
    let (daemon, ports) = with_hooks();
    let clients = Clients::come(ports);
    let mut felled = Vec::new();
    for child in children(&daemon).into_iter().filter(|child| child.worker) {
        fell(&daemon, &child.path);
        // Without the address, which is another each time.
        let kind = child.path.split([':', '.']).next().unwrap_or_default();
        felled.push(
            kind.trim_end_matches(|c: char| c.is_ascii_digit())
                .trim_end()
                .to_owned(),
        );
    }
    clients.leave();
    let log = daemon.log();
    assert!(log.contains("panicked: injected by a test"), "{log}");
    let (code, _) = daemon.stop();
    assert_eq!(code, Some(0));
    println!("{} workers panicked: {}", felled.len(), felled.join(", "));
    for kind in [
        "certificates",
        "scripts",
        "store",
        "watchdog",
        "admin/control",
        "admin/http",
        "dns/udp",
        "dns/tcp",
        "dns/tls",
        "dns/notify",
        "dns/publish",
        "dns/dot",
        "http/http",
        "http/https",
        "http/access log",
        "sip/udp",
        "sip/tcp",
        "sip/tls",
        "sip/timers",
        "sip/registrations",
        "sip/accounts",
        "sip/outbound",
        "sip/alpn",
        "xmpp/client",
        "xmpp/client-tls",
        "xmpp/sessions",
    ] {
        assert!(
            felled.iter().any(|path| path.starts_with(kind)),
            "{kind} was not among them"
        );
    }
}

#[test]
fn a_service_that_cannot_be_held_up_restarts_whole_and_alone() {
    let (daemon, ports) = with_hooks();
    let others = ["http", "xmpp", "sip"];
    let over = Arc::new(AtomicBool::new(false));
    let clients = others.map(|service| {
        let over = over.clone();
        thread::spawn(move || {
            while !over.load(Ordering::Relaxed) {
                assert!(answers(service, &ports), "{service} did not answer");
            }
        })
    });
    let restarts = |path: &str| {
        let child = children(&daemon)
            .into_iter()
            .find(|child| child.path == path);
        child.map_or(0, |child| child.restarts)
    };
    // Its back-off doubles from a tenth of a second: six panics take about three.
    wait_until("dns is restarted", LIMIT, || {
        control(&daemon, "test.panic", json!({"child": "dns/publish"}));
        restarts("dns") == 1
    });
    wait_until("dns answers again", LIMIT, || answers("dns", &ports));
    over.store(true, Ordering::Relaxed);
    for client in clients {
        client.join().unwrap();
    }
    for service in others {
        assert_eq!(restarts(service), 0, "{service}");
    }
    assert!(daemon.log().contains("gives up"));
}

/// A conversation with a listener that can be carried on.
struct Talk {
    stream: Box<dyn ReadWrite>,
    request: Box<dyn Fn() -> Vec<u8>>,
    answer: &'static str,
}

trait ReadWrite: Read + Write {}
impl<S: Read + Write> ReadWrite for S {}

impl Talk {
    /// Whether there is an answer (still).
    fn goes_on(&mut self) -> bool {
        if self.stream.write_all(&(self.request)()).is_err() {
            return false;
        }
        let (mut received, mut buffer) = (Vec::new(), [0; 65536]);
        while let Ok(length @ 1..) = self.stream.read(&mut buffer) {
            received.extend_from_slice(&buffer[..length]);
            if String::from_utf8_lossy(&received).contains(self.answer) {
                return true;
            }
        }
        false
    }
}

#[test]
fn a_connection_that_panics_ends_alone() {
    let (daemon, ports) = with_hooks();
    let tcp = |port: u16| -> Box<dyn ReadWrite> {
        let stream = TcpStream::connect(loopback(port)).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        Box::new(stream)
    };
    let unix = |_| -> Box<dyn ReadWrite> {
        let stream = UnixStream::connect(daemon.path("omnid.sock")).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        Box::new(stream)
    };
    type Open<'a> = &'a dyn Fn(u16) -> Box<dyn ReadWrite>;
    type Ask = fn() -> Vec<u8>;
    let kinds: [(&str, u16, &str, Open, Ask, &str); 6] = [
        (
            "dns",
            ports.dns,
            "connection",
            &tcp,
            framed_query,
            "\x7f\0\0\x01",
        ),
        (
            "http",
            ports.http,
            "connection",
            &tcp,
            || REQUEST.into(),
            "here",
        ),
        (
            "sip",
            ports.sip,
            "connection",
            &tcp,
            || options("TCP").into(),
            "SIP/2.0 200",
        ),
        (
            "admin",
            ports.admin,
            "connection",
            &tcp,
            || "GET /health HTTP/1.1\r\nHost: x\r\n\r\n".into(),
            "ok\n",
        ),
        // White space goes unanswered between elements; so each time the same, whose error is fatal
        // only to who asks a second time: what counts is an answer at all.
        (
            "xmpp",
            ports.xmpp,
            "login",
            &tcp,
            || STREAM.into(),
            "stream:",
        ),
        (
            "admin",
            0,
            "conversation",
            &unix,
            || "{\"verb\": \"nonsense\"}\n".into(),
            "nonsense",
        ),
    ];
    for (service, port, kind, open, request, answer) in kinds {
        let listener = if port == 0 {
            format!("admin/control unix:{}", daemon.path("omnid.sock").display())
        } else {
            listener(&daemon, service, port)
        };
        let mut talks = [0, 1].map(|_| Talk {
            stream: open(port),
            request: Box::new(request),
            answer,
        });
        let conversations = kind == "conversation";
        if !conversations {
            for talk in &mut talks {
                assert!(talk.goes_on(), "{service}");
            }
        }
        wait_until(&format!("both are at {listener}"), LIMIT, || {
            let child = children(&daemon)
                .into_iter()
                .find(|child| child.path == listener);
            let child = child.unwrap_or_else(|| panic!("no {listener}"));
            // The conversation that asks is one of its kind as well.
            let alive = if conversations { 3 } else { 2 };
            child
                .temporary
                .iter()
                .any(|(name, now, _)| name == kind && *now == alive)
        });
        inject(&daemon, &format!("{listener}/{kind}"));
        // One of the two is gone, the other goes on. (Of the conversations it may be the one that
        // orders the panic.)
        let alive = talks
            .iter_mut()
            .filter_map(|talk| talk.goes_on().then_some(()))
            .count();
        let expected = if conversations { 1..=2 } else { 1..=1 };
        assert!(expected.contains(&alive), "{alive} at {listener}/{kind}");
        wait_until("the panic is counted", LIMIT, || {
            let child = children(&daemon)
                .into_iter()
                .find(|child| child.path == listener);
            let kinds = child.map(|child| child.temporary).unwrap_or_default();
            kinds
                .iter()
                .any(|(name, _, failed)| name == kind && *failed == 1)
        });
    }
    assert!(
        children(&daemon).iter().all(|child| child.restarts == 0),
        "a child restarted"
    );
}

#[test]
fn a_chat_session_that_panics_ends_alone_and_its_user_comes_back() {
    let (daemon, ports) = with_hooks();
    daemon.add_user("alice@example.test", "correct horse battery");
    let mut held = Command::new(python_binary())
        .arg(tests().join("clients/xmpp_hold.py"))
        .args([
            &*format!("127.0.0.1:{}", ports.xmpps),
            "alice@example.test",
            "correct horse battery",
            "3",
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut ask = held.stdin.take().unwrap();
    let mut said = BufReader::new(held.stdout.take().unwrap());
    let mut alive = || {
        ask.write_all(b"\n").unwrap();
        let mut line = String::new();
        said.read_line(&mut line).unwrap();
        line
    };
    assert_eq!(alive(), "3 of 3\n");
    inject(&daemon, "xmpp/sessions/session");
    assert_eq!(alive(), "2 of 3\n");
    wait_until("two sessions are left", LIMIT, || {
        let sessions = control(&daemon, "sessions", json!({}))["ok"].clone();
        sessions
            .as_array()
            .is_some_and(|sessions| sessions.len() == 2)
    });
    drop(ask);
    assert!(held.wait().unwrap().success());
    let again = [
        &*format!("127.0.0.1:{}", ports.xmpps),
        "alice@example.test",
        "correct horse battery",
        "1",
    ];
    support::python("xmpp_hold.py", &again, LIMIT).success();
    assert!(children(&daemon).iter().all(|child| child.restarts == 0));
}

#[test]
fn past_the_intensity_the_process_ends_for_the_service_manager_to_take_over() {
    let (mut daemon, _) = with_hooks();
    let deadline = Instant::now() + Duration::from_secs(120);
    let status = loop {
        if let Some(status) = daemon.ended() {
            break status;
        }
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
    };
    assert_eq!(status.code(), Some(1));
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
