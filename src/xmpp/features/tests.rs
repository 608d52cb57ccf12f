#![allow(clippy::unwrap_used)]
use super::*;
use crate::{
    engine::roster::Roster,
    wire::{
        BareJid, Scope, ns,
        stanza::{Incoming, read},
    },
};

/// Asks for `payload` and prints the answer; reads and writes are shown as such.
fn ask(kind: &str, payload: &str, account: Option<&mut Account>, from: &str) -> String {
    let features = Features::without(&[]);
    let text = format!("<iq type='{kind}' id='1'>{payload}</iq>");
    let scope = Scope::client();
    let Ok(Incoming::Stanza(draft)) = read(text.as_bytes(), &scope) else {
        panic!("{text}")
    };
    let from = Jid::new(from).unwrap();
    let iq = draft.stamp(&from, None).unwrap();
    let tree = iq.to_element().unwrap();
    let query = tree.children().next().unwrap();
    let own = account
        .as_ref()
        .is_some_and(|a| a.jid().as_str() == from.bare_str());
    let fits = |to| match to {
        To::Server => account.is_none(),
        To::Own => own,
        To::Anybody => account.is_some(),
    };
    let Some(handler) = features.find(query.ns(), fits) else {
        return "nobody".into();
    };
    let reply = (handler.answer)(&mut Asked {
        iq: &iq,
        query,
        set: kind == "set",
        from: &from,
        account,
        session: None,
        features: &features,
        now: SystemTime::UNIX_EPOCH,
        uptime: Duration::from_secs(9),
    });
    match reply {
        Reply::Result(Some(payload)) => payload.to_document(),
        Reply::Result(None) => "result".into(),
        Reply::Error(error) => error.condition.as_str().into(),
        Reply::Read(_) => "read".into(),
        Reply::Write(_) => "write".into(),
        Reply::Change(_) => "change".into(),
        Reply::Account(_) => "account".into(),
        Reply::Done(..) => "done".into(),
        Reply::Page(..) => "page".into(),
    }
}

fn account() -> Account {
    Account::new(BareJid::new("a@b").unwrap(), Roster::default())
}

#[test]
fn the_server_answers() {
    let server = |payload: &str| ask("get", payload, None, "a@b/c");
    assert_eq!(server("<ping xmlns='urn:xmpp:ping'/>"), "result");
    assert_eq!(
        server("<query xmlns='jabber:iq:last'/>"),
        "<query xmlns='jabber:iq:last' seconds='9'/>"
    );
    assert!(server("<query xmlns='jabber:iq:version'/>").contains("<name>omnid</name>"));
    assert_eq!(
        server("<time xmlns='urn:xmpp:time'/>"),
        "<time xmlns='urn:xmpp:time'><tzo>+00:00</tzo><utc>1970-01-01T00:00:00Z</utc></time>"
    );
    let info = server("<query xmlns='http://jabber.org/protocol/disco#info'/>");
    assert!(
        info.contains("<identity category='server' type='im' name='omnid'/>"),
        "{info}"
    );
    for feature in [ns::PING, ns::DISCO_INFO, ns::VCARD, ns::OFFLINE] {
        assert!(
            info.contains(&format!("<feature var='{feature}'/>")),
            "{info}"
        );
    }
    assert_eq!(
        server("<query xmlns='http://jabber.org/protocol/disco#info' node='x'/>"),
        "item-not-found"
    );
    assert_eq!(server("<query xmlns='jabber:iq:roster'/>"), "nobody");
    assert_eq!(server("<x xmlns='u'/>"), "nobody");
}

#[test]
fn an_account_answers_its_own() {
    let own = |kind: &str, payload: &str| ask(kind, payload, Some(&mut account()), "a@b/c");
    assert_eq!(
        own("get", "<query xmlns='jabber:iq:roster'/>"),
        "<query xmlns='jabber:iq:roster'/>"
    );
    assert_eq!(
        own(
            "set",
            "<query xmlns='jabber:iq:roster'><item jid='c@d'/></query>"
        ),
        "change"
    );
    assert_eq!(
        own("set", "<query xmlns='jabber:iq:roster'/>"),
        "bad-request"
    );
    assert_eq!(own("get", "<vCard xmlns='vcard-temp'/>"), "read");
    assert_eq!(own("set", "<vCard xmlns='vcard-temp'/>"), "write");
    assert_eq!(
        own(
            "get",
            "<query xmlns='jabber:iq:private'><x xmlns='u'/></query>"
        ),
        "read"
    );
    assert_eq!(
        own(
            "set",
            "<query xmlns='jabber:iq:private'><x xmlns='u'/></query>"
        ),
        "write"
    );
    assert_eq!(
        own("set", "<query xmlns='jabber:iq:private'/>"),
        "bad-request"
    );
    assert_eq!(own("get", "<query xmlns='jabber:iq:last'/>"), "read");
    assert!(
        own(
            "get",
            "<query xmlns='http://jabber.org/protocol/disco#info'/>"
        )
        .contains("registered")
    );
}

#[test]
fn an_account_answers_strangers() {
    let stranger = |kind: &str, payload: &str| ask(kind, payload, Some(&mut account()), "x@y/z");
    assert_eq!(
        stranger("get", "<query xmlns='jabber:iq:roster'/>"),
        "forbidden"
    );
    assert_eq!(
        stranger("get", "<query xmlns='jabber:iq:private'/>"),
        "forbidden"
    );
    assert_eq!(stranger("get", "<vCard xmlns='vcard-temp'/>"), "read");
    assert_eq!(stranger("set", "<vCard xmlns='vcard-temp'/>"), "forbidden");
    assert_eq!(
        stranger("get", "<query xmlns='jabber:iq:last'/>"),
        "forbidden"
    );
    assert_eq!(
        stranger(
            "get",
            "<query xmlns='http://jabber.org/protocol/disco#info'/>"
        ),
        "service-unavailable"
    );
}

#[test]
fn features_can_be_switched_off() {
    let features = Features::without(&["ping".into(), "roster".into()]);
    assert!(features.find(ns::PING, |_| true).is_none());
    assert!(features.find(ns::VERSION, |_| true).is_some());
    assert!(
        !features
            .stream()
            .iter()
            .any(|feature| feature.ns() == ns::ROSTER_VERSIONING)
    );
    let mut names: Vec<_> = ALL.iter().map(|feature| feature.name).collect();
    names.dedup();
    assert_eq!(names.len(), ALL.len());
    assert!(names.is_sorted());
}
