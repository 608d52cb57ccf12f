//! prosody.cfg.lua as our configuration. It is read and not run: settings that are literals come
//! over, and a line that would have to be computed is reported.

mod known;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use omnid_identity::Address;

use self::known::{DONE, MISSING, NEEDLESS, QUIET, READ};
use super::{
    MoveError,
    lua::{Lua, Reader, Table},
    read,
};
use crate::{
    report::{Finding, Import, Kind},
    toml::{Document, list, quoted},
};

/// Files that include each other.
const FILES: usize = 200;

/// Prosody's configuration as ours.
///
/// # Errors
/// Where a file cannot be read.
pub fn convert(path: &Path) -> Result<Import, MoveError> {
    let mut reading = Reading {
        hosts: vec![Host::default()],
        findings: Vec::new(),
        directives: 0,
        files: 0,
    };
    reading.file(path)?;
    let mut writing = Writing {
        findings: reading.findings,
        directory: path.parent().unwrap_or(Path::new("")).to_owned(),
    };
    let toml = writing.write(&reading.hosts);
    let mut findings = writing.findings;
    findings.sort_by(|a, b| (&a.file, a.line).cmp(&(&b.file, b.line)));
    Ok(Import {
        toml,
        findings,
        directives: reading.directives,
    })
}

/// A setting, and where it is.
#[derive(Debug, Clone)]
struct Setting {
    file: PathBuf,
    line: usize,
    value: Lua,
}

/// The whole server (the first), a host or a component.
#[derive(Debug, Default)]
struct Host {
    name: String,
    /// What a component is: the module behind its name; empty for one outside.
    component: Option<String>,
    place: (PathBuf, usize),
    settings: BTreeMap<String, Setting>,
}

struct Reading {
    hosts: Vec<Host>,
    findings: Vec<Finding>,
    directives: usize,
    files: usize,
}

impl Reading {
    fn file(&mut self, path: &Path) -> Result<(), MoveError> {
        self.files += 1;
        if self.files > FILES {
            return Err(MoveError::Form {
                path: path.to_owned(),
                line: 1,
                reason: "too many files, or files that include each other".to_owned(),
            });
        }
        let text = read(path)?;
        let mut reader = Reader::new(&text);
        while reader.end().is_err() {
            let line = reader.line();
            let Some(name) = reader.name().map(ToOwned::to_owned) else {
                reader.skip_line();
                self.lost(path, line, &text, "is no setting: it was not run");
                continue;
            };
            self.directives += 1;
            match name.as_str() {
                "VirtualHost" | "Host" | "Component" | "Include" => {
                    let in_brackets = reader.skip(b'(');
                    let Ok(Lua::Text(argument)) = reader.value(0) else {
                        reader.skip_line();
                        self.lost(path, line, &text, "is no name in quotes: it was not run");
                        continue;
                    };
                    if in_brackets {
                        reader.skip(b')');
                    }
                    if name == "Include" {
                        self.include(path, line, &argument)?;
                        continue;
                    }
                    let mut module = String::new();
                    if name == "Component"
                        && matches!(reader.next_byte(), Some(b'"' | b'\''))
                        && let Ok(Lua::Text(kind)) = reader.value(0)
                    {
                        module = kind;
                    }
                    self.hosts.push(Host {
                        name: argument,
                        component: (name == "Component").then_some(module),
                        place: (path.to_owned(), line),
                        settings: BTreeMap::new(),
                    });
                }
                _ if reader.skip(b'=') => match reader.value(0) {
                    Ok(value) if reader.at_statement_end() => {
                        let setting = Setting {
                            file: path.to_owned(),
                            line,
                            value,
                        };
                        if let Some(host) = self.hosts.last_mut() {
                            host.settings.insert(name, setting);
                        }
                    }
                    _ => {
                        reader.skip_line();
                        self.lost(
                            path,
                            line,
                            &text,
                            "has to be computed: say what it comes to",
                        );
                    }
                },
                _ => {
                    reader.skip_line();
                    self.lost(path, line, &text, "is no setting: it was not run");
                }
            }
            reader.skip(b';');
        }
        Ok(())
    }

