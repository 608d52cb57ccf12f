use std::time::Duration;

use super::world::{ALICE, BOB_URI, MALLORY, World, lines, request, response};
use crate::{tests::torture, wire::HeaderName};

/// What the whole engine makes of the torture messages that its parser lets through.
#[test]
fn torture_messages_are_answered_as_the_rfc_asks() {
    for torture in torture::all() {
        let mut world = World::new();
        world.settings.domains = ["example.com", "example.org", "registrar.example.com"]
            .map(str::to_owned)
            .to_vec();
        let sent = world.deliver_broken(MALLORY, &torture.bytes);
        let status = sent
            .first()
            .map(|line| line.split(' ').nth(1).unwrap().parse::<u16>().unwrap());
        let name = torture.name.as_str();
        match torture.expect.as_str() {
            "discard" => assert!(sent.is_empty(), "{name}: {status:?}"),
            "400 or 501" => assert!(matches!(status, Some(400 | 501)), "{name}: {status:?}"),
            expect if expect.contains("405 or 501") => {
                assert!(matches!(status, Some(405 | 501)), "{name}: {status:?}");
            }
            expect if expect.starts_with("accept") => match name {
                // Responses, which are to nothing that was asked.
                "unreason" | "noreason" => assert!(sent.is_empty(), "{name}"),
                "unksm2" => assert_eq!(status, Some(400), "{name}: we are a registrar"),
                // To ask who it is, or to say that it is for elsewhere, is to have understood it.
                _ => assert!(
                    matches!(status, Some(401 | 403 | 404 | 407)),
                    "{name}: {status:?}"
                ),
            },
            // A registrar asks who it is before it reads what is to be registered.
            _ if name == "regbadct" => assert_eq!(status, Some(401), "{name}"),
            expect => assert_eq!(status, expect.parse().ok(), "{name}"),
        }
    }
}

fn check(world: &mut World, text: &str, expect: &str) {
    assert_eq!(
        lines(&world.deliver(ALICE, text)),
        [format!("1 SIP/2.0 {expect}")],
        "{text}"
    );
}

#[test]
fn we_are_nobodys_way_to_elsewhere() {
    let mut world = World::with_phones();
    let to_route = |route: &str| request("INVITE", BOB_URI, 1, &format!("Route: {route}\n"));
    for text in [
        request("INVITE", "sip:victim@example.com", 1, ""),
        request("INVITE", "sip:victim@203.0.113.9", 1, ""),
        to_route("<sip:203.0.113.9;lr>"),
        to_route("<sip:192.0.2.1;lr>, <sip:203.0.113.9;lr>"),
    ] {
        check(&mut world, &text, "403 Relaying Denied");
    }
    check(
        &mut world,
        &request("INVITE", "tel:+12015550123", 1, ""),
        "416 Unsupported URI Scheme",
    );
}

#[test]
fn what_is_for_us_is_answered_by_us() {
    let mut world = World::new();
    check(
        &mut world,
        &request("OPTIONS", "sip:example.org", 1, ""),
        "200 OK",
    );
    check(
        &mut world,
        &request("OPTIONS", "sip:192.0.2.1:5060", 2, ""),
        "200 OK",
    );
    check(
        &mut world,
        &request("NEW", "sip:example.org", 3, ""),
        "501 Not Implemented",
    );
    check(
        &mut world,
        &request("SUBSCRIBE", "sip:example.org", 4, ""),
        "489 Bad Event",
    );
    check(
        &mut world,
        &request("BYE", "sip:example.org", 5, ""),
        "481 Call/Transaction Does Not Exist",
    );
    check(
        &mut world,
        &request("CANCEL", BOB_URI, 6, ""),
        "481 Call/Transaction Does Not Exist",
    );
    check(
        &mut world,
        &request("OPTIONS", "sip:example.org", 7, "Require: x\n"),
        "420 Bad Extension",
    );
    let text = request("INVITE", BOB_URI, 8, "Proxy-Require: x\n");
    check(&mut world, &text, "420 Bad Extension");
    let text = request("OPTIONS", BOB_URI, 9, "").replace("Forwards: 70", "Forwards: 0");
    check(&mut world, &text, "483 Too Many Hops");
    assert!(
        world
            .deliver(ALICE, &request("ACK", BOB_URI, 9, ""))
            .is_empty()
    );
    assert_eq!(world.engine.transactions(), 0);
}

