//! What a decision asks for. One place carries wishes out, in order.

use std::sync::Arc;

use smallvec::SmallVec;

use super::{account::Outlet, roster::RosterChange};
use crate::wire::{BareJid, Element, Jid, Stanza, StreamError};

/// Something to be done.
#[derive(Clone)]
pub enum Wish {
    /// Hand a stanza to a session.
    Send(Arc<dyn Outlet>, Stanza),
    /// Send a stanza of this account's on to whom it is for.
    Route(Stanza),
    /// Keep a message until the account is there.
    Keep(Stanza),
    /// Ask a contact for its presence, for a session that has become available.
    Probe {
        /// The session.
        from: Jid,
        /// The contact, which the roster says may be asked.
        contact: BareJid,
    },
    /// Hand over the messages that were kept for an account.
    HandOver(BareJid, Arc<dyn Outlet>),
    /// End a session's stream.
    Close(Arc<dyn Outlet>, StreamError),
    /// An account is no longer available, and said this last.
    Left(BareJid, String),
}

impl Wish {
    /// To route an element of the server's own.
    pub fn route(element: &Element) -> Option<Wish> {
        Stanza::from_element(element).map(Wish::Route)
    }
}

/// Most decisions ask for one thing.
pub type Wishes = SmallVec<[Wish; 2]>;

/// A change to be written, and what to do once it is.
#[derive(Default)]
pub struct Plan {
    /// Changes of the roster, to be written together.
    pub changes: SmallVec<[RosterChange; 1]>,
    /// Then.
    pub then: Wishes,
}
