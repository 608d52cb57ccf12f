//! The relay under a clock of its own: who is heard, where it goes, and when somebody is missed.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use crate::{
    engine::relay::{Channel, Dropped, Event, Forward, Outcome, Relay, Side},
    engine::{
        Remote, payload_map,
        srtp::{GROWTH, MasterKey, Secure, Suite},
    },
    wire::{
        event::TelephoneEvent,
        rtcp,
        rtp::{Header, Packet},
        sdp::{Direction, Sdp},
    },
};

const TIMEOUT: Duration = Duration::from_secs(30);
const ALICE: &str = "192.0.2.1:4000";
const BOB: &str = "198.51.100.2:6000";

fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn remote(address: &str) -> Remote {
    let address = at(address);
    Remote {
        rtp: address,
        rtcp: SocketAddr::new(address.ip(), address.port() + 1),
        mux: false,
        signalling: Some(address.ip()),
        direction: Direction::SendReceive,
        payload_types: 1 | 1 << 101,
        clock: 8000,
        events: Some((101, 8000)),
        secure: false,
    }
}

struct World {
    relay: Relay,
    now: Instant,
    sequence: u16,
}

impl World {
    fn new() -> Self {
        let now = Instant::now();
        let mut relay = Relay::new(TIMEOUT, now);
        relay.set_remote(Side::A, remote(ALICE), now);
        relay.set_remote(Side::B, remote(BOB), now);
        Self {
            relay,
            now,
            sequence: 0,
        }
    }

    fn send(&mut self, side: Side, source: &str, payload_type: u8) -> (Outcome, Vec<u8>) {
        self.sequence += 1;
        self.now += Duration::from_millis(20);
        let header = Header {
            payload_type,
            sequence: self.sequence,
            timestamp: u32::from(self.sequence) * 160,
            ..Header::default()
        };
        let mut packet = [header.to_bytes().as_slice(), &[0xff; 160]].concat();
        let outcome = self
            .relay
            .receive(side, Channel::Rtp, &mut packet, at(source), self.now);
        (outcome, packet)
    }

    fn dropped(&self, side: Side) -> Dropped {
        self.relay.report(side).dropped
    }

    fn events(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        self.relay.tick(self.now, |event| events.push(event));
        events
    }
}

fn to(side: Side, channel: Channel, address: &str) -> Option<Forward> {
    Some(Forward {
        side,
        channel,
        to: at(address),
    })
}

#[test]
fn packets_go_to_the_other_side_and_sources_lock() {
    let mut world = World::new();
    for _ in 0..7 {
        let (outcome, _) = world.send(Side::A, "192.0.2.1:4444", 0);
        assert_eq!(outcome.forward, to(Side::B, Channel::Rtp, BOB));
        assert_eq!(outcome.event, None);
    }
    let (outcome, _) = world.send(Side::A, "192.0.2.1:4444", 0);
    let locked = Event::Locked(Side::A, at("192.0.2.1:4444"));
    assert_eq!(outcome.event, Some(locked));
    // Bob's answer goes to where Alice really is.
    let (outcome, _) = world.send(Side::B, BOB, 0);
    assert_eq!(outcome.forward, to(Side::A, Channel::Rtp, "192.0.2.1:4444"));
    // Mallory is in nobody's way.
    let (outcome, _) = world.send(Side::A, "203.0.113.66:4000", 0);
    assert_eq!(outcome, Outcome::default());
    assert_eq!(world.dropped(Side::A).strangers, 1);
    let report = world.relay.report(Side::A);
    assert_eq!((report.quality.packets, report.quality.lost), (8, 0));
    assert_eq!(report.source, Some(at("192.0.2.1:4444")));
}

#[test]
fn a_source_that_falls_silent_before_it_locks_makes_way() {
    let mut world = World::new();
    let (outcome, _) = world.send(Side::A, "192.0.2.1:1111", 0);
    assert!(outcome.forward.is_some());
    let (outcome, _) = world.send(Side::A, "192.0.2.1:2222", 0);
    assert_eq!(outcome.forward, None);
    world.now += Duration::from_millis(600);
    let (outcome, _) = world.send(Side::A, "192.0.2.1:2222", 0);
    assert!(outcome.forward.is_some());
}

#[test]
fn what_nobody_agreed_to_does_not_pass() {
    let mut world = World::new();
    assert_eq!(world.send(Side::A, ALICE, 18).0, Outcome::default());
    assert_eq!(world.dropped(Side::A).unagreed, 1);
    for bytes in [
        &b"\0\x01\0\0"[..],
        b"",
        b"\x80\0",
        b"GET / HTTP/1.0",
        b"\x80\xc8\0\0",
    ] {
        let outcome = world.relay.receive(
            Side::A,
            Channel::Rtp,
            &mut bytes.to_vec(),
            at(ALICE),
            world.now,
        );
        assert_eq!(outcome, Outcome::default(), "{bytes:?}");
    }
    assert_eq!(world.dropped(Side::A).malformed, 5);
}

