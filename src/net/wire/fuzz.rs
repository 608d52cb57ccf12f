//! Entry points for fuzzing: each must return on any input.

use std::hint::black_box;

use super::Spoken;
use super::proxy::{self, Progress};

/// The first bytes of any connection: what they look like, and the PROXY header they may be, read
/// as a listener reads it.
///
/// # Panics
/// When the parser is wrong: it asks for bytes beyond the header, makes no progress, or reads what
/// it has written differently.
pub fn fuzz_opening(data: &[u8]) {
    black_box(Spoken::of(data).to_string());
    let mut have = 0;
    while let Some(bytes) = data.get(..have) {
        match proxy::parse(bytes) {
            Ok(Progress::Needs(length)) => {
                assert!(length > have, "no progress");
                have = length;
            }
            Ok(Progress::Done(header, length)) => {
                assert_eq!(length, have, "bytes beyond the header");
                let binary = header.to_binary();
                assert_eq!(
                    proxy::parse(&binary),
                    Ok(Progress::Done(header, binary.len()))
                );
                return;
            }
            Err(_) => return,
        }
    }
}
