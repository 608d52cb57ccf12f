use std::time::Duration;

use super::world::{ALICE, BOB, MALLORY, World, answered, lines, register};
use crate::wire::HeaderName;

fn contact(at: &str) -> String {
    format!("Contact: <sip:alice@{at}>\n")
}

#[test]
fn a_registration_is_challenged_accepted_and_runs_out() {
    let mut world = World::new();
    let text = register("alice", ALICE, 1, &contact(ALICE));
    let challenge = world.deliver(ALICE, &text);
    assert_eq!(lines(&challenge), ["1 SIP/2.0 401 Unauthorized"]);
    let offers: Vec<_> = challenge[0]
        .message
        .lines(HeaderName::WwwAuthenticate)
        .collect();
    assert_eq!(offers.len(), 2);
    assert!(offers[1].ends_with(b"algorithm=MD5, qop=\"auth\""));

    let answer = world.with_password(ALICE, "wonderland", &text);
    assert_eq!(lines(&answer), ["1 SIP/2.0 200 OK"]);
    assert_eq!(
        answer[0].header(HeaderName::Contact),
        Some("<sip:alice@198.51.100.1:5060>;expires=3600")
    );
    assert_eq!(world.logins, [("alice@example.org".to_owned(), true)]);
    assert_eq!(
        world.engine.transactions(),
        1,
        "only the one that waited for the secret"
    );
    world.pass(Duration::from_secs(3599));
    assert_eq!(world.bound("alice"), 1);
    world.pass(Duration::from_secs(1));
    assert_eq!(world.bound("alice"), 0);
    assert_eq!(world.engine.transactions(), 0);
}

#[test]
fn what_is_not_written_down_is_not_accepted() {
    let mut world = World::new();
    world.store_fails = true;
    let text = register("alice", ALICE, 1, &contact(ALICE));
    let answer = world.with_password(ALICE, "wonderland", &text);
    assert_eq!(lines(&answer), ["1 SIP/2.0 500 Server Internal Error"]);
    world.store_fails = false;
    let text = register("alice", ALICE, 2, &contact(ALICE));
    let answer = world.with_password(ALICE, "wonderland", &text);
    assert_eq!(lines(&answer), ["1 SIP/2.0 200 OK"]);
}

#[test]
fn an_answer_works_once_but_for_its_retransmission() {
    let mut world = World::new();
    let text = register("alice", ALICE, 1, &contact(ALICE));
    let challenge = world.deliver(ALICE, &text);
    let first = answered(&challenge[0].message, "wonderland", &text);
    assert_eq!(lines(&world.deliver(ALICE, &first)), ["1 SIP/2.0 200 OK"]);
    assert_eq!(lines(&world.deliver(ALICE, &first)), ["1 SIP/2.0 200 OK"]);

    let other = register("alice", ALICE, 2, &contact(MALLORY));
    let replayed = answered(&challenge[0].message, "wonderland", &other);
    let refused = world.deliver(ALICE, &replayed);
    assert_eq!(lines(&refused), ["1 SIP/2.0 401 Unauthorized"]);
    assert!(
        refused[0]
            .header(HeaderName::WwwAuthenticate)
            .unwrap()
            .contains("stale=true")
    );
    // Nor from elsewhere.
    let elsewhere = register("alice", MALLORY, 2, &contact(MALLORY));
    let stolen = answered(&challenge[0].message, "wonderland", &elsewhere);
    assert_eq!(
        lines(&world.deliver(MALLORY, &stolen)),
        ["66 SIP/2.0 401 Unauthorized"]
    );

    let late = register("alice", ALICE, 3, &contact(ALICE));
    let challenge = world.deliver(ALICE, &late);
    world.pass(Duration::from_secs(31));
    let refused = world.deliver(ALICE, &answered(&challenge[0].message, "wonderland", &late));
    assert!(
        refused[0]
            .header(HeaderName::WwwAuthenticate)
            .unwrap()
            .contains("stale=true")
    );
}

