//! Registrations and calls over UDP: omnid and Kamailio in turns, loaded by SIPp.
//!
//! `cargo bench --bench sip` (needs the packages of tests/install)
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

#[path = "../tests/support/mod.rs"]
mod harness;
mod support;

use std::{
    fs,
    net::UdpSocket,
    path::{Path, PathBuf},
    thread::sleep,
    time::Duration,
};

use harness::{Background, Daemon, free_port, run, wait_until};
use support::{add_users, in_turns, memory_kib, wanted};

/// Users that register and call, in turns.
const USERS: usize = 1000;
const REGISTRATIONS: usize = 20_000;
const CALLS: usize = 6_000;
/// Registrations or calls under way at once: few enough for sockets' buffers, so that none is lost.
const WINDOW: &str = "32";
/// Phones that stay registered, for the memory they take.
const PHONES: usize = 20_000;
const PASSWORD: &str = "the-same-for-all";
const LIMIT: Duration = Duration::from_secs(300);

struct Server {
    pid: u32,
    port: u16,
    directory: PathBuf,
}

impl Server {
    /// SIPp's arguments for a scenario of `benches/sip`, at a port of its own.
    fn sipp(
        &self,
        scenario: &str,
        users: &str,
        port: u16,
        statistics: &str,
        more: &[&str],
    ) -> Vec<String> {
        let scenario = file(&format!("{scenario}.xml"));
        let server = format!("127.0.0.1:{}", self.port);
        let (port, users) = (port.to_string(), self.directory.join(users));
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
            "-trace_stat",
            "-stf",
            self.directory.join(statistics).to_str().unwrap(),
            "-fd",
            "1",
        ]
        .map(str::to_owned);
        let more = more.iter().map(|text| (*text).to_owned());
        fixed.into_iter().chain(more).collect()
    }

    /// Runs a scenario `count` times, as fast as the server lets it.
    fn load(&self, scenario: &str, users: &str, count: usize, keys: &[&str]) -> (f64, String) {
        let count_text = count.to_string();
        let all = ["-m", &count_text, "-r", "20000", "-l", WINDOW];
        let more = [&all[..], keys].concat();
        let arguments = self.sipp(scenario, users, free_port(), "load.csv", &more);
        let output = run("sipp", &arguments, LIMIT);
        // Of calls over UDP, a few come to nothing when a BYE overtakes its ACK.
        let failed = output
            .stdout
            .lines()
            .filter(|line| line.contains("Failed call"))
            .filter_map(|line| line.split_whitespace().next_back()?.parse::<usize>().ok())
            .next_back();
        assert!(
            failed.is_some_and(|failed| failed * 200 < count),
            "{output:?}"
        );
        (count as f64, self.latency())
    }

    /// The mean response time of SIPp's last run.
    fn latency(&self) -> String {
        let table = fs::read_to_string(self.directory.join("load.csv")).unwrap();
        let mut lines = table.lines();
        let titles = lines.next().unwrap();
        let place = titles
            .split(';')
            .position(|title| title == "ResponseTime1(C)");
        let last = lines.next_back().unwrap();
        let time = last.split(';').nth(place.unwrap()).unwrap();
        // 00:00:00:013000
        let mut parts = time.split(':').map(|part| part.parse::<f64>().unwrap());
        let mut part = || parts.next().unwrap();
        let seconds = (part() * 60.0 + part()) * 60.0 + part();
        format!("mean {} ms", seconds * 1e3 + part() / 1e3)
    }

    fn register(&self, users: &str, contact_port: u16, count: usize) -> (f64, String) {
        let port = contact_port.to_string();
        let keys = ["-key", "expires", "3600", "-key", "contact_port", &port];
        self.load("register", users, count, &keys)
    }
}

/// A file of `benches/sip`.
fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("benches/sip")
        .join(name)
}

