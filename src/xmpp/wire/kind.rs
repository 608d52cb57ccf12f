//! The three stanzas and their types.

macro_rules! types {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $text:literal),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name { $($(#[$vdoc])* $variant,)* }

        impl $name {
            /// The value of the attribute `type`.
            pub fn as_str(self) -> &'static str {
                match self { $($name::$variant => $text,)* }
            }

            fn from_value(value: &str) -> Option<Self> {
                match value { $($text => Some($name::$variant),)* _ => None }
            }
        }
    };
}

types! {
    /// RFC 6121 5.2.2.
    MessageType {
        /// A message outside of a conversation; also what an unknown type means.
        Normal = "normal",
        /// One of a conversation between two.
        Chat = "chat",
        /// One in a room.
        Groupchat = "groupchat",
        /// News: not stored, no answer expected.
        Headline = "headline",
        /// The answer to a message that went wrong.
        Error = "error",
    }
}

types! {
    /// RFC 6121 4.7.1. Availability is the absence of a type.
    PresenceType {
        /// Available.
        Available = "",
        /// No longer available.
        Unavailable = "unavailable",
        /// Asks to see the other's presence.
        Subscribe = "subscribe",
        /// Allows it.
        Subscribed = "subscribed",
        /// Wants to see it no more.
        Unsubscribe = "unsubscribe",
        /// Denies it, or takes it back.
        Unsubscribed = "unsubscribed",
        /// Asks for current presence, between servers.
        Probe = "probe",
        /// The answer to presence that went wrong.
        Error = "error",
    }
}

types! {
    /// RFC 6120 8.2.3.
    IqType {
        /// Asks.
        Get = "get",
        /// Changes.
        Set = "set",
        /// Answers.
        Result = "result",
        /// Answers that it went wrong.
        Error = "error",
    }
}

/// The three stanzas with their types.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Pushed to another.
    Message(MessageType),
    /// Broadcast to who subscribed.
    Presence(PresenceType),
    /// Asked and answered.
    Iq(IqType),
}

impl Kind {
    /// The element's name.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Message(_) => "message",
            Kind::Presence(_) => "presence",
            Kind::Iq(_) => "iq",
        }
    }

    /// The attribute `type`, if it needs one.
    pub fn type_str(self) -> Option<&'static str> {
        let value = match self {
            Kind::Message(MessageType::Normal) => "",
            Kind::Message(kind) => kind.as_str(),
            Kind::Presence(kind) => kind.as_str(),
            Kind::Iq(kind) => kind.as_str(),
        };
        (!value.is_empty()).then_some(value)
    }

    /// Whether it is an error: such a stanza is never answered (RFC 6120 8.3.1).
    pub fn is_error(self) -> bool {
        matches!(
            self,
            Kind::Message(MessageType::Error)
                | Kind::Presence(PresenceType::Error)
                | Kind::Iq(IqType::Error)
        )
    }

    /// By the element's name and the attribute `type`.
    pub(crate) fn new(name: &str, kind: Option<&str>) -> Result<Kind, Kind> {
        match name {
            "message" => {
                // RFC 6121 5.2.2: what is not understood is taken as normal.
                let kind = kind.and_then(MessageType::from_value);
                Ok(Kind::Message(kind.unwrap_or(MessageType::Normal)))
            }
            "presence" => match kind {
                None | Some("available") => Ok(Kind::Presence(PresenceType::Available)),
                Some(kind) => PresenceType::from_value(kind)
                    .filter(|&kind| kind != PresenceType::Available)
                    .map(Kind::Presence)
                    .ok_or(Kind::Presence(PresenceType::Available)),
            },
            _ => kind
                .and_then(IqType::from_value)
                .map(Kind::Iq)
                .ok_or(Kind::Iq(IqType::Get)),
        }
    }
}

/// Whether an element of that name is a stanza.
pub(crate) fn is_stanza(name: &str) -> bool {
    matches!(name, "message" | "presence" | "iq")
}
