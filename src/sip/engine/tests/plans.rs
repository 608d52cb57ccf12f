//! Calls that go by a plan: groups, forwardings, loops.

use std::time::Duration;

use super::world::{ALICE, BOB, Sent, World, lines, request, response};
use crate::{engine::CallEvent, wire::HeaderName};

const CAROL: &str = "198.51.100.3:5060";

const PLAN: &str = r#"
group = [
  { name = "all", members = ["bob", "carol"], ring = "20s" },
  { name = "order", members = ["bob", "carol"], strategy = "order", ring = "5s" },
  { name = "memory", members = ["bob", "carol"], strategy = "memory", ring = "5s" },
]
route = [
  { match = "600", to = ["group:all"] },
  { match = "601", to = ["group:order"] },
  { match = "602", to = ["group:memory"] },
]
user = [
  { account = "bob", forward = { busy = "carol", no_answer = "carol", offline = "carol", after = "10s" } },
]
"#;

fn world() -> World {
    let mut world = World::with_phones();
    world.register("carol", CAROL);
    world.plan(PLAN);
    world
}

fn call(world: &mut World, number: &str) -> Vec<Sent> {
    let text = request("INVITE", &format!("sip:{number}@example.org"), 1, "");
    let mut sent = world.with_password(ALICE, "wonderland", &text);
    assert_eq!(sent.remove(0).first_line(), "SIP/2.0 100 Trying");
    sent
}

fn ringing(world: &mut World, at: &str, to: &Sent) {
    let sent = world.deliver(at, &response(&to.message, "180 Ringing", ""));
    assert_eq!(lines(&sent), ["1 SIP/2.0 180 Ringing"]);
}

#[test]
fn a_group_is_rung_at_once_and_the_others_are_told_who_took_it() {
    let mut world = world();
    let sent = call(&mut world, "600");
    let mut rung = lines(&sent);
    rung.sort();
    assert_eq!(
        rung,
        [
            "2 INVITE sip:bob@198.51.100.2:5060 SIP/2.0",
            "3 INVITE sip:carol@198.51.100.3:5060 SIP/2.0"
        ]
    );
    let at = |ip: &str| {
        sent.iter()
            .find(|sent| sent.to.to_string().starts_with(ip))
            .unwrap()
    };
    let (bob, carol) = (at("198.51.100.2"), at("198.51.100.3"));
    ringing(&mut world, BOB, bob);
    ringing(&mut world, CAROL, carol);
    let ok = response(
        &carol.message,
        "200 OK",
        &format!("Contact: <sip:{CAROL}>\n"),
    );
    let sent = world.deliver(CAROL, &ok);
    let mut all = lines(&sent);
    all.sort();
    assert_eq!(
        all,
        [
            "1 SIP/2.0 200 OK",
            "2 CANCEL sip:bob@198.51.100.2:5060 SIP/2.0"
        ]
    );
    let cancel = sent
        .iter()
        .find(|sent| sent.first_line().starts_with("CANCEL"))
        .unwrap();
    assert_eq!(
        cancel.header(HeaderName::Reason),
        Some("SIP;cause=200;text=\"Call completed elsewhere\"")
    );
    let taken = world.events.iter().any(|event| {
        matches!(event, CallEvent::Answered { by: Some(by), .. } if by == "carol@example.org")
    });
    assert!(taken, "{:?}", world.events);
    assert_eq!(world.calls_of("carol"), 1);
    assert_eq!(world.calls_of("alice"), 1);
    assert_eq!(world.calls_of("bob"), 0);
}

#[test]
fn one_member_who_declines_leaves_the_others_ringing() {
    let mut world = world();
    let sent = call(&mut world, "600");
    let at = |ip: &str| {
        sent.iter()
            .find(|sent| sent.to.to_string().starts_with(ip))
            .unwrap()
    };
    let (bob, carol) = (at("198.51.100.2"), at("198.51.100.3"));
    ringing(&mut world, CAROL, carol);
    let after = world.deliver(BOB, &response(&bob.message, "603 Decline", ""));
    assert_eq!(lines(&after), ["2 ACK sip:bob@198.51.100.2:5060 SIP/2.0"]);
    let ok = response(
        &carol.message,
        "200 OK",
        &format!("Contact: <sip:{CAROL}>\n"),
    );
    assert_eq!(lines(&world.deliver(CAROL, &ok)), ["1 SIP/2.0 200 OK"]);
}

/// What is sent in the next while, retransmissions left out.
fn happens(world: &mut World, time: u64) -> Vec<(u64, String)> {
    let mut seen = Vec::new();
    for (at, sent) in world.pass(Duration::from_secs(time)) {
        let line = lines(&[sent]).remove(0);
        if !seen.iter().any(|(_, known)| *known == line) {
            seen.push((at.as_secs(), line));
        }
    }
    seen
}

