//! From the tree to sites.

use std::path::PathBuf;

use omnid_http::expression::Pattern;

use super::{
    Source,
    parse::Directive,
    scope::from_glob,
    site::{Reach, Site},
    write::Whole,
};
use crate::report::{Import, Kind};

/// A URL path, and the directory that is served there.
#[derive(Debug, Clone)]
pub(super) struct Mapping {
    pub(super) url: String,
    pub(super) directory: String,
}

/// A site in the making.
pub(super) struct Work<'a> {
    pub(super) source: &'a mut Source,
    pub(super) site: Site,
    pub(super) maps: &'a mut Vec<(String, String, bool)>,
    pub(super) mappings: Vec<Mapping>,
    pub(super) balancers: Vec<(String, Vec<String>)>,
    pub(super) keep_host: bool,
    pub(super) asks_somewhere: bool,
    /// Rules that set variables, before those that rewrite.
    pub(super) env_rules: usize,
    /// Suffixes of CGI programs, and the paths where they may be run.
    pub(super) cgi_suffixes: Vec<String>,
    pub(super) executing: Vec<String>,
    /// Whether responses are told how long they may be kept, where nothing else says so.
    pub(super) expires: bool,
    /// Conditions of the branches before an <ElseIf> or <Else>.
    pub(super) branches: Vec<String>,
}

/// A server: the main one, or a <VirtualHost>.
struct Server {
    from: String,
    address: String,
    directives: Vec<Directive>,
}

impl Server {
    fn find(&self, name: &str) -> Option<&Directive> {
        self.directives
            .iter()
            .rev()
            .find(|directive| directive.is(name))
    }

    fn is_tls(&self) -> bool {
        self.find("SSLEngine")
            .is_some_and(|on| on.word(0).eq_ignore_ascii_case("on"))
    }

    fn hosts(&self) -> Vec<String> {
        let mut hosts = Vec::new();
        for directive in &self.directives {
            if directive.is("ServerName") {
                let name = directive.word(0);
                let name = name.split_once("://").map_or(name, |(_, rest)| rest);
                let name = name.split(':').next().unwrap_or(name);
                hosts.insert(0, name.to_ascii_lowercase());
            } else if directive.is("ServerAlias") {
                hosts.extend(directive.words.iter().map(|word| word.to_ascii_lowercase()));
            }
        }
        hosts.dedup();
        hosts
    }

    /// Whether it does nothing but send clients to TLS.
    fn only_redirects_to_tls(&self) -> bool {
        self.directives.iter().any(|directive| {
            let name = directive.name.to_ascii_lowercase();
            match name.as_str() {
                "redirect" | "redirectpermanent" | "redirecttemp" => {
                    let at = directive.words.iter().position(|word| word == "/");
                    at.and_then(|at| directive.words.get(at + 1))
                        .is_some_and(|to| to.starts_with("https://"))
                }
                "rewriterule" => {
                    directive.word(1).starts_with("https://%{") && directive.word(2).contains('R')
                }
                _ => false,
            }
        })
    }
}

