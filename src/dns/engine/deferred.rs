//! Requests that cannot be answered in place: what they ask for is written to the disk first, or
//! asked of another server.

use super::answer::{Answered, Client, Outcome, Scratch, replied};
use super::reply::{ExtendedError, Reply, size_limit};
use super::signed::sign;
use super::state::State;
use super::tsig::{Signature, room_for};
use super::zones::ZoneId;
use crate::wire::code::{Rcode, RrType};
use crate::wire::name::NameRef;
use crate::wire::query::Query;

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request {
    /// Changes of a zone (RFC 2136).
    Update,
    /// That a zone's primary has changed (RFC 1996).
    Notify,
}

/// A request to be answered later.
#[derive(Debug, Clone)]
pub struct Deferred {
    /// What it asks for.
    pub request: Request,
    /// The zone it is about.
    pub zone: ZoneId,
    /// All of it.
    pub message: Box<[u8]>,
    /// Who asks.
    pub client: Client,
    /// Its signature, which the response answers.
    pub signature: Option<Signature>,
}

impl Deferred {
    /// The key it was signed with.
    pub fn key(&self) -> Option<NameRef<'_>> {
        let signature = self.signature.as_ref();
        signature.map(|signature| signature.key.name.as_ref())
    }

    /// Writes the response.
    pub fn respond(
        &self,
        state: &State,
        now: u32,
        rcode: Rcode,
        out: &mut [u8],
        scratch: &mut Scratch,
    ) -> Option<Answered> {
        let query = Query::read(&self.message).ok()?;
        let plain = Query {
            tsig: None,
            ..query
        };
        let limit = size_limit(&state.settings, &self.client, &query).min(out.len());
        let signature = self.signature.as_ref();
        let room = limit.checked_sub(signature.map_or(0, |signature| room_for(&signature.key)))?;
        let body = out.get_mut(..room)?;
        let (settings, client) = (&state.settings, &self.client);
        let reply = Reply::new(
            settings,
            client,
            &plain,
            &self.message,
            body,
            &mut scratch.names,
        );
        let mut reply = reply.ok()?;
        reply.rcode = rcode;
        if rcode == Rcode::REFUSED {
            reply.extended = Some(ExtendedError::PROHIBITED);
        }
        let len = reply.finish(settings, client, &plain, now);
        let rr_type = query
            .question
            .map_or(RrType(0), |question| question.rr_type);
        let answered = Answered {
            len,
            rcode,
            rr_type,
        };
        let outcome = match signature {
            Some(signature) => sign(signature, answered, out, now),
            None => replied(Some(len), rcode, rr_type),
        };
        match outcome {
            Outcome::Reply(answered) => Some(answered),
            _ => None,
        }
    }
}
