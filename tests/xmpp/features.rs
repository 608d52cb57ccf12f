//! What accounts can do beside talking.

use crate::Server;

const SCRIPT: &str = "xmpp_features.py";

#[test]
fn what_is_published_is_told_and_kept() {
    let server = Server::start();
    server.script(SCRIPT, "pep", &[]);
    let server = server.kill_and_start();
    server.script(SCRIPT, "pep_seen", &[]);
}

#[test]
fn bookmarks_are_the_same_for_all_clients() {
    Server::start().script(SCRIPT, "bookmarks", &[]);
}

#[test]
fn pictures_are_the_same_for_all_clients() {
    Server::start().script(SCRIPT, "avatars", &[]);
}

#[test]
fn whoever_is_blocked_meets_nobody() {
    let server = Server::start();
    server.script(SCRIPT, "blocking", &[]);
    server.script(SCRIPT, "blocking", &["and stay"]);
    let server = server.kill_and_start();
    server.script(SCRIPT, "blocking_seen", &[]);
}

#[test]
fn what_can_wait_does() {
    Server::start().script(SCRIPT, "csi", &[]);
}
