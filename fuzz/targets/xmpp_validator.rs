//! One element: scanned, printed, stamped, and what is passed on of it compared with what rxml says.
#![no_main]

use rxml::Parse;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    if let Some(passed_on) = omnid_xmpp::fuzz::fuzz_validator(data) {
        // What is passed on must not make another parser close its stream.
        let mut parser = rxml::Parser::default();
        let text = [HEADER, &passed_on, b"</s>"].concat();
        let mut input = text.as_slice();
        loop {
            match parser.parse(&mut input, true) {
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(error) => panic!("rxml: {error:?} in {:?}", String::from_utf8_lossy(&text)),
            }
        }
    }
});

const HEADER: &[u8] = b"<s xmlns='jabber:client'>";
