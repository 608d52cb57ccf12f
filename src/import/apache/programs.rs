//! CGI, FastCGI and handlers.

use std::path::Path;

use super::{
    convert::{Mapping, Work, place},
    parse::Directive,
    scope::split,
    site::{FastCgi, Programs, Reach, Route},
};
use crate::report::Kind;

/// How many suffixes a pattern may stand for.
const SUFFIXES_MAX: usize = 32;

impl Work<'_> {
    /// `ScriptAlias`: a program, or a directory of them.
    pub(super) fn script_alias(&mut self, directive: &Directive) {
        let (url, target) = (directive.word(0).to_owned(), directive.word(1).to_owned());
        if directive.is("ScriptAliasMatch") {
            match plain_match(&url, &target) {
                Some((url, folder)) => self.programs_at(directive, &url, &folder),
                None => self.note(directive, Kind::Lost, "make it a route for each program"),
            }
        } else if target.is_empty() || !url.starts_with('/') {
            self.note(directive, Kind::Lost, "it names no path and program");
        } else {
            self.programs_at(directive, &url, &target);
        }
    }

    fn programs_at(&mut self, directive: &Directive, url: &str, target: &str) {
        let file = self.source.here(target);
        let text = file.display().to_string();
        let cgi = if file.is_dir() {
            Programs::Directory(text)
        } else if file.is_file() {
            Programs::File(text)
        } else {
            self.note(
                directive,
                Kind::Lost,
                "there is no such program or directory",
            );
            return;
        };
        let bare = url.trim_end_matches('/');
        let path = if bare.is_empty() { "/" } else { bare };
        if self.has_route(path) {
            return;
        }
        self.mappings.push(Mapping {
            url: path.to_owned(),
            directory: target.trim_end_matches('/').to_owned(),
        });
        self.site.routes.push(Route {
            from: place(directive),
            path: path.to_owned(),
            cgi: Some(cgi),
            ..Route::default()
        });
    }

    pub(super) fn has_route(&self, path: &str) -> bool {
        let mut routes = self.site.routes.iter();
        routes.any(|route| route.path == path && !route.exact)
    }

    /// The route for a directory below a path, made where there is none.
    pub(super) fn route_at(&mut self, directive: &Directive, path: &str) -> Option<&mut Route> {
        let mut routes = self.site.routes.iter();
        let position = routes.position(|route| route.path == path && !route.exact);
        let position = match position {
            Some(position) => position,
            None => {
                let folder = self.folder_of(path);
                let root = folder.filter(|folder| Path::new(folder).is_dir())?;
                self.site.routes.push(Route {
                    from: place(directive),
                    path: path.to_owned(),
                    root: Some(root),
                    ..Route::default()
                });
                self.site.routes.len() - 1
            }
        };
        self.site
            .routes
            .get_mut(position)
            .filter(|route| route.root.is_some())
    }

    /// `SetHandler`, `AddHandler`, and filters of output.
    pub(super) fn handler(&mut self, directive: &Directive, reach: &Reach) {
        let handler = directive.word(0).to_owned();
        let lower = handler.to_ascii_lowercase();
        match lower.as_str() {
            "none" | "default-handler" => {
                self.note(directive, Kind::Needless, "files are served as they are");
                return;
            }
            "server-status" | "server-info" | "balancer-manager" | "ldap-status" => {
                self.note(directive, Kind::Lost, "omnid status and [admin] show it");
                return;
            }
            "cgi-script" if directive.is("AddHandler") => {
                let suffixes = directive.words.iter().skip(1);
                self.cgi_suffixes.extend(suffixes.map(|word| dotted(word)));
                // Programs run where ExecCGI allows it.
                if !self.executes(reach) {
                    return;
                }
                self.run_cgi(directive, reach, false);
                return;
            }
            "cgi-script" => {
                self.run_cgi(directive, reach, true);
                return;
            }
            _ => {}
        }
        if let Some(target) = lower.strip_prefix("proxy:") {
            let target = handler.get(handler.len() - target.len()..);
            let to = target.and_then(fastcgi_target).map(|(to, _)| to);
            let suffixes = if directive.is("AddHandler") {
                let words = directive.words.iter().skip(1);
                Some(words.map(|word| dotted(word)).collect())
            } else {
                reach.pattern.as_deref().and_then(suffixes_of)
            };
            // That the file is there is asked for anyway.
            let asks = reach.when.iter().any(|when| !when.starts_with("-f "));
            match (to, suffixes) {
                (Some(to), Some(suffixes)) if !asks && reach.methods.is_empty() => {
                    self.run_fastcgi(directive, &reach.path, to, suffixes);
                }
                (Some(_), None) if !directive.is("AddHandler") => self.note(
                    directive,
                    Kind::Lost,
                    "programs are told by the ends of their names: fastcgi = { to, suffixes }",
                ),
                (Some(_), _) => self.note(
                    directive,
                    Kind::Lost,
                    "programs are run at a path, without further conditions",
                ),
                (None, _) => self.note(directive, Kind::Lost, "make it a route with `proxy`"),
            }
            return;
        }
        let why = if lower.contains("php") {
            "PHP runs in php-fpm: fastcgi = { to = \"unix:/run/php/php-fpm.sock\" }"
        } else if lower.contains("fcgid") || lower.contains("fastcgi") {
            "start the application by itself, and give its route fastcgi = { to = … }"
        } else if lower.contains("perl") || lower.contains("wsgi") {
            "run the application by itself and make a route with `proxy` to it"
        } else {
            "handlers and filters are chosen by routes"
        };
        self.note(directive, Kind::Lost, why);
    }

    /// `Options ExecCGI`.
    pub(super) fn exec_cgi(&mut self, directive: &Directive, reach: &Reach) {
        self.executing.push(reach.path.clone());
        let programs = self
            .site
            .routes
            .iter()
            .any(|route| route.path == reach.path && route.cgi.is_some());
        if programs {
            return;
        }
        if self.cgi_suffixes.is_empty() {
            // A handler may follow in this scope; without any, nothing is a program.
            return;
        }
        self.run_cgi(directive, reach, false);
    }

    fn executes(&self, reach: &Reach) -> bool {
        self.executing.contains(&reach.path)
    }

    /// Files in a directory are programs: all of them, or those with the suffixes.
    fn run_cgi(&mut self, directive: &Directive, reach: &Reach, all: bool) {
        let suffixes = match &reach.pattern {
            None if all => None,
            None => Some(self.cgi_suffixes.clone()),
            Some(pattern) => match suffixes_of(pattern) {
                Some(suffixes) => Some(suffixes),
                None => {
                    let why = "make it a route with cgi = { program = … }";
                    self.note(directive, Kind::Lost, why);
                    return;
                }
            },
        };
        if !reach.when.is_empty() || !reach.methods.is_empty() {
            let why = "programs are run at a path, without further conditions";
            self.note(directive, Kind::Lost, why);
            return;
        }
        let path = reach.path.clone();
        let known = self
            .site
            .routes
            .iter()
            .any(|route| route.path == path && route.cgi.is_some());
        if known {
            return;
        }
        if path == "/" {
            let why = "make a route for the directory of the programs, with cgi = { suffixes = … }";
            self.note(directive, Kind::Lost, why);
            return;
        }
        let Some(route) = self.route_at(directive, &path) else {
            self.note(directive, Kind::Lost, "no directory is served there");
            return;
        };
        match (suffixes, route.root.clone()) {
            (Some(suffixes), _) => route.cgi = Some(Programs::Suffixes(suffixes)),
            (None, Some(root)) => {
                route.root = None;
                route.index = None;
                route.cgi = Some(Programs::Directory(root));
            }
            (None, None) => {}
        }
    }

    fn run_fastcgi(
        &mut self,
        directive: &Directive,
        path: &str,
        to: String,
        suffixes: Vec<String>,
    ) {
        let application = FastCgi {
            to,
            suffixes,
            program: None,
        };
        if path == "/" {
            self.site.fastcgi = Some(application);
            return;
        }
        match self.route_at(directive, path) {
            Some(route) => route.fastcgi = Some(application),
            None => self.note(directive, Kind::Lost, "no directory is served there"),
        }
    }

    /// `ProxyPass /path fcgi://…` or `unix:…|fcgi://…`; whether it was one.
    pub(super) fn pass_to_fastcgi(
        &mut self,
        directive: &Directive,
        path: &str,
        target: &str,
    ) -> bool {
        let Some((to, behind)) = fastcgi_target(target) else {
            return false;
        };
        if !self.has_route(path) {
            self.site.routes.push(Route {
                from: place(directive),
                path: path.to_owned(),
                fastcgi: Some(FastCgi {
                    to,
                    suffixes: Vec::new(),
                    program: Some(if behind.is_empty() {
                        "/".to_owned()
                    } else {
                        behind
                    }),
                }),
                ..Route::default()
            });
        }
        true
    }

    /// `ProxyPassMatch ^/(.*\.php)$ fcgi://…/root/$1`, and what has a plain beginning.
    pub(super) fn proxy_pass_match(&mut self, directive: &Directive) {
        let (pattern, target) = (directive.word(0), directive.word(1));
        if let Some((to, behind)) = fastcgi_target(target) {
            // What is matched before the programs' names.
            let (before, _) = pattern.split_at(pattern.find(['(', '.']).unwrap_or(0));
            let path = before.trim_start_matches('^').trim_end_matches('/');
            let path = if path.is_empty() { "/" } else { path };
            let inner = pattern.get(before.len()..).unwrap_or_default();
            let inner = inner.trim_start_matches('(').trim_end_matches('$');
            let inner = ["(/.*)?)", "(|/.*))", "(/.*)?", ")"]
                .iter()
                .find_map(|end| inner.strip_suffix(end))
                .unwrap_or(inner);
            let suffixes = suffixes_of(&format!("{inner}$"));
            let folder = behind.trim_end_matches("$1").trim_end_matches('/');
            let served = self.folder_of(path).unwrap_or_default();
            let here = self.source.here(folder).display().to_string();
            match suffixes {
                Some(suffixes) if folder.is_empty() || here == served.trim_end_matches('/') => {
                    self.run_fastcgi(directive, path, to, suffixes);
                }
                _ => self.note(
                    directive,
                    Kind::Lost,
                    "make it fastcgi = { to, suffixes } of the route that serves the directory",
                ),
            }
            return;
        }
        match plain_match(pattern, target) {
            Some((url, target)) => {
                let mut plain = directive.clone();
                plain
                    .words
                    .splice(..2.min(plain.words.len()), [url, target]);
                self.proxy_pass(&plain, "/");
            }
            None => self.note(
                directive,
                Kind::Lost,
                "make it a route with `match` and `proxy`",
            ),
        }
    }

    /// What runs programs for the whole site does so for the directories that it has elsewhere.
    pub(super) fn spread_fastcgi(&mut self) {
        let Some(application) = self.site.fastcgi.clone() else {
            return;
        };
        for route in &mut self.site.routes {
            if route.root.is_some() && route.cgi.is_none() && route.fastcgi.is_none() {
                route.fastcgi = Some(application.clone());
            }
        }
    }
}

