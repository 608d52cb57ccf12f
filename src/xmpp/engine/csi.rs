//! What can wait until a client is looked at again (XEP-0352).

use crate::wire::{Kind, MessageType, PresenceType, Stanza, ns};

/// Stanzas held back for one session,
const STANZAS: usize = 300;
/// and their bytes.
const BYTES: usize = 128 * 1024;

/// What is held back for an inactive client.
#[derive(Debug, Default)]
pub struct Held {
    stanzas: Vec<Stanza>,
    bytes: usize,
}

/// Whether a stanza can wait: who is there, who is typing, and what was published.
pub fn can_wait(stanza: &Stanza) -> bool {
    match stanza.kind() {
        Kind::Presence(PresenceType::Available | PresenceType::Unavailable) => {
            // That one has entered or left a room oneself is an answer.
            !stanza.has_child("x", ns::MUC_USER)
        }
        Kind::Message(MessageType::Headline) => stanza.has_child("event", ns::PUBSUB_EVENT),
        Kind::Message(MessageType::Chat | MessageType::Normal | MessageType::Groupchat) => {
            let mut any = false;
            let passing = |(name, namespace): (&str, &str)| {
                any = true;
                namespace == ns::CHAT_STATES || (name == "thread" && namespace == ns::CLIENT)
            };
            stanza.children().all(passing) && any
        }
        _ => false,
    }
}

impl Held {
    /// Holds a stanza back. Presence of the same sender, and its chat state, makes the earlier one
    /// obsolete. What is given back is to be sent now, because too much is held.
    pub fn hold(&mut self, stanza: &Stanza) -> Vec<Stanza> {
        let same = |held: &Stanza| {
            !matches!(stanza.kind(), Kind::Message(MessageType::Headline))
                && held.kind().name() == stanza.kind().name()
                && held.from() == stanza.from()
                && !matches!(held.kind(), Kind::Message(MessageType::Headline))
        };
        self.stanzas.retain(|held| !same(held));
        self.stanzas.push(stanza.clone());
        self.bytes = self.stanzas.iter().map(Stanza::size).sum();
        if self.stanzas.len() > STANZAS || self.bytes > BYTES {
            self.release()
        } else {
            Vec::new()
        }
    }

    /// All that is held, to be sent.
    pub fn release(&mut self) -> Vec<Stanza> {
        self.bytes = 0;
        std::mem::take(&mut self.stanzas)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::wire::Element;

    fn stanza(name: &'static str, kind: &str, from: &str, child: Option<Element>) -> Stanza {
        let element = Element::new(name, ns::CLIENT)
            .attr_opt("type", (!kind.is_empty()).then_some(kind))
            .attr("from", from)
            .children_from(child);
        Stanza::from_element(&element).unwrap()
    }

    #[test]
    fn what_waits() {
        let body = || Some(Element::new("body", ns::CLIENT).text("x"));
        let composing = || Some(Element::new("composing", ns::CHAT_STATES));
        let event = || Some(Element::new("event", ns::PUBSUB_EVENT));
        for (name, kind, child, waits) in [
            ("presence", "", None, true),
            ("presence", "unavailable", None, true),
            ("presence", "subscribe", None, false),
            ("presence", "", Some(Element::new("x", ns::MUC_USER)), false),
            ("message", "chat", body(), false),
            ("message", "chat", composing(), true),
            ("message", "groupchat", body(), false),
            ("message", "headline", event(), true),
            ("message", "headline", body(), false),
            ("message", "error", None, false),
            ("iq", "get", None, false),
        ] {
            assert_eq!(
                can_wait(&stanza(name, kind, "a@b/c", child)),
                waits,
                "{name} {kind}"
            );
        }
    }

    #[test]
    fn the_last_word_counts() {
        let mut held = Held::default();
        held.hold(&stanza("presence", "", "a@b/c", None));
        held.hold(&stanza("presence", "", "d@e/f", None));
        held.hold(&stanza("presence", "unavailable", "a@b/c", None));
        let released = held.release();
        let kinds: Vec<_> = released
            .iter()
            .map(|stanza| stanza.kind().type_str())
            .collect();
        assert_eq!(kinds, [None, Some("unavailable")]);
        for n in 0..STANZAS {
            assert!(
                held.hold(&stanza("presence", "", &format!("{n}@b"), None))
                    .is_empty()
            );
        }
        assert_eq!(
            held.hold(&stanza("presence", "", "last@b", None)).len(),
            STANZAS + 1
        );
        assert!(held.release().is_empty());
    }
}
