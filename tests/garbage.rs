//! Bad input on every port of the daemon: the protocol's own error or a close, bounded memory, few
//! lines of log, and every other client served.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod support;

use std::{
    collections::BTreeMap,
    fs,
    io::{ErrorKind, Read, Write},
    net::{Ipv4Addr, Shutdown, SocketAddrV4, TcpStream, UdpSocket},
    os::unix::net::UnixStream,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use rustix::net::{AddressFamily, SocketType, bind, connect, socket, sockopt};
use serde_json::json;
use support::{
    Daemon, python, wait_until,
    whole::{
        self, More, Ports, QUERY, REQUEST, SERVICES, STREAM, answers, control, framed_query,
        loopback, options,
    },
};

/// Within this much every connection of these tests is over, whatever it did: the longest deadline
/// is SIP's for the rest of a message, a quarter of a minute.
const LIMIT: Duration = Duration::from_secs(40);

/// Short deadlines, so that the tests see them.
const SECTIONS: &str = "[net]\nhandshake_timeout = \"2s\"\nfirst_byte_timeout = \"2s\"\n";
const IMPATIENT: More = More {
    sections: SECTIONS,
    dns: "idle_timeout = \"3s\"",
    http: "limits = { first_byte = \"2s\", head_time = \"2s\", head_time_max = \"4s\", \
           body_time = \"2s\", idle = \"3s\", idle_h2 = \"3s\", write = \"4s\", window = \"3s\" }",
    site: "",
    xmpp: "login_timeout = \"4s\"",
    sip: "idle_timeout = \"10s\"",
};

/// Bytes that nobody has thought about; the same at every run.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    (0..length).map(|_| next()).collect()
}

/// A TLS 1.3 client's first message, as OpenSSL sends it: whole as far as the record layer goes.
fn client_hello() -> Vec<u8> {
    let mut hello = vec![3, 3];
    hello.extend(noise(7, 32));
    hello.extend([0, 0, 4, 0x13, 1, 0x13, 2, 1, 0]);
    let extensions = [0, 43, 0, 3, 2, 3, 4];
    hello.extend((extensions.len() as u16).to_be_bytes());
    hello.extend(extensions);
    let mut handshake = vec![1, 0];
    handshake.extend((hello.len() as u16).to_be_bytes());
    handshake.extend(hello);
    let mut record = vec![22, 3, 1];
    record.extend((handshake.len() as u16).to_be_bytes());
    record.extend(handshake);
    record
}

const ALERT: &[u8] = &[21, 3];

/// What a client does after it has said what it says.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Then {
    /// It says no more, and waits.
    Silence,
    /// It ends its side, and waits.
    HalfClose,
}

/// Where those who come and go come from, and those who speak: the bound on connections of one
/// client is not to keep the former from the latter, nor either from everybody else.
const SPEAKERS: Ipv4Addr = Ipv4Addr::new(127, 0, 66, 0);
const PASSERS_BY: [Ipv4Addr; 4] = [
    // Several, since each has some 28,000 ports, and a port rests for a minute after its use.
    Ipv4Addr::new(127, 0, 66, 1),
    Ipv4Addr::new(127, 0, 66, 2),
    Ipv4Addr::new(127, 0, 66, 3),
    Ipv4Addr::new(127, 0, 66, 4),
];

/// A connection from an address of one's own.
fn connect_from(source: Ipv4Addr, port: u16) -> TcpStream {
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    bind(&socket, &SocketAddrV4::new(source, 0)).unwrap();
    connect(&socket, &loopback(port)).unwrap();
    TcpStream::from(socket)
}

/// Says something and returns all that comes back until the connection is over. A failed test where
/// it is not over in time.
fn say(what: &str, port: u16, said: &[u8], pause: Duration, then: Then) -> Vec<u8> {
    let mut stream = connect_from(SPEAKERS, port);
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream.set_write_timeout(Some(LIMIT)).unwrap();
    stream.set_nodelay(true).unwrap();
    let mut sent = Ok(());
    if pause.is_zero() {
        sent = stream.write_all(said);
    } else {
        for byte in said {
            sent = sent.and_then(|()| stream.write_all(&[*byte]));
            thread::sleep(pause);
        }
    }
    // Whoever has heard enough may close before all is said.
    drop(sent);
    if then == Then::HalfClose {
        drop(stream.shutdown(Shutdown::Write));
    }
    let (mut received, mut buffer) = (Vec::new(), [0; 65536]);
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return received,
            Ok(length) => received.extend_from_slice(&buffer[..length]),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return received,
            Err(error) => panic!("{what}: not over in {LIMIT:?}: {error}"),
        }
    }
}

