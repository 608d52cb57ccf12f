//! Entry points for fuzzing: any bytes in, no panic, and what was read must write and read again.

use super::master::{Limits, NoFiles, ZoneText, parse_zone};
use super::message::Message;
use super::name::NameRef;
use super::query::Query;

/// Reads bytes as a request and as any message, and shows what was read.
pub fn fuzz_message(bytes: &[u8]) {
    if let Ok(query) = Query::read(bytes) {
        assert!(query.question_end <= bytes.len());
    }
    let Ok(message) = Message::read(bytes) else {
        return;
    };
    let sections = [&message.answers, &message.authorities, &message.additionals];
    for record in sections.into_iter().flatten() {
        assert!(!record.to_string().is_empty());
    }
}

/// Reads bytes as a zone file, writes the records read, and reads them again.
pub fn fuzz_zone(bytes: &[u8]) {
    let limits = Limits {
        records: 10_000,
        ..Limits::default()
    };
    let parse = |text: &[u8]| parse_zone(NameRef::ROOT, "zone", &text.into(), &mut NoFiles, limits);
    let first = parse(bytes);
    let printed = ZoneText(&first.records).to_string();
    let second = parse(printed.as_bytes());
    assert!(
        !second.is_broken(),
        "what was written does not read: {printed}"
    );
    assert_eq!(printed, ZoneText(&second.records).to_string());
}
