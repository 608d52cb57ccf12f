//! Signed zones on disk, so that a restart takes their signatures over instead of making others.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::dnssec::import::KeyFiles;

/// Where a zone's signed form is kept; a name may hold octets that no file name should.
pub(crate) fn signed_path(data_dir: &Path, zone: &str) -> PathBuf {
    let mut name = String::new();
    for byte in zone.trim_end_matches('.').bytes() {
        match byte {
            b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' => name.push(byte as char),
            b'A'..=b'Z' => name.push(byte.to_ascii_lowercase() as char),
            other => name.push_str(&format!("%{other:02x}")),
        }
    }
    if name.is_empty() {
        name.push_str("root");
    }
    data_dir
        .join("dns")
        .join("signed")
        .join(format!("{name}.zone"))
}

/// Puts a whole file in the place of another, on the disk when this returns.
pub(crate) fn replace(path: &Path, text: &str) -> io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(directory)?;
    let fresh = path.with_extension("zone.new");
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&fresh)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&fresh, path)?;
    File::open(directory)?.sync_all()
}

/// Largest file of a key: one of RSA with 4096 bits takes 4 KiB.
const MAX_KEY_FILE: u64 = 64 * 1024;
/// Keys of one zone.
const MAX_KEYS: usize = 64;

/// Reads the key files of a zone that are in a directory.
pub(crate) fn read_key_files(directory: &Path, zone: &str) -> Result<Vec<KeyFiles>, String> {
    let shown = directory.display();
    let told = |error: io::Error| format!("{shown}: {error}");
    let prefix = format!("K{}.+", zone.trim_end_matches('.').to_ascii_lowercase());
    let mut names = Vec::new();
    for entry in fs::read_dir(directory).map_err(told)? {
        let name = entry.map_err(told)?.file_name();
        let stem = name.to_str().and_then(|name| name.strip_suffix(".key"));
        let ours = |stem: &&str| {
            stem.to_ascii_lowercase()
                .starts_with(&prefix.to_ascii_lowercase())
        };
        names.extend(stem.filter(ours).map(str::to_owned));
    }
    names.sort();
    if names.is_empty() || names.len() > MAX_KEYS {
        return Err(format!("{shown}: {} keys of {zone}", names.len()));
    }
    let read = |name: &str, kind: &str| {
        let path = directory.join(format!("{name}.{kind}"));
        let told = |error: io::Error| format!("{}: {error}", path.display());
        let size = fs::metadata(&path).map_err(told)?.len();
        if size > MAX_KEY_FILE {
            return Err(format!("{}: too large for a key", path.display()));
        }
        fs::read_to_string(&path).map_err(told)
    };
    names
        .into_iter()
        .map(|name| {
            let state = directory.join(format!("{name}.state")).exists();
            Ok(KeyFiles {
                public: read(&name, "key")?,
                private: read(&name, "private")?,
                state: if state {
                    Some(read(&name, "state")?)
                } else {
                    None
                },
                name,
            })
        })
        .collect()
}
