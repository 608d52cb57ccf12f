//! Rooms.

use crate::Server;

const SCRIPT: &str = "xmpp_rooms.py";

#[test]
fn people_talk_in_rooms() {
    Server::start().script(SCRIPT, "conversation", &[]);
}

#[test]
fn rooms_know_who_may_do_what() {
    Server::start().script(SCRIPT, "powers", &[]);
}

#[test]
fn rooms_remember() {
    let server = Server::start();
    server.script(SCRIPT, "history", &[]);
    let server = server.kill_and_start();
    server.script(SCRIPT, "history_seen", &[]);
}

#[test]
fn all_hear_the_same_in_the_same_order() {
    Server::start().script(SCRIPT, "order", &[]);
}

#[test]
fn one_account_makes_only_so_many_rooms() {
    Server::start().script(SCRIPT, "many", &[]);
}

#[test]
fn archives_of_rooms_are_for_those_who_could_hear() {
    Server::start().script(SCRIPT, "outside", &[]);
}

/// What was said in a room goes with it, however it ends.
#[test]
fn a_room_made_again_is_another() {
    let server = Server::start();
    server.script(SCRIPT, "secret", &[]);
    let server = server.kill_and_start();
    server.script(SCRIPT, "secret_kept", &[]);
}

#[test]
fn what_is_not_kept_of_a_room_has_not_happened() {
    let server = Server::start();
    let database = server.daemon.path("data/omnid.db");
    server.script(SCRIPT, "unkept", &[&database.to_string_lossy()]);
}
