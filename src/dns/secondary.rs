//! A secondary's life: primaries asked in time, copies fetched, kept and given up.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use omnid_config::DomainName;
use omnid_supervisor::{Child, ChildResult};
use rustls::RootCertStore;
use rustls_pki_types::ServerName;
use tokio::sync::{Semaphore, mpsc};
use tracing::{debug, info, warn};

use crate::config::PrimaryConfig;
use crate::data::Held;
use crate::engine::change::{Change, apply_all, is_later};
use crate::engine::deferred::Deferred;
use crate::engine::incoming::Received;
use crate::engine::schedule::{Schedule, Timers};
use crate::engine::zone::Zone;
use crate::engine::zones::ZoneId;
use crate::io::fetch::{Bounds, FetchError, Primary, serial, transfer};
use crate::keeper::SharedHeld;
use crate::rules::Compiled;
use crate::service::Dns;
use crate::trust::{self, Secured};
use crate::wire::code::Rcode;

/// What the task that watches over secondaries is told.
pub(crate) enum Nudge {
    /// The configuration has changed.
    Changed,
    /// A primary says that there is a new version, or the operator wants to know.
    Refresh(ZoneId),
    /// The operator wants all of the zone anew.
    Retransfer(ZoneId),
}

/// Nudges that wait; more of them say nothing new.
pub(crate) const MAX_NUDGES: usize = 4096;

/// How asking for a zone went.
struct Done {
    zone: ZoneId,
    /// Timers of the copy that is good now.
    timers: Option<Timers>,
}

impl Dns {
    /// A notify, which was let in: it is answered at once, and looked into after that
    /// (RFC 1996 3.11).
    pub(crate) fn heard(&self, deferred: &Deferred) -> Rcode {
        info!(zone = %deferred.zone, from = %deferred.client.address, "primary says that the zone has changed");
        self.nudge(Nudge::Refresh(deferred.zone.clone()));
        Rcode::NOERROR
    }

    pub(crate) fn nudge(&self, nudge: Nudge) {
        if self.nudges.try_send(nudge).is_err() {
            debug!("too many notifies at once: those that wait will do");
        }
    }

    /// Watches over the secondaries' timers.
    pub(crate) async fn watch_secondaries(self: &Arc<Self>, child: &Child) -> ChildResult {
        let mut nudges = self.nudged.lock().await;
        let (report, mut reports) = mpsc::channel::<Done>(64);
        let mut schedule = Schedule::default();
        let transfers = Arc::new(Semaphore::new(self.transfers_in().await));
        let mut whole: Vec<ZoneId> = Vec::new();
        self.reschedule(&mut schedule).await;
        child.ready();
        loop {
            let now = Instant::now();
            for zone in schedule.expired(now) {
                self.expire(&zone).await;
            }
            for zone in schedule.due(now) {
                let anew = whole.iter().position(|name| *name == zone);
                let anew = anew.map(|at| whole.swap_remove(at)).is_some();
                let (dns, report, transfers) = (self.clone(), report.clone(), transfers.clone());
                let span = tracing::info_span!("refresh", %zone);
                child.spawn("refresh", span, async move {
                    let permit = transfers.acquire().await;
                    let timers = dns.refresh(&zone, anew).await;
                    drop(permit);
                    // The task that counts the time may be on its way out.
                    if report.send(Done { zone, timers }).await.is_err() {
                        debug!("nobody waits for the outcome");
                    }
                    Ok(())
                });
            }
            let wait = schedule.next().map_or(Duration::from_secs(3600), |next| {
                next.saturating_duration_since(Instant::now())
            });
            tokio::select! {
                nudge = nudges.recv() => match nudge {
                    None => return Ok(()),
                    Some(Nudge::Changed) => self.reschedule(&mut schedule).await,
                    Some(Nudge::Refresh(zone)) => schedule.notified(&zone, Instant::now()),
                    Some(Nudge::Retransfer(zone)) => {
                        whole.retain(|name| *name != zone);
                        schedule.notified(&zone, Instant::now());
                        if schedule.holds(&zone) {
                            whole.push(zone);
                        }
                    }
                },
                Some(Done { zone, timers }) = reports.recv() => {
                    schedule.done(&zone, timers, Instant::now());
                }
                () = tokio::time::sleep(wait) => {}
                () = child.draining() => return Ok(()),
            }
        }
    }

