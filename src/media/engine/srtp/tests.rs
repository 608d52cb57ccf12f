use proptest::prelude::*;

use super::{suite::Keys, *};

fn hex(text: &str) -> Vec<u8> {
    let digits: String = text.split_ascii_whitespace().collect();
    let byte = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).unwrap();
    (0..digits.len()).step_by(2).map(byte).collect()
}

/// RFC 3711 appendix B.3's master key and salt.
fn master(suite: Suite) -> MasterKey {
    let bytes = hex("E1F97A0D3E018BE0D64FA32C06DE4139 0EC675AD498AFEEBB6960B3AABE6");
    MasterKey::new(suite, &bytes).unwrap()
}

/// RFC 3711 appendix B.2.
#[test]
fn counter_mode_makes_the_rfcs_keystream() {
    let cipher = suite::counter_mode(&hex("2B7E151628AED2A6ABF7158809CF4F3C")).unwrap();
    let counter = hex("F0F1F2F3F4F5F6F7F8F9FAFBFCFD0000");
    let mut stream = [0; 48];
    cipher
        .apply(counter.try_into().unwrap(), &mut stream)
        .unwrap();
    let expected = "E03EAD0935C95E80E166B16DD92B4EB4 D23513162B02D0F72A43A2FE4A5F97AB
        41E95B3BB0A2E8DD477901E4FCA894C0";
    assert_eq!(stream[..], hex(expected)[..]);
}

/// RFC 3711 appendix B.3.
#[test]
fn session_keys_are_the_rfcs() {
    let key = master(Suite::AesCm128HmacSha1_80);
    for (label, length, expected) in [
        (0, 16, "C61E7A93744F39EE10734AFE3FF7A087"),
        (2, 14, "30CBBC08863D8C85D49DB34A9AE1"),
        (1, 20, "CEBE321F6FF7716B6FD4AB49AF256A156D38BAA4"),
    ] {
        assert_eq!(derive::derive(&key, label, length), Some(hex(expected)));
    }
}

/// The packets that libsrtp's own test has for the same key.
#[test]
fn a_packet_is_what_other_implementations_make() {
    let key = master(Suite::AesCm128HmacSha1_80);
    let (mut protector, mut opener) = (Protector::new(&key).unwrap(), Opener::new(&key).unwrap());
    let plain = hex("800f1234decafbadcafebabe abababababababababababababababab");
    let secret =
        hex("800f1234decafbadcafebabe 4e55dc4ce79978d88ca4d215949d2402 b78d6acc99ea179b8dbb");
    let mut buffer = [plain.as_slice(), &[0; GROWTH]].concat();
    let length = protector.rtp(&mut buffer, plain.len()).unwrap();
    assert_eq!(buffer[..length], secret[..]);
    let length = opener.rtp(&mut buffer[..length]).unwrap();
    assert_eq!(buffer[..length], plain[..]);

    let plain = hex("81c8000bcafebabe abababababababababababababababab");
    let secret =
        hex("81c8000bcafebabe 7128035be487b9bdbef89041f977a5a8 80000001 993e08cd54d6c1230798");
    let mut buffer = [plain.as_slice(), &[0; GROWTH]].concat();
    let length = protector.rtcp(&mut buffer, plain.len()).unwrap();
    assert_eq!(buffer[..length], secret[..]);
    let length = opener.rtcp(&mut buffer[..length]).unwrap();
    assert_eq!(buffer[..length], plain[..]);
}

