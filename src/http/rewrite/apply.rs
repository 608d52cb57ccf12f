//! Applying a list of rules to a request.

use std::{borrow::Cow, path::PathBuf};

use http::StatusCode;

use super::{QueryChoice, Rules, ThenChoice, rules::Rule};
use crate::{
    expression::{Facts, Groups, LONGEST, Lookup},
    wire::percent,
};

/// How often a list may begin again.
const AGAIN_MAX: usize = 32;

/// Where a list of rules stands.
pub struct Place<'a> {
    /// What the paths of a route's rules begin behind, with its slash; `None` for a site's rules.
    pub base: Option<&'a str>,
    /// The host and port that the request came to, as a URL has them.
    pub authority: &'a str,
    /// The file that a path leads to.
    pub locate: &'a dyn Fn(&str) -> Option<PathBuf>,
    /// Tables.
    pub maps: &'a dyn Lookup,
}

/// What came of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The request goes where it went.
    Unchanged,
    /// It goes to another path; the facts have it.
    Changed,
    /// It is sent elsewhere.
    Redirect(StatusCode, String),
    /// It is answered with this status.
    Answer(StatusCode),
}

/// What came of a list, with all that goes with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Where the request goes.
    pub verdict: Verdict,
    /// Whether no further rule is to be applied.
    pub end: bool,
    /// Set-Cookie fields.
    pub cookies: Vec<String>,
    /// The media type of the answer.
    pub content_type: Option<String>,
    /// Which rules applied, in order.
    pub hits: Vec<usize>,
}

struct Run<'a, 'f> {
    facts: &'a mut Facts<'f>,
    place: &'a Place<'a>,
    outcome: Outcome,
    redirect: Option<(StatusCode, bool)>,
}

impl Rules {
    /// Applies the rules; the facts change with them.
    pub fn apply(&self, facts: &mut Facts<'_>, place: &Place<'_>) -> Outcome {
        let before = (
            facts.path.clone().into_owned(),
            facts.query.clone().into_owned(),
        );
        let mut run = Run {
            facts,
            place,
            outcome: Outcome {
                verdict: Verdict::Unchanged,
                end: false,
                cookies: Vec::new(),
                content_type: None,
                hits: Vec::new(),
            },
            redirect: None,
        };
        let status = run.through(&self.rules);
        let Run {
            facts,
            mut outcome,
            redirect,
            ..
        } = run;
        outcome.verdict = match (status, redirect) {
            (Some(status), _) => Verdict::Answer(status),
            (None, Some((status, escape))) => {
                let location = location(&facts.path, &facts.query, &before.1, escape);
                Verdict::Redirect(status, location)
            }
            (None, None) if *facts.path != before.0 || *facts.query != before.1 => Verdict::Changed,
            (None, None) => Verdict::Unchanged,
        };
        outcome
    }
}

impl Run<'_, '_> {
    /// Goes through the rules; a status is the end of it.
    fn through(&mut self, rules: &[Rule]) -> Option<StatusCode> {
        let mut at = 0;
        let mut again = 0;
        while let Some(rule) = rules.get(at) {
            let Some((groups, captured)) = self.applies(rule) else {
                // What is chained to it is passed over with it.
                while rules.get(at).is_some_and(|rule| rule.chain) {
                    at += 1;
                }
                at += 1;
                continue;
            };
            self.outcome.hits.push(at);
            if let Some(status) = self.carry_out(rule, &groups, &captured) {
                return Some(status);
            }
            match rule.then {
                ThenChoice::Stop => return None,
                ThenChoice::End => {
                    self.outcome.end = true;
                    return None;
                }
                ThenChoice::Next => at += 1 + rule.skip,
                ThenChoice::Again => {
                    again += 1;
                    at = 0;
                    if again > AGAIN_MAX {
                        return Some(StatusCode::INTERNAL_SERVER_ERROR);
                    }
                }
            }
        }
        None
    }

    fn applies(&self, rule: &Rule) -> Option<(Groups, Groups)> {
        let subject = match self.place.base {
            Some(base) => self
                .facts
                .path
                .strip_prefix(base)
                .unwrap_or(&self.facts.path),
            None => &self.facts.path,
        };
        let groups = Groups(self.facts.meet(&rule.pattern, subject)?);
        let mut captured = Groups::default();
        let holds = rule
            .when
            .as_ref()
            .is_none_or(|when| when.holds(self.facts, &groups, &mut captured, self.place.maps));
        holds.then_some((groups, captured))
    }

