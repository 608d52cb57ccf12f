//! The two requests that a transaction makes out of another (RFC 3261 9.1, 17.1.1.3).

use bytes::Bytes;

use super::{HeaderName, Message};

/// The ACK for a final response other than 2xx to `invite`, which is the request as it was sent.
#[must_use]
pub fn ack(invite: &Message, response: &Message) -> Bytes {
    follow_up(invite, "ACK", response.value(HeaderName::To), None)
}

/// The CANCEL of `invite`, which is the request as it was sent; with a Reason (RFC 3326) where one
/// is known.
#[must_use]
pub fn cancel(invite: &Message, reason: Option<&[u8]>) -> Bytes {
    follow_up(invite, "CANCEL", invite.value(HeaderName::To), reason)
}

fn follow_up(invite: &Message, method: &str, to: Option<&[u8]>, reason: Option<&[u8]>) -> Bytes {
    let mut text = Vec::with_capacity(512);
    let mut put = |pieces: &[&[u8]]| {
        for piece in pieces {
            text.extend_from_slice(piece);
        }
    };
    put(&[method.as_bytes(), b" ", invite.uri_text(), b" SIP/2.0\r\n"]);
    // The same branch, so that the peer finds the transaction; and the same way there.
    let via = invite.list(HeaderName::Via).next().unwrap_or_default();
    put(&[b"Via: ", via, b"\r\n"]);
    for route in invite.lines(HeaderName::Route) {
        put(&[b"Route: ", route, b"\r\n"]);
    }
    put(&[b"Max-Forwards: 70\r\n"]);
    for (name, value) in [
        ("From", invite.value(HeaderName::From)),
        ("To", to),
        ("Call-ID", invite.value(HeaderName::CallId)),
        ("Reason", reason),
    ] {
        if let Some(value) = value {
            put(&[name.as_bytes(), b": ", value, b"\r\n"]);
        }
    }
    let number = invite.cseq().map_or(0, |cseq| cseq.number).to_string();
    put(&[
        b"CSeq: ",
        number.as_bytes(),
        b" ",
        method.as_bytes(),
        b"\r\n",
    ]);
    put(&[b"Content-Length: 0\r\n\r\n"]);
    text.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Limits, Rejected};

    #[test]
    fn an_ack_and_a_cancel_find_their_transaction() -> Result<(), Rejected> {
        let parse = |text: &'static str| {
            Message::parse(Bytes::from(text.replace('\n', "\r\n")), &Limits::default())
        };
        let invite = parse(
            "INVITE sip:bob@192.0.2.4 SIP/2.0
Via: SIP/2.0/UDP us;branch=z9hG4bKa, SIP/2.0/UDP them;branch=z9hG4bKb
Route: <sip:next;lr>
From: <sip:alice@example.org>;tag=1
To: <sip:bob@example.org>
Call-ID: x
CSeq: 7 INVITE
Content-Length: 0

",
        )?;
        let busy = parse(
            "SIP/2.0 486 Busy Here
Via: SIP/2.0/UDP us;branch=z9hG4bKa, SIP/2.0/UDP them;branch=z9hG4bKb
From: <sip:alice@example.org>;tag=1
To: <sip:bob@example.org>;tag=2
Call-ID: x
CSeq: 7 INVITE
Content-Length: 0

",
        )?;
        let expect = "ACK sip:bob@192.0.2.4 SIP/2.0
Via: SIP/2.0/UDP us;branch=z9hG4bKa
Route: <sip:next;lr>
Max-Forwards: 70
From: <sip:alice@example.org>;tag=1
To: <sip:bob@example.org>;tag=2
Call-ID: x
CSeq: 7 ACK
Content-Length: 0

";
        assert_eq!(ack(&invite, &busy), expect.replace('\n', "\r\n"));
        let cancel = cancel(
            &invite,
            Some(b"SIP;cause=200;text=\"Call completed elsewhere\""),
        );
        let cancel = Message::parse(cancel, &Limits::default())?;
        assert_eq!(cancel.method_text(), b"CANCEL");
        assert!(cancel.to_tag().is_none());
        Ok(())
    }
}
