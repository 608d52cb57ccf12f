//! Other servers: Prosody serves two.test, and finds us where a plugin of the test says.

use std::{
    fs,
    net::TcpStream,
    path::Path,
    process::{Child, Command, Stdio},
};

use crate::{Daemon, LIMIT, Server, config, free_port, run, wait_until};

const SCRIPT: &str = "xmpp_servers.py";

/// An authority in a directory, and certificates that it made.
fn certificates(directory: &Path) {
    let plain = directory.join("openssl.cnf");
    fs::write(&plain, "[req]\ndistinguished_name = name\n[name]\n").unwrap();
    let file = |name: &str| directory.join(name).to_str().unwrap().to_owned();
    let config = file("openssl.cnf");
    let make = |name: &str, more: &[&str]| {
        let (key, pem) = (file(&format!("{name}.key")), file(&format!("{name}.pem")));
        let subject = format!("/CN={name}");
        let mut arguments = vec![
            "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30", "-config", &config,
            "-subj", &subject, "-keyout", &key, "-out", &pem,
        ];
        arguments.extend(more);
        run("openssl", &arguments, LIMIT).success();
    };
    make(
        "authority",
        &["-addext", "basicConstraints=critical,CA:TRUE"],
    );
    let (authority, key) = (file("authority.pem"), file("authority.key"));
    for (name, signed) in [("one.test", true), ("two.test", true), ("self", false)] {
        let domain = if name == "self" { "two.test" } else { name };
        let names = format!("subjectAltName=DNS:{domain},DNS:rooms.{domain}");
        let mut more = vec![
            "-addext",
            &names,
            "-addext",
            "basicConstraints=critical,CA:FALSE",
        ];
        if signed {
            more.extend(["-CA", &authority, "-CAkey", &key]);
        }
        make(name, &more);
    }
}

struct Prosody {
    child: Child,
    clients: u16,
    _directory: tempfile::TempDir,
}

impl Prosody {
    /// Prosody with one of the certificates, asking for as good a one if `secure`.
    fn start(
        certificates: &Path,
        certificate: &str,
        secure: bool,
        servers: u16,
        ours: u16,
    ) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().to_str().unwrap().to_owned();
        let clients = free_port();
        fs::create_dir(directory.path().join("data")).unwrap();
        fs::write(
            directory.path().join("mod_where.lua"),
            format!(
                "local manual = require \"net.resolvers.manual\";\n\
                 local service = require \"net.resolvers.service\";\n\
                 module:set_global();\n\
                 function service.new(host, name, kind, extra)\n\
                 if name == \"xmpps-server\" then return manual.new({{}}, kind, extra); end\n\
                 return manual.new({{ {{ \"tcp4\", \"127.0.0.1\", {ours}, extra }} }}, kind, extra);\n\
                 end\n"
            ),
        )
        .unwrap();
        let at = certificates.to_str().unwrap();
        let config = directory.path().join("prosody.cfg.lua");
        fs::write(
            &config,
            format!(
                r#"
run_as_root = true
pidfile = "{path}/pid"
data_path = "{path}/data"
plugin_paths = {{ "{path}" }}
interfaces = {{ "127.0.0.1" }}
c2s_ports = {{ {clients} }}
s2s_ports = {{ {servers} }}
http_ports = {{ }}
https_ports = {{ }}
modules_enabled = {{ "where", "roster", "saslauth", "tls", "disco", "ping", "offline", "dialback" }}
authentication = "internal_hashed"
s2s_secure_auth = {secure}
s2s_require_encryption = true
log = {{ debug = "{path}/log" }}
ssl = {{ cafile = "{at}/authority.pem" }}
VirtualHost "two.test"
  ssl = {{ key = "{at}/{certificate}.key", certificate = "{at}/{certificate}.pem", cafile = "{at}/authority.pem" }}
"#
            ),
        )
        .unwrap();
        let config = config.to_str().unwrap();
        let register = [
            "--config",
            config,
            "register",
            "dave",
            "two.test",
            "secret-dave",
        ];
        run("prosodyctl", &register, LIMIT).success();
        let child = Command::new("prosody")
            .args(["-F", "--config", config])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("prosody; tests/install installs it");
        wait_until("Prosody's ports", LIMIT, || {
            TcpStream::connect(("127.0.0.1", clients)).is_ok()
                && TcpStream::connect(("127.0.0.1", servers)).is_ok()
        });
        Self {
            child,
            clients,
            _directory: directory,
        }
    }
}

impl Drop for Prosody {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = fs::read_to_string(self._directory.path().join("log")).unwrap_or_default();
            let last: Vec<_> = log.lines().rev().take(120).collect();
            eprintln!("--- Prosody's log, latest first\n{}", last.join("\n"));
        }
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Both servers, and our port for servers.
fn start(
    certificate: &str,
    secure: bool,
    dialback: &str,
    direct: bool,
) -> (Server, Prosody, u16, tempfile::TempDir) {
    let made = tempfile::tempdir().unwrap();
    certificates(made.path());
    let at = made.path().to_str().unwrap();
    let (plain, tls, ours, theirs) = (free_port(), free_port(), free_port(), free_port());
    let at_theirs = format!("127.0.0.1:{theirs}");
    let first = if direct {
        "tls://127.0.0.1:1"
    } else {
        "127.0.0.1:1"
    };
    let text = config(plain, tls, "").replace(
        "[tls]\nself_signed = true",
        &format!(
            "[tls]\nself_signed = true\n[[tls.certificates]]\n\
             cert = \"{at}/one.test.pem\"\nkey = \"{at}/one.test.key\""
        ),
    );
    let more = format!(
        "[xmpp.s2s]\nlisten = [\"127.0.0.1:{ours}\"]\nauthorities = \"{at}/authority.pem\"\n\
         dialback = [{dialback}]\n\
         [xmpp.s2s.routes]\n\"two.test\" = [\"{first}\", \"{at_theirs}\"]\n"
    );
    let server = Server::with(Daemon::start(&(text + &more)), plain, tls);
    let prosody = Prosody::start(made.path(), certificate, secure, theirs, ours);
    (server, prosody, ours, made)
}

fn scenario(server: &Server, prosody: &Prosody, name: &str) {
    let theirs = format!("127.0.0.1:{}", prosody.clients);
    let arguments = [name, &server.plain, &theirs];
    crate::python(SCRIPT, &arguments, LIMIT).success();
}

#[test]
fn servers_prove_themselves_by_certificates() {
    let (server, prosody, _, _made) = start("two.test", true, "", false);
    scenario(&server, &prosody, "together");
    let log = server.daemon.log();
    assert!(log.contains("proved itself by its certificate"), "{log}");
}

#[test]
fn servers_prove_themselves_by_dialback() {
    let (server, prosody, ours, _made) = start("self", false, "\"two.test\"", false);
    scenario(&server, &prosody, "together");
    let log = server.daemon.log();
    assert!(
        log.contains("another server proved itself domain="),
        "{log}"
    );
    let arguments = ["spoof", &format!("127.0.0.1:{ours}"), "nobody"];
    crate::python(SCRIPT, &arguments, LIMIT).success();
}

#[test]
fn servers_without_proof_stay_outside() {
    let (server, prosody, _, _made) = start("self", false, "", true);
    scenario(&server, &prosody, "apart");
}
