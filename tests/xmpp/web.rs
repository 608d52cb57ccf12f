//! Streams as browsers have them.

use std::fs;

use crate::{Daemon, Server, config, free_port, tests};

const SCRIPT: &str = "xmpp_web.py";

/// A server with a site, and the site's addresses: over TLS and in clear.
fn start() -> (Server, String, String) {
    let (plain, tls, http, https) = (free_port(), free_port(), free_port(), free_port());
    let site = format!(
        "[http]\nlisten = [\"127.0.0.1:{http}\"]\nlisten_tls = [\"127.0.0.1:{https}\"]\n\
         [[http.site]]\nhosts = [\"one.test\"]\n"
    );
    let daemon = Daemon::start(&(config(plain, tls, "") + &site));
    let local = |port| format!("127.0.0.1:{port}");
    (Server::with(daemon, plain, tls), local(https), local(http))
}

#[test]
fn websocket() {
    let (server, https, http) = start();
    server.script(SCRIPT, "host_meta", &[&https]);
    server.script(SCRIPT, "plain_http", &[&https, &http]);
    server.script(SCRIPT, "websocket", &[&https]);
    server.script(SCRIPT, "websocket_wrong", &[&https]);
}

#[test]
fn sessions_go_from_one_transport_to_another() {
    let (server, https, _) = start();
    server.script(SCRIPT, "resume", &[&https]);
}

#[test]
fn bosh() {
    let (server, https, _) = start();
    server.script(SCRIPT, "bosh", &[&https]);
    server.script(SCRIPT, "bosh_lost", &[&https]);
    server.script(SCRIPT, "bosh_wrong", &[&https]);
}

/// What a web client is made of, at the site: its page and its scripts.
fn browser(page: &str, package: &str, files: &[&str], service: &str) -> Server {
    let (plain, tls, https) = (free_port(), free_port(), free_port());
    let site = format!(
        "[http]\nlisten = []\nlisten_tls = [\"127.0.0.1:{https}\"]\n\
         [[http.site]]\nhosts = [\"one.test\"]\nroot = \"{{dir}}/site\"\n"
    );
    let daemon = Daemon::start_with(&(config(plain, tls, "") + &site), &[], |directory| {
        let (root, from) = (directory.join("site"), tests().join(".npm").join(package));
        fs::create_dir(&root).unwrap();
        fs::copy(tests().join("clients/browser").join(page), root.join(page)).unwrap();
        for file in files {
            let script = from.join("dist").join(file);
            fs::copy(&script, root.join(file)).unwrap_or_else(|error| {
                panic!("{}: {error}; tests/install fetches it", script.display())
            });
        }
    });
    let server = Server::with(daemon, plain, tls);
    let directory = server.daemon.path("");
    let https = format!("127.0.0.1:{https}");
    let more = [&*https, &directory.to_string_lossy(), service];
    server.script("xmpp_browser.py", page, &more);
    server
}

#[test]
fn converse_finds_its_way_by_the_host() {
    let files = ["converse.min.js", "converse.min.css"];
    let service = "wss://one.test/xmpp-websocket";
    browser("converse.html", "converse.js", &files, service);
}

#[test]
fn strophe_over_bosh() {
    let files = ["strophe.umd.min.js"];
    let service = "https://one.test/http-bind";
    browser("strophe.html", "strophe.js", &files, service);
}

/// SASL2, Bind 2 and FAST as xmpp.js speaks them.
#[test]
fn xmpp_js_comes_again_with_a_token() {
    let service = "wss://one.test/xmpp-websocket";
    let server = browser("xmppjs.html", "@xmpp/client", &["xmpp.min.js"], service);
    let log = server.daemon.log();
    for mechanism in ["PLAIN", "HT-SHA-256-NONE"] {
        let bound = format!("mechanism={mechanism}");
        assert!(log.lines().any(|line| line.ends_with(&bound)), "{log}");
    }
}
