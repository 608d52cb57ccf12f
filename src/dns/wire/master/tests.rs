#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;
use crate::wire::name::Name;

struct Memory(HashMap<&'static str, &'static str>);

impl Files for Memory {
    fn read(
        &mut self,
        name: &str,
        _: &str,
    ) -> Result<(std::sync::Arc<str>, std::sync::Arc<[u8]>), String> {
        let (name, text) = self
            .0
            .get_key_value(name)
            .ok_or(format!("{name}: not found"))?;
        Ok(((*name).into(), text.as_bytes().into()))
    }
}

fn parse_with(text: &str, files: &[(&'static str, &'static str)]) -> Parsed {
    let origin = Name::from_text("example.org").unwrap();
    let mut files = Memory(files.iter().copied().collect());
    parse_zone(
        origin.as_ref(),
        "zone",
        &text.as_bytes().into(),
        &mut files,
        Limits::default(),
    )
}

fn lines(parsed: &Parsed) -> Vec<String> {
    ZoneText(&parsed.records)
        .to_string()
        .lines()
        .map(|line| line.replace('\t', " "))
        .collect()
}

fn check(text: &str, expected: &[&str]) {
    let parsed = parse_with(text, &[]);
    let errors: Vec<String> = parsed.faults.iter().map(ToString::to_string).collect();
    assert!(!parsed.is_broken(), "{text}: {errors:?}");
    assert_eq!(lines(&parsed), expected, "{text}");
}

fn faults(text: &str, expected: &[&str]) {
    let parsed = parse_with(text, &[]);
    let shown: Vec<String> = parsed.faults.iter().map(ToString::to_string).collect();
    assert_eq!(shown, expected, "{text}");
}

#[test]
fn owners_ttls_and_classes() {
    check(
        "$TTL 60\n@ A 192.0.2.1",
        &["example.org. 60 IN A 192.0.2.1"],
    );
    check(
        "a 1h IN A 192.0.2.1\n  A 192.0.2.2\n\tIN 5 A 192.0.2.3\n",
        &[
            "a.example.org. 3600 IN A 192.0.2.1",
            "a.example.org. 3600 IN A 192.0.2.2",
            "a.example.org. 5 IN A 192.0.2.3",
        ],
    );
    check(
        "$TTL 1d\nin A 192.0.2.1\nb CLASS1 TYPE1 192.0.2.1\nA 9 A 192.0.2.1",
        &[
            "in.example.org. 86400 IN A 192.0.2.1",
            "b.example.org. 86400 IN A 192.0.2.1",
            "A.example.org. 9 IN A 192.0.2.1",
        ],
    );
    check(
        "@ SOA @ h 1 2 3 4 77\n  NS @",
        &[
            "example.org. 77 IN SOA example.org. h.example.org. 1 2 3 4 77",
            "example.org. 77 IN NS example.org.",
        ],
    );
    check(
        "a 4294967295 A 192.0.2.1\r\nb 0 A 192.0.2.1\r\n",
        &[
            "a.example.org. 0 IN A 192.0.2.1",
            "b.example.org. 0 IN A 192.0.2.1",
        ],
    );
    check(
        "\"a\" 1 A 192.0.2.1\n\\@ 1 A 192.0.2.1\n\\$x 1 NS \\@",
        &[
            "a.example.org. 1 IN A 192.0.2.1",
            "\\@.example.org. 1 IN A 192.0.2.1",
            "\\$x.example.org. 1 IN NS \\@.example.org.",
        ],
    );
}

#[test]
fn origin_changes() {
    check(
        "$TTL 1\n$ORIGIN sub\na NS b\n$ORIGIN example.org.\na NS @\n$ORIGIN .\nx.example.org NS y",
        &[
            "a.sub.example.org. 1 IN NS b.sub.example.org.",
            "a.example.org. 1 IN NS example.org.",
            "x.example.org. 1 IN NS y.",
        ],
    );
}

#[test]
fn includes() {
    let files = [
        ("inner", "w A 192.0.2.1\n$ORIGIN deeper\nz A 192.0.2.2"),
        ("second", "  A 192.0.2.9\n"),
    ];
    let text = "$TTL 1\na A 192.0.2.3\n$INCLUDE inner sub\n  A 192.0.2.4\n$INCLUDE second\nx NS y";
    assert_eq!(
        lines(&parse_with(text, &files)),
        [
            "a.example.org. 1 IN A 192.0.2.3",
            "w.sub.example.org. 1 IN A 192.0.2.1",
            "z.deeper.sub.example.org. 1 IN A 192.0.2.2",
            "a.example.org. 1 IN A 192.0.2.4",
            "a.example.org. 1 IN A 192.0.2.9",
            "x.example.org. 1 IN NS y.example.org.",
        ]
    );
}

#[test]
fn generated_records() {
    let text = "$TTL 1\na A 192.0.2.9\n$GENERATE 1-3/2 h$ A 192.0.2.$\n\
                $GENERATE 1-1 m$ 5 IN MX \"10 h$\"\n$GENERATE 1-1 t$ TXT \"x $\"\n  A 192.0.2.8";
    check(
        text,
        &[
            "a.example.org. 1 IN A 192.0.2.9",
            "h1.example.org. 1 IN A 192.0.2.1",
            "h3.example.org. 1 IN A 192.0.2.3",
            "m1.example.org. 5 IN MX 10 h1.example.org.",
            "t1.example.org. 1 IN TXT \"x\" \"1\"",
            "a.example.org. 1 IN A 192.0.2.8",
        ],
    );
}

