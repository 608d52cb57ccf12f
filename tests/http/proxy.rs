//! The reverse proxy, before an origin with habits good and bad.

use std::{
    io::{Read, Write},
    net::TcpStream,
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

use super::{
    LIMIT, Server, config, free_port, read_to_end, status,
    support::{Background, binary, python, python_binary, run, tests, wait_until},
};

struct Proxied {
    server: Server,
    _origins: Vec<Background>,
}

/// A site whose `/app` and `/bad` are an origin's; `route` goes into the first route.
fn proxied(route: &str) -> Proxied {
    let (origin, echo) = (free_port(), free_port());
    let server = Server::start(
        "",
        &format!(
            r#"
            [[http.site.route]]
            path = "/app"
            proxy = ["http://127.0.0.1:{origin}"]
            {route}
            [[http.site.route]]
            path = "/bad/"
            proxy = ["http://127.0.0.1:{origin}"]
            [[http.site.route]]
            path = "/base/"
            proxy = ["http://127.0.0.1:{origin}/other/"]
            proxy_host = "upstream"
            [[http.site.route]]
            path = "/ws"
            proxy = ["http://127.0.0.1:{echo}"]
            [[http.site.route]]
            path = "/nobody"
            proxy = ["http://127.0.0.1:{}"]
            [[http.site.route]]
            path = "/either"
            proxy = ["http://127.0.0.1:{}", "http://127.0.0.1:{origin}"]
            "#,
            free_port(),
            free_port(),
        ),
    );
    let start = |script: &str, port: u16| {
        let script = tests().join("clients").join(script);
        let arguments = [script.to_str().unwrap(), &port.to_string()].map(str::to_owned);
        let log = server.daemon.path(&format!("origin-{port}.log"));
        let origin = Background::start(python_binary().to_str().unwrap(), &arguments, &log);
        wait_until("the origin listens", LIMIT, || {
            TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
        origin
    };
    let origins = vec![start("origin.py", origin), start("echo_websocket.py", echo)];
    Proxied {
        server,
        _origins: origins,
    }
}

impl Proxied {
    fn curl(&self, arguments: &[&str], path: &str) -> String {
        let url = self.server.url(path);
        let mut all = vec!["-sS", "--path-as-is", "--max-time", "20"];
        all.extend(arguments);
        all.push(&url);
        run("curl", &all, LIMIT).success().stdout
    }

    fn told(&self, arguments: &[&str], path: &str) -> Value {
        serde_json::from_str(&self.curl(arguments, path)).unwrap()
    }

    fn code(&self, arguments: &[&str], path: &str) -> u16 {
        let mut all = vec!["-o", "/dev/null", "-w", "%{http_code}"];
        all.extend(arguments);
        self.curl(&all, path).parse().unwrap()
    }
}

fn field(told: &Value, name: &str) -> Option<String> {
    let fields = told["fields"].as_array().unwrap();
    let values: Vec<&str> = fields
        .iter()
        .filter(|field| field[0] == name)
        .map(|field| field[1].as_str().unwrap())
        .collect();
    assert!(values.len() <= 1, "{name} twice: {told}");
    values.first().map(|value| (*value).to_owned())
}

#[test]
fn what_the_origin_sees() {
    let proxied = proxied("");
    let told = proxied.told(
        &[
            "-H",
            "Host: Example.test:8080",
            "-H",
            "X-Forwarded-For: 10.0.0.1",
            "-H",
            "Forwarded: for=evil",
            "-H",
            "Connection: X-Hop, keep-alive",
            "-H",
            "X-Hop: 1",
            "-H",
            "Keep-Alive: 5",
            "-H",
            "Proxy: http://evil",
            "-H",
            "X-Kept: 1",
            "-b",
            "a=b",
        ],
        "/app/a//b%2Fc?d=%20e",
    );
    assert_eq!(told["target"], "/app/a//b%2Fc?d=%20e");
    let see = |name| field(&told, name);
    assert_eq!(see("host").as_deref(), Some("example.test:8080"));
    assert_eq!(see("x-forwarded-for").as_deref(), Some("127.0.0.1"));
    assert_eq!(
        see("x-forwarded-host").as_deref(),
        Some("example.test:8080")
    );
    assert_eq!(see("x-forwarded-proto").as_deref(), Some("http"));
    assert_eq!(
        see("forwarded").as_deref(),
        Some("for=127.0.0.1;host=\"example.test:8080\";proto=http")
    );
    assert_eq!(see("x-kept").as_deref(), Some("1"));
    assert_eq!(see("cookie").as_deref(), Some("a=b"));
    for gone in ["x-hop", "keep-alive", "proxy", "connection"] {
        assert_eq!(see(gone), None, "{gone}");
    }
    // Dots are resolved before the route is chosen, and the origin gets what was resolved.
    assert_eq!(proxied.told(&[], "/x/../app/%2e/y?z")["target"], "/app/y?z");
    let told = proxied.told(&[], "/base/x%20y?z");
    assert_eq!(told["target"], "/other/x%20y?z");
    assert!(field(&told, "host").unwrap().starts_with("127.0.0.1:"));
    // The same over HTTP/2, where the host is :authority and cookies may come in pieces.
    let url = proxied.server.tls_url("/app/h2");
    let told = run("curl", &["-sSk", "--http2", "-b", "a=b; c=d", &url], LIMIT)
        .success()
        .stdout;
    let told: Value = serde_json::from_str(&told).unwrap();
    assert_eq!(field(&told, "x-forwarded-proto").as_deref(), Some("https"));
    assert_eq!(field(&told, "cookie").as_deref(), Some("a=b; c=d"));
    assert!(field(&told, "host").unwrap().starts_with("127.0.0.1:"));
}

#[test]
fn what_the_client_sees() {
    let proxied = proxied("");
    let head = proxied
        .curl(&["-D", "-", "-o", "/dev/null"], "/app/x")
        .to_lowercase();
    assert!(head.contains("x-kept: 1"), "{head}");
    assert!(
        !head.contains("x-hop") && !head.contains("keep-alive"),
        "{head}"
    );
    let head = proxied.curl(&["-I"], "/app/x");
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    let location = proxied.curl(
        &["-o", "/dev/null", "-w", "%{redirect_url}"],
        "/app/location",
    );
    assert_eq!(location, proxied.server.url("/app/x?y"));
    // With trailers asked for, they come; the connection is used again.
    let text = proxied.server.exchange(
        b"GET /app/trailers HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nConnection: TE\r\n\r\n\
          GET /app/x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    );
    assert!(
        text.contains("5\r\nhello\r\n0\r\nx-sum: 5\r\n\r\nHTTP/1.1 200"),
        "{text}"
    );
}

#[test]
fn an_escaped_slash_is_no_way_past_a_guard() {
    let guard = "[[http.site.filter]]\npath = \"/app/admin\"\naccess = \"nobody\"";
    let proxied = proxied(guard);
    let code = ["-o", "/dev/null", "-w", "%{http_code}"];
    for (path, expected) in [
        ("/app/admin/x", "403"),
        ("/app/admin%2Fx", "404"),
        ("/app%2fadmin/x", "404"),
        ("/app/x%2fy", "404"),
        ("/app/x", "200"),
    ] {
        assert_eq!(proxied.curl(&code, path), expected, "{path}");
    }
}

#[test]
fn interim_responses_come_through_in_their_place() {
    let proxied = proxied("");
    for hints in ["hints", "hints-at-once"] {
        let text = proxied.server.exchange(
            format!(
                "GET /digits.txt HTTP/1.1\r\nHost: a\r\n\r\n\
          GET /app/{hints} HTTP/1.1\r\nHost: a\r\n\r\n\
          GET /digits.txt HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
            )
            .as_bytes(),
        );
        let lines: Vec<&str> = text
            .lines()
            .filter(|line| line.starts_with("HTTP/") || line.starts_with("0123456789HTTP/"))
            .collect();
        assert_eq!(
            lines,
            [
                "HTTP/1.1 200 OK",
                "0123456789HTTP/1.1 103 Early Hints",
                "HTTP/1.1 102 Processing",
                "HTTP/1.1 200 OK",
            ],
            "{text}"
        );
        assert!(
            text.contains("103 Early Hints\r\nlink: </a.css>; rel=preload\r\n\r\n"),
            "{text}"
        );
        assert!(
            text.contains("hintedHTTP/1.1 200") && text.ends_with("0123456789"),
            "{text}"
        );
    }
    // HTTP/1.0 knows none of them.
    let old = proxied
        .server
        .exchange(b"GET /app/hints HTTP/1.0\r\nHost: a\r\n\r\n");
    assert!(
        old.starts_with("HTTP/1.0 200") && old.ends_with("hinted"),
        "{old}"
    );
    assert!(!old.contains("103"), "{old}");
}

#[test]
fn cookies_are_for_this_server() {
    let proxied = proxied("");
    let cookies = |path: &str| {
        let head = proxied.curl(&["-D", "-", "-o", "/dev/null"], path);
        let mut cookies: Vec<String> = head
            .lines()
            .filter_map(|line| line.strip_prefix("set-cookie: "))
            .map(str::to_owned)
            .collect();
        cookies.sort();
        cookies
    };
    assert_eq!(cookies("/base/cookie"), ["a=1; Path=/base/x", "b=2"]);
    assert_eq!(cookies("/app/cookie"), ["a=1; Path=/other/x", "b=2"]);
}

#[test]
fn connections_are_used_again_and_bodies_of_all_kinds_arrive() {
    let proxied = proxied("");
    let first = proxied.told(&[], "/app/x")["connection"].clone();
    for _ in 0..5 {
        assert_eq!(proxied.told(&[], "/app/x")["connection"], first);
    }
    let large = proxied.server.daemon.path("site/large.bin");
    let upload = format!("@{}", large.display());
    for more in [
        &["-H", "Transfer-Encoding: chunked"][..],
        &["-H", "Expect: 100-continue"],
        &[],
    ] {
        let mut arguments = vec!["--data-binary", upload.as_str()];
        arguments.extend(more);
        let told = proxied.told(&arguments, "/app/x");
        assert_eq!(
            (&told["method"], &told["length"]),
            (&"POST".into(), &(4 << 20).into())
        );
        assert_eq!(field(&told, "expect"), None);
    }
    let url = proxied.server.tls_url("/app/x");
    let told = run(
        "curl",
        &["-sSk", "--http2", "--data-binary", &upload, &url],
        LIMIT,
    );
    assert!(
        told.success()
            .stdout
            .contains(&format!("\"length\": {}", 4 << 20))
    );
    // An answer that comes before the body is read is passed on.
    assert_eq!(
        proxied.curl(&["--data-binary", &upload], "/app/early"),
        "early"
    );
}

#[test]
fn a_stream_is_passed_on_as_it_comes() {
    let proxied = proxied("");
    let mut stream = proxied.server.connect();
    let since = Instant::now();
    stream
        .write_all(b"GET /app/stream HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        .unwrap();
    let mut first = None;
    let mut text = String::new();
    let mut bytes = [0; 4096];
    while let Ok(read @ 1..) = stream.read(&mut bytes) {
        text.push_str(&String::from_utf8_lossy(&bytes[..read]));
        if text.contains("piece 0") {
            first.get_or_insert(since.elapsed());
        }
    }
    assert!(text.contains("piece 9"), "{text}");
    assert!(since.elapsed() - first.unwrap() >= Duration::from_millis(700));
}

#[test]
fn origins_that_fail() {
    let proxied = proxied("proxy_timeout = \"1s\"\nproxy_connect = \"1s\"");
    assert_eq!(proxied.code(&[], "/nobody"), 502);
    assert_eq!(proxied.code(&[], "/app/slow"), 504);
    assert_eq!(proxied.code(&[], "/app/drop"), 502);
    assert_eq!(proxied.code(&[], "/app/switch"), 502);
    for bad in ["lengths", "nul", "status", "huge", "ssh"] {
        assert_eq!(proxied.code(&[], &format!("/bad/{bad}")), 502, "{bad}");
    }
    // The transfer coding is the true length of two; the client sees one.
    let both = proxied.curl(&["-i"], "/bad/both").to_lowercase();
    assert!(
        both.contains("transfer-encoding: chunked") && !both.contains("content-length"),
        "{both}"
    );
    // Half a body is not made to look like a whole one.
    for half in ["cut", "stall"] {
        let url = proxied.server.url(&format!("/app/{half}"));
        let output = run("curl", &["-sS", "--max-time", "10", &url], LIMIT).failure();
        assert!(output.stderr.contains("(18)"), "{half}: {output:?}");
    }
    // Of two upstreams one is gone: nobody notices.
    for _ in 0..6 {
        assert_eq!(proxied.code(&[], "/either"), 200);
    }
    let log = proxied.server.daemon.log();
    assert!(log.contains("cannot connect: Connection refused"), "{log}");
}

#[test]
fn a_connection_that_the_origin_has_closed_is_not_an_error() {
    let proxied = proxied("");
    // Each answer is followed by a close, while the connection is idle or at the very moment that
    // it is used again. What can be sent twice is; what cannot must meet a connection that is
    // known to be open, once the close has had the time to be seen.
    for index in 0..12 {
        assert_eq!(proxied.code(&[], "/app/once"), 200, "{index}");
        thread::sleep(Duration::from_millis(20 * (index % 4)));
    }
    for _ in 0..4 {
        assert_eq!(proxied.code(&[], "/app/once"), 200);
        thread::sleep(Duration::from_millis(500));
        assert_eq!(proxied.code(&["-X", "POST"], "/app/x"), 200);
    }
}

#[test]
fn websockets() {
    let proxied = proxied("websocket_timeout = \"1s\"");
    let url = format!("ws://127.0.0.1:{}/ws", proxied.server.plain);
    let tls = format!("wss://127.0.0.1:{}/ws", proxied.server.tls);
    for url in [url, tls] {
        let output = python("websocket_client.py", &[url.as_str(), "20"], LIMIT).success();
        assert!(output.stdout.contains("20 sockets"), "{output:?}");
    }
    // No upgrade but this one gets through, and h2c not at all.
    let text = proxied.server.exchange(
        b"GET /app/x HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\n\
          Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n\
          GET /app/x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    );
    assert_eq!(text.matches("HTTP/1.1 200 OK").count(), 2, "{text}");
    assert!(
        !text.contains("\"upgrade\"") && !text.contains("http2-settings"),
        "{text}"
    );
}

#[test]
fn websockets_survive_a_reload_of_other_routes() {
    let echo = free_port();
    let site = |other: &str| {
        format!(
            "[[http.site.route]]\npath = \"/ws\"\nproxy = [\"http://127.0.0.1:{echo}\"]\n\
             [[http.site.route]]\npath = \"/other\"\nrespond = \"{other}\"\n"
        )
    };
    let server = Server::start("", &site("one"));
    let script = tests().join("clients/echo_websocket.py");
    let _origin = Background::start(
        python_binary().to_str().unwrap(),
        &[script.to_str().unwrap(), &echo.to_string()],
        &server.daemon.path("origin.log"),
    );
    wait_until("the origin listens", LIMIT, || {
        TcpStream::connect(("127.0.0.1", echo)).is_ok()
    });
    let url = format!("ws://127.0.0.1:{}/ws", server.plain);
    let holding = thread::spawn(move || {
        python("websocket_client.py", &[url.as_str(), "200", "6"], LIMIT)
            .success()
            .stdout
    });
    for turn in 0..5 {
        thread::sleep(Duration::from_millis(500));
        server.reload("", &site(&format!("turn {turn}")));
        let text = run("curl", &["-sS", &server.url("/other")], LIMIT)
            .success()
            .stdout;
        assert_eq!(text, format!("turn {turn}"));
    }
    assert!(holding.join().unwrap().contains("200 sockets"));
}

/// As Autobahn's suite has it, and 1,000 sockets while another route changes.
#[test]
fn a_websocket_server_behaves_behind_the_proxy_as_by_itself() {
    let echo = free_port();
    let site = |other: &str| {
        format!(
            "[[http.site.route]]\npath = \"/ws\"\nproxy = [\"http://127.0.0.1:{echo}\"]\n\
             [[http.site.route]]\npath = \"/other\"\nrespond = \"{other}\"\n\
             [net]\nmax_connections_per_client = 3000\n"
        )
    };
    // Two files for each socket, in a daemon that inherits the limit.
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap();
    let files = limits
        .lines()
        .find(|line| line.starts_with("Max open files"));
    let soft = files
        .and_then(|line| line.split_whitespace().nth(3))
        .unwrap();
    if soft.parse().is_ok_and(|soft: u64| soft < 4096) {
        let this = std::process::id().to_string();
        run("prlimit", &["--pid", &this, "--nofile=4096:"], LIMIT).success();
    }
    let server = Server::start("", &site("one"));
    let script = tests().join("clients/echo_websocket.py");
    let _origin = Background::start(
        python_binary().to_str().unwrap(),
        &[script.to_str().unwrap(), &echo.to_string()],
        &server.daemon.path("origin.log"),
    );
    wait_until("the origin listens", LIMIT, || {
        TcpStream::connect(("127.0.0.1", echo)).is_ok()
    });
    server
        .daemon
        .write_config(&config(server.plain, server.tls, "", &site("two")));
    let path = server.daemon.path("omnid.toml").display().to_string();
    let ports = [echo, server.plain].map(|port| port.to_string());
    let binary = binary().display().to_string();
    let arguments: Vec<&str> = ports
        .iter()
        .map(String::as_str)
        .chain(["/ws", &binary, "-c", &path, "reload"])
        .collect();
    let output = python("websocket_suite.py", &arguments, LIMIT).success();
    println!("{}", output.stdout);
    let text = run("curl", &["-sS", &server.url("/other")], LIMIT).success();
    assert_eq!(text.stdout, "two");
}

#[test]
fn a_client_that_goes_away_takes_its_upstream_connection_along() {
    let proxied = proxied("");
    let mut stream = proxied.server.connect();
    stream
        .write_all(b"GET /app/stall HTTP/1.1\r\nHost: a\r\n\r\n")
        .unwrap();
    let mut bytes = [0; 1024];
    let read = stream.read(&mut bytes).unwrap();
    assert_eq!(status(&String::from_utf8_lossy(&bytes[..read])), 200);
    drop(stream);
    // What was handed over is logged, and the server goes on.
    let lines = proxied.server.log_lines(1);
    assert!(lines[0].contains("GET /app/stall"), "{lines:?}");
    let answer = read_to_end(&mut {
        let mut stream = proxied.server.connect();
        stream
            .write_all(b"GET /digits.txt HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            .unwrap();
        stream
    });
    assert_eq!(status(&answer), 200);
}
