//! The path of a DNS query, from a datagram's bytes to the answer's.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| omnid_dns::engine::fuzz_answer(data));
