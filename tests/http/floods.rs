//! HTTP/2 clients that make work and take nothing: what each of them costs is bounded, and others
//! are served meanwhile.

use std::{
    io::Write,
    net::TcpStream,
    time::{Duration, Instant},
};

use super::{
    LIMIT, Server,
    frames::{HEADERS, PREFACE, RST_STREAM, SETTINGS, frame, frames, get, literal},
    support::run,
};

const DATA: u8 = 0;
const PRIORITY: u8 = 2;
const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;

/// What a flood is made of, by its number.
type Flood = Box<dyn Fn(u32) -> Vec<u8>>;

fn begun(server: &Server) -> TcpStream {
    let mut stream = server.connect();
    stream.write_all(PREFACE).unwrap();
    stream.write_all(&frame(SETTINGS, 0, 0, &[])).unwrap();
    stream
}

/// Somebody else's request, answered in less than a second.
fn others_are_served(server: &Server) {
    let since = Instant::now();
    let page = run("curl", &["-sS", &server.url("/digits.txt")], LIMIT).success();
    assert_eq!(page.stdout, "0123456789");
    assert!(
        since.elapsed() < Duration::from_secs(1),
        "{:?}",
        since.elapsed()
    );
}

/// How many bytes of `flood`, repeated, a connection takes before it is closed; `None` where it
/// takes a hundred thousand repetitions.
fn taken(stream: &mut TcpStream, flood: impl Fn(u32) -> Vec<u8>) -> Option<u32> {
    // What it answers is taken from it, so that it is not the answers which stop the flood.
    let mut answers = stream.try_clone().unwrap();
    let reading = std::thread::spawn(move || frames(&mut answers));
    let mut taken = None;
    for round in 0..1000 {
        let many: Vec<u8> = (0..100).flat_map(|one| flood(round * 100 + one)).collect();
        if stream.write_all(&many).is_err() {
            taken = Some(round * 100);
            break;
        }
    }
    drop(stream.shutdown(std::net::Shutdown::Both));
    drop(reading.join());
    taken
}

#[test]
fn frames_that_ask_for_nothing_end_the_connection() {
    let server = Server::start("", "");
    let reset = |number: u32| {
        let stream = number * 2 + 1;
        let mut bytes = frame(HEADERS, 5, stream, &get("/digits.txt"));
        bytes.extend(frame(RST_STREAM, 0, stream, &[0, 0, 0, 8]));
        bytes
    };
    let floods: Vec<(&str, Flood)> = vec![
        ("ping", Box::new(|_| frame(PING, 0, 0, b"pingpong"))),
        ("settings", Box::new(|_| frame(SETTINGS, 0, 0, &[]))),
        (
            "priority",
            Box::new(|_| frame(PRIORITY, 0, 5, &[0, 0, 0, 0, 1])),
        ),
        (
            "window",
            Box::new(|_| frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1])),
        ),
        // CVE-2023-44487.
        ("reset", Box::new(reset)),
    ];
    for (name, flood) in floods {
        let mut stream = begun(&server);
        let taken = taken(&mut stream, flood);
        // What lies in the kernel's buffers on the way counts as taken here.
        assert!(
            taken.is_some_and(|taken| taken < 100_000),
            "{name}: {taken:?}"
        );
        others_are_served(&server);
    }
    // Empty pieces of a body that goes on (RUSTSEC-2026-0258).
    let mut stream = begun(&server);
    let block: Vec<u8> = [
        (":method", "POST"),
        (":scheme", "http"),
        (":authority", "a"),
        (":path", "/digits.txt"),
    ]
    .iter()
    .flat_map(|(name, value)| literal(name, value))
    .collect();
    stream.write_all(&frame(HEADERS, 4, 1, &block)).unwrap();
    assert!(taken(&mut stream, |_| frame(DATA, 0, 1, &[])).is_some());
    others_are_served(&server);
    let log = server.daemon.log();
    assert!(
        log.contains("a flood of frames that ask for nothing"),
        "{log}"
    );
}

#[test]
fn a_head_in_endless_crumbs_ends_the_connection() {
    // CVE-2024-27316: a block of header fields that never ends.
    let server = Server::start("", "");
    let before = server.daemon.resident_kib();
    let mut stream = begun(&server);
    stream.write_all(&frame(HEADERS, 1, 1, &get("/"))).unwrap();
    let crumb: Vec<u8> = (0..100).flat_map(|_| literal("x", "y")).collect();
    let taken = taken(&mut stream, |_| frame(CONTINUATION, 0, 1, &crumb));
    assert!(taken.is_some());
    others_are_served(&server);
    let grown = server.daemon.resident_kib().saturating_sub(before);
    assert!(grown < 10 * 1024, "{grown} KiB");
}

#[test]
fn a_client_that_resets_at_leisure_is_not_a_flood() {
    let server = Server::start("", "");
    let mut stream = begun(&server);
    let mut answers = stream.try_clone().unwrap();
    let reading = std::thread::spawn(move || frames(&mut answers));
    for number in 0..300_u32 {
        let id = number * 2 + 1;
        stream
            .write_all(&frame(HEADERS, 5, id, &get("/digits.txt")))
            .unwrap();
        if number % 10 == 0 {
            stream
                .write_all(&frame(RST_STREAM, 0, id, &[0, 0, 0, 8]))
                .unwrap();
            stream.write_all(&frame(PING, 0, 0, b"pingpong")).unwrap();
        }
        // As many at once as a browser has, not as many as there are.
        std::thread::sleep(Duration::from_millis(1));
    }
    std::thread::sleep(Duration::from_millis(200));
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let frames = reading.join().unwrap();
    let answered = frames.iter().filter(|(kind, ..)| *kind == HEADERS).count();
    assert!(answered >= 270, "{answered}");
}

#[test]
fn a_bomb_of_small_header_fields_costs_little() {
    // CVE-2026-49975: fields of one byte each, from the table that HPACK keeps, on many streams.
    let server = Server::start("", "");
    let requests = |server: &Server, block: &[u8]| {
        let mut connections: Vec<TcpStream> = (0..10).map(|_| begun(server)).collect();
        let many: Vec<u8> = (0..100_u32)
            .flat_map(|number| frame(HEADERS, 5, number * 2 + 1, block))
            .collect();
        for stream in &mut connections {
            // A connection that is closed for it has cost nothing more.
            drop(stream.write_all(&many));
        }
        others_are_served(server);
        (server.daemon.resident_kib(), connections)
    };
    let mut block = get("/digits.txt");
    // What as many streams cost that ask for a file each.
    let (before, honest) = requests(&server, &block);
    drop(honest);
    // A field put into the table, then 459 times its index: the largest number of fields for the
    // fewest bytes.
    block.extend([0x40, 1, b'x', 1, b'y']);
    block.extend(vec![0xbe_u8; 459]);
    let (after, _connections) = requests(&server, &block);
    let grown = after.saturating_sub(before);
    assert!(grown < 10 * 1024, "{grown} KiB on top of {before}");
}
