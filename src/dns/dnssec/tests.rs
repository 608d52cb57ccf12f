//! The examples of the RFCs.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use proptest::prelude::*;

use super::*;
use crate::wire::code::{Class, RrType};
use crate::wire::name::Name;
use crate::wire::record::OwnRecord;

fn name(text: &str) -> Name {
    Name::from_text(text).unwrap()
}

fn rdata(rr_type: RrType, text: &str) -> Vec<u8> {
    OwnRecord::from_text(name("x."), rr_type, 0, text)
        .unwrap()
        .rdata
}

/// A key, a set and its signature.
struct Example {
    zone: &'static str,
    key: &'static str,
    tag: u16,
    ds: &'static str,
    private: &'static str,
    owner: &'static str,
    set: (RrType, &'static str),
    rrsig: &'static str,
}

const EXAMPLES: [Example; 5] = [
    // RFC 5702 6.2
    Example {
        zone: "example.net.",
        key: "256 3 10 AwEAAdHoNTOW+et86KuJOWRDp1pndvwb6Y83nSVXXyLA3DLroROUkN6X0O6pnWnjJQujX/Ayhq\
              FDxj13tOnD9u/1kTg7cV6rklMrZDtJCQ5PCl/D7QNPsgVsMu1J2Q8gpMpztNFLpPBz1bWXjDtaR7ZQBlZ3PF\
              Y12ZTSncorffcGmhOL",
        tag: 3740,
        ds: "",
        private: "",
        owner: "www.example.net.",
        set: (RrType::A, "192.0.2.91"),
        rrsig: "A 10 3 3600 20300101000000 20000101000000 3740 example.net. tsb4wnjRUDnB1BUi+t6TMT\
                XThjVnG+eCkWqjvvjhzQL1d0YRoOe0CbxrVDYd0xDtsuJRaeUw1ep94PzEWzr0iGYgZBWm/zpq+9fOuagY\
                JRfDqfReKBzMweOLDiNa8iP5g9vMhpuv6OPlvpXwm9Sa9ZXIbNl1MBGk0fthPgxdDLw=",
    },
    // RFC 6605 6.1
    Example {
        zone: "example.net.",
        key: "257 3 13 GojIhhXUN/u4v54ZQqGSnyhWJwaubCvTmeexv7bR6edbkrSqQpF64cYbcB7wNcP+e+MAnLr+Wi9x\
              MWyQLc8NAA==",
        tag: 55648,
        ds: "55648 13 2 b4c8c1fe2e7477127b27115656ad6256f424625bf5c1e2770ce6d6e37df61d17",
        private: "GU6SnQ/Ou+xC5RumuIUIuJZteXT2z0O/ok1s38Et6mQ=",
        owner: "www.example.net.",
        set: (RrType::A, "192.0.2.1"),
        rrsig: "A 13 3 3600 20100909100439 20100812100439 55648 example.net. qx6wLYqmh+l9oCKTN6qIc+\
                bw6ya+KJ8oMz0YP107epXAyGmt+3SNruPFKG7tZoLBLlUzGGus7ZwmwWep666VCw==",
    },
    // RFC 6605 6.2
    Example {
        zone: "example.net.",
        key: "257 3 14 xKYaNhWdGOfJ+nPrL8/arkwf2EY3MDJ+SErKivBVSum1w/egsXvSADtNJhyem5RCOpgQ6K8X1DRS\
              EkrbYQ+OB+v8/uX45NBwY8rp65F6Glur8I/mlVNgF6W/qTI37m40",
        tag: 10771,
        ds: "10771 14 4 72d7b62976ce06438e9c0bf319013cf801f09ecc84b8d7e9495f27e305c6a9b0563a9b5f4d2\
             88405c3008a946df983d6",
        private: "WURgWHCcYIYUPWgeLmiPY2DJJk02vgrmTfitxgqcL4vwW7BOrbawVmVe0d9V94SR",
        owner: "www.example.net.",
        set: (RrType::A, "192.0.2.1"),
        rrsig: "A 14 3 3600 20100909102025 20100812102025 10771 example.net. /L5hDKIvGDyI1fcARX3z65\
                qrmPsVz73QD1Mr5CEqOiLP95hxQouuroGCeZOvzFaxsT8Glr74hbavRKayJNuydCuzWTSSPdz7wnqXL5bdc\
                JzusdnI0RSMROxxwGipWcJm",
    },
    // RFC 8080 6.1 with erratum 4935
    Example {
        zone: "example.com.",
        key: "257 3 15 l02Woi0iS8Aa25FQkUd9RMzZHJpBoRQwAQEX1SxZJA4=",
        tag: 3613,
        ds: "3613 15 2 3aa5ab37efce57f737fc1627013fee07bdf241bd10f3b1964ab55c78e79a304b",
        private: "ODIyNjAzODQ2MjgwODAxMjI2NDUxOTAyMDQxNDIyNjI=",
        owner: "example.com.",
        set: (RrType::MX, "10 mail.example.com."),
        rrsig: "MX 15 2 3600 1440021600 1438207200 3613 example.com. oL9krJun7xfBOIWcGHi7mag5/hdZrK\
                Ww15jPGrHpjQeRAvTdszaPD+QLs3fx8A4M3e23mRZ9VrbpMngwcrqNAg==",
    },
    Example {
        zone: "example.com.",
        key: "257 3 15 zPnZ/QwEe7S8C5SPz2OfS5RR40ATk2/rYnE9xHIEijs=",
        tag: 35217,
        ds: "",
        private: "DSSF3o0s0f+ElWzj9E/Osxw8hLpk55chkmx0LYN5WiY=",
        owner: "example.com.",
        set: (RrType::MX, "10 mail.example.com."),
        rrsig: "MX 15 2 3600 1440021600 1438207200 35217 example.com. zXQ0bkYgQTEFyfLyi9QoiY6D8ZdYo4\
                wyUhVioYZXFdT410QPRITQSqJSnzQoSm5poJ7gD7AQR0O7KuI5k2pcBg==",
    },
];

#[test]
fn keys_sets_and_signatures_of_the_rfcs() {
    for example in &EXAMPLES {
        let (zone, owner) = (
            name(example.zone),
            name(&example.owner.to_ascii_uppercase()),
        );
        let dnskey = rdata(RrType::DNSKEY, example.key);
        let key = DnsKey::read(&dnskey).unwrap();
        assert_eq!(key.tag(), example.tag);
        if !example.ds.is_empty() {
            let ds = rdata(RrType::DS, example.ds);
            let read = Ds::read(&ds).unwrap();
            assert!(read.matches(zone.as_ref(), &key));
            assert_eq!(
                Ds::make(zone.as_ref(), &dnskey, read.digest_type),
                Some(ds.clone())
            );
            assert!(!read.matches(name("example.org.").as_ref(), &key));
        }
        let (rr_type, text) = example.set;
        let (set, bytes) = (
            rdata(rr_type, &text.to_ascii_uppercase()),
            rdata(RrType::RRSIG, example.rrsig),
        );
        let rrsig = Rrsig::read(&bytes).unwrap();
        assert_eq!((rrsig.covered, rrsig.key_tag), (rr_type, example.tag));
        let verify = |rrsig: &Rrsig<'_>, set: &[u8]| {
            rrsig.verify(&key, owner.as_ref(), Class::IN, [set].into_iter())
        };
        assert_eq!(verify(&rrsig, &set), Ok(()), "{}", example.key);
        let changed = Rrsig {
            original_ttl: 3601,
            ..rrsig
        };
        assert_eq!(verify(&changed, &set), Err(VerifyError::BadSignature));
        let mut other = set.clone();
        *other.first_mut().unwrap() ^= 1;
        assert_eq!(verify(&rrsig, &other), Err(VerifyError::BadSignature));
        let more = Rrsig {
            labels: rrsig.labels + 1,
            ..rrsig
        };
        assert_eq!(verify(&more, &set), Err(VerifyError::BadSignature));

        assert_eq!(rrsig.validity(rrsig.inception), Validity::Valid);
        assert_eq!(rrsig.validity(rrsig.inception - 1), Validity::NotYet);
        assert_eq!(rrsig.validity(rrsig.expiration), Validity::Valid);
        assert_eq!(rrsig.validity(rrsig.expiration + 1), Validity::Expired);

        if !example.private.is_empty() {
            let file = format!(
                "Private-key-format: v1.2\nAlgorithm: {} (X)\nPrivateKey: {}\n",
                key.algorithm.0, example.private
            );
            let private = PrivateKey::from_text(&file, key.algorithm, key.key).unwrap();
            assert_eq!(private.dnskey(key.flags), dnskey);
            let octets = rrsig
                .signed_octets(owner.as_ref(), Class::IN, [&set[..]].into_iter())
                .unwrap();
            let signature = private.sign(&octets).unwrap();
            // ECDSA signatures differ each time.
            if key.algorithm == Algorithm::ED25519 {
                assert_eq!(signature, rrsig.signature);
            }
            let own = Rrsig {
                signature: &signature,
                ..rrsig
            };
            assert_eq!(verify(&own, &set), Ok(()));
        }
    }
}

