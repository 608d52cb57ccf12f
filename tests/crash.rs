//! The daemon may be killed at any instant: what it acknowledged is there when it is back, on
//! SQLite and on PostgreSQL; and what is backed up comes back elsewhere.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

#[path = "support/postgres.rs"]
mod postgres;
mod support;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use serde_json::{Value, json};
use support::{
    Daemon, binary, python_binary, run, run_with, tests, wait_until,
    whole::{self, DOMAIN, More, Ports},
};

const LIMIT: Duration = Duration::from_secs(60);
const PASSWORD: &str = "correct horse battery";
const USERS: [&str; 7] = ["alice", "bob", "carol", "dave", "erin", "box1", "box2"];

/// What was acknowledged, by kind and owner: whether each thing holds, or holds no more.
#[derive(Debug, Default, Clone)]
struct Ledger {
    facts: BTreeMap<(String, String), BTreeMap<String, bool>>,
    /// How many facts of each kind, since the last kill and in all.
    fresh: BTreeMap<String, u32>,
    all: BTreeMap<String, u32>,
}

impl Ledger {
    /// `+ roster alice friend@example.test`, as `clients/crash_load.py` prints it.
    fn note(&mut self, line: &str) {
        let mut words = line.splitn(4, ' ');
        let mut word = || words.next().unwrap().to_owned();
        let (sign, kind, owner, thing) = (word(), word(), word(), word());
        let facts = self.facts.entry((kind.clone(), owner.clone())).or_default();
        match &*sign {
            "+" => drop(facts.insert(thing, true)),
            "-" => drop(facts.insert(thing, false)),
            "?" => drop(facts.remove(&thing)),
            _ => panic!("{line}"),
        }
        if sign != "?" {
            *self.fresh.entry(format!("{kind} of {owner}")).or_default() += 1;
            *self.all.entry(kind).or_default() += 1;
        }
    }

    fn of(&self, kind: &str, owner: &str, holds: bool) -> Vec<&str> {
        let facts = self.facts.get(&(kind.to_owned(), owner.to_owned()));
        facts
            .into_iter()
            .flatten()
            .filter(|(_, held)| **held == holds)
            .map(|(thing, _)| &**thing)
            .collect()
    }
}

fn more(store: &str) -> String {
    format!("[log]\nlevel = \"info\"\n{store}")
}

fn start(ports: &Ports, store: &str, lay_out: impl FnOnce(&Path)) -> Daemon {
    let sections = more(store);
    let more = More {
        sections: &sections,
        xmpp: "offline_messages = 100000",
        sip: "registrar = { max_contacts = 100 }",
        ..More::default()
    };
    Daemon::start_with(&whole::config(ports, more), &[], |directory| {
        whole::lay_out(directory);
        lay_out(directory);
    })
}

/// The load of one round. It ends when the daemon does.
struct Load {
    over: Arc<AtomicBool>,
    threads: Vec<thread::JoinHandle<()>>,
}