/// What a client says to a listener of a kind, and what must come back, at least to begin with.
struct Case {
    what: &'static str,
    said: Vec<u8>,
    pause: Duration,
    then: Then,
    /// Any of these at the beginning; none means that whatever comes back will do.
    expect: Vec<&'static [u8]>,
}

/// What is said to a listener.
fn cases(name: &str, tls: bool) -> Vec<Case> {
    let case = |what, said: &[u8]| Case {
        what,
        said: said.to_vec(),
        pause: Duration::ZERO,
        then: Then::Silence,
        expect: Vec::new(),
    };
    let mut cases = vec![
        case("noise", &noise(1, 4096)),
        case("more noise", &noise(2, 100_000)),
        case("zeros", &[0; 5000]),
        case("one byte, then silence", b"G"),
        case("nothing at all", b""),
        case("a line without end", &vec![b'A'; 1 << 20]),
        Case {
            then: Then::HalfClose,
            ..case("half-closed at once", b"")
        },
        Case {
            then: Then::HalfClose,
            ..case("noise, then half-closed", &noise(3, 300))
        },
    ];
    let hello = client_hello();
    if tls {
        cases.push(Case {
            expect: vec![ALERT],
            ..case("plain HTTP to TLS", REQUEST.as_bytes())
        });
        cases.push(case("half a TLS hello", &hello[..hello.len() / 2]));
        cases.push(case(
            "a TLS record that is longer than it may be",
            b"\x16\x03\x01\xff\xff",
        ));
        cases.push(Case {
            pause: Duration::from_millis(150),
            ..case("a TLS hello, byte by byte and too slowly", &hello)
        });
        return cases;
    }
    let alert: Vec<&[u8]> = if name == "admin" { vec![] } else { vec![ALERT] };
    cases.push(Case {
        expect: alert,
        ..case("a TLS hello to plain", &hello)
    });
    let (good, answer): (Vec<u8>, &[u8]) = match name {
        "dns" => (framed_query(), b"\0"),
        "http" => (REQUEST.into(), b"HTTP/1.1 200"),
        "admin" => (
            b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n".into(),
            b"HTTP/1.1 200",
        ),
        "xmpp" => (STREAM.into(), b"<?xml"),
        _ => (options("TCP").into(), b"SIP/2.0 200"),
    };
    cases.push(Case {
        then: Then::HalfClose,
        expect: vec![answer],
        ..case("a good request, then half-closed", &good)
    });
    cases.push(Case {
        pause: Duration::from_millis(5),
        expect: vec![answer],
        ..case("a good request byte by byte, then silence", &good)
    });
    cases.push(case("half a good request", &good[..good.len() / 2]));
    match name {
        "dns" => {
            cases.push(case(
                "a frame that never ends",
                &[&[0xff, 0xff][..], QUERY].concat(),
            ));
            cases.push(case("a frame with nothing in it", &[0, 0]));
            cases.push(case(
                "a response as a request",
                b"\0\x0c\x12\x34\x80\0\0\0\0\0\0\0\0\0",
            ));
            cases.push(case(
                "counts that lie",
                b"\0\x0c\x12\x34\x01\0\xff\xff\xff\xff\xff\xff\xff\xff",
            ));
        }
        "http" | "admin" => {
            let refusals: Vec<&[u8]> = vec![b"HTTP/1.1 4", b"HTTP/1.0 4"];
            let mut fields = b"GET / HTTP/1.1\r\nHost: example.test\r\n".to_vec();
            for number in 0..5000 {
                fields.extend(format!("X-{number}: {number}\r\n").bytes());
            }
            for (what, said) in [
                ("fields without end", fields),
                (
                    "a target without end",
                    [&b"GET /"[..], &vec![b'a'; 1 << 20]].concat(),
                ),
                ("no HTTP", b"HELO there\r\n\r\n".into()),
                (
                    "a version that is none",
                    b"GET / HTTP/9.9\r\nHost: x\r\n\r\n".into(),
                ),
            ] {
                cases.push(Case {
                    expect: refusals.clone(),
                    ..case(what, &said)
                });
            }
            let head = "POST / HTTP/1.1\r\nHost: example.test\r\n";
            for (what, rest) in [
                (
                    "a body that never comes",
                    "Content-Length: 100000\r\n\r\nfew",
                ),
                (
                    "a chunk that never ends",
                    "Transfer-Encoding: chunked\r\n\r\nffff\r\nfew",
                ),
                (
                    "a chunk size that is none",
                    "Transfer-Encoding: chunked\r\n\r\nzz\r\n",
                ),
                (
                    "two lengths",
                    "Content-Length: 1\r\nContent-Length: 2\r\n\r\nab",
                ),
            ] {
                cases.push(Case {
                    expect: vec![b"HTTP/1.1 4"],
                    ..case(what, (head.to_owned() + rest).as_bytes())
                });
            }
            if name == "http" {
                let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
                let wild = [&preface[..], &noise(5, 1000)].concat();
                cases.push(case("HTTP/2 with noise for frames", &wild));
                cases.push(case("HTTP/2 that never begins", preface));
            }
        }
        "xmpp" => {
            let after = |rest: &str| (STREAM.to_owned() + rest).into_bytes();
            let mut deep = after("");
            for _ in 0..10_000 {
                deep.extend(b"<a>");
            }
            for (what, said) in [
                ("what is no XML", b"GET / HTTP/1.1\r\n\r\n".to_vec()),
                (
                    "an element without end",
                    after(&format!("<auth a='{}", "x".repeat(1 << 20))),
                ),
                ("elements without bottom", deep),
                ("a document type", after("<!DOCTYPE a [<!ENTITY b 'c'>]>")),
                ("a comment", after("<!-- -->")),
                (
                    "a message before the login",
                    after("<message to='x@example.test'/>"),
                ),
                (
                    "bytes that are no text",
                    [STREAM.as_bytes(), b"\xff\xfe<a/>"].concat(),
                ),
            ] {
                cases.push(Case {
                    expect: vec![b"<?xml"],
                    ..case(what, &said)
                });
            }
        }
        _ => {
            let with = |field: &str| options("TCP").replace("Content-Length: 0", field);
            for (what, said, status) in [
                (
                    "a length that is none",
                    with("Content-Length: many"),
                    "SIP/2.0 400",
                ),
                (
                    "a body beyond all bounds",
                    with("Content-Length: 999999999"),
                    "SIP/2.0 513",
                ),
            ] {
                cases.push(Case {
                    expect: vec![status.as_bytes()],
                    ..case(what, said.as_bytes())
                });
            }
            cases.push(case(
                "a body that never comes",
                with("Content-Length: 5000").as_bytes(),
            ));
            let mut fields = with("Content-Length: 0").into_bytes();
            fields.truncate(fields.len() - 2);
            for number in 0..20_000 {
                fields.extend(format!("X-{number}: {number}\r\n").bytes());
            }
            cases.push(case("fields without end", &fields));
        }
    }
    cases
}

