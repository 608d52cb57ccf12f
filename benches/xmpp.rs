//! Logins, sessions that lie idle, and messages over TLS: omnid and Prosody in turns, loaded by a
//! client of this benchmark's own.
//!
//! `cargo bench --bench xmpp` (needs the packages of tests/install)
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

#[path = "xmpp/client.rs"]
mod client;
#[path = "../tests/support/mod.rs"]
mod harness;
#[path = "xmpp/scram.rs"]
mod scram;
mod support;

use std::{
    cell::RefCell,
    collections::VecDeque,
    fmt::Write,
    fs,
    net::TcpStream,
    path::Path,
    rc::Rc,
    thread::sleep,
    time::{Duration, Instant},
};

use client::{DOMAIN, Session, Target};
use harness::{Background, Daemon, free_port, run, wait_until};
use scram::Keys;
use support::{Figure, add_users, in_turns, memory_kib, print, rounds, wanted};
use tokio::{runtime, sync::Semaphore, task::LocalSet, time::timeout};

/// Sessions that log in and lie idle.
const IDLE: usize = 1000;
/// Pairs of sessions, one of which writes to the other.
const PAIRS: usize = 50;
const SECONDS: u64 = 5;
/// Logins under way at once.
const LOGINS: usize = 16;
const PASSWORD: &str = "the-same-for-all";
const LIMIT: Duration = Duration::from_secs(60);

/// Logs in users `from..to`.
async fn log_in(target: &Target, from: usize, to: usize) -> (Vec<Session>, Vec<Duration>) {
    let next = Rc::new(RefCell::new(from..to));
    let workers: Vec<_> = (0..LOGINS)
        .map(|_| {
            let (next, target) = (next.clone(), target.clone());
            tokio::task::spawn_local(async move {
                let mut done = Vec::new();
                loop {
                    let Some(user) = next.borrow_mut().next() else {
                        return done;
                    };
                    let since = Instant::now();
                    let session = Session::login(&target, user).await;
                    done.push((session, since.elapsed()));
                }
            })
        })
        .collect();
    let mut all = (Vec::new(), Vec::new());
    for worker in workers {
        all.extend(worker.await.unwrap());
    }
    all
}

async fn log_out(sessions: Vec<Session>) {
    let ends: Vec<_> = sessions
        .into_iter()
        .map(|session| tokio::task::spawn_local(session.logout()))
        .collect();
    for end in ends {
        end.await.unwrap();
    }
}

/// A writer and a reader, who know how many messages are on their way.
struct Pair {
    writer: Session,
    reader: Session,
}

/// Has every pair's writer write to its reader for some seconds, with at most `window` messages under
/// way, each in a write of its own.
async fn talk(pairs: &mut Vec<Pair>, window: usize) -> (f64, String) {
    let until = Instant::now() + Duration::from_secs(SECONDS);
    let tasks: Vec<_> = pairs
        .drain(..)
        .map(|pair| tokio::task::spawn_local(talk_in(pair, window, until)))
        .collect();
    let mut times = Vec::new();
    for task in tasks {
        let (pair, of_pair) = task.await.unwrap();
        pairs.push(pair);
        times.extend(of_pair);
    }
    (times.len() as f64, quantiles(times))
}

async fn talk_in(pair: Pair, window: usize, until: Instant) -> (Pair, Vec<Duration>) {
    let Pair {
        mut writer,
        mut reader,
    } = pair;
    let free = Semaphore::new(window);
    let under_way = RefCell::new(VecDeque::new());
    let message = message(&reader.jid);
    let mut times = Vec::new();
    let writing = async {
        while Instant::now() < until {
            free.acquire().await.unwrap().forget();
            under_way.borrow_mut().push_back(Instant::now());
            writer.write(message.as_bytes()).await;
        }
        // Until all have come.
        let _all = free.acquire_many(window as u32).await.unwrap();
    };
    let reading = async {
        loop {
            let count = reader.messages().await;
            for _ in 0..count {
                times.push(under_way.borrow_mut().pop_front().unwrap().elapsed());
            }
            free.add_permits(count);
        }
    };
    tokio::select! {
        () = writing => {}
        () = reading => {}
    }
    (Pair { writer, reader }, times)
}

/// About 330 bytes, as chat clients send them.
fn message(to: &str) -> String {
    format!(
        "<message to='{to}' type='chat' id='5f1c8bd2-6a3e-4b0c-9a57-b1f0c2d4e8a1'>\
         <body>Seven bells have gone, and the wind has come round to the south west. We'll make the \
         harbour by noon if it holds, so tell them to have the boat ready.</body>\
         <active xmlns='http://jabber.org/protocol/chatstates'/>\
         <request xmlns='urn:xmpp:receipts'/></message>"
    )
}

fn quantiles(mut times: Vec<Duration>) -> String {
    times.sort_unstable();
    let at = |part: f64| {
        let index = (times.len() as f64 * part) as usize;
        times
            .get(index)
            .map_or(f64::NAN, |time| time.as_secs_f64() * 1e3)
    };
    format!("p50 {:.2} ms p99 {:.2} ms", at(0.5), at(0.99))
}

