//! SIP as phones see it: SIPp, baresip, sipsak and OpenSSL against the running daemon.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod support;

#[path = "sip/hostile.rs"]
mod hostile;
#[path = "sip/office.rs"]
mod office;
#[path = "sip/phones.rs"]
mod phones;

use std::{
    fs,
    path::Path,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;
use support::{Background, Daemon, Output, free_port, python, run, run_with, wait_until};

const LIMIT: Duration = Duration::from_secs(60);
const DOMAIN: &str = "example.test";
const USERS: [&str; 3] = ["alice", "bob", "carol"];

/// SIPp gives up on a challenge with any algorithm but MD5, so most of these tests offer no other.
const MD5: &str = "digest = [\"MD5\"]";

/// A daemon that serves SIP, and whose accounts are [`USERS`].
pub struct Stage {
    pub daemon: Daemon,
    pub port: u16,
    pub tls: u16,
    sipp: tempfile::TempDir,
}

fn config(port: u16, tls: u16, more: &str) -> String {
    format!(
        "[[domain]]\nname = \"{DOMAIN}\"\n[log]\ntargets = {{ omnid_sip = \"debug\" }}\n\
         [tls]\nself_signed = true\n\
         [sip]\nlisten = [\"127.0.0.1:{port}\"]\nlisten_tls = [\"127.0.0.1:{tls}\"]\n{more}\n"
    )
}

pub fn password(user: &str) -> String {
    format!("the secret of {user}").replace(' ', "-")
}

impl Stage {
    pub fn start(more: &str) -> Self {
        let (port, tls) = (free_port(), free_port());
        let daemon = Daemon::start(&config(port, tls, more));
        for user in USERS {
            daemon.add_user(&format!("{user}@{DOMAIN}"), &password(user));
        }
        let sipp = tempfile::tempdir().unwrap();
        for user in USERS {
            let line = format!(
                "SEQUENTIAL\n{user};[authentication username={user} password={}];\n",
                password(user)
            );
            fs::write(sipp.path().join(user), line).unwrap();
        }
        Self {
            daemon,
            port,
            tls,
            sipp,
        }
    }

    /// SIPp's arguments for a scenario.
    fn arguments(&self, transport: &str, scenario: &str, port: u16, more: &[&str]) -> Vec<String> {
        let scenario = support::tests()
            .join("clients/sipp")
            .join(format!("{scenario}.xml"));
        let mut all = vec![
            format!("127.0.0.1:{}", self.port),
            "-sf".to_owned(),
            scenario.to_str().unwrap().to_owned(),
        ];
        // SIPp opens two of them, which nobody sends to here, two apart.
        let media = (30_000 + port % 675 * 4).to_string();
        let port = port.to_string();
        let fixed = [
            "-t",
            transport,
            "-i",
            "127.0.0.1",
            "-p",
            &port,
            "-mp",
            &media,
        ];
        all.extend(fixed.map(str::to_owned));
        all.extend(["-key", "domain", DOMAIN, "-nostdin"].map(str::to_owned));
        all.extend(more.iter().map(|text| (*text).to_owned()));
        if !more.contains(&"-m") {
            all.extend(["-m", "1"].map(str::to_owned));
        }
        all
    }

    fn user(&self, user: &str) -> String {
        self.sipp.path().join(user).to_str().unwrap().to_owned()
    }

    /// Runs a scenario as one of the users.
    fn sipp(
        &self,
        transport: &str,
        scenario: &str,
        user: &str,
        port: u16,
        more: &[&str],
    ) -> Output {
        let file = self.user(user);
        let more = [&["-inf", &file], more].concat();
        let arguments = self.arguments(transport, scenario, port, &more);
        run("sipp", &arguments, LIMIT)
    }

    fn register(&self, transport: &str, user: &str, port: u16) {
        let output = self.sipp(
            transport,
            "register",
            user,
            port,
            &["-key", "expires", "600"],
        );
        output.success();
    }

    /// Starts a phone that waits for a call.
    fn phone(&self, transport: &str, scenario: &str, port: u16, more: &[&str]) -> Phone {
        let log = self.sipp.path().join(format!("{scenario}-{port}.log"));
        let more = [&["-key", "called", "bob", "-d", "500"], more].concat();
        let arguments = self.arguments(transport, scenario, port, &more);
        let phone = Background::start("sipp", &arguments, &log);
        // SIPp has no word for "I am listening"; the kernel has.
        wait_until("the phone listens", LIMIT, || is_bound(transport, port));
        Phone {
            phone,
            log: log.to_str().unwrap().to_owned(),
        }
    }

    /// Bob's phone, registered and waiting, and Alice's, that calls it; both must be content.
    fn call(&self, transport: &str, caller: &str, called: &str) {
        let (alice, bob) = (free_port(), free_port());
        self.register(transport, "bob", bob);
        let phone = self.phone(transport, called, bob, &[]);
        let to_bob = ["-key", "callee", "bob", "-d", "500"];
        let output = self.sipp(transport, caller, "alice", alice, &to_bob);
        output.success();
        phone.success();
        // Bob's phone is off now.
        let off = ["-key", "expires", "0"];
        self.sipp(transport, "register", "bob", bob, &off).success();
    }

    fn registrations(&self) -> Vec<Value> {
        let all = self.daemon.json(&["registrations"]);
        all.as_array().unwrap().clone()
    }

    fn calls(&self) -> Vec<Value> {
        self.daemon.json(&["calls"]).as_array().unwrap().clone()
    }
}

/// A waiting SIPp.
struct Phone {
    phone: Background,
    log: String,
}

impl Phone {
    #[track_caller]
    fn success(mut self) {
        let deadline = Instant::now() + LIMIT;
        loop {
            if let Some(status) = self.phone.0.try_wait().unwrap() {
                let log = fs::read_to_string(&self.log).unwrap_or_default();
                assert!(status.success(), "the called phone is not content:\n{log}");
                return;
            }
            assert!(Instant::now() < deadline, "the called phone still waits");
            thread::sleep(Duration::from_millis(10));
        }
    }
}

/// Whether somebody has that loopback port.
pub fn is_bound(transport: &str, port: u16) -> bool {
    let table = if transport.starts_with('t') {
        "tcp"
    } else {
        "udp"
    };
    let suffix = format!(":{port:04X}");
    fs::read_to_string(format!("/proc/net/{table}"))
        .unwrap()
        .lines()
        .skip(1)
        .filter_map(|line| line.split_whitespace().nth(1))
        .any(|local| local.ends_with(&suffix))
}

#[test]
fn phones_register_and_sign_off() {
    let stage = Stage::start(MD5);
    for transport in ["u1", "t1"] {
        let port = free_port();
        stage.register(transport, "alice", port);
        let all = stage.registrations();
        assert_eq!(all.len(), 1, "{all:?}");
        assert_eq!(all[0]["address"], "alice@example.test");
        assert_eq!(all[0]["source"], format!("127.0.0.1:{port}"));
        assert!(
            all[0]["contact"]
                .as_str()
                .unwrap()
                .contains(&port.to_string())
        );
        assert!(all[0]["expires"].as_u64().unwrap() <= 600);
        let off = ["-key", "expires", "0"];
        stage
            .sipp(transport, "register", "alice", port, &off)
            .success();
        assert!(stage.registrations().is_empty());
    }
    let brief = ["-key", "expires", "10"];
    let port = free_port();
    stage
        .sipp("u1", "register", "alice", port, &brief)
        .failure();
}

#[test]
fn both_algorithms_work_over_every_transport_and_a_wrong_password_over_none() {
    let stage = Stage::start("");
    let authority = stage.daemon.path("data/tls/authority.pem");
    let servers = [
        format!("127.0.0.1:{}", stage.port),
        format!("tcp:127.0.0.1:{}", stage.port),
        format!("tls:127.0.0.1:{}", stage.tls),
    ];
    let register = |server: &str, password: &str, algorithm: &str| {
        let client = support::tests().join("clients/sip_register.py");
        let client = client.to_str().unwrap();
        let arguments = [client, server, "alice@example.test", password, algorithm];
        let trust = [("SSL_CERT_FILE", authority.to_str().unwrap())];
        run_with(support::python_binary(), &arguments, "", &trust, LIMIT)
    };
    for server in &servers {
        for algorithm in ["SHA-256", "MD5"] {
            register(server, &password("alice"), algorithm).success();
        }
    }
    register(&servers[0], "something else", "SHA-256").failure();
    wait_until("the failure is logged", LIMIT, || {
        stage
            .daemon
            .log()
            .contains("login failed account=alice@example.test")
    });
}

#[test]
fn calls_over_udp_take_every_course() {
    every_course("u1");
}

#[test]
fn calls_over_tcp_take_every_course() {
    every_course("t1");
}

fn every_course(transport: &str) {
    let stage = Stage::start(&format!("{MD5}\nring_timeout = \"2s\""));
    stage.call(transport, "caller", "called");
    stage.call(transport, "caller_is_left", "called_leaves");
    stage.call(transport, "caller_busy", "called_busy");
    stage.call(transport, "caller_cancels", "called_rings");
    stage.call(transport, "caller_unanswered", "called_rings");
    for (callee, caller) in [
        ("carol", "caller_unregistered"),
        ("nobody", "caller_unknown"),
    ] {
        let to = ["-key", "callee", callee];
        let output = stage.sipp(transport, caller, "alice", free_port(), &to);
        output.success();
    }
    assert!(stage.calls().is_empty());
    let log = stage.daemon.log();
    for outcome in ["answered", "busy", "cancelled"] {
        assert!(
            log.contains(&format!("outcome=\"{outcome}\""))
                || log.contains(&format!("outcome={outcome}")),
            "no {outcome} in\n{log}"
        );
    }
    assert!(log.contains("no answer"), "{log}");
}

#[test]
fn phones_ask_each_other_what_they_can() {
    let stage = Stage::start(MD5);
    stage.call("u1", "asks", "asked");
    // Our address stands for our domain.
    let port = stage.port.to_string();
    let output = run(
        "sipsak",
        &["-vv", "-s", "sip:127.0.0.1", "-r", &port],
        LIMIT,
    )
    .success();
    assert!(output.stdout.contains("SIP/2.0 200 OK"), "{output:?}");
}

#[test]
fn calls_survive_a_network_that_loses_a_fifth() {
    let stage = Stage::start(MD5);
    // One leg after the other loses a fifth of what goes either way. Where both do, SIPp itself
    // gives up now and then: it acknowledges no 200 that comes again once it has hung up.
    for (caller_loses, called_loses) in [("20", "0"), ("0", "20")] {
        let mut tries = 0;
        loop {
            tries += 1;
            let (alice, bob) = (free_port(), free_port());
            stage.register("u1", "bob", bob);
            let called = ["-m", "10", "-lost", called_loses];
            let phone = stage.phone("u1", "called_over_loss", bob, &called);
            let calls = [
                "-key",
                "callee",
                "bob",
                "-d",
                "4000",
                "-r",
                "10",
                "-l",
                "10",
                "-m",
                "10",
                "-lost",
                caller_loses,
            ];
            let output = stage.sipp("u1", "caller", "alice", alice, &calls);
            // Seven transmissions may all be lost, once in some hundred runs.
            if output.code == Some(0) || tries == 3 {
                output.success();
                phone.success();
                break;
            }
            let off = ["-key", "expires", "0"];
            stage.sipp("u1", "register", "bob", bob, &off).success();
        }
    }
}

#[test]
fn a_call_is_seen_while_it_lasts_and_a_reload_leaves_it_alone() {
    let stage = Stage::start(MD5);
    for transport in ["u1", "t1"] {
        let (alice, bob) = (free_port(), free_port());
        stage.register(transport, "bob", bob);
        let phone = stage.phone(transport, "called", bob, &[]);
        let file = stage.user("alice");
        let long = ["-inf", &file, "-key", "callee", "bob", "-d", "4000"];
        let arguments = stage.arguments(transport, "caller", alice, &long);
        let log = stage.sipp.path().join("caller.log");
        let caller = Phone {
            phone: Background::start("sipp", &arguments, &log),
            log: log.to_str().unwrap().to_owned(),
        };
        wait_until("the call is answered", LIMIT, || {
            stage.calls().iter().any(|call| call["state"] == "talking")
        });
        let calls = stage.calls();
        assert_eq!(calls[0]["from"], "alice@example.test");
        assert_eq!(calls[0]["to"], "bob@example.test");

        let more = free_port();
        let reloaded = config(
            stage.port,
            stage.tls,
            &format!("{MD5}\nring_timeout = \"50s\""),
        );
        let reloaded = reloaded.replace("listen = [", &format!("listen = [\"127.0.0.1:{more}\", "));
        stage.daemon.write_config(&reloaded);
        stage.daemon.omnid(&["reload"]).success();
        wait_until("the new port answers", LIMIT, || is_bound(transport, more));
        assert_eq!(stage.calls().len(), 1);
        stage.daemon.write_config("[sip]\nlisten = \"nonsense\"");
        stage.daemon.omnid(&["reload"]).failure();
        assert_eq!(stage.calls().len(), 1);

        caller.success();
        phone.success();
        assert!(stage.calls().is_empty());
    }
}

#[test]
fn registrations_survive_a_power_cut() {
    let stage = Stage::start(MD5);
    let bob = free_port();
    stage.register("u1", "bob", bob);
    // They are written a moment later, all that changed meanwhile in one transaction.
    thread::sleep(Duration::from_millis(1000));
    let Stage {
        daemon,
        port,
        tls,
        sipp,
    } = stage;
    let stage = Stage {
        daemon: daemon.kill_and_start(),
        port,
        tls,
        sipp,
    };
    let all = stage.registrations();
    assert_eq!(all.len(), 1, "{all:?}");
    let phone = stage.phone("u1", "called", bob, &[]);
    let to_bob = ["-key", "callee", "bob", "-d", "200"];
    stage
        .sipp("u1", "caller", "alice", free_port(), &to_bob)
        .success();
    phone.success();
}

#[test]
fn who_loses_the_account_loses_the_registration() {
    let stage = Stage::start(MD5);
    stage.register("u1", "carol", free_port());
    assert_eq!(stage.registrations().len(), 1);
    stage
        .daemon
        .omnid(&["user", "remove", "carol@example.test"])
        .success();
    wait_until("carol is gone", LIMIT, || stage.registrations().is_empty());
}

#[test]
fn a_daemon_that_stops_lets_a_ringing_phone_be_answered() {
    let stage = Stage::start(MD5);
    let (alice, bob) = (free_port(), free_port());
    stage.register("u1", "bob", bob);
    let phone = stage.phone("u1", "called_rings", bob, &[]);
    let file = stage.user("alice");
    let long = ["-inf", &file, "-key", "callee", "bob", "-d", "1500"];
    let arguments = stage.arguments("u1", "caller_cancels", alice, &long);
    let log = stage.sipp.path().join("caller.log");
    let caller = Phone {
        phone: Background::start("sipp", &arguments, &log),
        log: log.to_str().unwrap().to_owned(),
    };
    wait_until("it rings", LIMIT, || stage.calls().len() == 1);
    let (code, time) = stage.daemon.stop();
    assert_eq!(code, Some(0));
    assert!(time < Duration::from_secs(20), "{time:?}");
    caller.success();
    phone.success();
}

#[test]
fn the_dns_says_where_to_call() {
    let (port, tls, dns) = (free_port(), free_port(), free_port());
    let zone = format!(
        "[dns]\nlisten = [\"127.0.0.1:{dns}\"]\n[[dns.zone]]\nname = \"{DOMAIN}\"\nfile = \"{{dir}}/zone\"\n"
    );
    let lay_out = |directory: &Path| {
        let text = "@ 300 SOA ns.example.test. host.example.test. 1 2 3 4 5\n@ 300 NS ns\nns 300 A 127.0.0.1\n";
        fs::write(directory.join("zone"), text).unwrap();
    };
    let _daemon = Daemon::start_with(&(config(port, tls, "") + &zone), &[], lay_out);
    let server = dns.to_string();
    let dig = |arguments: &[&str]| {
        let all = [&["@127.0.0.1", "-p", &server, "+short"], arguments].concat();
        run("dig", &all, LIMIT).success().stdout
    };
    for (name, port) in [
        ("_sip._udp.example.test", port),
        ("_sip._tcp.example.test", port),
        ("_sips._tcp.example.test", tls),
    ] {
        wait_until(name, LIMIT, || {
            dig(&[name, "SRV"]) == format!("10 10 {port} localhost.\n")
        });
    }
    let naptr = dig(&[DOMAIN, "NAPTR"]);
    for service in ["SIPS+D2T", "SIP+D2T", "SIP+D2U"] {
        assert!(naptr.contains(&format!("\"S\" \"{service}\"")), "{naptr}");
    }
}

#[test]
fn the_password_of_a_scanner_is_not_guessed_at_leisure() {
    let stage = Stage::start("");
    let server = format!("127.0.0.1:{}", stage.port);
    for _ in 0..12 {
        let arguments = [&server, "alice@example.test", "a guess at it", "SHA-256"];
        python("sip_register.py", &arguments, LIMIT).failure();
    }
    // Even the right one is not looked at now.
    let right = password("alice");
    let arguments = [&server, "alice@example.test", &right, "SHA-256"];
    let output = python("sip_register.py", &arguments, LIMIT).failure();
    assert!(output.stderr.contains("403 Forbidden"), "{}", output.stderr);
    assert!(output.stderr.contains("Retry-After:"), "{}", output.stderr);
}

/// Runs OpenSSL's client with something to say, and returns what it heard.
pub fn openssl(stage: &Stage, say: &str) -> String {
    let authority = stage.daemon.path("data/tls/authority.pem");
    let connect = format!("127.0.0.1:{}", stage.tls);
    let output = Command::new("timeout")
        .args(["5", "sh", "-c"])
        .arg(format!(
            "(printf '{say}'; sleep 1) | openssl s_client -quiet -verify_return_error \
             -verify_hostname {DOMAIN} -servername {DOMAIN} -CAfile {} -connect {connect}",
            authority.display()
        ))
        .output()
        .unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}
