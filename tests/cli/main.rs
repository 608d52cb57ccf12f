//! The command line: every command against a running daemon, and what it says where it cannot.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod accounts;
mod archive;
mod configuration;
mod control;
mod generated;
mod log;
mod reload;
mod top;

#[path = "../support/mod.rs"]
mod support;

use std::{ffi::OsStr, time::Duration};

use serde_json::Value;
use support::{Daemon, Output, binary, run};

const LIMIT: Duration = Duration::from_secs(60);

/// A daemon with a domain and a private authority: enough for every command to have an answer.
fn daemon() -> Daemon {
    Daemon::start(CONFIG)
}

const CONFIG: &str = "[tls]\nself_signed = true\n[[domain]]\nname = \"example.org\"\n";

/// Runs the command line without a daemon.
fn omnid<S: AsRef<OsStr>>(arguments: &[S]) -> Output {
    run(binary(), arguments, LIMIT)
}

/// Every command that asks a running daemon something and changes nothing.
const QUESTIONS: [&[&str]; 12] = [
    &["status"],
    &["user", "list"],
    &["user", "audit"],
    &["domain", "list"],
    &["domain", "records", "example.org"],
    &["zone", "list"],
    &["cert", "list"],
    &["sessions"],
    &["calls"],
    &["registrations"],
    &["verify"],
    &["top", "--once", "--interval", "0.1"],
];

/// The services that these commands ask; the daemon of [`CONFIG`] has none of them.
const NEEDS_A_SERVICE: [&str; 4] = ["zone", "sessions", "calls", "registrations"];

#[test]
fn every_question_is_answered_for_people_and_as_json() {
    let daemon = daemon();
    for question in QUESTIONS {
        let printed = daemon.omnid(question);
        let mut with_json = vec!["--json"];
        with_json.extend(question);
        let json = daemon.omnid(&with_json);
        if NEEDS_A_SERVICE.contains(&question[0]) {
            // What the configuration does not run is said, and is a failure a script can see.
            for output in [printed, json] {
                assert_eq!(output.code, Some(1), "{output:?}");
                assert!(output.stderr.starts_with("omnid: "), "{output:?}");
                assert_eq!(output.stdout, "", "{output:?}");
            }
            continue;
        }
        let printed = printed.success();
        assert_eq!(printed.stderr, "", "{question:?}");
        let json = json.success();
        let answer: Value = serde_json::from_str(&json.stdout)
            .unwrap_or_else(|error| panic!("{question:?}: {error}: {}", json.stdout));
        assert!(answer.is_object() || answer.is_array(), "{answer}");
        assert_eq!(json.stdout.lines().count(), 1, "one line: {}", json.stdout);
        assert_eq!(json.stderr, "", "{question:?}");
    }
}

#[test]
fn services_answer_for_people_and_as_json() {
    let config = format!(
        "[tls]\nself_signed = true\n[[domain]]\nname = \"example.org\"\n\
         [dns]\nlisten = [\"127.0.0.1:0\"]\n[[dns.zone]]\nname = \"example.org\"\n\
         file = \"example.org.zone\"\n[http]\nlisten = [\"127.0.0.1:0\"]\n\
         [xmpp]\nlisten = [\"127.0.0.1:{xmpp}\"]\nlisten_tls = []\n\
         [sip]\nlisten = [\"127.0.0.1:0\"]\n",
        xmpp = support::free_port()
    );
    let daemon = Daemon::start_with(&config, &[], |directory| {
        let zone = "config/examples/zones/example.org.zone";
        let zone = support::tests().parent().unwrap().join(zone);
        std::fs::copy(zone, directory.join("example.org.zone")).unwrap();
    });
    for (command, heading) in [
        (&["sessions"][..], "JID"),
        (&["calls"], "CALL"),
        (&["registrations"], "ADDRESS"),
        (&["zone", "list"], "ZONE"),
    ] {
        let printed = daemon.omnid(command).success().stdout;
        assert!(printed.starts_with(heading), "{command:?}: {printed}");
        assert!(daemon.json(command).is_array());
    }
    let zones = daemon.json(&["zone", "list"]);
    // Records that services publish into the zone raise its serial.
    assert!(
        zones[0]["serial"].as_u64().unwrap() >= 2_026_010_101,
        "{zones}"
    );
    let zone = daemon
        .omnid(&["zone", "show", "example.org"])
        .success()
        .stdout;
    assert!(zone.contains("2001:db8::10"), "{zone}");
    let unknown = daemon.omnid(&["zone", "show", "example.net"]);
    assert_eq!(unknown.code, Some(1), "{unknown:?}");
    assert!(unknown.stderr.contains("example.net"), "{}", unknown.stderr);
    // What is published is printed as a zone file has it.
    let records = daemon
        .omnid(&["domain", "records", "example.org"])
        .success()
        .stdout;
    assert!(
        records.contains("_xmpp-client._tcp.example.org. "),
        "{records}"
    );
    assert!(
        records.lines().all(|line| line.contains(" IN ")),
        "{records}"
    );
}

