//! Programs: PHP through php-fpm, and CGI with git's own.

use std::{
    fs,
    io::Write,
    net::Shutdown,
    os::unix::{fs::PermissionsExt, net::UnixStream},
    path::Path,
    time::{Duration, Instant},
};

use serde_json::Value;

use super::{
    LIMIT, Server, free_port, read_to_end,
    support::{Background, binary, python, run, run_with, wait_until},
};

/// DokuWiki, Roundcube, WordPress and phpMyAdmin, over both kinds of sockets.
#[test]
fn applications_install_and_log_in() {
    let directory = tempfile::Builder::new()
        .prefix("omnid-php-")
        .tempdir()
        .unwrap();
    let base = directory.path().join("all");
    let arguments = [binary().as_os_str(), base.as_os_str()];
    let output = python("php_applications.py", &arguments, Duration::from_secs(240)).success();
    println!("{}", output.stdout);
}

const PHP_FPM: &str = "/usr/sbin/php-fpm8.2";

/// php-fpm with two pools, over a Unix socket and over TCP, and a site whose programs it runs.
struct Php {
    server: Server,
    _fpm: Background,
}

fn php(more: &str) -> Php {
    let port = free_port();
    let server = Server::start("", "");
    let directory = server.daemon.directory().display().to_string();
    let conf = server.daemon.path("fpm.conf");
    let pool = |name: &str, listen: &str| {
        format!(
            "[{name}]\nuser = root\ngroup = root\nlisten = {listen}\npm = static\npm.max_children = 3\n\
             pm.max_requests = 50\naccess.log = {directory}/fpm.access\naccess.format = \"%m %r\"\nphp_admin_flag[display_errors] = off\nphp_admin_flag[log_errors] = on\n\
             php_admin_value[upload_max_filesize] = 16M\nphp_admin_value[post_max_size] = 16M\n"
        )
    };
    let text = format!(
        "[global]\nerror_log = {directory}/fpm.err\ndaemonize = no\n{}{}",
        pool("unix", &format!("{directory}/php.sock")),
        pool("tcp", &format!("127.0.0.1:{port}")),
    );
    fs::write(&conf, text).unwrap();
    programs(&server.daemon.path("site"));
    let arguments = ["-n", "-F", "-R", "-y", conf.to_str().unwrap()].map(str::to_owned);
    let fpm = Background::start(PHP_FPM, &arguments, &server.daemon.path("fpm.log"));
    let socket = server.daemon.path("php.sock");
    wait_until("php-fpm listens", LIMIT, || {
        UnixStream::connect(&socket).is_ok()
    });
    server.reload(
        "",
        &format!(
            r#"
            index = ["index.php", "index.html"]
            fastcgi = {{ to = "unix:{directory}/php.sock", params = {{ FROM_CONFIG = "yes", HTTP_X_OWN = "operator" }}, timeout = "2s" }}
            {more}
            [[http.site.route]]
            path = "/tcp/"
            root = "{{dir}}/site"
            fastcgi = {{ to = "127.0.0.1:{port}" }}
            "#
        ),
    );
    Php { server, _fpm: fpm }
}

fn programs(site: &Path) {
    let write = |name: &str, text: &str| fs::write(site.join(name), text).unwrap();
    write(
        "told.php",
        "<?php header('Content-Type: application/json'); echo json_encode(['server' => $_SERVER, \
         'length' => strlen(file_get_contents('php://input')), 'pid' => getmypid()]);",
    );
    write("sub/index.php", "<?php echo 'index of sub';");
    write(
        "front.php",
        "<?php echo 'front: ', $_SERVER['REQUEST_URI'];",
    );
    write(
        "status.php",
        "<?php http_response_code(404); header('X-Own: 1'); echo 'own page';",
    );
    write(
        "moved.php",
        "<?php header('Location: /elsewhere'); setcookie('a', 'b'); setcookie('c', 'd');",
    );
    write(
        "stream.php",
        "<?php for ($i = 0; $i < 5; $i++) { echo \"piece $i\\n\"; ob_flush(); flush(); usleep(200000); }",
    );
    write(
        "large.php",
        "<?php for ($i = 0; $i < 4096; $i++) echo str_repeat(chr(65 + $i % 26), 1024);",
    );
    write(
        "broken.php",
        "<?php error_log('complaint of mine'); nothing_of_that_name();",
    );
    write("slow.php", "<?php sleep(5); echo 'late';");
    write("early.php", "<?php echo 'early';");
    write("source.PHP", "<?php echo 'secret';");
    write(
        "header.php",
        "<?php header('X: ' . urldecode('a%0bb')); echo 'x';",
    );
}

