//! A small Internet on loopback addresses, all at one port: a root served by named, a top level
//! served by NSD, zones below it served by Knot and by omnid, and servers that are lame, silent or
//! do not exist.

use std::{
    fmt::Write,
    fs,
    net::UdpSocket,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use super::super::support::{Background, Daemon, free_port, run, wait_until};

pub const LIMIT: Duration = Duration::from_secs(20);

/// Addresses of the servers.
/// The one address of its loopback interface that named sees.
pub const ROOT: &str = "127.0.0.1";
pub const TOP: &str = "127.53.0.2";
pub const KNOT: &str = "127.53.0.3";
pub const OMNID: &str = "127.53.0.4";
/// Answers everything with REFUSED.
pub const LAME: &str = "127.53.0.5";
/// Takes datagrams and says nothing.
pub const SILENT: &str = "127.53.0.6";
/// Where the resolver listens.
pub const RESOLVER: &str = "127.0.0.1";

/// The zones, by name, with who serves them.
pub struct World {
    pub directory: tempfile::TempDir,
    pub port: u16,
    /// The trust anchor of the root, where it is signed.
    pub anchor: Option<String>,
    servers: Vec<Background>,
    authority: Option<Daemon>,
    _odd: Vec<Odd>,
}

pub struct Zone {
    pub name: &'static str,
    pub server: &'static str,
    pub text: String,
}

pub fn zone(name: &'static str, server: &'static str, text: impl Into<String>) -> Zone {
    Zone {
        name,
        server,
        text: text.into(),
    }
}

/// Delegations: the zone, its servers' names with addresses or without.
pub fn delegate(text: &mut String, zone: &str, servers: &[(&str, &str)]) {
    for (name, address) in servers {
        let _infallible = writeln!(text, "{zone} 3600 NS {name}");
        if !address.is_empty() {
            let _infallible = writeln!(text, "{name} 3600 A {address}");
        }
    }
}

const HEAD: &str = "@ 3600 SOA ns. hostmaster. 1 3600 600 86400 60\n";

/// The zones of the tests of recursion.
pub fn zones() -> Vec<Zone> {
    let mut root = String::from(HEAD);
    delegate(&mut root, ".", &[("a.root.", ROOT)]);
    delegate(&mut root, "test.", &[("ns.top.test.", TOP)]);
    delegate(&mut root, "net.", &[("ns.net.", KNOT)]);
    let mut top = String::from(HEAD);
    delegate(&mut top, "test.", &[("ns.top.test.", TOP)]);
    for (zone, servers) in [
        ("plain.test.", &[("ns.plain.test.", KNOT)][..]),
        ("omnid.test.", &[("ns.omnid.test.", OMNID)]),
        // Two that are no use before the one that is.
        (
            "lame.test.",
            &[
                ("ns1.lame.test.", LAME),
                ("ns2.lame.test.", SILENT),
                ("ns3.lame.test.", KNOT),
            ],
        ),
        ("dead.test.", &[("ns.dead.test.", SILENT)]),
        ("glueless.test.", &[("ns.plain.test.", "")]),
        ("loop1.test.", &[("ns.loop2.test.", "")]),
        ("loop2.test.", &[("ns.loop1.test.", "")]),
        ("many.test.", &[("ns.many.test.", SILENT)]),
    ] {
        delegate(&mut top, zone, servers);
    }
    // A referral to servers without addresses that are nowhere (NXNS).
    for number in 0..60 {
        let _infallible = writeln!(
            top,
            "nxns.test. 3600 NS ns{number}.nowhere{number}.plain.test."
        );
    }
    let plain = format!(
        "{HEAD}@ 3600 NS ns\nns 3600 A {KNOT}\nwww 300 A 192.0.2.80\nwww 300 AAAA 2001:db8::80\n\
         short 2 A 192.0.2.2\nzero 0 A 192.0.2.3\nalias 300 CNAME www\naway 300 CNAME www.omnid.test.\n\
         c1 300 CNAME c2\nc2 300 CNAME c1\n*.wild 300 TXT \"wild\"\na.b.c.deep 300 A 192.0.2.4\n\
         tree 300 DNAME other.omnid.test.\nmx 300 MX 10 www\n{}{}",
        (0..30)
            .map(|n| format!("chain{n} 300 CNAME chain{}\n", n + 1))
            .collect::<String>(),
        (0..120)
            .map(|n| format!("big 300 TXT \"{n:0>60}\"\n"))
            .collect::<String>(),
    );
    let omnid = format!(
        "{HEAD}@ 3600 NS ns\nns 3600 A {OMNID}\nwww 300 A 192.0.2.81\nx.other 300 A 192.0.2.82\n\
         back 300 CNAME www.plain.test.\n"
    );
    let lame = format!("{HEAD}@ 3600 NS ns3\nns3 3600 A {KNOT}\nwww 300 A 192.0.2.83\n");
    let glueless = format!("{HEAD}@ 3600 NS ns.plain.test.\nwww 300 A 192.0.2.84\n");
    let net = format!("{HEAD}@ 3600 NS ns\nns 3600 A {KNOT}\nwww.example 300 A 192.0.2.85\n");
    vec![
        zone(".", ROOT, root),
        zone("test", TOP, top),
        zone("plain.test", KNOT, plain),
        zone("omnid.test", OMNID, omnid),
        zone("lame.test", KNOT, lame),
        zone("glueless.test", KNOT, glueless),
        zone("net", KNOT, net),
    ]
}

impl World {
    pub fn start(zones: &[Zone]) -> World {
        let directory = tempfile::tempdir().unwrap();
        let port = free_port();
        for zone in zones {
            fs::write(file(directory.path(), zone.name), &zone.text).unwrap();
        }
        Self::serve(directory, port, zones)
    }

    /// Serves the files of these zones.
    pub fn serve(directory: tempfile::TempDir, port: u16, zones: &[Zone]) -> World {
        let path = directory.path();
        fs::write(
            path.join("hints"),
            format!(". 1 NS a.root.\na.root. 1 A {ROOT}\n"),
        )
        .unwrap();
        let of = |server: &str| -> Vec<&Zone> {
            zones.iter().filter(|zone| zone.server == server).collect()
        };
        let servers = vec![
            named(path, ROOT, port, &of(ROOT)),
            nsd(path, TOP, port, &of(TOP)),
            knot(path, KNOT, port, &of(KNOT)),
        ];
        let own = of(OMNID);
        let authority = (!own.is_empty()).then(|| {
            let mut config = format!("[dns]\nlisten = [\"{OMNID}:{port}\"]\nsockets = 1\n");
            for zone in own {
                let _infallible = writeln!(
                    config,
                    "[[dns.zone]]\nname = \"{}\"\nfile = \"{}\"",
                    zone.name,
                    file(path, zone.name).display()
                );
            }
            Daemon::start(&config)
        });
        let odd = vec![
            Odd::start(LAME, port, true),
            Odd::start(SILENT, port, false),
        ];
        let world = World {
            directory,
            port,
            anchor: None,
            servers,
            authority,
            _odd: odd,
        };
        for zone in zones {
            wait_until(
                &format!("{} is served by {}", zone.name, zone.server),
                LIMIT,
                || {
                    let out = ask(zone.server, port, &["+norec", "+time=1", zone.name, "SOA"]);
                    out.contains("flags: qr aa") && out.contains("ANSWER: 1")
                },
            );
        }
        world
    }

    /// All servers go away.
    pub fn stop(&mut self) {
        self.servers.clear();
        self.authority = None;
    }

    /// A resolver for this world.
    pub fn resolver(&self, more: &str) -> Resolver {
        self.resolver_with(more, "")
    }

    /// The same with more of the configuration outside its section.
    pub fn resolver_with(&self, more: &str, outside: &str) -> Resolver {
        let port = free_port();
        let config = self.config(port, more, outside);
        let daemon = Daemon::start(&config);
        Resolver { daemon, port }
    }

    pub fn config(&self, port: u16, more: &str, outside: &str) -> String {
        let trust = match &self.anchor {
            Some(anchor) => format!("trust_anchors = [\"{anchor}\"]"),
            None => "validation = false".to_owned(),
        };
        format!(
            "[dns]\nlisten = [\"{RESOLVER}:{port}\"]\nsockets = 1\n[dns.resolver]\n\
             root_hints = \"{}\"\nport = {}\nipv6 = false\n{trust}\n{more}\n{outside}\n",
            self.directory.path().join("hints").display(),
            self.port
        )
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if thread::panicking() {
            for entry in fs::read_dir(self.directory.path()).unwrap().flatten() {
                if entry.path().extension().is_some_and(|end| end == "log") {
                    let text = fs::read_to_string(entry.path()).unwrap_or_default();
                    let lines: Vec<&str> = text.lines().rev().take(25).collect();
                    let lines: Vec<&str> = lines.into_iter().rev().collect();
                    eprintln!("--- {}\n{}", entry.path().display(), lines.join("\n"));
                }
            }
        }
    }
}

pub struct Resolver {
    pub daemon: Daemon,
    pub port: u16,
}

impl Resolver {
    pub fn dig(&self, arguments: &[&str]) -> String {
        ask(RESOLVER, self.port, arguments)
    }

    pub fn short(&self, arguments: &[&str]) -> String {
        self.dig(&[&["+short"], arguments].concat())
    }
}

/// Asks with dig.
pub fn ask(server: &str, port: u16, arguments: &[&str]) -> String {
    let (at, port) = (format!("@{server}"), port.to_string());
    let all = [
        &[at.as_str(), "-p", &port, "+tries=1", "+time=12"],
        arguments,
    ]
    .concat();
    run("dig", &all, LIMIT).stdout
}

pub fn file(directory: &Path, zone: &str) -> PathBuf {
    let name = if zone == "." { "root" } else { zone };
    directory.join(format!("{name}.zone"))
}

fn named(directory: &Path, address: &str, port: u16, zones: &[&Zone]) -> Background {
    let mut text = format!(
        "options {{ directory \"{}\"; listen-on port {port} {{ {address}; }}; \
         listen-on-v6 {{ none; }}; pid-file none; session-keyfile none; lock-file none; \
         recursion no; dnssec-validation no; notify no; minimal-responses no; \
         empty-zones-enable no; }};\ncontrols {{ }};\n",
        directory.display()
    );
    for zone in zones {
        let _infallible = writeln!(
            text,
            "zone \"{}\" {{ type primary; file \"{}\"; check-names ignore; }};",
            zone.name,
            file(directory, zone.name).display()
        );
    }
    let path = directory.join(format!("named-{address}.conf"));
    fs::write(&path, text).unwrap();
    let arguments = ["-g", "-n", "1", "-c", path.to_str().unwrap()];
    Background::start(
        "named",
        &arguments,
        &directory.join(format!("named-{address}.log")),
    )
}

fn nsd(directory: &Path, address: &str, port: u16, zones: &[&Zone]) -> Background {
    let home = directory.display();
    let mut text = format!(
        "server:\n ip-address: {address}\n port: {port}\n username: \"\"\n chroot: \"\"\n \
         zonesdir: \"{home}\"\n database: \"\"\n pidfile: \"{home}/nsd.pid\"\n xfrdfile: \"\"\n \
         zonelistfile: \"{home}/zone.list\"\n server-count: 1\n rrl-ratelimit: 0\n\
         remote-control:\n control-enable: no\n"
    );
    for zone in zones {
        let path = file(directory, zone.name);
        let _infallible = writeln!(
            text,
            "zone:\n name: {}\n zonefile: {}",
            zone.name,
            path.display()
        );
    }
    let path = directory.join("nsd.conf");
    fs::write(&path, text).unwrap();
    let arguments = ["-d", "-c", path.to_str().unwrap()];
    Background::start("nsd", &arguments, &directory.join("nsd.log"))
}

fn knot(directory: &Path, address: &str, port: u16, zones: &[&Zone]) -> Background {
    let home = directory.join("knot");
    fs::create_dir_all(&home).unwrap();
    let mut text = format!(
        "server:\n  rundir: {0}\n  listen: {address}@{port}\n  udp-workers: 1\n  tcp-workers: 1\n\
         database:\n  storage: {0}\nlog:\n  - target: stderr\n    any: info\n\
         template:\n  - id: default\n    semantic-checks: off\n    journal-content: none\n    zonefile-sync: -1\nzone:\n",
        home.display()
    );
    for zone in zones {
        let path = file(directory, zone.name);
        let _infallible = writeln!(
            text,
            "  - domain: {}\n    file: {}",
            zone.name,
            path.display()
        );
    }
    let path = directory.join("knot.conf");
    fs::write(&path, text).unwrap();
    let arguments = ["-c", path.to_str().unwrap()];
    Background::start("knotd", &arguments, &directory.join("knot.log"))
}

/// A server that is no use: one that refuses, or one that says nothing.
struct Odd(Arc<AtomicBool>);

impl Odd {
    fn start(address: &str, port: u16, refuses: bool) -> Odd {
        let socket = UdpSocket::bind((address, port)).unwrap();
        socket
            .set_read_timeout(Some(Duration::from_millis(200)))
            .unwrap();
        let over = Arc::new(AtomicBool::new(false));
        let ended = over.clone();
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while !ended.load(Ordering::Relaxed) {
                let Ok((length, from)) = socket.recv_from(&mut buffer) else {
                    continue;
                };
                if refuses && length > 12 {
                    // A response, REFUSED, with the question and without the OPT record.
                    buffer[2] |= 0x80;
                    buffer[3] = 5;
                    buffer[11] = 0;
                    let end = 12 + buffer[12..].iter().position(|octet| *octet == 0).unwrap() + 5;
                    let _lost = socket.send_to(&buffer[..end], from);
                }
            }
        });
        Odd(over)
    }
}

impl Drop for Odd {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
