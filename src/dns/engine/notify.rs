//! NOTIFY: secondaries are told that a zone has changed, and told again until they say that they
//! heard (RFC 1996).

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::tsig::{Key, StreamVerifier};
use crate::wire::code::{Class, Opcode, RrType};
use crate::wire::name::{Name, NameRef};
use crate::wire::reader::{Header, Reader, flag};

/// RFC 1996 3.6: some time, doubled each time, and not for ever.
const FIRST_WAIT: Duration = Duration::from_secs(2);
const MAX_TRIES: u32 = 6;
/// Secondaries waiting for at one time.
const MAX_PENDING: usize = 100_000;

/// A message to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Send {
    /// Where to.
    pub to: SocketAddr,
    /// The message.
    pub message: Vec<u8>,
}

/// How a secondary has taken the news.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// It answered with a code.
    Answered {
        /// The zone.
        zone: Name,
        /// The secondary.
        by: SocketAddr,
        /// The code of its answer; 0 is all well.
        code: u8,
    },
    /// It never answered.
    GaveUp {
        /// The zone.
        zone: Name,
        /// The secondary.
        by: SocketAddr,
    },
}

/// Secondaries that have not said yet that they heard.
#[derive(Debug, Default)]
pub struct Notifier {
    pending: Vec<Pending>,
}

#[derive(Debug)]
struct Pending {
    zone: Name,
    to: SocketAddr,
    id: u16,
    tries: u32,
    next: Instant,
    /// The key that messages to it are signed with, and the MAC of the last.
    key: Option<Arc<Key>>,
    mac: Vec<u8>,
}

impl Notifier {
    /// A zone has changed: its secondaries are told at the next [`due`](Self::due). `id` gives
    /// numbers that a forger cannot guess.
    pub fn changed(
        &mut self,
        zone: &Name,
        secondaries: &[SocketAddr],
        key: Option<&Arc<Key>>,
        now: Instant,
        mut id: impl FnMut() -> u16,
    ) {
        for to in secondaries {
            // A newer change takes the place of an older one.
            // Where the zone is in several views, the key says to which of the secondary's it goes.
            let name = |key: Option<&Arc<Key>>| key.map(|key| key.name.clone());
            self.pending.retain(|pending| {
                pending.to != *to
                    || pending.zone != *zone
                    || name(pending.key.as_ref()) != name(key)
            });
            if self.pending.len() < MAX_PENDING {
                let (zone, id) = (zone.clone(), id());
                self.pending.push(Pending {
                    zone,
                    to: *to,
                    id,
                    tries: 0,
                    next: now,
                    key: key.cloned(),
                    mac: Vec::new(),
                });
            }
        }
    }

    /// What is to be sent now, and who has been given up. `clock` is the time in seconds since
    /// 1970, which signatures hold.
    pub fn due(&mut self, now: Instant, clock: u64) -> (Vec<Send>, Vec<Heard>) {
        let (mut sends, mut lost) = (Vec::new(), Vec::new());
        self.pending.retain_mut(|pending| {
            if pending.next > now {
                return true;
            }
            if pending.tries >= MAX_TRIES {
                lost.push(Heard::GaveUp {
                    zone: pending.zone.clone(),
                    by: pending.to,
                });
                return false;
            }
            let mut message = message(pending.id, pending.zone.as_ref());
            if let Some(key) = &pending.key {
                pending.mac = key.sign_request(&mut message, clock);
            }
            sends.push(Send {
                to: pending.to,
                message,
            });
            pending.next = now + FIRST_WAIT * 2u32.pow(pending.tries);
            pending.tries += 1;
            true
        });
        (sends, lost)
    }

    /// When [`due`](Self::due) has something to do next.
    pub fn next(&self) -> Option<Instant> {
        self.pending.iter().map(|pending| pending.next).min()
    }

    /// A message has come. Only an answer to what was sent, from where it was sent, counts.
    pub fn received(&mut self, from: SocketAddr, message: &[u8], clock: u64) -> Option<Heard> {
        let header = Header::read(message).ok()?;
        if !header.is_response() || header.opcode() != Opcode::NOTIFY {
            return None;
        }
        let question = (header.questions == 1)
            .then(|| Reader::at(message, Header::LEN).name().ok())
            .flatten();
        let canonical = |address: SocketAddr| -> (IpAddr, u16) {
            (address.ip().to_canonical(), address.port())
        };
        let index = self.pending.iter().position(|pending| {
            let asked = question.is_none_or(|name| name.as_ref() == pending.zone.as_ref());
            let signed = pending.key.as_ref().is_none_or(|key| {
                let mut verifier = StreamVerifier::new(key.clone(), pending.mac.clone());
                verifier.take(message, clock).is_ok()
            });
            pending.id == header.id && canonical(pending.to) == canonical(from) && asked && signed
        })?;
        let pending = self.pending.swap_remove(index);
        Some(Heard::Answered {
            zone: pending.zone,
            by: from,
            code: header.rcode().0 as u8,
        })
    }
}

/// RFC 1996 3: the question is the zone's SOA, AA is set. The new SOA record may go along as a
/// hint (3.7), which no secondary may rely on: it asks for the SOA in any case.
fn message(id: u16, zone: NameRef<'_>) -> Vec<u8> {
    let flags = u16::from(Opcode::NOTIFY.0) << 11 | flag::AA;
    let mut message = Vec::with_capacity(Header::LEN + zone.wire().len() + 4);
    for field in [id, flags, 1, 0, 0, 0] {
        message.extend_from_slice(&field.to_be_bytes());
    }
    message.extend_from_slice(zone.wire());
    message.extend_from_slice(&RrType::SOA.0.to_be_bytes());
    message.extend_from_slice(&Class::IN.0.to_be_bytes());
    message
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn told_until_heard() {
        let start = Instant::now();
        let zone = Name::from_text("example.org").unwrap();
        let secondaries: Vec<SocketAddr> = vec![
            "192.0.2.1:53".parse().unwrap(),
            "192.0.2.2:53".parse().unwrap(),
        ];
        let mut notifier = Notifier::default();
        let mut id = 0;
        notifier.changed(&zone, &secondaries, None, start, || {
            id += 1;
            id
        });
        let (sends, lost) = notifier.due(start, 0);
        assert_eq!((sends.len(), lost.len()), (2, 0));
        assert_eq!(sends[0].message[..6], [0, 1, 0x24, 0, 0, 1]);

        // A forger knows neither ID nor address.
        let mut reply = sends[0].message.clone();
        reply[2] |= 0x80;
        assert_eq!(notifier.received(secondaries[1], &reply, 0), None);
        let heard = notifier.received(secondaries[0], &reply, 0);
        assert_eq!(
            heard,
            Some(Heard::Answered {
                zone: zone.clone(),
                by: secondaries[0],
                code: 0
            })
        );
        assert_eq!(notifier.received(secondaries[0], &reply, 0), None, "once");

        let (mut now, mut sent) = (start, 0);
        while let Some(next) = notifier.next() {
            now = next;
            let (sends, lost) = notifier.due(now, 0);
            sent += sends.len();
            for lost in lost {
                assert_eq!(
                    lost,
                    Heard::GaveUp {
                        zone: zone.clone(),
                        by: secondaries[1]
                    }
                );
            }
        }
        assert_eq!(sent, 5);
        assert!(now - start < Duration::from_secs(200));
    }
}
