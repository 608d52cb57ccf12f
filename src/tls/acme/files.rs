//! What lies below `data_dir`/tls/acme: for each certificate one file with key and chain, and one
//! with its history; for each authority one with the account.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use omnid_config::Problem;
use serde::{Serialize, de::DeserializeOwned};

use super::AcmeError;
use super::plan::Wanted;
use crate::load::{Loaded, Pair};

/// The longest file that is read.
const LONGEST: u64 = 256 * 1024;

impl Wanted {
    /// The file of certificate and key. One file, so that no moment sees one without the other.
    pub(crate) fn certificate_path(&self, folder: &Path) -> PathBuf {
        folder.join(format!("{}.pem", self.file_name()))
    }

    fn state_path(&self, folder: &Path) -> PathBuf {
        folder.join(format!("{}.json", self.file_name()))
    }

    /// Reads what is there. What cannot be used is as good as not there: it is asked for again.
    pub(crate) fn read(&mut self, folder: &Path, warnings: &mut Vec<Problem>) {
        let path = self.certificate_path(folder);
        if path.exists() {
            match load(&path) {
                Ok(loaded) => self.loaded = Some(loaded),
                Err(problem) => warnings.push(problem),
            }
        }
        self.state = read_json(&self.state_path(folder)).unwrap_or_default();
    }

    /// Writes its history.
    pub(crate) fn write_state(&self, folder: &Path) -> Result<(), AcmeError> {
        write_json(&self.state_path(folder), &self.state)
    }
}

/// Loads a certificate with its key from one file.
pub(crate) fn load(path: &Path) -> Result<Loaded, Problem> {
    let pair = Pair {
        cert: path.to_owned(),
        key: path.to_owned(),
        names: Vec::new(),
        cert_span: None,
        key_span: None,
    };
    pair.load(&mut Vec::new())
        .map_err(|problem| Problem::warning(format!("{}; it is asked for anew", problem.message)))
}

pub(crate) fn read_json<T: DeserializeOwned>(path: &Path) -> Option<T> {
    let mut text = Vec::new();
    let file = File::open(path).ok()?;
    file.take(LONGEST).read_to_end(&mut text).ok()?;
    serde_json::from_slice(&text).ok()
}

pub(crate) fn write_json(path: &Path, value: &impl Serialize) -> Result<(), AcmeError> {
    let text = serde_json::to_vec_pretty(value).map_err(|error| AcmeError::File {
        path: path.to_owned(),
        source: error.into(),
    })?;
    write(path, &text)
}

/// Writes a file that nobody else can read, whole or not at all, and there to stay.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<(), AcmeError> {
    let attempt = || -> io::Result<()> {
        let folder = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)?;
        let unfinished = path.with_extension("new");
        match fs::remove_file(&unfinished) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&unfinished)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&unfinished, path)?;
        File::open(folder)?.sync_all()
    };
    attempt().map_err(|source| AcmeError::File {
        path: path.to_owned(),
        source,
    })
}