/// Converts.
pub(super) fn convert(mut source: Source, tree: Vec<Directive>) -> Import {
    let mut whole = Whole {
        listen: Vec::new(),
        listen_tls: Vec::new(),
        certificates: Vec::new(),
        automatic: false,
        maps: Vec::new(),
        sites: Vec::new(),
    };
    let (hosts, main): (Vec<Directive>, Vec<Directive>) = tree
        .into_iter()
        .partition(|directive| directive.is("VirtualHost"));
    let servers: Vec<Server> = hosts
        .into_iter()
        .map(|host| Server {
            from: format!("{}:{}", host.file.display(), host.line),
            address: host.rest.clone(),
            directives: host.inner,
        })
        .collect();
    listen(&mut source, &main, &servers, &mut whole);
    let mut taken: Vec<String> = Vec::new();
    let main_server = Server {
        from: main
            .first()
            .map_or_else(String::new, |first| first.file.display().to_string()),
        address: String::new(),
        directives: Vec::new(),
    };
    let all: Vec<&Server> = if servers.is_empty() {
        vec![&main_server]
    } else {
        servers.iter().collect()
    };
    for (at, server) in all.iter().enumerate() {
        let hosts = server.hosts();
        let twin = all.iter().enumerate().find(|(other, twin)| {
            *other != at
                && !hosts.is_empty()
                && twin.hosts().first() == hosts.first()
                && twin.is_tls() != server.is_tls()
        });
        if let Some((_, twin)) = twin
            && !server.is_tls()
            && twin.is_tls()
        {
            if !server.only_redirects_to_tls() {
                let first = server.directives.first();
                if let Some(first) = first.cloned() {
                    source.find(
                        &first.file,
                        first.line,
                        Kind::Changed,
                        &format!("<VirtualHost {}>", server.address),
                        "the same host has another section with TLS, which is served on both ports",
                    );
                }
            }
            continue;
        }
        let mut site = Site {
            from: server.from.clone(),
            plain_redirect: twin.is_some_and(|(_, twin)| twin.only_redirects_to_tls()),
            ..Site::default()
        };
        for host in hosts {
            let plain = host.strip_prefix("*.").unwrap_or(&host);
            let good = !plain.is_empty()
                && plain
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte));
            if !good {
                if let Some(directive) = server.find("ServerAlias").cloned() {
                    source.find(
                        &directive.file,
                        directive.line,
                        Kind::Lost,
                        &directive.text(),
                        format!("{host} is no host: a wildcard stands for a whole beginning"),
                    );
                }
            } else if !taken.contains(&host) {
                taken.push(host.clone());
                site.hosts.push(host);
            }
        }
        site.default = site.hosts.is_empty();
        if site.default && whole.sites.iter().any(|site| site.default) {
            if let Some(first) = server.directives.first().cloned() {
                source.find(
                    &first.file,
                    first.line,
                    Kind::Lost,
                    &format!("<VirtualHost {}>", server.address),
                    "it has no host of its own: give it one",
                );
            }
            continue;
        }
        certificates(&mut source, server, &mut whole);
        let mut work = Work {
            source: &mut source,
            site,
            maps: &mut whole.maps,
            mappings: Vec::new(),
            balancers: Vec::new(),
            keep_host: false,
            asks_somewhere: false,
            env_rules: 0,
            cgi_suffixes: Vec::new(),
            executing: Vec::new(),
            expires: false,
            branches: Vec::new(),
        };
        work.server(&main, &server.directives);
        let site = work.site;
        whole.sites.push(site);
    }
    let mut findings = std::mem::take(&mut source.findings);
    findings.sort_by(|a, b| (&a.file, a.line, a.kind).cmp(&(&b.file, b.line, b.kind)));
    Import {
        toml: whole.toml(),
        findings,
        directives: source.directives,
    }
}

fn listen(source: &mut Source, main: &[Directive], servers: &[Server], whole: &mut Whole) {
    for directive in main.iter().filter(|directive| directive.is("Listen")) {
        let text = directive.word(0);
        let address = match text.rsplit_once(':') {
            Some((host, port)) => format!("{}:{port}", host.replace('*', "[::]")),
            None => format!("[::]:{text}"),
        };
        let port = text.rsplit(':').next().unwrap_or(text);
        let tls_server = servers
            .iter()
            .any(|server| server.is_tls() && server.address.ends_with(&format!(":{port}")));
        let list = if directive.word(1).eq_ignore_ascii_case("https") || port == "443" || tls_server
        {
            &mut whole.listen_tls
        } else {
            &mut whole.listen
        };
        if address.parse::<std::net::SocketAddr>().is_err() {
            source.find(
                &directive.file,
                directive.line,
                Kind::Lost,
                &directive.text(),
                "it is no address",
            );
        } else if !list.contains(&address) {
            list.push(address);
        }
    }
    if whole.listen.is_empty() && whole.listen_tls.is_empty() {
        whole.listen.push("[::]:80".to_owned());
    }
    if !servers.iter().any(Server::is_tls) && !whole.listen_tls.is_empty() {
        for directive in main.iter().filter(|directive| directive.is("Listen")) {
            if directive.rest.contains("443") {
                source.find(
                    &directive.file,
                    directive.line,
                    Kind::Changed,
                    &directive.text(),
                    "no section with TLS has a certificate: the port is left out",
                );
            }
        }
        whole.listen_tls.clear();
    }
}