    async fn transfers_in(&self) -> usize {
        let applied = self.applied.lock().await;
        let config = applied.config.as_ref();
        config.map_or(10, |config| config.transfers_in.into())
    }

    /// Takes new secondaries up and lets go of those that are none any more.
    async fn reschedule(&self, schedule: &mut Schedule) {
        let applied = self.applied.lock().await;
        let Some(config) = &applied.config else {
            return;
        };
        let mut names = std::collections::HashSet::new();
        for (id, _) in config.zones().filter(|(_, zone)| zone.is_secondary()) {
            if let Some(held) = applied.held.get(&id) {
                let own = version(held);
                let timers = Timers::of(&own, config.refresh_min);
                schedule.add(&id, timers, self.age(&id), Instant::now());
            }
            names.insert(id);
        }
        schedule.retain(|name| names.contains(name));
    }

    /// How long ago a copy was last confirmed. One of which nothing is known is as old as can be.
    pub(crate) fn age(&self, zone: &ZoneId) -> Duration {
        let checked = self.serials.checked(zone);
        let checked = checked.map(|seconds| UNIX_EPOCH + Duration::from_secs(seconds));
        // A clock that was set back makes no copy younger than just confirmed.
        checked.map_or(Duration::MAX, |at| {
            SystemTime::now().duration_since(at).unwrap_or_default()
        })
    }

    /// True of a copy that may be served.
    pub(crate) fn is_valid(&self, zone: &ZoneId, copy: &Zone) -> bool {
        let timers = Timers::of(copy, Duration::ZERO);
        timers.is_some_and(|timers| self.age(zone) < timers.expire)
    }

    async fn expire(&self, zone: &ZoneId) {
        let mut applied = self.applied.lock().await;
        warn!(%zone, "no primary has confirmed the zone for as long as its SOA allows: it is not \
            served any more");
        self.publish_state(&mut applied).await;
    }

    /// Asks the primaries of a zone, one after the other, until one has confirmed the copy or
    /// given a new one. Gives the timers of what is served then.
    async fn refresh(&self, zone: &ZoneId, anew: bool) -> Option<Timers> {
        let (primaries, held, bounds, least) = {
            let applied = self.applied.lock().await;
            let config = applied.config.as_ref()?;
            let own = config.zone(zone)?;
            let mut primaries = Vec::new();
            for primary in &own.primaries {
                match self.primary(&applied.rules, primary) {
                    Ok(primary) => primaries.push(primary),
                    Err(error) => {
                        warn!(%zone, primary = %primary.address, %error, "cannot be asked over TLS");
                    }
                }
            }
            let bounds = Bounds {
                size: usize::try_from(config.transfer_size.bytes()).unwrap_or(usize::MAX),
                time: config.transfer_time,
            };
            let held = applied.held.get(zone)?.clone();
            (primaries, held, bounds, config.refresh_min)
        };
        for primary in primaries {
            match self.refresh_from(zone, &primary, &held, bounds, anew).await {
                Ok(()) => {
                    if let Err(error) = self.serials.confirm(zone).await {
                        warn!(%zone, %error, "cannot keep when the zone was last confirmed");
                    }
                    self.serve_again(zone, &held).await;
                    return Timers::of(&version(&held), least);
                }
                Err(error) => warn!(%zone, primary = %primary.address, %error, "refresh failed"),
            }
        }
        None
    }

