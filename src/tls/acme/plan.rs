//! Which certificates are wanted, and when the next step for each is due. No clock and no I/O.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::AcmeConfig;
use crate::load::Loaded;

/// RFC 5280 has no bound on alternative names, and authorities have: Let's Encrypt takes 100.
const NAMES_MAX: usize = 100;
/// How long a certificate is left alone at most, whatever speaks for another.
const REST: Duration = Duration::from_secs(86_400);

/// All that is asked for automatically.
#[derive(Debug, Clone)]
pub(crate) struct Automatic {
    pub(crate) config: AcmeConfig,
    pub(crate) folder: PathBuf,
    /// Domains that this server's own zones may publish records about.
    pub(crate) domains: Vec<String>,
    pub(crate) wanted: Vec<Wanted>,
}

/// One certificate.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    /// In lower case, sorted.
    pub(crate) names: Vec<String>,
    pub(crate) loaded: Option<Loaded>,
    pub(crate) state: State,
}

/// What is kept of a certificate's history beside it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct State {
    /// Tries that failed since the last one that did not.
    #[serde(default)]
    pub(crate) failures: u32,
    /// When it may be tried again, in seconds since 1970.
    #[serde(default)]
    pub(crate) not_before: i64,
    /// Why the last try failed.
    #[serde(default)]
    pub(crate) error: Option<String>,
    /// The window in which the authority would like the renewal (RFC 9773), for the certificate
    /// with this fingerprint.
    #[serde(default)]
    pub(crate) window: Option<Window>,
    /// When the authority is to be asked for it again.
    #[serde(default)]
    pub(crate) ask_window: i64,
    /// Until when the certificate in use is not replaced, in seconds since 1970.
    #[serde(default)]
    pub(crate) rests_until: i64,
}

/// RFC 9773 section 4.2.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Window {
    pub(crate) fingerprint: String,
    pub(crate) start: i64,
    pub(crate) end: i64,
}

/// An automatic certificate as operators see it.
#[derive(Debug, Clone, Serialize)]
pub struct AutomaticInfo {
    /// The names it is for.
    pub names: Vec<String>,
    /// The fingerprint of the one in use.
    pub fingerprint: Option<String>,
    /// When it is asked for next, in RFC 3339.
    pub next: String,
    /// Tries that failed since the last one that did not.
    pub failures: u32,
    /// Why the last try failed.
    pub error: Option<String>,
}

/// Whether a public authority could certify a name at all: a host name with a dot, perhaps behind
/// `*.`, and no address. Such names are also safe as names of files.
pub(crate) fn is_certifiable(name: &str) -> bool {
    let host = name.strip_prefix("*.").unwrap_or(name);
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
    };
    host.len() <= 253
        && host.contains('.')
        && host.split('.').all(label)
        && host.parse::<std::net::IpAddr>().is_err()
}

/// The names of each certificate: those of `groups` that can be certified, that no other
/// certificate has, and that no earlier group has; a name that a wildcard among them covers is not
/// asked for again.
pub(crate) fn certificates(
    groups: &[Vec<String>],
    covered: impl Fn(&str) -> bool,
) -> Vec<Vec<String>> {
    let mut seen = BTreeSet::new();
    let mut certificates = Vec::new();
    for group in groups {
        let names: BTreeSet<String> = group
            .iter()
            .map(|name| name.trim_end_matches('.').to_ascii_lowercase())
            .filter(|name| is_certifiable(name) && !covered(name))
            .filter(|name| seen.insert(name.clone()))
            .collect();
        let names: Vec<String> = names.into_iter().collect();
        certificates.extend(names.chunks(NAMES_MAX).map(<[String]>::to_vec));
    }
    certificates
}

impl Wanted {
    /// The name of its files.
    pub(crate) fn file_name(&self) -> String {
        let first = self.names.iter().min_by_key(|name| name.starts_with('*'));
        first.map_or_else(String::new, |name| name.replace('*', "_"))
    }

    /// When the next step is due.
    pub(crate) fn due(&self) -> OffsetDateTime {
        let renew = match &self.loaded {
            Some(loaded) if self.is_for_these_names(loaded) => {
                self.renewal(loaded).max(at(self.state.rests_until))
            }
            _ => OffsetDateTime::UNIX_EPOCH,
        };
        renew.max(at(self.state.not_before))
    }

    fn is_for_these_names(&self, loaded: &Loaded) -> bool {
        let mut names = loaded.info.names.clone();
        names.sort_unstable();
        names == self.names
    }

