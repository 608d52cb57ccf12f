//! Users of other XMPP servers: what is kept of them, read from there ([`prosody`], [`pie`]) and put
//! into the store here; and taken out again, as XEP-0227 has it.

mod lua;
mod pie;
mod privacy;
mod prosody;
mod prosody_config;
mod split;
mod vcard;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use omnid_identity::{
    Address, Identity, IdentityError, ScramHash,
    moving::{self, Moving, Verifiers},
};
use omnid_store::{Database, StoreError};
use omnid_xmpp::data::{
    self,
    whole::{self, Count, Counts, Whole, WholeRoom},
};
use zeroize::Zeroizing;

use crate::report::{Finding, Kind};

pub use pie::{Exported, export};
pub use prosody_config::convert as prosody_config;

/// Files that are read at once.
const FILE: u64 = 4 << 30;

/// A server that users come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum From {
    /// Prosody: its data directory.
    Prosody,
    /// ejabberd: what `ejabberdctl export_piefxis` wrote.
    Ejabberd,
    /// Any: a document of XEP-0227.
    Pie,
}

/// What is read from there, one after the other.
type Source = Box<dyn Iterator<Item = Result<Moved, MoveError>> + Send>;

/// Somebody or something that moves, and what of it stays behind.
struct Moved {
    what: What,
    findings: Vec<Finding>,
}

enum What {
    Account(Box<MovedAccount>),
    Room(Box<WholeRoom>),
    /// Only findings.
    Nothing,
}

struct MovedAccount {
    address: Address,
    secret: Secret,
    /// Without its verifiers.
    moving: Moving,
    whole: Whole,
}

/// What is known of a password.
enum Secret {
    /// Itself.
    Password(Zeroizing<String>),
    /// Enough to check it.
    Verifiers(Verifiers),
    /// Nothing.
    Unknown,
}

/// Why nothing can be moved, or no more.
#[derive(Debug, thiserror::Error)]
pub enum MoveError {
    /// A file cannot be read.
    #[error("{path}: {source}", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// What is there is not what it was said to be.
    #[error("{path}:{line}: {reason}", path = path.display())]
    Form {
        /// The file.
        path: PathBuf,
        /// Its line.
        line: usize,
        /// What is wrong.
        reason: String,
    },
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A password's verifiers could not be made.
    #[error(transparent)]
    Identity(#[from] IdentityError),
}

/// What came of a move.
#[derive(Debug, Default)]
pub struct Report {
    /// Accounts made, and accounts that were there, whose passwords stayed.
    pub accounts: Count,
    /// What they brought.
    pub counts: Counts,
    /// What did not simply come over.
    pub findings: Vec<Finding>,
    /// Accounts of which only a weaker hash of the password came, by domain.
    pub weaker: BTreeMap<String, u64>,
    /// Accounts by domain, and rooms by theirs.
    pub domains: BTreeMap<String, u64>,
    /// See before.
    pub room_hosts: BTreeMap<String, u64>,
    /// When the oldest archived message was archived, in microseconds since 1970.
    pub oldest: Option<u64>,
}

impl Report {
    /// Whether everything came over.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        let mut findings = self.findings.iter();
        findings.all(|finding| finding.kind != Kind::Lost)
    }
}

/// Puts everybody who is at `path` into the store. Each account comes over whole or not at all; what
/// is there already stays as it is. With `rehearse`, all of it is done and taken back.
///
/// # Errors
/// Where it cannot be read, or the database fails.
pub async fn import(
    from: From,
    path: &Path,
    identity: &Identity,
    database: &Database,
    rehearse: bool,
) -> Result<Report, MoveError> {
    data::migrate(database).await?;
    let source = match from {
        From::Prosody => prosody::open(path)?,
        From::Ejabberd => pie::open_export(path)?,
        From::Pie => pie::open(path)?,
    };
    let mut report = Report::default();
    for moved in source {
        let moved = moved?;
        report.findings.extend(moved.findings);
        match moved.what {
            What::Account(account) => {
                take_in(*account, identity, database, rehearse, &mut report).await?;
            }
            What::Room(room) => {
                let host = room.jid.as_jid().domain().to_owned();
                *report.room_hosts.entry(host).or_default() += 1;
                note_oldest(&mut report, &room.archive);
                let done = database
                    .write(move |tx| {
                        let counts = whole::restore_room(tx, &room)?;
                        keep(rehearse, (true, counts))
                    })
                    .await;
                let (_, counts) = kept(done)?;
                report.counts.join(&counts);
            }
            What::Nothing => {}
        }
    }
    Ok(report)
}

