//! From a path to an answer: index files, the missing slash, conditions, ranges.

use std::{
    collections::VecDeque,
    hash::{BuildHasher, RandomState},
    io,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::SystemTime,
};

use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};
use rustix::io::Errno;

use super::{
    Content, Entry, FileBody, FileCache, Kind, Listing, Root, listing,
    multipart::{self, piece},
    negotiate::Found,
};
use crate::{
    answer::{self, Failure},
    body::Body,
    engine::{
        precondition::{self, Outcome},
        ranges::{self, Selection},
    },
    redirects,
    wire::{
        coding::{Coding, quality},
        range,
        target::NormalPath,
    },
};

/// A route that serves files.
#[derive(Debug, Clone)]
pub struct Files {
    /// Where they are.
    pub root: Arc<Root>,
    /// Names to look for in a directory, in order.
    pub index: Vec<String>,
    /// A file below the root, served with 200 where there is no other: the start page of an
    /// application that reads its path itself.
    pub fallback: Option<String>,
    /// Whether names that begin with a dot are served.
    pub hidden: bool,
    /// Added to text types as their charset.
    pub charset: Option<String>,
    /// Codings that files may lie beside their plain form in, the best first.
    pub precompressed: Vec<Coding>,
    /// How directories without an index are shown, where they are.
    pub listing: Option<Listing>,
    /// Languages that pages may be in, named at the end of their names, the best first.
    pub languages: Vec<String>,
    /// What is tried behind a name that no file has (".html").
    pub extensions: Vec<String>,
    /// Suffixes of the names of programs (".php"): they are run, and never sent.
    pub programs: Vec<String>,
}

/// What a request for a file consists of.
#[derive(Debug, Clone, Copy)]
pub struct FileRequest<'a> {
    /// The method.
    pub method: &'a Method,
    /// The request's fields.
    pub headers: &'a HeaderMap,
    /// The whole path.
    pub path: &'a NormalPath<'a>,
    /// The query, which a redirect to the path with its slash keeps.
    pub query: Option<&'a str>,
    /// How many bytes of the path the route took, without a trailing slash.
    pub matched: usize,
}

/// An answer, or why there is none.
pub type FileAnswer = Result<Response<Body>, Failure>;

const ALLOW: HeaderValue = HeaderValue::from_static("GET, HEAD, OPTIONS");
const BYTES: HeaderValue = HeaderValue::from_static("bytes");
const ACCEPT_ENCODING: HeaderValue = HeaderValue::from_static("accept-encoding");

impl Files {
    /// The files of a root, served plainly.
    #[must_use]
    pub fn of(root: Arc<Root>) -> Self {
        Self {
            root,
            index: Vec::new(),
            fallback: None,
            hidden: false,
            charset: None,
            precompressed: Vec::new(),
            listing: None,
            languages: Vec::new(),
            extensions: Vec::new(),
            programs: Vec::new(),
        }
    }

    /// Answers a request.
    ///
    /// # Errors
    /// The failure to show: the site may have a page for it.
    pub fn answer(&self, request: &FileRequest<'_>, cache: &FileCache) -> FileAnswer {
        let reads = request.method == Method::GET || request.method == Method::HEAD;
        if request.method == Method::OPTIONS {
            return Ok(answer::options(ALLOW));
        }
        // No file has a slash in its name.
        if request.path.encoded_slash() || (!self.hidden && request.path.hidden()) {
            return Err(Failure::new(StatusCode::NOT_FOUND));
        }
        if !reads {
            // Who posts to nothing hears that nothing is there.
            let post = request.method == Method::POST;
            let missing = post.then(|| self.missing(request, cache)).flatten();
            let refused =
                || Failure::new(StatusCode::METHOD_NOT_ALLOWED).with(header::ALLOW, ALLOW);
            return Err(missing.unwrap_or_else(refused));
        }
        match self.look_up(request, cache) {
            Err(failure) if failure.status == StatusCode::NOT_FOUND => {
                let Some(fallback) = &self.fallback else {
                    return Err(failure);
                };
                let path = fallback.trim_start_matches('/').as_bytes();
                let entry = self.find(path, cache).map_err(|_| failure)?;
                self.send(request, &entry)
            }
            answer => answer,
        }
    }

