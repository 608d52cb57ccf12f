//! Rules beside the routes: rewriting, access, and filters that apply wherever they match.

use std::{path::PathBuf, sync::Arc};

use http::{HeaderValue, Method};
use omnid_config::{Problem, Problems, Spanned};

use super::{
    Auth, Expiry, HeaderEdits, Route, Site, actions::compile_auth, compile::is_plain_path,
};
use crate::{
    access::Access,
    config::{FilterConfig, RouteConfig, SiteConfig},
    engine::routes::Found,
    expression::{Expression, Facts, Groups, Pattern},
    rewrite::{Maps, Rules, condition, said},
};

/// The rules of a site that has any.
#[derive(Debug)]
pub struct SiteRules {
    /// Applied before a route is looked for.
    pub rewrite: Rules,
    /// Applied wherever they match, in order.
    pub filters: Vec<Filter>,
    /// Who may come in where nothing else says so.
    pub access: Option<Access>,
    /// Who that could be.
    pub auth: Option<Auth>,
    /// Tables.
    pub maps: Arc<Maps>,
}

/// What a request must be like, beside its path.
#[derive(Debug, Default)]
pub struct Matchers {
    /// What the path must match.
    pub pattern: Option<Pattern>,
    /// Its methods; any where there are none.
    pub methods: Vec<Method>,
    /// A condition.
    pub when: Option<Expression>,
}

/// The rules of a route.
#[derive(Debug, Default)]
pub struct RouteRules {
    /// When the route is taken at all.
    pub matchers: Matchers,
    /// Who may come in.
    pub access: Option<Access>,
    /// Applied to what follows the route's path.
    pub rewrite: Rules,
}

/// Changes to whatever matches it.
#[derive(Debug)]
pub struct Filter {
    /// The path that it covers, with all below.
    pub path: String,
    /// When it applies there.
    pub matchers: Matchers,
    /// Who may come in.
    pub access: Option<Access>,
    /// Who that could be.
    pub auth: Option<Auth>,
    /// Applied to what follows the filter's path.
    pub rewrite: Rules,
    /// Changes to responses.
    pub headers: HeaderEdits,
    /// Changes to requests.
    pub request: HeaderEdits,
    /// A media type, whatever the name of a file says.
    pub content_type: Option<HeaderValue>,
    /// A charset, whatever the site says.
    pub charset: Option<String>,
    /// How long responses may be kept.
    pub expiry: Expiry,
    /// Variables that programs are told.
    pub env: Vec<(String, String)>,
}

impl Matchers {
    fn compile(
        pattern: Option<&Spanned<String>>,
        methods: &[Spanned<String>],
        when: Option<&Spanned<String>>,
        maps: &Maps,
        problems: &mut Problems,
    ) -> Self {
        let mut parsed = Vec::new();
        for method in methods {
            match method.parse() {
                Ok(method) => parsed.push(method),
                Err(_) => problems.push(
                    Problem::error(format!("\"{}\" is no method", method.value))
                        .at(method.span, ""),
                ),
            }
        }
        Self {
            pattern: pattern
                .and_then(|pattern| said(pattern, problems, |text| Pattern::parse(text, false))),
            methods: parsed,
            when: when.and_then(|when| condition(when, maps, problems)),
        }
    }

    /// Whether there is nothing to match.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pattern.is_none() && self.methods.is_empty() && self.when.is_none()
    }

    /// Whether a request is like that.
    #[must_use]
    pub fn match_request(&self, facts: &Facts<'_>, maps: &Maps) -> bool {
        let method = facts.request.method;
        (self.methods.is_empty()
            || self.methods.contains(method)
            || (*method == Method::HEAD && self.methods.contains(&Method::GET)))
            && self
                .pattern
                .as_ref()
                .is_none_or(|pattern| facts.meet(pattern, &facts.path).is_some())
            && self.when.as_ref().is_none_or(|when| {
                when.holds(facts, &Groups::default(), &mut Groups::default(), maps)
            })
    }
}

impl RouteRules {
    pub(super) fn compile(route: &RouteConfig, maps: &Maps, problems: &mut Problems) -> Self {
        Self {
            matchers: Matchers::compile(
                route.pattern.as_ref(),
                &route.methods,
                route.when.as_ref(),
                maps,
                problems,
            ),
            access: access(route.access.as_ref(), problems),
            rewrite: Rules::compile(&route.rewrite, false, maps, problems),
        }
    }

    fn is_empty(&self) -> bool {
        self.matchers.is_empty() && self.access.is_none() && self.rewrite.is_empty()
    }
}

