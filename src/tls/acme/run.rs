//! The loop: what is due is done, and then it waits for the next, or for another configuration.

use std::time::Duration;

use futures_util::StreamExt;
use instant_acme::{Account, CertificateIdentifier};
use omnid_hub::{Event, Hub};
use time::OffsetDateTime;

use super::client::Client;
use super::order::{Obtained, Request};
use super::plan::{self, Automatic, Wanted, Window};
use super::{AcmeConfig, AcmeError, AutomaticInfo, Challenges, account, files};
use crate::load::{self, Loaded};
use crate::{CertStore, CertificateInfo};

/// Certificates that are asked for at once. Authorities limit orders, and the first start of a
/// server with many sites has many.
const AT_ONCE: usize = 4;
/// For one certificate, all told.
const WHOLE: Duration = Duration::from_secs(600);
/// How often the authority is asked for its wish, unless it says otherwise (RFC 9773 section 4.3).
const ASK_WINDOW: Duration = Duration::from_secs(6 * 3600);
const ASK_WINDOW_AT_LEAST: Duration = Duration::from_secs(60);
/// The clock may be set while we sleep: it is looked at now and then.
const NAP: Duration = Duration::from_secs(3600);

/// The way to one authority.
struct Way {
    config: AcmeConfig,
    client: Client,
    account: Option<Account>,
}

