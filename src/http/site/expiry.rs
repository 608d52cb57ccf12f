//! How long responses may be kept: Expires and Cache-Control by media type.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderValue, header};

use crate::config::ExpiresConfig;

/// Times by media type.
#[derive(Debug, Clone, Default)]
pub struct Expiry {
    rules: Vec<Rule>,
}

#[derive(Debug, Clone)]
struct Rule {
    /// "image/png", "image/*" or "*".
    kind: String,
    time: Duration,
    /// Whether the time runs from when the file changed.
    changed: bool,
}

impl Expiry {
    pub(super) fn compile(config: &ExpiresConfig) -> Self {
        let all = |map: &std::collections::BTreeMap<String, Duration>, changed| {
            map.iter()
                .map(move |(kind, &time)| Rule {
                    kind: kind.to_ascii_lowercase(),
                    time,
                    changed,
                })
                .collect::<Vec<_>>()
        };
        let mut rules = all(&config.after, false);
        rules.extend(all(&config.after_change, true));
        // The closest first: a type, a family of types, everything.
        rules.sort_by_key(|rule| match rule.kind.as_str() {
            "*" => 2,
            kind if kind.ends_with("/*") => 1,
            _ => 0,
        });
        Self { rules }
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Says in a response how long it may be kept, unless it says so itself; whether there is a
    /// rule for it.
    pub fn apply(&self, headers: &mut HeaderMap, now: SystemTime) -> bool {
        let kind = headers
            .get(header::CONTENT_TYPE)
            .and_then(|kind| kind.to_str().ok())
            .unwrap_or_default();
        let kind = kind.split(';').next().unwrap_or_default().trim();
        let kind = kind.to_ascii_lowercase();
        let Some(rule) = self.rules.iter().find(|rule| rule.covers(&kind)) else {
            return false;
        };
        if !headers.contains_key(header::EXPIRES) {
            rule.apply(headers, now);
        }
        true
    }
}

impl Rule {
    fn apply(&self, headers: &mut HeaderMap, now: SystemTime) {
        let base = if self.changed {
            let changed = headers
                .get(header::LAST_MODIFIED)
                .and_then(|changed| changed.to_str().ok());
            let Some(changed) = changed.and_then(|text| httpdate::parse_http_date(text).ok())
            else {
                return;
            };
            changed
        } else {
            now
        };
        let Some(expires) = base.checked_add(self.time) else {
            return;
        };
        let left = expires.duration_since(now).unwrap_or_default().as_secs();
        let age = match headers.get(header::CACHE_CONTROL) {
            Some(own) => [own.as_bytes(), format!(", max-age={left}").as_bytes()].concat(),
            None => format!("max-age={left}").into_bytes(),
        };
        if let Ok(age) = HeaderValue::from_bytes(&age) {
            headers.insert(header::CACHE_CONTROL, age);
        }
        if let Ok(expires) = HeaderValue::from_str(&httpdate::fmt_http_date(expires)) {
            headers.insert(header::EXPIRES, expires);
        }
    }

    fn covers(&self, kind: &str) -> bool {
        match self.kind.strip_suffix('*') {
            Some("") => true,
            Some(family) => kind.starts_with(family),
            None => kind == self.kind,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_type_and_by_change() {
        let day = Duration::from_secs(86_400);
        let config = ExpiresConfig {
            after: [("*".to_owned(), day), ("image/*".to_owned(), day * 30)].into(),
            after_change: [("text/css".to_owned(), day * 7)].into(),
            ..ExpiresConfig::default()
        };
        let expiry = Expiry::compile(&config);
        let now = SystemTime::UNIX_EPOCH + day * 100;
        for (kind, own, expected) in [
            ("text/html; charset=utf-8", None, "max-age=86400"),
            ("image/PNG", None, "max-age=2592000"),
            ("text/css", None, "max-age=518400"),
            ("", Some("private"), "private, max-age=86400"),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
            let changed = httpdate::fmt_http_date(now - day);
            if let Ok(changed) = HeaderValue::from_str(&changed) {
                headers.insert(header::LAST_MODIFIED, changed);
            }
            if let Some(own) = own {
                headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(own));
            }
            expiry.apply(&mut headers, now);
            let age = headers.get(header::CACHE_CONTROL);
            assert_eq!(
                age.and_then(|age| age.to_str().ok()),
                Some(expected),
                "{kind}"
            );
            assert!(headers.contains_key(header::EXPIRES));
        }
        let mut headers = HeaderMap::new();
        headers.insert(header::EXPIRES, HeaderValue::from_static("0"));
        expiry.apply(&mut headers, now);
        assert_eq!(headers.len(), 1);
    }
}
