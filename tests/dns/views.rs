//! Views: the same questions to this server and to named with the same views, and transfers,
//! notifies and updates that go to the zone of the right view.

use std::fs;

use crate::{
    LIMIT, start_named,
    support::{Daemon, free_port, run, run_with, wait_until},
};

const SECRET: &str = "c2VjcmV0IG9mIHRoZSB0ZXN0cywgMzIgb2N0ZXRzIQ==";

fn zone(which: &str) -> String {
    format!(
        "$TTL 300\n@ SOA ns hostmaster 10 3600 600 86400 60\n@ NS ns\nns A 127.0.0.1\n\
         which TXT \"{which}\"\nalias CNAME which.shared.test.\n"
    )
}

fn keys() -> String {
    let key = |name| format!("[[dns.key]]\nname = \"{name}.key\"\nsecret = \"{SECRET}\"\n");
    ["in", "out"].map(key).concat()
}

fn named_keys() -> String {
    let key = |name| format!("key {name}.key {{ algorithm hmac-sha256; secret \"{SECRET}\"; }};\n");
    ["in", "out"].map(key).concat()
}

fn dig(server: &str, port: u16, arguments: &[&str]) -> String {
    let port = port.to_string();
    let server = format!("@{server}");
    let all = [&[&*server, "-p", &port, "+norec", "+tries=2"], arguments].concat();
    run("dig", &all, LIMIT).success().stdout
}

fn signed(key: &str) -> String {
    format!("hmac-sha256:{key}.key:{SECRET}")
}

/// What a zone says it is to who signs with a key.
fn asked(port: u16, key: &str, name: &str, rr_type: &str) -> String {
    dig(
        "127.0.0.1",
        port,
        &["-y", &signed(key), "+short", name, rr_type],
    )
}

