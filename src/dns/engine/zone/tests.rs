#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::*;
use crate::wire::master::{Limits, NoFiles, parse_zone};

pub(crate) fn load(apex: &str, text: &str) -> Built {
    let apex = Name::from_text(apex).unwrap();
    let parsed = parse_zone(
        apex.as_ref(),
        "zone",
        &text.as_bytes().into(),
        &mut NoFiles,
        Limits::default(),
    );
    assert!(!parsed.is_broken(), "{:?}", parsed.faults);
    build(apex.as_ref(), &parsed.records, &parsed.sources)
}

fn zone(text: &str) -> Zone {
    let built = load("example", text);
    built.zone.unwrap_or_else(|| panic!("{:?}", built.faults))
}

const HEAD: &str = "$TTL 300\n@ SOA ns hm 1 2 3 4 100\n@ NS ns\nns A 192.0.2.1\n";

fn found(zone: &Zone, name: &str) -> Found {
    let name = Name::from_text(name).unwrap();
    zone.find(&Key::of(name.as_ref()), name.as_ref())
}

fn shown(zone: &Zone, name: &str) -> String {
    let found = found(zone, name);
    let (word, id) = match found {
        Found::Exact(id) => ("at", id),
        Found::Below(id) => ("below", id),
    };
    let cut = match zone.cut(found) {
        None => String::new(),
        Some(Cut::Delegation(id)) => format!(" cut {}", zone.name(id)),
        Some(Cut::Dname(id)) => format!(" dname {}", zone.name(id)),
    };
    let star = zone
        .wildcard(id)
        .filter(|_| word == "below")
        .map_or("", |_| " *");
    format!("{word} {}{cut}{star}", zone.name(id))
}

#[test]
fn searches() {
    let zone = zone(&format!(
        "{HEAD}a.b.c A 192.0.2.1\n*.w A 192.0.2.1\nhost.w A 192.0.2.1\n\
         sub NS ns.sub\nns.sub A 192.0.2.2\ninner.sub NS ns.inner.sub\nd DNAME c\nx.d TXT x"
    ));
    let cases = [
        ("example", "at example."),
        ("NS.Example", "at ns.example."),
        ("b.c.example", "at b.c.example."),
        ("c.example", "at c.example."),
        ("x.b.c.example", "below b.c.example."),
        ("nowhere.example", "below example."),
        ("deep.down.nowhere.example", "below example."),
        ("x.w.example", "below w.example. *"),
        ("x.y.w.example", "below w.example. *"),
        ("x.host.w.example", "below host.w.example."),
        ("*.w.example", "at *.w.example."),
        ("sub.example", "at sub.example. cut sub.example."),
        ("ns.sub.example", "at ns.sub.example. cut sub.example."),
        (
            "q.inner.sub.example",
            "below inner.sub.example. cut sub.example.",
        ),
        ("d.example", "at d.example."),
        ("q.d.example", "below d.example. dname d.example."),
        ("x.d.example", "at x.d.example. dname d.example."),
    ];
    for (name, expected) in cases {
        assert_eq!(shown(&zone, name), expected, "{name}");
    }
    assert_eq!((zone.serial(), zone.negative_ttl()), (1, 100));
    let names: Vec<String> = zone
        .node_ids()
        .map(|id| zone.name(id).to_string())
        .collect();
    let mut sorted: Vec<Name> = names
        .iter()
        .map(|name| Name::from_text(name).unwrap())
        .collect();
    sorted.sort();
    assert_eq!(
        names,
        sorted.iter().map(ToString::to_string).collect::<Vec<_>>()
    );
}

#[test]
fn sets_are_sorted_and_without_doubles() {
    let zone = zone(&format!(
        "{HEAD}a A 192.0.2.9\nb TXT x\nA A 192.0.2.1\na TXT y\na A 192.0.2.9\n\
                              m MX 10 NS\nm MX 10 ns\nm MX 5 m.sub"
    ));
    let Found::Exact(id) = found(&zone, "a.example") else {
        panic!()
    };
    let types: Vec<_> = zone
        .sets(id)
        .map(|set| (set.rr_type, set.len(), set.ttl))
        .collect();
    assert_eq!(types, [(RrType::A, 2, 300), (RrType::TXT, 1, 300)]);
    let rows: Vec<&[u8]> = zone
        .set(id, RrType::A)
        .unwrap()
        .records()
        .map(|(r, _)| r)
        .collect();
    assert_eq!(rows, [[192, 0, 2, 1], [192, 0, 2, 9]]);
    let Found::Exact(id) = found(&zone, "m.example") else {
        panic!()
    };
    let rows: Vec<_> = zone.set(id, RrType::MX).unwrap().records().collect();
    assert_eq!(rows.len(), 2);
    assert_eq!(rows[0].1, None);
    assert_eq!(zone.name(rows[1].1.unwrap()).to_string(), "ns.example.");
}

#[test]
fn faults_as_bind_finds_them() {
    let cases: [(&str, &[&str]); 14] = [
        (
            "a CNAME b\na A 192.0.2.1",
            &["zone:6:1: a.example.: CNAME and other data (A)"],
        ),
        (
            "a CNAME b\na CNAME c",
            &["zone:6:1: a.example.: more than one CNAME record"],
        ),
        ("a CNAME b\na CNAME b", &[]),
        (
            "a DNAME b\na DNAME c",
            &["zone:6:1: a.example.: more than one DNAME record"],
        ),
        (
            "@ SOA ns hm 2 2 3 4 5",
            &["zone:5:1: example.: more than one SOA record"],
        ),
        (
            "a SOA ns hm 2 2 3 4 5",
            &["zone:5:1: a.example.: SOA record not at the top of the zone"],
        ),
        (
            "*.w NS ns",
            &["zone:5:1: *.w.example.: NS record at a wildcard"],
        ),
        (
            "@ NS gone",
            &["zone:3:1: example. NS: 'gone.example.' has no address (A or AAAA)"],
        ),
        (
            "@ NS al\nal CNAME ns",
            &["zone:3:1: example. NS: 'al.example.' is a CNAME, which it may not be"],
        ),
        (
            "s NS ns.s",
            &["warning zone:5:1: s.example. NS: 'ns.s.example.' has no glue address (A or AAAA)"],
        ),
        (
            "a MX 1 b",
            &["warning zone:5:1: a.example. MX: 'b.example.' has no address (A or AAAA)"],
        ),
        ("a MX 0 .\nb SRV 0 0 0 .\nc MX 1 x.org.", &[]),
        (
            "a 1 A 192.0.2.1\na 2 A 192.0.2.2",
            &["warning zone:6:1: a.example. A: TTL 2 taken for 1"],
        ),
        ("a CNAME b\na NSEC c CNAME", &[]),
    ];
    for (text, expected) in cases {
        let built = load("example", &format!("{HEAD}{text}"));
        let faults: Vec<String> = built
            .faults
            .iter()
            .map(|fault| match fault.severity {
                crate::wire::master::Severity::Error => fault.to_string(),
                crate::wire::master::Severity::Warning => format!("warning {fault}"),
            })
            .collect();
        assert_eq!(faults, expected, "{text}");
        let fatal = expected.iter().any(|fault| !fault.starts_with("warning"));
        assert_eq!(built.zone.is_none(), fatal, "{text}");
    }
    let none = load("example", "a 1 A 192.0.2.1");
    let faults: Vec<String> = none.faults.iter().map(ToString::to_string).collect();
    assert_eq!(
        faults,
        ["example.: no SOA record", "example.: no NS record"]
    );
    assert!(none.zone.is_none());
}
