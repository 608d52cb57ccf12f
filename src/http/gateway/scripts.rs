//! Which program a request is for, and running it.

use std::{
    ffi::OsStr,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use http::{HeaderValue, Method, Response, StatusCode, header, request};
use tokio::sync::Semaphore;

use super::{
    Caller, Script, Workers,
    environment::{along, environment, split},
    errors::ErrorLog,
    process::Process,
    response::{Source, response},
    session::Session,
    upload::Upload,
};
use crate::{
    answer::Failure,
    body::Body,
    files::{FileCache, Files, Kind},
    io::RequestBody,
    wire::{fastcgi, target::NormalPath},
};

/// A route whose requests are answered by programs.
#[derive(Debug)]
pub struct Scripts {
    /// Where the programs are.
    pub place: Where,
    /// What runs them.
    pub runner: Runner,
    /// What they are told besides.
    pub variables: Vec<(String, String)>,
    /// How long the first byte, and each further one, may take.
    pub timeout: Duration,
}

/// Where programs are.
#[derive(Debug)]
pub enum Where {
    /// Among the files of a root, which know their suffixes.
    Suffixes {
        /// The root, and what is done with everything else.
        files: Arc<Files>,
        /// Whether the root is the site's, so that the whole path is below it.
        whole: bool,
    },
    /// Every file of a directory is one.
    Directory(Arc<Files>),
    /// This one, whatever the rest of the path.
    File(PathBuf),
}

/// What runs programs.
#[derive(Debug)]
pub enum Runner {
    /// A FastCGI application.
    FastCgi {
        /// Its connections.
        workers: Arc<Workers>,
        /// How long it may take to accept one.
        connect: Duration,
    },
    /// A process for each request.
    Cgi(CgiLimits),
}

/// Bounds of CGI.
#[derive(Debug)]
pub struct CgiLimits {
    /// Processes at once.
    pub processes: Arc<Semaphore>,
    /// Bytes that one may say.
    pub output: u64,
}

/// How long a request waits for its turn where as many programs run as may.
const TURN: Duration = Duration::from_secs(10);

/// What a path leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// A program.
    Script(Script),
    /// A file, a directory, or nothing.
    File,
}

impl Scripts {
    /// What a path leads to. `matched` is how much of it the route took.
    #[must_use]
    pub fn find(&self, path: &NormalPath<'_>, matched: usize, cache: &FileCache) -> Found {
        let (files, matched, all) = match &self.place {
            Where::File(file) => {
                let (name, path_info) = path
                    .as_bytes()
                    .split_at_checked(matched)
                    .unwrap_or_default();
                return Found::Script(Script {
                    root: directory(file),
                    file: file.as_os_str().as_bytes().to_vec(),
                    name: name.to_vec(),
                    path_info: path_info.to_vec(),
                });
            }
            Where::Directory(files) => (files, matched, true),
            Where::Suffixes { files, whole } => (files, if *whole { 0 } else { matched }, false),
        };
        if path.encoded_slash() || (!files.hidden && path.hidden()) {
            return Found::File;
        }
        let is_script = |name: &[u8]| all || files.is_program(name);
        let exists = |name: &[u8]| {
            cache
                .find(&files.root, name)
                .is_ok_and(|entry| matches!(entry.kind, Kind::File(_)))
        };
        let rest = path.as_bytes().get(matched..).unwrap_or_default();
        let rest = rest.strip_prefix(b"/").unwrap_or(rest);
        if let Some(named) = along(rest, |part| is_script(part) && exists(part)) {
            let (name, path_info) = split(path, matched, named);
            let below = rest.get(..named).unwrap_or_default();
            return Found::Script(script(files, below, name, path_info));
        }
        if rest.is_empty() || rest.ends_with(b"/") {
            for index in &files.index {
                let below = [rest, index.as_bytes()].concat();
                if exists(&below) {
                    if !is_script(&below) {
                        return Found::File;
                    }
                    let mut name = path.as_bytes().to_vec();
                    if !name.ends_with(b"/") {
                        name.push(b'/');
                    }
                    name.extend_from_slice(index.as_bytes());
                    return Found::Script(script(files, &below, name, Vec::new()));
                }
            }
        }
        if let Some(fallback) = &files.fallback {
            let below = fallback.trim_start_matches('/').as_bytes();
            // No file has a slash at its end.
            let missing = match rest.strip_suffix(b"/") {
                Some(bare) => !cache
                    .find(&files.root, bare)
                    .is_ok_and(|entry| matches!(entry.kind, Kind::Directory)),
                None => cache.find(&files.root, rest).is_err(),
            };
            if missing && is_script(below) && exists(below) {
                let prefix = path.as_bytes().get(..matched).unwrap_or_default();
                let name = [prefix, b"/", below].concat();
                return Found::Script(script(files, below, name, Vec::new()));
            }
        }
        Found::File
    }

