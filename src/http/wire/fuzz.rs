//! Entry points for fuzzing: arbitrary bytes in, panics where an invariant does not hold.

use super::{
    cgi,
    credentials::Basic,
    fastcgi,
    head::HeadScanner,
    host::Host,
    range,
    target::NormalPath,
    validator::{TagList, parse_date},
};
use crate::engine::ranges::{Selection, select};

/// A request target's path: the normal form is normal, and stays what it is when it is escaped
/// and read again.
pub fn fuzz_target(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let Ok(path) = NormalPath::parse(text) else {
        return;
    };
    let decoded = path.as_bytes();
    assert_eq!(decoded.first(), Some(&b'/'));
    assert!(memchr::memmem::find(decoded, b"//").is_none());
    assert!(!decoded.contains(&0) && !decoded.contains(&b'\\'));
    let segments = decoded.split(|&byte| byte == b'/');
    assert!(
        segments
            .into_iter()
            .all(|segment| segment != b"." && segment != b"..")
    );
    if !path.encoded_slash() {
        let again = path.to_escaped(0);
        let again = NormalPath::parse(&again).map(NormalPath::into_owned);
        assert!(again.is_ok_and(|again| again.as_bytes() == decoded));
    }
}

/// A Range field: what is selected exists, and no byte is sent twice.
pub fn fuzz_range(data: &[u8]) {
    let Some((&length, value)) = data.split_first() else {
        return;
    };
    let Some(specs) = range::parse(value) else {
        return;
    };
    let length = u64::from(length);
    let ranges = match select(&specs, length) {
        Selection::One(range) => vec![range],
        Selection::Many(ranges) => ranges,
        Selection::Whole | Selection::Unsatisfiable => return,
    };
    assert!(
        ranges
            .iter()
            .all(|range| range.start < range.end && range.end <= length)
    );
    let total: u64 = ranges.iter().map(|range| range.end - range.start).sum();
    assert!(total <= length);
}

/// Validators and credentials.
pub fn fuzz_fields(data: &[u8]) {
    let _ = TagList::parse(data);
    let _ = parse_date(data);
    let _ = Basic::parse(data);
    let mut basic = b"Basic ".to_vec();
    basic.extend_from_slice(data);
    let _ = Basic::parse(&basic);
}

/// What programs say: a head, and FastCGI records, whose content does not depend on how they are
/// cut.
pub fn fuzz_programs(data: &[u8]) {
    if let Some(end) = cgi::end(data) {
        let _ = cgi::parse(data.get(..end).unwrap_or_default());
    }
    let decode = |pieces: &[&[u8]]| {
        let mut decoder = fastcgi::Decoder::default();
        let mut bytes = bytes::BytesMut::new();
        let mut output = Vec::new();
        for piece in pieces {
            bytes.extend_from_slice(piece);
            loop {
                match decoder.next(&mut bytes) {
                    Ok(Some(fastcgi::Record::Stdout(piece))) => output.extend_from_slice(&piece),
                    Ok(Some(_)) => {}
                    Ok(None) => break,
                    Err(_) => return output,
                }
            }
        }
        output
    };
    let (first, second) = data.split_at(data.len() / 2);
    assert_eq!(decode(&[first, second]), decode(&[data]));
}

/// A host: what is printed reads the same.
pub fn fuzz_host(data: &[u8]) {
    let Some(host) = Host::parse(data) else {
        return;
    };
    let printed = match host.port {
        Some(port) => format!("{}:{port}", host.name),
        None => host.name.to_string(),
    };
    assert_eq!(Host::parse(printed.as_bytes()), Some(host));
}

/// The bytes of a connection: read whole or cut in two, they have the same heads.
pub fn fuzz_head(data: &[u8]) {
    let Some((&cut, bytes)) = data.split_first() else {
        return;
    };
    let scan = |pieces: &[&[u8]]| {
        let mut scanner = HeadScanner::new();
        let mut heads = Vec::new();
        for piece in pieces {
            scanner.scan(piece, |facts| heads.push(facts));
        }
        // How often it is said that the thread is lost depends on the pieces.
        heads.retain(|facts| !facts.uncertain);
        heads
    };
    let (first, second) = bytes.split_at(usize::from(cut).min(bytes.len()));
    assert_eq!(scan(&[first, second]), scan(&[bytes]));
}