#[test]
fn views_are_as_those_of_named() {
    let port = free_port();
    let config = format!(
        "[dns]\nlisten = [\"127.0.0.1:{port}\", \"127.0.0.2:{port}\"]\nsockets = 1\n{}\
         [[dns.zone]]\nname = \"v.test\"\nfile = \"{{dir}}/outer\"\n\
         [[dns.zone]]\nname = \"shared.test\"\nfile = \"{{dir}}/shared\"\n\
         [[dns.view]]\nname = \"keyed\"\nclients = [\"key in.key\"]\n\
         [[dns.view.zone]]\nname = \"v.test\"\nfile = \"{{dir}}/keyed\"\n\
         [[dns.view.zone]]\nname = \"more.test\"\nin_view = \"inner\"\n\
         [[dns.view]]\nname = \"inner\"\nclients = [\"!127.0.0.6\", \"127.0.0.4/30\"]\n\
         [[dns.view.zone]]\nname = \"v.test\"\nfile = \"{{dir}}/inner\"\n\
         [[dns.view.zone]]\nname = \"more.test\"\nfile = \"{{dir}}/more\"\n\
         [[dns.view]]\nname = \"here\"\ndestinations = [\"127.0.0.2\"]\n\
         listen = [\"127.0.0.2:{port}\"]\n\
         [[dns.view.zone]]\nname = \"v.test\"\nfile = \"{{dir}}/here\"\n",
        keys()
    );
    let files = ["outer", "shared", "keyed", "inner", "more", "here"];
    let daemon = Daemon::start_with(&config, &[], |directory| {
        for name in files {
            fs::write(directory.join(name), zone(name)).unwrap();
        }
    });
    let directory = daemon.path("named");
    fs::create_dir(&directory).unwrap();
    for name in files {
        fs::write(directory.join(name), zone(name)).unwrap();
    }
    let primary =
        |name: &str, file: &str| format!("zone \"{name}\" {{ type primary; file \"{file}\"; }};\n");
    let shared = "zone \"shared.test\" { in-view rest; };\n";
    // In named a view that others share from comes before them: `rest` and `inner` keep out who is
    // for the later ones.
    let zones = format!(
        "{}view rest {{ match-clients {{ !key in.key; !{{ !127.0.0.6; 127.0.0.4/30; }}; any; }};\n{}{}}};\n\
         view inner {{ match-clients {{ !key in.key; !127.0.0.6; 127.0.0.4/30; }};\n{}{}{shared}}};\n\
         view keyed {{ match-clients {{ key in.key; }};\n{}zone \"more.test\" {{ in-view inner; }};\n\
         {shared}}};\n",
        named_keys(),
        primary("v.test", "outer"),
        primary("shared.test", "shared"),
        primary("v.test", "inner"),
        primary("more.test", "more"),
        primary("v.test", "keyed"),
    );
    let beside = free_port();
    let _named = start_named(&directory, beside, &zones);

    let seen = |port: u16, arguments: &[&str], server: &str| {
        let text = dig(server, port, &[arguments, &["+nocookie"]].concat());
        let status = text.split("status: ").nth(1);
        let status = status.and_then(|rest| rest.split(',').next());
        let record = text.lines().find(|line| line.contains("\tTXT\t\""));
        let which = record.and_then(|line| line.split('"').nth(1));
        format!("{} {}", status.unwrap_or("-"), which.unwrap_or("-"))
    };
    let key = signed("in");
    let mut outcomes = Vec::new();
    for from in ["127.0.0.1", "127.0.0.5", "127.0.0.6"] {
        for with in [&[][..], &["-y", &key]] {
            for (transport, name) in [
                ("+notcp", "which.v.test"),
                ("+tcp", "which.v.test"),
                ("+notcp", "which.shared.test"),
                ("+notcp", "which.more.test"),
            ] {
                let question = [&["-b", from, transport, name, "TXT"], with].concat();
                let ours = seen(port, &question, "127.0.0.1");
                assert_eq!(ours, seen(beside, &question, "127.0.0.1"), "{question:?}");
                outcomes.push(ours);
            }
        }
    }
    // named listens on no address but the interface's: this is for one that it lacks.
    for (from, with, expected) in [
        ("127.0.0.1", &[][..], "NOERROR here"),
        ("127.0.0.6", &["+tcp"], "NOERROR here"),
        ("127.0.0.5", &[], "NOERROR inner"),
        ("127.0.0.1", &["-y", &key], "NOERROR keyed"),
    ] {
        let question = [&["-b", from, "which.v.test", "TXT"], with].concat();
        assert_eq!(seen(port, &question, "127.0.0.2"), expected, "{question:?}");
    }
    for expected in ["outer", "keyed", "inner", "shared", "more"] {
        let expected = format!("NOERROR {expected}");
        assert!(outcomes.contains(&expected), "{expected}: {outcomes:?}");
    }
    assert!(
        outcomes.iter().any(|outcome| outcome == "REFUSED -"),
        "{outcomes:?}"
    );
    // An alias leads to what the view has.
    let alias = ["-b", "127.0.0.5", "+short", "alias.v.test", "TXT"];
    let alias = dig("127.0.0.1", port, &alias);
    assert_eq!(alias, "which.shared.test.\n\"shared\"\n");
    let list = daemon.json(&["zone", "list"]).to_string();
    assert!(
        list.contains("\"v.test@inner\"") && list.contains("\"v.test\""),
        "{list}"
    );
}

