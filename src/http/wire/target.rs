//! The path of a request target, decoded once and brought to one spelling.
//!
//! Everything that decides by path (routes, access, files) sees the normal form, so that `/a/b`,
//! `//a/./b` and `/%61/b` cannot be told apart by a rule and then joined again by a file system.

use std::borrow::Cow;

use super::percent;

/// Why a path is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// does not begin with a slash
    #[error("the path does not begin with a slash")]
    Relative,
    /// `%` without two hexadecimal digits
    #[error("a percent sign without two hexadecimal digits")]
    Escape,
    /// a zero byte, escaped or not
    #[error("a zero byte in the path")]
    Nul,
    /// a backslash, escaped or not: a separator to some back ends and a name to others
    #[error("a backslash in the path")]
    Backslash,
    /// `..` above the root
    #[error("the path climbs above the root")]
    Climbs,
}

/// A path in normal form: escapes decoded, runs of slashes merged, `.` and `..` resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NormalPath<'a> {
    decoded: Cow<'a, [u8]>,
    encoded_slash: bool,
    dots: bool,
}

impl<'a> NormalPath<'a> {
    /// Normalises the path of a target (without its query).
    ///
    /// # Errors
    /// Where two readers could see two paths, or one outside the root.
    pub fn parse(path: &'a str) -> Result<Self, PathError> {
        let bytes = path.as_bytes();
        if bytes.first() != Some(&b'/') {
            return Err(PathError::Relative);
        }
        if is_normal(bytes) {
            return Ok(Self {
                decoded: Cow::Borrowed(bytes),
                encoded_slash: false,
                dots: false,
            });
        }
        let (decoded, encoded_slash) = decode(bytes)?;
        let (decoded, dots) = resolve(&decoded)?;
        Ok(Self {
            decoded: Cow::Owned(decoded),
            encoded_slash,
            dots,
        })
    }

    /// The decoded path. It begins with `/` and has no empty, `.` or `..` segment; it ends with
    /// `/` where the client's did. An escaped slash stays spelled `%2F`.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.decoded
    }

    /// Whether the client escaped a slash. Files have no such names; back ends may.
    #[must_use]
    pub fn encoded_slash(&self) -> bool {
        self.encoded_slash
    }

    /// Whether `.` or `..` segments were resolved, so that the client's spelling names another
    /// path to a reader that does not resolve them.
    #[must_use]
    pub fn had_dots(&self) -> bool {
        self.dots
    }

    /// Whether a segment begins with a dot. `/.well-known/` (RFC 8615) is meant to be seen.
    #[must_use]
    pub fn hidden(&self) -> bool {
        self.decoded
            .split(|&byte| byte == b'/')
            .skip(1)
            .enumerate()
            .any(|(depth, segment)| {
                segment.first() == Some(&b'.') && !(depth == 0 && segment == b".well-known")
            })
    }

    /// The path from byte `from` of the decoded form on, escaped again, for a Location or an
    /// upstream.
    #[must_use]
    pub fn to_escaped(&self, from: usize) -> String {
        let mut escaped = String::with_capacity(self.decoded.len() + 8);
        let mut rest = self.decoded.get(from..).unwrap_or_default();
        if self.encoded_slash {
            // "%2F" in the decoded form is the one escape that was kept.
            while let Some(at) = memchr::memmem::find(rest, b"%2F") {
                let (before, after) = rest.split_at(at);
                percent::encode_path(before, &mut escaped);
                escaped.push_str("%2F");
                rest = after.get(3..).unwrap_or_default();
            }
        }
        percent::encode_path(rest, &mut escaped);
        escaped
    }

    /// The same path, kept beyond the request's head.
    #[must_use]
    pub fn into_owned(self) -> NormalPath<'static> {
        NormalPath {
            decoded: Cow::Owned(self.decoded.into_owned()),
            encoded_slash: self.encoded_slash,
            dots: self.dots,
        }
    }
}

/// True for nearly every path: nothing to decode, merge, resolve or refuse.
fn is_normal(path: &[u8]) -> bool {
    let mut previous = 0;
    for &byte in path {
        match byte {
            b'%' | b'\\' | 0 => return false,
            b'/' | b'.' if previous == b'/' => return false,
            _ => previous = byte,
        }
    }
    true
}

fn decode(path: &[u8]) -> Result<(Vec<u8>, bool), PathError> {
    let mut decoded = Vec::with_capacity(path.len());
    let mut encoded_slash = false;
    let mut bytes = path.iter();
    while let Some(&byte) = bytes.next() {
        let (byte, escaped) = if byte == b'%' {
            let pair = bytes.next().zip(bytes.next());
            let byte = pair.and_then(|(&high, &low)| percent::decode_pair(high, low));
            (byte.ok_or(PathError::Escape)?, true)
        } else {
            (byte, false)
        };
        match byte {
            0 => return Err(PathError::Nul),
            b'\\' => return Err(PathError::Backslash),
            b'/' if escaped => {
                encoded_slash = true;
                decoded.extend_from_slice(b"%2F");
            }
            byte => decoded.push(byte),
        }
    }
    Ok((decoded, encoded_slash))
}

