//! Real clients: curl, h2load, wrk; sites, TLS, passwords, logs.

use std::{fs, time::Duration};

use super::{
    LIMIT, Server,
    support::{Daemon, binary, free_port, run, wait_until},
};

fn curl(arguments: &[&str]) -> String {
    let mut all = vec!["-sS", "--max-time", "20"];
    all.extend(arguments);
    run("curl", &all, LIMIT).success().stdout
}

#[test]
fn the_same_page_over_every_version_and_transport() {
    let server = Server::start("", "");
    let authority = server
        .daemon
        .path("data/tls/authority.pem")
        .display()
        .to_string();
    let resolve = format!("localhost:{}:127.0.0.1", server.tls);
    let url = format!("https://localhost:{}/large.bin", server.tls);
    let large = server.daemon.path("got").display().to_string();
    let plain = server.url("/large.bin");
    let trust = ["--cacert", &authority, "--resolve", &resolve];
    for (version, more, url) in [
        ("1", &["--http1.0"][..], &plain),
        ("1.1", &["--http1.1"], &plain),
        ("2", &["--http2-prior-knowledge"], &plain),
        (
            "1.1",
            &["--http1.1", trust[0], trust[1], trust[2], trust[3]],
            &url,
        ),
        (
            "2",
            &["--http2", trust[0], trust[1], trust[2], trust[3]],
            &url,
        ),
        (
            "2",
            &[
                "--http2",
                "--tls-max",
                "1.2",
                trust[0],
                trust[1],
                trust[2],
                trust[3],
            ],
            &url,
        ),
    ] {
        let mut arguments = vec!["-o", &large, "-w", "%{http_version} %{http_code}"];
        arguments.extend(more);
        arguments.push(url);
        // (curl's 1 is HTTP/1.0.)
        assert_eq!(curl(&arguments), format!("{version} 200"), "{arguments:?}");
        assert!(fs::read(&large).unwrap() == super::large(), "{arguments:?}");
    }
}

#[test]
fn unix_sockets() {
    let server = Server::start("", "");
    let path = server.daemon.path("http.sock");
    let config = fs::read_to_string(server.daemon.path("omnid.toml")).unwrap();
    let listen = format!("listen = [\"unix:{}\", ", path.display());
    server
        .daemon
        .write_config(&config.replacen("listen = [", &listen, 1));
    server.daemon.omnid(&["reload"]).success();
    wait_until("the socket is there", LIMIT, || path.exists());
    let path = path.display().to_string();
    assert_eq!(
        curl(&["--unix-socket", &path, "http://example.test/digits.txt"]),
        "0123456789"
    );
}

#[test]
fn conditions_and_ranges_as_curl_sends_them() {
    let server = Server::start("", "");
    let url = server.url("/digits.txt");
    let etag = server.daemon.path("etag").display().to_string();
    assert_eq!(curl(&["--etag-save", &etag, &url]), "0123456789");
    let code = ["-o", "/dev/null", "-w", "%{http_code} %{size_download}"];
    let again = [&code[..], &["--etag-compare", &etag, &url]].concat();
    assert_eq!(curl(&again), "304 0");
    let since = server.daemon.path("site/digits.txt").display().to_string();
    assert_eq!(curl(&[&code[..], &["-z", &since, &url]].concat()), "304 0");
    assert_eq!(curl(&["-r", "2-4", &url]), "234");
    assert_eq!(curl(&["-r", "-2", &url]), "89");
    assert_eq!(curl(&["-C", "7", &url]), "789");
    assert_eq!(curl(&[&code[..], &["-r", "10-", &url]].concat()), "416 163");
    for flag in ["--http1.1", "--http2-prior-knowledge"] {
        let head = curl(&["-I", flag, &url]).to_lowercase();
        assert!(head.contains("content-length: 10\r\n"), "{head}");
        assert!(head.contains("content-type: text/plain\r\n"), "{head}");
        let parts = curl(&[flag, "-r", "0-1,8-9", &url]);
        assert!(
            parts.contains("content-range: bytes 0-1/10\r\n\r\n01\r\n")
                || parts.contains("Content-Range: bytes 0-1/10\r\n\r\n01\r\n"),
            "{parts}"
        );
    }
    // A file that changes is served changed, at most a second later.
    fs::write(server.daemon.path("site/digits.txt"), "changed").unwrap();
    wait_until("the change is seen", Duration::from_secs(5), || {
        curl(&[&url]) == "changed"
    });
}

