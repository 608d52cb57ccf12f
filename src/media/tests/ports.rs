//! The relay over real sockets.

use std::{net::UdpSocket, time::Duration};

use tokio::sync::mpsc;

use crate::{
    AllocateError, ConferenceId, Event, Media, RefusedRemote, Session, Settings,
    engine::{Remote, Side, relay},
    wire::{
        rtp::{Header, Packet},
        sdp::Direction,
    },
};

/// Longer than anything here takes, on any machine.
pub(super) const LIMIT: Duration = Duration::from_secs(20);

pub(super) struct World {
    media: Media,
    events: mpsc::Receiver<Event>,
}

impl World {
    pub(super) fn new(settings: Settings) -> Self {
        let (sender, events) = mpsc::channel(64);
        let (media, shards) = Media::new(settings, &sender).unwrap();
        for shard in shards {
            tokio::spawn(async move { shard.run().await.unwrap() });
        }
        Self { media, events }
    }

    pub(super) fn session(&self) -> Session {
        let here = "127.0.0.1".parse().unwrap();
        self.media.allocate([here, here]).unwrap()
    }

    pub(super) fn end(&self, conference: Option<ConferenceId>) -> Session {
        let here = "127.0.0.1".parse().unwrap();
        self.media.allocate_end(here, conference).unwrap()
    }

    pub(super) async fn event(&mut self) -> Event {
        let event = tokio::time::timeout(LIMIT, self.events.recv()).await;
        event.expect("an event").unwrap()
    }
}

pub(super) struct Phone(pub(super) UdpSocket);

impl Phone {
    pub(super) fn new() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(LIMIT)).unwrap();
        Self(socket)
    }

    pub(super) fn remote(&self) -> Remote {
        let rtp = self.0.local_addr().unwrap();
        Remote {
            rtp,
            rtcp: rtp,
            mux: true,
            signalling: None,
            direction: Direction::SendReceive,
            payload_types: 1,
            clock: 8000,
            events: None,
            secure: false,
        }
    }

    fn send(&self, session: &Session, side: Side, sequence: u16) {
        let header = Header {
            sequence,
            ssrc: 9,
            ..Header::default()
        };
        let packet = [header.to_bytes().as_slice(), b"sound"].concat();
        self.0.send_to(&packet, session.local(side)).unwrap();
    }

    fn receive(&self) -> u16 {
        let mut buffer = [0; 100];
        let length = self.0.recv(&mut buffer).unwrap();
        let packet = Packet::parse(&buffer[..length]).unwrap();
        assert_eq!(packet.payload, b"sound");
        packet.header.sequence
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_phones_hear_each_other_until_the_session_is_dropped() {
    let mut world = World::new(Settings::default());
    let session = world.session();
    let (alice, bob, mallory) = (Phone::new(), Phone::new(), Phone::new());
    session.set_remote(Side::A, alice.remote()).unwrap();
    session.set_remote(Side::B, bob.remote()).unwrap();
    for sequence in 1..=20 {
        alice.send(&session, Side::A, sequence);
        assert_eq!(bob.receive(), sequence);
        mallory.send(&session, Side::A, 1000);
        bob.send(&session, Side::B, 500 + sequence);
        assert_eq!(alice.receive(), 500 + sequence);
    }
    assert_eq!(world.media.in_use(), (4, 1));
    let id = session.id();
    drop(session);
    let mut locked = 0;
    let report = loop {
        match world.event().await {
            Event::Ends(session, relay::Event::Locked(..)) if session == id => locked += 1,
            Event::Ended(session, report) if session == id => break report,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(locked, 2);
    for leg in [report.a, report.b] {
        assert_eq!((leg.quality.packets, leg.quality.lost), (20, 0));
    }
    assert_eq!(report.a.source, alice.0.local_addr().ok());
    // Those that came before Alice's last are counted; the very last may have met a closed port.
    assert!((19..=20).contains(&report.a.dropped.strangers));
    assert_eq!(world.media.in_use(), (0, 0));
}

#[tokio::test]
async fn limits_hold_and_our_own_ports_are_nobodys_address() {
    let world = World::new(Settings {
        sessions: 2,
        ..Settings::default()
    });
    let (one, two) = (world.session(), world.session());
    let here = "127.0.0.1".parse().unwrap();
    let third = world.media.allocate([here, here]);
    assert!(matches!(third, Err(AllocateError::TooMany(2))));
    let phone = Phone::new();
    let looped = Remote {
        rtp: two.local(Side::A),
        ..phone.remote()
    };
    assert_eq!(one.set_remote(Side::B, looped), Err(RefusedRemote::Ours));
    let six = Remote {
        rtp: "[2001:db8::1]:4000".parse().unwrap(),
        ..phone.remote()
    };
    assert_eq!(
        one.set_remote(Side::B, six),
        Err(RefusedRemote::Unreachable)
    );
    assert_eq!(one.local(Side::A).port() % 2, 0);
}

#[tokio::test]
async fn a_range_without_ports_is_told_and_nothing_is_kept() {
    // Room for one pair: side B finds none.
    let world = World::new(Settings {
        ports: 29_998..=29_999,
        ..Settings::default()
    });
    let here = "127.0.0.1".parse().unwrap();
    let refused = world.media.allocate([here, here]).unwrap_err();
    assert!(matches!(refused, AllocateError::NoPort), "{refused}");
    assert_eq!(world.media.in_use(), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_end_is_told() {
    let mut world = World::new(Settings {
        timeout: Duration::from_millis(10),
        ..Settings::default()
    });
    let session = world.session();
    session.set_remote(Side::A, Phone::new().remote()).unwrap();
    session.set_remote(Side::B, Phone::new().remote()).unwrap();
    for side in Side::BOTH {
        match world.event().await {
            Event::Ends(id, event) => {
                assert_eq!(id, session.id());
                assert_eq!(event, relay::Event::Silent(side));
            }
            other => panic!("{other:?}"),
        }
    }
}
