//! The life of zones: signed messages, updates, secondaries and their primaries, against dig,
//! nsupdate, knsupdate, named and knotd.

use std::{
    collections::BTreeSet,
    fs,
    io::{Read, Write},
    net::{TcpListener, UdpSocket},
    path::{Path, PathBuf},
    sync::atomic::Ordering,
};

use omnid_dns::wire::{code::RrType, name::Name, record::OwnRecord};

use crate::{
    LIMIT, dig, start_named,
    support::{Background, Daemon, Output, free_port, run, run_with, wait_until},
};

mod reloads;

const SECRET: &str = "c2VjcmV0IG9mIHRoZSB0ZXN0cywgMzIgb2N0ZXRzIQ==";
const OTHER: &str = "YW5vdGhlciBzZWNyZXQsIHdoaWNoIG5vYm9keSBrbm93cw==";
const ALGORITHMS: [&str; 6] = [
    "hmac-md5",
    "hmac-sha1",
    "hmac-sha224",
    "hmac-sha256",
    "hmac-sha384",
    "hmac-sha512",
];

const ZONE: &str = "$TTL 300\n@ SOA ns hostmaster 10 3600 600 86400 60\n@ NS ns\nns A 127.0.0.1\n\
    www A 192.0.2.1\nwww A 192.0.2.2\nmail MX 10 www\nalias CNAME www\ntxt TXT \"one\" \"two\"\n\
    a.deep A 192.0.2.3\nsub NS ns.sub\nns.sub A 192.0.2.4\n";

fn keys() -> String {
    let mut text = String::new();
    for algorithm in ALGORITHMS {
        let legacy = algorithm == "hmac-md5";
        text += &format!(
            "[[dns.key]]\nname = \"{algorithm}.key\"\nalgorithm = \"{algorithm}\"\n\
             secret = \"{SECRET}\"\nlegacy = {legacy}\n"
        );
    }
    text
}

struct Server {
    daemon: Daemon,
    port: u16,
}

/// A daemon with the zone `dyn.test` in `zone` and what else its table says.
fn start(zone: &str, text: &str) -> Server {
    start_on(free_port(), zone, text)
}

fn start_on(port: u16, zone: &str, text: &str) -> Server {
    let daemon = Daemon::start_with(&config(port, zone), &[], |directory| {
        fs::write(directory.join("dyn.zone"), text).unwrap();
    });
    Server { daemon, port }
}

fn config(port: u16, zone: &str) -> String {
    format!(
        "[dns]\nlisten = [\"127.0.0.1:{port}\"]\nsockets = 1\nrefresh_min = \"1s\"\n{}\
         [[dns.zone]]\nname = \"dyn.test\"\n{zone}\n",
        keys()
    )
}

fn file(more: &str) -> String {
    format!("file = \"{{dir}}/dyn.zone\"\n{more}")
}

fn key(algorithm: &str) -> String {
    format!("{algorithm}:{algorithm}.key:{SECRET}")
}

/// The zone as a transfer gives it: every record once, in lower case, in order.
fn axfr(port: u16, arguments: &[&str]) -> BTreeSet<String> {
    let all = [arguments, &["dyn.test", "AXFR", "+noall", "+answer"]].concat();
    let text = dig(port, &all);
    text.lines()
        .filter(|line| !line.starts_with(';') && !line.trim().is_empty())
        .map(|line| {
            line.split_whitespace()
                .collect::<Vec<_>>()
                .join(" ")
                .to_lowercase()
        })
        .collect()
}

fn short(port: u16, name: &str, rr_type: &str) -> String {
    dig(port, &["+short", name, rr_type])
}

fn serial(port: u16) -> u32 {
    let soa = short(port, "dyn.test", "SOA");
    soa.split_whitespace()
        .nth(2)
        .map_or(0, |serial| serial.parse().unwrap())
}

fn update_with(program: &str, port: u16, key: Option<&str>, script: &str) -> Output {
    let script = format!("server 127.0.0.1 {port}\nzone dyn.test\n{script}\nsend\n");
    let mut arguments = vec!["-t", "8"];
    arguments.extend(key.into_iter().flat_map(|key| ["-y", key]));
    run_with(program, &arguments, &script, &[], LIMIT)
}

