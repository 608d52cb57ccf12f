//! Directory listings, languages and default charsets: the same requests to Apache and to omnid.

use std::{
    fs,
    net::TcpStream,
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
    process::Command,
    time::{Duration, UNIX_EPOCH},
};

use super::{
    LIMIT, Server, free_port,
    support::{Background, wait_until},
    twins::{Answer, Question, ask, raw},
};

struct Pair {
    server: Server,
    apache: u16,
    _peer: Background,
}

/// Says what an error page is told; one that is asked for "gone" says so.
const ERROR_PAGE: &str = "#!/bin/sh
case \"$REDIRECT_URL\" in *gone*) echo 'Status: 410 Gone';; esac
printf 'Content-Type: text/plain\\nX-Page: yes\\n\\n'
for name in REDIRECT_STATUS REDIRECT_URL REDIRECT_QUERY_STRING REDIRECT_REQUEST_METHOD \\
    REQUEST_METHOD REQUEST_URI SCRIPT_NAME PATH_INFO QUERY_STRING CONTENT_LENGTH; do
    eval \"value=\\$$name\"
    echo \"$name=$value\"
done
";

const SITE: &str = r#"
languages = ["en", "de", "fr"]
extensions = [".html"]
[[http.site.route]]
path = "/plain/"
root = "{dir}/site/plain"
listing = { format = "list", order = "name" }
[[http.site.route]]
path = "/fancy/"
root = "{dir}/site/fancy"
listing = { format = "text", order = "name" }
[[http.site.route]]
path = "/debian/"
root = "{dir}/site/debian"
listing = {}
[[http.site.route]]
path = "/folders/"
root = "{dir}/site/folders"
listing = { folders_first = true }
[[http.site.route]]
path = "/json/"
root = "{dir}/site/fancy"
listing = { format = "json" }

[[http.site]]
hosts = ["errors.test"]
root = "{dir}/site/pages"
error_pages = { "403" = "/err.cgi", "404" = "/err.cgi" }
[[http.site.route]]
path = "/"
cgi = { suffixes = [".cgi"] }

[[http.site]]
hosts = ["charset.test"]
root = "{dir}/site/fancy"
charset = "utf-8"
"#;

fn lay_out(directory: &Path) {
    let site = directory.join("site");
    for folder in ["plain", "fancy", "debian", "folders"] {
        // Apache's VersionSort takes bytes beyond ASCII for negative, and puts them first.
        let umlaut = match folder {
            "plain" | "fancy" => "\u{e4}.txt",
            _ => "ae.txt",
        };
        let folder = site.join(folder);
        for below in ["sub", "empty", "v9", "v10", "CVS"] {
            fs::create_dir_all(folder.join(below)).unwrap();
        }
        for (index, (name, length)) in [
            ("a.txt", 0),
            ("B.txt", 5),
            ("b9.txt", 972),
            ("b10.txt", 973),
            ("b09.txt", 1024),
            ("with space.txt", 9999),
            ("a&b<c>\"d'.txt", 10_189),
            (umlaut, 10_752),
            ("colon:x.css", 1_000_000),
            ("percent%41?.html", 1_500_000),
            (".hidden", 1),
            (".htaccess.txt", 1),
            ("back~", 1),
            ("README.txt", 1),
            ("old,v", 1),
            ("noextension", 3),
        ]
        .into_iter()
        .enumerate()
        {
            let file = fs::File::create(folder.join(name)).unwrap();
            file.set_len(length).unwrap();
            let then = UNIX_EPOCH + Duration::from_secs(784_111_777 + (index as u64 * 7 % 16) * 60);
            file.set_modified(then).unwrap();
        }
        for below in ["sub", "empty", "v9", "v10"] {
            let then = UNIX_EPOCH + Duration::from_secs(600_000_000);
            fs::File::open(folder.join(below))
                .unwrap()
                .set_modified(then)
                .unwrap();
        }
        symlink("b9.txt", folder.join("link")).unwrap();
        symlink("nowhere", folder.join("dangling")).unwrap();
    }
    let pages = site.join("pages");
    fs::create_dir_all(pages.join("shut")).unwrap();
    let program = pages.join("err.cgi");
    fs::write(&program, ERROR_PAGE).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    for name in [
        "index.html.en",
        "index.html.de",
        "page.html.en",
        "page.html.de",
        "page.html.fr",
        "only.html.de",
        "plain.html",
        "bak.html.bak",
        "archive.tar.gz",
        "text.gz.txt",
        "two.en.html",
        "x.unknown",
    ] {
        fs::write(pages.join(name), format!("<p>{name}</p>\n")).unwrap();
    }
}

