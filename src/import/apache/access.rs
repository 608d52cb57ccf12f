//! Require, and 2.2's Order, Allow, Deny and Satisfy, as our `access`.

use omnid_http::access::Access;

use super::parse::Directive;

/// A directive that cannot be had, and why.
pub(super) type Refused = Box<(Directive, String)>;

/// What a scope says about access, in 2.4's words and in 2.2's. The two are asked one after the
/// other, and what is said further up holds for each where nothing is said here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) require: Option<String>,
    pub(super) order: Option<String>,
    /// Whether one of the two is enough.
    pub(super) any: bool,
}

impl Said {
    /// Both in one; `None` where nothing is said.
    pub(super) fn joined(&self) -> Option<String> {
        match (&self.require, &self.order) {
            (Some(require), Some(order)) if self.any => {
                Some(format!("{} or {}", group(order), group(require)))
            }
            (Some(require), Some(order)) if order == "everybody" => Some(require.clone()),
            (Some(require), Some(order)) if require == "everybody" => Some(order.clone()),
            (Some(require), Some(order)) => {
                Some(format!("{} and {}", group(order), group(require)))
            }
            (one, other) => one.clone().or_else(|| other.clone()),
        }
    }
}

/// What a scope says about access.
///
/// # Errors
/// The directive that cannot be had, and why.
pub(super) fn access(directives: &[Directive]) -> Result<Said, Refused> {
    Ok(Said {
        require: tree(directives, "or")?,
        order: order(directives)?,
        any: directives.iter().any(|directive| {
            directive.is("Satisfy") && directive.word(0).eq_ignore_ascii_case("any")
        }),
    })
}

/// Whether a directive is about access.
pub(super) fn is_about(directive: &Directive) -> bool {
    [
        "Require",
        "RequireAll",
        "RequireAny",
        "RequireNone",
        "Order",
        "Allow",
        "Deny",
        "Satisfy",
    ]
    .iter()
    .any(|name| directive.is(name))
}

fn tree(directives: &[Directive], join: &str) -> Result<Option<String>, Refused> {
    let mut parts = Vec::new();
    for directive in directives {
        let part = if directive.is("Require") {
            Some(require(directive).map_err(|why| Box::new((directive.clone(), why)))?)
        } else if directive.is("RequireAll") {
            tree(&directive.inner, "and")?
        } else if directive.is("RequireAny") {
            tree(&directive.inner, "or")?
        } else if directive.is("RequireNone") {
            tree(&directive.inner, "or")?.map(|inner| format!("not {}", group(&inner)))
        } else {
            None
        };
        parts.extend(part);
    }
    Ok(match parts.len() {
        0 => None,
        1 => Some(parts.concat()),
        _ => {
            let parts: Vec<String> = parts.iter().map(|part| group(part)).collect();
            Some(parts.join(&format!(" {join} ")))
        }
    })
}

/// In parentheses, where it is more than one word of the language.
fn group(text: &str) -> String {
    if text.contains(" or ") || text.contains(" and ") {
        format!("({text})")
    } else {
        text.to_owned()
    }
}

fn require(directive: &Directive) -> Result<String, String> {
    let mut words: Vec<String> = directive.words.clone();
    let negated = words
        .first()
        .is_some_and(|word| word.eq_ignore_ascii_case("not"));
    if negated {
        words.remove(0);
    }
    let kind = words
        .first()
        .cloned()
        .unwrap_or_default()
        .to_ascii_lowercase();
    let rest: Vec<String> = words.iter().skip(1).map(|word| bare(word)).collect();
    let rest = rest.join(" ");
    let text = match kind.as_str() {
        "all" if rest.eq_ignore_ascii_case("granted") => "everybody".to_owned(),
        "all" if rest.eq_ignore_ascii_case("denied") => "nobody".to_owned(),
        "valid-user" => "any-user".to_owned(),
        "local" => "local".to_owned(),
        "ip" | "user" | "group" | "method" | "env" => format!("{kind} {rest}"),
        "host" if rest == "localhost" => "local".to_owned(),
        "expr" => {
            let expression = directive.rest.trim();
            let at = expression.to_ascii_lowercase().find("expr").unwrap_or(0);
            let expression = expression.get(at + 4..).unwrap_or_default().trim();
            let expression = unquoted(expression);
            let quote = if expression.contains('"') { '\'' } else { '"' };
            if expression.contains(quote) {
                return Err("it has both kinds of quotation marks".to_owned());
            }
            format!("when {quote}{expression}{quote}")
        }
        "host" | "forward-dns" => {
            return Err("names of clients are not looked up; use addresses".to_owned());
        }
        _ => return Err(format!("there is no \"{kind}\" to ask")),
    };
    let text = if negated { format!("not {text}") } else { text };
    Access::parse(&text).map_err(|fault| fault.to_string())?;
    Ok(text)
}

