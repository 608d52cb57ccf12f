//! What a route does, from the config: one action, who may come in, and nothing that contradicts.

use std::{path::Path, sync::Arc};

use http::{HeaderValue, StatusCode, Uri};
use omnid_config::{Problem, Problems, Spanned};
use omnid_identity::Role;

use super::{
    Action, Auth, HeaderEdits, Route, RouteRules,
    compile::rate,
    gateways::{cgi, fastcgi},
    proxies::proxy,
};
use crate::{
    access::{GroupFile, UserFile},
    config::{
        AuthConfig, CodingChoice, ListingChoice, ListingConfig, OrderChoice, RoleChoice,
        RouteConfig, SiteConfig, SymlinksChoice,
    },
    data::Shelf,
    files::{Files, Form, Listing, Symlinks},
    rewrite::Maps,
    wire::coding::Coding,
};

pub(super) fn compile_route(
    route: &RouteConfig,
    site: &SiteConfig,
    name: &str,
    root: Option<&Arc<Files>>,
    shelf: &Shelf,
    maps: &Maps,
    problems: &mut Problems,
) -> Route {
    conflicts(route, problems);
    Route {
        path: route.path.value.clone(),
        auth: route.auth.as_ref().map(|auth| compile_auth(auth, problems)),
        action: action(route, site, root, shelf, problems),
        rate: route.rate.as_ref().map(|config| {
            // Routes of one path may differ in what they match.
            let said = |text: &Option<Spanned<String>>| {
                text.as_ref()
                    .map(|text| text.value.clone())
                    .unwrap_or_default()
            };
            let (pattern, when) = (said(&route.pattern), said(&route.when));
            let place = format!("{name} {} {pattern} {when}", route.path.value);
            rate(config, place, shelf, problems)
        }),
        headers: HeaderEdits::compile(&route.headers, problems),
        max_body: route.max_body.unwrap_or(site.max_body).bytes(),
        rules: RouteRules::compile(route, maps, problems),
    }
}

/// A route does one thing, and has no settings for another.
fn conflicts(route: &RouteConfig, problems: &mut Problems) {
    let root = route.root.as_ref().map(|root| ("root", root.span));
    let proxy = route.proxy.first().map(|proxy| ("proxy", proxy.span));
    let redirect = route
        .redirect
        .as_ref()
        .map(|redirect| ("redirect", redirect.span));
    let respond = route
        .respond
        .as_ref()
        .map(|respond| ("respond", respond.span));
    // Programs may be among the files of a root; otherwise they are an action of their own.
    let cgi = route
        .cgi
        .as_ref()
        .filter(|cgi| cgi.suffixes.is_empty())
        .map(|cgi| {
            let program = cgi.program.as_ref().or(cgi.directory.as_ref());
            ("cgi", program.and_then(|program| program.span))
        });
    let mut actions = [root, proxy, cgi, redirect, respond].into_iter().flatten();
    if let (Some((first, first_span)), Some((second, second_span))) =
        (actions.next(), actions.next())
    {
        problems.push(
            Problem::error(format!("a route cannot have both {first} and {second}"))
                .at(second_span, "and this?")
                .also(first_span, "this")
                .help("make it two routes"),
        );
    }
    if let (Some(cgi), true) = (&route.cgi, route.fastcgi.is_some()) {
        problems.push(
            Problem::error("a route cannot have both fastcgi and cgi")
                .at(cgi.place, "")
                .help("make it two routes"),
        );
    }
    if let Some(status) = &route.status
        && route.redirect.is_none()
        && route.respond.is_none()
    {
        problems.push(
            Problem::error("only a redirect or a fixed text has a status of its own")
                .at(status.span, ""),
        );
    }
    if route.root.is_none()
        && (route.index.is_some() || route.fallback.is_some() || route.listing.is_some())
    {
        problems.push(
            Problem::error("index, fallback and listing are for a route with a root of its own")
                .at(route.place, ""),
        );
    }
}