#[test]
fn sha1_and_sha256_digests() {
    // RFC 4034 5.4 and RFC 4509 2.3, of the same key.
    let dnskey = rdata(
        RrType::DNSKEY,
        "256 3 5 AQOeiiR0GOMYkDshWoSKz9XzfwJr1AYtsmx3TGkJaNXVbfi/2pHm822aJ5iI9BMzNXxeYCmZDRD99WYwYq\
         USdjMmmAphXdvxegXd/M5+X7OrzKBaMbCVdFLUUh6DhweJBjEVv5f2wwjM9XzcnOf+EPbtG9DMBmADjFDc2w/rljwv\
         Fw==",
    );
    let zone = name("dskey.example.com");
    for text in [
        "60485 5 1 2BB183AF5F22588179A53B0A98631FAD1A292118",
        "60485 5 2 D4B7D520E7BB5F0F67674A0CCEB1E3E0614B93C4F9E99B8383F6A1E4469DA50A",
    ] {
        let ds = rdata(RrType::DS, text);
        let read = Ds::read(&ds).unwrap();
        assert!(read.matches(zone.as_ref(), &DnsKey::read(&dnskey).unwrap()));
    }
    assert_eq!(
        Ds::make(zone.as_ref(), &dnskey, DigestType(3)),
        None,
        "GOST"
    );
}