#[test]
fn every_error_with_its_place() {
    faults(
        "$TTL 60\nx A 192.0.2.1 foo\ny B 1\nz A (192.0.2.\n1)\nok A 192.0.2.1\n",
        &[
            "zone:2:15: extra text `foo` after the record's data",
            "zone:3:3: `B` is not a record type",
            "zone:4:6: `192.0.2.` is not an IPv4 address",
        ],
    );
    faults(
        "x 3600 IN\n",
        &["zone:1:10: unexpected end of line, expected a record type"],
    );
    faults(
        "x A 192.0.2.1",
        &["zone:1:3: no TTL specified and no $TTL before"],
    );
    faults(
        "$TTL 1\nx MX 10",
        &["zone:2:8: unexpected end of record, expected a name"],
    );
    faults(
        " 1 A 192.0.2.1",
        &["zone:1:2: no owner: the first record must name one"],
    );
    faults(
        "x 1 CH A 192.0.2.1",
        &["zone:1:5: class CH is not the zone's class IN"],
    );
    faults(
        "x 1 ANY 1",
        &["zone:1:5: class ANY is not the zone's class IN"],
    );
    faults(
        "x 1 AXFR 1",
        &["zone:1:5: AXFR records cannot stand in a zone"],
    );
    faults("$TTLS 1", &["zone:1:1: unknown directive `$TTLS`"]);
    faults("$ORIGIN", &["zone:1:1: $ORIGIN without a name"]);
    faults("$TTL 1 2", &["zone:1:8: extra text `2` after $TTL"]);
    faults(
        "é 1 TXT \"a\nü 1 A x",
        &[
            "zone:1:9: quote is not closed on its line",
            "zone:2:7: `x` is not an IPv4 address",
        ],
    );
    faults(
        "x.org. 1 A 192.0.2.1\n  1 A 192.0.2.2",
        &["zone:1:1: ignoring out-of-zone data (x.org.)"],
    );
}

#[test]
fn no_more_records_are_held_than_allowed() {
    for (text, said) in [
        ("a 1 A 192.0.2.1\nb 1 A 192.0.2.2\n", None),
        (
            "a 1 A 192.0.2.1\nb 1 A 192.0.2.2\nc 1 A 192.0.2.3\nd 1 A 192.0.2.4\n",
            Some("zone:3:1: more than 2 records"),
        ),
        (
            "$GENERATE 1-100 $ 1 A 192.0.2.$\n",
            Some("zone:1:1: more than 2 records"),
        ),
    ] {
        let limits = Limits {
            records: 2,
            ..Limits::default()
        };
        let origin = Name::from_text("example.").unwrap();
        let parsed = parse_zone(
            origin.as_ref(),
            "zone",
            &text.as_bytes().into(),
            &mut NoFiles,
            limits,
        );
        assert_eq!(parsed.records.len(), 2, "{text}");
        let faults: Vec<String> = parsed.faults.iter().map(ToString::to_string).collect();
        assert_eq!(faults.first().map(String::as_str), said, "{text}");
    }
}

#[test]
fn errors_name_the_chain_of_includes() {
    let files = [
        ("a", "\n $INCLUDE b"),
        ("b", "x 1 A 1"),
        ("c", "$INCLUDE c"),
    ];
    let parsed = parse_with("$INCLUDE a\n$INCLUDE nowhere\n$INCLUDE c", &files);
    let shown: Vec<String> = parsed.faults.iter().map(ToString::to_string).collect();
    assert_eq!(
        shown[0],
        "a:2:2: no owner: the first record must name one\n  included from zone:1:1"
    );
    assert_eq!(shown[1], "zone:2:10: nowhere: not found");
    assert!(
        shown[2].starts_with("c:1:1: files are included more than 16 deep"),
        "{}",
        shown[2]
    );

    let files = [("a", "\n$INCLUDE b"), ("b", "x 1 A 1")];
    let parsed = parse_with("$INCLUDE a", &files);
    assert_eq!(
        parsed.faults[0].to_string(),
        "b:1:7: `1` is not an IPv4 address\n  included from a:2:1\n  included from zone:1:1"
    );
}

#[test]
fn faults_are_bounded() {
    let parsed = parse_with(&"x 1 A y\n".repeat(200), &[]);
    assert_eq!((parsed.faults.len(), parsed.more_faults), (50, 150));
    let limits = Limits {
        records: 3,
        ..Limits::default()
    };
    let origin = Name::from_text("a").unwrap();
    let text = "$TTL 1\n$GENERATE 1-1000 x$ A 192.0.2.1";
    let parsed = parse_zone(
        origin.as_ref(),
        "z",
        &text.as_bytes().into(),
        &mut NoFiles,
        limits,
    );
    assert!(parsed.is_broken() && parsed.records.len() <= 4);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Whatever is read can be written, and what is written reads back the same.
    #[test]
    fn parse_print_parse(pieces in prop::collection::vec(prop::sample::select(vec![
        "$TTL 60\n", "$ORIGIN sub\n", "a ", "@ ", "* ", "  ", "IN ", "300 ", "1h ", "A ", "192.0.2.1 ",
        "AAAA ", "2001:db8::1 ", "TXT ", "\"a b\" ", "x\\046y ", "\\000\\255 ", "MX ", "10 ", "mail ", "NS ",
        "( ", ") ", ";c\n", "\n", "\r\n", "\"", "\\", "SVCB ", "1 ", ". ", "alpn=\"h2\" ", "TYPE99 ",
        "\\# ", "2 ", "abcd ", "$GENERATE ", "1-3 ", "h$ ", "$INCLUDE ", "f ", "\u{e9}",
    ]), 0..30)) {
        let text = pieces.concat();
        let first = parse_with(&text, &[]);
        let printed = ZoneText(&first.records).to_string();
        let again = parse_with(&printed, &[]);
        prop_assert!(again.faults.is_empty(), "{printed}");
        prop_assert_eq!(&printed, &ZoneText(&again.records).to_string());
    }
}
