//! `omnid check`, `config …` and `test`: the configuration without a daemon.

use std::{fs, path::Path};

use serde_json::Value;

use super::{omnid, support};
use support::Output;

fn in_file(directory: &Path, text: &str, arguments: &[&str]) -> Output {
    let path = directory.join("omnid.toml");
    fs::write(&path, text).unwrap();
    let mut all = vec!["-c", path.to_str().unwrap()];
    all.extend(arguments);
    omnid(&all)
}

#[test]
fn a_good_file_is_good() {
    let directory = tempfile::tempdir().unwrap();
    let output = in_file(directory.path(), "", &["check"]).success();
    assert!(output.stdout.ends_with("omnid.toml: good\n"), "{output:?}");
    assert_eq!(output.stderr, "");
    let json = in_file(directory.path(), "", &["check", "--json"]).success();
    let json: Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(json["ok"], true);
}

#[test]
fn a_check_touches_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let text = format!(
        "[server]\ndata_dir = \"{0}/data\"\n[tls]\nself_signed = true\n\
         [admin]\nsocket = \"{0}/s.sock\"\n[[domain]]\nname = \"example.org\"\n",
        directory.path().display()
    );
    in_file(directory.path(), &text, &["check"]).success();
    let left: Vec<_> = fs::read_dir(directory.path())
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    assert_eq!(left, ["omnid.toml"]);
}

#[test]
fn a_warning_is_no_failure() {
    let directory = tempfile::tempdir().unwrap();
    let text = "[admin]\nlisten = [\"0.0.0.0:9090\"]\n";
    let output = in_file(directory.path(), text, &["check"]).success();
    assert!(output.stderr.contains("warning:"), "{}", output.stderr);
    assert!(output.stderr.contains("omnid.toml:2:"), "{}", output.stderr);
    let json = in_file(directory.path(), text, &["check", "--json"]).success();
    let json: Value = serde_json::from_str(&json.stdout).unwrap();
    assert!(
        json["warnings"].as_str().unwrap().contains("warning:"),
        "{json}"
    );
}

#[test]
fn every_error_is_said_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let text = "[log]\nlevel = 3\nformat = \"jsn\"\n[net]\nmax_conections = 5\n";
    let output = in_file(directory.path(), text, &["check"]);
    assert_eq!(output.code, Some(1));
    for place in ["omnid.toml:2:", "omnid.toml:3:", "omnid.toml:5:"] {
        assert!(
            output.stderr.contains(place),
            "no {place}: {}",
            output.stderr
        );
    }
    assert_eq!(output.stdout, "");
    let json = in_file(directory.path(), text, &["check", "--json"]);
    assert_eq!(json.code, Some(1));
    let json: Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(json["ok"], false);
}

#[test]
fn a_file_that_is_not_there_is_named() {
    for command in ["check", "run", "test"] {
        let output = omnid(&["-c", "/nonexistent/omnid.toml", command]);
        assert_eq!(output.code, Some(1), "{output:?}");
        assert!(
            output.stderr.contains("/nonexistent/omnid.toml"),
            "{}",
            output.stderr
        );
    }
}

#[test]
fn the_environment_names_the_file_too() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("other.toml");
    fs::write(&path, "[log]\nlevel = 3\n").unwrap();
    let path = path.to_str().unwrap();
    let check = |arguments: &[&str]| {
        support::run_with(
            support::binary(),
            arguments,
            "",
            &[("OMNID_CONFIG", path)],
            super::LIMIT,
        )
    };
    assert!(check(&["check"]).failure().stderr.contains("other.toml:2"));
    let good = directory.path().join("omnid.toml");
    fs::write(&good, "").unwrap();
    check(&["-c", good.to_str().unwrap(), "check"]).success();
}

#[test]
fn show_prints_a_file_that_means_the_same() {
    let directory = tempfile::tempdir().unwrap();
    let text = "[log]\nlevel = \"debug\"\n[[domain]]\nname = \"example.org\"\n";
    let shown = in_file(directory.path(), text, &["config", "show"])
        .success()
        .stdout;
    assert!(shown.contains("level = \"debug\""), "{shown}");
    let again = in_file(directory.path(), &shown, &["config", "show"])
        .success()
        .stdout;
    assert_eq!(shown, again);
    let defaults = in_file(directory.path(), text, &["config", "show", "--defaults"])
        .success()
        .stdout;
    assert!(
        defaults.contains("level = \"debug\"") && defaults.contains("max_connections"),
        "{defaults}"
    );
    // What is printed for people to start from is itself a good configuration.
    in_file(directory.path(), &defaults, &["check"]).success();
    // Before there is a file.
    omnid(&[
        "-c",
        "/nonexistent/omnid.toml",
        "config",
        "show",
        "--defaults",
    ])
    .success();
}

#[test]
fn a_key_is_explained_and_a_wrong_one_suggested() {
    let explained = omnid(&["config", "explain", "net.max_connections"])
        .success()
        .stdout;
    assert!(explained.contains("max_connections"), "{explained}");
    let wrong = omnid(&["config", "explain", "net.max_conections"]);
    assert_eq!(wrong.code, Some(1));
    assert!(wrong.stderr.contains("max_connections"), "{}", wrong.stderr);
}
