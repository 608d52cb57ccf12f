//! How a room is configured (section 10.2).

use serde::{Deserialize, Serialize};

use super::{HISTORY, Room};
use crate::wire::{
    Condition, Element, StanzaError,
    form::{self, Form},
    ns,
};

/// How a room is configured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RoomConfig {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// Its language.
    pub lang: String,
    /// It stays when nobody is in.
    pub persistent: bool,
    /// It is listed.
    pub public: bool,
    /// Newcomers may only listen.
    pub moderated: bool,
    /// Only members are let in.
    pub members_only: bool,
    /// What one has to know to be let in.
    pub password: Option<String>,
    /// Only moderators see who the others really are.
    pub anonymous: bool,
    /// Every participant can say what it is about.
    pub change_subject: bool,
    /// Every occupant can invite.
    pub invites: bool,
    /// Occupants can talk to each other in private.
    pub private_messages: bool,
    /// What is said is archived.
    pub archive: bool,
    /// Messages that those who enter are shown.
    pub history: u32,
}

impl Default for RoomConfig {
    fn default() -> RoomConfig {
        RoomConfig {
            name: String::new(),
            description: String::new(),
            lang: String::new(),
            persistent: false,
            public: true,
            moderated: false,
            members_only: false,
            password: None,
            anonymous: true,
            change_subject: false,
            invites: true,
            private_messages: true,
            archive: true,
            history: 20,
        }
    }
}

impl RoomConfig {
    /// With what a form says.
    ///
    /// # Errors
    /// When it makes no sense.
    pub fn with(&self, form: &Form) -> Result<RoomConfig, StanzaError> {
        let mut new = self.clone();
        let bad = || StanzaError::from(Condition::NotAcceptable);
        let mut protected = None;
        let mut secret = None;
        for (name, values) in form.fields() {
            let value = values.first().map(String::as_str).unwrap_or_default();
            let flag = || form.flag(name).ok_or_else(bad);
            if value.len() > 4096 {
                return Err(bad());
            }
            match name {
                "muc#roomconfig_roomname" => value.clone_into(&mut new.name),
                "muc#roomconfig_roomdesc" => value.clone_into(&mut new.description),
                "muc#roomconfig_lang" => value.clone_into(&mut new.lang),
                "muc#roomconfig_persistentroom" => new.persistent = flag()?,
                "muc#roomconfig_publicroom" => new.public = flag()?,
                "muc#roomconfig_moderatedroom" => new.moderated = flag()?,
                "muc#roomconfig_membersonly" => new.members_only = flag()?,
                "muc#roomconfig_passwordprotectedroom" => protected = Some(flag()?),
                "muc#roomconfig_roomsecret" => secret = Some(value.to_owned()),
                "muc#roomconfig_whois" => {
                    new.anonymous = match value {
                        "moderators" => true,
                        "anyone" => false,
                        _ => return Err(bad()),
                    }
                }
                "muc#roomconfig_changesubject" => new.change_subject = flag()?,
                "muc#roomconfig_allowinvites" => new.invites = flag()?,
                "muc#roomconfig_allowpm" => {
                    new.private_messages = match value {
                        "anyone" | "1" | "true" => true,
                        "none" | "0" | "false" => false,
                        _ => return Err(bad()),
                    }
                }
                "mam" | "muc#roomconfig_enablearchiving" | "muc#roomconfig_enablelogging" => {
                    new.archive = flag()?;
                }
                "muc#maxhistoryfetch" | "muc#roomconfig_historylength" => {
                    let most: u32 = value.trim().parse().map_err(|_| bad())?;
                    new.history = most.min(HISTORY as u32);
                }
                // What isn't known is no reason to fail (10.2: services differ in what they have).
                _ => {}
            }
        }
        match (protected, secret) {
            (Some(false), _) => new.password = None,
            (Some(true), None) if new.password.is_none() => return Err(bad()),
            (Some(true), Some(secret)) if secret.is_empty() => return Err(bad()),
            (Some(true), Some(secret)) => new.password = Some(secret),
            (None, Some(secret)) if new.password.is_some() && !secret.is_empty() => {
                new.password = Some(secret);
            }
            _ => {}
        }
        Ok(new)
    }

