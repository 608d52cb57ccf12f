//! Rewriting, access, filters and matchers, as curl sees them.

use std::{fs, path::Path, time::Duration};

use super::{LIMIT, Server, support::run};

/// Status, Location and body of a request.
fn ask(server: &Server, arguments: &[&str], path: &str) -> String {
    let url = server.url(path);
    let format = "\n%{http_code} %{redirect_url}";
    let mut all = vec!["-sS", "--max-time", "20", "-w", format];
    all.extend(arguments);
    all.push(&url);
    let output = run("curl", &all, LIMIT).success().stdout;
    let (body, rest) = output.rsplit_once('\n').unwrap();
    let body = if body.starts_with("<!doctype") {
        ""
    } else {
        body.trim_end()
    };
    let rest = rest.replace(&server.url(""), "");
    format!("{} {body}", rest.trim_end()).trim_end().to_owned()
}

fn table(server: &Server, rows: &[(&[&str], &str, &str)]) {
    for (arguments, path, expected) in rows {
        let got = ask(server, arguments, path);
        assert_eq!(
            got,
            *expected,
            "{path} {arguments:?}\n{}",
            server.daemon.log()
        );
    }
}

#[test]
fn rewriting() {
    let server = Server::start(
        "[http.map.words]\nvalues = { one = \"eins\", two = \"zwei\" }",
        r#"
[[http.site.rewrite]]
match = "^/old/(.*)$"
to = "/new/$1"
status = 301
[[http.site.rewrite]]
match = "^/gone"
status = 410
[[http.site.rewrite]]
match = "^/never"
status = 403
[[http.site.rewrite]]
match = "^/word/(\\w+)$"
to = "/said/${words:$1|unknown}"
status = 302
[[http.site.rewrite]]
match = "^/host"
when = "%{HTTP_HOST} =~ /^(\\d+)\\./ && %{QUERY_STRING} =~ /x=(\\d+)/"
to = "https://%1.example.org/?from=host"
query = "append"
status = 307
[[http.site.rewrite]]
match = "^/step1$"
to = "/step2"
then = "next"
[[http.site.rewrite]]
match = "^/step2$"
to = "/digits.txt"
[[http.site.rewrite]]
match = "^/cookie$"
cookies = ["a=b; Path=/"]
content_type = "text/x-digits"
to = "/digits.txt"
[[http.site.rewrite]]
match = "^/evil/(.*)$"
to = "/$1"
[[http.site.route]]
path = "/app"
rewrite = [
  { match = "^start$", to = "index" },
  { match = "^loop(.*)$", to = "loop$1x" },
  { when = "!-f %{REQUEST_FILENAME} && !-d %{REQUEST_FILENAME}", match = "^(?!index)", to = "/digits.txt" },
]
[[http.site.route]]
path = "/app/index"
respond = "the app"
"#,
    );
    table(
        &server,
        &[
            (&[], "/old/a%20b?x=1", "301 /new/a%20b?x=1"),
            (&[], "/gone", "410"),
            (&[], "/never", "403"),
            (&[], "/word/one", "302 /said/eins"),
            (&[], "/word/six", "302 /said/unknown"),
            (&[], "/host?x=7", "307 https://7.example.org/?from=host&x=7"),
            (&[], "/host", "404"),
            (&[], "/step1", "200 0123456789"),
            (&[], "/app/start", "200 the app"),
            (&[], "/app/none", "200 0123456789"),
            (&[], "/app/loop", "500"),
            (&[], "/evil/..%2f..%2fetc/passwd", "404"),
            (&[], "/evil/%2e%2e/%2e%2e/etc/passwd", "400"),
            (&[], "/evil/.secret", "404"),
            (&[], "/digits.txt", "200 0123456789"),
        ],
    );
    let head = |path: &str| {
        let url = server.url(path);
        run("curl", &["-sS", "-D", "-", "-o", "/dev/null", &url], LIMIT)
            .success()
            .stdout
            .to_lowercase()
    };
    let cookie = head("/cookie");
    assert!(cookie.contains("set-cookie: a=b; path=/\r\n"), "{cookie}");
    assert!(
        cookie.contains("content-type: text/x-digits\r\n"),
        "{cookie}"
    );
}

