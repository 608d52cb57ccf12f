//! Archives: paging, preferences, clients that converge, and a server that is killed.

use std::io::{BufRead, Read};

use crate::{Held, Server};

const SCRIPT: &str = "xmpp_archive.py";

#[test]
fn archives_are_paged() {
    Server::start().script(SCRIPT, "paging", &[]);
}

#[test]
fn archives_hold_what_is_wanted() {
    let server = Server::start();
    server.script(SCRIPT, "preferences", &[]);
    let server = server.kill_and_start();
    server.script(SCRIPT, "preferences_seen", &[]);
}

#[test]
fn clients_converge() {
    Server::start().script(SCRIPT, "converge", &[]);
}

#[test]
fn what_was_acknowledged_survives_a_kill() {
    let server = Server::start();
    let mut flood = Held::start_script(&server, SCRIPT, "flood");
    let mut acknowledged = 0;
    while acknowledged < 200 {
        let mut line = String::new();
        flood.lines.read_line(&mut line).unwrap();
        acknowledged = line.trim().parse().unwrap();
    }
    let server = server.kill_and_start();
    for line in flood.lines.by_ref().lines() {
        acknowledged = line.unwrap().trim().parse().unwrap();
    }
    assert!(flood.child.wait().unwrap().success());
    server.script(SCRIPT, "flooded", &[&acknowledged.to_string()]);
}
