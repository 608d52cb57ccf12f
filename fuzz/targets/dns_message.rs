//! DNS messages of every kind: read, and every record shown.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| omnid_dns::wire::fuzz_message(data));
