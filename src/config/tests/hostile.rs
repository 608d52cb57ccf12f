//! Whatever the text, an answer: never a panic, and never a long wait.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::time::{Duration, Instant};

use omnid_config::parse_str_any;
use proptest::prelude::*;
use support::Root;

const FULL: &str = include_str!("full.toml");

/// Characters that TOML gives a meaning to, and words that the config does.
const PIECES: &[&str] = &[
    "[",
    "]",
    "[[",
    "]]",
    "{",
    "}",
    "=",
    ".",
    ",",
    "\"",
    "'",
    "\"\"\"",
    "'''",
    "#",
    "\n",
    "\r\n",
    " ",
    "\t",
    "\\",
    "\\u",
    "0",
    "1",
    "-",
    "+",
    "e",
    "inf",
    "nan",
    "true",
    "0x",
    "2026-01-01",
    "a",
    "log",
    "level",
    "dns",
    "zone",
    "name",
    "http",
    "site",
    "policy",
    "\"x\"",
    "key",
    "é",
    "情",
    "\u{feff}",
    "\0",
    "\u{1b}",
    "listen",
    "\"[::]:53\"",
    "\"5MiB\"",
    "\"30s\"",
    "log.level",
];

fn pieces() -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(PIECES), 0..60).prop_map(|pieces| pieces.concat())
}

/// A change to a valid config: a stretch of it removed, repeated, or replaced.
fn mutation() -> impl Strategy<Value = (prop::sample::Index, usize, String, bool)> {
    (
        any::<prop::sample::Index>(),
        0_usize..40,
        pieces(),
        any::<bool>(),
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn any_bytes_are_answered(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = parse_str_any::<Root>(&bytes);
    }

    #[test]
    fn any_tokens_are_answered(text in pieces()) {
        let _ = parse_str_any::<Root>(text.as_bytes());
    }

    #[test]
    fn mutated_configs_are_answered(mutations in prop::collection::vec(mutation(), 1..6)) {
        let mut bytes = FULL.as_bytes().to_vec();
        for (index, length, insert, repeat) in mutations {
            let start = index.index(bytes.len() + 1);
            let end = (start + length).min(bytes.len());
            let with = if repeat { bytes[start..end].repeat(2) } else { insert.into_bytes() };
            bytes.splice(start..end, with);
        }
        let _ = parse_str_any::<Root>(&bytes);
    }
}

fn answered_in_time(text: &str) {
    let start = Instant::now();
    let answer = parse_str_any::<Root>(text.as_bytes());
    assert!(answer.is_err());
    // Generous: an unoptimized build on a busy machine. What it guards against takes minutes.
    assert!(
        start.elapsed() < Duration::from_secs(30),
        "took {:?}",
        start.elapsed()
    );
}

#[test]
fn hostile_sizes_are_answered() {
    const MIB: usize = 1 << 20;
    answered_in_time(&"[".repeat(MIB));
    answered_in_time(&format!("x = {}", "[".repeat(MIB)));
    answered_in_time(&format!("x = {}", "{a=".repeat(MIB / 3)));
    answered_in_time(&format!("{}a = 1", "a.".repeat(MIB / 2)));
    answered_in_time(&format!("[{}a]", "a.".repeat(MIB / 2)));
    answered_in_time(&"!\n".repeat(MIB / 2));
    answered_in_time(&"a = \"\n".repeat(MIB / 6));
    answered_in_time(&"a = 1\n".repeat(MIB / 6));
    answered_in_time(
        &(0..MIB / 12)
            .map(|n| format!("k{n} = 1\n"))
            .collect::<String>(),
    );
    answered_in_time(&format!("[server]\naddresses = [{}]", "1,".repeat(MIB / 2)));
    answered_in_time(&"[[domain]]\n".repeat(MIB / 11));
    answered_in_time(&format!("[log.targets]\n{}", numbered("\"x\"")));
    answered_in_time(&format!("x = \"{}", "\\".repeat(MIB)));
}

fn numbered(value: &str) -> String {
    (0..60_000).map(|n| format!("k{n} = {value}\n")).collect()
}
