//! XEP-0398: the picture in an account's vCard (XEP-0153) is the one that it publishes (XEP-0084).

use aws_lc_rs::digest;
use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use omnid_store::{StoreError, Transaction};

use super::Publication;
use crate::{
    data,
    engine::{
        account::Account,
        pubsub::{Access, Item, NodeConfig},
    },
    features::{Feature, Spec, nothing},
    wire::{BareJid, Element, Scope, ns},
};

/// The name in `xmpp.disable`.
pub const NAME: &str = "avatar";

/// The declaration.
pub const FEATURE: Feature = Feature {
    name: NAME,
    spec: Spec::Xep(398, "1.0.1"),
    more: &[Spec::Xep(84, "1.1.4")],
    server: &[],
    account: &["urn:xmpp:pep-vcard-conversion:0"],
    identities: &[],
    stream: nothing,
    handlers: &[],
};

/// What was published becomes the card's picture. The picture's hash, if there is one now.
pub(super) fn to_card(
    tx: &mut Transaction<'_>,
    owner: &BareJid,
    publication: &Publication,
) -> Result<Option<String>, StoreError> {
    let metadata = publication.items.first().and_then(Item::element);
    let info = metadata
        .as_ref()
        .and_then(|metadata| metadata.get_child("info", ns::AVATAR_METADATA));
    let photo = match info.and_then(|info| info.get_attr("id")) {
        Some(id) => {
            let data = data::pubsub::item(tx, owner.as_str(), ns::AVATAR_DATA, id)?;
            let Some(data) = data.as_ref().and_then(Item::element) else {
                // A picture that lies elsewhere, or will be published later: leave the card alone.
                return Ok(Some(id.to_owned()));
            };
            let kind = info.and_then(|info| info.get_attr("type"));
            let bytes: String = data.text_content().split_whitespace().collect();
            let photo = Element::new("PHOTO", ns::VCARD)
                .child(Element::new("TYPE", ns::VCARD).text(kind.unwrap_or("image/png")))
                .child(Element::new("BINVAL", ns::VCARD).text(bytes));
            Some((photo, id.to_owned()))
        }
        None => None,
    };
    let card = data::storage::vcard(tx, owner.as_str())?;
    let card = card.and_then(|card| Element::parse(card.as_bytes(), &Scope::empty()).ok());
    let mut card = card.unwrap_or_else(|| Element::new("vCard", ns::VCARD));
    card.retain(|child| child.name() != "PHOTO");
    let (photo, id) = photo.unzip();
    let card = card.children_from(photo);
    data::storage::set_vcard(tx, owner.as_str(), &card.to_document())?;
    Ok(id)
}

/// A card's picture.
pub struct Picture {
    hash: String,
    kind: String,
    text: String,
    bytes: usize,
}

/// The picture in a card, if it has one that can be read.
pub fn picture(card: &Element) -> Option<Picture> {
    let photo = card.get_child("PHOTO", ns::VCARD)?;
    let text = photo.get_child("BINVAL", ns::VCARD)?.text_content();
    let text: String = text.split_whitespace().collect();
    let bytes = BASE64
        .decode(&text)
        .ok()
        .filter(|bytes| !bytes.is_empty())?;
    let hash = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, &bytes);
    let hash = hash
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let said = photo
        .get_child("TYPE", ns::VCARD)
        .map(Element::text_content);
    let kind = said
        .filter(|kind| kind.starts_with("image/"))
        .unwrap_or_else(|| "image/png".to_owned());
    Some(Picture {
        hash,
        kind,
        text,
        bytes: bytes.len(),
    })
}

impl Picture {
    /// Its hash.
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// As it is published: the data, and then what is said of them.
    pub fn publications(&self, account: &Account) -> [Publication; 2] {
        let config = || NodeConfig {
            access: Access::Open,
            ..NodeConfig::default()
        };
        let data = Element::new("data", ns::AVATAR_DATA).text(self.text.as_str());
        let info = Element::new("info", ns::AVATAR_METADATA)
            .attr("id", self.hash.as_str())
            .attr("bytes", self.bytes.to_string())
            .attr("type", self.kind.as_str());
        let metadata = Element::new("metadata", ns::AVATAR_METADATA).child(info);
        let item = |payload: Element| Item {
            id: self.hash.clone(),
            payload: payload.to_document(),
        };
        [
            Publication::new(account, ns::AVATAR_DATA, config(), vec![item(data)]),
            Publication::new(account, ns::AVATAR_METADATA, config(), vec![item(metadata)]),
        ]
    }
}
