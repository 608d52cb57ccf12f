//! SIP messages cut out of a stream, however it is cut into pieces.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| omnid_sip::wire::fuzz::fuzz_framing(data));
