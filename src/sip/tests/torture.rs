//! The torture messages of RFC 4475, as text fixtures in `torture/`: one file each, lines end in
//! CRLF, `\xNN` is an octet, `\\` a backslash, `\c` at the end of the last line drops its CRLF.

use std::{fs, path::Path};

use bytes::Bytes;

use crate::wire::{Limits, Message};

/// One message and what the RFC wants done with it.
pub(crate) struct Torture {
    pub(crate) name: String,
    pub(crate) expect: String,
    pub(crate) bytes: Vec<u8>,
}

pub(crate) fn all() -> Vec<Torture> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/torture");
    let mut all: Vec<Torture> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            let text = fs::read_to_string(&path).unwrap();
            let (head, body) = text.split_once("\n\n").unwrap();
            Torture {
                name: path.file_stem().unwrap().to_string_lossy().into_owned(),
                expect: head.split_once("# expect: ").unwrap().1.to_owned(),
                bytes: octets(body),
            }
        })
        .collect();
    all.sort_by(|a, b| a.name.cmp(&b.name));
    assert_eq!(all.len(), 49);
    all
}

fn octets(text: &str) -> Vec<u8> {
    let mut octets = Vec::new();
    for line in text.lines() {
        let mut rest = line;
        let mut ended = true;
        while let Some(at) = rest.find('\\') {
            octets.extend_from_slice(&rest.as_bytes()[..at]);
            rest = &rest[at + 1..];
            if let Some(after) = rest.strip_prefix('x') {
                octets.push(u8::from_str_radix(&after[..2], 16).unwrap());
                rest = &after[2..];
            } else if let Some(after) = rest.strip_prefix('\\') {
                octets.push(b'\\');
                rest = after;
            } else {
                assert_eq!(rest, "c", "an unknown escape");
                ended = false;
                rest = "";
            }
        }
        octets.extend_from_slice(rest.as_bytes());
        if ended {
            octets.extend_from_slice(b"\r\n");
        }
    }
    octets
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
