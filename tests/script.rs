//! Lua in the running daemon: a hook in each service, real clients asking, and scripts gone wrong.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod support;

use std::{
    fs,
    time::{Duration, Instant},
};

use support::{Daemon, free_port, python, run, wait_until};

const LIMIT: Duration = Duration::from_secs(30);

const ALICE: &str = "alice@example.test";
const PASSWORD: &str = "correct horse";

const SCRIPT: &str = r#"
local asked = 0

omnid.hook("dns.query", function(query)
    if query.name:find("^refused%.") then
        return { rcode = "REFUSED" }
    elseif query.name:find("^lua%.") and query.type == "A" then
        return { answer = { { ttl = 5, data = "192.0.2.77" } } }
    elseif query.name:find("^loop%.") then
        while true do pcall(function() while true do end end) end
    elseif query.name:find("^kept%.") then
        local count = (omnid.store.get("asked") or 0) + 1
        omnid.store.set("asked", count)
        return { answer = { { type = "TXT", ttl = 0, data = '"asked ' .. count .. '"' } } }
    end
end)

omnid.hook("http.request", function(request)
    if request.path == "/lua" then
        return { status = 418, headers = { ["x-lua"] = request.method }, body = request.host .. "\n" }
    elseif request.path == "/away" then
        return { redirect = "https://example.test/elsewhere" }
    elseif request.path == "/broken" then
        error("broken on purpose")
    end
end)

omnid.hook("sip.request", function(request)
    if request.method == "OPTIONS" and request.uri:find("lua@", 1, true) then
        return { status = 486, reason = "Lua Says So" }
    end
end)

omnid.hook("xmpp.stanza_in", function(stanza)
    if stanza.kind == "message" and stanza.body == "ping the script" then
        return { reply = "the script says pong" }
    end
end)

omnid.on("login", function(event)
    omnid.log("info", "lua saw " .. event.account .. " on " .. event.service)
end)
"#;

struct Stage {
    daemon: Daemon,
    dns: u16,
    http: u16,
    xmpp: u16,
    sip: u16,
}

fn start() -> Stage {
    let (dns, http, xmpp, sip) = (free_port(), free_port(), free_port(), free_port());
    let config = config(dns, http, xmpp, sip, "");
    let daemon = Daemon::start_with(&config, &[], |directory| {
        let zone = "@ 60 SOA ns root 1 3600 600 86400 60\n@ 60 NS ns\nns 60 A 127.0.0.1\n\
                    lua 60 A 127.0.0.1\nloop 60 A 127.0.0.9\n";
        fs::write(directory.join("example.test.zone"), zone).unwrap();
        fs::create_dir(directory.join("site")).unwrap();
        fs::write(directory.join("site/index.html"), "here\n").unwrap();
        fs::write(directory.join("site/broken"), "the file\n").unwrap();
        fs::write(directory.join("script.lua"), SCRIPT).unwrap();
    });
    Stage {
        daemon,
        dns,
        http,
        xmpp,
        sip,
    }
}

fn config(dns: u16, http: u16, xmpp: u16, sip: u16, more: &str) -> String {
    format!(
        r#"
[tls]
self_signed = true
[script]
files = ["{{dir}}/*.lua"]
{more}
[dns]
listen = ["127.0.0.1:{dns}"]
  [[dns.zone]]
  name = "example.test"
  file = "{{dir}}/example.test.zone"
[http]
listen = ["127.0.0.1:{http}"]
listen_tls = []
  [[http.site]]
  hosts = ["example.test"]
  default = true
  root = "{{dir}}/site"
[xmpp]
hosts = ["example.test"]
listen = ["127.0.0.1:{xmpp}"]
listen_tls = []
[sip]
domains = ["example.test"]
listen = ["127.0.0.1:{sip}"]
listen_tls = []
"#
    )
}

impl Stage {
    fn dig(&self, arguments: &[&str]) -> String {
        let port = self.dns.to_string();
        let mut all = vec!["@127.0.0.1", "-p", &port, "+tries=1", "+time=5"];
        all.extend(arguments);
        run("dig", &all, LIMIT).success().stdout
    }

    fn curl(&self, path: &str) -> String {
        let url = format!("http://127.0.0.1:{}{path}", self.http);
        run("curl", &["-s", "-i", "-m", "10", &url], LIMIT)
            .success()
            .stdout
    }

    /// The status line of the answer to alice's OPTIONS.
    fn options(&self, uri: &str) -> String {
        let server = format!("127.0.0.1:{}", self.sip);
        let arguments = [&server, ALICE, PASSWORD, "OPTIONS", uri];
        let output = python("sip_ask.py", &arguments, LIMIT).success();
        output.stdout.trim_end().to_owned()
    }
}