fn certificates(source: &mut Source, server: &Server, whole: &mut Whole) {
    if !server.is_tls() {
        return;
    }
    let Some(cert) = server.find("SSLCertificateFile") else {
        whole.automatic = true;
        return;
    };
    let key = server.find("SSLCertificateKeyFile").unwrap_or(cert);
    let (cert_path, key_path) = (source.here(cert.word(0)), source.here(key.word(0)));
    let pair = (
        cert_path.display().to_string(),
        key_path.display().to_string(),
    );
    for (directive, path) in [(cert, &cert_path), (key, &key_path)] {
        if !path.is_file() {
            let text = directive.text();
            source.find(
                &directive.file,
                directive.line,
                Kind::Changed,
                &text,
                "there is no such file: certificates are asked for automatically",
            );
            whole.automatic = true;
            return;
        }
    }
    if !whole.certificates.contains(&pair) {
        whole.certificates.push(pair);
    }
    if let Some(chain) = server.find("SSLCertificateChainFile") {
        let text = chain.text();
        source.find(
            &chain.file,
            chain.line,
            Kind::Lost,
            &text,
            "append it to the file of the certificate",
        );
    }
}

impl Work<'_> {
    pub(super) fn note(&mut self, directive: &Directive, kind: Kind, advice: impl Into<String>) {
        let text = directive.text();
        self.source
            .find(&directive.file, directive.line, kind, &text, advice);
    }

    fn server(&mut self, main: &[Directive], own: &[Directive]) {
        // What is said for the server itself comes before what is said for all.
        self.map_paths(own);
        self.map_paths(main);
        self.asks_somewhere = main.iter().chain(own).any(asks_for_passwords);
        let all: Vec<&Directive> = main.iter().chain(own).collect();
        for directive in &all {
            if directive.section && directive.is("Proxy") {
                self.balancer(directive);
            }
            if directive.is("ProxyPreserveHost") {
                self.keep_host = directive.word(0).eq_ignore_ascii_case("on");
            }
        }
        self.expires = all
            .iter()
            .rev()
            .find(|directive| directive.is("ExpiresActive"))
            .is_some_and(|directive| directive.word(0).eq_ignore_ascii_case("on"));
        let engine_of_own = own.iter().any(|directive| directive.is("RewriteEngine"));
        let rules = if engine_of_own || own.iter().any(|d| d.is("RewriteRule")) {
            own
        } else {
            main
        };
        self.site.rewrite = self.rewriting(rules, None);
        let plain: Vec<Directive> = all
            .iter()
            .filter(|directive| {
                !directive.section || directive.name.to_ascii_lowercase().starts_with("require")
            })
            .filter(|directive| !self.is_of_server(directive))
            .map(|directive| (*directive).clone())
            .collect();
        let root = Reach {
            path: "/".to_owned(),
            ..Reach::default()
        };
        for directive in &all {
            if self.is_of_server(directive) {
                self.of_server(directive);
            }
        }
        self.scope("the server", &root, None, &plain);
        self.directories(&all);
        for directive in &all {
            if directive.section && (directive.is("Files") || directive.is("FilesMatch")) {
                self.scope(&place(directive), &root, None, &[(*directive).clone()]);
            }
        }
        for directive in &all {
            if directive.section && (directive.is("Location") || directive.is("LocationMatch")) {
                self.location(directive);
            }
        }
        for directive in &all {
            if directive.section
                && ["If", "ElseIf", "Else"]
                    .iter()
                    .any(|name| directive.is(name))
            {
                self.scope(&place(directive), &root, None, &[(*directive).clone()]);
            }
        }
        for directive in &all {
            let known = [
                "Directory",
                "DirectoryMatch",
                "Files",
                "FilesMatch",
                "Location",
                "LocationMatch",
                "If",
                "ElseIf",
                "Else",
                "Proxy",
                "RequireAll",
                "RequireAny",
                "RequireNone",
            ];
            if directive.section && !known.iter().any(|name| directive.is(name)) {
                self.note(directive, Kind::Lost, "there is no such section here");
            }
        }
        self.spread_fastcgi();
        self.collapse();
    }

    fn is_of_server(&self, directive: &Directive) -> bool {
        [
            "Alias",
            "AliasMatch",
            "ScriptAlias",
            "ScriptAliasMatch",
            "DocumentRoot",
            "Listen",
            "ServerName",
            "ServerAlias",
            "SSLEngine",
            "SSLCertificateFile",
            "SSLCertificateKeyFile",
            "SSLCertificateChainFile",
            "CustomLog",
            "TransferLog",
            "ProxyPreserveHost",
            "RewriteEngine",
            "RewriteRule",
            "RewriteCond",
            "RewriteMap",
            "RewriteOptions",
            "RewriteBase",
        ]
        .iter()
        .any(|name| directive.is(name))
    }

    fn of_server(&mut self, directive: &Directive) {
        match directive.name.to_ascii_lowercase().as_str() {
            "customlog" | "transferlog" => self.access_log(directive),
            _ => {}
        }
    }

    fn map_paths(&mut self, directives: &[Directive]) {
        for directive in directives {
            if directive.is("DocumentRoot") {
                if self.site.root.is_none() {
                    let path = self.source.here(directive.word(0));
                    if path.is_dir() {
                        self.site.root = Some(path.display().to_string());
                        self.mappings.push(Mapping {
                            url: "/".to_owned(),
                            directory: directive.word(0).trim_end_matches('/').to_owned(),
                        });
                    } else {
                        self.note(directive, Kind::Lost, "there is no such directory");
                    }
                }
            } else if directive.is("Alias") {
                self.alias(directive);
            } else if directive.is("AliasMatch") {
                self.alias_match(directive);
            } else if directive.is("ScriptAlias") || directive.is("ScriptAliasMatch") {
                self.script_alias(directive);
            }
        }
    }

    fn directories(&mut self, all: &[&Directive]) {
        let mut sections: Vec<(usize, Directive, String)> = Vec::new();
        for directive in all.iter().filter(|directive| directive.section) {
            if directive.is("Directory") && directive.word(0) != "~" {
                let path = directive.word(0).trim_end_matches('/').to_owned();
                let depth = path.matches('/').count() + usize::from(!path.is_empty());
                sections.push((depth, (*directive).clone(), path));
            }
        }
        sections.sort_by_key(|(depth, ..)| *depth);
        let mut files: Vec<(String, PathBuf)> = Vec::new();
        for (_, section, path) in &sections {
            let overrides = section
                .inner
                .iter()
                .rev()
                .find(|inner| inner.is("AllowOverride"))
                .is_some_and(|inner| !inner.word(0).eq_ignore_ascii_case("none"));
            if overrides {
                self.search(path, &mut files);
            }
        }
        for (_, section, path) in &sections {
            let covered = self.covered(path);
            if covered.is_empty() {
                self.note(section, Kind::Needless, "no URL of this site leads there");
                // What it says is looked at all the same: nothing is passed over in silence.
                self.judge(section);
                continue;
            }
            for url in &covered {
                let reach = Reach {
                    path: url.clone(),
                    ..Reach::default()
                };
                let base = format!("{}/", url.trim_end_matches('/'));
                let within = covered.iter().any(|other| {
                    let rest = url.strip_prefix(other.trim_end_matches('/'));
                    other != url && rest.is_some_and(|rest| rest.starts_with('/'))
                });
                if within {
                    // What is done there is done here already.
                    let once = without_fields(&section.inner);
                    self.scope(&place(section), &reach, Some(&base), &once);
                } else {
                    self.scope(&place(section), &reach, Some(&base), &section.inner);
                }
            }
        }
        for (folder, file) in files {
            let directives = self.source.beside(&file);
            for url in self.covered(&folder) {
                let reach = Reach {
                    path: url.clone(),
                    ..Reach::default()
                };
                let base = format!("{}/", url.trim_end_matches('/'));
                self.scope(
                    &file.display().to_string(),
                    &reach,
                    Some(&base),
                    &directives,
                );
            }
        }
        for directive in all.iter().filter(|directive| directive.section) {
            let pattern = if directive.is("DirectoryMatch") {
                directive.word(0)
            } else if directive.is("Directory") && directive.word(0) == "~" {
                directive.word(1)
            } else {
                continue;
            };
            // Directories are matched as they are named: without a slash at their end.
            let pattern = pattern.trim_end_matches('$');
            let reach = Reach {
                path: "/".to_owned(),
                when: vec![format!("%{{REQUEST_FILENAME}} =~ m#{pattern}#")],
                ..Reach::default()
            };
            if pattern.contains('#') || Pattern::new(pattern, false).is_err() {
                self.note(directive, Kind::Lost, "its pattern is not understood");
                continue;
            }
            self.scope(&place(directive), &reach, None, &directive.inner);
        }
    }

    /// Notes what is lost of a section that applies nowhere.
    fn judge(&mut self, section: &Directive) {
        let before = (self.site.clone(), self.branches.clone());
        let reach = Reach {
            path: "/".to_owned(),
            ..Reach::default()
        };
        self.scope("nowhere", &reach, Some("/"), &section.inner);
        (self.site, self.branches) = before;
    }

    fn location(&mut self, directive: &Directive) {
        let first = directive.word(0);
        let regex = directive.is("LocationMatch") || first == "~";
        let mut reach = Reach {
            path: "/".to_owned(),
            ..Reach::default()
        };
        if regex {
            let pattern = if first == "~" {
                directive.word(1)
            } else {
                first
            };
            if Pattern::new(pattern, false).is_err() {
                self.note(directive, Kind::Lost, "its pattern is not understood");
                return;
            }
            reach.pattern = Some(pattern.to_owned());
        } else if first.contains(['*', '?']) {
            reach.pattern = Some(format!("^{}(/|$)", from_glob(first)));
        } else if first.starts_with('/') {
            reach.path = first.to_owned();
        } else {
            self.note(directive, Kind::Lost, "it is no path of this server");
            return;
        }
        self.scope(&place(directive), &reach, None, &directive.inner);
    }

    /// Joins filters for the same path, of which the later has the say.
    fn collapse(&mut self) {
        let mut joined: Vec<super::site::Filter> = Vec::new();
        for filter in std::mem::take(&mut self.site.filters) {
            let plain = |filter: &super::site::Filter| {
                filter.reach.pattern.is_none()
                    && filter.reach.methods.is_empty()
                    && filter.reach.when.is_empty()
                    && filter.says_no_more()
                    && filter.rewrite.is_empty()
            };
            match joined.last_mut() {
                Some(last) if last.reach == filter.reach && plain(last) && plain(&filter) => {
                    if filter.access.is_some() {
                        last.access = filter.access;
                        last.said = filter.said;
                    }
                    last.auth = filter.auth.or_else(|| last.auth.take());
                    last.from = filter.from;
                }
                _ => joined.push(filter),
            }
        }
        // What lets everybody in at the top says nothing.
        if joined.first().is_some_and(|first| {
            first.reach.path == "/"
                && first.access.as_deref() == Some("everybody")
                && first.auth.is_none()
                && first.rewrite.is_empty()
                && first.says_no_more()
                && first.reach.pattern.is_none()
                && first.reach.when.is_empty()
        }) {
            joined.remove(0);
        }
        self.site.filters = joined;
    }
}

/// Directives without those that would add to fields twice.
fn without_fields(directives: &[Directive]) -> Vec<Directive> {
    let mut kept = Vec::with_capacity(directives.len());
    for directive in directives {
        if !directive.is("Header") && !directive.is("RequestHeader") {
            let mut directive = directive.clone();
            directive.inner = without_fields(&directive.inner);
            kept.push(directive);
        }
    }
    kept
}

fn asks_for_passwords(directive: &Directive) -> bool {
    (directive.is("AuthType") && directive.word(0).eq_ignore_ascii_case("basic"))
        || directive.inner.iter().any(asks_for_passwords)
}

pub(super) fn place(directive: &Directive) -> String {
    format!("{}:{}", directive.file.display(), directive.line)
}
