//! The account's picture, as presence tells of it (XEP-0153, XEP-0398).

use super::{Account, Session};
use crate::{
    engine::wish::Wishes,
    wire::{Element, Stanza, ns},
};

impl Account {
    /// The hash of the picture, if there is one.
    pub fn photo(&self) -> Option<&str> {
        self.photo.as_deref()
    }

    /// What was loaded of it.
    pub fn set_photo(&mut self, photo: Option<String>) {
        self.photo = photo;
    }

    /// There is another picture, or none: all who see the account's presence learn it.
    pub fn change_photo(&mut self, photo: Option<String>) -> Wishes {
        let mut wishes = Wishes::new();
        if self.photo == photo {
            return wishes;
        }
        self.photo = photo;
        let hash = self.photo.clone().unwrap_or_default();
        let mut sessions = std::mem::take(&mut self.sessions);
        for session in &mut sessions {
            if let Some(available) = &mut session.available {
                available.presence = with_photo(&available.presence, &hash);
            }
        }
        self.sessions = sessions;
        let all: Vec<_> = self.sessions.iter().filter_map(Session::presence).collect();
        for (presence, _) in all {
            self.to_subscribers(presence, &mut wishes);
            self.to_own(presence, &mut wishes);
        }
        wishes
    }

    /// Presence as it is broadcast: with the picture's hash.
    pub(super) fn pictured(&self, presence: &Stanza) -> Stanza {
        match &self.photo {
            Some(hash) => with_photo(presence, hash),
            None => presence.clone(),
        }
    }
}

fn with_photo(presence: &Stanza, hash: &str) -> Stanza {
    let update = Element::new("x", ns::VCARD_UPDATE)
        .child(Element::new("photo", ns::VCARD_UPDATE).text(hash));
    if !presence.has_child("x", ns::VCARD_UPDATE) {
        return presence.with_child(&update);
    }
    let Ok(mut element) = presence.to_element() else {
        return presence.clone();
    };
    element.retain(|child| !child.is("x", ns::VCARD_UPDATE));
    Stanza::from_element(&element.child(update)).unwrap_or_else(|| presence.clone())
}