/// Says all of it to all listeners at once. Gives what came back.
fn say_everything(ports: &Ports) -> BTreeMap<String, Vec<u8>> {
    let speak = |name: &'static str, port, case: Case| {
        thread::spawn(move || {
            let what = format!("{name}: {}", case.what);
            let back = say(&what, port, &case.said, case.pause, case.then);
            let fits = case.expect.iter().any(|begin| back.starts_with(begin));
            assert!(
                fits || case.expect.is_empty(),
                "{what}: {}",
                String::from_utf8_lossy(&back[..back.len().min(300)])
            );
            if name == "xmpp" && case.expect == [b"<?xml"] && !case.what.starts_with("a good") {
                let text = String::from_utf8_lossy(&back);
                assert!(
                    text.contains("<stream:error>") && text.ends_with("</stream:stream>"),
                    "{what}: {text}"
                );
            }
            (what, back)
        })
    };
    let mut speaking = Vec::new();
    for (name, port, tls) in ports.streams() {
        speaking.extend(
            cases(name, tls)
                .into_iter()
                .map(|case| speak(name, port, case)),
        );
    }
    speaking
        .into_iter()
        .map(|thread| thread.join().unwrap())
        .collect()
}

/// Whatever may come in a datagram.
fn shower(port: u16, good: &[u8]) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(loopback(port)).unwrap();
    for seed in 0..2000_u64 {
        let datagram = match seed % 4 {
            0 => noise(seed, (seed * 37 % 1500) as usize),
            1 => good[..seed as usize % good.len()].to_vec(),
            2 => {
                let mut bent = good.to_vec();
                let at = seed as usize * 31 % bent.len();
                bent[at] ^= 1 << (seed % 8);
                bent
            }
            _ => [good, &noise(seed, 400)].concat(),
        };
        // A full queue is the kernel's business.
        drop(socket.send(&datagram));
    }
    drop(socket.send(&vec![b'x'; 65_000]));
    drop(socket.send(&[]));
}