async fn take_in(
    account: MovedAccount,
    identity: &Identity,
    database: &Database,
    rehearse: bool,
    report: &mut Report,
) -> Result<(), MoveError> {
    let MovedAccount {
        address,
        secret,
        mut moving,
        mut whole,
    } = account;
    let domain = address.domain().to_owned();
    *report.domains.entry(domain.clone()).or_default() += 1;
    note_oldest(report, &whole.archive);
    match secret {
        // Deriving takes time, which only those need who are not there yet.
        Secret::Password(password) => {
            if identity.account(&address).await?.is_none() && !rehearse {
                moving.verifiers = match identity.verifiers(&address, &password).await {
                    Ok(verifiers) => verifiers,
                    Err(error @ IdentityError::Password(_)) => {
                        report.findings.push(about(
                            &address,
                            Kind::Lost,
                            "its password",
                            &format!("{error}: give it a new one with `omnid user passwd`"),
                        ));
                        Verifiers::default()
                    }
                    Err(error) => return Err(error.into()),
                };
            }
        }
        Secret::Verifiers(verifiers) => {
            let has = |hash| verifiers.scram.iter().any(|(h, _)| *h == hash);
            if !ScramHash::ALL.into_iter().all(has) {
                *report.weaker.entry(domain).or_default() += 1;
            }
            moving.verifiers = verifiers;
        }
        Secret::Unknown => report.findings.push(about(
            &address,
            Kind::Lost,
            "its password",
            "is not kept there; give it one with `omnid user passwd`",
        )),
    }
    whole::bookmarks(&mut whole);
    let done = database
        .write(move |tx| {
            let is_new = moving::adopt(tx, &address, &moving)?;
            let name = format!("{}@{}", address.user(), address.domain());
            let counts = whole::restore(tx, &jid(&name)?, &whole)?;
            keep(rehearse, (is_new, counts))
        })
        .await;
    let (is_new, counts) = kept(done)?;
    report.accounts.add(is_new);
    report.counts.join(&counts);
    Ok(())
}

/// The address as the XMPP service writes it: with U-labels.
fn jid(address: &str) -> Result<String, StoreError> {
    let jid = omnid_xmpp::wire::BareJid::new(address).map_err(StoreError::other)?;
    Ok(jid.as_str().to_owned())
}

fn note_oldest(report: &mut Report, archive: &[whole::Archived]) {
    let first = archive.iter().map(|message| message.at).min();
    report.oldest = report.oldest.into_iter().chain(first).min();
}

fn about(address: &Address, kind: Kind, text: &str, advice: &str) -> Finding {
    Finding {
        file: PathBuf::from(address.as_str()),
        line: 0,
        kind,
        text: text.to_owned(),
        advice: advice.to_owned(),
    }
}

/// What a rehearsal would have done, on its way out of a transaction that is rolled back.
#[derive(Debug, thiserror::Error)]
#[error("a rehearsal")]
struct Rehearsed(bool, Counts);

fn keep(rehearse: bool, done: (bool, Counts)) -> Result<(bool, Counts), StoreError> {
    if rehearse {
        Err(StoreError::other(Rehearsed(done.0, done.1)))
    } else {
        Ok(done)
    }
}

fn kept(done: Result<(bool, Counts), StoreError>) -> Result<(bool, Counts), StoreError> {
    match done {
        Err(StoreError::Other(error)) => match error.downcast_ref::<Rehearsed>() {
            Some(Rehearsed(is_new, counts)) => Ok((*is_new, *counts)),
            None => Err(StoreError::Other(error)),
        },
        done => done,
    }
}

/// A file's bytes.
fn read(path: &Path) -> Result<Vec<u8>, MoveError> {
    let failed = |source| MoveError::File {
        path: path.to_owned(),
        source,
    };
    let size = std::fs::metadata(path).map_err(failed)?.len();
    if size > FILE {
        return Err(failed(std::io::ErrorKind::FileTooLarge.into()));
    }
    std::fs::read(path).map_err(failed)
}
