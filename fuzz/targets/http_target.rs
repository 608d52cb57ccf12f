//! Paths of HTTP request targets.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    omnid_http::wire::fuzz::fuzz_target(data);
});
