//! Sites as TOML.

use super::{
    rewrite::Rule,
    site::{Auth, Change, Expires, FastCgi, Filter, Headers, Programs, Reach, Route, Site},
};
use crate::toml::{Document, key, list, quoted, table};

/// All of a configuration.
pub(super) struct Whole {
    pub(super) listen: Vec<String>,
    pub(super) listen_tls: Vec<String>,
    pub(super) certificates: Vec<(String, String)>,
    pub(super) automatic: bool,
    pub(super) maps: Vec<(String, String, bool)>,
    pub(super) sites: Vec<Site>,
}

impl Whole {
    pub(super) fn toml(&self) -> String {
        let mut out = Document::default();
        out.line("# Imported from Apache httpd. Behind \"from\" stands where each part was.");
        out.line("");
        if !self.certificates.is_empty() {
            out.line("[tls]");
            let pairs: Vec<String> = self
                .certificates
                .iter()
                .map(|(cert, key)| {
                    format!("  {{ cert = {}, key = {} }},", quoted(cert), quoted(key))
                })
                .collect();
            out.line(format_args!("certificates = [\n{}\n]", pairs.join("\n")));
            out.line("");
        }
        if self.automatic {
            out.line("[tls.acme]");
            out.line("");
        }
        out.line("[http]");
        out.line(format_args!("listen = {}", list(&self.listen)));
        if !self.listen_tls.is_empty() {
            out.line(format_args!("listen_tls = {}", list(&self.listen_tls)));
        }
        for (name, file, random) in &self.maps {
            out.line("");
            out.line(format_args!("[http.map.{}]", key(name)));
            out.text("file", file);
            if *random {
                out.line("random = true");
            }
        }
        for site in &self.sites {
            write_site(site, &mut out);
        }
        out.0
    }
}

fn write_site(site: &Site, out: &mut Document) {
    out.line("");
    out.line(format_args!("# from {}", site.from));
    out.line("[[http.site]]");
    out.line(format_args!("hosts = {}", list(&site.hosts)));
    if site.default {
        out.line("default = true");
    }
    if let Some(root) = &site.root {
        out.text("root", root);
    }
    if let Some(index) = &site.index {
        out.line(format_args!("index = {}", list(index)));
    }
    if let Some(fallback) = &site.fallback {
        out.text("fallback", fallback);
    }
    if site.follow {
        out.text("symlinks", "follow");
    }
    if let Some(charset) = &site.charset {
        out.text("charset", charset);
    }
    if site.plain_redirect {
        out.text("plain", "redirect");
    }
    if let Some(bytes) = site.max_body {
        out.line(format_args!("max_body = \"{bytes}B\""));
    }
    if let Some((file, format)) = &site.access_log {
        out.text("access_log", file);
        out.text("access_log_format", format);
    }
    if !site.error_pages.is_empty() {
        out.line(format_args!("error_pages = {}", table(&site.error_pages)));
    }
    if let Some(fastcgi) = site.fastcgi.as_ref().filter(|_| site.root.is_some()) {
        out.line(format_args!("fastcgi = {}", application(fastcgi)));
    }
    for rule in site.rewrite.iter().chain(&site.redirects) {
        out.line("");
        out.line(format_args!("# from {}", rule.from));
        out.line("[[http.site.rewrite]]");
        for entry in rule_entries(rule) {
            out.line(entry);
        }
    }
    for filter in &site.filters {
        write_filter(filter, out);
    }
    for route in &site.routes {
        write_route(route, out);
    }
}

fn write_filter(filter: &Filter, out: &mut Document) {
    out.line("");
    out.line(format_args!("# from {}", filter.from));
    out.line("[[http.site.filter]]");
    reach(&filter.reach, out);
    if let Some(access) = &filter.access {
        out.text("access", access);
    }
    if let Some(Auth {
        realm,
        users,
        groups,
    }) = &filter.auth
    {
        let mut entries = vec![("basic".to_owned(), realm.clone())];
        entries.extend(
            users
                .iter()
                .map(|users| ("users".to_owned(), users.clone())),
        );
        entries.extend(
            groups
                .iter()
                .map(|groups| ("groups".to_owned(), groups.clone())),
        );
        out.line(format_args!("auth = {}", table(&entries)));
    }
    if let Some(kind) = &filter.content_type {
        out.text("content_type", kind);
    }
    if let Some(charset) = &filter.charset {
        out.text("charset", charset);
    }
    if filter.expires != Expires::default() {
        out.line(format_args!("expires = {}", times(&filter.expires)));
    }
    if !filter.env.is_empty() {
        out.line(format_args!("env = {}", table(&filter.env)));
    }
    let mut further = Vec::new();
    for (name, tables) in [("request", &filter.request), ("headers", &filter.headers)] {
        for (at, changes) in tables.iter().enumerate() {
            if at == 0 && changes.when.is_none() {
                out.line(format_args!("{name} = {}", headers(changes)));
            } else {
                further.push((name, changes));
            }
        }
    }
    for rule in &filter.rewrite {
        out.line(format_args!("# from {}", rule.from));
        out.line("[[http.site.filter.rewrite]]");
        for entry in rule_entries(rule) {
            out.line(entry);
        }
    }
    for (name, changes) in further {
        let mut where_it_holds = filter.reach.clone();
        where_it_holds.when.extend(changes.when.clone());
        out.line("");
        out.line("[[http.site.filter]]");
        reach(&where_it_holds, out);
        out.line(format_args!("{name} = {}", headers(changes)));
    }
}