/// RFC 7714 sections 16.1.1, 16.2.1, 17.1 and 17.2.
#[test]
fn gcm_makes_the_rfcs_packets() {
    let bytes: Vec<u8> = (0..32).collect();
    let salt = hex("517569642070726f2071756f");
    let rtp = hex(
        "8040f17b 8041f8d3 5501a0b2 47616c6c 69612065 7374206f 6d6e6973 20646976
        69736120 696e2070 61727465 73207472 6573",
    );
    let rtcp = hex(
        "81c8000d 4d617273 4e545031 4e545032 52545020 0000042a 0000e930 4c756e61
        deadbeef deadbeef deadbeef deadbeef deadbeef",
    );
    for (suite, rtp_secret, rtcp_secret) in [
        (
            Suite::AeadAes128Gcm,
            "8040f17b 8041f8d3 5501a0b2 f24de3a3 fb34de6c acba861c 9d7e4bca be633bd5 0d294e6f
             42a5f47a 51c7d19b 36de3adf 8833899d 7f27beb1 6a9152cf 765ee439 0cce",
            "81c8000d 4d617273 63e94885 dcdab67c a727d766 2f6b7e99 7ff5c0f7 6c06f32d c676a5f1
             730d6fda 4ce09b46 86303ded 0bb9275b c84aa458 96cf4d2f c5abf872 45d9eade 800005d4",
        ),
        (
            Suite::AeadAes256Gcm,
            "8040f17b8041f8d35501a0b232b1de78a822fe12ef9f78fa332e33aab18012389a58e2f3b50b2a02
             76ffae0f1ba63799b87b7aa3db36dfffd6b0f9bb7878d7a76c13",
            "81c8000d4d617273d50ae4d1f5ce5d304ba297e47d470c282c3ece5dbffe0a50a2eaa5c1110555be
             8415f658c61de0476f1b6fad1d1eb30c4446839f57ff6f6cb26ac3be800005d4",
        ),
    ] {
        let keys = Keys::new(suite, false, &bytes[..suite.key_length()], &[], &salt).unwrap();
        let mut buffer = [rtp.as_slice(), &[0; GROWTH]].concat();
        let length = keys
            .seal_rtp(&mut buffer, rtp.len(), 12, 0x5501_a0b2, 0xf17b)
            .unwrap();
        assert_eq!(buffer[..length], hex(rtp_secret)[..], "{suite:?}");
        let length = keys
            .open_rtp(&mut buffer[..length], 12, 0x5501_a0b2, 0xf17b)
            .unwrap();
        assert_eq!(buffer[..length], rtp[..]);

        let mut buffer = [rtcp.as_slice(), &[0; GROWTH]].concat();
        let word = 0x8000_05d4;
        let length = keys
            .seal_rtcp(&mut buffer, rtcp.len(), 0x4d61_7273, word)
            .unwrap();
        assert_eq!(buffer[..length], hex(rtcp_secret)[..], "{suite:?}");
        let length = keys
            .open_rtcp(&mut buffer[..length], 0x4d61_7273, word)
            .unwrap();
        assert_eq!(buffer[..length], rtcp[..]);
    }
}

fn packet(sequence: u16) -> Vec<u8> {
    let header = rtp::Header {
        sequence,
        ssrc: 9,
        ..rtp::Header::default()
    };
    [header.to_bytes().as_slice(), b"sound"].concat()
}

fn pair(suite: Suite) -> (Protector, Opener) {
    let key = MasterKey::generate(suite).unwrap();
    (Protector::new(&key).unwrap(), Opener::new(&key).unwrap())
}

fn protect(protector: &mut Protector, plain: &[u8]) -> Vec<u8> {
    let mut buffer = [plain, &[0; GROWTH]].concat();
    let length = protector.rtp(&mut buffer, plain.len()).unwrap();
    buffer.truncate(length);
    buffer
}

#[test]
fn replays_and_forgeries_are_refused_and_rollovers_are_not() {
    for suite in Suite::ALL {
        let (mut protector, mut opener) = pair(suite);
        // Twice around the sequence number, with steps.
        for step in 0..300u32 {
            let plain = packet((65_000 + step * 500) as u16);
            let secret = protect(&mut protector, &plain);
            let mut forged = secret.clone();
            *forged.last_mut().unwrap() ^= 1;
            assert_eq!(opener.rtp(&mut forged), None, "{suite:?}");
            let mut first = secret.clone();
            let length = opener.rtp(&mut first).unwrap();
            assert_eq!(first[..length], plain[..]);
            assert_eq!(opener.rtp(&mut secret.clone()), None, "a replay");
        }
        // Another key's packets.
        let (mut other, _) = pair(suite);
        assert_eq!(opener.rtp(&mut protect(&mut other, &packet(1))), None);
        // RTCP that claims not to be encrypted.
        let report = hex("81c8000bcafebabe abababab");
        let mut buffer = [report.as_slice(), &[0; GROWTH]].concat();
        let length = protector.rtcp(&mut buffer, report.len()).unwrap();
        let at = opener.rtcp.rtcp_index_at(length).unwrap();
        let mut unflagged = buffer[..length].to_vec();
        unflagged[at] &= 0x7f;
        assert_eq!(opener.rtcp(&mut unflagged), None);
        assert!(opener.rtcp(&mut buffer.clone()[..length]).is_some());
        assert_eq!(opener.rtcp(&mut buffer[..length]), None, "a replay");
    }
}

proptest! {
    #[test]
    fn no_bytes_are_fatal(mut bytes in prop::collection::vec(any::<u8>(), 0..100), suite in 0usize..4) {
        let (mut protector, mut opener) = pair(Suite::ALL[suite]);
        prop_assert_eq!(opener.rtp(&mut bytes.clone()), None);
        prop_assert_eq!(opener.rtcp(&mut bytes.clone()), None);
        let length = bytes.len();
        // There is no room to grow: refused.
        prop_assert_eq!(protector.rtp(&mut bytes, length), None);
        prop_assert_eq!(protector.rtcp(&mut bytes, length), None);
    }
}
