//! A signed tree: a root and a top level signed by dnssec-signzone, zones signed by ldns-signzone
//! with each algorithm and both kinds of denial, and zones broken in every way that comes to mind.

use std::{fmt::Write, fs, path::Path};

use super::super::support::{free_port, run};
use super::world::{KNOT, LIMIT, ROOT, TOP, World, Zone, delegate, zone};

const HEAD: &str = "@ 3600 IN SOA ns. hostmaster. 1 3600 600 86400 60\n";

/// What is done to a zone once it is signed, and which verdict its data is to get.
pub struct Variant {
    pub name: &'static str,
    algorithm: &'static str,
    /// More for ldns-signzone.
    arguments: &'static [&'static str],
    /// Changes the lines of the signed zone.
    change: fn(Vec<String>) -> Vec<String>,
    /// Changes the DS records at the parent.
    ds: fn(String) -> String,
    /// Verdicts on an address, a missing name, a missing type and a wildcard.
    pub expected: [&'static str; 4],
}

const P256: &str = "ECDSAP256SHA256";
const SECURE: [&str; 4] = ["secure"; 4];
const INSECURE: [&str; 4] = ["insecure"; 4];
const BOGUS: [&str; 4] = ["bogus"; 4];

fn same(lines: Vec<String>) -> Vec<String> {
    lines
}

fn keep(ds: String) -> String {
    ds
}

fn is_signature(line: &str, rr_type: &str) -> bool {
    line.contains(&format!("\tRRSIG\t{rr_type} "))
}

fn without(lines: Vec<String>, gone: impl Fn(&str) -> bool) -> Vec<String> {
    lines.into_iter().filter(|line| !gone(line)).collect()
}

/// Changes the n-th word of what stands behind a mark.
fn reword(line: &str, mark: &str, index: usize, change: impl Fn(&str) -> String) -> String {
    let Some((head, tail)) = line.split_once(mark) else {
        return line.to_owned();
    };
    let words: Vec<String> = tail
        .split(' ')
        .enumerate()
        .map(|(at, word)| {
            if at == index {
                change(word)
            } else {
                word.to_owned()
            }
        })
        .collect();
    format!("{head}{mark}{}", words.join(" "))
}

fn each(lines: &[String], change: impl Fn(&str) -> String) -> Vec<String> {
    lines.iter().map(|line| change(line)).collect()
}

/// Another digit in the middle.
fn spoil(text: &str) -> String {
    let (head, tail) = text.split_at(text.len() / 2);
    let other = if tail.starts_with('A') { 'B' } else { 'A' };
    format!("{head}{other}{}", &tail[1..])
}

