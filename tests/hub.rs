//! Where services meet: what one offers and another uses, seen from outside.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod support;

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    process::{Child, ChildStdin, Command, Stdio},
    time::Duration,
};

use serde_json::Value;
use support::{
    Daemon, Demo, free_port, python, python_binary, run, run_with, tests, wait_until,
    whole::{self, More, Ports},
};

const LIMIT: Duration = Duration::from_secs(30);
const ALICE: &str = "alice@example.test";
const PASSWORD: &str = "correct horse battery";

fn local(port: u16) -> String {
    format!("127.0.0.1:{port}")
}

/// A chat session that lasts until this is dropped.
struct Chat {
    client: Child,
    ask: Option<ChildStdin>,
}

impl Chat {
    fn begin(server: &str, address: &str, password: &str, alpn: &str) -> Self {
        let mut client = Command::new(python_binary())
            .arg(tests().join("clients/xmpp_hold.py"))
            .args([server, address, password, "1", alpn])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut ask = client.stdin.take().unwrap();
        ask.write_all(b"\n").unwrap();
        let mut line = String::new();
        let mut said = BufReader::new(client.stdout.take().unwrap());
        said.read_line(&mut line).unwrap();
        assert_eq!(line, "1 of 1\n");
        Self {
            client,
            ask: Some(ask),
        }
    }

    fn end(mut self) {
        drop(self.ask.take());
        assert!(self.client.wait().unwrap().success());
    }
}

impl Drop for Chat {
    fn drop(&mut self) {
        let _ended = self.client.kill().and_then(|()| self.client.wait());
    }
}

/// The directory knows where somebody can be reached, and a mount shows it on the demonstration's
/// page: XMPP and SIP tell, HTTP asks, and none knows the others.
#[test]
fn a_mount_shows_who_can_be_reached_where() {
    let demo = Demo::start();
    let url = format!("http://{}/welcome/status.json", demo.address("http"));
    let status = || -> Value {
        let text = run("curl", &["-sS", "--fail", &url], LIMIT)
            .success()
            .stdout;
        serde_json::from_str(&text).unwrap()
    };
    let reached = |index: usize| -> Vec<(String, String)> {
        let contacts = status()["accounts"][index]["contacts"].clone();
        let text = |contact: &Value, member: &str| contact[member].as_str().unwrap().to_owned();
        contacts
            .as_array()
            .unwrap()
            .iter()
            .map(|contact| (text(contact, "service"), text(contact, "address")))
            .collect()
    };
    assert_eq!(status()["tree"]["state"], "ready");
    assert!(reached(0).is_empty() && reached(1).is_empty());

    let (alice, password) = demo.account(0);
    let chat = Chat::begin(demo.text("xmpps"), alice, password, "");
    let register = [demo.text("sip"), alice, password, "SHA-256", "keep"];
    python("sip_register.py", &register, LIMIT).success();
    wait_until("both are known", LIMIT, || reached(0).len() == 2);
    let at = reached(0);
    println!("alice is reached at {at:?}");
    assert!(
        at.iter()
            .any(|(service, address)| service == "xmpp" && address.starts_with("alice@demo.test/"))
    );
    assert!(
        at.iter().any(
            |(service, address)| service == "sip" && address.starts_with("sip:alice@127.0.0.1")
        )
    );
    assert!(reached(1).is_empty(), "bob is nowhere");
    chat.end();
    wait_until("the chat is over", LIMIT, || reached(0).len() == 1);

    // The mount is listed, and is served over TLS as well; a neighbour of its path is not it.
    let arguments = ["-c", demo.text("config"), "--json", "status"];
    let listed = run(support::binary(), &arguments, LIMIT).success().stdout;
    let listed: Value = serde_json::from_str(&listed).unwrap();
    let mounts = listed["mounts"].as_array().unwrap();
    assert!(
        mounts.iter().any(|mount| mount["path"] == "/welcome"),
        "{listed}"
    );
    let port = demo.address("https").port();
    let resolve = format!("demo.test:{port}:127.0.0.1");
    let code = |path: &str| {
        let url = format!("https://demo.test:{port}{path}");
        let arguments = ["-sS", "-o", "/dev/null", "-w", "%{http_code}"];
        let tls = ["--cacert", demo.text("ca"), "--resolve", &resolve, &url];
        run("curl", &[&arguments[..], &tls].concat(), LIMIT)
            .success()
            .stdout
    };
    assert_eq!(code("/welcome/status.json"), "200");
    assert_eq!(code("/welcomed"), "404");
}

