//! What a server says of itself in class CHAOS (RFC 4892).

use super::reply::{ExtendedError, Reply};
use super::state::Settings;
use crate::wire::code::{Class, Rcode, RrType};
use crate::wire::query::Question;
use crate::wire::reader::{Header, flag};
use crate::wire::writer::{Layout, Owner, Section};

pub(super) fn answer(settings: &Settings, question: &Question<'_>, reply: &mut Reply<'_>) {
    let text = match question.name.wire() {
        name if is(name, b"\x07version\x04bind\0") || is(name, b"\x07version\x06server\0") => {
            settings.version.as_deref()
        }
        name if is(name, b"\x08hostname\x04bind\0") => settings.hostname.as_deref(),
        name if is(name, b"\x02id\x06server\0") => settings.server_id.as_deref(),
        _ => None,
    };
    let Some(text) = text else {
        reply.rcode = Rcode::REFUSED;
        reply.extended = Some(ExtendedError::NOT_AUTHORITATIVE);
        return;
    };
    reply.flags |= flag::AA;
    if !matches!(question.rr_type, RrType::TXT | RrType::ANY) {
        return;
    }
    let mut rdata = [0u8; 256];
    let length = text.len().min(255);
    let [count, octets @ ..] = &mut rdata;
    *count = length as u8;
    octets
        .iter_mut()
        .zip(text.bytes())
        .for_each(|(slot, octet)| *slot = octet);
    let rdata = rdata.get(..=length).unwrap_or(&[0]);
    let owner = Owner::At(Header::LEN as u16);
    let (section, layout) = (Section::Answer, Layout::Opaque);
    if reply
        .writer
        .record(section, owner, RrType::TXT, Class::CH, 0, rdata, layout, 0)
        .is_err()
    {
        reply.truncate();
    }
}

fn is(name: &[u8], known: &[u8]) -> bool {
    name.eq_ignore_ascii_case(known)
}
