//! Automatic certificates, from Pebble: Let's Encrypt's test authority, which refuses a fifth of
//! all nonces. It looks at loopback ports instead of 80 and 443, and asks our own DNS.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use serde_json::{Value, json};

use super::support::{Background, Daemon, free_port, run};

/// Pebble signs in two seconds; a refused order is tried again after one.
const SOON: Duration = Duration::from_secs(60);

struct Ports {
    plain: u16,
    tls: u16,
    dns: u16,
    directory: u16,
    management: u16,
}

impl Ports {
    fn new() -> Self {
        Self {
            plain: free_port(),
            tls: free_port(),
            dns: free_port(),
            directory: free_port(),
            management: free_port(),
        }
    }

    /// Runs Pebble, its files in `folder`.
    fn pebble(&self, folder: &Path, seconds: u32, external_account: Option<&str>) -> Background {
        let mut config = json!({
            "listenAddress": format!("127.0.0.1:{}", self.directory),
            "managementListenAddress": format!("127.0.0.1:{}", self.management),
            "certificate": folder.join("pebble.crt"),
            "privateKey": folder.join("pebble.key"),
            "httpPort": self.plain,
            "tlsPort": self.tls,
            "ocspResponderURL": "",
            "externalAccountBindingRequired": external_account.is_some(),
            "certificateValidityPeriod": seconds,
        });
        if let Some(key) = external_account {
            config["externalAccountMACKeys"] = json!({"kid-1": key});
        }
        let path = folder.join("pebble.json");
        fs::write(&path, json!({"pebble": config}).to_string()).unwrap();
        let log = fs::File::create(folder.join("pebble.log")).unwrap();
        let child = Command::new("pebble")
            .arg("-config")
            .arg(&path)
            .args(["-dnsserver", &format!("127.0.0.1:{}", self.dns)])
            .env("PEBBLE_VA_NOSLEEP", "1")
            .env("PEBBLE_WFE_NONCEREJECT", "20")
            .env("PEBBLE_AUTHZREUSE", "0")
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| panic!("pebble: {error}; tests/install installs it"));
        Background(child)
    }

    /// The root that Pebble signs under.
    fn root(&self, folder: &Path) -> String {
        let (path, url) = (
            folder.join("root.pem").display().to_string(),
            format!("https://localhost:{}/roots/0", self.management),
        );
        let trust = folder.join("pebble.crt").display().to_string();
        let arguments = ["-sSf", "--cacert", &trust, "-o", &path, &url];
        run("curl", &arguments, SOON).success();
        path
    }

    fn config(&self, acme: &str, more: &str) -> String {
        let Self {
            plain,
            tls,
            dns,
            directory,
            ..
        } = self;
        format!(
            r#"
[tls.acme]
directory = "https://localhost:{directory}/dir"
trust = "{{dir}}/pebble.crt"
retry = "1s"
retry_max = "3s"
dns_wait = "1s"
{acme}
[[domain]]
name = "w.test"
[dns]
listen = ["127.0.0.1:{dns}"]
[[dns.zone]]
name = "test"
file = "{{dir}}/test.zone"
[http]
listen = ["127.0.0.1:{plain}"]
listen_tls = ["127.0.0.1:{tls}"]
[[http.site]]
hosts = ["a.test", "www.a.test"]
plain = "redirect"
mounts = []
[[http.site.route]]
path = "/"
respond = "a"
{more}
"#
        )
    }

    fn start(&self, acme: &str, more: &str) -> Daemon {
        Daemon::start_with(&self.config(acme, more), &[], |folder| {
            fs::write(
                folder.join("test.zone"),
                "$TTL 5\n@ SOA ns hostmaster 1 3600 600 86400 5\n@ NS ns\n* A 127.0.0.1\n",
            )
            .unwrap();
            // Pebble's own certificate, which is its own authority.
            let (key, certificate) = (folder.join("pebble.key"), folder.join("pebble.crt"));
            let (key, certificate) = (key.to_str().unwrap(), certificate.to_str().unwrap());
            #[rustfmt::skip]
            let arguments = [
                "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                "-keyout", key, "-out", certificate, "-days", "2", "-subj", "/CN=pebble",
                "-addext", "subjectAltName=DNS:localhost",
                "-addext", "basicConstraints=critical,CA:FALSE",
            ];
            run("openssl", &arguments, SOON).success();
        })
    }

    fn get(&self, host: &str, root: &str) -> String {
        let resolve = format!("{host}:{}:127.0.0.1", self.tls);
        let url = format!("https://{host}:{}/", self.tls);
        let arguments = ["-sS", "--cacert", root, "--resolve", &resolve, &url];
        run("curl", &arguments, SOON).success().stdout
    }
}

/// Waits, and asks no more than three times a second: each question is a line of log.
#[track_caller]
fn wait_until(what: &str, limit: Duration, mut condition: impl FnMut() -> bool) {
    super::support::wait_until(what, limit, || {
        let holds = condition();
        if !holds {
            std::thread::sleep(Duration::from_millis(300));
        }
        holds
    });
}

/// The row of `omnid cert list` for a name.
fn row(daemon: &Daemon, name: &str) -> Value {
    let rows = daemon.json(&["cert", "list"]);
    let has = |row: &&Value| row["names"].as_array().unwrap().contains(&json!(name));
    rows.as_array()
        .unwrap()
        .iter()
        .find(has)
        .cloned()
        .unwrap_or_default()
}