#[test]
fn keys_that_are_none() {
    // RFC 5702 6.1: of 512 bits, too small to be taken.
    let dnskey = rdata(
        RrType::DNSKEY,
        "256 3 8 AwEAAcFcGsaxxdgiuuGmCkVImy4h99CqT7jwY3pexPGcnUFtR2Fh36BponcwtkZ4cAgtvd4Qs8PkxUdp6p\
         /DlUmObdk=",
    );
    let key = DnsKey::read(&dnskey).unwrap();
    assert_eq!(key.tag(), 9033);
    let bad = [
        (Algorithm::RSASHA256, key.key, VerifyError::BadKey),
        (Algorithm::RSASHA256, &[], VerifyError::BadKey),
        (Algorithm::RSASHA256, &[0, 0, 0], VerifyError::BadKey),
        (Algorithm::RSASHA256, &[0, 255, 255, 1], VerifyError::BadKey),
        (Algorithm::RSASHA512, &[3, 1, 0, 1], VerifyError::BadKey),
        (Algorithm::ECDSAP256SHA256, &[1; 63], VerifyError::BadKey),
        (
            Algorithm::ECDSAP256SHA256,
            &[1; 64],
            VerifyError::BadSignature,
        ),
        (Algorithm::ECDSAP384SHA384, &[], VerifyError::BadKey),
        (Algorithm::ED25519, &[1; 31], VerifyError::BadKey),
        (Algorithm(16), &[1; 57], VerifyError::Unsupported),
        (Algorithm(5), &[1; 57], VerifyError::Unsupported),
    ];
    for (algorithm, key, error) in bad {
        assert_eq!(
            verify(algorithm, key, b"x", b"y"),
            Err(error),
            "{algorithm}"
        );
    }
}

