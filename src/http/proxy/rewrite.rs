//! What an upstream says about itself, said about this server: where it redirects to, and which
//! paths and domains its cookies are for.

use http::{HeaderName, HeaderValue, header, response};

/// Where an upstream's paths begin, and what they are called here.
#[derive(Debug, Clone, Copy)]
pub(super) struct Names<'a> {
    /// `http://authority`, as it may stand in a Location.
    pub(super) origin: &'a str,
    /// The path that took the place of the route's; empty where paths are the same on both sides.
    pub(super) base: &'a str,
    /// The route's path, without a trailing slash.
    pub(super) prefix: &'a [u8],
}

impl Names<'_> {
    /// Changes the fields of a response that name the upstream.
    pub(super) fn rewrite(&self, head: &mut response::Parts) {
        for name in [header::LOCATION, header::CONTENT_LOCATION] {
            self.rewrite_url(head, &name);
        }
        if head.headers.contains_key(header::SET_COOKIE) {
            self.rewrite_cookies(head);
        }
    }

    fn rewrite_url(&self, head: &mut response::Parts, name: &HeaderName) {
        let rewritten = head
            .headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .and_then(|url| self.url(url))
            .and_then(|url| HeaderValue::from_str(&url).ok());
        if let Some(value) = rewritten {
            head.headers.insert(name, value);
        }
    }

    /// A URL of the upstream's as it is called here; `None` for one that is not its.
    fn url(&self, url: &str) -> Option<String> {
        let path = match url.strip_prefix(self.origin) {
            Some(rest) if rest.is_empty() || rest.starts_with(['/', '?']) => self
                .path(rest)
                .or_else(|| self.base.is_empty().then(|| rest.to_owned()))?,
            // A path alone, where it can only be the upstream's.
            _ if url.starts_with('/') && !url.starts_with("//") && self.base.len() > 1 => {
                self.path(url)?
            }
            _ => return None,
        };
        // Whatever is left of it, it stays on this server.
        Some(if path.starts_with('/') && !path.starts_with("//") {
            path
        } else {
            format!("/{}", path.trim_start_matches('/'))
        })
    }

    /// A path below the base as a path below the prefix.
    fn path(&self, path: &str) -> Option<String> {
        if self.base.is_empty() {
            return None;
        }
        let base = self.base.strip_suffix('/').unwrap_or(self.base);
        let below = path.strip_prefix(base)?;
        if !(below.is_empty() || below.starts_with(['/', '?'])) {
            return None;
        }
        Some(format!("{}{below}", String::from_utf8_lossy(self.prefix)))
    }

    fn rewrite_cookies(&self, head: &mut response::Parts) {
        let cookies: Vec<HeaderValue> = head
            .headers
            .get_all(header::SET_COOKIE)
            .iter()
            .map(|value| {
                let rewritten = value.to_str().ok().map(|cookie| self.cookie(cookie));
                rewritten
                    .and_then(|cookie| HeaderValue::from_str(&cookie).ok())
                    .unwrap_or_else(|| value.clone())
            })
            .collect();
        head.headers.remove(header::SET_COOKIE);
        for cookie in cookies {
            head.headers.append(header::SET_COOKIE, cookie);
        }
    }

    /// A cookie for the upstream's path and domain as one for this server's (RFC 6265 section
    /// 5.2): a domain that is the upstream's own name would make the browser drop it.
    fn cookie(&self, cookie: &str) -> String {
        let host = self.origin.split_once("://").map_or("", |(_, host)| host);
        let host = host.rsplit_once(':').map_or(host, |(host, _)| host);
        let mut parts = cookie.split(';');
        let mut rewritten = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            let (name, value) = (name.trim(), value.trim());
            if name.eq_ignore_ascii_case("domain")
                && value.trim_start_matches('.').eq_ignore_ascii_case(host)
            {
                continue;
            }
            rewritten.push(';');
            if name.eq_ignore_ascii_case("path")
                && let Some(path) = self.path(value)
            {
                rewritten.push_str(" Path=");
                rewritten.push_str(if path.is_empty() { "/" } else { &path });
            } else {
                rewritten.push_str(part);
            }
        }
        rewritten
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(base: &str) -> Names<'_> {
        Names {
            origin: "http://app:3000",
            base,
            prefix: b"/app",
        }
    }

    #[test]
    fn locations() {
        for (location, base, expected) in [
            ("http://app:3000/login?a", "", Some("/login?a")),
            ("http://app:3000", "", Some("/")),
            ("http://app:3000//evil.example/", "", Some("/evil.example/")),
            ("http://app:30001/x", "", None),
            ("http://app:3000/base/login", "/base/", Some("/app/login")),
            ("http://app:3000/base?x", "/base/", Some("/app?x")),
            ("http://app:3000/baser", "/base/", None),
            ("http://app:3000/other", "/base/", None),
            ("/base/login", "/base/", Some("/app/login")),
            ("/login", "/", None),
            ("http://app:3000/login", "/", Some("/app/login")),
            ("/relative", "/base/", None),
            ("//base/login", "/base/", None),
            ("https://elsewhere/", "", None),
        ] {
            assert_eq!(names(base).url(location).as_deref(), expected, "{location}");
        }
    }

    #[test]
    fn cookies() {
        for (cookie, base, expected) in [
            ("a=b", "/base/", "a=b"),
            (
                "a=b; Path=/base/x; HttpOnly",
                "/base/",
                "a=b; Path=/app/x; HttpOnly",
            ),
            ("a=b; path=/base", "/base/", "a=b; Path=/app"),
            ("a=b; Path=/", "/", "a=b; Path=/app/"),
            ("a=b; Path=/other", "/base/", "a=b; Path=/other"),
            ("a=b; Path=/x", "", "a=b; Path=/x"),
            ("a=b; Domain=app; Secure", "", "a=b; Secure"),
            ("a=b; domain=.App", "", "a=b"),
            ("a=b; Domain=example.org", "", "a=b; Domain=example.org"),
            ("a=path=/base", "/base/", "a=path=/base"),
        ] {
            assert_eq!(names(base).cookie(cookie), expected, "{cookie}");
        }
    }
}
