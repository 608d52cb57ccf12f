//! Verdicts of the validator, next to those of named and delv on the same tree.

use std::{fs, net::UdpSocket, path::Path, time::Duration};

use omnid_dns::wire::{code::RrType, message::Message, name::Name};

use super::super::support::{Background, free_port, run, wait_until};
use super::signed::{self, VARIANTS};
use super::world::{LIMIT, RESOLVER, World};

const SERVFAIL: u16 = 2;

/// Asks for a name with DNSSEC; flags and code of the answer.
fn flags(port: u16, name: &str, rr_type: &str, checking_disabled: bool) -> u16 {
    let kind = RrType::from_text(rr_type.as_bytes()).unwrap();
    let mut message = vec![7, 7, 1, if checking_disabled { 0x10 } else { 0 }];
    message.extend_from_slice(&[0, 1, 0, 0, 0, 0, 0, 1]);
    message.extend_from_slice(Name::from_text(name).unwrap().as_ref().wire());
    message.extend_from_slice(&kind.0.to_be_bytes());
    message.extend_from_slice(&[0, 1, 0, 0, 41, 4, 208, 0, 0, 0x80, 0, 0, 0]);
    let socket = UdpSocket::bind((RESOLVER, 0)).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(2)))
        .unwrap();
    let mut buffer = [0; 4096];
    for _ in 0..6 {
        socket.send_to(&message, (RESOLVER, port)).unwrap();
        if let Ok((length, _)) = socket.recv_from(&mut buffer) {
            return Message::read(&buffer[..length]).unwrap().header.flags;
        }
    }
    SERVFAIL
}

/// What a validating resolver thinks, from the outside.
fn verdict(port: u16, name: &str, rr_type: &str) -> &'static str {
    let checked = flags(port, name, rr_type, false);
    if checked & 15 == SERVFAIL {
        // Bogus and not merely out of reach: without validation there is an answer.
        let found = flags(port, name, rr_type, true) & 15 != SERVFAIL;
        return if found { "bogus" } else { "failed" };
    }
    if checked & 0x20 != 0 {
        "secure"
    } else {
        "insecure"
    }
}

/// What delv makes of the data, which it asks the resolver for unchecked and checks itself.
fn delv(world: &World, port: u16, name: &str, rr_type: &str) -> String {
    let port = port.to_string();
    let anchors = world.directory.path().join("anchors");
    let anchors = anchors.to_str().unwrap();
    let arguments = ["@127.0.0.1", "-p", &port, "-a", anchors, name, rr_type];
    let output = run("delv", &arguments, LIMIT);
    let text = output.stdout + &output.stderr;
    let says = |words: &[&str]| words.iter().any(|word| text.contains(word));
    let first = if says(&["fully validated"]) {
        "secure"
    } else if says(&["unsigned answer"]) {
        "insecure"
    } else if says(&["resolution failed"]) {
        "bogus"
    } else {
        return text;
    };
    first.to_owned()
}

fn named(world: &World) -> (Background, u16) {
    let directory: &Path = world.directory.path();
    let port = free_port();
    let anchor = world.anchor.as_deref().unwrap();
    let words: Vec<&str> = anchor.split(' ').collect();
    let [tag, algorithm, digest_type, digest] = words[words.len() - 4..] else {
        panic!("{anchor}");
    };
    let anchors =
        format!("trust-anchors {{ . static-ds {tag} {algorithm} {digest_type} \"{digest}\"; }};\n");
    fs::write(directory.join("anchors"), &anchors).unwrap();
    let text = format!(
        "options {{ directory \"{0}\"; port {1}; listen-on port {port} {{ 127.0.0.1; }}; \
         listen-on-v6 {{ none; }}; pid-file none; session-keyfile none; lock-file none; \
         recursion yes; dnssec-validation yes; empty-zones-enable no; \
         trust-anchor-telemetry no; }};\ncontrols {{ }};\n\
         zone \".\" {{ type hint; file \"{0}/hints\"; }};\n{anchors}",
        directory.display(),
        world.port
    );
    let path = directory.join("validator.conf");
    fs::write(&path, text).unwrap();
    let arguments = ["-g", "-n", "1", "-4", "-c", path.to_str().unwrap()];
    let named = Background::start("named", &arguments, &directory.join("validator.log"));
    wait_until("named validates", LIMIT, || {
        verdict(port, "www.p256.test", "A") == "secure"
    });
    (named, port)
}

#[test]
fn verdicts_are_those_of_named_and_delv() {
    let world = signed::world();
    let (_named, peer) = named(&world);
    let resolver = world.resolver("");
    let mut differing = Vec::new();
    let mut count = 0;
    for (index, variant) in VARIANTS.iter().enumerate() {
        let questions = [
            (format!("www.{}.test", variant.name), "A"),
            (format!("nothing.{}.test", variant.name), "A"),
            (format!("www.{}.test", variant.name), "AAAA"),
            (format!("x.wild.{}.test", variant.name), "A"),
        ];
        for ((name, rr_type), expected) in questions.iter().zip(variant.expected) {
            let ours = verdict(resolver.port, name, rr_type);
            let theirs = verdict(peer, name, rr_type);
            count += 1;
            if ours != expected || theirs != expected {
                differing.push(format!(
                    "{name} {rr_type}: {ours}, named {theirs}, expected {expected}"
                ));
            }
        }
        // delv asks again and again where it finds nothing good: a few of those are enough.
        if variant.expected[0] == "bogus" && index % 6 != 0 {
            continue;
        }
        let (name, rr_type) = &questions[0];
        let delv = delv(&world, resolver.port, name, rr_type);
        count += 1;
        if delv != variant.expected[0] {
            differing.push(format!(
                "{name} {rr_type}: delv {delv}, expected {}",
                variant.expected[0]
            ));
        }
    }
    for (name, rr_type, expected) in [
        ("www.plain.test", "A", "insecure"),
        ("nothing.plain.test", "A", "insecure"),
        ("plain.test", "DS", "insecure"),
        ("p256.test", "DS", "secure"),
        ("p256.test", "DNSKEY", "secure"),
        ("test", "SOA", "secure"),
        (".", "NS", "secure"),
        ("nothing", "A", "secure"),
        ("alias.p256.test", "A", "secure"),
        ("bad.p256.test", "A", "bogus"),
        ("out.p256.test", "A", "insecure"),
        ("www.tree.p384.test", "A", "secure"),
        ("deep.p384.test", "A", "secure"),
        ("b.deep.rsa256.test", "TXT", "secure"),
        ("x.deep.rsa256.test", "TXT", "secure"),
        ("a.b.c.d.e.ed25519.test", "A", "secure"),
    ] {
        let ours = verdict(resolver.port, name, rr_type);
        let theirs = verdict(peer, name, rr_type);
        count += 1;
        if ours != expected || theirs != expected {
            differing.push(format!(
                "{name} {rr_type}: {ours}, named {theirs}, expected {expected}"
            ));
        }
    }
    println!("verdicts: {count}");
    assert!(
        differing.is_empty(),
        "of {count}:\n{}",
        differing.join("\n")
    );
}
