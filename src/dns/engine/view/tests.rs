//! Who sees which zones.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::net::IpAddr;

use super::super::answer::{Outcome, Scratch, Transport, answer};
use super::super::state::{Settings, State};
use super::super::tests::{request, served, show};
use super::super::tsig::{Algorithm, Key, Keys};
use super::*;
use crate::wire::name::Name;

fn zone(apex: &str, view: Option<&str>, host: &str) -> Served {
    let text = format!("$TTL 9\n@ SOA ns hm 1 2 3 4 5\n@ NS ns\nns A 192.0.2.1\nwww A {host}\n");
    Served {
        view: view.map(Into::into),
        ..served(apex, &text)
    }
}

fn networks(list: &[&str]) -> Option<Access> {
    Some(Access::networks(
        list.iter().map(|net| net.parse().unwrap()),
    ))
}

fn id(text: &str) -> ZoneId {
    ZoneId::from_text(text).unwrap()
}

fn selector(name: &str) -> Selector {
    Selector {
        name: name.into(),
        recursion: true,
        ..Selector::default()
    }
}

fn keys() -> Keys {
    let key = Key::new(Name::from_text("k").unwrap(), Algorithm::Sha256, b"secret");
    Keys::new(vec![Arc::new(key)])
}

/// Three views and what is in none.
fn state() -> State {
    let by_key = Access::new(vec![super::super::access::Entry {
        negated: false,
        term: super::super::access::Term::Key(Name::from_text("k").unwrap()),
        text: "key k".into(),
    }]);
    let selectors = [
        Selector {
            clients: Some(by_key),
            shared: vec![id("two.example@inner")],
            ..selector("keyed")
        },
        Selector {
            clients: networks(&["10.0.0.0/8"]),
            recursion: false,
            ..selector("inner")
        },
        Selector {
            destinations: networks(&["192.0.2.7/32"]),
            listeners: vec!["0.0.0.0:5353".parse().unwrap()],
            ..selector("here")
        },
    ];
    let zones = vec![
        zone("one.example", None, "198.51.100.1"),
        zone("all.example", None, "198.51.100.2"),
        zone("one.example", Some("inner"), "10.0.0.1"),
        zone("two.example", Some("inner"), "10.0.0.2"),
        zone("one.example", Some("here"), "10.0.0.3"),
    ];
    let settings = Settings {
        recursion: networks(&["0.0.0.0/0"]).unwrap(),
        ..Settings::default()
    };
    State::new(zones, &selectors, keys(), settings)
}

/// The address of `www` below a zone; what became of the question if there is none.
fn ask(state: &State, from: &str, local: Option<&str>, signed: bool, zone: &str) -> String {
    let mut client = Client::new(from.parse::<IpAddr>().unwrap(), Transport::Udp);
    client.local = local.map(|local| local.parse().unwrap());
    let name = format!("www.{zone}");
    let mut message = request(&name, "A", &[]);
    if signed {
        let key = state
            .keys
            .get(Name::from_text("k").unwrap().as_ref())
            .unwrap();
        key.sign_request(&mut message, 0);
    }
    let (mut out, mut scratch) = ([0; 1232], Scratch::default());
    match answer(state, &client, 0, &message, &mut out, &mut scratch) {
        Outcome::Recurse => "recurse".to_owned(),
        Outcome::Reply(answered) if signed => format!("{}", answered.rcode),
        Outcome::Reply(answered) => {
            let shown = show(&out[..answered.len]);
            let answer = shown.split(" A ").nth(1);
            let answer = answer.and_then(|rest| rest.split_whitespace().next());
            answer.map_or_else(|| shown.clone(), str::to_owned)
        }
        outcome => panic!("{outcome:?}"),
    }
}