#[test]
fn a_group_is_rung_in_order() {
    let mut world = world();
    let sent = call(&mut world, "601");
    assert_eq!(lines(&sent), ["2 INVITE sip:bob@198.51.100.2:5060 SIP/2.0"]);
    ringing(&mut world, BOB, &sent[0]);
    // Early dialogs do not make it longer.
    world.pass(Duration::from_secs(3));
    ringing(&mut world, BOB, &sent[0]);
    assert_eq!(
        happens(&mut world, 3),
        [
            (5, "2 CANCEL sip:bob@198.51.100.2:5060 SIP/2.0".to_owned()),
            (5, "3 INVITE sip:carol@198.51.100.3:5060 SIP/2.0".to_owned())
        ]
    );
}

#[test]
fn members_join_those_who_ring() {
    let mut world = world();
    let sent = call(&mut world, "602");
    assert_eq!(lines(&sent), ["2 INVITE sip:bob@198.51.100.2:5060 SIP/2.0"]);
    ringing(&mut world, BOB, &sent[0]);
    let joined = world.pass(Duration::from_secs(6));
    let (at, carol) = &joined[0];
    assert_eq!(at.as_secs(), 5);
    assert_eq!(
        carol.first_line(),
        "INVITE sip:carol@198.51.100.3:5060 SIP/2.0"
    );
    ringing(&mut world, CAROL, carol);
    let mut given_up = happens(&mut world, 5);
    given_up.sort();
    assert_eq!(
        given_up,
        [
            (10, "1 SIP/2.0 408 Request Timeout".to_owned()),
            (10, "2 CANCEL sip:bob@198.51.100.2:5060 SIP/2.0".to_owned()),
            (
                10,
                "3 CANCEL sip:carol@198.51.100.3:5060 SIP/2.0".to_owned()
            )
        ]
    );
}

#[test]
fn calls_are_forwarded_when_busy_and_when_not_answered() {
    for busy in [true, false] {
        let mut world = world();
        let sent = call(&mut world, "bob");
        let to_carol = if busy {
            let mut sent = world.deliver(BOB, &response(&sent[0].message, "486 Busy Here", ""));
            assert_eq!(sent.len(), 2);
            assert!(sent[0].first_line().starts_with("ACK"));
            sent.remove(1)
        } else {
            ringing(&mut world, BOB, &sent[0]);
            let sent = world.pass(Duration::from_secs(11));
            let found = sent
                .into_iter()
                .find(|(_, sent)| sent.first_line().starts_with("INVITE"));
            let (at, sent) = found.unwrap();
            assert_eq!(at.as_secs(), 10);
            sent
        };
        assert_eq!(
            to_carol.first_line(),
            "INVITE sip:carol@198.51.100.3:5060 SIP/2.0"
        );
        let (reason, cause) = if busy {
            ("user-busy", 486)
        } else {
            ("no-answer", 408)
        };
        assert_eq!(
            to_carol.header(HeaderName::Diversion),
            Some(format!("<sip:bob@example.org>;reason={reason};counter=1").as_str())
        );
        assert_eq!(
            to_carol.header(HeaderName::HistoryInfo),
            Some(
                format!(
                    "<sip:bob@example.org>;index=1, <sip:carol@example.org;cause={cause}>;index=1.1"
                )
                .as_str()
            )
        );
        // She is busy too: that is what Alice is told.
        let sent = world.deliver(CAROL, &response(&to_carol.message, "486 Busy Here", ""));
        assert!(
            lines(&sent).contains(&"1 SIP/2.0 486 Busy Here".to_owned()),
            "{:?}",
            lines(&sent)
        );
    }
}

#[test]
fn a_caller_who_gives_up_is_not_forwarded() {
    let mut world = world();
    let sent = call(&mut world, "bob");
    ringing(&mut world, BOB, &sent[0]);
    let invite = request("INVITE", "sip:bob@example.org", 1, "");
    let cancel = invite
        .replace("INVITE", "CANCEL")
        .replace("z9hG4bKaliceCANCEL1", "z9hG4bKauthaliceINVITE1");
    let sent_back = lines(&world.deliver(ALICE, &cancel));
    assert_eq!(
        sent_back,
        [
            "1 SIP/2.0 200 OK",
            "2 CANCEL sip:bob@198.51.100.2:5060 SIP/2.0"
        ]
    );
    let terminated = response(&sent[0].message, "487 Request Terminated", "");
    assert_eq!(
        lines(&world.deliver(BOB, &terminated)),
        [
            "2 ACK sip:bob@198.51.100.2:5060 SIP/2.0",
            "1 SIP/2.0 487 Request Terminated"
        ]
    );
}
