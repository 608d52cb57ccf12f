//! An entry in the journal's native protocol: <https://systemd.io/JOURNAL_NATIVE_PROTOCOL/>.
//!
//! Fields of entries and spans become journal fields with `OMNID_` before their name, so that
//! `journalctl OMNID_USER=alice@example.org` finds all about her.

use std::io::Write;

use tracing::Level;

use crate::record::Record;

/// The journal takes no longer field names.
const NAME_MAX: usize = 64;

/// Writes `record` as one datagram.
pub(crate) fn datagram(record: &Record) -> Vec<u8> {
    let mut datagram = Vec::with_capacity(512);
    // syslog(3)'s severities.
    let priority = match record.level {
        Level::ERROR => "3",
        Level::WARN => "4",
        Level::INFO => "6",
        Level::DEBUG | Level::TRACE => "7",
    };
    put(&mut datagram, "PRIORITY", priority);
    put(&mut datagram, "SYSLOG_IDENTIFIER", "omnid");
    put(&mut datagram, "MESSAGE", &message(record));
    put(&mut datagram, "OMNID_TARGET", &record.target);
    if let Some((file, line)) = &record.place {
        put(&mut datagram, "CODE_FILE", file);
        put(&mut datagram, "CODE_LINE", &line.to_string());
    }
    for (span, fields) in &record.spans {
        put(&mut datagram, "OMNID_SPAN", span);
        for (name, value) in fields.iter() {
            put(&mut datagram, &field_name(name), &value.to_string());
        }
    }
    for (name, value) in record.fields.iter() {
        put(&mut datagram, &field_name(name), &value.to_string());
    }
    datagram
}

/// The message with the entry's own fields, since `journalctl` shows nothing else by itself.
fn message(record: &Record) -> String {
    let mut message = record.message.clone();
    for (name, value) in record.fields.iter() {
        if !message.is_empty() {
            message.push(' ');
        }
        message.push_str(&format!("{name}={value}"));
    }
    message
}

/// Upper case letters, digits and underscores; the journal drops fields named otherwise.
fn field_name(name: &str) -> String {
    let legal = name.chars().map(|c| {
        if c.is_ascii_alphanumeric() {
            c.to_ascii_uppercase()
        } else {
            '_'
        }
    });
    "OMNID_".chars().chain(legal).take(NAME_MAX).collect()
}

fn put(datagram: &mut Vec<u8>, name: &str, value: &str) {
    datagram.extend_from_slice(name.as_bytes());
    if value.contains('\n') {
        // Length first, in 8 bytes little-endian, so that the value can hold anything.
        datagram.push(b'\n');
        let length = u64::try_from(value.len()).unwrap_or(u64::MAX);
        // Writing to a Vec does not fail.
        drop(datagram.write_all(&length.to_le_bytes()));
    } else {
        datagram.push(b'=');
    }
    datagram.extend_from_slice(value.as_bytes());
    datagram.push(b'\n');
}
