//! mod_rewrite's rules as ours.

use omnid_http::expression::{Expression, Pattern, Template};

use super::parse::Directive;

/// One of our rules.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) from: String,
    pub(super) pattern: String,
    pub(super) when: Option<String>,
    pub(super) to: Option<String>,
    pub(super) status: Option<u16>,
    pub(super) query: Option<&'static str>,
    pub(super) then: Option<&'static str>,
    pub(super) skip: u16,
    pub(super) chain: bool,
    pub(super) raw: bool,
    pub(super) escape_groups: bool,
    pub(super) set: Vec<(String, String)>,
    pub(super) unset: Vec<String>,
    pub(super) cookies: Vec<String>,
    pub(super) content_type: Option<String>,
}

/// Where rules stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Where<'a> {
    /// For a whole server.
    Server,
    /// For a directory at this path; `base` is what RewriteBase says, or the path.
    Directory {
        /// With a slash at its end.
        path: &'a str,
        /// With a slash at its end.
        base: &'a str,
    },
}

/// A rule with its conditions.
///
/// # Errors
/// Why it cannot be had.
pub(super) fn rule(
    directive: &Directive,
    conditions: &[&Directive],
    place: Where<'_>,
) -> Result<Rule, String> {
    let (pattern, substitution) = (directive.word(0), directive.word(1));
    let mut rule = Rule {
        from: format!("{}:{}", directive.file.display(), directive.line),
        then: Some("next"),
        ..Rule::default()
    };
    let mut ignore_case = false;
    let mut redirect = None;
    let mut no_substitution = substitution == "-";
    let mut append = false;
    let mut drop_query = false;
    let mut only_asked = false;
    for flag in flags(directive.word(2)) {
        let (name, value) = flag.split_once('=').unwrap_or((&flag, ""));
        match name.to_ascii_uppercase().as_str() {
            "" => {}
            "L" | "LAST" => rule.then = None,
            "END" => rule.then = Some("end"),
            "N" | "NEXT" => rule.then = Some("again"),
            "C" | "CHAIN" => rule.chain = true,
            "S" | "SKIP" => {
                rule.skip = value
                    .parse()
                    .map_err(|_| format!("S={value} is no number"))?;
            }
            "NC" | "NOCASE" => ignore_case = true,
            "NE" | "NOESCAPE" => rule.raw = true,
            "B" if value.is_empty() => rule.escape_groups = true,
            "QSA" | "QSAPPEND" => append = true,
            "QSD" | "QSDISCARD" => drop_query = true,
            // Every rewritten path is looked up anew here.
            "PT" | "PASSTHROUGH" | "DPI" | "DISCARDPATH" => {}
            "NS" | "NOSUBREQ" => only_asked = true,
            "F" | "FORBIDDEN" => {
                redirect = Some(403);
                no_substitution = true;
                rule.then = None;
            }
            "G" | "GONE" => {
                redirect = Some(410);
                no_substitution = true;
                rule.then = None;
            }
            "R" | "REDIRECT" => {
                redirect = Some(match value.to_ascii_lowercase().as_str() {
                    "" | "temp" => 302,
                    "permanent" => 301,
                    "seeother" => 303,
                    number => number
                        .parse()
                        .map_err(|_| format!("R={value} is no status"))?,
                });
            }
            "E" | "ENV" => match value.strip_prefix('!') {
                Some(name) => rule.unset.push(name.to_owned()),
                None => {
                    let (name, value) = value.split_once(':').unwrap_or((value, ""));
                    rule.set.push((name.to_owned(), value.to_owned()));
                }
            },
            "CO" | "COOKIE" => rule.cookies.push(cookie(value)),
            "T" | "TYPE" => rule.content_type = Some(value.to_owned()),
            "P" | "PROXY" => {
                return Err(
                    "make it a route with `proxy`: rules do not choose upstreams".to_owned(),
                );
            }
            "H" | "HANDLER" => return Err("handlers are routes here".to_owned()),
            _ => return Err(format!("the flag {flag} has no counterpart")),
        }
    }
    rule.pattern = match (pattern, ignore_case) {
        ("" | "^" | ".*" | "^.*$" | "^(.*)$" | "(.*)", _)
            if !substitution.contains("$1") && pattern != "(.*)" && pattern != "^(.*)$" =>
        {
            // Captures nothing that is used.
            String::new()
        }
        (pattern, true) => match pattern.strip_prefix('!') {
            Some(rest) => format!("!(?i){rest}"),
            None => format!("(?i){pattern}"),
        },
        (pattern, false) => pattern.to_owned(),
    };
    Pattern::parse(&rule.pattern, false).map_err(|fault| fault.to_string())?;
    rule.when = when(conditions, place)?;
    if only_asked {
        let asked = "%{IS_SUBREQ} == 'false'";
        rule.when = Some(match rule.when.take() {
            Some(when) => format!("({when}) && {asked}"),
            None => asked.to_owned(),
        });
    }
    rule.query = match (append, drop_query) {
        (_, true) => Some("drop"),
        (true, _) => Some("append"),
        _ => None,
    };
    match redirect {
        Some(status) if !(300..=399).contains(&status) => {
            rule.status = Some(status);
            rule.then = None;
        }
        Some(_) if no_substitution => {
            return Err("a redirect to nowhere".to_owned());
        }
        status => {
            rule.status = status;
            if !no_substitution {
                rule.to = Some(target(substitution, place)?);
            }
        }
    }
    for text in rule
        .to
        .iter()
        .chain(rule.set.iter().map(|(_, value)| value))
    {
        Template::parse(text).map_err(|fault| fault.to_string())?;
    }
    Ok(rule)
}

