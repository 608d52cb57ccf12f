//! Entry points for fuzzing: each must return on any input.

use std::{
    sync::{Arc, LazyLock},
    time::Instant,
};

use crate::{
    engine::{
        archive::{Preferences, Query},
        bosh::{Body, Window},
        caps::{self, Claim},
        login::{Inlines, Output, Policy, Step, Stream},
        room::{Kept, Room},
        sasl::{Channel, ClientFirst, Failure, Hash, PlainMessage, Verifier},
    },
    wire::{
        BareJid, Element, Flaw, Frame, Framer, Incoming, Jid, Limits, Scope, Stanza,
        form::{Form, Page},
        stanza,
        stream::StreamHeader,
        time,
        web::{Inward, Outward, Sent},
        websocket::Reader,
    },
};

static SCOPE: LazyLock<Scope> = LazyLock::new(Scope::client);

/// Cuts `data` into frames, as a whole and in pieces, which must make no difference.
pub fn fuzz_framer(data: &[u8]) {
    let Some((&size, data)) = data.split_first() else {
        return;
    };
    let limits = Limits {
        bytes: 4096,
        elements: 64,
        depth: 16,
    };
    let frames = |size: usize| -> Result<Vec<Vec<u8>>, Flaw> {
        let mut framer = Framer::new(limits);
        let mut seen = Vec::new();
        for mut piece in data.chunks(size) {
            while let Some(frame) = framer.next(&mut piece)? {
                let (Frame::Header(bytes) | Frame::Stanza(bytes) | Frame::Footer(bytes)) = frame;
                assert!(bytes.len() <= limits.bytes);
                seen.push(bytes.to_vec());
            }
        }
        Ok(seen)
    };
    let (whole, pieces) = (frames(usize::MAX), frames(usize::from(size).max(1)));
    match (&whole, &pieces) {
        (Ok(whole), Ok(pieces)) => assert_eq!(whole, pieces),
        // Which bound is hit first depends on where the pieces end.
        _ => assert_eq!(whole.is_err(), pieces.is_err()),
    }
    web(data, usize::from(size).max(1), limits);
}

/// Reads `data` as what browsers send.
fn web(data: &[u8], size: usize, limits: Limits) {
    let messages = |size: usize| {
        let (mut reader, mut seen) = (Reader::default(), Vec::new());
        for piece in data.chunks(size) {
            reader.push(piece);
            loop {
                match reader.next(limits.bytes) {
                    Ok(Some(message)) => seen.push(message),
                    Ok(None) => break,
                    Err(fault) => return (seen, Some(fault)),
                }
            }
        }
        (seen, None)
    };
    assert_eq!(messages(usize::MAX), messages(size));
    let mut stream = String::new();
    if Inward::new(limits).piece(data, true, &mut stream) == Ok(Sent::Header) {
        // What we made of it is read as one header, or refused.
        drop(StreamHeader::parse(stream.as_bytes()));
    }
    let (mut outward, mut input) = (Outward::default(), data);
    while let Ok(Some(said)) = outward.next(&mut input) {
        said.into_text();
    }
    if let Ok(body) = Body::parse(data, limits) {
        let (now, mut window) = (Instant::now(), None);
        let window = window.get_or_insert_with(|| Window::new("s".to_owned(), &body, now));
        window.came(body);
        while window.turn(now).is_some() {}
        window.end(None);
        window.answers(now);
    }
}

/// Scans `data` as one element, and gives back what would be passed on of it. What passes must
/// survive being printed, stamped and read again.
pub fn fuzz_validator(data: &[u8]) -> Option<Vec<u8>> {
    let element = Element::parse(data, &SCOPE).ok()?;
    requests(&element);
    let text = element.to_client();
    if let Ok(again) = Element::parse(text.as_bytes(), &SCOPE) {
        assert_eq!(again, element);
    }
    let Ok(Incoming::Stanza(draft)) = stanza::read(data, &SCOPE) else {
        return Some(text.into_bytes());
    };
    let from = Jid::new("a@b/c'&<").ok()?;
    let Ok(stamped) = draft.stamp(&from, Some("en")) else {
        return Some(text.into_bytes());
    };
    assert_eq!(stamped.from(), Some(&from));
    let tree = stamped.to_element();
    let Ok(tree) = tree else {
        panic!("a stamped stanza is ill-formed")
    };
    let children: Vec<_> = tree
        .children()
        .map(|child| (child.name(), child.ns()))
        .collect();
    assert_eq!(stamped.children().collect::<Vec<_>>(), children);
    let Ok(stored) = Stanza::from_stored(stamped.bytes()) else {
        panic!("a stamped stanza can't be read again")
    };
    assert_eq!(stored.id(), stamped.id());
    assert_eq!(stored.inside(), stamped.inside());
    let longer = stamped.with_to(&from).with_child(&Element::new("x", "u"));
    assert!(longer.to_element().is_ok());
    Some(stamped.bytes().to_vec())
}

/// Reads an element as everything that clients ask in a form of their own, and has a room take it.
fn requests(element: &Element) {
    drop(Query::parse(element, &mut |id| id.parse().ok()));
    drop(Preferences::parse(element));
    drop(Page::find(element));
    let forms = element.children().filter_map(Form::parse);
    assert!(forms.count() <= element.children().count());
    time::parse_micros(&element.text_content());
    caps::caps(element);
    let claim = Claim {
        node: String::new(),
        hash: "sha-1".into(),
        ver: String::new(),
    };
    assert!(!claim.is_of(element));
    let Ok(room) = BareJid::new("room@rooms.b") else {
        return;
    };
    let mut room = Room::made(room, Kept::default(), 3);
    let (mut id, mut next) = (0, || 1);
    for to in ["room@rooms.b/nick", "room@rooms.b", "room@rooms.b/other"] {
        let mut element = element.clone();
        element.set_attr("from", "a@b/c");
        element.set_attr("to", to);
        if let Some(stanza) = Stanza::from_element(&element) {
            drop(room.handle(&stanza, &mut next));
            drop(room.iq(&stanza));
            id += 1;
        }
    }
    assert!(id == 0 || id == 3);
}

