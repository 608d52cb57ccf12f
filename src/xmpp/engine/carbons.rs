//! Copies of messages for an account's other clients (XEP-0280).

use crate::wire::{BareJid, Element, Jid, Kind, MessageType, Stanza, ns};

/// Which way a copied message went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// One of the account's clients sent it.
    Sent,
    /// One of the account's clients got it.
    Received,
}

/// Whether a message is copied (section 6.1): what belongs to a conversation, unless its sender
/// says no.
pub fn is_copied(message: &Stanza) -> bool {
    let conversation = match message.kind() {
        Kind::Message(MessageType::Chat) => true,
        // A normal message is part of one if it says something, or tells what became of one.
        Kind::Message(MessageType::Normal) => {
            let says = |(name, namespace): (&str, &str)| {
                (name == "body" && namespace == ns::CLIENT) || namespace == ns::RECEIPTS
            };
            message.children().any(says)
        }
        _ => false,
    };
    let refused = message.has_child("private", ns::CARBONS)
        || message.has_child("no-copy", ns::HINTS)
        || message.has_child("x", ns::MUC_USER);
    // A copy is not copied again.
    let copy = message
        .children()
        .any(|(_, namespace)| namespace == ns::CARBONS);
    conversation && !refused && !copy
}

/// The copy of a message for the session `to` of `account`.
pub fn copy(message: &Stanza, direction: Direction, account: &BareJid, to: &Jid) -> Stanza {
    let name = match direction {
        Direction::Sent => "sent",
        Direction::Received => "received",
    };
    let head = Element::new("message", ns::CLIENT)
        .attr_opt("type", message.kind().type_str())
        .attr("from", account.as_str())
        .attr("to", to.as_str());
    message.forwarded(&head, (name, ns::CARBONS))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::wire::Scope;

    fn message(text: &str) -> Stanza {
        let element = Element::parse(text.as_bytes(), &Scope::client()).unwrap();
        Stanza::from_element(&element).unwrap()
    }

    #[test]
    fn which_are_copied() {
        for (text, copied) in [
            ("<message type='chat'><body>x</body></message>", true),
            ("<message type='chat'><x xmlns='u'/></message>", true),
            ("<message><body>x</body></message>", true),
            (
                "<message><received xmlns='urn:xmpp:receipts' id='1'/></message>",
                true,
            ),
            ("<message><x xmlns='u'/></message>", false),
            ("<message type='headline'><body>x</body></message>", false),
            ("<message type='groupchat'><body>x</body></message>", false),
            ("<message type='error'><body>x</body></message>", false),
            (
                "<message type='chat'><private xmlns='urn:xmpp:carbons:2'/></message>",
                false,
            ),
            (
                "<message type='chat'><no-copy xmlns='urn:xmpp:hints'/></message>",
                false,
            ),
            (
                "<message type='chat'><sent xmlns='urn:xmpp:carbons:2'/></message>",
                false,
            ),
            (
                "<message type='chat'><x xmlns='http://jabber.org/protocol/muc#user'/></message>",
                false,
            ),
        ] {
            assert_eq!(is_copied(&message(text)), copied, "{text}");
        }
    }

    #[test]
    fn a_copy_holds_the_message() {
        let original =
            message("<message type='chat' from='a@b/c' to='d@e'><body>x</body></message>");
        let (account, to) = (BareJid::new("d@e").unwrap(), Jid::new("d@e/f").unwrap());
        let copy = copy(&original, Direction::Received, &account, &to);
        assert_eq!(
            copy.bytes(),
            "<message type='chat' from='d@e' to='d@e/f'><received xmlns='urn:xmpp:carbons:2'>\
             <forwarded xmlns='urn:xmpp:forward:0'><message xmlns='jabber:client' type='chat' \
             from='a@b/c' to='d@e'><body>x</body></message></forwarded></received></message>"
        );
        assert_eq!(copy.to(), Some(&to));
        assert_eq!(copy.payload(), Some(("received", ns::CARBONS)));
        assert!(copy.to_element().is_ok() && !is_copied(&copy));
    }
}