#[test]
fn sites_by_host() {
    let server = Server::start(
        "",
        r#"
        [[http.site]]
        hosts = ["*.wild.test", "192.0.2.1", "2001:db8::1"]
        [[http.site.route]]
        path = "/"
        respond = "wild"
        [[http.site]]
        hosts = ["exact.wild.test"]
        headers = { set = { "X-Site" = "exact" }, remove = ["etag"] }
        plain = "redirect"
        hsts = "1h"
        [[http.site.route]]
        path = "/"
        respond = "exact"
        status = 203
        headers = { add = { "X-Route" = "yes" } }
        [[http.site.route]]
        path = "/old/"
        redirect = "https://new.test/docs/"
        status = 308
        "#,
    );
    let plain = server.plain;
    let get = |host: &str, path: &str, more: &[&str]| {
        let host = format!("Host: {host}");
        let url = server.url(path);
        curl(&[&["-H", &host, &url][..], more].concat())
    };
    assert_eq!(get("a.wild.test", "/", &[]), "wild");
    assert_eq!(get("A.B.WILD.TEST.:1", "/", &[]), "wild");
    assert_eq!(get("192.0.2.1", "/", &[]), "wild");
    assert_eq!(get("[2001:db8::1]:80", "/", &[]), "wild");
    assert_eq!(get("wild.test", "/", &[]), "<h1>here</h1>\n");
    assert_eq!(get("unknown.test", "/", &[]), "<h1>here</h1>\n");
    let code = &["-o", "/dev/null", "-w", "%{http_code} %{redirect_url}"];
    let tls = server.tls;
    assert_eq!(
        get("exact.wild.test", "/a?b", code),
        format!("301 https://exact.wild.test:{tls}/a?b")
    );
    let acme = get("exact.wild.test", "/.well-known/acme-challenge/x", code);
    assert_eq!(acme, "203 ");
    let over_tls = |path: &str, more: &[&str]| {
        let resolve = format!("exact.wild.test:{tls}:127.0.0.1");
        let url = format!("https://exact.wild.test:{tls}{path}");
        curl(&[&["-k", "--resolve", &resolve, &url][..], more].concat())
    };
    let head = over_tls("/", &["-i"]).to_lowercase();
    for line in [
        "http/2 203",
        "x-site: exact",
        "x-route: yes",
        "strict-transport-security: max-age=3600",
        "server: omnid",
    ] {
        assert!(head.contains(line), "{line}: {head}");
    }
    assert_eq!(
        over_tls("/old/x%20y?z=1", code),
        "308 https://new.test/docs/x%20y?z=1"
    );
    assert_eq!(
        over_tls("/old", code),
        format!("301 https://exact.wild.test:{tls}/old/")
    );
    assert!(plain > 0);
}

#[test]
fn error_pages_fallbacks_and_symbolic_links() {
    let server = Server::start(
        "",
        r#"
        error_pages = { "404" = "/missing.html" }
        [[http.site.route]]
        path = "/spa/"
        root = "{dir}/site/sub"
        fallback = "index.html"
        "#,
    );
    fs::write(server.daemon.path("site/missing.html"), "nothing here\n").unwrap();
    std::os::unix::fs::symlink("/etc/passwd", server.daemon.path("site/out")).unwrap();
    std::os::unix::fs::symlink("digits.txt", server.daemon.path("site/in")).unwrap();
    let get = |path: &str| curl(&["-w", "%{http_code}", &server.url(path)]);
    assert_eq!(get("/none"), "nothing here\n404");
    assert_eq!(get("/spa/any/path"), "sub\n200");
    assert_eq!(get("/in"), "0123456789200");
    assert!(get("/out").ends_with("403"));
    assert!(get("/empty/").ends_with("403"));
    assert!(get("/sub").ends_with("301"));
}

