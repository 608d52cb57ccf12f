//! `omnid import prosody|ejabberd|xep0227` and `omnid export`: users with all that is kept of them, into the
//! store and out of it.

use std::{
    fs,
    io::{self, BufWriter, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use omnid_admin::Client;
use omnid_identity::Identity;
use omnid_import::{
    Finding, Kind,
    xmpp::{self, From, Report},
};
use omnid_store::Database;
use serde_json::json;

use super::{CommandError, Context, Outcome, control, out, runtime};
use crate::{data_directory, root::Root};

/// Puts the users of another server into the store.
pub(super) fn import(
    context: &Context,
    from: From,
    path: &Path,
    rehearse: bool,
    all: bool,
) -> Outcome {
    let root = configuration(context)?;
    if !rehearse && Client::connect(&control::socket(context)).is_ok() {
        return Err(
            "the daemon runs, and holds what it knows of accounts in memory: stop it first \
             (or see with --dry-run what would come)"
                .into(),
        );
    }
    let mut report = with_store(&root, rehearse, async |identity, database| {
        Ok(xmpp::import(from, path, identity, database, rehearse).await?)
    })?;
    let shown = |finding: &Finding| all || finding.kind != Kind::Needless;
    report.findings.retain(shown);
    let mut advice = advice(&root, &report);
    if from == From::Ejabberd {
        advice.push(
            "ejabberd's export has no archives, nodes (OMEMO, bookmarks, pictures) and rooms: \
             clients publish theirs again, the others stay behind"
                .to_owned(),
        );
    }
    if context.json {
        out(as_json(&report, &advice))?;
    } else {
        print(&report, &advice, rehearse)?;
    }
    Ok(if report.is_whole() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Writes everybody as a document of XEP-0227.
pub(super) fn export(context: &Context, to: Option<&Path>, domain: Option<&str>) -> Outcome {
    let root = configuration(context)?;
    let mut to: Box<dyn Write + Send> = match to {
        // Hashes of passwords are in it.
        Some(path) => {
            let mut options = fs::OpenOptions::new();
            let file = options.write(true).create_new(true).mode(0o600).open(path);
            let file = file.map_err(|error| format!("{}: {error}", path.display()))?;
            Box::new(BufWriter::new(file))
        }
        None => Box::new(BufWriter::new(io::stdout())),
    };
    let exported = with_store(&root, false, async |identity, database| {
        Ok(xmpp::export(identity, database, domain, &mut *to).await?)
    })?;
    let (accounts, rooms) = (exported.accounts, exported.rooms);
    eprintln!("{accounts} accounts and {rooms} rooms written");
    Ok(ExitCode::SUCCESS)
}

fn configuration(context: &Context) -> Result<Root, CommandError> {
    let loaded = omnid_config::load::<Root>(&context.config);
    let loaded = loaded.map_err(|report| report.render(false))?;
    Ok(loaded.value)
}

/// Works on the store that the configuration names. A rehearsal where there is none yet makes none.
fn with_store<T>(
    root: &Root,
    rehearse: bool,
    work: impl AsyncFnOnce(&Identity, &Database) -> Result<T, CommandError>,
) -> Result<T, CommandError> {
    let scratch = Scratch::unless(root.server.data_dir.exists() || !rehearse)?;
    let directory = match &scratch {
        Some(scratch) => &scratch.0,
        None => &root.server.data_dir,
    };
    runtime()?.block_on(async {
        data_directory::create(directory)?;
        let database = Database::open(&root.store, directory).await?;
        let hub = omnid_hub::Hub::new();
        let identity = Identity::open(&root.identity, database.clone(), hub).await?;
        let done = work(&identity, &database).await;
        identity.flush().await;
        database.close().await;
        data_directory::hand_over(directory)?;
        done
    })
}

/// A directory that is gone afterwards.
struct Scratch(PathBuf);

impl Scratch {
    fn unless(not: bool) -> io::Result<Option<Scratch>> {
        if not {
            return Ok(None);
        }
        let name = format!("omnid-rehearsal-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path)?;
        Ok(Some(Scratch(path)))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            eprintln!("omnid: {}: {error}", self.0.display());
        }
    }
}

/// What the administrator should do about it.
fn advice(root: &Root, report: &Report) -> Vec<String> {
    let mut advice = Vec::new();
    let Some(xmpp) = &root.xmpp else {
        advice.push("this configuration has no [xmpp]: nobody can log in".to_owned());
        return advice;
    };
    let configured: Vec<&str> = if xmpp.hosts.is_empty() {
        let domains = root.domain.iter();
        domains.map(|domain| domain.name.value.as_str()).collect()
    } else {
        let hosts = xmpp.hosts.iter();
        hosts.map(|host| host.value.as_str()).collect()
    };
    for domain in report.domains.keys() {
        if !configured.contains(&domain.as_str()) {
            advice.push(format!(
                "{domain} is not served by this configuration: add a [[domain]] with name = \
                 \"{domain}\""
            ));
        }
    }
    let rooms = &xmpp.rooms.hosts;
    for host in report.room_hosts.keys() {
        let by_default = configured
            .iter()
            .any(|domain| *host == format!("rooms.{domain}"));
        let named = rooms.iter().any(|room| room.value.as_str() == host);
        if !(named || rooms.is_empty() && by_default) {
            advice.push(format!(
                "rooms of {host} are not served by this configuration: write \
                 xmpp.rooms.hosts = [\"{host}\"]"
            ));
        }
    }
    for (domain, count) in &report.weaker {
        advice.push(format!(
            "{count} accounts of {domain} came with only some of SCRAM's hashes. Until each of them \
             has logged in with PLAIN once, or has a new password, {domain} offers only the \
             mechanisms that work for all"
        ));
    }
    let keep = xmpp.archive.keep;
    let now = SystemTime::now();
    let oldest = report
        .oldest
        .map(|at| UNIX_EPOCH + Duration::from_micros(at));
    if let Some(age) = oldest.and_then(|at| now.duration_since(at).ok())
        && age > keep
    {
        let days = |time: Duration| time.as_secs().div_ceil(86_400);
        advice.push(format!(
            "archived messages are up to {} days old, and are kept for {} days: what is older goes \
             soon after the start. Write xmpp.archive.keep = \"{}d\" to keep them",
            days(age),
            days(keep),
            days(age) + 1
        ));
    }
    advice
}

fn as_json(report: &Report, advice: &[String]) -> serde_json::Value {
    let counts = [("accounts", report.accounts)]
        .into_iter()
        .chain(report.counts.named());
    let counts: serde_json::Map<_, _> = counts
        .map(|(name, count)| {
            let count = json!({"new": count.new, "there": count.there});
            (name.replace(' ', "_"), count)
        })
        .collect();
    let findings = report.findings.iter().map(|finding| {
        let kind = match finding.kind {
            Kind::Lost => "lost",
            Kind::Changed => "changed",
            Kind::Needless => "needless",
        };
        json!({
            "file": finding.file,
            "line": finding.line,
            "kind": kind,
            "text": finding.text,
            "advice": finding.advice,
        })
    });
    json!({
        "counts": counts,
        "findings": findings.collect::<Vec<_>>(),
        "advice": advice,
    })
}

fn print(report: &Report, advice: &[String], rehearse: bool) -> Result<(), CommandError> {
    let (new, there) = if rehearse {
        ("would come", "there already")
    } else {
        ("came", "were there already")
    };
    let counts = [("accounts", report.accounts)]
        .into_iter()
        .chain(report.counts.named());
    for (name, count) in counts.filter(|(_, count)| count.new + count.there > 0) {
        out(format_args!(
            "{:>8} {name} {new}, {} {there}",
            count.new, count.there
        ))?;
    }
    for finding in &report.findings {
        eprintln!("{finding}");
    }
    for advice in advice {
        eprintln!("note: {advice}");
    }
    Ok(())
}
