//! The front check: what must be refused before any handler sees it, byte for byte.

use std::{
    io::{Read, Write},
    net::Shutdown,
    time::Duration,
};

use super::{LIMIT, Server, read_to_end, responses, status};

/// Every request is followed by a second one, which must be answered where the connection may go
/// on, and must not be seen where what the first one said is in doubt.
const NEXT: &str = "GET /digits.txt HTTP/1.1\r\nHost: next\r\nConnection: close\r\n\r\n";

/// Whether the connection goes on after the answer.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Then {
    Open,
    Closed,
}

#[test]
fn probes() {
    use Then::{Closed, Open};
    let server = Server::start("", "");
    let long = |length: usize| "a".repeat(length);
    let host = "Host: example.test\r\n";
    let table: Vec<(String, u16, Then)> = vec![
        // RFC 9112 section 3.2: exactly one valid Host.
        (format!("GET / HTTP/1.1\r\n{host}\r\n"), 200, Open),
        ("GET / HTTP/1.1\r\n\r\n".into(), 400, Closed),
        (format!("GET / HTTP/1.1\r\n{host}{host}\r\n"), 400, Closed),
        ("GET / HTTP/1.1\r\nHost: a b\r\n\r\n".into(), 400, Closed),
        ("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n".into(), 400, Closed),
        ("GET / HTTP/1.1\r\nHost: a@b\r\n\r\n".into(), 400, Closed),
        (
            "GET / HTTP/1.1\r\nHost: a:99999\r\n\r\n".into(),
            400,
            Closed,
        ),
        ("GET / HTTP/1.1\r\nHost:\r\n\r\n".into(), 400, Closed),
        (
            "GET / HTTP/1.1\r\nHost: a\u{e4}b\r\n\r\n".into(),
            400,
            Closed,
        ),
        ("GET / HTTP/1.0\r\n\r\n".into(), 200, Closed),
        // Section 6.3: one length, and no doubt about it.
        (
            format!(
                "POST / HTTP/1.1\r\n{host}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
            ),
            400,
            Closed,
        ),
        (
            format!(
                "POST / HTTP/1.1\r\n{host}Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n"
            ),
            400,
            Closed,
        ),
        (
            format!("POST / HTTP/1.1\r\n{host}Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello"),
            400,
            Closed,
        ),
        (
            format!("POST / HTTP/1.1\r\n{host}Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello"),
            400,
            Closed,
        ),
        (
            format!("POST / HTTP/1.1\r\n{host}Content-Length: 5, 5\r\n\r\nhello"),
            400,
            Closed,
        ),
        (
            format!("POST / HTTP/1.1\r\n{host}Content-Length: +5\r\n\r\nhello"),
            400,
            Closed,
        ),
        (
            format!("POST / HTTP/1.1\r\n{host}Content-Length: 0x5\r\n\r\nhello"),
            400,
            Closed,
        ),
        (
            format!("POST / HTTP/1.1\r\n{host}Content-Length: 18446744073709551616\r\n\r\n"),
            400,
            Closed,
        ),
        (
            format!("POST / HTTP/1.1\r\n{host}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
            501,
            Closed,
        ),
        (
            format!(
                "POST / HTTP/1.1\r\n{host}Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n"
            ),
            400,
            Closed,
        ),
        (
            format!(
                "POST / HTTP/1.1\r\n{host}Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
            ),
            400,
            Closed,
        ),
        (
            format!("POST / HTTP/1.1\r\n{host}Transfer-Encoding: gzip\r\n\r\n"),
            400,
            Closed,
        ),
        (
            format!("POST / HTTP/1.1\r\n{host}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"),
            400,
            Closed,
        ),
        (
            format!("POST / HTTP/1.0\r\n{host}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
            400,
            Closed,
        ),
        (
            format!("GET / HTTP/1.1\r\n{host}Content-Length : 5\r\n\r\nhello"),
            400,
            Closed,
        ),
        (
            format!("GET / HTTP/1.1\r\n{host} Content-Length: 5\r\n\r\nhello"),
            400,
            Closed,
        ),
        (
            format!("GET / HTTP/1.1\r\n{host}X: a\r\n b\r\n\r\n"),
            400,
            Closed,
        ),
        (
            format!("GET / HTTP/1.1\r\n{host}X: a\rContent-Length: 5\r\n\r\n"),
            400,
            Closed,
        ),
        (
            format!("GET / HTTP/1.1\r\n{host}X: a\0b\r\n\r\n"),
            400,
            Closed,
        ),
        // Section 2.2: lines end in CRLF.
        ("GET / HTTP/1.1\nHost: a\n\n".into(), 400, Closed),
        ("GET / HTTP/1.1\r\nHost: a\n\r\n".into(), 400, Closed),
        ("GET / HTTP/1.1\r\nHost: a\r\n\n".into(), 400, Closed),
        // Section 3.2: forms of the target.
        (
            format!("GET http://example.test/digits.txt HTTP/1.1\r\n{host}\r\n"),
            200,
            Open,
        ),
        (
            format!("GET http://other.test/digits.txt HTTP/1.1\r\n{host}\r\n"),
            200,
            Open,
        ),
        (format!("GET http:/// HTTP/1.1\r\n{host}\r\n"), 400, Closed),
        (
            format!("GET gopher://example.test/ HTTP/1.1\r\n{host}\r\n"),
            400,
            Closed,
        ),
        (
            format!("GET http://user@example.test/ HTTP/1.1\r\n{host}\r\n"),
            400,
            Closed,
        ),
        (
            format!("GET digits.txt HTTP/1.1\r\n{host}\r\n"),
            400,
            Closed,
        ),
        (
            format!("GET example.test:80 HTTP/1.1\r\n{host}\r\n"),
            400,
            Closed,
        ),
        (format!("GET /#top HTTP/1.1\r\n{host}\r\n"), 400, Closed),
        (
            format!("GET /digits.txt?a#top HTTP/1.1\r\n{host}\r\n"),
            400,
            Closed,
        ),
        (format!("GET * HTTP/1.1\r\n{host}\r\n"), 400, Closed),
        (format!("OPTIONS * HTTP/1.1\r\n{host}\r\n"), 200, Open),
        (
            format!("CONNECT example.test:443 HTTP/1.1\r\n{host}\r\n"),
            405,
            Closed,
        ),
        (format!("TRACE / HTTP/1.1\r\n{host}\r\n"), 405, Open),
        (format!("GET  / HTTP/1.1\r\n{host}\r\n"), 400, Closed),
        (format!("GET / HTTP/1.2\r\n{host}\r\n"), 400, Closed),
        ("GET /\r\n".into(), 400, Closed),
        // RFC 9110 section 10.1.1.
        (
            format!(
                "POST / HTTP/1.1\r\n{host}Expect: the-unexpected\r\nContent-Length: 2\r\n\r\n{{}}"
            ),
            417,
            Closed,
        ),
        // Paths.
        (
            format!("GET /../etc/passwd HTTP/1.1\r\n{host}\r\n"),
            400,
            Closed,
        ),
        (
            format!("GET /%2e%2e/etc/passwd HTTP/1.1\r\n{host}\r\n"),
            400,
            Closed,
        ),
        (
            format!("GET /sub/%2e%2e/digits.txt HTTP/1.1\r\n{host}\r\n"),
            200,
            Open,
        ),
        (
            format!("GET /..%2f..%2fetc/passwd HTTP/1.1\r\n{host}\r\n"),
            404,
            Open,
        ),
        (
            format!("GET /..%5c..%5cetc/passwd HTTP/1.1\r\n{host}\r\n"),
            400,
            Closed,
        ),
        (
            format!("GET /a%00.html HTTP/1.1\r\n{host}\r\n"),
            400,
            Closed,
        ),
        (format!("GET /%zz HTTP/1.1\r\n{host}\r\n"), 400, Closed),
        (format!("GET /.secret HTTP/1.1\r\n{host}\r\n"), 404, Open),
        (format!("GET /%2esecret HTTP/1.1\r\n{host}\r\n"), 404, Open),
        // Sizes.
        (
            format!("GET /{} HTTP/1.1\r\n{host}\r\n", long(8189)),
            404,
            Open,
        ),
        (
            format!("GET /{} HTTP/1.1\r\n{host}\r\n", long(8190)),
            414,
            Closed,
        ),
        (
            format!("GET /{} HTTP/1.1\r\n{host}\r\n", long(60_000)),
            414,
            Closed,
        ),
        (
            format!("GET / HTTP/1.1\r\n{host}X: {}\r\n\r\n", long(8187)),
            200,
            Open,
        ),
        (
            format!("GET / HTTP/1.1\r\n{host}X: {}\r\n\r\n", long(8188)),
            431,
            Closed,
        ),
        (
            format!(
                "GET / HTTP/1.1\r\n{host}{}\r\n",
                format!("X: {}\r\n", long(2000)).repeat(9)
            ),
            431,
            Closed,
        ),
        (
            format!(
                "GET / HTTP/1.1\r\n{host}{}\r\n",
                format!("X: {}\r\n", long(3000)).repeat(100)
            ),
            431,
            Closed,
        ),
        (
            format!("GET / HTTP/1.1\r\n{host}{}\r\n", "X: y\r\n".repeat(99)),
            200,
            Open,
        ),
        (
            format!("GET / HTTP/1.1\r\n{host}{}\r\n", "X: y\r\n".repeat(100)),
            431,
            Closed,
        ),
        // Methods of files.
        (
            format!("POST /digits.txt HTTP/1.1\r\n{host}Content-Length: 2\r\n\r\n{{}}"),
            405,
            Open,
        ),
        (
            format!("BREW /digits.txt HTTP/1.1\r\n{host}\r\n"),
            405,
            Open,
        ),
        (
            format!("OPTIONS /digits.txt HTTP/1.1\r\n{host}\r\n"),
            200,
            Open,
        ),
    ];
    let mut wrong = Vec::new();
    for (request, expected, then) in table {
        let shown: String = request.chars().take(120).collect();
        let answer = server.exchange(format!("{request}{NEXT}").as_bytes());
        let answered = if then == Open { 2 } else { 1 };
        let found = (status(&answer), responses(&answer));
        if found != (expected, answered) {
            wrong.push(format!("{shown:?}: {found:?}, not {:?}", (expected, then)));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(server.daemon.json(&["status"]).is_object());
}

#[test]
fn a_body_with_broken_chunks_never_makes_a_second_request() {
    let server = Server::start("", "");
    let head = "POST /digits.txt HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    for body in [
        "0x5\r\nhello\r\n0\r\n\r\n",
        "+5\r\nhello\r\n0\r\n\r\n",
        "5_\r\nhello\r\n0\r\n\r\n",
        "5\nhello\r\n0\r\n\r\n",
        "5\r\nhello\n0\r\n\r\n",
        "5\rhello\r\n0\r\n\r\n",
        "5;a\nb\r\nhello\r\n0\r\n\r\n",
        "FFFFFFFFFFFFFFFFF\r\nhello\r\n0\r\n\r\n",
        "\r\n5\r\nhello\r\n0\r\n\r\n",
        "-5\r\nhello\r\n0\r\n\r\n",
    ] {
        let answer = server.exchange(format!("{head}{body}{NEXT}").as_bytes());
        assert!(!answer.contains("0123456789"), "{body:?}\n{answer}");
        assert!(responses(&answer) <= 1, "{body:?}\n{answer}");
    }
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let server = Server::start("", "");
    let mut many = String::new();
    for index in 0..200 {
        many.push_str(&format!("GET /none/{index} HTTP/1.1\r\nHost: a\r\n\r\n"));
    }
    let answer = server.exchange(format!("{many}{NEXT}").as_bytes());
    assert_eq!(responses(&answer), 201);
    assert!(answer.ends_with("0123456789"));
    let lines = server.log_lines(201);
    for (index, line) in lines.iter().take(200).enumerate() {
        assert!(
            line.contains(&format!("\"GET /none/{index} HTTP/1.1\" 404 ")),
            "{line}"
        );
    }
}

#[test]
fn a_client_that_closes_its_half_is_answered() {
    let server = Server::start("", "");
    let mut stream = server.connect();
    stream
        .write_all(b"GET /large.bin HTTP/1.1\r\nHost: a\r\n\r\n")
        .unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    assert!(bytes.ends_with(&super::large()));
}

#[test]
fn an_answer_that_ends_the_connection_arrives() {
    // The refusal comes while the client still sends: a reset must not overtake it.
    let server = Server::start(
        "",
        "max_body = \"1KiB\"\n[[http.site.route]]\npath = \"/up\"\nproxy = [\"http://127.0.0.1:9\"]",
    );
    for _ in 0..20 {
        let mut stream = server.connect();
        let head = "POST /up HTTP/1.1\r\nHost: a\r\nContent-Length: 3000000\r\n\r\n";
        stream.write_all(head.as_bytes()).unwrap();
        let mut sender = stream.try_clone().unwrap();
        let sending = std::thread::spawn(move || {
            for _ in 0..30 {
                if sender.write_all(&[b'x'; 100_000]).is_err() {
                    break;
                }
            }
        });
        let answer = read_to_end(&mut stream);
        assert_eq!(status(&answer), 413, "{answer}");
        drop(stream);
        sending.join().unwrap();
    }
}

#[test]
fn garbage_is_closed_and_leaves_others_served() {
    let server = Server::start("", "");
    let mut garbage: Vec<Vec<u8>> = vec![
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(),
        b"SSH-2.0-OpenSSH_9.2\r\n".to_vec(),
        b"<?xml version='1.0'?><stream:stream>".to_vec(),
        b"OPTIONS sip:a SIP/2.0\r\nVia: SIP/2.0/TCP a\r\n\r\n".to_vec(),
        b"\x00\x1c\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00".to_vec(),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nnot frames at all, but something long enough".to_vec(),
        b"PRI * HTTP/1.1\r\n\r\n".to_vec(),
        vec![0xff; 100_000],
        vec![b'\n'; 100_000],
    ];
    garbage.push(large_header());
    for bytes in &garbage {
        let mut stream = server.connect();
        // The server may be done with it before all of it is sent.
        drop(stream.write_all(bytes));
        drop(stream.shutdown(Shutdown::Write));
        let answer = read_to_end(&mut stream);
        assert!(!answer.contains(" 200 "), "{answer}");
    }
    // Plain HTTP on the TLS port is closed as well.
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", server.tls)).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    stream.write_all(NEXT.as_bytes()).unwrap();
    assert_eq!(status(&read_to_end(&mut stream)), 0);
    let page = super::support::run("curl", &["-sS", &server.url("/")], LIMIT).success();
    assert_eq!(page.stdout, "<h1>here</h1>\n");
}

fn large_header() -> Vec<u8> {
    let mut bytes = b"GET / HTTP/1.1\r\nHost: a\r\nX: ".to_vec();
    bytes.resize(3_000_000, b'a');
    bytes
}