    /// Two thirds into the certificate's life, give or take: certificates that were made in one go
    /// are not to be renewed in one go. Where the authority has a wish, within its window.
    fn renewal(&self, loaded: &Loaded) -> OffsetDateTime {
        let share = share(&loaded.info.fingerprint);
        if let Some(window) = &self.state.window
            && window.fingerprint == loaded.info.fingerprint
        {
            let length = window.end.saturating_sub(window.start).max(0);
            return at(window.start.saturating_add(part(length, share)));
        }
        let life = (loaded.info.not_after - loaded.info.not_before).whole_seconds();
        let third = life.max(0) / 3;
        let begin = loaded.info.not_after.unix_timestamp() - third - third / 10;
        at(begin.saturating_add(part(third / 10, share)))
    }

    /// Notes a success. Where the clock is wrong, or the authority's wish lies in the past, the next
    /// renewal would be due at once, and so would the one after it: a certificate is kept for a
    /// third of the life it has left, or a day.
    pub(crate) fn succeeded(&mut self, config: &AcmeConfig, loaded: Loaded, now: OffsetDateTime) {
        let left = Duration::try_from(loaded.info.not_after - now).unwrap_or_default();
        let retry = config.retry.max(Duration::from_secs(1));
        let rest = i64::try_from((left / 3).min(REST).max(retry).as_secs()).unwrap_or(i64::MAX);
        self.loaded = Some(loaded);
        self.state = State {
            rests_until: now.unix_timestamp().saturating_add(rest),
            ..State::default()
        };
    }

    /// Notes a failure, and when to try again.
    pub(crate) fn failed(
        &mut self,
        config: &AcmeConfig,
        error: String,
        told_to_wait: Option<Duration>,
        now: OffsetDateTime,
        share: u8,
    ) {
        self.state.failures = self.state.failures.saturating_add(1);
        self.state.error = Some(error);
        let left = self
            .loaded
            .as_ref()
            .map(|loaded| (loaded.info.not_after - now).max(time::Duration::ZERO))
            .and_then(|left| Duration::try_from(left).ok());
        let mut wait = back_off(config, self.state.failures, left, share);
        if let Some(told) = told_to_wait {
            // The authority's word, but not for longer than a day.
            wait = wait.max(told.min(Duration::from_secs(86_400)));
        }
        let seconds = i64::try_from(wait.as_secs()).unwrap_or(i64::MAX).max(1);
        self.state.not_before = now.unix_timestamp().saturating_add(seconds);
    }

    /// As operators see it.
    pub(crate) fn info(&self) -> AutomaticInfo {
        let next = self.due().max(at(self.state.not_before));
        AutomaticInfo {
            names: self.names.clone(),
            fingerprint: self
                .loaded
                .as_ref()
                .map(|loaded| loaded.info.fingerprint.clone()),
            next: if next == OffsetDateTime::UNIX_EPOCH {
                "now".to_owned()
            } else {
                next.format(&time::format_description::well_known::Rfc3339)
                    .unwrap_or_default()
            },
            failures: self.state.failures,
            error: self.state.error.clone(),
        }
    }
}

/// How long to wait after so many failures. `left` is what is left of the certificate's life:
/// near its end it is tried more often, as the waits so far were long for nothing. Whatever
/// happens, at least `retry`, so that no authority is ever asked without a pause.
pub(crate) fn back_off(
    config: &AcmeConfig,
    failures: u32,
    left: Option<Duration>,
    share: u8,
) -> Duration {
    let retry = config.retry.max(Duration::from_secs(1));
    let longest = config.retry_max.max(retry);
    let doublings = failures.saturating_sub(1).min(20);
    let mut wait = retry.saturating_mul(1 << doublings).min(longest);
    if let Some(left) = left {
        wait = wait.min(left / 10);
    }
    wait = wait.max(retry);
    // Up to a fifth more, so that many certificates that failed together do not come back together.
    wait + wait.mul_f32(f32::from(share) / 256.0 / 5.0)
}

/// A number that differs from certificate to certificate and stays the same over restarts.
fn share(fingerprint: &str) -> u8 {
    fingerprint
        .get(..2)
        .and_then(|byte| u8::from_str_radix(byte, 16).ok())
        .unwrap_or(0)
}

fn part(length: i64, share: u8) -> i64 {
    length.saturating_mul(i64::from(share)) / 256
}

