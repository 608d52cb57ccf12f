//! Answers over UDP, asked for by dnsperf: authoritative ones of omnid and NSD in turns, and those
//! that omnid and Unbound have in their caches.
//!
//! `cargo bench --bench dns` (needs the packages of tests/install)
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

#[path = "../tests/support/mod.rs"]
mod harness;
mod support;

use std::{
    fmt::Write,
    fs,
    path::Path,
    time::{Duration, Instant},
};

use harness::{Background, Daemon, free_port, run};
use support::{in_turns, number};

const NAMES: usize = 20_000;
const SECONDS: u64 = 5;

fn zone() -> String {
    let mut zone = String::from(
        "$ORIGIN bench.test.\n$TTL 300\n@ SOA ns hostmaster 1 3600 600 86400 60\n@ NS ns\nns A 127.0.0.1\n\
         *.wild A 192.0.2.1\n",
    );
    for name in 0..NAMES {
        let _infallible = writeln!(zone, "host{name} A 192.0.2.{}", name % 256);
    }
    zone
}

/// Loads: what they are called, and the n-th query.
type Load = (&'static str, fn(usize) -> String);

const LOADS: [Load; 3] = [
    ("A, 20,000 names", |n| {
        format!("host{}.bench.test A", n * 7919 % NAMES)
    }),
    ("NXDOMAIN", |n| format!("nohost{n}.bench.test A")),
    ("wildcard", |n| format!("x{n}.wild.bench.test A")),
];

fn perf(port: u16, queries: &Path) -> (f64, String) {
    let port = port.to_string();
    let seconds = SECONDS.to_string();
    let queries = queries.to_str().unwrap();
    let arguments = [
        "-s",
        "127.0.0.1",
        "-p",
        &port,
        "-d",
        queries,
        "-l",
        &seconds,
        "-c",
        "16",
        "-q",
        "128",
    ];
    let output = run("dnsperf", &arguments, Duration::from_secs(SECONDS + 30))
        .success()
        .stdout;
    let latency = output
        .lines()
        .find(|line| line.contains("Average Latency"))
        .unwrap_or_default();
    (
        number("Queries completed:", &output),
        latency.trim().to_owned(),
    )
}

fn main() {
    let directory = tempfile::tempdir().unwrap();
    let below = |name: &str| directory.path().join(name);
    fs::write(below("bench.test.zone"), zone()).unwrap();

    let omnid_port = free_port();
    let config = format!(
        "[dns]\nlisten = [\"127.0.0.1:{omnid_port}\"]\n\
         [[dns.zone]]\nname = \"bench.test\"\nfile = \"{}\"\n[log]\nlevel = \"warn\"\n",
        below("bench.test.zone").display()
    );
    let since = Instant::now();
    let omnid = Daemon::start(&config);
    println!("omnid ready with {NAMES} names in {:?}", since.elapsed());

    let nsd_port = free_port();
    let nsd_directory = directory.path().display();
    let nsd_config = format!(
        "server:\n ip-address: 127.0.0.1\n port: {nsd_port}\n username: \"\"\n chroot: \"\"\n \
         zonesdir: \"{nsd_directory}\"\n database: \"\"\n pidfile: \"{nsd_directory}/nsd.pid\"\n \
         xfrdfile: \"\"\n zonelistfile: \"{nsd_directory}/zone.list\"\n server-count: 2\n \
         reuseport: yes\n rrl-ratelimit: 0\nremote-control:\n control-enable: no\n\
         zone:\n name: bench.test\n zonefile: bench.test.zone\n"
    );
    fs::write(below("nsd.conf"), nsd_config).unwrap();
    let nsd_conf = below("nsd.conf").display().to_string();
    let nsd = Background::start("nsd", &["-d", "-c", &nsd_conf], &below("nsd.log"));
    let answers = |port: u16| {
        let port = port.to_string();
        let arguments = [
            "@127.0.0.1",
            "-p",
            &port,
            "+time=1",
            "+tries=1",
            "host1.bench.test",
        ];
        run("dig", &arguments, Duration::from_secs(10))
            .stdout
            .contains("192.0.2.1")
    };
    harness::wait_until("NSD answers", Duration::from_secs(20), || answers(nsd_port));
    assert!(answers(omnid_port), "omnid does not answer");

    let servers = [("omnid", omnid.pid()), ("NSD", nsd.0.id())];
    for (name, query) in LOADS {
        let queries: String = (0..50_000).map(|n| query(n) + "\n").collect();
        fs::write(below("queries"), queries).unwrap();
        let ports = [omnid_port, nsd_port];
        in_turns(name, servers, |server| {
            perf(ports[server], &below("queries"))
        });
    }
    cached(directory.path(), nsd_port);
}

/// Both forward to NSD, and have everything in their caches after the first round.
fn cached(directory: &Path, upstream: u16) {
    let queries = directory.join("queries");
    let (_, query) = LOADS[0];
    let text: String = (0..NAMES).map(|n| query(n) + "\n").collect();
    fs::write(&queries, text).unwrap();

    let omnid_port = free_port();
    let omnid = Daemon::start(&format!(
        "[dns]\nlisten = [\"127.0.0.1:{omnid_port}\"]\n[dns.resolver]\n\
         forward = [\"127.0.0.1:{upstream}\"]\nvalidation = false\nmax_per_client = 10000\n\
         rate_per_client = 1000000\nmax_per_zone = 10000\n[log]\nlevel = \"warn\"\n"
    ));
    let unbound_port = free_port();
    let home = directory.display();
    let config = format!(
        "server:\n interface: 127.0.0.1\n port: {unbound_port}\n username: \"\"\n chroot: \"\"\n \
         directory: \"{home}\"\n pidfile: \"\"\n use-syslog: no\n do-daemonize: no\n \
         num-threads: 2\n so-reuseport: yes\n module-config: \"iterator\"\n \
         do-not-query-localhost: no\n msg-cache-size: 64m\n rrset-cache-size: 128m\n\
         remote-control:\n control-enable: no\n\
         forward-zone:\n name: \".\"\n forward-addr: 127.0.0.1@{upstream}\n"
    );
    let path = directory.join("unbound.conf");
    fs::write(&path, config).unwrap();
    let arguments = ["-d", "-c", path.to_str().unwrap()];
    let unbound = Background::start("unbound", &arguments, &directory.join("unbound.log"));
    let ports = [omnid_port, unbound_port];
    for port in ports {
        harness::wait_until("it resolves", Duration::from_secs(20), || {
            let port = port.to_string();
            let name = [
                "@127.0.0.1",
                "-p",
                &port,
                "+time=1",
                "+tries=1",
                "host1.bench.test",
            ];
            let answer = run("dig", &name, Duration::from_secs(10)).stdout;
            answer.contains("192.0.2.1")
        });
        perf(port, &queries);
    }
    let servers = [("omnid", omnid.pid()), ("Unbound", unbound.0.id())];
    in_turns("cached", servers, |server| perf(ports[server], &queries));
}
