//! Bytes ↔ typed messages. No I/O, no clock, no policy.
//!
//! A [`Message`] is the bytes that arrived and an index over them. Nothing is copied until something
//! has to be changed, and then only what changes is written anew ([`Edit`]), so what a proxy does
//! not understand passes through it byte for byte.

mod address;
mod auth;
mod build;
mod challenge;
mod check;
mod edit;
mod framing;
mod lex;
mod message;
mod method;
mod name;
mod parse;
mod respond;
mod uri;
mod uri_equal;
mod via;

pub use address::{Address, Contacts};
pub use auth::Credentials;
pub use build::{ack, cancel};
pub use challenge::Challenge;
pub use edit::Edit;
pub use framing::{Frame, Framer, FramingError};
pub use lex::{Param, Params, Values};
pub use message::{Cseq, Message, Start};
pub use method::Method;
pub use name::HeaderName;
pub use parse::{Defect, Limits, Rejected};
pub(crate) use respond::stamped_via;
pub use respond::{Response, reason_phrase};
pub use uri::{Host, Scheme, SipUri, Uri};
pub use via::{Transport, Via};

pub mod fuzz;

/// What a typed accessor says of a header it cannot make sense of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed {0}")]
pub struct Malformed(pub &'static str);
