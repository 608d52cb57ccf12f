//! The engine in virtual time, against a network made of a few zone files.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod cache;
mod routes;
mod trust;

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::anchors::Anchors;
use super::network::{Carrier, Lost, Network, Outgoing};
use super::policy::Policy;
use super::settings::{Budget, Settings};
use super::{Ask, Delegation, Memory, Resolver};
use crate::engine::answer::{Client, Outcome, Scratch, Transport, answer};
use crate::engine::state::{Settings as Serving, State};
use crate::engine::zone::Zone;
use crate::engine::zone::tests::load;
use crate::engine::zones::{Served, Zones};
use crate::wire::code::{Rcode, RrType};
use crate::wire::message::Message;
use crate::wire::name::Name;

/// What a test does to a message on its way.
type Mischief =
    Box<dyn Fn(SocketAddr, &Carrier, &Outgoing, Vec<u8>) -> Result<Vec<u8>, Lost> + Send + Sync>;

struct World {
    begun: Instant,
    /// Milliseconds since then.
    clock: AtomicU64,
    servers: HashMap<IpAddr, State>,
    silent: AtomicBool,
    mischief: Mischief,
    /// Names and types asked for, and by which carrier.
    log: Mutex<Vec<String>>,
}

impl Network for World {
    fn exchange<'a>(
        &'a self,
        to: SocketAddr,
        carrier: &'a Carrier,
        query: &'a Outgoing,
        limit: Duration,
    ) -> BoxFuture<'a, Result<Vec<u8>, Lost>> {
        let asked = Message::read(&query.bytes).unwrap();
        let (name, rr_type, _) = &asked.questions[0];
        self.log
            .lock()
            .unwrap()
            .push(format!("{} {name} {rr_type}", to.ip()).to_lowercase());
        let state = self.servers.get(&to.ip());
        let Some(state) = state.filter(|_| !self.silent.load(Ordering::Relaxed)) else {
            let wait = limit.as_millis() as u64;
            self.clock.fetch_add(wait, Ordering::Relaxed);
            return std::future::ready(Err(Lost::Timeout)).boxed();
        };
        self.clock.fetch_add(10, Ordering::Relaxed);
        let transport = match carrier {
            Carrier::Udp => Transport::Udp,
            _ => Transport::Tcp,
        };
        let client = Client::new("192.0.2.99".parse().unwrap(), transport);
        let (mut out, mut scratch) = (vec![0; 65_535], Scratch::default());
        let Outcome::Reply(answered) =
            answer(state, &client, 0, &query.bytes, &mut out, &mut scratch)
        else {
            panic!("no reply");
        };
        out.truncate(answered.len);
        let came = (self.mischief)(to, carrier, query, out);
        let came = came.and_then(|bytes| match query.is_answered_by(&bytes) {
            true => Ok(bytes),
            false => Err(Lost::Timeout),
        });
        std::future::ready(came).boxed()
    }

    fn now(&self) -> Instant {
        self.begun + Duration::from_millis(self.clock.load(Ordering::Relaxed))
    }

    fn unix_time(&self) -> u64 {
        1_800_000_000 + self.clock.load(Ordering::Relaxed) / 1000
    }

    fn random(&self, octets: &mut [u8]) {
        crate::random(octets);
    }
}

fn name(text: &str) -> Name {
    Name::from_text(text).unwrap()
}

const HEAD: &str = "$TTL 300\n@ SOA ns. hm. 1 2 3 4 60\n";

fn world(mischief: Mischief) -> Arc<World> {
    let zones: [Unsigned<'_>; 3] = [
        (
            ".",
            "192.0.2.1",
            "@ NS a.root.\na.root. A 192.0.2.1\nexample. NS ns.example.\nns.example. A 192.0.2.2\n",
        ),
        (
            "example.",
            "192.0.2.2",
            "@ NS ns\nns A 192.0.2.2\nsub NS ns.sub\nns.sub A 192.0.2.3\nwww 100 A 192.0.2.80\n",
        ),
        (
            "sub.example.",
            "192.0.2.3",
            "@ NS ns\nns A 192.0.2.3\na.b.c.www 100 A 192.0.2.81\n",
        ),
    ];
    world_of(&zones, mischief)
}

/// Apex, address of the server, and records but the SOA.
type Unsigned<'a> = (&'a str, &'a str, &'a str);