    /// The files that are not programs.
    #[must_use]
    pub fn files(&self) -> Option<(&Files, bool)> {
        match &self.place {
            Where::Suffixes { files, whole } => Some((files, *whole)),
            Where::Directory(_) | Where::File(_) => None,
        }
    }

    /// Runs a program.
    ///
    /// # Errors
    /// 502 where it cannot be run or does not answer as it should, 503 where too many run, 504
    /// where it takes too long.
    pub async fn run(
        &self,
        script: &Script,
        head: &request::Parts,
        body: RequestBody,
        caller: &Caller<'_>,
    ) -> Result<Response<Body>, Failure> {
        let name = String::from_utf8_lossy(&script.file).into_owned();
        let upload = Upload::new(body).await?;
        let (upload, length) = upload.unzip();
        let variables = environment(head, script, caller, length, &self.variables);
        let errors = ErrorLog::new(name.clone());
        match &self.runner {
            Runner::FastCgi { workers, connect } => {
                let mut begin = Vec::with_capacity(2048);
                let pairs = variables
                    .iter()
                    .map(|(name, value)| (name.as_slice(), value.as_slice()));
                fastcgi::begin(pairs, true, &mut begin);
                // A connection that was idle may be closed at the very moment it is used. Only what
                // can be sent twice without doing more than once is sent over one.
                let safe = upload.is_none()
                    && matches!(head.method, Method::GET | Method::HEAD | Method::OPTIONS);
                if safe && let Some(stream) = workers.reuse() {
                    let mut session = Session::new(
                        stream,
                        false,
                        workers.clone(),
                        begin.clone(),
                        None,
                        errors.again(),
                    );
                    let begins = tokio::time::timeout(self.timeout, session.begins()).await;
                    let begins = begins.map_err(|_| {
                        Failure::new(StatusCode::GATEWAY_TIMEOUT)
                            .because(format!("{name}: no response in time"))
                    })?;
                    if begins {
                        let source = Source::FastCgi(session);
                        return response(source, &name, self.timeout, self.timeout).await;
                    }
                }
                let stream = workers.connect(*connect).await.map_err(|error| {
                    let status = match error.kind() {
                        std::io::ErrorKind::TimedOut => StatusCode::GATEWAY_TIMEOUT,
                        _ => StatusCode::BAD_GATEWAY,
                    };
                    let target = workers.target();
                    Failure::new(status).because(format!("{target}: cannot connect: {error}"))
                })?;
                let session = Session::new(stream, true, workers.clone(), begin, upload, errors);
                let source = Source::FastCgi(session);
                response(source, &name, self.timeout, self.timeout).await
            }
            Runner::Cgi(limits) => {
                let turn = limits.processes.clone().acquire_owned();
                let Ok(Ok(permit)) = tokio::time::timeout(TURN, turn).await else {
                    return Err(Failure::new(StatusCode::SERVICE_UNAVAILABLE)
                        .with(header::RETRY_AFTER, HeaderValue::from_static("10"))
                        .because("as many programs run as may"));
                };
                let file = Path::new(OsStr::from_bytes(&script.file));
                let process =
                    Process::start(file, &variables, upload, errors, limits.output, permit)
                        .map_err(|error| {
                            Failure::new(StatusCode::BAD_GATEWAY)
                                .because(format!("{name}: cannot be run: {error}"))
                        })?;
                let source = Source::Process(process);
                response(source, &name, self.timeout, self.timeout).await
            }
        }
    }
}

