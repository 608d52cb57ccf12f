//! What a program is told about a request (RFC 3875 section 4.1), for FastCGI and CGI alike.

use std::net::SocketAddr;

use http::{HeaderMap, Version, header, request};

use crate::wire::target::NormalPath;

/// What of the connection and the site goes into it.
#[derive(Debug, Clone, Copy)]
pub struct Caller<'a> {
    /// The client.
    pub peer: SocketAddr,
    /// Where it connected.
    pub local: SocketAddr,
    /// Whether over TLS.
    pub tls: bool,
    /// The host it asked for, without a port.
    pub host: &'a str,
    /// The target that it asked for, before any rewriting.
    pub target: &'a str,
    /// Who it is, where it had to say.
    pub user: Option<&'a str>,
    /// What failed, where the program is to write the page for it.
    pub failed: Option<Failed<'a>>,
    /// What rules have set.
    pub env: &'a [(String, String)],
}

/// A request that failed.
#[derive(Debug, Clone, Copy)]
pub struct Failed<'a> {
    /// With what.
    pub status: u16,
    /// Its path.
    pub path: &'a [u8],
    /// Its query.
    pub query: Option<&'a str>,
    /// Its method.
    pub method: &'a str,
}

/// A program that was found, and what is left of the path behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Script {
    /// The document root.
    pub root: Vec<u8>,
    /// The file.
    pub file: Vec<u8>,
    /// The part of the path that names it.
    pub name: Vec<u8>,
    /// What follows it: empty, or beginning with a slash.
    pub path_info: Vec<u8>,
}

/// Names and values.
pub type Environment = Vec<(Vec<u8>, Vec<u8>)>;

/// The environment of a request. `more` is the operator's own: no field of a client's takes its
/// place (CVE-2025-65082).
#[must_use]
pub fn environment(
    head: &request::Parts,
    script: &Script,
    caller: &Caller<'_>,
    length: Option<u64>,
    more: &[(String, String)],
) -> Environment {
    let mut variables: Environment = Vec::with_capacity(40);
    let mut set = |name: &str, value: &[u8]| {
        let own = more.iter().chain(caller.env);
        if !own.into_iter().any(|(own, _)| own == name) {
            variables.push((name.as_bytes().to_vec(), value.to_vec()));
        }
    };
    let version = match head.version {
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2.0",
        Version::HTTP_3 => "HTTP/3.0",
        _ => "HTTP/1.1",
    };
    set("GATEWAY_INTERFACE", b"CGI/1.1");
    set("SERVER_SOFTWARE", b"omnid");
    set("SERVER_NAME", caller.host.as_bytes());
    set("SERVER_ADDR", address(caller.local).as_bytes());
    set("SERVER_PORT", caller.local.port().to_string().as_bytes());
    set("SERVER_PROTOCOL", version.as_bytes());
    set("REQUEST_METHOD", head.method.as_str().as_bytes());
    set("REQUEST_URI", caller.target.as_bytes());
    set(
        "QUERY_STRING",
        head.uri.query().unwrap_or_default().as_bytes(),
    );
    set(
        "REQUEST_SCHEME",
        if caller.tls { b"https" } else { b"http" },
    );
    if caller.tls {
        set("HTTPS", b"on");
    }
    set("DOCUMENT_ROOT", &script.root);
    set("SCRIPT_FILENAME", &script.file);
    set("SCRIPT_NAME", &script.name);
    if !script.path_info.is_empty() {
        set("PATH_INFO", &script.path_info);
        set(
            "PATH_TRANSLATED",
            &[&*script.root, &*script.path_info].concat(),
        );
    }
    set("REMOTE_ADDR", address(caller.peer).as_bytes());
    set("REMOTE_PORT", caller.peer.port().to_string().as_bytes());
    if let Some(user) = caller.user {
        set("AUTH_TYPE", b"Basic");
        set("REMOTE_USER", user.as_bytes());
    }
    // PHP's own program refuses to run without it where it was built to.
    let status = caller.failed.map_or(200, |failed| failed.status);
    set("REDIRECT_STATUS", status.to_string().as_bytes());
    if let Some(failed) = &caller.failed {
        set("REDIRECT_URL", failed.path);
        set("REDIRECT_REQUEST_METHOD", failed.method.as_bytes());
        if let Some(query) = failed.query {
            set("REDIRECT_QUERY_STRING", query.as_bytes());
        }
    }
    if let Some(length) = length {
        set("CONTENT_LENGTH", length.to_string().as_bytes());
    }
    if let Some(kind) = head.headers.get(header::CONTENT_TYPE) {
        set("CONTENT_TYPE", kind.as_bytes());
    }
    for name in head.headers.keys() {
        if let Some((variable, value)) = field(&head.headers, name) {
            set(&variable, &value);
        }
    }
    // What the operator says for the route counts more than what rules say for a request.
    let ruled = caller.env.iter();
    let ruled = ruled.filter(|(name, _)| !more.iter().any(|(own, _)| own == name));
    for (name, value) in more.iter().chain(ruled) {
        variables.push((name.clone().into_bytes(), value.clone().into_bytes()));
    }
    variables
}

/// Fields that are told in another way, or that are about how the message came and no longer true.
const FRAMING: [http::HeaderName; 6] = [
    header::CONTENT_LENGTH,
    header::CONTENT_TYPE,
    header::TRANSFER_ENCODING,
    header::EXPECT,
    header::TE,
    header::TRAILER,
];

