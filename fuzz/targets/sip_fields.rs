//! What stands inside SIP headers: URIs and answers to a digest challenge.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    omnid_sip::wire::fuzz::fuzz_uri(data);
    omnid_sip::wire::fuzz::fuzz_digest(data);
});
