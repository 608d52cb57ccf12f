//! Whole calls over a network that loses and reorders, between user agents made of the same
//! transaction machines.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use bytes::Bytes;

use super::world::{ALICE, BOB, BOB_URI, World, answered, request, response};
use crate::{
    engine::{
        CallEvent,
        transaction::{Client, ClientInvite, Effects, Server, ServerInvite, Tell, Timers},
    },
    wire::{HeaderName, Limits, Message, Method},
};

/// Latency, loss and order, by a seed.
struct Network {
    seed: u64,
    loss_percent: u64,
    /// By arrival: who sends, to whom, what.
    flying: BTreeMap<(Duration, u64), (String, String, Bytes)>,
    count: u64,
}

impl Network {
    fn random(&mut self) -> u64 {
        // xorshift64*: any generator would do, and this one needs no crate.
        self.seed ^= self.seed >> 12;
        self.seed ^= self.seed << 25;
        self.seed ^= self.seed >> 27;
        self.seed.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 16
    }

    fn send(&mut self, now: Duration, from: &str, to: &str, bytes: Bytes) {
        if self.random() % 100 < self.loss_percent {
            return;
        }
        let latency = Duration::from_millis(1 + self.random() % 200);
        self.count += 1;
        let what = (from.to_owned(), to.to_owned(), bytes);
        self.flying.insert((now + latency, self.count), what);
    }
}

/// A phone: it calls or is called, and the caller hangs up after a while.
struct Phone {
    at: &'static str,
    start: Instant,
    password: &'static str,
    invite: Option<ClientInvite>,
    invite_text: String,
    ringing: Option<(ServerInvite, Message)>,
    /// A 200 that is repeated until it is acknowledged (RFC 3261 13.3.1.4).
    ok: Option<(Bytes, Duration, Duration)>,
    ack: Option<Bytes>,
    bye: Option<Client>,
    bye_at: Option<(Duration, String)>,
    answered_bye: Option<Server>,
    log: Vec<&'static str>,
}

impl Phone {
    fn new(at: &'static str, password: &'static str, start: Instant) -> Self {
        Self {
            at,
            start,
            password,
            invite: None,
            invite_text: String::new(),
            ringing: None,
            ok: None,
            ack: None,
            bye: None,
            bye_at: None,
            answered_bye: None,
            log: Vec::new(),
        }
    }

    fn call(&mut self, text: String, now: Duration) -> Vec<Bytes> {
        let bytes = Bytes::from(text.replace('\n', "\r\n"));
        self.invite_text = text;
        let (invite, effects) =
            ClientInvite::new(bytes, false, Timers::default(), self.start + now);
        self.invite = Some(invite);
        effects.send.into_iter().collect()
    }