fn pair() -> Pair {
    let server = Server::start_with_files("", SITE, lay_out);
    let apache = free_port();
    let directory = server.daemon.directory();
    fs::set_permissions(directory, fs::Permissions::from_mode(0o755)).unwrap();
    let (run, root) = (directory.display(), directory.join("site"));
    let root = root.display();
    let ignore = "IndexIgnore .??* *~ *# HEADER* README* RCS CVS *,v *,t";
    let modules: String = [
        "mpm_event",
        "authz_core",
        "mime",
        "autoindex",
        "dir",
        "negotiation",
        "cgid",
    ]
    .iter()
    .map(|name| format!("LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so\n"))
    .collect();
    let conf = directory.join("apache.conf");
    fs::write(
        &conf,
        format!(
            "ServerRoot {run}\nPidFile {run}/apache.pid\nListen 127.0.0.1:{apache}\n\
             ServerName example.test\nErrorLog {run}/apache.log\n{modules}\
             TypesConfig /etc/mime.types\nUser www-data\nGroup www-data\n\
             DirectoryIndex index.html\nTraceEnable off\n\
             AddLanguage en .en\nAddLanguage de .de\nAddLanguage fr .fr\n\
             LanguagePriority en de fr\nForceLanguagePriority Prefer Fallback\n\
             <Directory {root}>\nRequire all granted\nOptions FollowSymLinks\n</Directory>\n\
             <Directory {root}/plain>\nOptions +Indexes\n{ignore}\n</Directory>\n\
             <Directory {root}/fancy>\nOptions +Indexes\n{ignore}\n\
             IndexOptions FancyIndexing NameWidth=*\n</Directory>\n\
             <Directory {root}/debian>\nOptions +Indexes\n{ignore}\n\
             IndexOptions FancyIndexing VersionSort HTMLTable NameWidth=* DescriptionWidth=* Charset=UTF-8\n\
             </Directory>\n\
             <Directory {root}/folders>\nOptions +Indexes\n{ignore}\n\
             IndexOptions FancyIndexing VersionSort HTMLTable NameWidth=* FoldersFirst\n</Directory>\n\
             <Directory {root}/pages>\nOptions +MultiViews\n</Directory>\n\
             <VirtualHost *:*>\nServerName example.test\nDocumentRoot {root}\n</VirtualHost>\n\
             <VirtualHost *:*>\nServerName charset.test\nDocumentRoot {root}/fancy\n\
             AddDefaultCharset utf-8\n</VirtualHost>\n\
             ScriptSock {run}/cgid.sock\n\
             <VirtualHost *:*>\nServerName errors.test\nDocumentRoot {root}/pages\n\
             ErrorDocument 403 /err.cgi\nErrorDocument 404 /err.cgi\n\
             <Directory {root}/pages>\nOptions ExecCGI FollowSymLinks\nAddHandler cgi-script .cgi\n\
             </Directory>\n</VirtualHost>\n"
        ),
    )
    .unwrap();
    let peer = Background::start(
        "env",
        &[
            "TZ=UTC",
            "apache2",
            "-f",
            conf.to_str().unwrap(),
            "-DFOREGROUND",
        ],
        &directory.join("apache.out"),
    );
    wait_until("the peer listens", LIMIT, || {
        TcpStream::connect(("127.0.0.1", apache)).is_ok()
    });
    Pair {
        server,
        apache,
        _peer: peer,
    }
}

/// Body of an answer whose length was not known at its start.
fn dechunked(answer: &Answer) -> String {
    let mut rest = answer.body.as_slice();
    if !answer.fields.contains_key("transfer-encoding") {
        return String::from_utf8_lossy(rest).into_owned();
    }
    let mut body = Vec::new();
    while let Some(end) = rest.windows(2).position(|two| two == b"\r\n") {
        let size = std::str::from_utf8(&rest[..end]).unwrap();
        let size = usize::from_str_radix(size.trim(), 16).unwrap();
        if size == 0 {
            break;
        }
        body.extend_from_slice(&rest[end + 2..end + 2 + size]);
        rest = &rest[end + 2 + size + 2..];
    }
    String::from_utf8_lossy(&body).into_owned()
}