fn update(port: u16, script: &str) -> Output {
    update_with("nsupdate", port, Some(&key("hmac-sha256")), script)
}

#[test]
fn messages_are_signed_with_every_algorithm() {
    let mut text = ZONE.to_owned();
    for number in 0..3000 {
        text += &format!("n{number} TXT \"{}\"\n", "x".repeat(60));
    }
    let every: Vec<String> = ALGORITHMS
        .iter()
        .map(|name| format!("\"key {name}.key\""))
        .collect();
    let to = format!("transfer = {{ to = [{}] }}", every.join(", "));
    let server = start(&file(&to), &text);
    for algorithm in ALGORITHMS {
        let key = key(algorithm);
        for transport in ["+notcp", "+tcp"] {
            let answer = dig(server.port, &["-y", &key, transport, "www.dyn.test", "A"]);
            assert!(
                answer.contains("NOERROR") && answer.contains("TSIG"),
                "{answer}"
            );
            assert!(
                !answer.to_lowercase().contains("couldn't verify"),
                "{answer}"
            );
        }
        // 300 KB in many messages, each with a signature that goes on from the one before.
        let all = ["-y", &key, "dyn.test", "AXFR"];
        let answer = dig(server.port, &all);
        assert!(!answer.contains("Transfer failed"), "{answer}");
        assert!(answer.matches("IN\tTXT").count() > 3000, "{algorithm}");
        assert!(!answer.to_lowercase().contains("couldn't verify"));
        let kdig = run(
            "kdig",
            &[
                "@127.0.0.1",
                "-p",
                &server.port.to_string(),
                "-y",
                &key,
                "dyn.test",
                "AXFR",
            ],
            LIMIT,
        )
        .success();
        assert!(kdig.stdout.matches("TXT").count() > 3000, "{}", kdig.stderr);
        assert!(!kdig.stderr.contains("WARNING"), "{}", kdig.stderr);
    }
    let refused = dig(server.port, &["dyn.test", "AXFR"]);
    assert!(refused.contains("Transfer failed"), "{refused}");
    let wrong = format!("hmac-sha256:hmac-sha256.key:{OTHER}");
    let answer = dig(server.port, &["-y", &wrong, "www.dyn.test"]);
    assert!(
        answer.contains("NOTAUTH") && answer.contains("BADSIG"),
        "{answer}"
    );
    let unknown = format!("hmac-sha256:nobody.key:{SECRET}");
    let answer = dig(server.port, &["-y", &unknown, "www.dyn.test"]);
    assert!(
        answer.contains("NOTAUTH") && answer.contains("BADKEY"),
        "{answer}"
    );
    let key = key("hmac-sha512");
    let answer = dig(
        server.port,
        &["-y", &key, "+fuzztime=1000000", "www.dyn.test"],
    );
    assert!(
        answer.contains("NOTAUTH") && answer.contains("BADTIME"),
        "{answer}"
    );
    let log = server.daemon.log();
    assert!(
        log.contains("action=transfer") && log.contains("none fits"),
        "{log}"
    );
}

/// Scripts that named and this server are given one after the other: after each the same zone.
const SCRIPTS: [&str; 24] = [
    "update add new 300 A 192.0.2.10\nupdate add new 300 A 192.0.2.11",
    "update delete new A 192.0.2.10",
    "update add new 60 A 192.0.2.11",
    "update delete www A",
    "update delete a.deep",
    "update add alias 300 A 192.0.2.12",
    "update add alias 300 CNAME mail",
    "update add mail 300 CNAME www",
    "update delete dyn.test NS",
    "update delete dyn.test NS ns.dyn.test.",
    "update delete dyn.test SOA",
    "update add dyn.test 300 TXT apex\nupdate delete dyn.test ANY",
    "update add dyn.test 300 SOA ns hostmaster 5 1 2 3 4",
    "update add dyn.test 300 SOA ns.dyn.test. hostmaster.dyn.test. 1000 3600 600 86400 61",
    "prereq yxdomain txt\nupdate add found 300 A 192.0.2.13",
    "prereq yxdomain nothing\nupdate add never 300 A 192.0.2.14",
    "prereq nxdomain nothing\nupdate add found 300 AAAA 2001:db8::1",
    "prereq nxdomain txt\nupdate add never 300 A 192.0.2.15",
    "prereq yxrrset txt TXT\nprereq nxrrset txt A\nupdate add found 300 TXT yes",
    "prereq yxrrset txt TXT \"one\" \"two\"\nupdate add found 300 TXT again",
    "prereq yxrrset txt TXT one\nupdate add never 300 TXT no",
    "prereq nxdomain deep\nupdate add deep 300 TXT \"an empty non-terminal is not in use\"",
    "update add x.wild 300 TYPE999 \\# 3 010203\nupdate add *.wild 300 TXT star\nupdate delete found TXT yes",
    "update add never 300 A 192.0.2.16\nupdate add outside.example. 300 A 192.0.2.17",
];

