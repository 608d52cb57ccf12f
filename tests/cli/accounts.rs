//! `omnid user …`, through the daemon and, where none runs, on the store itself.

use std::{fs, path::Path};

use super::{LIMIT, daemon, omnid, support};
use support::{Output, binary, run_with};

fn with_input(arguments: &[&str], input: &str) -> Output {
    run_with(binary(), arguments, input, &[], LIMIT)
}

/// The life of an account, the same on both ways.
fn life(config: &str) {
    let user = |arguments: &[&str]| {
        let mut all = vec!["-c", config, "user"];
        all.extend(arguments);
        omnid(&all)
    };
    let json = |arguments: &[&str]| -> serde_json::Value {
        let mut all = vec!["--json"];
        all.extend(arguments);
        serde_json::from_str(&user(&all).success().stdout).unwrap()
    };

    let add = [
        "-c",
        config,
        "user",
        "add",
        "Alice@Example.org",
        "--stdin",
        "--role",
        "admin",
    ];
    let added = with_input(&add, "correct horse battery\n").success();
    // Addresses are one in lower case, however they are typed.
    assert_eq!(added.stdout, "added alice@example.org\n");
    let twice = with_input(&add, "correct horse battery\n");
    assert_eq!(twice.code, Some(1), "{twice:?}");
    assert!(
        twice.stderr.contains("alice@example.org"),
        "{}",
        twice.stderr
    );

    let made = json(&["add", "bob@example.net", "--generate"]);
    assert_eq!(made["address"], "bob@example.net");
    assert_eq!(made["password"].as_str().unwrap().len(), 20);
    let printed = user(&["passwd", "bob@example.net", "--generate"])
        .success()
        .stdout;
    assert!(
        printed.starts_with("changed bob@example.net\npassword: "),
        "{printed}"
    );

    let all = json(&["list"]);
    let addresses: Vec<_> = all
        .as_array()
        .unwrap()
        .iter()
        .map(|a| a["address"].as_str())
        .collect();
    assert_eq!(
        addresses,
        [Some("bob@example.net"), Some("alice@example.org")]
    );
    assert!(!all.to_string().contains("correct horse"), "{all}");
    assert_eq!(json(&["list", "example.net"]).as_array().unwrap().len(), 1);
    assert_eq!(json(&["list", "example.com"]), serde_json::json!([]));
    let table = user(&["list"]).success().stdout;
    assert!(table.starts_with("ADDRESS"), "{table}");
    assert_eq!(table.lines().count(), 3, "{table}");

    user(&["disable", "bob@example.net"]).success();
    assert_eq!(json(&["list", "example.net"])[0]["enabled"], false);
    user(&["enable", "bob@example.net"]).success();
    assert_eq!(json(&["list", "example.net"])[0]["enabled"], true);

    let made = json(&["app-password", "add", "bob@example.net", "tablet"]);
    assert!(made["password"].as_str().unwrap().len() >= 16, "{made}");
    let kept = json(&["app-password", "list", "bob@example.net"]);
    assert_eq!(kept[0]["label"], "tablet", "{kept}");
    assert!(
        !kept
            .to_string()
            .contains(made["password"].as_str().unwrap())
    );
    let id = kept[0]["id"].to_string();
    user(&["app-password", "remove", "bob@example.net", &id]).success();
    assert_eq!(
        json(&["app-password", "list", "bob@example.net"]),
        serde_json::json!([])
    );

    let audit = json(&["audit", "--limit", "3"]);
    assert_eq!(audit.as_array().unwrap().len(), 3, "{audit}");

    user(&["remove", "bob@example.net"]).success();
    let gone = user(&["remove", "bob@example.net"]);
    assert_eq!(gone.code, Some(1), "{gone:?}");
    assert!(gone.stderr.contains("bob@example.net"), "{}", gone.stderr);
    assert_eq!(json(&["list"]).as_array().unwrap().len(), 1);
}

fn offline_config(directory: &Path) -> String {
    let config = directory.join("omnid.toml");
    let text = format!(
        "[server]\ndata_dir = \"{0}/data\"\n[admin]\nsocket = \"{0}/omnid.sock\"\n",
        directory.display()
    );
    fs::write(&config, text).unwrap();
    config.to_str().unwrap().to_owned()
}

#[test]
fn an_account_lives_through_the_daemon() {
    let daemon = daemon();
    life(daemon.path("omnid.toml").to_str().unwrap());
    // It went through the daemon, and no password went into its log.
    assert!(daemon.log().contains("user.add"), "{}", daemon.log());
    assert!(
        !daemon.log().contains("correct horse"),
        "a password is in the log"
    );
}

#[test]
fn an_account_lives_before_the_first_start() {
    let directory = tempfile::tempdir().unwrap();
    let config = offline_config(directory.path());
    life(&config);
    use std::os::unix::fs::PermissionsExt;
    let mode = fs::metadata(directory.path().join("data"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(
        mode & 0o077,
        0,
        "the store's directory is for its owner only: {mode:o}"
    );
}

#[test]
fn bad_input_makes_no_account() {
    let directory = tempfile::tempdir().unwrap();
    let config = offline_config(directory.path());
    for (address, password, says) in [
        ("alice", "long enough password", "alice"),
        ("@example.org", "long enough password", "@example.org"),
        ("alice@", "long enough password", "alice@"),
        (
            "al ice@example.org",
            "long enough password",
            "al ice@example.org",
        ),
        ("alice@example.org", "\n", "empty"),
        ("alice@example.org", "short", "password"),
    ] {
        let output = with_input(
            &["-c", &config, "user", "add", address, "--stdin"],
            password,
        );
        assert_eq!(output.code, Some(1), "{address}: {output:?}");
        assert!(output.stderr.contains(says), "{address}: {}", output.stderr);
    }
    let add = [
        "-c",
        &config,
        "user",
        "add",
        "alice@example.org",
        "--stdin",
        "--role",
        "amdin",
    ];
    let output = with_input(&add, "long enough password");
    assert_eq!(output.code, Some(1), "{output:?}");
    assert!(
        output.stderr.contains("user, domain-admin, admin"),
        "{}",
        output.stderr
    );
    let list = omnid(&["-c", &config, "--json", "user", "list"]).success();
    assert_eq!(list.stdout.trim(), "[]");
}

#[test]
fn without_a_terminal_nothing_is_asked() {
    let directory = tempfile::tempdir().unwrap();
    let config = offline_config(directory.path());
    // `setsid`: without a controlling terminal there is none to ask on.
    let binary = binary().to_str().unwrap();
    let arguments = [
        "-w",
        binary,
        "-c",
        &config,
        "user",
        "add",
        "alice@example.org",
    ];
    let output = support::run("setsid", &arguments, LIMIT);
    assert_eq!(output.code, Some(1), "{output:?}");
    assert!(output.stderr.contains("--stdin"), "{}", output.stderr);
}
