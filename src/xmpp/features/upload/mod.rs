//! XEP-0363: files are put where others can get them, over HTTP.
//!
//! Slots are given here; the HTTP service passes on what is put and got (`io::upload`).

use super::{Asked, Feature, Handler, Reply, Spec, To, nothing};
use crate::{
    data::{self, upload::Slot},
    features::last::stored,
    io::server::token,
    wire::{Condition, Element, ErrorType, StanzaError, form, ns},
};

/// The name in `xmpp.disable`.
pub const NAME: &str = "upload";
/// Bytes that encryption adds to a file (XEP-0454).
const TAG: u64 = 16;
/// Bytes of a name.
const NAME_LENGTH: usize = 255;

/// The declaration.
pub const FEATURE: Feature = Feature {
    name: NAME,
    spec: Spec::Xep(363, "1.1.0"),
    more: &[],
    server: &[ns::UPLOAD],
    account: &[],
    identities: &[],
    stream: nothing,
    handlers: &[Handler {
        ns: ns::UPLOAD,
        to: To::Server,
        answer,
    }],
};

/// What the server's disco says of it: how big files can be.
pub fn limits(asked: &Asked<'_>) -> Option<Element> {
    if !asked.features.has(NAME) {
        return None;
    }
    let most = most(asked).to_string();
    let field = form::field("max-file-size", "", [most.as_str()]);
    Some(form::form("result", ns::UPLOAD, [field]))
}

fn most(asked: &Asked<'_>) -> u64 {
    let size = asked.config.upload.file_size.as_usize() as u64;
    size.saturating_add(TAG)
}

fn answer(asked: &mut Asked<'_>) -> Reply {
    slot(asked).unwrap_or_else(Reply::from)
}

fn slot(asked: &Asked<'_>) -> Result<Reply, StanzaError> {
    let base = asked.config.upload.url.as_ref();
    let base = base.ok_or(Condition::ServiceUnavailable)?.value.clone();
    if asked.set || asked.query.name() != "request" {
        return Err(Condition::BadRequest.into());
    }
    // Files are for those who have an account here.
    if !asked.local {
        return Err(Condition::Forbidden.into());
    }
    let name = asked
        .query
        .get_attr("filename")
        .unwrap_or_default()
        .to_owned();
    let size = asked
        .query
        .get_attr("size")
        .and_then(|size| size.parse::<u64>().ok());
    let size = size.filter(|size| *size > 0).ok_or(Condition::BadRequest)?;
    let plain = |c: char| !c.is_control() && c != '/' && c != '\\';
    if name.is_empty() || name.len() > NAME_LENGTH || !name.chars().all(plain) {
        return Err(Condition::BadRequest.into());
    }
    if size > most(asked) {
        let limit = Element::new("max-file-size", ns::UPLOAD).text(most(asked).to_string());
        return Err(StanzaError {
            kind: ErrorType::Modify,
            text: Some("the file is too big".into()),
            application: Some(Box::new(
                Element::new("file-too-large", ns::UPLOAD).child(limit),
            )),
            ..Condition::NotAcceptable.into()
        });
    }
    let kind = asked.query.get_attr("content-type").unwrap_or_default();
    let slot = Slot {
        kind: if is_kind(kind) {
            kind.to_owned()
        } else {
            String::new()
        },
        size,
        at: stored(asked.now),
        blob: None,
        name,
    };
    let account = asked.from.bare_str().to_owned();
    let quota = asked.config.upload.account_size.as_usize() as u64;
    let token = token() + &token();
    let url = format!("{base}/{token}/{}", encoded(&slot.name));
    Ok(Reply::Write(Box::new(move |tx| {
        if !data::upload::give(tx, &token, &account, &slot, quota)? {
            let text = "your files take all the room that you have";
            return Ok(StanzaError::with_text(Condition::ResourceConstraint, text).into());
        }
        let place = |name: &'static str| Element::new(name, ns::UPLOAD).attr("url", url.as_str());
        Ok(Element::new("slot", ns::UPLOAD)
            .child(place("put"))
            .child(place("get"))
            .into())
    })))
}

/// Whether it looks like a media type, without parameters.
fn is_kind(kind: &str) -> bool {
    let token = |c: char| c.is_ascii_alphanumeric() || "!#$&-^_.+".contains(c);
    kind.len() <= 100
        && kind.split_once('/').is_some_and(|(first, second)| {
            let good = |part: &str| !part.is_empty() && part.chars().all(token);
            good(first) && good(second)
        })
}

/// As a segment of a path.
fn encoded(name: &str) -> String {
    let mut text = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    text
}
