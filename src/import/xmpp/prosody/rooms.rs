//! Rooms, as Prosody keeps them.

use std::collections::BTreeMap;

use omnid_xmpp::{
    engine::room::{Affiliation, Kept, RoomConfig, Subject},
    wire::Jid,
};

use super::stored::micros;
use crate::xmpp::lua::Table;

/// What is kept of a room.
pub(super) fn kept_room(config: &Table, data: &Table) -> Kept {
    let text = |name| data.text(name).unwrap_or_default().to_owned();
    let flag = |name| data.flag(name).unwrap_or(false);
    let members_only = flag("members_only");
    let default = RoomConfig::default();
    let history = data.number("history_length");
    let room = RoomConfig {
        name: text("name"),
        description: text("description"),
        lang: text("language"),
        persistent: flag("persistent"),
        public: !flag("hidden"),
        moderated: flag("moderated"),
        members_only,
        password: data.text("password").map(ToOwned::to_owned),
        anonymous: data.text("whois") != Some("anyone"),
        change_subject: flag("changesubject"),
        invites: !members_only || flag("allow_member_invites"),
        private_messages: data.text("allow_pm") != Some("none"),
        archive: data.flag("archiving").unwrap_or(default.archive),
        history: history.map_or(default.history, |most| (most as u32).min(100)),
    };
    let subject = data.text("subject").filter(|text| !text.is_empty());
    let subject = subject.map(|subject| Subject {
        text: subject.to_owned(),
        nick: data
            .text("subject_from")
            .and_then(|from| Jid::new(from).ok())
            .and_then(|from| from.resource().map(ToOwned::to_owned))
            .unwrap_or_default(),
        at: data.number("subject_time").map_or(0, micros),
    });
    let mut affiliations = BTreeMap::new();
    let old = config.inner("_affiliations").into_iter();
    for (jid, affiliation) in config.named().chain(old.flat_map(Table::named)) {
        let affiliation = affiliation.text().and_then(Affiliation::from_name);
        if let (Ok(jid), Some(affiliation)) = (Jid::new(jid), affiliation)
            && affiliation != Affiliation::None
        {
            affiliations.insert(jid.bare_str().to_owned(), affiliation);
        }
    }
    let owner = affiliations
        .iter()
        .find(|(_, affiliation)| **affiliation == Affiliation::Owner);
    let creator = owner.map(|(jid, _)| jid.clone()).unwrap_or_default();
    Kept {
        config: room,
        subject,
        affiliations,
        card: None,
        salt: text("occupant_id_salt"),
        creator,
    }
}
