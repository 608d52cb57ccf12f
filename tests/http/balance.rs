//! Several upstreams, and upstreams that speak other protocols than HTTP/1.1.

use std::{
    collections::BTreeMap,
    fs,
    io::{Read, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

use serde_json::Value;

use super::{
    LIMIT, Server, free_port,
    support::{Background, python, python_binary, run, tests, wait_until},
};

/// A site whose `/` is shared out among origins, and the origins.
struct Balanced {
    server: Server,
    ports: Vec<u16>,
    origins: Vec<Background>,
}

fn started(server: &Server, program: &str, arguments: &[String], port: u16) -> Background {
    let log = server.daemon.path(&format!("origin-{port}.log"));
    let running = Background::start(program, arguments, &log);
    wait_until(&format!("{program} listens"), LIMIT, || {
        TcpStream::connect(("127.0.0.1", port)).is_ok()
    });
    running
}

fn origin(server: &Server, port: u16) -> Background {
    let script = tests().join("clients/origin.py").display().to_string();
    let python = python_binary().display().to_string();
    started(server, &python, &[script, port.to_string()], port)
}

fn url(port: u16) -> String {
    format!("\"http://127.0.0.1:{port}\"")
}

/// `balance` is made of the origins' ports.
fn balanced(origins: usize, balance: impl Fn(&[u16]) -> String) -> Balanced {
    let ports: Vec<u16> = (0..origins).map(|_| free_port()).collect();
    let server = Server::start("", &route(&ports, &balance(&ports)));
    let origins = ports.iter().map(|&port| origin(&server, port)).collect();
    Balanced {
        server,
        ports,
        origins,
    }
}

fn route(ports: &[u16], balance: &str) -> String {
    let urls: Vec<String> = ports.iter().map(|&port| url(port)).collect();
    format!(
        "[[http.site.route]]\npath = \"/\"\nproxy = [{}]\nproxy_timeout = \"1s\"\n{balance}\n",
        urls.join(", ")
    )
}

impl Balanced {
    /// Which of the origins answers; `None` where none does.
    fn ask(&self, arguments: &[&str], path: &str) -> Option<usize> {
        let url = self.server.url(path);
        let mut all = vec!["-sS", "--max-time", "20"];
        all.extend(arguments);
        all.push(&url);
        let told = run("curl", &all, LIMIT).success().stdout;
        let told: Value = serde_json::from_str(&told).ok()?;
        let port = told["port"].as_u64()?;
        self.ports.iter().position(|&own| u64::from(own) == port)
    }

    fn shares(&self, requests: usize, arguments: impl Fn(usize) -> Vec<String>) -> Vec<usize> {
        let mut shares = vec![0; self.ports.len()];
        for number in 0..requests {
            let arguments = arguments(number);
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            shares[self
                .ask(&arguments, &format!("/{number}"))
                .expect("an answer")] += 1;
        }
        shares
    }
}

#[test]
fn turns_and_weights() {
    let three = balanced(3, |_| "balance = { weights = [2, 1, 1] }".to_owned());
    assert_eq!(three.shares(16, |_| Vec::new()), [8, 4, 4]);
}

#[test]
fn the_same_key_leads_to_the_same_upstream() {
    let five = balanced(5, |_| {
        "balance = { policy = \"hash-header\", by = \"X-User\" }".to_owned()
    });
    let of = |user: usize| {
        let field = format!("X-User: {user}");
        five.ask(&["-H", &field], "/x").unwrap()
    };
    let first: Vec<usize> = (0..20).map(of).collect();
    let again: Vec<usize> = (0..20).map(of).collect();
    assert_eq!(first, again);
    let used: std::collections::BTreeSet<usize> = first.iter().copied().collect();
    assert!(used.len() >= 3, "{used:?}");
    // By the client's address, all of this machine's requests go one way.
    five.server.reload(
        "",
        &route(&five.ports, "balance = { policy = \"hash-client\" }"),
    );
    let shares = five.shares(6, |_| Vec::new());
    assert!(shares.contains(&6), "{shares:?}");
    five.server.reload(
        "",
        &route(
            &five.ports,
            "balance = { policy = \"hash-cookie\", by = \"session\" }",
        ),
    );
    let of = |session: usize| {
        five.ask(&["-b", &format!("session={session}")], "/x")
            .unwrap()
    };
    for session in 0..5 {
        assert_eq!(of(session), of(session));
    }
}

#[test]
fn a_client_stays_and_an_upstream_is_drained() {
    let three = balanced(3, |_| "balance = { sticky = \"at\" }".to_owned());
    let jar = three.server.daemon.path("jar").display().to_string();
    let with_jar = ["-c", &jar, "-b", &jar];
    let mine = three.ask(&with_jar, "/x").unwrap();
    for _ in 0..5 {
        assert_eq!(three.ask(&with_jar, "/x"), Some(mine));
    }
    // A cookie that is none of ours leads nowhere in particular.
    let forged = three.shares(6, |_| {
        vec!["-b".into(), "at=00112233445566778899aabbccddeeff".into()]
    });
    assert_eq!(forged, [2, 2, 2]);
    // While its upstream drains, a client stays; new ones go elsewhere.
    three.server.reload(
        "",
        &route(
            &three.ports,
            &format!(
                "balance = {{ sticky = \"at\", drain = [{}] }}",
                url(three.ports[mine])
            ),
        ),
    );
    assert_eq!(three.ask(&with_jar, "/x"), Some(mine));
    let shares = three.shares(6, |_| Vec::new());
    assert_eq!(shares[mine], 0, "{shares:?}");
}

#[test]
fn an_upstream_that_hangs_or_goes_is_left_alone() {
    let mut three = balanced(3, |_| "balance = { fail_time = \"30s\" }\n".to_owned());
    three.ask(&[], "/x").unwrap();
    // Stopped: it takes connections and says nothing. One request is lost to that, no more.
    let stopped = three.origins[0].0.id().to_string();
    run("kill", &["-STOP", &stopped], LIMIT).success();
    let since = Instant::now();
    let answers: Vec<Option<usize>> = (0..9).map(|_| three.ask(&[], "/x")).collect();
    let lost = answers.iter().filter(|answer| answer.is_none()).count();
    assert_eq!(lost, 1, "{answers:?}");
    assert!(!answers.contains(&Some(0)), "{answers:?}");
    assert!(since.elapsed() < Duration::from_secs(10));
    run("kill", &["-CONT", &stopped], LIMIT).success();
    // Gone: nobody notices.
    three.origins[1].0.kill().unwrap();
    three.origins[1].0.wait().unwrap();
    for _ in 0..6 {
        assert!(three.ask(&[], "/x").is_some());
    }
}

#[test]
fn an_upstream_that_fails_its_check_gets_nothing_until_it_is_well() {
    let mut two = balanced(2, |_| {
        "balance = { check = \"/health\", check_interval = \"200ms\", check_timeout = \"500ms\", fail_time = \"1ms\" }"
            .to_owned()
    });
    two.origins[0].0.kill().unwrap();
    two.origins[0].0.wait().unwrap();
    wait_until("it is noticed", LIMIT, || {
        two.server.daemon.log().contains("upstream is not well")
    });
    assert_eq!(two.shares(6, |_| Vec::new()), [0, 6]);
    two.origins[0] = origin(&two.server, two.ports[0]);
    wait_until("it is well", LIMIT, || {
        two.server.daemon.log().contains("upstream is well again")
    });
    wait_until("both are asked", LIMIT, || {
        two.shares(2, |_| Vec::new()) == [1, 1]
    });
}

#[test]
fn the_least_busy_upstream_is_asked() {
    let two = balanced(2, |_| {
        "balance = { policy = \"least-connections\" }".to_owned()
    });
    two.server.reload(
        "",
        &route(&two.ports, "balance = { policy = \"least-connections\" }")
            .replace("proxy_timeout = \"1s\"", "proxy_timeout = \"60s\""),
    );
    // Three requests that do not end: two wait at one upstream and one at the other.
    let mut held = Vec::new();
    for _ in 0..3 {
        let mut stream = two.server.connect();
        stream
            .write_all(b"GET /stall HTTP/1.1\r\nHost: a\r\n\r\n")
            .unwrap();
        let mut first = [0; 1];
        stream.read_exact(&mut first).unwrap();
        held.push(stream);
    }
    let shares = two.shares(6, |_| Vec::new());
    assert!(shares.contains(&6), "{shares:?}");
    drop(held);
}

#[test]
fn an_upstream_is_told_the_address_by_proxy_protocol() {
    let port = free_port();
    let server = Server::start(
        "",
        &format!(
            "[[http.site.route]]\npath = \"/one\"\nproxy = [{0}]\nproxy_protocol = \"v1\"\n\
             [[http.site.route]]\npath = \"/two\"\nproxy = [{0}]\nproxy_protocol = \"v2\"\n",
            url(port)
        ),
    );
    let conf = server.daemon.path("haproxy.cfg");
    fs::write(
        &conf,
        format!(
            "defaults\n mode http\n timeout client 5s\n timeout server 5s\n timeout connect 5s\n\
             frontend f\n bind 127.0.0.1:{port} accept-proxy\n \
             http-request return status 200 content-type text/plain lf-string \"%[src] %[dst_port]\"\n"
        ),
    )
    .unwrap();
    let arguments = ["-db", "-f"].map(str::to_owned);
    let arguments: Vec<String> = arguments
        .into_iter()
        .chain([conf.display().to_string()])
        .collect();
    let _haproxy = started(&server, "haproxy", &arguments, port);
    for path in ["/one", "/two", "/one", "/two"] {
        for from in ["127.0.0.7", "127.0.0.8"] {
            let url = server.url(path);
            let told = run("curl", &["-sS", "--interface", from, &url], LIMIT).success();
            assert_eq!(told.stdout, format!("{from} {}", server.plain));
        }
    }
}

#[test]
fn http2_upstreams() {
    let port = free_port();
    let server = Server::start(
        "",
        &format!("[[http.site.route]]\npath = \"/h2/\"\nproxy = [\"h2c://127.0.0.1:{port}/\"]\n"),
    );
    let root = server.daemon.path("site").display().to_string();
    let arguments = ["--no-tls", "-d", &root, &port.to_string()].map(str::to_owned);
    let _nghttpd = started(&server, "nghttpd", &arguments, port);
    // Over one connection or several, versions mixed, and bodies both ways.
    for version in ["--http1.1", "--http2-prior-knowledge"] {
        let url = server.url("/h2/digits.txt");
        let told = run("curl", &["-sS", version, &url], LIMIT).success();
        assert_eq!(told.stdout, "0123456789");
        let copy = server.daemon.path("copy").display().to_string();
        let url = server.url("/h2/large.bin");
        run("curl", &["-sS", version, "-o", &copy, &url], LIMIT).success();
        assert!(fs::read(&copy).unwrap() == super::large());
    }
    let url = server.url("/h2/digits.txt");
    let load = run(
        "h2load",
        &["-n", "2000", "-c", "4", "-m", "20", &url],
        LIMIT,
    )
    .success();
    assert!(
        load.stdout.contains("2000 succeeded, 0 failed"),
        "{}",
        load.stdout
    );
}

#[test]
fn grpc_through_the_proxy() {
    let port = free_port();
    let server = Server::start(
        "",
        &format!("[[http.site.route]]\npath = \"/\"\nproxy = [\"h2c://127.0.0.1:{port}\"]\n"),
    );
    let script = tests().join("clients/grpc_echo.py").display().to_string();
    let python_path = python_binary().display().to_string();
    let _origin = started(
        &server,
        &python_path,
        &[script, "serve".into(), port.to_string()],
        port,
    );
    let direct = python("grpc_echo.py", &["ask", &port.to_string()], LIMIT).success();
    let through = python("grpc_echo.py", &["ask", &server.plain.to_string()], LIMIT).success();
    assert_eq!(direct.stdout, through.stdout);
    let told: BTreeMap<String, Value> = serde_json::from_str(&through.stdout).unwrap();
    assert_eq!(told["unary"], "echo: hello");
    assert_eq!(told["stream"].as_array().map(Vec::len), Some(5));
    assert_eq!(told["both"].as_array().map(Vec::len), Some(3));
    assert_eq!(told["failure"], "NOT_FOUND: nothing here");
    assert_eq!(told["large"], 1 << 20);
}
