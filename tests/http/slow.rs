//! Time: every wait for a client has an end, and none of them ends a client that keeps moving.

use std::{
    io::{Read, Write},
    thread,
    time::{Duration, Instant},
};

use super::{Server, read_to_end, status, time_to_close};

/// The limits of the specification, each a twentieth as long.
const QUICK: &str = "limits = { first_byte = \"500ms\", head_time = \"1s\", head_time_max = \"2s\", \
    body_time = \"1s\", idle = \"750ms\", idle_h2 = \"3s\", write = \"1500ms\", window = \"1500ms\" }";

const HUGE: u64 = 48 << 20;

fn server(site: &str) -> Server {
    Server::start(QUICK, site)
}

/// The time is in the range, with room above for a busy machine.
#[track_caller]
fn about(took: Duration, expected_ms: u64) {
    let expected = Duration::from_millis(expected_ms);
    assert!(took >= expected.mul_f32(0.9), "{took:?}, not {expected:?}");
    assert!(
        took <= expected + Duration::from_secs(4),
        "{took:?}, not {expected:?}"
    );
}

#[test]
fn silence_is_closed() {
    let server = server("");
    let (took, text) = time_to_close(&mut server.connect());
    about(took, 500);
    assert_eq!(text, "");
    // The TLS port has the same patience before and after the handshake begins (from [net]).
}

#[test]
fn a_head_that_does_not_end_is_answered_with_408() {
    let server = server("");
    let mut stream = server.connect();
    let mut writer = stream.try_clone().unwrap();
    writer.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n").unwrap();
    let dripping = thread::spawn(move || {
        // A field now and then does not buy time.
        while writer.write_all(b"X: y\r\n").is_ok() {
            thread::sleep(Duration::from_millis(100));
        }
    });
    let (took, text) = time_to_close(&mut stream);
    about(took, 1000);
    assert_eq!(status(&text), 408, "{text}");
    drop(stream);
    dripping.join().unwrap();
}

#[test]
fn a_quick_head_may_take_longer_but_not_for_ever() {
    let server = server("");
    let mut stream = server.connect();
    let mut writer = stream.try_clone().unwrap();
    writer.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n").unwrap();
    let dripping = thread::spawn(move || {
        let field = format!("X: {}\r\n", "y".repeat(90));
        while writer.write_all(field.as_bytes()).is_ok() {
            thread::sleep(Duration::from_millis(50));
        }
    });
    let (took, text) = time_to_close(&mut stream);
    about(took, 2000);
    assert_eq!(status(&text), 408, "{text}");
    drop(stream);
    dripping.join().unwrap();
}

#[test]
fn a_kept_connection_is_closed_when_it_is_idle() {
    let server = server("");
    let mut stream = server.connect();
    // Used now and then it stays open, for longer than any one limit.
    for _ in 0..6 {
        stream
            .write_all(b"GET /digits.txt HTTP/1.1\r\nHost: a\r\n\r\n")
            .unwrap();
        let mut answer = [0; 4096];
        let read = stream.read(&mut answer).unwrap();
        assert!(String::from_utf8_lossy(&answer[..read]).ends_with("0123456789"));
        thread::sleep(Duration::from_millis(300));
    }
    let (took, text) = time_to_close(&mut stream);
    about(took, 450);
    assert_eq!(text, "");
}

#[test]
fn a_body_that_does_not_come_is_answered_with_408() {
    let server = server(
        "[[http.site.route]]\npath = \"/up\"\nproxy = [\"http://127.0.0.1:{origin}\"]"
            .replace("{origin}", &sink().to_string())
            .as_str(),
    );
    let mut stream = server.connect();
    stream
        .write_all(b"POST /up HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nhalf")
        .unwrap();
    let (took, text) = time_to_close(&mut stream);
    about(took, 1000);
    assert_eq!(status(&text), 408, "{text}");
}

/// Takes connections and never answers.
fn sink() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        let mut held = Vec::new();
        while let Ok((stream, _)) = listener.accept() {
            held.push(stream);
        }
    });
    port
}