    fn receive(&mut self, message: Message, now: Duration) -> Vec<Bytes> {
        let at = self.start + now;
        let mut out = Vec::new();
        match (message.status(), message.method()) {
            (Some(status), Method::Invite) => {
                let Some(invite) = &mut self.invite else {
                    return out;
                };
                let effects = invite.response(&message, at);
                out.extend(effects.send);
                if effects.tell != Some(Tell::Response) {
                    return out;
                }
                match status {
                    407 => {
                        // Once: a second challenge would be a wrong password.
                        assert!(!self.invite_text.contains("Proxy-Authorization"));
                        let text = answered(&message, self.password, &self.invite_text);
                        let text = text.replace("CSeq: 1 ", "CSeq: 2 ");
                        out.extend(self.call(text, now));
                    }
                    200 => {
                        let ack = within(&message, "ACK", 2);
                        let ack = Bytes::from(ack.replace('\n', "\r\n"));
                        if self.ack.is_none() {
                            self.log.push("answered");
                            let bye = within(&message, "BYE", 3);
                            self.bye_at = Some((now + Duration::from_secs(60), bye));
                        }
                        self.ack = Some(ack.clone());
                        out.push(ack);
                    }
                    100..=199 => {}
                    _ => self.log.push("refused"),
                }
            }
            (Some(status), Method::Bye) => {
                if let Some(bye) = &mut self.bye
                    && bye.response(status, at).tell == Some(Tell::Response)
                {
                    self.log.push(if status == 200 {
                        "hung up"
                    } else {
                        "bye refused"
                    });
                }
            }
            (None, Method::Invite) => match &mut self.ringing {
                Some((server, _)) => out.extend(server.request_again().send),
                None => {
                    let mut server = ServerInvite::new(false, Timers::default());
                    let ringing =
                        Bytes::from(response(&message, "180 Ringing", "").replace('\n', "\r\n"));
                    out.extend(server.respond(180, ringing, at).send);
                    self.ok = None;
                    self.ringing = Some((server, message));
                    self.log.push("rang");
                }
            },
            (None, Method::Ack) => {
                let first = self.ok.take().map(|_| "acknowledged");
                self.log.extend(first);
            }
            (None, Method::Bye) => {
                if self.answered_bye.is_none() {
                    self.log.push("was hung up on");
                    self.answered_bye = Some(Server::new(false, Timers::default()));
                }
                if let Some(server) = &mut self.answered_bye {
                    let ok = Bytes::from(response(&message, "200 OK", "").replace('\n', "\r\n"));
                    let effects = server.respond(200, ok, at);
                    out.extend(effects.send.or_else(|| server.request_again().send));
                }
            }
            _ => {}
        }
        out
    }

    /// Bob lets it ring for five seconds.
    fn answer(&mut self, now: Duration) -> Vec<Bytes> {
        let Some((server, invite)) = &mut self.ringing else {
            return Vec::new();
        };
        if server.is_answered() {
            return Vec::new();
        }
        let ok = Bytes::from(
            response(invite, "200 OK", "Contact: <sip:bob@198.51.100.2>\n").replace('\n', "\r\n"),
        );
        self.ok = Some((
            ok.clone(),
            now + Duration::from_millis(500),
            Duration::from_millis(500),
        ));
        server
            .respond(200, ok, self.start + now)
            .send
            .into_iter()
            .collect()
    }

    fn tick(&mut self, now: Duration) -> Vec<Bytes> {
        let at = self.start + now;
        let mut out = Vec::new();
        let mut effects = Vec::<Effects>::new();
        if let Some(invite) = &mut self.invite {
            effects.push(invite.expire(at));
        }
        if let Some((server, _)) = &mut self.ringing {
            effects.push(server.expire(at));
        }
        if let Some(bye) = &mut self.bye {
            effects.push(bye.expire(at));
        }
        out.extend(effects.into_iter().filter_map(|effects| effects.send));
        if let Some((ok, again, interval)) = &mut self.ok
            && *again <= now
        {
            *interval = (*interval * 2).min(Duration::from_secs(4));
            *again = now + *interval;
            out.push(ok.clone());
        }
        if let Some((_, text)) = self.bye_at.take_if(|(when, _)| *when <= now) {
            let bytes = Bytes::from(text.replace('\n', "\r\n"));
            let (bye, effects) = Client::new(bytes, false, Timers::default(), at);
            self.bye = Some(bye);
            out.extend(effects.send);
        }
        out
    }
}

fn within(ok: &Message, method: &str, cseq: u32) -> String {
    let routes: Vec<_> = ok
        .list(HeaderName::RecordRoute)
        .map(|route| String::from_utf8_lossy(route).into_owned())
        .collect();
    format!(
        "{method} sip:bob@198.51.100.2 SIP/2.0\nVia: SIP/2.0/UDP {ALICE};branch=z9hG4bKin{method}\n\
         Route: {}\nFrom: <sip:alice@example.org>;tag=a\nTo: <sip:bob@example.org>;tag=b\nCall-ID: call\n\
         CSeq: {cseq} {method}\nMax-Forwards: 70\nContent-Length: 0\n\n",
        routes.join(", ")
    )
}

