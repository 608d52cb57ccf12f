//! A server, a clock, and what goes over the wires.

use std::{
    collections::HashMap,
    net::SocketAddr,
    time::{Duration, Instant},
};

use bytes::Bytes;
use omnid_identity::{Address, DigestAlgorithm};

use crate::{
    engine::{
        Action, CallEvent, Decision, Engine, Fact, Flow, Key, Question, Settings, Shared, Turn,
    },
    wire::{HeaderName, Limits, Message, Transport},
};

pub(super) const SERVER: &str = "192.0.2.1:5060";
pub(super) const ALICE: &str = "198.51.100.1:5060";
pub(super) const BOB: &str = "198.51.100.2:5060";
pub(super) const BOB_TOO: &str = "198.51.100.22:5060";
pub(super) const MALLORY: &str = "203.0.113.66:5060";
pub(super) const UNIX: u64 = 1_800_000_000;

/// A message on its way to somebody.
pub(super) struct Sent {
    pub(super) to: SocketAddr,
    pub(super) message: Message,
    pub(super) transaction: Option<Key>,
}

impl Sent {
    pub(super) fn first_line(&self) -> &str {
        let bytes = self.message.bytes();
        let end = memchr::memchr(b'\r', bytes).unwrap();
        std::str::from_utf8(&bytes[..end]).unwrap()
    }

    pub(super) fn header(&self, name: HeaderName) -> Option<&str> {
        self.message
            .value(name)
            .map(|value| std::str::from_utf8(value).unwrap())
    }
}

pub(super) struct World {
    pub(super) engine: Engine,
    pub(super) shared: Shared,
    pub(super) settings: Settings,
    pub(super) events: Vec<CallEvent>,
    pub(super) logins: Vec<(String, bool)>,
    /// What the script decides, if there is one.
    pub(super) script: Option<Decision>,
    pub(super) draining: bool,
    /// Whether nothing can be written down.
    pub(super) store_fails: bool,
    accounts: HashMap<&'static str, &'static str>,
    start: Instant,
    elapsed: Duration,
}

impl World {
    pub(super) fn new() -> Self {
        let start = Instant::now();
        Self {
            engine: Engine::new(start),
            shared: Shared::new(b"a secret", 1),
            settings: Settings {
                domains: vec!["example.org".to_owned()],
                ports: vec![(Transport::Udp, 5060), (Transport::Tcp, 5060)],
                unauthenticated_per_second: 1000,
                ..Settings::default()
            },
            events: Vec::new(),
            logins: Vec::new(),
            script: None,
            draining: false,
            store_fails: false,
            accounts: [
                ("alice", "wonderland"),
                ("bob", "builder"),
                ("carol", "singer"),
            ]
            .into(),
            start,
            elapsed: Duration::ZERO,
        }
    }

    /// With Alice and Bob registered.
    pub(super) fn with_phones() -> Self {
        let mut world = Self::new();
        world.register("alice", ALICE);
        world.register("bob", BOB);
        world
    }

