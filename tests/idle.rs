//! Many connections that do nothing: ten thousand at once, and more than there are descriptors for.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod support;

use std::{
    fs,
    io::{BufRead, BufReader, ErrorKind, Read, Write},
    net::{Ipv4Addr, SocketAddrV4, TcpStream},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::{
    net::{AddressFamily, SocketType, bind, connect, socket},
    process::{Resource, Rlimit, getrlimit, setrlimit},
};
use serde_json::json;
use support::{
    Daemon, python_binary, run, tests, wait_until,
    whole::{
        self, More, Ports, REQUEST, SERVICES, STREAM, answers, control, framed_query, loopback,
    },
};

const LIMIT: Duration = Duration::from_secs(60);
/// Connections, and how many of them have a TLS session.
const IDLE: usize = 10_000;
const IDLE_TLS: usize = 1_000;
/// How long they are let be. All must be there before the first has to go.
const PATIENCE: &str = "25s";

/// Lets this process, and what it starts, have as many descriptors as it takes.
fn raise_descriptors() {
    let wanted = IDLE as u64 + 2_000;
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: Some(wanted),
        // More than the hard limit is for root only, which the machines that run this are.
        maximum: limit.maximum.map(|maximum| maximum.max(wanted)),
    };
    setrlimit(Resource::Nofile, raised)
        .unwrap_or_else(|error| panic!("{wanted} descriptors: {error} ({limit:?})"));
}

/// A connection from one of many addresses: nobody may have more than a thousand.
fn connect_from(number: usize, port: u16) -> TcpStream {
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    let source = Ipv4Addr::new(127, 0, 77, 1 + (number % 20) as u8);
    bind(&socket, &SocketAddrV4::new(source, 0)).unwrap();
    connect(&socket, &loopback(port)).unwrap();
    TcpStream::from(socket)
}

fn connections(daemon: &Daemon) -> u64 {
    control(daemon, "status", json!({}))["ok"]["connections"]
        .as_u64()
        .unwrap()
}

fn descriptors(daemon: &Daemon) -> usize {
    fs::read_dir(format!("/proc/{}/fd", daemon.pid()))
        .unwrap()
        .count()
}

/// What has been used of the processors so far.
fn processor_time(daemon: &Daemon) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{}/stat", daemon.pid())).unwrap();
    let fields: Vec<&str> = stat
        .rsplit(')')
        .next()
        .unwrap()
        .split_whitespace()
        .collect();
    let ticks: u64 = [11, 12]
        .map(|field: usize| fields[field].parse::<u64>().unwrap())
        .iter()
        .sum();
    // USER_HZ is 100 on every Linux there is.
    Duration::from_millis(ticks * 10)
}

/// Every service serves somebody who has just come. Gives the longest wait.
fn all_are_served(ports: &Ports) -> Duration {
    let mut longest = Duration::ZERO;
    for service in SERVICES {
        let since = Instant::now();
        assert!(answers(service, ports), "{service}");
        longest = longest.max(since.elapsed());
    }
    longest
}

/// Opens them all, sees that everybody else is served, and that all of them are parted with when
/// their time has come. Gives the memory that the daemon had with all of them.
fn wave(daemon: &Daemon, ports: &Ports) -> u64 {
    let since = Instant::now();
    // A tenth of them after a TLS handshake.
    let mut tls = Command::new(python_binary())
        .arg(tests().join("clients/tls_idle.py"))
        .args([ports.dot, ports.https, ports.xmpps, ports.sips].map(|port| port.to_string()))
        .arg(IDLE_TLS.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut tls_says = BufReader::new(tls.stdout.take().unwrap());
    // Of the rest, half are silent, and half have been served and then fall silent.
    let kinds: [(u16, Vec<u8>); 8] = [
        (ports.dns, framed_query()),
        (ports.http, REQUEST.into()),
        (ports.xmpp, STREAM.into()),
        (ports.sip, b"\r\n\r\n".into()),
        (ports.dot, vec![]),
        (ports.https, vec![]),
        (ports.xmpps, vec![]),
        (ports.sips, vec![]),
    ];
    let open = |kind: usize, port, request: &[u8], number| {
        let mut stream = connect_from(kind * 10_000 + number, port);
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        if !request.is_empty() {
            stream.write_all(request).unwrap();
            assert!(stream.read(&mut [0; 4096]).unwrap() > 0, "{port}");
        }
        stream
    };
    let opening = kinds
        .into_iter()
        .enumerate()
        .map(|(kind, (port, request))| {
            thread::spawn(move || {
                let all = 0..(IDLE - IDLE_TLS) / 8;
                all.map(|number| open(kind, port, &request, number))
                    .collect::<Vec<_>>()
            })
        });
    let opening: Vec<_> = opening.collect();
    let streams: Vec<TcpStream> = opening
        .into_iter()
        .flat_map(|thread| thread.join().unwrap())
        .collect();
    let mut line = String::new();
    tls_says.read_line(&mut line).unwrap();
    assert_eq!(line, format!("{IDLE_TLS} open\n"));
    wait_until("all are taken in", LIMIT, || {
        connections(daemon) >= IDLE as u64
    });
    let (kib, opened) = (daemon.resident_kib(), since.elapsed());
    let longest = (0..10).map(|_| all_are_served(ports)).max().unwrap();
    assert!(
        connections(daemon) >= IDLE as u64,
        "some had to go before all were there"
    );
    println!(
        "{IDLE} connections open after {opened:?}, {kib} KiB; others wait {longest:?} at most"
    );

    let mut last_words = 0;
    for mut stream in streams {
        let mut rest = Vec::new();
        match stream.read_to_end(&mut rest) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
            Err(error) => panic!("not parted with: {error}"),
        }
        last_words += usize::from(!rest.is_empty());
    }
    assert!(tls.wait().unwrap().success());
    wait_until("all are gone", LIMIT, || connections(daemon) < 10);
    println!(
        "all gone after {:?}, {last_words} with last words, {} KiB",
        since.elapsed(),
        daemon.resident_kib()
    );
    kib
}

