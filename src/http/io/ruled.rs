//! Requests of a site that has rules: they are walked through them, and whoever must log in does.

use std::{collections::BTreeMap, time::SystemTime};

use http::{
    HeaderMap, HeaderValue, Response, StatusCode, header,
    request::Parts,
    uri::{PathAndQuery, Uri},
};

use super::{
    exchange::Exchange,
    handler::{ACME, Quick},
    slow::{Job, note_user},
};
use crate::{
    answer::{self, Failure},
    body::Body,
    engine::routes::Found,
    expression::Request,
    files::FileAnswer,
    redirects,
    site::{Site, SiteRules},
    walk::{End, Known, walk},
};

/// How many doors a request may come to at which somebody must log in.
const DOORS_MAX: usize = 4;

/// What rules add to an answer.
#[derive(Debug, Default)]
pub(super) struct Extras {
    filters: Vec<usize>,
    cookies: Vec<String>,
    content_type: Option<HeaderValue>,
    /// Whether a program or upstream answered, which knows best what it sends.
    pub(super) typed: bool,
    /// Whether the rules themselves send the client elsewhere.
    redirected: bool,
    /// What programs are told besides.
    pub(super) env: Vec<(String, String)>,
}

impl Extras {
    pub(super) fn apply(&self, site: &Site, failure: bool, response: &mut Response<Body>) {
        let status = response.status();
        let success = status.is_success();
        let failure = failure || self.redirected;
        let named = success && !self.typed;
        let headers = response.headers_mut();
        for cookie in &self.cookies {
            // What cannot stand in a field is left away: it may come from the request.
            if let Ok(cookie) = HeaderValue::from_str(cookie) {
                headers.append(header::SET_COOKIE, cookie);
            }
        }
        if let Some(content_type) = self.content_type.as_ref().filter(|_| named) {
            headers.insert(header::CONTENT_TYPE, content_type.clone());
        }
        let Some(rules) = &site.rules else { return };
        if !status.is_client_error() && !status.is_server_error() {
            // The last filter that has a time for it counts.
            let now = SystemTime::now();
            let mut filters = self.filters.iter().rev();
            filters
                .by_ref()
                .filter_map(|&filter| rules.filters.get(filter))
                .any(|filter| !filter.expiry.is_empty() && filter.expiry.apply(headers, now));
        }
        for filter in self
            .filters
            .iter()
            .filter_map(|&filter| rules.filters.get(filter))
        {
            if let Some(charset) = filter.charset.as_ref().filter(|_| named) {
                set_charset(charset, headers);
            }
            filter.headers.apply(headers, failure);
        }
    }
}

fn set_charset(charset: &str, headers: &mut HeaderMap) {
    let Some(kind) = headers
        .get(header::CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok())
    else {
        return;
    };
    let kind = kind.split(';').next().unwrap_or_default().trim_end();
    if let Ok(kind) = HeaderValue::from_str(&format!("{kind}; charset={charset}")) {
        headers.insert(header::CONTENT_TYPE, kind);
    }
}

/// What came of the rules.
pub(super) enum Ruled {
    /// It is answered.
    Answer(FileAnswer),
    /// It goes on, to the job's path and route; and who it is.
    GoOn(Option<String>),
}

/// Variables for programs: those that rules have set, and those of filters, of which the last
/// that says one counts.
fn told(
    env: &BTreeMap<String, String>,
    filters: &[usize],
    rules: &SiteRules,
) -> Vec<(String, String)> {
    let mut told = env.clone();
    for filter in filters.iter().filter_map(|&at| rules.filters.get(at)) {
        told.extend(filter.env.iter().cloned());
    }
    told.into_iter().collect()
}

