//! The `[http]` section.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use omnid_config::{ByteSize, Item, ListenAddr, Node, Reader, Shape, Spanned, Text, Value};

use crate::{
    log::Custom,
    rewrite::{MapConfig, RewriteConfig},
};

omnid_config::section! {
    /// Sites served over HTTP/1.1 and HTTP/2.
    pub struct HttpConfig {
        /// Addresses for plain HTTP, TCP or Unix sockets.
        pub listen: Vec<Spanned<ListenAddr>> = vec![],
        /// Addresses for HTTP over TLS. Other protocols that services offer by ALPN are served
        /// there too.
        pub listen_tls: Vec<Spanned<ListenAddr>> = vec![],
        /// Sites, chosen by the host that a client asks for.
        pub site: Vec<SiteConfig> = vec![],
        /// Where requests are logged, for sites that do not say otherwise: a file, "log" for the
        /// daemon's own log, "off".
        pub access_log: AccessLogTo = AccessLogTo::Log,
        /// How a line of it looks: "combined", "vhost_combined", "json", or a string as Apache's
        /// LogFormat has it, such as "%h %u %t \\"%r\\" %>s %b %D".
        pub access_log_format: AccessLogFormat = AccessLogFormat::Combined,
        /// What clients may ask of the server.
        pub limits: LimitsConfig = LimitsConfig::default(),
        /// Tables that rewriting and conditions look into, by name.
        pub map: BTreeMap<String, MapConfig> = BTreeMap::new(),
        /// Files that are kept open.
        pub file_cache: FileCacheConfig = FileCacheConfig::default(),
    }
}

omnid_config::section! {
    /// A site: one or more host names, and what is served under them.
    pub struct SiteConfig {
        /// Host names: "example.org", or "*.example.org" for every name below it.
        pub hosts: Vec<Spanned<String>> = vec![],
        /// Whether this site answers for hosts that no site has. Without any, the first does.
        #[key = "default"]
        pub is_default: Spanned<bool> = Spanned::from(false),
        /// Directory of the site's files.
        pub root: Option<Spanned<PathBuf>> = None,
        /// Names looked for in a directory, in order.
        pub index: Vec<String> = vec!["index.html".into()],
        /// A FastCGI application, php-fpm above all, that runs the root's programs.
        pub fastcgi: Option<FastCgiConfig> = None,
        /// A file below the root that is served where there is no other, as single-page
        /// applications want.
        pub fallback: Option<String> = None,
        /// Whether symbolic links below the root are followed.
        pub symlinks: SymlinksChoice = SymlinksChoice::Inside,
        /// Whether names that begin with a dot are served. "/.well-known/" always is.
        pub hidden_files: bool = false,
        /// The charset that text files are said to have.
        pub charset: Option<String> = None,
        /// Codings in which files lie beside their plain form ("a.css.zst", "a.css.br",
        /// "a.css.gz"), the best first; clients that take one get it.
        pub precompressed: Vec<CodingChoice> = vec![],
        /// How much one client may ask of the site.
        pub rate: Option<RateConfig> = None,
        /// Compresses responses on their way out, whatever serves them; not at all without it.
        pub compress: Option<CompressConfig> = None,
        /// Shows directories that have no index file; they are forbidden (403) otherwise.
        pub listing: Option<ListingConfig> = None,
        /// Languages that pages come in, the best first. Where there is no "page.html" but
        /// "page.html.en" and "page.html.de", a client gets the one that it reads.
        pub languages: Vec<Spanned<String>> = vec![],
        /// What is tried behind the last name of a path where no file has it: with ".html", "/about"
        /// is "about.html".
        pub extensions: Vec<Spanned<String>> = vec![],
        /// What is done with requests that come without TLS.
        pub plain: PlainChoice = PlainChoice::Serve,
        /// How long browsers are to use TLS only (HSTS, RFC 6797); none is sent without it.
        pub hsts: Option<Duration> = None,
        /// Paths under which handlers of other services are served: "/" for all of them.
        pub mounts: Vec<Spanned<String>> = vec![Spanned::from("/".to_owned())],
        /// Pages for failures: a status and a file below the root.
        pub error_pages: BTreeMap<String, Spanned<String>> = BTreeMap::new(),
        /// Changes to the fields of every response.
        pub headers: HeadersConfig = HeadersConfig::default(),
        /// Where this site's requests are logged, if not where the others' are.
        pub access_log: Option<AccessLogTo> = None,
        /// How a line of it looks, if not as the others'.
        pub access_log_format: Option<AccessLogFormat> = None,
        /// The largest request body.
        pub max_body: ByteSize = ByteSize::gib(1),
        /// Rules that change where requests go, before a route is looked for.
        pub rewrite: Vec<RewriteConfig> = vec![],
        /// Who may come in, such as "ip 192.0.2.0/24 or user alice"; where a route or filter says
        /// it too, that counts.
        pub access: Option<Spanned<String>> = None,
        /// How it is found out who comes, for all of the site.
        pub auth: Option<AuthConfig> = None,
        /// Changes to whatever matches them, in order, wherever it is served from.
        pub filter: Vec<FilterConfig> = vec![],
        /// Paths that are served in another way than as files of the root.
        pub route: Vec<RouteConfig> = vec![],
    }
}

