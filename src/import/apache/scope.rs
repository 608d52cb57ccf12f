//! What stands in a section, or in a server outside of any, as a filter of ours.

use omnid_http::expression::Expression;

use super::{
    access,
    convert::Work,
    parse::Directive,
    rewrite::{self, Where},
    site::{Auth, Change, FieldChange, Filter, Reach, add_change},
};
use crate::report::Kind;

/// Names that have nothing to say here, and why.
const NEEDLESS: &[(&str, &str)] = &[
    ("acceptfilter", "the kernel's defaults hold"),
    ("accessfilename", "files of directories are read at import"),
    ("allowoverride", "files of directories are read at import"),
    (
        "allowoverridelist",
        "files of directories are read at import",
    ),
    ("authtype", "basic is the one way of asking"),
    (
        "authbasicprovider",
        "a file of users is named where it is used",
    ),
    (
        "authbasicauthoritative",
        "there is one way of finding out who it is",
    ),
    (
        "authuserfile",
        "it has a place only where somebody is asked",
    ),
    ("authmerging", "the last word counts"),
    ("contentdigest", "old"),
    ("customlog", "the access log is set for each site"),
    (
        "directoryslash",
        "a path without its slash is redirected to it",
    ),
    ("documentroot", "it is the site's root"),
    ("enablemmap", "files are read as is best"),
    ("enablesendfile", "files are sent as is best"),
    ("errorlog", "errors go to the daemon's log: [log]"),
    ("errorlogformat", "errors go to the daemon's log: [log]"),
    ("extendedstatus", "omnid status shows it all"),
    ("fileetag", "files have strong ETags"),
    ("group", "the service manager chooses the user"),
    ("hostnamelookups", "names of clients are not looked up"),
    ("indexignore", "directories are not listed"),
    ("indexoptions", "directories are not listed"),
    ("addicon", "directories are not listed"),
    ("addlanguage", "one file is served for a name"),
    ("removetype", "types of files are built in"),
    ("defaultruntimedir", "there is none"),
    ("proxystatus", "omnid status shows it all"),
    ("addiconbytype", "directories are not listed"),
    ("addiconbyencoding", "directories are not listed"),
    ("defaulticon", "directories are not listed"),
    ("readmename", "directories are not listed"),
    ("headername", "directories are not listed"),
    ("keepalive", "[http.limits] idle"),
    ("keepalivetimeout", "[http.limits] idle"),
    (
        "maxkeepaliverequests",
        "connections are kept as long as they are used",
    ),
    ("languagepriority", "one file is served for a name"),
    ("forcelanguagepriority", "one file is served for a name"),
    ("limitrequestfields", "[http.limits] fields"),
    ("limitrequestfieldsize", "[http.limits] line"),
    ("limitrequestline", "[http.limits] target"),
    ("loadmodule", "nothing is loaded"),
    ("logformat", "formats are named"),
    ("loglevel", "[log] level"),
    ("maxconnectionsperchild", "there are no children"),
    ("maxrequestworkers", "connections are bounded in [net]"),
    ("minsparethreads", "there are no children"),
    ("maxsparethreads", "there are no children"),
    ("threadlimit", "there are no children"),
    ("threadsperchild", "there are no children"),
    ("serverlimit", "there are no children"),
    ("startservers", "there are no children"),
    ("mimemagicfile", "types are told by names"),
    ("mutex", "one process"),
    ("namevirtualhost", "sites are chosen by their host"),
    ("pidfile", "the service manager knows the process"),
    ("protocols", "HTTP/2 is spoken"),
    ("proxyfcgisetenvif", "programs are told what CGI says"),
    ("proxyfcgibackendtype", "php-fpm is told what it needs"),
    ("proxyrequests", "there is no forward proxy"),
    (
        "requestreadtimeout",
        "[http.limits] head_time, body_time and rate",
    ),
    ("scriptsock", "programs are children of the daemon"),
    (
        "scriptlog",
        "what programs complain of is in the daemon's log",
    ),
    ("serveradmin", "error pages name nobody"),
    ("serverroot", "paths are whole"),
    ("serversignature", "error pages name nobody"),
    ("servertokens", "the version is not told"),
    ("sslciphersuite", "TLS has modern ciphers only"),
    ("sslcryptodevice", "there is one cryptographic provider"),
    ("sslhonorcipherorder", "TLS has modern ciphers only"),
    ("sslpassphrasedialog", "keys have no pass phrase"),
    ("sslprotocol", "TLS 1.2 and 1.3: [tls] min_version"),
    ("sslrandomseed", "the system has random numbers"),
    ("sslsessioncache", "sessions are resumed by tickets"),
    ("sslsessioncachetimeout", "sessions are resumed by tickets"),
    ("sslsessiontickets", "sessions are resumed by tickets"),
    ("sslusestapling", "certificates bring what they need"),
    ("sslstaplingcache", "certificates bring what they need"),
    ("sslcompression", "TLS is never compressed"),
    ("timeout", "[http.limits] write, body_time"),
    ("traceenable", "TRACE is refused"),
    ("typesconfig", "types of files are built in"),
    ("usecanonicalname", "hosts are what clients ask for"),
    ("user", "the service manager chooses the user"),
    ("rewritelog", "omnid explain shows the rules"),
    ("rewriteloglevel", "omnid explain shows the rules"),
    (
        "proxypassreverse",
        "places that upstreams name are rewritten",
    ),
    ("proxyaddheaders", "forwarding fields are always sent"),
    ("suexecusergroup", "programs run as the service's user"),
];