    fn turn(&mut self, act: &mut dyn FnMut(&mut Engine, &mut Turn<'_>)) -> Vec<Sent> {
        let raw = self.raw_turn(act);
        let sent = raw.into_iter().map(|(to, bytes, transaction)| Sent {
            to,
            message: Message::parse(bytes.clone(), &Limits::RELAXED)
                .unwrap_or_else(|rejected| panic!("{}: {bytes:?}", rejected.defect)),
            transaction,
        });
        sent.collect()
    }

    fn raw_turn(
        &mut self,
        act: &mut dyn FnMut(&mut Engine, &mut Turn<'_>),
    ) -> Vec<(SocketAddr, Bytes, Option<Key>)> {
        let mut turn = Turn {
            shared: &self.shared,
            settings: &self.settings,
            now: self.start + self.elapsed,
            unix: UNIX + self.elapsed.as_secs(),
            scripted: self.script.is_some(),
            draining: self.draining,
            alive: &|_| true,
            actions: Vec::new(),
        };
        act(&mut self.engine, &mut turn);
        let actions = turn.actions;
        let mut sent = Vec::new();
        for action in actions {
            match action {
                Action::Send {
                    to,
                    bytes,
                    transaction,
                } => sent.push((to.flow.remote, bytes, transaction)),
                Action::Ask(ticket, question) => {
                    let fact = self.answer(&question);
                    sent.extend(
                        self.raw_turn(&mut |engine, turn| engine.told(ticket, fact.clone(), turn)),
                    );
                }
                Action::Call(event) => self.events.push(event),
                Action::Login {
                    name, succeeded, ..
                } => self.logins.push((name, succeeded)),
            }
        }
        sent
    }

    fn answer(&self, question: &Question) -> Fact {
        match question {
            Question::Secret {
                username,
                realm,
                algorithm,
                ..
            } => {
                let password = self.accounts.get(&**username);
                let ha1 = password.map(|password| algorithm.ha1(username, realm, password));
                Fact::Secret(ha1.map(|ha1| ha1.into_bytes().into()))
            }
            Question::Account(address) => {
                let user = match address.user() {
                    "100" => "bob",
                    user => user,
                };
                let known = self.accounts.contains_key(user);
                Fact::Account(known.then(|| Address::new(user, "example.org").unwrap()))
            }
            Question::Script { .. } => Fact::Script(self.script.clone().unwrap()),
            Question::Written(_) if self.store_fails => Fact::Unknown,
            Question::Written(_) => Fact::Written,
        }
    }

    /// Has calls go by a plan.
    pub(super) fn plan(&mut self, text: &str) {
        let loaded = omnid_config::load_str::<crate::Config>(text);
        let config = loaded.unwrap_or_else(|error| panic!("{error}")).value;
        let mut problems = omnid_config::Problems::default();
        let plan = crate::plan::compile(&config, "example.org", &mut problems);
        let trunks = crate::trunk::compile(&config.trunk, &mut problems);
        assert_eq!(problems.errors(), 0, "{text}");
        self.settings.plan = plan.into();
        self.settings.trunks = trunks.into_iter().map(Into::into).collect();
    }

    /// Has the plan's trunks looked after, with their servers at these addresses.
    pub(super) fn look_after(&mut self, servers: &[&str]) -> Vec<Sent> {
        let trunks = self.settings.trunks.clone();
        let mut named = Vec::new();
        for trunk in trunks {
            let flows = servers.iter().map(|server| flow(server)).collect();
            self.shared.trunks.set_servers(&trunk.name, flows);
            named.push((trunk.clone(), format!("{}-id", trunk.name)));
        }
        self.turn(&mut |engine, turn| engine.look_after(named.clone(), turn))
    }

    /// A message arrives from somewhere.
    pub(super) fn deliver(&mut self, from: &str, text: &str) -> Vec<Sent> {
        self.deliver_bytes(from, &Bytes::from(text.replace('\n', "\r\n")))
    }

    pub(super) fn deliver_bytes(&mut self, from: &str, bytes: &Bytes) -> Vec<Sent> {
        let limits = self.settings.limits;
        self.turn(&mut |engine, turn| receive(engine, turn, from, bytes.clone(), &limits))
    }

    /// The same; what is sent may be as broken as what arrived. Its first line is what counts.
    pub(super) fn deliver_broken(&mut self, from: &str, bytes: &[u8]) -> Vec<String> {
        let limits = self.settings.limits;
        let bytes = Bytes::copy_from_slice(bytes);
        let sent =
            self.raw_turn(&mut |engine, turn| receive(engine, turn, from, bytes.clone(), &limits));
        let line = |bytes: &Bytes| {
            let end = memchr::memchr(b'\r', bytes).unwrap();
            String::from_utf8_lossy(&bytes[..end]).into_owned()
        };
        sent.iter().map(|(_, bytes, _)| line(bytes)).collect()
    }

    /// A transaction's message could not be sent.
    pub(super) fn fail(&mut self, sent: &Sent) -> Vec<Sent> {
        let key = sent.transaction.unwrap();
        self.turn(&mut |engine, turn| engine.failed(key, turn))
    }

    /// Lets time pass, timer by timer; what is sent comes with when.
    pub(super) fn pass(&mut self, time: Duration) -> Vec<(Duration, Sent)> {
        let until = self.elapsed + time;
        let mut all = Vec::new();
        while let Some(deadline) = self.engine.deadline() {
            let at = deadline.saturating_duration_since(self.start);
            if at > until {
                break;
            }
            self.elapsed = at.max(self.elapsed);
            let sent = self.turn(&mut Engine::expire);
            all.extend(sent.into_iter().map(|sent| (at, sent)));
        }
        self.elapsed = until;
        all
    }

    pub(super) fn elapsed(&self) -> Duration {
        self.elapsed
    }

    /// Sends a request twice: as it is, and then with an answer to the challenge.
    pub(super) fn with_password(&mut self, from: &str, password: &str, text: &str) -> Vec<Sent> {
        let challenge = self.deliver(from, text);
        let [challenge] = challenge.as_slice() else {
            panic!("{} answers", challenge.len());
        };
        let text = answered(&challenge.message, password, text);
        self.deliver(from, &text)
    }

    pub(super) fn register(&mut self, user: &str, at: &str) {
        let password = self.accounts[user];
        let text = register(user, at, 1, &format!("Contact: <sip:{user}@{at}>\n"));
        let answer = self.with_password(at, password, &text);
        assert_eq!(answer[0].first_line(), "SIP/2.0 200 OK");
    }

    pub(super) fn calls_of(&self, user: &str) -> usize {
        let address = Address::new(user, "example.org").unwrap();
        self.shared.calls_of(&address)
    }

    pub(super) fn bound(&self, user: &str) -> usize {
        let address = Address::new(user, "example.org").unwrap();
        let unix = UNIX + self.elapsed.as_secs();
        self.shared.location.lookup(&address, unix).len()
    }
}

fn receive(engine: &mut Engine, turn: &mut Turn<'_>, from: &str, bytes: Bytes, limits: &Limits) {
    match Message::parse(bytes, limits) {
        Ok(message) => engine.receive(message, flow(from), turn),
        Err(rejected) => {
            if let Some(request) = rejected.request {
                engine.refuse(&request, rejected.defect, flow(from), turn);
            }
        }
    }
}

pub(super) fn flow(from: &str) -> Flow {
    Flow {
        transport: Transport::Udp,
        local: SERVER.parse().unwrap(),
        remote: from.parse().unwrap(),
        connection: 0,
    }
}

pub(super) fn register(user: &str, at: &str, cseq: u32, headers: &str) -> String {
    format!(
        "REGISTER sip:example.org SIP/2.0\nVia: SIP/2.0/UDP {at};branch=z9hG4bKreg{user}{cseq}\n\
         From: <sip:{user}@example.org>;tag=r\nTo: <sip:{user}@example.org>\nCall-ID: reg-{user}-{at}\n\
         CSeq: {cseq} REGISTER\nMax-Forwards: 70\n{headers}Content-Length: 0\n\n"
    )
}

/// Any request of Alice's to Bob.
pub(super) fn request(method: &str, uri: &str, cseq: u32, headers: &str) -> String {
    format!(
        "{method} {uri} SIP/2.0\nVia: SIP/2.0/UDP {ALICE};branch=z9hG4bKalice{method}{cseq}\n\
         From: <sip:alice@example.org>;tag=a\nTo: <sip:bob@example.org>\nCall-ID: call\n\
         CSeq: {cseq} {method}\nMax-Forwards: 70\nContact: <sip:alice@{ALICE}>\n\
         {headers}Content-Length: 0\n\n"
    )
}

pub(super) const BOB_URI: &str = "sip:bob@example.org";

/// The same request with an answer to a challenge; its branch and CSeq are new.
pub(super) fn answered(challenge: &Message, password: &str, text: &str) -> String {
    let (name, answer) = match challenge.status() {
        Some(401) => (HeaderName::WwwAuthenticate, "Authorization"),
        Some(407) => (HeaderName::ProxyAuthenticate, "Proxy-Authorization"),
        other => panic!("not challenged but answered {other:?}"),
    };
    let value = std::str::from_utf8(challenge.value(name).unwrap()).unwrap();
    let part = |name: &str| {
        let start = value.find(&format!("{name}=\"")).unwrap() + name.len() + 2;
        value[start..].split('"').next().unwrap()
    };
    let (realm, nonce) = (part("realm"), part("nonce"));
    assert!(
        value.contains("algorithm=SHA-256"),
        "not offered first: {value}"
    );
    let mut words = text.split(' ');
    let (method, uri) = (words.next().unwrap(), words.next().unwrap());
    let from = text.split("From: <sip:").nth(1).unwrap();
    let user = from.split('@').next().unwrap();
    let hash = DigestAlgorithm::Sha256;
    let ha1 = hash.ha1(user, realm, password);
    let ha2 = hash.hash(format!("{method}:{uri}").as_bytes());
    let response = hash.hash(format!("{ha1}:{nonce}:00000001:cnonce:auth:{ha2}").as_bytes());
    let text = text.replacen(";branch=z9hG4bK", ";branch=z9hG4bKauth", 1);
    text.replacen(
        "Max-Forwards:",
        &format!(
            "{answer}: Digest username=\"{user}\", realm=\"{realm}\", nonce=\"{nonce}\", \
             uri=\"{uri}\", response=\"{response}\", algorithm=SHA-256, qop=auth, nc=00000001, \
             cnonce=\"cnonce\"\nMax-Forwards:"
        ),
        1,
    )
}

/// A response to a request that was received.
pub(super) fn response(to: &Message, status: &str, headers: &str) -> String {
    let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
    let mut response = format!("SIP/2.0 {status}\n");
    for via in to.lines(HeaderName::Via) {
        response += &format!("Via: {}\n", text(via));
    }
    for route in to.lines(HeaderName::RecordRoute) {
        response += &format!("Record-Route: {}\n", text(route));
    }
    for name in [HeaderName::From, HeaderName::CallId, HeaderName::CSeq] {
        response += &format!("{}: {}\n", name.as_str(), text(to.value(name).unwrap()));
    }
    let tag = if to.to_tag().is_some() || status.starts_with("100") {
        ""
    } else {
        ";tag=b"
    };
    let to = text(to.value(HeaderName::To).unwrap());
    response + &format!("To: {to}{tag}\n{headers}Content-Length: 0\n\n")
}

/// What was sent, as first lines with the last octet of where to.
pub(super) fn lines(sent: &[Sent]) -> Vec<String> {
    sent.iter()
        .map(|sent| {
            let ip = sent.to.ip().to_string();
            format!("{} {}", ip.rsplit('.').next().unwrap(), sent.first_line())
        })
        .collect()
}