    /// A server to ask, and how.
    fn primary(&self, rules: &Compiled, config: &PrimaryConfig) -> Result<Primary, rustls::Error> {
        let key = config.key.as_ref();
        let tls = match &config.tls {
            None => None,
            Some(tls) => {
                let file = tls.authorities.as_ref().map(|file| file.value.clone());
                // What was read and checked with the configuration; without it, nobody is trusted.
                let known = || rules.authorities.get(&file).cloned();
                let authorities = tls
                    .verify
                    .then(|| known().unwrap_or_else(|| Arc::new(RootCertStore::empty())));
                let store = &self.shared.ground.certificates;
                let certificate = tls.certificate.as_ref().map(DomainName::as_str);
                if let Some(name) = certificate.filter(|name| !store.covers(name)) {
                    warn!(
                        name,
                        "no certificate has the name that is to be shown to a primary"
                    );
                }
                let named = tls.name.as_ref().map(|name| name.as_str().to_owned());
                let name = match named {
                    Some(name) => ServerName::try_from(name)
                        .map_err(|error| rustls::Error::General(error.to_string()))?,
                    None => ServerName::from(config.address.ip()),
                };
                let config = Arc::new(trust::to_primary(authorities, store, certificate)?);
                Some(Secured { config, name })
            }
        };
        Ok(Primary {
            address: config.address,
            key: key.and_then(|key| rules.key(&key.value)),
            tls,
        })
    }

    /// A copy that had expired is good again.
    async fn serve_again(&self, zone: &ZoneId, held: &SharedHeld) {
        let state = self.shared.state.load_full();
        if state.served(zone).is_some_and(|served| served.expired) {
            let mut applied = self.applied.lock().await;
            let own = version(held);
            self.publish_zone(&mut applied, zone, &own, None).await;
        }
    }

    async fn refresh_from(
        &self,
        zone: &ZoneId,
        primary: &Primary,
        held: &SharedHeld,
        bounds: Bounds,
        anew: bool,
    ) -> Result<(), FetchError> {
        let own = version(held);
        let has = own.set(0, crate::wire::code::RrType::SOA).is_some();
        if has && !anew {
            let theirs = serial(primary, &zone.name).await?;
            if !is_later(theirs, own.serial()) {
                if theirs != own.serial() {
                    warn!(%zone, primary = %primary.address, theirs, ours = own.serial(),
                        "the primary's serial is behind ours");
                }
                return Ok(());
            }
        }
        if has && !anew {
            let begun = Instant::now();
            match transfer(primary, &zone.name, Some(&own), bounds).await {
                Ok(received) => match self.take(zone, received).await {
                    Ok(how) => {
                        let (serial, took) = (version(held).serial(), begun.elapsed());
                        info!(%zone, primary = %primary.address, serial, how, ?took, "transfer in ended");
                        return Ok(());
                    }
                    Err(reason) => {
                        warn!(%zone, primary = %primary.address, reason, "incremental transfer of no use: \
                            fetching the whole zone");
                    }
                },
                Err(error) => {
                    info!(%zone, primary = %primary.address, %error, "incremental transfer failed: \
                        fetching the whole zone");
                }
            }
        }
        let begun = Instant::now();
        let received = transfer(primary, &zone.name, None, bounds).await?;
        let how = self.take(zone, received).await;
        let how = how.map_err(std::io::Error::other)?;
        let (serial, took) = (version(held).serial(), begun.elapsed());
        info!(%zone, primary = %primary.address, serial, how, ?took, "transfer in ended");
        Ok(())
    }

    /// Keeps and serves what a primary has sent.
    async fn take(&self, zone: &ZoneId, received: Received) -> Result<&'static str, String> {
        let how = match &received {
            Received::UpToDate => return Ok("up to date"),
            Received::Changes(_) => "IXFR",
            Received::Whole(_) => "AXFR",
        };
        let work = move |held: &mut Held| keep(held, received);
        self.with_held(zone, work).await?;
        Ok(how)
    }
}

pub(crate) fn version(held: &SharedHeld) -> Arc<Zone> {
    let held = held
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    held.zone.clone()
}

