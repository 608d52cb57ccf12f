#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::*;
use crate::wire::query::Query;

fn key(algorithm: Algorithm) -> Arc<Key> {
    let name = Name::from_text("key.example").unwrap();
    Arc::new(Key::new(name, algorithm, b"a secret of some length"))
}

fn request() -> Vec<u8> {
    b"\x12\x34\0\0\0\x01\0\0\0\0\0\0\x01a\x02bc\0\0\x01\0\x01".to_vec()
}

fn response(request: &[u8]) -> Vec<u8> {
    let mut response = request.get(..22).unwrap().to_vec();
    response[2] |= 0x80;
    response[11] = 0;
    response
}

/// RFC 2202's second case of each, keys and data being the same there and in RFC 4231.
#[test]
fn known_macs() {
    let hex = |bytes: Vec<u8>| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
    let name = Name::from_text("k").unwrap();
    let cases = [
        (Algorithm::Md5, "750c783e6ab0b503eaa86e310a5db738"),
        (Algorithm::Sha1, "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79"),
        (
            Algorithm::Sha256,
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
        ),
    ];
    for (algorithm, expected) in cases {
        let key = Key::new(name.clone(), algorithm, b"Jefe");
        assert_eq!(hex(key.mac(b"what do ya want for nothing?")), expected);
    }
}

#[test]
fn one_request_and_its_response() {
    for (algorithm, ..) in ALGORITHMS {
        let key = key(algorithm);
        let keys = Keys::new(vec![key.clone()]);
        let mut message = request();
        let mac = key.sign_request(&mut message, 1000);
        // A forwarder may give the message another ID.
        message[1] = 0x35;
        let tsig = Query::read(&message).unwrap().tsig.unwrap();
        let signature = verify(&keys, &message, &tsig, 1100).unwrap();
        assert_eq!(signature.mac, mac);

        let mut out = response(&message);
        let len = out.len();
        out.resize(1000, 0);
        let end = signature.sign_response(&mut out, len, 1100).unwrap();
        assert!(end - len <= room_for(&key));
        let mut verifier = StreamVerifier::new(key.clone(), mac.clone());
        assert_eq!(verifier.take(&out[..end], 1100), Ok(len));
        assert!(verifier.is_settled());
        let mut verifier = StreamVerifier::new(key.clone(), mac);
        out[3] ^= 1;
        assert_eq!(verifier.take(&out[..end], 1100), Err(Untrusted::Wrong));
    }
}

#[test]
fn refusals() {
    let good = key(Algorithm::Sha256);
    let keys = Keys::new(vec![good.clone()]);
    let signed = |key: &Key, now| {
        let mut message = request();
        key.sign_request(&mut message, now);
        message
    };
    let result = |message: &[u8]| {
        let tsig = Query::read(message).unwrap().tsig.unwrap();
        verify(&keys, message, &tsig, 1000)
    };
    let other = Key::new(good.name.clone(), Algorithm::Sha256, b"another");
    let refused = result(&signed(&other, 1000));
    assert!(matches!(refused, Err(Rejection::Unsigned(error::BADSIG))));
    let refused = result(&signed(&key(Algorithm::Sha1), 1000));
    assert!(matches!(refused, Err(Rejection::Unsigned(error::BADKEY))));
    let mut changed = signed(&good, 1000);
    changed[13] = b'b';
    let refused = result(&changed);
    assert!(matches!(refused, Err(Rejection::Unsigned(error::BADSIG))));
    assert!(result(&signed(&good, 700)).is_ok());
    let Err(Rejection::Signed(late)) = result(&signed(&good, 699)) else {
        panic!("five minutes are the limit");
    };
    let mut out = response(&request());
    let len = out.len();
    out.resize(500, 0);
    let end = late.sign_response(&mut out, len, 1000).unwrap();
    let mut verifier = StreamVerifier::new(good, late.mac.clone());
    let told = verifier.take(&out[..end], 699);
    assert_eq!(told, Err(Untrusted::Refused(error::BADTIME)));
}

/// RFC 8945 5.2.2.1 allows shorter MACs where a policy does: here none does.
#[test]
fn shortened_macs() {
    for (algorithm, ..) in ALGORITHMS {
        let good = key(algorithm);
        let keys = Keys::new(vec![good.clone()]);
        let mut message = request();
        let mac = good.sign_request(&mut message, 1000);
        for length in 0..mac.len() {
            let mut message = request();
            let len = message.len();
            message.resize(1000, 0);
            let end = good
                .append_signature(&mut message, len, 1000, &mac[..length], 0, &[])
                .unwrap();
            let message = &message[..end];
            let tsig = Query::read(message).unwrap().tsig.unwrap();
            let refused = verify(&keys, message, &tsig, 1000);
            assert!(refused.is_err(), "{algorithm:?} {length}: {refused:?}");

            // And so is an answer, by who asked.
            let mut out = response(message);
            let len = out.len();
            out.resize(1000, 0);
            let end = good
                .append_signature(&mut out, len, 1000, &mac[..length], 0, &[])
                .unwrap();
            let mut verifier = StreamVerifier::new(good.clone(), mac.clone());
            assert!(verifier.take(&out[..end], 1000).is_err());
        }
    }
}

#[test]
fn streams() {
    let key = key(Algorithm::Sha512);
    let mut message = request();
    let mac = key.sign_request(&mut message, 1000);
    let keys = Keys::new(vec![key.clone()]);
    let tsig = Query::read(&message).unwrap().tsig.unwrap();
    let mut signer = verify(&keys, &message, &tsig, 1000).unwrap().stream();
    let mut verifier = StreamVerifier::new(key.clone(), mac.clone());
    for _ in 0..3 {
        let mut out = response(&message);
        let len = out.len();
        out.resize(500, 0);
        let end = signer.sign(&mut out, len, 1001).unwrap();
        assert_eq!(verifier.take(&out[..end], 1002), Ok(len));
    }
    // Some peers sign every so many messages only.
    assert_eq!(verifier.take(&response(&message), 1002), Ok(22));
    assert!(!verifier.is_settled());
    let mut verifier = StreamVerifier::new(key, mac);
    assert_eq!(
        verifier.take(&response(&message), 1002),
        Err(Untrusted::Missing)
    );
}
