//! The way of a request through the rules of its site, up to who answers it. No waiting: where
//! somebody must log in first, that is the answer, and the walk is done again when they have.
//!
//! The phases: the site's rewriting; the route; access, by the route's word or a filter's; the
//! rewriting of the route or of the last filter that has any. What that changes begins again.
//! Serving and `omnid explain` walk the same way.

use std::collections::BTreeMap;

use http::StatusCode;

use crate::{
    access::{Access, Answer, Client},
    engine::routes::Found,
    expression::{Facts, Request},
    files::FileCache,
    gateway, redirects,
    rewrite::{Outcome, Place, Rules, Verdict},
    site::{Action, Auth, Filter, Route, Site, SiteRules},
    wire::{percent, target::NormalPath},
};

/// How often rewriting may begin again.
const ROUNDS_MAX: usize = 10;

/// Somebody who has logged in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// Where, see [`Auth::id`].
    pub auth: usize,
    /// Their name.
    pub user: String,
    /// Groups that they are in, beside those of a file.
    pub groups: Vec<String>,
}

/// Where a walk ended.
#[derive(Debug)]
pub enum End<'s> {
    /// At a route, which covers so many bytes of the path.
    Route {
        /// Its number.
        index: usize,
        /// How much it covers.
        matched: usize,
    },
    /// At a path without its slash.
    Slash,
    /// Nowhere.
    Nothing,
    /// Sent elsewhere.
    Redirect(StatusCode, String),
    /// Answered with a status, for a reason.
    Answer(StatusCode, &'static str),
    /// At a door where somebody must say who they are.
    Login(&'s Auth),
}

/// A walk.
#[derive(Debug)]
pub struct Way<'s> {
    /// Where it ended.
    pub end: End<'s>,
    /// The path there.
    pub path: NormalPath<'static>,
    /// The query there.
    pub query: String,
    /// Whether path or query are others than the client's.
    pub changed: bool,
    /// The filters that apply there.
    pub filters: Vec<usize>,
    /// Who it is, as far as the door at the end knows.
    pub user: Option<String>,
    /// Variables that were set.
    pub env: BTreeMap<String, String>,
    /// Set-Cookie fields.
    pub cookies: Vec<String>,
    /// A media type.
    pub content_type: Option<String>,
}

/// Hears what happens on the way.
pub type Told<'a> = &'a mut dyn FnMut(&dyn Fn() -> String);

struct Walk<'s, 'f> {
    site: &'s Site,
    rules: &'s SiteRules,
    cache: &'f FileCache,
    facts: Facts<'f>,
    authority: &'f str,
    known: &'f [Known],
    cookies: Vec<String>,
    content_type: Option<String>,
}

/// Walks: what `told` hears of it is for whoever asks why. `authority` is the host and port that the client asked for.
#[allow(clippy::too_many_arguments)]
pub fn walk<'s>(
    site: &'s Site,
    rules: &'s SiteRules,
    cache: &FileCache,
    request: Request<'_>,
    authority: &str,
    path: &NormalPath<'_>,
    query: Option<&str>,
    known: &[Known],
    told: Told<'_>,
) -> Way<'s> {
    let mut walk = Walk {
        site,
        rules,
        cache,
        facts: Facts::new(request, path.as_bytes(), query),
        authority,
        known,
        cookies: Vec::new(),
        content_type: None,
    };
    let mut normal = path.clone().into_owned();
    let (end, filters, user) = match walk.go(&mut normal, told) {
        // Taken as met or as not, a pattern could open what it was to shut.
        _ if walk.facts.gave_up.get() => {
            let status = StatusCode::INTERNAL_SERVER_ERROR;
            (
                End::Answer(status, "a pattern took too many steps"),
                Vec::new(),
                None,
            )
        }
        walked => walked,
    };
    let query_now = walk.facts.query.into_owned();
    Way {
        end,
        changed: normal.as_bytes() != path.as_bytes() || query_now != query.unwrap_or_default(),
        path: normal,
        query: query_now,
        filters: filters
            .into_iter()
            .filter_map(|filter| {
                let mut all = rules.filters.iter();
                all.position(|other| std::ptr::eq(other, filter))
            })
            .collect(),
        user,
        env: walk.facts.env,
        cookies: walk.cookies,
        content_type: walk.content_type,
    }
}