/// One name, two zones, two keys: here and in named, each the other's secondary.
#[test]
fn transfers_notifies_and_updates_find_their_view() {
    let (port, beside) = (free_port(), free_port());
    let tables = |prefix: &str, key: &str| {
        format!(
            "[[{prefix}]]\nname = \"dyn.test\"\nfile = \"{{dir}}/{key}.zone\"\n\
             update = {{ from = [\"key {key}.key\"] }}\n\
             transfer = {{ to = [\"key {key}.key\"] }}\n\
             notify = [\"127.0.0.1:{beside}\"]\nnotify_key = \"{key}.key\"\n\
             [[{prefix}]]\nname = \"sec.test\"\nnotify_from = [\"key {key}.key\"]\n\
             primaries = [{{ address = \"127.0.0.1:{beside}\", key = \"{key}.key\" }}]\n"
        )
    };
    let config = format!(
        "[dns]\nlisten = [\"127.0.0.1:{port}\"]\nsockets = 1\nrefresh_min = \"1s\"\n{}{}\
         [[dns.view]]\nname = \"in\"\nclients = [\"key in.key\"]\n{}",
        keys(),
        tables("dns.zone", "out"),
        tables("dns.view.zone", "in"),
    );
    let mut daemon = Daemon::start_with(&config, &[], |directory| {
        for name in ["in", "out"] {
            fs::write(directory.join(format!("{name}.zone")), zone(name)).unwrap();
        }
    });
    let directory = daemon.path("named");
    fs::create_dir(&directory).unwrap();
    let mut zones = named_keys();
    for (key, clients) in [("in", "key in.key;"), ("out", "any;")] {
        fs::write(directory.join(format!("sec.{key}")), zone(key)).unwrap();
        zones += &format!(
            "view {key} {{ match-clients {{ {clients} }};\n\
             zone \"dyn.test\" {{ type secondary; file \"dyn.{key}\";\n\
             primaries {{ 127.0.0.1 port {port} key {key}.key; }}; }};\n\
             zone \"sec.test\" {{ type primary; file \"sec.{key}\"; notify explicit;\n\
             also-notify {{ 127.0.0.1 port {port} key {key}.key; }};\n\
             allow-update {{ key {key}.key; }}; }}; }};\n"
        );
    }
    let _named = start_named(&directory, beside, &zones);
    // Both have both, each its own.
    for key in ["in", "out"] {
        let expected = format!("\"{key}\"\n");
        for (at, name) in [(beside, "which.dyn.test"), (port, "which.sec.test")] {
            wait_until("the first transfer", LIMIT, || {
                asked(at, key, name, "TXT") == expected
            });
        }
    }
    let plain = dig("127.0.0.1", port, &["+short", "which.dyn.test", "TXT"]);
    assert_eq!(plain, "\"out\"\n");

    // A change in one view is seen there at once, so that a notify was heard, and nowhere else.
    let update = |at: u16, zone: &str, key: &str, text: &str| {
        let script =
            format!("server 127.0.0.1 {at}\nzone {zone}\nupdate add new 300 TXT {text}\nsend\n");
        let script = script.replace("add new", &format!("add new.{zone}."));
        run_with(
            "nsupdate",
            &["-y", &signed(key), "-t", "8"],
            &script,
            &[],
            LIMIT,
        )
    };
    let answer = |at, zone: &str, key| asked(at, key, &format!("new.{zone}"), "TXT");
    for (at, other, zone) in [(port, beside, "dyn.test"), (beside, port, "sec.test")] {
        update(at, zone, "in", "inside").success();
        wait_until("a notify in the view", LIMIT, || {
            answer(other, zone, "in") == "\"inside\"\n"
        });
        assert_eq!(answer(at, zone, "out"), "");
        assert_eq!(answer(other, zone, "out"), "");
        update(at, zone, "out", "outside").success();
        wait_until("a notify out of the view", LIMIT, || {
            answer(other, zone, "out") == "\"outside\"\n"
        });
        assert_eq!(answer(at, zone, "in"), "\"inside\"\n");
        assert_eq!(answer(other, zone, "in"), "\"inside\"\n");
    }
    for (key, held) in [("in", "inside"), ("out", "outside")] {
        let all = dig("127.0.0.1", port, &["-y", &signed(key), "dyn.test", "AXFR"]);
        assert!(
            all.contains(held) && all.matches("TXT").count() == 2,
            "{all}"
        );
        // The zone as it was: the change alone.
        let change = dig(
            "127.0.0.1",
            port,
            &["-y", &signed(key), "dyn.test", "IXFR=10"],
        );
        assert!(
            change.contains(held) && change.matches("TXT").count() == 1,
            "{change}"
        );
    }

    // Each zone has its own journal, and commands find it.
    daemon.omnid(&["zone", "freeze", "dyn.test@in"]).success();
    update(port, "dyn.test", "in", "later").failure();
    update(port, "dyn.test", "out", "later").success();
    daemon.omnid(&["zone", "thaw", "dyn.test@in"]).success();
    let status = daemon.json(&["zone", "status", "sec.test@in"]);
    assert_eq!(
        (&status["kind"], &status["serial"]),
        (&"secondary".into(), &11.into())
    );
    assert!(daemon.path("data/dns/dyn.test@in.journal").exists());
    daemon.kill();
    daemon.start_again();
    assert_eq!(answer(port, "dyn.test", "in"), "\"inside\"\n");
    assert_eq!(answer(port, "dyn.test", "out").lines().count(), 2);
    assert_eq!(answer(port, "sec.test", "in"), "\"inside\"\n");
}
