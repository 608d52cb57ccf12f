//! XEP-0054: vcard-temp, an account's card for everybody to read.

use super::{Asked, Feature, Handler, Reply, Spec, To, nothing, pep::avatar};
use crate::{
    data,
    engine::wish::Wishes,
    wire::{Condition, Element, Scope, ns},
};

/// The declaration.
pub const FEATURE: Feature = Feature {
    name: "vcard",
    spec: Spec::Xep(54, "1.3"),
    more: &[Spec::Xep(153, "1.1")],
    server: &[ns::VCARD],
    account: &[ns::VCARD],
    identities: &[],
    stream: nothing,
    handlers: &[
        Handler {
            ns: ns::VCARD,
            to: To::Own,
            answer,
        },
        Handler {
            ns: ns::VCARD,
            to: To::Anybody,
            answer: get,
        },
    ],
};

fn answer(asked: &mut Asked<'_>) -> Reply {
    if !asked.set {
        return get(asked);
    }
    let Some(account) = asked.account.as_deref() else {
        return Condition::ServiceUnavailable.into();
    };
    if asked.query.name() != "vCard" {
        return Condition::BadRequest.into();
    }
    // XEP-0398: the card's picture is published too.
    let picture = avatar::picture(asked.query).filter(|_| asked.features.has(avatar::NAME));
    let photo = picture.as_ref().map(|picture| picture.hash().to_owned());
    let publications = picture.filter(|picture| account.photo() != Some(picture.hash()));
    let publications = publications.map(|picture| picture.publications(account));
    let (owner, content) = (account.jid().clone(), asked.query.to_document());
    Reply::Write(Box::new(move |tx| {
        data::storage::set_vcard(tx, owner.as_str(), &content)?;
        for publication in publications.iter().flatten() {
            publication.write(tx, &owner)?;
        }
        let (publications, photo) = (publications.clone(), photo.clone());
        Ok(Reply::Account(Box::new(move |account| {
            let mut wishes = Wishes::new();
            for publication in publications.into_iter().flatten() {
                wishes.extend(publication.announce(account));
            }
            if let Some(photo) = photo {
                wishes.extend(account.change_photo(Some(photo)));
            }
            Reply::Done(None, wishes)
        })))
    }))
}

fn get(asked: &mut Asked<'_>) -> Reply {
    if asked.set {
        return Condition::Forbidden.into();
    }
    let Some(account) = asked.account.as_deref_mut() else {
        return Condition::ItemNotFound.into();
    };
    let own = account.jid().as_str() == asked.from.bare_str();
    let account = account.jid().clone();
    Reply::Read(Box::new(move |reader| {
        let content = data::storage::vcard(reader, account.as_str())?;
        let card = content.and_then(|c| Element::parse(c.as_bytes(), &Scope::empty()).ok());
        Ok(match card {
            Some(card) => card.into(),
            // XEP-0054 3.1: one's own card can be filled in.
            None if own => Element::new("vCard", ns::VCARD).into(),
            None => Condition::ItemNotFound.into(),
        })
    }))
}
