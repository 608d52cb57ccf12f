//! The errors a server sends: about a stanza (RFC 6120 8.3) and about the whole stream (4.9).

use super::{Element, Flaw, element::write_text, ns};

/// What the sender may do about a stanza error (RFC 6120 8.3.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorType {
    /// Retry after providing credentials.
    Auth,
    /// Do not retry.
    Cancel,
    /// Proceed: it was only a warning.
    Continue,
    /// Retry after changing what was sent.
    Modify,
    /// Retry after waiting.
    Wait,
}

impl ErrorType {
    /// The value of the attribute `type`.
    pub fn as_str(self) -> &'static str {
        match self {
            ErrorType::Auth => "auth",
            ErrorType::Cancel => "cancel",
            ErrorType::Continue => "continue",
            ErrorType::Modify => "modify",
            ErrorType::Wait => "wait",
        }
    }
}

macro_rules! conditions {
    ($(#[$doc:meta])* $name:ident { $($variant:ident = $text:literal),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name {
            $(#[doc = concat!("`", $text, "`")] $variant,)*
        }

        impl $name {
            /// The name of the condition's element.
            pub fn as_str(self) -> &'static str {
                match self { $($name::$variant => $text,)* }
            }

            /// The condition with that name.
            pub fn from_name(name: &str) -> Option<Self> {
                match name { $($text => Some($name::$variant),)* _ => None }
            }
        }
    };
}

conditions! {
    /// What is wrong with a stanza (RFC 6120 8.3.3).
    Condition {
        BadRequest = "bad-request",
        Conflict = "conflict",
        FeatureNotImplemented = "feature-not-implemented",
        Forbidden = "forbidden",
        Gone = "gone",
        InternalServerError = "internal-server-error",
        ItemNotFound = "item-not-found",
        JidMalformed = "jid-malformed",
        NotAcceptable = "not-acceptable",
        NotAllowed = "not-allowed",
        NotAuthorized = "not-authorized",
        PolicyViolation = "policy-violation",
        RecipientUnavailable = "recipient-unavailable",
        Redirect = "redirect",
        RegistrationRequired = "registration-required",
        RemoteServerNotFound = "remote-server-not-found",
        RemoteServerTimeout = "remote-server-timeout",
        ResourceConstraint = "resource-constraint",
        ServiceUnavailable = "service-unavailable",
        SubscriptionRequired = "subscription-required",
        UndefinedCondition = "undefined-condition",
        UnexpectedRequest = "unexpected-request",
    }
}

impl Condition {
    /// The error type that RFC 6120 8.3.3 gives for the condition.
    pub fn default_type(self) -> ErrorType {
        match self {
            Condition::Forbidden
            | Condition::NotAuthorized
            | Condition::RegistrationRequired
            | Condition::SubscriptionRequired => ErrorType::Auth,
            Condition::BadRequest
            | Condition::JidMalformed
            | Condition::NotAcceptable
            | Condition::PolicyViolation
            | Condition::Redirect => ErrorType::Modify,
            Condition::RecipientUnavailable
            | Condition::RemoteServerTimeout
            | Condition::ResourceConstraint
            | Condition::UnexpectedRequest => ErrorType::Wait,
            _ => ErrorType::Cancel,
        }
    }
}

/// An error to answer a stanza with.
#[derive(Debug, Clone, PartialEq)]
pub struct StanzaError {
    /// What the sender may do.
    pub kind: ErrorType,
    /// What is wrong.
    pub condition: Condition,
    /// For a person to read.
    pub text: Option<String>,
    /// A condition of the application's own.
    pub application: Option<Box<Element>>,
}

impl StanzaError {
    /// An error with a text.
    pub fn with_text(condition: Condition, text: impl Into<String>) -> StanzaError {
        StanzaError {
            text: Some(text.into()),
            ..condition.into()
        }
    }

