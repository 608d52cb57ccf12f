//! Offers and answers: those of RFC 3264 section 10, and what phones send.

use proptest::prelude::*;

use super::sdp::{ALICE, PHONE};
use crate::{
    engine::negotiate::{self, Capabilities, Local, NegotiationError},
    wire::sdp::{CodecName, Direction, Sdp},
};

fn all() -> Capabilities {
    Capabilities::new(&[
        CodecName::Opus,
        CodecName::G722,
        CodecName::Pcma,
        CodecName::Pcmu,
    ])
}

fn local() -> Local {
    Local {
        rtp: "192.0.2.9:20000".parse().unwrap(),
        rtcp: 20_001,
        direction: Direction::SendReceive,
        session: 7,
        version: 1,
    }
}

#[test]
fn alices_videos_are_refused_and_her_voice_is_not() {
    let offer: Sdp = ALICE.parse().unwrap();
    let (answer, agreed) = negotiate::answer(&offer, &local(), &all()).unwrap();
    assert_eq!(
        answer.to_string(),
        "v=0\r\no=- 7 1 IN IP4 192.0.2.9\r\ns=-\r\nc=IN IP4 192.0.2.9\r\nt=0 0\r\n\
         m=audio 20000 RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\na=ptime:20\r\na=sendrecv\r\n\
         m=video 0 RTP/AVP 31\r\nm=video 0 RTP/AVP 32\r\n"
    );
    assert_eq!(agreed.send.name, CodecName::Pcmu);
    assert_eq!(agreed.events, None);
}

#[test]
fn a_held_phone_is_answered_as_held() {
    let offer: Sdp = PHONE.parse().unwrap();
    let (answer, agreed) = negotiate::answer(&offer, &local(), &all()).unwrap();
    assert_eq!(agreed.direction, Direction::ReceiveOnly);
    assert_eq!(answer.media[0].formats, ["0", "101"]);
    assert_eq!(agreed.events, Some(101));
    assert!(agreed.mux && answer.media[0].has("rtcp-mux"));
    // Who does not want to send or receive either says so.
    let held = Local {
        direction: Direction::SendOnly,
        ..local()
    };
    let (_, agreed) = negotiate::answer(&offer, &held, &all()).unwrap();
    assert_eq!(agreed.direction, Direction::Inactive);
}

#[test]
fn each_direction_has_its_answer() {
    for (offered, ours, answered) in [
        ("sendrecv", Direction::SendReceive, Direction::SendReceive),
        ("sendonly", Direction::SendReceive, Direction::ReceiveOnly),
        ("recvonly", Direction::SendReceive, Direction::SendOnly),
        ("inactive", Direction::SendReceive, Direction::Inactive),
        ("sendrecv", Direction::SendOnly, Direction::SendOnly),
        ("sendonly", Direction::SendOnly, Direction::Inactive),
        ("recvonly", Direction::SendOnly, Direction::SendOnly),
        ("sendrecv", Direction::Inactive, Direction::Inactive),
    ] {
        let offer: Sdp = PHONE.replace("sendonly", offered).parse().unwrap();
        let local = Local {
            direction: ours,
            ..local()
        };
        let (answer, agreed) = negotiate::answer(&offer, &local, &all()).unwrap();
        assert_eq!(agreed.direction, answered, "{offered} {ours:?}");
        assert_eq!(answer.direction(&answer.media[0]), answered);
    }
}

#[test]
fn the_other_ends_numbers_are_sent_and_ours_received() {
    let offer = negotiate::offer(&local(), &all());
    assert_eq!(offer.media[0].formats, ["96", "9", "8", "0", "101"]);
    let answer: Sdp = "v=0\r\no=b 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n\
        m=audio 5000 RTP/AVP 111 0 97\r\na=rtpmap:111 opus/48000/2\r\n\
        a=rtpmap:97 telephone-event/8000\r\na=ptime:40\r\n"
        .parse()
        .unwrap();
    let agreed = negotiate::accept(&offer, &answer, &all()).unwrap();
    assert_eq!(agreed.send.payload_type, 111);
    let receive: Vec<_> = agreed
        .receive
        .iter()
        .map(|codec| codec.payload_type)
        .collect();
    assert_eq!(receive, [96, 0, 101]);
    assert_eq!((agreed.events, agreed.ptime), (Some(97), 40));
    assert!(!agreed.mux);
}

#[test]
fn no_agreement_says_why() {
    let with = |line: &str| -> Sdp {
        let head = "v=0\r\no=b 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n";
        format!("{head}{line}\r\n").parse().unwrap()
    };
    for (line, error) in [
        ("m=video 5000 RTP/AVP 31", NegotiationError::NoAudio),
        ("m=audio 0 RTP/AVP 0", NegotiationError::NoAudio),
        ("m=audio 5000 udptl t38", NegotiationError::NoAudio),
        ("m=audio 5000 RTP/AVP 18", NegotiationError::NoCodec),
        ("m=audio 5000 RTP/AVP 96", NegotiationError::NoCodec),
        (
            "m=audio 5000 RTP/AVP 101\r\na=rtpmap:101 telephone-event/8000",
            NegotiationError::NoCodec,
        ),
    ] {
        let refused = negotiate::answer(&with(line), &local(), &all()).unwrap_err();
        assert_eq!(refused, error, "{line}");
    }
    let offer = negotiate::offer(&local(), &all());
    for (line, error) in [
        ("m=audio 0 RTP/AVP 0", NegotiationError::NoAudio),
        ("m=audio 5 RTP/AVP 18", NegotiationError::NoCodec),
        (
            "m=audio 5 RTP/AVP 0\r\nm=video 0 RTP/AVP 31",
            NegotiationError::Streams,
        ),
    ] {
        let refused = negotiate::accept(&offer, &with(line), &all()).unwrap_err();
        assert_eq!(refused, error, "{line}");
    }
}

fn codecs() -> impl Strategy<Value = Vec<CodecName>> {
    let known = [
        CodecName::Pcmu,
        CodecName::Pcma,
        CodecName::G722,
        CodecName::Opus,
    ];
    prop::sample::subsequence(known.to_vec(), 1..=4).prop_shuffle()
}

fn direction() -> impl Strategy<Value = Direction> {
    prop::sample::select(Direction::NAMES.map(|(_, direction)| direction).to_vec())
}

proptest! {
    /// Two ends with any codecs and wishes come to the same agreement, or both to none.
    #[test]
    fn both_ends_agree(one in codecs(), two in codecs(), ours in direction(), theirs in direction()) {
        let offerer = Local { direction: ours, ..local() };
        let answerer = Local { direction: theirs, rtp: "192.0.2.8:4000".parse().unwrap(), ..local() };
        let offer = negotiate::offer(&offerer, &Capabilities::new(&one));
        let common = one.iter().find(|name| two.contains(name));
        match negotiate::answer(&offer, &answerer, &Capabilities::new(&two)) {
            Err(error) => {
                prop_assert_eq!(error, NegotiationError::NoCodec);
                prop_assert_eq!(common, None);
            }
            Ok((answer, there)) => {
                let here = negotiate::accept(&offer, &answer, &Capabilities::new(&one)).unwrap();
                prop_assert_eq!(&here.send.name, common.unwrap());
                prop_assert_eq!(&here.send, &there.send);
                prop_assert_eq!(here.direction, there.direction.reversed());
                prop_assert_eq!(here.direction, ours.and(theirs.reversed()));
                prop_assert_eq!((here.events, here.ptime), (there.events, there.ptime));
            }
        }
    }
}
