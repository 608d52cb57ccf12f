//! What is archived (XEP-0313), and what a query asks for.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{delivery::is_storable, roster::Roster};
use crate::{
    data::archive::Filter,
    wire::{
        Condition, Element, Jid, Stanza, StanzaError,
        form::{Form, Page},
        ns, time,
    },
};

/// Entries of one page, unless the client asks for fewer,
pub const PAGE: u32 = 50;
/// or more, which it can up to here.
pub const PAGE_MOST: u32 = 250;
/// Addresses in an account's preferences.
const LISTED: usize = 500;
/// Ids that one query can name.
const IDS: usize = 100;

/// Whose messages are archived, where nothing is said of somebody in particular.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Rule {
    /// Everybody's.
    Always,
    /// Nobody's.
    Never,
    /// The contacts'.
    Roster,
}

impl Rule {
    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Rule::Always => "always",
            Rule::Never => "never",
            Rule::Roster => "roster",
        }
    }

    fn from_name(name: &str) -> Option<Rule> {
        [Rule::Always, Rule::Never, Rule::Roster]
            .into_iter()
            .find(|rule| rule.as_str() == name)
    }
}

/// What an account wants archived (section 7, once XEP-0441).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Preferences {
    /// By default.
    pub rule: Rule,
    /// Always, whatever the default.
    pub always: BTreeSet<String>,
    /// Never, whatever the default.
    pub never: BTreeSet<String>,
}

impl Default for Preferences {
    fn default() -> Preferences {
        Preferences {
            rule: Rule::Always,
            always: BTreeSet::new(),
            never: BTreeSet::new(),
        }
    }
}

impl Preferences {
    /// Reads `<prefs/>`.
    ///
    /// # Errors
    /// When it isn't what section 7 says.
    pub fn parse(prefs: &Element) -> Result<Preferences, StanzaError> {
        let rule = prefs.get_attr("default").and_then(Rule::from_name);
        let list = |name| {
            let listed = prefs.get_child(name, ns::MAM);
            let listed = listed.into_iter().flat_map(Element::children);
            let listed = listed.filter(|jid| jid.is("jid", ns::MAM));
            let listed = listed.map(|jid| Jid::new(jid.text_content().trim()));
            let listed = listed
                .map(|jid| jid.map(|jid| jid.as_str().to_owned()))
                .collect::<Result<BTreeSet<_>, _>>()
                .map_err(|_| StanzaError::from(Condition::JidMalformed))?;
            if listed.len() > LISTED {
                return Err(StanzaError::from(Condition::ResourceConstraint));
            }
            Ok(listed)
        };
        Ok(Preferences {
            rule: rule.ok_or(Condition::BadRequest)?,
            always: list("always")?,
            never: list("never")?,
        })
    }

    /// As it is told to the client.
    pub fn to_element(&self) -> Element {
        let list = |name: &'static str, listed: &BTreeSet<String>| {
            let jids = listed
                .iter()
                .map(|jid| Element::new("jid", ns::MAM).text(jid.as_str()));
            Element::new(name, ns::MAM).children_from(jids)
        };
        Element::new("prefs", ns::MAM)
            .attr("default", self.rule.as_str())
            .child(list("always", &self.always))
            .child(list("never", &self.never))
    }

    /// Whether a message to or from `peer` is archived.
    pub fn want(&self, message: &Stanza, peer: &Jid, roster: &Roster) -> bool {
        if !is_storable(message) {
            return false;
        }
        let listed = |list: &BTreeSet<String>| {
            !list.is_empty() && (list.contains(peer.as_str()) || list.contains(peer.bare_str()))
        };
        if listed(&self.never) {
            return false;
        }
        listed(&self.always)
            || match self.rule {
                Rule::Always => true,
                Rule::Never => false,
                Rule::Roster => {
                    let state = roster.subscription(peer.bare_str());
                    state.from || state.to
                }
            }
    }
}

/// What a query asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Query {
    /// The client's name for it.
    pub id: Option<String>,
    /// These entries and no others.
    pub ids: Option<Vec<u64>>,
    /// Which entries.
    pub filter: Filter,
    /// Entries that must exist for the query to make sense.
    pub anchors: Vec<u64>,
    /// Entries of the page.
    pub max: u32,
    /// The last entry of the page first.
    pub flip: bool,
}

/// The fields that can be filled in.
pub const FIELDS: [(&str, &str); 6] = [
    ("with", "jid-single"),
    ("start", "text-single"),
    ("end", "text-single"),
    ("before-id", "text-single"),
    ("after-id", "text-single"),
    ("ids", "list-multi"),
];

