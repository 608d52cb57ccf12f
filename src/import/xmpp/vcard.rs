//! vCard 4 in XML (RFC 6351) as vcard-temp (XEP-0054): Prosody keeps the former and shows the latter.

use omnid_xmpp::wire::{Element, ns};

const VCARD4: &str = "urn:ietf:params:xml:ns:vcard-4.0";
/// The node that it is kept at.
pub(super) const NODE: &str = "urn:xmpp:vcard4";

/// The card, and the names of what vcard-temp has no place for.
pub(super) fn temp(vcard: &Element) -> (Element, Vec<String>) {
    let mut card = Element::new("vCard", ns::VCARD);
    let mut lost = Vec::new();
    let new = |name| Element::new(name, ns::VCARD);
    for property in vcard.children() {
        let part = |name: &str| {
            let part = property.children().find(|child| child.is(name, VCARD4));
            part.map(Element::text_content).unwrap_or_default()
        };
        let value = || {
            ["text", "uri", "date", "date-time", "date-and-or-time"]
                .into_iter()
                .map(part)
                .find(|value| !value.is_empty())
                .unwrap_or_default()
        };
        let types: Vec<String> = property
            .get_child("parameters", VCARD4)
            .and_then(|parameters| parameters.get_child("type", VCARD4))
            .into_iter()
            .flat_map(Element::children)
            .map(|kind| kind.text_content().to_lowercase())
            .collect();
        let is = |kind: &str| types.iter().any(|known| known == kind);
        let parts = |element: Element, names: &[(&'static str, &str)]| {
            let mut element = element;
            for (new_name, old) in names {
                let text = part(old);
                if !text.is_empty() {
                    element.push(new(new_name).text(text));
                }
            }
            element
        };
        let marked = |element: Element| {
            let known = [
                ("HOME", "home"),
                ("WORK", "work"),
                ("CELL", "cell"),
                ("FAX", "fax"),
                ("VOICE", "voice"),
                ("VIDEO", "video"),
            ];
            let marks = known.iter().filter(|(_, kind)| is(kind));
            element.children_from(marks.map(|(mark, _)| new(mark)))
        };
        match property.name() {
            "fn" => card.push(new("FN").text(value())),
            "nickname" => card.push(new("NICKNAME").text(value())),
            "bday" => card.push(new("BDAY").text(value())),
            "url" => card.push(new("URL").text(value())),
            "title" => card.push(new("TITLE").text(value())),
            "role" => card.push(new("ROLE").text(value())),
            "note" => card.push(new("NOTE").text(value())),
            "tz" => card.push(new("TZ").text(value())),
            "uid" => card.push(new("UID").text(value())),
            "n" => card.push(parts(
                new("N"),
                &[
                    ("FAMILY", "surname"),
                    ("GIVEN", "given"),
                    ("MIDDLE", "additional"),
                    ("PREFIX", "prefix"),
                    ("SUFFIX", "suffix"),
                ],
            )),
            "adr" => card.push(parts(
                marked(new("ADR")),
                &[
                    ("POBOX", "pobox"),
                    ("EXTADD", "ext"),
                    ("STREET", "street"),
                    ("LOCALITY", "locality"),
                    ("REGION", "region"),
                    ("PCODE", "code"),
                    ("CTRY", "country"),
                ],
            )),
            "org" => {
                let mut texts = property.children().filter(|text| text.name() == "text");
                let mut org = new("ORG");
                if let Some(name) = texts.next() {
                    org.push(new("ORGNAME").text(name.text_content()));
                }
                card.push(
                    org.children_from(texts.map(|unit| new("ORGUNIT").text(unit.text_content()))),
                );
            }
            "tel" => {
                let number = value();
                let number = number.strip_prefix("tel:").unwrap_or(&number).to_owned();
                card.push(marked(new("TEL")).child(new("NUMBER").text(number)));
            }
            "email" => card.push(marked(new("EMAIL")).child(new("USERID").text(value()))),
            "impp" => {
                let address = value();
                match address.strip_prefix("xmpp:") {
                    Some(jid) => card.push(new("JABBERID").text(jid)),
                    None => lost.push("impp".to_owned()),
                }
            }
            // The picture is at nodes of its own, and comes from there.
            "photo" => {}
            other => lost.push(other.to_owned()),
        }
    }
    (card, lost)
}