omnid_config::section! {
    /// What is done at a path and below it. At most one of `root`, `proxy`, `cgi`, `redirect` and
    /// `respond` says what; without one it is what the site's own root has there.
    pub struct RouteConfig {
        /// The path. "/app" and "/app/" cover all that is below; only the first covers "/app"
        /// itself. The longest path that covers a request is taken.
        pub path: Spanned<String>,
        /// Whether only this very path is meant.
        pub exact: bool = false,
        /// A regular expression that the whole path must match as well.
        #[key = "match"]
        pub pattern: Option<Spanned<String>> = None,
        /// The methods that the route is for; all unless given.
        pub methods: Vec<Spanned<String>> = vec![],
        /// A condition that must hold as well.
        pub when: Option<Spanned<String>> = None,
        /// Directory whose files are served here.
        pub root: Option<Spanned<PathBuf>> = None,
        /// Names looked for in a directory, in order; the site's unless given.
        pub index: Option<Vec<String>> = None,
        /// A file below the root that is served where there is no other.
        pub fallback: Option<String> = None,
        /// Shows directories that have no index file, in a root of its own.
        pub listing: Option<ListingConfig> = None,
        /// Upstreams that requests are passed on to: "http://127.0.0.1:3000", with a path that then
        /// takes the place of the route's, "h2c://127.0.0.1:50051" for HTTP/2 (gRPC), or
        /// "unix:/run/app.sock".
        pub proxy: Vec<Spanned<String>> = vec![],
        /// What an upstream sees as Host.
        pub proxy_host: ProxyHostChoice = ProxyHostChoice::Client,
        /// How long an upstream may take to accept a connection.
        pub proxy_connect: Duration = Duration::from_secs(5),
        /// How long an upstream may take to begin its response, or to go on with it.
        pub proxy_timeout: Duration = Duration::from_secs(60),
        /// How requests are shared out among several upstreams.
        pub balance: BalanceConfig = BalanceConfig::default(),
        /// What goes before each connection to an upstream, to tell it the client's address.
        pub proxy_protocol: ProxyProtocolChoice = ProxyProtocolChoice::Off,
        /// How long a websocket may be silent.
        pub websocket_timeout: Duration = Duration::from_secs(3600),
        /// A FastCGI application that runs the programs of the route's root, or of the site's.
        pub fastcgi: Option<FastCgiConfig> = None,
        /// CGI programs.
        pub cgi: Option<CgiConfig> = None,
        /// Where to send clients: a path or URL, to which what follows the route's path is added.
        pub redirect: Option<Spanned<String>> = None,
        /// A fixed text to answer with.
        pub respond: Option<Spanned<String>> = None,
        /// The status of a redirect (302 unless given) or of a fixed text (200 unless given).
        pub status: Option<Spanned<u16>> = None,
        /// The media type of a fixed text.
        pub content_type: String = "text/plain; charset=utf-8".into(),
        /// How much one client may ask of this route, beside what it may ask of the site.
        pub rate: Option<RateConfig> = None,
        /// How it is found out who comes.
        pub auth: Option<AuthConfig> = None,
        /// Who may come in, such as "ip 192.0.2.0/24 or user alice"; whoever can log in where
        /// there is an `auth`.
        pub access: Option<Spanned<String>> = None,
        /// Rules that change where requests go.
        pub rewrite: Vec<RewriteConfig> = vec![],
        /// Changes to the fields of responses from here, after the site's.
        pub headers: HeadersConfig = HeadersConfig::default(),
        /// The largest request body; the site's unless given.
        pub max_body: Option<ByteSize> = None,
    }
}

