//! From the config to rules that can be applied.

use std::collections::BTreeMap;

use http::StatusCode;
use omnid_config::{Problem, Problems, Spanned};

use super::{Maps, QueryChoice, RewriteConfig, ThenChoice};
use crate::expression::{Expression, Fault, Lookup, Pattern, Template};

/// A list of rules.
#[derive(Debug, Default)]
pub struct Rules {
    pub(super) rules: Vec<Rule>,
}

/// One of them.
#[derive(Debug)]
pub(super) struct Rule {
    pub(super) pattern: Pattern,
    pub(super) when: Option<Expression>,
    pub(super) to: Option<Template>,
    pub(super) status: Option<StatusCode>,
    pub(super) query: QueryChoice,
    pub(super) then: ThenChoice,
    pub(super) skip: usize,
    pub(super) chain: bool,
    pub(super) escape: bool,
    pub(super) escape_groups: bool,
    pub(super) set: Vec<(String, Template)>,
    pub(super) unset: Vec<String>,
    pub(super) cookies: Vec<Template>,
    pub(super) content_type: Option<String>,
}

impl Rules {
    /// Compiles rules, with every problem found. `site` tells a site's rules from a route's.
    pub fn compile(
        config: &[RewriteConfig],
        site: bool,
        maps: &Maps,
        problems: &mut Problems,
    ) -> Self {
        let mut rules = Vec::with_capacity(config.len());
        for config in config {
            let before = problems.errors();
            let rule = Rule::compile(config, site, maps, problems);
            if problems.errors() == before {
                rules.extend(rule);
            }
        }
        Self { rules }
    }

    /// A rule in a few words.
    #[must_use]
    pub fn describe(&self, index: usize) -> String {
        let Some(rule) = self.rules.get(index) else {
            return String::new();
        };
        let negated = if rule.pattern.negated { "!" } else { "" };
        let status = rule
            .status
            .map_or(String::new(), |status| format!(", status {status}"));
        format!("match \"{negated}{}\"{status}", rule.pattern.source())
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }
}

impl Rule {
    fn compile(
        config: &RewriteConfig,
        site: bool,
        maps: &Maps,
        problems: &mut Problems,
    ) -> Option<Self> {
        let pattern = said(&config.pattern, problems, |text| {
            Pattern::parse(text, false)
        });
        let when = config
            .when
            .as_ref()
            .map(|when| condition(when, maps, problems));
        let to = config.to.as_ref().map(|to| {
            let template = template(to, maps, problems)?;
            let start = template.fixed_start();
            let relative = !start.is_empty() && !start.starts_with('/') && !start.contains("://");
            if site && relative && !start.starts_with('?') {
                problems.push(
                    Problem::error(format!(
                        "\"{}\" is no path that a request can have",
                        to.value
                    ))
                    .at(to.span, "")
                    .help("in a site's rules it begins with a slash, or is a whole URL"),
                );
            }
            Some(template)
        });
        let status = config.status.as_ref().map(|status| {
            let redirects = (300..=399).contains(&status.value);
            let fits = (200..=599).contains(&status.value) && redirects == config.to.is_some();
            if !fits {
                problems.push(
                    Problem::error(format!("{} does not fit this rule", status.value))
                        .at(status.span, "")
                        .help("with `to` it is the status of a redirect, without one that of an answer"),
                );
            }
            StatusCode::from_u16(status.value).unwrap_or(StatusCode::FOUND)
        });
        let templates = |map: &BTreeMap<String, Spanned<String>>, problems: &mut Problems| {
            let mut all = Vec::new();
            for (name, text) in map {
                if let Some(template) = template(text, maps, problems) {
                    all.push((name.clone(), template));
                }
            }
            all
        };
        let set = templates(&config.set, problems);
        let mut cookies = Vec::new();
        for cookie in &config.cookies {
            cookies.extend(template(cookie, maps, problems));
        }
        let when = match when {
            Some(when) => Some(when?),
            None => None,
        };
        let to = match to {
            Some(to) => Some(to?),
            None => None,
        };
        Some(Self {
            pattern: pattern?,
            when,
            to,
            status,
            query: config.query,
            then: config.then,
            skip: usize::from(config.skip),
            chain: config.chain,
            escape: config.escape,
            escape_groups: config.escape_groups,
            set,
            unset: config.unset.clone(),
            cookies,
            content_type: config.content_type.as_ref().map(|kind| kind.value.clone()),
        })
    }
}

/// Reads a condition of the config.
pub(crate) fn condition(
    text: &Spanned<String>,
    maps: &Maps,
    problems: &mut Problems,
) -> Option<Expression> {
    let expression = said(text, problems, Expression::parse)?;
    known(text, &expression.maps(), maps, problems);
    Some(expression)
}

/// Reads a template of the config.
pub(crate) fn template(
    text: &Spanned<String>,
    maps: &Maps,
    problems: &mut Problems,
) -> Option<Template> {
    let template = said(text, problems, Template::parse)?;
    known(text, &template.maps(), maps, problems);
    Some(template)
}

fn known(text: &Spanned<String>, used: &[&str], maps: &Maps, problems: &mut Problems) {
    for map in used {
        if !maps.knows(map) && !crate::expression::BUILT_IN.contains(map) {
            problems.push(
                Problem::error(format!("there is no table \"{map}\""))
                    .at(text.span, "used here")
                    .help(format!("define it as [http.map.{map}]")),
            );
        }
    }
}

/// Reads a text, and says what is wrong with it where it stands.
pub(crate) fn said<T>(
    text: &Spanned<String>,
    problems: &mut Problems,
    read: impl FnOnce(&str) -> Result<T, Fault>,
) -> Option<T> {
    match read(text) {
        Ok(value) => Some(value),
        Err(fault) => {
            problems.push(Problem::error(fault.0).at(text.span, ""));
            None
        }
    }
}