#[test]
fn the_first_view_that_fits() {
    let state = state();
    let there = Some("192.0.2.7:5353");
    let cases = [
        ("198.18.0.1", None, "one.example", "198.51.100.1"),
        ("198.18.0.1", None, "two.example", "recurse"),
        ("10.1.2.3", None, "one.example", "10.0.0.1"),
        ("10.1.2.3", None, "two.example", "10.0.0.2"),
        ("10.1.2.3", None, "all.example", "198.51.100.2"),
        // The resolver does not work for this view.
        ("10.1.2.3", None, "else.example", "REFUSED / / /"),
        ("10.1.2.3", there, "one.example", "10.0.0.1"),
        ("198.18.0.1", there, "one.example", "10.0.0.3"),
        (
            "198.18.0.1",
            Some("192.0.2.7:53"),
            "one.example",
            "198.51.100.1",
        ),
        (
            "198.18.0.1",
            Some("192.0.2.8:5353"),
            "one.example",
            "198.51.100.1",
        ),
        ("198.18.0.1", there, "two.example", "recurse"),
    ];
    for (from, local, zone, expected) in cases {
        assert_eq!(
            ask(&state, from, local, false, zone),
            expected,
            "{from} {local:?} {zone}"
        );
    }
    // The view of the key has no zone of its own but shares one.
    assert_eq!(
        ask(&state, "10.1.2.3", None, true, "two.example"),
        "NOERROR"
    );
    assert_eq!(
        ask(&state, "198.18.0.1", None, true, "two.example"),
        "NOERROR"
    );
    assert_eq!(
        ask(&state, "198.18.0.1", None, true, "three.example"),
        "REFUSED"
    );
}

#[test]
fn a_new_version_is_seen_wherever_the_zone_is() {
    let state = state();
    let change = |id: &ZoneId, host: &str| {
        let running = state.served(id).unwrap();
        let name = id.name.to_string();
        let fresh = zone(&name, id.view.as_deref(), host);
        state.with(running, fresh)
    };
    let changed = change(&id("all.example"), "203.0.113.1");
    assert_eq!(
        ask(&changed, "10.1.2.3", None, false, "all.example"),
        "203.0.113.1"
    );
    assert_eq!(
        ask(&changed, "198.18.0.1", None, false, "all.example"),
        "203.0.113.1"
    );
    // That of a view is not that of the same name elsewhere.
    let changed = change(&id("one.example"), "203.0.113.2");
    assert_eq!(
        ask(&changed, "10.1.2.3", None, false, "one.example"),
        "10.0.0.1"
    );
    assert_eq!(
        ask(&changed, "198.18.0.1", None, false, "one.example"),
        "203.0.113.2"
    );
    let changed = change(&id("one.example@inner"), "203.0.113.3");
    assert_eq!(
        ask(&changed, "10.1.2.3", None, false, "one.example"),
        "203.0.113.3"
    );
    assert_eq!(
        ask(&changed, "198.18.0.1", None, false, "one.example"),
        "198.51.100.1"
    );
    let changed = change(&id("two.example@inner"), "203.0.113.4");
    let keyed = changed.views.iter().next().unwrap();
    let shared = keyed
        .zones
        .get(Name::from_text("two.example").unwrap().as_ref());
    let own = changed.served(&id("two.example@inner")).unwrap();
    assert!(Arc::ptr_eq(&shared.unwrap().zone, &own.zone));
    assert!(changed.served(&id("two.example@keyed")).is_none());
    assert!(changed.served(&id("two.example")).is_none());
}

#[test]
fn only_questions_for_a_resolver() {
    let selectors = [Selector {
        recursive_only: true,
        ..selector("recursive")
    }];
    let zones = vec![
        zone("one.example", None, "198.51.100.1"),
        zone("one.example", Some("recursive"), "10.0.0.1"),
    ];
    let state = State::new(zones, &selectors, Keys::default(), Settings::default());
    assert_eq!(
        ask(&state, "192.0.2.1", None, false, "one.example"),
        "10.0.0.1"
    );
    let client = Client::new("192.0.2.1".parse().unwrap(), Transport::Udp);
    assert_eq!(state.seen_by(&client, false).0.iter().count(), 1);
    assert!(
        state
            .seen_by(&client, false)
            .0
            .iter()
            .all(|served| served.view.is_none())
    );
}

#[test]
fn zones_have_one_text_each() {
    for text in [
        "example.org",
        "example.org@inner",
        "example.org@a-b_c",
        ".",
        ".@inner",
    ] {
        assert_eq!(id(text).to_string(), text);
    }
    assert_eq!(id("Example.ORG.").to_string(), "example.org");
    assert_eq!(id("example.org.@inner"), id("example.org@inner"));
    assert_ne!(id("example.org"), id("example.org@inner"));
}