impl Php {
    fn curl(&self, arguments: &[&str], path: &str) -> String {
        let url = self.server.url(path);
        let mut all = vec!["-sS", "--path-as-is", "--max-time", "20"];
        all.extend(arguments);
        all.push(&url);
        run("curl", &all, LIMIT).success().stdout
    }

    fn told(&self, arguments: &[&str], path: &str) -> Value {
        let text = self.curl(arguments, path);
        serde_json::from_str(&text).unwrap_or_else(|_| panic!("{text}"))
    }

    fn code(&self, arguments: &[&str], path: &str) -> u16 {
        let mut all = vec!["-o", "/dev/null", "-w", "%{http_code}"];
        all.extend(arguments);
        self.curl(&all, path).parse().unwrap()
    }
}

#[test]
fn what_php_is_told() {
    let php = php("");
    for prefix in ["", "/tcp"] {
        let told = php.told(
            &[
                "-H",
                "X-Own: client",
                "-H",
                "Proxy: evil",
                "-H",
                "X_Under: 1",
                "-H",
                "Host: Example.test:8080",
                "--data-binary",
                "hello",
            ],
            &format!("{prefix}/told.php/extra/path%20here?a=b&c"),
        );
        let server = &told["server"];
        let root = php.server.daemon.path("site").display().to_string();
        let expected = [
            ("REQUEST_METHOD", "POST".to_owned()),
            ("SCRIPT_NAME", format!("{prefix}/told.php")),
            ("SCRIPT_FILENAME", format!("{root}/told.php")),
            ("PATH_INFO", "/extra/path here".to_owned()),
            ("QUERY_STRING", "a=b&c".to_owned()),
            (
                "REQUEST_URI",
                format!("{prefix}/told.php/extra/path%20here?a=b&c"),
            ),
            ("DOCUMENT_ROOT", root),
            ("SERVER_NAME", "example.test".to_owned()),
            ("SERVER_PORT", php.server.plain.to_string()),
            ("REMOTE_ADDR", "127.0.0.1".to_owned()),
            ("CONTENT_LENGTH", "5".to_owned()),
            ("HTTP_HOST", "Example.test:8080".to_owned()),
        ];
        for (name, value) in expected {
            assert_eq!(server[name], value, "{name}: {server}");
        }
        assert_eq!(told["length"], 5);
        assert!(server.get("HTTP_PROXY").is_none() && server.get("HTTP_X_UNDER").is_none());
        if prefix.is_empty() {
            assert_eq!(
                (&server["FROM_CONFIG"], &server["HTTP_X_OWN"]),
                (&"yes".into(), &"operator".into())
            );
        }
    }
}

#[test]
fn programs_and_files_of_one_root() {
    let php = php("fallback = \"front.php\"\nerror_pages = { 404 = \"early.php\" }");
    assert_eq!(php.curl(&[], "/sub/"), "index of sub");
    assert_eq!(php.curl(&[], "/digits.txt"), "0123456789");
    assert_eq!(php.curl(&[], "/no/such/page?x"), "front: /no/such/page?x");
    assert_eq!(php.code(&[], "/sub"), 301);
    // No file has a slash at its end: the front page's source is no answer to it.
    assert_eq!(php.curl(&[], "/digits.txt/"), "front: /digits.txt/");
    // The way to a program is only looked along so far: it is not shown instead.
    let deep = (0..70).map(|_| "deep/").collect::<String>();
    let directory = php.server.daemon.path("site").join(&deep);
    fs::create_dir_all(&directory).unwrap();
    fs::write(directory.join("a.php"), "<?php echo 'secret of the deep';").unwrap();
    let answer = php.curl(&[], &format!("/{deep}a.php"));
    assert!(!answer.contains("<?php"), "{answer}");
    // Nor is it as a page for a failure.
    let answer = php.curl(&[], "/.told.php");
    assert!(!answer.contains("<?php"), "{answer}");
    // What is no program is never shown either.
    assert_eq!(php.code(&[], "/source.PHP"), 403);
    for path in [
        "/told.php%2fx",
        "/told.php%00",
        "/.told.php",
        "/tcp/none.php",
        "/tcp/told.php.",
    ] {
        let code = php.code(&[], path);
        assert!(
            [400, 404].contains(&code) || php.curl(&[], path).starts_with("front:"),
            "{path}: {code}"
        );
    }
    // The status, fields and cookies are the program's.
    let answer = php.curl(&["-i"], "/status.php").to_lowercase();
    assert!(
        answer.starts_with("http/1.1 404")
            && answer.contains("x-own: 1")
            && answer.ends_with("own page"),
        "{answer}"
    );
    let answer = php.curl(&["-i"], "/moved.php").to_lowercase();
    assert!(
        answer.starts_with("http/1.1 302") && answer.contains("location: /elsewhere"),
        "{answer}"
    );
    assert_eq!(answer.matches("set-cookie: ").count(), 2, "{answer}");
    assert_eq!(php.code(&["-I"], "/told.php"), 200);
}

