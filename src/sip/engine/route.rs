//! The way back: Record-Route URIs that carry, signed, where both ends of a dialog are.
//!
//! Phones behind NATs can only be reached on the flow they used before, so a dialog's requests have
//! to find it. It stands in the URI that both phones send back in Route: nothing is kept for it, it
//! outlives a restart, and nobody can use us to reach anything but the other end of a dialog that
//! we let begin.

use aws_lc_rs::hmac;
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};

use super::{Flow, Settings};
use crate::wire::{Message, SipUri};

const SIGNATURE: usize = 10;

/// The signer.
pub(super) struct Routes {
    key: hmac::Key,
}

/// The two ends of a dialog, as one of its requests presents them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leg {
    /// Where the one who began it is.
    pub caller: Flow,
    /// Where the other one is.
    pub callee: Flow,
    /// Who this request is from.
    pub from_caller: bool,
    /// By how much the callee's count of the caller's requests is ahead of the caller's own.
    pub ahead: u8,
}

impl Leg {
    /// By how much this request's count is to be ahead where it goes.
    pub(super) const fn step(&self) -> u8 {
        if self.from_caller { self.ahead } else { 0 }
    }
}

impl Routes {
    /// With a key that must not be guessed, and stays the same over restarts.
    #[must_use]
    pub(super) fn new(key: &[u8]) -> Self {
        Self {
            key: hmac::Key::new(hmac::HMAC_SHA256, key),
        }
    }

    /// The Record-Route value for a request that begins a dialog: one URI, or two where the sides
    /// reach us differently (RFC 5658).
    #[must_use]
    pub(super) fn record(
        &self,
        request: &Message,
        caller: &Flow,
        (callee, ahead): (&Flow, u8),
        settings: &Settings,
    ) -> String {
        let mut octets = Vec::with_capacity(64);
        caller.encode(&mut octets);
        callee.encode(&mut octets);
        octets.push(ahead);
        let signature = self.sign(
            &octets,
            request.call_id(),
            request.from_tag().unwrap_or_default(),
        );
        octets.extend_from_slice(&signature);
        let token = BASE64_URL_SAFE_NO_PAD.encode(octets);
        let secure = matches!(request.uri(), Ok(uri) if uri.sip().is_some_and(|uri| uri.secure));
        let uri = |flow: &Flow| {
            let sent_by = settings.sent_by(flow);
            if secure {
                format!("<sips:{token}@{sent_by};lr>")
            } else {
                let transport = flow.transport.uri_name();
                format!("<sip:{token}@{sent_by};transport={transport};lr>")
            }
        };
        let towards_callee = uri(callee);
        let towards_caller = uri(caller);
        if towards_callee == towards_caller {
            towards_callee
        } else {
            format!("{towards_callee}, {towards_caller}")
        }
    }

    /// What a URI that came back says, if it is one of ours and for this request's dialog.
    #[must_use]
    pub(super) fn read(&self, uri: &SipUri<'_>, request: &Message) -> Option<Leg> {
        let octets = BASE64_URL_SAFE_NO_PAD.decode(uri.user?).ok()?;
        let (caller, rest) = Flow::decode(&octets)?;
        let (callee, rest) = Flow::decode(rest)?;
        let (ahead, signature) = rest.split_first()?;
        let signed = octets.get(..octets.len().checked_sub(signature.len())?)?;
        let is_callers = |tag: Option<&[u8]>| {
            let expected = self.sign(signed, request.call_id(), tag.unwrap_or_default());
            aws_lc_rs::constant_time::verify_slices_are_equal(signature, &expected).is_ok()
        };
        let from_caller = is_callers(request.from_tag());
        (from_caller || is_callers(request.to_tag())).then_some(Leg {
            caller,
            callee,
            from_caller,
            ahead: *ahead,
        })
    }

    fn sign(&self, flows: &[u8], call_id: &[u8], tag: &[u8]) -> [u8; SIGNATURE] {
        let mut context = hmac::Context::with_key(&self.key);
        for part in [flows, call_id, b"\n", tag] {
            context.update(part);
        }
        let tag = context.sign();
        tag.as_ref().first_chunk().copied().unwrap_or_default()
    }
}