/// Comes and goes, in order or by a reset, with a byte or without.
fn come_and_go(port: u16) {
    for number in 0..2000 {
        let mut stream = connect_from(PASSERS_BY[number % 4], port);
        if number % 4 == 1 {
            drop(stream.write_all(&[22]));
        }
        if number % 2 == 0 {
            sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).unwrap();
        }
    }
}

/// What can be done to the control socket.
fn pester_the_control_socket(daemon: &Daemon) {
    let open = || {
        let stream = UnixStream::connect(daemon.path("omnid.sock")).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        stream.set_write_timeout(Some(LIMIT)).unwrap();
        stream
    };
    for number in 0..2000 {
        let mut stream = open();
        if number % 4 == 1 {
            // The answer comes to nobody.
            drop(stream.write_all(b"{\"verb\": \"status\"}\n"));
        }
    }
    let noises = [
        noise(1, 100),
        noise(2, 5000),
        client_hello(),
        REQUEST.into(),
    ];
    for said in noises {
        let mut stream = open();
        stream.write_all(&[&said[..], b"\n"].concat()).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut back = String::new();
        stream.read_to_string(&mut back).unwrap();
        assert!(back.starts_with("{\"error\":"), "{back}");
    }
    let mut stream = open();
    // Refused before it has all been said; so the rest may find nobody.
    drop(stream.write_all(&vec![b'{'; 1 << 20]));
    let mut back = Vec::new();
    drop(stream.read_to_end(&mut back));
    // Half a line and no more.
    let mut stream = open();
    stream.write_all(b"{\"verb\":").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    stream.read_to_end(&mut back).unwrap();
}

/// What the daemon holds on to.
#[derive(Debug, Clone, Copy)]
struct Held {
    kib: u64,
    descriptors: usize,
    lines: usize,
}

fn held(daemon: &Daemon) -> Held {
    let descriptors = fs::read_dir(format!("/proc/{}/fd", daemon.pid())).unwrap();
    // Each question of this test's own to the control socket is a line too.
    let log = daemon.log();
    let lines = log.lines().filter(|line| !line.contains(": control user="));
    Held {
        kib: daemon.resident_kib(),
        descriptors: descriptors.count(),
        lines: lines.count(),
    }
}

/// How many connections there are, over all listeners.
fn connections(daemon: &Daemon) -> u64 {
    control(daemon, "status", json!({}))["ok"]["connections"]
        .as_u64()
        .unwrap()
}

#[test]
fn garbage_on_every_port_is_turned_away_and_leaves_nothing_behind() {
    let ports = Ports::free();
    let daemon = whole::start(&ports, IMPATIENT, &[]);
    let over = Arc::new(AtomicBool::new(false));
    let others = SERVICES.map(|service| {
        let over = over.clone();
        thread::spawn(move || {
            let (mut served, mut longest) = (0, Duration::ZERO);
            while !over.load(Ordering::Relaxed) {
                let since = Instant::now();
                assert!(answers(service, &ports), "{service} did not answer");
                longest = longest.max(since.elapsed());
                served += 1;
                thread::sleep(Duration::from_millis(20));
            }
            println!("{service}: {served} others served meanwhile, the slowest in {longest:?}");
        })
    });
    let garbage = |turn: usize| {
        let since = Instant::now();
        let mut threads: Vec<thread::JoinHandle<()>> = ports
            .streams()
            .into_iter()
            .map(|(_, port, _)| thread::spawn(move || come_and_go(port)))
            .collect();
        threads.push(thread::spawn(move || shower(ports.dns, QUERY)));
        threads.push(thread::spawn(move || {
            shower(ports.sip, options("UDP").as_bytes());
        }));
        let tls = [ports.dot, ports.https, ports.xmpps, ports.sips].map(|port| port.to_string());
        let inside = thread::spawn(move || python("tls_garbage.py", &tls, LIMIT * 2));
        pester_the_control_socket(&daemon);
        let back = say_everything(&ports);
        for thread in threads {
            thread.join().unwrap();
        }
        let inside = inside.join().unwrap().success().stdout;
        // Until the last of the others' own connections is over as well.
        over_and_done(&daemon);
        let held = held(&daemon);
        println!("turn {turn} in {:?}: {held:?}", since.elapsed());
        (held, back, inside)
    };
    let before = held(&daemon);
    println!("before: {before:?}");
    // The first turn makes the daemon as large as it gets; what counts is that it stays so.
    let (first, back, inside) = garbage(1);
    for (what, back) in back {
        let shown = String::from_utf8_lossy(&back[..back.len().min(60)]).into_owned();
        println!("  {what}: {shown:?}");
    }
    print!("{inside}");
    let (second, ..) = garbage(2);
    over.store(true, Ordering::Relaxed);
    for other in others {
        other.join().unwrap();
    }
    assert!(first.kib < before.kib + 128 * 1024, "{before:?} {first:?}");
    assert!(second.kib < first.kib + 16 * 1024, "{first:?} {second:?}");
    assert!(
        second.descriptors <= before.descriptors + 12,
        "{before:?} {second:?}"
    );
    // Each turn is some 24,000 connections and datagrams.
    assert!(second.lines - first.lines < 200, "{}", daemon.log());
    for service in SERVICES {
        assert!(answers(service, &ports), "{service}");
    }
    assert!(
        whole::children(&daemon)
            .iter()
            .all(|child| child.restarts == 0 && child.state == "ready"),
        "{:?}",
        whole::children(&daemon)
    );
    let log = daemon.log();
    assert!(!log.contains("panic"), "{log}");
}

