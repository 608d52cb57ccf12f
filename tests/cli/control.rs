//! The control socket: who may speak on it, and what a bad speaker gets.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::Shutdown,
    os::unix::{fs::PermissionsExt, net::UnixStream},
    time::Duration,
};

use serde_json::Value;

use super::{CONFIG, LIMIT, daemon, support};
use support::{Daemon, Output, run_with};

const NOBODY: &str = "65534";

fn connect(daemon: &Daemon) -> UnixStream {
    let stream = UnixStream::connect(daemon.path("omnid.sock")).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream.set_write_timeout(Some(LIMIT)).unwrap();
    stream
}

/// Writes `request`, closes that direction, and returns all that comes back, line by line.
fn exchange(daemon: &Daemon, request: &[u8]) -> Vec<Value> {
    let mut stream = connect(daemon);
    // The daemon may have closed before all of a bad request was sent.
    let _sent = stream
        .write_all(request)
        .and_then(|()| stream.shutdown(Shutdown::Write));
    let mut reply = Vec::new();
    let _reset = stream.read_to_end(&mut reply);
    let lines = reply
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty());
    lines
        .map(|line| serde_json::from_slice(line).unwrap())
        .collect()
}

fn is_error(reply: &Value) -> bool {
    reply["error"].is_object() || reply["error"].is_string()
}

/// Asks for the status as another user.
fn ask_as_nobody(daemon: &Daemon) -> Output {
    // The test's directory is private; the daemon's own fence is what is tested.
    std::fs::set_permissions(daemon.directory(), PermissionsExt::from_mode(0o755)).unwrap();
    let script = format!(
        "setpriv --reuid={NOBODY} --regid={NOBODY} --clear-groups nc -N -w 20 -U {}",
        daemon.path("omnid.sock").display()
    );
    let root = rustix::process::geteuid().is_root();
    let (program, arguments) = if root {
        ("sh", vec!["-c", &script])
    } else {
        ("sudo", vec!["-n", "sh", "-c", &script])
    };
    run_with(program, &arguments, "{\"verb\":\"status\"}\n", &[], LIMIT)
}

#[test]
fn strangers_are_refused_by_their_credentials() {
    let daemon = daemon();
    let output = ask_as_nobody(&daemon);
    let reply: Value = serde_json::from_str(&output.stdout).unwrap();
    assert!(is_error(&reply), "{output:?}");
    assert!(reply.to_string().contains("65534"), "{reply}");
    assert!(reply.to_string().contains("[admin] users"), "{reply}");
    assert!(
        daemon.log().contains("control connection refused"),
        "{}",
        daemon.log()
    );
    // The operator is still served.
    daemon.omnid(&["status"]).success();
}

#[test]
fn listed_users_are_let_in() {
    let directory = "[server]\nhostname = \"localhost\"\ndata_dir = \"{dir}/data\"\n\
                     [admin]\nsocket = \"{dir}/omnid.sock\"\nusers = [65534]\n";
    let daemon = Daemon::start(directory);
    let output = ask_as_nobody(&daemon);
    let reply: Value = serde_json::from_str(&output.stdout).unwrap();
    assert_eq!(reply["ok"]["pid"], daemon.pid(), "{output:?}");
}

#[test]
fn what_is_no_request_gets_an_error_and_the_next_one_is_served() {
    let daemon = daemon();
    for garbage in [
        &b"hello\n"[..],
        b"\n",
        b"{}\n",
        b"[]\n",
        b"{\"verb\":7}\n",
        b"{\"verb\":\"no.such.verb\"}\n",
        b"{\"verb\":\"user.add\",\"arguments\":[1,2]}\n",
        b"{\"verb\":\"user.add\",\"arguments\":{\"address\":{}}}\n",
        b"\xff\xfe\0\0\n",
        b"GET / HTTP/1.1\r\n",
        b"\x16\x03\x01\x02\x00\x01\n",
    ] {
        let mut request = garbage.to_vec();
        request.extend(b"{\"verb\":\"status\"}\n");
        let replies = exchange(&daemon, &request);
        assert_eq!(
            replies.len(),
            2,
            "{:?}: {replies:?}",
            String::from_utf8_lossy(garbage)
        );
        assert!(is_error(&replies[0]), "{:?}", replies[0]);
        assert_eq!(replies[1]["ok"]["pid"], daemon.pid());
    }
    let nested = [
        b"{\"verb\":\"status\",\"arguments\":".as_slice(),
        &b"[".repeat(100_000),
        b"\n",
    ]
    .concat();
    assert!(exchange(&daemon, &nested).iter().all(is_error));
    daemon.omnid(&["status"]).success();
}

#[test]
fn a_request_without_an_end_is_bounded() {
    let daemon = daemon();
    let before = daemon.resident_kib();
    // 64 MiB without a line break: refused long before it is in memory.
    let mut stream = connect(&daemon);
    let chunk = vec![b'x'; 64 * 1024];
    let mut sent = 0;
    while sent < 64 << 20 && stream.write_all(&chunk).is_ok() {
        sent += chunk.len();
    }
    assert!(sent < 16 << 20, "the daemon took {sent} octets of one line");
    assert!(
        daemon.resident_kib() < before + 16 * 1024,
        "the line is in memory"
    );
    let replies = exchange(&daemon, &vec![b'x'; 300 * 1024]);
    assert!(
        replies.len() <= 1 && replies.iter().all(is_error),
        "{replies:?}"
    );
    daemon.omnid(&["status"]).success();
}

#[test]
fn half_closed_and_vanished_speakers_cost_nothing() {
    let daemon = daemon();
    // A request whose writer closed its half at once is answered.
    let replies = exchange(&daemon, b"{\"verb\":\"status\"}\n");
    assert_eq!(replies[0]["ok"]["pid"], daemon.pid());
    // Even without the line's end.
    assert_eq!(exchange(&daemon, b"{\"verb\":\"status\"}").len(), 1);
    assert!(exchange(&daemon, b"").is_empty());
    assert!(exchange(&daemon, b"{\"verb\":\"sta").iter().all(is_error));
    for _ in 0..200 {
        let mut stream = connect(&daemon);
        stream
            .write_all(b"{\"verb\":\"status\"}\n{\"verb\":\"metr")
            .unwrap();
    }
    // They are counted out again.
    support::wait_until("the vanished are gone", Duration::from_secs(20), || {
        daemon.json(&["status"])["connections"].as_u64().unwrap() <= 1
    });
    assert!(!daemon.log().contains("panicked"), "{}", daemon.log());
}

#[test]
fn requests_of_one_conversation_are_answered_in_their_order() {
    let daemon = daemon();
    let mut stream = connect(&daemon);
    for _ in 0..100 {
        stream
            .write_all(b"{\"verb\":\"domain.list\"}\n{\"verb\":\"nonsense\"}\n")
            .unwrap();
    }
    let mut lines = BufReader::new(stream).lines();
    for _ in 0..100 {
        let mut next = || serde_json::from_str::<Value>(&lines.next().unwrap().unwrap()).unwrap();
        assert_eq!(next()["ok"][0]["name"], "example.org");
        assert!(is_error(&next()));
    }
}

#[test]
fn the_socket_of_a_killed_daemon_is_taken_over() {
    let daemon = Daemon::start(CONFIG).kill_and_start();
    daemon.omnid(&["status"]).success();
}
