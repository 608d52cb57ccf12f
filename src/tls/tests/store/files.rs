use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use omnid_config::{Problems, Spanned};
use omnid_tls::{CertStore, TlsConfig};

use crate::support::{config, listed, load, made, made_as, put, shown, store};

fn messages(problems: &Problems) -> Vec<String> {
    problems
        .iter()
        .map(|problem| problem.message.clone())
        .collect()
}

#[test]
fn every_fault_names_its_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let (good, good_key) = made(&["a.test"]).write(path, "good");
    let (other, other_key) = made(&["b.test"]).write(path, "other");
    let file = |name: &str, text: &str| {
        let path = path.join(name);
        put(&path, text);
        path
    };
    let empty = file("empty", "");
    let text = file("text", "just some words\n");
    let cut = file("cut", "-----BEGIN CERTIFICATE-----\nMIIB\n");
    let wrong = file(
        "wrong",
        "-----BEGIN CERTIFICATE-----\naGVsbG8gd29ybGQ=\n-----END CERTIFICATE-----\n",
    );
    let locked = file(
        "locked",
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\naGVsbG8=\n-----END ENCRYPTED PRIVATE KEY-----\n",
    );
    let broken_key = file(
        "broken",
        "-----BEGIN PRIVATE KEY-----\naGVsbG8=\n-----END PRIVATE KEY-----\n",
    );
    let missing = path.join("missing");
    let table = [
        (
            &missing,
            &good_key,
            "cannot read the certificate {}: there is no such file",
            &missing,
        ),
        (
            &good,
            &missing,
            "cannot read the private key {}: there is no such file",
            &missing,
        ),
        (
            &path.to_owned(),
            &good_key,
            "cannot read the certificate {}: it is not a file",
            &path.to_owned(),
        ),
        (
            &empty,
            &good_key,
            "certificate {}: it holds no PEM certificate",
            &empty,
        ),
        (
            &text,
            &good_key,
            "certificate {}: it holds no PEM certificate",
            &text,
        ),
        (
            &good_key,
            &good,
            "certificate {}: it holds no PEM certificate",
            &good_key,
        ),
        (&cut, &good_key, "certificate {}: not PEM: ", &cut),
        (
            &wrong,
            &good_key,
            "certificate {}: not an X.509 certificate: ",
            &wrong,
        ),
        (
            &good,
            &other,
            "private key {}: it holds no PEM private key",
            &other,
        ),
        (
            &good,
            &locked,
            "private key {}: it is encrypted with a pass phrase",
            &locked,
        ),
        (&good, &broken_key, "private key {}: ", &broken_key),
        (
            &good,
            &other_key,
            "the private key {} does not belong to the certificate",
            &other_key,
        ),
    ];
    for (cert, key, expected, named) in table {
        let problems = load(&config(vec![listed((cert.clone(), key.clone()))])).unwrap_err();
        let expected = expected.replace("{}", &named.display().to_string());
        let messages = messages(&problems);
        assert_eq!(messages.len(), 1, "{messages:#?}");
        assert!(
            messages[0].starts_with(&expected),
            "{:?} is not {expected:?}",
            messages[0]
        );
    }
    // All at once, and not one after the other.
    let all = vec![
        listed((missing.clone(), good_key)),
        listed((good, missing)),
        listed((other, locked)),
    ];
    assert_eq!(load(&config(all)).unwrap_err().errors(), 3);
}

#[test]
fn what_is_questionable_is_a_warning() {
    let folder = tempfile::tempdir().unwrap();
    let expired = made_as(&["old.test"], &rcgen::PKCS_ECDSA_P256_SHA256, |params| {
        params.not_before = rcgen::date_time_ymd(2019, 1, 1);
        params.not_after = rcgen::date_time_ymd(2020, 1, 1);
    });
    let early = made_as(&["new.test"], &rcgen::PKCS_ECDSA_P256_SHA256, |params| {
        params.not_before = rcgen::date_time_ymd(3000, 1, 1);
    });
    let expired = expired.write(folder.path(), "expired");
    let early = early.write(folder.path(), "early");
    let open = made(&["open.test"]).write(folder.path(), "open");
    fs::set_permissions(&open.1, fs::Permissions::from_mode(0o644)).unwrap();
    let expected = [
        format!(
            "the certificate {} has expired on 2020-01-01",
            expired.0.display()
        ),
        format!(
            "the certificate {} is not valid before 3000-01-01",
            early.0.display()
        ),
        format!(
            "the private key {} can be read by every user",
            open.1.display()
        ),
    ];
    let prepared = load(&config(vec![listed(expired), listed(early), listed(open)])).unwrap();
    assert_eq!(messages(prepared.warnings()), expected);
    assert!(prepared.covers("old.test") && !prepared.covers("unknown.test"));
}

