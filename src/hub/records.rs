//! What services want the DNS to say about a domain, in a form that belongs to no service.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use arc_swap::ArcSwap;
use serde::Serialize;
use tokio::sync::watch;

/// One record to publish.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Record {
    /// Absolute owner name without the last dot, such as `_xmpp-client._tcp.example.org`.
    pub name: String,
    /// Time to live, in seconds.
    pub ttl: u32,
    /// The record's type and content.
    pub data: RecordData,
}

/// The types that services publish.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(tag = "type", rename_all = "UPPERCASE")]
pub enum RecordData {
    /// A or AAAA.
    Address {
        /// The address.
        address: IpAddr,
    },
    /// SRV (RFC 2782).
    Srv {
        /// Lower is tried first.
        priority: u16,
        /// Share among equal priorities.
        weight: u16,
        /// Port of the service.
        port: u16,
        /// Host that offers it.
        target: String,
    },
    /// NAPTR (RFC 3403).
    Naptr {
        /// Lower is taken first.
        order: u16,
        /// Lower is preferred.
        preference: u16,
        /// `S`, `A`, `U` or `P`.
        flags: String,
        /// Such as `SIPS+D2T`.
        services: String,
        /// Substitution expression; empty where `replacement` is used.
        regexp: String,
        /// The next name to look up.
        replacement: String,
    },
    /// TXT, one or more character strings.
    Txt {
        /// The strings, each at most 255 octets.
        strings: Vec<String>,
    },
    /// Any other type, in zone file text, such as `1 . alpn=h2` for `HTTPS`.
    Text {
        /// The type's mnemonic.
        kind: String,
        /// The record data as a zone file would have it.
        text: String,
    },
}

type ByDomain = BTreeMap<String, BTreeMap<&'static str, Arc<[Record]>>>;

/// The records that services publish, by domain.
pub struct Records {
    domains: ArcSwap<ByDomain>,
    generation: watch::Sender<u64>,
}

impl Default for Records {
    fn default() -> Self {
        Self {
            domains: ArcSwap::default(),
            generation: watch::Sender::new(0),
        }
    }
}

impl Records {
    /// Says all that `service` wants published about `domain`, in place of what it said before.
    pub fn publish(&self, service: &'static str, domain: &str, mut records: Vec<Record>) {
        records.sort();
        records.dedup();
        let records: Arc<[Record]> = records.into();
        let domain = domain.to_ascii_lowercase();
        let before = self.domains.rcu(|domains| {
            let mut domains = ByDomain::clone(domains);
            if records.is_empty() {
                if let Some(services) = domains.get_mut(&domain) {
                    services.remove(service);
                }
                domains.retain(|_, services| !services.is_empty());
            } else {
                domains
                    .entry(domain.clone())
                    .or_default()
                    .insert(service, records.clone());
            }
            domains
        });
        let said_before = before
            .get(&domain)
            .and_then(|services| services.get(service));
        if said_before.map_or(&[][..], |said| said) != &*records {
            self.generation.send_modify(|generation| *generation += 1);
        }
    }

    /// Takes back what `service` published about every domain.
    pub fn withdraw(&self, service: &'static str) {
        let domains: Vec<String> = self.domains.load().keys().cloned().collect();
        for domain in domains {
            self.publish(service, &domain, Vec::new());
        }
    }

    /// Everything published about a domain, sorted.
    #[must_use]
    pub fn about(&self, domain: &str) -> Vec<Record> {
        let domains = self.domains.load();
        let Some(services) = domains.get(&domain.to_ascii_lowercase()) else {
            return Vec::new();
        };
        let mut records: Vec<Record> = services
            .values()
            .flat_map(|records| records.iter().cloned())
            .collect();
        records.sort();
        records.dedup();
        records
    }

    /// Changes whenever something published changes.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.generation.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn txt(name: &str, text: &str) -> Record {
        let data = RecordData::Txt {
            strings: vec![text.to_owned()],
        };
        Record {
            name: name.to_owned(),
            ttl: 300,
            data,
        }
    }

    #[test]
    fn a_service_replaces_only_its_own_records() {
        let records = Records::default();
        records.publish("xmpp", "Example.org", vec![txt("a.example.org", "1")]);
        records.publish("sip", "example.org", vec![txt("b.example.org", "2")]);
        records.publish("xmpp", "example.org", vec![txt("c.example.org", "3")]);
        assert_eq!(
            records.about("example.ORG"),
            [txt("b.example.org", "2"), txt("c.example.org", "3")]
        );
        records.withdraw("xmpp");
        assert_eq!(records.about("example.org"), [txt("b.example.org", "2")]);
    }

    #[test]
    fn watchers_hear_of_changes_and_only_of_changes() {
        let records = Records::default();
        let mut watch = records.watch();
        records.publish("xmpp", "example.org", vec![txt("a.example.org", "1")]);
        assert!(watch.has_changed().is_ok_and(|changed| changed));
        watch.mark_unchanged();
        records.publish("xmpp", "example.org", vec![txt("a.example.org", "1")]);
        assert!(watch.has_changed().is_ok_and(|changed| !changed));
        records.publish("xmpp", "example.org", Vec::new());
        assert!(watch.has_changed().is_ok_and(|changed| changed));
    }
}