pub const VARIANTS: &[Variant] = &[
    variant("rsa256", "RSASHA256", &[], same, keep, SECURE),
    variant("rsa512", "RSASHA512", &["-n"], same, keep, SECURE),
    variant("p256", P256, &[], same, keep, SECURE),
    variant(
        "p384",
        "ECDSAP384SHA384",
        &["-n", "-t", "5", "-s", "beef"],
        same,
        keep,
        SECURE,
    ),
    variant("ed25519", "ED25519", &["-n"], same, keep, SECURE),
    // No DS: an island.
    variant("island", P256, &[], same, |_| String::new(), INSECURE),
    variant(
        "expired",
        P256,
        &["-i", "20200101", "-e", "20200201"],
        same,
        keep,
        BOGUS,
    ),
    variant(
        "early",
        P256,
        &["-i", "20380101", "-e", "20380115"],
        same,
        keep,
        BOGUS,
    ),
    variant(
        "unsigned",
        P256,
        &[],
        |lines| {
            without(lines, |line| {
                ["\tRRSIG\t", "\tNSEC\t", "\tDNSKEY\t"]
                    .iter()
                    .any(|kind| line.contains(kind))
            })
        },
        keep,
        BOGUS,
    ),
    variant(
        "nosigs",
        P256,
        &[],
        |lines| without(lines, |line| line.contains("\tRRSIG\t")),
        keep,
        BOGUS,
    ),
    variant(
        "nokeys",
        P256,
        &[],
        |lines| {
            without(lines, |line| {
                line.contains("\tDNSKEY\t") || is_signature(line, "DNSKEY")
            })
        },
        keep,
        BOGUS,
    ),
    variant(
        "nokeysig",
        P256,
        &[],
        |lines| without(lines, |line| is_signature(line, "DNSKEY")),
        keep,
        BOGUS,
    ),
    variant(
        "wrongds",
        P256,
        &[],
        same,
        |ds| reword(&ds, "\tDS\t", 3, |digest| digest.chars().rev().collect()),
        BOGUS,
    ),
    // One of two is enough.
    variant(
        "twods",
        P256,
        &[],
        same,
        |ds| {
            format!(
                "{}\n{ds}",
                reword(&ds, "\tDS\t", 3, |digest| digest.chars().rev().collect())
            )
        },
        SECURE,
    ),
    variant(
        "oddalgorithm",
        P256,
        &[],
        same,
        |ds| reword(&ds, "\tDS\t", 1, |_| "200".into()),
        INSECURE,
    ),
    variant(
        "odddigest",
        P256,
        &[],
        same,
        |ds| reword(&ds, "\tDS\t", 2, |_| "200".into()),
        INSECURE,
    ),
    variant(
        "changed",
        P256,
        &[],
        |lines| each(&lines, |line| line.replace("192.0.2.1", "192.0.2.66")),
        keep,
        ["bogus", "secure", "secure", "secure"],
    ),
    variant(
        "spoiled",
        P256,
        &[],
        |lines| {
            each(&lines, |line| {
                if is_signature(line, "A") {
                    reword(line, "\tRRSIG\t", 8, spoil)
                } else {
                    line.to_owned()
                }
            })
        },
        keep,
        ["bogus", "secure", "secure", "bogus"],
    ),
    variant(
        "partly",
        P256,
        &[],
        |lines| without(lines, |line| is_signature(line, "A")),
        keep,
        ["bogus", "secure", "secure", "bogus"],
    ),
    variant(
        "signer",
        P256,
        &[],
        |lines| {
            each(&lines, |line| {
                if is_signature(line, "A") {
                    reword(line, "\tRRSIG\t", 7, |_| "test.".into())
                } else {
                    line.to_owned()
                }
            })
        },
        keep,
        ["bogus", "secure", "secure", "bogus"],
    ),
    variant(
        "keytag",
        P256,
        &[],
        |lines| {
            each(&lines, |line| {
                if is_signature(line, "A") {
                    reword(line, "\tRRSIG\t", 6, |_| "1".into())
                } else {
                    line.to_owned()
                }
            })
        },
        keep,
        ["bogus", "secure", "secure", "bogus"],
    ),
    variant(
        "labels",
        P256,
        &[],
        |lines| {
            each(&lines, |line| {
                if is_signature(line, "A") {
                    reword(line, "\tRRSIG\t", 2, |_| "2".into())
                } else {
                    line.to_owned()
                }
            })
        },
        keep,
        ["bogus", "secure", "secure", "bogus"],
    ),
    variant(
        "ttl",
        P256,
        &[],
        |lines| {
            each(&lines, |line| {
                if is_signature(line, "A") {
                    reword(line, "\tRRSIG\t", 3, |_| "301".into())
                } else {
                    line.to_owned()
                }
            })
        },
        keep,
        ["bogus", "secure", "secure", "bogus"],
    ),
    variant(
        "notzonekey",
        P256,
        &[],
        |lines| {
            each(&lines, |line| {
                line.replace("\tDNSKEY\t257 ", "\tDNSKEY\t1 ")
            })
        },
        keep,
        BOGUS,
    ),
    variant(
        "nonsec",
        P256,
        &[],
        |lines| {
            without(lines, |line| {
                line.contains("\tNSEC\t") || is_signature(line, "NSEC")
            })
        },
        keep,
        ["secure", "bogus", "bogus", "bogus"],
    ),
    variant(
        "nonsecsig",
        P256,
        &[],
        |lines| without(lines, |line| is_signature(line, "NSEC")),
        keep,
        ["secure", "bogus", "bogus", "bogus"],
    ),
    variant(
        "nonsec3sig",
        P256,
        &["-n"],
        |lines| without(lines, |line| is_signature(line, "NSEC3")),
        keep,
        ["secure", "bogus", "bogus", "bogus"],
    ),
    variant(
        "costly",
        P256,
        &["-n", "-t", "200"],
        same,
        keep,
        ["secure", "insecure", "insecure", "insecure"],
    ),
    // Two labels that the wildcard does not stand for: what the proof says is another name's.
    variant(
        "optout",
        P256,
        &["-n", "-p"],
        same,
        keep,
        ["secure", "insecure", "secure", "insecure"],
    ),
];

const fn variant(
    name: &'static str,
    algorithm: &'static str,
    arguments: &'static [&'static str],
    change: fn(Vec<String>) -> Vec<String>,
    ds: fn(String) -> String,
    expected: [&'static str; 4],
) -> Variant {
    Variant {
        name,
        algorithm,
        arguments,
        change,
        ds,
        expected,
    }
}