fn dotted(word: &str) -> String {
    format!(".{}", word.trim_start_matches('.'))
}

/// Where an application listens, and the path behind it.
fn fastcgi_target(target: &str) -> Option<(String, String)> {
    if let Some(rest) = target.strip_prefix("unix:") {
        let (socket, url) = rest.split_once('|')?;
        let behind = url.strip_prefix("fcgi://")?;
        let at = behind.find('/').unwrap_or(behind.len());
        let path = behind.get(at..).unwrap_or_default();
        return Some((format!("unix:{socket}"), path.to_owned()));
    }
    let rest = target.strip_prefix("fcgi://")?;
    let at = rest.find('/').unwrap_or(rest.len());
    let (host, path) = rest.split_at_checked(at)?;
    let host = match host.rsplit_once(':') {
        Some((_, port)) if port.parse::<u16>().is_ok() => host.to_owned(),
        // The port that FastCGI has in Apache.
        _ => format!("{host}:8000"),
    };
    Some((host, path.to_owned()))
}

/// `^/x(/.*)?$` and `/dir$1`, and their like, as a path and a target.
pub(super) fn plain_match(pattern: &str, target: &str) -> Option<(String, String)> {
    let plain = pattern.trim_start_matches('^').trim_end_matches('$');
    let ends = ["/?(.*)", "/(.*)", "(/.*)", "(/.*)?", "(.*)", "/*(.*)"];
    for end in ends {
        if let Some(url) = plain.strip_suffix(end)
            && let Some(folder) = target.strip_suffix("$1")
            && !url.contains(['(', '[', '.', '*', '?', '\\', '|'])
        {
            let folder = folder.trim_end_matches('/');
            return Some((url.to_owned(), folder.to_owned()));
        }
    }
    None
}

