//! How much one client may ask for.

use std::{
    io::Write,
    net::TcpListener,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use super::{
    LIMIT, Server,
    support::{Background, run, wait_until},
};

const RATES: &str = r#"
[[http.site.route]]
path = "/few"
respond = "few"
rate = { requests = 2, per = "1h" }
[[http.site.route]]
path = "/many"
respond = "many"
"#;

/// The status of a request from an address, and what it says of trying again.
fn ask(server: &Server, from: &str, path: &str) -> (u16, u64) {
    let url = server.url(path);
    let arguments = [
        "-sS",
        "--max-time",
        "20",
        "--interface",
        from,
        "-o",
        "/dev/null",
        "-w",
        "%{http_code} %header{retry-after}",
        &url,
    ];
    let said = run("curl", &arguments, LIMIT).success().stdout;
    let (status, wait) = said.split_once(' ').unwrap();
    (status.parse().unwrap(), wait.trim().parse().unwrap_or(0))
}

#[test]
fn too_many_requests_are_refused_until_later() {
    for rules in ["", "[[http.site.filter]]\npath = \"/x\"\n"] {
        let site = format!("rate = {{ requests = 6, per = \"1h\" }}\n{RATES}{rules}");
        let server = Server::start("", &site);
        let status = |from: &str, path: &str| ask(&server, from, path).0;
        assert_eq!(status("127.0.0.1", "/few"), 200);
        assert_eq!(status("127.0.0.1", "/few"), 200);
        let (refused, wait) = ask(&server, "127.0.0.1", "/few");
        assert_eq!(refused, 429);
        assert!((1500..=1801).contains(&wait), "{wait}");
        // Nobody else is, and nothing else.
        assert_eq!(status("127.0.0.2", "/few"), 200);
        for _ in 0..3 {
            assert_eq!(status("127.0.0.1", "/many"), 200);
        }
        assert_eq!(status("127.0.0.1", "/many"), 429);
        // Whoever reloads does not let everybody in again, unless the limits are others.
        server.reload("", &site);
        assert_eq!(status("127.0.0.1", "/many"), 429);
        server.reload("", &site.replace("requests = 6", "requests = 7"));
        assert_eq!(status("127.0.0.1", "/many"), 200);
    }
}

#[test]
fn requests_under_way_are_bounded() {
    let origin = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = origin.local_addr().unwrap().port();
    let (came, comes) = mpsc::channel::<()>();
    let (go_on, waits) = mpsc::channel::<()>();
    let origin = thread::spawn(move || {
        let (mut stream, _) = origin.accept().unwrap();
        came.send(()).unwrap();
        waits.recv_timeout(LIMIT).unwrap();
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok";
        stream.write_all(answer).unwrap();
    });
    let site = format!(
        "rate = {{ concurrent = 1 }}\n{RATES}[[http.site.route]]\npath = \"/slow\"\n\
         proxy = [\"http://127.0.0.1:{port}\"]\n"
    );
    let server = Server::start("", &site);
    let (out, url) = (server.daemon.path("out"), server.url("/slow"));
    let slow = Background::start("curl", &["-sS", &url], &out);
    comes.recv_timeout(LIMIT).unwrap();
    assert_eq!(ask(&server, "127.0.0.1", "/many"), (429, 1));
    assert_eq!(ask(&server, "127.0.0.2", "/many").0, 200);
    go_on.send(()).unwrap();
    wait_until("the slow one is over", LIMIT, || {
        std::fs::read_to_string(&out).unwrap_or_default() == "ok"
    });
    wait_until("the next is let in", LIMIT, || {
        ask(&server, "127.0.0.1", "/many").0 == 200
    });
    drop(slow);
    origin.join().unwrap();
}

#[test]
fn a_client_gets_no_more_bytes_a_second_than_it_may() {
    let server = Server::start("", "rate = { bandwidth = \"2MiB\" }\n");
    for url in [server.url("/large.bin"), server.tls_url("/large.bin")] {
        let since = Instant::now();
        let arguments = [
            "-sSk",
            "--max-time",
            "30",
            "-o",
            "/dev/null",
            "-w",
            "%{size_download}",
            &url,
        ];
        let size = run("curl", &arguments, LIMIT).success().stdout;
        assert_eq!(size, (4 << 20).to_string());
        // Four megabytes; what it may have at once is one piece.
        assert!(
            since.elapsed() > Duration::from_millis(1800),
            "{:?}",
            since.elapsed()
        );
    }
}
