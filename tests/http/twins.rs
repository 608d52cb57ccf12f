//! The same requests to Apache, nginx and omnid, over the same files: what differs must be meant.

use std::{
    collections::BTreeMap,
    fs,
    io::{Read, Write},
    net::TcpStream,
    os::unix::fs::PermissionsExt,
    path::Path,
    time::{Duration, UNIX_EPOCH},
};

use super::{
    LIMIT, Server, free_port,
    support::{Background, wait_until},
};

/// What is compared of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) fields: BTreeMap<String, String>,
    pub(super) body: Vec<u8>,
}

/// Fields whose values must be equal.
const COMPARED: [&str; 5] = [
    "content-type",
    "content-length",
    "content-range",
    "last-modified",
    "location",
];

struct Twins {
    server: Server,
    apache: u16,
    nginx: u16,
    _peers: Vec<Background>,
}

fn twins() -> Twins {
    let server = Server::start("", "");
    let (apache, nginx) = (free_port(), free_port());
    let directory = server.daemon.directory();
    // The peers' workers are other users.
    fs::set_permissions(directory, fs::Permissions::from_mode(0o755)).unwrap();
    let site = directory.join("site");
    fs::write(site.join("empty.txt"), "").unwrap();
    fs::write(site.join("one.txt"), "1").unwrap();
    fs::write(site.join("with space.txt"), "space\n").unwrap();
    fs::write(site.join("a+b&c.css"), "plus\n").unwrap();
    fs::write(site.join("\u{e4}.js"), "umlaut\n").unwrap();
    fs::write(site.join("noextension"), "none\n").unwrap();
    fs::write(site.join("UPPER.HTML"), "upper\n").unwrap();
    fs::write(site.join("picture.svg"), "<svg/>\n").unwrap();
    for file in walk(&site) {
        let then = UNIX_EPOCH + Duration::from_secs(784_111_777);
        fs::File::open(file).unwrap().set_modified(then).unwrap();
    }
    let root = site.display().to_string();
    let run = directory.display().to_string();
    let conf = directory.join("apache.conf");
    fs::write(
        &conf,
        format!(
            "ServerRoot {run}\nPidFile {run}/apache.pid\nListen 127.0.0.1:{apache}\n\
             ServerName example.test\nErrorLog {run}/apache.log\n\
             LoadModule mpm_event_module /usr/lib/apache2/modules/mod_mpm_event.so\n\
             LoadModule authz_core_module /usr/lib/apache2/modules/mod_authz_core.so\n\
             LoadModule mime_module /usr/lib/apache2/modules/mod_mime.so\n\
             LoadModule autoindex_module /usr/lib/apache2/modules/mod_autoindex.so\n\
             LoadModule dir_module /usr/lib/apache2/modules/mod_dir.so\n\
             TypesConfig /etc/mime.types\nUser www-data\nGroup www-data\n\
             DocumentRoot {root}\nDirectoryIndex index.html\nTraceEnable off\n\
             <Directory {root}>\nRequire all granted\nOptions FollowSymLinks\n</Directory>\n"
        ),
    )
    .unwrap();
    let nginx_conf = directory.join("nginx.conf");
    fs::write(
        &nginx_conf,
        format!(
            "daemon off; pid {run}/nginx.pid; error_log {run}/nginx.log; user www-data;\n\
             events {{}}\nhttp {{ access_log off; include /etc/nginx/mime.types;\n\
             client_body_temp_path {run}/body; proxy_temp_path {run}/proxy;\n\
             fastcgi_temp_path {run}/fastcgi; uwsgi_temp_path {run}/uwsgi; scgi_temp_path {run}/scgi;\n\
             server {{ listen 127.0.0.1:{nginx}; root {root}; if_modified_since before; }} }}\n"
        ),
    )
    .unwrap();
    let start = |program: &str, arguments: &[&str], log: &str| {
        Background::start(program, arguments, &directory.join(log))
    };
    let peers = vec![
        start(
            "apache2",
            &["-f", conf.to_str().unwrap(), "-DFOREGROUND"],
            "apache.out",
        ),
        start(
            "nginx",
            &["-p", &run, "-c", nginx_conf.to_str().unwrap()],
            "nginx.out",
        ),
    ];
    for port in [apache, nginx] {
        wait_until("the peer listens", LIMIT, || {
            TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
    }
    Twins {
        server,
        apache,
        nginx,
        _peers: peers,
    }
}

fn walk(directory: &Path) -> Vec<std::path::PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(walk(&path));
        } else {
            files.push(path);
        }
    }
    files
}

/// One request: method, target, fields, in which `{etag}` stands for the server's own.
pub(super) type Question = (String, String, Vec<(String, String)>);

