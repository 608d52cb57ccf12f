//! `omnid reload` as the operator sees it; tests/reload.rs shows that nobody is dropped.

use std::fs;

use super::{CONFIG, daemon, support};
use support::wait_until;

const OTHER: &str = "[log]\nlevel = \"debug\"\n[tls]\nself_signed = true\n\
                     [[domain]]\nname = \"example.org\"\n[[domain]]\nname = \"example.net\"\n";

#[test]
fn a_dry_run_says_what_would_change_and_changes_nothing() {
    let daemon = daemon();
    assert_eq!(
        daemon.omnid(&["reload", "--dry-run"]).success().stdout,
        "nothing to change\n"
    );
    daemon.write_config(OTHER);
    let printed = daemon.omnid(&["reload", "--dry-run"]).success().stdout;
    assert_eq!(printed, "[domain] differs\n[log] differs\n");
    let plan = daemon.json(&["reload", "--dry-run"]);
    assert_eq!(
        plan["sections"],
        serde_json::json!(["domain", "log"]),
        "{plan}"
    );
    assert_eq!(
        daemon.json(&["domain", "list"]).as_array().unwrap().len(),
        1
    );
    assert!(!daemon.log().contains("DEBUG"), "the log's level changed");
}

#[test]
fn a_reload_applies_the_difference() {
    let daemon = daemon();
    daemon.write_config(OTHER);
    let printed = daemon.omnid(&["reload"]).success().stdout;
    assert_eq!(printed, "[domain] differs\n[log] differs\nreloaded\n");
    assert_eq!(
        daemon.json(&["domain", "list"]).as_array().unwrap().len(),
        2
    );
    assert_eq!(
        daemon.omnid(&["reload"]).success().stdout,
        "nothing to change\nreloaded\n"
    );
}

#[test]
fn a_reload_by_signal_does_the_same_and_tells_the_manager() {
    let mut daemon = daemon();
    daemon.write_config(OTHER);
    daemon.signal("HUP");
    daemon.wait_for_notice("RELOADING=1", super::LIMIT);
    daemon.wait_for_notice("READY=1", super::LIMIT);
    assert_eq!(
        daemon.json(&["domain", "list"]).as_array().unwrap().len(),
        2
    );
}

#[test]
fn a_broken_file_changes_nothing() {
    let daemon = daemon();
    let tree_before = daemon.json(&["status"])["listeners"].clone();
    for broken in [
        "[log\n".to_owned(),
        format!("{OTHER}[net]\nmax_connection = 5\n"),
        format!("{OTHER}[tls.certificates]\n"),
        OTHER.replace(
            "self_signed = true",
            "certificates = [{ cert = \"no.pem\", key = \"no.pem\" }]",
        ),
    ] {
        daemon.write_config(&broken);
        for arguments in [&["reload", "--dry-run"][..], &["reload"]] {
            let output = daemon.omnid(arguments);
            assert_eq!(output.code, Some(1), "{output:?}");
            assert!(output.stderr.contains("omnid.toml:"), "{}", output.stderr);
            assert_eq!(output.stdout, "");
        }
        daemon.signal("HUP");
        let seen = daemon.log().matches("not reloaded").count();
        wait_until("the log says so", super::LIMIT, || {
            daemon.log().matches("not reloaded").count() >= seen.max(1)
        });
        assert_eq!(
            daemon.json(&["domain", "list"]).as_array().unwrap().len(),
            1
        );
        assert_eq!(daemon.json(&["status"])["listeners"], tree_before);
    }
    fs::remove_file(daemon.path("omnid.toml")).unwrap();
    let socket = daemon.path("omnid.sock");
    let output = super::omnid(&["--socket", socket.to_str().unwrap(), "reload"]);
    assert_eq!(output.code, Some(1), "{output:?}");
    daemon.write_config(CONFIG);
    assert_eq!(
        daemon.omnid(&["reload"]).success().stdout,
        "nothing to change\nreloaded\n"
    );
}

#[test]
fn what_only_a_restart_changes_is_said() {
    let daemon = daemon();
    let moved = "[server]\nhostname = \"localhost\"\ndata_dir = \"{dir}/other\"\n\
                 [admin]\nsocket = \"{dir}/omnid.sock\"\n";
    daemon.write_config(&format!("{moved}{CONFIG}"));
    let printed = daemon.omnid(&["reload", "--dry-run"]).success().stdout;
    assert!(
        printed.contains("server.data_dir changes only with a restart"),
        "{printed}"
    );
}
