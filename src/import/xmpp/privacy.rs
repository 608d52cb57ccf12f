//! Privacy lists (XEP-0016), which nobody here keeps: those who are denied everything are blocked.

use omnid_xmpp::wire::{Element, Jid};

/// The list in force as addresses to block, and what of all lists is not said by that.
pub(super) fn blocked(query: &Element) -> (Vec<String>, Vec<String>) {
    let lists = || query.children().filter(|list| list.name() == "list");
    let named = |name: &str| query.children().find(|child| child.name() == name);
    let default = named("default").or(named("active"));
    let default = default.and_then(|default| default.get_attr("name"));
    let (mut jids, mut lost) = (Vec::new(), Vec::new());
    for list in lists() {
        let name = list.get_attr("name").unwrap_or_default();
        // Where there is one list and none is named, it is the one that clients activate.
        let in_force = default.map_or(lists().count() == 1, |default| default == name);
        if !in_force {
            lost.push(format!("privacy list {name:?}, which was not in force"));
            continue;
        }
        for item in list.children().filter(|item| item.name() == "item") {
            let attr = |name| item.get_attr(name).unwrap_or_default();
            let everything = item.children().next().is_none()
                || ["message", "iq", "presence-in"]
                    .iter()
                    .all(|kind| item.children().any(|child| child.name() == *kind));
            let jid = Jid::new(attr("value"));
            match (attr("type"), attr("action"), jid) {
                ("jid", "deny", Ok(jid)) if everything => jids.push(jid.as_str().to_owned()),
                // What follows when nothing else fits.
                ("", "allow", _) => {}
                (kind, action, _) => lost.push(format!(
                    "privacy list {name:?}: {action} {kind} {:?}",
                    attr("value")
                )),
            }
        }
    }
    (jids, lost)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use omnid_xmpp::wire::Scope;

    #[test]
    fn lists() {
        let text = "<query xmlns='jabber:iq:privacy'><default name='a'/><list name='a'>\
            <item type='jid' value='x@Y.test' action='deny' order='1'/>\
            <item type='jid' value='z@y.test' action='deny' order='2'><message/></item>\
            <item type='group' value='Bad' action='deny' order='3'/>\
            <item action='allow' order='4'/></list><list name='b'/></query>";
        let query = Element::parse(text.as_bytes(), &Scope::empty()).unwrap();
        let (jids, lost) = blocked(&query);
        assert_eq!(jids, ["x@y.test"]);
        assert_eq!(lost.len(), 3, "{lost:?}");
    }
}
