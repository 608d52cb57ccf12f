//! `omnid backup`, `restore` and `verify`.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use super::{daemon, omnid};

fn config(directory: &Path) -> String {
    let config = directory.join("omnid.toml");
    let text = format!(
        "[server]\ndata_dir = \"{0}/data\"\n[admin]\nsocket = \"{0}/omnid.sock\"\n",
        directory.display()
    );
    fs::write(&config, text).unwrap();
    config.to_str().unwrap().to_owned()
}

#[test]
fn what_was_backed_up_comes_back_elsewhere() {
    let daemon = daemon();
    daemon.add_user("alice@example.org", "correct horse battery");
    let archive = daemon.path("archive");
    let archive = archive.to_str().unwrap();
    daemon.omnid(&["backup", archive]).success();
    assert_eq!(
        fs::metadata(archive).unwrap().permissions().mode() & 0o077,
        0
    );
    // Not over what is there.
    assert_eq!(daemon.omnid(&["backup", archive]).code, Some(1));
    omnid(&["verify", archive]).success();
    daemon.omnid(&["verify"]).success();

    let elsewhere = tempfile::tempdir().unwrap();
    let config = config(elsewhere.path());
    omnid(&["-c", &config, "restore", archive]).success();
    let list = omnid(&["-c", &config, "--json", "user", "list"])
        .success()
        .stdout;
    assert!(list.contains("alice@example.org"), "{list}");
    // A store that holds something is overwritten only on demand.
    let refused = omnid(&["-c", &config, "restore", archive]);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.stderr.contains("--force"), "{}", refused.stderr);
    omnid(&["-c", &config, "restore", "--force", archive]).success();
}

#[test]
fn what_root_restores_belongs_to_whom_the_directory_belongs_to() {
    use std::os::unix::fs::MetadataExt;
    if !rustix::process::geteuid().is_root() {
        // Whoever is not root makes nothing that is another's.
        return;
    }
    let daemon = daemon();
    daemon.add_user("alice@example.org", "correct horse battery");
    let archive = daemon.path("archive");
    let archive = archive.to_str().unwrap();
    daemon.omnid(&["backup", archive]).success();

    let elsewhere = tempfile::tempdir().unwrap();
    let config = config(elsewhere.path());
    let data = elsewhere.path().join("data");
    fs::create_dir(&data).unwrap();
    std::os::unix::fs::chown(&data, Some(65_534), Some(65_534)).unwrap();
    omnid(&["-c", &config, "restore", archive]).success();
    omnid(&["-c", &config, "user", "disable", "alice@example.org"]).success();
    for entry in fs::read_dir(&data).unwrap() {
        let entry = entry.unwrap();
        let owner = entry.metadata().unwrap().uid();
        assert_eq!(owner, 65_534, "{}", entry.path().display());
    }
}

#[test]
fn a_store_in_use_is_not_replaced() {
    let daemon = daemon();
    let archive = daemon.path("archive");
    let archive = archive.to_str().unwrap();
    daemon.omnid(&["backup", archive]).success();
    let output = daemon.omnid(&["restore", "--force", archive]);
    assert_eq!(output.code, Some(1), "{output:?}");
    assert!(output.stderr.contains("stop it"), "{}", output.stderr);
}

#[test]
fn a_damaged_archive_is_found_out() {
    let daemon = daemon();
    daemon.add_user("alice@example.org", "correct horse battery");
    let archive = daemon.path("archive");
    daemon
        .omnid(&["backup", archive.to_str().unwrap()])
        .success();
    let largest = fs::read_dir(&archive)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_file())
        .max_by_key(|path| fs::metadata(path).unwrap().len())
        .unwrap();
    let mut bytes = fs::read(&largest).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x40;
    fs::write(&largest, bytes).unwrap();
    let output = omnid(&["verify", archive.to_str().unwrap()]);
    assert_eq!(output.code, Some(1), "{output:?}");
    assert!(output.stderr.starts_with("omnid: "), "{}", output.stderr);
    assert_eq!(omnid(&["verify", "/nonexistent"]).code, Some(1));
}
