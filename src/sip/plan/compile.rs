//! From what the operator wrote to a plan, with all that is wrong with it.

use std::collections::HashMap;

use jiff::tz::TimeZone;
use omnid_config::{Problem, Problems, Spanned};
use omnid_identity::Address;

use super::{
    Calendar, Class, Group, Member, Pattern, Place, Plan, Route, User,
    calendar::{Holiday, Hours},
};
use crate::Config;

/// Checks `[sip]`'s routes, groups, users, classes and calendars, and makes a plan of them.
pub(crate) fn compile(config: &Config, domain: &str, problems: &mut Problems) -> Plan {
    let mut names = Names {
        groups: name_all(
            "group",
            config.group.iter().map(|group| &group.name),
            problems,
        ),
        trunks: name_all(
            "trunk",
            config.trunk.iter().map(|trunk| &trunk.name),
            problems,
        ),
        calendars: name_all(
            "calendar",
            config.calendar.iter().map(|calendar| &calendar.name),
            problems,
        ),
        classes: name_all(
            "class",
            config.class.iter().map(|class| &class.name),
            problems,
        ),
        domain,
        problems,
    };
    let groups = config.group.iter().map(|group| Group {
        name: group.name.value.clone(),
        members: group
            .members
            .iter()
            .filter_map(|member| names.member(member))
            .collect(),
        strategy: group.strategy,
        ring: group.ring,
        skip_busy: group.skip_busy,
        otherwise: group
            .otherwise
            .as_ref()
            .and_then(|place| names.place(place, false)),
    });
    let groups: Vec<Group> = groups.collect();
    let classes: Vec<Class> = config
        .class
        .iter()
        .map(|class| Class {
            name: class.name.value.clone(),
            allow: names.patterns(&class.allow),
            deny: names.patterns(&class.deny),
        })
        .collect();
    let calendars = config.calendar.iter().filter_map(|calendar| {
        let zone = names.zone(calendar.zone.as_ref())?;
        Some(Calendar {
            name: calendar.name.value.clone(),
            hours: names.read_all(&calendar.hours, "hours", Hours::parse),
            holidays: names.read_all(&calendar.holidays, "a day", Holiday::parse),
            zone,
        })
    });
    let calendars = calendars.collect();
    let mut users = HashMap::new();
    for user in &config.user {
        let Some(address) = names.account(&user.account) else {
            continue;
        };
        let mut place = |place: &Option<Spanned<String>>| {
            place.as_ref().and_then(|place| names.place(place, false))
        };
        let forward = &user.forward;
        let known = User {
            always: place(&forward.always),
            busy: place(&forward.busy),
            no_answer: place(&forward.no_answer),
            offline: place(&forward.offline),
            after: forward.after,
            do_not_disturb: user.do_not_disturb,
            call_waiting: user.call_waiting,
            class: names.class(user.class.as_ref()),
        };
        if users.insert(address, known).is_some() {
            let problem = format!("there are two [[sip.user]] for \"{}\"", user.account.value);
            let problem = Problem::error(problem).at(user.account.span, "again");
            names.problems.push(problem);
        }
    }
    Plan {
        routes: config
            .route
            .iter()
            .filter_map(|route| names.route(route))
            .collect(),
        class: names.class(config.default_class.as_ref()),
        emergency: names.patterns(&config.emergency),
        trunks: config
            .trunk
            .iter()
            .map(|trunk| trunk.name.value.clone())
            .collect(),
        groups,
        users,
        classes,
        calendars,
    }
}

/// What is named, and where complaints go.
struct Names<'a> {
    groups: HashMap<String, usize>,
    trunks: HashMap<String, usize>,
    calendars: HashMap<String, usize>,
    classes: HashMap<String, usize>,
    domain: &'a str,
    problems: &'a mut Problems,
}

