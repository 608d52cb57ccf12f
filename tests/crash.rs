//! The daemon may be killed at any instant: what it acknowledged is there when it is back, on
//! SQLite and on PostgreSQL; and what is backed up comes back elsewhere.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

#[path = "support/postgres.rs"]
mod postgres;
mod support;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use serde_json::json;
use support::{
    Daemon, Output, binary, python, python_binary, run, run_with, tests, wait_until,
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

fn start(ports: &Ports, store: &str, lay_out: impl FnOnce(&Path)) -> Daemon {
    let more = More {
        sections: store,
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
    client: Arc<Mutex<Child>>,
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
        let mut said = BufReader::new(client.stdout.take().unwrap());
        let client = Arc::new(Mutex::new(client));
        let (noted, talking) = (ledger.clone(), client.clone());
        let reader = thread::spawn(move || {
            let mut line = String::new();
            // A line that was cut off when the clients were killed acknowledges nothing.
            while said.read_line(&mut line).unwrap() > 0 && line.ends_with('\n') {
                noted.lock().unwrap().note(line.trim_end_matches('\n'));
                line.clear();
            }
            let status = talking.lock().unwrap().wait().unwrap();
            assert_ne!(status.code(), Some(1), "the clients failed");
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
            client,
            over,
            threads: vec![reader, accounts],
        }
    }

    /// Ends the clients, and all of it, while the daemon lives on.
    fn leave(self) {
        self.client.lock().unwrap().kill().unwrap();
        self.end();
    }

    /// Waits for the end, which is soon where the daemon is gone.
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

/// Waits until some facts of each kind have come in this round.
fn acknowledged(ledger: &Mutex<Ledger>) {
    wait_until("something of each kind is acknowledged", LIMIT, || {
        let ledger = ledger.lock().unwrap();
        let busy = ledger.fresh.values().filter(|count| **count >= 3).count();
        busy == 6
    });
}

fn add_users(daemon: &Daemon) {
    for user in USERS {
        daemon.add_user(&format!("{user}@{DOMAIN}"), PASSWORD);
    }
}

/// Kills the daemon under load, again and again.
fn loop_of_kills(store: &str, rounds: u32) -> (Daemon, Ports, Ledger) {
    let since = Instant::now();
    let ports = Ports::free();
    let mut daemon = start(&ports, store, |_| {});
    add_users(&daemon);
    let ledger = Arc::new(Mutex::new(Ledger::default()));
    for round in 1..=rounds {
        let load = Load::begin(&daemon, &ports, round, &ledger);
        acknowledged(&ledger);
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

#[test]
fn what_is_backed_up_comes_back_elsewhere() {
    let ports = Ports::free();
    let daemon = start(&ports, "", |_| {});
    add_users(&daemon);
    let ledger = Arc::new(Mutex::new(Ledger::default()));
    let load = Load::begin(&daemon, &ports, 1, &ledger);
    acknowledged(&ledger);
    load.leave();
    let archive = daemon.path("archive").display().to_string();
    daemon.omnid(&["backup", &archive]).success();
    run(binary(), &["verify", &archive], LIMIT).success();
    let mut ledger = ledger.lock().unwrap().clone();

    let elsewhere = Ports::free();
    let second = start(&elsewhere, "", |directory| {
        let config = directory.join("restore.toml");
        let data = directory.join("data").display().to_string();
        let socket = directory.join("none.sock").display().to_string();
        let text = format!("server.data_dir = \"{data}\"\nadmin.socket = \"{socket}\"\n");
        fs::write(&config, text).unwrap();
        let arguments = ["-c", config.to_str().unwrap(), "restore", &archive];
        run(binary(), &arguments, LIMIT).success();
    });
    check(&second, &elsewhere, &mut ledger);
    println!("restored elsewhere: {:?}", ledger.all);
    // Where it was, it still is.
    daemon.omnid(&["verify"]).success();
    let alice = format!("alice@{DOMAIN}");
    let xmpps = format!("127.0.0.1:{}", ports.xmpps);
    python("xmpp_hold.py", &[&xmpps, &alice, PASSWORD, "1"], LIMIT).success();
}

/// The daemon with a file system of its own under its data directory, which nobody else sees.
struct Confined {
    child: Child,
    directory: tempfile::TempDir,
    ports: Ports,
}

impl Confined {
    fn start(options: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        whole::lay_out(path);
        let ports = Ports::free();
        let config = whole::config(&ports, More::default());
        let config = config.replace("{dir}", path.to_str().unwrap());
        fs::write(path.join("omnid.toml"), config).unwrap();
        fs::create_dir(path.join("data")).unwrap();
        // Who is not root is so inside a user namespace of their own.
        let own = if run("id", &["-u"], LIMIT).stdout.trim() == "0" {
            "-m"
        } else {
            "-rm"
        };
        let script = format!(
            "mount -t tmpfs -o {options} none \"$1/data\" && exec \"$2\" -c \"$1/omnid.toml\" run"
        );
        let log = fs::File::create(path.join("log")).unwrap();
        let child = Command::new("unshare")
            .args([own, "sh", "-c", &script, "sh"])
            .args([path, binary()])
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        Self {
            child,
            directory,
            ports,
        }
    }

    fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("log")).unwrap()
    }

    fn omnid(&self, arguments: &[&str], input: &str) -> Output {
        let config = self.directory.path().join("omnid.toml");
        let all = [&["-c", config.to_str().unwrap()], arguments].concat();
        run_with(binary(), &all, input, &[], LIMIT)
    }
}

impl Drop for Confined {
    fn drop(&mut self) {
        let _ended = self.child.kill().and_then(|()| self.child.wait());
        if thread::panicking() {
            eprintln!("--- the daemon's log\n{}", self.log());
        }
    }
}

#[test]
fn a_data_directory_that_cannot_be_written_is_said_to_be_so() {
    for (options, reason) in [
        ("ro", "Read-only file system"),
        ("size=16k", "its file system is full"),
    ] {
        let mut daemon = Confined::start(options);
        let mut status = None;
        wait_until("it gives up", LIMIT, || {
            status = daemon.child.try_wait().unwrap();
            status.is_some()
        });
        let log = daemon.log();
        assert_eq!(status.unwrap().code(), Some(1), "{log}");
        let last = log.lines().last().unwrap();
        println!("{options}: {last}");
        let data = daemon.directory.path().join("data").display().to_string();
        assert!(last.starts_with("omnid: ") && last.contains(&data), "{log}");
        assert!(
            last.contains(reason) || last.contains("o space left"),
            "{log}"
        );
    }
    // Nor one that is no directory at all.
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().display().to_string();
    fs::write(directory.path().join("data"), "").unwrap();
    let config = format!("server.data_dir = \"{path}/data\"\nadmin.socket = \"{path}/s\"\n");
    fs::write(directory.path().join("omnid.toml"), config).unwrap();
    let arguments = ["-c", &format!("{path}/omnid.toml"), "run"];
    let output = run(binary(), &arguments, LIMIT);
    assert_eq!(output.code, Some(1), "{output:?}");
    assert!(
        output.stderr.contains(&format!("{path}/data")),
        "{output:?}"
    );
}

#[test]
fn a_full_disk_refuses_what_is_new_and_nothing_else() {
    let mut daemon = Confined::start("size=4m");
    let answering = |daemon: &Confined| {
        whole::SERVICES
            .iter()
            .all(|service| whole::answers(service, &daemon.ports))
    };
    wait_until("it is ready", LIMIT, || {
        daemon.omnid(&["status"], "").code == Some(0)
    });
    wait_until("all answer", LIMIT, || answering(&daemon));
    let add = |user: &str| daemon.omnid(&["user", "add", user, "--stdin"], PASSWORD);
    let alice = format!("alice@{DOMAIN}");
    add(&alice).success();
    let sip = format!("127.0.0.1:{}", daemon.ports.sip);
    let register = |domain_user: &str| {
        let arguments = [&*sip, domain_user, PASSWORD, "SHA-256", "keep"];
        python("sip_register.py", &arguments, LIMIT)
    };

    // The file system as the daemon sees it.
    let inside = format!(
        "/proc/{}/root{}",
        daemon.child.id(),
        daemon.directory.path().join("data/filler").display()
    );
    let mut filler = fs::File::create(&inside).unwrap();
    while filler.write_all(&[0; 512]).is_ok() {}
    let refused = add(&format!("bob@{DOMAIN}")).failure();
    println!("on a full disk: {}", refused.stderr.trim());
    let refused = register(&alice).failure().stderr;
    assert!(refused.contains("SIP/2.0 500"), "{refused}");
    // What needs no room goes on.
    assert!(answering(&daemon));
    let xmpps = format!("127.0.0.1:{}", daemon.ports.xmpps);
    python("xmpp_hold.py", &[&xmpps, &alice, PASSWORD, "1"], LIMIT).success();

    drop(filler);
    fs::remove_file(&inside).unwrap();
    wait_until("there is room again", LIMIT, || {
        register(&alice).code == Some(0)
    });
    add(&format!("carol@{DOMAIN}")).success();
    daemon.omnid(&["verify"], "").success();
    assert!(daemon.child.try_wait().unwrap().is_none());
}