#[test]
fn keys_are_made_and_read_again() {
    for algorithm in Algorithm::SUPPORTED {
        let made = PrivateKey::generate(algorithm, 2048).unwrap();
        let again = PrivateKey::from_text(&made.to_text(), algorithm, made.public()).unwrap();
        let signature = again.sign(b"text").unwrap();
        assert_eq!(
            verify(algorithm, made.public(), b"text", &signature),
            Ok(())
        );
        assert_eq!(
            verify(algorithm, made.public(), b"Text", &signature),
            Err(VerifyError::BadSignature)
        );
        let other = PrivateKey::generate(algorithm, 2048).unwrap();
        let mixed = PrivateKey::from_text(&made.to_text(), algorithm, other.public());
        assert_eq!(mixed.err(), Some(PrivateKeyError::Mismatch));
        assert!(!format!("{made:?}").contains("PrivateKey"));
        assert_eq!(
            Algorithm::from_text(&algorithm.to_string()),
            Some(algorithm)
        );
    }
    assert!(PrivateKey::generate(Algorithm::RSASHA256, 1024).is_err());
    assert!(PrivateKey::generate(Algorithm(5), 2048).is_err());
    assert!(PrivateKey::from_text("", Algorithm::ED25519, &[0; 32]).is_err());
}

/// RFC 5155 appendix A.
#[test]
fn hashed_names() {
    let hash = Nsec3Hash {
        iterations: 12,
        salt: &[0xaa, 0xbb, 0xcc, 0xdd],
    };
    let cases = [
        ("example", "0p9mhaveqvm6t7vbl5lop2u3t2rp3tom"),
        ("A.example", "35mthgpgcu1qg68fab165klnsnk3dpvl"),
        ("ai.example", "gjeqe526plbf1g8mklp59enfd789njgi"),
        ("ns1.example", "2t7b4g4vsa5smi47k61mv5bv1a22bojr"),
        ("ns2.example", "q04jkcevqvmu85r014c7dkba38o0ji5r"),
        ("w.example", "k8udemvp1j2f7eg6jebps17vp3n8i58h"),
        ("*.w.example", "r53bq7cc2uvmubfu5ocmm6pers9tk9en"),
        ("x.w.example", "b4um86eghhds6nea196smvmlo4ors995"),
        ("y.w.example", "ji6neoaepv8b5o6k4ev33abha8ht9fgc"),
        ("x.y.w.example", "2vptu5timamqttgl4luu9kg21e0aor3s"),
        ("xx.example", "t644ebqk9bibcna874givr6joj62mlhv"),
    ];
    for (plain, hashed) in cases {
        let made = hash.hash(name(plain).as_ref());
        assert_eq!(nsec3::label(&made), hashed.as_bytes(), "{plain}");
        let owner = nsec3::owner(&made, name("example").as_ref()).unwrap();
        assert_eq!(owner.to_string(), format!("{hashed}.example."));
        assert_eq!(nsec3::of_owner(owner.as_ref()), Some(made));
    }
    let param = rdata(RrType::NSEC3PARAM, "1 0 12 aabbccdd");
    assert_eq!(Nsec3Hash::read(&param), Some((hash, 0, &[][..])));
    assert_eq!(hash.write(0), param);

    // The record at ns1.example; its stretch ends at x.y.w.example.
    let bytes = rdata(
        RrType::NSEC3,
        "1 1 12 aabbccdd 2vptu5timamqttgl4luu9kg21e0aor3s A RRSIG",
    );
    let nsec3 = Nsec3::read(&bytes).unwrap();
    assert!(nsec3.is_opt_out() && nsec3.hash == hash);
    let types: Vec<RrType> = nsec3.types.types().collect();
    assert_eq!(types, [RrType::A, RrType::RRSIG]);
    let hashed = |text| hash.hash(name(text).as_ref());
    let owner = hashed("ns1.example");
    assert!(!nsec3.covers(&owner, &owner));
    assert!(!nsec3.covers(&owner, &hashed("x.y.w.example")));
    assert!(!nsec3.covers(&owner, &hashed("w.example")));
    let mut between = owner;
    *between.last_mut().unwrap() += 1;
    assert!(nsec3.covers(&owner, &between));
    let unknown = rdata(
        RrType::NSEC3,
        "1 2 12 aabbccdd 2vptu5timamqttgl4luu9kg21e0aor3s A",
    );
    assert!(Nsec3::read(&unknown).is_none());
}

