//! SIP messages as datagrams bring them.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| omnid_sip::wire::fuzz::fuzz_message(data));
