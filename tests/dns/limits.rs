//! Response rate limiting, beside named with the same limits: bursts from one address, and what of
//! them is answered, cut short and dropped.

use std::{fs, net::UdpSocket, time::Instant};

use omnid_dns::wire::code::{Class, RrType};

use crate::{
    Answer, LIMIT, ZONES, dig, lay_out, local, question, start, start_named,
    support::{run, wait_until},
};

const RATE: usize = 5;

/// What became of a burst.
#[derive(Debug, Default)]
struct Seen {
    whole: usize,
    cut: usize,
    dropped: usize,
    /// The first that was cut short.
    first: Option<Answer>,
    seconds: usize,
}

/// Sends as many questions; behind each few of them another, which nobody limits, tells that the
/// server is through with them.
fn burst(port: u16, name: &str, rr_type: RrType, count: u16) -> Seen {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(LIMIT)).unwrap();
    socket.connect(local(port)).unwrap();
    let send = |id: u16, name: &str, rr_type| {
        let mut message = question(name, rr_type, Class::IN, None);
        message[..2].copy_from_slice(&id.to_be_bytes());
        socket.send(&message).unwrap();
    };
    let mut seen = Seen::default();
    let begun = Instant::now();
    let mut buffer = [0; 4096];
    for first in (0..count).step_by(20) {
        let end = count.min(first + 20);
        for id in first..end {
            send(id, &name.replace('#', &id.to_string()), rr_type);
        }
        let last = u16::MAX - first;
        // A type that the name does not have is of a kind of its own for each name.
        send(
            last,
            &format!("h{}.gen.example.test", first / 20 + 1),
            RrType::MX,
        );
        let mut got = 0;
        loop {
            let length = socket.recv(&mut buffer).unwrap();
            if buffer[..2] == last.to_be_bytes() {
                break;
            }
            got += 1;
            let answer = Answer::of(&buffer[..length]);
            if answer.truncated {
                seen.cut += 1;
                seen.first.get_or_insert(answer);
            } else {
                seen.whole += 1;
            }
        }
        seen.dropped += usize::from(end - first) - got;
    }
    seen.seconds = begun.elapsed().as_secs() as usize;
    seen
}

#[test]
fn bursts_are_limited_as_by_named() {
    let server = start(&format!("[dns.rate_limit]\nresponses = {RATE}"));
    let directory = server.daemon.path("named");
    fs::create_dir(&directory).unwrap();
    lay_out(&directory);
    let mut zones =
        format!("view all {{ rate-limit {{ responses-per-second {RATE}; window 15; slip 2; }};\n");
    for (name, _) in ZONES {
        zones += &format!("zone \"{name}\" {{ type primary; file \"{name}.zone\"; }};\n");
    }
    zones += "};\n";
    let port = crate::free_port();
    let _named = start_named(&directory, port, &zones);

    // What is the same in all responses, and a cut one like named's; an error is none.
    let cases = [
        ("www.example.test", RrType::A, true),
        ("x#.wild.example.test", RrType::TXT, true),
        ("www.example.test", RrType::SRV, true),
        ("nobody#.example.test", RrType::A, true),
        ("host#.sub.example.test", RrType::A, true),
        ("host#.elsewhere", RrType::A, false),
    ];
    for (name, rr_type, is_cut) in cases {
        let (ours, theirs) = (
            burst(server.port, name, rr_type, 200),
            burst(port, name, rr_type, 200),
        );
        for seen in [&ours, &theirs] {
            let credited = RATE * (seen.seconds + 2);
            if is_cut {
                assert!(
                    seen.whole >= RATE && seen.whole <= credited,
                    "{name}: {ours:?} {theirs:?}"
                );
                assert!(
                    seen.cut.abs_diff(seen.dropped) <= 1,
                    "{name}: {ours:?} {theirs:?}"
                );
            } else {
                // Beyond the rate none is sent.
                assert_eq!(seen.cut, 0, "{name}: {ours:?} {theirs:?}");
                assert!(
                    (RATE..=credited).contains(&seen.whole),
                    "{name}: {ours:?} {theirs:?}"
                );
            }
        }
        // named marks a referral that it cuts short as an authoritative answer, which it is not.
        let plain = |answer: Option<Answer>| {
            answer.map(|answer| Answer {
                authoritative: answer.authoritative && !name.contains(".sub."),
                ..answer
            })
        };
        assert_eq!(plain(ours.first), plain(theirs.first), "{name}");
    }

    // A client that is meant gets its answer all the same: it comes back over TCP.
    let limited = ["+short", "+tries=3", "+timeout=1", "www.example.test", "A"];
    assert!(dig(server.port, &limited).contains("192.0.2.80"));

    let queries = server.daemon.path("queries");
    fs::write(&queries, "www.example.test A\n").unwrap();
    let (text, queries) = (server.port.to_string(), queries.display().to_string());
    let arguments = [
        "-s",
        "127.0.0.1",
        "-p",
        &text,
        "-d",
        &queries,
        "-n",
        "100",
        "-t",
        "1",
        "-q",
        "100",
    ];
    let report = run("dnsperf", &arguments, LIMIT).success().stdout;
    let figure = |label: &str| -> usize {
        let line = report.lines().find(|line| line.trim().starts_with(label));
        let value = line.and_then(|line| line.split(':').nth(1));
        let digits = value.and_then(|value| value.split_whitespace().next());
        digits
            .unwrap_or_else(|| panic!("{report}"))
            .parse()
            .unwrap()
    };
    assert_eq!(figure("Queries sent"), 100, "{report}");
    assert!((40..=50).contains(&figure("Queries lost")), "{report}");

    wait_until("the log says so", LIMIT, || {
        let log = server.daemon.log();
        log.contains("responses beyond the rate limit") && log.contains("network=127.0.0.0")
    });
}
