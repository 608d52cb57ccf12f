//! The bytes of an HTTP/1 connection, as the head scanner reads them.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    omnid_http::wire::fuzz::fuzz_head(data);
});