#[test]
fn hold_stops_the_flow_and_the_clock() {
    let mut world = World::new();
    let held = Remote {
        direction: Direction::SendOnly,
        ..remote(ALICE)
    };
    world.relay.set_remote(Side::A, held, world.now);
    assert_eq!(world.send(Side::B, BOB, 0).0.forward, None);
    assert_eq!(world.dropped(Side::B).held, 1);
    // Music from the holder goes through.
    assert!(world.send(Side::A, ALICE, 0).0.forward.is_some());
    world.now += TIMEOUT;
    // Bob need not send; Alice, who says she does, is missed, once.
    assert_eq!(world.events(), [Event::Silent(Side::A)]);
    world.now += TIMEOUT;
    assert_eq!(world.events(), []);
    world.relay.set_remote(Side::A, remote(ALICE), world.now);
    assert_eq!(world.events(), []);
    world.now += TIMEOUT;
    assert_eq!(
        world.events(),
        [Event::Silent(Side::A), Event::Silent(Side::B)]
    );
    world.send(Side::B, BOB, 0);
    world.now += TIMEOUT;
    assert_eq!(world.events(), [Event::Silent(Side::B)]);
}

#[test]
fn reports_go_beside_or_within() {
    let mut world = World::new();
    let mut report = Vec::new();
    rtcp::write_report(1, None, &[], "alice", &mut report);
    let mut receive = |relay: &mut Relay, side, channel, source| {
        relay
            .receive(side, channel, &mut report, at(source), world.now)
            .forward
    };
    let relay = &mut world.relay;
    let beside = receive(relay, Side::A, Channel::Rtcp, "192.0.2.1:4001");
    assert_eq!(beside, to(Side::B, Channel::Rtcp, "198.51.100.2:6001"));
    assert_eq!(
        receive(relay, Side::A, Channel::Rtcp, "203.0.113.6:4001"),
        None
    );
    // Not agreed to be muxed: no RTCP at the RTP port.
    assert_eq!(receive(relay, Side::A, Channel::Rtp, ALICE), None);
    let muxed = Remote {
        mux: true,
        ..remote(BOB)
    };
    relay.set_remote(Side::B, muxed, world.now);
    let within = receive(relay, Side::A, Channel::Rtcp, "192.0.2.1:4001");
    assert_eq!(within, to(Side::B, Channel::Rtp, BOB));
    // Back to the port that a NAT gave to Alice's reports.
    receive(relay, Side::A, Channel::Rtcp, "192.0.2.1:9999");
    let back = receive(relay, Side::B, Channel::Rtp, BOB);
    assert_eq!(back, to(Side::A, Channel::Rtcp, "192.0.2.1:9999"));
}

#[test]
fn keys_are_told_once_each() {
    let mut world = World::new();
    let mut told = Vec::new();
    for (timestamp, code) in [(160, 5), (1760, 11)] {
        for (duration, end) in [
            (160, false),
            (320, false),
            (800, true),
            (800, true),
            (800, true),
        ] {
            let event = TelephoneEvent {
                code,
                end,
                volume: 10,
                duration,
            };
            world.sequence += 1;
            let header = Header {
                payload_type: 101,
                sequence: world.sequence,
                timestamp,
                ..Header::default()
            };
            let mut packet = [header.to_bytes().as_slice(), &event.to_bytes()].concat();
            let outcome =
                world
                    .relay
                    .receive(Side::A, Channel::Rtp, &mut packet, at(ALICE), world.now);
            assert!(outcome.forward.is_some());
            told.extend(
                outcome
                    .event
                    .filter(|event| matches!(event, Event::Key(..))),
            );
        }
    }
    let held = Duration::from_millis(100);
    assert_eq!(
        told,
        [
            Event::Key(Side::A, '5', held),
            Event::Key(Side::A, '#', held)
        ]
    );
}

#[test]
fn payload_types_are_renumbered_on_the_way() {
    let codecs = |number: u8| {
        let text = format!(
            "v=0\r\no=x 1 1 IN IP4 192.0.2.1\r\ns=-\r\nm=audio 4000 RTP/AVP 0 {number}\r\n\
             a=rtpmap:{number} telephone-event/8000\r\n"
        );
        text.parse::<Sdp>().unwrap().media[0].codecs()
    };
    let mut world = World::new();
    let map = payload_map(&codecs(101), &codecs(96));
    world.relay.set_payload_map(Side::A, &map);
    for (sent, arrives) in [(101, 96), (0, 0)] {
        let (_, packet) = world.send(Side::A, ALICE, sent);
        let header = Packet::parse(&packet).unwrap().header;
        assert_eq!(header.payload_type, arrives);
    }
    world.relay.set_payload_map(Side::A, &[]);
    let (_, packet) = world.send(Side::A, ALICE, 101);
    assert_eq!(Packet::parse(&packet).unwrap().header.payload_type, 101);
}