/// Writes a file of users with every hash that htpasswd and openssl make.
fn users(directory: &Path) {
    let file = directory.join("users").display().to_string();
    for (index, kind) in ["-m", "-s", "-d", "-B"].iter().enumerate() {
        let user = format!("user{index}");
        let create = if index == 0 { "-cb" } else { "-b" };
        run("htpasswd", &[create, kind, &file, &user, "secret"], LIMIT).success();
    }
    let mut text = fs::read_to_string(&file).unwrap();
    for (index, kind) in ["-1", "-5", "-6"].iter().enumerate() {
        let hash = run("openssl", &["passwd", kind, "secret"], LIMIT)
            .success()
            .stdout;
        text.push_str(&format!("user{}:{}\n", index + 4, hash.trim()));
    }
    // The reference implementation's test: "password".
    text.push_str("user7:$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4\n");
    fs::write(&file, text).unwrap();
    fs::write(
        directory.join("groups"),
        "staff: user0 user3\nothers: user1\n",
    )
    .unwrap();
}

#[test]
fn access_by_address_and_by_password() {
    let server = Server::start_with_files(
        "",
        r#"
access = "everybody"
[http.site.auth]
basic = "all"
users = "{dir}/users"
groups = "{dir}/groups"
[[http.site.filter]]
path = "/digits.txt"
access = "any-user"
[[http.site.filter]]
path = "/sub"
access = "group staff and not user user3"
[[http.site.filter]]
match = "\\.bin$"
access = "ip 192.0.2.0/24 or user user1"
[[http.site.filter]]
path = "/far"
access = "ip 192.0.2.0/24"
[[http.site.filter]]
path = "/near"
access = "local and method GET"
headers = { set = { "x-near" = "yes" } }
[[http.site.route]]
path = "/near"
respond = "near"
[[http.site.route]]
path = "/far"
respond = "far"
[[http.site.route]]
path = "/kinds"
methods = ["POST"]
respond = "posted"
[[http.site.route]]
path = "/kinds"
match = "\\.php$"
respond = "php"
[[http.site.route]]
path = "/kinds"
when = "%{HTTP:X-Kind} == 'odd'"
respond = "odd"
[[http.site.route]]
path = "/kinds"
respond = "any"
[[http.site.route]]
path = "/accounts"
respond = "in"
auth = { basic = "accounts" }
access = "group user"
"#,
        users,
    );
    for index in 0..7 {
        let login = format!("user{index}:secret");
        assert_eq!(
            ask(&server, &["-u", &login], "/digits.txt"),
            "200 0123456789",
            "{login}"
        );
        assert_eq!(
            ask(&server, &["-u", &login], "/digits.txt"),
            "200 0123456789",
            "{login}"
        );
    }
    server.daemon.add_user("alice@example.test", "wonderland");
    table(
        &server,
        &[
            (&["-u", "user7:password"], "/digits.txt", "200 0123456789"),
            (&[], "/digits.txt", "401"),
            (&["-u", "user0:secret"], "/sub/", "200 sub"),
            (&["-u", "user1:secret"], "/sub/", "401"),
            (&["-u", "user3:secret"], "/sub/", "401"),
            (&["-u", "user0:secret"], "/large.bin", "401"),
            (&[], "/far", "403"),
            (&[], "/near", "200 near"),
            (&["-X", "PUT"], "/near", "403"),
            (&["-d", "x"], "/kinds", "200 posted"),
            (&[], "/kinds/a.php", "200 php"),
            (&["-H", "X-Kind: odd"], "/kinds/a", "200 odd"),
            (&[], "/kinds/a", "200 any"),
            (&["-u", "alice:wonderland"], "/accounts", "200 in"),
            (&["-u", "user0:secret"], "/accounts", "401"),
            (&["-u", "user0:wrong"], "/digits.txt", "401"),
        ],
    );
    let url = server.url("/near");
    let head = run("curl", &["-sS", "-D", "-", "-o", "/dev/null", &url], LIMIT)
        .success()
        .stdout;
    assert!(head.to_lowercase().contains("x-near: yes\r\n"), "{head}");
    // Whoever guesses is slowed down, as in every other service.
    let mut statuses = Vec::new();
    for _ in 0..20 {
        statuses.push(ask(&server, &["-u", "user2:guess"], "/digits.txt"));
    }
    assert!(
        statuses.iter().any(|status| status == "429"),
        "{statuses:?}"
    );
    // A file that changes is heard at once.
    let file = server.daemon.path("users");
    fs::write(&file, "new:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=\n").unwrap();
    super::support::wait_until("the file is read anew", Duration::from_secs(5), || {
        ask(&server, &["-u", "user0:secret"], "/sub/") != "200 sub"
    });
}