/// The lines of a listing: link, name, time, size. The columns' titles are not among them.
fn lines(page: &str) -> Vec<String> {
    let mut found = Vec::new();
    for piece in page.split("<a href=\"").skip(1) {
        let (link, rest) = piece.split_once("\">").unwrap();
        if link.starts_with('?') {
            continue;
        }
        let (name, rest) = rest.split_once("</a>").unwrap();
        let end = rest.find('\n').unwrap_or(rest.len());
        let mut text = String::new();
        let mut inside = false;
        for character in rest[..end].chars() {
            match character {
                '<' => inside = true,
                '>' => {
                    inside = false;
                    text.push(' ');
                }
                other if !inside => text.push(other),
                _ => {}
            }
        }
        let text = text.replace("&nbsp;", " ");
        let details: Vec<&str> = text.split_whitespace().collect();
        found.push(format!("{link} | {} | {}", name.trim(), details.join(" ")));
    }
    found
}

/// Both write the same characters in links and names, each in its own escapes.
fn unescaped(line: &str) -> String {
    let mut line = line
        .replace("&#39;", "'")
        .replace("&quot;", "\"")
        .replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&amp;", "&");
    for (escape, character) in [
        ("%22", "\""),
        ("%3c", "<"),
        ("%3e", ">"),
        ("%27", "'"),
        ("%26", "&"),
    ] {
        line = line.replace(escape, character);
        line = line.replace(&escape.to_uppercase(), character);
    }
    let lower: String = line
        .as_bytes()
        .windows(3)
        .filter(|three| three[0] == b'%')
        .map(|three| String::from_utf8_lossy(three).to_lowercase())
        .collect();
    for three in lower.as_bytes().chunks(3) {
        let three = String::from_utf8_lossy(three);
        line = line.replace(&three.to_uppercase(), &three);
    }
    line
}

fn question(target: &str, fields: &[(&str, &str)]) -> Question {
    let fields = fields
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    ("GET".to_owned(), target.to_owned(), fields)
}