impl CertStore {
    /// Asks for certificates and renews them, for ever. Failures are logged, and leave in use what
    /// is in use.
    pub async fn automate(&self, hub: &Hub) {
        let mut way: Option<Way> = None;
        loop {
            let changed = self.changed();
            let Some(automatic) = self.automatic_plan() else {
                Challenges::withdraw(hub);
                way = None;
                changed.await;
                continue;
            };
            self.challenges().offer(hub);
            let now = OffsetDateTime::now_utc();
            let (due, later): (Vec<Wanted>, Vec<Wanted>) = automatic
                .wanted
                .iter()
                .cloned()
                .partition(|wanted| wanted.due() <= now);
            if !due.is_empty() {
                self.take_steps(&automatic, due, &mut way, hub).await;
                continue;
            }
            let asked = self.ask_windows(&automatic, &later, &mut way, now).await;
            if asked {
                continue;
            }
            let next = later
                .iter()
                .map(Wanted::due)
                .chain(later.iter().filter_map(next_question))
                .min();
            let wait = next
                .map(|next| (next - now).max(time::Duration::seconds(1)))
                .and_then(|wait| Duration::try_from(wait).ok())
                .map_or(NAP, |wait| wait.min(NAP));
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = changed => {}
            }
        }
    }

    /// Every automatic certificate, with its next step.
    pub fn automatic(&self) -> Vec<AutomaticInfo> {
        let prepared = self.prepared();
        let automatic = prepared.automatic.iter();
        automatic
            .flat_map(|automatic| automatic.wanted.iter().map(Wanted::info))
            .collect()
    }

    async fn take_steps(
        &self,
        automatic: &Automatic,
        due: Vec<Wanted>,
        way: &mut Option<Way>,
        hub: &Hub,
    ) {
        let opened = open(automatic, way).await;
        let (client, account) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                for wanted in due {
                    self.note_failure(automatic, wanted, &error, None);
                }
                return;
            }
        };
        let steps = due.into_iter().map(|wanted| {
            let (client, account) = (&client, &account);
            async move {
                match self.obtain(automatic, &wanted, account, hub).await {
                    Ok(loaded) => self.take(automatic, wanted, loaded, hub),
                    Err(error) => {
                        account::forget_if_unknown(&automatic.config, &automatic.folder, &error);
                        self.note_failure(automatic, wanted, &error, client.told_to_wait());
                        return false;
                    }
                }
                true
            }
        });
        // One that fails keeps no other from coming to its end.
        let went_well = futures_util::stream::iter(steps)
            .buffer_unordered(AT_ONCE)
            .fold(true, |all, well| std::future::ready(all && well));
        if !went_well.await {
            // The account may be what is wrong.
            *way = None;
        }
    }

    async fn obtain(
        &self,
        automatic: &Automatic,
        wanted: &Wanted,
        account: &Account,
        hub: &Hub,
    ) -> Result<Loaded, AcmeError> {
        let challenges = self.challenges();
        let request = Request {
            config: &automatic.config,
            names: &wanted.names,
            domains: &automatic.domains,
            replaces: wanted
                .loaded
                .as_ref()
                .and_then(|loaded| loaded.key.cert.first().cloned()),
            failures: wanted.state.failures,
            challenges: &challenges,
            hub,
        };
        tracing::info!(names = wanted.names.join(" "), "asking for a certificate");
        let obtained = tokio::time::timeout(WHOLE, Box::pin(request.obtain(account)))
            .await
            .map_err(|_| AcmeError::Slow(WHOLE.as_secs()))??;
        let (folder, wanted) = (automatic.folder.clone(), wanted.clone());
        // Files are written and flushed: not on a worker.
        tokio::task::spawn_blocking(move || keep(&folder, &wanted, &obtained))
            .await
            .map_err(|error| AcmeError::Answer(error.to_string()))?
    }

    /// Brings a new certificate into use.
    fn take(&self, automatic: &Automatic, mut wanted: Wanted, loaded: Loaded, hub: &Hub) {
        wanted.succeeded(&automatic.config, loaded, OffsetDateTime::now_utc());
        if let Err(error) = wanted.write_state(&automatic.folder) {
            tracing::error!("{error}");
        }
        let (names, renewal) = (wanted.names.clone(), wanted.info().next);
        self.put(wanted);
        tracing::info!(
            names = names.join(" "),
            next = renewal,
            "certificate obtained"
        );
        hub.events().publish(Event::CertificateChanged { names });
    }

    fn note_failure(
        &self,
        automatic: &Automatic,
        mut wanted: Wanted,
        error: &AcmeError,
        told_to_wait: Option<Duration>,
    ) {
        let share = random_byte();
        let now = OffsetDateTime::now_utc();
        let text = error.to_string();
        wanted.failed(&automatic.config, text, told_to_wait, now, share);
        if let Err(error) = wanted.write_state(&automatic.folder) {
            tracing::error!("{error}");
        }
        tracing::error!(
            names = wanted.names.join(" "),
            failures = wanted.state.failures,
            next = wanted.info().next,
            in_use = wanted.loaded.is_some(),
            "no certificate: {error}",
        );
        self.put(wanted);
    }

    /// Asks the authority when it would like certificates to be renewed. Whether it was asked.
    async fn ask_windows(
        &self,
        automatic: &Automatic,
        all: &[Wanted],
        way: &mut Option<Way>,
        now: OffsetDateTime,
    ) -> bool {
        let due = |wanted: &&Wanted| {
            wanted.loaded.is_some() && wanted.state.ask_window <= now.unix_timestamp()
        };
        let due: Vec<&Wanted> = all.iter().filter(due).collect();
        if due.is_empty() {
            return false;
        }
        let account = match open(automatic, way).await {
            Ok((_, account)) => Some(account),
            Err(error) => {
                tracing::debug!(%error, "no renewal information");
                None
            }
        };
        for wanted in due {
            let mut wanted = wanted.clone();
            let (window, pause) = match &account {
                Some(account) => renewal_window(account, &wanted).await,
                None => (None, ASK_WINDOW),
            };
            if window.is_some() {
                wanted.state.window = window;
            }
            let pause = pause.clamp(ASK_WINDOW_AT_LEAST, ASK_WINDOW * 4);
            wanted.state.ask_window =
                now.unix_timestamp() + i64::try_from(pause.as_secs()).unwrap_or_default();
            if let Err(error) = wanted.write_state(&automatic.folder) {
                tracing::error!("{error}");
            }
            self.put(wanted);
        }
        true
    }

    /// Puts a certificate's new state in the place of the old, unless it is not wanted any more.
    fn put(&self, wanted: Wanted) {
        let mut prepared = self.prepared();
        let slot = prepared
            .automatic
            .iter_mut()
            .flat_map(|automatic| &mut automatic.wanted)
            .find(|slot| slot.names == wanted.names);
        if let Some(slot) = slot {
            *slot = wanted;
            self.show(&prepared);
        }
    }
}