    fn lost(&mut self, path: &Path, line: usize, text: &[u8], advice: &str) {
        let text = text.split(|byte| *byte == b'\n').nth(line - 1);
        let text = String::from_utf8_lossy(text.unwrap_or_default());
        self.findings.push(Finding {
            file: path.to_owned(),
            line,
            kind: Kind::Lost,
            text: text.trim().chars().take(200).collect(),
            advice: advice.to_owned(),
        });
    }

    /// Files by a pattern, beside the one that includes them.
    fn include(&mut self, path: &Path, line: usize, pattern: &str) -> Result<(), MoveError> {
        let directory = path.parent().unwrap_or(Path::new(""));
        let pattern = directory.join(pattern);
        let name = pattern
            .file_name()
            .map(|name| name.to_string_lossy().into_owned());
        let Some((before, after)) = name.as_deref().and_then(|name| name.split_once('*')) else {
            if pattern.is_file() {
                return self.file(&pattern);
            }
            self.findings.push(Finding {
                file: path.to_owned(),
                line,
                kind: Kind::Lost,
                text: format!("Include {:?}", pattern.display().to_string()),
                advice: "there is no such file".to_owned(),
            });
            return Ok(());
        };
        let mut found = Vec::new();
        for entry in fs::read_dir(pattern.parent().unwrap_or(directory))
            .into_iter()
            .flatten()
        {
            let Ok(entry) = entry else { continue };
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with(before) && name.ends_with(after) && entry.path().is_file() {
                found.push(entry.path());
            }
        }
        found.sort();
        // What a file of many includes says counts for the whole server until a host is named.
        for file in found {
            self.file(&file)?;
        }
        Ok(())
    }
}

impl Host {
    fn take(&self, name: &str) -> Option<&Setting> {
        self.settings.get(name)
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.take(name)?.value.text()
    }

    fn flag(&self, name: &str) -> Option<bool> {
        match self.take(name)?.value {
            Lua::Bool(flag) => Some(flag),
            _ => None,
        }
    }
}

struct Writing {
    findings: Vec<Finding>,
    directory: PathBuf,
}

impl Writing {
    fn note(&mut self, setting: &Setting, kind: Kind, text: &str, advice: &str) {
        self.findings.push(Finding {
            file: setting.file.clone(),
            line: setting.line,
            kind,
            text: text.to_owned(),
            advice: advice.to_owned(),
        });
    }

    fn write(&mut self, hosts: &[Host]) -> String {
        let none = Host::default();
        let global = hosts.first().unwrap_or(&none);
        let mut document = Document::default();
        document.line("# Converted from Prosody's configuration by `omnid import prosody`.");
        let users: Vec<&Host> = hosts
            .iter()
            .skip(1)
            .filter(|host| host.component.is_none())
            .filter(|host| host.flag("enabled") != Some(false))
            .collect();
        let domains: BTreeSet<String> = users
            .iter()
            .map(|host| host.name.to_ascii_lowercase())
            .collect();
        for domain in &domains {
            document.line("");
            document.line("[[domain]]");
            document.text("name", domain);
        }
        self.certificates(hosts, global, &mut document);
        document.line("");
        document.line("[xmpp]");
        self.listeners(global, &mut document);
        let seconds = |host: &Host, name| host.take(name).and_then(|s| s.value.number());
        if let Some(time) = seconds(global, "smacks_hibernation_time") {
            let time = time.clamp(0.0, 86_400.0);
            document.line(format_args!("resume_timeout = \"{time:.0}s\""));
        }
        if !hosts
            .iter()
            .any(|host| host.component.as_deref() == Some("muc"))
        {
            document.line("disable = [\"rooms\"]");
        }
        self.archive(hosts, &mut document);
        self.rooms(hosts, &mut document);
        self.s2s(global, &mut document);
        self.components(hosts, &mut document);
        for host in hosts {
            self.rest(host);
        }
        document.0
    }

