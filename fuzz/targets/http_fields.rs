//! Fields of HTTP requests: validators, dates, credentials, hosts, ranges.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    omnid_http::wire::fuzz::fuzz_fields(data);
    omnid_http::wire::fuzz::fuzz_host(data);
    omnid_http::wire::fuzz::fuzz_programs(data);
    omnid_http::wire::fuzz::fuzz_range(data);
});