fn main() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    // A line for each phone: its user, how that one proves who it is, whom it calls, its contact.
    let lines = |count: usize, contact: &str| -> String {
        let line = |phone: usize| {
            let (user, callee) = (phone % USERS, (phone + 1) % USERS);
            format!(
                "user{user};[authentication username=user{user} password={PASSWORD}];user{callee};\
                 {contact}{phone};\n"
            )
        };
        (0..count).map(line).collect()
    };
    for (file, count, contact) in [("users", USERS, "user"), ("phones", PHONES, "phone")] {
        let text = format!("SEQUENTIAL\n{}", lines(count, contact));
        fs::write(directory.join(file), text).unwrap();
    }

    let port = free_port();
    let daemon = Daemon::start(&format!(
        "[[domain]]\nname = \"bench.test\"\n[log]\nlevel = \"warn\"\n\
         [sip]\nlisten = [\"127.0.0.1:{port}\"]\ndigest = [\"MD5\"]\n\
         [sip.limits]\nunauthenticated_per_second = 1000000\ntransactions_per_source = 1000000\n\
         transactions = 10000000\ncalls = 1000000\n\
         [sip.registrar]\nmax_contacts = 100\n"
    ));
    add_users(&daemon.path("omnid.sock"), USERS, PASSWORD);
    let omnid = Server {
        pid: daemon.pid(),
        port,
        directory: directory.to_owned(),
    };

    let port = free_port();
    let config = fs::read_to_string(file("kamailio.cfg")).unwrap();
    let config = config
        .replace("PORT", &port.to_string())
        .replace("USERS", &USERS.to_string())
        .replace("PASSWORD", PASSWORD);
    let path = directory.join("kamailio.cfg");
    fs::write(&path, config).unwrap();
    let arguments = [
        "-f",
        path.to_str().unwrap(),
        "-DD",
        "-E",
        "-m",
        "512",
        "-M",
        "16",
    ];
    let process = Background::start("kamailio", &arguments, &directory.join("kamailio.log"));
    let kamailio = Server {
        pid: process.0.id(),
        port,
        directory: directory.to_owned(),
    };
    wait_until("Kamailio answers", LIMIT, || {
        let target = format!("sip:127.0.0.1:{port}");
        // Whatever it says: it is there.
        let options = ["-s", &target, "-v"];
        let said = run("sipsak", &options, Duration::from_secs(20));
        said.stdout.contains("SIP/2.0") || said.stderr.contains("SIP/2.0")
    });
    let servers = [&omnid, &kamailio];
    let names = [("omnid", omnid.pid), ("Kamailio", kamailio.pid)];
    let idle = servers.map(|server| memory_kib(server.pid));

    let phone = free_port();
    for server in servers {
        server.register("users", phone, USERS);
    }
    in_turns("REGISTER, 401, REGISTER, 200", names, |server| {
        servers[server].register("users", phone, REGISTRATIONS)
    });
    let call = "call: INVITE, 407, ACK, INVITE, 180, 200, ACK, BYE, 200";
    in_turns(call, names, |server| {
        let server = servers[server];
        let answer = server.sipp("answer", "users", phone, "answer.csv", &[]);
        let _answer = Background::start("sipp", &answer, &directory.join("answer.log"));
        wait_until("the called listen", LIMIT, || {
            UdpSocket::bind(("127.0.0.1", phone)).is_err()
        });
        server.load("call", "users", CALLS, &[])
    });
    if wanted("memory") {
        println!("\nmemory, {PHONES} registered phones");
        for (index, server) in servers.into_iter().enumerate() {
            // Until the transactions of what was before have run out (64 T1).
            sleep(Duration::from_secs(40));
            let before = memory_kib(server.pid);
            server.register("phones", phone, PHONES);
            sleep(Duration::from_secs(40));
            let after = memory_kib(server.pid);
            println!(
                "  {:<9} idle after its start {:.1} MiB; with the phones {:.1} MiB, {:.0} bytes a phone",
                names[index].0,
                idle[index] as f64 / 1024.0,
                after as f64 / 1024.0,
                (after as f64 - before as f64) * 1024.0 / PHONES as f64,
            );
        }
    }
}
