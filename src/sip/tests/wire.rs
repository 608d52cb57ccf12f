//! Properties of the wire layer: it never panics, and what it prints it reads back.

use bytes::Bytes;
use proptest::prelude::*;

use crate::wire::{Edit, HeaderName, Limits, Message, Uri, fuzz};

fn uri() -> impl Strategy<Value = String> {
    let user = "[a-zA-Z0-9_.!~*'()&=+$,;?/-]{1,12}(%[0-9a-f]{2})?";
    let host = prop_oneof![
        "[a-z]{1,8}(\\.[a-z]{2,6}){0,2}".boxed(),
        Just("192.0.2.7".to_owned()).boxed(),
        Just("[2001:db8::7]".to_owned()).boxed(),
    ];
    let port = proptest::option::of(1u16..);
    let params = proptest::option::of("[a-m]{1,4}(=[a-zA-Z0-9]{1,3})?;[N-Z]{1,4}");
    (proptest::option::of(user), host, port, params).prop_map(|(user, host, port, params)| {
        let user = user.map(|user| format!("{user}@")).unwrap_or_default();
        let port = port.map(|port| format!(":{port}")).unwrap_or_default();
        let params = params
            .map(|params| format!(";{params}"))
            .unwrap_or_default();
        format!("sip:{user}{host}{port}{params}")
    })
}

fn request() -> impl Strategy<Value = String> {
    let method = prop_oneof!["INVITE", "OPTIONS", "REGISTER", "[A-Z]{3,9}"];
    let fold = prop_oneof![Just(" "), Just("\r\n "), Just("\t"), Just("")];
    let extra = "([A-Z][a-z]{1,8}x: [ -~]{0,30}\r\n){0,4}";
    let vias = 1usize..6;
    (
        method,
        uri(),
        uri(),
        uri(),
        fold,
        extra,
        vias,
        "[ -~]{0,40}",
    )
        .prop_map(|(method, target, from, to, fold, extra, vias, body)| {
            let mut text = format!("{method} {target} SIP/2.0\r\n");
            for via in 0..vias {
                text += &format!("Via:{fold}SIP/2.0/UDP host{via};branch=z9hG4bK{via}\r\n");
            }
            text += &format!(
                "From: <{from}>{fold};tag=1\r\nTo:{fold}<{to}>\r\nCall-ID: c@d\r\n\
                 CSeq: 1{fold} {method}\r\n{extra}Content-Length: {}\r\n\r\n{body}",
                body.len()
            );
            text
        })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_well_formed_request_is_accepted_and_kept(text in request()) {
        let message = Message::parse(Bytes::from(text.clone()), &Limits::default());
        let message = message.map_err(|rejected| TestCaseError::fail(rejected.defect.to_string()))?;
        prop_assert_eq!(&message.bytes()[..], text.as_bytes());
        prop_assert_eq!(Edit::new(&message).finish(), text.as_bytes());
        prop_assert_eq!(message.from_tag(), Some(&b"1"[..]));
    }

    #[test]
    fn what_is_pushed_can_be_popped(text in request()) {
        let message = Message::parse(Bytes::from(text), &Limits::default());
        let message = message.map_err(|rejected| TestCaseError::fail(rejected.defect.to_string()))?;
        let mut edit = Edit::new(&message);
        edit.push(HeaderName::Via, b"SIP/2.0/UDP us;branch=z9hG4bKus");
        edit.set_uri(b"sip:elsewhere@192.0.2.9");
        let pushed = Message::parse(edit.finish(), &Limits::default());
        let pushed = pushed.map_err(|rejected| TestCaseError::fail(rejected.defect.to_string()))?;
        prop_assert_eq!(pushed.via().unwrap().branch(), Some(&b"z9hG4bKus"[..]));
        prop_assert_eq!(pushed.uri_text(), b"sip:elsewhere@192.0.2.9");
        let mut edit = Edit::new(&pushed);
        edit.pop(HeaderName::Via, 1);
        edit.set_uri(message.uri_text());
        prop_assert_eq!(&edit.finish()[..], &message.bytes()[..]);
    }

    #[test]
    fn a_printed_uri_is_the_same_uri(text in uri()) {
        let uri = Uri::parse(text.as_bytes());
        prop_assert!(uri.is_ok(), "{}", text);
        prop_assert!(uri == Uri::parse(text.as_bytes()));
    }

    #[test]
    fn no_octets_make_it_panic(data in proptest::collection::vec(any::<u8>(), 0..400)) {
        fuzz::fuzz_message(&data);
        fuzz::fuzz_uri(&data);
        fuzz::fuzz_digest(&data);
        fuzz::fuzz_framing(&data);
    }

    #[test]
    fn no_damage_to_a_message_makes_it_panic(
        which in 0usize..49,
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let mut data = super::torture::all().swap_remove(which).bytes;
        for (at, octet) in damage {
            let at = at.index(data.len());
            data[at] = octet;
        }
        fuzz::fuzz_message(&data);
        fuzz::fuzz_framing(&data);
    }
}
