//! Requests with a signature: checked before anything else is looked at, and the response signed
//! by the same key (RFC 8945 5.2, 5.3).

use super::answer::{Answered, Client, Outcome, Scratch, answer_query, replied};
use super::reply::{Reply, size_limit};
use super::state::State;
use super::tsig::{Rejection, Signature, append_error, room_for, verify};
use crate::wire::code::{Rcode, RrType};
use crate::wire::query::{Query, Tsig};

/// A name of 255 octets twice, and the largest MAC.
const MAX_RECORD: usize = 700;

/// Answers a request that carries a signature.
#[allow(clippy::too_many_arguments)]
pub(super) fn answer_signed(
    state: &State,
    client: &Client,
    now: u32,
    message: &[u8],
    query: &Query<'_>,
    tsig: &Tsig<'_>,
    out: &mut [u8],
    scratch: &mut Scratch,
) -> Outcome {
    let limit = size_limit(&state.settings, client, query).min(out.len());
    let rr_type = query
        .question
        .map_or(RrType(0), |question| question.rr_type);
    let plain = Query {
        tsig: None,
        ..*query
    };
    let (rcode, rejection) = match verify(&state.keys, message, tsig, now.into()) {
        Ok(signature) => {
            let Some(room) = limit.checked_sub(room_for(&signature.key)) else {
                return Outcome::Drop;
            };
            let client = Client {
                key: state.keys.position(tsig.key),
                ..client.clone()
            };
            let Some(body) = out.get_mut(..room) else {
                return Outcome::Drop;
            };
            return match answer_query(state, &client, now, message, &plain, body, scratch) {
                Outcome::Reply(answered) => sign(&signature, answered, out, now),
                Outcome::Transfer(mut transfer) => {
                    transfer.sign_with(signature.stream());
                    Outcome::Transfer(transfer)
                }
                Outcome::Deferred(mut deferred) => {
                    deferred.signature = Some(signature);
                    Outcome::Deferred(deferred)
                }
                // Questions for the resolver are not signed.
                Outcome::Drop | Outcome::Recurse => Outcome::Drop,
            };
        }
        Err(Rejection::Malformed) => (Rcode::FORMERR, None),
        Err(rejection) => (Rcode::NOTAUTH, Some(rejection)),
    };
    if !client.may_have_error(state, now) {
        return Outcome::Drop;
    }
    let room = limit.saturating_sub(MAX_RECORD).max(limit.min(512) / 2);
    let Some(body) = out.get_mut(..room) else {
        return Outcome::Drop;
    };
    let reply = Reply::new(
        &state.settings,
        client,
        &plain,
        message,
        body,
        &mut scratch.names,
    );
    let Ok(mut reply) = reply else {
        return Outcome::Drop;
    };
    reply.rcode = rcode;
    let len = reply.finish(&state.settings, client, &plain, now);
    let answered = Answered {
        len,
        rcode,
        rr_type,
    };
    let signed = match rejection {
        Some(Rejection::Unsigned(error)) => {
            append_error(out, len, tsig, query.header.id, error, now.into())
        }
        Some(Rejection::Signed(signature)) => signature.sign_response(out, len, now.into()),
        Some(Rejection::Malformed) | None => Some(len),
    };
    let len = signed.unwrap_or(answered.len);
    Outcome::Reply(Answered { len, ..answered })
}

/// Signs a response.
pub(super) fn sign(signature: &Signature, answered: Answered, out: &mut [u8], now: u32) -> Outcome {
    match signature.sign_response(out, answered.len, now.into()) {
        Some(len) => replied(Some(len), answered.rcode, answered.rr_type),
        None => Outcome::Drop,
    }
}
