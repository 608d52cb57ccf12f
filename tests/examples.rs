//! The configurations that we ship: each is good, does what it says, and answers its own tests.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod support;

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use support::{Daemon, Output, binary, run};

const LIMIT: Duration = Duration::from_secs(60);

fn shipped() -> PathBuf {
    support::tests().parent().unwrap().join("config")
}

fn examples() -> Vec<PathBuf> {
    let entries = fs::read_dir(shipped().join("examples")).unwrap();
    let mut found: Vec<_> = entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "toml")
        })
        .collect();
    found.sort();
    found
}

fn omnid(config: &Path, arguments: &[&str]) -> Output {
    let mut all = vec!["-c", config.to_str().unwrap()];
    all.extend(arguments);
    run(binary(), &all, LIMIT)
}

#[test]
fn every_service_has_an_example_that_is_good_without_a_warning() {
    let names: Vec<_> = examples()
        .iter()
        .map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    assert_eq!(names, ["dns", "http", "sip", "xmpp"]);
    for example in examples() {
        let output = omnid(&example, &["check"]).success();
        assert_eq!(output.stderr, "", "{}", example.display());
        // A relative path to the file means the same.
        let name = example.file_name().unwrap().to_str().unwrap();
        let script = format!(
            "cd {}/.. && {} -c examples/{name} check",
            example.parent().unwrap().display(),
            binary().display()
        );
        run("sh", &["-c", &script], LIMIT).success();
    }
}

#[test]
fn every_example_passes_its_own_tests() {
    for example in examples() {
        let output = omnid(&example, &["test"]).success();
        assert!(
            output.stdout.lines().count() >= 2,
            "{}: {}",
            example.display(),
            output.stdout
        );
        assert!(
            output.stdout.ends_with(" passed, 0 failed\n"),
            "{}",
            output.stdout
        );
    }
}

#[test]
fn a_test_that_does_not_hold_says_why() {
    let directory = tempfile::tempdir().unwrap();
    let text = fs::read_to_string(shipped().join("examples/dns.toml")).unwrap();
    fs::create_dir(directory.path().join("zones")).unwrap();
    let zone = "zones/example.org.zone";
    fs::copy(
        shipped().join("examples").join(zone),
        directory.path().join(zone),
    )
    .unwrap();
    let path = directory.path().join("omnid.toml");
    fs::write(
        &path,
        text.replace("2001:db8::10\"", "2001:db8::99\"")
            .replace("NXDOMAIN", "REFUSED"),
    )
    .unwrap();
    let output = omnid(&path, &["test"]);
    assert_eq!(output.code, Some(1), "{output:?}");
    assert!(
        output.stdout.contains("rcode is NXDOMAIN, not REFUSED"),
        "{}",
        output.stdout
    );
    assert!(
        output.stdout.contains("no \"2001:db8::99\" in:"),
        "{}",
        output.stdout
    );
    assert!(
        output.stdout.ends_with("0 passed, 2 failed\n"),
        "{}",
        output.stdout
    );
    let json = omnid(&path, &["test", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(json["failed"], 2, "{json}");
}

#[test]
fn what_is_shipped_opens_no_port() {
    let text = fs::read_to_string(shipped().join("omnid.toml")).unwrap();
    let output = omnid(&shipped().join("omnid.toml"), &["check"]).success();
    assert_eq!(output.stderr, "");
    // Run as it is, but for the places that only an installed daemon may use.
    let moved = text
        .replace("data_dir = \"/var/lib/omnid\"", "data_dir = \"{dir}/data\"")
        .replace("[admin]", "[admin]\nsocket = \"{dir}/omnid.sock\"");
    assert_ne!(moved, text);
    let daemon = Daemon::start(&moved);
    let status = daemon.json(&["status"]);
    let listeners = status["listeners"].as_array().unwrap();
    assert_eq!(listeners.len(), 1, "{listeners:?}");
    assert_eq!(listeners[0]["service"], "admin");
    assert!(
        listeners[0]["address"]
            .as_str()
            .unwrap()
            .starts_with("unix:")
    );
}

/// Lines `#key = …`, `#[section]` and their like are offers; `# words` are remarks.
fn with_every_offer_taken(text: &str) -> String {
    let mut taken = String::new();
    for line in text.lines() {
        let offered = line.strip_prefix('#').filter(|rest| {
            let word = rest.trim_start();
            !rest.starts_with(' ') || (rest.starts_with("  ") && !word.starts_with("omnid "))
        });
        taken.push_str(offered.unwrap_or(line));
        taken.push('\n');
    }
    taken
}

#[test]
fn what_is_offered_in_the_shipped_file_is_right() {
    let directory = tempfile::tempdir().unwrap();
    let path = |below: &str| directory.path().join(below);
    let zone = "zones/example.org.zone";
    for folder in ["zones", "lua", "html", "live"] {
        fs::create_dir(path(folder)).unwrap();
    }
    fs::copy(shipped().join("examples").join(zone), path(zone)).unwrap();
    fs::write(path("lua/a.lua"), "omnid.log('here')\n").unwrap();
    let key = path("key.pem");
    let make = [
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/CN=example.org",
        "-addext",
        "subjectAltName=DNS:example.org",
        "-keyout",
        key.to_str().unwrap(),
        "-out",
        path("cert.pem").to_str().unwrap(),
    ]
    .map(str::to_owned);
    run("openssl", &make, LIMIT).success();

    let text = fs::read_to_string(shipped().join("omnid.toml")).unwrap();
    let taken = with_every_offer_taken(&text);
    let offers = text
        .lines()
        .zip(taken.lines())
        .filter(|(before, after)| before != after);
    assert!(offers.count() > 30, "{taken}");
    let here = directory.path().display();
    let taken = taken
        .replace("/var/www/html", &format!("{here}/html"))
        .replace("/etc/letsencrypt/live", &format!("{here}/live"))
        .replace("/etc/ssl/example.org.crt", &format!("{here}/cert.pem"))
        .replace(
            "/etc/ssl/private/example.org.key",
            &format!("{here}/key.pem"),
        );
    fs::write(path("omnid.toml"), &taken).unwrap();
    let checked = omnid(&path("omnid.toml"), &["check"]).success();
    assert_eq!(checked.stderr, "");
    omnid(&path("omnid.toml"), &["test"]).success();
}
