//! Request methods.

/// A method the server knows, or another one. Methods are compared with regard to case
/// (RFC 3261 7.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Method {
    /// RFC 3261: asks for a session.
    Invite,
    /// RFC 3261: confirms the final response to an INVITE.
    Ack,
    /// RFC 3261: ends a session.
    Bye,
    /// RFC 3261: gives up a pending INVITE.
    Cancel,
    /// RFC 3261: binds a contact to an address of record.
    Register,
    /// RFC 3261: asks what a peer can do.
    Options,
    /// RFC 3262: confirms a provisional response.
    Prack,
    /// RFC 3311: changes a session before it is answered.
    Update,
    /// RFC 6086: carries something inside a session.
    Info,
    /// RFC 3515: asks the peer to contact somebody.
    Refer,
    /// RFC 6665: asks for news.
    Subscribe,
    /// RFC 6665: brings them.
    Notify,
    /// RFC 3428: one chat message.
    Message,
    /// RFC 3903: publishes event state.
    Publish,
    /// Any other.
    Other,
}

impl Method {
    /// Those the server knows, in the order in which `Allow` names them.
    pub const KNOWN: [(Self, &'static str); 14] = [
        (Self::Invite, "INVITE"),
        (Self::Ack, "ACK"),
        (Self::Bye, "BYE"),
        (Self::Cancel, "CANCEL"),
        (Self::Register, "REGISTER"),
        (Self::Options, "OPTIONS"),
        (Self::Prack, "PRACK"),
        (Self::Update, "UPDATE"),
        (Self::Info, "INFO"),
        (Self::Refer, "REFER"),
        (Self::Subscribe, "SUBSCRIBE"),
        (Self::Notify, "NOTIFY"),
        (Self::Message, "MESSAGE"),
        (Self::Publish, "PUBLISH"),
    ];

    /// Its name; empty for one that the server does not know.
    #[must_use]
    pub fn name(self) -> &'static str {
        let known = Self::KNOWN.iter().find(|(known, _)| *known == self);
        known.map_or("", |(_, name)| name)
    }

    /// Recognises a method's name.
    #[must_use]
    pub fn from_bytes(name: &[u8]) -> Self {
        Self::KNOWN
            .iter()
            .find(|(_, known)| known.as_bytes() == name)
            .map_or(Self::Other, |(method, _)| *method)
    }

    /// The method's name; empty for [`Method::Other`], whose name only its message knows.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        Self::KNOWN
            .iter()
            .find(|(method, _)| *method == self)
            .map_or("", |(_, name)| name)
    }
}
