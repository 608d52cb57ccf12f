//! The XMPP service as clients see it: slixmpp, go-sendxmpp, profanity, and a bare client that
//! reads all that the server sends through expat.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod support;

#[path = "xmpp/archive.rs"]
mod archive;
#[path = "xmpp/features.rs"]
mod features;
#[path = "xmpp/login.rs"]
mod login;
#[path = "xmpp/moving.rs"]
mod moving;
#[path = "xmpp/rooms.rs"]
mod rooms;
#[path = "xmpp/servers.rs"]
mod servers;
#[path = "xmpp/upload.rs"]
mod upload;
#[path = "xmpp/web.rs"]
mod web;

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    process::{Command, Stdio},
    time::Duration,
};

use support::{Daemon, free_port, python, python_binary, run, run_with, tests, wait_until};

const LIMIT: Duration = Duration::from_secs(90);

/// A daemon that serves one.test to alice, bob and carol.
struct Server {
    daemon: Daemon,
    plain: String,
    tls: String,
}

impl Server {
    fn start() -> Self {
        Self::start_with("")
    }

    /// With more keys in `[xmpp]`.
    fn start_with(keys: &str) -> Self {
        let (plain, tls) = (free_port(), free_port());
        Self::with(Daemon::start(&config(plain, tls, keys)), plain, tls)
    }

    /// Adds the accounts.
    fn with(daemon: Daemon, plain: u16, tls: u16) -> Self {
        for user in ["alice", "bob", "carol"] {
            daemon.add_user(&format!("{user}@one.test"), &format!("secret-{user}"));
        }
        let local = |port| format!("127.0.0.1:{port}");
        Self {
            daemon,
            plain: local(plain),
            tls: local(tls),
        }
    }

    #[track_caller]
    fn scenario(&self, name: &str) -> String {
        self.scenario_with(name, &[])
    }

    #[track_caller]
    fn scenario_with(&self, name: &str, more: &[&str]) -> String {
        let mut arguments = vec![name, &self.plain, &self.tls];
        arguments.extend(more);
        python("xmpp_scenario.py", &arguments, LIMIT)
            .success()
            .stdout
    }

    /// A scenario of another script.
    #[track_caller]
    fn script(&self, script: &str, name: &str, more: &[&str]) -> String {
        let mut arguments = vec![name, &self.plain, &self.tls];
        arguments.extend(more);
        python(script, &arguments, LIMIT).success().stdout
    }

    fn kill_and_start(self) -> Self {
        Self {
            daemon: self.daemon.kill_and_start(),
            ..self
        }
    }

    /// Lines of log at `level`.
    fn lines(&self, level: &str) -> usize {
        self.daemon
            .log()
            .lines()
            .filter(|line| line.contains(level))
            .count()
    }
}

fn config(plain: u16, tls: u16, keys: &str) -> String {
    format!(
        r#"
[[domain]]
name = "one.test"

[tls]
self_signed = true

[identity.throttle]
account_failures = 1000
account_lock = 1001
source_failures = 1000
source_lock = 1001

[xmpp]
listen = ["127.0.0.1:{plain}"]
listen_tls = ["127.0.0.1:{tls}"]
{keys}
"#
    )
}

#[test]
fn logins() {
    let server = Server::start();
    server.scenario("nothing_in_clear");
    server.scenario("every_mechanism");
    server.scenario("downgrade");
    server.scenario("wrong_orders");
}

#[test]
fn garbage_ends_streams_and_nothing_else() {
    let server = Server::start();
    let before = server.daemon.resident_kib();
    for _ in 0..3 {
        server.scenario("garbage");
    }
    server.scenario("one_byte_at_a_time");
    let grown = server.daemon.resident_kib().saturating_sub(before);
    assert!(grown < 32 * 1024, "{grown} KiB more");
    // Repeats are held back: some 180 broken streams are a few lines of log.
    let log = server.daemon.log();
    let told = log
        .lines()
        .filter(|line| line.contains("no XMPP") || line.contains("was ended"));
    assert!((1..20).contains(&told.count()), "{log}");
    assert_eq!(server.lines(" ERROR "), 0, "{log}");
}

#[test]
fn stanzas_go_through_untouched() {
    Server::start().scenario("untouched");
}

#[test]
fn messages_wait_for_their_reader() {
    let server = Server::start();
    server.scenario_with("keep", &["3"]);
    server.scenario_with("kept", &["3"]);
}

#[test]
fn kept_messages_and_rosters_survive_a_kill() {
    let server = Server::start();
    assert_eq!(server.scenario_with("keep", &["20"]).trim(), "0 errors");
    server.scenario("roster_set");
    let server = server.kill_and_start();
    server.scenario_with("kept", &["20"]);
    server.scenario("roster_seen");
}

