//! Entry points for fuzzing: each must return on any input.

use std::hint::black_box;

use bytes::Bytes;

use super::{
    Address, Challenge, Contacts, Credentials, Edit, Framer, HeaderName, Limits, Message, Uri,
    Values, Via,
};

/// Any datagram: parse it, read every header every way, change it, and parse it again.
pub fn fuzz_message(data: &[u8]) {
    let limits = Limits::default();
    let message = match Message::parse(Bytes::copy_from_slice(data), &limits) {
        Ok(message) => message,
        Err(rejected) => match rejected.request {
            Some(request) => *request,
            None => return,
        },
    };
    for (_, _, value) in message.headers() {
        for item in Values::new(value) {
            let _ = black_box(Via::parse(item));
            if let Ok(address) = Address::parse(item, "Contact") {
                drop((address.display_name(), address.q()));
            }
        }
        drop(Credentials::parse(value));
    }
    drop(Contacts::parse(message.lines(HeaderName::Contact)));
    let _ = black_box((message.uri(), message.cseq()));
    black_box((message.expires(), message.body()));
    let source = std::net::SocketAddr::from(([192, 0, 2, 1], 5060));
    drop(super::Response::new(&message, source, 400, "Bad Request", "tag").finish());
    drop((
        super::ack(&message, &message),
        super::cancel(&message, None),
    ));
    let mut edit = Edit::new(&message);
    edit.push(HeaderName::Via, b"SIP/2.0/UDP us;branch=z9hG4bKfuzz");
    edit.pop(HeaderName::Route, 2);
    edit.set(HeaderName::MaxForwards, b"69");
    edit.remove(HeaderName::ProxyAuthorization);
    drop(Message::parse(edit.finish(), &limits));
}

/// Any URI.
pub fn fuzz_uri(data: &[u8]) {
    if let Ok(uri) = Uri::parse(data) {
        assert!(Ok(uri) == Uri::parse(data), "a URI equals itself");
        if let Uri::Sip(uri) = uri {
            drop((uri.user_text(), uri.param("lr"), uri.host.to_string()));
        }
    }
}

/// Any challenge, and any answer to one.
pub fn fuzz_digest(data: &[u8]) {
    drop(Credentials::parse(data));
    drop(Challenge::parse(data));
}

/// Any stream, in any pieces: the first octet of each piece says how long it is.
pub fn fuzz_framing(data: &[u8]) {
    let mut framer = Framer::default();
    let mut rest = data;
    while let Some((length, after)) = rest.split_first() {
        let (piece, after) = after.split_at(usize::from(*length).min(after.len()));
        rest = after;
        framer.push(piece);
        while let Ok(Some(_)) = framer.next(4096) {}
    }
}
