#![allow(clippy::unwrap_used)]
use super::*;
use crate::wire::{MessageType, PresenceType};

fn stamp(text: &str, scope: &Scope, lang: Option<&str>) -> Result<Stanza, StanzaError> {
    let from = Jid::new("a@b/'c").unwrap();
    match read(text.as_bytes(), scope).unwrap() {
        Incoming::Stanza(draft) => draft.stamp(&from, lang),
        Incoming::Element(element) => panic!("{element:?}"),
    }
}

/// What comes out, after checks that hold for every stanza.
fn check(text: &str, scope: &Scope, lang: Option<&str>) -> String {
    let stanza = stamp(text, scope, lang).unwrap();
    let out = String::from_utf8(stanza.bytes().to_vec()).unwrap();
    // The tree is the same but for `from` and the language.
    let mut before = Element::parse(text.as_bytes(), scope).unwrap();
    before.set_attr("from", "a@b/'c");
    let mut after = stanza.to_element().unwrap();
    after.set_attr("from", "a@b/'c");
    for element in [&mut before, &mut after] {
        element.set_lang("x");
        element.sort_attrs();
    }
    assert_eq!(before, after, "{text}");
    assert_eq!(stanza.id().as_deref(), after.get_attr("id"), "{text}");
    let children: Vec<_> = after.children().map(|c| (c.name(), c.ns())).collect();
    assert_eq!(stanza.children().collect::<Vec<_>>(), children, "{text}");
    let again = Stanza::from_stored(stanza.bytes()).unwrap();
    assert_eq!(again.id(), stanza.id());
    assert_eq!(again.inside(), stanza.inside());
    assert_eq!((again.to(), again.from()), (stanza.to(), stanza.from()));
    assert_eq!(again.children().collect::<Vec<_>>(), children);
    let own = Stanza::from_element(&after).unwrap();
    assert_eq!(own.id(), stanza.id());
    assert_eq!(own.children().collect::<Vec<_>>(), children);
    out
}

#[test]
fn stamps_the_sender() {
    let scope = Scope::client();
    let out = check(
        "<message to='d@e' id=\"1'\" type='chat'><body>x</body><p:x xmlns:p='u'/></message>",
        &scope,
        None,
    );
    assert_eq!(
        out,
        "<message from='a@b/&apos;c' to='d@e' id=\"1'\" type='chat'>\
         <body>x</body><p:x xmlns:p='u'/></message>"
    );
    // A false sender and a namespace of its own go.
    let out = check(
        "<presence from='x@y' xmlns='jabber:client' foo='1' />",
        &scope,
        None,
    );
    assert_eq!(out, "<presence from='a@b/&apos;c' foo='1'/>");
    let out = check(
        "<iq type='get' id='&lt;'><q xmlns='u'/></iq>",
        &scope,
        Some("de"),
    );
    assert_eq!(
        out,
        "<iq from='a@b/&apos;c' type='get' id='&lt;' xml:lang='de'><q xmlns='u'/></iq>"
    );
    let empty = stamp("<presence to='' id='1'/>", &scope, None).unwrap();
    assert_eq!(empty.bytes(), "<presence from='a@b/&apos;c' id='1'/>");
    let out = check("<message xml:lang='en'></message>", &scope, Some("de"));
    assert_eq!(out, "<message from='a@b/&apos;c' xml:lang='en'/>");
}

#[test]
fn prefixes_of_the_stream_come_along() {
    let scope = Scope::new(
        ns::CLIENT.into(),
        vec![
            ("stream".into(), ns::STREAM.into()),
            ("x".into(), "urn:x&".into()),
        ],
    );
    let out = check("<message><x:a/><b x:c='1'/></message>", &scope, None);
    assert_eq!(
        out,
        "<message from='a@b/&apos;c' xmlns:x='urn:x&amp;'><x:a/><b x:c='1'/></message>"
    );
    let out = check("<message><x:a xmlns:x='u'/></message>", &scope, None);
    assert_eq!(
        out,
        "<message from='a@b/&apos;c'><x:a xmlns:x='u'/></message>"
    );
    let out = check("<message xmlns:y='urn:y'><y:a/></message>", &scope, None);
    assert_eq!(
        out,
        "<message from='a@b/&apos;c' xmlns:y='urn:y'><y:a/></message>"
    );
}

#[test]
fn a_carriage_return_is_passed_on_as_a_line_end() {
    let out = check(
        "<message id='a\rb'><body>x\r\ny\r\rz\r</body></message>",
        &Scope::client(),
        None,
    );
    assert_eq!(
        out,
        "<message from='a@b/&apos;c' id='a\nb'><body>x\ny\n\nz\n</body></message>"
    );
}

#[test]
fn a_padded_reference_is_passed_on_in_its_short_form() {
    let out = check(
        "<message id='&#0000000065;'><body>&#x000002F600;<![CDATA[&#00065;]]></body></message>",
        &Scope::client(),
        None,
    );
    assert_eq!(
        out,
        "<message from='a@b/&apos;c' id='A'><body>\u{2f600}&amp;#00065;</body></message>"
    );
}