#[test]
fn directories_are_listed_as_apache_lists_them() {
    let pair = pair();
    let mut differences = Vec::new();
    let mut asked = 0;
    for folder in ["plain", "fancy", "debian", "folders"] {
        for rest in [
            "/",
            "/?C=N;O=D",
            "/?C=M;O=A",
            "/?C=M&O=D",
            "/?C=S;O=A",
            "/?C=S;O=D",
            "/?C=D;O=A",
            "/?C=X;O=X",
            "/?P=b*",
            "/?P=?.txt",
            "/?F=0",
            "/?F=1",
            "/?F=2",
            "/?F=0;C=N;O=D",
            "/?F=2;C=S;O=A",
            "/sub/",
            "/sub",
            "/none/",
        ] {
            let question = question(&format!("/{folder}{rest}"), &[]);
            let omnid = ask(pair.server.plain, &question);
            let apache = ask(pair.apache, &question);
            asked += 1;
            let of = |answer: &Answer| -> Vec<String> {
                let lines = lines(&dechunked(answer));
                lines.iter().map(|line| unescaped(line)).collect()
            };
            let (ours, theirs) = (of(&omnid), of(&apache));
            if omnid.status != apache.status || ours != theirs {
                differences.push(format!(
                    "{}: {} {ours:#?}\napache: {} {theirs:#?}",
                    question.1, omnid.status, apache.status
                ));
            }
        }
    }
    println!("{asked} listings, {} differ", differences.len());
    assert!(differences.is_empty(), "{}", differences.join("\n"));

    let json = ask(pair.server.plain, &question("/json/?C=S;O=D", &[]));
    assert_eq!(json.fields["content-type"], "application/json");
    let text = dechunked(&json);
    assert!(
        text.starts_with(r#"[{"mtime":"Sun, 06 Nov 1994"#) && text.contains(r#""size":1500000"#),
        "{text}"
    );
    // curl gets the whole of it over HTTP/2, and HEAD nothing but the head.
    let curl = |arguments: &[&str]| {
        let output = Command::new("curl")
            .args(["-sSk", "--max-time", "20"])
            .args(arguments)
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let page = curl(&["--http2", &pair.server.tls_url("/debian/")]);
    assert!(page.contains("<title>Index of /debian</title>") && page.ends_with("</html>\n"));
    let head = curl(&["-I", &pair.server.url("/debian/")]).to_lowercase();
    assert!(
        head.starts_with("http/1.1 200") && !head.contains("content-length"),
        "{head}"
    );
}

#[test]
fn languages_and_charsets_as_apache_chooses_them() {
    let pair = pair();
    let mut questions = Vec::new();
    for target in [
        "/pages/",
        "/pages/page.html",
        "/pages/page",
        "/pages/page.html.de",
        "/pages/only.html",
        "/pages/only",
        "/pages/plain.html",
        "/pages/plain",
        "/pages/none",
    ] {
        questions.push(question(target, &[]));
        for accept in [
            "de",
            "en",
            "fr",
            "DE",
            "de-AT",
            "de-AT, en;q=0.5",
            "en;q=0.5, de;q=0.9",
            "ja",
            "*",
            "ja, *;q=0.1",
            "de, en",
            "fr;q=0, de;q=0.1",
        ] {
            questions.push(question(target, &[("Accept-Language", accept)]));
        }
    }
    for target in [
        "/pages/bak.html.bak",
        "/pages/archive.tar.gz",
        "/pages/text.gz.txt",
        "/pages/two.en.html",
        "/pages/x.unknown",
        "http://charset.test/a.txt",
        "http://charset.test/percent%2541%3F.html",
        "http://charset.test/noextension",
    ] {
        questions.push(question(target, &[]));
    }
    let mut differences = Vec::new();
    for question in &questions {
        let omnid = ask(pair.server.plain, question);
        let apache = ask(pair.apache, question);
        let mut what = Vec::new();
        let mut compare = |name: &str, ours: String, theirs: String| {
            if ours != theirs {
                what.push(format!("{name} {ours:?} apache {theirs:?}"));
            }
        };
        compare(
            "status",
            omnid.status.to_string(),
            apache.status.to_string(),
        );
        for name in ["content-type", "content-language", "content-location"] {
            let of = |answer: &Answer| answer.fields.get(name).cloned().unwrap_or_default();
            compare(name, of(&omnid), of(&apache));
        }
        let varies = |answer: &Answer| {
            let vary = answer.fields.get("vary").cloned().unwrap_or_default();
            vary.contains("accept-language").to_string()
        };
        compare("vary", varies(&omnid), varies(&apache));
        compare("body", dechunked(&omnid), dechunked(&apache));
        if !what.is_empty() {
            differences.push(format!("{question:?}: {}", what.join("; ")));
        }
    }
    println!("{} requests, {} differ", questions.len(), differences.len());
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

#[test]
fn programs_write_error_pages_and_are_told_what_apache_tells() {
    let pair = pair();
    let mut differences = Vec::new();
    let mut asked = 0;
    for (method, target) in [
        ("GET", "/none"),
        ("GET", "/none?x=y&z"),
        ("GET", "/none%20such?"),
        ("HEAD", "/none"),
        ("POST", "/none"),
        ("GET", "/gone"),
        ("GET", "/shut/"),
        ("GET", "/err.cgi/none?a"),
        ("GET", "/plain.html"),
    ] {
        let target = format!("http://errors.test{target}");
        let question: Question = (method.to_owned(), target, vec![]);
        let [omnid, apache] = [pair.server.plain, pair.apache].map(|port| raw(port, &question));
        asked += 1;
        let page = |answer: &Answer| {
            let of = |name: &str| answer.fields.get(name).cloned();
            let page = (of("content-type"), of("x-page"));
            // The target as it came is the client's own spelling of it.
            let body = dechunked(answer).replace("REQUEST_URI=http://errors.test", "REQUEST_URI=");
            // php-cgi wants it of every request.
            let body = body.replace("REDIRECT_STATUS=200", "REDIRECT_STATUS=");
            (answer.status, page, body)
        };
        if page(&omnid) != page(&apache) {
            differences.push(format!(
                "{question:?}: {:#?}\napache {:#?}",
                page(&omnid),
                page(&apache)
            ));
        }
    }
    println!("{asked} requests, {} differ", differences.len());
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}
