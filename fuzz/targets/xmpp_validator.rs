//! One element: scanned, printed, stamped, and compared with what rxml says.
#![no_main]

use rxml::Parse;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    if omnid_xmpp::fuzz::fuzz_validator(data) {
        // What is passed on must not make another parser close its stream. The prefix `stream` and
        // the namespace are what a client's stream declares around it.
        let mut parser = rxml::Parser::default();
        let text = [HEADER, data, b"</s>"].concat();
        let mut input = text.as_slice();
        loop {
            match parser.parse(&mut input, true) {
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(error) => panic!("rxml: {error:?}"),
            }
        }
    }
});

const HEADER: &[u8] =
    b"<s xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>";