#[test]
fn status_shows_the_tree() {
    let daemon = daemon();
    let printed = daemon.omnid(&["status"]).success().stdout;
    let root = printed.lines().next().unwrap();
    assert!(
        root.starts_with("omnid ") && root.contains("ready"),
        "{printed}"
    );
    for child in ["  certificates", "  watchdog", "  admin"] {
        assert!(
            printed.lines().any(|line| line.starts_with(child)),
            "no {child}: {printed}"
        );
    }
    let status = daemon.json(&["status"]);
    assert_eq!(status["pid"], daemon.pid());
    assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(status["tree"]["name"], "omnid");
}

#[test]
fn certificates_are_listed_with_names_and_dates() {
    let daemon = daemon();
    let printed = daemon.omnid(&["cert", "list"]).success().stdout;
    assert!(printed.starts_with("NAMES"), "{printed}");
    assert!(printed.contains("example.org"), "{printed}");
    let certificates = daemon.json(&["cert", "list"]);
    let certificate = &certificates.as_array().unwrap()[0];
    for member in ["names", "issuer", "not_before", "not_after", "source"] {
        assert!(!certificate[member].is_null(), "no {member}: {certificate}");
    }
}

#[test]
fn domains_are_listed() {
    let daemon = daemon();
    let domains = daemon.json(&["domain", "list"]);
    assert_eq!(domains[0]["name"], "example.org", "{domains}");
    let printed = daemon.omnid(&["domain", "list"]).success().stdout;
    assert!(printed.starts_with("NAME"), "{printed}");
    // Nobody publishes here; an unknown domain has no records either.
    assert_eq!(
        daemon.json(&["domain", "records", "example.net"]),
        Value::Array(vec![])
    );
}

#[test]
fn a_wrong_word_suggests_the_right_one() {
    for (typed, meant) in [
        (&["statu"][..], "status"),
        (&["chek"], "check"),
        (&["user", "lst"], "list"),
        (&["user", "add", "a@b", "--generat"], "--generate"),
        (&["reload", "--dryrun"], "--dry-run"),
        (&["--jso", "status"], "--json"),
        (&["completions", "bahs"], "bash"),
        (&["config", "shema"], "schema"),
    ] {
        let output = omnid(typed);
        assert_eq!(output.code, Some(2), "{output:?}");
        assert!(
            output.stderr.contains(&format!("'{meant}'")),
            "{typed:?}: {}",
            output.stderr
        );
        assert_eq!(output.stdout, "");
    }
}

#[test]
fn a_missing_word_shows_what_there_is() {
    let output = omnid::<&str>(&[]);
    assert_eq!(output.code, Some(2), "{output:?}");
    for command in [
        "run",
        "demo",
        "check",
        "reload",
        "status",
        "user",
        "completions",
    ] {
        assert!(
            output.stderr.contains(&format!("  {command} ")),
            "no {command}: {}",
            output.stderr
        );
    }
    assert_eq!(omnid(&["user"]).code, Some(2));
    let output = omnid(&["user", "add"]);
    assert_eq!(output.code, Some(2));
    assert!(output.stderr.contains("<ADDRESS>"), "{}", output.stderr);
}

#[test]
fn help_and_version_are_no_failures() {
    let help = omnid(&["--help"]).success();
    assert_eq!(help.stderr, "");
    assert!(
        help.stdout
            .contains("One daemon for DNS, HTTP, SIP and XMPP"),
        "{}",
        help.stdout
    );
    let version = omnid(&["--version"]).success();
    assert_eq!(
        version.stdout,
        format!("omnid {}\n", env!("CARGO_PKG_VERSION"))
    );
    for command in [
        "run", "demo", "check", "reload", "user", "zone", "top", "config", "test",
    ] {
        let help = omnid(&[command, "--help"]).success();
        assert!(
            help.stdout.contains("Usage: omnid"),
            "{command}: {}",
            help.stdout
        );
        let help_command = omnid(&["help", command]).success();
        assert_eq!(help.stdout, help_command.stdout);
    }
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    // Nothing reads the pipe's other end: the shell closes it before the command writes.
    let script = format!(
        "set -o pipefail; {} config reference | true; echo \"${{PIPESTATUS[0]}}\"",
        binary().display()
    );
    let output = run("bash", &["-c", &script], LIMIT).success();
    assert_eq!(output.stdout.trim(), "0", "{output:?}");
    assert_eq!(output.stderr, "");
}

#[test]
fn without_a_daemon_a_question_says_what_to_look_at() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("no.sock");
    let socket = socket.to_str().unwrap();
    for question in QUESTIONS {
        let mut arguments = vec!["--socket", socket];
        arguments.extend(question);
        let output = omnid(&arguments);
        assert_eq!(output.code, Some(1), "{output:?}");
        assert!(
            output.stderr.contains(socket),
            "{question:?}: {}",
            output.stderr
        );
        assert!(
            output.stderr.contains("systemctl status omnid"),
            "{}",
            output.stderr
        );
    }
}