/// Beginnings of names that are lost, and what to do about it.
const LOST: &[(&str, &str)] = &[
    ("php", "set it in the pool of php-fpm: php_admin_value[…]"),
    (
        "perl",
        "run the application with plackup and make a route with `proxy` to it",
    ),
    (
        "wsgi",
        "run the application with gunicorn and make a route with `proxy` to it",
    ),
    (
        "passenger",
        "run the application by itself and make a route with `proxy` to it",
    ),
    (
        "fcgi",
        "start the application by itself, and give its route fastcgi = { to = … }",
    ),
    (
        "passenv",
        "the daemon's environment is told to nobody: env = { … } of a filter",
    ),
    ("unsetenv", "leave the variable out where it is set"),
    ("dav", "there is no WebDAV"),
    (
        "authldap",
        "make accounts of the server, or a file of users",
    ),
    ("authdbd", "make accounts of the server, or a file of users"),
    ("authdigest", "ask with auth = { basic = … } over TLS"),
    ("authform", "ask with auth = { basic = … } over TLS"),
    ("session", "there are no sessions"),
    ("ssi", "there are no server-side includes"),
    ("xbithack", "there are no server-side includes"),
    ("cache", "responses are not cached"),
    ("deflate", "responses are not compressed by a filter"),
    ("brotli", "responses are not compressed by a filter"),
    ("userdir", "make a route for each user"),
    ("virtual", "make a site for each host"),
    ("security", "there is no mod_security"),
    (
        "remoteip",
        "addresses of trusted proxies: [net.proxy_protocol]",
    ),
    ("lua", "write a hook for [script]"),
    (
        "sslverify",
        "client certificates are not asked for by sites",
    ),
    ("sslca", "client certificates are not asked for by sites"),
    ("ssloptions", "programs are told nothing of TLS"),
    ("ssl", "TLS is set in [tls]"),
];