/// One TLS port serves whatever its clients ask for by ALPN.
#[test]
fn one_port_serves_every_protocol() {
    let ports = Ports::free();
    let daemon = whole::start(&ports, More::default(), &[]);
    daemon.add_user(ALICE, PASSWORD);
    let https = local(ports.https);

    // DNS, as kdig asks for it (RFC 7858's ALPN id "dot").
    let port = ports.https.to_string();
    let kdig = [
        "@127.0.0.1",
        "-p",
        &port,
        "+tls",
        "+short",
        "example.test",
        "A",
    ];
    assert_eq!(run("kdig", &kdig, LIMIT).success().stdout, "127.0.0.1\n");

    // A chat (XEP-0368), by a client that logs in and stays.
    let chat = Chat::begin(&https, ALICE, PASSWORD, "xmpp-client");
    let sessions = daemon.json(&["sessions"]);
    println!("a chat on {}", sessions[0]["listener"]);
    assert_eq!(sessions[0]["listener"], format!("http https {https}"));

    // A call's signalling.
    let openssl = |alpn: &str, said: &str| {
        let arguments = [
            "s_client",
            "-connect",
            &https,
            "-servername",
            "example.test",
            "-alpn",
            alpn,
            "-quiet",
            "-ign_eof",
        ];
        run_with(
            "timeout",
            &[&["5", "openssl"], &arguments[..]].concat(),
            said,
            &[],
            LIMIT,
        )
    };
    let answer = openssl("sip/2", &whole::options("TLS")).stdout;
    assert!(answer.starts_with("SIP/2.0 200"), "{answer}");

    // And pages.
    let ca = daemon.path("data/tls/authority.pem").display().to_string();
    let url = format!("https://example.test:{}/", ports.https);
    let resolve = format!("example.test:{}:127.0.0.1", ports.https);
    let page = |version: &str| {
        let arguments = ["-sS", version, "--cacert", &ca, "--resolve", &resolve, &url];
        run("curl", &arguments, LIMIT).success().stdout
    };
    assert_eq!(
        (page("--http1.1"), page("--http2")),
        ("here\n".into(), "here\n".into())
    );

    // What a service that is gone has offered, is offered no more; the port is as it was.
    chat.end();
    let config = whole::config(&ports, More::default());
    let without_xmpp = {
        let (before, after) = config.split_once("\n[xmpp]\n").unwrap();
        let (_, after) = after.split_once("\n[sip]\n").unwrap();
        format!("{before}\n[sip]\n{after}")
    };
    daemon.write_config(&without_xmpp);
    daemon.omnid(&["reload"]).success();
    let refused = openssl("xmpp-client", "");
    assert!(
        refused.stderr.contains("no application protocol"),
        "{}",
        refused.stderr
    );
    assert_eq!(page("--http2"), "here\n");
    assert_eq!(run("kdig", &kdig, LIMIT).success().stdout, "127.0.0.1\n");
}

/// What services publish stands in the zone, and follows them.
#[test]
fn published_records_follow_a_reload() {
    let ports = Ports::free();
    let daemon = whole::start(&ports, More::default(), &[]);
    let port = ports.dns.to_string();
    let dig = |name: &str, kind: &str| {
        let arguments = ["@127.0.0.1", "-p", &port, "+short", name, kind];
        run("dig", &arguments, LIMIT).success().stdout
    };
    let srv = |service: &str| dig(&format!("_{service}.example.test"), "SRV");
    let record = |port: u16| format!(" {port} example.test.\n");
    let serial = || -> u64 {
        let soa = dig("example.test", "SOA");
        soa.split_whitespace().nth(2).unwrap().parse().unwrap()
    };
    let published = |ports: &Ports| {
        [
            ("xmpp-client._tcp", ports.xmpp),
            ("xmpps-client._tcp", ports.xmpps),
            ("sip._udp", ports.sip),
            ("sip._tcp", ports.sip),
            ("sips._tcp", ports.sips),
        ]
    };
    for (service, port) in published(&ports) {
        wait_until(service, LIMIT, || srv(service).ends_with(&record(port)));
    }
    // What is published is told to secondaries by the serial, and to the operator by name.
    let (before, first) = (serial(), srv("xmpp-client._tcp"));
    assert!(before > 1);
    let records = daemon
        .omnid(&["domain", "records", "example.test"])
        .success();
    assert!(
        records.stdout.contains("_xmpp-client._tcp.example.test"),
        "{records:?}"
    );

    // The services move.
    let moved = Ports {
        xmpp: free_port(),
        xmpps: free_port(),
        sip: free_port(),
        sips: free_port(),
        ..ports
    };
    let config = whole::config(&moved, More::default());
    daemon.write_config(&config);
    daemon.omnid(&["reload"]).success();
    for (service, port) in published(&moved) {
        wait_until(service, LIMIT, || srv(service).ends_with(&record(port)));
    }
    let after = serial();
    assert!(after > before, "{before} {after}");
    println!(
        "serial {before} → {after}; {} → {}",
        first.trim(),
        srv("xmpp-client._tcp").trim()
    );

    // The domain is to say nothing of them.
    let silent = config.replace(
        "[[domain]]\nname = \"example.test\"",
        "[[domain]]\nname = \"example.test\"\npublish = false",
    );
    assert_ne!(silent, config);
    daemon.write_config(&silent);
    daemon.omnid(&["reload"]).success();
    for (service, _) in published(&moved) {
        wait_until(service, LIMIT, || srv(service).is_empty());
    }
    // What its zone file says, it goes on saying.
    assert_eq!(dig("example.test", "A"), "127.0.0.1\n");
}