/// A field of the client's as a variable; `None` for one that is not to be told. Names with "_" or
/// "." would come out like others with "-" (PHP folds both), and Proxy would come out as the name
/// of a proxy to be used (httpoxy).
fn field(headers: &HeaderMap, name: &http::HeaderName) -> Option<(String, Vec<u8>)> {
    let text = name.as_str();
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    if !text.bytes().all(plain) || text == "proxy" || FRAMING.contains(name) {
        return None;
    }
    let mut variable = String::with_capacity(text.len() + 5);
    variable.push_str("HTTP_");
    for character in text.chars() {
        variable.push(match character {
            '-' => '_',
            other => other.to_ascii_uppercase(),
        });
    }
    let between: &[u8] = if name == header::COOKIE { b"; " } else { b", " };
    let mut value = Vec::new();
    for (index, one) in headers.get_all(name).iter().enumerate() {
        if index > 0 {
            value.extend_from_slice(between);
        }
        value.extend_from_slice(one.as_bytes());
    }
    Some((variable, value))
}

fn address(address: SocketAddr) -> String {
    address.ip().to_canonical().to_string()
}

/// Looks for a program along a path: the first of its parts that names one, as `exists` says.
/// `path` is what follows the route's path, without its slash; the result is how much of it names
/// the program.
pub fn along(path: &[u8], mut exists: impl FnMut(&[u8]) -> bool) -> Option<usize> {
    let slashes = memchr::memchr_iter(b'/', path);
    let ends = slashes.chain(std::iter::once(path.len()));
    // Bounded, for each costs a look at the file system.
    ends.filter(|&end| end > 0)
        .take(DEPTH_MAX)
        .find(|&end| path.get(..end).is_some_and(&mut exists))
}

const DEPTH_MAX: usize = 64;

/// The path of a script's own name: what the route took, and so much of what follows.
pub(super) fn split(path: &NormalPath<'_>, matched: usize, named: usize) -> (Vec<u8>, Vec<u8>) {
    let bytes = path.as_bytes();
    // The slash between the two is neither's.
    let end = (matched + 1 + named).min(bytes.len());
    let (name, info) = bytes.split_at(end);
    (name.to_vec(), info.to_vec())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use http::Request;

    use super::*;

    fn variables(request: Request<()>, more: &[(String, String)]) -> BTreeMap<String, String> {
        let (head, ()) = request.into_parts();
        let script = Script {
            root: b"/srv".to_vec(),
            file: b"/srv/a.php".to_vec(),
            name: b"/a.php".to_vec(),
            path_info: b"/b c".to_vec(),
        };
        let caller = Caller {
            peer: ([192, 0, 2, 7], 1234).into(),
            local: ([192, 0, 2, 1], 443).into(),
            tls: true,
            host: "example.org",
            target: "/a.php/b%20c?x=y",
            user: Some("alice"),
            failed: None,
            env: &[
                ("HTTP_X_TWO".to_owned(), "rule".to_owned()),
                ("HTTP_X_OWN".to_owned(), "rule".to_owned()),
                ("HTTP_AUTHORIZATION".to_owned(), "Basic eA==".to_owned()),
            ],
        };
        environment(&head, &script, &caller, Some(3), more)
            .into_iter()
            .map(|(name, value)| {
                let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
                (text(name), text(value))
            })
            .collect()
    }

    #[test]
    fn what_a_program_is_told() -> http::Result<()> {
        let request = Request::post("/a.php/b%20c?x=y")
            .header("host", "example.org")
            .header("content-type", "text/plain")
            .header("content-length", "3")
            .header("x-own", "client")
            .header("x-two", "1")
            .header("x-three", "1")
            .header("x-three", "2")
            .header("cookie", "a=1")
            .header("cookie", "b=2")
            .header("proxy", "http://evil")
            .header("x_under", "1")
            .header("x.dot", "1")
            .header("transfer-encoding", "chunked")
            .body(())?;
        let own = [("HTTP_X_OWN".to_owned(), "operator".to_owned())];
        let told = variables(request, &own);
        for (name, value) in [
            ("REQUEST_URI", "/a.php/b%20c?x=y"),
            ("QUERY_STRING", "x=y"),
            ("SCRIPT_NAME", "/a.php"),
            ("SCRIPT_FILENAME", "/srv/a.php"),
            ("PATH_INFO", "/b c"),
            ("PATH_TRANSLATED", "/srv/b c"),
            ("CONTENT_LENGTH", "3"),
            ("CONTENT_TYPE", "text/plain"),
            ("HTTPS", "on"),
            ("REMOTE_USER", "alice"),
            ("HTTP_HOST", "example.org"),
            ("HTTP_X_OWN", "operator"),
            ("HTTP_X_TWO", "rule"),
            ("HTTP_X_THREE", "1, 2"),
            ("HTTP_AUTHORIZATION", "Basic eA=="),
            ("HTTP_COOKIE", "a=1; b=2"),
        ] {
            assert_eq!(told.get(name).map(String::as_str), Some(value), "{name}");
        }
        for name in [
            "HTTP_PROXY",
            "HTTP_X_UNDER",
            "HTTP_X_DOT",
            "HTTP_CONTENT_LENGTH",
            "HTTP_TRANSFER_ENCODING",
        ] {
            assert_eq!(told.get(name), None, "{name}");
        }
        Ok(())
    }

    #[test]
    fn the_first_program_along_a_path() {
        let php = |path: &str| {
            along(path.as_bytes(), |part| {
                part.ends_with(b".php") && !part.ends_with(b"none.php")
            })
        };
        assert_eq!(php("a.php"), Some(5));
        assert_eq!(php("a.php/b.php"), Some(5));
        assert_eq!(php("none.php/b.php"), Some(14));
        assert_eq!(php("x/a.php/"), Some(7));
        assert_eq!(php("x/y"), None);
        assert_eq!(php(""), None);
    }
}