impl Work<'_> {
    /// What `directives` say within `reach`. `base` is what rewriting begins behind, for a
    /// directory.
    pub(super) fn scope(
        &mut self,
        from: &str,
        reach: &Reach,
        base: Option<&str>,
        directives: &[Directive],
    ) {
        let mut filter = Filter {
            from: from.to_owned(),
            reach: reach.clone(),
            ..Filter::default()
        };
        match access::access(directives) {
            Ok(said) if said == access::Said::default() => {}
            Ok(said) => {
                // What is not said here is what was said further up.
                let above = self.site.filters.iter().rev().find(|above| {
                    let bare = above.reach.path.trim_end_matches('/');
                    let covers = reach.path.strip_prefix(bare);
                    above.access.is_some()
                        && covers.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
                        && (above.reach.pattern.is_none() || above.reach.pattern == reach.pattern)
                        && above
                            .reach
                            .when
                            .iter()
                            .all(|when| reach.when.contains(when))
                        && (above.reach.methods.is_empty() || above.reach.methods == reach.methods)
                });
                let above = above.map(|above| above.said.clone()).unwrap_or_default();
                filter.said = access::Said {
                    require: said.require.or(above.require),
                    order: said.order.or(above.order),
                    any: said.any,
                };
                filter.access = filter.said.joined();
            }
            Err(refused) => {
                let (directive, why) = *refused;
                // What is not understood must not open anything.
                filter.access = Some("nobody".to_owned());
                self.note(
                    &directive,
                    Kind::Lost,
                    format!("{why}; access is shut instead"),
                );
            }
        }
        let expires = directives
            .iter()
            .rev()
            .find(|directive| directive.is("ExpiresActive"))
            .map_or(self.expires, |directive| {
                directive.word(0).eq_ignore_ascii_case("on")
            });
        filter.auth = self.auth(directives);
        if let Some(access) = &filter.access
            && filter.auth.is_none()
            && ["any-user", "user ", "group "]
                .iter()
                .any(|who| access.contains(who))
            && !self.asks_somewhere
        {
            filter.access = Some("nobody".to_owned());
            if let Some(directive) = directives
                .iter()
                .find(|directive| access::is_about(directive))
            {
                self.note(
                    directive,
                    Kind::Lost,
                    "nothing says how to ask who it is; access is shut instead",
                );
            }
        }
        if let Some(base) = base {
            filter.rewrite = self.rewriting(directives, Some(base));
        }
        let mut later = Vec::new();
        for directive in directives {
            if self.inner_section(directive, reach, base, &mut later) {
                continue;
            }
            self.plain(directive, expires, &mut filter);
        }
        if !filter.is_empty() {
            self.site.filters.push(filter);
        }
        for (reach, directive) in later {
            let from = format!("{}:{}", directive.file.display(), directive.line);
            self.scope(&from, &reach, None, &directive.inner);
        }
    }

    /// Sections within a section. Whether it was one.
    fn inner_section(
        &mut self,
        directive: &Directive,
        reach: &Reach,
        base: Option<&str>,
        later: &mut Vec<(Reach, Directive)>,
    ) -> bool {
        if !directive.section || access::is_about(directive) {
            return false;
        }
        let mut inner = reach.clone();
        match directive.name.to_ascii_lowercase().as_str() {
            "files" | "filesmatch" => match files(directive) {
                Some(pattern) => match &inner.pattern {
                    None => inner.pattern = Some(pattern),
                    Some(_) => inner.when.push(format!("%{{REQUEST_URI}} =~ m#{pattern}#")),
                },
                None => {
                    self.note(directive, Kind::Lost, "its pattern is not understood");
                    return true;
                }
            },
            "limit" => inner.methods = directive.words.clone(),
            "limitexcept" => {
                let list: Vec<String> = directive
                    .words
                    .iter()
                    .map(|word| format!("'{word}'"))
                    .collect();
                inner.when.push(format!(
                    "!(%{{REQUEST_METHOD}} in {{ {} }})",
                    list.join(", ")
                ));
            }
            "if" | "elseif" | "else" => {
                let own = directive.rest.trim().trim_matches('"').to_owned();
                let negated: Vec<String> = self
                    .branches
                    .iter()
                    .map(|branch| format!("!({branch})"))
                    .collect();
                if directive.is("If") {
                    self.branches = vec![own.clone()];
                } else {
                    inner.when.extend(negated);
                    self.branches.push(own.clone());
                }
                if !directive.is("Else") {
                    inner.when.push(own.clone());
                    if let Err(fault) = Expression::parse(&own) {
                        self.note(directive, Kind::Lost, fault.to_string());
                        return true;
                    }
                }
            }
            "requireall" | "requireany" | "requirenone" => return false,
            _ => {
                self.note(directive, Kind::Lost, "there is no such section here");
                return true;
            }
        }
        let rewrites = directive.inner.iter().any(|inner| inner.is("RewriteRule"));
        if rewrites && base.is_some() {
            self.note(
                directive,
                Kind::Lost,
                "rules within it: give them its condition",
            );
        }
        later.push((inner, directive.clone()));
        true
    }

    /// A directive that is neither a section nor of access or rewriting.
    fn plain(&mut self, directive: &Directive, expires: bool, filter: &mut Filter) {
        if access::is_about(directive) || directive.name.to_ascii_lowercase().starts_with("rewrite")
        {
            return;
        }
        match directive.name.to_ascii_lowercase().as_str() {
            "authname" | "authgroupfile" | "authuserfile" if filter.auth.is_some() => {}
            "authtype" if directive.word(0).eq_ignore_ascii_case("basic") => {}
            "header" => self.header(directive, false, &mut filter.headers),
            "requestheader" => self.header(directive, true, &mut filter.request),
            "expiresactive" => {}
            "expiresdefault" | "expiresbytype" => {
                self.expires(directive, expires, &mut filter.expires);
            }
            "setenv" => self.set_env(directive, filter),
            "forcetype" if !directive.word(0).eq_ignore_ascii_case("none") => {
                filter.content_type = Some(directive.word(0).to_owned());
            }
            "addtype" | "addcharset" | "addencoding" | "adddefaultcharset" => {
                self.types(directive, &filter.reach);
            }
            "options" => self.options(directive, &filter.reach.clone()),
            "sethandler"
            | "addhandler"
            | "addoutputfilterbytype"
            | "addoutputfilter"
            | "setoutputfilter" => {
                self.handler(directive, &filter.reach.clone());
            }
            "directoryindex" | "fallbackresource" => self.file_choice(directive, &filter.reach),
            "setenvif" | "setenvifnocase" | "browsermatch" | "browsermatchnocase" => {
                self.set_env_if(directive);
            }
            "proxypass" => self.proxy_pass(directive, &filter.reach.path.clone()),
            "proxypassmatch" => self.proxy_pass_match(directive),
            "redirect" | "redirectmatch" | "redirectpermanent" | "redirecttemp" => {
                self.redirect(directive);
            }
            "errordocument" => self.error_document(directive),
            "limitrequestbody" => self.max_body(directive),
            _ => self.rest(directive),
        }
    }

    /// A directive that nothing is made of.
    pub(super) fn rest(&mut self, directive: &Directive) {
        let name = directive.name.to_ascii_lowercase();
        if let Some((_, why)) = NEEDLESS.iter().find(|(known, _)| *known == name) {
            self.note(directive, Kind::Needless, *why);
        } else if let Some((_, what)) = LOST.iter().find(|(start, _)| name.starts_with(start)) {
            self.note(directive, Kind::Lost, *what);
        } else {
            self.note(directive, Kind::Lost, "there is no counterpart");
        }
    }

    fn auth(&mut self, directives: &[Directive]) -> Option<Auth> {
        let find = |name: &str| directives.iter().rev().find(|directive| directive.is(name));
        let kind = find("AuthType")?;
        if !kind.word(0).eq_ignore_ascii_case("basic") {
            if !kind.word(0).eq_ignore_ascii_case("none") {
                self.note(kind, Kind::Lost, "ask with auth = { basic = … } over TLS");
            }
            return None;
        }
        if let Some(provider) = find("AuthBasicProvider")
            && !provider.word(0).eq_ignore_ascii_case("file")
        {
            self.note(
                provider,
                Kind::Lost,
                "users come from a file, or are accounts of the server",
            );
        }
        let file = |work: &mut Self, name: &str| {
            let directive = find(name)?;
            let path = work.source.here(directive.word(0));
            if path.is_file() {
                return Some(path.display().to_string());
            }
            work.note(directive, Kind::Lost, "there is no such file");
            None
        };
        let users = file(self, "AuthUserFile");
        let groups = file(self, "AuthGroupFile");
        Some(Auth {
            realm: find("AuthName")
                .map_or("restricted", |name| name.word(0))
                .to_owned(),
            users,
            groups,
        })
    }

    /// The rules among directives, where rewriting is on.
    pub(super) fn rewriting(
        &mut self,
        directives: &[Directive],
        base: Option<&str>,
    ) -> Vec<rewrite::Rule> {
        let on = directives
            .iter()
            .rev()
            .find(|directive| directive.is("RewriteEngine"))
            .is_some_and(|directive| directive.word(0).eq_ignore_ascii_case("on"));
        let own = directives
            .iter()
            .rev()
            .find(|directive| directive.is("RewriteBase"));
        let own = own.map(|directive| format!("{}/", directive.word(0).trim_end_matches('/')));
        let mut rules = Vec::new();
        let mut conditions = Vec::new();
        for directive in directives {
            match directive.name.to_ascii_lowercase().as_str() {
                "rewritecond" => conditions.push(directive),
                "rewriterule" => {
                    let conditions = std::mem::take(&mut conditions);
                    if !on {
                        self.note(directive, Kind::Needless, "RewriteEngine is not on");
                        continue;
                    }
                    let place = match base {
                        None => Where::Server,
                        Some(base) => Where::Directory {
                            path: base,
                            base: own.as_deref().unwrap_or(base),
                        },
                    };
                    match rewrite::rule(directive, &conditions, place) {
                        Ok(rule) => rules.push(rule),
                        Err(why) => {
                            for condition in conditions {
                                self.note(condition, Kind::Lost, "its rule is not converted");
                            }
                            self.note(directive, Kind::Lost, why);
                        }
                    }
                }
                "rewritemap" if base.is_none() => self.map(directive),
                "rewriteoptions" => {
                    self.note(directive, Kind::Lost, "rules are not inherited; copy them");
                }
                _ => {}
            }
        }
        rules
    }

    fn set_env(&mut self, directive: &Directive, filter: &mut Filter) {
        let (name, value) = (directive.word(0).to_owned(), directive.word(1).to_owned());
        if name.is_empty() || name.contains('=') {
            self.note(directive, Kind::Lost, "it names no variable");
            return;
        }
        filter.env.retain(|(known, _)| *known != name);
        filter.env.push((name, value));
    }

    fn types(&mut self, directive: &Directive, reach: &Reach) {
        if directive.is("AddDefaultCharset") {
            match directive.word(0).to_ascii_lowercase().as_str() {
                "off" => {}
                "on" => self.site.charset = Some("iso-8859-1".to_owned()),
                charset => self.site.charset = Some(charset.to_owned()),
            }
            return;
        }
        let endings: Vec<String> = directive
            .words
            .iter()
            .skip(1)
            .map(|ending| escaped(ending.trim_start_matches('.')))
            .collect();
        let mut reach = reach.clone();
        let pattern = format!("\\.({})$", endings.join("|"));
        match reach.pattern {
            None => reach.pattern = Some(pattern),
            Some(_) => reach.when.push(format!("%{{REQUEST_URI}} =~ m#{pattern}#")),
        }
        if directive.word(0).contains("httpd-php") {
            self.note(directive, Kind::Lost, "PHP runs in php-fpm");
            return;
        }
        let mut filter = Filter {
            from: format!("{}:{}", directive.file.display(), directive.line),
            reach,
            ..Filter::default()
        };
        let value = directive.word(0).to_owned();
        if directive.is("AddCharset") {
            filter.charset = Some(value);
        } else if directive.is("AddEncoding") {
            let value = value.trim_start_matches("x-").to_owned();
            let change = FieldChange {
                change: Change::Set,
                field: "Content-Encoding".to_owned(),
                value,
                to: String::new(),
            };
            add_change(&mut filter.headers, change, true, None);
        } else {
            filter.content_type = Some(value);
        }
        self.site.filters.push(filter);
    }

    fn options(&mut self, directive: &Directive, reach: &Reach) {
        let mut lost = Vec::new();
        for word in &directive.words {
            let (off, name) = match word.strip_prefix('-') {
                Some(name) => (true, name),
                None => (false, word.trim_start_matches('+')),
            };
            match name.to_ascii_lowercase().as_str() {
                "followsymlinks" | "symlinksifownermatch" | "all" if !off => {
                    self.site.follow = true;
                }
                "none" | "all" | "followsymlinks" | "symlinksifownermatch" => {}
                _ if off => {}
                "execcgi" => self.exec_cgi(directive, reach),
                _ => lost.push(name.to_owned()),
            }
        }
        for name in lost {
            let why = match name.to_ascii_lowercase().as_str() {
                "indexes" => "directories are not listed",
                "multiviews" => "one file is served for a name: rewrite to it",
                _ => "there are no server-side includes",
            };
            self.note(directive, Kind::Lost, format!("{name}: {why}"));
        }
    }
}

