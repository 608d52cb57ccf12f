//! Secrets: where they come from, and that they are not shown.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use omnid_config::{Secret, load, load_str, print, section};

section! {
    /// One.
    pub struct One {
        pub secret: Secret,
    }
}

#[test]
fn a_file_holds_it_without_its_last_newline() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("key");
    fs::write(&file, "hush \n").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    let config = directory.path().join("omnid.toml");
    fs::write(&config, "secret = { file = 'key' }").unwrap();
    let loaded = load::<One>(&config).unwrap();
    assert_eq!(loaded.value.secret.expose(), "hush ");
    assert!(loaded.warnings.is_empty());
}

#[test]
fn a_file_that_everybody_can_read_is_a_warning() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("key");
    fs::write(&file, "hush").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    let loaded = load_str::<One>(&format!("secret = {{ file = '{}' }}", file.display())).unwrap();
    assert_eq!(loaded.warnings.len(), 1);
    assert_eq!(loaded.warnings.errors(), 0);
    let rendered = loaded.sources.render(&loaded.warnings, false);
    assert!(
        rendered.starts_with("warning: everybody can read "),
        "{rendered}"
    );
}

#[test]
fn a_file_is_neither_endless_nor_waited_for() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("key");
    fs::write(&file, "x".repeat(65 * 1024)).unwrap();
    for path in [file.as_path(), Path::new("/dev/zero"), directory.path()] {
        let text = format!("secret = {{ file = '{}' }}", path.display());
        assert!(load_str::<One>(&text).is_err(), "{}", path.display());
    }
    let pipe = directory.path().join("pipe");
    assert!(
        Command::new("mkfifo")
            .arg(&pipe)
            .status()
            .unwrap()
            .success()
    );
    let text = format!("secret = {{ file = '{}' }}", pipe.display());
    let report = load_str::<One>(&text).unwrap_err().to_string();
    assert!(report.contains("not a regular file"), "{report}");
}

#[test]
fn the_environment_holds_it() {
    let loaded = load_str::<One>("secret = { env = 'PATH' }").unwrap();
    assert_eq!(loaded.value.secret.expose(), std::env::var("PATH").unwrap());
}

/// A process cannot change its own environment safely: the test runs itself again in another.
#[test]
fn systemd_passes_it() {
    const NAME: &str = "CREDENTIALS_DIRECTORY";
    if std::env::var_os(NAME).is_some() {
        let loaded = load_str::<One>("secret = { credential = 'key' }").unwrap();
        assert_eq!(loaded.value.secret.expose(), "hush");
        assert!(load_str::<One>("secret = { credential = 'other' }").is_err());
        return;
    }
    let report = load_str::<One>("secret = { credential = 'key' }")
        .unwrap_err()
        .to_string();
    assert!(report.contains("LoadCredential=key:"), "{report}");
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("key");
    fs::write(&file, "hush").unwrap();
    let again = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "systemd_passes_it"])
        .env(NAME, directory.path())
        .output()
        .unwrap();
    assert!(
        again.status.success(),
        "{}",
        String::from_utf8_lossy(&again.stdout)
    );
}

#[test]
fn it_is_never_shown() {
    let loaded = load_str::<One>("secret = 'hush'").unwrap();
    assert!(!format!("{loaded:?}").contains("hush"));
    assert!(!print(&loaded.value, true).contains("hush"));
    let report = load_str::<One>("secret = 'hush'\nx = 1").unwrap_err();
    assert!(!format!("{report:?}").contains("hush"));
}