    fn certificates(&mut self, hosts: &[Host], global: &Host, document: &mut Document) {
        let mut pairs = Vec::new();
        for host in hosts {
            let Some(setting) = host.take("ssl").or(host.take("https_ssl")) else {
                continue;
            };
            let table = setting.value.table();
            let file = |name| table.and_then(|table| table.text(name));
            match (file("certificate"), file("key")) {
                (Some(cert), Some(key)) => {
                    let path =
                        |path: &str| quoted(&self.directory.join(path).display().to_string());
                    pairs.push(format!(
                        "  {{ cert = {}, key = {} }},",
                        path(cert),
                        path(key)
                    ));
                }
                _ => {
                    let advice = "only certificate and key come over; tls.min_version has the rest";
                    self.note(setting, Kind::Lost, "ssl", advice);
                }
            }
        }
        let folder = global
            .text("certificates")
            .map(|path| self.directory.join(path));
        if pairs.is_empty() && folder.is_none() {
            return;
        }
        document.line("");
        document.line("[tls]");
        if let Some(folder) = folder {
            document.text("directory", &folder.display().to_string());
        }
        if !pairs.is_empty() {
            document.line("certificates = [");
            for pair in pairs {
                document.line(pair);
            }
            document.line("]");
        }
    }

    fn addresses(&mut self, global: &Host, ports: &[&str], default: &[u16]) -> Vec<String> {
        let setting = ports.iter().find_map(|name| global.take(name));
        let numbers: Vec<u16> = match setting.map(|setting| &setting.value) {
            Some(Lua::Table(table)) => table
                .row
                .iter()
                .filter_map(Lua::number)
                .map(|port| port as u16)
                .collect(),
            Some(value) => value.number().map(|port| port as u16).into_iter().collect(),
            None => default.to_vec(),
        };
        let interfaces = global
            .take("interfaces")
            .and_then(|setting| setting.value.table());
        let interfaces: Vec<&str> = interfaces
            .into_iter()
            .flat_map(|table| &table.row)
            .filter_map(Lua::text)
            .collect();
        let mut found = Vec::new();
        for port in numbers {
            if interfaces
                .iter()
                .all(|address| matches!(*address, "*" | "::"))
            {
                found.push(format!("[::]:{port}"));
                continue;
            }
            for address in &interfaces {
                found.push(match *address {
                    "*" => format!("0.0.0.0:{port}"),
                    address if address.contains(':') => format!("[{address}]:{port}"),
                    address => format!("{address}:{port}"),
                });
            }
        }
        found
    }

    fn listeners(&mut self, global: &Host, document: &mut Document) {
        let listen = self.addresses(global, &["c2s_ports"], &[5222]);
        document.line(format_args!("listen = {}", list(&listen)));
        let names = ["c2s_direct_tls_ports", "legacy_ssl_ports"];
        let listen = self.addresses(global, &names, &[]);
        document.line(format_args!("listen_tls = {}", list(&listen)));
    }

    fn archive(&mut self, hosts: &[Host], document: &mut Document) {
        let setting = hosts
            .iter()
            .find_map(|host| host.take("archive_expires_after"));
        let time = match setting.map(|setting| &setting.value) {
            Some(Lua::Text(text)) if text == "never" => Some("36500d".to_owned()),
            Some(Lua::Text(text)) => duration(text),
            Some(value) => value.number().map(|seconds| format!("{seconds:.0}s")),
            // As long as there.
            None => Some("7d".to_owned()),
        };
        match (time, setting) {
            (Some(time), _) => {
                document.line("");
                document.line("[xmpp.archive]");
                document.text("keep", &time);
            }
            (None, Some(setting)) => {
                let advice = "is no time: see xmpp.archive.keep";
                self.note(setting, Kind::Lost, "archive_expires_after", advice);
            }
            (None, None) => {}
        }
    }

    fn rooms(&mut self, hosts: &[Host], document: &mut Document) {
        let rooms: Vec<&Host> = hosts
            .iter()
            .filter(|host| host.component.as_deref() == Some("muc"))
            .collect();
        let names: Vec<String> = rooms.iter().map(|room| room.name.clone()).collect();
        if names.is_empty() {
            return;
        }
        document.line("");
        document.line("[xmpp.rooms]");
        document.line(format_args!("hosts = {}", list(&names)));
        for room in rooms {
            if let Some(setting) = room.take("max_history_messages")
                && let Some(most) = setting.value.number()
            {
                document.line(format_args!("history = {:.0}", most.clamp(0.0, 100.0)));
            }
            if let Some(setting) = room.take("restrict_room_creation")
                && !matches!(setting.value, Lua::Bool(false))
            {
                let advice = "every account can make xmpp.rooms.per_account rooms";
                self.note(setting, Kind::Lost, "restrict_room_creation", advice);
            }
        }
    }