impl Job {
    /// Walks the request through the rules.
    pub(super) async fn follow_rules(
        &mut self,
        head: &mut Parts,
        exchange: &mut Exchange,
    ) -> Ruled {
        if self.site.redirects_plain
            && !self.connection.tls
            && !self.path.as_bytes().starts_with(ACME)
        {
            let port = self.snapshot.tls_port;
            return Ruled::Answer(redirects::to_tls(head, self.host.as_ref(), port));
        }
        // What another service has there that is well known is for everybody (RFC 8615).
        let matched = self.route().map(|(_, matched)| matched);
        let mount = self.handler.mount(&self.site, &self.path, matched);
        if let Some((prefix, mount)) = mount
            && prefix.starts_with("/.well-known/")
        {
            self.mount = Some((prefix, mount));
            return Ruled::GoOn(None);
        }
        let user = match self.walk_through(head, exchange).await {
            Ok(user) => user,
            Err(answer) => return Ruled::Answer(*answer),
        };
        let rate = self.route().and_then(|(route, _)| route.rate.as_ref());
        if let Err(refused) = exchange.admit(rate, self.connection.peer.ip()) {
            return Ruled::Answer(Err(refused));
        }
        // From here on as for any other site.
        let found = match self.route() {
            Some((route, matched)) => Found::Route {
                route,
                index: self.route.map_or(0, |(index, _)| index),
                matched,
            },
            None => Found::Nothing,
        };
        let quick = self.handler.quick(
            &self.snapshot,
            &self.site,
            &found,
            head,
            self.host.as_ref(),
            &self.path,
            &self.connection,
        );
        match quick {
            Quick::Answer(answer) => Ruled::Answer(answer),
            Quick::Mount(prefix, mount) => {
                self.mount = Some((prefix, mount));
                Ruled::GoOn(user)
            }
            Quick::Slow => Ruled::GoOn(user),
        }
    }

    async fn walk_through(
        &mut self,
        head: &mut Parts,
        exchange: &mut Exchange,
    ) -> Result<Option<String>, Box<FileAnswer>> {
        let site = self.site.clone();
        let Some(rules) = site.rules.as_deref() else {
            return Ok(None);
        };
        let answered = |answer: FileAnswer| Box::new(answer);
        let failure = |status| Box::new(Err(Failure::new(status)));
        let mut known: Vec<Known> = Vec::new();
        let authority = self.authority();
        for _ in 0..DOORS_MAX {
            let host = match &self.host {
                Some(host) => host.name.as_ref(),
                None => &site.name,
            };
            let target = head.uri.path_and_query().map_or("/", PathAndQuery::as_str);
            let request = Request {
                method: &head.method,
                headers: &head.headers,
                version: head.version,
                target,
                host,
                peer: self.connection.peer,
                local: self.connection.local,
                tls: self.connection.tls,
                root: site.root.as_ref().map(|root| root.root.path()),
            };
            let query = head.uri.query();
            let way = walk(
                &site,
                rules,
                &self.handler.cache.load(),
                request,
                &authority,
                &self.path,
                query,
                &known,
                &mut |_| {},
            );
            self.extras = Extras {
                content_type: way
                    .content_type
                    .as_deref()
                    .and_then(|kind| HeaderValue::from_str(kind).ok())
                    .or_else(|| {
                        let filters = way.filters.iter().rev();
                        filters
                            .filter_map(|&filter| rules.filters.get(filter))
                            .find_map(|filter| filter.content_type.clone())
                    }),
                typed: false,
                redirected: matches!(way.end, End::Redirect(..) | End::Slash),
                env: told(&way.env, &way.filters, rules),
                filters: way.filters,
                cookies: way.cookies,
            };
            self.route = None;
            match way.end {
                End::Route { index, matched } => self.route = Some((index, matched)),
                End::Nothing => {}
                End::Slash => {
                    let to = redirects::add_slash(&head.method, head.uri.query(), &way.path);
                    return Err(answered(Ok(to)));
                }
                End::Redirect(status, location) => {
                    return Err(answered(Ok(answer::redirect(status, &location))));
                }
                End::Answer(status, reason) => {
                    return Err(answered(Err(Failure::new(status).because(reason))));
                }
                End::Login(auth) => {
                    if known.iter().any(|known| known.auth == auth.id()) {
                        let failure = Failure::new(StatusCode::UNAUTHORIZED)
                            .with(header::WWW_AUTHENTICATE, auth.challenge.clone());
                        return Err(answered(Err(failure)));
                    }
                    match self.authenticate(auth, &head.headers).await {
                        Ok(somebody) => known.push(somebody),
                        Err(failure) => return Err(answered(Err(failure))),
                    }
                    continue;
                }
            }
            if way.changed {
                let mut target = way.path.to_escaped(0);
                if !way.query.is_empty() {
                    target.push('?');
                    crate::wire::percent::encode_query(way.query.as_bytes(), &mut target);
                }
                let Ok(target) = PathAndQuery::try_from(target) else {
                    return Err(failure(StatusCode::BAD_REQUEST));
                };
                head.uri = Uri::from(target);
            }
            self.path = way.path;
            for &filter in &self.extras.filters {
                if let Some(filter) = rules.filters.get(filter) {
                    filter.request.apply(&mut head.headers, false);
                }
            }
            if let Some(user) = &way.user {
                note_user(user, head, exchange);
            }
            return Ok(way.user);
        }
        Err(failure(StatusCode::UNAUTHORIZED))
    }
}
