//! Messages that no peer should send, and peers that no server should have.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream, UdpSocket},
    path::Path,
    time::{Duration, Instant},
};

use super::{DOMAIN, MD5, Stage, openssl};
use crate::support::free_port;

#[path = "../../src/sip/tests/fixtures.rs"]
mod fixtures;

fn server(stage: &Stage) -> SocketAddr {
    ([127, 0, 0, 1], stage.port).into()
}

fn connect(stage: &Stage) -> TcpStream {
    let stream = TcpStream::connect(server(stage)).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

fn options(cseq: u32) -> String {
    format!(
        "OPTIONS sip:{DOMAIN} SIP/2.0\r\nVia: SIP/2.0/TCP 127.0.0.1:9;branch=z9hG4bK{cseq}\r\n\
         From: <sip:a@{DOMAIN}>;tag=1\r\nTo: <sip:{DOMAIN}>\r\nCall-ID: hostile-{cseq}\r\n\
         CSeq: {cseq} OPTIONS\r\nContent-Length: 0\r\n\r\n"
    )
}

/// Reads until so many responses have come, or the other end closes; their first lines.
fn responses(stream: &mut TcpStream, count: usize) -> Vec<String> {
    let mut text = String::new();
    let mut buffer = [0; 65_536];
    while text.matches("\r\n\r\n").count() < count {
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(length) => text += &String::from_utf8_lossy(&buffer[..length]),
            Err(error) => panic!("{error} after {text:?}"),
        }
    }
    let lines = text.lines().filter(|line| line.starts_with("SIP/2.0 "));
    lines.map(|line| line.trim_end().to_owned()).collect()
}

/// Whether the other end has closed.
fn is_closed(stream: &mut TcpStream) -> bool {
    let mut rest = Vec::new();
    match stream.read_to_end(&mut rest) {
        Ok(_) => true,
        Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
    }
}

/// Another client is served as if nothing were.
#[track_caller]
fn is_well(stage: &Stage) {
    let mut stream = connect(stage);
    stream.write_all(options(1).as_bytes()).unwrap();
    assert_eq!(responses(&mut stream, 1), ["SIP/2.0 200 OK"]);
}

#[test]
fn torture_messages_are_answered_over_datagrams_and_streams() {
    let stage =
        Stage::start("domains = [\"example.com\", \"example.org\", \"registrar.example.com\"]");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/sip/tests/torture");
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(server(&stage)).unwrap();
    for torture in fixtures::torture(&folder) {
        let name = &torture.name;
        let expected: Option<Vec<&str>> = match torture.expect.as_str() {
            "discard" => None,
            // Responses, to nothing that was asked.
            _ if name == "unreason" || name == "noreason" => None,
            "400 or 501" => Some(vec!["400", "501"]),
            expect if expect.contains("405 or 501") => Some(vec!["405", "501"]),
            _ if name == "unksm2" => Some(vec!["400"]),
            _ if name == "regbadct" => Some(vec!["401"]),
            expect if expect.starts_with("accept") => Some(vec!["401", "403", "407"]),
            expect => Some(vec![expect]),
        };
        // Behind it, something that is always answered: so its own answer, if any, has come before.
        // Its Via names no port of ours, so it is rport that brings answers here.
        let marker = options(77).replace("127.0.0.1:9;", "127.0.0.1:9;rport;");
        let text = with_rport(&torture.bytes);
        socket.send(&text).unwrap();
        socket.send(marker.as_bytes()).unwrap();
        socket
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        let mut answers = Vec::new();
        loop {
            let mut buffer = [0; 65_536];
            let length = socket.recv(&mut buffer).unwrap();
            let answer = String::from_utf8_lossy(&buffer[..length]).into_owned();
            if answer.contains("hostile-77") {
                break;
            }
            answers.push(answer.split(' ').nth(1).unwrap().to_owned());
        }
        match &expected {
            None => assert!(answers.is_empty(), "{name}: {answers:?}"),
            Some(expected) => assert!(
                answers
                    .iter()
                    .all(|answer| expected.contains(&answer.as_str())),
                "{name}: {answers:?}"
            ),
        }

        let mut stream = connect(&stage);
        stream.write_all(&torture.bytes).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let heard = responses(&mut stream, 1);
        if let (Some(expected), Some(first)) = (&expected, heard.first()) {
            let status = first.split(' ').nth(1).unwrap();
            // On a stream what follows the body is another message, and a body that is cut short
            // is one that has not arrived yet.
            assert!(expected.contains(&status), "{name} over TCP: {heard:?}");
        }
    }
    is_well_for(&stage, "example.com");
}

