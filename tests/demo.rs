//! `omnid demo`, tried as its own text says: one command serves a name, a page, a call and a chat,
//! and one account works in all of them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod support;

use std::time::Duration;

use support::{Demo, python, run, run_with, wait_until};

const LIMIT: Duration = Duration::from_secs(30);

#[test]
fn the_offer_is_one_line_with_everything_in_it() {
    let demo = Demo::start();
    for listener in [
        "dns", "dot", "http", "https", "xmpp", "xmpps", "sip", "sips", "admin",
    ] {
        let address = demo.address(listener);
        assert!(
            address.ip().is_loopback() && address.port() >= 1024,
            "{listener} {address}"
        );
    }
    assert_eq!(demo.text("domain"), "demo.test");
    for file in ["socket", "ca", "config"] {
        assert!(std::path::Path::new(demo.text(file)).exists(), "no {file}");
    }
    let (alice, password) = demo.account(0);
    assert_eq!(alice, "alice@demo.test");
    assert!(password.len() >= 12);
    assert_eq!(demo.stop(), Some(0));
}

#[test]
fn names_resolve_in_the_clear_and_over_tls() {
    let demo = Demo::start();
    let dns = demo.address("dns");
    let port = dns.port().to_string();
    let dig = |arguments: &[&str]| {
        let all = [&["@127.0.0.1", "-p", &port, "+short"], arguments].concat();
        run("dig", &all, LIMIT).success().stdout
    };
    assert_eq!(dig(&["demo.test", "A"]), "127.0.0.1\n");
    assert_eq!(dig(&["www.demo.test", "A"]), "demo.test.\n127.0.0.1\n");
    assert_eq!(dig(&["x.any.demo.test", "A"]), "127.0.0.1\n");
    assert_eq!(dig(&["+tcp", "demo.test", "TXT"]), "\"served by omnid\"\n");
    // What the other services publish about themselves, a moment after they are ready.
    wait_until("the zone has what services publish", LIMIT, || {
        dig(&["_xmpp-client._tcp.demo.test", "SRV"]) != ""
            && dig(&["_sip._udp.demo.test", "SRV"]) != ""
    });
    let xmpp = demo.address("xmpp").port();
    assert_eq!(
        dig(&["_xmpp-client._tcp.demo.test", "SRV"])
            .split_whitespace()
            .nth(2),
        Some(&*xmpp.to_string())
    );
    let sip = demo.address("sip").port();
    assert_eq!(
        dig(&["_sip._udp.demo.test", "SRV"])
            .split_whitespace()
            .nth(2),
        Some(&*sip.to_string())
    );
    let dot = demo.address("dot").port().to_string();
    let authority = format!("+tls-ca={}", demo.text("ca"));
    let arguments = [
        "@127.0.0.1",
        "-p",
        &dot,
        &authority,
        "+tls-hostname=demo.test",
        "+short",
        "demo.test",
        "A",
    ];
    assert_eq!(
        run("kdig", &arguments, LIMIT).success().stdout,
        "127.0.0.1\n"
    );
}

#[test]
fn the_page_is_served_with_live_status() {
    let demo = Demo::start();
    let http = format!("http://{}/", demo.address("http"));
    let page = run("curl", &["-sS", "--fail", &http], LIMIT)
        .success()
        .stdout;
    let (alice, password) = demo.account(0);
    assert!(page.contains(alice) && page.contains(password), "{page}");
    let status = format!("{http}welcome/status.json");
    let status = run("curl", &["-sS", "--fail", &status], LIMIT)
        .success()
        .stdout;
    let status: serde_json::Value = serde_json::from_str(&status).unwrap();
    assert_eq!(status["tree"]["state"], "ready");

    let port = demo.address("https").port();
    let resolve = format!("demo.test:{port}:127.0.0.1");
    let https = format!("https://demo.test:{port}/");
    for version in ["--http1.1", "--http2"] {
        let arguments = [
            "-sS",
            "--fail",
            version,
            "--cacert",
            demo.text("ca"),
            "--resolve",
            &resolve,
            "-w",
            "\n%{http_version}",
            &https,
        ];
        let page = run("curl", &arguments, LIMIT).success().stdout;
        assert!(page.contains("omnid runs"), "{page}");
        let expected = if version == "--http2" { "\n2" } else { "\n1.1" };
        assert!(page.ends_with(expected), "{page}");
    }
}

#[test]
fn one_account_works_in_http_chat_and_calls() {
    let demo = Demo::start();
    let (alice, password) = demo.account(0);
    let (bob, bobs_password) = demo.account(1);

    let private = format!("http://{}/private/", demo.address("http"));
    let code = |credentials: &str| {
        let arguments = [
            "-sS",
            "-o",
            "/dev/null",
            "-w",
            "%{http_code}",
            "-u",
            credentials,
            &private,
        ];
        run("curl", &arguments, LIMIT).success().stdout
    };
    assert_eq!(code(&format!("{alice}:{password}")), "200");
    assert_eq!(code(&format!("alice:{password}")), "200");
    assert_eq!(code(&format!("{alice}:{bobs_password}")), "401");

    let xmpp = demo.address("xmpp").to_string();
    let login = |address: &'static str| match address {
        "alice" => (alice, password),
        _ => (bob, bobs_password),
    };
    let (from, secret) = login("alice");
    let send = ["-n", "-j", &xmpp, "-u", from, "-p", secret, bob];
    run_with("go-sendxmpp", &send, "hello over chat\n", &[], LIMIT).success();
    let arguments = [xmpp.as_str(), bob, bobs_password, "hello over chat"];
    python("xmpp_receive.py", &arguments, LIMIT).success();

    let sip = demo.address("sip").to_string();
    for algorithm in ["SHA-256", "MD5"] {
        let arguments = [sip.as_str(), alice, password, algorithm];
        python("sip_register.py", &arguments, LIMIT).success();
    }
    let wrong = [sip.as_str(), alice, bobs_password, "MD5"];
    python("sip_register.py", &wrong, LIMIT).failure();
}

#[test]
fn the_command_line_speaks_to_the_demonstration() {
    let demo = Demo::start();
    let omnid = |arguments: &[&str]| {
        let all = [&["-c", demo.text("config")], arguments].concat();
        run(support::binary(), &all, LIMIT).success().stdout
    };
    let status = omnid(&["status"]);
    for service in ["dns", "http", "xmpp", "sip"] {
        assert!(status.contains(service), "no {service} in\n{status}");
    }
    assert!(omnid(&["zone", "list"]).contains("demo.test"));
    // What services publish reaches the zone a moment after they are ready.
    wait_until("the zone has what services publish", LIMIT, || {
        omnid(&["zone", "show", "demo.test"]).contains("_xmpp-client._tcp")
    });
    assert!(omnid(&["user", "list"]).contains("alice@demo.test"));
    assert!(omnid(&["domain", "records", "demo.test"]).contains("SRV"));
    assert!(omnid(&["cert", "list"]).contains("demo.test"));
    omnid(&["check"]);
    omnid(&["reload"]);
}
