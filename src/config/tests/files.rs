//! Which files are read, how they are merged, and where that ends.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::fs;
use std::path::Path;

use omnid_config::{Limits, Report, load, load_within};
use support::Root;

fn write(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
}

/// What is reported first, without its place.
fn first(report: &Report) -> &str {
    &report.problems.first().unwrap().message
}

#[test]
fn files_are_merged_in_the_order_of_their_names() {
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("omnid.toml");
    let more = directory.path().join("omnid.d");
    fs::create_dir(&more).unwrap();
    write(
        &config,
        "[server]\nhostname = 'one.example.org'\n[[domain]]\nname = 'a.example'\n",
    );
    write(&more.join("20.toml"), "[[domain]]\nname = 'c.example'\n");
    write(
        &more.join("10.toml"),
        "[[domain]]\nname = 'b.example'\n[server]\ndata_dir = 'x'\n",
    );
    write(&more.join("30.toml.bak"), "not TOML");
    write(&more.join(".40.toml"), "not TOML");
    let loaded = load::<Root>(&config).unwrap();
    let names: Vec<&str> = loaded
        .value
        .domain
        .iter()
        .map(|domain| domain.name.as_str())
        .collect();
    assert_eq!(names, ["a.example", "b.example", "c.example"]);
    // A path is relative to the file that names it, not to the first.
    assert_eq!(loaded.value.server.data_dir, more.join("x"));
    assert_eq!(loaded.value.server.hostname.as_str(), "one.example.org");
    let last = loaded.value.domain.last().unwrap();
    let place = loaded.sources.position(last.name.span.unwrap()).unwrap();
    assert_eq!(place, format!("{}:2:8", more.join("20.toml").display()));
}

#[test]
fn a_missing_file_is_one_problem() {
    let directory = tempfile::tempdir().unwrap();
    let report = load::<Root>(&directory.path().join("omnid.toml")).unwrap_err();
    assert_eq!(report.problems.len(), 1, "{report}");
    assert!(
        first(&report).ends_with("omnid.toml: there is no such file"),
        "{report}"
    );
    let report = load::<Root>(directory.path()).unwrap_err();
    assert!(first(&report).ends_with(": it is a directory"), "{report}");
}

#[test]
fn limits_hold() {
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("omnid.toml");
    write(&config, "# comment\n");
    let more = directory.path().join("omnid.d");
    fs::create_dir(&more).unwrap();
    for name in ["a.toml", "b.toml", "c.toml"] {
        write(&more.join(name), &"x = 1\n".repeat(3));
    }
    let limits = Limits {
        file_bytes: 16,
        files: 3,
        problems: 2,
    };
    let report = load_within::<Root>(&config, limits).unwrap_err();
    assert!(
        first(&report).ends_with("a.toml is larger than 16B"),
        "{report}"
    );
    assert_eq!(report.problems.last().unwrap().message, "not shown: 1 more");
    let limits = Limits {
        files: 2,
        ..Limits::default()
    };
    let report = load_within::<Root>(&config, limits).unwrap_err();
    assert!(
        first(&report).ends_with("omnid.d holds 3 files; at most 2 are read"),
        "{report}"
    );
}