fn absolute(script: &str) -> String {
    // nsupdate takes relative names only after an $ORIGIN of its own; here they are written out.
    let lines = script.lines().map(|line| {
        let mut words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        let at = 2;
        if let Some(name) = words.get_mut(at)
            && !name.ends_with('.')
            && !name.ends_with("dyn.test")
        {
            name.push_str(".dyn.test.");
        }
        let last = words.len() - 1;
        if words.iter().any(|word| word == "CNAME") {
            words[last].push_str(".dyn.test.");
        }
        words.join(" ")
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn updates_make_the_zone_that_named_makes_and_outlive_a_kill() {
    let mut server = start(
        &file("transfer = { to = [\"localhost\"] }\nupdate = { from = [\"key hmac-sha256.key\"] }"),
        ZONE,
    );
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("dyn.zone"), ZONE).unwrap();
    let zones = format!(
        "key \"hmac-sha256.key\" {{ algorithm hmac-sha256; secret \"{SECRET}\"; }};\n\
         zone \"dyn.test\" {{ type primary; file \"dyn.zone\"; \
         allow-update {{ key hmac-sha256.key; }}; }};"
    );
    let named = free_port();
    let _named = start_named(directory.path(), named, &zones);
    for (number, script) in SCRIPTS.iter().enumerate() {
        let script = absolute(script);
        let ours = update(server.port, &script);
        let theirs = update(named, &script);
        assert_eq!(ours.code, theirs.code, "{script}: {ours:?} {theirs:?}");
        let told = |output: &Output| output.stderr.lines().last().unwrap_or_default().to_owned();
        assert_eq!(told(&ours), told(&theirs), "{script}");
        assert_eq!(
            axfr(server.port, &[]),
            axfr(named, &[]),
            "after {number}: {script}"
        );
    }
    let before = axfr(server.port, &[]);
    assert!(before.len() > 12 && serial(server.port) > 1000);

    // knsupdate has an equal say.
    let added = update_with(
        "knsupdate",
        server.port,
        Some(&key("hmac-sha256")),
        "update add knot.dyn.test. 300 A 192.0.2.20",
    );
    added.success();
    let last = serial(server.port);
    server.daemon = server.daemon.kill_and_start();
    assert_eq!(serial(server.port), last);
    assert_eq!(short(server.port, "knot.dyn.test", "A"), "192.0.2.20\n");
    let file = fs::read_to_string(server.daemon.path("dyn.zone")).unwrap();
    assert_eq!(file, ZONE, "the operator's file is not touched");

    let status = server.daemon.json(&["zone", "status", "dyn.test"]);
    assert_eq!(status["kind"], "dynamic");
    assert!(status["changes_not_in_file"].as_u64().unwrap() > 5);
}

/// Killed in the midst of a row of updates: whatever was acknowledged is there.
#[test]
fn nothing_acknowledged_is_lost() {
    let update_from = "update = { from = [\"localhost\"] }";
    let mut server = start(&file(update_from), ZONE);
    for round in 0..3 {
        let port = server.port;
        let sender = std::thread::spawn(move || {
            let mut acknowledged = 0;
            for number in 0..500 {
                let script = format!("update add r{round}n{number}.dyn.test. 300 A 192.0.2.9");
                if update_with("nsupdate", port, None, &format!("{script}\n")).code != Some(0) {
                    break;
                }
                acknowledged = number + 1;
            }
            acknowledged
        });
        wait_until("some updates are in", LIMIT, || {
            !short(server.port, &format!("r{round}n5.dyn.test"), "A").is_empty()
        });
        server.daemon.kill();
        let acknowledged = sender.join().unwrap();
        server.daemon.start_again();
        assert!(acknowledged > 5);
        for number in 0..acknowledged {
            let name = format!("r{round}n{number}.dyn.test");
            assert_eq!(short(server.port, &name, "A"), "192.0.2.9\n", "{name}");
        }
    }
}

#[test]
fn rules_say_who_may_change_what_and_the_log_says_which_rule() {
    let policy = "query_from = [\"!127.0.0.9\", \"any\"]\n\
        [dns.zone.update]\nfrom = [\"!127.0.0.8\", \"key hmac-sha512.key\"]\n\
        policy = [\"deny hmac-sha256.key name locked.free.dyn.test\", \
        \"grant hmac-sha256.key subdomain free.dyn.test A AAAA\", \
        \"grant hmac-sha384.key zonesub TXT\", \"grant *.key selfsub ANY\"]";
    let server = start(&file(policy), ZONE);
    let cases = [
        ("hmac-sha512", "www.dyn.test. 300 A 192.0.2.5", true),
        ("hmac-sha256", "free.dyn.test. 300 A 192.0.2.5", true),
        ("hmac-sha256", "x.free.dyn.test. 300 AAAA ::1", true),
        ("hmac-sha256", "x.free.dyn.test. 300 TXT no", false),
        (
            "hmac-sha256",
            "locked.free.dyn.test. 300 A 192.0.2.5",
            false,
        ),
        ("hmac-sha256", "www.dyn.test. 300 A 192.0.2.5", false),
        ("hmac-sha384", "www.dyn.test. 300 TXT yes", true),
        ("hmac-sha384", "www.dyn.test. 300 A 192.0.2.5", false),
        ("hmac-sha1", "www.dyn.test. 300 A 192.0.2.5", false),
    ];
    for (algorithm, record, granted) in cases {
        let script = format!("update add {record}");
        let output = update_with("nsupdate", server.port, Some(&key(algorithm)), &script);
        assert_eq!(
            output.code == Some(0),
            granted,
            "{algorithm} {record}: {output:?}"
        );
        assert_eq!(output.stderr.contains("REFUSED"), !granted, "{output:?}");
    }
    let unsigned = update_with(
        "nsupdate",
        server.port,
        None,
        "update add a.dyn.test. 1 A 1.2.3.4",
    );
    assert!(unsigned.stderr.contains("REFUSED"), "{unsigned:?}");
    let log = server.daemon.log();
    for line in [
        "127.0.0.1 with key hmac-sha256.key.: locked.free.dyn.test. A: rule \\\"deny hmac-sha256.key name locked.free.dyn.test\\\" of update.policy",
        "127.0.0.1 with key hmac-sha256.key.: www.dyn.test. A: no rule of update.policy fits",
        "127.0.0.1 without a key: the rules of update.policy are about keys",
    ] {
        assert!(log.contains(line), "{line} in\n{log}");
    }
    let from = |address: &str| dig(server.port, &["-b", address, "www.dyn.test", "A"]);
    assert!(from("127.0.0.1").contains("NOERROR"));
    assert!(from("127.0.0.9").contains("REFUSED"));
    let log = server.daemon.log();
    assert!(
        log.contains("action=query") && log.contains("rule=!127.0.0.9"),
        "{log}"
    );
}

#[test]
fn a_zone_is_the_files_or_the_updates_and_never_both() {
    let server = start(&file("update = { from = [\"localhost\"] }"), ZONE);
    let add = |name: &str| {
        let script = format!("update add {name}.dyn.test. 300 A 192.0.2.6");
        update_with("nsupdate", server.port, None, &script)
    };
    add("first").success();
    let path = server.daemon.path("dyn.zone");

    // Edited under the hands of the updates: told, and nothing changes.
    fs::write(
        &path,
        format!("{ZONE}hand A 192.0.2.7\n").replace(" 10 ", " 20 "),
    )
    .unwrap();
    let reload = server.daemon.omnid(&["reload"]);
    assert_ne!(reload.code, Some(0));
    let told = format!("{}{}", reload.stdout, reload.stderr);
    assert!(
        told.contains("was edited while updates had the zone"),
        "{told}"
    );
    assert_eq!(short(server.port, "first.dyn.test", "A"), "192.0.2.6\n");
    fs::write(&path, ZONE).unwrap();
    server.daemon.omnid(&["reload"]).success();

    server
        .daemon
        .omnid(&["zone", "freeze", "dyn.test"])
        .success();
    let refused = add("second");
    assert!(refused.stderr.contains("REFUSED"), "{refused:?}");
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains("first.dyn.test."), "{text}");
    let serial_then = serial(server.port);
    let edited = format!("{text}hand.dyn.test. 300 IN A 192.0.2.8\n");
    fs::write(&path, &edited).unwrap();
    let thaw = server.daemon.omnid(&["zone", "thaw", "dyn.test"]);
    assert!(thaw.stderr.contains("its serial was not"), "{thaw:?}");
    let next = serial_then + 1;
    fs::write(
        &path,
        edited.replace(&format!(" {serial_then} "), &format!(" {next} ")),
    )
    .unwrap();
    server.daemon.omnid(&["zone", "thaw", "dyn.test"]).success();
    assert_eq!(short(server.port, "hand.dyn.test", "A"), "192.0.2.8\n");
    add("third").success();
    assert_eq!(serial(server.port), next + 1);
    let status = server.daemon.json(&["zone", "sync", "dyn.test"]);
    assert_eq!(status["changes_not_in_file"], 0);
    let server_port = server.port;
    let daemon = server.daemon.kill_and_start();
    assert_eq!(short(server_port, "third.dyn.test", "A"), "192.0.2.6\n");

    // A zone that is to be the file's alone again first has all of its updates in it.
    let script = "update add fourth.dyn.test. 300 A 192.0.2.6";
    update_with("nsupdate", server_port, None, script).success();
    daemon.write_config(&config(server_port, &file("")));
    let reload = daemon.omnid(&["reload"]);
    let told = format!("{}{}", reload.stdout, reload.stderr);
    assert!(
        told.contains("takes no updates any more, but 1 of them"),
        "{told}"
    );
    daemon.omnid(&["zone", "sync", "dyn.test"]).success();
    daemon.omnid(&["reload"]).success();
    assert_eq!(short(server_port, "fourth.dyn.test", "A"), "192.0.2.6\n");
}

/// named's part in a test: the zone `dyn.test`, with that much more said about it.
fn named_with(directory: &Path, port: u16, zone: &str) -> Background {
    let zones = format!(
        "key \"hmac-sha256.key\" {{ algorithm hmac-sha256; secret \"{SECRET}\"; }};\n\
         zone \"dyn.test\" {{ {zone} }};"
    );
    start_named(directory, port, &zones)
}

fn knotd_with(directory: &Path, port: u16, more: &str) -> Background {
    let path: PathBuf = directory.join("knot.conf");
    let text = format!(
        "server:\n    rundir: \"{0}\"\n    listen: 127.0.0.1@{port}\ndatabase:\n    storage: \"{0}/db\"\n\
         log:\n  - target: stderr\n    any: info\n\
         key:\n  - id: hmac-sha256.key\n    algorithm: hmac-sha256\n    secret: {SECRET}\n{more}",
        directory.display()
    );
    fs::write(&path, text).unwrap();
    Background::start(
        "knotd",
        &["-c", path.to_str().unwrap()],
        &directory.join("knotd.log"),
    )
}

#[test]
fn named_and_knotd_as_secondaries_follow_by_ixfr() {
    let (named_port, knot_port) = (free_port(), free_port());
    let zone = format!(
        "notify_key = \"hmac-sha256.key\"\n\
         notify = [\"127.0.0.1:{named_port}\", \"127.0.0.1:{knot_port}\"]\n\
         transfer = {{ to = [\"key hmac-sha256.key\"] }}\nupdate = {{ from = [\"localhost\"] }}"
    );
    let mut text = ZONE.to_owned();
    for number in 0..2000 {
        text += &format!("n{number} TXT \"{}\"\n", "x".repeat(60));
    }
    let server = start(&file(&zone), &text);
    let directory = tempfile::tempdir().unwrap();
    let named = named_with(
        directory.path(),
        named_port,
        &format!(
            "type secondary; file \"copy\"; \
             primaries {{ 127.0.0.1 port {} key hmac-sha256.key; }};",
            server.port
        ),
    );
    let knot_directory = tempfile::tempdir().unwrap();
    let knotd = knotd_with(
        knot_directory.path(),
        knot_port,
        &format!(
            "remote:\n  - id: primary\n    address: 127.0.0.1@{}\n    key: hmac-sha256.key\n\
             acl:\n  - id: notify\n    address: 127.0.0.1\n    action: notify\n    key: hmac-sha256.key\n\
             \x20 - id: transfer\n    address: 127.0.0.1\n    action: transfer\n\
             zone:\n  - domain: dyn.test\n    master: primary\n    acl: [notify, transfer]\n    storage: \"{}\"\n",
            server.port,
            knot_directory.path().display()
        ),
    );
    for port in [named_port, knot_port] {
        wait_until("the copy is there", LIMIT, || serial(port) == 10);
    }
    for number in 1..=5 {
        let script = format!(
            "update add u{number}.dyn.test. 300 A 192.0.2.{number}\nsend\nupdate delete n{number}.dyn.test."
        );
        update_with("nsupdate", server.port, None, &script).success();
        let latest = serial(server.port);
        for port in [named_port, knot_port] {
            wait_until("the change has come", LIMIT, || serial(port) == latest);
            assert!(short(port, &format!("n{number}.dyn.test"), "TXT").is_empty());
        }
    }
    let ours = axfr(server.port, &["-y", &key("hmac-sha256")]);
    assert_eq!(ours, axfr(named_port, &[]));
    assert_eq!(ours, axfr(knot_port, &[]));
    let log = fs::read_to_string(knot_directory.path().join("knotd.log")).unwrap();
    assert!(log.contains("IXFR, incoming"), "{log}");
    let log = server.daemon.log();
    assert!(log.matches("incremental=true").count() >= 10, "{log}");

    drop((named, knotd));
}

#[test]
fn edits_of_the_file_are_sent_as_changes() {
    let transfer = "transfer = { to = [\"localhost\"] }";
    let server = start(&file(transfer), ZONE);
    let path = server.daemon.path("dyn.zone");
    let edited = ZONE
        .replace(" 10 3600", " 11 3600")
        .replace("txt TXT \"one\" \"two\"", "txt TXT three");
    fs::write(&path, edited).unwrap();
    server.daemon.omnid(&["reload"]).success();
    let port = server.port.to_string();
    let ixfr = run(
        "kdig",
        &[
            "@127.0.0.1",
            "-p",
            &port,
            "dyn.test",
            "ixfr=10",
            "+noall",
            "+answer",
        ],
        LIMIT,
    );
    let rows: Vec<String> = ixfr
        .success()
        .stdout
        .lines()
        .filter(|line| !line.starts_with(';') && !line.is_empty())
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect();
    assert_eq!(rows.len(), 6, "{rows:?}");
    assert!(
        rows[1].contains(" 10 ") && rows[2].contains("\"one\" \"two\""),
        "{rows:?}"
    );
    assert!(
        rows[3].contains(" 11 ") && rows[4].contains("\"three\""),
        "{rows:?}"
    );
}

#[test]
fn a_secondary_follows_named_and_keeps_its_copy() {
    let directory = tempfile::tempdir().unwrap();
    let short_lived = ZONE.replace("10 3600 600 86400 60", "10 2 1 20 60");
    let mut text = short_lived.clone();
    for number in 0..5000 {
        text += &format!("n{number} TXT \"{}\"\n", "x".repeat(60));
    }
    fs::write(directory.path().join("dyn.zone"), &text).unwrap();
    let (named_port, our_port, dead) = (free_port(), free_port(), free_port());
    let zone = format!(
        "type primary; file \"dyn.zone\"; allow-update {{ 127.0.0.1; }}; \
         allow-transfer {{ key hmac-sha256.key; }}; notify explicit; \
         notify-delay 0; also-notify {{ 127.0.0.1 port {our_port}; }};"
    );
    let named = named_with(directory.path(), named_port, &zone);
    // The first primary does not answer: the second has to.
    let primaries = format!(
        "primaries = [{{ address = \"127.0.0.1:{dead}\" }}, \
         {{ address = \"127.0.0.1:{named_port}\", key = \"hmac-sha256.key\" }}]\n\
         transfer = {{ to = [\"localhost\"] }}"
    );
    let mut server = start_on(our_port, &primaries, "");
    wait_until("the copy is there", LIMIT, || serial(our_port) == 10);
    let theirs = |port| axfr(port, &["-y", &key("hmac-sha256")]);
    assert_eq!(theirs(named_port), theirs(our_port));
    let script = "update add added.dyn.test. 300 A 192.0.2.30\nupdate delete n7.dyn.test.";
    update_with("nsupdate", named_port, None, script).success();
    wait_until("the change has come", LIMIT, || serial(our_port) == 11);
    assert_eq!(theirs(named_port), theirs(our_port));
    let log = server.daemon.log();
    assert!(
        log.contains("how=AXFR") && log.contains("how=IXFR"),
        "{log}"
    );
    assert!(
        log.contains("primary says that the zone has changed"),
        "{log}"
    );

    // The primary dies. A restart serves the copy, and after its time it is served no more.
    drop(named);
    server.daemon = server.daemon.kill_and_start();
    assert_eq!(short(our_port, "added.dyn.test", "A"), "192.0.2.30\n");
    wait_until("the copy expires", LIMIT, || {
        dig(our_port, &["www.dyn.test"]).contains("SERVFAIL")
    });
    let status = server.daemon.json(&["zone", "status", "dyn.test"]);
    assert_eq!(status["served"], false);
    let _named = named_with(directory.path(), named_port, &zone);
    wait_until("it is served again", LIMIT, || serial(our_port) == 11);
}

#[test]
fn a_secondary_follows_knotd_without_a_journal() {
    // knotd without a journal answers an IXFR with the whole zone.
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("dyn.test.zone"), ZONE).unwrap();
    let (knot_port, our_port) = (free_port(), free_port());
    let zone = format!(
        "remote:\n  - id: secondary\n    address: 127.0.0.1@{our_port}\n\
         acl:\n  - id: all\n    address: 127.0.0.1\n    action: [transfer, update]\n\
         zone:\n  - domain: dyn.test\n    acl: all\n    notify: secondary\n    storage: \"{}\"\n    \
         journal-content: none\n    zonefile-load: whole\n",
        directory.path().display()
    );
    let _knotd = knotd_with(directory.path(), knot_port, &zone);
    wait_until("knotd answers", LIMIT, || {
        let port = knot_port.to_string();
        let arguments = [
            "@127.0.0.1",
            "-p",
            &port,
            "+short",
            "+tries=1",
            "+time=1",
            "dyn.test",
            "SOA",
        ];
        !run("dig", &arguments, LIMIT).stdout.is_empty()
    });
    let primaries = format!(
        "primaries = [{{ address = \"127.0.0.1:{knot_port}\" }}]\n\
         transfer = {{ to = [\"localhost\"] }}"
    );
    let server = start_on(our_port, &primaries, "");
    wait_until("the copy is there", LIMIT, || serial(our_port) == 10);
    let script = "update add late.dyn.test. 300 A 192.0.2.31";
    update_with("knsupdate", knot_port, None, script).success();
    wait_until("the change has come", LIMIT, || serial(our_port) == 11);
    assert_eq!(axfr(knot_port, &[]), axfr(our_port, &[]));
    server
        .daemon
        .omnid(&["zone", "retransfer", "dyn.test"])
        .success();
    wait_until("all of it has come again", LIMIT, || {
        server.daemon.log().matches("how=AXFR").count() >= 2
    });
}

