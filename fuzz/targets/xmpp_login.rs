//! A stream from its first byte, with passwords that are all wrong.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| omnid_xmpp::fuzz::fuzz_login(data));
