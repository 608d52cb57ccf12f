use std::time::Duration;

use super::world::{ALICE, BOB, BOB_TOO, BOB_URI, MALLORY, Sent, World, lines, request, response};
use crate::{engine::CallEvent, wire::HeaderName};

/// Alice calls Bob: what reached him, and the last thing that reached her.
fn invite(world: &mut World, cseq: u32) -> Vec<Sent> {
    let text = request("INVITE", BOB_URI, cseq, "");
    let mut sent = world.with_password(ALICE, "wonderland", &text);
    assert_eq!(sent.remove(0).first_line(), "SIP/2.0 100 Trying");
    sent
}

fn outcomes(world: &World) -> Vec<&'static str> {
    world
        .events
        .iter()
        .filter_map(|event| match event {
            CallEvent::Ended { outcome, .. } => Some(*outcome),
            _ => None,
        })
        .collect()
}

/// A request of the dialog that a 200 OK made, from either side.
fn within(ok: &Sent, method: &str, cseq: u32, from_caller: bool) -> String {
    let routes: Vec<&str> = ok
        .message
        .list(HeaderName::RecordRoute)
        .map(|route| std::str::from_utf8(route).unwrap())
        .collect();
    let (at, target, from, to) = if from_caller {
        (
            ALICE,
            BOB,
            "<sip:alice@example.org>;tag=a",
            "<sip:bob@example.org>;tag=b",
        )
    } else {
        (
            BOB,
            ALICE,
            "<sip:bob@example.org>;tag=b",
            "<sip:alice@example.org>;tag=a",
        )
    };
    format!(
        "{method} sip:{target} SIP/2.0\nVia: SIP/2.0/UDP {at};branch=z9hG4bKin{method}{cseq}\n\
         Route: {}\nFrom: {from}\nTo: {to}\nCall-ID: call\nCSeq: {cseq} {method}\n\
         Max-Forwards: 70\nContent-Length: 0\n\n",
        routes.join(", ")
    )
}

#[test]
fn a_call_from_ringing_to_the_end() {
    let mut world = World::with_phones();
    let to_bob = invite(&mut world, 1);
    assert_eq!(
        lines(&to_bob),
        ["2 INVITE sip:bob@198.51.100.2:5060 SIP/2.0"]
    );
    let received = &to_bob[0];
    assert_eq!(received.message.list(HeaderName::Via).count(), 2);
    assert_eq!(received.message.max_forwards(), Some(69));
    assert!(
        received.header(HeaderName::ProxyAuthorization).is_none(),
        "credentials stay here"
    );
    assert!(
        received
            .header(HeaderName::Via)
            .unwrap()
            .starts_with("SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK")
    );

    let ringing = world.deliver(BOB, &response(&received.message, "180 Ringing", ""));
    assert_eq!(lines(&ringing), ["1 SIP/2.0 180 Ringing"]);
    assert_eq!(ringing[0].message.list(HeaderName::Via).count(), 1);
    let ok = response(
        &received.message,
        "200 OK",
        &format!("Contact: <sip:{BOB}>\n"),
    );
    let answered = world.deliver(BOB, &ok);
    assert_eq!(lines(&answered), ["1 SIP/2.0 200 OK"]);
    // Lost, and sent again by Bob.
    assert_eq!(lines(&world.deliver(BOB, &ok)), ["1 SIP/2.0 200 OK"]);

    let acknowledged = world.deliver(ALICE, &within(&answered[0], "ACK", 1, true));
    assert_eq!(
        lines(&acknowledged),
        ["2 ACK sip:198.51.100.2:5060 SIP/2.0"]
    );
    assert!(acknowledged[0].header(HeaderName::Route).is_none());
    let again = world.deliver(ALICE, &within(&answered[0], "ACK", 1, true));
    assert_eq!(again[0].message.bytes(), acknowledged[0].message.bytes());
    for method in ["INVITE", "UPDATE", "INFO", "REFER", "NEW"] {
        let from_bob = world.deliver(BOB, &within(&answered[0], method, 5, false));
        let passed = from_bob.last().unwrap();
        assert_eq!(
            passed.first_line(),
            format!("{method} sip:198.51.100.1:5060 SIP/2.0")
        );
        let back = world.deliver(ALICE, &response(&passed.message, "200 OK", ""));
        assert_eq!(lines(&back), ["2 SIP/2.0 200 OK"]);
    }
    world.pass(Duration::from_secs(40));
    let bye = world.deliver(BOB, &within(&answered[0], "BYE", 9, false));
    assert_eq!(lines(&bye), ["1 BYE sip:198.51.100.1:5060 SIP/2.0"]);
    let done = world.deliver(ALICE, &response(&bye[0].message, "200 OK", ""));
    assert_eq!(lines(&done), ["2 SIP/2.0 200 OK"]);
    let (from, to) = ("alice@example.org".to_owned(), "bob@example.org".to_owned());
    let id = "call".to_owned();
    assert_eq!(
        world.events,
        [
            CallEvent::Started {
                id: id.clone(),
                from: from.clone(),
                to: to.clone()
            },
            CallEvent::Answered {
                id: id.clone(),
                by: Some(to.clone()),
            },
            CallEvent::Ended {
                id,
                from,
                by: Some(to.clone()),
                to,
                outcome: "answered",
                talked: Duration::from_secs(40)
            },
        ]
    );
    world.pass(Duration::from_secs(300));
    assert_eq!(world.engine.transactions(), 0);
    assert_eq!(world.engine.unanswered(), 0);
}

