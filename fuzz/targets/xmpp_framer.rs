//! A client's bytes, cut into frames.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| omnid_xmpp::fuzz::fuzz_framer(data));