/// Puts what a primary has sent on the disk; gives the change that it was, where it was one.
fn keep(held: &mut Held, received: Received) -> Result<Option<Change>, String> {
    match received {
        Received::Changes(changes) => {
            let after = apply_all(&held.zone, &changes).map_err(|error| error.to_string())?;
            held.commit(&changes, Arc::new(after))
                .map_err(|error| error.to_string())?;
            // The journal has the changes: the file can wait.
            if held.is_long()
                && let Err(error) = held.sync()
            {
                warn!(file = %held.file.display(), %error, "the zone's copy cannot be written");
            }
            // One change is what led here; of several the comparison makes one.
            let mut changes = changes.into_iter();
            Ok(changes.next().filter(|_| changes.next().is_none()))
        }
        Received::Whole(whole) => {
            let whole = Arc::<Zone>::from(whole);
            let had = held.zone.set(0, crate::wire::code::RrType::SOA).is_some();
            let later = had && is_later(whole.serial(), held.zone.serial());
            let change = if later {
                Change::between(&held.zone, &whole)
            } else {
                None
            };
            held.replace(whole, change.clone())
                .map_err(|error| error.to_string())?;
            Ok(change)
        }
        Received::UpToDate => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use crate::data::faults::{Step, failing};
    use crate::engine::zone::tests::load;
    use crate::keeper::watched;

    fn zone(serial: u32, text: &str) -> Zone {
        let rows = format!("$TTL 9\n@ SOA ns hm {serial} 2 3 4 5\n@ NS ns\nns A 192.0.2.1\n{text}");
        load("example", &rows).zone.unwrap()
    }

    /// A disk that fails: the version held is the one that the disk has, and what it has is served.
    #[test]
    fn what_cannot_be_written_is_fetched_again() {
        let directory = tempfile::tempdir().unwrap();
        let (file, path) = (
            directory.path().join("zone"),
            directory.path().join("journal"),
        );
        let unknown = Arc::new(Zone::unknown(zone(1, "").apex()));
        let mut held = Held::open(&unknown, &file, &path).unwrap();
        let whole = |serial: u32| Received::Whole(Box::new(zone(serial, "")));
        for step in [Step::Write, Step::Sync, Step::Rename] {
            let (after, done) =
                watched(&mut held, |held| failing(&[step], || keep(held, whole(1))));
            assert!(done.is_err() && after.is_none(), "{step:?}");
            assert_eq!(held.zone.serial(), 0, "{step:?}");
        }
        // The file is there, though its name may not last: it counts, and is settled before a change.
        let (after, done) = watched(&mut held, |held| {
            failing(&[Step::SyncDirectory], || keep(held, whole(1)))
        });
        assert!(done.is_ok() && after.is_some());
        assert_eq!(held.changes.len(), 0);

        // So long a change that the file is written with it: it is in the journal, so it counts.
        let text: String = (0..9000)
            .map(|row| format!("n{row} TXT \"{}\"\n", "x".repeat(200)))
            .collect();
        let (long, short) = (zone(2, &text), zone(3, ""));
        let changes = vec![
            Change::between(&held.zone, &long).unwrap(),
            Change::between(&long, &short).unwrap(),
        ];
        let (after, done) = watched(&mut held, |held| {
            failing(&[Step::Rename], || keep(held, Received::Changes(changes)))
        });
        assert!(done.is_ok());
        assert_eq!(after.map(|zone| zone.serial()), Some(3));
        assert!(held.is_long(), "the file could not be written");
        drop(held);
        let file_now = crate::data::load(&short.apex().to_owned(), &file).unwrap();
        let held = Held::open(&file_now.zone, &file, &path).unwrap();
        assert_eq!(held.zone.serial(), 3);
    }

    /// Behind a change that counts something may fail: the change is to be served all the same.
    #[test]
    fn a_change_is_served_whatever_fails_behind_it() {
        let directory = tempfile::tempdir().unwrap();
        let (file, path) = (
            directory.path().join("zone"),
            directory.path().join("journal"),
        );
        let (one, two) = (Arc::new(zone(1, "")), Arc::new(zone(2, "a A 192.0.2.2")));
        let mut held = Held::open(&one, &file, &path).unwrap();
        let (after, done) = watched(&mut held, |held| {
            let change = Change::between(&one, &two).unwrap();
            held.commit(&[change], two.clone()).unwrap();
            Err::<(), &str>("too late")
        });
        assert!(done.is_err() && after.is_some());
    }
}