fn write_route(route: &Route, out: &mut Document) {
    out.line("");
    out.line(format_args!("# from {}", route.from));
    out.line("[[http.site.route]]");
    out.text("path", &route.path);
    if route.exact {
        out.line("exact = true");
    }
    if let Some(root) = &route.root {
        out.text("root", root);
    }
    if !route.proxy.is_empty() {
        out.line(format_args!("proxy = {}", list(&route.proxy)));
        if !route.keep_host {
            out.text("proxy_host", "upstream");
        }
    }
    if let Some(fastcgi) = &route.fastcgi {
        out.line(format_args!("fastcgi = {}", application(fastcgi)));
    }
    if let Some(cgi) = &route.cgi {
        out.line(format_args!("cgi = {}", programs(cgi)));
    }
    if let Some(seconds) = route.timeout {
        out.line(format_args!("proxy_timeout = \"{seconds}s\""));
    }
    if let Some(index) = &route.index {
        out.line(format_args!("index = {}", list(index)));
    }
    if let Some(fallback) = &route.fallback {
        out.text("fallback", fallback);
    }
}

fn reach(reach: &Reach, out: &mut Document) {
    if reach.path != "/" {
        out.text("path", &reach.path);
    }
    if let Some(pattern) = &reach.pattern {
        out.text("match", pattern);
    }
    if !reach.methods.is_empty() {
        out.line(format_args!("methods = {}", list(&reach.methods)));
    }
    match reach.when.as_slice() {
        [] => {}
        [one] => out.text("when", one),
        several => {
            let several: Vec<String> = several.iter().map(|when| format!("({when})")).collect();
            out.text("when", &several.join(" && "));
        }
    }
}

/// A table of changes to fields.
fn headers(headers: &Headers) -> String {
    let of = |change: Change| -> Vec<(String, String)> {
        let changes = headers.changes.iter();
        changes
            .filter(|one| one.change == change)
            .map(|one| (one.field.clone(), one.value.clone()))
            .collect()
    };
    let mut parts = Vec::new();
    for (name, change) in [
        ("set", Change::Set),
        ("set_missing", Change::SetMissing),
        ("add", Change::Add),
        ("append", Change::Append),
        ("merge", Change::Merge),
    ] {
        let fields = of(change);
        if !fields.is_empty() {
            parts.push(format!("{name} = {}", table(&fields)));
        }
    }
    let removed: Vec<String> = of(Change::Remove)
        .into_iter()
        .map(|(name, _)| name)
        .collect();
    if !removed.is_empty() {
        parts.push(format!("remove = {}", list(&removed)));
    }
    let mut edits = Vec::new();
    for one in &headers.changes {
        if let Change::Edit(every) = one.change {
            let every = if every { ", every = true" } else { "" };
            edits.push(format!(
                "{{ field = {}, match = {}, to = {}{every} }}",
                quoted(&one.field),
                quoted(&one.value),
                quoted(&one.to),
            ));
        }
    }
    if !edits.is_empty() {
        parts.push(format!("edit = [{}]", edits.join(", ")));
    }
    if headers.success {
        parts.push("failures = false".to_owned());
    }
    format!("{{ {} }}", parts.join(", "))
}

fn times(expires: &Expires) -> String {
    let table = |times: &[(String, u64)]| {
        let times: Vec<String> = times
            .iter()
            .map(|(kind, seconds)| format!("{} = \"{seconds}s\"", key(kind)))
            .collect();
        format!("{{ {} }}", times.join(", "))
    };
    let mut parts = Vec::new();
    if !expires.after.is_empty() {
        parts.push(format!("after = {}", table(&expires.after)));
    }
    if !expires.after_change.is_empty() {
        parts.push(format!("after_change = {}", table(&expires.after_change)));
    }
    format!("{{ {} }}", parts.join(", "))
}

fn application(fastcgi: &FastCgi) -> String {
    let mut parts = vec![format!("to = {}", quoted(&fastcgi.to))];
    if let Some(program) = &fastcgi.program {
        parts.push(format!("program = {}", quoted(program)));
    } else if fastcgi.suffixes != [".php"] {
        parts.push(format!("suffixes = {}", list(&fastcgi.suffixes)));
    }
    format!("{{ {} }}", parts.join(", "))
}

fn programs(programs: &Programs) -> String {
    match programs {
        Programs::File(file) => format!("{{ program = {} }}", quoted(file)),
        Programs::Directory(directory) => format!("{{ directory = {} }}", quoted(directory)),
        Programs::Suffixes(suffixes) => format!("{{ suffixes = {} }}", list(suffixes)),
    }
}

fn rule_entries(rule: &Rule) -> Vec<String> {
    let mut entries = Vec::new();
    let mut text = |key: &str, value: &str| entries.push(format!("{key} = {}", quoted(value)));
    if !rule.pattern.is_empty() {
        text("match", &rule.pattern);
    }
    if let Some(when) = &rule.when {
        text("when", when);
    }
    if let Some(to) = &rule.to {
        text("to", to);
    }
    if let Some(kind) = &rule.content_type {
        text("content_type", kind);
    }
    if let Some(query) = rule.query {
        text("query", query);
    }
    if let Some(then) = rule.then {
        text("then", then);
    }
    if let Some(status) = rule.status {
        entries.push(format!("status = {status}"));
    }
    if rule.skip > 0 {
        entries.push(format!("skip = {}", rule.skip));
    }
    if rule.chain {
        entries.push("chain = true".to_owned());
    }
    if rule.raw {
        entries.push("escape = false".to_owned());
    }
    if rule.escape_groups {
        entries.push("escape_groups = true".to_owned());
    }
    if !rule.set.is_empty() {
        entries.push(format!("set = {}", table(&rule.set)));
    }
    if !rule.unset.is_empty() {
        entries.push(format!("unset = {}", list(&rule.unset)));
    }
    if !rule.cookies.is_empty() {
        entries.push(format!("cookies = {}", list(&rule.cookies)));
    }
    entries
}
