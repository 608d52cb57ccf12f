//! What is made from a definition: printed configs, the manual, the man page, the schema.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::path::Path;

use omnid_config::{Section, explain, load_str, man, outline, print, reference, schema};
use support::Root;

const FULL: &str = include_str!("full.toml");

#[test]
fn a_full_config_reads_back_from_its_print() -> Result<(), String> {
    let full = load_str::<Root>(FULL).map_err(|e| e.to_string())?.value;
    for defaults in [false, true] {
        let printed = print(&full, defaults);
        assert!(
            !printed.contains("\"inline\""),
            "a secret is shown: {printed}"
        );
        let back = load_str::<Root>(&printed.replace("\"(secret)\"", "\"inline\""));
        let back = back.map_err(|e| format!("{e}\n{printed}"))?.value;
        assert_eq!(full, back, "{printed}");
    }
    Ok(())
}

#[test]
fn the_defaults_read_back_from_their_print() -> Result<(), String> {
    let default = Root::default();
    assert_eq!(print(&default, false), "");
    let printed = print(&default, true);
    let back = load_str::<Root>(&printed)
        .map_err(|e| format!("{e}\n{printed}"))?
        .value;
    assert_eq!(default, back);
    // Uncommented, the whole is a config with every key that there is.
    for section in outline(const { &Root::INFO }) {
        for field in section
            .info
            .fields
            .iter()
            .filter(|f| (f.shape)().section().is_none())
        {
            let key = format!("{} = ", field.key);
            let shown = printed
                .lines()
                .any(|line| line.trim_start_matches('#').starts_with(&key));
            assert!(
                shown,
                "{} is not in\n{printed}",
                section.key_path(field.key)
            );
        }
    }
    Ok(())
}

#[test]
fn outputs_are_as_expected() {
    let full = load_str::<Root>(FULL).unwrap().value;
    let schema = serde_json::to_string_pretty(&schema::<Root>()).unwrap();
    for (name, actual) in [
        ("print.toml", print(&full, false)),
        ("defaults.toml", print(&Root::default(), true)),
        ("reference.md", reference::<Root>()),
        ("omnid.toml.5", man::<Root>()),
        ("schema.json", schema + "\n"),
    ] {
        let path = Path::new("tests/outputs").join(name);
        if std::env::var_os("UPDATE_EXPECT").is_some_and(|value| value == "1") {
            std::fs::write(&path, &actual).unwrap();
        }
        let expected = std::fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(
            expected, actual,
            "{name}: if this is right, run with UPDATE_EXPECT=1"
        );
    }
}

#[test]
fn keys_are_explained() {
    assert_eq!(
        explain::<Root>("dns.resolver.timeout").unwrap(),
        "dns.resolver.timeout: duration, 100ms to 30s\n\
         default: \"5s\"\n\
         example: timeout = \"30s\"\n\
         \n\
         How long an answer is waited for.\n"
    );
    let policy = explain::<Root>("dns.policy.office.rate").unwrap();
    assert!(
        policy.starts_with("dns.policy.office.rate: whole number, at least 1\n"),
        "{policy}"
    );
    let format = explain::<Root>("log.format").unwrap();
    assert!(
        format.contains("  \"text\"  Lines for people.\n"),
        "{format}"
    );
    let site = explain::<Root>("[[http.site]]").unwrap();
    assert!(
        site.starts_with("[[http.site]]\nA site.\n\n  hosts  Names"),
        "{site}"
    );
    assert!(explain::<Root>("").unwrap().contains("  admin   Control."));
    for (path, error) in [
        (
            "dns.zoen",
            "there is no `zoen` in [dns]; did you mean `zone`?",
        ),
        (
            "log.level.x",
            "log.level is one of \"error\", \"warn\", \"info\", \"debug\": it has no keys",
        ),
        (
            "htpp",
            "there is no `htpp` at the top level; did you mean `http`?",
        ),
    ] {
        assert_eq!(explain::<Root>(path).unwrap_err(), error);
    }
}