/// The pattern of <Files>, <FilesMatch>, <Files ~>, on a whole path.
fn files(directive: &Directive) -> Option<String> {
    let first = directive.word(0);
    let regex = directive.is("FilesMatch") || first == "~";
    let text = if first == "~" {
        directive.word(1)
    } else {
        first
    };
    if !regex {
        return Some(format!("/{}$", from_glob(text)));
    }
    let alternatives: Vec<String> = split(text)
        .iter()
        .map(|part| {
            let (start, part) = match part.strip_prefix('^') {
                Some(part) => ("/", part),
                None => ("/[^/]*", part.as_str()),
            };
            let ends = part.ends_with('$') && !part.ends_with("\\$");
            let (part, end) = match part.strip_suffix('$').filter(|_| ends) {
                Some(part) => (part, "$"),
                None => (part, "[^/]*$"),
            };
            format!("{start}(?:{part}){end}")
        })
        .collect();
    let pattern = alternatives.join("|");
    omnid_http::expression::Pattern::new(&pattern, false).ok()?;
    Some(pattern)
}

/// The alternatives of a pattern that stand in no parentheses.
pub(super) fn split(pattern: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let (mut depth, mut class, mut escaped) = (0_i32, false, false);
    for c in pattern.chars() {
        if c == '|' && depth == 0 && !class && !escaped {
            parts.push(String::new());
            continue;
        }
        if !escaped {
            match c {
                '[' => class = true,
                ']' => class = false,
                '(' if !class => depth += 1,
                ')' if !class => depth -= 1,
                _ => {}
            }
        }
        escaped = c == '\\' && !escaped;
        if let Some(part) = parts.last_mut() {
            part.push(c);
        }
    }
    parts
}

pub(super) fn from_glob(glob: &str) -> String {
    let mut pattern = String::new();
    for c in glob.chars() {
        match c {
            '*' => pattern.push_str("[^/]*"),
            '?' => pattern.push_str("[^/]"),
            c => pattern.push_str(&escaped(&c.to_string())),
        }
    }
    pattern
}

/// A text as a pattern of itself.
pub(super) fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for c in text.chars() {
        if r".*+?()[]{}|^$\".contains(c) {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}