/// A substitution; the names of files are what they are for the server's own paths here.
fn target(substitution: &str, place: Where<'_>) -> Result<String, String> {
    let text = substitution.replace("%{REQUEST_FILENAME}", "%{REQUEST_URI}");
    if text.starts_with("%{DOCUMENT_ROOT}") {
        return Ok(text.replacen("%{DOCUMENT_ROOT}", "", 1));
    }
    let absolute =
        text.starts_with('/') || text.contains("://") || text.starts_with(['?', '%', '$']);
    Ok(match place {
        Where::Directory { path, base } if path != base && !absolute => format!("{base}{text}"),
        Where::Directory { path, base }
            if path != base && text.starts_with(['%', '$']) && !text.starts_with("%{") =>
        {
            format!("{base}{text}")
        }
        Where::Server if !absolute => {
            return Err("it makes no path that begins with a slash".to_owned());
        }
        _ => text,
    })
}

/// RewriteConds as one condition.
pub(super) fn when(conditions: &[&Directive], place: Where<'_>) -> Result<Option<String>, String> {
    let mut groups: Vec<Vec<String>> = Vec::new();
    let mut open = false;
    for directive in conditions {
        let flags = flags(directive.word(2));
        let has = |names: &[&str]| {
            flags
                .iter()
                .any(|flag| names.iter().any(|name| flag.eq_ignore_ascii_case(name)))
        };
        let text = condition(
            directive.word(0),
            directive.word(1),
            has(&["NC", "nocase"]),
            place,
        )
        .map_err(|why| format!("{}: {why}", directive.text()))?;
        match groups.last_mut().filter(|_| open) {
            Some(group) => group.push(text),
            None => groups.push(vec![text]),
        }
        open = has(&["OR", "ornext"]);
    }
    let several = groups.len() > 1;
    let joined: Vec<String> = groups
        .into_iter()
        .map(|group| match group.len() {
            1 => group.concat(),
            _ if several => format!("({})", group.join(" || ")),
            _ => group.join(" || "),
        })
        .collect();
    if joined.is_empty() {
        return Ok(None);
    }
    let joined = joined.join(" && ");
    Expression::parse(&joined).map_err(|fault| format!("{joined}: {fault}"))?;
    Ok(Some(joined))
}

