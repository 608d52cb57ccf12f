//! DNS as its clients see it: dig, kdig, named as a secondary, and the same zones served by named
//! next to it, every answer compared.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

#[path = "dns/catalogs.rs"]
mod catalogs;
#[path = "dns/dnssec.rs"]
mod dnssec;
#[path = "dns/limits.rs"]
mod limits;
#[path = "dns/resolver/mod.rs"]
mod resolver;
#[path = "dns/streams.rs"]
mod streams;
mod support;
#[path = "dns/transports.rs"]
mod transports;
#[path = "dns/views.rs"]
mod views;
#[path = "dns/xot.rs"]
mod xot;
#[path = "dns/zones.rs"]
mod zones;

use std::{
    collections::{BTreeSet, HashSet},
    fs,
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use omnid_dns::wire::{
    code::{Class, RrType},
    message::Message,
    name::Name,
    record::OwnRecord,
};
use support::{Background, Daemon, free_port, run, wait_until};

const LIMIT: Duration = Duration::from_secs(30);

/// The zones that named and omnid both serve in these tests.
const ZONES: [(&str, &str); 4] = [
    ("example.test", include_str!("dns/example.test.zone")),
    (
        "child.example.test",
        include_str!("dns/child.example.test.zone"),
    ),
    ("other.test", include_str!("dns/other.test.zone")),
    ("2.0.192.in-addr.arpa", include_str!("dns/reverse.zone")),
];

fn lay_out(directory: &Path) {
    for (name, text) in ZONES {
        fs::write(directory.join(format!("{name}.zone")), text).unwrap();
    }
    fs::write(directory.join("included"), include_str!("dns/included")).unwrap();
}

fn config(dns: u16, tls: u16, more: &str) -> String {
    let mut text = format!(
        "[tls]\nself_signed = true\n[dns]\nlisten = [\"127.0.0.1:{dns}\"]\n\
         listen_tls = [\"127.0.0.1:{tls}\"]\nsockets = 1\n{more}\n"
    );
    for (name, _) in ZONES {
        text += &format!(
            "[[dns.zone]]\nname = \"{name}\"\nfile = \"{{dir}}/{name}.zone\"\n\
             transfer = {{ to = [\"127.0.0.1\"] }}\n"
        );
    }
    text
}

struct Server {
    daemon: Daemon,
    port: u16,
    tls: u16,
}

fn start(more: &str) -> Server {
    let (port, tls) = (free_port(), free_port());
    let daemon = Daemon::start_with(&config(port, tls, more), &[], lay_out);
    Server { daemon, port, tls }
}

fn local(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

fn dig(port: u16, arguments: &[&str]) -> String {
    let port = port.to_string();
    let all = [
        &["@127.0.0.1", "-p", &port, "+norec", "+tries=1"],
        arguments,
    ]
    .concat();
    run("dig", &all, LIMIT).success().stdout
}

fn kdig(port: u16, arguments: &[&str]) -> String {
    let port = port.to_string();
    let all = [
        &["@127.0.0.1", "-p", &port, "+norec", "+retry=0"],
        arguments,
    ]
    .concat();
    run("kdig", &all, LIMIT).success().stdout
}

#[test]
fn dig_reads_every_kind_of_answer() {
    let server = start("version = \"omnid\"\nserver_id = \"one\"");
    let short = |arguments: &[&str]| dig(server.port, &[&["+short"], arguments].concat());
    assert_eq!(
        short(&["www.example.test", "A"]),
        "web.example.test.\n192.0.2.80\n"
    );
    assert_eq!(
        short(&["anything.wild.example.test", "TXT"]),
        "\"wildcard\"\n"
    );
    assert_eq!(short(&["CH", "TXT", "version.bind"]), "\"omnid\"\n");
    assert_eq!(short(&["h7.gen.example.test", "A"]), "192.0.2.7\n");
    assert_eq!(short(&["+tcp", "big.example.test", "TXT"]).len(), 3 * 203);

    let whole = dig(server.port, &["below.web.example.test", "A"]);
    assert!(whole.contains("status: NXDOMAIN"), "{whole}");
    assert!(
        whole.contains("flags: qr aa; QUERY: 1, ANSWER: 0, AUTHORITY: 1"),
        "{whole}"
    );
    assert!(whole.contains("example.test.\t\t60\tIN\tSOA"), "{whole}");
    assert!(
        whole.contains("COOKIE: ") && whole.contains("(good)"),
        "{whole}"
    );

    let whole = dig(server.port, &["a.sub.example.test", "A"]);
    assert!(
        whole.contains("flags: qr; QUERY: 1, ANSWER: 0, AUTHORITY: 2, ADDITIONAL: 4"),
        "{whole}"
    );

    let whole = dig(server.port, &["example.com", "A"]);
    assert!(whole.contains("status: REFUSED"), "{whole}");
    assert!(whole.contains("EDE: 20 (Not Authoritative)"), "{whole}");

    let whole = dig(
        server.port,
        &["+edns=1", "+noednsneg", "example.test", "SOA"],
    );
    assert!(whole.contains("status: BADVERS"), "{whole}");
    let whole = dig(server.port, &["+opcode=status", "example.test", "SOA"]);
    assert!(whole.contains("status: NOTIMP"), "{whole}");
    let whole = dig(server.port, &["+nsid", "example.test", "SOA"]);
    assert!(whole.contains("NSID: 6f 6e 65 (\"one\")"), "{whole}");
    let whole = dig(server.port, &["+header-only", "+nocookie", "+noedns"]);
    assert!(whole.contains("status: FORMERR"), "{whole}");
    let whole = dig(
        server.port,
        &["+ignore", "+noedns", "big.example.test", "TXT"],
    );
    assert!(whole.contains("flags: qr aa tc;"), "{whole}");
}

#[test]
fn kdig_over_tcp_and_tls_with_many_queries_on_one_connection() {
    let server = start("");
    let ca = server.daemon.path("data/tls/authority.pem");
    let ca = format!("+tls-ca={}", ca.display());
    let names = [
        "web.example.test",
        "mail.example.test",
        "below.web.example.test",
        "other.test",
    ];
    let plain = kdig(server.port, &[&["+tcp", "+keepopen"], &names[..]].concat());
    let tls = [
        "+tls",
        &ca,
        "+tls-hostname=localhost",
        "+keepopen",
        "+padding",
    ];
    let sealed = kdig(server.tls, &[&tls[..], &names[..]].concat());
    for output in [&plain, &sealed] {
        assert!(
            output.contains("192.0.2.80") && output.contains("192.0.2.25"),
            "{output}"
        );
        assert_eq!(output.matches("Received ").count(), 4, "{output}");
    }
    assert!(sealed.contains("TLS session (TLS1.3)"), "{sealed}");
    assert!(
        sealed.contains("The certificate is trusted") || !sealed.contains("WARNING"),
        "{sealed}"
    );
    assert!(sealed.contains("PADDING"), "{sealed}");
    let keepalive = kdig(
        server.port,
        &["+tcp", "+keepopen", "+ednsopt=11", "example.test", "SOA"],
    );
    assert!(
        keepalive.contains("11") || keepalive.contains("KEEPALIVE"),
        "{keepalive}"
    );
}

/// The control verbs, as the command line shows them.
#[test]
fn zones_are_listed_and_shown() {
    let server = start("");
    let list = server.daemon.json(&["zone", "list"]);
    let zone = list
        .as_array()
        .unwrap()
        .iter()
        .find(|zone| zone["zone"] == "example.test")
        .unwrap();
    assert_eq!(zone["serial"], 2_026_010_101_u32);
    assert_eq!(zone["kind"], "primary");
    let shown = server
        .daemon
        .omnid(&["zone", "show", "example.test"])
        .success()
        .stdout;
    // What is shown is a zone file of the same zone: named-checkzone makes the same of both.
    let copy = server.daemon.path("copy.zone");
    fs::write(&copy, shown).unwrap();
    let dump = |file: &Path| {
        let file = file.to_str().unwrap();
        let arguments = ["-D", "-k", "ignore", "-i", "none", "example.test", file];
        let directory = server.daemon.directory().to_str().unwrap();
        let command = format!("cd {directory} && named-checkzone {}", arguments.join(" "));
        let output = run("sh", &["-c", &command], LIMIT).success();
        let lines: BTreeSet<String> = output
            .stdout
            .lines()
            .map(|line| {
                line.split_whitespace()
                    .collect::<Vec<_>>()
                    .join(" ")
                    .to_lowercase()
            })
            .collect();
        lines
    };
    let (ours, theirs) = (dump(&copy), dump(&server.daemon.path("example.test.zone")));
    assert_eq!(ours, theirs);
}

fn named_config(directory: &Path, port: u16, zones: &str) -> std::path::PathBuf {
    let path = directory.join("named.conf");
    let text = format!(
        r#"
options {{
    directory "{directory}";
    listen-on port {port} {{ 127.0.0.1; }};
    listen-on-v6 {{ none; }};
    pid-file none;
    session-keyfile none;
    lock-file none;
    recursion no;
    dnssec-validation no;
    minimal-responses no-auth;
    minimal-any yes;
    answer-cookie no;
    rrset-order {{ order none; }};
    notify no;
    allow-transfer {{ any; }};
    masterfile-format text;
    check-names primary ignore;
    check-names secondary ignore;
}};
controls {{ }};
{zones}
"#,
        directory = directory.display()
    );
    fs::write(&path, text).unwrap();
    path
}

fn start_named(directory: &Path, port: u16, zones: &str) -> Background {
    let path = named_config(directory, port, zones);
    let arguments = ["-g", "-n", "1", "-c", path.to_str().unwrap()];
    let named = Background::start("named", &arguments, &directory.join("named.log"));
    wait_until("named answers", LIMIT, || {
        exchange(
            local(port),
            &question("version.bind", RrType::TXT, Class::CH, None),
        )
        .is_some()
    });
    named
}

/// A query in wire form; with an OPT record of that size if one is given.
fn question(name: &str, rr_type: RrType, class: Class, edns: Option<u16>) -> Vec<u8> {
    let mut message = vec![
        0x5a,
        0xa5,
        0,
        0,
        0,
        1,
        0,
        0,
        0,
        0,
        0,
        u8::from(edns.is_some()),
    ];
    message.extend_from_slice(Name::from_text(name).unwrap().as_ref().wire());
    message.extend_from_slice(&rr_type.0.to_be_bytes());
    message.extend_from_slice(&class.0.to_be_bytes());
    if let Some(size) = edns {
        let [high, low] = size.to_be_bytes();
        message.extend_from_slice(&[0, 0, 41, high, low, 0, 0, 0, 0, 0, 0]);
    }
    message
}

fn exchange(to: SocketAddr, message: &[u8]) -> Option<Vec<u8>> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(2)))
        .unwrap();
    socket.connect(to).unwrap();
    socket.send(message).ok()?;
    let mut buffer = vec![0; 65_535];
    let length = socket.recv(&mut buffer).ok()?;
    buffer.truncate(length);
    Some(buffer)
}