#[test]
fn only_users_learn_who_exists() {
    let mut world = World::with_phones();
    for user in ["bob", "carol", "nobody"] {
        let uri = format!("sip:{user}@example.org");
        check(
            &mut world,
            &request("INVITE", &uri, 1, ""),
            "407 Proxy Authentication Required",
        );
    }
    let ask = |world: &mut World, user: &str, cseq| {
        let uri = format!("sip:{user}@example.org");
        let text = request("OPTIONS", &uri, cseq, "");
        lines(&world.with_password(ALICE, "wonderland", &text))
    };
    assert_eq!(
        ask(&mut world, "carol", 10),
        ["1 SIP/2.0 480 Temporarily Unavailable"]
    );
    assert_eq!(ask(&mut world, "nobody", 11), ["1 SIP/2.0 404 Not Found"]);
    assert_eq!(
        ask(&mut world, "100", 13),
        ["2 OPTIONS sip:bob@198.51.100.2:5060 SIP/2.0"],
        "an extension"
    );
    assert_eq!(
        ask(&mut world, "no%00body", 12),
        ["1 SIP/2.0 404 Not Found"]
    );
}

#[test]
fn nobody_calls_in_anothers_name() {
    let mut world = World::with_phones();
    for from in [
        "sip:bob@example.org",
        "sip:alice@example.com",
        "tel:+15551234",
    ] {
        let text = request("INVITE", BOB_URI, 1, "").replace("sip:alice@example.org", from);
        let challenge = world.deliver(ALICE, &text);
        assert_eq!(challenge[0].message.status(), Some(407));
        let as_alice = request("INVITE", BOB_URI, 1, "");
        let answer = super::world::answered(&challenge[0].message, "wonderland", &as_alice);
        let answer = answer.replacen("<sip:alice@example.org>", &format!("<{from}>"), 1);
        let refused = world.deliver(ALICE, &answer);
        let last = refused.last().unwrap();
        assert_eq!(last.first_line(), "SIP/2.0 403 From Is Not Yours");
        world.pass(Duration::from_secs(70));
    }
}

#[test]
fn a_request_that_comes_back_is_a_loop() {
    let mut world = World::with_phones();
    let sent = world.with_password(ALICE, "wonderland", &request("INVITE", BOB_URI, 1, ""));
    let forwarded = &sent[1];
    // Bob's phone, or a proxy before it, sends it back as we first saw it.
    let text = String::from_utf8_lossy(forwarded.message.bytes()).replace("\r\n", "\n");
    let text = text.replacen("sip:bob@198.51.100.2:5060 ", "sip:bob@example.org ", 1);
    let text = text.replacen(
        "Via:",
        "Via: SIP/2.0/UDP 198.51.100.2;branch=z9hG4bKback\nVia:",
        1,
    );
    let answer = world.deliver("198.51.100.2:5060", &text);
    assert_eq!(lines(&answer), ["2 SIP/2.0 482 Loop Detected"]);
}

#[test]
fn a_request_that_comes_twice_is_merged() {
    let mut world = World::with_phones();
    let text = request("INVITE", BOB_URI, 1, "");
    let challenge = world.deliver(ALICE, &text);
    let text = super::world::answered(&challenge[0].message, "wonderland", &text);
    assert_eq!(world.deliver(ALICE, &text).len(), 2);
    let again = text.replacen("branch=z9hG4bK", "branch=z9hG4bKother", 1);
    assert_eq!(
        lines(&world.deliver(ALICE, &again)),
        ["1 SIP/2.0 482 Loop Detected"]
    );
}