fn world_of(zones: &[Unsigned<'_>], mischief: Mischief) -> Arc<World> {
    let zones = zones.iter().map(|(apex, address, text)| {
        let zone = load(apex, &format!("{HEAD}{text}")).zone.unwrap();
        (*address, zone)
    });
    world_serving(zones, mischief)
}

fn world_serving<'a>(
    zones: impl Iterator<Item = (&'a str, Zone)>,
    mischief: Mischief,
) -> Arc<World> {
    let mut served: HashMap<IpAddr, Vec<Served>> = HashMap::new();
    for (address, zone) in zones {
        let zone = Arc::new(zone);
        let one = Served {
            view: None,
            zone,
            history: Arc::default(),
            rules: Arc::default(),
            secondary: false,
            expired: false,
        };
        served
            .entry(address.parse().unwrap())
            .or_default()
            .push(one);
    }
    let servers = served.into_iter().map(|(address, zones)| {
        let state = State {
            views: Default::default(),
            zones: Zones::new(zones),
            keys: crate::engine::tsig::Keys::default(),
            settings: Serving::default(),
        };
        (address, state)
    });
    Arc::new(World {
        begun: Instant::now(),
        clock: AtomicU64::new(0),
        servers: servers.collect(),
        silent: AtomicBool::new(false),
        mischief,
        log: Mutex::default(),
    })
}

/// What a configuration without anything in it says, but for validation.
pub(crate) fn settings() -> Settings {
    Settings {
        routes: Vec::new(),
        hints: Delegation::root(vec![(name("a.root."), vec!["192.0.2.1".parse().unwrap()])]),
        port: 53,
        minimise: true,
        mix_case: false,
        ipv6: true,
        validate: false,
        anchors: Anchors::default(),
        exempt: Vec::new(),
        empty_zones: true,
        dns64: None,
        policy: Arc::new(Policy::default()),
        min_ttl: 0,
        max_ttl: 86_400,
        max_negative_ttl: 3600,
        failure_ttl: 5,
        prefetch: true,
        stale: Duration::ZERO,
        stale_after: Duration::from_millis(1800),
        budget: Budget::default(),
    }
}

fn resolver(world: &Arc<World>, change: impl FnOnce(&mut Settings)) -> Arc<Resolver> {
    let mut settings = settings();
    change(&mut settings);
    Arc::new(Resolver {
        settings,
        memory: Arc::new(Memory::new(8 << 20)),
        network: world.clone(),
        local: None,
    })
}

fn question(text: &str, rr_type: RrType) -> Ask {
    Ask {
        name: name(text),
        rr_type,
        dnssec_ok: false,
        checking_disabled: false,
        refresh: false,
        unfiltered: false,
    }
}

fn ask(resolver: &Resolver, text: &str, rr_type: RrType) -> (Rcode, usize, u32) {
    let ask = question(text, rr_type);
    // Nothing in this world makes anybody wait.
    let resolved = resolver.resolve(&ask).now_or_never().unwrap();
    (resolved.rcode, resolved.answer.len(), resolved.ttl)
}

/// The data of the last set of an answer.
fn data(resolver: &Resolver, text: &str, rr_type: RrType) -> Vec<Box<[u8]>> {
    let ask = question(text, rr_type);
    let resolved = resolver.resolve(&ask).now_or_never().unwrap();
    let last = resolved.answer.last();
    last.map(|(set, _)| set.data.clone()).unwrap_or_default()
}

fn honest() -> Mischief {
    Box::new(|_, _, _, bytes| Ok(bytes))
}

/// RFC 9156: each server is told what it needs to know and no more.
#[test]
fn names_are_shown_piece_by_piece() {
    let world = world(honest());
    let resolver = resolver(&world, |_| {});
    assert_eq!(
        ask(&resolver, "a.b.c.www.sub.example.", RrType::A),
        (Rcode::NOERROR, 1, 100)
    );
    assert_eq!(
        *world.log.lock().unwrap(),
        [
            "192.0.2.1 . ns",
            "192.0.2.1 example. a",
            "192.0.2.2 sub.example. a",
            "192.0.2.3 www.sub.example. a",
            "192.0.2.3 c.www.sub.example. a",
            "192.0.2.3 b.c.www.sub.example. a",
            "192.0.2.3 a.b.c.www.sub.example. a",
        ]
    );
}

#[test]
fn what_is_known_is_not_asked_for_and_expires() {
    let world = world(honest());
    let resolver = resolver(&world, |_| {});
    let asked = || world.log.lock().unwrap().len();
    assert_eq!(
        ask(&resolver, "www.example.", RrType::A),
        (Rcode::NOERROR, 1, 100)
    );
    let before = asked();
    world.clock.fetch_add(40_000, Ordering::Relaxed);
    assert_eq!(
        ask(&resolver, "WWW.example.", RrType::A),
        (Rcode::NOERROR, 1, 60)
    );
    assert_eq!(asked(), before);
    world.clock.fetch_add(61_000, Ordering::Relaxed);
    assert_eq!(
        ask(&resolver, "www.example.", RrType::A),
        (Rcode::NOERROR, 1, 100)
    );
    assert_eq!(asked(), before + 1);
    // RFC 2308: the smaller of the SOA's TTL and its last field.
    assert_eq!(
        ask(&resolver, "none.example.", RrType::A),
        (Rcode::NXDOMAIN, 0, 60)
    );
    let before = asked();
    assert_eq!(
        ask(&resolver, "none.example.", RrType::MX),
        (Rcode::NXDOMAIN, 0, 60)
    );
    assert_eq!(asked(), before, "no type of a name that is not there");
    // Private networks are nobody's business.
    assert_eq!(
        ask(&resolver, "1.0.0.10.in-addr.arpa.", RrType::PTR).0,
        Rcode::NXDOMAIN
    );
    assert_eq!(asked(), before);
}

#[test]
fn failures_are_remembered_and_stale_answers_serve() {
    let world = world(honest());
    let plain = resolver(&world, |_| {});
    world.silent.store(true, Ordering::Relaxed);
    assert_eq!(ask(&plain, "www.example.", RrType::A).0, Rcode::SERVFAIL);
    let before = world.log.lock().unwrap().len();
    assert_eq!(ask(&plain, "www.example.", RrType::A).0, Rcode::SERVFAIL);
    assert_eq!(world.log.lock().unwrap().len(), before, "RFC 9520");

    world.silent.store(false, Ordering::Relaxed);
    let lenient = resolver(&world, |settings| {
        settings.stale = Duration::from_secs(3600);
    });
    assert_eq!(
        ask(&lenient, "www.example.", RrType::A),
        (Rcode::NOERROR, 1, 100)
    );
    world.silent.store(true, Ordering::Relaxed);
    world.clock.fetch_add(101_000, Ordering::Relaxed);
    assert_eq!(
        ask(&lenient, "www.example.", RrType::A),
        (Rcode::NOERROR, 1, 30),
        "RFC 8767"
    );
    world.clock.fetch_add(3_700_000, Ordering::Relaxed);
    assert_eq!(
        ask(&lenient, "www.example.", RrType::A).0,
        Rcode::SERVFAIL,
        "too old"
    );
}

#[test]
fn servers_without_edns_or_with_wrong_cookies_are_understood() {
    // A server of before 1999: FORMERR to what has an OPT record.
    let old: Mischief = Box::new(|_, _, query, bytes| {
        let mut bytes = bytes;
        if query.bytes.get(11) == Some(&1) {
            bytes.truncate(12);
            bytes[3] = 1;
            bytes[4..12].fill(0);
        }
        Ok(bytes)
    });
    let resolver_old = resolver(&world(old), |_| {});
    assert_eq!(
        ask(&resolver_old, "www.example.", RrType::A).0,
        Rcode::NOERROR
    );

    // Everything is cut off over UDP.
    let cut: Mischief = Box::new(|_, carrier, _, bytes| {
        let mut bytes = bytes;
        if *carrier == Carrier::Udp {
            bytes[2] |= 2;
        }
        Ok(bytes)
    });
    let resolver_cut = resolver(&world(cut), |_| {});
    assert_eq!(
        ask(&resolver_cut, "www.example.", RrType::A).0,
        Rcode::NOERROR
    );

    // Case that does not come back as it was sent is not taken.
    let lower: Mischief = Box::new(|_, carrier, query, bytes| {
        let mut bytes = bytes;
        if *carrier == Carrier::Udp {
            let end = query.bytes.len().min(bytes.len()).min(40);
            bytes[12..end].make_ascii_lowercase();
        }
        Ok(bytes)
    });
    let forged = world(lower);
    let strict = resolver(&forged, |settings| settings.mix_case = true);
    let long = "www.example.";
    // Twelve letters of which each would have to be lower case by chance.
    assert_eq!(ask(&strict, long, RrType::TXT).0, Rcode::SERVFAIL);
}

#[test]
fn responses_of_any_bytes_do_no_harm() {
    use proptest::prelude::*;
    let strategy = prop::collection::vec((any::<u16>(), any::<u8>()), 1..40);
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(64));
    let run = runner.run(&strategy, |changes| {
        let garble: Mischief = Box::new(move |_, _, _, bytes| {
            let mut bytes = bytes;
            for (at, value) in &changes {
                let length = bytes.len();
                // ID and question stay, or it would not be taken at all.
                let at = usize::from(*at) % length;
                if at >= 30 || (3..12).contains(&at) && at != 4 && at != 5 {
                    bytes[at] = *value;
                }
            }
            Ok(bytes)
        });
        let resolver = resolver(&world(garble), |settings| {
            settings.validate = true;
            settings.anchors = Anchors::new(Vec::new());
        });
        let (rcode, ..) = ask(&resolver, "a.b.c.www.sub.example.", RrType::A);
        prop_assert!(matches!(
            rcode,
            Rcode::NOERROR | Rcode::NXDOMAIN | Rcode::SERVFAIL
        ));
        Ok(())
    });
    run.unwrap();
}