/// A moment from seconds since 1970; one that cannot be is the nearest that can.
pub(crate) fn at(seconds: i64) -> OffsetDateTime {
    let seconds = seconds.clamp(0, 253_402_300_799);
    OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn names(groups: &[&[&str]], covered: &[&str]) -> Vec<Vec<String>> {
        let groups: Vec<Vec<String>> = groups
            .iter()
            .map(|group| group.iter().map(|name| (*name).to_owned()).collect())
            .collect();
        certificates(&groups, |name| covered.contains(&name))
    }

    #[test]
    fn one_certificate_for_each_group_and_each_name_once() {
        assert_eq!(
            names(
                &[
                    &["www.example.org", "Example.org."],
                    &["localhost", "192.0.2.1", "[2001:db8::1]", "a_b.test"],
                    &["example.org", "mail.example.org", "had.example.org"],
                    &["*.example.org"],
                ],
                &["had.example.org"]
            ),
            [
                vec!["example.org", "www.example.org"],
                vec!["mail.example.org"],
                vec!["*.example.org"],
            ]
        );
    }

    #[test]
    fn hostile_names_are_no_names_of_files() {
        for name in [
            "../../etc/passwd.x",
            "a/b.c",
            "",
            ".",
            "a..b",
            "*.*.b.c",
            "-a.b",
            "a.b\n",
        ] {
            assert!(!is_certifiable(name), "{name:?}");
        }
        assert!(is_certifiable("*.example.org"));
        assert!(is_certifiable("xn--bcher-kva.example"));
    }

    #[test]
    fn waits_double_up_to_their_bound() {
        let config = AcmeConfig::default();
        let minutes = |failures| back_off(&config, failures, None, 0).as_secs() / 60;
        assert_eq!(
            [1, 2, 3, 4, 8, 9, 100].map(minutes),
            [5, 10, 20, 40, 640, 720, 720]
        );
        let near_end = back_off(&config, 9, Some(Duration::from_secs(3600)), 0);
        assert_eq!(near_end, Duration::from_secs(360));
    }

    fn loaded(not_before: OffsetDateTime, not_after: OffsetDateTime) -> Loaded {
        let mut params = rcgen::CertificateParams::new(vec!["a.test".to_owned()]).unwrap();
        (params.not_before, params.not_after) = (not_before, not_after);
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(
            file.path(),
            format!("{}{}", key.serialize_pem(), certificate.pem()),
        )
        .unwrap();
        super::super::files::load(file.path()).unwrap()
    }

    #[test]
    fn no_order_follows_another_at_once() {
        let now = OffsetDateTime::now_utc();
        let day = time::Duration::days(1);
        let config = AcmeConfig::default();
        for (not_before, not_after, rest) in [
            // As it should be, backdated by a clock that is far ahead, and short of life.
            (now, now + 90 * day, day),
            (now - 89 * day, now + day, day / 3),
            (now - day, now + day / 288, time::Duration::minutes(5)),
        ] {
            let mut wanted = Wanted {
                names: vec!["a.test".to_owned()],
                loaded: None,
                state: State::default(),
            };
            wanted.succeeded(&config, loaded(not_before, not_after), now);
            let fingerprint = wanted.loaded.as_ref().unwrap().info.fingerprint.clone();
            // The authority wishes for a renewal in the past.
            wanted.state.window = Some(Window {
                fingerprint,
                start: 0,
                end: 1,
            });
            let waits = wanted.due() - now;
            assert!(
                (waits - rest).abs() <= time::Duration::seconds(2),
                "{waits}"
            );
            // Other names do not wait for it.
            wanted.names.push("b.test".to_owned());
            assert!(wanted.due() <= now);
        }
    }

    proptest! {
        #[test]
        fn never_without_a_pause(failures: u32, share: u8, retry in 0u64..90_000, most in 0u64..700_000, left: u32) {
            let config = AcmeConfig {
                retry: Duration::from_secs(retry),
                retry_max: Duration::from_secs(most),
                ..AcmeConfig::default()
            };
            for left in [None, Some(Duration::from_secs(left.into()))] {
                let wait = back_off(&config, failures, left, share);
                prop_assert!(wait >= Duration::from_secs(retry.max(1)));
                let longest = Duration::from_secs(most.max(retry).max(1));
                prop_assert!(wait <= longest.mul_f32(1.21));
            }
        }

        #[test]
        fn a_try_that_failed_is_not_due_at_once(failures in 0u32..u32::MAX, share: u8, told in proptest::option::of(0u64..10_000_000)) {
            let now = at(1_800_000_000);
            let mut wanted = Wanted {
                names: vec!["a.test".to_owned()],
                loaded: None,
                state: State { failures, ..State::default() },
            };
            prop_assert!(wanted.due() <= now);
            wanted.failed(&AcmeConfig::default(), "no".to_owned(), told.map(Duration::from_secs), now, share);
            prop_assert!(wanted.due() >= now + Duration::from_secs(300));
            prop_assert!(wanted.due() <= now + Duration::from_secs(86_400));
        }
    }
}
