//! Passwords that were right a moment ago.
//!
//! A browser sends its password with every request, and PBKDF2 is slow on purpose. So a right
//! password is remembered for a short time: not itself, but an HMAC of it under a key that this
//! process made up and never writes down. It is remembered of one source and one service: from
//! elsewhere it is another login, to be recorded and told of.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_lc_rs::hmac;

use crate::credentials::random;
use crate::{Account, Address, Source};

/// Passwords that are remembered.
const REMEMBERED: usize = 10_000;

pub(crate) type Mark = [u8; 32];

pub(crate) struct Remembered {
    time: Duration,
    marks: HashMap<Mark, (Arc<Account>, Instant)>,
    /// Counts changes of accounts: a check that began before a change must not be remembered.
    pub(crate) generation: u64,
}

impl Remembered {
    pub(crate) fn new(time: Duration) -> Self {
        Self {
            time,
            marks: HashMap::new(),
            generation: 0,
        }
    }

    pub(crate) fn find(&self, mark: &Mark, now: Instant) -> Option<Arc<Account>> {
        let (account, since) = self.marks.get(mark)?;
        (now.saturating_duration_since(*since) < self.time).then(|| Arc::clone(account))
    }

    pub(crate) fn keep(
        &mut self,
        mark: Mark,
        account: Arc<Account>,
        generation: u64,
        now: Instant,
    ) {
        if generation != self.generation || self.time.is_zero() {
            return;
        }
        if self.marks.len() >= REMEMBERED {
            let time = self.time;
            self.marks
                .retain(|_, (_, since)| now.saturating_duration_since(*since) < time);
            if self.marks.len() >= REMEMBERED {
                self.marks.clear();
            }
        }
        self.marks.insert(mark, (account, now));
    }

    /// An account changed. Which marks are its own is not known, nor worth knowing: changes are
    /// rare.
    pub(crate) fn forget(&mut self) {
        self.marks.clear();
        self.generation = self.generation.wrapping_add(1);
    }
}

/// Makes marks.
pub(crate) struct Marker(hmac::Key);

impl Marker {
    pub(crate) fn new() -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, &random::<32>()))
    }

    pub(crate) fn mark(&self, address: &Address, password: &str, source: Source) -> Mark {
        let mut context = hmac::Context::with_key(&self.0);
        // Neither has a NUL, so no two run together alike.
        for part in [
            source.ip.to_string().as_str(),
            source.service,
            address.as_str(),
        ] {
            context.update(part.as_bytes());
            context.update(&[0]);
        }
        context.update(password.as_bytes());
        let mut mark = [0; 32];
        mark.copy_from_slice(context.sign().as_ref());
        mark
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Roles;

    #[test]
    fn remembers_for_a_while_and_until_a_change() -> Result<(), crate::AddressError> {
        let (mut remembered, marker) = (Remembered::new(Duration::from_secs(30)), Marker::new());
        let address: Address = "alice@example.org".parse()?;
        let account = Arc::new(Account {
            address: address.clone(),
            display_name: String::new(),
            enabled: true,
            roles: Roles::default(),
            created_at: 0,
            password_changed_at: 0,
        });
        let now = Instant::now();
        let source = Source {
            ip: [192, 0, 2, 1].into(),
            service: "http",
        };
        let mark = marker.mark(&address, "secret", source);
        assert_ne!(mark, marker.mark(&address, "secrets", source));
        let elsewhere = Source {
            ip: [192, 0, 2, 2].into(),
            ..source
        };
        assert_ne!(mark, marker.mark(&address, "secret", elsewhere));
        let another = Source {
            service: "xmpp",
            ..source
        };
        assert_ne!(mark, marker.mark(&address, "secret", another));
        assert_ne!(
            mark,
            Marker::new().mark(&address, "secret", source),
            "a key for each process"
        );
        remembered.keep(mark, Arc::clone(&account), 0, now);
        assert!(
            remembered
                .find(&mark, now + Duration::from_secs(29))
                .is_some()
        );
        assert!(
            remembered
                .find(&mark, now + Duration::from_secs(30))
                .is_none()
        );
        remembered.forget();
        assert!(remembered.find(&mark, now).is_none());
        // A check that began before the change.
        remembered.keep(mark, Arc::clone(&account), 0, now);
        assert!(remembered.find(&mark, now).is_none());
        for n in 0..25_000 {
            let mark = marker.mark(&address, &n.to_string(), source);
            remembered.keep(mark, Arc::clone(&account), 1, now);
        }
        assert!(remembered.marks.len() <= REMEMBERED);
        Ok(())
    }
}