omnid_config::section! {
    /// How much one client may ask for; more is answered with 429. A client is an IPv4 address or
    /// an IPv6 network of 64 bits.
    pub struct RateConfig {
        /// Requests in the time that `per` says.
        #[range(1..=1_000_000)]
        pub requests: Option<u32> = None,
        /// That time.
        #[range(Duration::from_millis(1)..=Duration::from_secs(86_400))]
        pub per: Duration = Duration::from_secs(1),
        /// How many of them may come at once; all unless given.
        #[range(1..=1_000_000)]
        pub burst: Option<u32> = None,
        /// Requests under way at once.
        #[range(1..=1_000_000)]
        pub concurrent: Option<u32> = None,
        /// Bytes a second that are sent to it, over all its connections.
        #[range(ByteSize(1)..=ByteSize::gib(64))]
        pub bandwidth: Option<ByteSize> = None,
        /// Clients that are remembered; beyond them, those are forgotten that ask for nothing.
        #[range(16..=10_000_000)]
        pub clients: usize = 65_536,
    }
}

omnid_config::section! {
    /// Compression on the fly. What is compressed already is left as it is, and so is what says
    /// `Cache-Control: no-transform`.
    pub struct CompressConfig {
        /// Codings, the best first; a client gets the one that it likes best.
        pub codings: Vec<CodingChoice> =
            vec![CodingChoice::Zstd, CodingChoice::Brotli, CodingChoice::Gzip],
        /// Media types; "text/" is all of text but event streams.
        pub types: Vec<Spanned<String>> = [
            "text/",
            "application/json",
            "application/javascript",
            "application/xml",
            "application/xhtml+xml",
            "application/rss+xml",
            "application/atom+xml",
            "application/manifest+json",
            "application/wasm",
            "image/svg+xml",
            "font/ttf",
            "font/otf",
        ]
        .map(|kind| Spanned::from(kind.to_owned()))
        .to_vec(),
        /// The smallest body that is worth it, where its length is known.
        pub min: ByteSize = ByteSize::kib(1),
        /// Responses that are compressed at once, each in about a megabyte of memory; what comes
        /// beyond is sent as it is.
        #[range(1..=10_000)]
        pub streams: usize = 64,
    }
}

omnid_config::section! {
    /// How directories are shown. Clients may sort by a column and choose names by a pattern, as
    /// with Apache's mod_autoindex.
    pub struct ListingConfig {
        /// The form of it.
        pub format: ListingChoice = ListingChoice::Table,
        /// The order of the names.
        pub order: OrderChoice = OrderChoice::Version,
        /// Whether directories come before files.
        pub folders_first: bool = false,
        /// Names that are left out: "*" is anything, "?" one character. It hides them from the
        /// listing and from nothing else.
        pub ignore: Vec<String> = [
            ".??*", "*~", "*#", "HEADER*", "README*", "RCS", "CVS", "*,v", "*,t",
        ]
        .map(String::from)
        .to_vec(),
        /// A file of the directory that is shown above; none where it is empty.
        pub header: String = "HEADER.html".into(),
        /// A file of the directory that is shown below.
        pub readme: String = "README.html".into(),
    }
}

