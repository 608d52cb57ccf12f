use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use omnid_tls::{CertStore, ClientCertificates, PrivateAuthority, TlsConfig, provider};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::support::{config, listed, made, shake};

fn names(list: &[&str]) -> Vec<String> {
    list.iter().map(|name| (*name).to_owned()).collect()
}

fn self_signed() -> TlsConfig {
    TlsConfig {
        self_signed: true,
        ..TlsConfig::default()
    }
}

/// A client that trusts the authority in this file, and nobody else.
fn client(authority: &Path) -> Arc<rustls::ClientConfig> {
    let mut roots = rustls::RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_file(authority).unwrap())
        .unwrap();
    let client = rustls::ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    Arc::new(client)
}

#[tokio::test]
async fn clients_that_trust_it_trust_every_name_of_the_server() {
    let folder = tempfile::tempdir().unwrap();
    let own = names(&["demo.test", "rooms.demo.test"]);
    let prepared = CertStore::load(&self_signed(), &own, folder.path()).unwrap();
    assert!(prepared.covers("Rooms.demo.test") && !prepared.is_empty());
    assert!(
        fs::read_dir(folder.path()).unwrap().next().is_none(),
        "a check writes nothing"
    );
    let store = CertStore::new(prepared).unwrap();
    let authority = store.private_authority().unwrap();
    assert_eq!(authority, folder.path().join("tls/authority.pem"));
    let client = client(&authority);
    for name in [
        "demo.test",
        "rooms.demo.test",
        "localhost",
        "127.0.0.1",
        "::1",
    ] {
        let server = store.server_config(&[], ClientCertificates::None);
        shake(server, &client, name)
            .await
            .unwrap_or_else(|error| panic!("{name}: {error}"));
    }
    let server = store.server_config(&[], ClientCertificates::None);
    assert!(shake(server, &client, "elsewhere.test").await.is_err());
}

#[test]
fn its_files_are_for_its_owner_alone() {
    let folder = tempfile::tempdir().unwrap();
    let authority = PrivateAuthority::open_or_create(&folder.path().join("tls")).unwrap();
    authority.issue(&names(&["a.test"])).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&folder.path().join("tls")), 0o700);
    let mut files = Vec::new();
    for entry in fs::read_dir(folder.path().join("tls")).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
        files.push(path.file_name().unwrap().to_string_lossy().into_owned());
    }
    files.sort_unstable();
    assert_eq!(
        files,
        ["authority.key", "authority.pem", "server.key", "server.pem"]
    );
}

#[test]
fn it_is_the_same_in_the_next_run() {
    let folder = tempfile::tempdir().unwrap();
    let run = |list: &[&str]| {
        let authority = PrivateAuthority::open_or_create(folder.path()).unwrap();
        let issued = authority.issue(&names(list)).unwrap();
        (
            authority.certificate_pem().to_owned(),
            issued.chain[0].clone(),
        )
    };
    let (authority, leaf) = run(&["a.test", "b.test"]);
    assert_eq!(
        run(&["b.test", "A.test"]),
        (authority.clone(), leaf.clone())
    );
    let (same, other) = run(&["c.test"]);
    assert_eq!(same, authority);
    assert_ne!(other, leaf);
    // A new authority does not go on with the old one's certificate.
    fs::remove_file(folder.path().join("authority.key")).unwrap();
    let (next, fresh) = run(&["c.test"]);
    assert_ne!(next, authority);
    assert_ne!(fresh, other);
}

#[test]
fn what_is_broken_is_said_with_its_file() {
    let folder = tempfile::tempdir().unwrap();
    drop(PrivateAuthority::open_or_create(folder.path()).unwrap());
    fs::write(folder.path().join("authority.key"), "no key").unwrap();
    let error = PrivateAuthority::open_or_create(folder.path())
        .unwrap_err()
        .to_string();
    assert!(error.contains("authority.pem: its key: "), "{error}");
    // A key that is not the certificate's would sign what nobody can verify.
    let other = made(&["x.test"]);
    fs::write(folder.path().join("authority.key"), other.key).unwrap();
    let error = PrivateAuthority::open_or_create(folder.path())
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("its key is another certificate's"),
        "{error}"
    );

    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    assert!(PrivateAuthority::open_or_create(&file).is_err());
    let bad = PrivateAuthority::open_or_create(&folder.path().join("ok")).unwrap();
    assert!(bad.issue(&names(&["näme.test"])).is_err());
}

#[test]
fn it_stands_back_where_certificates_cover_every_name() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(vec![listed(
        made(&["a.test", "*.a.test"]).write(folder.path(), "a"),
    )]);
    config.self_signed = true;
    let load = |list: &[&str]| {
        let prepared = CertStore::load(&config, &names(list), folder.path()).unwrap();
        CertStore::new(prepared).unwrap().private_authority()
    };
    assert_eq!(load(&["a.test", "www.a.test"]), None);
    assert!(load(&["a.test", "b.test"]).is_some());
}