#[test]
fn busy_is_passed_back_and_acknowledged() {
    let mut world = World::with_phones();
    let to_bob = invite(&mut world, 1);
    let busy = response(&to_bob[0].message, "486 Busy Here", "");
    let sent = world.deliver(BOB, &busy);
    assert_eq!(
        lines(&sent),
        [
            "2 ACK sip:bob@198.51.100.2:5060 SIP/2.0",
            "1 SIP/2.0 486 Busy Here"
        ]
    );
    assert_eq!(
        lines(&world.deliver(BOB, &busy)),
        ["2 ACK sip:bob@198.51.100.2:5060 SIP/2.0"]
    );
    // Until Alice acknowledges it, it is repeated: timer G.
    let repeated = world.pass(Duration::from_millis(1600));
    assert_eq!(repeated.len(), 2);
    let ack = request("ACK", BOB_URI, 1, "").replace("z9hG4bKaliceACK", "z9hG4bKauthaliceINVITE");
    assert!(world.deliver(ALICE, &ack).is_empty());
    assert!(world.pass(Duration::from_secs(100)).is_empty());
    assert_eq!(world.engine.transactions(), 0);
    assert_eq!(outcomes(&world), ["busy"]);
}

fn cancel(cseq: u32) -> String {
    request("CANCEL", BOB_URI, cseq, "").replace("z9hG4bKaliceCANCEL", "z9hG4bKauthaliceINVITE")
}

#[test]
fn a_caller_can_give_up() {
    let mut world = World::with_phones();
    let to_bob = invite(&mut world, 1);
    world.deliver(BOB, &response(&to_bob[0].message, "180 Ringing", ""));
    // Not in another's place.
    let refused = world.deliver(MALLORY, &cancel(1));
    assert_eq!(refused[0].message.status(), Some(481));
    let sent = world.deliver(ALICE, &cancel(1));
    assert_eq!(
        lines(&sent),
        [
            "1 SIP/2.0 200 OK",
            "2 CANCEL sip:bob@198.51.100.2:5060 SIP/2.0"
        ]
    );
    assert_eq!(
        sent[1].header(HeaderName::Via),
        Some(std::str::from_utf8(to_bob[0].message.list(HeaderName::Via).next().unwrap()).unwrap())
    );
    assert!(
        world
            .deliver(BOB, &response(&sent[1].message, "200 OK", ""))
            .is_empty()
    );
    let terminated = response(&to_bob[0].message, "487 Request Terminated", "");
    let sent = world.deliver(BOB, &terminated);
    assert_eq!(
        lines(&sent),
        [
            "2 ACK sip:bob@198.51.100.2:5060 SIP/2.0",
            "1 SIP/2.0 487 Request Terminated"
        ]
    );
    assert_eq!(outcomes(&world), ["cancelled"]);
}

