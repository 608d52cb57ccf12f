//! The torture messages of RFC 4475, as text fixtures in `torture/`: one file each, lines end in
//! CRLF, `\xNN` is an octet, `\\` a backslash, `\c` at the end of the last line drops its CRLF.
//!
//! Used by the tests of this crate and by those of the whole daemon.

use std::{fs, path::Path};

/// One message and what the RFC wants done with it.
pub(crate) struct Torture {
    pub(crate) name: String,
    pub(crate) expect: String,
    pub(crate) bytes: Vec<u8>,
}

/// All of them, from the folder where they are.
pub(crate) fn torture(directory: &Path) -> Vec<Torture> {
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