fn action(
    route: &RouteConfig,
    site: &SiteConfig,
    root: Option<&Arc<Files>>,
    shelf: &Shelf,
    problems: &mut Problems,
) -> Action {
    if let Some(path) = &route.root {
        let index = route.index.as_ref().unwrap_or(&site.index);
        let (fallback, listing) = (route.fallback.clone(), route.listing.as_ref());
        let files = files(path, index, fallback, listing, site, shelf, problems);
        let Some(files) = files else {
            return Action::Nothing;
        };
        return match (&route.fastcgi, &route.cgi) {
            (Some(config), _) => fastcgi(config, Some((&files, false)), problems),
            (None, Some(config)) => cgi(config, site, Some((&files, false)), shelf, problems),
            (None, None) => Action::Files(Arc::new(files)),
        };
    }
    if let Some(config) = &route.cgi {
        return cgi(
            config,
            site,
            root.map(|root| (&**root, true)),
            shelf,
            problems,
        );
    }
    if let Some(config) = &route.fastcgi {
        return fastcgi(config, root.map(|root| (&**root, true)), problems);
    }
    if !route.proxy.is_empty() {
        return proxy(route, shelf, problems);
    }
    if let Some(to) = &route.redirect {
        return redirect(to, route.status.as_ref(), problems);
    }
    if let Some(text) = &route.respond {
        return respond(text, route, problems);
    }
    if site.root.is_none()
        && route.auth.is_none()
        && route.access.is_none()
        && route.rewrite.is_empty()
    {
        problems.push(
            Problem::error("this route does nothing")
                .at(route.place, "")
                .help("give it one of root, proxy, cgi, redirect, respond"),
        );
    }
    let Some(root) = root else {
        return Action::Nothing;
    };
    match &site.fastcgi {
        Some(config) => fastcgi(config, Some((&**root, true)), problems),
        None => Action::SiteFiles(root.clone()),
    }
}

pub(super) fn files(
    path: &Spanned<std::path::PathBuf>,
    index: &[String],
    fallback: Option<String>,
    listing: Option<&ListingConfig>,
    site: &SiteConfig,
    shelf: &Shelf,
    problems: &mut Problems,
) -> Option<Files> {
    let symlinks = match site.symlinks {
        SymlinksChoice::Follow => Symlinks::Follow,
        SymlinksChoice::Inside => Symlinks::Inside,
        SymlinksChoice::Deny => Symlinks::Deny,
    };
    for name in index {
        if name.is_empty() || name.contains('/') {
            problems.push(
                Problem::error(format!("\"{name}\" is not the name of an index file"))
                    .at(path.span, "for this root"),
            );
        }
    }
    let directory: &Path = path;
    let listing = listing.or(site.listing.as_ref()).map(|config| Listing {
        form: match config.format {
            ListingChoice::List => Form::List,
            ListingChoice::Text => Form::Text,
            ListingChoice::Table => Form::Table,
            ListingChoice::Json => Form::Json,
        },
        natural: config.order == OrderChoice::Version,
        folders_first: config.folders_first,
        ignore: config.ignore.clone(),
        header: config.header.clone(),
        readme: config.readme.clone(),
    });
    match shelf.root(directory, symlinks) {
        Ok(root) => Some(Files {
            root,
            index: index.to_vec(),
            fallback,
            hidden: site.hidden_files,
            charset: site.charset.clone(),
            precompressed: codings(&site.precompressed),
            listing,
            languages: languages(&site.languages, problems),
            extensions: extensions(&site.extensions, problems),
            programs: Vec::new(),
        }),
        Err(error) => {
            problems.push(
                Problem::error(format!(
                    "the root {} cannot be served: {error}",
                    directory.display()
                ))
                .at(path.span, ""),
            );
            None
        }
    }
}

pub(super) fn codings(config: &[CodingChoice]) -> Vec<Coding> {
    let one = |coding: &CodingChoice| match coding {
        CodingChoice::Zstd => Coding::Zstd,
        CodingChoice::Brotli => Coding::Brotli,
        CodingChoice::Gzip => Coding::Gzip,
    };
    config.iter().map(one).collect()
}

/// Each is a name to look for where there is none: few, so that what is not there stays cheap.
const LANGUAGES_MAX: usize = 32;
const EXTENSIONS_MAX: usize = 4;

fn languages(config: &[Spanned<String>], problems: &mut Problems) -> Vec<String> {
    too_many("languages", LANGUAGES_MAX, config, problems);
    for language in config {
        let mut parts = language.split('-');
        let fits = |part: &str| {
            (1..=8).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_alphanumeric())
        };
        if !parts.all(fits) {
            problems.push(
                Problem::error(format!("\"{}\" is no language", language.value))
                    .at(language.span, "")
                    .help("a tag such as \"en\" or \"pt-br\", as the names of files end in"),
            );
        }
    }
    config
        .iter()
        .map(|language| language.value.clone())
        .collect()
}

fn extensions(config: &[Spanned<String>], problems: &mut Problems) -> Vec<String> {
    too_many("extensions", EXTENSIONS_MAX, config, problems);
    for extension in config {
        if !extension.starts_with('.') || extension.len() < 2 || extension.contains('/') {
            problems.push(
                Problem::error(format!("\"{}\" is no extension", extension.value))
                    .at(extension.span, "")
                    .help("it begins with a dot: \".html\""),
            );
        }
    }
    config
        .iter()
        .map(|extension| extension.value.clone())
        .collect()
}