#[test]
fn a_cancel_waits_until_the_phone_has_the_call() {
    let mut world = World::with_phones();
    let to_bob = invite(&mut world, 1);
    assert_eq!(
        lines(&world.deliver(ALICE, &cancel(1))),
        ["1 SIP/2.0 200 OK"]
    );
    let sent = world.deliver(BOB, &response(&to_bob[0].message, "100 Trying", ""));
    assert_eq!(lines(&sent), ["2 CANCEL sip:bob@198.51.100.2:5060 SIP/2.0"]);
    // It crosses with an answer, which counts.
    let sent = world.deliver(BOB, &response(&to_bob[0].message, "200 OK", ""));
    assert_eq!(lines(&sent), ["1 SIP/2.0 200 OK"]);
    let repeats = world.pass(Duration::from_secs(2)).len();
    assert!(repeats > 0, "a CANCEL is repeated until it is answered");
    world.pass(Duration::from_secs(300));
    assert_eq!(world.engine.transactions(), 0);
}

#[test]
fn a_phone_that_ignores_a_cancel_is_forgotten() {
    let mut world = World::with_phones();
    let to_bob = invite(&mut world, 1);
    world.deliver(BOB, &response(&to_bob[0].message, "180 Ringing", ""));
    world.deliver(ALICE, &cancel(1));
    let sent = world.pass(Duration::from_secs(33));
    let (at, last) = sent
        .iter()
        .rev()
        .find(|(_, sent)| sent.to.to_string() == ALICE)
        .unwrap();
    assert_eq!(last.first_line(), "SIP/2.0 487 Request Terminated");
    assert!(*at >= Duration::from_secs(32));
    world.pass(Duration::from_secs(300));
    assert_eq!(world.engine.transactions(), 0);
}

#[test]
fn nobody_answers_in_time() {
    let mut world = World::with_phones();
    world.settings.ring_timeout = Duration::from_secs(40);
    let to_bob = invite(&mut world, 1);
    world.deliver(BOB, &response(&to_bob[0].message, "180 Ringing", ""));
    assert!(world.pass(Duration::from_millis(39_900)).is_empty());
    let sent = world.pass(Duration::from_millis(200));
    let sent: Vec<Sent> = sent.into_iter().map(|(_, sent)| sent).collect();
    assert_eq!(
        lines(&sent),
        [
            "2 CANCEL sip:bob@198.51.100.2:5060 SIP/2.0",
            "1 SIP/2.0 408 Request Timeout"
        ]
    );
    assert_eq!(outcomes(&world), ["no answer"]);
    // The phone's 487 comes too late to matter.
    let late = world.deliver(
        BOB,
        &response(&to_bob[0].message, "487 Request Terminated", ""),
    );
    assert_eq!(lines(&late), ["2 ACK sip:bob@198.51.100.2:5060 SIP/2.0"]);
    world.pass(Duration::from_secs(300));
    assert_eq!(world.engine.transactions(), 0);
}

#[test]
fn a_phone_that_is_gone_is_tried_for_a_while() {
    let mut world = World::with_phones();
    let start = world.elapsed();
    invite(&mut world, 1);
    let sent = world.pass(Duration::from_secs(31));
    let times: Vec<_> = sent
        .iter()
        .map(|(at, _)| (*at - start).as_millis())
        .collect();
    // Timer A: twice as long each time.
    assert_eq!(times, [500, 1500, 3500, 7500, 15500]);
    let sent = world.pass(Duration::from_secs(2));
    assert_eq!(sent[0].1.to.to_string(), BOB);
    assert_eq!(
        sent[1].1.first_line(),
        "SIP/2.0 408 Request Timeout",
        "timer B"
    );
}

#[test]
fn what_cannot_be_sent_is_not_waited_for() {
    let mut world = World::with_phones();
    let to_bob = invite(&mut world, 1);
    let sent = world.fail(&to_bob[0]);
    assert_eq!(lines(&sent), ["1 SIP/2.0 480 Temporarily Unavailable"]);
}

#[test]
fn the_first_phone_to_answer_gets_the_call() {
    let mut world = World::with_phones();
    world.register("bob", BOB_TOO);
    let to_bob = invite(&mut world, 1);
    assert_eq!(to_bob.len(), 2);
    for phone in &to_bob {
        let from = phone.to.to_string();
        world.deliver(&from, &response(&phone.message, "180 Ringing", ""));
    }
    let second = to_bob
        .iter()
        .find(|sent| sent.to.to_string() == BOB_TOO)
        .unwrap();
    let sent = world.deliver(BOB_TOO, &response(&second.message, "200 OK", ""));
    assert_eq!(
        lines(&sent),
        [
            "1 SIP/2.0 200 OK",
            "2 CANCEL sip:bob@198.51.100.2:5060 SIP/2.0"
        ]
    );
    assert_eq!(
        sent[1].header(HeaderName::Reason),
        Some("SIP;cause=200;text=\"Call completed elsewhere\"")
    );
    assert!(matches!(
        world.events.last(),
        Some(CallEvent::Answered { .. })
    ));
}

