//! An office: extensions, groups, forwarding, and a trunk to a provider, who is Kamailio.

use std::fs;

use super::{DOMAIN, LIMIT, MD5, Stage};
use crate::support::{self, Background, free_port, wait_until};

const PLAN: &str = r#"
[[sip.group]]
name = "sales"
members = ["200", "carol"]
[[sip.route]]
match = "600"
to = ["group:sales"]
[[sip.user]]
account = "bob"
forward = { busy = "carol" }
"#;

#[test]
fn a_group_is_rung_and_a_busy_phone_forwards() {
    let stage = Stage::start(&format!("{MD5}\n{PLAN}"));
    let bob_at = format!("bob@{DOMAIN}");
    let add = ["user", "extension", "add", &bob_at, "200"];
    stage.daemon.omnid(&add).success();
    let (alice, bob, carol) = (free_port(), free_port(), free_port());
    stage.register("u1", "bob", bob);
    stage.register("u1", "carol", carol);

    let explained = stage
        .daemon
        .omnid(&["explain", "call", "alice", "600"])
        .success();
    for step in [
        "route \"600\" is for 600",
        "ring group sales (all): bob@example.test, carol@example.test for 20 s",
    ] {
        assert!(explained.stdout.contains(step), "{}", explained.stdout);
    }
    let explained = stage
        .daemon
        .omnid(&["explain", "call", "alice", "200"])
        .success();
    assert!(
        explained.stdout.contains("200 is bob@example.test"),
        "{}",
        explained.stdout
    );

    // Both ring; Carol answers, and Bob's phone is told so.
    let rings = stage.phone("u1", "called_elsewhere", bob, &[]);
    let answers = stage.phone("u1", "called", carol, &[]);
    let to = ["-key", "callee", "600", "-d", "500"];
    stage.sipp("u1", "caller", "alice", alice, &to).success();
    rings.success();
    answers.success();

    // Bob is busy: Carol gets his call.
    let busy = stage.phone("u1", "called_busy", bob, &[]);
    let answers = stage.phone("u1", "called", carol, &[]);
    let to = ["-key", "callee", "200", "-d", "500"];
    stage
        .sipp("u1", "caller", "alice", free_port(), &to)
        .success();
    busy.success();
    answers.success();
}

#[test]
fn calls_go_out_and_come_in_through_a_provider() {
    let (provider, telephone) = (free_port(), free_port());
    let trunk = format!(
        "default_class = \"inland\"\n\
         [[sip.class]]\nname = \"inland\"\nallow = [\"_0[1-9].\"]\ndeny = [\"_0190.\"]\n\
         [[sip.trunk]]\nname = \"provider\"\nservers = [\"127.0.0.1:{provider}\"]\n\
         domain = \"provider.test\"\nusername = \"office\"\npassword = \"the-office-secret\"\n\
         register = true\nretry = \"1s\"\n\
         [[sip.route]]\nmatch = \"_0.\"\nto = [\"trunk:provider\"]\nstrip = 1\nprefix = \"+\"\n\
         [[sip.route]]\nmatch = \"4930123\"\nfrom = [\"trunk:provider\"]\nto = [\"bob\"]\n"
    );
    let stage = Stage::start(&format!("{MD5}\n{trunk}"));
    let trunk = || stage.daemon.json(&["trunks"])[0].clone();
    // Nobody is there yet: it is tried until somebody is.
    let config =
        fs::read_to_string(support::tests().join("clients/kamailio_provider.cfg")).unwrap();
    let config = config
        .replace("PORT", &provider.to_string())
        .replace("OFFICE", &stage.port.to_string())
        .replace("TELEPHONE", &telephone.to_string());
    let file = stage.daemon.path("kamailio.cfg");
    fs::write(&file, config).unwrap();
    let run = stage.daemon.path("kamailio");
    fs::create_dir_all(&run).unwrap();
    let (file, run) = (file.to_str().unwrap(), run.to_str().unwrap());
    let pid = format!("{run}/pid");
    let arguments = [
        "-f", file, "-DD", "-E", "-P", &pid, "-Y", run, "-w", run, "-m", "32", "-M", "4",
    ];
    let log = stage.daemon.path("kamailio.log");
    let _kamailio = Background::start("kamailio", &arguments, &log);
    wait_until("we are registered there", LIMIT, || {
        let state = trunk();
        state["state"] == "up" && state["registration"].as_str().unwrap().ends_with("s left")
    });

    let phone = stage.phone("u1", "called", telephone, &[]);
    let to = ["-key", "callee", "0301234", "-d", "500"];
    stage
        .sipp("u1", "caller", "alice", free_port(), &to)
        .success();
    phone.success();
    // What her class does not allow does not get as far as that.
    let dear = ["-key", "callee", "0190666", "-d", "500"];
    stage
        .sipp("u1", "caller", "alice", free_port(), &dear)
        .failure();

    let bob = free_port();
    stage.register("u1", "bob", bob);
    let phone = stage.phone("u1", "called", bob, &[]);
    let from_outside = ["-key", "callee", "4930123", "-d", "500"];
    let mut arguments = stage.arguments("u1", "caller_outside", free_port(), &from_outside);
    arguments[0] = format!("127.0.0.1:{provider}");
    support::run("sipp", &arguments, LIMIT).success();
    phone.success();
    assert!(stage.calls().is_empty());
}