    /// A page of the site's own for a failure, if there is such a file.
    pub fn page(
        &self,
        path: &str,
        status: StatusCode,
        cache: &FileCache,
    ) -> Option<Response<Body>> {
        let path = path.trim_start_matches('/').as_bytes();
        let entry = self.find(path, cache).ok()?;
        let Kind::File(content) = &entry.kind else {
            return None;
        };
        let mut response = answer::empty(status);
        if let Some(kind) = self.content_type(&entry) {
            response.headers_mut().insert(header::CONTENT_TYPE, kind);
        }
        let length = HeaderValue::from(entry.size);
        response
            .headers_mut()
            .insert(header::CONTENT_LENGTH, length);
        *response.body_mut() = whole(content, entry.size);
        Some(response)
    }

    /// Whether a name is one of a program's.
    #[must_use]
    pub fn is_program(&self, name: &[u8]) -> bool {
        let mut suffixes = self.programs.iter();
        suffixes.any(|suffix| has_suffix(name, suffix.as_bytes()))
    }

    /// What there is to send. A program is not, however its name came here: who asks for it would
    /// be shown its source.
    pub(super) fn find(&self, path: &[u8], cache: &FileCache) -> io::Result<Arc<Entry>> {
        let entry = cache.find(&self.root, path)?;
        match entry.kind {
            Kind::File(_) if self.is_program(path) => Err(Errno::NOENT.into()),
            _ => Ok(entry),
        }
    }

    fn look_up(&self, request: &FileRequest<'_>, cache: &FileCache) -> FileAnswer {
        let path = request
            .path
            .as_bytes()
            .get(request.matched..)
            .unwrap_or_default();
        let path = path.strip_prefix(b"/").unwrap_or(path);
        if !path.is_empty() && !path.ends_with(b"/") {
            let found = self.choose(path, request.headers, cache);
            let found = found.map_err(|error| failure(&error))?;
            return match found.entry.kind {
                Kind::File(_) => self.send_found(request, path, &found, cache),
                Kind::Directory => Ok(redirects::add_slash(
                    request.method,
                    request.query,
                    request.path,
                )),
                Kind::Other => Err(Failure::new(StatusCode::FORBIDDEN)),
            };
        }
        let mut name = Vec::with_capacity(path.len() + 16);
        for index in &self.index {
            name.clear();
            name.extend_from_slice(path);
            name.extend_from_slice(index.as_bytes());
            match self.choose(&name, request.headers, cache) {
                Ok(found) if matches!(found.entry.kind, Kind::File(_)) => {
                    return self.send_found(request, &name, &found, cache);
                }
                Ok(_) => {}
                Err(error) if is_missing(&error) => {}
                Err(error) => return Err(failure(&error)),
            }
        }
        let directory = path.strip_suffix(b"/").unwrap_or(path);
        let entry = cache
            .find(&self.root, directory)
            .map_err(|error| failure(&error))?;
        match (&entry.kind, &self.listing) {
            (Kind::Directory, Some(listing)) => self.list(request, directory, listing),
            // Without a listing, a directory without an index is forbidden.
            (Kind::Directory, None) => Err(Failure::new(StatusCode::FORBIDDEN)),
            _ => Err(Failure::new(StatusCode::NOT_FOUND)),
        }
    }

    /// The failure to find what is asked for, if it is one.
    fn missing(&self, request: &FileRequest<'_>, cache: &FileCache) -> Option<Failure> {
        if self.fallback.is_some() {
            return None;
        }
        let path = request.path.as_bytes().get(request.matched..);
        let path = path.unwrap_or_default();
        let path = path.strip_prefix(b"/").unwrap_or(path);
        let bare = path.strip_suffix(b"/").unwrap_or(path);
        let found = self.choose(bare, request.headers, cache);
        found.err().map(|error| failure(&error))
    }

    fn list(&self, request: &FileRequest<'_>, below: &[u8], listing: &Listing) -> FileAnswer {
        let directory = self.root.open_below(below);
        let directory = directory.map_err(|error| failure(&error))?;
        let (path, query) = (request.path.as_bytes(), request.query);
        Ok(listing::answer(
            listing,
            &self.root,
            directory,
            below,
            path,
            query,
            self.hidden,
        ))
    }

    fn send_found(
        &self,
        request: &FileRequest<'_>,
        path: &[u8],
        found: &Found,
        cache: &FileCache,
    ) -> FileAnswer {
        let name = found.chosen.as_deref().unwrap_or(path);
        let mut answer = self.send_best(request, name, &found.entry, cache);
        if let Ok(response) = &mut answer {
            self.say_language(path, found, response);
        }
        answer
    }

