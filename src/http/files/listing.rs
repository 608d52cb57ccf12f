//! Directory listings: what a directory without an index file is shown as, where it is shown at all.
//!
//! A directory is read on the blocking pool, for a disk may be slow and a directory long; the head
//! of the answer is on its way by then.

use std::{
    cmp::Ordering,
    fmt::Write as _,
    fs::File,
    io::{self, Read},
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use http::{HeaderValue, Response, header};
use rustix::fs::{AtFlags, Dir, FileType};
use time::{OffsetDateTime, macros::format_description};
use tokio::sync::Semaphore;

use super::Root;
use crate::{
    body::{Body, Later},
    wire::{html, natural, percent},
};

/// How a listing looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Names alone.
    List,
    /// Names, times and sizes as preformatted text.
    Text,
    /// The same in a table.
    Table,
    /// The same for programs.
    Json,
}

/// What is listed, and how.
#[derive(Debug, Clone)]
pub struct Listing {
    /// The form, unless the client asks for another one.
    pub form: Form,
    /// Whether digits in names count as numbers.
    pub natural: bool,
    /// Whether directories come before files.
    pub folders_first: bool,
    /// Patterns of names that are left out.
    pub ignore: Vec<String>,
    /// A file of the directory that is shown above.
    pub header: String,
    /// A file of the directory that is shown below.
    pub readme: String,
}

/// Names that are shown at most.
const NAMES_MAX: usize = 10_000;
/// What is shown of a header or a readme.
const TEXT_MAX: u64 = 64 * 1024;
/// Directories that are read at once.
static READING: Semaphore = Semaphore::const_new(8);

const HTML: HeaderValue = HeaderValue::from_static("text/html; charset=utf-8");
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// What the client's query says, as mod_autoindex understands it: `C` is the column, `O` the
/// order, `P` a pattern, `F` the form.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Wish {
    column: u8,
    descending: bool,
    pattern: Option<String>,
    form: Option<Form>,
}

impl Wish {
    fn parse(query: Option<&str>) -> Self {
        let mut wish = Self {
            column: b'N',
            descending: false,
            pattern: None,
            form: None,
        };
        for pair in query.unwrap_or_default().split(['&', ';']) {
            match pair.split_once('=') {
                Some(("C", value)) => {
                    if let Some(&column @ (b'N' | b'M' | b'S' | b'D')) = value.as_bytes().first() {
                        wish.column = column;
                    }
                }
                Some(("O", value)) => wish.descending = value.starts_with('D'),
                Some(("P", value)) if !value.is_empty() => {
                    let decoded = percent::decode(value.as_bytes());
                    wish.pattern = Some(String::from_utf8_lossy(&decoded).into_owned());
                }
                Some(("F", "0")) => wish.form = Some(Form::List),
                Some(("F", "1")) => wish.form = Some(Form::Text),
                Some(("F", "2")) => wish.form = Some(Form::Table),
                _ => {}
            }
        }
        wish
    }
}

/// One line of a listing. A directory's name ends in a slash.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Line {
    name: Vec<u8>,
    directory: bool,
    modified: SystemTime,
    size: u64,
}

/// What a listing is made of.
struct Page {
    listing: Listing,
    root: Arc<Root>,
    directory: File,
    /// Below the root, without slashes at its ends.
    below: Vec<u8>,
    /// As the client knows it, with its slash.
    path: Vec<u8>,
    wish: Wish,
    hidden: bool,
}

