#![allow(clippy::unwrap_used)]
use std::fs;

use omnid_xmpp::engine::{archive::Rule, subscription::Subscription};
use proptest::prelude::*;

use super::{
    write::{written, written_room},
    *,
};

fn piece(element: &Element) -> Piece {
    Piece {
        file: "x".into(),
        line: 1,
        host: "one.test".to_owned(),
        element: element.clone(),
    }
}

/// Printed and parsed, as a document is.
fn again(element: &Element) -> Element {
    document(&element.to_document()).unwrap()
}

fn message(from: &str, to: &str, body: &str) -> bytes::Bytes {
    let message = Element::new("message", ns::CLIENT)
        .attr("from", from)
        .attr("to", to)
        .attr("type", "chat")
        .child(Element::new("body", ns::CLIENT).text(body));
    Stanza::from_element(&message).unwrap().bytes()
}

prop_compose! {
    fn contact()(bits in 0i64..16, listed: bool, approved: bool, name in proptest::option::of("[a-z<&'\"é ]{1,8}"),
        groups in proptest::collection::btree_set("[A-Z&<]{1,5}", 0..3), user in "[a-z]{1,6}")
        -> (BareJid, Contact) {
        let jid = BareJid::from_parts(&user, "two.test").unwrap();
        let subscription = Subscription::from_bits(bits);
        let request = Element::new("presence", ns::CLIENT)
            .attr("from", jid.as_str()).attr("type", "subscribe")
            .child(Element::new("status", ns::CLIENT).text("it is me"));
        let request = subscription.pending_in
            .then(|| Stanza::from_element(&request).unwrap().bytes());
        // Who is not listed has neither name nor groups.
        let contact = Contact {
            listed: listed || subscription == Subscription::default() && !approved,
            name: name.filter(|_| listed).map(Into::into),
            groups: if listed { groups.into_iter().map(Into::into).collect() } else { Vec::new() },
            subscription, approved, request,
        };
        (jid, contact)
    }
}

prop_compose! {
    fn whole()(contacts in proptest::collection::btree_map("[a-z]{1,6}", contact(), 0..5),
        texts in proptest::collection::vec("[ -~é\u{1f600}\n]{1,20}", 6),
        access in 0usize..3, max_items in 1u32..=256, persist_items: bool, stamps in proptest::collection::vec(1u64..2_000_000_000_000_000, 3))
        -> Whole {
        let contacts = contacts.into_values()
            .map(|(jid, contact)| (jid.as_str().to_owned(), (jid, contact)))
            .collect::<std::collections::BTreeMap<_, _>>().into_values().collect();
        let payload = |text: &str| Element::new("x", "urn:x").text(text).to_document();
        let items = texts.iter().take(max_items.min(4) as usize).enumerate()
            .map(|(at, text)| Item { id: format!("{at}{text}"), payload: payload(text) })
            .chain((max_items > 4).then(|| Item { id: "none".into(), payload: String::new() }))
            .collect();
        let archived = |at: usize, from: &str, to: &str, peer: &str, resource: &str| Archived {
            name: if at == 0 { stamps[0].to_string() } else { format!("{at}-{}", texts[1]) },
            at: stamps[at], peer: peer.into(), resource: resource.into(),
            stanza: message(from, to, &texts[at]),
        };
        Whole {
            contacts,
            vcard: Some(Element::new("vCard", ns::VCARD).child(Element::new("FN", ns::VCARD).text(&*texts[0])).to_document()),
            private: vec![Private { namespace: "urn:y".into(), element: "y".into(),
                content: Element::new("y", "urn:y").text(&*texts[1]).to_document() }],
            nodes: vec![Node { name: texts[2].clone(), items, config: NodeConfig {
                access: [Access::Open, Access::Presence, Access::Whitelist][access],
                persist_items, max_items, send_last: [SendLast::Never, SendLast::OnSub, SendLast::OnSubAndPresence][access],
                title: texts[3].trim().to_owned() } }],
            blocked: ["x@two.test".to_owned(), "two.test/r".to_owned()].into(),
            preferences: Some(Preferences { rule: Rule::Roster, always: ["a@two.test".into()].into(), never: Default::default() }),
            last: Some((stamps[1], texts[4].clone())),
            offline: vec![Waiting { at: stamps[2] / 1_000_000, stanza: message("b@two.test/r", "alice@one.test", &texts[5]) }],
            archive: vec![
                archived(0, "alice@one.test/r", "b@two.test/s", "b@two.test", "s"),
                archived(1, "b@two.test", "alice@one.test/r", "b@two.test", ""),
                archived(2, "alice@one.test/r", "alice@one.test", "alice@one.test", ""),
            ],
        }
    }
}

