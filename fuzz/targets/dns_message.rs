//! DNS messages of every kind: read, and every record shown; as responses, nothing learned from them
//! that is not the server's to say; updates and transfers carried out; entries of journals.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    omnid_dns::wire::fuzz_message(data);
    omnid_dns::engine::fuzz_changes(data);
    omnid_dns::fuzz_response(data);
});
