//! A private certificate authority, for development and closed networks.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use time::{Duration, OffsetDateTime};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::info::CertificateInfo;

/// Clocks differ: a certificate is valid from a little before it is made.
const BACKDATE: Duration = Duration::hours(1);
const AUTHORITY_DAYS: Duration = Duration::days(3650);
const LEAF_DAYS: Duration = Duration::days(90);
/// What is left of a leaf's life when it is renewed.
const RENEW_BEFORE: Duration = Duration::days(30);

/// Why the private authority cannot do its work.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// A file of it cannot be read or written.
    #[error("private authority: {path}: {source}", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A file of it does not hold what it should.
    #[error("private authority: {path}: {why}", path = path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A certificate cannot be made.
    #[error("private authority: cannot issue for {names}: {source}")]
    Issue {
        /// The names asked for.
        names: String,
        /// The reason.
        source: rcgen::Error,
    },
}

/// A certificate authority whose key lies in a folder of ours.
#[derive(Debug)]
pub struct PrivateAuthority {
    folder: PathBuf,
    certificate: CertificateDer<'static>,
    certificate_pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate with its chain and key.
#[derive(Debug)]
pub struct Issued {
    /// The certificate, then its authority.
    pub chain: Vec<CertificateDer<'static>>,
    /// Its private key.
    pub key: PrivateKeyDer<'static>,
    /// The file it lies in.
    pub source: PathBuf,
}

impl PrivateAuthority {
    /// Opens the authority in `folder`, or makes one there.
    ///
    /// # Errors
    /// When its files cannot be read, written or understood.
    pub fn open_or_create(folder: &Path) -> Result<Self, AuthorityError> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(|source| AuthorityError::File {
                path: folder.to_owned(),
                source,
            })?;
        let (certificate_path, key_path) = (authority_file(folder), folder.join("authority.key"));
        let made = match (read(&certificate_path)?, read(&key_path)?) {
            (Some(certificate), Some(key)) => Self::open(folder, certificate, &key),
            _ => {
                let (certificate, key) =
                    make_authority(OffsetDateTime::now_utc()).map_err(|source| {
                        AuthorityError::Issue {
                            names: "itself".into(),
                            source,
                        }
                    })?;
                write(&key_path, &key.serialize_pem())?;
                write(&certificate_path, &certificate)?;
                Self::open(folder, certificate, &key.serialize_pem())
            }
        };
        made.map_err(|why| AuthorityError::Content {
            path: certificate_path,
            why,
        })
    }

    fn open(folder: &Path, certificate_pem: String, key: &str) -> Result<Self, String> {
        let certificate = CertificateDer::from_pem_slice(certificate_pem.as_bytes())
            .map_err(|error| format!("no certificate: {error}"))?;
        let key = KeyPair::from_pem(key).map_err(|error| format!("its key: {error}"))?;
        let parsed = X509Certificate::from_der(&certificate);
        let (_, parsed) = parsed.map_err(|error| format!("not a certificate: {error}"))?;
        if parsed.public_key().subject_public_key.data.as_ref() != key.public_key_raw() {
            return Err("its key is another certificate's".to_owned());
        }
        let issuer = Issuer::from_ca_cert_der(&certificate, key)
            .map_err(|error| format!("not an authority's certificate: {error}"))?;
        Ok(Self {
            folder: folder.to_owned(),
            certificate,
            certificate_pem,
            issuer,
        })
    }

    /// The authority's certificate, for clients to trust.
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// The file that holds it.
    pub fn certificate_path(&self) -> PathBuf {
        authority_file(&self.folder)
    }

    /// A certificate for `names` (and localhost, 127.0.0.1 and ::1): the one in the folder, if it
    /// has these names and is not soon to expire, or a new one.
    ///
    /// # Errors
    /// When a name cannot stand in a certificate, or files cannot be read or written.
    pub fn issue(&self, names: &[String]) -> Result<Issued, AuthorityError> {
        self.issue_at(names, OffsetDateTime::now_utc())
    }

    pub(crate) fn issue_at(
        &self,
        names: &[String],
        now: OffsetDateTime,
    ) -> Result<Issued, AuthorityError> {
        let mut all: Vec<String> = names.iter().map(|name| name.to_ascii_lowercase()).collect();
        all.extend(["localhost", "127.0.0.1", "::1"].map(str::to_owned));
        all.sort_unstable();
        all.dedup();
        if let Some(issued) = self.kept(&all, now)? {
            return Ok(issued);
        }
        let (certificate, key) =
            self.make_leaf(&all, now)
                .map_err(|source| AuthorityError::Issue {
                    names: all.join(", "),
                    source,
                })?;
        // The key first: a certificate without its key would be found broken at the next start.
        write(&self.folder.join("server.key"), &key)?;
        write(&self.leaf_file(), &certificate)?;
        self.kept(&all, now)?
            .ok_or_else(|| AuthorityError::Content {
                path: self.leaf_file(),
                why: "not what was just written there".into(),
            })
    }

    /// Is a certificate to be renewed?
    pub(crate) fn is_due(&self, leaf: &CertificateInfo, now: OffsetDateTime) -> bool {
        now >= leaf.not_after - RENEW_BEFORE || now < leaf.not_before
    }

