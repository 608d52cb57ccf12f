//! Trunks: registered at, asked after, called through, and called from.

use std::time::Duration;

use super::world::{ALICE, BOB, Sent, UNIX, World, lines, request, response};
use crate::{
    engine::{CallEvent, Registration},
    wire::HeaderName,
};

const ONE: &str = "203.0.113.1:5060";
const TWO: &str = "203.0.113.2:5060";

const PLAN: &str = r#"
default_class = "all"
class = [{ name = "all", allow = ["_0."] }]
trunk = [{ name = "one", servers = ["one.example.net"], username = "office", password = "secret",
           register = true, qualify = "0s", domain = "example.net" }]
route = [
  { match = "_0.", to = ["trunk:one"], strip = 1, prefix = "+" },
  { match = "+4930123", from = ["trunk:one"], to = ["bob"] },
]
"#;

fn world(qualify: &str) -> World {
    let mut world = World::with_phones();
    world.plan(&PLAN.replace("0s", qualify));
    world
}

const CHALLENGE: &str = "WWW-Authenticate: Digest realm=\"net\", nonce=\"n\", algorithm=MD5, qop=\"auth\"\n\
                         WWW-Authenticate: Digest realm=\"net\", nonce=\"n\", algorithm=SHA-256, qop=\"auth\"\n";

/// The requests of a name among what is sent in a time, each once.
fn sent(world: &mut World, time: u64, name: &str) -> Vec<(u64, Sent)> {
    let mut seen: Vec<(u64, Sent)> = Vec::new();
    for (at, sent) in world.pass(Duration::from_secs(time)) {
        let same = |(_, known): &(u64, Sent)| known.message.bytes() == sent.message.bytes();
        if sent.first_line().starts_with(name) && !seen.iter().any(same) {
            seen.push((at.as_secs(), sent));
        }
    }
    seen
}

fn registration(world: &World) -> Registration {
    world.shared.trunks.state("one").registration
}

#[test]
fn a_registration_is_kept_up_for_ever() {
    let mut world = world("0s");
    let first = world.look_after(&[ONE]);
    assert_eq!(lines(&first), ["1 REGISTER sip:example.net SIP/2.0"]);
    assert_eq!(first[0].header(HeaderName::Expires), Some("3600"));
    assert_eq!(
        first[0].header(HeaderName::Contact),
        Some("<sip:office@192.0.2.1:5060;transport=udp>")
    );
    let challenged = response(&first[0].message, "401 Unauthorized", CHALLENGE);
    let second = world.deliver(ONE, &challenged);
    let answer = second[0].header(HeaderName::Authorization).unwrap();
    assert!(answer.contains("algorithm=SHA-256") && answer.contains("username=\"office\""));
    let cseq = |sent: &Sent| sent.message.cseq().unwrap().number;
    assert_eq!(cseq(&second[0]), cseq(&first[0]) + 1);
    // It wants longer ones.
    let brief = response(
        &second[0].message,
        "423 Interval Too Brief",
        "Min-Expires: 4000\n",
    );
    let third = world.deliver(ONE, &brief);
    assert_eq!(third[0].header(HeaderName::Expires), Some("4000"));
    let granted =
        "Contact: <sip:other@192.0.2.7>;expires=500, <sip:office@192.0.2.1>;expires=100\n";
    assert!(
        world
            .deliver(ONE, &response(&third[0].message, "200 OK", granted))
            .is_empty()
    );
    assert_eq!(registration(&world), Registration::Until(UNIX + 100));
    let again = sent(&mut world, 90, "REGISTER");
    assert_eq!(again.len(), 1);
    assert_eq!(again[0].0, 80);

    // Refused, then silent: again and again, less and less often.
    let refused = response(&again[0].1.message, "503 Service Unavailable", "");
    assert!(world.deliver(ONE, &refused).is_empty());
    assert_eq!(registration(&world), Registration::Failed(503));
    let tries: Vec<u64> = sent(&mut world, 4000, "REGISTER")
        .iter()
        .map(|(at, _)| *at)
        .collect();
    let waits: Vec<u64> = tries.windows(2).map(|pair| pair[1] - pair[0]).collect();
    // Each is given 32 s to be answered in.
    assert_eq!(waits[..6], [62, 92, 152, 272, 512, 632], "{tries:?}");
    assert_eq!(registration(&world), Registration::Failed(408));
    let last = loop {
        if let Some((_, last)) = sent(&mut world, 1, "REGISTER").pop() {
            break last;
        }
    };
    let ok = response(&last.message, "200 OK", "Expires: 3600\n");
    world.deliver(ONE, &ok);
    assert!(matches!(registration(&world), Registration::Until(_)));

    // The trunk is taken out of the configuration: it is told.
    world.settings.trunks.clear();
    let bye = world.look_after(&[]);
    assert_eq!(bye[0].header(HeaderName::Expires), Some("0"));
}