#[test]
fn nothing_flows_before_both_sides_are_described() {
    let mut world = World::new();
    world.relay = Relay::new(TIMEOUT, world.now);
    assert_eq!(world.send(Side::A, ALICE, 0).0, Outcome::default());
    world.relay.set_remote(Side::A, remote(ALICE), world.now);
    assert_eq!(world.send(Side::A, ALICE, 0).0.forward, None);
    assert_eq!(world.dropped(Side::A).held, 2);
    world.now += TIMEOUT * 2;
    assert_eq!(world.events(), []);
}

#[test]
fn one_side_may_be_secret_and_the_other_plain() {
    let mut world = World::new();
    for suite in Suite::ALL {
        let (theirs, ours) = (
            MasterKey::generate(suite).unwrap(),
            MasterKey::generate(suite).unwrap(),
        );
        let secure = || Secure::new(&theirs, &ours).map(Box::new);
        world.relay = Relay::new(TIMEOUT, world.now);
        world.relay.set_secure(Side::A, secure());
        world.relay.set_remote(Side::A, remote(ALICE), world.now);
        world.relay.set_remote(Side::B, remote(BOB), world.now);
        // Plain packets, and those of strangers who have no key, teach nothing.
        for _ in 0..20 {
            assert_eq!(world.send(Side::A, ALICE, 0).0, Outcome::default());
        }
        assert_eq!(world.dropped(Side::A).forged, 20);
        assert_eq!(world.relay.report(Side::A).source, None);
        let mut phone = Secure::new(&ours, &theirs).unwrap();
        for sequence in 0..20 {
            let header = Header {
                sequence,
                ..Header::default()
            };
            let plain = [header.to_bytes().as_slice(), b"secret"].concat();
            let mut buffer = [plain.as_slice(), &[0; GROWTH]].concat();
            let length = phone.protector.rtp(&mut buffer, plain.len()).unwrap();
            let packet = &mut buffer[..length];
            let outcome = world
                .relay
                .receive(Side::A, Channel::Rtp, packet, at(ALICE), world.now);
            assert_eq!(outcome.forward, to(Side::B, Channel::Rtp, BOB));
            assert_eq!(buffer[..outcome.length], plain[..]);
            // Bob's side is plain: nothing is added. Alice's is secret.
            let length = outcome.length;
            assert_eq!(
                world.relay.protect(Side::B, &mut buffer, length),
                Some(length)
            );
            let longer = world.relay.protect(Side::A, &mut buffer, length).unwrap();
            assert!(longer > length);
            let length = phone.opener.rtp(&mut buffer[..longer]).unwrap();
            assert_eq!(buffer[..length], plain[..]);
            // The same keys once more, of a re-INVITE: what was there stays known.
            world.relay.set_secure(Side::A, secure());
        }
        assert_eq!(world.relay.report(Side::A).source, Some(at(ALICE)));
    }
}

#[test]
fn secrets_of_the_two_ends_pass_unread() {
    let mut world = World::new();
    for (side, address) in [(Side::A, ALICE), (Side::B, BOB)] {
        let secret = Remote {
            secure: true,
            ..remote(address)
        };
        world.relay.set_remote(side, secret, world.now);
    }
    let (outcome, _) = world.send(Side::A, ALICE, 101);
    assert!(outcome.forward.is_some() && outcome.event.is_none());
    // RTCP whose body is encrypted has no lengths that anybody could check.
    let mut report = [&[0x80, 200, 0, 6, 0, 0, 0, 1][..], &[0xee; 38]].concat();
    let outcome = world.relay.receive(
        Side::A,
        Channel::Rtcp,
        &mut report,
        at("192.0.2.1:4001"),
        world.now,
    );
    assert!(outcome.forward.is_some());
}

#[test]
fn an_end_alone_is_heard_and_missed() {
    let mut world = World::new();
    world.relay = Relay::alone(TIMEOUT, world.now);
    world.relay.set_remote(Side::A, remote(ALICE), world.now);
    let (outcome, _) = world.send(Side::A, ALICE, 0);
    assert!(outcome.admitted);
    assert_eq!(outcome.forward, None);
    assert_eq!(world.dropped(Side::A), Dropped::default());
    let spoken_to = world.relay.target(Side::A, Channel::Rtp);
    assert_eq!(spoken_to, to(Side::A, Channel::Rtp, ALICE));
    world.now += TIMEOUT;
    assert_eq!(world.events(), [Event::Silent(Side::A)]);
}
