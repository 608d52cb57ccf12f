//! DNS messages of every kind: read, and every record shown; as
//! responses, nothing learned from them that is not the server's to say.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    omnid_dns::wire::fuzz_message(data);
    omnid_dns::fuzz_response(data);
});
