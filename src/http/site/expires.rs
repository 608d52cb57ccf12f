//! How long responses may be kept by whoever has got them, by media type.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use http::{HeaderMap, HeaderValue, Response, header};
use omnid_config::{Problem, Problems, Spanned};

/// Times by media type.
#[derive(Debug, Default)]
pub struct Expires {
    /// Whole types, and beginnings of types that end in a slash.
    types: BTreeMap<String, Duration>,
    /// For all others.
    default: Option<Duration>,
}

/// What stands for all types that are not named.
const DEFAULT: &str = "default";

impl Expires {
    pub(super) fn compile(
        config: &BTreeMap<String, Spanned<Duration>>,
        problems: &mut Problems,
    ) -> Option<Self> {
        let mut expires = Self::default();
        for (kind, time) in config {
            if kind == DEFAULT {
                expires.default = Some(time.value);
                continue;
            }
            let mut parts = kind.split('/');
            let (first, second, third) = (parts.next(), parts.next(), parts.next());
            if first.is_none_or(str::is_empty) || second.is_none() || third.is_some() {
                problems.push(
                    Problem::error(format!("\"{kind}\" is no media type"))
                        .at(time.span, "for this time")
                        .help("\"text/css\", \"image/\" for all of them, or \"default\""),
                );
            }
            expires.types.insert(kind.to_ascii_lowercase(), time.value);
        }
        (!config.is_empty()).then_some(expires)
    }

    /// Says it, where the response does not say anything about it itself.
    pub fn apply<B>(&self, response: &mut Response<B>, now: SystemTime) {
        let status = response.status().as_u16();
        let headers = response.headers_mut();
        let said =
            headers.contains_key(header::CACHE_CONTROL) || headers.contains_key(header::EXPIRES);
        if said || !matches!(status, 200 | 203 | 206 | 304) {
            return;
        }
        let Some(time) = self.of(headers) else { return };
        let control = format!("max-age={}", time.as_secs());
        if let Ok(control) = HeaderValue::try_from(control) {
            headers.insert(header::CACHE_CONTROL, control);
        }
        let date = now.checked_add(time).map(httpdate::fmt_http_date);
        if let Some(Ok(date)) = date.map(HeaderValue::try_from) {
            headers.insert(header::EXPIRES, date);
        }
    }

    fn of(&self, headers: &HeaderMap) -> Option<Duration> {
        let kind = headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
        let kind = String::from_utf8_lossy(kind.unwrap_or_default());
        let kind = kind.split(';').next().unwrap_or_default();
        let kind = kind.trim().to_ascii_lowercase();
        let slash = kind.find('/').unwrap_or(0);
        let group = kind.get(..=slash).unwrap_or_default();
        let time = self.types.get(&kind).or_else(|| self.types.get(group));
        time.copied().or(self.default)
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    #[test]
    fn by_type() {
        let config = [
            ("text/css", 100),
            ("text/", 10),
            ("image/PNG", 5),
            ("default", 1),
        ]
        .map(|(kind, time)| (kind.to_owned(), Spanned::from(Duration::from_secs(time))));
        let mut problems = Problems::default();
        let Some(expires) = Expires::compile(&config.into(), &mut problems) else {
            return assert!(problems.is_empty());
        };
        for (status, fields, expected) in [
            (
                200,
                &[("content-type", "text/css; charset=utf-8")][..],
                Some("max-age=100"),
            ),
            (200, &[("content-type", "TEXT/HTML")], Some("max-age=10")),
            (206, &[("content-type", "image/png")], Some("max-age=5")),
            (200, &[("content-type", "image/svg+xml")], Some("max-age=1")),
            (200, &[], Some("max-age=1")),
            (304, &[("content-type", "text/css")], Some("max-age=100")),
            (404, &[("content-type", "text/css")], None),
            (302, &[("content-type", "text/css")], None),
            (200, &[("cache-control", "no-store")], Some("no-store")),
            (200, &[("expires", "0")], None),
        ] {
            let mut response = Response::new(());
            *response.status_mut() = http::StatusCode::from_u16(status).unwrap_or_default();
            for (name, value) in fields {
                let value = HeaderValue::from_static(value);
                response.headers_mut().insert(*name, value);
            }
            expires.apply(&mut response, UNIX_EPOCH);
            let control = response.headers().get(header::CACHE_CONTROL);
            let control = control.and_then(|control| control.to_str().ok());
            assert_eq!(control, expected, "{status} {fields:?}");
        }
    }
}