fn next_question(wanted: &Wanted) -> Option<OffsetDateTime> {
    wanted
        .loaded
        .as_ref()
        .map(|_| plan::at(wanted.state.ask_window))
}

/// The client and the account, kept as long as the configuration stays.
async fn open(
    automatic: &Automatic,
    way: &mut Option<Way>,
) -> Result<(Client, Account), AcmeError> {
    if way
        .as_ref()
        .is_none_or(|way| way.config != automatic.config)
    {
        let config = automatic.config.clone();
        let files: Vec<_> = config
            .trust
            .iter()
            .map(|path| (path.value.clone(), path.span))
            .collect();
        let roots = load::authorities(&files)
            .map_err(|problem| AcmeError::Answer(problem.message.clone()))?;
        let client = Client::new(roots).map_err(|error| AcmeError::Answer(error.to_string()))?;
        *way = Some(Way {
            config,
            client,
            account: None,
        });
    }
    let Some(way) = way else {
        return Err(AcmeError::Answer("no way to the authority".to_owned()));
    };
    let account = match &way.account {
        Some(account) => account.clone(),
        None => {
            let opening = account::open(&way.config, &automatic.folder, &way.client);
            let opened = match Box::pin(opening).await {
                Ok(opened) => opened,
                Err(error) => {
                    account::forget_if_unknown(&way.config, &automatic.folder, &error);
                    return Err(error);
                }
            };
            way.account.insert(opened).clone()
        }
    };
    Ok((way.client.clone(), account))
}

async fn renewal_window(account: &Account, wanted: &Wanted) -> (Option<Window>, Duration) {
    let Some(loaded) = &wanted.loaded else {
        return (None, ASK_WINDOW);
    };
    let id = loaded
        .key
        .cert
        .first()
        .and_then(|der| CertificateIdentifier::try_from(der).ok());
    let Some(id) = id else {
        return (None, ASK_WINDOW);
    };
    match account.renewal_info(&id).await {
        Ok((info, pause)) => {
            let window = Window {
                fingerprint: loaded.info.fingerprint.clone(),
                start: info.suggested_window.start.unix_timestamp(),
                end: info.suggested_window.end.unix_timestamp(),
            };
            (Some(window), pause)
        }
        Err(error) => {
            tracing::debug!(%error, "no renewal information");
            (None, ASK_WINDOW)
        }
    }
}

/// Writes a certificate, having looked whether it is what was asked for.
fn keep(
    folder: &std::path::Path,
    wanted: &Wanted,
    obtained: &Obtained,
) -> Result<Loaded, AcmeError> {
    use rustls_pki_types::pem::PemObject as _;
    let answer = |why: String| AcmeError::Answer(why);
    let leaf = rustls_pki_types::CertificateDer::from_pem_slice(obtained.chain.as_bytes())
        .map_err(|error| answer(format!("no certificate: {error}")))?;
    let info = CertificateInfo::read(&leaf, String::new()).map_err(answer)?;
    let mut names = info.names.clone();
    names.sort_unstable();
    if names != wanted.names {
        return Err(answer(format!(
            "a certificate for {}",
            info.names.join(", ")
        )));
    }
    let now = OffsetDateTime::now_utc();
    // Clocks differ a little.
    if info.not_after <= now || info.not_before > now + time::Duration::minutes(5) {
        return Err(answer("a certificate that is not valid now".to_owned()));
    }
    let path = wanted.certificate_path(folder);
    // Tried under another name first: what is in use is only replaced by what can be used.
    let tried = path.with_extension("tried");
    files::write(
        &tried,
        format!("{}{}", obtained.key, obtained.chain).as_bytes(),
    )?;
    files::load(&tried).map_err(|problem| answer(problem.message.clone()))?;
    std::fs::rename(&tried, &path).map_err(|source| AcmeError::File {
        path: path.clone(),
        source,
    })?;
    files::load(&path).map_err(|problem| answer(problem.message.clone()))
}

fn random_byte() -> u8 {
    let mut byte = [0];
    // Without random numbers the wait has no jitter, and is a wait all the same.
    if aws_lc_rs::rand::fill(&mut byte).is_err() {
        tracing::debug!("no random numbers");
    }
    byte.first().copied().unwrap_or(0)
}
