//! Session descriptions: real ones, broken ones, random ones.

use proptest::prelude::*;

use crate::wire::{
    fuzz,
    sdp::{Attribute, CodecName, Connection, Direction, MAX_MEDIA, Media, Origin, Sdp, SdpError},
};

/// RFC 3264 section 10.1, Alice's offer.
pub(crate) const ALICE: &str = "v=0\r\no=alice 2890844526 2890844526 IN IP4 host.anywhere.com\r\n\
    s= \r\nc=IN IP4 host.anywhere.com\r\nt=0 0\r\nm=audio 49170 RTP/AVP 0\r\n\
    a=rtpmap:0 PCMU/8000\r\nm=video 51372 RTP/AVP 31\r\na=rtpmap:31 H261/90000\r\n\
    m=video 53000 RTP/AVP 32\r\na=rtpmap:32 MPV/90000\r\n";

/// A desk phone's offer, with a static type that it does not describe.
pub(crate) const PHONE: &str = "v=0\r\no=- 20518 0 IN IP4 203.0.113.1\r\ns=-\r\n\
    c=IN IP4 203.0.113.1\r\nb=AS:84\r\nt=0 0\r\na=sendonly\r\n\
    m=audio 54400 RTP/AVP 0 8 9 18 96 101\r\na=rtpmap:96 opus/48000/2\r\n\
    a=fmtp:96 useinbandfec=1\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\n\
    a=ptime:20\r\na=rtcp:54401 IN IP4 203.0.113.1\r\na=rtcp-mux\r\n";

#[test]
fn a_phones_offer_reads_and_prints_the_same() {
    let sdp: Sdp = PHONE.parse().unwrap();
    let media = &sdp.media[0];
    let codecs = media.codecs();
    let names: Vec<_> = codecs.iter().map(|codec| codec.name.name()).collect();
    assert_eq!(
        names,
        ["PCMU", "PCMA", "G722", "G729", "opus", "telephone-event"]
    );
    assert_eq!((codecs[4].clock, codecs[4].channels), (48_000, 2));
    assert_eq!(codecs[4].parameters.as_deref(), Some("useinbandfec=1"));
    assert_eq!(codecs[5].name, CodecName::TelephoneEvent);
    assert_eq!(sdp.direction(media), Direction::SendOnly);
    assert_eq!(sdp.ptime(media), Some(20));
    assert!(media.has("rtcp-mux") && media.is_rtp() && !media.is_secure());
    assert_eq!(sdp.to_string(), PHONE);
}

#[test]
fn line_ends_and_order_may_be_wrong() {
    let text = "v=0\no=x 1 1 IN IP4 192.0.2.1\nt=0 0\ns=call\nm=audio 9 RTP/AVP 0\na=inactive \n\
        c=IN IP4 192.0.2.2\n\n";
    let sdp: Sdp = text.parse().unwrap();
    assert_eq!(sdp.connection(&sdp.media[0]).unwrap().address, "192.0.2.2");
    assert_eq!(sdp.direction(&sdp.media[0]), Direction::Inactive);
}

#[test]
fn the_null_address_holds() {
    let text = "v=0\r\no=x 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 0.0.0.0\r\nt=0 0\r\n\
        m=audio 9000 RTP/AVP 0\r\n";
    let sdp: Sdp = text.parse().unwrap();
    assert_eq!(sdp.direction(&sdp.media[0]), Direction::SendOnly);
}