fn verifiers() -> Verifiers {
    let scram = |hash: ScramHash| {
        let verifier = verifier(
            hash,
            b"salt".to_vec(),
            10_000,
            vec![1; hash.length()],
            vec![2; hash.length()],
        );
        (hash, verifier.unwrap())
    };
    Verifiers {
        scram: ScramHash::ALL.into_iter().map(scram).collect(),
        digest: vec![DigestVerifier {
            username: "alice".to_owned(),
            algorithm: DigestAlgorithm::Md5,
            ha1: "00".repeat(16),
        }],
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// What is written is read again as it was.
    #[test]
    fn accounts_come_back(whole in whole(), name in "[a-z &<]{0,9}", enabled: bool) {
        let address: Address = "alice@one.test".parse().unwrap();
        let moving = Moving {
            display_name: name,
            enabled,
            roles: [Role::User, Role::Admin].into(),
            created_at: 5,
            password_changed_at: 6,
            verifiers: verifiers(),
        };
        let moved = moved(&piece(&again(&written(&address, &moving, &whole))));
        prop_assert_eq!(moved.findings, []);
        let What::Account(account) = moved.what else { panic!("no account") };
        prop_assert_eq!(account.address, address);
        let Secret::Verifiers(read) = account.secret else { panic!("no verifiers") };
        prop_assert_eq!(&read, &moving.verifiers);
        prop_assert_eq!(Moving { verifiers: read, ..account.moving }, moving);
        let mut read = account.whole;
        read.contacts.sort_by(|(a, _), (b, _)| a.cmp(b));
        prop_assert_eq!(read, whole);
    }

    #[test]
    fn rooms_come_back(name in "[ -~é]{0,20}", flags in 0u16..256, secret in proptest::option::of("[!-~]{1,9}"), history in 0u32..=100, text in "[ -~]{0,20}") {
        let flag = |bit: u16| flags & (1 << bit) != 0;
        let room = WholeRoom {
            jid: BareJid::new("garden@one.test").unwrap(),
            kept: Kept {
                config: RoomConfig { name: name.clone(), description: text.clone(), lang: "en".into(),
                    persistent: flag(0), public: flag(1), moderated: flag(2), members_only: flag(3),
                    password: secret, anonymous: flag(4), change_subject: flag(5), invites: flag(6),
                    private_messages: flag(7), archive: flag(0), history },
                subject: Some(Subject { text, nick: name, at: 7_000_001 }),
                affiliations: [("a@one.test".to_owned(), Affiliation::Owner), ("b@two.test".to_owned(), Affiliation::Outcast)].into(),
                card: None,
                salt: "salt".into(),
                creator: "a@one.test".into(),
            },
            archive: vec![Archived { name: "x".into(), at: 5, peer: "garden@one.test".into(), resource: "al".into(),
                stanza: message("garden@one.test/al", "garden@one.test", "hello") }],
        };
        let moved = moved(&piece(&again(&written_room(&room))));
        prop_assert_eq!(moved.findings, []);
        let What::Room(read) = moved.what else { panic!("no room") };
        prop_assert_eq!(*read, room);
    }
}

fn read_all(path: &Path) -> Result<Vec<Moved>, MoveError> {
    open(path)?.collect()
}

/// What `ejabberdctl export_piefxis` of ejabberd 23.01 wrote after slixmpp had filled it
/// (`xmpp_moving.py fill`): passwords are their users' names behind "secret-".
#[test]
fn an_export_of_ejabberds() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    fs::write(
        path("20261125-133501.xml"),
        "<?xml version='1.0' encoding='UTF-8'?><server-data xmlns='urn:xmpp:pie:0' \
         xmlns:xi='http://www.w3.org/2001/XInclude'>\
         <xi:include href='20261125-133501_one_test.xml'/></server-data>",
    )
    .unwrap();
    let host = include_str!("ejabberd.xml");
    fs::write(path("20261125-133501_one_test.xml"), host).unwrap();
    let moved: Vec<_> = open_export(directory.path())
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap();
    let mut wholes = Vec::new();
    for (moved, name) in moved.into_iter().zip(["alice", "bob", "carol"]) {
        assert_eq!(moved.findings, [], "{name}");
        let What::Account(account) = moved.what else {
            panic!("no account")
        };
        assert_eq!(account.address.user(), name);
        let Secret::Verifiers(read) = account.secret else {
            panic!("no verifiers of {name}")
        };
        let [(hash, read)] = read.scram.as_slice() else {
            panic!("not one verifier of {name}")
        };
        let iterations = read.iterations.try_into().unwrap();
        let password = format!("secret-{name}");
        let derived = ScramVerifier::derive(*hash, &password, &read.salt, iterations);
        assert!(*read == derived, "{name}'s password");
        wholes.push(account.whole);
    }
    let [alice, bob, _] = wholes.as_slice() else {
        panic!("not three accounts")
    };
    assert_eq!(alice.blocked, ["spam@two.test".to_owned()].into());
    let asks = |(_, contact): &&(BareJid, Contact)| contact.subscription.pending_in;
    assert_eq!(alice.contacts.iter().filter(asks).count(), 1);
    assert_eq!((alice.contacts.len(), alice.private.len()), (3, 1));
    assert_eq!(bob.offline[0].at, 1_795_613_700);
    let waits = stanza(&bob.offline[0].stanza).unwrap();
    assert_eq!(waits.get_child("delay", ns::DELAY), None);
}