fn tool(directory: &Path, program: &str, arguments: &[&str]) -> String {
    let command = format!(
        "cd {} && exec {program} {}",
        directory.display(),
        arguments.join(" ")
    );
    run("sh", &["-c", &command], LIMIT).success().stdout
}

/// Makes a key; gives the base name of its files.
fn key(directory: &Path, zone: &str, algorithm: &str) -> String {
    let bits = if algorithm.starts_with("RSA") {
        &["-b", "1024"][..]
    } else {
        &[]
    };
    let arguments = [
        &["-k", "-a", algorithm, "-r", "/dev/urandom"][..],
        bits,
        &[zone],
    ]
    .concat();
    tool(directory, "ldns-keygen", &arguments).trim().to_owned()
}

fn ds(directory: &Path, key: &str) -> String {
    let shown = tool(
        directory,
        "ldns-key2ds",
        &["-n", "-2", &format!("{key}.key")],
    );
    shown.trim().to_owned()
}

/// Signs with dnssec-signzone and one key for everything.
fn sign(directory: &Path, zone: &str, text: &str, more: &[&str]) -> (String, String) {
    let made = tool(
        directory,
        "dnssec-keygen",
        &["-q", "-a", "13", "-f", "KSK", zone],
    );
    let key = made.trim();
    fs::write(directory.join("plain"), text).unwrap();
    let arguments = [
        "-S", "-z", "-K", ".", "-O", "full", "-o", zone, "-f", "signed",
    ];
    tool(
        directory,
        "dnssec-signzone",
        &[&arguments[..], more, &["plain", ">/dev/null", "2>&1"]].concat(),
    );
    let signed = fs::read_to_string(directory.join("signed")).unwrap();
    (signed, ds(directory, key))
}

/// Builds and serves the tree.
pub fn world() -> World {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let mut zones: Vec<Zone> = Vec::new();
    let mut top = String::from(HEAD);
    delegate(&mut top, "test.", &[("ns.top.test.", TOP)]);
    delegate(&mut top, "plain.test.", &[("ns.plain.test.", KNOT)]);
    let plain = format!("{HEAD}@ 3600 NS ns\nns 3600 A {KNOT}\nwww 300 A 192.0.2.1\n");
    zones.push(zone("plain.test", KNOT, plain));
    for variant in VARIANTS {
        let name: &'static str = format!("{}.test", variant.name).leak();
        let text = format!(
            "{HEAD}@ 3600 IN NS ns\nns 3600 IN A {KNOT}\nwww 300 IN A 192.0.2.1\n\
             *.wild 300 IN A 192.0.2.2\na.b.deep 300 IN A 192.0.2.3\n\
             alias 300 IN CNAME www\nbad 300 IN CNAME www.changed.test.\n\
             out 300 IN CNAME www.plain.test.\ntree 300 IN DNAME p256.test.\n"
        );
        let key = key(path, name, variant.algorithm);
        fs::write(path.join("plain"), text).unwrap();
        let arguments = [
            &["-o", name, "-f", "signed"],
            variant.arguments,
            &["plain", &key],
        ]
        .concat();
        tool(path, "ldns-signzone", &arguments);
        let signed = fs::read_to_string(path.join("signed")).unwrap();
        let lines = (variant.change)(signed.lines().map(str::to_owned).collect());
        zones.push(zone(name, KNOT, lines.join("\n") + "\n"));
        delegate(
            &mut top,
            &format!("{name}."),
            &[(&format!("ns.{name}."), KNOT)],
        );
        let _infallible = writeln!(top, "{}", (variant.ds)(ds(path, &key)));
    }
    let (signed, test) = sign(path, "test", &top, &["-3", "-", "-A"]);
    zones.push(zone("test", TOP, signed));
    let mut root = String::from(HEAD);
    delegate(&mut root, ".", &[("a.root.", ROOT)]);
    delegate(&mut root, "test.", &[("ns.top.test.", TOP)]);
    let _infallible = writeln!(root, "{test}");
    let (signed, anchor) = sign(path, ".", &root, &[]);
    zones.push(zone(".", ROOT, signed));
    for zone in &zones {
        fs::write(super::world::file(path, zone.name), &zone.text).unwrap();
    }
    let mut world = World::serve(directory, free_port(), &zones);
    world.anchor = Some(anchor.split_whitespace().collect::<Vec<_>>().join(" "));
    world
}
