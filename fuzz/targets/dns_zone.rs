//! Zone files: what was read is written, and read again the same.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| omnid_dns::wire::fuzz_zone(data));