pub(super) fn ask(port: u16, question: &Question) -> Answer {
    normal(raw(port, question))
}

/// The answer as it came.
pub(super) fn raw(port: u16, (method, target, fields): &Question) -> Answer {
    let etag = if fields.iter().any(|(_, value)| value.contains("{etag}")) {
        let plain = ("GET".to_owned(), target.clone(), vec![]);
        let etag = ask(port, &plain).fields.remove("etag");
        etag.unwrap_or_else(|| "\"none\"".into())
    } else {
        String::new()
    };
    let mut request =
        format!("{method} {target} HTTP/1.1\r\nHost: example.test\r\nConnection: close\r\n");
    for (name, value) in fields {
        request.push_str(&format!("{name}: {}\r\n", value.replace("{etag}", &etag)));
    }
    request.push_str("\r\n");
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    let end = bytes
        .windows(4)
        .position(|four| four == b"\r\n\r\n")
        .unwrap_or(bytes.len() - 4);
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let mut lines = head.split("\r\n");
    let status = lines
        .next()
        .unwrap()
        .split(' ')
        .nth(1)
        .unwrap()
        .parse()
        .unwrap();
    let fields = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
        .collect();
    Answer {
        status,
        fields,
        body: bytes[end + 4..].to_vec(),
    }
}

/// Boundaries, absolute locations and error texts differ from server to server.
fn normal(mut answer: Answer) -> Answer {
    if let Some(kind) = answer.fields.get("content-type").cloned()
        && let Some((_, boundary)) = kind.split_once("boundary=")
    {
        let text = String::from_utf8_lossy(&answer.body)
            .replace(boundary, "BOUNDARY")
            .to_lowercase();
        answer.body = text.trim_start().as_bytes().to_vec();
        answer
            .fields
            .insert("content-type".into(), "multipart/byteranges".into());
        answer.fields.remove("content-length");
    }
    if let Some(location) = answer.fields.get_mut("location")
        && let Some(path) = location
            .split("//")
            .nth(1)
            .and_then(|rest| rest.find('/').map(|slash| rest[slash..].to_owned()))
    {
        *location = path;
    }
    if answer.status >= 300 {
        answer.body.clear();
        // Validators are repeated as each server likes (RFC 9110 section 15.4.5).
        for field in ["content-type", "content-length", "last-modified"] {
            answer.fields.remove(field);
        }
    }
    answer
}