omnid_config::section! {
    /// A FastCGI application: files with certain suffixes are not sent but run by it.
    pub struct FastCgiConfig {
        /// Where it listens: "unix:/run/php/php-fpm.sock" or "127.0.0.1:9000".
        pub to: Spanned<String>,
        /// How the names of programs end.
        pub suffixes: Vec<Spanned<String>> = vec![Spanned::from(".php".to_owned())],
        /// One program that answers everything below the route, by the name that the application
        /// has for it; what follows the route's path is its PATH_INFO.
        pub program: Option<Spanned<String>> = None,
        /// Variables that programs are told besides; no client can set the same.
        pub params: BTreeMap<String, String> = BTreeMap::new(),
        /// Idle connections that are kept for a few seconds; each holds a worker of php-fpm.
        #[range(0..=1000)]
        pub keep: usize = 4,
        /// How long it may take to accept a connection.
        pub connect: Duration = Duration::from_secs(5),
        /// How long a program may take to begin its response, or to go on with it.
        pub timeout: Duration = Duration::from_secs(60),
    }
}

omnid_config::section! {
    /// CGI programs, each request a process: either one `program`, or those of a `directory`, or
    /// those with certain `suffixes` among the files of the route's root.
    pub struct CgiConfig {
        /// The program; what follows the route's path is its PATH_INFO.
        pub program: Option<Spanned<PathBuf>> = None,
        /// A directory of which every file is a program.
        pub directory: Option<Spanned<PathBuf>> = None,
        /// How the names of programs end.
        pub suffixes: Vec<Spanned<String>> = vec![],
        /// Variables that programs are told besides; no client can set the same.
        pub env: BTreeMap<String, String> = BTreeMap::new(),
        /// How long a program may take to begin its response, or to go on with it.
        pub timeout: Duration = Duration::from_secs(60),
        /// Programs that run at once.
        #[range(1..=10_000)]
        pub processes: usize = 32,
        /// The largest response.
        pub max_output: ByteSize = ByteSize::gib(1),
    }
}

omnid_config::section! {
    /// How requests are shared out among several upstreams.
    pub struct BalanceConfig {
        /// The way of it.
        pub policy: BalanceChoice = BalanceChoice::RoundRobin,
        /// The field or cookie that "hash-header" and "hash-cookie" go by.
        pub by: Option<Spanned<String>> = None,
        /// The upstreams' shares, in their order; 1 where none is given.
        #[range(1..=100)]
        pub weights: Vec<u16> = vec![],
        /// Upstreams that get no new clients, as `proxy` names them.
        pub drain: Vec<Spanned<String>> = vec![],
        /// The name of a cookie that keeps a client with its upstream.
        pub sticky: Option<Spanned<String>> = None,
        /// Failures in a row (no connection, no response in time) after which an upstream is asked
        /// only when no other is left.
        #[range(1..=1000)]
        pub fails: u32 = 1,
        /// For how long.
        pub fail_time: Duration = Duration::from_secs(10),
        /// A path that every upstream is asked for again and again; one that fails to answer twice
        /// in a row is asked for nothing else as long as another is left.
        pub check: Option<Spanned<String>> = None,
        /// How often.
        #[range(Duration::from_millis(100)..=Duration::from_secs(3600))]
        pub check_interval: Duration = Duration::from_secs(5),
        /// How long the answer to a check may take.
        #[range(Duration::from_millis(10)..=Duration::from_secs(60))]
        pub check_timeout: Duration = Duration::from_secs(2),
    }
}

