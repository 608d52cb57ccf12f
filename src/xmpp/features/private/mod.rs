//! XEP-0049: XML that an account's clients keep with the server.

use super::{Asked, Feature, Handler, Reply, Spec, To, nothing, pep::bookmarks};
use crate::{
    data,
    wire::{Condition, Element, Scope, ns},
};

/// Bytes that one account can keep.
const LIMIT: usize = 1024 * 1024;

/// The declaration.
pub const FEATURE: Feature = Feature {
    name: "private",
    spec: Spec::Xep(49, "1.2"),
    more: &[],
    server: &[ns::PRIVATE],
    account: &[],
    identities: &[],
    stream: nothing,
    handlers: &[
        Handler {
            ns: ns::PRIVATE,
            to: To::Own,
            answer,
        },
        Handler {
            ns: ns::PRIVATE,
            to: To::Anybody,
            answer: refuse,
        },
    ],
};

fn answer(asked: &mut Asked<'_>) -> Reply {
    let Some(account) = asked.account.as_deref() else {
        return Condition::ServiceUnavailable.into();
    };
    let account = account.jid().clone();
    let asked = &*asked;
    let mut children = asked.query.children();
    let (Some(element), None) = (children.next(), children.next()) else {
        return Condition::BadRequest.into();
    };
    if element.ns().is_empty() || element.ns() == ns::PRIVATE {
        return Condition::BadRequest.into();
    }
    if bookmarks::is_storage(element, asked) {
        let reply = if asked.set {
            bookmarks::store(asked, element)
        } else {
            bookmarks::load(asked)
        };
        return reply.unwrap_or_else(|| Condition::ServiceUnavailable.into());
    }
    let element = element.clone();
    if asked.set {
        let content = element.to_document();
        return Reply::Write(Box::new(move |tx| {
            let (space, name) = (element.ns(), element.name());
            let kept =
                data::storage::set_private(tx, account.as_str(), space, name, &content, LIMIT)?;
            let full = Condition::ResourceConstraint;
            Ok(if kept {
                Reply::Result(None)
            } else {
                full.into()
            })
        }));
    }
    Reply::Read(Box::new(move |reader| {
        let (space, name) = (element.ns(), element.name());
        let content = data::storage::private(reader, account.as_str(), space, name)?;
        let kept = content.and_then(|c| Element::parse(c.as_bytes(), &Scope::empty()).ok());
        // What isn't there is given back as it was asked for (3.2).
        let payload = kept.unwrap_or_else(|| element.clone());
        Ok(Element::new("query", ns::PRIVATE).child(payload).into())
    }))
}

/// Section 4: nobody else's.
fn refuse(_: &mut Asked<'_>) -> Reply {
    Condition::Forbidden.into()
}