#[test]
fn a_script_may_refuse_and_redirect() {
    use crate::engine::Decision;
    let mut world = World::with_phones();
    let call = |world: &mut World, cseq, decision| {
        world.script = Some(decision);
        let text = request("INVITE", "sip:carol@example.org", cseq, "");
        let sent = world.with_password(ALICE, "wonderland", &text);
        lines(&sent).pop().unwrap()
    };
    let refuse = Decision::Refuse(603, "Not Today".to_owned());
    assert_eq!(call(&mut world, 1, refuse), "1 SIP/2.0 603 Not Today");
    let inject = Decision::Refuse(603, "No\r\nInjected: header".to_owned());
    assert_eq!(call(&mut world, 2, inject), "1 SIP/2.0 603 Decline");
    let to_bob = Decision::Redirect("sip:bob@example.org".to_owned());
    assert_eq!(
        call(&mut world, 3, to_bob),
        "2 INVITE sip:bob@198.51.100.2:5060 SIP/2.0"
    );
    let away = Decision::Redirect("sip:bob@example.com".to_owned());
    assert_eq!(call(&mut world, 4, away), "1 SIP/2.0 302 Moved Temporarily");
    assert_eq!(
        call(&mut world, 5, Decision::Continue),
        "1 SIP/2.0 480 Temporarily Unavailable"
    );
}

#[test]
fn a_flood_is_cut_off_and_others_are_served() {
    let mut world = World::with_phones();
    world.settings.unauthenticated_per_second = 10;
    let answered = (0..1000)
        .map(|cseq| {
            world
                .deliver(MALLORY, &request("OPTIONS", "sip:example.org", cseq, ""))
                .len()
        })
        .sum::<usize>();
    assert_eq!(answered, 40);
    // Those who show who they are get back what their first attempt took.
    for cseq in 1..200 {
        let text = request("OPTIONS", "sip:nobody@example.org", cseq, "");
        let sent = world.with_password(ALICE, "wonderland", &text);
        assert_eq!(sent.last().unwrap().message.status(), Some(404));
    }
}

#[test]
fn nobody_opens_more_transactions_than_allowed() {
    let mut world = World::with_phones();
    world.settings.transactions_per_source = 3;
    let invite = |world: &mut World, cseq: u32| {
        let text = request("INVITE", BOB_URI, cseq, "")
            .replace("Call-ID: call", &format!("Call-ID: {cseq}"));
        let sent = world.with_password(ALICE, "wonderland", &text);
        sent.last().unwrap().first_line().to_owned()
    };
    world.pass(Duration::from_secs(60));
    for cseq in 0..3 {
        assert!(invite(&mut world, cseq).starts_with("INVITE"));
    }
    assert_eq!(invite(&mut world, 3), "SIP/2.0 503 Service Unavailable");
}

#[test]
fn who_drains_lets_no_new_call_in() {
    let mut world = World::with_phones();
    world.draining = true;
    check(
        &mut world,
        &request("INVITE", BOB_URI, 1, ""),
        "503 Service Unavailable",
    );
}

#[test]
fn responses_to_nothing_are_dropped() {
    let mut world = World::with_phones();
    let sent = world.with_password(ALICE, "wonderland", &request("INVITE", BOB_URI, 1, ""));
    let forged = response(&sent[1].message, "200 OK", "");
    let via = sent[1].header(HeaderName::Via).unwrap();
    let start = via.find("z9hG4bK").unwrap();
    let branch = via[start..].split(';').next().unwrap();
    let mut parts: Vec<&str> = branch.split('.').collect();
    parts[1] = "1";
    let forged = forged.replace(branch, &parts.join("."));
    assert!(world.deliver(MALLORY, &forged).is_empty());
}

#[test]
fn a_stranger_gets_little_more_than_he_sent() {
    let mut world = World::new();
    for text in [
        request("OPTIONS", "sip:example.org", 1, "User-Agent: a phone\n"),
        request("NEW", BOB_URI, 2, ""),
        request("INVITE", "sip:victim@example.com", 3, ""),
        request("SUBSCRIBE", "sip:example.org", 4, ""),
    ] {
        let sent = world.deliver(MALLORY, &text);
        let asked = text.replace('\n', "\r\n").len();
        let answered = sent[0].message.bytes().len();
        assert!(
            answered * 10 <= asked * 13,
            "{asked} octets asked, {answered} answered"
        );
    }
}