/// The message with `rport` in its first Via, where that is on one line, so that its answer comes
/// back to us.
fn with_rport(octets: &[u8]) -> Vec<u8> {
    let text: Vec<u8> = octets.to_vec();
    let needle = b";branch=";
    match text
        .windows(needle.len())
        .position(|window| window == needle)
    {
        Some(at) => [&text[..at], b";rport", &text[at..]].concat(),
        None => text,
    }
}

fn is_well_for(stage: &Stage, domain: &str) {
    let mut stream = connect(stage);
    let text = options(1).replace(&format!("sip:{DOMAIN}"), &format!("sip:{domain}"));
    stream.write_all(text.as_bytes()).unwrap();
    assert_eq!(responses(&mut stream, 1), ["SIP/2.0 200 OK"]);
}

#[test]
fn streams_are_framed_however_they_arrive() {
    let stage = Stage::start(MD5);
    let mut stream = connect(&stage);
    // Pipelined, with a keep-alive between.
    let text = [&options(1), "\r\n\r\n", &options(2), &options(3)].concat();
    stream.write_all(text.as_bytes()).unwrap();
    assert_eq!(responses(&mut stream, 3).len(), 3);
    // In single octets.
    for octet in options(4).bytes() {
        stream.write_all(&[octet]).unwrap();
    }
    assert_eq!(responses(&mut stream, 1), ["SIP/2.0 200 OK"]);
    // A keep-alive alone.
    stream.write_all(b"\r\n\r\n").unwrap();
    let mut pong = [0; 2];
    stream.read_exact(&mut pong).unwrap();
    assert_eq!(&pong, b"\r\n");
    // The client has no more to say, but still listens.
    stream.write_all(options(5).as_bytes()).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(responses(&mut stream, 1), ["SIP/2.0 200 OK"]);
    assert!(is_closed(&mut stream));
}

#[test]
fn lengths_that_lie_or_exceed_close_the_stream() {
    let stage = Stage::start(MD5);
    for (length, status) in [
        ("-1", "400 Bad Content-Length"),
        ("0\r\nl: 0", "400 Bad Content-Length"),
        ("1000000", "513 Message Too Large"),
    ] {
        let mut stream = connect(&stage);
        let text = options(1).replace("Length: 0", &format!("Length: {length}"));
        stream.write_all(text.as_bytes()).unwrap();
        assert_eq!(responses(&mut stream, 1), [format!("SIP/2.0 {status}")]);
        assert!(is_closed(&mut stream), "{length}");
    }
    // Headers without an end.
    let mut stream = connect(&stage);
    let endless = format!(
        "OPTIONS sip:{DOMAIN} SIP/2.0\r\n{}",
        "X: y\r\n".repeat(40_000)
    );
    drop(stream.write_all(endless.as_bytes()));
    assert!(is_closed(&mut stream));
    is_well(&stage);
}