/// Reads `data` as an address, whose normal form must be stable.
pub fn fuzz_jid(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else {
        return;
    };
    let Ok(jid) = Jid::new(text) else { return };
    assert_eq!(Jid::new(jid.as_str()), Ok(jid.clone()));
    assert_eq!(BareJid::new(jid.bare_str()), Ok(jid.to_bare()));
    if let Some(resource) = jid.resource() {
        assert_eq!(jid.to_bare().with_resource(resource), Ok(jid));
    }
}

/// Reads `data` as messages of every SASL mechanism.
pub fn fuzz_sasl(data: &[u8]) {
    drop(PlainMessage::parse(data, "one.test"));
    let channel = Channel {
        exporter: Some(vec![1]),
        server_end_point: None,
    };
    for bound in [false, true] {
        for hash in [Hash::Sha1, Hash::Sha256] {
            if let Ok(first) = ClientFirst::parse(data, hash, bound, &channel, "one.test") {
                let (exchange, _) = first.challenge(verifier(), "nonce", None);
                drop(exchange.finish(data));
            }
        }
    }
    let known = b"n,,n=user,r=abc";
    if let Ok(first) = ClientFirst::parse(known, Hash::Sha256, false, &channel, "one.test") {
        let (exchange, _) = first.challenge(verifier(), "nonce", None);
        // Nobody has the key that fits.
        assert!(exchange.finish(data).is_err());
    }
}

fn verifier() -> Verifier {
    Verifier {
        salt: vec![1; 16],
        iterations: 4096,
        stored_key: vec![2; 32],
        server_key: vec![3; 32],
        exists: true,
    }
}

/// Speaks `data` to a stream whose every password is wrong: it must never come to a resource.
pub fn fuzz_login(data: &[u8]) {
    let policy = Arc::new(Policy {
        hosts: ["one.test".into()].into(),
        inlines: Some(Inlines {
            bind: true,
            carbons: true,
            csi: true,
            sm: true,
            fast: true,
        }),
        ..Policy::default()
    });
    let token = || "token".to_owned();
    let mut step = Step::Read(Stream::plain(policy, token));
    let mut framer = Framer::new(Limits::UNAUTHENTICATED);
    let mut input = data;
    let mut out = Output::default();
    loop {
        step = match step {
            Step::Read(stream) => match framer.next(&mut input) {
                Ok(Some(frame)) => stream.frame(&frame, &mut out),
                Ok(None) => return,
                Err(flaw) => {
                    stream.fail(&flaw.into(), &mut out);
                    Step::Close
                }
            },
            Step::Restart(stream) => {
                framer.restart();
                Step::Read(stream)
            }
            Step::StartTls(tls) => tls.done(Channel::default()),
            Step::Verifier(wanted) => wanted.answer(Ok(verifier()), &mut out),
            Step::Password(wanted) => wanted.answer(Err(Failure::NotAuthorized), &mut out),
            Step::Token(wanted) => wanted.answer(Ok(Vec::new()), &mut out),
            Step::Bind(_) | Step::Resume(_) | Step::Grant(_) => panic!("a client got in"),
            Step::Close => {
                assert!(out.ends_with("</stream:stream>"), "{}", out.text);
                return;
            }
        };
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Pieces of XML, right and wrong, in any order.
    fn xml() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            "<(a|b:c|message|iq|presence)( (to|id|type|xmlns|xmlns:b|b:x)='[a&;<@ ]{0,4}'){0,3}/?>",
            "</(a|b:c|message|iq|presence)>",
            "[a-z\\]>&;#x0-9 ]{0,6}",
            "&(amp|lt|gt|quot|apos|x|#[0-9]{1,3}|#x[0-9a-f]{1,4});",
            "<!\\[CDATA\\[[a<&\\]]{0,4}\\]\\]>",
            Just("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>AGEAYg==</auth>".to_owned()),
            Just("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>".to_owned()),
            Just("<stream:stream to='one.test' version='1.0' xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>".to_owned()),
            Just("</stream:stream>".to_owned()),
            "\\PC",
        ];
        let pieces = proptest::collection::vec(piece, 0..12);
        pieces.prop_map(|pieces| pieces.concat().into_bytes())
    }

    proptest! {
        #![proptest_config(crate::tests::cases())]

        #[test]
        fn entry_points_return(data in xml(), any in any::<Vec<u8>>()) {
            for data in [&data, &any] {
                fuzz_framer(data);
                fuzz_validator(data);
                fuzz_jid(data);
                fuzz_sasl(data);
                fuzz_login(data);
            }
        }

        /// What we pass on, rxml, the parser of the Rust clients, accepts. (Not the other way
        /// round: it lets some ill-formed documents pass, such as one attribute `xmlns` twice.)
        #[test]
        fn rxml_accepts_what_passes(data in xml()) {
            if Element::parse(&data, &Scope::empty()).is_ok() {
                prop_assert!(rxml_accepts(&data), "{}", String::from_utf8_lossy(&data));
            }
        }
    }

    fn rxml_accepts(data: &[u8]) -> bool {
        use rxml::Parse;
        let mut parser = rxml::Parser::default();
        let mut input = data;
        loop {
            match parser.parse(&mut input, true) {
                Ok(Some(_)) => {}
                Ok(None) => return true,
                Err(_) => return false,
            }
        }
    }
}