fn questions() -> Vec<Question> {
    let mut questions = Vec::new();
    let mut add = |method: &str, target: &str, fields: &[(&str, &str)]| {
        let fields = fields
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        questions.push((method.to_owned(), target.to_owned(), fields));
    };
    for target in [
        "/",
        "/index.html",
        "/digits.txt",
        "/empty.txt",
        "/one.txt",
        "/large.bin",
        "/sub/",
        "/sub",
        "/sub?a=b",
        "/sub/index.html",
        "/empty/",
        "/empty",
        "/none",
        "/none/",
        "/none/x",
        "/digits.txt/",
        "/digits.txt/x",
        "/digits.txt?a=b",
        "/%64igits.txt",
        "/with%20space.txt",
        "/a+b&c.css",
        "/a%2Bb%26c.css",
        "/%C3%A4.js",
        "/noextension",
        "/UPPER.HTML",
        "/picture.svg",
        "//digits.txt",
        "/./digits.txt",
        "/sub/../digits.txt",
        "/sub/./index.html",
        "/sub//index.html",
        "/../digits.txt",
        "/sub/..",
        "/sub/.",
        "/sub/../sub",
        "/%2e%2e/digits.txt",
        "/%00",
        "/digits.txt%00",
        "/%zz",
        "/%",
        "/digits%2etxt",
        "/SUB/",
        "http://example.test/digits.txt",
    ] {
        for method in ["GET", "HEAD"] {
            add(method, target, &[]);
        }
    }
    for method in ["PUT", "DELETE", "PATCH", "BREW", "OPTIONS", "TRACE", "POST"] {
        for target in ["/digits.txt", "/", "/none", "/sub"] {
            add(method, target, &[]);
        }
    }
    add("OPTIONS", "*", &[]);
    for target in [
        "/?",
        "/digits.txt??a",
        "/digits.txt?%00",
        "/digits.txt;x",
        "/digits.txt%3Fa",
        "/digits.txt#x",
        "/digits.txt%20",
        "/digits.txt%0a",
        "/%2fdigits.txt",
        "/sub%2findex.html",
        "/sub%5cindex.html",
        "/%2e/digits.txt",
        "/sub/%2e%2e/digits.txt",
        "/sub/.../index.html",
        "/sub/index.html/",
        "/sub/index.html/..",
        "/index.html/index.html",
        "/~root",
        "/:x",
        "/a:b",
        "/*",
        "/.htaccess",
        "/with+space.txt",
        "/with%2520space.txt",
        "/%e4.js",
        "/%C3%A4%2ejs",
        "/digits.txt%",
        "/digits.txt%4",
        "/digits.txt%u0041",
        "digits.txt",
        "?digits.txt",
        "http://example.test",
        "http://example.test?x",
        "http://EXAMPLE.TEST:80/digits.txt",
        "http:///digits.txt",
        "ftp://example.test/digits.txt",
        "//example.test/digits.txt",
    ] {
        add("GET", target, &[]);
    }
    for target in ["/digits.txt", "/one.txt", "/empty.txt", "/large.bin"] {
        for range in [
            "bytes=0-0",
            "bytes=0-4",
            "bytes=0-",
            "bytes=4-",
            "bytes=-1",
            "bytes=-4",
            "bytes=-100",
            "bytes=-0",
            "bytes=9-9",
            "bytes=10-",
            "bytes=10-20",
            "bytes=5-4",
            "bytes=0-100",
            "bytes=a-b",
            "bytes=",
            "bytes",
            "lines=0-1",
            "bytes=0-0,2-2",
            "bytes=0-0,-1",
            "bytes=0-0, 5-6",
            "bytes=0-0,,5-6",
            "bytes=7-8,1-2",
            "bytes=0-0,99999999-",
            "bytes=99999999-,99999999-",
            "bytes=0-99999999999999999999",
            "bytes=--1",
            "bytes=1",
            "bytes=1-2-3",
            "bytes= 1-2",
            "BYTES=1-2",
            "bytes=1 - 2",
            "bytes=+1-2",
        ] {
            add("GET", target, &[("Range", range)]);
        }
    }
    let (before, at, after) = (
        "Sun, 06 Nov 1994 08:49:36 GMT",
        "Sun, 06 Nov 1994 08:49:37 GMT",
        "Sun, 06 Nov 1994 08:49:38 GMT",
    );
    let conditions: Vec<Vec<(&str, &str)>> = vec![
        vec![("If-None-Match", "{etag}")],
        vec![("If-None-Match", "W/{etag}")],
        vec![("If-None-Match", "*")],
        vec![("If-None-Match", "\"x\"")],
        vec![("If-None-Match", "\"x\", {etag}")],
        vec![("If-None-Match", "\"x\",{etag},\"y\"")],
        vec![("If-None-Match", "\"x\""), ("If-None-Match", "{etag}")],
        vec![("If-Match", "{etag}")],
        vec![("If-Match", "*")],
        vec![("If-Match", "\"x\"")],
        vec![("If-Match", "W/{etag}")],
        vec![("If-Match", "\"x\", {etag}")],
        vec![("If-Modified-Since", before)],
        vec![("If-Modified-Since", at)],
        vec![("If-Modified-Since", after)],
        vec![("If-Modified-Since", "Sunday, 06-Nov-94 08:49:37 GMT")],
        vec![("If-Modified-Since", "Sun Nov  6 08:49:37 1994")],
        vec![("If-Modified-Since", "yesterday")],
        vec![("If-Modified-Since", "")],
        vec![("If-Unmodified-Since", before)],
        vec![("If-Unmodified-Since", at)],
        vec![("If-Unmodified-Since", after)],
        vec![("If-Unmodified-Since", "yesterday")],
        vec![("If-None-Match", "\"x\""), ("If-Modified-Since", after)],
        vec![("If-None-Match", "{etag}"), ("If-Modified-Since", before)],
        vec![("If-Match", "{etag}"), ("If-Unmodified-Since", before)],
        vec![("If-Match", "\"x\""), ("If-None-Match", "{etag}")],
        vec![("If-Match", "{etag}"), ("If-None-Match", "{etag}")],
        vec![("Range", "bytes=0-1"), ("If-Range", "{etag}")],
        vec![("Range", "bytes=0-1"), ("If-Range", "\"x\"")],
        vec![("Range", "bytes=0-1"), ("If-Range", "W/{etag}")],
        vec![("Range", "bytes=0-1"), ("If-Range", at)],
        vec![("Range", "bytes=0-1"), ("If-Range", before)],
        vec![("Range", "bytes=0-1"), ("If-Range", after)],
        vec![("Range", "bytes=0-1"), ("If-None-Match", "{etag}")],
        vec![("Range", "bytes=99-"), ("If-None-Match", "{etag}")],
        vec![("Range", "bytes=99-"), ("If-Range", "\"x\"")],
        vec![("If-Range", "{etag}")],
    ];
    for condition in &conditions {
        for method in ["GET", "HEAD"] {
            for target in ["/digits.txt", "/"] {
                add(method, target, condition);
            }
        }
    }
    questions
}