#[test]
fn passwords_of_the_servers_accounts() {
    let server = Server::start(
        "",
        r#"
        [[http.site.route]]
        path = "/private"
        auth = { basic = "the \"realm\"" }
        [[http.site.route]]
        path = "/sub"
        auth = { basic = "admins", roles = ["admin"] }
        [[http.site.route]]
        path = "/only"
        auth = { basic = "only", accounts = ["bob@example.test"] }
        respond = "for bob"
        "#,
    );
    server
        .daemon
        .add_user("alice@example.test", "correct horse battery");
    server
        .daemon
        .add_user("bob@example.test", "staple staple staple");
    fs::create_dir(server.daemon.path("site/private")).unwrap();
    fs::write(server.daemon.path("site/private/index.html"), "private\n").unwrap();
    let get = |login: &str, path: &str| {
        let url = server.url(path);
        curl(&["-w", "%{http_code}", "-o", "-", "-u", login, &url])
    };
    let head = curl(&["-i", &server.url("/private/")]);
    assert!(head.starts_with("HTTP/1.1 401"), "{head}");
    assert!(
        head.contains("www-authenticate: Basic realm=\"the \\\"realm\\\"\", charset=\"UTF-8\""),
        "{head}"
    );
    assert_eq!(
        get("alice@example.test:correct horse battery", "/private/"),
        "private\n200"
    );
    // The domain of the site is understood.
    assert_eq!(
        get("alice:correct horse battery", "/private/"),
        "private\n200"
    );
    assert!(get("alice:wrong", "/private/").ends_with("401"));
    assert!(get("nobody:wrong", "/private/").ends_with("401"));
    assert!(get("alice:correct horse battery", "/sub/").ends_with("403"));
    assert_eq!(get("bob:staple staple staple", "/only"), "for bob200");
    assert!(get("alice:correct horse battery", "/only").ends_with("403"));
    // What is not behind a password is not.
    assert_eq!(get("alice:wrong", "/digits.txt"), "0123456789200");
    let lines = server.log_lines(9);
    let private = lines.iter().find(|line| line.contains(" 200 ")).unwrap();
    assert!(
        private.starts_with("127.0.0.1 - alice@example.test ["),
        "{private}"
    );
    assert!(!lines.join("\n").contains("horse"));
}

#[test]
fn logs() {
    let server = Server::start("", "");
    let config = fs::read_to_string(server.daemon.path("omnid.toml")).unwrap();
    curl(&[
        "-A",
        "a \"quoted\" \\ agent",
        "-e",
        "http://from.test/",
        &server.url("/digits.txt?a=%0a"),
    ]);
    server.exchange(
        b"GET / HTTP/1.1\r\nHost: a\r\nUser-Agent: [31m\xff\r\nConnection: close\r\n\r\n",
    );
    server.exchange(b"GET / HTTP/1.1\r\nHost: a\r\nUser-Agent: \x1b[31m\r\n\r\n");
    let lines = server.log_lines(3);
    assert!(lines[0].ends_with(
        "\"GET /digits.txt?a=%0a HTTP/1.1\" 200 10 \"http://from.test/\" \"a \\\"quoted\\\" \\\\ agent\""
    ), "{}", lines[0]);
    assert!(lines[1].contains("[31m\\xff\""), "{}", lines[1]);
    // What never became a request is told as Apache tells it.
    assert!(lines[2].contains("] \"-\" 400 - "), "{}", lines[2]);

    // Rotation: the file is moved away, a reload opens another, in another format this time.
    let moved = server.daemon.path("access.log.1");
    fs::rename(server.daemon.path("access.log"), &moved).unwrap();
    server.daemon.write_config(
        &config.replace("access.log\"", "access.log\"\naccess_log_format = \"json\""),
    );
    server.daemon.omnid(&["reload"]).success();
    curl(&["-H", "Host: Example.Test", &server.url("/sub")]);
    let lines = server.log_lines(1);
    let line: serde_json::Value = serde_json::from_str(&lines[0]).unwrap();
    assert_eq!(line["status"], 301);
    assert_eq!(line["host"], "example.test");
    assert_eq!(line["site"], "example.test");
    assert_eq!(line["target"], "/sub");
    assert_eq!(fs::read_to_string(moved).unwrap().lines().count(), 3);
}

#[test]
fn load_of_many_clients() {
    let server = Server::start("", "");
    let tls = server.tls_url("/digits.txt");
    let plain = server.url("/large.bin");
    for arguments in [
        &["-n", "3000", "-c", "20", "-m", "20", &tls][..],
        &["-n", "1000", "-c", "20", "--h1", &tls],
        &["-n", "50", "-c", "10", "-m", "5", "-w", "14", &plain],
    ] {
        let text = run("h2load", arguments, LIMIT).success().stdout;
        let total = arguments[1];
        assert!(
            text.contains(&format!(
                "{total} succeeded, 0 failed, 0 errored, 0 timeout"
            )),
            "{text}"
        );
        assert!(
            text.contains(&format!("status codes: {total} 2xx")),
            "{text}"
        );
    }
}

