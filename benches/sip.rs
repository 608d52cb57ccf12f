//! Registrations and calls over UDP: omnid and Kamailio in turns, loaded by SIPp.
//!
//! `cargo bench --bench sip` (needs the packages of tests/install)

#[path = "../tests/support/mod.rs"]
mod harness;
mod support;

use std::{fs, path::Path, time::Duration};

use harness::{Background, Daemon, free_port, run};
use support::{Figure, memory_kib, print};

/// Users that register, each again and again; and how often all of them together do.
const USERS: usize = 100;
const REGISTRATIONS: usize = 20_000;
const CALLS: usize = 6_000;
/// Phones that stay registered, for the memory they take.
const PHONES: usize = 20_000;
const PASSWORD: &str = "the-same-for-all";
const LIMIT: Duration = Duration::from_secs(300);

struct Server<'a> {
    name: &'static str,
    pid: u32,
    port: u16,
    directory: &'a Path,
}

impl Server<'_> {
    fn sipp(&self, scenario: &str, port: u16, more: &[&str]) -> Vec<String> {
        let scenario = harness::tests().join(format!("clients/sipp/{scenario}.xml"));
        let server = format!("127.0.0.1:{}", self.port);
        let (port, users) = (port.to_string(), self.directory.join("users"));
        let fixed = [
            &server,
            "-sf",
            scenario.to_str().unwrap(),
            "-inf",
            users.to_str().unwrap(),
            "-i",
            "127.0.0.1",
            "-p",
            &port,
            "-key",
            "domain",
            "bench.test",
            "-nostdin",
        ];
        let all = fixed.iter().chain(more);
        all.map(|text| (*text).to_owned()).collect()
    }

    fn register(&self, port: u16, count: usize, rate: usize) -> (f64, String) {
        let (count_text, rate) = (count.to_string(), rate.to_string());
        let more = [
            "-key",
            "expires",
            "600",
            "-m",
            &count_text,
            "-r",
            &rate,
            "-l",
            "500",
        ];
        run("sipp", &self.sipp("register", port, &more), LIMIT).success();
        (count as f64, String::new())
    }

    fn call(&self, bob: u16, count: usize, rate: usize) -> (f64, String) {
        let (count_text, rate) = (count.to_string(), rate.to_string());
        let all = ["-m", &count_text, "-l", "5000"];
        let log = self.directory.join("called.log");
        let called = Background::start("sipp", &self.sipp("called", bob, &all), &log);
        std::thread::sleep(Duration::from_millis(500));
        let calls = [
            &all[..],
            &["-key", "callee", "user0", "-r", &rate, "-d", "0"],
        ]
        .concat();
        run("sipp", &self.sipp("caller", free_port(), &calls), LIMIT).success();
        drop(called);
        (count as f64, String::new())
    }
}

fn main() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let users: String = (0..USERS)
        .map(|user| {
            format!("user{user};[authentication username=user{user} password={PASSWORD}];\n")
        })
        .collect();
    fs::write(directory.join("users"), format!("SEQUENTIAL\n{users}")).unwrap();

    let port = free_port();
    let omnid = Daemon::start(&format!(
        "[[domain]]\nname = \"bench.test\"\n[log]\nlevel = \"warn\"\n\
         [sip]\nlisten = [\"127.0.0.1:{port}\"]\ndigest = [\"MD5\"]\n\
         [sip.limits]\nunauthenticated_per_second = 1000000\ntransactions_per_source = 1000000\n"
    ));
    println!(
        "omnid idle: {:.1} MiB",
        memory_kib(omnid.pid()) as f64 / 1024.0
    );
    for user in 0..USERS {
        omnid.add_user(&format!("user{user}@bench.test"), PASSWORD);
    }
    let omnid = Server {
        name: "omnid",
        pid: omnid.pid(),
        port,
        directory,
    };

    let port = free_port();
    let config = harness::tests().join("../benches/sip/kamailio.cfg");
    let config = fs::read_to_string(config).unwrap();
    let config = config
        .replace("PORT", &port.to_string())
        .replace("PASSWORD", PASSWORD);
    fs::write(directory.join("kamailio.cfg"), config).unwrap();
    let file = directory.join("kamailio.cfg");
    let arguments = [
        "-f",
        file.to_str().unwrap(),
        "-DD",
        "-E",
        "-m",
        "256",
        "-M",
        "16",
    ];
    let kamailio = Background::start("kamailio", &arguments, &directory.join("kamailio.log"));
    let kamailio = Server {
        name: "Kamailio",
        pid: kamailio.0.id(),
        port,
        directory,
    };
    std::thread::sleep(Duration::from_secs(2));

    let each = |load: &dyn Fn(&Server<'_>) -> (f64, String)| {
        [&omnid, &kamailio].map(|server| {
            let figure = Figure::measure(server.name, server.pid, || load(server));
            // Until transactions have run out that are kept for retransmissions.
            std::thread::sleep(Duration::from_secs(1));
            figure
        })
    };
    let phone = free_port();
    let figures = each(&|server| server.register(phone, REGISTRATIONS, 2000));
    print("REGISTER, challenge and digest, 2000/s", &figures);
    let figures = each(&|server| server.call(phone, CALLS, 300));
    print(
        "call: INVITE, 407, INVITE, 180, 200, ACK, BYE; 300/s",
        &figures,
    );
}