/// Where omnid differs on purpose, and why. `None` for a difference nobody meant.
fn meant(
    (method, target, fields): &Question,
    omnid: &Answer,
    apache: &Answer,
) -> Option<&'static str> {
    let field = |name: &str| {
        fields
            .iter()
            .find(|(field, _)| field == name)
            .map(|(_, value)| value.as_str())
    };
    let range = field("Range").unwrap_or_default();
    let has = |name: &str| field(name).is_some();
    let statuses = (omnid.status, apache.status);
    [
        (
            method == "HEAD" && has("Range") && omnid.status == 200,
            "RFC 9110 section 14.2: Range is defined for GET alone",
        ),
        (
            method == "HEAD"
                && target == "/empty.txt"
                && !apache.fields.contains_key("content-length"),
            "RFC 9110 section 8.6: the length of nothing is a length",
        ),
        (
            target.contains("%00") && statuses == (400, 404),
            "a zero byte is no path that is merely not found",
        ),
        (
            method == "POST" && statuses == (405, 200),
            "nginx too: what takes no input does not pretend to",
        ),
        (
            !["GET", "HEAD"].contains(&method.as_str())
                && target == "/sub"
                && [(405, 301), (200, 301)].contains(&statuses),
            "who does not read is not sent to another place",
        ),
        (
            method == "OPTIONS" && statuses == (200, 200) && omnid.body.is_empty(),
            "an answer without content has no media type",
        ),
        (
            (target.contains("%5c") && statuses == (400, 404))
                || (["?digits.txt", "http:///digits.txt"].contains(&target.as_str())
                    && statuses == (400, 200)),
            "RFC 9112 section 3.2: a target that two readers could take for two things",
        ),
        (
            method == "BREW" && statuses == (405, 501),
            "the resource is known, and so are its methods",
        ),
        (
            range == "bytes=-0" && statuses == (416, 200),
            "RFC 9110 section 14.1.2: a suffix of no length is not satisfiable",
        ),
        (
            statuses == (416, 416) && !apache.fields.contains_key("content-range"),
            "RFC 9110 section 15.5.17: a 416 tells the length",
        ),
        (
            ["bytes=0-0, 5-6", "bytes= 1-2"].contains(&range) && apache.status == 200,
            "RFC 9110 section 5.6.1: a list may have blanks",
        ),
        (
            range == "bytes=0-99999999999999999999" && apache.status == 200,
            "RFC 9110 section 14.1.2: a last position beyond the end is the end, however far",
        ),
        (
            has("If-None-Match") && has("If-Modified-Since") && statuses == (304, 200),
            "RFC 9110 section 13.1.3: If-None-Match decides alone",
        ),
        (
            has("If-Match") && has("If-Unmodified-Since") && statuses == (200, 412),
            "RFC 9110 section 13.1.4: If-Match decides alone",
        ),
    ]
    .into_iter()
    .find_map(|(meant, why)| meant.then_some(why))
}

#[test]
fn apache_and_omnid_answer_alike() {
    let twins = twins();
    let questions = questions();
    let mut differences = Vec::new();
    let mut on_purpose: BTreeMap<&str, usize> = BTreeMap::new();
    for question in &questions {
        let omnid = ask(twins.server.plain, question);
        let apache = ask(twins.apache, question);
        let nginx = ask(twins.nginx, question);
        let mut what = Vec::new();
        if omnid.status != apache.status {
            what.push(format!(
                "status {} apache {} nginx {}",
                omnid.status, apache.status, nginx.status
            ));
        } else {
            for name in COMPARED {
                let (ours, theirs) = (omnid.fields.get(name), apache.fields.get(name));
                if ours != theirs {
                    what.push(format!(
                        "{name} {ours:?} apache {theirs:?} nginx {:?}",
                        nginx.fields.get(name)
                    ));
                }
            }
            if omnid.body != apache.body {
                what.push(format!(
                    "body of {} apache {}",
                    omnid.body.len(),
                    apache.body.len()
                ));
            }
        }
        if what.is_empty() {
            continue;
        }
        match meant(question, &omnid, &apache) {
            Some(reason) => *on_purpose.entry(reason).or_default() += 1,
            None => differences.push(format!("{question:?}: {}", what.join("; "))),
        }
    }
    println!(
        "{} requests, {} differences on purpose: {on_purpose:#?}",
        questions.len(),
        on_purpose.values().sum::<usize>()
    );
    assert!(
        differences.is_empty(),
        "{} differences:\n{}",
        differences.len(),
        differences.join("\n")
    );
}