    /// Sends a file, or the same in a coding that lies beside it and that the client likes best; of
    /// several that it likes as well, the first of ours.
    fn send_best(
        &self,
        request: &FileRequest<'_>,
        path: &[u8],
        entry: &Arc<Entry>,
        cache: &FileCache,
    ) -> FileAnswer {
        if self.precompressed.is_empty() {
            return self.send(request, entry);
        }
        let mut accept = request.headers.get_all(header::ACCEPT_ENCODING).iter();
        let accept = match (accept.next(), accept.next()) {
            (Some(accept), None) => accept.as_bytes(),
            // None at all is a wish for none; two are too rare to be joined.
            _ => b"",
        };
        let mut varies = false;
        let mut best: Option<(u16, Coding, Arc<Entry>)> = None;
        for &coding in &self.precompressed {
            let beside = [path, coding.suffix().as_bytes()].concat();
            // One that is older than the file is what is left of an earlier state of it.
            let Some(coded) = cache.find(&self.root, &beside).ok().filter(|coded| {
                matches!(coded.kind, Kind::File(_)) && coded.modified >= entry.modified
            }) else {
                continue;
            };
            varies = true;
            let quality = quality(accept, coding);
            if quality > best.as_ref().map_or(0, |(quality, ..)| *quality) {
                best = Some((quality, coding, coded));
            }
        }
        let mut answer = match &best {
            Some((_, _, coded)) => self.send_as(request, coded, self.content_type(entry)),
            None => self.send(request, entry),
        };
        if let (Ok(response), true) = (&mut answer, varies) {
            let headers = response.headers_mut();
            headers.append(header::VARY, ACCEPT_ENCODING);
            // RFC 9110 section 15.4.5: a 304 says nothing of the content.
            if let (Some((_, coding, _)), true) =
                (&best, response.status() != StatusCode::NOT_MODIFIED)
            {
                response.headers_mut().insert(
                    header::CONTENT_ENCODING,
                    HeaderValue::from_static(coding.name()),
                );
            }
        }
        answer
    }

    fn send(&self, request: &FileRequest<'_>, entry: &Arc<Entry>) -> FileAnswer {
        self.send_as(request, entry, self.content_type(entry))
    }

    fn send_as(
        &self,
        request: &FileRequest<'_>,
        entry: &Arc<Entry>,
        content_type: Option<HeaderValue>,
    ) -> FileAnswer {
        let Kind::File(content) = &entry.kind else {
            return Err(Failure::new(StatusCode::NOT_FOUND));
        };
        let validators = entry.validators();
        match precondition::evaluate(request.method, request.headers, &validators) {
            Outcome::Proceed => {}
            Outcome::NotModified => {
                // RFC 9110 section 15.4.5: the validators, and no field about the content.
                let mut response = answer::empty(StatusCode::NOT_MODIFIED);
                let headers = response.headers_mut();
                headers.insert(header::ETAG, entry.etag.clone());
                headers.insert(header::LAST_MODIFIED, entry.last_modified.clone());
                // Taken off again at the end; it tells whether the content would be compressed.
                if let Some(kind) = content_type {
                    headers.insert(header::CONTENT_TYPE, kind);
                }
                return Ok(response);
            }
            Outcome::Failed => return Err(Failure::new(StatusCode::PRECONDITION_FAILED)),
        }
        let mut response = Response::new(Body::Empty);
        let headers = response.headers_mut();
        headers.reserve(8);
        headers.insert(header::LAST_MODIFIED, entry.last_modified.clone());
        headers.insert(header::ETAG, entry.etag.clone());
        headers.insert(header::ACCEPT_RANGES, BYTES);
        let (body, length) = match selection(request, entry) {
            Selection::Whole => (whole(content, entry.size), entry.size),
            Selection::Unsatisfiable => return Err(unsatisfiable(entry.size)),
            Selection::One(range) => {
                *response.status_mut() = StatusCode::PARTIAL_CONTENT;
                let headers = response.headers_mut();
                let last = range.end.saturating_sub(1);
                let field = format!("bytes {}-{last}/{}", range.start, entry.size);
                if let Ok(field) = HeaderValue::from_str(&field) {
                    headers.insert(header::CONTENT_RANGE, field);
                }
                let length = range.end.saturating_sub(range.start);
                let pieces = VecDeque::from([piece(content, range)]);
                (Body::File(Box::new(FileBody::new(pieces))), length)
            }
            Selection::Many(ranges) => {
                *response.status_mut() = StatusCode::PARTIAL_CONTENT;
                let boundary = boundary();
                let (pieces, length) = multipart::pieces(
                    content,
                    content_type.as_ref(),
                    entry.size,
                    ranges,
                    &boundary,
                );
                let kind = format!("multipart/byteranges; boundary={boundary}");
                if let Ok(kind) = HeaderValue::from_str(&kind) {
                    response.headers_mut().insert(header::CONTENT_TYPE, kind);
                }
                (Body::File(Box::new(FileBody::new(pieces))), length)
            }
        };
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        if let Some(kind) = content_type {
            headers.entry(header::CONTENT_TYPE).or_insert(kind);
        }
        if request.method != Method::HEAD {
            *response.body_mut() = body;
        }
        Ok(response)
    }