/// A client that asks and does not read the answers; it is over when the daemon says so.
fn ask_deafly(port: u16, request: &[u8], times: usize) -> TcpStream {
    let mut stream = connect_from(SPEAKERS, port);
    stream
        .set_write_timeout(Some(Duration::from_secs(1)))
        .unwrap();
    // Until nobody takes any more of it.
    for _ in 0..times {
        if stream.write_all(request).is_err() {
            break;
        }
    }
    stream
}

#[test]
fn who_does_not_read_is_not_waited_for() {
    let ports = Ports::free();
    let daemon = whole::start(&ports, IMPATIENT, &[]);
    // Holes only: large for those who read it, and for nobody else.
    let large = fs::File::create(daemon.path("site/large")).unwrap();
    large.set_len(1 << 30).unwrap();
    for user in ["alice", "bob"] {
        daemon.add_user(&format!("{user}@example.test"), "correct horse battery");
    }
    for service in SERVICES {
        assert!(answers(service, &ports), "{service}");
    }
    let before = held(&daemon);
    let large = REQUEST.replace("GET /", "GET /large");
    let deaf = [
        (ports.dns, framed_query().repeat(1000), 10_000),
        (ports.http, large.into_bytes(), 1),
        (ports.http, REQUEST.repeat(1000).into_bytes(), 10_000),
        // Keep-alives (RFC 5626 4.4.1): of requests, only so many a second are answered at all.
        (ports.sip, b"\r\n\r\n".repeat(10_000), 10_000),
    ];
    let since = Instant::now();
    let deaf: Vec<_> = deaf
        .into_iter()
        .map(|(port, request, times)| thread::spawn(move || ask_deafly(port, &request, times)))
        .collect();
    let deaf: Vec<TcpStream> = deaf.into_iter().map(|deaf| deaf.join().unwrap()).collect();
    println!("said what could be said: {:?}", since.elapsed());
    let xmpps = ports.xmpps.to_string();
    let said = python("xmpp_deaf.py", &[&xmpps], LIMIT).success().stdout;
    let most = held(&daemon);
    for service in SERVICES {
        assert!(answers(service, &ports), "{service}");
    }
    // They still hold their ends; the daemon holds nothing.
    wait_until("those who do not read are parted with", LIMIT, || {
        connections(&daemon) <= 1
    });
    let after = held(&daemon);
    println!(
        "{said}parted with after {:?}; before {before:?}, at the most {most:?}, after {after:?}",
        since.elapsed()
    );
    assert!(most.kib < before.kib + 64 * 1024, "{before:?} {most:?}");
    assert!(
        after.descriptors <= before.descriptors + 4,
        "{before:?} {after:?}"
    );
    drop(deaf);
}

/// Waits until hardly a connection is left but those of who asks.
fn over_and_done(daemon: &Daemon) {
    wait_until("all connections are over", LIMIT, || {
        connections(daemon) < 20
    });
}