fn condition(
    test: &str,
    pattern: &str,
    ignore_case: bool,
    place: Where<'_>,
) -> Result<String, String> {
    if test.eq_ignore_ascii_case("expr") {
        return Ok(format!("({pattern})"));
    }
    let mut test = test.to_owned();
    if place == Where::Server {
        test = test
            .replace(
                "%{DOCUMENT_ROOT}%{REQUEST_FILENAME}",
                "%{DOCUMENT_ROOT}%{REQUEST_URI}",
            )
            .replace("%{REQUEST_FILENAME}", "%{REQUEST_URI}");
    }
    if test.contains("%{LA-") || test.contains("%{SSL:") {
        return Err("there is no looking ahead, and no variable of TLS".to_owned());
    }
    let word = quoted(&test);
    let (negated, pattern) = match pattern.strip_prefix('!') {
        Some(rest) => (true, rest),
        None => (false, pattern),
    };
    let not = if negated { "!" } else { "" };
    let lower = |text: &str| {
        if ignore_case {
            text.to_lowercase()
        } else {
            text.to_owned()
        }
    };
    let left = if ignore_case {
        format!("tolower({word})")
    } else {
        word.clone()
    };
    match pattern {
        "-f" | "-d" | "-s" | "-l" | "-L" | "-h" | "-x" => {
            return Ok(format!("{not}{pattern} {word}"));
        }
        "-F" | "-U" => return Err("requests on the side are not made".to_owned()),
        _ => {}
    }
    for sign in ["-eq", "-ne", "-lt", "-le", "-gt", "-ge"] {
        if let Some(number) = pattern.strip_prefix(sign) {
            let comparison = format!("{word} {sign} {}", quoted(number.trim()));
            return Ok(if negated {
                format!("!({comparison})")
            } else {
                comparison
            });
        }
    }
    for sign in ["<=", ">=", "<", ">", "="] {
        if let Some(text) = pattern.strip_prefix(sign) {
            let text = quoted(&lower(if text == "\"\"" { "" } else { text }));
            if sign != "=" {
                return Err("Apache compares by length first: use a pattern".to_owned());
            }
            let comparison = format!("{left} == {text}");
            return Ok(if negated {
                format!("!({comparison})")
            } else {
                comparison
            });
        }
    }
    let sign = if negated { "!~" } else { "=~" };
    let delimiter = [
        '#', '~', ',', ';', '@', '`', '"', '&', '%', '_', ':', '<', '/',
    ]
    .into_iter()
    .find(|&delimiter| !pattern.contains(delimiter))
    .ok_or("no delimiter is left for the pattern")?;
    let flag = if ignore_case { "i" } else { "" };
    Ok(format!(
        "{word} {sign} m{delimiter}{pattern}{delimiter}{flag}"
    ))
}

/// A text as a word of a condition: variables alone stand as they are.
pub(super) fn quoted(text: &str) -> String {
    let variable = text.starts_with("%{")
        && text.find('}') == Some(text.len() - 1)
        && !text.contains(char::is_whitespace);
    if variable {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}

fn flags(text: &str) -> Vec<String> {
    let text = text.trim().trim_start_matches('[').trim_end_matches(']');
    text.split(',').map(|flag| flag.trim().to_owned()).collect()
}

/// `name:value:domain:lifetime:path:secure:httponly:samesite` as a whole field.
fn cookie(value: &str) -> String {
    match value.strip_prefix(';') {
        Some(rest) => cookie_of(&rest.split(';').collect::<Vec<_>>()),
        None => cookie_of(&value.split(':').collect::<Vec<_>>()),
    }
}

fn cookie_of(parts: &[&str]) -> String {
    let part = |at: usize| parts.get(at).copied().unwrap_or("");
    let mut cookie = format!("{}={}", part(0), part(1));
    let path = if part(4).is_empty() { "/" } else { part(4) };
    cookie.push_str(&format!("; path={path}"));
    if !part(2).is_empty() {
        cookie.push_str(&format!("; domain={}", part(2)));
    }
    if let Ok(minutes) = part(3).parse::<u64>()
        && minutes > 0
    {
        cookie.push_str(&format!("; max-age={}", minutes * 60));
    }
    let on = |text: &str, name: &str| {
        ["true", "1", name]
            .iter()
            .any(|on| text.eq_ignore_ascii_case(on))
    };
    if on(part(5), "secure") {
        cookie.push_str("; secure");
    }
    if on(part(6), "httponly") {
        cookie.push_str("; HttpOnly");
    }
    if !part(7).is_empty() {
        cookie.push_str(&format!("; SameSite={}", part(7)));
    }
    cookie
}