omnid_config::section! {
    /// Changes to all requests below a path that match, whatever serves them. Where several apply,
    /// the last one with an `access`, an `auth` or a `rewrite` is heard; `headers` of all of them.
    pub struct FilterConfig {
        /// The path; all that is below counts.
        pub path: Spanned<String> = Spanned::from("/".to_owned()),
        /// A regular expression that the whole path must match.
        #[key = "match"]
        pub pattern: Option<Spanned<String>> = None,
        /// The methods that it is for; all unless given.
        pub methods: Vec<Spanned<String>> = vec![],
        /// A condition that must hold.
        pub when: Option<Spanned<String>> = None,
        /// Who may come in.
        pub access: Option<Spanned<String>> = None,
        /// How it is found out who comes.
        pub auth: Option<AuthConfig> = None,
        /// Rules that change where requests go.
        pub rewrite: Vec<RewriteConfig> = vec![],
        /// Changes to the fields of responses.
        pub headers: HeadersConfig = HeadersConfig::default(),
        /// Changes to the fields of requests, before anybody but the rules has seen them.
        pub request: HeadersConfig = HeadersConfig::default(),
        /// The media type of files, whatever their names say.
        pub content_type: Option<Spanned<String>> = None,
        /// The charset that they are said to have, whatever the site says.
        pub charset: Option<Spanned<String>> = None,
        /// How long clients may keep what succeeds: Expires and Cache-Control.
        pub expires: ExpiresConfig = ExpiresConfig::default(),
        /// Variables that programs are told, by name; no client can set the same.
        pub env: BTreeMap<String, Spanned<String>> = BTreeMap::new(),
    }
}

omnid_config::section! {
    /// How long responses may be kept, by media type: "image/png", "image/*", or "*" for all. The
    /// closest counts. A response that says Expires itself is left alone.
    pub struct ExpiresConfig {
        /// Times that run from the response.
        pub after: BTreeMap<String, Duration> = BTreeMap::new(),
        /// Times that run from when the file changed; not for what has no such time.
        pub after_change: BTreeMap<String, Duration> = BTreeMap::new(),
    }
}

omnid_config::section! {
    /// How it is found out who comes: by name and password, of an account of this server or of a
    /// line in a file.
    pub struct AuthConfig {
        /// HTTP basic authentication, with this realm.
        pub basic: Spanned<String>,
        /// One of these roles is needed, if any are given.
        pub roles: Vec<RoleChoice> = vec![],
        /// Only these accounts, if any are given.
        pub accounts: Vec<Spanned<String>> = vec![],
        /// A file of users, as htpasswd writes it, instead of the server's accounts.
        pub users: Option<Spanned<PathBuf>> = None,
        /// A file of groups: "name: user user" on each line.
        pub groups: Option<Spanned<PathBuf>> = None,
    }
}

omnid_config::section! {
    /// Changes to fields, in this order: `remove`, `set`, `set_missing`, `add`, `append`, `merge`,
    /// `edit`.
    pub struct HeadersConfig {
        /// Fields that replace those of the same name.
        pub set: BTreeMap<String, Spanned<String>> = BTreeMap::new(),
        /// Fields that are set where there is none of the name.
        pub set_missing: BTreeMap<String, Spanned<String>> = BTreeMap::new(),
        /// Fields that are added.
        pub add: BTreeMap<String, Spanned<String>> = BTreeMap::new(),
        /// Values that are added to a field behind a comma.
        pub append: BTreeMap<String, Spanned<String>> = BTreeMap::new(),
        /// The same, where the field does not have the value.
        pub merge: BTreeMap<String, Spanned<String>> = BTreeMap::new(),
        /// Fields that are taken away.
        pub remove: Vec<Spanned<String>> = vec![],
        /// Changes within a field's value.
        pub edit: Vec<HeaderEditConfig> = vec![],
        /// Whether failures and redirects of the server's own are changed too, beside what files,
        /// programs and upstreams answer.
        pub failures: bool = true,
    }
}

omnid_config::section! {
    /// A change within a field's value.
    pub struct HeaderEditConfig {
        /// The name of the field.
        pub field: Spanned<String>,
        /// A regular expression for what is replaced.
        #[key = "match"]
        pub pattern: Spanned<String>,
        /// What takes its place; "$1" stands for a group.
        pub to: Spanned<String>,
        /// Whether every match is replaced, not the first only.
        pub every: bool = false,
    }
}