struct Stream(TcpStream);

impl Stream {
    fn connect(to: SocketAddr) -> Stream {
        let stream = TcpStream::connect(to).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        Stream(stream)
    }

    fn send(&mut self, message: &[u8]) {
        let length = (message.len() as u16).to_be_bytes();
        self.0.write_all(&[&length[..], message].concat()).unwrap();
    }

    fn receive(&mut self) -> std::io::Result<Vec<u8>> {
        let mut length = [0; 2];
        self.0.read_exact(&mut length)?;
        let mut message = vec![0; u16::from_be_bytes(length).into()];
        self.0.read_exact(&mut message)?;
        Ok(message)
    }
}

/// An answer in a form that two servers can be compared by: letter case of owners is the
/// question's or the zone's as a server likes, and sets have no order.
#[derive(Debug, PartialEq, Eq)]
struct Answer {
    rcode: String,
    authoritative: bool,
    truncated: bool,
    sections: [BTreeSet<String>; 3],
}

impl Answer {
    fn of(bytes: &[u8]) -> Answer {
        let message = Message::read(bytes).unwrap();
        let rows = |records: &[OwnRecord]| -> BTreeSet<String> {
            let plain = records
                .iter()
                .filter(|record| record.rr_type != RrType::OPT);
            plain
                .map(|record| {
                    let owner = record.owner.to_string().to_lowercase();
                    let text = record.to_string();
                    format!("{owner} {}", text.split_once(' ').unwrap().1)
                })
                .collect()
        };
        let flags = message.header.flags;
        Answer {
            rcode: message.header.rcode().to_string(),
            authoritative: flags & 0x400 != 0,
            truncated: flags & 0x200 != 0,
            sections: [
                rows(&message.answers),
                rows(&message.authorities),
                rows(&message.additionals),
            ],
        }
    }
}