fn fingerprint(daemon: &Daemon, name: &str) -> Option<String> {
    row(daemon, name)["fingerprint"].as_str().map(str::to_owned)
}

#[test]
fn every_site_gets_its_certificate_by_each_way_and_keeps_it() {
    let ports = Ports::new();
    let daemon = ports.start("challenges = [\"tls-alpn-01\"]", "");
    // The authority is not there: what is not to be had is said, and when it is tried again.
    wait_until("a failure is told", SOON, || {
        row(&daemon, "a.test")["failures"].as_u64() >= Some(2)
    });
    let told = row(&daemon, "a.test");
    assert!(
        told["error"]
            .as_str()
            .unwrap()
            .contains("cannot reach localhost"),
        "{told}"
    );
    assert!(told["next"].as_str().unwrap().starts_with("20"), "{told}");
    let printed = daemon.omnid(&["cert", "list"]).success().stdout;
    assert!(printed.contains("cannot reach localhost"), "{printed}");
    let attempts = daemon.log().matches("no certificate: ").count();
    assert!(attempts <= 10, "{attempts} tries");

    let _pebble = ports.pebble(daemon.directory(), 86_400, None);
    wait_until("the first certificate", SOON, || {
        fingerprint(&daemon, "a.test").is_some()
    });
    let root = ports.root(daemon.directory());
    assert_eq!(ports.get("a.test", &root), "a");
    assert_eq!(ports.get("www.a.test", &root), "a");
    assert_eq!(row(&daemon, "a.test")["error"], Value::Null);
    let folder = daemon.path("data/tls/acme");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&folder), 0o700);
    for entry in fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
    }

    // Another site, and a wildcard, by the other two ways; what is there is not asked for again.
    let before = fingerprint(&daemon, "a.test");
    daemon.write_config(&ports.config(
        "challenges = [\"http-01\", \"dns-01\"]\nnames = [\"*.w.test\"]",
        "[[http.site]]\nhosts = [\"b.test\", \"x.w.test\", \"localhost\"]\nplain = \"redirect\"\n\
         [[http.site.route]]\npath = \"/\"\nrespond = \"b\"\nauth = { basic = \"b\" }\n\
         [[http.site.route]]\npath = \"/open\"\nrespond = \"open\"",
    ));
    daemon.omnid(&["reload"]).success();
    wait_until("the second and third certificates", SOON, || {
        fingerprint(&daemon, "b.test").is_some() && fingerprint(&daemon, "*.w.test").is_some()
    });
    assert!(ports.get("b.test", &root).contains("401"));
    assert!(ports.get("x.w.test", &root).contains("401"));
    assert_eq!(fingerprint(&daemon, "a.test"), before);
    assert_eq!(row(&daemon, "b.test")["names"], json!(["b.test"]));
    // The proofs are gone again.
    wait_until("the record is gone", SOON, || {
        let port = ports.dns.to_string();
        let arguments = [
            "@127.0.0.1",
            "-p",
            &port,
            "_acme-challenge.w.test",
            "TXT",
            "+short",
        ];
        run("dig", &arguments, SOON).success().stdout.is_empty()
    });

    // After a start the same are in use, whether or not the authority is there.
    drop(_pebble);
    let daemon = daemon.kill_and_start();
    assert_eq!(fingerprint(&daemon, "a.test"), before);
    assert_eq!(ports.get("a.test", &root), "a");
    assert_eq!(row(&daemon, "a.test")["failures"], json!(0));
}

#[test]
fn renewed_before_the_end_and_served_on_when_that_fails() {
    let ports = Ports::new();
    let daemon = ports.start("", "");
    let pebble = ports.pebble(daemon.directory(), 12, None);
    wait_until("the first certificate", SOON, || {
        fingerprint(&daemon, "a.test").is_some()
    });
    let first = fingerprint(&daemon, "a.test");
    wait_until("the second certificate", SOON, || {
        fingerprint(&daemon, "a.test") != first
    });
    let root = ports.root(daemon.directory());
    assert_eq!(ports.get("a.test", &root), "a");
    let second = fingerprint(&daemon, "a.test");
    drop(pebble);
    wait_until("renewal fails", SOON, || {
        row(&daemon, "a.test")["failures"].as_u64() >= Some(2)
    });
    // The old one, for as long as there is no other.
    assert_eq!(fingerprint(&daemon, "a.test"), second);
    let resolve = format!("a.test:{}:127.0.0.1", ports.tls);
    let url = format!("https://a.test:{}/", ports.tls);
    let page = run("curl", &["-sSk", "--resolve", &resolve, &url], SOON);
    assert_eq!(page.success().stdout, "a");
}

#[test]
fn an_account_bound_to_one_that_the_authority_knows() {
    let ports = Ports::new();
    let key = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W";
    let acme = format!("external_account = {{ key_id = \"kid-1\", key = \"{key}\" }}");
    let daemon = ports.start(&acme, "");
    let _pebble = ports.pebble(daemon.directory(), 86_400, Some(key));
    wait_until("the certificate", SOON, || {
        fingerprint(&daemon, "a.test").is_some()
    });
    assert!(!daemon.log().contains(key));
}