#[test]
fn a_password_is_not_tried_twice() {
    let mut world = world("0s");
    let first = world.look_after(&[ONE]);
    let second = world.deliver(
        ONE,
        &response(&first[0].message, "401 Unauthorized", CHALLENGE),
    );
    let third = world.deliver(
        ONE,
        &response(&second[0].message, "401 Unauthorized", CHALLENGE),
    );
    assert!(third.is_empty());
    assert_eq!(registration(&world), Registration::Failed(401));
}

#[test]
fn servers_are_asked_whether_they_are_there() {
    let mut world = world("60s");
    let first = world.look_after(&[ONE, TWO]);
    let asked: Vec<&Sent> = first
        .iter()
        .filter(|sent| sent.first_line().starts_with("OPTIONS"))
        .collect();
    assert_eq!(asked.len(), 2);
    let one = asked
        .iter()
        .find(|sent| sent.to.to_string() == ONE)
        .unwrap();
    let register = first
        .iter()
        .find(|sent| sent.first_line().starts_with("REGISTER"))
        .unwrap();
    world.deliver(ONE, &response(&register.message, "200 OK", ""));
    // That it will not say is an answer as well.
    world.deliver(ONE, &response(&one.message, "405 Method Not Allowed", ""));
    world.pass(Duration::from_secs(33));
    let state = world.shared.trunks.state("one");
    let up: Vec<bool> = state.servers.iter().map(|(_, up)| *up).collect();
    assert_eq!(up, [true, false]);
    let again = sent(&mut world, 30, "OPTIONS");
    assert_eq!(again.len(), 2);
    for (_, asked) in &again {
        let from = asked.to.to_string();
        world.deliver(&from, &response(&asked.message, "200 OK", ""));
    }
    let state = world.shared.trunks.state("one");
    assert!(state.servers.iter().all(|(_, up)| *up));
}

fn call_out(world: &mut World) -> Vec<Sent> {
    let text = request(
        "INVITE",
        "sip:030123@example.org",
        1,
        "P-Asserted-Identity: <sip:x@y>\n",
    );
    let mut sent = world.with_password(ALICE, "wonderland", &text);
    assert_eq!(sent.remove(0).first_line(), "SIP/2.0 100 Trying");
    sent
}

#[test]
fn a_call_goes_out_with_our_password() {
    let mut world = world("0s");
    world.look_after(&[ONE]);
    let out = call_out(&mut world);
    assert_eq!(lines(&out), ["1 INVITE sip:+30123@example.net SIP/2.0"]);
    assert_eq!(
        out[0].header(HeaderName::From),
        Some("<sip:office@example.net>;tag=a")
    );
    let asserted: Vec<&[u8]> = out[0]
        .message
        .lines(HeaderName::PAssertedIdentity)
        .collect();
    assert_eq!(asserted, [b"<sip:alice@example.net>"]);
    assert!(out[0].header(HeaderName::ProxyAuthorization).is_none());

    let asks = "Proxy-Authenticate: Digest realm=\"net\", nonce=\"n\", qop=\"auth\"\n";
    let challenged = response(&out[0].message, "407 Proxy Authentication Required", asks);
    let again = world.deliver(ONE, &challenged);
    assert_eq!(
        lines(&again),
        [
            "1 ACK sip:+30123@example.net SIP/2.0",
            "1 INVITE sip:+30123@example.net SIP/2.0"
        ]
    );
    let second = &again[1];
    assert!(
        second
            .header(HeaderName::ProxyAuthorization)
            .unwrap()
            .contains("username=\"office\"")
    );
    assert_eq!(second.header(HeaderName::CSeq), Some("2 INVITE"));
    let ok = response(
        &second.message,
        "200 OK",
        &format!("Contact: <sip:{ONE}>\n"),
    );
    let answered = world.deliver(ONE, &ok);
    assert_eq!(lines(&answered), ["1 SIP/2.0 200 OK"]);
    assert_eq!(answered[0].header(HeaderName::CSeq), Some("1 INVITE"));
    assert_eq!(
        answered[0].header(HeaderName::From),
        Some("<sip:alice@example.org>;tag=a")
    );

    let routes = answered[0]
        .header(HeaderName::RecordRoute)
        .unwrap()
        .to_owned();
    let within = |method: &str, cseq: u32, more: &str| {
        format!(
            "{method} sip:{ONE} SIP/2.0\nVia: SIP/2.0/UDP {ALICE};branch=z9hG4bKin{method}{cseq}\n\
             Route: {routes}\nFrom: <sip:alice@example.org>;tag=a\n\
             To: <sip:030123@example.org>;tag=b\nCall-ID: call\nCSeq: {cseq} {method}\n\
             Max-Forwards: 70\n{more}Content-Length: 0\n\n"
        )
    };
    let ack = world.deliver(ALICE, &within("ACK", 1, ""));
    assert_eq!(ack[0].header(HeaderName::CSeq), Some("2 ACK"));
    let prack = world.deliver(ALICE, &within("PRACK", 2, "RAck: 77 1 INVITE\n"));
    assert_eq!(prack[0].header(HeaderName::CSeq), Some("3 PRACK"));
    assert_eq!(prack[0].header(HeaderName::RAck), Some("77 2 INVITE"));
    let bye = world.deliver(ALICE, &within("BYE", 3, ""));
    assert_eq!(bye[0].header(HeaderName::CSeq), Some("4 BYE"));
    let over = world.deliver(ONE, &response(&bye[0].message, "200 OK", ""));
    assert_eq!(over[0].header(HeaderName::CSeq), Some("3 BYE"));
    assert!(matches!(
        world.events.last(),
        Some(CallEvent::Ended {
            outcome: "answered",
            ..
        })
    ));
}

