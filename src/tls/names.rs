//! Which certificate for which name.

use std::collections::HashMap;
use std::sync::Arc;

use rustls::SignatureScheme;
use rustls::sign::CertifiedKey;

/// Certificates by name: exact, then wildcard, then the default.
#[derive(Debug, Default)]
pub(crate) struct Names {
    exact: HashMap<String, Vec<Arc<CertifiedKey>>>,
    /// By what stands behind `*.`.
    wildcard: HashMap<String, Vec<Arc<CertifiedKey>>>,
    default: Vec<Arc<CertifiedKey>>,
}

impl Names {
    /// Adds a certificate under its names. The first one added is the default; another for the
    /// same name (an RSA one beside an ECDSA one) is used where the first does not suit the client.
    pub(crate) fn add(&mut self, names: &[String], key: &Arc<CertifiedKey>) {
        for name in names {
            let name = normalise(name);
            let keys = match name.strip_prefix("*.") {
                Some(suffix) => self.wildcard.entry(suffix.to_owned()).or_default(),
                None => self.exact.entry(name).or_default(),
            };
            keys.push(key.clone());
        }
        let twin_of_default = self.default.iter().any(|default| {
            names.iter().any(|name| {
                self.keys(&normalise(name))
                    .iter()
                    .any(|k| Arc::ptr_eq(k, default))
            })
        });
        if self.default.is_empty() || twin_of_default {
            self.default.push(key.clone());
        }
    }

    /// The certificates for a name, or the default ones, in the order they are to be tried.
    pub(crate) fn choose(&self, name: Option<&str>) -> &[Arc<CertifiedKey>] {
        let found = name
            .map(|name| self.keys(&normalise(name)))
            .unwrap_or_default();
        if found.is_empty() {
            &self.default
        } else {
            found
        }
    }

    /// Has any certificate this name?
    pub(crate) fn covers(&self, name: &str) -> bool {
        !self.keys(&normalise(name)).is_empty()
    }

    fn keys(&self, name: &str) -> &[Arc<CertifiedKey>] {
        if let Some(keys) = self.exact.get(name) {
            return keys;
        }
        // RFC 9525 6.3: a wildcard stands for exactly one label.
        name.split_once('.')
            .and_then(|(_, suffix)| self.wildcard.get(suffix))
            .map(Vec::as_slice)
            .unwrap_or_default()
    }
}

/// The first of `keys` that can sign as the client wants, or the first of all: the handshake then
/// fails with the alert that names the reason.
pub(crate) fn suited<'a>(
    keys: &'a [Arc<CertifiedKey>],
    schemes: &[SignatureScheme],
) -> Option<&'a Arc<CertifiedKey>> {
    keys.iter()
        .find(|key| key.key.choose_scheme(schemes).is_some())
        .or_else(|| keys.first())
}

fn normalise(name: &str) -> String {
    name.trim_end_matches('.').to_ascii_lowercase()
}