#[test]
fn ten_thousand_idle_connections_are_in_nobodys_way() {
    raise_descriptors();
    let ports = Ports::free();
    let sections =
        format!("[net]\nhandshake_timeout = \"{PATIENCE}\"\nfirst_byte_timeout = \"{PATIENCE}\"\n");
    let idle = format!("idle_timeout = \"{PATIENCE}\"");
    let http = format!("limits = {{ first_byte = \"{PATIENCE}\", idle = \"{PATIENCE}\" }}");
    let xmpp = format!("login_timeout = \"{PATIENCE}\"");
    let more = More {
        sections: &sections,
        dns: &idle,
        http: &http,
        xmpp: &xmpp,
        sip: &idle,
        ..More::default()
    };
    let daemon = whole::start(&ports, more, &[]);
    all_are_served(&ports);
    let (before, descriptors_before) = (daemon.resident_kib(), descriptors(&daemon));
    let grown = |kib: u64| kib.saturating_sub(before);

    let first = wave(&daemon, &ports);
    let each = grown(first) as f64 / IDLE as f64;
    println!("{each:.1} KiB for each ({before} KiB before)");
    assert!(each < 48.0);
    wait_until("the descriptors are back", LIMIT, || {
        descriptors(&daemon) <= descriptors_before + 10
    });
    wait_until("most of the memory is back", LIMIT, || {
        grown(daemon.resident_kib()) < grown(first) * 2 / 3
    });
    // What was kept is used again: nothing was lost.
    let second = wave(&daemon, &ports);
    assert!(grown(second) < grown(first) * 5 / 4, "{first} {second}");
    all_are_served(&ports);
}

#[test]
fn at_the_descriptor_limit_the_daemon_waits_and_recovers() {
    let ports = Ports::free();
    let daemon = whole::start(&ports, More::default(), &[]);
    all_are_served(&ports);
    let before = descriptors(&daemon);
    let limit = |number: usize| {
        let arguments = [
            "--pid",
            &daemon.pid().to_string(),
            &format!("--nofile={number}:"),
        ];
        run("prlimit", &arguments, LIMIT).success();
    };
    // Room for some, and far from all of those who come.
    limit(before + 30);
    let crowd: Vec<TcpStream> = (0..300)
        .map(|number| connect_from(number, ports.http))
        .collect();
    let cannot = "cannot accept connections";
    wait_until("it is said that there are no more", LIMIT, || {
        daemon.log().contains(cannot)
    });
    let (used, since) = (processor_time(&daemon), Instant::now());
    // What needs no descriptor of its own goes on meanwhile.
    while since.elapsed() < Duration::from_secs(4) {
        assert!(answers("dns", &ports) && answers("sip", &ports));
        thread::sleep(Duration::from_millis(50));
    }
    let used = processor_time(&daemon) - used;
    let lines = daemon.log().matches(cannot).count();
    println!("4 s at the limit: {used:?} of processor time, {lines} lines");
    assert!(used < Duration::from_secs(1), "{used:?}: it does not wait");
    assert!(lines <= 3, "{}", daemon.log());

    drop(crowd);
    wait_until("it has recovered", LIMIT, || {
        SERVICES.iter().all(|service| answers(service, &ports))
    });
    wait_until("the descriptors are back", LIMIT, || {
        descriptors(&daemon) <= before + 10
    });
    assert!(
        whole::children(&daemon)
            .iter()
            .all(|child| child.restarts == 0 && child.state == "ready"),
        "{:?}",
        whole::children(&daemon)
    );
    let (code, _) = daemon.stop();
    assert_eq!(code, Some(0));
}
