//! Logins that say at once what they want.

use crate::{LIMIT, Server, run_with, support::binary};

const SCRIPT: &str = "xmpp_login.py";

#[test]
fn sasl2_with_all_that_goes_into_it() {
    let server = Server::start();
    server.script(SCRIPT, "sasl2", &[]);
    server.script(SCRIPT, "sasl2_wrong", &[]);
}

#[test]
fn tokens_outlive_a_kill_and_not_a_password() {
    let server = Server::start();
    let token = server.script(SCRIPT, "fast", &[]);
    let server = server.kill_and_start();
    server.script(SCRIPT, "fast_seen", &[token.trim()]);
    let file = server.daemon.path("omnid.toml");
    let arguments = [
        "-c",
        &*file.to_string_lossy(),
        "user",
        "passwd",
        "alice@one.test",
        "--stdin",
    ];
    run_with(binary(), &arguments, "another-password", &[], LIMIT).success();
    let more = [token.trim(), "another-password"];
    server.script(SCRIPT, "fast_void", &more);
}