fn script(files: &Files, below: &[u8], name: Vec<u8>, path_info: Vec<u8>) -> Script {
    let root = files.root.path().as_os_str().as_bytes();
    let root = root.strip_suffix(b"/").unwrap_or(root);
    Script {
        root: root.to_vec(),
        file: [root, b"/", below].concat(),
        name,
        path_info,
    }
}

fn directory(file: &Path) -> Vec<u8> {
    let parent = file.parent().unwrap_or(Path::new("/"));
    parent.as_os_str().as_bytes().to_vec()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::files::{CacheLimits, Root, Symlinks};

    #[test]
    fn what_paths_lead_to() -> std::io::Result<()> {
        let directory = tempfile::tempdir()?;
        let root = directory.path();
        fs::create_dir_all(root.join("sub/empty"))?;
        for name in [
            "index.php",
            "a.php",
            "sub/index.html",
            "sub/b.php",
            "c.txt",
            ".h.php",
        ] {
            fs::write(root.join(name), "x")?;
        }
        fs::create_dir_all(root.join("dir.php"))?;
        let files = Files {
            index: vec!["index.php".into(), "index.html".into()],
            fallback: Some("/index.php".into()),
            programs: vec![".php".into()],
            ..Files::of(Arc::new(Root::open(root, Symlinks::Inside)?))
        };
        let scripts = Scripts {
            place: Where::Suffixes {
                files: Arc::new(files),
                whole: false,
            },
            runner: Runner::Cgi(CgiLimits {
                processes: Arc::new(Semaphore::new(1)),
                output: 0,
            }),
            variables: Vec::new(),
            timeout: Duration::ZERO,
        };
        let cache = FileCache::new(CacheLimits::default());
        for (path, matched, expected) in [
            ("/a.php", 0, Some(("/a.php", "/a.php", ""))),
            ("/a.php/x/y", 0, Some(("/a.php", "/a.php", "/x/y"))),
            ("/a.php/", 0, Some(("/a.php", "/a.php", "/"))),
            ("/", 0, Some(("/index.php", "/index.php", ""))),
            ("/app", 4, Some(("/index.php", "/app/index.php", ""))),
            ("/app/a.php/z", 4, Some(("/a.php", "/app/a.php", "/z"))),
            ("/sub/b.php", 0, Some(("/sub/b.php", "/sub/b.php", ""))),
            ("/sub/", 0, None),
            ("/sub/empty/", 0, None),
            ("/c.txt", 0, None),
            ("/dir.php", 0, None),
            ("/.h.php", 0, None),
            ("/a.php%2fx", 0, None),
            ("/nothing/here", 0, Some(("/index.php", "/index.php", ""))),
            ("/none.php", 0, Some(("/index.php", "/index.php", ""))),
            ("/c.txt/", 0, Some(("/index.php", "/index.php", ""))),
        ] {
            let normal = NormalPath::parse(path).map_err(|_| std::io::ErrorKind::InvalidInput)?;
            let found = match scripts.find(&normal, matched, &cache) {
                Found::File => None,
                Found::Script(script) => {
                    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                    let file = text(&script.file);
                    let file = file.strip_prefix(&*root.to_string_lossy()).unwrap_or("?");
                    Some((file.to_owned(), text(&script.name), text(&script.path_info)))
                }
            };
            let expected = expected
                .map(|(file, name, info)| (file.to_owned(), name.to_owned(), info.to_owned()));
            assert_eq!(found, expected, "{path}");
        }
        Ok(())
    }
}