#[test]
fn a_full_store_says_so() {
    let server = Server::start_with("offline_messages = 5");
    assert_eq!(server.scenario_with("keep", &["8"]).trim(), "3 errors");
    server.scenario_with("kept", &["5"]);
}

#[test]
fn sessions_are_resumed() {
    Server::start().scenario("resume");
}

#[test]
fn what_is_not_resumed_is_kept() {
    let server = Server::start_with("resume_timeout = \"1s\"");
    server.scenario_with("resume_too_late", &["8"]);
}

#[test]
fn a_slow_reader_harms_nobody_else() {
    let server = Server::start();
    let before = server.daemon.resident_kib();
    server.scenario_with("slow_reader", &["600"]);
    let grown = server.daemon.resident_kib().saturating_sub(before);
    assert!(grown < 32 * 1024, "{grown} KiB more");
}

#[test]
fn half_open_connections_are_sent_away() {
    let server = Server::start_with("login_timeout = \"2s\"");
    server.scenario_with("half_open", &["2"]);
}

#[test]
fn the_latest_client_has_the_resource() {
    Server::start().scenario("conflict");
}

#[test]
fn scripts_decide_about_stanzas() {
    let (plain, tls) = (free_port(), free_port());
    let script = r#"
omnid.hook("xmpp.stanza_in", function(stanza)
  if stanza.kind ~= "message" or not stanza.body then return nil end
  if stanza.body:find("spam") then return { drop = true } end
  if stanza.body:find("secret") then return { error = "policy-violation" } end
  if stanza.to == "echo@one.test" then return { reply = stanza.body } end
  if stanza.body == "break" then error("broken") end
end)
"#;
    let config = config(plain, tls, "") + "[script]\nfiles = [\"{dir}/hook.lua\"]\n";
    let daemon = Daemon::start_with(&config, &[], |directory| {
        fs::write(directory.join("hook.lua"), script).unwrap();
    });
    let server = Server::with(daemon, plain, tls);
    server.scenario("hooked");
}

#[test]
fn clients_come_through_a_shared_port() {
    let (plain, tls, https) = (free_port(), free_port(), free_port());
    let site = format!(
        "[http]\nlisten = []\nlisten_tls = [\"127.0.0.1:{https}\"]\n\
         [[http.site]]\nhosts = [\"one.test\"]\nroot = \"{{dir}}\"\n"
    );
    let daemon = Daemon::start(&(config(plain, tls, "") + &site));
    let server = Server::with(daemon, plain, tls);
    server.scenario_with("shared_port", &[&format!("127.0.0.1:{https}")]);
}

#[test]
fn slixmpp() {
    let server = Server::start();
    let arguments = [&*server.plain, &*server.tls];
    python("xmpp_slixmpp.py", &arguments, LIMIT).success();
}

#[test]
fn go_sendxmpp() {
    let server = Server::start();
    for (text, direct) in [("over STARTTLS", false), ("over direct TLS", true)] {
        let address = if direct { &server.tls } else { &server.plain };
        let mut send = vec![
            "-n",
            "-j",
            address,
            "-u",
            "alice@one.test",
            "-p",
            "secret-alice",
        ];
        if direct {
            send.push("-t");
        }
        send.push("bob@one.test");
        run_with("go-sendxmpp", &send, &format!("hello {text}\n"), &[], LIMIT).success();
        let receive = [&server.plain, "bob@one.test", "secret-bob", text];
        python("xmpp_receive.py", &receive, LIMIT).success();
    }
    let wrong = [
        "-n",
        "-j",
        &server.plain,
        "-u",
        "alice@one.test",
        "-p",
        "wrong",
        "bob@one.test",
    ];
    run_with("go-sendxmpp", &wrong, "hello\n", &[], LIMIT).failure();
}

/// profanity in a terminal of its own.
struct Profanity {
    socket: String,
    _home: tempfile::TempDir,
}

impl Profanity {
    fn start(server: &Server, user: &str, address: &str, policy: &str) -> Self {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("profanity");
        fs::create_dir(&folder).unwrap();
        let port = address.rsplit(':').next().unwrap();
        let account = format!(
            "[{user}@one.test]\nenabled=true\njid={user}@one.test\npassword=secret-{user}\n\
             server=127.0.0.1\nport={port}\ntls.policy={policy}\nresource=profanity\n"
        );
        fs::write(folder.join("accounts"), account).unwrap();
        let socket = format!("omnid-{}-{user}", std::process::id());
        let home_path = home.path().to_str().unwrap();
        let authority = server.daemon.path("data/tls/authority.pem");
        let command = format!(
            "XDG_DATA_HOME={home_path} XDG_CONFIG_HOME={home_path} HOME={home_path} \
             SSL_CERT_FILE={} profanity -a {user}@one.test",
            authority.display()
        );
        let arguments = [
            "-L",
            &socket,
            "new-session",
            "-d",
            "-x",
            "120",
            "-y",
            "40",
            &command,
        ];
        run("tmux", &arguments, LIMIT).success();
        let profanity = Self {
            socket,
            _home: home,
        };
        profanity.wait_for("logged in successfully");
        profanity
    }

