//! One page in several languages: files beside each other, of which a client gets the one that it
//! can read (RFC 9110 section 12.5.4).

use std::{io, sync::Arc};

use http::{HeaderMap, HeaderValue, Response, header};

use super::{Entry, FileCache, Files, Kind, serve::is_missing};
use crate::{body::Body, wire::language};

/// A file that was found for a name.
pub(super) struct Found {
    pub(super) entry: Arc<Entry>,
    /// Its own name, where it is not the one that was asked for.
    pub(super) chosen: Option<Vec<u8>>,
    /// Whether another client might get another one.
    pub(super) varies: bool,
}

const ACCEPT_LANGUAGE: HeaderValue = HeaderValue::from_static("accept-language");

impl Files {
    /// What a name stands for: what bears it, or the one of the files that bear it with an
    /// extension or a language behind it.
    pub(super) fn choose(
        &self,
        path: &[u8],
        headers: &HeaderMap,
        cache: &FileCache,
    ) -> io::Result<Found> {
        let missing = match self.find(path, cache) {
            Ok(entry) => {
                return Ok(Found {
                    entry,
                    chosen: None,
                    varies: false,
                });
            }
            Err(error) => error,
        };
        if (self.languages.is_empty() && self.extensions.is_empty()) || !is_missing(&missing) {
            return Err(missing);
        }
        let file = |name: &[u8]| {
            let entry = self.find(name, cache).ok()?;
            matches!(entry.kind, Kind::File(_)).then_some(entry)
        };
        let accept = joined(headers);
        let mut best: Option<(u16, Vec<u8>, Arc<Entry>)> = None;
        let mut candidates = 0;
        let extensions = self.extensions.iter().map(String::as_str);
        for extension in std::iter::once("").chain(extensions) {
            for language in &self.languages {
                let dotted = format!(".{language}");
                let names = [[extension, &dotted], [&dotted, extension]];
                let names = names.get(..if extension.is_empty() { 1 } else { 2 });
                let found = names.into_iter().flatten().find_map(|[one, other]| {
                    let name = [path, one.as_bytes(), other.as_bytes()].concat();
                    file(&name).map(|entry| (name, entry))
                });
                let Some((name, entry)) = found else { continue };
                candidates += 1;
                // One that the client does not want is still better than none.
                let quality = match accept.as_deref() {
                    Some(accept) => language::quality(accept, language).saturating_add(1),
                    None => 1,
                };
                if best.as_ref().is_none_or(|(best, ..)| quality > *best) {
                    best = Some((quality, name, entry));
                }
            }
            let name = [path, extension.as_bytes()].concat();
            if !extension.is_empty()
                && let Some(entry) = file(&name)
            {
                candidates += 1;
                // One of no language is for those who asked for none of ours.
                if best.as_ref().is_none_or(|(quality, ..)| *quality <= 1) {
                    best = Some((1, name, entry));
                }
            }
            if best.is_some() {
                break;
            }
        }
        let (_, name, entry) = best.ok_or(missing)?;
        Ok(Found {
            entry,
            chosen: Some(name),
            varies: candidates > 1,
        })
    }

    /// The language that a name ends in, before other extensions if need be.
    fn language(&self, path: &[u8]) -> Option<&str> {
        let name = path.rsplit(|&byte| byte == b'/').next()?;
        let mut parts = name.rsplit(|&byte| byte == b'.');
        let languages = self.languages.iter();
        let of = |part: &[u8]| {
            languages
                .clone()
                .find(|language| language.as_bytes().eq_ignore_ascii_case(part))
        };
        let dots = name.iter().filter(|&&byte| byte == b'.').count();
        parts.by_ref().take(dots).find_map(of).map(String::as_str)
    }

    /// Says which language was chosen, and by what.
    pub(super) fn say_language(&self, path: &[u8], found: &Found, response: &mut Response<Body>) {
        let headers = response.headers_mut();
        if found.varies {
            headers.append(header::VARY, ACCEPT_LANGUAGE);
        }
        if self.languages.is_empty() && found.chosen.is_none() {
            return;
        }
        let name = found.chosen.as_deref().unwrap_or(path);
        if let Some(Ok(language)) = self.language(name).map(HeaderValue::from_str) {
            headers.insert(header::CONTENT_LANGUAGE, language);
        }
        if found.chosen.is_some()
            && let Some(name) = name.rsplit(|&byte| byte == b'/').next()
        {
            let mut location = String::with_capacity(name.len() + 8);
            crate::wire::percent::encode_path(name, &mut location);
            if let Ok(location) = HeaderValue::try_from(location) {
                headers.insert(header::CONTENT_LOCATION, location);
            }
        }
    }
}

/// All Accept-Language fields as one (RFC 9110 section 5.3).
fn joined(headers: &HeaderMap) -> Option<Vec<u8>> {
    let mut fields = headers.get_all(header::ACCEPT_LANGUAGE).iter();
    let mut all = fields.next()?.as_bytes().to_vec();
    for field in fields {
        all.push(b',');
        all.extend_from_slice(field.as_bytes());
    }
    Some(all)
}