#[test]
fn a_listener_that_goes_away_finishes_what_is_under_way() {
    let mut server = Server::start("", "");
    let extra = free_port();
    let config = fs::read_to_string(server.daemon.path("omnid.toml")).unwrap();
    let with = config.replacen(
        "listen = [",
        &format!("listen = [\"127.0.0.1:{extra}\", "),
        1,
    );
    server.daemon.write_config(&with);
    server.daemon.omnid(&["reload"]).success();
    let url = format!("http://127.0.0.1:{extra}/large.bin");
    wait_until("the listener listens", LIMIT, || {
        std::net::TcpStream::connect(("127.0.0.1", extra)).is_ok()
    });
    // A download that takes two seconds, on a listener that goes away under it.
    let download = std::thread::spawn(move || {
        curl(&[
            "--limit-rate",
            "2M",
            "-o",
            "/dev/null",
            "-w",
            "%{http_code} %{size_download}",
            &url,
        ])
    });
    std::thread::sleep(Duration::from_millis(500));
    server.daemon.write_config(&config);
    server.daemon.omnid(&["reload"]).success();
    // The service manager, which the test stands in for, was given the socket to keep.
    server.daemon.wait_for_notice("FDSTOREREMOVE=1", LIMIT);
    assert_eq!(download.join().unwrap(), format!("200 {}", 4 << 20));
    assert!(std::net::TcpStream::connect(("127.0.0.1", extra)).is_err());
}

#[test]
fn configurations_with_mistakes() {
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir(directory.path().join("site")).unwrap();
    let path = directory.path().join("omnid.toml");
    let site = directory.path().join("site").display().to_string();
    for (text, expected) in [
        (
            "[[http.site]]\nhosts = ['a.test']\nroot = '/nonexistent/root'",
            &["/nonexistent/root cannot be served", ":4:"][..],
        ),
        (
            "[[http.site]]\nhosts = ['a.test']\nroot = '{site}'\n[[http.site]]\nhosts = ['A.test.']",
            &["two sites have the host"],
        ),
        (
            "[[http.site]]\nhosts = ['http://a']",
            &["\"http://a\" is not a host"],
        ),
        ("[[http.site]]\nroot = '{site}'", &["a site needs a host"]),
        (
            "[[http.site]]\nhosts = ['a']\ndefault = true\n[[http.site]]\nhosts = ['b']\ndefault = true",
            &["two sites are the default"],
        ),
        (
            "[[http.site]]\nhosts = ['a']\n[[http.site.route]]\npath = '/x'\nredirect = '/y'\nproxy = ['http://a']",
            &["a route cannot have both proxy and redirect"],
        ),
        (
            "[[http.site]]\nhosts = ['a']\n[[http.site.route]]\npath = '/x'",
            &["this route does nothing"],
        ),
        (
            "[[http.site]]\nhosts = ['a']\n[[http.site.route]]\npath = 'x'\nrespond = 'y'",
            &["\"x\" is not a path"],
        ),
        (
            "[[http.site]]\nhosts = ['a']\n[[http.site.route]]\npath = '/x'\nrespond = 'y'\n[[http.site.route]]\npath = '/x/'\nrespond = 'z'",
            &["two routes of one site are for /x/"],
        ),
        (
            "[[http.site]]\nhosts = ['a']\n[[http.site.route]]\npath = '/x'\nproxy = ['https://a', 'localhost:3000']",
            &[
                "upstreams over TLS are not supported",
                "\"localhost:3000\" is not an upstream",
            ],
        ),
        (
            "[[http.site]]\nhosts = ['a']\n[[http.site.route]]\npath = '/x'\nredirect = 'y'",
            &["\"y\" is no place to redirect to"],
        ),
        (
            "[[http.site]]\nhosts = ['a']\n[[http.site.route]]\npath = '/x'\nredirect = '/y'\nstatus = 200",
            &["200 is not the status of a redirect"],
        ),
        (
            "[[http.site]]\nhosts = ['a']\nheaders = { set = { 'Content-Length' = '5' } }",
            &["Content-Length is the server's own to set"],
        ),
        (
            "[[http.site]]\nhosts = ['a']\nplain = 'redirect'",
            &["plain requests cannot be sent to TLS"],
        ),
        (
            "listen_tls = ['127.0.0.1:1']",
            &["listen_tls needs a certificate"],
        ),
        (
            "[[http.site]]\nhosts = ['a']\nerror_pages = { '200' = '/x' }",
            &["\"200\" is not the status of a failure", "there is none"],
        ),
    ] {
        fs::write(
            &path,
            format!("[http]\n{}\n", text.replace("{site}", &site)),
        )
        .unwrap();
        let output = run(binary(), &["-c", path.to_str().unwrap(), "check"], LIMIT).failure();
        for expected in expected {
            assert!(
                output.stderr.contains(expected),
                "{text}: {expected}\n{}",
                output.stderr
            );
        }
    }
}

