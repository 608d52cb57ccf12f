//! Bytes ↔ typed messages: no I/O, no clock, no policy.
//!
//! [`framer`] cuts a stream into frames, [`scan`] proves a frame well-formed in one pass, and
//! [`stanza`] makes of it a header to route by and bytes to pass on; [`element`] is the tree for what
//! the server itself reads and writes.

mod chars;
pub mod element;
mod entity;
pub mod error;
pub mod form;
pub mod framer;
mod head;
pub mod jid;
pub mod kind;
pub mod ns;
mod prep;
pub mod scan;
pub mod stanza;
pub mod stream;
pub mod time;
pub mod web;
pub mod websocket;

pub use element::{Element, Node};
pub use error::{Condition, ErrorType, StanzaError, StreamCondition, StreamError};
pub use framer::{Frame, Framer, Limits};
pub use jid::{BareJid, Jid};
pub use kind::{IqType, Kind, MessageType, PresenceType};
pub use scan::Scope;
pub use stanza::{Incoming, Stanza};

/// Why bytes are not an acceptable stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    /// not well-formed XML, or not in UTF-8, or with a prefix that no namespace is bound to
    #[error("XML is not well-formed")]
    NotWellFormed,
    /// XML features that RFC 6120 11.1 bans
    #[error("comments, processing instructions, document types and entities are not allowed")]
    Restricted,
    /// an XML declaration that names another encoding
    #[error("only UTF-8 is supported")]
    Encoding,
    /// text between stanzas
    #[error("text between stanzas")]
    StrayText,
    /// more bytes than the limit
    #[error("stanza is too big")]
    TooBig,
    /// more elements, attributes or namespaces than the limit
    #[error("stanza has too many elements, attributes or namespaces")]
    TooMany,
    /// deeper than the limit
    #[error("elements are nested too deeply")]
    TooDeep,
}