/// Names to ask for: every owner of the zones, and what lies above, below and beside it.
fn names() -> Vec<String> {
    let mut names = BTreeSet::new();
    let mut add = |name: String| {
        if Name::from_text(&name).is_ok() {
            names.insert(name);
        }
    };
    for (zone, text) in ZONES {
        add(zone.to_owned());
        let owners = text
            .lines()
            .filter(|line| !line.starts_with([' ', '\t', ';', '$', '@', ')']));
        for owner in owners.filter_map(|line| line.split_whitespace().next()) {
            let name = if owner.ends_with('.') {
                owner.to_owned()
            } else {
                format!("{owner}.{zone}.")
            };
            let mut above = name.as_str();
            while let Some((_, rest)) = above.split_once('.') {
                if !rest.ends_with(&format!("{zone}.")) {
                    break;
                }
                add(rest.to_owned());
                above = rest;
            }
            add(format!("below.{name}"));
            add(format!("deep.below.{name}"));
            add(format!("*.{name}"));
            add(format!("beside{name}"));
            add(name.to_uppercase());
            add(name);
        }
    }
    for more in [
        "test",
        ".",
        "example.com",
        "h5.gen.example.test",
        "h99.gen.example.test",
    ] {
        add(more.to_owned());
    }
    names.into_iter().collect()
}

const TYPES: [RrType; 16] = [
    RrType::A,
    RrType::AAAA,
    RrType::NS,
    RrType::SOA,
    RrType::MX,
    RrType::TXT,
    RrType::CNAME,
    RrType::SRV,
    RrType::DNAME,
    RrType::DS,
    RrType::PTR,
    RrType::HTTPS,
    RrType::NAPTR,
    RrType::CAA,
    RrType::LOC,
    RrType(999),
];

/// A CNAME from one of the zones into another.
fn leaves_its_zone(record: &str) -> bool {
    let zone_of = |name: &str| {
        let name = name.trim_end_matches('.').to_lowercase();
        let within = |zone: &&str| name == **zone || name.ends_with(&format!(".{zone}"));
        ZONES
            .iter()
            .map(|(zone, _)| *zone)
            .filter(within)
            .max_by_key(|zone| zone.len())
    };
    match record.split(' ').collect::<Vec<_>>().as_slice() {
        [owner, _, _, "CNAME", target] => zone_of(owner) != zone_of(target),
        _ => false,
    }
}