#[test]
fn expectations_of_omnid_test() {
    let daemon = Daemon::start_with(
        r#"
[http]
listen = ["127.0.0.1:0"]
[[http.site]]
hosts = ["a.test"]
root = "{dir}/site"
  [[http.site.route]]
  path = "/old"
  redirect = "/new"
  [[http.site.route]]
  path = "/app/"
  proxy = ["http://127.0.0.1:3000"]
[[test]]
http = "http://a.test/digits.txt"
status = 200
answer = ["content-type: text/plain", "site: a.test"]
[[test]]
http = "http://a.test/old/x"
status = 302
[[test]]
http = "http://a.test/app/x"
answer = ["action: proxy 127.0.0.1:3000"]
[[test]]
http = "http://a.test/none"
status = 404
[[test]]
http = "http://a.test/.secret"
status = 404
"#,
        &[],
        super::lay_out,
    );
    let output = daemon.omnid(&["test"]).success();
    assert!(
        output.stdout.contains("5 passed, 0 failed"),
        "{}",
        output.stdout
    );
}

#[test]
fn a_format_of_ones_own_for_the_log() {
    let server = Server::start(
        r#"access_log_format = "%h %u %m %U%q %H %>s %B \"%{Referer}i\" %{Content-Type}o %404{User-Agent}i %D""#,
        "",
    );
    curl(&[
        "-o",
        "/dev/null",
        "-H",
        "Referer: a\"\\b",
        &server.url("/digits.txt?x=y"),
    ]);
    curl(&["-o", "/dev/null", "-A", "me", &server.url("/none")]);
    let lines = server.log_lines(2);
    let start = "127.0.0.1 - GET /digits.txt?x=y HTTP/1.1 200 10 \"a\\\"\\\\b\" text/plain - ";
    assert!(lines[0].starts_with(start), "{lines:?}");
    assert!(
        lines[0].rsplit(' ').next().unwrap().parse::<u64>().is_ok(),
        "{lines:?}"
    );
    assert!(
        lines[1].contains(" 404 ") && lines[1].contains(" me "),
        "{lines:?}"
    );
}

#[test]
fn files_that_lie_compressed_beside_their_plain_form() {
    let server = Server::start("", "precompressed = [\"zstd\", \"br\", \"gzip\"]");
    let site = server.daemon.path("site");
    for (name, text) in [
        ("a.css", "plain"),
        ("a.css.gz", "gzipped"),
        ("a.css.zst", "zstandard"),
    ] {
        fs::write(site.join(name), text).unwrap();
    }
    let get = |accept: &str, more: &[&str], path: &str| {
        let url = server.url(path);
        let field = format!("Accept-Encoding: {accept}");
        let mut arguments = vec!["-i", "-H", &field];
        arguments.extend(more);
        arguments.push(&url);
        curl(&arguments).to_lowercase()
    };
    for (accept, coding, body) in [
        ("gzip, br, zstd", Some("zstd"), "zstandard"),
        ("gzip, zstd;q=0.5", Some("gzip"), "gzipped"),
        ("br", None, "plain"),
        ("gzip;q=0, zstd;q=0", None, "plain"),
    ] {
        let answer = get(accept, &[], "/a.css");
        assert!(
            answer.ends_with(&format!("\r\n\r\n{body}")),
            "{accept}: {answer}"
        );
        assert!(
            answer.contains("vary: accept-encoding") && answer.contains("content-type: text/css"),
            "{answer}"
        );
        let told = answer
            .lines()
            .find_map(|line| line.strip_prefix("content-encoding: "));
        assert_eq!(told, coding, "{accept}");
    }
    // Each has a validator of its own, ranges are of what is sent, and other files do not vary.
    let tag = |answer: &str| {
        answer
            .lines()
            .find_map(|line| line.strip_prefix("etag: ").map(str::to_owned))
            .unwrap()
    };
    let (zstd, plain) = (
        tag(&get("zstd", &[], "/a.css")),
        tag(&get("", &[], "/a.css")),
    );
    assert_ne!(zstd, plain);
    let condition = format!("If-None-Match: {zstd}");
    assert!(get("zstd", &["-H", &condition], "/a.css").starts_with("http/1.1 304"));
    assert!(get("gzip", &["-H", &condition], "/a.css").starts_with("http/1.1 200"));
    assert!(get("zstd", &["-r", "0-3"], "/a.css").ends_with("\r\n\r\nzsta"));
    assert!(!get("zstd", &[], "/digits.txt").contains("vary"));
    // What is older than the file is not it.
    run(
        "touch",
        &[
            "-d",
            "2 hours ago",
            site.join("a.css.zst").to_str().unwrap(),
        ],
        LIMIT,
    )
    .success();
    let answer = run("sh", &["-c", "sleep 1.2"], LIMIT).success();
    drop(answer);
    assert!(get("zstd", &[], "/a.css").ends_with("\r\n\r\nplain"));
}