#[test]
fn the_best_of_the_refusals_is_given() {
    for (first, second, expect) in [
        ("486 Busy Here", "404 Not Found", "486 Busy Here"),
        (
            "480 Temporarily Unavailable",
            "486 Busy Here",
            "486 Busy Here",
        ),
        ("503 Service Unavailable", "500 Oops", "500 Oops"),
        (
            "503 Service Unavailable",
            "503 Service Unavailable",
            "500 Server Internal Error",
        ),
    ] {
        let mut world = World::with_phones();
        world.register("bob", BOB_TOO);
        let to_bob = invite(&mut world, 1);
        let refuse = |world: &mut World, sent: &Sent, status| {
            let from = sent.to.to_string();
            lines(&world.deliver(&from, &response(&sent.message, status, "")))
        };
        assert_eq!(
            refuse(&mut world, &to_bob[0], first).len(),
            1,
            "only an ACK"
        );
        let last = refuse(&mut world, &to_bob[1], second);
        assert_eq!(last[1], format!("1 SIP/2.0 {expect}"));
    }
}

#[test]
fn a_refusal_for_all_ends_it() {
    let mut world = World::with_phones();
    world.register("bob", BOB_TOO);
    let to_bob = invite(&mut world, 1);
    for phone in &to_bob {
        let from = phone.to.to_string();
        world.deliver(&from, &response(&phone.message, "180 Ringing", ""));
    }
    let from = to_bob[0].to.to_string();
    let sent = world.deliver(&from, &response(&to_bob[0].message, "603 Decline", ""));
    assert_eq!(sent.len(), 2);
    assert!(sent[1].first_line().starts_with("CANCEL"));
    let from = to_bob[1].to.to_string();
    let sent = world.deliver(
        &from,
        &response(&to_bob[1].message, "487 Request Terminated", ""),
    );
    assert_eq!(sent[1].first_line(), "SIP/2.0 603 Decline");
}

#[test]
fn preferred_phones_ring_first() {
    let mut world = World::with_phones();
    let less = super::world::register(
        "bob",
        BOB_TOO,
        1,
        &format!("Contact: <sip:bob@{BOB_TOO}>;q=0.5\n"),
    );
    world.with_password(BOB_TOO, "builder", &less);
    let to_bob = invite(&mut world, 1);
    assert_eq!(
        lines(&to_bob),
        ["2 INVITE sip:bob@198.51.100.2:5060 SIP/2.0"]
    );
    let sent = world.deliver(BOB, &response(&to_bob[0].message, "486 Busy Here", ""));
    assert_eq!(
        lines(&sent)[1],
        "22 INVITE sip:bob@198.51.100.22:5060 SIP/2.0"
    );
    let sent = world.deliver(BOB_TOO, &response(&sent[1].message, "480 Gone", ""));
    assert_eq!(lines(&sent)[1], "1 SIP/2.0 486 Busy Here");
}

#[test]
fn a_dialog_is_closed_to_strangers() {
    let mut world = World::with_phones();
    let to_bob = invite(&mut world, 1);
    let ok = response(&to_bob[0].message, "200 OK", "");
    let answered = world.deliver(BOB, &ok);
    let bye = within(&answered[0], "BYE", 2, true);
    // Another call's route, a changed one, and none.
    for forged in [
        bye.replace("Call-ID: call", "Call-ID: other"),
        bye.replace("tag=a", "tag=x"),
        bye.replace("Route: <sip:A", "Route: <sip:B"),
    ] {
        let refused = world.deliver(MALLORY, &forged);
        assert_eq!(refused.len(), 1);
        assert_eq!(
            refused[0].to.ip().to_string(),
            MALLORY.split(':').next().unwrap()
        );
    }
    assert!(outcomes(&world).is_empty());
}