fn unquoted(text: &str) -> &str {
    for quote in ['"', '\''] {
        if let Some(inner) = text
            .strip_prefix(quote)
            .and_then(|text| text.strip_suffix(quote))
        {
            return inner;
        }
    }
    text
}

/// A word that is safe within our language.
fn bare(word: &str) -> String {
    if word.is_empty() || word.contains([' ', '(', ')', '\'']) {
        format!("\"{}\"", word.replace('"', ""))
    } else {
        word.to_owned()
    }
}

fn order(directives: &[Directive]) -> Result<Option<String>, Refused> {
    let named = |name: &str| {
        directives
            .iter()
            .filter(move |directive| directive.is(name))
            .collect::<Vec<_>>()
    };
    let (orders, allows, denies) = (named("Order"), named("Allow"), named("Deny"));
    if orders.is_empty() && allows.is_empty() && denies.is_empty() {
        return Ok(None);
    }
    let order = orders.last().map_or("deny,allow".to_owned(), |order| {
        order.words.join("").to_ascii_lowercase()
    });
    let list = |directives: &[&Directive]| -> Result<Vec<String>, Refused> {
        let mut all = Vec::new();
        for directive in directives {
            for word in directive.words.iter().skip(1) {
                let text = match word.to_ascii_lowercase().as_str() {
                    "all" => "everybody".to_owned(),
                    "none" => "nobody".to_owned(),
                    "localhost" => "local".to_owned(),
                    lower => match lower.strip_prefix("env=") {
                        Some(name) => match name.strip_prefix('!') {
                            Some(name) => format!("not env {name}"),
                            None => format!("env {name}"),
                        },
                        None => format!("ip {word}"),
                    },
                };
                Access::parse(&text)
                    .map_err(|fault| Box::new(((*directive).clone(), fault.to_string())))?;
                all.push(text);
            }
        }
        Ok(all)
    };
    let (allowed, denied) = (list(&allows)?, list(&denies)?);
    let join = |list: &[String]| list.join(" or ");
    let everybody = "everybody".to_owned();
    Ok(Some(
        if order.starts_with("allow") || order.starts_with("mutual") {
            // Only who is allowed and not denied.
            if denied.contains(&everybody) || allowed.is_empty() {
                "nobody".to_owned()
            } else if allowed.contains(&everybody) && denied.is_empty() {
                everybody
            } else if denied.is_empty() {
                join(&allowed)
            } else if allowed.contains(&everybody) {
                format!("not {}", group(&join(&denied)))
            } else {
                format!(
                    "{} and not {}",
                    group(&join(&allowed)),
                    group(&join(&denied))
                )
            }
        } else if allowed.contains(&everybody) || denied.is_empty() {
            everybody
        } else if denied.contains(&everybody) {
            if allowed.is_empty() {
                "nobody".to_owned()
            } else {
                join(&allowed)
            }
        } else if allowed.is_empty() {
            format!("not {}", group(&join(&denied)))
        } else {
            format!(
                "{} or not {}",
                group(&join(&allowed)),
                group(&join(&denied))
            )
        },
    ))
}