    fn carry_out(&mut self, rule: &Rule, groups: &Groups, captured: &Groups) -> Option<StatusCode> {
        let plain = |text: &str| text.to_owned();
        let maps = self.place.maps;
        for (name, template) in &rule.set {
            let value = template.fill(self.facts, groups, captured, maps, &plain);
            self.facts.env.insert(name.clone(), value);
        }
        for name in &rule.unset {
            self.facts.env.remove(name);
        }
        for cookie in &rule.cookies {
            let cookie = cookie.fill(self.facts, groups, captured, maps, &plain);
            self.outcome.cookies.push(cookie);
        }
        if let Some(content_type) = &rule.content_type {
            self.outcome.content_type = Some(content_type.clone());
        }
        let Some(to) = &rule.to else {
            return rule.status;
        };
        let to = if rule.escape_groups {
            to.fill(self.facts, groups, captured, maps, &escape_group)
        } else {
            to.fill(self.facts, groups, captured, maps, &plain)
        };
        if to.len() >= LONGEST {
            return Some(StatusCode::URI_TOO_LONG);
        }
        let (path, query) = match to.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (to.as_str(), None),
        };
        self.facts.query = new_query(&self.facts.query, query, rule.query).into();
        let mut path = path.to_owned();
        if !is_absolute(&path) && !path.starts_with('/') {
            path.insert_str(0, self.place.base.unwrap_or("/"));
        }
        let own = origin(self.facts.request.tls, self.place.authority);
        if let Some(status) = rule.status {
            if !is_absolute(&path) {
                path.insert_str(0, &own);
            }
            self.redirect = Some((status, rule.escape));
        } else if let Some(rest) = path.strip_prefix(&own).filter(|rest| rest.starts_with('/')) {
            path = rest.to_owned();
        } else if is_absolute(&path) && self.redirect.is_none() {
            self.redirect = Some((StatusCode::FOUND, rule.escape));
        }
        self.facts.filename = (self.place.locate)(&path);
        self.facts.path = Cow::Owned(path);
        None
    }
}

/// `http://example.org`
pub(crate) fn origin(tls: bool, authority: &str) -> String {
    format!("{}://{authority}", if tls { "https" } else { "http" })
}

fn is_absolute(path: &str) -> bool {
    path.split_once("://").is_some_and(|(scheme, rest)| {
        !rest.is_empty()
            && scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
    })
}

fn new_query(old: &str, new: Option<&str>, choice: QueryChoice) -> String {
    let old = if choice == QueryChoice::Drop { "" } else { old };
    let Some(new) = new else {
        return old.to_owned();
    };
    let joined = match choice {
        QueryChoice::Append if !old.is_empty() => format!("{new}&{old}"),
        _ => new.to_owned(),
    };
    joined.trim_matches('&').to_owned()
}

/// Everything but letters, digits and underscores; a space as a plus sign.
fn escape_group(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            byte if byte.is_ascii_alphanumeric() || byte == b'_' => escaped.push(char::from(byte)),
            b' ' => escaped.push('+'),
            byte => escaped.push_str(&format!("%{byte:02x}")),
        }
    }
    escaped
}

/// The Location of a redirect.
fn location(path: &str, query: &str, old_query: &str, escape: bool) -> String {
    let mut location = String::with_capacity(path.len() + query.len() + 1);
    if escape {
        // The scheme and host are not escaped; what is behind them is a path.
        let start = path
            .find("://")
            .and_then(|at| path.get(at + 3..)?.find('/').map(|slash| at + 3 + slash))
            .unwrap_or(if is_absolute(path) { path.len() } else { 0 });
        let (origin, rest) = path.split_at_checked(start).unwrap_or(("", path));
        location.push_str(origin);
        percent::encode_path(rest.as_bytes(), &mut location);
    } else {
        push_visible(path, &mut location);
    }
    if !query.is_empty() {
        location.push('?');
        if query == old_query || !escape {
            push_visible(query, &mut location);
        } else {
            percent::encode_query(query.as_bytes(), &mut location);
        }
    }
    location
}

/// A field value holds no control characters and no spaces at its ends, whatever was asked for.
fn push_visible(text: &str, into: &mut String) {
    for byte in text.bytes() {
        if byte.is_ascii_graphic() {
            into.push(char::from(byte));
        } else {
            into.push_str(&format!("%{byte:02X}"));
        }
    }
}