impl<'s> Walk<'s, '_> {
    fn go(
        &mut self,
        normal: &mut NormalPath<'static>,
        told: Told<'_>,
    ) -> (End<'s>, Vec<&'s Filter>, Option<String>) {
        let (site, rules) = (self.site, self.rules);
        let mut ended = false;
        for _ in 0..ROUNDS_MAX {
            self.facts.filename = site.file_of(&self.facts.path);
            if !ended {
                let outcome = self.rewrite(&rules.rewrite, None, "the site's rule", told);
                ended = outcome.end;
                if let Some(end) = self.settle(outcome.verdict, normal) {
                    return (end, Vec::new(), None);
                }
            }
            let found = site.route_for(normal.as_bytes(), &self.facts, &rules.maps);
            let (route, matched) = match &found {
                Found::Route { route, matched, .. } => (Some(*route), *matched),
                _ => (None, 0),
            };
            if let Some(route) = route {
                told(&|| format!("route {}", route.path));
            }
            let program = route
                .filter(|_| !rules.filters.is_empty())
                .and_then(|route| self.program_of(route, matched, normal));
            let filters = self.filters(program, told);
            let (refused, user) = self.access(route, &filters, told);
            if let Some(end) = refused {
                return (end, filters, user);
            }
            let last = filters
                .iter()
                .rev()
                .find(|filter| !filter.rewrite.is_empty());
            let list = match (last, route) {
                (Some(filter), _) => {
                    Some((&filter.rewrite, filter.path.as_str(), "the filter's rule"))
                }
                (None, Some(route)) => {
                    let base = route.path.get(..matched).unwrap_or(&route.path);
                    Some((&route.rules.rewrite, base, "the route's rule"))
                }
                (None, None) => None,
            };
            if !ended && let Some((list, base, name)) = list.filter(|(list, ..)| !list.is_empty()) {
                let base = format!("{}/", redirects::bare(base));
                let before = (self.facts.path.clone(), self.facts.query.clone());
                let bare = !before.0.ends_with('/')
                    && self
                        .facts
                        .filename
                        .as_ref()
                        .is_some_and(|name| name.is_dir());
                let mut outcome = self.rewrite(list, Some(&base), name, told);
                ended = outcome.end;
                if bare && outcome.verdict == Verdict::Changed {
                    // A directory without its slash is sent to the path with it instead.
                    (self.facts.path, self.facts.query) = before;
                    outcome.verdict = Verdict::Unchanged;
                }
                let changed = outcome.verdict == Verdict::Changed;
                if let Some(end) = self.settle(outcome.verdict, normal) {
                    return (end, filters, user);
                }
                if changed {
                    continue;
                }
            }
            // The rules hold for an index file as if it had been asked for.
            if let Some(name) = route.and_then(|route| self.index_of(route, matched, normal)) {
                told(&|| format!("index {name}"));
                self.facts.index = true;
                let path = format!("{}{name}", self.facts.path);
                self.facts.path = path.into();
                match self.settle(Verdict::Changed, normal) {
                    Some(end) => return (end, filters, user),
                    None => continue,
                }
            }
            let end = match found {
                Found::Route { index, matched, .. } => End::Route { index, matched },
                Found::Slash => End::Slash,
                Found::Nothing => End::Nothing,
            };
            return (end, filters, user);
        }
        let end = End::Answer(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the rules rewrite a path again and again",
        );
        (end, Vec::new(), None)
    }

    /// The path that names the program that a request is for, where it is another: the program is
    /// its directory's index, what is run for all that is missing, or has more of the path behind it.
    fn program_of(&self, route: &Route, matched: usize, normal: &NormalPath<'_>) -> Option<String> {
        let Action::Scripts(scripts) = &route.action else {
            return None;
        };
        match scripts.find(normal, matched, self.cache) {
            gateway::Found::Script(script) if script.name != normal.as_bytes() => {
                Some(String::from_utf8_lossy(&script.name).into_owned())
            }
            _ => None,
        }
    }

    /// The filters that match the path, or what is run for it: by whatever path a program is
    /// reached, what is said of its name holds.
    fn filters(&mut self, program: Option<String>, told: Told<'_>) -> Vec<&'s Filter> {
        let rules = self.rules;
        let all = rules.filters.iter();
        let mut apply: Vec<bool> = all
            .clone()
            .map(|filter| filter.applies(&self.facts, &rules.maps))
            .collect();
        if let Some(program) = program {
            told(&|| format!("program {program}"));
            let filename = self.site.file_of(&program);
            let path = std::mem::replace(&mut self.facts.path, program.into());
            let filename = std::mem::replace(&mut self.facts.filename, filename);
            for (applies, filter) in apply.iter_mut().zip(all.clone()) {
                *applies |= filter.applies(&self.facts, &rules.maps);
            }
            (self.facts.path, self.facts.filename) = (path, filename);
        }
        let filters: Vec<&Filter> = all
            .zip(apply)
            .filter_map(|(filter, applies)| applies.then_some(filter))
            .collect();
        for filter in &filters {
            told(&|| format!("filter {} applies", filter.path));
        }
        filters
    }

    /// The index file that a path with a slash at its end would be answered with.
    fn index_of(&self, route: &Route, matched: usize, normal: &NormalPath<'_>) -> Option<String> {
        if self.facts.index || !self.facts.path.ends_with('/') {
            return None;
        }
        let (files, from) = match &route.action {
            Action::Files(files) => (&**files, matched),
            Action::SiteFiles(files) => (&**files, 0),
            // Where the index is a program, it is run as one.
            Action::Scripts(scripts) => match scripts.find(normal, matched, self.cache) {
                gateway::Found::Script(_) => return None,
                gateway::Found::File => {
                    let (files, whole) = scripts.files()?;
                    (files, if whole { 0 } else { matched })
                }
            },
            _ => return None,
        };
        let below = self.facts.path.get(from..)?.trim_start_matches('/');
        let folder = files.root.path().join(below);
        let found = files.index.iter().find(|name| folder.join(name).is_file());
        found.cloned()
    }

    fn rewrite(&mut self, list: &Rules, base: Option<&str>, name: &str, told: Told<'_>) -> Outcome {
        let (site, rules) = (self.site, self.rules);
        let before = (self.facts.path.clone(), self.facts.query.clone());
        let place = Place {
            base,
            authority: self.authority,
            locate: &|path| site.file_of(path),
            maps: &*rules.maps,
        };
        let mut outcome = list.apply(&mut self.facts, &place);
        for hit in &outcome.hits {
            told(&|| format!("{name} {} applies: {}", hit + 1, list.describe(*hit)));
        }
        // Nobody is sent away from what was not asked for: the directory has its index.
        if self.facts.index && matches!(outcome.verdict, Verdict::Redirect(..)) {
            (self.facts.path, self.facts.query) = before;
            outcome.verdict = Verdict::Unchanged;
        }
        if outcome.verdict == Verdict::Changed {
            let (path, query) = (&self.facts.path, &self.facts.query);
            told(&|| match &**query {
                "" => format!("rewritten to {path}"),
                query => format!("rewritten to {path}?{query}"),
            });
        }
        self.cookies.append(&mut outcome.cookies);
        if outcome.content_type.is_some() {
            self.content_type.clone_from(&outcome.content_type);
        }
        outcome
    }

    /// Brings a new path to its normal form; an end, where the rules said one.
    fn settle(&mut self, verdict: Verdict, normal: &mut NormalPath<'static>) -> Option<End<'s>> {
        match verdict {
            Verdict::Unchanged => None,
            Verdict::Redirect(status, location) => Some(End::Redirect(status, location)),
            Verdict::Answer(status) => Some(End::Answer(status, "a rule says so")),
            Verdict::Changed => {
                let mut escaped = String::new();
                percent::encode_path(self.facts.path.as_bytes(), &mut escaped);
                match NormalPath::parse(&escaped) {
                    Ok(path) => {
                        *normal = path.into_owned();
                        let path = String::from_utf8_lossy(normal.as_bytes()).into_owned();
                        self.facts.path = path.into();
                        None
                    }
                    Err(_) => Some(End::Answer(
                        StatusCode::BAD_REQUEST,
                        "the rules made a path of it that is none",
                    )),
                }
            }
        }
    }

    /// Why the request may not come in, and who it is.
    fn access(
        &self,
        route: Option<&'s Route>,
        filters: &[&'s Filter],
        told: Told<'_>,
    ) -> (Option<End<'s>>, Option<String>) {
        let rules = self.rules;
        let last = |of: &dyn Fn(&'s Filter) -> bool| {
            filters.iter().rev().copied().find(|filter| of(filter))
        };
        let by_filter = last(&|filter| filter.access.is_some()).and_then(|f| f.access.as_ref());
        let access: Option<&Access> = by_filter
            .or_else(|| route.and_then(|route| route.rules.access.as_ref()))
            .or(rules.access.as_ref());
        let auth: Option<&'s Auth> = last(&|filter| filter.auth.is_some())
            .and_then(|filter| filter.auth.as_ref())
            .or_else(|| route.and_then(|route| route.auth.as_ref()))
            .or(rules.auth.as_ref());
        let known = auth.and_then(|auth| self.known.iter().find(|known| known.auth == auth.id()));
        let user = known.map(|known| known.user.clone());
        let in_group = |user: &str, group: &str| {
            let by_file = auth
                .and_then(|auth| auth.groups.as_ref())
                .is_some_and(|groups| groups.has(group, user));
            by_file
                || known.is_some_and(|known| {
                    known.user == user && known.groups.iter().any(|g| g == group)
                })
        };
        let client = Client {
            peer: self.facts.request.peer,
            local: self.facts.request.local.ip(),
            method: self.facts.request.method,
            user: user.as_deref(),
            in_group: &in_group,
        };
        let answer = match (access, auth) {
            (Some(access), _) => access.admits(&client, &self.facts, &*rules.maps),
            (None, Some(_)) if known.is_none() => Answer::WhoIsIt,
            (None, _) => Answer::Granted,
        };
        let end = match (answer, auth) {
            (Answer::Granted, _) => None,
            (Answer::WhoIsIt, Some(auth)) => {
                told(&|| "access depends on who it is".to_owned());
                Some(End::Login(auth))
            }
            (Answer::WhoIsIt, None) => Some(End::Answer(
                StatusCode::INTERNAL_SERVER_ERROR,
                "access depends on who it is, and nobody is asked",
            )),
            // Another name may do better.
            (Answer::Denied, Some(auth))
                if known.is_some() && access.is_some_and(Access::asks_who) =>
            {
                told(&|| "this user may not come in".to_owned());
                Some(End::Login(auth))
            }
            (Answer::Denied, _) => {
                told(&|| "access is denied to this client".to_owned());
                Some(End::Answer(StatusCode::FORBIDDEN, "access is denied"))
            }
        };
        (end, user)
    }
}