omnid_config::section! {
    /// What clients may ask of the server. Connections are bounded in `[net]`.
    pub struct LimitsConfig {
        /// All of a request's head.
        #[range(ByteSize::kib(1)..=ByteSize::kib(48))]
        pub head: ByteSize = ByteSize::kib(16),
        /// One line of it.
        #[range(ByteSize(256)..=ByteSize::kib(48))]
        pub line: ByteSize = ByteSize(8190),
        /// The request target.
        #[range(ByteSize(256)..=ByteSize::kib(48))]
        pub target: ByteSize = ByteSize(8190),
        /// Header fields.
        #[range(1..=100)]
        pub fields: u16 = 100,
        /// Streams open at once on an HTTP/2 connection.
        #[range(1..=10_000)]
        pub streams: u32 = 100,
        /// Frames that an HTTP/2 client may send although they ask for nothing (pings, settings,
        /// resets, priorities, empty data), beyond what requests and bodies need of them. A tenth
        /// of them may come every second.
        #[range(100..=1_000_000)]
        pub idle_frames: u32 = 1000,
        /// How long a new connection may be silent.
        pub first_byte: Duration = Duration::from_secs(10),
        /// How long a request's head may take.
        pub head_time: Duration = Duration::from_secs(20),
        /// How long it may take where the client keeps up `rate`.
        pub head_time_max: Duration = Duration::from_secs(40),
        /// How long a body may be waited for before it must keep up `rate`.
        pub body_time: Duration = Duration::from_secs(20),
        /// Bytes a second that a head or body must bring.
        #[range(ByteSize(1)..=ByteSize::mib(1))]
        pub rate: ByteSize = ByteSize(500),
        /// How long an HTTP/1 connection may wait for its next request.
        pub idle: Duration = Duration::from_secs(15),
        /// How long an HTTP/2 connection may.
        pub idle_h2: Duration = Duration::from_secs(60),
        /// How long a client may take nothing of what is sent to it.
        pub write: Duration = Duration::from_secs(60),
        /// How long the window of an HTTP/2 stream may stay shut.
        pub window: Duration = Duration::from_secs(30),
    }
}

omnid_config::section! {
    /// Files that are kept open, small ones in memory.
    pub struct FileCacheConfig {
        /// How many.
        #[range(16..=1_000_000)]
        pub entries: usize = 4096,
        /// Memory for the bytes of small files.
        pub memory: ByteSize = ByteSize::mib(64),
        /// The largest file that counts as small.
        #[range(ByteSize(0)..=ByteSize::mib(16))]
        pub small: ByteSize = ByteSize::kib(128),
        /// How long a file is served without a look whether it changed.
        pub valid: Duration = Duration::from_secs(1),
    }
}

/// Where requests are logged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AccessLogTo {
    /// A file.
    File(PathBuf),
    /// The daemon's own log.
    Log,
    /// Nowhere.
    Off,
}

impl Value for AccessLogTo {
    fn parse(node: &Node, cx: &mut Reader) -> Option<Self> {
        Some(match String::parse(node, cx)?.as_str() {
            "log" => Self::Log,
            "off" => Self::Off,
            _ => Self::File(PathBuf::parse(node, cx)?),
        })
    }

    fn shape() -> Shape {
        Shape::Text(Text {
            name: "a file, \"log\" or \"off\"",
            plural: "files, \"log\" or \"off\"",
            example: "/var/log/omnid/access.log",
            pattern: "",
        })
    }

    fn item(&self) -> Item {
        match self {
            Self::File(path) => Value::item(path),
            Self::Log => Item::text("log"),
            Self::Off => Item::text("off"),
        }
    }
}

/// How a line of the access log looks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AccessLogFormat {
    /// Apache's combined format.
    Combined,
    /// The same behind the site's name and port.
    VhostCombined,
    /// One JSON object a line.
    Json,
    /// Apache's LogFormat string.
    Custom(String, Arc<Custom>),
}