/// A primary that answers IXFR with changes of another zone, and AXFR as it should.
struct Liar {
    port: u16,
    serial: std::sync::Arc<std::sync::atomic::AtomicU32>,
}

fn encode(records: &[String]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for text in records {
        let mut words = text.splitn(3, ' ');
        let owner = Name::from_text(words.next().unwrap()).unwrap();
        let rr_type = RrType::from_text(words.next().unwrap().as_bytes()).unwrap();
        let record = OwnRecord::from_text(owner, rr_type, 300, words.next().unwrap()).unwrap();
        bytes.extend(record.owner.as_ref().wire());
        bytes.extend(record.rr_type.0.to_be_bytes());
        bytes.extend([0, 1, 0, 0, 1, 44]);
        bytes.extend((record.rdata.len() as u16).to_be_bytes());
        bytes.extend(record.rdata);
    }
    bytes
}

impl Liar {
    fn answer(query: &[u8], serial: u32) -> Vec<u8> {
        let soa = |serial: u32| {
            format!("dyn.test SOA ns.dyn.test. h.dyn.test. {serial} 3600 600 86400 60")
        };
        let end = 12 + 10 + 4;
        let kind = u16::from_be_bytes([query[22], query[23]]);
        let records = match kind {
            252 => vec![
                soa(serial),
                "dyn.test NS ns.dyn.test.".to_owned(),
                "ns.dyn.test A 192.0.2.1".to_owned(),
                format!("v.dyn.test TXT {serial}"),
                soa(serial),
            ],
            251 => vec![
                soa(serial),
                soa(serial - 1),
                "nothing.dyn.test A 192.0.2.99".to_owned(),
                soa(serial),
                soa(serial),
            ],
            _ => vec![soa(serial)],
        };
        let mut message = query[..end].to_vec();
        message[2] = 0x84;
        message[7] = records.len() as u8;
        message[9] = 0;
        message[11] = 0;
        message.extend(encode(&records));
        message
    }

