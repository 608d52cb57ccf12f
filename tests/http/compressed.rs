//! Compression on the fly, before curl with each coding.

use std::{
    fs,
    io::{Read, Write},
    net::TcpListener,
    sync::mpsc,
    thread,
};

use super::{
    LIMIT, Server,
    support::{Background, run, wait_until},
};

fn curl(arguments: &[&str]) -> String {
    let mut all = vec!["-sSk", "--max-time", "20"];
    all.extend(arguments);
    run("curl", &all, LIMIT).success().stdout
}

fn server() -> Server {
    Server::start_with_files(
        "",
        "compress = {}\nprecompressed = [\"gzip\"]\nlisting = {}\n",
        |directory| {
            let site = directory.join("site");
            fs::write(site.join("long.html"), long()).unwrap();
            fs::write(site.join("small.html"), "<p>small").unwrap();
            fs::write(site.join("picture.png"), long()).unwrap();
            fs::write(site.join("beside.css"), long()).unwrap();
            fs::write(site.join("beside.css.gz"), "beside").unwrap();
        },
    )
}

fn long() -> String {
    (0..20_000).map(|line| format!("line {line}\n")).collect()
}

#[test]
fn every_coding_arrives_as_it_left() {
    let server = server();
    let long = long();
    let fields = |arguments: &[&str]| {
        let mut all = vec!["-D", "-", "-o", "/dev/null"];
        all.extend(arguments);
        curl(&all).to_lowercase()
    };
    for (version, url) in [
        ("--http1.0", server.url("/long.html")),
        ("--http1.1", server.url("/long.html")),
        ("--http1.1", server.tls_url("/long.html")),
        ("--http2", server.tls_url("/long.html")),
    ] {
        for coding in ["zstd", "br", "gzip"] {
            let accept = format!("Accept-Encoding: {coding}");
            let body = curl(&[version, "--compressed", "-H", &accept, &url]);
            assert!(body == long, "{version} {coding}: {} bytes", body.len());
            let head = fields(&[version, "-H", &accept, "-w", "size %{size_download}", &url]);
            for expected in [
                &format!("content-encoding: {coding}\r\n"),
                "vary: accept-encoding\r\n",
                "etag: w/\"",
            ] {
                assert!(head.contains(expected), "{version} {coding}: {head}");
            }
            for absent in ["content-length", "accept-ranges"] {
                assert!(!head.contains(absent), "{version} {coding}: {head}");
            }
            let size = head.rsplit("size ").next().unwrap();
            assert!(size.parse::<usize>().unwrap() < long.len() / 3, "{head}");
        }
    }
    let url = server.url("/long.html");
    let all = ["-H", "Accept-Encoding: gzip, br, zstd"];
    assert!(fields(&[&all[..], &[&url]].concat()).contains("content-encoding: zstd\r\n"));
    // HEAD says what GET would.
    let head = curl(&[&all[..], &["-I", &url]].concat()).to_lowercase();
    assert!(head.contains("content-encoding: zstd\r\n"), "{head}");
    assert!(!head.contains("content-length"), "{head}");
    // What the client has is not sent again, and the answer says that it varies.
    let tag = head
        .lines()
        .find_map(|line| line.strip_prefix("etag: "))
        .unwrap();
    let tag = format!("If-None-Match: {}", tag.replace("w/", "W/"));
    let again = fields(&[&all[..], &["-H", &tag, &url]].concat());
    assert!(again.starts_with("http/1.1 304"), "{again}");
    assert!(again.contains("vary: accept-encoding\r\n"), "{again}");
    assert!(again.contains("etag: w/\""), "{again}");
    assert!(!again.contains("content-type"), "{again}");
    // A range is one of the bytes as they are.
    let range = fields(&[&all[..], &["-r", "0-4", &url]].concat());
    assert!(range.starts_with("http/1.1 206"), "{range}");
    assert!(!range.contains("content-encoding"), "{range}");
    // Without a wish there is no coding, but another client would get one.
    let plain = fields(&[&url]);
    assert!(!plain.contains("content-encoding"), "{plain}");
    assert!(plain.contains("vary: accept-encoding\r\n"), "{plain}");
    assert!(plain.contains("accept-ranges: bytes\r\n"), "{plain}");
    for path in ["/small.html", "/picture.png"] {
        let head = fields(&[&all[..], &[&server.url(path)]].concat());
        assert!(!head.contains("content-encoding"), "{path} {head}");
        assert!(!head.contains("vary"), "{path} {head}");
    }
    // What lies there compressed is not compressed again.
    let beside = curl(&["-H", "Accept-Encoding: gzip", &server.url("/beside.css")]);
    assert_eq!(beside, "beside");
    let listing = curl(&["--compressed", &server.url("/empty/")]);
    assert!(listing.contains("Index of /empty"), "{listing}");
}

/// What an upstream sends bit by bit is not kept until it makes a block.
#[test]
fn a_stream_is_not_held_up() {
    let origin = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = origin.local_addr().unwrap().port();
    let (go_on, waits) = mpsc::channel::<()>();
    let origin = thread::spawn(move || {
        let (mut stream, _) = origin.accept().unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        let first = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\
                     Transfer-Encoding: chunked\r\n\r\n5\r\ntick\n\r\n";
        stream.write_all(first.as_bytes()).unwrap();
        waits.recv_timeout(LIMIT).unwrap();
        stream.write_all(b"5\r\ntock\n\r\n0\r\n\r\n").unwrap();
    });
    let server = Server::start(
        "",
        &format!(
            "compress = {{}}\n[[http.site.route]]\npath = \"/app\"\n\
             proxy = [\"http://127.0.0.1:{port}\"]\n"
        ),
    );
    let (out, url) = (server.daemon.path("out"), server.url("/app"));
    let arguments = ["-sSN", "--compressed", "-H", "Accept-Encoding: br", &url];
    let _curl = Background::start("curl", &arguments, &out);
    let text = || fs::read_to_string(&out).unwrap_or_default();
    wait_until("the first words are here", LIMIT, || text() == "tick\n");
    go_on.send(()).unwrap();
    wait_until("and the others", LIMIT, || text() == "tick\ntock\n");
    origin.join().unwrap();
}
