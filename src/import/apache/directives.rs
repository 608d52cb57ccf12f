//! Single directives that become routes, rules and settings of a site.

use std::path::Path;

use omnid_http::expression::Pattern;

use super::{
    convert::{Mapping, Work, place},
    parse::Directive,
    programs::plain_match,
    rewrite::Rule,
    scope::escaped,
    site::{Reach, Route},
};
use crate::report::Kind;

impl Work<'_> {
    pub(super) fn alias(&mut self, directive: &Directive) {
        let (url, target) = (directive.word(0).to_owned(), directive.word(1).to_owned());
        if target.is_empty() || !url.starts_with('/') {
            self.note(directive, Kind::Lost, "it names no path and directory");
            return;
        }
        self.serve(directive, &url, &target);
    }

    /// A route for a directory, or for one file.
    fn serve(&mut self, directive: &Directive, url: &str, target: &str) {
        let path = self.source.here(target);
        let bare = url.trim_end_matches('/');
        let url = if bare.is_empty() { "/" } else { bare };
        if self
            .site
            .routes
            .iter()
            .any(|route| route.path == url && route.root.is_some())
        {
            return;
        }
        let from = place(directive);
        if path.is_dir() {
            self.mappings.push(Mapping {
                url: url.to_owned(),
                directory: target.trim_end_matches('/').to_owned(),
            });
            self.site.routes.push(Route {
                from,
                path: url.to_owned(),
                root: Some(path.display().to_string()),
                ..Route::default()
            });
        } else if path.is_file()
            && let (Some(folder), Some(name)) = (path.parent(), path.file_name())
        {
            self.site.routes.push(Route {
                from,
                path: url.to_owned(),
                exact: true,
                root: Some(folder.display().to_string()),
                index: Some(vec![name.to_string_lossy().into_owned()]),
                ..Route::default()
            });
        } else {
            self.note(directive, Kind::Lost, "there is no such directory");
        }
    }

    /// `^/x(/.*)?$` to `/dir$1`, and its like.
    pub(super) fn alias_match(&mut self, directive: &Directive) {
        let (pattern, target) = (directive.word(0), directive.word(1));
        if let Some((url, folder)) = plain_match(pattern, target) {
            self.serve(directive, &url, &folder);
            return;
        }
        self.note(directive, Kind::Lost, "make it a route for each directory");
    }

    pub(super) fn balancer(&mut self, directive: &Directive) {
        let Some(name) = directive.word(0).strip_prefix("balancer://") else {
            self.note(directive, Kind::Needless, "there is no forward proxy");
            return;
        };
        let mut members = Vec::new();
        for inner in &directive.inner {
            if inner.is("BalancerMember") {
                members.push(inner.word(0).trim_end_matches('/').to_owned());
                if inner.words.len() > 1 {
                    self.note(
                        inner,
                        Kind::Changed,
                        "upstreams are asked in turn, without further settings",
                    );
                }
            } else if inner.is("ProxySet") {
                self.note(inner, Kind::Lost, "upstreams are asked in turn");
            }
        }
        self.balancers
            .push((name.trim_end_matches('/').to_owned(), members));
    }

    pub(super) fn proxy_pass(&mut self, directive: &Directive, within: &str) {
        let mut words = directive.words.clone();
        if !words.first().is_some_and(|word| word.starts_with('/')) {
            words.insert(0, within.to_owned());
        }
        let word = |at: usize| words.get(at).cloned().unwrap_or_default();
        let (path, target) = (word(0), word(1));
        let bare = path.trim_end_matches('/');
        let path = if bare.is_empty() {
            "/".to_owned()
        } else {
            bare.to_owned()
        };
        let mut route = Route {
            from: place(directive),
            path: path.clone(),
            keep_host: self.keep_host,
            ..Route::default()
        };
        if target == "!" {
            match &self.site.root {
                Some(root) if path != "/" => {
                    route.root = Some(format!("{root}{path}"));
                    if !Path::new(&format!("{root}{path}")).is_dir() {
                        self.note(
                            directive,
                            Kind::Lost,
                            "there is no such directory below the root",
                        );
                        return;
                    }
                }
                _ => {
                    self.note(directive, Kind::Lost, "nothing else is served there");
                    return;
                }
            }
        } else if let Some(rest) = target.strip_prefix("balancer://") {
            let name = rest.split('/').next().unwrap_or(rest).to_owned();
            match self.balancers.iter().find(|(known, _)| *known == name) {
                Some((_, members)) => route.proxy.clone_from(members),
                None => {
                    self.note(directive, Kind::Lost, "there is no such balancer");
                    return;
                }
            }
        } else if self.pass_to_fastcgi(directive, &path, &target) {
            return;
        } else if let Some(rest) = target.strip_prefix("unix:") {
            let (socket, kind) = rest.split_once('|').unwrap_or((rest, "http://"));
            if !kind.starts_with("http") {
                self.note(directive, Kind::Lost, "upstreams speak HTTP");
                return;
            }
            route.proxy = vec![format!("unix:{socket}")];
        } else if target.starts_with("http://") {
            route.proxy = vec![target.clone()];
        } else if let Some(rest) = target.strip_prefix("ws://") {
            route.proxy = vec![format!("http://{rest}")];
        } else {
            self.note(directive, Kind::Lost, "upstreams speak HTTP without TLS");
            return;
        }
        for parameter in words.iter().skip(2) {
            match parameter.split_once('=') {
                Some(("timeout", seconds)) => route.timeout = seconds.parse().ok(),
                _ => self.note(
                    directive,
                    Kind::Changed,
                    format!("{parameter} is left to the defaults"),
                ),
            }
        }
        if !self
            .site
            .routes
            .iter()
            .any(|known| known.path == route.path && !known.exact)
        {
            self.site.routes.push(route);
        }
    }

    pub(super) fn redirect(&mut self, directive: &Directive) {
        let mut words = directive.words.clone();
        let mut status = match directive.name.to_ascii_lowercase().as_str() {
            "redirectpermanent" => 301,
            _ => 302,
        };
        if directive.is("Redirect") || directive.is("RedirectMatch") {
            let first = words
                .first()
                .cloned()
                .unwrap_or_default()
                .to_ascii_lowercase();
            let named = match first.as_str() {
                "permanent" => Some(301),
                "temp" => Some(302),
                "seeother" => Some(303),
                "gone" => Some(410),
                number => number.parse().ok(),
            };
            if let Some(named) = named {
                status = named;
                words.remove(0);
            }
        }
        let from = words.first().cloned().unwrap_or_default();
        let to = words.get(1).cloned();
        let mut rule = Rule {
            from: place(directive),
            status: Some(status),
            ..Rule::default()
        };
        let matches = directive.is("RedirectMatch");
        rule.pattern = if matches {
            from
        } else {
            let bare = from.trim_end_matches('/');
            if from.ends_with('/') {
                format!("^{}/(.*)$", escaped(bare))
            } else {
                format!("^{}(/.*)?$", escaped(bare))
            }
        };
        if (300..=399).contains(&status) {
            let Some(to) = to else {
                self.note(directive, Kind::Lost, "it names no place to go to");
                return;
            };
            // What stands for groups in the place to go to does so only for patterns.
            rule.to = Some(if matches {
                to
            } else {
                format!(
                    "{}$1",
                    to.replace('\\', "\\\\")
                        .replace('$', "\\$")
                        .replace('%', "\\%")
                )
            });
        }
        if Pattern::new(&rule.pattern, false).is_err() {
            self.note(directive, Kind::Lost, "its pattern is not understood");
            return;
        }
        self.site.redirects.push(rule);
    }

    pub(super) fn file_choice(&mut self, directive: &Directive, reach: &Reach) {
        let index = directive.is("DirectoryIndex");
        let names: Vec<String> = directive
            .words
            .iter()
            .filter(|word| !word.contains('/') && !word.eq_ignore_ascii_case("disabled"))
            .cloned()
            .collect();
        if index && names.len() < directive.words.len() {
            self.note(
                directive,
                Kind::Changed,
                "an index is a name within the directory",
            );
        }
        let fallback = directive.word(0).to_owned();
        if !index && (fallback.eq_ignore_ascii_case("disabled") || !fallback.starts_with('/')) {
            self.note(directive, Kind::Lost, "a fallback is a path below the root");
            return;
        }
        if reach.pattern.is_some() || !reach.when.is_empty() {
            self.note(
                directive,
                Kind::Lost,
                "it is said for a path, not for a pattern",
            );
            return;
        }
        if reach.path == "/" {
            if index {
                self.site.index = Some(names);
            } else {
                self.site.fallback = Some(fallback);
            }
            return;
        }
        let Some(route) = self.route_at(directive, &reach.path) else {
            let programs = self.has_route(&reach.path);
            let why = if index && programs {
                (Kind::Needless, "programs are run there")
            } else {
                (Kind::Lost, "nothing is served from a directory there")
            };
            self.note(directive, why.0, why.1);
            return;
        };
        if index {
            route.index = Some(names);
        } else {
            let below = fallback.strip_prefix(route.path.as_str());
            route.fallback = Some(below.unwrap_or(&fallback).to_owned());
        }
    }

    /// The directory that a URL path leads to.
    pub(super) fn folder_of(&self, url: &str) -> Option<String> {
        let longest = self
            .mappings
            .iter()
            .filter(|mapping| {
                url.strip_prefix(mapping.url.trim_end_matches('/'))
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            })
            .max_by_key(|mapping| mapping.url.len())?;
        let rest = url.strip_prefix(longest.url.trim_end_matches('/'))?;
        let folder = self.source.here(&format!("{}{rest}", longest.directory));
        Some(folder.display().to_string())
    }

    pub(super) fn set_env_if(&mut self, directive: &Directive) {
        let browser = directive.name.to_ascii_lowercase().starts_with("browser");
        let ignore_case = directive.name.to_ascii_lowercase().ends_with("nocase");
        let (attribute, pattern, at) = if browser {
            ("User-Agent".to_owned(), directive.word(0), 1)
        } else {
            (directive.word(0).to_owned(), directive.word(1), 2)
        };
        let variable = match attribute.to_ascii_lowercase().as_str() {
            "remote_host" | "remote_addr" => "%{REMOTE_ADDR}".to_owned(),
            "server_addr" => "%{SERVER_ADDR}".to_owned(),
            "request_method" => "%{REQUEST_METHOD}".to_owned(),
            "request_protocol" => "%{SERVER_PROTOCOL}".to_owned(),
            "request_uri" => "%{REQUEST_URI}".to_owned(),
            // It is a pattern for names; most are one name.
            _ => {
                let name = attribute.trim_start_matches('^').trim_end_matches('$');
                format!("%{{HTTP:{name}}}")
            }
        };
        let flag = if ignore_case { "i" } else { "" };
        let when = format!("{variable} =~ m#{pattern}#{flag}");
        if pattern.contains('#') || omnid_http::expression::Expression::parse(&when).is_err() {
            self.note(directive, Kind::Lost, "its pattern is not understood");
            return;
        }
        let mut rule = Rule {
            from: place(directive),
            when: Some(when),
            then: Some("next"),
            ..Rule::default()
        };
        for word in directive.words.iter().skip(at) {
            if let Some(name) = word.strip_prefix('!') {
                rule.unset.push(name.to_owned());
            } else {
                let (name, value) = word.split_once('=').unwrap_or((word, "1"));
                rule.set.push((name.to_owned(), value.replace('$', "%")));
            }
        }
        const OF_OLD_BROWSERS: [&str; 9] = [
            "nokeepalive",
            "downgrade-1.0",
            "force-response-1.0",
            "redirect-carefully",
            "no-gzip",
            "gzip-only-text/html",
            "ssl-unclean-shutdown",
            "force-no-vary",
            "suppress-error-charset",
        ];
        if rule
            .set
            .iter()
            .all(|(name, _)| OF_OLD_BROWSERS.contains(&name.as_str()))
        {
            self.note(directive, Kind::Needless, "it helps browsers that are gone");
            return;
        }
        let at = self.env_rules;
        self.env_rules += 1;
        self.site
            .rewrite
            .insert(at.min(self.site.rewrite.len()), rule);
    }

    pub(super) fn error_document(&mut self, directive: &Directive) {
        let (code, target) = (directive.word(0), directive.word(1));
        let page = self
            .site
            .root
            .as_ref()
            .map(|root| format!("{root}{target}"));
        if target.starts_with('/') && page.is_some_and(|page| Path::new(&page).is_file()) {
            self.site
                .error_pages
                .push((code.to_owned(), target.to_owned()));
        } else {
            self.note(
                directive,
                Kind::Lost,
                "an error page is a file below the site's root",
            );
        }
    }

    pub(super) fn max_body(&mut self, directive: &Directive) {
        match directive.word(0).parse() {
            Ok(0) | Err(_) => self.note(directive, Kind::Changed, "bodies have a bound: max_body"),
            Ok(bytes) => self.site.max_body = Some(bytes),
        }
    }

    pub(super) fn map(&mut self, directive: &Directive) {
        let (name, source) = (directive.word(0), directive.word(1));
        let (kind, file) = source.split_once(':').unwrap_or(("", source));
        match kind {
            "txt" | "rnd" => {
                let path = self.source.here(file);
                if !path.is_file() {
                    self.note(directive, Kind::Lost, "there is no such file");
                } else if !self.maps.iter().any(|(known, ..)| known == name) {
                    self.maps
                        .push((name.to_owned(), path.display().to_string(), kind == "rnd"));
                }
            }
            "int" if name == file => self.note(directive, Kind::Needless, "it is built in"),
            "int" => self.note(directive, Kind::Lost, format!("it is built in as {file}")),
            _ => self.note(
                directive,
                Kind::Lost,
                "tables are text: write it out, or use a script",
            ),
        }
    }

    pub(super) fn access_log(&mut self, directive: &Directive) {
        let (target, format) = (directive.word(0), directive.word(1));
        if target.starts_with('|') {
            self.note(directive, Kind::Lost, "logs are files");
            return;
        }
        let format = match format {
            "" | "common" | "combined" => "combined",
            "vhost_combined" => "vhost_combined",
            _ => {
                self.note(directive, Kind::Changed, "the format is that of combined");
                "combined"
            }
        };
        if directive.words.len() > 2 {
            self.note(directive, Kind::Changed, "every request is logged");
        }
        let path = self.source.here(target);
        self.site.access_log = Some((path.display().to_string(), format));
    }
}
