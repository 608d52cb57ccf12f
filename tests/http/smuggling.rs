//! Requests that two readers could understand in two ways, sent through the proxy to the servers
//! that people run behind one. Whatever is answered to the first, no server behind ever sees a
//! second request in it.

use std::{
    fs,
    io::Write,
    net::{Shutdown, TcpStream},
    path::Path,
    time::{Duration, Instant},
};

use super::{
    LIMIT, Server, free_port, read_to_end,
    support::{Background, wait_until},
};

/// What must never reach a server behind: the request hidden in the first one's body or head.
const HIDDEN: &str = "GET /smuggled HTTP/1.1\r\nHost: hidden\r\nX: ";

/// The payloads. Every one holds [`HIDDEN`] where a reader that errs finds a request.
pub(super) fn payloads() -> Vec<(&'static str, String)> {
    let chunked = format!("0\r\n\r\n{HIDDEN}y\r\n\r\n");
    let inside = format!("{:x}\r\n{HIDDEN}y\r\n\r\n\r\n0\r\n\r\n", HIDDEN.len() + 5);
    let with =
        |fields: &str, body: &str| format!("POST /app HTTP/1.1\r\nHost: a\r\n{fields}\r\n{body}");
    let mut list = vec![
        ("cl.te", with(&format!("Content-Length: {}\r\nTransfer-Encoding: chunked\r\n", chunked.len()), &chunked)),
        ("te.cl", with("Transfer-Encoding: chunked\r\nContent-Length: 4\r\n", &inside)),
        ("cl.cl", with(&format!("Content-Length: 0\r\nContent-Length: {}\r\n", HIDDEN.len() + 5), &format!("{HIDDEN}y\r\n\r\n"))),
        ("cl list", with("Content-Length: 0, 5\r\n", &chunked)),
        ("cl plus", with("Content-Length: +0\r\n", &chunked)),
        ("cl 1_0", with("Content-Length: 0_0\r\n", &chunked)),
        ("cl blank", with("Content-Length: \r\n", &chunked)),
        ("te.te", with("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", &chunked)),
        ("te tab", with("Transfer-Encoding:\tchunked\r\nContent-Length: 4\r\n", &inside)),
        ("te vertical tab", with("Transfer-Encoding: \x0bchunked\r\nContent-Length: 4\r\n", &inside)),
        ("te space colon", with("Transfer-Encoding : chunked\r\nContent-Length: 4\r\n", &inside)),
        ("te quoted", with("Transfer-Encoding: \"chunked\"\r\nContent-Length: 4\r\n", &inside)),
        ("te chunk", with("Transfer-Encoding: chunkedx\r\nContent-Length: 4\r\n", &inside)),
        ("te nul", with("Transfer-Encoding: chunked\0\r\nContent-Length: 4\r\n", &inside)),
        ("te fold", with("Transfer-Encoding:\r\n chunked\r\nContent-Length: 4\r\n", &inside)),
        ("te hidden by lf", with("X: y\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n", &inside)),
        ("te hidden by cr", with("X: y\rTransfer-Encoding: chunked\r\nContent-Length: 4\r\n", &inside)),
        ("te underscore", with("Transfer_Encoding: chunked\r\nContent-Length: 0\r\n", &chunked)),
        ("te gzip", with("Transfer-Encoding: gzip, chunked\r\n", &chunked)),
        ("te chunked gzip", with("Transfer-Encoding: chunked, gzip\r\n", &chunked)),
        ("head lf", format!("POST /app HTTP/1.1\nHost: a\nContent-Length: 0\n\n{HIDDEN}y\r\n\r\n")),
        ("end lf", format!("GET /app HTTP/1.1\r\nHost: a\r\n\n{HIDDEN}y\r\n\r\n")),
        ("http/1.0 te", format!("POST /app HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n{chunked}")),
        ("get with body", format!("GET /app HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{HIDDEN}y\r\n\r\n", HIDDEN.len() + 5)),
        ("head with body", format!("HEAD /app HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{HIDDEN}y\r\n\r\n", HIDDEN.len() + 5)),
        // A client that hands over to another protocol before anybody agreed (RUSTSEC-2026-0033).
        ("upgrade", format!("GET /app HTTP/1.1\r\nHost: a\r\nConnection: upgrade, http2-settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\nContent-Length: {}\r\n\r\n{HIDDEN}y\r\n\r\n", HIDDEN.len() + 5)),
        ("websocket", format!("GET /app HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 777\r\nContent-Length: {}\r\n\r\n{HIDDEN}y\r\n\r\n", HIDDEN.len() + 5)),
        ("expect", with(&format!("Expect: 100-continue\r\nContent-Length: {}\r\n", HIDDEN.len() + 5), &format!("{HIDDEN}y\r\n\r\n"))),
        // A list of fields for one hop that takes the length away.
        ("connection cl", with(&format!("Connection: content-length\r\nContent-Length: {}\r\n", HIDDEN.len() + 5), &format!("{HIDDEN}y\r\n\r\n"))),
        ("connection te", with("Connection: transfer-encoding\r\nTransfer-Encoding: chunked\r\n", &inside)),
        ("target", format!("GET /app?x=\x01{HIDDEN}y HTTP/1.1\r\nHost: a\r\n\r\n")),
        ("target space", "GET /app HTTP/1.1\r\nHost: a\r\nX: GET /smuggled HTTP/1.1\r\n\r\n".to_owned()),
        ("target escape", "GET /app%20HTTP/1.1%0d%0aHost:%20a%0d%0a%0d%0aGET%20/smuggled HTTP/1.1\r\nHost: a\r\n\r\n".to_owned()),
    ];
    for (name, size) in [
        ("chunk 0x", "0x0"),
        ("chunk plus", "+0"),
        ("chunk minus", "-0"),
        ("chunk underscore", "0_0"),
        ("chunk blank", " 0"),
        ("chunk lf", "0\n"),
        ("chunk ext lf", "0;a\n"),
        ("chunk ext cr", "0;a\rb"),
        ("chunk overflow", "10000000000000000"),
    ] {
        let body = format!("{size}\r\n\r\n{HIDDEN}y\r\n\r\n");
        list.push((name, with("Transfer-Encoding: chunked\r\n", &body)));
    }
    list.push((
        "chunk body lf",
        with(
            "Transfer-Encoding: chunked\r\n",
            &format!("1\r\na\n0\r\n\r\n{HIDDEN}y\r\n\r\n"),
        ),
    ));
    list
}