/// The listing of an open directory.
pub(super) fn answer(
    listing: &Listing,
    root: &Arc<Root>,
    directory: File,
    below: &[u8],
    path: &[u8],
    query: Option<&str>,
    hidden: bool,
) -> Response<Body> {
    let wish = Wish::parse(query);
    let form = wish.form.unwrap_or(listing.form);
    let page = Page {
        listing: Listing {
            form,
            ..listing.clone()
        },
        root: root.clone(),
        directory,
        below: below.to_vec(),
        path: path.to_vec(),
        wish,
        hidden,
    };
    let mut response = Response::new(Body::Later(Later::new(async move {
        let _turn = READING.acquire().await?;
        let made = tokio::task::spawn_blocking(move || page.make()).await?;
        Ok(made?)
    })));
    let kind = if form == Form::Json { JSON } else { HTML };
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

impl Page {
    fn make(self) -> io::Result<Bytes> {
        let (mut lines, more) = self.read()?;
        lines.sort_by(|one, other| self.compare(one, other));
        let mut text = String::with_capacity(1024 + lines.len() * 160);
        match self.listing.form {
            Form::Json => self.json(&lines, &mut text),
            _ => self.html(&lines, more, &mut text),
        }
        Ok(Bytes::from(text))
    }

    /// What is in it, and whether there is more than is shown.
    fn read(&self) -> io::Result<(Vec<Line>, bool)> {
        let mut lines = Vec::new();
        for entry in Dir::read_from(&self.directory)? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name == b"." || name == b".." || !self.shows(name) {
                continue;
            }
            let Some(line) = self.line(name) else {
                continue;
            };
            if lines.len() >= NAMES_MAX {
                return Ok((lines, true));
            }
            lines.push(line);
        }
        Ok((lines, false))
    }

    fn shows(&self, name: &[u8]) -> bool {
        let matches = |pattern: &String| natural::matches(pattern.as_bytes(), name);
        (self.hidden || name.first() != Some(&b'.'))
            && !self.listing.ignore.iter().any(matches)
            && self.wish.pattern.as_ref().is_none_or(matches)
    }

    /// What could not be had is not shown: no dangling link, and none that leads out of the root.
    fn line(&self, name: &[u8]) -> Option<Line> {
        let stat = rustix::fs::statat(&self.directory, name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
        let (kind, size, modified) = match FileType::from_raw_mode(stat.st_mode) {
            FileType::Symlink => {
                let path = match &*self.below {
                    b"" => name.to_vec(),
                    below => [below, b"/", name].concat(),
                };
                let metadata = self.root.open_below(&path).ok()?.metadata().ok()?;
                let kind = match (metadata.is_file(), metadata.is_dir()) {
                    (true, _) => FileType::RegularFile,
                    (_, true) => FileType::Directory,
                    _ => return None,
                };
                (kind, metadata.len(), metadata.modified().ok()?)
            }
            kind => {
                let seconds = u64::try_from(stat.st_mtime).unwrap_or(0);
                let size = u64::try_from(stat.st_size).unwrap_or(0);
                (kind, size, UNIX_EPOCH + Duration::from_secs(seconds))
            }
        };
        let directory = kind == FileType::Directory;
        if !directory && kind != FileType::RegularFile {
            return None;
        }
        let mut name = name.to_vec();
        if directory {
            name.push(b'/');
        }
        Some(Line {
            name,
            directory,
            modified,
            size: if directory { 0 } else { size },
        })
    }

    fn compare(&self, one: &Line, other: &Line) -> Ordering {
        // A plain list of names does not tell one from the other.
        let plain = self.wish.form == Some(Form::List);
        let folders = if self.listing.folders_first && !plain {
            other.directory.cmp(&one.directory)
        } else {
            Ordering::Equal
        };
        let (one, other) = if self.wish.descending {
            (other, one)
        } else {
            (one, other)
        };
        // What is not shown is no order.
        let by = match self.wish.column {
            _ if self.listing.form == Form::List => Ordering::Equal,
            b'M' => one.modified.cmp(&other.modified),
            b'S' => (!one.directory, one.size).cmp(&(!other.directory, other.size)),
            _ => Ordering::Equal,
        };
        let names = if self.listing.natural {
            natural::compare(&one.name, &other.name)
        } else {
            one.name.cmp(&other.name)
        };
        folders.then(by).then(names)
    }

    fn html(&self, lines: &[Line], more: bool, into: &mut String) {
        let title = String::from_utf8_lossy(match &*self.path {
            b"/" => b"/",
            path => path.strip_suffix(b"/").unwrap_or(path),
        });
        let title = html::escape(&title);
        into.push_str("<!doctype html>\n<html><head><meta charset=\"utf-8\">");
        let _infallible = write!(into, "<title>Index of {title}</title></head>\n<body>\n");
        if !self.text(&self.listing.header, into) {
            let _infallible = writeln!(into, "<h1>Index of {title}</h1>");
        }
        match self.listing.form {
            Form::List => self.list(lines, into),
            Form::Text => self.columns(lines, into),
            Form::Table | Form::Json => self.table(lines, into),
        }
        if more {
            let _infallible = writeln!(into, "<p>Only {NAMES_MAX} names are shown.</p>");
        }
        self.text(&self.listing.readme, into);
        into.push_str("</body></html>\n");
    }

    /// Shows a file of the directory; whether there was one.
    fn text(&self, name: &str, into: &mut String) -> bool {
        if name.is_empty() {
            return false;
        }
        let path = match &*self.below {
            b"" => name.as_bytes().to_vec(),
            below => [below, b"/", name.as_bytes()].concat(),
        };
        let Ok(file) = self.root.open_below(&path) else {
            return false;
        };
        if !file.metadata().is_ok_and(|metadata| metadata.is_file()) {
            return false;
        }
        let mut bytes = Vec::new();
        if file.take(TEXT_MAX).read_to_end(&mut bytes).is_err() {
            return false;
        }
        let text = String::from_utf8_lossy(&bytes);
        if name.ends_with(".html") || name.ends_with(".htm") {
            into.push_str(&text);
        } else {
            let _infallible = writeln!(into, "<pre>{}</pre>", html::escape(&text));
        }
        true
    }

    /// The directory above, as a link; the root has none.
    fn parent(&self) -> Option<String> {
        let path = self
            .path
            .strip_suffix(b"/")
            .filter(|path| !path.is_empty())?;
        let above = memchr::memrchr(b'/', path)?;
        Some(link(path.get(..=above)?))
    }

    fn list(&self, lines: &[Line], into: &mut String) {
        into.push_str("<ul>\n");
        if let Some(parent) = self.parent() {
            let _infallible = writeln!(into, "<li><a href=\"{parent}\">Parent Directory</a></li>");
        }
        for line in lines {
            let _infallible = writeln!(
                into,
                "<li><a href=\"{}\">{}</a></li>",
                link(&line.name),
                shown(&line.name)
            );
        }
        into.push_str("</ul>\n");
    }

    /// A column's title, which sorts by it; twice, the other way round.
    fn title(&self, column: u8, title: &str) -> String {
        let order = if self.wish.column == column && !self.wish.descending {
            'D'
        } else {
            'A'
        };
        let column = char::from(column);
        let mut more = match self.wish.form {
            Some(Form::List) => ";F=0",
            Some(Form::Text) => ";F=1",
            Some(Form::Table) => ";F=2",
            Some(Form::Json) | None => "",
        }
        .to_owned();
        if let Some(pattern) = &self.wish.pattern {
            more.push_str(";P=");
            // It stands in a query: what divides one is escaped too.
            for &byte in pattern.as_bytes() {
                if byte.is_ascii_alphanumeric() || b"-._~*".contains(&byte) {
                    more.push(char::from(byte));
                } else {
                    percent::escape(byte, &mut more);
                }
            }
        }
        format!("<a href=\"?C={column};O={order}{more}\">{title}</a>")
    }

    fn columns(&self, lines: &[Line], into: &mut String) {
        let names = lines.iter().map(|line| width(&line.name));
        let widest = names.max().unwrap_or(0).clamp(16, 60);
        let pad = |width: usize, into: &mut String| {
            into.extend(std::iter::repeat_n(' ', (widest + 1).saturating_sub(width)));
        };
        into.push_str("<pre>");
        into.push_str(&self.title(b'N', "Name"));
        pad(4, into);
        let _infallible = writeln!(
            into,
            "{}    {}<hr>",
            self.title(b'M', "Last modified"),
            self.title(b'S', "Size")
        );
        if let Some(parent) = self.parent() {
            let _infallible = write!(into, "<a href=\"{parent}\">Parent Directory</a>");
            pad("Parent Directory".len(), into);
            into.push_str("                    -\n");
        }
        for line in lines {
            let (name, href) = (shown(&line.name), link(&line.name));
            let _infallible = write!(into, "<a href=\"{href}\">{name}</a>");
            pad(width(&line.name), into);
            let _infallible = writeln!(into, "{} {}", when(line.modified), size(line));
        }
        into.push_str("<hr></pre>\n");
    }

    fn table(&self, lines: &[Line], into: &mut String) {
        let _infallible = writeln!(
            into,
            "<table>\n<tr><th>{}</th><th>{}</th><th>{}</th></tr>",
            self.title(b'N', "Name"),
            self.title(b'M', "Last modified"),
            self.title(b'S', "Size")
        );
        if let Some(parent) = self.parent() {
            let _infallible = writeln!(
                into,
                "<tr><td><a href=\"{parent}\">Parent Directory</a></td><td></td>\
                 <td align=\"right\">-</td></tr>"
            );
        }
        for line in lines {
            let _infallible = writeln!(
                into,
                "<tr><td><a href=\"{}\">{}</a></td><td>{}</td><td align=\"right\">{}</td></tr>",
                link(&line.name),
                shown(&line.name),
                when(line.modified),
                size(line).trim_start()
            );
        }
        into.push_str("</table>\n");
    }

    fn json(&self, lines: &[Line], into: &mut String) {
        let lines: Vec<serde_json::Value> = lines
            .iter()
            .map(|line| {
                let name = line.name.strip_suffix(b"/").unwrap_or(&line.name);
                let mut value = serde_json::json!({
                    "name": String::from_utf8_lossy(name),
                    "type": if line.directory { "directory" } else { "file" },
                    "mtime": httpdate::fmt_http_date(line.modified),
                });
                if let (false, Some(fields)) = (line.directory, value.as_object_mut()) {
                    fields.insert("size".into(), line.size.into());
                }
                value
            })
            .collect();
        into.push_str(&serde_json::Value::from(lines).to_string());
        into.push('\n');
    }
}

/// A path or name as the value of an href. A colon in a name would make a scheme of what is
/// before it.
fn link(path: &[u8]) -> String {
    let mut escaped = String::with_capacity(path.len() + 8);
    if !path.starts_with(b"/") && path.contains(&b':') {
        escaped.push_str("./");
    }
    percent::encode_path(path, &mut escaped);
    html::escape(&escaped).into_owned()
}

fn shown(name: &[u8]) -> String {
    html::escape(&String::from_utf8_lossy(name)).into_owned()
}

fn width(name: &[u8]) -> usize {
    String::from_utf8_lossy(name).chars().count()
}

fn when(time: SystemTime) -> String {
    OffsetDateTime::from(time)
        .format(format_description!("[year]-[month]-[day] [hour]:[minute]"))
        .unwrap_or_default()
}

/// A size in four characters, as Apache writes it.
fn size(line: &Line) -> String {
    if line.directory {
        return "  - ".into();
    }
    if line.size < 973 {
        return format!("{:3} ", line.size);
    }
    let mut left = line.size;
    for unit in ['K', 'M', 'G', 'T', 'P', 'E'] {
        let rest = left & 1023;
        left >>= 10;
        if left >= 973 {
            continue;
        }
        if left < 9 || (left == 9 && rest < 973) {
            let tenths = (rest * 5 + 256) / 512;
            return match tenths {
                10.. => format!("{}.0{unit}", left + 1),
                tenths => format!("{left}.{tenths}{unit}"),
            };
        }
        return format!("{:3}{unit}", if rest >= 512 { left + 1 } else { left });
    }
    String::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (bytes, expected) in [
            (0, "  0 "),
            (972, "972 "),
            (973, "1.0K"),
            (1024, "1.0K"),
            (1536, "1.5K"),
            (9 * 1024 + 972, "9.9K"),
            (9 * 1024 + 973, " 10K"),
            (10 * 1024 + 512, " 11K"),
            (972 * 1024, "972K"),
            (973 * 1024, "1.0M"),
            (4 << 20, "4.0M"),
            (u64::MAX, " 16E"),
        ] {
            let line = Line {
                name: Vec::new(),
                directory: false,
                modified: UNIX_EPOCH,
                size: bytes,
            };
            assert_eq!(size(&line), expected, "{bytes}");
        }
    }

    #[test]
    fn wishes() {
        let wish = |column, descending, pattern: Option<&str>, form| Wish {
            column,
            descending,
            pattern: pattern.map(str::to_owned),
            form,
        };
        for (query, expected) in [
            ("", wish(b'N', false, None, None)),
            ("C=M;O=D", wish(b'M', true, None, None)),
            ("C=S&O=A&F=2", wish(b'S', false, None, Some(Form::Table))),
            ("C=X;O=X;F=9;P=", wish(b'N', false, None, None)),
            ("P=*%2etxt", wish(b'N', false, Some("*.txt"), None)),
        ] {
            assert_eq!(Wish::parse(Some(query)), expected, "{query}");
        }
    }

    #[test]
    fn names_cannot_become_markup_or_schemes() {
        assert_eq!(link(b"a\"><b>&.txt"), "a%22%3E%3Cb%3E&amp;.txt");
        assert_eq!(link(b"javascript:x"), "./javascript:x");
        assert_eq!(link(b"/a b/"), "/a%20b/");
        assert_eq!(shown(b"<i>\xff"), "&lt;i&gt;\u{fffd}");
    }
}
