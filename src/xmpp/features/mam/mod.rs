//! XEP-0313: messages are archived, and clients catch up with what they missed.
//!
//! What goes in is decided by [`crate::engine::archive`], where messages are routed.

use std::collections::{HashMap, HashSet};

use omnid_store::{Reader, StoreError};

use super::{Asked, Feature, Handler, Reply, Spec, To, nothing};
use crate::{
    data::{
        self,
        archive::{Filter, Name},
    },
    engine::archive::{FIELDS, Preferences, Query},
    wire::{
        Condition, Element, Scope, StanzaError,
        form::{self, Page},
        ns, time,
    },
};

/// The name in `xmpp.disable`.
pub const NAME: &str = "mam";

/// Bytes of one page.
const BYTES: usize = 256 * 1024;

/// The declaration.
pub const FEATURE: Feature = Feature {
    name: NAME,
    spec: Spec::Xep(313, "1.1.3"),
    more: &[Spec::Xep(59, "1.0"), Spec::Xep(359, "0.7.0")],
    server: &[],
    account: &[ns::MAM, ns::MAM_EXTENDED, ns::SID],
    identities: &[],
    stream: nothing,
    handlers: &[
        Handler {
            ns: ns::MAM,
            to: To::Own,
            answer,
        },
        Handler {
            ns: ns::MAM,
            to: To::Anybody,
            answer: refuse,
        },
    ],
};

fn answer(asked: &mut Asked<'_>) -> Reply {
    let Some(account) = asked.account.as_deref_mut() else {
        return Condition::ServiceUnavailable.into();
    };
    let whose = account.jid().clone();
    match (asked.set, asked.query.name()) {
        (_, "prefs") if asked.set => {
            let prefs = match Preferences::parse(asked.query) {
                Ok(prefs) => prefs,
                Err(error) => return error.into(),
            };
            Reply::Write(Box::new(move |tx| {
                let content = serde_json::to_string(&prefs).map_err(StoreError::other)?;
                data::archive::set_preferences(tx, whose.as_str(), &content)?;
                let prefs = prefs.clone();
                Ok(Reply::Account(Box::new(move |account| {
                    account.archive = prefs;
                    account.archive.to_element().into()
                })))
            }))
        }
        (_, "prefs") => account.archive.to_element().into(),
        _ => archive(asked.query, asked.set, whose.as_str()),
    }
}

/// Answers what any archive can be asked.
pub fn archive(query: &Element, set: bool, owner: &str) -> Reply {
    let owner = owner.to_owned();
    match (set, query.name()) {
        (false, "query") => fields().into(),
        (true, "query") => {
            let query = query.clone();
            Reply::Read(Box::new(move |reader| {
                let mut failed = None;
                let asked = Query::parse(&query, &mut |name| {
                    let found = data::archive::named(reader, &owner, name);
                    found.unwrap_or_else(|error| {
                        failed = Some(error);
                        None
                    })
                });
                match (failed, asked) {
                    (Some(error), _) => Err(error),
                    (None, Ok(asked)) => look(reader, &owner, &asked),
                    (None, Err(error)) => Ok(error.into()),
                }
            }))
        }
        (false, "metadata") => {
            Reply::Read(Box::new(move |reader| Ok(metadata(reader, &owner)?.into())))
        }
        _ => Condition::BadRequest.into(),
    }
}

/// Section 5: the first and the last entry.
///
/// # Errors
/// When the database fails.
pub fn metadata(reader: &mut Reader<'_>, owner: &str) -> Result<Element, StoreError> {
    let ends = data::archive::ends(reader, owner)?;
    let mut metadata = Element::new("metadata", ns::MAM);
    for (name, id) in ends
        .into_iter()
        .flat_map(|(first, last)| [("start", first), ("end", last)])
    {
        let names = data::archive::names(reader, owner, id, id)?;
        metadata.push(
            Element::new(name, ns::MAM)
                .attr("id", called(&names, id))
                .attr("timestamp", time::format_micros(stamped(&names, id))),
        );
    }
    Ok(metadata)
}

/// Section 4.1.5: what can be filled in.
fn fields() -> Element {
    let fields = FIELDS
        .iter()
        .map(|(name, kind)| form::field(name, kind, []));
    Element::new("query", ns::MAM).child(form::form("form", ns::MAM, fields))
}

/// What clients call an entry.
fn called(names: &HashMap<u64, Name>, id: u64) -> String {
    match names.get(&id) {
        Some(name) => name.name.clone(),
        None => id.to_string(),
    }
}

/// When it was archived.
fn stamped(names: &HashMap<u64, Name>, id: u64) -> u64 {
    names.get(&id).map_or(id, |name| name.stamped)
}