    /// As a stanza carries it.
    pub fn to_element(&self) -> Element {
        let mut error = Element::new("error", ns::CLIENT)
            .attr("type", self.kind.as_str())
            .child(Element::new(self.condition.as_str(), ns::STANZA_ERRORS));
        if let Some(text) = &self.text {
            error = error.child(Element::new("text", ns::STANZA_ERRORS).text(text.as_str()));
        }
        if let Some(application) = &self.application {
            error = error.child(Element::clone(application));
        }
        error
    }
}

impl From<Condition> for StanzaError {
    fn from(condition: Condition) -> StanzaError {
        StanzaError {
            kind: condition.default_type(),
            condition,
            text: None,
            application: None,
        }
    }
}

conditions! {
    /// Why a stream ends (RFC 6120 4.9.3).
    StreamCondition {
        BadFormat = "bad-format",
        BadNamespacePrefix = "bad-namespace-prefix",
        Conflict = "conflict",
        ConnectionTimeout = "connection-timeout",
        HostGone = "host-gone",
        HostUnknown = "host-unknown",
        ImproperAddressing = "improper-addressing",
        InternalServerError = "internal-server-error",
        InvalidFrom = "invalid-from",
        InvalidNamespace = "invalid-namespace",
        InvalidXml = "invalid-xml",
        NotAuthorized = "not-authorized",
        NotWellFormed = "not-well-formed",
        PolicyViolation = "policy-violation",
        RemoteConnectionFailed = "remote-connection-failed",
        Reset = "reset",
        ResourceConstraint = "resource-constraint",
        RestrictedXml = "restricted-xml",
        SystemShutdown = "system-shutdown",
        UndefinedCondition = "undefined-condition",
        UnsupportedEncoding = "unsupported-encoding",
        UnsupportedStanzaType = "unsupported-stanza-type",
        UnsupportedVersion = "unsupported-version",
    }
}

/// Why a stream ends, as it is told to the peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamError {
    /// What is wrong.
    pub condition: StreamCondition,
    /// For a person to read.
    pub text: Option<String>,
}

impl StreamError {
    /// An error with a text.
    pub fn new(condition: StreamCondition, text: impl Into<String>) -> StreamError {
        StreamError {
            condition,
            text: Some(text.into()),
        }
    }

    /// The error element and the closing tag, for a stream whose header has been sent.
    pub fn closing(&self) -> String {
        let mut out = format!(
            "<stream:error><{} xmlns='{}'/>",
            self.condition.as_str(),
            ns::STREAM_ERRORS
        );
        if let Some(text) = &self.text {
            out.push_str("<text xmlns='urn:ietf:params:xml:ns:xmpp-streams' xml:lang='en'>");
            write_text(&mut out, text);
            out.push_str("</text>");
        }
        out.push_str("</stream:error></stream:stream>");
        out
    }
}

impl From<StreamCondition> for StreamError {
    fn from(condition: StreamCondition) -> StreamError {
        StreamError {
            condition,
            text: None,
        }
    }
}

impl From<Flaw> for StreamError {
    fn from(flaw: Flaw) -> StreamError {
        let condition = match flaw {
            Flaw::NotWellFormed => StreamCondition::NotWellFormed,
            Flaw::Restricted => StreamCondition::RestrictedXml,
            Flaw::Encoding => StreamCondition::UnsupportedEncoding,
            Flaw::StrayText => StreamCondition::BadFormat,
            Flaw::TooBig | Flaw::TooMany | Flaw::TooDeep => StreamCondition::PolicyViolation,
        };
        StreamError::new(condition, flaw.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for name in ["bad-request", "unexpected-request", "gone"] {
            assert_eq!(
                Condition::from_name(name).map(Condition::as_str),
                Some(name)
            );
        }
        assert_eq!(Condition::from_name("bad"), None);
    }

    #[test]
    fn closing_is_escaped() {
        let error = StreamError::new(StreamCondition::BadFormat, "<&>");
        assert_eq!(
            error.closing(),
            "<stream:error><bad-format xmlns='urn:ietf:params:xml:ns:xmpp-streams'/>\
             <text xmlns='urn:ietf:params:xml:ns:xmpp-streams' xml:lang='en'>&lt;&amp;&gt;</text>\
             </stream:error></stream:stream>"
        );
    }
}