#[test]
fn garbage_on_every_port_is_refused_and_logged_now_and_then() {
    let stage = Stage::start(MD5);
    let before = stage.daemon.resident_kib();
    let mut seed = 0x1234_5678_9abc_def1_u64;
    let mut garbage = |length: usize| {
        let mut octets = vec![0; length];
        for octet in &mut octets {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            *octet = seed as u8;
        }
        octets
    };
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    for length in 0..2000 {
        socket
            .send_to(&garbage(length % 1400), server(&stage))
            .unwrap();
    }
    for _ in 0..50 {
        let mut stream = connect(&stage);
        drop(stream.write_all(&garbage(5000)));
        drop(stream.write_all(b"\r\n\r\n"));
        assert!(is_closed(&mut stream));
    }
    // An HTTP request, a TLS handshake on the plain port, plain text on the TLS port.
    let mut stream = connect(&stage);
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        .unwrap();
    assert!(is_closed(&mut stream));
    let mut stream = connect(&stage);
    stream
        .write_all(b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03")
        .unwrap();
    assert!(is_closed(&mut stream));
    let mut stream = TcpStream::connect(("127.0.0.1", stage.tls)).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    stream.write_all(options(1).as_bytes()).unwrap();
    assert!(is_closed(&mut stream));

    is_well(&stage);
    let lines = stage.daemon.log().matches("message refused").count();
    assert!(lines < 20, "{lines} lines of log");
    let grown = stage.daemon.resident_kib().saturating_sub(before);
    assert!(grown < 20_000, "{grown} KiB more");
}

#[test]
fn slow_and_silent_peers_cost_little() {
    let stage = Stage::start(MD5);
    let before = stage.daemon.resident_kib();
    // Half a message each, and then nothing; no more than one client may have open.
    let idle: Vec<TcpStream> = (0..200)
        .filter_map(|_| {
            let mut stream = TcpStream::connect(server(&stage)).ok()?;
            stream
                .write_all(b"OPTIONS sip:example.test SIP/2.0\r\nVia: ")
                .ok()?;
            Some(stream)
        })
        .collect();
    is_datagram_well(&stage);
    let grown = stage.daemon.resident_kib().saturating_sub(before);
    assert!(grown < 40_000, "{grown} KiB for {} connections", idle.len());
    // They are closed when they have stalled for long enough.
    let begin = Instant::now();
    for mut stream in idle.into_iter().take(3) {
        stream
            .set_read_timeout(Some(Duration::from_secs(40)))
            .unwrap();
        assert!(is_closed(&mut stream));
    }
    assert!(begin.elapsed() < Duration::from_secs(35));
}

fn is_datagram_well(stage: &Stage) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(5)))
        .unwrap();
    let text = options(1).replace("127.0.0.1:9;", "127.0.0.1:9;rport;");
    socket.send_to(text.as_bytes(), server(stage)).unwrap();
    let mut buffer = [0; 4096];
    let length = socket.recv(&mut buffer).unwrap();
    assert!(buffer[..length].starts_with(b"SIP/2.0 200 OK"));
}

#[test]
fn a_flood_is_cut_off_and_another_source_is_served() {
    let stage = Stage::start(MD5);
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_nonblocking(true).unwrap();
    let before = stage.daemon.resident_kib();
    let mut answered = 0;
    let mut buffer = [0; 4096];
    let begin = Instant::now();
    for cseq in 0..30_000 {
        let text = options(cseq)
            .replace("127.0.0.1:9;", "127.0.0.1:9;rport;")
            .replace("OPTIONS", "INVITE")
            .replace("sip:example.test ", "sip:bob@example.test ");
        drop(socket.send_to(text.as_bytes(), server(&stage)));
        while socket.recv(&mut buffer).is_ok() {
            answered += 1;
        }
    }
    // 200 at once, and 50 a second from then on.
    let allowed = 250 + 60 * usize::try_from(begin.elapsed().as_secs() + 1).unwrap();
    assert!(
        answered > 50 && answered < allowed,
        "{answered} of {allowed}"
    );

    // What the kernel could not hold is asked again, as every client does (timer E).
    let other = UdpSocket::bind("127.0.0.2:0").unwrap();
    other
        .set_read_timeout(Some(Duration::from_millis(500)))
        .unwrap();
    let text = options(1).replace("127.0.0.1:9;", "127.0.0.1:9;rport;");
    let answer = (0..8).find_map(|_| {
        other.send_to(text.as_bytes(), server(&stage)).unwrap();
        other.recv(&mut buffer).ok()
    });
    assert!(buffer[..answer.unwrap()].starts_with(b"SIP/2.0 200 OK"));
    let grown = stage.daemon.resident_kib().saturating_sub(before);
    assert!(grown < 20_000, "{grown} KiB more");
}

#[test]
fn tls_clients_are_served() {
    let stage = Stage::start(MD5);
    let say = options(1).replace('\r', "\\r").replace('\n', "\\n");
    let heard = openssl(&stage, &say.replace("/TCP", "/TLS"));
    assert!(heard.starts_with("SIP/2.0 200 OK"), "{heard}");
    let heard = openssl(&stage, "\\r\\n\\r\\n");
    assert_eq!(heard, "\r\n");
    // A port that is not ours.
    assert!(TcpStream::connect(("127.0.0.1", free_port())).is_err());
}