impl Filter {
    fn compile(filter: &FilterConfig, maps: &Maps, problems: &mut Problems) -> Self {
        if !is_plain_path(&filter.path) {
            problems.push(super::compile::not_a_path(&filter.path, filter.path.span));
        }
        let content_type = filter.content_type.as_ref().and_then(|kind| {
            let value = HeaderValue::from_str(kind).ok();
            if value.is_none() {
                problems.push(
                    Problem::error("a media type has no control characters").at(kind.span, ""),
                );
            }
            value
        });
        let charset = filter.charset.as_ref().and_then(|charset| {
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:+".contains(&byte);
            if charset.is_empty() || !charset.bytes().all(plain) {
                problems.push(
                    Problem::error(format!("\"{}\" is not a charset", charset.value))
                        .at(charset.span, ""),
                );
                return None;
            }
            Some(charset.value.clone())
        });
        Self {
            path: filter.path.value.clone(),
            matchers: Matchers::compile(
                filter.pattern.as_ref(),
                &filter.methods,
                filter.when.as_ref(),
                maps,
                problems,
            ),
            access: access(filter.access.as_ref(), problems),
            auth: filter
                .auth
                .as_ref()
                .map(|auth| compile_auth(auth, problems)),
            rewrite: Rules::compile(&filter.rewrite, false, maps, problems),
            headers: HeaderEdits::compile(&filter.headers, problems),
            request: HeaderEdits::compile(&filter.request, problems),
            content_type,
            charset,
            expiry: Expiry::compile(&filter.expires),
            env: filter
                .env
                .iter()
                .filter_map(|(name, value)| {
                    let bad = name.is_empty() || name.contains(['=', '\0']) || value.contains('\0');
                    if bad {
                        problems.push(
                            Problem::error(format!("\"{name}\" is no variable")).at(value.span, ""),
                        );
                    }
                    (!bad).then(|| (name.clone(), value.value.clone()))
                })
                .collect(),
        }
    }

    /// Whether it may keep somebody from something.
    #[must_use]
    pub fn is_guard(&self) -> bool {
        self.access.is_some() || self.auth.is_some() || !self.rewrite.is_empty()
    }

    /// Whether it covers the path and matches the request.
    #[must_use]
    pub fn applies(&self, facts: &Facts<'_>, maps: &Maps) -> bool {
        let bare = self.path.strip_suffix('/').unwrap_or(&self.path);
        let covers = facts.path.strip_prefix(bare).is_some_and(|rest| {
            rest.starts_with('/') || (rest.is_empty() && !self.path.ends_with('/'))
        });
        covers && self.matchers.match_request(facts, maps)
    }
}

/// The rules of a site, if it has any.
pub(super) fn compile(
    site: &SiteConfig,
    routes: &[&RouteRules],
    maps: &Arc<Maps>,
    problems: &mut Problems,
) -> Option<Box<SiteRules>> {
    let filters: Vec<Filter> = site
        .filter
        .iter()
        .map(|filter| Filter::compile(filter, maps, problems))
        .collect();
    let rules = SiteRules {
        rewrite: Rules::compile(&site.rewrite, true, maps, problems),
        filters,
        access: access(site.access.as_ref(), problems),
        auth: site.auth.as_ref().map(|auth| compile_auth(auth, problems)),
        maps: maps.clone(),
    };
    somebody_can_be_asked(site, problems);
    let none = rules.rewrite.is_empty()
        && rules.filters.is_empty()
        && rules.access.is_none()
        && rules.auth.is_none()
        && routes.iter().all(|route| route.is_empty());
    (!none).then(|| Box::new(rules))
}

/// A rule that depends on who it is needs a way to find out.
fn somebody_can_be_asked(site: &SiteConfig, problems: &mut Problems) {
    let asks = |access: &Option<Spanned<String>>| {
        let parsed = access.as_ref().map(|access| Access::parse(access));
        matches!(parsed, Some(Ok(parsed)) if parsed.asks_who())
    };
    let anywhere = site.auth.is_some()
        || site.route.iter().any(|route| route.auth.is_some())
        || site.filter.iter().any(|filter| filter.auth.is_some());
    if anywhere {
        return;
    }
    let rules = site
        .route
        .iter()
        .map(|route| &route.access)
        .chain(site.filter.iter().map(|filter| &filter.access))
        .chain([&site.access]);
    for access in rules.filter(|access| asks(access)).flatten() {
        problems.push(
            Problem::error("this depends on who it is, and nobody is asked")
                .at(access.span, "")
                .help("say how: auth = { basic = \"realm\" }"),
        );
    }
}

fn access(text: Option<&Spanned<String>>, problems: &mut Problems) -> Option<Access> {
    text.and_then(|text| said(text, problems, Access::parse))
}

impl Site {
    /// The route for a path, where routes have conditions.
    #[must_use]
    pub fn route_for(&self, path: &[u8], facts: &Facts<'_>, maps: &Maps) -> Found<'_, Route> {
        self.routes.find(path, |route| {
            route.rules.matchers.is_empty() || route.rules.matchers.match_request(facts, maps)
        })
    }

    /// The file that a path leads to, whether or not it is there.
    #[must_use]
    pub fn file_of(&self, path: &str) -> Option<PathBuf> {
        let found = self
            .routes
            .find(path.as_bytes(), |route| route.rules.matchers.is_empty());
        let below = |root: &std::path::Path, rest: &str| {
            let rest = rest.trim_start_matches('/');
            let climbs = rest.split('/').any(|part| part == "..");
            (!climbs).then(|| root.join(rest))
        };
        if let Found::Route { route, matched, .. } = found {
            match &route.action {
                super::Action::Files(files) => {
                    return below(files.root.path(), path.get(matched..)?);
                }
                super::Action::SiteFiles(files) => return below(files.root.path(), path),
                _ => {}
            }
        }
        below(self.root.as_ref()?.root.path(), path)
    }
}
