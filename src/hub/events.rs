//! News of what happened: a typed, bounded broadcast. A slow subscriber loses events and is told
//! how many; it never slows the service that publishes.

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::SystemTime,
};

use serde::Serialize;
use tokio::sync::broadcast;

/// How many events a subscriber may lag behind before it loses the oldest.
const CAPACITY: usize = 1024;

/// Something that happened. The variant's serialised `topic` is what scripts subscribe to.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "topic")]
#[non_exhaustive]
pub enum Event {
    /// Somebody proved who they are.
    #[serde(rename = "login")]
    Login {
        /// The account.
        account: String,
        /// Where from.
        source: IpAddr,
        /// Through which service.
        service: &'static str,
    },
    /// Somebody failed to.
    #[serde(rename = "login.failed")]
    LoginFailed {
        /// The name that was tried, as far as it was a name.
        account: String,
        /// Where from.
        source: IpAddr,
        /// Through which service.
        service: &'static str,
    },
    /// Too many failures: an account or a source is shut out for a while.
    #[serde(rename = "lockout")]
    Lockout {
        /// The account or the address (IPv6: the /64).
        subject: String,
        /// For how long, in seconds.
        seconds: u64,
    },
    /// A call was placed.
    #[serde(rename = "call.started")]
    CallStarted {
        /// SIP Call-ID.
        call: String,
        /// Caller's address of record.
        from: String,
        /// Callee's address of record.
        to: String,
    },
    /// A call was answered.
    #[serde(rename = "call.answered")]
    CallAnswered {
        /// SIP Call-ID.
        call: String,
    },
    /// A call is over, or never came to be.
    #[serde(rename = "call.ended")]
    CallEnded {
        /// SIP Call-ID.
        call: String,
        /// Caller's address of record.
        from: String,
        /// Callee's address of record.
        to: String,
        /// `answered`, `busy`, `cancelled`, `no answer`, `failed`.
        outcome: &'static str,
        /// From answer to end, in seconds.
        seconds: u64,
    },
    /// A chat message went through.
    #[serde(rename = "message")]
    Message {
        /// Sender's bare address.
        from: String,
        /// Receiver's bare address.
        to: String,
        /// Whether it was stored for later.
        stored: bool,
    },
    /// A zone's content changed.
    #[serde(rename = "zone.changed")]
    ZoneChanged {
        /// The zone's name.
        zone: String,
        /// Its new serial.
        serial: u32,
    },
    /// Certificates were loaded anew.
    #[serde(rename = "certificate.changed")]
    CertificateChanged {
        /// The names it is for.
        names: Vec<String>,
    },
    /// A listener could not be bound, or was lost.
    #[serde(rename = "listener.failed")]
    ListenerFailed {
        /// The service that wanted it.
        service: String,
        /// The address.
        address: String,
        /// Why not.
        reason: String,
    },
    /// The configuration was applied.
    #[serde(rename = "config.reloaded")]
    ConfigReloaded {
        /// The sections that changed.
        sections: Vec<String>,
    },
    /// What a script emitted.
    #[serde(untagged)]
    Custom {
        /// The topic the script chose.
        topic: String,
        /// Whatever it wanted to say.
        data: serde_json::Value,
    },
}

impl Event {
    /// The name that subscribers know this kind of event by.
    #[must_use]
    pub fn topic(&self) -> &str {
        match self {
            Self::Login { .. } => "login",
            Self::LoginFailed { .. } => "login.failed",
            Self::Lockout { .. } => "lockout",
            Self::CallStarted { .. } => "call.started",
            Self::CallAnswered { .. } => "call.answered",
            Self::CallEnded { .. } => "call.ended",
            Self::Message { .. } => "message",
            Self::ZoneChanged { .. } => "zone.changed",
            Self::CertificateChanged { .. } => "certificate.changed",
            Self::ListenerFailed { .. } => "listener.failed",
            Self::ConfigReloaded { .. } => "config.reloaded",
            Self::Custom { topic, .. } => topic,
        }
    }
}

/// An event with the moment it was published.
#[derive(Debug, Clone)]
pub struct Published {
    /// When.
    pub at: SystemTime,
    /// What.
    pub event: Event,
}

/// The broadcast.
pub struct Events {
    sender: broadcast::Sender<Arc<Published>>,
    lost: Arc<AtomicU64>,
}

impl Default for Events {
    fn default() -> Self {
        Self {
            sender: broadcast::Sender::new(CAPACITY),
            lost: Arc::default(),
        }
    }
}

impl Events {
    /// Tells every subscriber. Never waits; costs next to nothing where nobody listens.
    pub fn publish(&self, event: Event) {
        if self.sender.receiver_count() > 0 {
            // The only error is "nobody listens any more", which is no error here.
            drop(self.sender.send(Arc::new(Published {
                at: SystemTime::now(),
                event,
            })));
        }
    }

    /// Whether anybody listens, for callers that would have to build an event first.
    #[must_use]
    pub fn wanted(&self) -> bool {
        self.sender.receiver_count() > 0
    }

    /// Hears of everything from now on.
    #[must_use]
    pub fn subscribe(&self) -> Subscription {
        Subscription {
            receiver: self.sender.subscribe(),
            lost: self.lost.clone(),
        }
    }

    /// How many events slow subscribers have lost since the start.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}

/// One subscriber's end.
pub struct Subscription {
    receiver: broadcast::Receiver<Arc<Published>>,
    lost: Arc<AtomicU64>,
}

impl Subscription {
    /// The next event; `None` once the hub is gone. Events lost on the way are counted.
    pub async fn next(&mut self) -> Option<Arc<Published>> {
        loop {
            match self.receiver.recv().await {
                Ok(published) => return Some(published),
                Err(broadcast::error::RecvError::Lagged(count)) => {
                    self.lost.fetch_add(count, Ordering::Relaxed);
                }
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_slow_subscriber_loses_events_and_a_quick_one_does_not_wait() {
        let events = Events::default();
        let mut slow = events.subscribe();
        for serial in 0..CAPACITY as u32 + 10 {
            events.publish(Event::ZoneChanged {
                zone: "example.org".into(),
                serial,
            });
        }
        let first = slow.next().await;
        assert!(
            first.is_some_and(|first| matches!(first.event, Event::ZoneChanged { serial: 10, .. }))
        );
        assert_eq!(events.lost(), 10);
    }

    #[test]
    fn the_serialised_topic_is_the_topic() {
        let known = Event::Lockout {
            subject: "192.0.2.1".into(),
            seconds: 60,
        };
        let custom = Event::Custom {
            topic: "mine".into(),
            data: serde_json::json!({"a": 1}),
        };
        for event in [known, custom] {
            let value = serde_json::to_value(&event).ok();
            let topic = value
                .as_ref()
                .and_then(|value| value.get("topic")?.as_str());
            assert_eq!(topic, Some(event.topic()));
        }
    }
}