/// Where this server answers otherwise than BIND, and why.
fn is_documented(rr_type: RrType, ours: &Answer, theirs: &Answer) -> bool {
    let same_head = ours.rcode == theirs.rcode && ours.authoritative == theirs.authoritative;
    let [our_answers, our_authority, our_additional] = &ours.sections;
    let [their_answers, their_authority, their_additional] = &theirs.sections;
    // RFC 2181 9: of a set that does not fit BIND sends a part; here it is left out.
    if ours.authoritative == theirs.authoritative && ours.truncated && theirs.truncated {
        return true;
    }
    // A chain into another zone of this server is followed (RFC 1034 4.3.2); BIND stops at the end
    // of the zone, and so has neither answer nor denial for the name it leads to.
    let stopped = theirs.rcode == "NOERROR"
        && their_answers.is_subset(our_answers)
        && their_authority.is_empty()
        && their_answers.iter().any(|record| leaves_its_zone(record));
    if stopped && (our_answers != their_answers || !our_authority.is_empty()) {
        return true;
    }
    // A chain past the bound: BIND calls it a failure; here the client gets what there is of it,
    // and asks for the rest.
    let length = our_answers
        .iter()
        .filter(|record| record.contains(" CNAME "))
        .count();
    if length >= 10 && theirs.rcode == "SERVFAIL" && ours.authoritative == theirs.authoritative {
        return true;
    }
    if !same_head || our_answers != their_answers {
        return false;
    }
    // BIND's zero-no-soa-ttl: a denied SOA has TTL 0; RFC 2308 3 knows no such case.
    if rr_type == RrType::SOA && our_authority != their_authority {
        let zero = |set: &BTreeSet<String>| -> BTreeSet<String> {
            let without = |record: &String| {
                let (owner, rest) = record.split_once(' ').unwrap();
                format!("{owner} 0 {}", rest.split_once(' ').unwrap().1)
            };
            set.iter().map(without).collect()
        };
        return zero(our_authority) == *their_authority;
    }
    if our_authority != their_authority {
        return false;
    }
    // RFC 1034 4.3.2 3b puts whatever addresses are known of a delegation's servers into the
    // additional section; BIND only those that are glue.
    let referral = !ours.authoritative || our_answers.iter().all(|r| r.contains(" CNAME "));
    if referral && their_additional.is_subset(our_additional) {
        return true;
    }
    // What a NAPTR points to is not added here, and need not be (RFC 3403 4.1).
    rr_type == RrType::NAPTR && our_additional.is_empty()
}

/// Asks both servers everything, and fails the test where they disagree.
fn compare(ours: u16, theirs: u16, questions: impl Iterator<Item = (String, RrType)>) -> usize {
    let (mut compared, mut differences) = (0, Vec::new());
    let mut ask = Asker::new([ours, theirs]);
    for (name, rr_type) in questions {
        for edns in [None, Some(1232)] {
            let message = question(&name, rr_type, Class::IN, edns);
            let [ours, theirs] = ask.both(&message);
            compared += 1;
            if ours != theirs && !is_documented(rr_type, &ours, &theirs) {
                differences.push(format!(
                    "{name} {rr_type} {edns:?}\n ours {ours:?}\n bind {theirs:?}"
                ));
            }
        }
    }
    println!("{compared} answers compared");
    assert!(
        differences.is_empty(),
        "{} of {compared} differ:\n{}",
        differences.len(),
        differences
            .iter()
            .take(20)
            .cloned()
            .collect::<Vec<_>>()
            .join("\n")
    );
    compared
}

/// Two servers asked over one socket each.
struct Asker([UdpSocket; 2]);

impl Asker {
    fn new(ports: [u16; 2]) -> Asker {
        Asker(ports.map(|port| {
            let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            let limit = Duration::from_secs(5);
            socket.set_read_timeout(Some(limit)).unwrap();
            socket.connect(local(port)).unwrap();
            socket
        }))
    }

    fn both(&mut self, message: &[u8]) -> [Answer; 2] {
        // Both work at the same time.
        for socket in &self.0 {
            socket.send(message).unwrap();
        }
        self.0.each_ref().map(|socket| {
            let mut buffer = [0; 4096];
            let length = socket.recv(&mut buffer).expect("an answer");
            Answer::of(&buffer[..length])
        })
    }
}

fn primaries<'a>(directory: &Path, names: impl Iterator<Item = &'a str>) -> String {
    names
        .map(|name| {
            let file = directory.join(format!("{name}.zone"));
            format!(
                "zone \"{name}\" {{ type primary; file \"{}\"; }};\n",
                file.display()
            )
        })
        .collect()
}

#[test]
fn every_answer_is_the_one_bind_gives() {
    let server = start("");
    let bind_port = free_port();
    let directory = server.daemon.directory();
    let zones = primaries(directory, ZONES.iter().map(|(name, _)| *name));
    let _named = start_named(directory, bind_port, &zones);
    let names = names();
    let questions = names
        .iter()
        .flat_map(|name| TYPES.map(|rr_type| (name.clone(), rr_type)));
    assert!(compare(server.port, bind_port, questions) > 10_000);
}

/// Numbers that look random and are the same each time.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 20) as usize % sides
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.roll(from.len())]
    }
}

/// A zone of a few names that lie close together, with everything that changes how names are
/// found: wildcards, delegations, aliases of both kinds, empty non-terminals, glue.
fn made_up_zone(dice: &mut Dice) -> String {
    let mut text =
        "$TTL 300\n@ SOA ns hm 1 3600 600 86400 60\n@ NS ns\nns A 192.0.2.1\n".to_owned();
    let mut owners = BTreeSet::new();
    for _ in 0..6 + dice.roll(14) {
        let labels: Vec<&str> = (0..1 + dice.roll(3)).map(|_| dice.pick(&LABELS)).collect();
        owners.insert(labels.join("."));
    }
    for owner in owners {
        let target = match dice.roll(6) {
            0 => "far.invalid.".to_owned(),
            1 => "@".to_owned(),
            _ => {
                let labels: Vec<&str> = (0..1 + dice.roll(3))
                    .map(|_| dice.pick(&["a", "b", "c", "d"]))
                    .collect();
                labels.join(".")
            }
        };
        match dice.roll(10) {
            0 | 1 => text += &format!("{owner} CNAME {target}\n"),
            2 | 3 if !owner.starts_with('*') => text += &format!("{owner} NS {target}\n"),
            4 => text += &format!("{owner} DNAME {target}\n"),
            5 => text += &format!("{owner} MX 5 {target}\n"),
            6 => text += &format!("{owner} DNAME {target}\n{owner} A 192.0.2.7\n"),
            7 => text += &format!("{owner} TXT \"{owner}\"\n"),
            _ => text += &format!("{owner} A 192.0.2.8\n{owner} TXT \"both\"\n"),
        }
    }
    text
}