#[test]
fn what_is_no_description_is_refused() {
    let many = |line: &str, count: usize| {
        format!("v=0\r\no=x 1 1 IN IP4 192.0.2.1\r\n{}", line.repeat(count))
    };
    for (text, error) in [
        (String::new(), SdpError::Version),
        ("v=1\r\n".to_owned(), SdpError::Version),
        ("v=0\r\ns=-\r\n".to_owned(), SdpError::NoOrigin),
        ("v=0\r\nhello\r\n".to_owned(), SdpError::Line(2)),
        ("v=0\r\nX=1\r\n".to_owned(), SdpError::Line(2)),
        ("v=0\r\no=a b c\r\n".to_owned(), SdpError::Value(2)),
        (
            "v=0\r\no=x 1 1 IN IP5 ::\r\n".to_owned(),
            SdpError::Value(2),
        ),
        (many("m=audio 70000 RTP/AVP 0\r\n", 1), SdpError::Value(3)),
        (many("m=audio 1 RTP/AVP\r\n", 1), SdpError::Value(3)),
        (many("a=:x\r\n", 1), SdpError::Value(3)),
        (many("a=x\ra=y\r\n", 1), SdpError::Line(3)),
        (many("c=IN IP4 192.0.2.1\0\t\r\n", 1), SdpError::Line(3)),
        (
            many("m=audio 1 RTP/AVP 0\r\n", MAX_MEDIA + 1),
            SdpError::TooManyMedia,
        ),
        (many("a=x\r\n", 65), SdpError::TooManyAttributes),
        (many("b=AS:1\r\n", 17), SdpError::TooManyAttributes),
        (
            many(&format!("m=audio 1 RTP/AVP{}\r\n", " 0".repeat(65)), 1),
            SdpError::TooManyFormats,
        ),
        ("v=0\r\n".repeat(13_200), SdpError::TooLong),
    ] {
        assert_eq!(Sdp::parse(text.as_bytes()), Err(error), "{}", text.len());
    }
    assert_eq!(Sdp::parse(b"v=0\r\n\xff"), Err(SdpError::NotText));
}

/// The fuzzer's corpus, and what few changes make of it: the parsers hold without the fuzzer too.
#[test]
fn the_corpus_and_its_neighbours_are_read() {
    let folder = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../fuzz/corpus/media_packet"
    );
    let mut random = 1u64;
    let mut next = |below: usize| {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) as usize % below
    };
    for file in std::fs::read_dir(folder).unwrap() {
        let seed = std::fs::read(file.unwrap().path()).unwrap();
        fuzz::fuzz(&seed);
        for _ in 0..ROUNDS {
            let mut bytes = seed.clone();
            for _ in 0..=next(4) {
                let at = next(bytes.len());
                match next(4) {
                    0 => bytes[at] = next(256) as u8,
                    1 => bytes[at] ^= 1 << next(8),
                    2 => bytes.truncate(at.max(1)),
                    _ => {
                        let from = next(bytes.len());
                        let part = bytes[from..bytes.len().min(from + 40)].to_vec();
                        bytes.splice(at..at, part);
                    }
                }
            }
            fuzz::fuzz(&bytes);
        }
    }
}

const ROUNDS: usize = 300;

fn word() -> impl Strategy<Value = String> {
    "[a-zA-Z0-9._-]{1,8}"
}

fn text() -> impl Strategy<Value = String> {
    "[a-zA-Z0-9:/;=]([ -~]{0,20}[!-~])?"
}

fn connection() -> impl Strategy<Value = Connection> {
    (any::<bool>(), word()).prop_map(|(six, address)| Connection { six, address })
}

fn attributes() -> impl Strategy<Value = Vec<Attribute>> {
    let one = (word(), prop::option::of(text()));
    let one = one.prop_map(|(name, value)| Attribute { name, value });
    prop::collection::vec(one, 0..6)
}

prop_compose! {
    fn media()(
        kind in word(), port: u16, ports in prop::option::of(1u16..), protocol in word(),
        formats in prop::collection::vec(word(), 1..5), connection in prop::option::of(connection()),
        bandwidth in prop::option::of(text()), attributes in attributes(),
    ) -> Media {
        let other = bandwidth.map(|value| ('b', value)).into_iter().collect();
        Media { kind, port, ports, protocol, formats, connection, other, attributes }
    }
}

prop_compose! {
    fn sdp()(
        user in word(), id in word(), version in word(), address in connection(), name in text(),
        connection in prop::option::of(connection()), time in text(), attributes in attributes(),
        media in prop::collection::vec(media(), 0..5),
    ) -> Sdp {
        let origin = Origin { user, id, version, address };
        Sdp { origin, name, connection, other: Vec::new(), time, attributes, media }
    }
}

proptest! {
    #[test]
    fn printed_descriptions_read_the_same(sdp in sdp()) {
        prop_assert_eq!(Sdp::parse(sdp.to_string().as_bytes()), Ok(sdp));
    }

    #[test]
    fn no_text_is_fatal(text in "(v=0\r\n)?([vosctmabikrz]=[ -~]{0,30}\r\n){0,12}") {
        fuzz::fuzz(text.as_bytes());
    }

    #[test]
    fn no_bytes_are_fatal(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        fuzz::fuzz(&bytes);
    }
}