fn certificate(directory: &Path) {
    let (cert, key) = (directory.join("cert.pem"), directory.join("key.pem"));
    let arguments = [
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/CN=bench.test",
        "-addext",
        "subjectAltName=DNS:bench.test",
        "-addext",
        "basicConstraints=critical,CA:FALSE",
        "-keyout",
        key.to_str().unwrap(),
        "-out",
        cert.to_str().unwrap(),
    ];
    run("openssl", &arguments, LIMIT).success();
}

/// Prosody's accounts, as its internal storage keeps them.
fn prosody_accounts(directory: &Path, count: usize) {
    let accounts = directory.join("prosody/bench%2etest/accounts");
    fs::create_dir_all(&accounts).unwrap();
    let keys = Keys::derive(PASSWORD, b"the-same-salt", 10_000);
    let hex = |bytes: &[u8]| {
        bytes.iter().fold(String::new(), |mut text, byte| {
            let _infallible = write!(text, "{byte:02x}");
            text
        })
    };
    let text = format!(
        "return {{ stored_key = \"{}\"; server_key = \"{}\"; salt = \"the-same-salt\"; \
         iteration_count = 10000; }};\n",
        hex(&keys.stored),
        hex(&keys.server)
    );
    for user in 0..count {
        fs::write(accounts.join(format!("user{user}.dat")), &text).unwrap();
    }
}

fn main() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let shown = directory.display().to_string();
    certificate(directory);
    let users = IDLE + 2 * PAIRS;

    let omnid_port = free_port();
    let omnid = Daemon::start(&format!(
        "[[domain]]\nname = \"{DOMAIN}\"\n[log]\nlevel = \"warn\"\n\
         [net]\nmax_connections_per_client = 100000\n\
         [tls]\ncertificates = [{{ cert = \"{shown}/cert.pem\", key = \"{shown}/key.pem\" }}]\n\
         [xmpp]\nlisten = []\nlisten_tls = [\"127.0.0.1:{omnid_port}\"]\n"
    ));
    add_users(&omnid.path("omnid.sock"), users, PASSWORD);

    let prosody_port = free_port();
    prosody_accounts(directory, users);
    let config = include_str!("xmpp/prosody.cfg.lua")
        .replace("DIRECTORY", &shown)
        .replace("PORT", &prosody_port.to_string());
    let file = directory.join("prosody.cfg.lua");
    fs::write(&file, config).unwrap();
    let arguments = ["--config", file.to_str().unwrap()];
    let prosody = Background::start("prosody", &arguments, &directory.join("prosody.out"));
    wait_until("Prosody listens", LIMIT, || {
        TcpStream::connect(("127.0.0.1", prosody_port)).is_ok()
    });

    let certificate = directory.join("cert.pem");
    let targets = [omnid_port, prosody_port].map(|port| Target::new(port, &certificate, PASSWORD));
    let servers = [("omnid", omnid.pid()), ("Prosody", prosody.0.id())];
    // The client has one thread, so that the server has the other processor.
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let local = LocalSet::new();

    let started = servers.map(|(_, pid)| memory_kib(pid));
    let mut pairs = [0, 1].map(|server| {
        let (sessions, _) = local.block_on(&runtime, log_in(&targets[server], IDLE, users));
        let mut sessions = sessions.into_iter();
        let mut pairs = Vec::new();
        while let (Some(writer), Some(reader)) = (sessions.next(), sessions.next()) {
            pairs.push(Pair { writer, reader });
        }
        pairs
    });

    let logins = "login: TLS, SCRAM-SHA-256, bind, roster";
    let mut figures = [Vec::new(), Vec::new()];
    // The first turn only tells how much memory sessions take: in it the client still derives keys
    // from its password, as later ones need not.
    let turns = if wanted(logins) { 1 + rounds() } else { 0 };
    for turn in 0..turns {
        for (server, (name, pid)) in servers.into_iter().enumerate() {
            let before = memory_kib(pid);
            let mut sessions = Vec::new();
            let figure = Figure::measure(name, pid, || {
                let logins = log_in(&targets[server], 0, IDLE);
                let (all, times) = local.block_on(&runtime, logins);
                sessions = all;
                (times.len() as f64, quantiles(times))
            });
            if turn == 0 {
                sleep(Duration::from_secs(4));
                let after = memory_kib(pid);
                println!(
                    "{name}: {:.1} MiB after its start, {:.1} MiB with {IDLE} idle sessions, {:.0} \
                     bytes a session",
                    started[server] as f64 / 1024.0,
                    after as f64 / 1024.0,
                    (after as f64 - before as f64) * 1024.0 / IDLE as f64,
                );
            } else {
                figures[server].push(figure);
            }
            local.block_on(&runtime, log_out(sessions));
        }
    }
    if turns > 0 {
        print(logins, &figures);
    }
    for (load, window) in [
        ("message, 50 pairs, window 1", 1),
        ("message, 50 pairs, window 8", 8),
    ] {
        in_turns(load, servers, |server| {
            let talk = talk(&mut pairs[server], window);
            local.block_on(&runtime, async { timeout(LIMIT, talk).await.unwrap() })
        });
    }
}
