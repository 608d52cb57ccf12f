#![allow(clippy::unwrap_used)]
use std::time::Duration;

use super::*;
use crate::wire::Scope;

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(5000)
}

fn jid(text: &str) -> BareJid {
    BareJid::new(text).unwrap()
}

fn parse(items: &str) -> Result<RosterSet, Condition> {
    let text = format!("<query xmlns='jabber:iq:roster'>{items}</query>");
    let query = Element::parse(text.as_bytes(), &Scope::empty()).unwrap();
    RosterSet::parse(&query).map_err(|error| error.condition)
}

#[test]
fn rfc_6121_2_3_requests() {
    assert_eq!(
        parse("<item jid='Nurse@example.com/x' name='Nurse'><group>Servants</group></item>"),
        Ok(RosterSet::Update {
            contact: jid("nurse@example.com"),
            name: Some("Nurse".into()),
            groups: vec!["Servants".into()],
        })
    );
    assert_eq!(
        parse("<item jid='nurse@example.com' subscription='remove'/>"),
        Ok(RosterSet::Remove(jid("nurse@example.com")))
    );
    for (items, condition) in [
        ("", Condition::BadRequest),
        ("<item jid='a@b'/><item jid='c@d'/>", Condition::BadRequest),
        ("<item/>", Condition::BadRequest),
        ("<item jid='@'/>", Condition::JidMalformed),
        (
            "<item jid='a@b'><group>x</group><group>x</group></item>",
            Condition::BadRequest,
        ),
        ("<item jid='a@b'><group/></item>", Condition::NotAcceptable),
    ] {
        assert_eq!(parse(items), Err(condition), "{items}");
    }
    let long = "x".repeat(1024);
    assert_eq!(
        parse(&format!("<item jid='a@b' name='{long}'/>")),
        Err(Condition::NotAcceptable)
    );
    let group = format!("<item jid='a@b'><group>{long}</group></item>");
    assert_eq!(parse(&group), Err(Condition::NotAcceptable));
}

/// The item as clients see it after a change.
fn item(roster: &Roster, change: &RosterChange) -> String {
    let push = roster.push(change);
    push.children()
        .next()
        .map(Element::to_document)
        .unwrap()
        .replace(" xmlns='jabber:iq:roster'", "")
}

#[test]
fn a_subscription_from_both_sides() {
    let mut roster = Roster::default();
    let change = roster
        .update(jid("a@b"), Some("A".into()), vec!["g".into()], now())
        .unwrap();
    assert_eq!((change.version, change.visible), (5000, true));
    roster.apply(&change);
    assert_eq!(
        item(&roster, &change),
        "<item jid='a@b' name='A' subscription='none'><group>g</group></item>"
    );

    let out = roster
        .outbound(&jid("a@b"), Request::Subscribe, now())
        .unwrap();
    assert!(out.route);
    let change = out.change.unwrap();
    assert_eq!(change.version, 5001);
    roster.apply(&change);
    assert_eq!(
        item(&roster, &change),
        "<item jid='a@b' name='A' subscription='none' ask='subscribe'><group>g</group></item>"
    );
    // Asked again: goes out again, changes nothing.
    let out = roster
        .outbound(&jid("a@b"), Request::Subscribe, now())
        .unwrap();
    assert!(out.route && out.change.is_none());

    let stanza = Bytes::from_static(b"<presence/>");
    let grant = roster
        .inbound(&jid("a@b"), Request::Subscribed, &stanza, now())
        .unwrap();
    assert!(grant.deliver && !grant.granted);
    roster.apply(&grant.change.unwrap());
    assert!(roster.subscription("a@b").to);

    let ask = roster
        .inbound(&jid("a@b"), Request::Subscribe, &stanza, now())
        .unwrap();
    assert!(ask.deliver && !ask.grant);
    let change = ask.change.unwrap();
    // A request that waits isn't shown in the roster.
    assert!(!change.visible && change.version == roster.version());
    roster.apply(&change);
    assert_eq!(roster.get("a@b").unwrap().request.as_ref(), Some(&stanza));

    let allow = roster
        .outbound(&jid("a@b"), Request::Subscribed, now())
        .unwrap();
    assert!(allow.route && allow.granted);
    roster.apply(&allow.change.unwrap());
    assert_eq!(roster.subscription("a@b").as_str(), "both");
    assert_eq!(roster.get("a@b").unwrap().request, None);
    // Asked once more, the server answers.
    let again = roster
        .inbound(&jid("a@b"), Request::Subscribe, &stanza, now())
        .unwrap();
    assert!(again.grant && !again.deliver && again.change.is_none());

    let (change, requests) = roster.remove(&jid("a@b"), now()).unwrap();
    assert_eq!(requests, [Request::Unsubscribe, Request::Unsubscribed]);
    roster.apply(&change);
    assert_eq!(
        item(&roster, &change),
        "<item jid='a@b' subscription='remove'/>"
    );
    assert_eq!(roster.contacts().count(), 0);
    assert!(roster.remove(&jid("a@b"), now()).is_err());
}

#[test]
fn strangers_and_approval_in_advance() {
    let stanza = Bytes::from_static(b"<presence/>");
    let mut roster = Roster::default();
    let ask = roster
        .inbound(&jid("s@t"), Request::Subscribe, &stanza, now())
        .unwrap();
    roster.apply(&ask.change.unwrap());
    assert_eq!(roster.query(None).unwrap().children().count(), 0);
    let deny = roster
        .outbound(&jid("s@t"), Request::Unsubscribed, now())
        .unwrap();
    let change = deny.change.unwrap();
    assert!(deny.route && !change.visible && change.after.is_none());
    roster.apply(&change);

    let approve = roster
        .outbound(&jid("s@t"), Request::Subscribed, now())
        .unwrap();
    let change = approve.change.unwrap();
    assert!(!approve.route && !approve.granted);
    roster.apply(&change);
    assert_eq!(
        item(&roster, &change),
        "<item jid='s@t' subscription='none' approved='true'/>"
    );
    let ask = roster
        .inbound(&jid("s@t"), Request::Subscribe, &stanza, now())
        .unwrap();
    assert!(ask.grant && ask.granted && !ask.deliver);
    let change = ask.change.unwrap();
    assert_eq!(
        item(&roster, &change),
        "<item jid='s@t' subscription='from'/>"
    );
}

#[test]
fn versions() {
    let mut roster = Roster::default();
    let change = roster.update(jid("a@b"), None, vec![], now()).unwrap();
    roster.apply(&change);
    assert_eq!(roster.query(Some("5000")), None);
    assert_eq!(
        roster.query(Some("")).unwrap().get_attr("ver"),
        Some("5000")
    );
    assert_eq!(roster.query(None).unwrap().get_attr("ver"), None);
}

#[test]
fn bounded() {
    let contact = |i: usize| {
        (
            jid(&format!("u{i}@b")),
            Contact {
                listed: true,
                ..Contact::default()
            },
        )
    };
    let roster = Roster::new((0..CONTACTS).map(contact), 1);
    let full = roster.update(jid("new@b"), None, vec![], now());
    assert_eq!(
        full.map_err(|e| e.condition),
        Err(Condition::ResourceConstraint)
    );
    let stanza = Bytes::new();
    assert!(
        roster
            .inbound(&jid("new@b"), Request::Subscribe, &stanza, now())
            .is_err()
    );
    assert!(
        roster
            .update(jid("u1@b"), Some("x".into()), vec![], now())
            .is_ok()
    );
}