    /// The form for owners.
    pub fn to_form(&self) -> Element {
        let flag = |name, on: bool| form::field(name, "boolean", [if on { "1" } else { "0" }]);
        let text = |name, value: &str| form::field(name, "text-single", [value]);
        let options = |field: Element, options: &[&str]| {
            let options = options.iter().map(|option| {
                let value = Element::new("value", ns::DATA_FORMS).text(*option);
                Element::new("option", ns::DATA_FORMS).child(value)
            });
            field.children_from(options)
        };
        let whois = if self.anonymous {
            "moderators"
        } else {
            "anyone"
        };
        let whois = form::field("muc#roomconfig_whois", "list-single", [whois]);
        let private = if self.private_messages {
            "anyone"
        } else {
            "none"
        };
        let private = form::field("muc#roomconfig_allowpm", "list-single", [private]);
        let secret = self.password.as_deref().unwrap_or_default();
        form::form(
            "form",
            ns::MUC_CONFIG,
            [
                text("muc#roomconfig_roomname", &self.name),
                text("muc#roomconfig_roomdesc", &self.description),
                text("muc#roomconfig_lang", &self.lang),
                flag("muc#roomconfig_persistentroom", self.persistent),
                flag("muc#roomconfig_publicroom", self.public),
                flag("muc#roomconfig_moderatedroom", self.moderated),
                flag("muc#roomconfig_membersonly", self.members_only),
                flag(
                    "muc#roomconfig_passwordprotectedroom",
                    self.password.is_some(),
                ),
                form::field("muc#roomconfig_roomsecret", "text-private", [secret]),
                options(whois, &["moderators", "anyone"]),
                flag("muc#roomconfig_changesubject", self.change_subject),
                flag("muc#roomconfig_allowinvites", self.invites),
                options(private, &["anyone", "none"]),
                flag("muc#roomconfig_enablearchiving", self.archive),
                text("muc#maxhistoryfetch", &self.history.to_string()),
            ],
        )
    }
}

impl Room {
    /// What disco says of the room.
    pub(super) fn info(&self) -> Element {
        let config = &self.kept.config;
        let either = |on: bool, yes: &'static str, no: &'static str| if on { yes } else { no };
        let mut features = vec![
            ns::MUC,
            ns::DISCO_INFO,
            ns::DISCO_ITEMS,
            ns::VCARD,
            ns::OCCUPANT_ID,
            ns::SID,
            ns::MUC_SELF_PING,
            ns::MUC_STABLE_ID,
            ns::MUC_REQUEST,
            either(config.persistent, "muc_persistent", "muc_temporary"),
            either(config.public, "muc_public", "muc_hidden"),
            either(config.moderated, "muc_moderated", "muc_unmoderated"),
            either(config.members_only, "muc_membersonly", "muc_open"),
            either(
                config.password.is_some(),
                "muc_passwordprotected",
                "muc_unsecured",
            ),
            either(config.anonymous, "muc_semianonymous", "muc_nonanonymous"),
        ];
        if config.archive {
            features.extend([ns::MAM, ns::MAM_EXTENDED, ns::MODERATION]);
        }
        let features = features
            .into_iter()
            .map(|var| Element::new("feature", ns::DISCO_INFO).attr("var", var));
        let name = Some(config.name.as_str()).filter(|name| !name.is_empty());
        let identity = Element::new("identity", ns::DISCO_INFO)
            .attr("category", "conference")
            .attr("type", "text")
            .attr("name", name.or(self.jid.local()).unwrap_or_default());
        let subject = self.kept.subject.as_ref();
        let subject = subject
            .map(|subject| subject.text.as_str())
            .unwrap_or_default();
        let occupants = self.occupants.len().to_string();
        let text = |name, value: &str| form::field(name, "text-single", [value]);
        let extended = form::form(
            "result",
            ns::MUC_INFO,
            [
                text("muc#roominfo_description", &config.description),
                text("muc#roominfo_subject", subject),
                text("muc#roominfo_occupants", &occupants),
                text("muc#roominfo_lang", &config.lang),
            ],
        );
        Element::new("query", ns::DISCO_INFO)
            .child(identity)
            .children_from(features)
            .child(extended)
    }
}