    fn s2s(&mut self, global: &Host, document: &mut Document) {
        let modules = global
            .take("modules_disabled")
            .and_then(|s| s.value.table());
        let is_off = |name: &str| {
            let mut row = modules.into_iter().flat_map(|table| &table.row);
            row.any(|module| module.text() == Some(name))
        };
        if is_off("s2s") {
            return;
        }
        let listen = self.addresses(global, &["s2s_ports"], &[5269]);
        let listen_tls = self.addresses(global, &["s2s_direct_tls_ports"], &[]);
        document.line("");
        document.line("[xmpp.s2s]");
        document.line(format_args!("listen = {}", list(&listen)));
        if !listen_tls.is_empty() {
            document.line(format_args!("listen_tls = {}", list(&listen_tls)));
        }
        let insecure = global
            .take("s2s_insecure_domains")
            .and_then(|s| s.value.table());
        let mut dialback: Vec<String> = insecure
            .into_iter()
            .flat_map(|table| &table.row)
            .filter_map(|domain| domain.text().map(ToOwned::to_owned))
            .collect();
        // What a server proves by dialback is as safe as the DNS is.
        if global.flag("s2s_secure_auth") == Some(false) {
            dialback = vec!["*".to_owned()];
        }
        if !dialback.is_empty() {
            document.line(format_args!("dialback = {}", list(&dialback)));
        }
        if let Some(setting) = global.take("s2s_secure_domains") {
            let advice = "a server needs a certificate unless it is in xmpp.s2s.dialback";
            self.note(setting, Kind::Changed, "s2s_secure_domains", advice);
        }
    }

    fn components(&mut self, hosts: &[Host], document: &mut Document) {
        let outside: Vec<&Host> = hosts
            .iter()
            .filter(|host| host.component.as_deref() == Some(""))
            .collect();
        for host in &outside {
            document.line("");
            document.line("[[xmpp.component]]");
            document.text("domain", &host.name);
            document.text("secret", host.text("component_secret").unwrap_or_default());
        }
        for host in hosts {
            let advice = match host.component.as_deref() {
                Some("http_file_share" | "http_upload") => {
                    "files are uploaded where xmpp.upload.url says: a site of [http] whose mounts \
                     include the path. What was uploaded does not come over"
                }
                Some("proxy65") => "files go by upload; direct streams are not there",
                Some("pubsub") => "accounts have nodes, and nobody else does",
                Some("" | "muc") | None => continue,
                Some(_) => "nothing here takes its place",
            };
            let kind = host.component.clone().unwrap_or_default();
            self.findings.push(Finding {
                file: host.place.0.clone(),
                line: host.place.1,
                kind: Kind::Lost,
                text: format!("Component {:?} {kind:?}", host.name),
                advice: advice.to_owned(),
            });
        }
    }

    /// What is left to say of each setting.
    fn rest(&mut self, host: &Host) {
        for (name, setting) in &host.settings {
            if READ.contains(&name.as_str()) {
                continue;
            }
            if let Some((_, why)) = QUIET.iter().find(|(known, _)| known == name) {
                self.note(setting, Kind::Needless, name, why);
                continue;
            }
            match (name.as_str(), &setting.value) {
                ("modules_enabled", Lua::Table(modules)) => self.modules(setting, modules),
                ("authentication", Lua::Text(kind)) if kind.starts_with("internal") => {}
                ("authentication", _) => {
                    let advice = "accounts are kept here, with passwords of their own";
                    self.note(setting, Kind::Lost, name, advice);
                }
                ("admins", Lua::Table(admins)) => {
                    let admins = admins.row.iter().filter_map(Lua::text);
                    for admin in admins.filter(|admin| admin.parse::<Address>().is_ok()) {
                        let advice = "an account has its roles when it is made: \
                            `omnid user add --role admin`";
                        self.note(setting, Kind::Lost, &format!("admins: {admin}"), advice);
                    }
                }
                ("limits", _) => {
                    let advice = "limits are by stanza, memory and time: see [xmpp] and [net]";
                    self.note(setting, Kind::Changed, name, advice);
                }
                _ => {
                    let advice = "is not known here";
                    self.note(setting, Kind::Lost, name, advice);
                }
            }
        }
    }

