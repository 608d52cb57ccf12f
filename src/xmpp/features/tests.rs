#![allow(clippy::unwrap_used)]
use super::*;
use crate::{
    Config,
    engine::roster::Roster,
    wire::{
        BareJid, Element, Scope, ns,
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
        config: &Config::default(),
        local: true,
        neighbours: &["rooms.b".into()].into(),
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

fn title(number: u16) -> &'static str {
    match number {
        4 => "Data Forms",
        12 => "Last Activity",
        30 => "Service Discovery",
        45 => "Multi-User Chat",
        48 => "Bookmarks",
        49 => "Private XML Storage",
        54 => "vcard-temp",
        59 => "Result Set Management",
        60 => "Publish-Subscribe",
        82 => "XMPP Date and Time Profiles",
        84 => "User Avatar",
        92 => "Software Version",
        114 => "Jabber Component Protocol",
        124 => "Bidirectional-streams Over Synchronous HTTP (BOSH)",
        206 => "XMPP Over BOSH",
        115 => "Entity Capabilities",
        153 => "vCard-Based Avatars",
        156 => "Discovering Alternative XMPP Connection Methods",
        160 => "Best Practices for Handling Offline Messages",
        163 => "Personal Eventing Protocol",
        178 => "Best Practices for Use of SASL EXTERNAL",
        185 => "Dialback Key Generation and Validation",
        191 => "Blocking Command",
        198 => "Stream Management",
        199 => "XMPP Ping",
        202 => "Entity Time",
        203 => "Delayed Delivery",
        220 => "Server Dialback",
        223 => "Persistent Storage of Private Data via PubSub",
        237 => "Roster Versioning",
        249 => "Direct MUC Invitations",
        280 => "Message Carbons",
        297 => "Stanza Forwarding",
        313 => "Message Archive Management",
        334 => "Message Processing Hints",
        352 => "Client State Indication",
        359 => "Unique and Stable Stanza IDs",
        363 => "HTTP File Upload",
        368 => "SRV records for XMPP over TLS",
        386 => "Bind 2",
        388 => "Extensible SASL Profile",
        398 => "User Avatar to vCard-Based Avatars Conversion",
        402 => "PEP Native Bookmarks",
        410 => "MUC Self-Ping",
        421 => "Anonymous unique occupant identifiers for MUCs",
        425 => "Moderated Message Retraction",
        474 => "SASL SCRAM Downgrade Protection",
        440 => "SASL Channel-Binding Type Capability",
        484 => "Fast Authentication Streamlining Tokens",
        other => panic!("give XEP-{other:04} its title here"),
    }
}

/// The list for people and the one for machines are made of what the features declare.
#[test]
fn the_lists_of_what_is_spoken_are_true() {
    let mut page = String::from(
        "# XMPP: what is spoken\n\nMade from what the features declare; \
         `UPDATE_EXPECT=1 cargo test -p omnid-xmpp lists` makes it anew.\n\n\
         | specification | title | version |\n|---|---|---|\n",
    );
    let mut doap = String::from(
        "<?xml version='1.0' encoding='UTF-8'?>\n\
         <Project xmlns='http://usefulinc.com/ns/doap#' \
         xmlns:rdf='http://www.w3.org/1999/02/22-rdf-syntax-ns#' \
         xmlns:xmpp='https://linkmauve.fr/ns/xmpp-doap#'>\n\
         \x20 <name>omnid</name>\n  <shortdesc xml:lang='en'>DNS, HTTP, SIP and XMPP in one \
         server</shortdesc>\n  <programming-language>Rust</programming-language>\n\
         \x20 <category rdf:resource='https://linkmauve.fr/ns/xmpp-doap#category-server'/>\n",
    );
    for spec in specs() {
        match spec {
            Spec::Rfc(number) => {
                page.push_str(&format!("| RFC {number} | | |\n"));
                doap.push_str(&format!(
                    "  <implements rdf:resource='https://www.rfc-editor.org/info/rfc{number}'/>\n"
                ));
            }
            Spec::Xep(number, version) => {
                let title = title(number);
                page.push_str(&format!("| XEP-{number:04} | {title} | {version} |\n"));
                doap.push_str(&format!(
                    "  <implements><xmpp:SupportedXep><xmpp:xep rdf:resource=\
                     'https://xmpp.org/extensions/xep-{number:04}.html'/><xmpp:version>{version}\
                     </xmpp:version></xmpp:SupportedXep></implements>\n"
                ));
            }
        }
    }
    doap.push_str("</Project>\n");
    Element::parse(
        doap.split_once('\n').unwrap().1.trim().as_bytes(),
        &Scope::empty(),
    )
    .unwrap();
    let docs = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs");
    for (name, text) in [("xmpp-specifications.md", page), ("omnid.doap", doap)] {
        let path = docs.join(name);
        if std::env::var_os("UPDATE_EXPECT").is_some() {
            std::fs::write(&path, &text).unwrap();
        }
        let kept = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            kept == text,
            "{name} is out of date: UPDATE_EXPECT=1 makes it anew"
        );
    }
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