    fn content_type(&self, entry: &Entry) -> Option<HeaderValue> {
        let kind = entry.content_type.clone()?;
        let Some(charset) = &self.charset else {
            return Some(kind);
        };
        match kind.to_str() {
            Ok(text) if text.starts_with("text/") => {
                HeaderValue::from_str(&format!("{text}; charset={charset}")).ok()
            }
            _ => Some(kind),
        }
    }
}

fn whole(content: &Content, size: u64) -> Body {
    match content {
        Content::Bytes(bytes) => Body::from(bytes.clone()),
        Content::Descriptor(_) => Body::File(Box::new(FileBody::new(VecDeque::from([piece(
            content,
            0..size,
        )])))),
    }
}

/// RFC 9110 section 14.2: only GET has ranges.
fn selection(request: &FileRequest<'_>, entry: &Entry) -> Selection {
    let Some(value) = request.headers.get(header::RANGE) else {
        return Selection::Whole;
    };
    if request.method != Method::GET
        || !precondition::range_applies(request.headers, &entry.validators(), SystemTime::now())
    {
        return Selection::Whole;
    }
    match range::parse(value.as_bytes()) {
        Some(specs) => ranges::select(&specs, entry.size),
        None => Selection::Whole,
    }
}

fn unsatisfiable(size: u64) -> Failure {
    let failure = Failure::new(StatusCode::RANGE_NOT_SATISFIABLE);
    match HeaderValue::from_str(&format!("bytes */{size}")) {
        Ok(field) => failure.with(header::CONTENT_RANGE, field),
        Err(_) => failure,
    }
}

/// A boundary that no file was made to hold.
fn boundary() -> String {
    static KEY: OnceLock<RandomState> = OnceLock::new();
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let key = KEY.get_or_init(RandomState::new);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!(
        "{:016x}{:016x}",
        key.hash_one(count),
        key.hash_one((count, 1))
    )
}

/// Whatever the case: "a.PHP" is no file to be shown the source of. Of ASCII alone, for no other
/// letter folds to one of a suffix (a Kelvin sign is no K).
fn has_suffix(name: &[u8], suffix: &[u8]) -> bool {
    let Some(at) = name.len().checked_sub(suffix.len()).filter(|&at| at > 0) else {
        return false;
    };
    let (stem, end) = name.split_at(at);
    !stem.ends_with(b"/") && end.eq_ignore_ascii_case(suffix)
}

pub(super) fn is_missing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

fn failure(error: &io::Error) -> Failure {
    let status = match Errno::from_io_error(error) {
        Some(Errno::NOENT | Errno::NOTDIR | Errno::NAMETOOLONG) => StatusCode::NOT_FOUND,
        // A link that leads out of the root says EXDEV, one that is not to be followed ELOOP.
        Some(Errno::ACCESS | Errno::PERM | Errno::LOOP | Errno::XDEV) => StatusCode::FORBIDDEN,
        Some(Errno::MFILE | Errno::NFILE | Errno::NOMEM) => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    };
    let failure = Failure::new(status);
    if status == StatusCode::NOT_FOUND {
        failure
    } else {
        failure.because(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suffixes() {
        for (name, expected) in [
            ("a.php", true),
            ("a.PHP", true),
            ("x/a.php", true),
            (".php", false),
            ("x/.php", false),
            ("a.php.", false),
            ("a.php5", false),
            ("a.\u{24df}hp", false),
        ] {
            assert_eq!(has_suffix(name.as_bytes(), b".php"), expected, "{name}");
        }
    }
}