    fn screen(&self) -> String {
        run("tmux", &["-L", &self.socket, "capture-pane", "-p"], LIMIT).stdout
    }

    fn say(&self, text: &str) {
        run(
            "tmux",
            &["-L", &self.socket, "send-keys", text, "Enter"],
            LIMIT,
        )
        .success();
    }

    #[track_caller]
    fn wait_for(&self, text: &str) {
        let mut last = String::new();
        wait_until(
            &format!("{text:?} on profanity's screen"),
            Duration::from_secs(20),
            || {
                last = self.screen();
                let found = last.contains(text);
                if !found {
                    std::thread::sleep(Duration::from_millis(100));
                }
                found
            },
        );
    }
}

impl Drop for Profanity {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- profanity\n{}", self.screen());
        }
        let _ended = run("tmux", &["-L", &self.socket, "kill-server"], LIMIT);
    }
}

#[test]
fn profanity_talks_to_profanity() {
    let server = Server::start();
    let alice = Profanity::start(&server, "alice", &server.plain, "force");
    let bob = Profanity::start(&server, "bob", &server.tls, "legacy");
    alice.say("/msg bob@one.test hello from alice");
    bob.wait_for("alice@one.test");
    bob.say("/win 2");
    bob.wait_for("hello from alice");
    bob.say("hello back");
    alice.wait_for("hello back");
}

/// A client that stays, while the server goes on around it.
struct Held {
    child: std::process::Child,
    lines: BufReader<std::process::ChildStdout>,
}

impl Held {
    fn start(server: &Server) -> Self {
        Self::start_as(server, "hold")
    }

    fn start_as(server: &Server, scenario: &str) -> Self {
        Self::start_script(server, "xmpp_scenario.py", scenario)
    }

    fn start_script(server: &Server, script: &str, scenario: &str) -> Self {
        let script = tests().join("clients").join(script);
        let mut child = Command::new(python_binary())
            .arg(script)
            .args([scenario, &server.plain, &server.tls])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        let mut held = Self { child, lines };
        held.expect("ready");
        held
    }

    #[track_caller]
    fn expect(&mut self, word: &str) {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        assert_eq!(line.trim(), word);
    }

    fn tell(&mut self, word: &str) {
        writeln!(self.child.stdin.as_mut().unwrap(), "{word}").unwrap();
    }
}

#[test]
fn a_reload_keeps_sessions_and_a_stop_tells_them() {
    let mut server = Server::start();
    let mut held = Held::start(&server);
    let mut leaving = Held::start(&server);
    // The second takes the first one's resource, which then has its last words to say.
    wait_until("the first one is gone", LIMIT, || {
        server.daemon.json(&["sessions"]).as_array().unwrap().len() == 1
    });
    let sessions = server.daemon.json(&["sessions"]);
    let listed = sessions.as_array().unwrap();
    assert_eq!(listed[0]["jid"], "alice@one.test/x");
    assert_eq!(listed[0]["mechanism"], "SCRAM-SHA-256");
    assert_eq!(listed[0]["state"], "available");
    drop(held.child.kill());
    drop(held.child.wait());

    // Every listener goes, and another comes: the session stays.
    let moved = free_port();
    server
        .daemon
        .write_config(&config(moved, free_port(), "offline_messages = 7"));
    server.daemon.omnid(&["reload"]).success();
    server.plain = format!("127.0.0.1:{moved}");
    run_with(
        "go-sendxmpp",
        &[
            "-n",
            "-j",
            &server.plain,
            "-u",
            "bob@one.test",
            "-p",
            "secret-bob",
            "alice@one.test",
        ],
        "hello\n",
        &[],
        LIMIT,
    )
    .success();
    leaving.tell("go on");
    leaving.expect("done");
    assert!(leaving.child.wait().unwrap().success());

    let mut resumed = Held::start_as(&server, "resume_after_reload");
    let moved = free_port();
    server.daemon.write_config(&config(moved, free_port(), ""));
    server.daemon.omnid(&["reload"]).success();
    server.plain = format!("127.0.0.1:{moved}");
    resumed.tell(&server.plain);
    resumed.expect("done");
    assert!(resumed.child.wait().unwrap().success());

    let mut told = Held::start(&server);
    told.tell("shutdown");
    let (code, took) = server.daemon.stop();
    assert_eq!(code, Some(0));
    assert!(took < Duration::from_secs(10), "{took:?}");
    told.expect("done");
    assert!(told.child.wait().unwrap().success());
}