#[test]
fn nobody_learns_who_exists() {
    let mut world = World::new();
    let refusal = |world: &mut World, user: &str| {
        let text = register(user, ALICE, 1, &contact(ALICE));
        let answer = world.with_password(ALICE, "a guess", &text);
        let text = String::from_utf8_lossy(answer[0].message.bytes()).replace(user, "USER");
        let start = text.find("nonce=").unwrap();
        let kept = text.lines().filter(|line| {
            !line.contains("nonce=") && !line.starts_with("To:") && !line.starts_with("Via:")
        });
        assert!(start > 0);
        kept.collect::<Vec<_>>().join("\n")
    };
    assert_eq!(refusal(&mut world, "alice"), refusal(&mut world, "nobody"));
    assert_eq!(
        world.logins,
        [
            ("alice@example.org".to_owned(), false),
            ("nobody@example.org".to_owned(), false)
        ]
    );
    assert_eq!(world.bound("alice"), 0);
}

#[test]
fn users_register_for_themselves_only() {
    let mut world = World::new();
    let text = register("bob", BOB, 1, &contact(MALLORY));
    let text = text.replace("To: <sip:bob@", "To: <sip:alice@");
    let refused = world.with_password(BOB, "builder", &text);
    assert_eq!(lines(&refused), ["2 SIP/2.0 403 Forbidden"]);
    let text = register("bob", BOB, 2, "").replace("sip:example.org SIP", "sip:example.com SIP");
    assert_eq!(
        lines(&world.deliver(BOB, &text)),
        ["2 SIP/2.0 403 Relaying Denied"]
    );
    let text = register("bob", BOB, 3, "Require: gruu, path\n");
    let refused = world.deliver(BOB, &text);
    assert_eq!(lines(&refused), ["2 SIP/2.0 420 Bad Extension"]);
    assert_eq!(
        refused[0].header(HeaderName::Unsupported),
        Some("gruu, path")
    );
}

#[test]
fn too_brief_is_told_how_brief_is_not() {
    let mut world = World::new();
    let text = register("alice", ALICE, 1, "Contact: <sip:alice@a>;expires=10\n");
    let refused = world.with_password(ALICE, "wonderland", &text);
    assert_eq!(lines(&refused), ["1 SIP/2.0 423 Interval Too Brief"]);
    assert_eq!(refused[0].header(HeaderName::MinExpires), Some("60"));
}

#[test]
fn our_address_will_do_for_our_domain() {
    let mut world = World::new();
    let text = register("alice", ALICE, 1, &contact(ALICE)).replace("example.org", "192.0.2.1");
    let answer = world.with_password(ALICE, "wonderland", &text);
    assert_eq!(lines(&answer), ["1 SIP/2.0 200 OK"]);
    assert_eq!(world.bound("alice"), 1);
}

#[test]
fn a_phone_that_a_choice_is_too_much_for_gets_none() {
    let mut world = World::new();
    let offers = |world: &mut World, cseq, agent: &str| {
        let headers = format!("User-Agent: {agent}\n{}", contact(ALICE));
        let challenge = world.deliver(ALICE, &register("alice", ALICE, cseq, &headers));
        challenge[0]
            .message
            .lines(HeaderName::WwwAuthenticate)
            .count()
    };
    assert_eq!(offers(&mut world, 1, "old"), 2);
    assert_eq!(offers(&mut world, 1, "old"), 2, "a retransmission");
    assert_eq!(
        offers(&mut world, 2, "old"),
        1,
        "it gave up and tries again"
    );
    assert_eq!(offers(&mut world, 3, "old"), 1);
    assert_eq!(offers(&mut world, 1, "baresip v1.0.0 (x86_64/linux)"), 1);
    // One that has answered with the better algorithm is always offered it.
    let text = register(
        "alice",
        ALICE,
        7,
        &format!("User-Agent: new\n{}", contact(ALICE)),
    );
    world.with_password(ALICE, "wonderland", &text);
    for cseq in 8..12 {
        assert_eq!(offers(&mut world, cseq, "new"), 2);
    }
}