    fn start() -> Liar {
        let port = free_port();
        let serial = std::sync::Arc::new(std::sync::atomic::AtomicU32::new(10));
        let udp = UdpSocket::bind(("127.0.0.1", port)).unwrap();
        let tcp = TcpListener::bind(("127.0.0.1", port)).unwrap();
        let now = serial.clone();
        std::thread::spawn(move || {
            let mut buffer = [0; 1024];
            while let Ok((length, from)) = udp.recv_from(&mut buffer) {
                let serial = now.load(Ordering::SeqCst);
                udp.send_to(&Liar::answer(&buffer[..length], serial), from)
                    .unwrap();
            }
        });
        let now = serial.clone();
        std::thread::spawn(move || {
            while let Ok((mut stream, _)) = tcp.accept() {
                let mut length = [0; 2];
                if stream.read_exact(&mut length).is_err() {
                    continue;
                }
                let mut query = vec![0; u16::from_be_bytes(length).into()];
                stream.read_exact(&mut query).unwrap();
                let answer = Liar::answer(&query, now.load(Ordering::SeqCst));
                let length = (answer.len() as u16).to_be_bytes();
                let sent = stream.write_all(&[&length[..], &answer].concat());
                assert!(sent.is_ok() || query.is_empty());
            }
        });
        Liar { port, serial }
    }
}

/// What Technitium issue 2053 tells of: changes that do not fit, and a secondary stale for ever.
#[test]
fn a_failed_ixfr_is_followed_by_an_axfr_at_once() {
    let liar = Liar::start();
    let primaries = format!("primaries = [{{ address = \"127.0.0.1:{}\" }}]", liar.port);
    let server = start(&primaries, "");
    wait_until("the copy is there", LIMIT, || serial(server.port) == 10);
    liar.serial.store(11, Ordering::SeqCst);
    server
        .daemon
        .omnid(&["zone", "refresh", "dyn.test"])
        .success();
    wait_until("the new version is there", LIMIT, || {
        serial(server.port) == 11
    });
    assert_eq!(short(server.port, "v.dyn.test", "TXT"), "\"11\"\n");
    let log = server.daemon.log();
    assert!(log.contains("incremental transfer of no use"), "{log}");
}