fn look(reader: &mut Reader<'_>, owner: &str, query: &Query) -> Result<Reply, StoreError> {
    for &anchor in &query.anchors {
        if data::archive::find(reader, owner, anchor)?.is_none() {
            return Ok(Condition::ItemNotFound.into());
        }
    }
    let (found, complete) = match &query.ids {
        Some(ids) => {
            let mut found = Vec::new();
            let mut seen = HashSet::new();
            for &id in ids.iter().filter(|id| seen.insert(**id)) {
                match data::archive::find(reader, owner, id)? {
                    Some(entry) => found.push(entry),
                    None => return Ok(Condition::ItemNotFound.into()),
                }
            }
            found.sort_by_key(|(id, _)| *id);
            (found, true)
        }
        None => {
            let filter = Filter {
                limit: query.filter.limit,
                ..query.filter.clone()
            };
            let mut found = data::archive::page(reader, owner, &filter)?;
            let most = query.max as usize;
            let complete = found.len() <= most;
            if filter.backwards {
                found.drain(..found.len().saturating_sub(most));
            } else {
                found.truncate(most);
            }
            (found, complete)
        }
    };
    let (found, complete) = bounded(found, complete, query.filter.backwards);
    let ends = (found.first(), found.last());
    let names = match ends {
        (Some((first, _)), Some((last, _))) => data::archive::names(reader, owner, *first, *last)?,
        _ => HashMap::new(),
    };
    let text = |entry: Option<&(u64, bytes::Bytes)>| entry.map(|(id, _)| called(&names, *id));
    let (first, last) = (text(ends.0), text(ends.1));
    let fin = Element::new("fin", ns::MAM)
        .attr_opt("complete", complete.then_some("true"))
        .child(Page::said(first.as_deref(), last.as_deref(), None));
    let mut messages: Vec<_> = found
        .iter()
        .filter_map(|(id, stanza)| {
            let (name, at) = (called(&names, *id), stamped(&names, *id));
            result(name, at, stanza, query.id.as_deref())
        })
        .collect();
    if query.flip {
        messages.reverse();
    }
    Ok(Reply::Page(messages, fin))
}

/// As much of a page as fits into what may wait for a client; at least one entry.
fn bounded(
    mut found: Vec<(u64, bytes::Bytes)>,
    complete: bool,
    backwards: bool,
) -> (Vec<(u64, bytes::Bytes)>, bool) {
    if backwards {
        found.reverse();
    }
    let mut bytes = 0_usize;
    let fits = found.iter().take_while(|(_, stanza)| {
        let first = bytes == 0;
        bytes = bytes.saturating_add(stanza.len());
        first || bytes <= BYTES
    });
    let fits = fits.count();
    let complete = complete && fits == found.len();
    found.truncate(fits);
    if backwards {
        found.reverse();
    }
    (found, complete)
}

/// An entry as a message to the one who asked.
fn result(name: String, at: u64, stanza: &[u8], query: Option<&str>) -> Option<Element> {
    let stanza = Element::parse(stanza, &Scope::client()).ok()?;
    let delay = Element::new("delay", ns::DELAY).attr("stamp", time::format_micros(at));
    let forwarded = Element::new("forwarded", ns::FORWARD)
        .child(delay)
        .child(stanza);
    let result = Element::new("result", ns::MAM)
        .attr_opt("queryid", query)
        .attr("id", name)
        .child(forwarded);
    Some(Element::new("message", ns::CLIENT).child(result))
}

/// Nobody else's archive.
fn refuse(_: &mut Asked<'_>) -> Reply {
    StanzaError::from(Condition::Forbidden).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_fits_into_what_may_wait() {
        let entries = |sizes: &[usize]| -> Vec<(u64, bytes::Bytes)> {
            let sized = sizes.iter().enumerate();
            sized
                .map(|(id, size)| (id as u64, vec![0; *size].into()))
                .collect()
        };
        let ids = |(found, complete): (Vec<(u64, bytes::Bytes)>, bool)| {
            (
                found.into_iter().map(|(id, _)| id).collect::<Vec<_>>(),
                complete,
            )
        };
        let half = BYTES / 2;
        assert_eq!(
            ids(bounded(entries(&[1, 2]), true, false)),
            (vec![0, 1], true)
        );
        let three = || entries(&[half, half, half]);
        assert_eq!(ids(bounded(three(), true, false)), (vec![0, 1], false));
        assert_eq!(ids(bounded(three(), true, true)), (vec![1, 2], false));
        assert_eq!(
            ids(bounded(entries(&[BYTES * 2, 1]), true, false)),
            (vec![0], false)
        );
        assert_eq!(ids(bounded(Vec::new(), true, true)), (vec![], true));
    }
}
