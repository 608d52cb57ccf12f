//! `omnid log`: followed, and its level changed while the daemon runs.

use std::{
    io::{BufRead, BufReader},
    process::{Command, Stdio},
};

use super::{LIMIT, daemon, support};
use support::{Background, Daemon, binary, wait_until};

/// Follows the log, does something, and returns the lines until one says `until`.
fn follow(daemon: &Daemon, json: bool, act: impl FnOnce(), until: &str) -> Vec<String> {
    let mut command = Command::new(binary());
    command.arg("-c").arg(daemon.path("omnid.toml"));
    if json {
        command.arg("--json");
    }
    command.args(["log", "-f"]).stdout(Stdio::piped());
    let mut follower = Background(command.spawn().unwrap());
    let lines = BufReader::new(follower.0.stdout.take().unwrap()).lines();
    // Whatever is logged once the follower is counted in reaches it.
    support::wait_until("the follower is connected", super::LIMIT, || {
        daemon.json(&["status"])["connections"].as_u64().unwrap() >= 2
    });
    act();
    let mut found = Vec::new();
    for line in lines {
        let line = line.unwrap();
        let last = line.contains(until);
        found.push(line);
        if last {
            break;
        }
    }
    found
}

#[test]
fn the_log_is_followed() {
    let daemon = daemon();
    let act = || drop(daemon.omnid(&["cert", "list"]).success());
    let lines = follow(&daemon, false, act, "cert.list");
    assert!(lines.last().unwrap().contains("control"), "{lines:?}");
    daemon.omnid(&["status"]).success();
}

#[test]
fn the_level_changes_at_once_and_until_the_next_reload() {
    let daemon = daemon();
    let changed = daemon.json(&["log", "--level", "warn"]);
    assert_eq!(changed["previous"], "info", "{changed}");
    daemon.omnid(&["domain", "list"]).success();
    assert!(!daemon.log().contains("domain.list"), "{}", daemon.log());

    let printed = daemon
        .omnid(&["log", "--level", "info,omnid_admin=debug"])
        .success()
        .stdout;
    assert_eq!(printed, "was warn, is info,omnid_admin=debug\n");
    daemon.omnid(&["domain", "list"]).success();
    // The log is written beside the work, a moment later.
    wait_until("the level counts", LIMIT, || {
        daemon.log().contains("domain.list")
    });

    let refused = daemon.omnid(&["log", "--level", "lots"]);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.stderr.contains("lots"), "{}", refused.stderr);

    daemon.omnid(&["log", "--level", "error"]).success();
    daemon.omnid(&["reload"]).success();
    daemon.omnid(&["cert", "list"]).success();
    wait_until("a reload brings the file's level back", LIMIT, || {
        daemon.log().contains("cert.list")
    });
}

#[test]
fn log_alone_says_where_the_old_lines_are() {
    let daemon = daemon();
    let output = daemon.omnid(&["log"]);
    assert_eq!(output.code, Some(1));
    assert!(
        output.stderr.contains("-f") && output.stderr.contains("journalctl"),
        "{output:?}"
    );
}
