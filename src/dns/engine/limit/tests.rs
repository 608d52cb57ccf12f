//! Bursts under a clock that stands still or runs, and what of them is sent.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::sync::Arc;

use proptest::prelude::*;

use super::super::access::Access;
use super::super::answer::{Client, Outcome, Scratch, Transport, answer};
use super::super::cookie::CookieSecret;
use super::super::state::State;
use super::super::tests::{request, show, state};
use super::*;

fn limits() -> Limits {
    Limits {
        answers: 5,
        referrals: 5,
        no_data: 5,
        no_names: 5,
        errors: 5,
        all: 0,
        window: 15,
        slip: 2,
        ipv4_prefix: 24,
        ipv6_prefix: 56,
        exempt: Access::default(),
        log_only: false,
        table_size: 1000,
    }
}

fn limited(limits: Limits) -> State {
    let mut state = state();
    state.settings.limiter = Some(Arc::new(Limiter::new(limits, [7; 16])));
    state
}

fn ask(state: &State, from: &str, transport: Transport, message: &[u8], now: u32) -> String {
    let client = Client::new(from.parse().unwrap(), transport);
    let (mut out, mut scratch) = ([0; 1232], Scratch::default());
    match answer(state, &client, now, message, &mut out, &mut scratch) {
        Outcome::Reply(answered) => show(&out[..answered.len]),
        Outcome::Drop => "-".to_owned(),
        outcome => panic!("{outcome:?}"),
    }
}

/// How many of some questions are answered, cut short and dropped.
fn burst(state: &State, from: &str, count: usize, name: &str, kind: &str, now: u32) -> [usize; 3] {
    let mut seen = [0; 3];
    for number in 0..count {
        let name = name.replace('#', &number.to_string());
        let shown = ask(state, from, Transport::Udp, &request(&name, kind, &[]), now);
        let slot = match shown.as_str() {
            "-" => 2,
            cut if cut.contains(" tc ") => {
                assert!(cut.ends_with(" tc / / /"), "{cut}");
                1
            }
            _ => 0,
        };
        seen[slot] += 1;
    }
    seen
}

const CLIENT: &str = "192.0.2.1";

#[test]
fn what_is_alike_is_counted_together() {
    let cases = [
        ("web.example", "A", [5, 8, 7]),
        // Each name that there is counts for itself.
        ("web#.cw.example", "A", [5, 8, 7]),
        ("x#.wild.example", "TXT", [5, 8, 7]),
        ("web.example", "TXT", [5, 8, 7]),
        ("nobody#.example", "A", [5, 8, 7]),
        ("host#.sub.example", "A", [5, 8, 7]),
        ("a#.d.example", "A", [5, 8, 7]),
        // An error says nothing about the way over TCP.
        ("a#.elsewhere", "A", [5, 0, 15]),
    ];
    for (name, kind, expected) in cases {
        let state = limited(limits());
        assert_eq!(
            burst(&state, CLIENT, 20, name, kind, 1000),
            expected,
            "{name}"
        );
    }
}

#[test]
fn what_is_not_alike_is_not() {
    let state = limited(limits());
    let whole = |from: &str, name: &str, kind: &str| {
        assert_eq!(
            burst(&state, from, 5, name, kind, 1000),
            [5, 0, 0],
            "{name}"
        );
    };
    whole(CLIENT, "web.example", "A");
    whole(CLIENT, "mail.example", "A");
    whole(CLIENT, "ns.example", "A");
    whole(CLIENT, "ns.example", "AAAA");
    whole(CLIENT, "web.example", "TXT");
    whole(CLIENT, "nobody.example", "A");
    whole(CLIENT, "nobody.example.net", "A");
    whole("192.0.3.1", "web.example", "A");
    whole("2001:db8:0:100::1", "web.example", "A");
    whole("2001:db8:0:200::1", "web.example", "A");
    assert_eq!(
        burst(&state, "192.0.2.200", 2, "WEB.example", "A", 1000),
        [0, 1, 1]
    );
    let same = "2001:db8:0:1ff::1";
    assert_eq!(burst(&state, same, 2, "web.example", "A", 1000), [0, 1, 1]);
}

#[test]
fn time_makes_up_for_what_was_sent() {
    let state = limited(limits());
    let ask = |count, now| burst(&state, CLIENT, count, "web.example", "A", now);
    assert_eq!(ask(6, 1000), [5, 1, 0]);
    // Five more each second, and never more than five at once.
    assert_eq!(ask(5, 1001), [4, 0, 1]);
    assert_eq!(ask(9, 2000), [5, 2, 2]);
    // A flood is held against the network for the window, and not for longer.
    ask(10_000, 3000);
    assert_eq!(ask(1, 3014)[0], 0);
    ask(10_000, 3014);
    assert_eq!(ask(6, 3030)[0], 5);
    // A clock that is set back gives nothing away, and does no harm.
    assert_eq!(ask(2, 10)[0], 0);
}