#[test]
fn what_is_said_of_a_program_holds_on_every_way_to_it() {
    let php = php(r#"
        fallback = "front.php"
        [[http.site.filter]]
        match = "/told\\.php$"
        access = "nobody"
        [[http.site.filter]]
        match = "/index\\.(php|html)$"
        access = "nobody"
        [[http.site.filter]]
        path = "/front.php"
        headers = { set = { "x-front" = "yes" } }
        "#);
    for path in [
        "/told.php",
        "/told.php/",
        "/told.php/more/of/it",
        "/tcp/told.php/x.txt",
        "/sub/",
        "/sub/index.php/x",
        "/",
    ] {
        assert_eq!(php.code(&[], path), 403, "{path}");
    }
    let answer = php.curl(&["-i"], "/no/such/page");
    assert!(
        answer.contains("x-front: yes") && answer.ends_with("front: /no/such/page"),
        "{answer}"
    );
    assert_eq!(php.code(&[], "/early.php/x"), 200);
    assert_eq!(php.code(&[], "/digits.txt"), 200);
}

#[test]
fn bodies_of_all_kinds_through_php() {
    let php = php("");
    let upload = format!("@{}", php.server.daemon.path("site/large.bin").display());
    for more in [
        &["-H", "Transfer-Encoding: chunked"][..],
        &["-H", "Expect: 100-continue"],
        &["--http2-prior-knowledge"],
        &[],
    ] {
        let mut arguments = vec!["-H", "Content-Type: x/y", "--data-binary", upload.as_str()];
        arguments.extend(more);
        let told = php.told(&arguments, "/told.php");
        assert_eq!(told["length"], 4 << 20, "{more:?}");
    }
    assert_eq!(php.curl(&["--data-binary", &upload], "/early.php"), "early");
    let text = php.curl(&[], "/large.php");
    assert_eq!(text.len(), 4 << 20);
    assert!(
        text.starts_with("AAAA") && text.ends_with("NNNN"),
        "{}",
        &text[text.len() - 4..]
    );
    // It comes as it is said.
    let since = Instant::now();
    let told = php.curl(
        &[
            "-o",
            "/dev/null",
            "-w",
            "%{time_starttransfer} %{time_total}",
        ],
        "/stream.php",
    );
    let (first, total) = told.split_once(' ').unwrap();
    let (first, total): (f64, f64) = (first.parse().unwrap(), total.parse().unwrap());
    assert!(total - first > 0.6, "{told} {:?}", since.elapsed());
}

#[test]
fn connections_to_php_are_used_again_and_php_may_close_them() {
    let php = php("");
    // 300 requests: more than a worker answers before it goes (50 each), so that connections end
    // while they are kept.
    // Uploads between them go over connections of their own, while all workers have one that is
    // kept: they must not wait for those.
    for _ in 0..4 {
        php.told(&[], "/told.php");
        let since = Instant::now();
        assert_eq!(php.told(&["-d", "x"], "/told.php")["length"], 1);
        assert!(
            since.elapsed() < Duration::from_secs(2),
            "{:?}",
            since.elapsed()
        );
    }
    let url = php.server.url("/told.php");
    let load = run("h2load", &["--h1", "-n", "300", "-c", "4", &url], LIMIT).success();
    assert!(
        load.stdout.contains("300 succeeded, 0 failed"),
        "{}",
        load.stdout
    );
    assert!(
        load.stdout.contains("status codes: 300 2xx"),
        "{}",
        load.stdout
    );
}

#[test]
fn php_that_fails() {
    let php = php("");
    assert_eq!(php.code(&[], "/broken.php"), 500);
    assert_eq!(php.code(&[], "/slow.php"), 504);
    assert_eq!(php.code(&[], "/header.php"), 502);
    let log = php.server.daemon.log();
    assert!(log.contains("complaint of mine"), "{log}");
    assert!(log.contains("no response in time"), "{log}");
    // Others are served meanwhile.
    assert_eq!(php.code(&[], "/early.php"), 200);
}

#[test]
fn no_program_sees_a_second_request() {
    let php = php("fallback = \"front.php\"");
    for (payload, bytes) in super::smuggling::payloads() {
        let mut stream = php.server.connect();
        drop(stream.write_all(bytes.as_bytes()));
        drop(stream.shutdown(Shutdown::Write));
        let answer = read_to_end(&mut stream);
        assert!(!answer.contains("front: /smuggled"), "{payload}: {answer}");
    }
    php.curl(&[], "/app/last");
    let log = php.server.daemon.path("fpm.access");
    wait_until("the last request is logged", LIMIT, || {
        let log = fs::read_to_string(&log).unwrap_or_default();
        log.lines().count() > 3 && log.contains("GET /front.php")
    });
}

#[test]
fn no_php_there() {
    let server = Server::start("", "fastcgi = { to = \"unix:{dir}/none.sock\" }");
    fs::write(server.daemon.path("site/a.php"), "<?php secret();").unwrap();
    let answer = run("curl", &["-sS", "-i", &server.url("/a.php")], LIMIT)
        .success()
        .stdout;
    assert!(
        answer.starts_with("HTTP/1.1 502") && !answer.contains("secret"),
        "{answer}"
    );
}

/// A site with CGI programs.
fn cgi() -> Server {
    let server = Server::start("", "");
    let bin = server.daemon.path("bin");
    fs::create_dir_all(&bin).unwrap();
    let program = |name: &str, text: &str| {
        let path = bin.join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    };
    program(
        "env",
        "#!/bin/sh\nprintf 'Content-Type: text/plain\\n\\n'\nenv | sort\npwd\n",
    );
    program(
        "cat",
        "#!/bin/sh\nprintf 'Content-Type: text/plain\\n\\n'\ncat\n",
    );
    program("garbage", "#!/bin/sh\necho no header\n");
    program("nothing", "#!/bin/sh\necho oh dear >&2\n");
    program(
        "forever",
        "#!/bin/sh\nprintf 'Content-Type: text/plain\\n\\nx'\nsleep 77 & wait\n",
    );
    program(
        "endless",
        "#!/bin/sh\nprintf 'Content-Type: text/plain\\n\\n'\nyes\n",
    );
    program(
        "location",
        "#!/bin/sh\nprintf 'Location: http://example.org/\\n\\n'\n",
    );
    program("complaining", "#!/bin/sh\nyes >&2\n");
    fs::write(bin.join("not-executable"), "#!/bin/sh\n").unwrap();
    fs::create_dir_all(server.daemon.path("git")).unwrap();
    server.reload(
        "",
        r#"
        [[http.site.route]]
        path = "/cgi-bin/"
        cgi = { directory = "{dir}/bin", env = { OWN = "1" }, timeout = "2s", processes = 4, max_output = "1MiB" }
        [[http.site.route]]
        path = "/git/"
        cgi = { program = "/usr/lib/git-core/git-http-backend", env = { GIT_PROJECT_ROOT = "{dir}/git", GIT_HTTP_EXPORT_ALL = "1", REMOTE_USER = "alice" } }
        "#,
    );
    server
}

#[test]
fn cgi_programs() {
    let server = cgi();
    let curl = |arguments: &[&str], path: &str| {
        let url = server.url(path);
        let mut all = vec!["-sS", "--max-time", "20"];
        all.extend(arguments);
        all.push(&url);
        run("curl", &all, LIMIT)
    };
    let code = |path: &str| {
        curl(&["-o", "/dev/null", "-w", "%{http_code}"], path)
            .success()
            .stdout
    };
    let told = curl(&["-H", "Proxy: evil"], "/cgi-bin/env/more/here?q=1")
        .success()
        .stdout;
    let bin = server.daemon.path("bin").display().to_string();
    for line in [
        "SCRIPT_NAME=/cgi-bin/env",
        "PATH_INFO=/more/here",
        "QUERY_STRING=q=1",
        "GATEWAY_INTERFACE=CGI/1.1",
        "OWN=1",
        &bin,
    ] {
        assert!(told.lines().any(|told| told == line), "{line}: {told}");
    }
    assert!(!told.contains("evil") && !told.contains("CARGO"), "{told}");
    let upload = format!("@{}", server.daemon.path("site/digits.txt").display());
    assert_eq!(
        curl(&["--data-binary", &upload], "/cgi-bin/cat")
            .success()
            .stdout,
        "0123456789"
    );
    assert_eq!(code("/cgi-bin/location"), "302");
    assert_eq!(code("/cgi-bin/garbage"), "502");
    assert_eq!(code("/cgi-bin/nothing"), "502");
    assert_eq!(code("/cgi-bin/not-executable"), "502");
    assert_eq!(code("/cgi-bin/complaining"), "502");
    assert_eq!(code("/cgi-bin/none"), "404");
    assert_eq!(code("/cgi-bin/"), "404");
    assert!(server.daemon.log().contains("oh dear"));
    // What does not end is ended, with all that it started; what says too much is cut off.
    curl(&["-o", "/dev/null"], "/cgi-bin/forever").failure();
    curl(&["-o", "/dev/null"], "/cgi-bin/endless").failure();
    wait_until("the programs are gone", LIMIT, || {
        let all = run("ps", &["-e", "-o", "args="], LIMIT).success().stdout;
        !all.lines()
            .any(|line| line == "sleep 77" || line.starts_with(&bin))
    });
}

#[test]
fn bodies_that_wait_for_their_end_share_a_room() {
    let server = cgi();
    let head = "POST /cgi-bin/cat HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    let piece = vec![b'x'; 0x7e_0000];
    // More than the room holds, and none of them ends.
    let streams: Vec<_> = (0..10)
        .map(|_| {
            let mut stream = server.connect();
            let mut writing = stream.try_clone().unwrap();
            let piece = piece.clone();
            stream.write_all(head.as_bytes()).unwrap();
            std::thread::spawn(move || {
                // One that is refused may be closed meanwhile.
                drop(
                    writing
                        .write_all(b"7e0000\r\n")
                        .and_then(|()| writing.write_all(&piece)),
                );
            });
            stream
                .set_read_timeout(Some(Duration::from_millis(20)))
                .unwrap();
            stream
        })
        .collect();
    let mut answer = [0; 12];
    wait_until("one finds no room", LIMIT, || {
        streams
            .iter()
            .any(|stream| matches!(stream.peek(&mut answer), Ok(12)))
    });
    assert_eq!(&answer, b"HTTP/1.1 503");
    for stream in streams {
        drop(stream.shutdown(Shutdown::Both));
    }
    wait_until("there is room again", LIMIT, || {
        let url = server.url("/cgi-bin/cat");
        let chunked = ["-sS", "-H", "Transfer-Encoding: chunked", "-d", "hello"];
        let answer = run("curl", &[&chunked[..], &[&url]].concat(), LIMIT);
        answer.success().stdout == "hello"
    });
}

#[test]
fn git_clones_and_pushes() {
    let server = cgi();
    let repository = server.daemon.path("git/a.git");
    let git = |directory: &Path, arguments: &[&str]| {
        let mut command = vec!["-C", directory.to_str().unwrap()];
        command.extend([
            "-c",
            "user.name=a",
            "-c",
            "user.email=a@example.test",
            "-c",
            "init.defaultBranch=main",
        ]);
        command.extend(arguments);
        run_with("git", &command, "", &[("GIT_TERMINAL_PROMPT", "0")], LIMIT).success()
    };
    let here = server.daemon.directory().to_owned();
    git(
        &here,
        &["init", "-q", "--bare", repository.to_str().unwrap()],
    );
    git(&repository, &["config", "http.receivepack", "true"]);
    let url = server.url("/git/a.git");
    git(&here, &["clone", "-q", &url, "one"]);
    let one = here.join("one");
    fs::write(one.join("large.bin"), super::large()).unwrap();
    git(&one, &["add", "."]);
    git(&one, &["commit", "-q", "-m", "one"]);
    // More than git sends in one piece: it comes in chunks of unknown number.
    git(&one, &["push", "-q", "origin", "HEAD:main"]);
    git(&here, &["clone", "-q", "-b", "main", &url, "two"]);
    assert!(fs::read(here.join("two/large.bin")).unwrap() == super::large());
}