/// The suffixes that a pattern for names of files stands for, such as `\.ph(ar|p|tml)$`.
pub(super) fn suffixes_of(pattern: &str) -> Option<Vec<String>> {
    let mut all = Vec::new();
    for part in split(pattern) {
        let start = part.find("\\.")?;
        let (before, rest) = part.split_at_checked(start)?;
        // What may stand before a suffix says nothing about it.
        let open = before.matches('(').count();
        let before = before
            .replace("[^/]*", "")
            .replace("[^/]+", "")
            .replace(".*", "")
            .replace(".+", "")
            .replace("(?:", "")
            .replace(['^', '/', '('], "");
        let mut rest = rest.strip_suffix('$')?;
        for _ in 0..open {
            rest = rest.strip_suffix(')').unwrap_or(rest);
        }
        let rest = rest.strip_suffix('$').unwrap_or(rest);
        if !before.is_empty() {
            return None;
        }
        let mut chars = rest.chars().peekable();
        all.extend(expand(&mut chars, 0)?);
        if chars.next().is_some() || all.len() > SUFFIXES_MAX {
            return None;
        }
    }
    (!all.is_empty()).then_some(all)
}

type Chars<'a> = std::iter::Peekable<std::str::Chars<'a>>;

/// All texts that a simple pattern matches: letters, alternatives, what may be missing.
fn expand(chars: &mut Chars<'_>, depth: usize) -> Option<Vec<String>> {
    if depth > 4 {
        return None;
    }
    let mut done = Vec::new();
    let mut texts = vec![String::new()];
    while let Some(&c) = chars.peek() {
        let mut next: Vec<String> = match c {
            ')' if depth > 0 => break,
            '|' => {
                chars.next();
                done.append(&mut texts);
                texts = vec![String::new()];
                continue;
            }
            '(' => {
                chars.next();
                if chars.next_if_eq(&'?').is_some() {
                    chars.next_if_eq(&':')?;
                }
                let inner = expand(chars, depth + 1)?;
                chars.next_if_eq(&')')?;
                inner
            }
            '[' => {
                chars.next();
                let mut class = Vec::new();
                loop {
                    match chars.next()? {
                        ']' => break,
                        c if c.is_ascii_alphanumeric() => class.push(c.to_string()),
                        _ => return None,
                    }
                }
                class
            }
            '\\' => {
                chars.next();
                vec![chars.next_if(|c| matches!(c, '.' | '-' | '_'))?.to_string()]
            }
            c if c.is_ascii_alphanumeric() || matches!(c, '-' | '_') => {
                chars.next();
                vec![c.to_string()]
            }
            _ => return None,
        };
        if chars.next_if_eq(&'?').is_some() {
            next.push(String::new());
        }
        texts = texts
            .iter()
            .flat_map(|text| next.iter().map(move |more| format!("{text}{more}")))
            .collect();
        if texts.len() > SUFFIXES_MAX {
            return None;
        }
    }
    done.append(&mut texts);
    Some(done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suffixes_of_patterns() {
        for (pattern, expected) in [
            (r"\.php$", Some(vec![".php"])),
            (
                r"/[^/]*(?:.+\.ph(?:ar|p|tml)$)$",
                Some(vec![".phar", ".php", ".phtml"]),
            ),
            (
                r"/[^/]*(?:\.php[45]?)$",
                Some(vec![".php4", ".php5", ".php"]),
            ),
            (r"(.+\.php)$", Some(vec![".php"])),
            (r"\.(cgi|pl)$", Some(vec![".cgi", ".pl"])),
            (r"admin\.php$", None),
            (r"\.php", None),
            (r"\.p.p$", None),
        ] {
            let found = suffixes_of(pattern);
            let found: Option<Vec<&str>> = found
                .as_ref()
                .map(|found| found.iter().map(String::as_str).collect());
            assert_eq!(found, expected, "{pattern}");
        }
    }

    #[test]
    fn where_applications_listen() {
        for (target, expected) in [
            (
                "unix:/run/php.sock|fcgi://localhost",
                Some(("unix:/run/php.sock", "")),
            ),
            (
                "fcgi://127.0.0.1:9000/var/www/$1",
                Some(("127.0.0.1:9000", "/var/www/$1")),
            ),
            ("fcgi://localhost", Some(("localhost:8000", ""))),
            ("http://localhost", None),
            ("unix:/run/app.sock|http://x", None),
        ] {
            let found = fastcgi_target(target);
            let found = found.as_ref().map(|(to, at)| (to.as_str(), at.as_str()));
            assert_eq!(found, expected, "{target}");
        }
    }
}