#[test]
fn each_service_asks_its_hook() {
    let stage = start();

    assert!(
        stage
            .dig(&["refused.example.test"])
            .contains("status: REFUSED")
    );
    for transport in ["+notcp", "+tcp"] {
        let answer = stage.dig(&["+short", transport, "lua.example.test", "A"]);
        assert_eq!(answer, "192.0.2.77\n", "{transport}");
    }
    let other = stage.dig(&["+short", "ns.example.test", "A"]);
    assert_eq!(other, "127.0.0.1\n", "no decision: the zone answers");
    for count in 1..=3 {
        let answer = stage.dig(&["+short", "kept.example.test", "TXT"]);
        assert_eq!(answer, format!("\"asked {count}\"\n"));
    }

    let answer = stage.curl("/lua");
    assert!(answer.starts_with("HTTP/1.1 418 "), "{answer}");
    assert!(
        answer.contains("x-lua: GET\r\n") && answer.ends_with("127.0.0.1\n"),
        "{answer}"
    );
    let answer = stage.curl("/away");
    assert!(answer.starts_with("HTTP/1.1 302 "), "{answer}");
    assert!(
        answer.contains("location: https://example.test/elsewhere\r\n"),
        "{answer}"
    );
    assert!(stage.curl("/").ends_with("here\n"));

    stage.daemon.add_user(ALICE, PASSWORD);
    let answer = stage.options("sip:lua@example.test");
    assert_eq!(answer, "SIP/2.0 486 Lua Says So");
    let answer = stage.options("sip:example.test");
    assert!(answer.starts_with("SIP/2.0 200 "), "{answer}");

    let server = format!("127.0.0.1:{}", stage.xmpp);
    let (text, awaited) = ("ping the script", "the script says pong");
    let arguments = [&server, ALICE, PASSWORD, "bob@example.test", text, awaited];
    python("xmpp_ask.py", &arguments, LIMIT).success();
    wait_until("the script hears of the login", LIMIT, || {
        stage
            .daemon
            .log()
            .contains("lua saw alice@example.test on xmpp")
    });
}

#[test]
fn scripts_gone_wrong_are_stopped_and_logged() {
    let stage = start();
    let begin = Instant::now();
    let answer = stage.dig(&["+short", "loop.example.test", "A"]);
    assert_eq!(answer, "127.0.0.9\n", "no decision: the zone answers");
    assert!(
        begin.elapsed() < Duration::from_secs(5),
        "{:?}",
        begin.elapsed()
    );
    assert!(stage.curl("/broken").ends_with("the file\n"));
    wait_until("both are logged", LIMIT, || {
        let log = stage.daemon.log();
        log.contains("out of processor time\\nstack traceback:\\n")
            && log.contains("script.lua:10")
            && log.contains("script.lua:24: broken on purpose")
            && log.contains("stack traceback")
    });

    let (dns, http, xmpp, sip) = (stage.dns, stage.http, stage.xmpp, stage.sip);
    let deny = config(dns, http, xmpp, sip, "on_error = \"deny\"");
    stage.daemon.write_config(&deny);
    stage.daemon.omnid(&["reload"]).success();
    assert!(
        stage
            .dig(&["loop.example.test", "A"])
            .contains("status: REFUSED")
    );
    assert!(stage.curl("/broken").starts_with("HTTP/1.1 500 "));
    assert!(stage.curl("/").ends_with("here\n"));
}

#[test]
fn a_fault_in_a_script_stops_the_reload_and_is_shown_at_its_line() {
    let stage = start();
    let broken = SCRIPT.replace("return { rcode = \"REFUSED\" }", "return { rcode = = }");
    fs::write(stage.daemon.path("script.lua"), broken).unwrap();
    for command in ["check", "reload"] {
        let output = stage.daemon.omnid(&[command]).failure();
        let said = output.stdout + &output.stderr;
        assert!(said.contains("script.lua:6:9"), "{said}");
        assert!(said.contains("return { rcode = = }"), "{said}");
    }
    assert!(
        stage
            .dig(&["refused.example.test"])
            .contains("status: REFUSED")
    );

    fs::write(stage.daemon.path("script.lua"), "-- nothing any more\n").unwrap();
    stage.daemon.omnid(&["reload"]).success();
    assert!(
        stage
            .dig(&["refused.example.test"])
            .contains("status: NXDOMAIN")
    );
}