    fn modules(&mut self, setting: &Setting, modules: &Table) {
        for module in modules.row.iter().filter_map(Lua::text) {
            if DONE.contains(&module) {
                continue;
            }
            let text = format!("module {module}");
            let known = |list: &[(&str, &'static str)]| {
                let found = list.iter().find(|(name, _)| *name == module);
                found.map(|(_, why)| *why)
            };
            match (known(NEEDLESS), known(MISSING)) {
                (Some(why), _) => self.note(setting, Kind::Needless, &text, why),
                (None, Some(why)) => self.note(setting, Kind::Lost, &text, why),
                (None, None) if module == "dialback" => {
                    let advice = "servers need a certificate unless they are in xmpp.s2s.dialback";
                    self.note(setting, Kind::Changed, &text, advice);
                }
                (None, None) => {
                    self.note(
                        setting,
                        Kind::Lost,
                        &text,
                        "nothing here takes its place yet",
                    );
                }
            }
        }
    }
}

/// `1w`, `6h`, `2 days`: as ours.
fn duration(text: &str) -> Option<String> {
    let text = text.trim();
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(end)?;
    let number: u64 = number.parse().ok()?;
    let seconds = match unit.trim() {
        "" | "s" | "seconds" => 1,
        "min" | "minute" | "minutes" => 60,
        "h" | "hour" | "hours" => 3600,
        "d" | "day" | "days" => 86_400,
        "w" | "week" | "weeks" => 604_800,
        "m" | "month" | "months" => 30 * 86_400,
        "y" | "year" | "years" => 365 * 86_400,
        _ => return None,
    };
    let seconds = number.checked_mul(seconds)?;
    Some(if seconds % 86_400 == 0 {
        format!("{}d", seconds / 86_400)
    } else {
        format!("{seconds}s")
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_configuration() {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("conf.d")).unwrap();
        fs::write(
            directory.path().join("prosody.cfg.lua"),
            "-- comment\nlocal x = 1\nadmins = { \"root@one.test\" }\n\
             interfaces = { \"192.0.2.1\", \"2001:db8::1\" }; s2s_secure_auth = false\n\
             archive_expires_after = \"2 weeks\"\ndata_path = os.getenv(\"HOME\") .. \"/x\"\n\
             certificates = \"certs\"\nmodules_enabled = { \"roster\"; \"mam\"; \"bosh\" }\n\
             Include \"conf.d/*.cfg.lua\"\nInclude \"gone.lua\"\n",
        )
        .unwrap();
        fs::write(
            directory.path().join("conf.d/one.cfg.lua"),
            "VirtualHost \"One.test\"\n ssl = { key = \"k.pem\", certificate = \"/c.pem\" }\n\
             Component \"chat.one.test\" \"muc\"\n  max_history_messages = 500\n\
             Component(\"gw.one.test\")\n component_secret = 'it\\'s \"x\"'\n\
             Component \"up.one.test\" \"http_file_share\"\n",
        )
        .unwrap();
        let import = convert(&directory.path().join("prosody.cfg.lua")).unwrap();
        let at = directory.path().display();
        let expected = format!(
            r#"# Converted from Prosody's configuration by `omnid import prosody`.

[[domain]]
name = "one.test"

[tls]
directory = "{at}/certs"
certificates = [
  {{ cert = "/c.pem", key = "{at}/k.pem" }},
]

[xmpp]
listen = ["192.0.2.1:5222", "[2001:db8::1]:5222"]
listen_tls = []

[xmpp.archive]
keep = "14d"

[xmpp.rooms]
hosts = ["chat.one.test"]
history = 100

[xmpp.s2s]
listen = ["192.0.2.1:5269", "[2001:db8::1]:5269"]
dialback = ["*"]

[[xmpp.component]]
domain = "gw.one.test"
secret = "it's \"x\""
"#
        );
        assert_eq!(import.toml, expected);
        for (line, text) in [
            (7, "Component \"up.one.test\" \"http_file_share\""),
            (2, "local x = 1"),
            (3, "admins: root@one.test"),
            (6, "data_path = os.getenv(\"HOME\") .. \"/x\""),
            (8, "module bosh"),
            (10, "Include \""),
        ] {
            let mut findings = import.findings.iter();
            let told = findings.any(|finding| {
                (finding.line, finding.kind) == (line, Kind::Lost) && finding.text.starts_with(text)
            });
            assert!(told, "{text}: {:?}", import.findings);
        }
        assert_eq!(import.findings.len(), 6, "{:?}", import.findings);
    }
}