/// As other servers write it: files that include each other, prefixes, comments, and what is not
/// known here.
#[test]
fn documents_of_others() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    fs::write(
        path("all.xml"),
        "<?xml version='1.0'?>\n<!-- from ejabberd -->\n\
         <server-data xmlns='urn:xmpp:pie:0' xmlns:xi='http://www.w3.org/2001/XInclude'>\n\
         <xi:include href='one.xml'/>\n</server-data>\n",
    )
    .unwrap();
    fs::create_dir(path("one")).unwrap();
    fs::write(
        path("one.xml"),
        "<?xml version='1.0'?><host xmlns='urn:xmpp:pie:0' jid='One.test' xmlns:xi='http://www.w3.org/2001/XInclude'>\
         <xi:include href='one/alice.xml'/>\n<xi:include href='one/bob.xml'/></host>",
    )
    .unwrap();
    fs::write(
        path("one/alice.xml"),
        "<user xmlns='urn:xmpp:pie:0' name='alice' password='secret'><!-- <user> -->\n\
         <query xmlns='jabber:iq:roster'><item jid='b@two.test' subscription='to'/>\
         <item jid='@'/></query><p:query xmlns:p='jabber:iq:private'><q xmlns='u'><![CDATA[<x>]]></q></p:query>\
         <last xmlns='jabber:iq:last'/></user>",
    )
    .unwrap();
    fs::write(
        path("one/bob.xml"),
        "<user xmlns='urn:xmpp:pie:0' name='b b'/>",
    )
    .unwrap();
    let moved = read_all(&path("all.xml")).unwrap();
    assert_eq!(moved.len(), 2);
    let What::Account(alice) = &moved[0].what else {
        panic!("no account")
    };
    assert_eq!(alice.address.as_str(), "alice@one.test");
    assert!(matches!(&alice.secret, Secret::Password(password) if **password == "secret"));
    assert_eq!(alice.whole.contacts.len(), 1);
    assert_eq!(alice.whole.private[0].content, "<q xmlns='u'>&lt;x&gt;</q>");
    let told: Vec<_> = moved
        .iter()
        .flat_map(|moved| &moved.findings)
        .map(ToString::to_string)
        .collect();
    assert_eq!(told.len(), 3, "{told:?}");
    assert!(told[0].contains("alice.xml:1: not converted: alice@one.test: contact \"@\""));
    assert!(
        told[1].contains("<last/>") && told[2].contains("bob.xml"),
        "{told:?}"
    );
    assert!(!told.concat().contains("secret"));

    for (text, wrong) in [
        (
            "<server-data xmlns='urn:xmpp:pie:0'><host jid='a'>\n<user name='a'></host></server-data>",
            ":2: ",
        ),
        (
            "<server-data xmlns='urn:xmpp:pie:0'><host jid='a'>\n<user",
            ":2: ",
        ),
        ("<!DOCTYPE x><server-data/>", "document types"),
        (
            "<server-data xmlns='urn:xmpp:pie:0'><host jid='a'>\n<x:user/></host></server-data>",
            ":2: ",
        ),
        (
            "<server-data xmlns='urn:xmpp:pie:0'><include xmlns='http://www.w3.org/2001/XInclude' href='../x'/></server-data>",
            "below the document",
        ),
        (
            "<include xmlns='http://www.w3.org/2001/XInclude' href='bad.xml'/>",
            "too many files",
        ),
    ] {
        fs::write(path("bad.xml"), text).unwrap();
        match read_all(&path("bad.xml")) {
            Err(error) => assert!(error.to_string().contains(wrong), "{error}"),
            Ok(_) => panic!("{text} was read"),
        }
    }
}