#[test]
fn who_is_known_in_one_file_may_not_guess_at_another() {
    let server = Server::start_with_files(
        "",
        r#"
[[http.site.route]]
path = "/own"
respond = "in"
auth = { basic = "own", users = "{dir}/own" }
[[http.site.route]]
path = "/other"
respond = "in"
auth = { basic = "other", users = "{dir}/other" }
"#,
        |directory| {
            for (name, password) in [("own", "secret"), ("other", "another")] {
                let file = directory.join(name).display().to_string();
                run("htpasswd", &["-cbs", &file, "admin", password], LIMIT).success();
            }
        },
    );
    let mut statuses = Vec::new();
    for _ in 0..12 {
        let own = ask(&server, &["-u", "admin:secret"], "/own");
        assert_eq!(own, "200 in");
        statuses.push(ask(&server, &["-u", "admin:secret"], "/other"));
    }
    assert!(
        statuses.iter().any(|status| status == "429"),
        "{statuses:?}"
    );
}

#[test]
fn rules_hold_for_a_route_below_what_is_well_known() {
    let server = Server::start(
        "[tls.acme]\ndirectory = \"https://127.0.0.1:1/dir\"",
        r#"
access = "nobody"
[[http.site.route]]
path = "/.well-known/acme-challenge/own"
respond = "in"
"#,
    );
    let challenge = "/.well-known/acme-challenge/x";
    super::support::wait_until("challenges are answered", LIMIT, || {
        ask(&server, &[], challenge) == "404"
    });
    assert_eq!(ask(&server, &[], "/.well-known/acme-challenge/own"), "403");
}

#[test]
fn a_pattern_that_gives_up_opens_nothing() {
    let server = Server::start(
        "",
        r#"
[[http.site.route]]
path = "/skipped"
respond = "in"
[[http.site.filter]]
match = "^/skipped/(a|b|ab)*(?>c)"
access = "nobody"
[[http.site.route]]
path = "/negated"
respond = "in"
access = "when \"%{REQUEST_URI} !~ m#^/negated/(a|b|ab)*(?>c)#\""
[[http.site.route]]
path = "/ruled"
respond = "in"
[[http.site.rewrite]]
match = "^/ruled/(a|b|ab)*(?>c)"
status = 403
"#,
    );
    let long = "ab".repeat(100);
    for path in ["/skipped", "/negated", "/ruled"] {
        assert_eq!(
            ask(&server, &[], &format!("{path}/{long}")),
            "500",
            "{path}"
        );
        assert_eq!(ask(&server, &[], path), "200 in", "{path}");
    }
}

#[test]
fn explained_without_a_request() {
    let server = Server::start(
        "",
        r#"
[[http.site.rewrite]]
match = "^/a/(.*)$"
to = "/b/$1"
[[http.site.filter]]
path = "/closed"
access = "ip 192.0.2.0/24 or user alice"
auth = { basic = "closed" }
[[http.site.route]]
path = "/b"
root = "{dir}/site"
[[http.site.route]]
path = "/closed"
access = "nobody"
respond = "open"
"#,
    );
    let explain = |arguments: &[&str]| {
        let all = [&["explain"], arguments].concat();
        server.daemon.omnid(&all).success().stdout
    };
    for (arguments, lines) in [
        (
            &["http://example.test/a/digits.txt"][..],
            &[
                "site    example.test",
                "status  200",
                "step    the site's rule 1 applies: match \"^/a/(.*)$\"",
                "step    rewritten to /b/digits.txt",
                "route   /b",
                "field   content-length: 10",
            ][..],
        ),
        (
            &["http://example.test/b/none"],
            &[
                "status  404",
                "reason  there is no such file below the root",
            ],
        ),
        (
            &["http://example.test/b/.secret"],
            &[
                "status  404",
                "reason  names that begin with a dot are not served",
            ],
        ),
        (
            &["http://example.test/closed"],
            &["status  401", "step    access depends on who it is"],
        ),
        (
            &["http://example.test/closed", "--client", "192.0.2.9"],
            &["status  200", "action  respond"],
        ),
        (
            &["http://example.test/closed", "--user", "bob"],
            &["status  401", "step    this user may not come in"],
        ),
        (
            &["http://example.test/closed", "--user", "alice"],
            &["status  200"],
        ),
    ] {
        let told = explain(arguments);
        for line in lines {
            assert!(
                told.lines().any(|told| told == *line),
                "no \"{line}\" in\n{told}"
            );
        }
    }
    // And a request is answered as it was explained.
    assert_eq!(ask(&server, &[], "/a/digits.txt"), "200 0123456789");
    assert_eq!(ask(&server, &[], "/closed"), "401");
}