/// RFC 3986 section 5.2.4 over decoded segments, merging empty ones; above the root is an error.
fn resolve(path: &[u8]) -> Result<(Vec<u8>, bool), PathError> {
    let mut resolved = Vec::with_capacity(path.len());
    let mut dots = false;
    let mut trailing = false;
    for segment in path.split(|&byte| byte == b'/').skip(1) {
        trailing = matches!(segment, b"" | b"." | b"..");
        match segment {
            b"" => {}
            b"." => dots = true,
            b".." => {
                dots = true;
                let parent = resolved
                    .iter()
                    .rposition(|&byte| byte == b'/')
                    .ok_or(PathError::Climbs)?;
                resolved.truncate(parent);
            }
            segment => {
                resolved.push(b'/');
                resolved.extend_from_slice(segment);
            }
        }
    }
    if trailing || resolved.is_empty() {
        resolved.push(b'/');
    }
    Ok((resolved, dots))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(path: &str, expected: Result<&str, PathError>) {
        let normal = NormalPath::parse(path);
        let decoded = normal
            .as_ref()
            .map(|normal| String::from_utf8_lossy(normal.as_bytes()).into_owned())
            .map_err(|&error| error);
        assert_eq!(decoded, expected.map(str::to_owned), "{path}");
    }

    #[test]
    fn one_spelling() {
        for (path, expected) in [
            ("/", "/"),
            ("/a/b.html", "/a/b.html"),
            ("//a///b", "/a/b"),
            ("/a/", "/a/"),
            ("/a//", "/a/"),
            ("/%61/%7Eb", "/a/~b"),
            ("/a/./b", "/a/b"),
            ("/a/../b", "/b"),
            ("/a/%2e%2E/b", "/b"),
            ("/a/..", "/"),
            ("/a/b/..", "/a/"),
            ("/a/b/.", "/a/b/"),
            ("/a..b/...", "/a..b/..."),
            ("/a%20b", "/a b"),
            ("/a%2fb", "/a%2Fb"),
            ("/%252F", "/%2F"),
            ("/a+b", "/a+b"),
        ] {
            check(path, Ok(expected));
        }
    }

    #[test]
    fn refused() {
        for (path, expected) in [
            ("", PathError::Relative),
            ("a", PathError::Relative),
            ("*", PathError::Relative),
            ("/..", PathError::Climbs),
            ("/a/../..", PathError::Climbs),
            ("/%2e%2e/etc/passwd", PathError::Climbs),
            ("/a%00", PathError::Nul),
            ("/a\\b", PathError::Backslash),
            ("/a/..%5c..%5cb", PathError::Backslash),
            ("/%", PathError::Escape),
            ("/%2", PathError::Escape),
            ("/%zz", PathError::Escape),
            ("/%+1", PathError::Escape),
        ] {
            check(path, Err(expected));
        }
    }

    #[test]
    fn dots_hide_and_well_known_does_not() {
        for (path, hidden) in [
            ("/.htaccess", true),
            ("/a/.git/config", true),
            ("/%2egit/config", true),
            ("/.well-known/security.txt", false),
            ("/.well-known/.secret", true),
            ("/a/.well-known/x", true),
            ("/.well-known-not", true),
            ("/a.b/c.d", false),
        ] {
            let normal = NormalPath::parse(path);
            assert_eq!(normal.map(|normal| normal.hidden()), Ok(hidden), "{path}");
        }
    }

    #[test]
    fn escaped_again() {
        for (path, escaped) in [
            ("/a%20b", "/a%20b"),
            ("/%e4%bd", "/%E4%BD"),
            ("/a%2fb%3f", "/a%2Fb%3F"),
            ("/a%25b", "/a%25b"),
            ("/a/../b%22", "/b%22"),
        ] {
            let normal = NormalPath::parse(path);
            assert_eq!(
                normal.map(|normal| normal.to_escaped(0)).as_deref(),
                Ok(escaped)
            );
        }
    }

    proptest! {
        #[test]
        fn the_normal_form_stands_still(path in "/[a-c./%25\\\\0-9A-F]{0,24}") {
            if let Ok(normal) = NormalPath::parse(&path) {
                let decoded = normal.as_bytes();
                prop_assert_eq!(decoded.first(), Some(&b'/'));
                for segment in decoded.split(|&byte| byte == b'/').skip(1) {
                    prop_assert!(segment != b"." && segment != b"..");
                }
                prop_assert!(memchr::memmem::find(decoded, b"//").is_none());
                prop_assert!(!decoded.contains(&0) && !decoded.contains(&b'\\'));
                let escaped = normal.to_escaped(0);
                if !normal.encoded_slash() {
                    let again = NormalPath::parse(&escaped);
                    prop_assert_eq!(again.as_ref().map(NormalPath::as_bytes), Ok(decoded));
                }
            }
        }

        #[test]
        fn no_text_breaks_it(path in ".{0,64}") {
            drop(NormalPath::parse(&path));
        }
    }
}