#[test]
fn stretches_of_names() {
    let bytes = rdata(RrType::NSEC, "d.example. A");
    let nsec = Nsec::read(&bytes).unwrap();
    let covers =
        |owner: &str, sought: &str| nsec.covers(name(owner).as_ref(), name(sought).as_ref());
    assert!(covers("b.example", "c.example") && covers("B.example", "x.B.example"));
    assert!(!covers("b.example", "b.example") && !covers("b.example", "D.example"));
    assert!(!covers("b.example", "a.example") && !covers("b.example", "e.example"));
    // The last of a zone, and the only one.
    assert!(covers("x.d.example", "y.d.example") && covers("x.d.example", "example"));
    assert!(!covers("x.d.example", "d.example") && !covers("x.d.example", "a.d.example"));
    assert!(covers("d.example", "a.d.example") && !covers("d.example", "d.example"));
}

/// RFC 4034 4.3.
#[test]
fn rows_of_types() {
    let types = [
        RrType::A,
        RrType::MX,
        RrType::RRSIG,
        RrType::NSEC,
        RrType(1234),
    ];
    let mut bytes = Vec::new();
    write_types(&types, &mut bytes);
    let expected = [
        0x00, 0x06, 0x40, 0x01, 0x00, 0x00, 0x00, 0x03, 0x04, 0x1b, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x20,
    ];
    assert_eq!(bytes, expected);
    assert!(TypeBitmap(&bytes).types().eq(types));
    assert!(TypeBitmap(&bytes).contains(RrType(1234)));
    assert!(!TypeBitmap(&bytes).contains(RrType::NS));
    assert!(!TypeBitmap(&[]).contains(RrType::NS));
    assert!(!TypeBitmap(&[0, 9, 255]).contains(RrType::A));
}

#[test]
fn sets_made_of_wildcards() {
    let octets = |owner: &str, labels| {
        let mut out = Vec::new();
        let records = [&[1u8, 2, 3, 4][..], &[1, 2, 3, 3], &[1, 2, 3, 4]];
        let (owner, records) = (name(owner), records.into_iter());
        canonical_rrset(
            owner.as_ref(),
            labels,
            RrType::A,
            Class::IN,
            5,
            records,
            &mut out,
        )
        .then_some(out)
    };
    let wildcard = octets("*.W.example", 2).unwrap();
    assert_eq!(octets("a.b.w.Example", 2).unwrap(), wildcard);
    assert_eq!(octets("*.b.w.Example", 2).unwrap(), wildcard);
    assert!(
        wildcard
            .starts_with(b"\x01*\x01w\x07example\0\0\x01\0\x01\0\0\0\x05\0\x04\x01\x02\x03\x03")
    );
    // Two records, each behind the same octets.
    assert_eq!(wildcard.len(), 2 * (13 + 10 + 4));
    assert!(octets("*.w.example", 3).is_none());
    assert!(octets(".", 0).unwrap().starts_with(&[0, 0, 1]));
}

proptest! {
    #[test]
    fn no_octets_do_harm(octets in prop::collection::vec(any::<u8>(), 0..80), algorithm in 0u8..20) {
        let owner = name("a.example");
        if let Some(rrsig) = Rrsig::read(&octets) {
            let set = [&octets[..]].into_iter();
            let _ = rrsig.signed_octets(owner.as_ref(), Class::IN, set);
        }
        if let Some(nsec3) = Nsec3::read(&octets) {
            prop_assert!(nsec3.types.types().count() <= 65536);
        }
        let _ = Nsec::read(&octets).map(|nsec| nsec.types.types().count());
        let _ = verify(Algorithm(algorithm), &octets, b"", &octets);
    }

    #[test]
    fn rows_of_types_there_and_back(mut types in prop::collection::btree_set(any::<u16>(), 0..40)) {
        let list: Vec<RrType> = std::mem::take(&mut types).into_iter().map(RrType).collect();
        let mut bytes = Vec::new();
        write_types(&list, &mut bytes);
        prop_assert!(TypeBitmap(&bytes).types().eq(list.iter().copied()));
        prop_assert!(list.iter().all(|rr_type| TypeBitmap(&bytes).contains(*rr_type)));
    }
}