impl Names<'_> {
    fn route(&mut self, route: &super::RouteConfig) -> Option<Route> {
        let mut users = false;
        let mut trunks = Vec::new();
        for from in &route.from {
            match from.value.strip_prefix("trunk:") {
                Some(name) => trunks.extend(self.named(name, from, "trunk")),
                None if from.value == "users" => users = true,
                None => self.wrong(
                    from,
                    "nobody calls like that",
                    "write \"users\" or \"trunk:NAME\"",
                ),
            }
        }
        if route.from.is_empty() || route.to.is_empty() {
            let problem = Problem::error("a route has no calls or leads nowhere")
                .at(route.pattern.span, "this one")
                .help("`from` and `to` name at least one each; \"reject:404\" leads nowhere");
            self.problems.push(problem);
        }
        let when = match &route.when {
            Some(when) => {
                let (name, open) = match when.value.strip_prefix('!') {
                    Some(name) => (name, false),
                    None => (when.value.as_str(), true),
                };
                Some((self.named(name, when, "calendar")?, open))
            }
            None => None,
        };
        let mut to = Vec::new();
        for place in &route.to {
            let found = self.place(place, true);
            if let Some(Place::Trunk(_)) = found
                && !trunks.is_empty()
            {
                self.wrong(
                    place,
                    "calls from a trunk would go out through a trunk, and strangers pay with our money",
                    "give users' calls a route of their own",
                );
            }
            to.extend(found);
        }
        let dialled = |byte: u8| byte.is_ascii_alphanumeric() || b"*#+".contains(&byte);
        if !route.prefix.value.bytes().all(dialled) {
            let prefix = &route.prefix;
            self.wrong(
                prefix,
                "that cannot be dialled",
                "write digits, \"+\", \"*\" or \"#\"",
            );
        }
        Some(Route {
            pattern: self.pattern(&route.pattern)?,
            users,
            trunks,
            when,
            to,
            strip: route.strip.into(),
            prefix: route.prefix.value.clone(),
            ring: route.ring,
        })
    }

    /// A place as `route.to` has it; the number itself only where there is one.
    fn place(&mut self, text: &Spanned<String>, itself: bool) -> Option<Place> {
        let value = text.value.as_str();
        match value.split_once(':') {
            Some(("group", name)) => self.named(name, text, "group").map(Place::Group),
            Some(("trunk", name)) => self.named(name, text, "trunk").map(Place::Trunk),
            Some(("reject", status)) => match status.parse() {
                Ok(status @ 400..=699) => Some(Place::Reject(status)),
                _ => {
                    self.wrong(
                        text,
                        "not a status that refuses",
                        "write one from 400 to 699",
                    );
                    None
                }
            },
            Some(_) => {
                self.wrong(
                    text,
                    "not a place for calls",
                    "write an account, a number, \"group:NAME\", \"trunk:NAME\" or \"reject:STATUS\"",
                );
                None
            }
            None if value == "number" && itself => Some(Place::Itself),
            None if is_number(value) => Some(Place::Number(value.to_owned())),
            None => self.account(text).map(Place::Account),
        }
    }

    fn member(&mut self, text: &Spanned<String>) -> Option<Member> {
        if is_number(&text.value) {
            return Some(Member::Extension(text.value.clone()));
        }
        self.account(text).map(Member::Account)
    }

    fn account(&mut self, text: &Spanned<String>) -> Option<Address> {
        match Address::parse_in(&text.value, self.domain) {
            Ok(address) => Some(address),
            Err(error) => {
                self.wrong(
                    text,
                    &error.to_string(),
                    "write it like \"alice\" or \"alice@example.org\"",
                );
                None
            }
        }
    }

    fn class(&mut self, text: Option<&Spanned<String>>) -> Option<usize> {
        text.and_then(|text| self.named(&text.value, text, "class"))
    }

    fn named(&mut self, name: &str, at: &Spanned<String>, kind: &str) -> Option<usize> {
        let known = match kind {
            "group" => &self.groups,
            "trunk" => &self.trunks,
            "calendar" => &self.calendars,
            _ => &self.classes,
        };
        if let Some(index) = known.get(name) {
            return Some(*index);
        }
        let mut all: Vec<&str> = known.keys().map(String::as_str).collect();
        all.sort_unstable();
        let help = if all.is_empty() {
            format!("there is no [[sip.{kind}]] at all")
        } else {
            format!("there are: {}", all.join(", "))
        };
        self.wrong(at, &format!("there is no {kind} \"{name}\""), &help);
        None
    }

    fn patterns(&mut self, texts: &[Spanned<String>]) -> Vec<Pattern> {
        texts.iter().filter_map(|text| self.pattern(text)).collect()
    }

    fn pattern(&mut self, text: &Spanned<String>) -> Option<Pattern> {
        match Pattern::parse(&text.value) {
            Ok(pattern) => Some(pattern),
            Err(error) => {
                let help = "a pattern is written like \"_0Z.\", a number like \"200\"";
                self.wrong(text, &error, help);
                None
            }
        }
    }

    fn read_all<T>(
        &mut self,
        texts: &[Spanned<String>],
        what: &str,
        read: fn(&str) -> Result<T, String>,
    ) -> Vec<T> {
        let mut all = Vec::new();
        for text in texts {
            match read(&text.value) {
                Ok(value) => all.push(value),
                Err(error) => self.wrong(
                    text,
                    &error,
                    match what {
                        "hours" => "hours are written like \"mon-fri 09:00-17:30\"",
                        _ => "days are written like \"2026-12-25\" or \"12-25\"",
                    },
                ),
            }
        }
        all
    }

    fn zone(&mut self, name: Option<&Spanned<String>>) -> Option<TimeZone> {
        let Some(name) = name else {
            return Some(TimeZone::system());
        };
        match TimeZone::get(&name.value) {
            Ok(zone) => Some(zone),
            Err(_) => {
                let help =
                    "it is one of the names below /usr/share/zoneinfo, such as \"Europe/Berlin\"";
                self.wrong(name, "the system knows no such time zone", help);
                None
            }
        }
    }

    fn wrong(&mut self, at: &Spanned<String>, why: &str, help: &str) {
        let problem = format!("\"{}\" cannot be used here", at.value);
        self.problems
            .push(Problem::error(problem).at(at.span, why).help(help));
    }
}

/// Whether all of a text can be dialled, and it is no name.
fn is_number(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_digit() || b"*#+".contains(&byte))
}

fn name_all<'a>(
    kind: &str,
    names: impl Iterator<Item = &'a Spanned<String>>,
    problems: &mut Problems,
) -> HashMap<String, usize> {
    let mut all: HashMap<String, (usize, &Spanned<String>)> = HashMap::new();
    for (index, name) in names.enumerate() {
        if let Some((_, first)) = all.get(&name.value) {
            problems.push(
                Problem::error(format!("two {kind}s are called \"{}\"", name.value))
                    .at(name.span, "again")
                    .also(first.span, "first here"),
            );
            continue;
        }
        all.insert(name.value.clone(), (index, name));
    }
    all.into_iter()
        .map(|(name, (index, _))| (name, index))
        .collect()
}
