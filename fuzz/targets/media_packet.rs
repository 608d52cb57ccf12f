//! What comes to a media port, and the descriptions that opened it: RTP, RTCP, events, SDP.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| omnid_media::wire::fuzz::fuzz(data));