impl Load {
    fn begin(daemon: &Daemon, ports: &Ports, round: u32, ledger: &Arc<Mutex<Ledger>>) -> Self {
        ledger.lock().unwrap().fresh.clear();
        let mut client = Command::new(python_binary())
            .arg(tests().join("clients/crash_load.py"))
            .args([
                format!("127.0.0.1:{}", ports.xmpps),
                format!("127.0.0.1:{}", ports.sip),
            ])
            .args([DOMAIN, PASSWORD, &round.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(client.stdout.take().unwrap()).lines();
        let noted = ledger.clone();
        let client = thread::spawn(move || {
            for line in lines {
                noted.lock().unwrap().note(&line.unwrap());
            }
            let status = client.wait().unwrap();
            assert!(status.success(), "the clients failed: {status}");
        });
        let over = Arc::new(AtomicBool::new(false));
        let (ended, noted) = (over.clone(), ledger.clone());
        let config = daemon.path("omnid.toml").display().to_string();
        let accounts = thread::spawn(move || {
            for number in 0.. {
                if ended.load(Ordering::Relaxed) {
                    return;
                }
                let address = format!("new-{round}-{number}@{DOMAIN}");
                let arguments = ["-c", &config, "user", "add", &address, "--stdin"];
                let added = run_with(binary(), &arguments, PASSWORD, &[], LIMIT);
                if added.code == Some(0) {
                    noted
                        .lock()
                        .unwrap()
                        .note(&format!("+ account all {address}"));
                }
            }
        });
        Self {
            over,
            threads: vec![client, accounts],
        }
    }

    fn end(self) {
        self.over.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().unwrap();
        }
    }
}

/// Sees that all of the ledger is there. Messages are taken, and struck out.
fn check(daemon: &Daemon, ports: &Ports, ledger: &mut Ledger) {
    let accounts: BTreeSet<String> = daemon
        .json(&["user", "list"])
        .as_array()
        .unwrap()
        .iter()
        .map(|account| account["address"].as_str().unwrap().to_owned())
        .collect();
    for account in ledger.of("account", "all", true) {
        assert!(accounts.contains(account), "account {account} is lost");
    }
    let registrations = daemon.json(&["registrations"]).to_string();
    for user in ["dave", "erin"] {
        let has = |contact: &str| registrations.contains(&format!("{contact}\""));
        for contact in ledger.of("contact", user, true) {
            assert!(has(contact), "contact {contact} is lost:\n{registrations}");
        }
        for contact in ledger.of("contact", user, false) {
            assert!(!has(contact), "contact {contact} is back");
        }
    }
    let wanted = json!({
        "roster": {"alice": {
            "present": ledger.of("roster", "alice", true),
            "absent": ledger.of("roster", "alice", false),
        }},
        "messages": {
            "box1": ledger.of("message", "box1", true),
            "box2": ledger.of("message", "box2", true),
        },
    });
    let script = tests().join("clients/crash_check.py");
    let xmpps = format!("127.0.0.1:{}", ports.xmpps);
    let arguments = [script.to_str().unwrap(), &xmpps, DOMAIN, PASSWORD];
    run_with(python_binary(), &arguments, &wanted.to_string(), &[], LIMIT).success();
    ledger.facts.retain(|(kind, _), _| kind != "message");
}

/// Kills the daemon under load, again and again.
fn loop_of_kills(store: &str, rounds: u32) -> (Daemon, Ports, Ledger) {
    let since = Instant::now();
    let ports = Ports::free();
    let mut daemon = start(&ports, store, |_| {});
    for user in USERS {
        daemon.add_user(&format!("{user}@{DOMAIN}"), PASSWORD);
    }
    let ledger = Arc::new(Mutex::new(Ledger::default()));
    for round in 1..=rounds {
        let load = Load::begin(&daemon, &ports, round, &ledger);
        wait_until("something of each kind is acknowledged", LIMIT, || {
            let ledger = ledger.lock().unwrap();
            let busy = ledger.fresh.values().filter(|count| **count >= 3).count();
            busy == 6
        });
        // A moment that nothing determines.
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        thread::sleep(Duration::from_millis(u64::from(now.subsec_nanos()) % 300));
        daemon.kill();
        load.end();
        daemon.start_again();
        check(&daemon, &ports, &mut ledger.lock().unwrap());
    }
    let ledger = ledger.lock().unwrap().clone();
    println!(
        "{rounds} kills in {:?}; acknowledged and found again: {:?}",
        since.elapsed(),
        ledger.all
    );
    (daemon, ports, ledger)
}

#[test]
fn a_killed_daemon_forgets_nothing_it_acknowledged() {
    let (mut daemon, ports, mut ledger) = loop_of_kills("", 10);
    // Killed while it starts, it is none the worse.
    for moment in [0, 5, 20, 40, 80, 160] {
        daemon.kill();
        daemon.spawn_again();
        thread::sleep(Duration::from_millis(moment));
    }
    daemon.kill();
    daemon.start_again();
    check(&daemon, &ports, &mut ledger);
    daemon.omnid(&["verify"]).success();
    let (code, _) = daemon.stop();
    assert_eq!(code, Some(0));
}

#[test]
fn nor_with_its_store_on_postgresql() {
    let server = postgres::Server::shared().unwrap();
    let url = server.database().unwrap();
    let (daemon, ..) = loop_of_kills(&format!("[store]\nurl = \"{url}\""), 3);
    daemon.omnid(&["verify"]).success();
}