const LABELS: [&str; 6] = ["a", "b", "c", "d", "*", "a"];

#[test]
fn made_up_zones_are_answered_as_by_bind() {
    let (port, bind_port) = (free_port(), free_port());
    let names: Vec<String> = (0..40).map(|index| format!("z{index}.test")).collect();
    let mut config = format!("[dns]\nlisten = [\"127.0.0.1:{port}\"]\nsockets = 1\n");
    for name in &names {
        config += &format!("[[dns.zone]]\nname = \"{name}\"\nfile = \"{{dir}}/{name}.zone\"\n");
    }
    let daemon = Daemon::start_with(&config, &[], |directory| {
        let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
        for name in &names {
            fs::write(
                directory.join(format!("{name}.zone")),
                made_up_zone(&mut dice),
            )
            .unwrap();
        }
    });
    let zones = primaries(daemon.directory(), names.iter().map(String::as_str));
    let _named = start_named(daemon.directory(), bind_port, &zones);
    let labels = ["a", "b", "c", "d", "*", "x"];
    let mut below = vec![String::new()];
    for first in labels {
        below.push(format!("{first}."));
        for second in labels {
            below.push(format!("{second}.{first}."));
            below.extend(["a", "*", "x"].map(|third| format!("{third}.{second}.{first}.")));
        }
    }
    let types = [
        RrType::A,
        RrType::TXT,
        RrType::MX,
        RrType::NS,
        RrType::CNAME,
        RrType::DS,
    ];
    let questions = names.iter().flat_map(|zone| {
        let names = below.iter().map(move |below| format!("{below}{zone}"));
        names.flat_map(|name| types.map(|rr_type| (name.clone(), rr_type)))
    });
    assert!(compare(port, bind_port, questions) > 50_000);
}

/// The zone at a server, by AXFR, in a form to compare.
fn transferred(port: u16, zone: &str) -> Vec<String> {
    let text = dig(
        port,
        &["+onesoa", "+nocomments", "+nocmd", "+nostats", zone, "AXFR"],
    );
    let mut lines: Vec<String> = text
        .lines()
        .map(|line| {
            line.split_whitespace()
                .collect::<Vec<_>>()
                .join(" ")
                .to_lowercase()
        })
        .filter(|line| !line.is_empty())
        .collect();
    lines.sort();
    lines
}

#[test]
fn named_follows_as_a_secondary() {
    let bind_port = free_port();
    let (port, tls) = (free_port(), free_port());
    let zone = |records: usize, serial: u32| {
        let mut text =
            format!("$TTL 300\n@ SOA ns hm {serial} 3600 600 86400 60\n@ NS ns\nns A 192.0.2.1\n");
        for index in 0..records {
            text += &format!(
                "host{index} A 192.0.2.{}\n  TXT \"some text for {index}\"\n",
                index % 256
            );
        }
        text
    };
    let config = format!(
        "[dns]\nlisten = [\"127.0.0.1:{port}\"]\n[[dns.zone]]\nname = \"large.test\"\n\
         file = \"{{dir}}/large.zone\"\nnotify = [\"127.0.0.1:{bind_port}\"]\n\
         transfer = {{ to = [\"127.0.0.1\"] }}\n"
    );
    let _ = tls;
    let daemon = Daemon::start_with(&config, &[], |directory| {
        fs::write(directory.join("large.zone"), zone(20_000, 1)).unwrap();
    });
    let directory = tempfile::tempdir().unwrap();
    let zones = format!(
        "zone \"large.test\" {{ type secondary; file \"large.test.zone\"; \
         primaries {{ 127.0.0.1 port {port}; }}; allow-notify {{ 127.0.0.1; }}; }};"
    );
    let _named = start_named(directory.path(), bind_port, &zones);
    let serial = || dig(bind_port, &["+short", "large.test", "SOA"]);
    wait_until("named has the zone", LIMIT, || {
        serial().contains(" 1 3600 ")
    });
    let ours = transferred(port, "large.test");
    assert_eq!(ours.len(), 40_003);
    assert_eq!(ours, transferred(bind_port, "large.test"));

    // A change is told, and taken at once: the refresh time is an hour.
    fs::write(daemon.path("large.zone"), zone(20_001, 2)).unwrap();
    daemon.omnid(&["reload"]).success();
    wait_until("named has heard", LIMIT, || serial().contains(" 2 3600 "));
    assert_eq!(
        transferred(port, "large.test"),
        transferred(bind_port, "large.test")
    );
    wait_until("the log says so", LIMIT, || {
        daemon.log().contains("secondary heard of the change")
    });
}