fn too_many(what: &str, max: usize, list: &[Spanned<String>], problems: &mut Problems) {
    if let Some(beyond) = list.get(max) {
        problems.push(
            Problem::error(format!("more than {max} {what}")).at(beyond.span, "one too many"),
        );
    }
}

fn redirect(
    to: &Spanned<String>,
    status: Option<&Spanned<u16>>,
    problems: &mut Problems,
) -> Action {
    let code = status.map_or(302, |status| status.value);
    let status = match code {
        301 | 302 | 303 | 307 | 308 => StatusCode::from_u16(code).unwrap_or(StatusCode::FOUND),
        _ => {
            problems.push(
                Problem::error(format!("{code} is not the status of a redirect"))
                    .at(status.and_then(|status| status.span), "")
                    .help("301, 302, 303, 307 or 308"),
            );
            StatusCode::FOUND
        }
    };
    let fits = match to.parse::<Uri>() {
        Ok(_) if to.starts_with('/') => !to.starts_with("//"),
        Ok(uri) => uri.scheme().is_some() && uri.authority().is_some(),
        Err(_) => false,
    };
    if !fits || to.contains('#') {
        problems.push(
            Problem::error(format!("\"{}\" is no place to redirect to", to.value))
                .at(to.span, "")
                .help("a path such as \"/new/\", or a URL such as \"https://example.org/\""),
        );
    }
    Action::Redirect {
        to: to.value.clone(),
        status,
    }
}

fn respond(text: &Spanned<String>, route: &RouteConfig, problems: &mut Problems) -> Action {
    let code = route.status.as_ref().map_or(200, |status| status.value);
    let status = StatusCode::from_u16(code)
        .ok()
        .filter(|_| (200..=599).contains(&code));
    if status.is_none() {
        problems.push(
            Problem::error(format!("{code} is not the status of a response"))
                .at(route.status.as_ref().and_then(|status| status.span), "")
                .help("a number from 200 to 599"),
        );
    }
    if matches!(code, 204 | 304) && !text.is_empty() {
        problems.push(
            Problem::error(format!("a {code} response has no text"))
                .at(text.span, "")
                .help("respond = \"\""),
        );
    }
    let Ok(content_type) = HeaderValue::from_str(&route.content_type) else {
        problems.push(Problem::error("content_type holds a control character").at(route.place, ""));
        return Action::Nothing;
    };
    Action::Respond {
        status: status.unwrap_or(StatusCode::OK),
        content_type,
        body: text.value.clone().into(),
    }
}

pub(super) fn compile_auth(auth: &AuthConfig, problems: &mut Problems) -> Auth {
    let realm: String = auth
        .basic
        .chars()
        .flat_map(|c| match c {
            '"' | '\\' => vec!['\\', c],
            c => vec![c],
        })
        .collect();
    let challenge = HeaderValue::from_str(&format!("Basic realm=\"{realm}\", charset=\"UTF-8\""));
    if challenge.is_err() {
        problems.push(Problem::error("a realm has no control characters").at(auth.basic.span, ""));
    }
    let accounts = auth
        .accounts
        .iter()
        .map(|account| account.to_lowercase())
        .collect();
    for account in &auth.accounts {
        if !account.contains('@') {
            problems.push(
                Problem::error(format!("\"{}\" is not an account", account.value))
                    .at(account.span, "")
                    .help("an account is written \"alice@example.org\""),
            );
        }
    }
    let users = open(auth.users.as_ref(), UserFile::open, problems);
    let groups = open(auth.groups.as_ref(), GroupFile::open, problems);
    if let Some(users) = &auth.users
        && !(auth.roles.is_empty() && auth.accounts.is_empty())
    {
        problems.push(
            Problem::error("users of a file are no accounts and have no roles")
                .at(users.span, "")
                .help("say who may come in with access = \"user alice\""),
        );
    }
    Auth {
        challenge: challenge.unwrap_or(HeaderValue::from_static("Basic realm=\"\"")),
        roles: auth
            .roles
            .iter()
            .map(|role| match role {
                RoleChoice::User => Role::User,
                RoleChoice::DomainAdmin => Role::DomainAdmin,
                RoleChoice::Admin => Role::Admin,
            })
            .collect(),
        accounts,
        users: users.map(Arc::new),
        groups,
    }
}

/// Opens a file of users or groups.
fn open<T>(
    path: Option<&Spanned<std::path::PathBuf>>,
    open: impl FnOnce(&Path) -> std::io::Result<T>,
    problems: &mut Problems,
) -> Option<T> {
    let path = path?;
    open(&path.value)
        .inspect_err(|error| {
            problems.push(
                Problem::error(format!("{} cannot be read: {error}", path.display()))
                    .at(path.span, ""),
            );
        })
        .ok()
}