/// A script hears of what happens in every service.
#[test]
fn events_of_every_service_reach_a_script() {
    let ports = Ports::free();
    let script = r#"
omnid.on("login", function(event)
    omnid.log("info", "heard: " .. event.service .. " let in " .. event.account)
end)
omnid.on("login.failed", function(event)
    omnid.log("info", "heard: " .. event.service .. " turned away " .. event.account)
end)
omnid.on("message", function(event)
    omnid.log("info", "heard: " .. event.from .. " wrote to " .. event.to)
end)
omnid.on("zone.changed", function(event)
    omnid.log("info", "heard: " .. event.zone .. " has changed")
end)
omnid.on("config.reloaded", function(event)
    omnid.log("info", "heard: reloaded " .. table.concat(event.sections, " "))
    -- What a script emits, scripts hear.
    omnid.emit("mine", { answer = 42 })
end)
omnid.on("mine", function(event)
    omnid.log("info", "heard: my own " .. event.data.answer)
end)
"#;
    let more = More {
        sections: "[script]\nfiles = [\"{dir}/events.lua\"]",
        site: "[[http.site.route]]\n  path = \"/private\"\n  auth = { basic = \"x\" }\n  root = \"{dir}/site\"",
        ..More::default()
    };
    let config = whole::config(&ports, more);
    let daemon = Daemon::start_with(&config, &[], |directory| {
        whole::lay_out(directory);
        fs::write(directory.join("events.lua"), script).unwrap();
    });
    daemon.add_user(ALICE, PASSWORD);
    let heard = |what: &str| {
        wait_until(what, LIMIT, || {
            daemon.log().contains(&format!("heard: {what}"))
        });
    };

    Chat::begin(&local(ports.xmpps), ALICE, PASSWORD, "").end();
    heard("xmpp let in alice@example.test");
    let sip = local(ports.sip);
    python("sip_register.py", &[&sip, ALICE, PASSWORD, "MD5"], LIMIT).success();
    heard("sip let in alice@example.test");
    let url = format!("http://{}/private/", local(ports.http));
    let basic = |password: &str| {
        let credentials = format!("alice:{password}");
        run("curl", &["-sS", "-u", &credentials, &url], LIMIT).success();
    };
    basic(PASSWORD);
    heard("http let in alice@example.test");
    basic("wrong");
    heard("http turned away alice@example.test");

    let xmpp = local(ports.xmpp);
    let send = ["-n", "-j", &xmpp, "-u", ALICE, "-p", PASSWORD, ALICE];
    run_with("go-sendxmpp", &send, "hello\n", &[], LIMIT).success();
    heard("alice@example.test wrote to alice@example.test");

    let zone = fs::read_to_string(daemon.path("zone")).unwrap();
    fs::write(daemon.path("zone"), zone.replace("root 1 ", "root 2 ")).unwrap();
    daemon.write_config(&config.replace("sockets = 2", "sockets = 2\nudp_size = 1400"));
    daemon.omnid(&["reload"]).success();
    heard("example.test");
    heard("reloaded dns");
    heard("my own 42");
    for line in daemon.log().lines().filter(|line| line.contains("heard: ")) {
        println!("{}", line.split("heard: ").nth(1).unwrap());
    }
}