#[test]
fn a_challenge_that_we_cannot_answer_is_not_the_callers() {
    let mut world = world("0s");
    world.look_after(&[ONE]);
    let out = call_out(&mut world);
    let asks = "Proxy-Authenticate: Digest realm=\"net\", nonce=\"n\", algorithm=ODD\n";
    let challenged = response(&out[0].message, "407 Proxy Authentication Required", asks);
    let after = world.deliver(ONE, &challenged);
    assert_eq!(
        lines(&after),
        [
            "1 ACK sip:+30123@example.net SIP/2.0",
            "1 SIP/2.0 502 Bad Gateway"
        ]
    );
}

#[test]
fn another_server_is_called_when_one_is_silent_but_not_when_it_is_busy() {
    let mut world = world("0s");
    world.look_after(&[ONE, TWO]);
    let out = call_out(&mut world);
    assert_eq!(out[0].to.to_string(), ONE);
    let second = sent(&mut world, 5, "INVITE");
    let (at, second) = second
        .iter()
        .find(|(_, sent)| sent.to.to_string() == TWO)
        .unwrap();
    assert_eq!(*at, 4);
    let busy = world.deliver(TWO, &response(&second.message, "486 Busy Here", ""));
    assert_eq!(
        lines(&busy),
        [
            "2 ACK sip:+30123@example.net SIP/2.0",
            "1 SIP/2.0 486 Busy Here"
        ]
    );

    let mut world = super::trunks::world("0s");
    world.look_after(&[ONE, TWO]);
    let out = call_out(&mut world);
    let busy = world.deliver(ONE, &response(&out[0].message, "486 Busy Here", ""));
    assert_eq!(
        lines(&busy).last().map(String::as_str),
        Some("1 SIP/2.0 486 Busy Here")
    );
}

fn from_outside(uri: &str, to: &str) -> String {
    format!(
        "INVITE {uri} SIP/2.0\nVia: SIP/2.0/UDP {ONE};branch=z9hG4bKout\n\
         From: <sip:+4917@example.net>;tag=o\nTo: <{to}>\nCall-ID: in\nCSeq: 1 INVITE\n\
         Max-Forwards: 70\nP-Asserted-Identity: <sip:+4917@example.net>\n\
         Contact: <sip:{ONE}>\nContent-Length: 0\n\n"
    )
}

#[test]
fn calls_come_in_only_from_the_trunk_and_only_to_its_routes() {
    let did = "sip:+4930123@example.org";
    for (from, uri, to, expected) in [
        (ONE, did, did, "2 INVITE sip:bob@198.51.100.2:5060 SIP/2.0"),
        // What we have registered as; To says who was dialled.
        (
            ONE,
            "sip:office@192.0.2.1:5060",
            did,
            "2 INVITE sip:bob@198.51.100.2:5060 SIP/2.0",
        ),
        // Everybody and everything else is asked for a password.
        (TWO, did, did, "2 SIP/2.0 407 Proxy Authentication Required"),
        (
            ONE,
            "sip:bob@example.org",
            did,
            "1 SIP/2.0 407 Proxy Authentication Required",
        ),
        (
            ONE,
            "sip:030123@example.org",
            did,
            "1 SIP/2.0 407 Proxy Authentication Required",
        ),
    ] {
        let mut world = world("0s");
        world.look_after(&[ONE]);
        let sent = world.deliver(from, &from_outside(uri, to));
        let last = lines(&sent).pop().unwrap();
        assert_eq!(last, expected, "{from} {uri}");
        if last.starts_with("2 INVITE") {
            let sent = sent.last().unwrap();
            assert_eq!(
                sent.header(HeaderName::PAssertedIdentity),
                Some("<sip:+4917@example.net>")
            );
            world.deliver(
                BOB,
                &response(&sent.message, "200 OK", "Contact: <sip:b@c>\n"),
            );
            assert!(matches!(
                &world.events[0],
                CallEvent::Started { from, .. } if from == "+4917@example.net"
            ));
            assert_eq!(world.calls_of("bob"), 1);
        }
    }
}