impl Query {
    /// Reads `<query/>`. `find` gives the number of the entry that a client calls so.
    ///
    /// # Errors
    /// When it asks for something that isn't there to be asked for.
    pub fn parse(
        query: &Element,
        find: &mut dyn FnMut(&str) -> Option<u64>,
    ) -> Result<Query, StanzaError> {
        let mut asked = Query {
            id: query.get_attr("queryid").map(ToOwned::to_owned),
            flip: query.get_child("flip-page", ns::MAM).is_some(),
            ..Query::default()
        };
        let mut entry =
            |text: &str| find(text).ok_or_else(|| StanzaError::from(Condition::ItemNotFound));
        let (mut from, mut to) = (0_u64, u64::MAX);
        if let Some(form) = Form::find(query, ns::MAM) {
            for (name, values) in form.fields() {
                let value = values.first().map(String::as_str).unwrap_or_default();
                let moment =
                    || time::parse_micros(value).ok_or(StanzaError::from(Condition::BadRequest));
                match name {
                    "with" => {
                        let with = Jid::new(value).map_err(|_| Condition::JidMalformed)?;
                        let resource = with.resource().map(ToOwned::to_owned);
                        asked.filter.with = Some((with.bare_str().to_owned(), resource));
                    }
                    "start" => from = from.max(moment()?),
                    // The whole of the last microsecond, or second where it names no fraction.
                    "end" => {
                        let part = if value.contains('.') { 0 } else { 999_999 };
                        to = to.min(moment()?.saturating_add(part));
                    }
                    "after-id" => {
                        let id = entry(value)?;
                        from = from.max(id.saturating_add(1));
                        asked.anchors.push(id);
                    }
                    "before-id" => {
                        let id = entry(value)?;
                        to = to.min(id.saturating_sub(1));
                        asked.anchors.push(id);
                    }
                    "ids" => {
                        if values.len() > IDS {
                            return Err(Condition::ResourceConstraint.into());
                        }
                        let ids = values
                            .iter()
                            .map(|id| entry(id))
                            .collect::<Result<_, _>>()?;
                        asked.ids = Some(ids);
                    }
                    _ => return Err(Condition::FeatureNotImplemented.into()),
                }
            }
        }
        let page = Page::find(query)?;
        if let Some(after) = page.after.as_deref().filter(|after| !after.is_empty()) {
            let id = entry(after)?;
            from = from.max(id.saturating_add(1));
            asked.anchors.push(id);
        }
        if let Some(before) = page.before.as_deref() {
            asked.filter.backwards = true;
            if !before.is_empty() {
                let id = entry(before)?;
                to = to.min(id.saturating_sub(1));
                asked.anchors.push(id);
            }
        }
        asked.max = page.max.unwrap_or(PAGE).min(PAGE_MOST);
        // Beyond what the database can count there is nothing.
        (asked.filter.from, asked.filter.to) = (from, to.min(i64::MAX as u64).max(1));
        // One more tells whether there is more.
        asked.filter.limit = asked.max.saturating_add(1);
        Ok(asked)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::wire::Scope;

    fn query(fields: &str, rest: &str) -> Result<Query, Condition> {
        let text = format!(
            "<query xmlns='urn:xmpp:mam:2' queryid='q'><x xmlns='jabber:x:data' type='submit'>\
             <field var='FORM_TYPE'><value>urn:xmpp:mam:2</value></field>{fields}</x>{rest}</query>"
        );
        let element = Element::parse(text.as_bytes(), &Scope::empty()).unwrap();
        Query::parse(&element, &mut |id| id.parse().ok()).map_err(|error| error.condition)
    }

    fn field(name: &str, value: &str) -> String {
        format!("<field var='{name}'><value>{value}</value></field>")
    }

    #[test]
    fn queries() {
        let all = query("", "").unwrap();
        assert_eq!(
            (all.max, all.filter.limit, all.filter.from),
            (PAGE, PAGE + 1, 0)
        );
        let with = query(&field("with", "a@b/c"), "").unwrap().filter.with;
        assert_eq!(with, Some(("a@b".into(), Some("c".into()))));
        let between =
            field("start", "1970-01-01T00:00:01Z") + &field("end", "1970-01-01T00:00:02Z");
        let between = query(&between, "").unwrap().filter;
        assert_eq!((between.from, between.to), (1_000_000, 2_999_999));
        let ids = field("after-id", "5") + &field("before-id", "9");
        let ids = query(&ids, "<flip-page/>").unwrap();
        assert!(ids.flip);
        assert_eq!(
            (ids.filter.from, ids.filter.to, ids.anchors),
            (6, 8, vec![5, 9])
        );
        let rsm =
            "<set xmlns='http://jabber.org/protocol/rsm'><max>10000</max><before>7</before></set>";
        let last = query("", rsm).unwrap();
        assert_eq!(
            (last.max, last.filter.backwards, last.filter.to),
            (PAGE_MOST, true, 6)
        );
        assert_eq!(query(&field("ids", "x"), ""), Err(Condition::ItemNotFound));
        assert_eq!(query(&field("start", "x"), ""), Err(Condition::BadRequest));
        assert_eq!(query(&field("with", "@"), ""), Err(Condition::JidMalformed));
        assert_eq!(
            query(&field("moon", "x"), ""),
            Err(Condition::FeatureNotImplemented)
        );
    }

    #[test]
    fn preferences() {
        let text = "<prefs xmlns='urn:xmpp:mam:2' default='roster'><always><jid>a@b</jid></always>\
                    <never><jid>c@d/e</jid></never></prefs>";
        let element = Element::parse(text.as_bytes(), &Scope::empty()).unwrap();
        let prefs = Preferences::parse(&element).unwrap();
        assert_eq!(prefs.to_element().to_document(), text);
        let body = Element::new("message", ns::CLIENT)
            .attr("type", "chat")
            .child(Element::new("body", ns::CLIENT).text("x"));
        let message = Stanza::from_element(&body).unwrap();
        let roster = Roster::default();
        for (peer, wanted) in [
            ("a@b/x", true),
            ("c@d", false),
            ("c@d/e", false),
            ("x@y", false),
        ] {
            let peer = Jid::new(peer).unwrap();
            assert_eq!(prefs.want(&message, &peer, &roster), wanted, "{peer}");
            assert!(Preferences::default().want(&message, &peer, &roster));
        }
        let bad = Element::new("prefs", ns::MAM).attr("default", "sometimes");
        assert!(Preferences::parse(&bad).is_err());
    }
}