    fn leaf_file(&self) -> PathBuf {
        self.folder.join("server.pem")
    }

    /// The leaf in the folder, if it will do.
    fn kept(
        &self,
        names: &[String],
        now: OffsetDateTime,
    ) -> Result<Option<Issued>, AuthorityError> {
        let source = self.leaf_file();
        let (Some(certificate), Some(key)) =
            (read(&source)?, read(&self.folder.join("server.key"))?)
        else {
            return Ok(None);
        };
        let (Ok(certificate), Ok(key)) = (
            CertificateDer::from_pem_slice(certificate.as_bytes()),
            PrivateKeyDer::from_pem_slice(key.as_bytes()),
        ) else {
            return Ok(None);
        };
        let chain = vec![certificate, self.certificate.clone()];
        let suits = chain
            .first()
            .and_then(|leaf| CertificateInfo::read(leaf, String::new()).ok());
        let suits = suits.is_some_and(|info| {
            let mut has = info.names.clone();
            has.sort_unstable();
            has == names && !self.is_due(&info, now)
        });
        let matches = suits && self.signed(&chain) && key_matches(&chain, &key);
        Ok(matches.then_some(Issued { chain, key, source }))
    }

    /// Was the leaf signed by this authority, and not by one that lay here before?
    fn signed(&self, chain: &[CertificateDer<'_>]) -> bool {
        let Some(leaf) = chain.first() else {
            return false;
        };
        let (Ok((_, leaf)), Ok((_, authority))) = (
            X509Certificate::from_der(leaf),
            X509Certificate::from_der(&self.certificate),
        ) else {
            return false;
        };
        // The authority's name ends in a part of its key's digest, so that names stand for keys.
        leaf.issuer() == authority.subject()
    }

    fn make_leaf(
        &self,
        names: &[String],
        now: OffsetDateTime,
    ) -> Result<(String, String), rcgen::Error> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(names)?;
        params.not_before = now - BACKDATE;
        params.not_after = now + LEAF_DAYS;
        // RFC 5280 4.1.2.6 lets the subject be empty where there are alternative names, but clients
        // that show it stumble (kdig ends the handshake). A common name has at most 64 characters.
        params.distinguished_name = rcgen::DistinguishedName::new();
        if let Some(name) = names.iter().find(|name| name.len() <= 64) {
            params.distinguished_name.push(DnType::CommonName, name);
        }
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok((
            certificate.pem() + &self.certificate_pem,
            key.serialize_pem(),
        ))
    }
}

fn make_authority(now: OffsetDateTime) -> Result<(String, KeyPair), rcgen::Error> {
    let key = KeyPair::generate()?;
    let digest = crate::info::sha256(key.public_key_raw());
    let digest: String = digest
        .iter()
        .take(4)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let mut params = CertificateParams::default();
    params.not_before = now - BACKDATE;
    params.not_after = now + AUTHORITY_DAYS;
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(
        DnType::CommonName,
        format!("omnid private authority {digest}"),
    );
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let certificate = params.self_signed(&key)?;
    Ok((certificate.pem(), key))
}

fn key_matches(chain: &[CertificateDer<'static>], key: &PrivateKeyDer<'static>) -> bool {
    let provider = crate::provider::provider();
    rustls::sign::CertifiedKey::from_der(chain.to_vec(), key.clone_key(), &provider).is_ok()
}

fn authority_file(folder: &Path) -> PathBuf {
    folder.join("authority.pem")
}

fn read(path: &Path) -> Result<Option<String>, AuthorityError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(AuthorityError::File {
            path: path.to_owned(),
            source,
        }),
    }
}

/// Writes a file that nobody else can read, whole or not at all.
fn write(path: &Path, text: &str) -> Result<(), AuthorityError> {
    let fail = |source| AuthorityError::File {
        path: path.to_owned(),
        source,
    };
    let unfinished = path.with_extension("new");
    match fs::remove_file(&unfinished) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(fail(error)),
        _ => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&unfinished)
        .map_err(fail)?;
    file.write_all(text.as_bytes())
        .and_then(|()| file.sync_all())
        .map_err(fail)?;
    fs::rename(&unfinished, path).map_err(fail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leaf_is_renewed_a_month_before_its_end_and_keeps_its_names()
    -> Result<(), Box<dyn std::error::Error>> {
        let folder = tempfile::tempdir()?;
        let authority = PrivateAuthority::open_or_create(folder.path())?;
        let start = OffsetDateTime::now_utc();
        let names = ["a.test".to_owned()];
        let issue = |days| authority.issue_at(&names, start + Duration::days(days));
        let first = issue(0)?;
        assert_eq!(issue(59)?.chain, first.chain);
        let second = issue(61)?;
        assert_ne!(second.chain, first.chain);
        let leaf = second.chain.first().ok_or("empty")?;
        let info = CertificateInfo::read(leaf, String::new())?;
        assert_eq!(info.names, ["127.0.0.1", "::1", "a.test", "localhost"]);
        assert!(info.is_valid_at(start + Duration::days(150)));
        // A clock that was set back does not keep a certificate that is not valid yet.
        assert_ne!(issue(0)?.chain, second.chain);
        Ok(())
    }
}
