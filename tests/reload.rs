//! Reload under load: nothing that runs is dropped, whatever differs is applied, and a bad
//! configuration changes nothing.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod support;

use std::{
    fs,
    io::{BufRead, BufReader, ErrorKind, Read},
    net::TcpStream,
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use support::{
    Background, Daemon, free_port, python, python_binary, run, tests, wait_until,
    whole::{self, More, SERVICES},
};

const LIMIT: Duration = Duration::from_secs(60);

struct Ports {
    dns: u16,
    http: u16,
    https: u16,
    xmpp: u16,
    sip: u16,
    origin: u16,
    /// A listener that comes and goes.
    extra: u16,
}

/// The configuration of the n-th reload: each differs from the last in every service.
fn config(ports: &Ports, turn: u32) -> String {
    let Ports {
        dns,
        http,
        https,
        xmpp,
        sip,
        origin,
        extra,
    } = ports;
    let extra_listener = if turn % 2 == 1 {
        format!(", \"127.0.0.1:{extra}\"")
    } else {
        String::new()
    };
    format!(
        r#"
[log]
level = "info"
[tls]
self_signed = true
[dns]
listen = ["127.0.0.1:{dns}"]
  [[dns.zone]]
  name = "example.test"
  file = "{{dir}}/example.test.zone"
  [[dns.zone]]
  name = "turn{turn}.test"
  file = "{{dir}}/example.test.zone"
[http]
listen = ["127.0.0.1:{http}"{extra_listener}]
listen_tls = ["127.0.0.1:{https}"]
  [[http.site]]
  hosts = ["example.test"]
  default = true
  root = "{{dir}}/site"
    [[http.site.route]]
    path = "/echo"
    proxy = ["http://127.0.0.1:{origin}"]
    [[http.site.route]]
    path = "/turn"
    redirect = "/turn-{turn}"
[xmpp]
hosts = ["example.test", "turn{turn}.test"]
listen = ["127.0.0.1:{xmpp}"]
listen_tls = []
[sip]
domains = ["example.test", "turn{turn}.test"]
listen = ["127.0.0.1:{sip}"]
listen_tls = []
"#
    )
}

fn zone(serial: u32) -> String {
    let mut zone =
        format!("@ 60 SOA ns root {serial} 3600 600 86400 60\n@ 60 NS ns\nns 60 A 127.0.0.1\n");
    for host in 0..2000 {
        zone.push_str(&format!("host{host} 60 A 127.0.0.1\n"));
    }
    zone
}

fn start(ports: &Ports) -> Daemon {
    Daemon::start_with(&config(ports, 0), &[], |directory| {
        fs::write(directory.join("example.test.zone"), zone(1)).unwrap();
        fs::create_dir(directory.join("site")).unwrap();
        fs::write(directory.join("site/index.html"), "here\n").unwrap();
    })
}

fn ports() -> Ports {
    Ports {
        dns: free_port(),
        http: free_port(),
        https: free_port(),
        xmpp: free_port(),
        sip: free_port(),
        origin: free_port(),
        extra: free_port(),
    }
}

fn location(ports: &Ports) -> String {
    let url = format!("http://127.0.0.1:{}/turn", ports.http);
    run(
        "curl",
        &["-sS", "-o", "/dev/null", "-w", "%{redirect_url}", &url],
        LIMIT,
    )
    .success()
    .stdout
}

fn serial(ports: &Ports, zone: &str) -> String {
    let port = ports.dns.to_string();
    let dig = ["@127.0.0.1", "-p", &port, "+short", zone, "SOA"];
    let answer = run("dig", &dig, LIMIT).success().stdout;
    answer
        .split_whitespace()
        .nth(2)
        .unwrap_or_default()
        .to_owned()
}

#[test]
fn twenty_reloads_under_load_drop_nothing() {
    let ports = ports();
    let daemon = start(&ports);
    daemon.add_user("alice@example.test", "correct horse battery");
    let echo = tests().join("clients/echo_websocket.py");
    let origin = ports.origin.to_string();
    let python_path = python_binary();
    let _origin = Background::start(
        python_path.to_str().unwrap(),
        &[echo.to_str().unwrap(), &origin],
        &daemon.path("origin.log"),
    );
    wait_until("the origin listens", LIMIT, || {
        TcpStream::connect(("127.0.0.1", ports.origin)).is_ok()
    });

    let local = |port: u16| format!("127.0.0.1:{port}");
    let mut held = Command::new(&python_path)
        .arg(tests().join("clients/hold_open.py"))
        .args([
            local(ports.xmpp),
            "alice@example.test".into(),
            "correct horse battery".into(),
        ])
        .args([
            format!("ws://127.0.0.1:{}/echo", ports.http),
            local(ports.sip),
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(fs::File::create(daemon.path("held.log")).unwrap())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(held.stdout.take().unwrap());
    let mut line = String::new();
    said.read_line(&mut line).unwrap();
    let held_log = || fs::read_to_string(daemon.path("held.log")).unwrap_or_default();
    assert_eq!(line, "ready\n", "{}", held_log());

    // A registration that must still be there at the end.
    let sip = local(ports.sip);
    let register = [
        sip.as_str(),
        "alice@example.test",
        "correct horse battery",
        "MD5",
        "keep",
    ];
    python("sip_register.py", &register, LIMIT).success();

    let queries: String = (0..2000)
        .map(|host| format!("host{host}.example.test A\n"))
        .collect();
    fs::write(daemon.path("queries"), queries).unwrap();
    let queries = daemon.path("queries").display().to_string();
    let dns = ports.dns.to_string();
    let https = ports.https;
    let resolvers = thread::spawn(move || {
        // Few at a time: the point is that none is lost, not how many there are.
        let arguments = [
            "-s",
            "127.0.0.1",
            "-p",
            &dns,
            "-d",
            &queries,
            "-l",
            "12",
            "-c",
            "4",
            "-q",
            "20",
            "-Q",
            "5000",
        ];
        run("dnsperf", &arguments, LIMIT).success().stdout
    });
    let browsers = thread::spawn(move || {
        let url = format!("https://127.0.0.1:{https}/");
        run(
            "h2load",
            &["-c", "8", "-m", "4", "-D", "12", "--rps", "100", &url],
            LIMIT,
        )
        .success()
        .stdout
    });

    for turn in 1..=20 {
        fs::write(daemon.path("example.test.zone"), zone(turn + 1)).unwrap();
        daemon.write_config(&config(&ports, turn));
        if turn % 2 == 0 {
            daemon.json(&["reload"]);
        } else {
            daemon.signal("HUP");
            wait_until(&format!("reload {turn} is applied"), LIMIT, || {
                location(&ports).ends_with(&format!("/turn-{turn}"))
            });
        }
        // What differs counts at once, in every service.
        assert!(
            location(&ports).ends_with(&format!("/turn-{turn}")),
            "turn {turn}"
        );
        wait_until(&format!("zone of turn {turn}"), LIMIT, || {
            serial(&ports, "example.test") == (turn + 1).to_string()
        });
        wait_until(&format!("listener of turn {turn}"), LIMIT, || {
            TcpStream::connect(("127.0.0.1", ports.extra)).is_ok() == (turn % 2 == 1)
        });
        if turn % 5 == 0 {
            daemon.write_config("[http]\nlisten = [\"127.0.0.1:99999\"]\n");
            daemon.omnid(&["reload"]).failure();
            assert!(
                location(&ports).ends_with(&format!("/turn-{turn}")),
                "a bad file counted"
            );
        }
    }

    let dns = resolvers.join().unwrap();
    assert!(dns.contains("Queries lost:         0 "), "{dns}");
    let http = browsers.join().unwrap();
    let line = http
        .lines()
        .find(|line| line.starts_with("requests:"))
        .unwrap();
    assert!(line.contains(" 0 failed, 0 errored, 0 timeout"), "{http}");
    let statuses = http
        .lines()
        .find(|line| line.starts_with("status codes:"))
        .unwrap();
    assert!(statuses.contains(" 0 3xx, 0 4xx, 0 5xx"), "{http}");

    drop(held.stdin.take());
    let mut rest = String::new();
    said.read_to_string(&mut rest).unwrap();
    let status = held.wait().unwrap();
    assert!(status.success(), "a session broke: {rest}{}", held_log());
    let registrations = daemon.json(&["registrations"]).to_string();
    assert!(
        registrations.contains("alice@example.test"),
        "{registrations}"
    );
}

#[test]
fn a_dry_run_says_what_would_change_and_changes_nothing() {
    let ports = ports();
    let daemon = start(&ports);
    daemon.write_config(&config(&ports, 1));
    let plan = daemon.omnid(&["reload", "--dry-run"]).success().stdout;
    assert!(plan.contains("zone turn1.test added"), "{plan}");
    assert!(plan.contains("zone turn0.test removed"), "{plan}");
    assert!(
        plan.contains(&format!("127.0.0.1:{} added", ports.extra)),
        "{plan}"
    );
    assert!(location(&ports).ends_with("/turn-0"));
    assert_eq!(serial(&ports, "turn0.test"), "1");
    daemon.omnid(&["reload"]).success();
    assert!(location(&ports).ends_with("/turn-1"));
    let nothing = daemon.omnid(&["reload", "--dry-run"]).success().stdout;
    assert_eq!(nothing, "nothing to change\n");
}

#[test]
fn a_configuration_with_errors_changes_nothing_and_names_them_all() {
    let ports = ports();
    let daemon = start(&ports);
    let before = daemon.json(&["status"])["listeners"].clone();
    let broken = config(&ports, 1)
        .replace("redirect = \"/turn-1\"", "redirekt = \"/turn-1\"")
        .replace("{dir}/example.test.zone", "{dir}/missing.zone");
    daemon.write_config(&broken);
    let said = daemon.omnid(&["reload"]).failure().stderr;
    assert!(
        said.contains("redirekt") && said.contains("redirect"),
        "{said}"
    );
    assert!(said.contains("missing.zone"), "{said}");
    daemon.signal("HUP");
    wait_until("SIGHUP's errors are logged", LIMIT, || {
        daemon.log().contains("nothing changed")
    });
    assert!(location(&ports).ends_with("/turn-0"));
    assert_eq!(serial(&ports, "example.test"), "1");
    assert_eq!(daemon.json(&["status"])["listeners"], before);
}

/// A configuration without the section of a service.
fn without(config: &str, service: &str) -> String {
    let begin = config.find(&format!("\n[{service}]\n")).unwrap();
    let after = &config[begin + 1..];
    let end = SERVICES
        .iter()
        .filter_map(|other| after.find(&format!("\n[{other}]\n")))
        .min()
        .unwrap_or(after.len());
    [&config[..begin], &after[end..]].concat()
}

#[test]
fn every_service_can_come_and_go() {
    let ports = whole::Ports::free();
    let config = whole::config(&ports, More::default());
    let daemon = whole::start(&ports, More::default(), &[]);
    let (alice, password) = ("alice@example.test", "correct horse battery");
    daemon.add_user(alice, password);
    let sip = format!("127.0.0.1:{}", ports.sip);
    python(
        "sip_register.py",
        &[&sip, alice, password, "SHA-256", "keep"],
        LIMIT,
    )
    .success();
    let of = [
        ("dns", vec![ports.dns, ports.dot], &["zone", "list"][..]),
        ("http", vec![ports.http, ports.https], &[]),
        ("xmpp", vec![ports.xmpp, ports.xmpps], &["sessions"]),
        ("sip", vec![ports.sip, ports.sips], &["registrations"]),
    ];
    for (service, its_ports, question) in of {
        daemon.write_config(&without(&config, service));
        let said = daemon.omnid(&["reload", "--dry-run"]).success().stdout;
        assert!(
            said.contains(&format!("service {service} removed")),
            "{said}"
        );
        daemon.omnid(&["reload"]).success();
        for other in SERVICES {
            assert_eq!(
                whole::answers(other, &ports),
                other != service,
                "{other} without {service}"
            );
        }
        for port in &its_ports {
            // Refused, and not kept waiting for nobody.
            let refused = TcpStream::connect(("127.0.0.1", *port)).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::ConnectionRefused, "{service}");
        }
        if !question.is_empty() {
            let said = daemon.omnid(question).failure().stderr;
            assert!(said.contains("no running service"), "{said}");
        }
        daemon.write_config(&config);
        daemon.omnid(&["reload"]).success();
        wait_until(&format!("{service} is back"), LIMIT, || {
            whole::answers(service, &ports)
                && its_ports
                    .iter()
                    .all(|port| TcpStream::connect(("127.0.0.1", *port)).is_ok())
        });
        if !question.is_empty() {
            daemon.omnid(question).success();
        }
    }
    // What it keeps, a service has again.
    let registrations = daemon.json(&["registrations"]).to_string();
    assert!(registrations.contains(alice), "{registrations}");
    let xmpps = format!("127.0.0.1:{}", ports.xmpps);
    python("xmpp_hold.py", &[&xmpps, alice, password, "1"], LIMIT).success();
}