#[test]
fn slip_says_how_many_are_cut_short() {
    for (slip, expected) in [
        (0, [5, 0, 60]),
        (1, [5, 60, 0]),
        (2, [5, 30, 30]),
        (10, [5, 6, 54]),
    ] {
        let state = limited(Limits { slip, ..limits() });
        assert_eq!(
            burst(&state, CLIENT, 65, "web.example", "A", 1000),
            expected,
            "{slip}"
        );
    }
}

#[test]
fn who_is_not_limited() {
    let exempt = Access::networks(["192.0.2.0/25".parse().unwrap()]);
    let mut state = limited(Limits { exempt, ..limits() });
    assert_eq!(
        burst(&state, CLIENT, 50, "web.example", "A", 1000),
        [50, 0, 0]
    );
    assert_eq!(
        burst(&state, "192.0.2.129", 9, "web.example", "A", 1000),
        [5, 2, 2]
    );
    let message = request("web.example", "A", &[]);
    let plain = ask(&state, CLIENT, Transport::Tcp, &message, 1000);
    for _ in 0..20 {
        assert_eq!(
            ask(&state, "192.0.2.129", Transport::Tcp, &message, 1000),
            plain
        );
    }

    let secret = CookieSecret::new([3; 16]);
    state.settings.cookie_secret = Some(secret.clone());
    let client: IpAddr = "192.0.2.129".parse().unwrap();
    let with = |cookie: &[u8]| {
        let mut opt = vec![0, 0, 41, 4, 208, 0, 0, 0, 0, 0, cookie.len() as u8 + 4];
        opt.extend_from_slice(&[0, 10, 0, cookie.len() as u8]);
        opt.extend_from_slice(cookie);
        request("web.example", "A", &opt)
    };
    let good = with(&secret.both([1; 8], client, 990));
    let forged = with(&secret.both([1; 8], "192.0.2.130".parse().unwrap(), 990));
    let dropped = |message: &[u8]| {
        let ask = |_| ask(&state, "192.0.2.129", Transport::Udp, message, 1000);
        (0..20).map(ask).filter(|shown| shown == "-").count()
    };
    assert_eq!(dropped(&good), 0);
    assert_eq!(dropped(&forged), 10);
}

#[test]
fn logging_only_sends_everything_and_all_is_never_cut_short() {
    let state = limited(Limits {
        log_only: true,
        ..limits()
    });
    assert_eq!(
        burst(&state, CLIENT, 50, "web.example", "A", 1000),
        [50, 0, 0]
    );
    let none = Limits {
        answers: 0,
        referrals: 0,
        no_data: 0,
        no_names: 0,
        errors: 0,
        all: 10,
        ..limits()
    };
    let state = limited(none);
    assert_eq!(
        burst(&state, CLIENT, 8, "web.example", "A", 1000),
        [8, 0, 0]
    );
    assert_eq!(
        burst(&state, CLIENT, 8, "x#.wild.example", "TXT", 1000),
        [2, 0, 6]
    );
}

#[test]
fn malformed_requests_are_errors() {
    let state = limited(limits());
    let mut bad = request("web.example", "A", &[]);
    bad[5] = 2;
    let sent = (0..20).filter(|_| ask(&state, CLIENT, Transport::Udp, &bad, 1000) != "-");
    assert_eq!(sent.count(), 5);
}

proptest! {
    /// Whoever asks, however often: no kind gets more than its rate each second, and what it did
    /// not use in the second before.
    #[test]
    fn never_beyond_the_rate(rate in 1u16..20, steps in prop::collection::vec((0u32..3, 0usize..60), 1..40)) {
        let limits = Limits { answers: rate, slip: 0, ..limits() };
        let limiter = Limiter::new(limits, [1; 16]);
        let who = Who { address: CLIENT.parse().unwrap(), key: None, certified: &[] };
        let alike = Alike { kind: Kind::Answer, name: b"\x03web\x00", ..Alike::ERROR };
        let (mut now, mut sent) = (1000, 0u32);
        for (later, count) in steps {
            now += later;
            for _ in 0..count {
                sent += u32::from(limiter.count(&who, alike, now) == Verdict::Send);
            }
            prop_assert!(sent <= u32::from(rate) * (now - 1000 + 1));
        }
    }

    /// A table that is too small forgets, and nothing else.
    #[test]
    fn a_full_table_does_no_harm(hosts in prop::collection::vec(any::<u32>(), 1..3000)) {
        let limiter = Limiter::new(limits(), [1; 16]);
        for host in hosts {
            let who = Who { address: std::net::Ipv4Addr::from(host).into(), key: None, certified: &[] };
            prop_assert_ne!(limiter.count(&who, Alike::ERROR, host), Verdict::Truncate);
        }
    }
}