#[test]
fn transfers_only_to_those_named() {
    let port = free_port();
    let config = format!(
        "[dns]\nlisten = [\"127.0.0.1:{port}\"]\n[[dns.zone]]\nname = \"other.test\"\n\
         file = \"{{dir}}/other.test.zone\"\ntransfer = {{ to = [\"127.0.0.2\"] }}\n"
    );
    let _daemon = Daemon::start_with(&config, &[], lay_out);
    let refused = dig(port, &["other.test", "AXFR"]);
    assert!(refused.contains("Transfer failed"), "{refused}");
    let allowed = dig(port, &["-b", "127.0.0.2", "+short", "other.test", "AXFR"]);
    assert!(allowed.lines().count() > 3, "{allowed}");
}

#[test]
fn queries_on_one_connection_overlap() {
    let server = start("");
    let mut stream = Stream::connect(local(server.port));
    // A transfer, and behind it small questions, all in one write.
    let axfr = question("example.test", RrType::AXFR, Class::IN, None);
    let mut bytes = Vec::new();
    let mut push = |message: &[u8]| {
        bytes.extend_from_slice(&(message.len() as u16).to_be_bytes());
        bytes.extend_from_slice(message);
    };
    push(&axfr);
    for id in 0..200u16 {
        let mut message = question("web.example.test", RrType::A, Class::IN, Some(1232));
        message[..2].copy_from_slice(&id.to_be_bytes());
        push(&message);
    }
    // Split where it hurts: in the midst of a length.
    let (head, tail) = bytes.split_at(axfr.len() + 3);
    stream.0.write_all(head).unwrap();
    thread::sleep(Duration::from_millis(50));
    stream.0.write_all(tail).unwrap();
    let (mut ids, mut soas) = (HashSet::new(), 0);
    while ids.len() < 200 || soas < 2 {
        let message = Message::read(&stream.receive().unwrap()).unwrap();
        if message.header.id == 0x5aa5 {
            soas += message
                .answers
                .iter()
                .filter(|record| record.rr_type == RrType::SOA)
                .count();
        } else {
            assert!(ids.insert(message.header.id));
        }
    }
    // Half-closed: what was asked is answered all the same.
    stream.send(&question("web.example.test", RrType::A, Class::IN, None));
    stream.0.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(
        Message::read(&stream.receive().unwrap())
            .unwrap()
            .answers
            .len(),
        1
    );
    assert!(stream.receive().is_err());
}

#[test]
fn garbage_and_slow_clients_keep_nobody_waiting() {
    let server = start("idle_timeout = \"1s\"");
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let mut seed = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed
    };
    let good = question("web.example.test", RrType::A, Class::IN, Some(1232));
    for _ in 0..20_000 {
        let mut message = good.clone();
        for _ in 0..next() % 6 {
            let at = next() as usize % message.len();
            message[at] = next() as u8;
        }
        message.truncate(next() as usize % (message.len() + 40));
        // A send may fail where an ICMP error of the one before is told.
        let _told = socket.send_to(&message, local(server.port));
    }
    // Octet by octet is idle, and ends.
    let mut slow = Stream::connect(local(server.port));
    let since = Instant::now();
    let end = loop {
        if slow.0.write_all(&[0]).is_err() {
            break since.elapsed();
        }
        thread::sleep(Duration::from_millis(100));
        assert!(since.elapsed() < Duration::from_secs(20), "never closed");
        slow.0.set_nonblocking(true).unwrap();
        let mut byte = [0];
        if matches!(slow.0.read(&mut byte), Ok(0)) {
            break since.elapsed();
        }
        slow.0.set_nonblocking(false).unwrap();
    };
    assert!(end < Duration::from_secs(20));
    // Plain text on the TLS port, and TLS on the plain one.
    let mut plain = Stream::connect(local(server.tls));
    plain.send(&good);
    assert!(plain.receive().is_err() || plain.receive().is_err());
    let tls = kdig_fails(server.port, &["+tls", "web.example.test", "A"]);
    assert!(!tls.contains("192.0.2.80"));
    assert_eq!(
        dig(server.port, &["+short", "web.example.test", "A"]),
        "192.0.2.80\n"
    );
    assert!(server.daemon.resident_kib() < 300_000);
}

fn kdig_fails(port: u16, arguments: &[&str]) -> String {
    let port = port.to_string();
    let all = [
        &["@127.0.0.1", "-p", &port, "+retry=0", "+timeout=2"],
        arguments,
    ]
    .concat();
    run("kdig", &all, LIMIT).stdout
}

#[test]
fn faults_of_zone_files_are_told_and_change_nothing() {
    let server = start("");
    let file = server.daemon.path("example.test.zone");
    let broken = fs::read_to_string(&file).unwrap() + "\nbad A 192.0.2.256\n$INCLUDE included2\n";
    let lines = broken.lines().count();
    fs::write(&file, broken).unwrap();
    fs::write(server.daemon.path("included2"), "x CNAME y z\n").unwrap();
    let output = server.daemon.omnid(&["check"]).failure();
    let said = output.stdout + &output.stderr;
    let path = file.display();
    assert!(
        said.contains(&format!(
            "{path}:{}:7: `192.0.2.256` is not an IPv4 address",
            lines - 1
        )),
        "{said}"
    );
    assert!(said.contains("included2:1:11: extra text `z`"), "{said}");
    assert!(
        said.contains(&format!("included from {path}:{lines}:1")),
        "{said}"
    );
    server.daemon.omnid(&["reload"]).failure();
    assert_eq!(
        dig(server.port, &["+short", "web.example.test", "A"]),
        "192.0.2.80\n"
    );
}