/// One call over such a network; what both phones and the server made of it.
fn call(seed: u64, loss_percent: u64) -> (World, Phone, Phone) {
    let mut world = World::with_phones();
    let start = Instant::now();
    let mut network = Network {
        seed: seed | 1,
        loss_percent,
        flying: BTreeMap::new(),
        count: 0,
    };
    let mut alice = Phone::new(ALICE, "wonderland", start);
    let mut bob = Phone::new(BOB, "builder", start);
    let mut now = world.elapsed();
    for bytes in alice.call(request("INVITE", BOB_URI, 1, ""), now) {
        network.send(now, ALICE, "server", bytes);
    }
    let mut answer_at = None;
    let end = now + Duration::from_secs(400);
    while now < end {
        now += Duration::from_millis(10);
        for (at, sent) in world.pass(now - world.elapsed()) {
            network.send(
                at,
                "server",
                &sent.to.to_string(),
                sent.message.bytes().clone(),
            );
        }
        while let Some(entry) = network.flying.first_entry() {
            if entry.key().0 > now {
                break;
            }
            let (from, to, bytes) = entry.remove();
            if to == "server" {
                for sent in world.deliver_bytes(&from, &bytes) {
                    network.send(
                        now,
                        "server",
                        &sent.to.to_string(),
                        sent.message.bytes().clone(),
                    );
                }
                continue;
            }
            let phone = if to == ALICE { &mut alice } else { &mut bob };
            let message = Message::parse(bytes, &Limits::default()).unwrap();
            for bytes in phone.receive(message, now) {
                network.send(now, phone.at, "server", bytes);
            }
        }
        if bob.ringing.is_some() && answer_at.is_none() {
            answer_at = Some(now + Duration::from_secs(5));
        }
        if answer_at.is_some_and(|at| at <= now) {
            for bytes in bob.answer(now) {
                network.send(now, BOB, "server", bytes);
            }
        }
        for phone in [&mut alice, &mut bob] {
            for bytes in phone.tick(now) {
                network.send(now, phone.at, "server", bytes);
            }
        }
    }
    (world, alice, bob)
}

#[test]
fn a_call_over_a_network_that_loses_nothing() {
    let (world, alice, bob) = call(7, 0);
    assert_eq!(alice.log, ["answered", "hung up"]);
    assert_eq!(bob.log, ["rang", "acknowledged", "was hung up on"]);
    assert_eq!(world.engine.transactions(), 0);
}

/// One message in five is lost, the rest arrive in any order; every call comes about, is heard of
/// once, and leaves nothing behind. The networks are the same each time: one that loses every ACK
/// for as long as the answer is repeated is rare, but there is one among as many as one likes.
#[test]
fn a_call_over_a_network_that_loses_a_fifth() {
    for seed in 1..=16 {
        let (world, alice, bob) = call(seed, 20);
        let said = format!("{seed}: {:?} {:?} {:?}", alice.log, bob.log, world.events);
        assert_eq!(alice.log.first(), Some(&"answered"), "{said}");
        assert_eq!(bob.log[..2], ["rang", "acknowledged"], "{said}");
        assert!(bob.log.contains(&"was hung up on"), "{said}");
        assert!(
            matches!(
                world.events[..2],
                [CallEvent::Started { .. }, CallEvent::Answered { .. }]
            ),
            "{said}"
        );
        assert_eq!(world.engine.transactions(), 0, "{said}");
        assert_eq!(world.engine.unanswered(), 0, "{said}");
    }
}

/// Every ACK is lost: the call stands until the caller hangs up, and then it is over as well.
#[test]
fn a_call_whose_acknowledgements_are_all_lost() {
    let (world, alice, bob) = call(3_232_352_696_564_304_900, 20);
    assert_eq!(alice.log, ["answered", "hung up"]);
    assert_eq!(bob.log, ["rang", "was hung up on"]);
    assert_eq!(world.engine.transactions(), 0);
    assert_eq!(world.engine.unanswered(), 0);
}