#[test]
fn a_phone_that_moved_is_found() {
    const MOVED: &str = "198.51.100.77:40000";
    let mut world = World::with_phones();
    let to_bob = invite(&mut world, 1);
    let answered = world.deliver(BOB, &response(&to_bob[0].message, "200 OK", ""));
    // Bob's address changes; his phone says so with a re-INVITE.
    let moved = world.deliver(MOVED, &within(&answered[0], "INVITE", 3, false));
    assert_eq!(lines(&moved)[1], "1 INVITE sip:198.51.100.1:5060 SIP/2.0");
    let bye = world.deliver(ALICE, &within(&answered[0], "BYE", 2, true));
    assert_eq!(bye[0].to.to_string(), MOVED);
}

#[test]
fn a_strict_router_is_understood() {
    let mut world = World::with_phones();
    let to_bob = invite(&mut world, 1);
    let answered = world.deliver(BOB, &response(&to_bob[0].message, "200 OK", ""));
    let route = answered[0].header(HeaderName::RecordRoute).unwrap();
    let uri = route.trim_matches(['<', '>']);
    let bye = within(&answered[0], "BYE", 2, true);
    let bye = bye.replacen(&format!("BYE sip:{BOB} "), &format!("BYE {uri} "), 1);
    let bye = bye.replace(&format!("Route: {route}"), &format!("Route: <sip:{BOB}>"));
    let passed = world.deliver(ALICE, &bye);
    assert_eq!(lines(&passed), ["2 BYE sip:198.51.100.2:5060 SIP/2.0"]);
    assert!(passed[0].header(HeaderName::Route).is_none());
}

#[test]
fn a_request_outside_a_call_gets_one_answer_or_none() {
    let mut world = World::with_phones();
    let text = request("MESSAGE", BOB_URI, 1, "");
    let sent = world.with_password(ALICE, "wonderland", &text);
    assert_eq!(
        lines(&sent),
        ["2 MESSAGE sip:bob@198.51.100.2:5060 SIP/2.0"]
    );
    let answer = world.deliver(BOB, &response(&sent[0].message, "202 Accepted", ""));
    assert_eq!(lines(&answer), ["1 SIP/2.0 202 Accepted"]);
    let sent = world.with_password(ALICE, "wonderland", &request("MESSAGE", BOB_URI, 2, ""));
    assert_eq!(sent.len(), 1);
    // RFC 4320: no 408 for what is not an INVITE.
    let all = world.pass(Duration::from_secs(100));
    assert_eq!(all.len(), 10);
    assert!(all.iter().all(|(_, sent)| sent.to.to_string() == BOB));
    assert_eq!(world.engine.transactions(), 0);
    assert!(world.events.is_empty());
}

#[test]
fn two_sides_on_different_transports_get_two_routes() {
    use crate::wire::{Limits, Message, Transport};
    let mut world = World::with_phones();
    let tcp = super::world::register(
        "bob",
        BOB,
        2,
        &format!("Contact: <sip:bob@{BOB};transport=tcp>\n"),
    );
    world.with_password(
        BOB,
        "builder",
        &tcp.replace("Content-Length", "Expires: 3600\nContent-Length"),
    );
    let clear = super::world::register(
        "bob",
        BOB,
        3,
        &format!("Contact: <sip:bob@{BOB}>;expires=0\n"),
    );
    world.with_password(BOB, "builder", &clear);
    let sent = invite(&mut world, 1);
    let routes: Vec<_> = sent[0].message.list(HeaderName::RecordRoute).collect();
    assert_eq!(routes.len(), 2);
    assert!(
        routes[0].ends_with(b";transport=tcp;lr>") && routes[1].ends_with(b";transport=udp;lr>")
    );
    assert!(
        sent[0]
            .header(HeaderName::Via)
            .unwrap()
            .starts_with("SIP/2.0/TCP")
    );
    let answered = world.deliver(BOB, &response(&sent[0].message, "200 OK", ""));
    let bye = world.deliver(ALICE, &within(&answered[0], "BYE", 2, true));
    let bye = Message::parse(bye[0].message.bytes().clone(), &Limits::default()).unwrap();
    assert!(bye.value(HeaderName::Route).is_none());
    assert_eq!(
        bye.via().unwrap().transport,
        Transport::Tcp.as_str().as_bytes()
    );
}