#[test]
fn a_fault_points_into_the_config() {
    omnid_config::section! {
        pub struct Root { pub tls: TlsConfig = TlsConfig::default(), }
    }
    let text = "[tls]\ncertificates = [{ cert = '/none.crt', key = '/none.key' }]\n";
    let loaded = omnid_config::load_str::<Root>(text).unwrap();
    let problems = load(&loaded.value.tls).unwrap_err();
    let rendered = loaded.sources.render(&problems, false);
    assert!(rendered.contains(":2:26"), "{rendered}");
    assert!(
        rendered.contains("cannot read the certificate /none.crt"),
        "{rendered}"
    );
}

fn of_folder(folder: &Path) -> TlsConfig {
    TlsConfig {
        directory: Some(Spanned::from(folder.to_owned())),
        ..TlsConfig::default()
    }
}

#[tokio::test]
async fn a_folder_holds_pairs_in_both_fashions() {
    let folder = tempfile::tempdir().unwrap();
    made(&["pair.test"]).write(folder.path(), "pair");
    // As certbot lays them out: links into another folder.
    let archive = folder.path().join("archive");
    let live = folder.path().join("certbot.test");
    fs::create_dir(&archive).unwrap();
    fs::create_dir(&live).unwrap();
    let (cert, key) = made(&["certbot.test"]).write(&archive, "1");
    std::os::unix::fs::symlink(cert, live.join("fullchain.pem")).unwrap();
    std::os::unix::fs::symlink(key, live.join("privkey.pem")).unwrap();
    // What else lies about: an authority without a key, a note, a broken link.
    put(
        &folder.path().join("authority.crt"),
        &made(&["ca.test"]).cert,
    );
    put(&folder.path().join("README"), "certificates");
    std::os::unix::fs::symlink("/nowhere", folder.path().join("gone.crt")).unwrap();

    let store = store(&of_folder(folder.path()));
    let mut sources: Vec<_> = store
        .list()
        .iter()
        .map(|info| info.names.join(" "))
        .collect();
    sources.sort_unstable();
    assert_eq!(sources, ["certbot.test", "pair.test"]);
    assert_eq!(shown(&store, "pair.test").await.unwrap(), ["pair.test"]);
    assert_eq!(
        shown(&store, "certbot.test").await.unwrap(),
        ["certbot.test"]
    );
    // By name the folder certbot.test is first, and so the default.
    assert_eq!(
        shown(&store, "unknown.test").await.unwrap(),
        ["certbot.test"]
    );
}

#[test]
fn a_folder_that_is_none_is_a_fault() {
    let problems = load(&of_folder(Path::new("/none"))).unwrap_err();
    assert!(messages(&problems)[0].starts_with("cannot read the folder of certificates /none: "));
}

#[test]
fn the_list_tells_an_operator_what_there_is() {
    let folder = tempfile::tempdir().unwrap();
    let made = made_as(
        &["a.test", "192.0.2.1"],
        &rcgen::PKCS_ECDSA_P256_SHA256,
        |params| {
            params.not_before = rcgen::date_time_ymd(2026, 1, 2);
            params.not_after = rcgen::date_time_ymd(2126, 3, 4);
            params
                .distinguished_name
                .push(rcgen::DnType::CommonName, "Somebody");
        },
    );
    let (cert, key) = made.write(folder.path(), "a");
    let store: CertStore = store(&config(vec![listed((cert.clone(), key))]));
    let json = serde_json::to_value(&*store.list()).unwrap();
    let info = &json[0];
    assert_eq!(info["names"], serde_json::json!(["a.test", "192.0.2.1"]));
    assert_eq!(info["issuer"], "CN=Somebody");
    assert_eq!(info["not_before"], "2026-01-02T00:00:00Z");
    assert_eq!(info["not_after"], "2126-03-04T00:00:00Z");
    assert_eq!(info["source"], cert.display().to_string());
    // The same number that openssl prints.
    let output = std::process::Command::new("openssl")
        .args(["x509", "-noout", "-fingerprint", "-sha256", "-in"])
        .arg(&cert)
        .output()
        .unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    let digits: String = printed.split('=').nth(1).unwrap().trim().replace(':', "");
    assert_eq!(info["fingerprint"], digits.to_lowercase());
}