/// The servers behind: where each listens, and the file that tells what it was asked for.
fn backends(directory: &Path) -> Vec<(&'static str, String, std::path::PathBuf, Vec<Background>)> {
    let root = directory.join("site");
    let root = root.display();
    let dir = directory.display();
    let started = |name: &str, port: u16, program: &str, arguments: &[String]| {
        let log = directory.join(format!("{name}.out"));
        let running = Background::start(program, arguments, &log);
        wait_until(&format!("{name} listens"), LIMIT, || {
            TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
        running
    };
    let file = |name: &str, text: String| {
        let path = directory.join(name);
        fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();

    let nginx = free_port();
    let conf = file(
        "nginx.conf",
        format!(
            "daemon off; master_process off; pid {dir}/nginx.pid; error_log {dir}/nginx.err;\n\
         events {{}} http {{ access_log {dir}/nginx.log; client_body_temp_path {dir}/nginx.tmp;\n\
         server {{ listen 127.0.0.1:{nginx}; root {root}; error_page 405 =200 /digits.txt; }} }}\n"
        ),
    );
    let nginx_runs = started(
        "nginx",
        nginx,
        "/usr/sbin/nginx",
        &words(&format!("-c {conf} -e {dir}/nginx.err")),
    );

    let apache = free_port();
    let conf = file(
        "apache.conf",
        format!(
            "ServerName a\nListen 127.0.0.1:{apache}\nPidFile {dir}/apache.pid\nDefaultRuntimeDir {dir}\n\
         LoadModule mpm_event_module /usr/lib/apache2/modules/mod_mpm_event.so\n\
         LoadModule authz_core_module /usr/lib/apache2/modules/mod_authz_core.so\n\
         ErrorLog {dir}/apache.err\nLogFormat \"%r\" r\nCustomLog {dir}/apache.log r\n\
         DocumentRoot {root}\n<Directory />\nRequire all granted\n</Directory>\n"
        ),
    );
    let apache_runs = started(
        "apache",
        apache,
        "/usr/sbin/apache2",
        &words(&format!("-X -f {conf}")),
    );

    // haproxy has its own reading of what it passes on; what it understood is in its log.
    let haproxy = free_port();
    let conf = file(
        "haproxy.cfg",
        format!(
            "global\n log stdout format raw local0\ndefaults\n mode http\n log global\n option httplog\n\
         timeout client 10s\n timeout server 10s\n timeout connect 5s\n\
         frontend f\n bind 127.0.0.1:{haproxy}\n log-format %r\n default_backend b\n\
         backend b\n server s 127.0.0.1:{nginx}\n"
        ),
    );
    let haproxy_runs = started(
        "haproxy",
        haproxy,
        "/usr/sbin/haproxy",
        &words(&format!("-db -f {conf}")),
    );

    let gunicorn = free_port();
    file("app.py", "def app(environ, start):\n    environ['wsgi.input'].read(1)\n    start('200 OK', [('Content-Length', '2')])\n    return [b'ok']\n".into());
    let gunicorn_runs = started(
        "gunicorn",
        gunicorn,
        "gunicorn",
        &words(&format!(
            "--chdir {dir} --bind 127.0.0.1:{gunicorn} --threads 4 --keep-alive 10 --access-logfile {dir}/gunicorn.log app:app"
        )),
    );

    vec![
        (
            "nginx",
            nginx.to_string(),
            directory.join("nginx.log"),
            vec![nginx_runs],
        ),
        (
            "apache",
            apache.to_string(),
            directory.join("apache.log"),
            vec![apache_runs],
        ),
        (
            "haproxy",
            haproxy.to_string(),
            directory.join("haproxy.out"),
            vec![haproxy_runs],
        ),
        (
            "gunicorn",
            gunicorn.to_string(),
            directory.join("gunicorn.log"),
            vec![gunicorn_runs],
        ),
    ]
}

#[test]
fn no_server_behind_sees_a_second_request() {
    let directory = tempfile::tempdir().unwrap();
    super::lay_out(directory.path());
    fs::create_dir_all(directory.path().join("site/app")).unwrap();
    fs::write(directory.path().join("site/app/index.html"), "app\n").unwrap();
    let backends = backends(directory.path());
    for (name, port, log, _running) in &backends {
        let server = Server::start(
            "",
            &format!(
                "[[http.site.route]]\npath = \"/\"\nproxy = [\"http://127.0.0.1:{port}\"]\nproxy_timeout = \"3s\""
            ),
        );
        // A request that is right comes through and is in the log.
        let honest =
            server.exchange(b"GET /app/honest HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        assert!(honest.starts_with("HTTP/1.1 "), "{name}: {honest}");
        for (payload, bytes) in payloads() {
            let mut stream = server.connect();
            drop(stream.write_all(bytes.as_bytes()));
            drop(stream.shutdown(Shutdown::Write));
            let answer = read_to_end(&mut stream);
            // An upgrade that nobody made is not answered with one.
            assert!(!answer.contains(" 101 "), "{name}, {payload}: {answer}");
        }
        // The last request on a fresh connection and on the pooled ones: nothing is left over in
        // front of it.
        for _ in 0..5 {
            let last =
                server.exchange(b"GET /app/last HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
            assert!(last.starts_with("HTTP/1.1 "), "{name}: {last}");
        }
        wait_until("the log has the last request", LIMIT, || {
            fs::read_to_string(log)
                .unwrap_or_default()
                .contains("/app/last")
        });
        let text = fs::read_to_string(log).unwrap();
        assert!(text.contains("/app/honest"), "{name}: {text}");
        let seen: Vec<&str> = text
            .lines()
            .filter(|line| line.contains("GET /smuggled") && !line.contains("/app%20"))
            .collect();
        assert!(seen.is_empty(), "{name}: {seen:?}");
    }
}

#[test]
fn slow_clients_of_slowhttptest_leave_others_served() {
    let server = Server::start("", "");
    let url = server.url("/large.bin");
    let modes: [&[&str]; 4] = [
        &["-H", "-c", "200", "-r", "200", "-i", "1", "-l", "6"],
        &["-B", "-c", "200", "-r", "200", "-i", "1", "-l", "6"],
        &[
            "-R", "-c", "200", "-r", "200", "-a", "1", "-b", "3000", "-l", "6",
        ],
        &[
            "-X", "-c", "200", "-r", "200", "-w", "10", "-y", "20", "-n", "1", "-z", "32", "-k",
            "3", "-l", "6",
        ],
    ];
    let attackers: Vec<Background> = modes
        .iter()
        .enumerate()
        .map(|(number, mode)| {
            let mut arguments: Vec<String> = mode.iter().map(|&word| word.to_owned()).collect();
            arguments.extend([
                "-u".to_owned(),
                url.clone(),
                "-p".to_owned(),
                "1".to_owned(),
            ]);
            let log = server.daemon.path(&format!("slow-{number}.log"));
            Background::start("slowhttptest", &arguments, &log)
        })
        .collect();
    let mut slowest = Duration::ZERO;
    for _ in 0..20 {
        let since = Instant::now();
        let answer =
            server.exchange(b"GET /digits.txt HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        assert!(answer.ends_with("0123456789"), "{answer}");
        slowest = slowest.max(since.elapsed());
        std::thread::sleep(Duration::from_millis(200));
    }
    // Well under a second where the machine has nothing else to do; timings decide nothing here.
    println!("the slowest of the others: {slowest:?}");
    drop(attackers);
}