#[test]
fn a_prefix_on_the_root_is_written_out() {
    let text =
        "<c:message xmlns:c='jabber:client' xmlns='u' to='d@e'><c:body>x</c:body><y/></c:message>";
    let out = check(text, &Scope::client(), None);
    assert_eq!(
        out,
        "<message from='a@b/&apos;c' to='d@e'><body>x</body><y xmlns='u'/></message>"
    );
}

#[test]
fn kinds() {
    let scope = Scope::client();
    let kind = |text: &str| {
        stamp(text, &scope, None)
            .map(|s| s.kind())
            .map_err(|e| e.condition)
    };
    assert_eq!(kind("<message/>"), Ok(Kind::Message(MessageType::Normal)));
    assert_eq!(
        kind("<message type='x'/>"),
        Ok(Kind::Message(MessageType::Normal))
    );
    assert_eq!(
        kind("<message type='&#99;hat'/>"),
        Ok(Kind::Message(MessageType::Chat))
    );
    assert_eq!(
        kind("<presence/>"),
        Ok(Kind::Presence(PresenceType::Available))
    );
    assert_eq!(
        kind("<presence type='probe'/>"),
        Ok(Kind::Presence(PresenceType::Probe))
    );
    assert_eq!(kind("<presence type='x'/>"), Err(Condition::BadRequest));
    assert_eq!(kind("<iq type='set' id=''/>"), Ok(Kind::Iq(IqType::Set)));
    for text in ["<iq id='1'/>", "<iq id='1' type='x'/>", "<iq type='get'/>"] {
        assert_eq!(kind(text), Err(Condition::BadRequest), "{text}");
    }
    assert_eq!(kind("<message to='@'/>"), Err(Condition::JidMalformed));
    assert!(matches!(read(b"<a/>", &scope), Ok(Incoming::Element(_))));
    assert!(matches!(
        read(b"<iq xmlns='u'/>", &scope),
        Ok(Incoming::Element(_))
    ));
}

#[test]
fn answers() {
    let scope = Scope::client();
    let stanza = stamp(
        "<iq type='get' id='1' to='d@e'><q xmlns='u'/></iq>",
        &scope,
        None,
    );
    let stanza = stanza.unwrap();
    assert_eq!(stanza.payload(), Some(("q", "u")));
    assert_eq!(
        stanza.result().to_client(),
        "<iq type='result' id='1' from='d@e' to='a@b/&apos;c'/>"
    );
    let error = stanza.error(&Condition::ServiceUnavailable.into()).unwrap();
    assert_eq!(
        error.to_client(),
        "<iq type='error' id='1' from='d@e' to='a@b/&apos;c'><error type='cancel'>\
         <service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>"
    );
    let wrong = stamp("<iq type='result' id='1'/>", &scope, None).unwrap();
    assert_eq!(wrong.error(&Condition::BadRequest.into()), None);
}

#[test]
fn gains_an_address_and_a_child() {
    let scope = Scope::client();
    let to = Jid::new("d@e/'").unwrap();
    for text in [
        "<presence id='1'/>",
        "<presence id='1'><x xmlns='u'/><priority>1</priority></presence>",
    ] {
        let stanza = stamp(text, &scope, None).unwrap();
        let sent = stanza.with_to(&to);
        let late = sent.with_child(&Element::new("delay", ns::DELAY).attr("stamp", "x"));
        for stanza in [&sent, &late] {
            let tree = stanza.to_element().unwrap();
            assert_eq!(tree.get_attr("to"), Some("d@e/'"));
            assert_eq!(stanza.to(), Some(&to));
            assert_eq!(stanza.id().as_deref(), Some("1"));
            let children: Vec<_> = tree.children().map(|c| (c.name(), c.ns())).collect();
            assert_eq!(stanza.children().collect::<Vec<_>>(), children);
            let again = Stanza::from_stored(stanza.bytes()).unwrap();
            assert_eq!(again.inside(), stanza.inside());
        }
        assert!(late.has_child("delay", ns::DELAY));
        let later = late.with_child(&Element::new("x", "v"));
        assert_eq!(
            later.to_element().unwrap().children().count(),
            later.children().count()
        );
    }
}

#[test]
fn readdresses_sharing_the_content() {
    let scope = Scope::client();
    let text = "<message to='r@s' id='1' type='groupchat'><body>x</body><y xmlns='u'/></message>";
    let stanza = stamp(text, &scope, None).unwrap();
    let (from, to) = (Jid::new("r@s/n").unwrap(), Jid::new("f@g/h").unwrap());
    let copy = stanza.readdress(&from, &to);
    assert_eq!(
        copy.bytes(),
        "<message type='groupchat' id='1' from='r@s/n' to='f@g/h'><body>x</body><y xmlns='u'/></message>"
    );
    assert_eq!(copy.id().as_deref(), Some("1"));
    assert_eq!(
        copy.children().collect::<Vec<_>>(),
        stanza.children().collect::<Vec<_>>()
    );
}
