//! The torture messages of RFC 4475, as the parser sees them.

use std::path::Path;

use bytes::Bytes;

use crate::wire::{Limits, Message};

#[path = "fixtures.rs"]
mod fixtures;

pub(crate) fn all() -> Vec<fixtures::Torture> {
    fixtures::torture(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/torture"))
}

/// What the parser alone has to say: everything it lets through is for the engine to judge.
#[test]
fn every_message_is_parsed_or_refused_as_the_rfc_asks() {
    for torture in all() {
        let parsed = Message::parse(Bytes::from(torture.bytes.clone()), &Limits::default());
        let outcome = match &parsed {
            Ok(_) => "accept".to_owned(),
            Err(rejected) if rejected.request.is_some() => rejected.defect.status.to_string(),
            Err(_) => "discard".to_owned(),
        };
        // It is a registrar or proxy that refuses these, or, for the last
        // but one, whoever looks for the transaction.
        let for_the_engine = ["401", "416", "420", "483"].contains(&torture.expect.as_str())
            || ["bcast", "regbadct"].contains(&torture.name.as_str());
        let expect = if for_the_engine {
            "accept"
        } else {
            torture.expect.split([';', ' ']).next().unwrap()
        };
        let why = parsed.err().map(|rejected| rejected.defect);
        assert_eq!(outcome, expect, "{}: {why:?}", torture.name);
    }
}

#[test]
fn a_tortuous_invite_is_read_for_what_it_says() {
    let wsinv = all().into_iter().find(|message| message.name == "wsinv");
    let message = Message::parse(Bytes::from(wsinv.unwrap().bytes), &Limits::default()).unwrap();
    assert_eq!(message.max_forwards(), Some(68));
    assert_eq!(message.cseq().unwrap().number, 9);
    assert_eq!(message.to_tag(), Some(&b"1918181833n"[..]));
    assert_eq!(message.via().unwrap().branch(), Some(&b"390skdjuw"[..]));
    assert_eq!(message.list(crate::wire::HeaderName::Via).count(), 3);
    assert_eq!(message.body().len(), 150);
}

#[test]
fn trailing_octets_are_no_part_of_the_message() {
    let dblreq = all().into_iter().find(|message| message.name == "dblreq");
    let message = Message::parse(Bytes::from(dblreq.unwrap().bytes), &Limits::default()).unwrap();
    assert!(message.bytes().ends_with(b"Content-Length: 0\r\n\r\n"));
}