/// Sends a question again and again and counts what stays unanswered.
struct Asking {
    stop: Arc<AtomicBool>,
    thread: thread::JoinHandle<(u64, u64)>,
}

impl Asking {
    fn start(port: u16, name: &'static str) -> Asking {
        let stop = Arc::new(AtomicBool::new(false));
        let told = stop.clone();
        let thread = thread::spawn(move || {
            let message = question(name, RrType::A, Class::IN, Some(1232));
            let (mut asked, mut lost) = (0, 0);
            while !told.load(Ordering::Relaxed) {
                asked += 1;
                let good = exchange(local(port), &message)
                    .and_then(|bytes| Message::read(&bytes).ok())
                    .is_some_and(|message| !message.answers.is_empty());
                lost += u64::from(!good);
            }
            (asked, lost)
        });
        Asking { stop, thread }
    }

    fn stop(self) -> (u64, u64) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

#[test]
fn reloads_lose_no_query_and_change_what_changed() {
    let server = start("");
    let asking: Vec<Asking> = (0..3)
        .map(|_| Asking::start(server.port, "web.example.test"))
        .collect();
    let file = server.daemon.path("other.test.zone");
    let text = fs::read_to_string(&file).unwrap();
    for serial in 2..12 {
        let text = text.replace("root 1 1d", &format!("root {serial} 1d"))
            + &format!("new{serial} A 192.0.2.{serial}\n");
        fs::write(&file, text).unwrap();
        let plan = server.daemon.json(&["reload", "--dry-run"]);
        let plan = plan["services"].as_array().unwrap();
        assert_eq!(plan.len(), 1, "{plan:?}");
        assert_eq!(plan[0]["what"], "zone other.test");
        assert_eq!(plan[0]["how"], "changed live");
        server.daemon.omnid(&["reload"]).success();
        let name = format!("new{serial}.other.test");
        let answer = dig(server.port, &["+short", &name, "A"]);
        assert_eq!(answer, format!("192.0.2.{serial}\n"));
    }
    // Another zone, another listener, more sockets; then no such zone and listener.
    let second = free_port();
    let before = config(server.port, server.tls, "");
    let more = before.replace("sockets = 1", "sockets = 3");
    let both = more.replace(
        &format!("listen = [\"127.0.0.1:{}\"]", server.port),
        &format!(
            "listen = [\"127.0.0.1:{}\", \"127.0.0.1:{second}\"]",
            server.port
        ),
    ) + "[[dns.zone]]\nname = \"more.test\"\nfile = \"{dir}/other.test.zone\"\n";
    server.daemon.write_config(&both);
    server.daemon.omnid(&["reload"]).success();
    wait_until("the new listener answers", LIMIT, || {
        let message = question("target.more.test", RrType::A, Class::IN, None);
        exchange(local(second), &message).is_some()
    });
    server.daemon.write_config(&more);
    server.daemon.omnid(&["reload"]).success();
    assert!(dig(server.port, &["target.more.test", "A"]).contains("REFUSED"));
    for asking in asking {
        let (asked, lost) = asking.stop();
        println!("{asked} asked, {lost} lost");
        assert!(asked > 100);
        assert_eq!(lost, 0, "of {asked}");
    }
    // Fewer sockets: those left get all the queries.
    server.daemon.write_config(&before);
    server.daemon.omnid(&["reload"]).success();
    let asking = Asking::start(server.port, "web.example.test");
    thread::sleep(Duration::from_millis(300));
    let (asked, lost) = asking.stop();
    assert!(asked > 20 && lost == 0, "{lost} of {asked} lost");
}

#[test]
fn scripts_answer_in_the_zones_place() {
    let (port, tls) = (free_port(), free_port());
    let script = r#"
omnid.hook("dns.query", function(q)
  if q.name == "time.example.test." then
    return { answer = { { ttl = 5, type = "TXT", data = '"it is late"' } } }
  elseif q.name == "secret.example.test." then
    return { rcode = "REFUSED" }
  elseif q.name == "broken.example.test." then
    return { answer = { { type = "A", data = "not an address" } } }
  end
end)
"#;
    let config = config(port, tls, "") + "[script]\nfiles = [\"{dir}/hook.lua\"]\n";
    let daemon = Daemon::start_with(&config, &[], |directory| {
        lay_out(directory);
        fs::write(directory.join("hook.lua"), script).unwrap();
    });
    for transport in ["+notcp", "+tcp"] {
        let short = |name: &str, kind: &str| dig(port, &["+short", transport, name, kind]);
        assert_eq!(short("time.example.test", "TXT"), "\"it is late\"\n");
        assert_eq!(short("web.example.test", "A"), "192.0.2.80\n");
        let refused = dig(port, &[transport, "secret.example.test", "A"]);
        assert!(refused.contains("status: REFUSED"), "{refused}");
        let failed = dig(port, &[transport, "broken.example.test", "A"]);
        assert!(failed.contains("status: SERVFAIL"), "{failed}");
    }
    let log = daemon.log();
    assert!(
        log.contains("script's decision on dns.query is no answer"),
        "{log}"
    );
}

#[test]
fn what_services_publish_is_in_the_zone_and_its_serial_grows() {
    let (port, tls, xmpp, bind_port) = (free_port(), free_port(), free_port(), free_port());
    let base = config(port, tls, "").replace(
        "name = \"other.test\"",
        &format!("name = \"other.test\"\nnotify = [\"127.0.0.1:{bind_port}\"]"),
    ) + "[[domain]]\nname = \"other.test\"\n";
    let chat = format!(
        "[xmpp]\nhosts = [\"other.test\"]\nlisten = [\"127.0.0.1:{xmpp}\"]\n\
                        listen_tls = []\n"
    );
    let daemon = Daemon::start_with(&(base.clone() + &chat), &[], lay_out);
    let published = |port: u16| dig(port, &["+short", "_xmpp-client._tcp.other.test", "SRV"]);
    wait_until("chat is published", LIMIT, || {
        published(port).contains(&format!(" {xmpp} "))
    });
    let serial = |port: u16| -> u32 {
        let soa = dig(port, &["+short", "other.test", "SOA"]);
        soa.split_whitespace()
            .nth(2)
            .and_then(|serial| serial.parse().ok())
            .unwrap_or(0)
    };
    let first = serial(port);
    assert!(first > 1, "{first}");

    let directory = tempfile::tempdir().unwrap();
    let zones = format!(
        "zone \"other.test\" {{ type secondary; file \"copy.zone\"; \
         primaries {{ 127.0.0.1 port {port}; }}; allow-notify {{ 127.0.0.1; }}; }};"
    );
    let _named = start_named(directory.path(), bind_port, &zones);
    wait_until("named has it", LIMIT, || {
        published(bind_port).contains(&format!(" {xmpp} "))
    });

    // Off the air: the record goes, and the secondary hears of it.
    daemon.write_config(&base);
    daemon.omnid(&["reload"]).success();
    wait_until("chat is withdrawn", LIMIT, || published(port).is_empty());
    wait_until("named has heard", LIMIT, || published(bind_port).is_empty());
    let second = serial(port);
    assert!(second > first, "{second} after {first}");

    // A restart with the same content gives the same serial, and one with other content the next.
    let daemon = daemon.kill_and_start();
    wait_until("it answers", LIMIT, || {
        exchange(
            local(port),
            &question("other.test", RrType::SOA, Class::IN, None),
        )
        .is_some()
    });
    assert_eq!(serial(port), second);
    daemon.write_config(&(base.clone() + &chat));
    daemon.omnid(&["reload"]).success();
    wait_until("chat is back", LIMIT, || {
        published(port).contains(&format!(" {xmpp} "))
    });
    wait_until("named has it again", LIMIT, || {
        published(bind_port).contains(&format!(" {xmpp} "))
    });
    assert!(serial(port) > second);
}

#[test]
fn expectations_are_tested_without_a_socket() {
    let more = "[[test]]\ndns = \"www.example.test\"\nanswer = [\"192.0.2.80\"]\n\
                [[test]]\ndns = \"below.web.example.test\"\ntype = \"MX\"\nrcode = \"NXDOMAIN\"\n";
    let (port, tls) = (free_port(), free_port());
    let daemon = Daemon::start_with(&(config(port, tls, "") + more), &[], lay_out);
    let output = daemon.omnid(&["test"]).success().stdout;
    assert!(output.contains("2 passed, 0 failed"), "{output}");
    daemon.write_config(&(config(port, tls, "") + &more.replace("192.0.2.80", "192.0.2.81")));
    let output = daemon.omnid(&["test"]).failure().stdout;
    assert!(output.contains("1 passed, 1 failed"), "{output}");
}

#[test]
fn queries_are_counted_and_logged() {
    let (port, tls, admin) = (free_port(), free_port(), free_port());
    let text = config(port, tls, "")
        + &format!(
            "[log]\ntargets = {{ \"dns::query\" = \"debug\" }}\n\
             [server]\nhostname = \"localhost\"\ndata_dir = \"{{dir}}/data\"\n\
             [admin]\nsocket = \"{{dir}}/omnid.sock\"\nlisten = [\"127.0.0.1:{admin}\"]\n"
        );
    let daemon = Daemon::start_with(&text, &[], lay_out);
    for _ in 0..5 {
        dig(port, &["web.example.test", "A"]);
    }
    dig(port, &["+tcp", "below.web.example.test", "TXT"]);
    kdig(tls, &["+tls", "example.test", "MX"]);
    let metrics = || {
        let url = format!("http://127.0.0.1:{admin}/metrics");
        run("curl", &["-s", &url], LIMIT).success().stdout
    };
    wait_until("all is counted", LIMIT, || {
        let metrics = metrics();
        [
            "omnid_dns_queries_total{transport=\"udp\"} 5",
            "omnid_dns_queries_total{transport=\"tcp\"} 1",
            "omnid_dns_queries_total{transport=\"tls\"} 1",
            "omnid_dns_queries_by_type_total{type=\"MX\"} 1",
            "omnid_dns_responses_total{rcode=\"NXDOMAIN\"} 1",
            "omnid_dns_response_seconds_count{transport=\"tls\"} 1",
        ]
        .iter()
        .all(|line| metrics.lines().any(|counted| counted == *line))
    });
    let log = daemon.log();
    let line = log
        .lines()
        .find(|line| line.contains("below.web.example.test."))
        .unwrap();
    assert!(
        line.contains("type=TXT") && line.contains("rcode=NXDOMAIN"),
        "{line}"
    );
}