#[test]
fn a_client_that_reads_nothing_is_cut_off_and_a_slow_one_is_not() {
    let server = server("");
    // More than the kernel's buffers on both sides hold.
    let huge = std::fs::File::create(server.daemon.path("site/huge.bin")).unwrap();
    huge.set_len(HUGE).unwrap();
    let request = b"GET /huge.bin HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let mut idle = server.connect();
    idle.write_all(request).unwrap();
    let mut slow = server.connect();
    slow.write_all(request).unwrap();
    let reading = thread::spawn(move || {
        // It takes some seconds: longer than the limit, but it never stands still.
        let mut bytes = vec![0; 2 << 20];
        let mut total = 0;
        while let Ok(read @ 1..) = slow.read(&mut bytes) {
            total += read;
            thread::sleep(Duration::from_millis(150));
        }
        total
    });
    let since = Instant::now();
    let lines = server.log_lines(1);
    about(since.elapsed(), 1500);
    assert!(
        lines[0].contains("\"GET /huge.bin HTTP/1.1\" 200 "),
        "{}",
        lines[0]
    );
    let rest = read_to_end(&mut idle);
    assert!(rest.len() < HUGE as usize);
    assert!(reading.join().unwrap() > HUGE as usize);
}

mod h2 {
    //! HTTP/2 by hand: frames that no client library would send.

    use super::{
        super::frames::{
            GOAWAY, HEADERS, PREFACE, RST_STREAM, SETTINGS, frame, frames, get, literal,
        },
        *,
    };

    #[test]
    fn half_a_preface_is_closed() {
        let server = server("");
        for preface in [&PREFACE[..2], &PREFACE[..4], &PREFACE[..20], PREFACE] {
            let mut stream = server.connect();
            stream.write_all(preface).unwrap();
            let (took, _) = time_to_close(&mut stream);
            assert!(took < Duration::from_secs(6), "{took:?}");
        }
    }

    #[test]
    fn an_idle_connection_is_told_to_go_and_closed() {
        let server = server("");
        let mut stream = server.connect();
        let mut bytes = PREFACE.to_vec();
        bytes.extend(frame(SETTINGS, 0, 0, &[]));
        bytes.extend(frame(HEADERS, 5, 1, &get("/digits.txt")));
        stream.write_all(&bytes).unwrap();
        let since = Instant::now();
        let frames = frames(&mut stream);
        // It is closed in any case, but has five seconds more to agree to go.
        assert!(
            (3..13).contains(&since.elapsed().as_secs()),
            "{:?}",
            since.elapsed()
        );
        assert!(
            frames.iter().any(|(kind, ..)| *kind == GOAWAY),
            "{frames:?}"
        );
        assert!(
            frames
                .iter()
                .any(|(_, _, payload)| payload == b"0123456789")
        );
    }

    #[test]
    fn a_stream_whose_window_stays_shut_is_reset() {
        let server = server("");
        let mut stream = server.connect();
        let mut bytes = PREFACE.to_vec();
        // SETTINGS_INITIAL_WINDOW_SIZE of nothing at all.
        bytes.extend(frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]));
        bytes.extend(frame(HEADERS, 5, 1, &get("/large.bin")));
        bytes.extend(frame(HEADERS, 5, 3, &get("/digits.txt")));
        stream.write_all(&bytes).unwrap();
        let since = Instant::now();
        let frames = frames(&mut stream);
        let reset: Vec<u32> = frames
            .iter()
            .filter(|(kind, ..)| *kind == RST_STREAM)
            .map(|(_, stream, _)| *stream)
            .collect();
        assert!(reset.contains(&1) && reset.contains(&3), "{frames:?}");
        assert!(since.elapsed() < Duration::from_secs(15));
        let lines = server.log_lines(2);
        assert!(
            lines.iter().any(|line| line.contains("/large.bin")),
            "{lines:?}"
        );
    }

    #[test]
    fn too_many_fields_and_too_large_lists_are_refused() {
        let server = server("");
        let mut block = get("/");
        for _ in 0..101 {
            block.extend(literal("x", "y"));
        }
        let mut large = get("/");
        for index in 0..80 {
            large.extend(literal(&format!("x-{index}"), &"y".repeat(120)));
        }
        let mut larger = large.clone();
        larger.extend(large.iter().skip(get("/").len()));
        for block in [block, larger] {
            let mut stream = server.connect();
            let mut bytes = PREFACE.to_vec();
            bytes.extend(frame(SETTINGS, 0, 0, &[]));
            if block.len() > 16_384 {
                let (first, rest) = block.split_at(16_384);
                bytes.extend(frame(HEADERS, 1, 1, first));
                bytes.extend(frame(9, 4, 1, rest));
            } else {
                bytes.extend(frame(HEADERS, 5, 1, &block));
            }
            stream.write_all(&bytes).unwrap();
            let frames = frames(&mut stream);
            let answered = frames.iter().any(|(kind, id, payload)| {
                // 431 is no entry of the static table: a literal, or Huffman's spelling of it.
                *kind == HEADERS
                    && *id == 1
                    && (payload.windows(3).any(|three| three == b"431")
                        || payload.first() == Some(&0x48))
            });
            assert!(answered, "{frames:?}");
        }
    }
}
