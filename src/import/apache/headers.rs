//! mod_headers and mod_expires.

use omnid_http::expression::{Expression, Pattern};

use super::{
    convert::Work,
    parse::{Directive, words},
    rewrite::quoted,
    site::{Change, Expires, FieldChange, Headers, add_change},
};
use crate::report::Kind;

/// Fields that say how a message is framed, which no configuration of ours changes.
const FRAMING: [&str; 4] = [
    "connection",
    "content-length",
    "transfer-encoding",
    "upgrade",
];

impl Work<'_> {
    /// `Header` and, where `request` says so, `RequestHeader`.
    pub(super) fn header(&mut self, directive: &Directive, request: bool, into: &mut Vec<Headers>) {
        match change(directive, request) {
            Ok((change, success, when)) => add_change(into, change, success, when),
            Err(why) => self.note(directive, Kind::Lost, why),
        }
    }

    /// `ExpiresDefault` and `ExpiresByType`.
    pub(super) fn expires(&mut self, directive: &Directive, active: bool, into: &mut Expires) {
        if !active {
            self.note(directive, Kind::Needless, "ExpiresActive is not on");
            return;
        }
        let (kind, time) = if directive.is("ExpiresDefault") {
            ("*", directive.words.join(" "))
        } else {
            let rest: Vec<String> = directive.words.iter().skip(1).cloned().collect();
            (directive.word(0), rest.join(" "))
        };
        let Some((changed, seconds)) = span(&time) else {
            self.note(directive, Kind::Lost, "its time is not understood");
            return;
        };
        let times = if changed {
            &mut into.after_change
        } else {
            &mut into.after
        };
        times.retain(|(known, _)| !known.eq_ignore_ascii_case(kind));
        times.push((kind.to_ascii_lowercase(), seconds));
    }
}

/// A directive as a change, with whether failures are left alone, and its condition.
fn change(
    directive: &Directive,
    request: bool,
) -> Result<(FieldChange, bool, Option<String>), String> {
    let mut words = directive.words.clone();
    let mut success = !request;
    if let Some(first) = words.first().map(|word| word.to_ascii_lowercase())
        && !request
        && ["always", "onsuccess"].contains(&first.as_str())
    {
        success = first == "onsuccess";
        words.remove(0);
    }
    let word = |at: usize| words.get(at).cloned().unwrap_or_default();
    let action = word(0).to_ascii_lowercase();
    let field = word(1).trim_end_matches(':').to_owned();
    let (change, values) = match action.as_str() {
        "unset" => (Change::Remove, 0),
        "set" => (Change::Set, 1),
        "setifempty" => (Change::SetMissing, 1),
        "add" => (Change::Add, 1),
        "append" => (Change::Append, 1),
        "merge" => (Change::Merge, 1),
        "edit" => (Change::Edit(false), 2),
        "edit*" => (Change::Edit(true), 2),
        _ => return Err(format!("fields are not changed by \"{action}\"")),
    };
    let bytes = field.as_bytes();
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_".contains(byte);
    if bytes.is_empty() || !bytes.iter().all(plain) {
        return Err(format!("\"{field}\" is no name of a field"));
    }
    if FRAMING.contains(&field.to_ascii_lowercase().as_str()) {
        return Err("the server frames its messages by itself".to_owned());
    }
    if words.len() < 2 + values {
        return Err("it names no value".to_owned());
    }
    let (value, to) = match change {
        Change::Remove => (String::new(), String::new()),
        Change::Edit(_) => {
            Pattern::new(&word(2), false).map_err(|fault| fault.to_string())?;
            (word(2), word(3))
        }
        _ => (fixed(&word(2))?, String::new()),
    };
    if value.chars().chain(to.chars()).any(char::is_control) {
        return Err("its value holds a control character".to_owned());
    }
    let when = match words.get(2 + values) {
        None => None,
        // Changed before or after the rules: they do not look.
        Some(early) if early.eq_ignore_ascii_case("early") => None,
        Some(condition) => Some(when(condition)?),
    };
    let change = FieldChange {
        change,
        field,
        value,
        to,
    };
    Ok((change, success, when))
}

/// A value in which nothing stands for anything; "%%" is a percent sign.
fn fixed(value: &str) -> Result<String, String> {
    let bare = value.replace("%%", "");
    if bare.contains('%') {
        return Err("values of fields are fixed: say it where requests are answered".to_owned());
    }
    Ok(value.replace("%%", "%"))
}

fn when(condition: &str) -> Result<String, String> {
    let when = if let Some(name) = condition.strip_prefix("env=!") {
        format!("-z {}", quoted(&format!("%{{ENV:{name}}}")))
    } else if let Some(name) = condition.strip_prefix("env=") {
        format!("-n {}", quoted(&format!("%{{ENV:{name}}}")))
    } else if let Some(expression) = condition.strip_prefix("expr=") {
        expression.to_owned()
    } else {
        return Err(format!("\"{condition}\" is no condition that is known"));
    };
    // What a response is like is not known when filters are chosen.
    if ["resp(", "CONTENT_TYPE", "REQUEST_STATUS", "%{HANDLER}"]
        .iter()
        .any(|of| when.contains(of))
    {
        return Err("it depends on the response".to_owned());
    }
    Expression::parse(&when).map_err(|fault| fault.to_string())?;
    Ok(when)
}

/// "access plus 1 month 2 days", "A86400", "M600": whether it runs from a file's change, and how
/// many seconds it is.
fn span(text: &str) -> Option<(bool, u64)> {
    let text = text.trim().to_ascii_lowercase();
    if let Some(seconds) = text.strip_prefix('a').and_then(|text| text.parse().ok()) {
        return Some((false, seconds));
    }
    if let Some(seconds) = text.strip_prefix('m').and_then(|text| text.parse().ok()) {
        return Some((true, seconds));
    }
    let words = words(&text);
    let mut words = words.iter().map(String::as_str);
    let changed = match words.next()? {
        "access" | "now" => false,
        "modification" => true,
        _ => return None,
    };
    let mut words = words.filter(|word| *word != "plus");
    let mut seconds = 0_u64;
    while let Some(number) = words.next() {
        let number: u64 = number.parse().ok()?;
        let unit = match words.next()?.trim_end_matches('s') {
            "year" => 365 * 86_400,
            "month" => 30 * 86_400,
            "week" => 7 * 86_400,
            "day" => 86_400,
            "hour" => 3600,
            "minute" | "min" => 60,
            "second" | "sec" => 1,
            _ => return None,
        };
        seconds = seconds.checked_add(number.checked_mul(unit)?)?;
    }
    // The longest that our configuration takes is far beyond what anybody keeps.
    Some((changed, seconds.min(10 * 365 * 86_400)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        for (text, expected) in [
            ("access plus 1 month", Some((false, 2_592_000))),
            ("modification plus 1 day 2 hours", Some((true, 93_600))),
            ("A1209600", Some((false, 1_209_600))),
            ("m600", Some((true, 600))),
            ("access", Some((false, 0))),
            ("access 1 year", Some((false, 31_536_000))),
            ("access plus one day", None),
            ("", None),
        ] {
            assert_eq!(span(text), expected, "{text}");
        }
    }
}
