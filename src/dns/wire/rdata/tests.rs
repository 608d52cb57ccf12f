#![allow(clippy::unwrap_used, clippy::expect_used)]

use proptest::prelude::*;

use super::form::form;
use super::*;
use crate::wire::code::RrType;
use crate::wire::master::tokens_of;
use crate::wire::name::NameRef;

fn read(text: &str) -> Result<(RrType, Vec<u8>), RdataError> {
    let tokens = tokens_of(text.as_bytes()).unwrap();
    let rr_type = RrType::from_text(tokens[0].text).unwrap();
    let mut out = Vec::new();
    parse(
        rr_type,
        &mut Fields::new(&tokens[1..], Some(NameRef::ROOT)),
        &mut out,
    )?;
    Ok((rr_type, out))
}

#[test]
fn encodes_as_bind_does_and_prints_what_it_reads() {
    let fixtures = include_str!("../../tests/fixtures/rdata.txt");
    for line in fixtures.lines().filter(|line| !line.starts_with('#')) {
        let (text, hex) = line.split_once(" =>").unwrap();
        let (rr_type, bytes) = read(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        let mut shown = String::new();
        write_hex(&bytes, &mut shown).unwrap();
        assert_eq!(shown, hex.trim(), "{text}");
        assert_eq!(check(rr_type, &bytes), Ok(()), "{text}");

        let printed = format!(
            "{rr_type} {}",
            Rdata {
                rr_type,
                bytes: &bytes
            }
        );
        let again = read(&printed).unwrap_or_else(|error| panic!("{printed}: {error}"));
        assert_eq!(again, (rr_type, bytes), "{printed}");
    }
}

#[test]
fn refuses_what_bind_refuses() {
    let fixtures = include_str!("../../tests/fixtures/rdata-refused.txt");
    for line in fixtures.lines().filter(|line| !line.starts_with('#')) {
        assert!(read(line).is_err(), "{line}");
    }
}

#[test]
fn says_what_is_wrong_and_where() {
    let cases = [
        ("A 192.0.2.256", 0, "`192.0.2.256` is not an IPv4 address"),
        (
            "A 192.0.2.1 foo",
            1,
            "extra text `foo` after the record's data",
        ),
        ("MX 10", 1, "unexpected end of record, expected a name"),
        ("MX 70000 a.", 0, "`70000` is not a number (0..65535)"),
        ("SVCB 1 . port=x", 2, "bad value of `port`"),
    ];
    for (text, token, message) in cases {
        let error = read(text).unwrap_err();
        assert_eq!(
            (error.token, error.message.as_str()),
            (token, message),
            "{text}"
        );
    }
}

#[test]
fn compressed_names_come_out_whole() {
    // An MX record whose exchange is a pointer to the name at 12.
    let message = b"------------\x02ab\0\x00\x0a\xc0\x0c";
    let mut out = Vec::new();
    decompress(RrType::MX, message, 16, 4, &mut out).unwrap();
    assert_eq!(out, b"\x00\x0a\x02ab\0");
    // SVCB must not be compressed (RFC 9460 2.2); neither may data end early or late.
    assert!(decompress(RrType::SVCB, message, 16, 4, &mut Vec::new()).is_err());
    assert!(decompress(RrType::MX, message, 16, 3, &mut Vec::new()).is_err());
    assert!(decompress(RrType::NS, message, 16, 4, &mut Vec::new()).is_err());
}

/// Octets shaped so that a good part of them is valid data.
fn any_rdata() -> impl Strategy<Value = (RrType, Vec<u8>)> {
    let types: Vec<u16> = (0..=u16::MAX)
        .filter(|number| form(RrType(*number)).is_some())
        .collect();
    let piece = prop_oneof![
        Just(vec![0]),
        Just(vec![1, b'a', 0]),
        Just(vec![0, 1]),
        Just(vec![0, 0, 0, 1]),
        Just(vec![0, 3, 0, 2, 0, 53]),
        Just(vec![0x12, 0x16, 0x13]),
        prop::collection::vec(any::<u8>(), 0..20),
    ];
    let bytes = prop::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat());
    (prop::sample::select(types), bytes).prop_map(|(number, bytes)| (RrType(number), bytes))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    /// Any octets can be shown, valid or not, and read back to the same octets.
    #[test]
    fn print_then_parse((rr_type, bytes) in any_rdata()) {
        let printed = Rdata { rr_type, bytes: &bytes }.to_string();
        if check(rr_type, &bytes).is_ok() {
            let (_, again) = read(&format!("{rr_type} {printed}")).map_err(|error| {
                TestCaseError::fail(format!("{printed}: {error}"))
            })?;
            prop_assert_eq!(again, bytes, "{}", printed);
        } else {
            let unknown = read(&format!("TYPE60000 {printed}")).unwrap();
            prop_assert_eq!(unknown.1, bytes);
        }
    }

    #[test]
    fn decompression_never_panics((rr_type, bytes) in any_rdata(), at in 0usize..40, length in 0usize..40) {
        let mut out = Vec::new();
        if decompress(rr_type, &bytes, at, length, &mut out).is_ok() {
            prop_assert!(check(rr_type, &out).is_ok());
        }
    }
}
