//! Which of an account's sessions get a message (RFC 6121 8.5), and which messages are kept.

use crate::wire::{Kind, MessageType, Stanza, ns};

/// Where a message goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Destination {
    /// The session with exactly the address it is for.
    Exact,
    /// The sessions that have the highest priority, if there are any that want messages.
    MostAvailable,
    /// Every session that wants messages.
    All,
    /// Kept until the account is there, or the sender is told that it can't be.
    Offline,
    /// The sender is told that nobody takes it.
    Error,
    /// Nowhere, and nobody is told.
    Nowhere,
}

/// What is known of the receiving account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Receiver {
    /// The message is for a full address.
    pub full: bool,
    /// A session has that address.
    pub matched: bool,
    /// A session wants messages: it is available with a priority that isn't negative.
    pub available: bool,
}

/// RFC 6121 8.5.4, the table. It leaves some cases open; where it does, this is what Prosody does.
pub fn destination(kind: MessageType, receiver: Receiver) -> Destination {
    let Receiver {
        full,
        matched,
        available,
    } = receiver;
    match (full, matched, kind) {
        (true, true, _) => Destination::Exact,
        // Errors never make anything happen (8.5.2.1.1, 8.5.3.2.1).
        (_, _, MessageType::Error) => Destination::Nowhere,
        // A room's message to a client that has gone: the room learns that it has.
        (_, _, MessageType::Groupchat) => Destination::Error,
        (false, _, MessageType::Headline) if available => Destination::All,
        (_, _, MessageType::Headline) => Destination::Nowhere,
        // A client that has gone was the account's: its messages are too. (8.5.3.2.1 says so of
        // `chat`, and of `normal` only that nobody may be left believing it arrived.)
        (_, _, MessageType::Chat | MessageType::Normal) if available => Destination::MostAvailable,
        (_, _, MessageType::Chat | MessageType::Normal) => Destination::Offline,
    }
}

/// Whether a message that nobody is there to read is worth keeping (XEP-0160 3, XEP-0334).
pub fn is_storable(message: &Stanza) -> bool {
    if !matches!(
        message.kind(),
        Kind::Message(MessageType::Chat | MessageType::Normal)
    ) {
        return false;
    }
    // What comes out of an archive does not go into another.
    if message.has_child("result", ns::MAM) {
        return false;
    }
    let hint = |name| message.has_child(name, ns::HINTS);
    if hint("no-store") || hint("no-permanent-store") {
        return false;
    }
    // That somebody was typing is no news by then.
    let passing = |(name, namespace): (&str, &str)| {
        namespace == ns::CHAT_STATES || (name == "thread" && namespace == ns::CLIENT)
    };
    hint("store") || !message.children().all(passing)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::wire::Element;

    /// RFC 6121 8.5.4, table 1, in its own letters: rows of normal, chat, groupchat, headline.
    /// `D`eliver, `M`ost available, `A`ll, `O`ffline, `E`rror, `S`ilently ignore.
    #[test]
    fn rfc_6121_8_5_4() {
        let kinds = [
            MessageType::Normal,
            MessageType::Chat,
            MessageType::Groupchat,
            MessageType::Headline,
        ];
        for (name, receiver, letters) in [
            ("no resource, bare", (false, false, false), "OOES"),
            // The RFC has S for normal and groupchat and lets an error stand for S.
            ("no resource, full", (true, false, false), "OOES"),
            ("negative, bare", (false, false, false), "OOES"),
            ("negative, full match", (true, true, false), "DDDD"),
            ("non-negative, bare", (false, false, true), "MMEA"),
            ("non-negative, full match", (true, true, true), "DDDD"),
            ("non-negative, full no match", (true, false, true), "MMES"),
        ] {
            let (full, matched, available) = receiver;
            let receiver = Receiver {
                full,
                matched,
                available,
            };
            let seen: String = kinds
                .iter()
                .map(|&kind| match destination(kind, receiver) {
                    Destination::Exact => 'D',
                    Destination::MostAvailable => 'M',
                    Destination::All => 'A',
                    Destination::Offline => 'O',
                    Destination::Error => 'E',
                    Destination::Nowhere => 'S',
                })
                .collect();
            assert_eq!(seen, letters, "{name}");
            let error = destination(MessageType::Error, receiver);
            assert_eq!(
                error,
                if matched {
                    Destination::Exact
                } else {
                    Destination::Nowhere
                }
            );
        }
    }

    #[test]
    fn what_is_kept() {
        let body = || Element::new("body", ns::CLIENT).text("x");
        let active = || Element::new("active", ns::CHAT_STATES);
        let hint = |name| Element::new(name, ns::HINTS);
        for (kind, children, kept) in [
            ("chat", vec![body()], true),
            ("chat", vec![active(), body()], true),
            ("chat", vec![active()], false),
            (
                "chat",
                vec![active(), Element::new("thread", ns::CLIENT)],
                false,
            ),
            ("chat", vec![active(), hint("store")], true),
            ("chat", vec![body(), hint("no-store")], false),
            ("chat", vec![body(), hint("no-permanent-store")], false),
            ("normal", vec![Element::new("x", "u")], true),
            ("normal", vec![], false),
            ("headline", vec![body()], false),
            ("groupchat", vec![body()], false),
            ("error", vec![body()], false),
        ] {
            let element = Element::new("message", ns::CLIENT).attr("type", kind);
            let element = element.children_from(children);
            let stanza = Stanza::from_element(&element).unwrap();
            assert_eq!(is_storable(&stanza), kept, "{}", element.to_client());
        }
    }
}