impl Value for AccessLogFormat {
    fn parse(node: &Node, cx: &mut Reader) -> Option<Self> {
        let text = String::parse(node, cx)?;
        Some(match text.as_str() {
            "combined" => Self::Combined,
            "vhost_combined" => Self::VhostCombined,
            "json" => Self::Json,
            _ if !text.contains('%') => {
                cx.invalid(
                    node,
                    format!("\"{text}\" is no format of a log"),
                    "\"combined\", \"vhost_combined\", \"json\", or a LogFormat string",
                );
                return None;
            }
            _ => match Custom::parse(&text) {
                Ok(custom) => Self::Custom(text, Arc::new(custom)),
                Err(fault) => {
                    cx.invalid(
                        node,
                        fault,
                        "write what Apache's LogFormat has, less %e, %n and %O",
                    );
                    return None;
                }
            },
        })
    }

    fn shape() -> Shape {
        Shape::Text(Text {
            name: "\"combined\", \"vhost_combined\", \"json\" or a LogFormat string",
            plural: "formats",
            example: "combined",
            pattern: "",
        })
    }

    fn item(&self) -> Item {
        Item::text(match self {
            Self::Combined => "combined",
            Self::VhostCombined => "vhost_combined",
            Self::Json => "json",
            Self::Custom(text, _) => text,
        })
    }
}

omnid_config::choice! {
    /// Whether symbolic links are followed.
    pub enum SymlinksChoice {
        /// Wherever they lead.
        Follow = "follow",
        /// As long as they stay below the root; an absolute link does not.
        Inside = "inside",
        /// Not at all.
        Deny = "deny",
    }
}

omnid_config::choice! {
    /// How a directory is shown.
    pub enum ListingChoice {
        /// Its names alone.
        List = "list",
        /// Names, times and sizes as preformatted text.
        Text = "text",
        /// The same in a table.
        Table = "table",
        /// The same for programs, as nginx writes it.
        Json = "json",
    }
}

omnid_config::choice! {
    /// The order of names.
    pub enum OrderChoice {
        /// By their bytes.
        Name = "name",
        /// With numbers in them in the order of numbers.
        Version = "version",
    }
}

omnid_config::choice! {
    /// What is done with requests that come without TLS.
    pub enum PlainChoice {
        /// They are served.
        Serve = "serve",
        /// They are sent to the same address with TLS, "/.well-known/acme-challenge/" excepted.
        Redirect = "redirect",
    }
}

omnid_config::choice! {
    /// What an upstream sees as Host.
    pub enum ProxyHostChoice {
        /// The host that the client asked for.
        Client = "client",
        /// The upstream's own.
        Upstream = "upstream",
    }
}

omnid_config::choice! {
    /// What an account may do.
    pub enum RoleChoice {
        /// Use the services.
        User = "user",
        /// Administer the domain of its own address.
        DomainAdmin = "domain-admin",
        /// Administer everything.
        Admin = "admin",
    }
}

omnid_config::choice! {
    /// How requests are shared out among several upstreams.
    pub enum BalanceChoice {
        /// To each in turn, in proportion to the weights.
        RoundRobin = "round-robin",
        /// To the one with the fewest requests under way for its weight.
        LeastConnections = "least-connections",
        /// To the less busy of two drawn by lot.
        Random = "random",
        /// By the client's address.
        HashClient = "hash-client",
        /// By the path.
        HashPath = "hash-path",
        /// By a field.
        HashHeader = "hash-header",
        /// By a cookie.
        HashCookie = "hash-cookie",
    }
}

omnid_config::choice! {
    /// What goes before each connection to an upstream.
    pub enum ProxyProtocolChoice {
        /// Nothing.
        Off = "off",
        /// The line of the PROXY protocol, version 1.
        V1 = "v1",
        /// The block of version 2.
        V2 = "v2",
    }
}

omnid_config::choice! {
    /// A coding of files.
    pub enum CodingChoice {
        /// Zstandard.
        Zstd = "zstd",
        /// Brotli.
        Brotli = "br",
        /// gzip.
        Gzip = "gzip",
    }
}
