//! What every element checks of every message (RFC 3261 8.1.1, 16.3; RFC 4475 3.1.2 and 3.3).

use super::{HeaderName, Limits, Message, Uri, parse::Defect};

/// The first thing wrong with an indexed message.
pub(super) fn check(message: &Message, limits: &Limits) -> Option<Defect> {
    counts(message, limits)
        .or_else(|| dialog_headers(message))
        .or_else(|| numbers(message))
        .or_else(|| target(message))
}

fn counts(message: &Message, limits: &Limits) -> Option<Defect> {
    let mut seen: u128 = 0;
    let mut vias = 0;
    for header in &message.headers {
        if header.name == HeaderName::Via {
            // Commas in quoted parameters only make this an overestimate.
            let line = message.text(header.value);
            vias += 1 + line.iter().filter(|byte| **byte == b',').count();
        }
        if header.name.is_single() {
            let bit = 1 << (header.name as u32);
            if seen & bit != 0 {
                return Some(Defect::bad("Repeated Header"));
            }
            seen |= bit;
        }
    }
    let has = |name: HeaderName| seen & (1 << (name as u32)) != 0;
    let missing = |name, reason| (!has(name)).then_some(Defect::bad(reason));
    if vias > limits.vias {
        return Some(Defect::bad("Too Many Vias"));
    }
    missing(HeaderName::From, "Missing From")
        .or_else(|| missing(HeaderName::To, "Missing To"))
        .or_else(|| missing(HeaderName::CallId, "Missing Call-ID"))
        .or_else(|| missing(HeaderName::CSeq, "Missing CSeq"))
        .or_else(|| (vias == 0).then_some(Defect::bad("Missing Via")))
}

fn dialog_headers(message: &Message) -> Option<Defect> {
    let call_id = message.call_id();
    if call_id.is_empty() || call_id.iter().any(u8::is_ascii_whitespace) {
        return Some(Defect::bad("Bad Call-ID"));
    }
    if message.from().is_err() {
        return Some(Defect::bad("Bad From"));
    }
    if message.to().is_err() {
        return Some(Defect::bad("Bad To"));
    }
    message.via().is_err().then_some(Defect::bad("Bad Via"))
}

fn numbers(message: &Message) -> Option<Defect> {
    let Ok(cseq) = message.cseq() else {
        return Some(Defect::bad("Bad CSeq"));
    };
    if message.is_request() && cseq.method != message.method_text() {
        return Some(Defect::bad("CSeq Method Mismatch"));
    }
    if message.value(HeaderName::MaxForwards).is_some() && message.max_forwards().is_none() {
        return Some(Defect::bad("Bad Max-Forwards"));
    }
    // RFC 3261 20.17: a SIP date is in GMT, whatever other forms HTTP knows.
    let date = message.value(HeaderName::Date)?;
    (!date.ends_with(b" GMT")).then_some(Defect::bad("Bad Date"))
}

fn target(message: &Message) -> Option<Defect> {
    if !message.is_request() {
        return None;
    }
    match message.uri() {
        // RFC 3261 19.1.1: headers are not allowed here; to obey them would be an injection.
        Ok(Uri::Sip(uri)) if !uri.headers.is_empty() => Some(Defect::bad("Bad Request-URI")),
        Ok(_) => None,
        Err(_) => Some(Defect::bad("Bad Request-URI")),
    }
}
