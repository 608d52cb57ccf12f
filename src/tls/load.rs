//! Certificates from files.

use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use omnid_config::{Problem, Span};
use rustls::RootCertStore;
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use time::OffsetDateTime;

use crate::info::CertificateInfo;
use crate::provider;

/// The longest PEM file that is read. A chain of ten certificates has some 20 KiB.
const LONGEST: u64 = 1024 * 1024;

/// The system's authorities: Debian, Fedora, SUSE, Alpine.
const SYSTEM_AUTHORITIES: &[&str] = &[
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// A certificate's two files, and where in the config they are named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pair {
    pub(crate) cert: PathBuf,
    pub(crate) key: PathBuf,
    /// Names that the config gives it, instead of its own.
    pub(crate) names: Vec<String>,
    pub(crate) cert_span: Option<Span>,
    pub(crate) key_span: Option<Span>,
}

/// A certificate ready for use.
#[derive(Clone, Debug)]
pub(crate) struct Loaded {
    pub(crate) key: Arc<CertifiedKey>,
    pub(crate) info: CertificateInfo,
}

/// What of a file changes when it is written or replaced.
pub(crate) type Stamp = Option<(u64, u64, i64, i64, u64)>;

pub(crate) fn stamp(path: &Path) -> Stamp {
    let meta = fs::metadata(path).ok()?;
    Some((
        meta.dev(),
        meta.ino(),
        meta.mtime(),
        meta.mtime_nsec(),
        meta.len(),
    ))
}

impl Pair {
    pub(crate) fn stamps(&self) -> (Stamp, Stamp) {
        (stamp(&self.cert), stamp(&self.key))
    }

    /// Reads the pair; what is questionable but usable is added to `warnings`.
    pub(crate) fn load(&self, warnings: &mut Vec<Problem>) -> Result<Loaded, Problem> {
        let at_cert = |problem: Problem| problem.at(self.cert_span, "");
        let at_key = |problem: Problem| problem.at(self.key_span, "");
        let cert_name = self.cert.display();
        let key_name = self.key.display();

        let text = read(&self.cert).map_err(|why| {
            at_cert(Problem::error(format!(
                "cannot read the certificate {cert_name}: {why}"
            )))
        })?;
        let chain = certificates(&text)
            .map_err(|why| at_cert(Problem::error(format!("certificate {cert_name}: {why}"))))?;
        let text = read(&self.key).map_err(|why| {
            at_key(Problem::error(format!(
                "cannot read the private key {key_name}: {why}"
            )))
        })?;
        let key = private_key(&text)
            .map_err(|why| at_key(Problem::error(format!("private key {key_name}: {why}"))))?;

        let mut info = chain
            .first()
            .ok_or_else(|| "it holds no certificate".to_owned())
            .and_then(|leaf| CertificateInfo::read(leaf, cert_name.to_string()))
            .map_err(|why| at_cert(Problem::error(format!("certificate {cert_name}: {why}"))))?;
        let key = CertifiedKey::from_der(chain, key, &provider()).map_err(|error| {
            let problem = match error {
                rustls::Error::InconsistentKeys(_) => Problem::error(format!(
                    "the private key {key_name} does not belong to the certificate {cert_name}"
                )),
                error => Problem::error(format!("private key {key_name}: {error}")),
            };
            at_key(problem).also(self.cert_span, "the certificate")
        })?;

        let now = OffsetDateTime::now_utc();
        if now > info.not_after {
            warnings.push(at_cert(Problem::warning(format!(
                "the certificate {cert_name} has expired on {}",
                info.not_after.date()
            ))));
        } else if now < info.not_before {
            warnings.push(at_cert(Problem::warning(format!(
                "the certificate {cert_name} is not valid before {}",
                info.not_before.date()
            ))));
        }
        if fs::metadata(&self.key).is_ok_and(|meta| meta.mode() & 0o004 != 0) {
            let problem = Problem::warning(format!(
                "the private key {key_name} can be read by every user"
            ));
            warnings.push(at_key(problem).help(format!("chmod o-r {key_name}")));
        }
        if !self.names.is_empty() {
            info.names.clone_from(&self.names);
        }
        if info.names.is_empty() {
            warnings.push(at_cert(Problem::warning(format!(
                "the certificate {cert_name} is issued for no name, and is only used as the default"
            ))));
        }
        Ok(Loaded {
            key: Arc::new(key),
            info,
        })
    }
}

/// The pairs in a folder: NAME.crt with NAME.key, and folders with fullchain.pem and privkey.pem.
pub(crate) fn pairs(folder: &Path, span: Option<Span>) -> io::Result<Vec<Pair>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder)? {
        paths.push(entry?.path());
    }
    // By name, so that the default does not depend on the order of the file system.
    paths.sort_unstable();
    let found = paths.into_iter().filter_map(|path| {
        let (cert, key) = if path.extension().is_some_and(|extension| extension == "crt") {
            let key = path.with_extension("key");
            (path, key)
        } else {
            (path.join("fullchain.pem"), path.join("privkey.pem"))
        };
        // A .crt alone is an authority's, say; a broken link is a certificate that was removed.
        (cert.exists() && key.exists()).then_some(Pair {
            cert,
            key,
            names: Vec::new(),
            cert_span: span,
            key_span: span,
        })
    });
    Ok(found.collect())
}

/// The authorities in PEM files, or the system's where no file is named.
pub(crate) fn authorities(files: &[(PathBuf, Option<Span>)]) -> Result<RootCertStore, Problem> {
    let mut roots = RootCertStore::empty();
    for (path, span) in files {
        let fail = |why: String| {
            Problem::error(format!("client authorities {}: {why}", path.display())).at(*span, "")
        };
        let text = read(path).map_err(fail)?;
        for certificate in certificates(&text).map_err(fail)? {
            roots
                .add(certificate)
                .map_err(|error| fail(error.to_string()))?;
        }
    }
    if files.is_empty()
        && let Some(text) = SYSTEM_AUTHORITIES
            .iter()
            .find_map(|path| read(Path::new(path)).ok())
    {
        // A system's bundle may hold certificates that this library does not take: others do.
        roots.add_parsable_certificates(certificates(&text).unwrap_or_default());
    }
    Ok(roots)
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    let describe = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => "there is no such file".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        _ => error.to_string(),
    };
    let file = fs::File::open(path).map_err(describe)?;
    if !file.metadata().is_ok_and(|meta| meta.is_file()) {
        return Err("it is not a file".to_owned());
    }
    let mut text = Vec::new();
    file.take(LONGEST)
        .read_to_end(&mut text)
        .map_err(describe)?;
    Ok(text)
}

fn certificates(text: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text).collect();
    let chain = chain.map_err(|error| format!("not PEM: {error}"))?;
    if chain.is_empty() {
        return Err("it holds no PEM certificate".to_owned());
    }
    Ok(chain)
}

fn private_key(text: &[u8]) -> Result<PrivateKeyDer<'static>, String> {
    PrivateKeyDer::from_pem_slice(text).map_err(|error| {
        let has = |words: &[u8]| text.windows(words.len()).any(|window| window == words);
        if has(b"ENCRYPTED") {
            "it is encrypted with a pass phrase, and a daemon has nobody to ask".to_owned()
        } else if matches!(error, rustls_pki_types::pem::Error::NoItemsFound) {
            "it holds no PEM private key".to_owned()
        } else {
            format!("not PEM: {error}")
        }
    })
}
