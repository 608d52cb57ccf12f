//! The PROXY header, both versions: what was read is written and read again the same, and asking
//! for more never asks past what is there.
#![no_main]

use libfuzzer_sys::fuzz_target;
use omnid_net::wire::proxy::{Progress, parse};

fuzz_target!(|data: &[u8]| match parse(data) {
    Ok(Progress::Needs(length)) => assert!(length > data.len()),
    Ok(Progress::Done(header, length)) => {
        assert!(length <= data.len());
        let bytes = header.to_binary();
        assert_eq!(parse(&bytes), Ok(Progress::Done(header, bytes.len())));
    }
    Err(_) => {}
});
