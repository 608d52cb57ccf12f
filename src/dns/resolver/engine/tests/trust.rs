//! Signed zones, and what may be made of them.

use super::*;
use crate::dnssec::policy::Policy as Signing;
use crate::dnssec::signer::{Plan, Signing as Signer, sign};
use crate::dnssec::{Algorithm, DigestType, Ds, PrivateKey};
use crate::resolver::engine::managed::Managed;
use crate::resolver::engine::network::Style;
use crate::resolver::engine::record::{RrSet, Security};
use crate::wire::reader::{Header, Reader};
use crate::wire::record::OwnRecord;

/// The key of a zone.
pub(super) struct ZoneKey {
    private: PrivateKey,
    flags: u16,
}

impl ZoneKey {
    pub(super) fn new(flags: u16) -> ZoneKey {
        let private = PrivateKey::generate(Algorithm::ED25519, 0).unwrap();
        ZoneKey { private, flags }
    }

    pub(super) fn data(&self) -> Vec<u8> {
        self.private.dnskey(self.flags)
    }

    /// As the zone above says it.
    fn ds(&self, zone: &str) -> String {
        let zone = name(zone);
        let ds = Ds::make(zone.as_ref(), &self.data(), DigestType::SHA256).unwrap();
        let digest: String = ds
            .iter()
            .skip(4)
            .map(|octet| format!("{octet:02x}"))
            .collect();
        format!(
            "{} {} {} {digest}",
            u16::from_be_bytes([ds[0], ds[1]]),
            ds[2],
            ds[3]
        )
    }

    /// A zone that it signs.
    pub(super) fn sign(&self, apex: &str, text: &str) -> Zone {
        self.sign_for(apex, text, 14 * 86_400)
    }

    fn sign_for(&self, apex: &str, text: &str, validity: i64) -> Zone {
        let base = load(apex, &format!("{HEAD}{text}")).zone.unwrap();
        let policy = Signing {
            validity,
            jitter: 0,
            ..Signing::default()
        };
        let plan = Plan {
            policy: &policy,
            published: vec![self.data()],
            signing: vec![Signer {
                private: &self.private,
                tag: crate::dnssec::key_tag(&self.data()),
                keys: true,
                zone: true,
            }],
            cds: Vec::new(),
            delete_ds: false,
            now: 1_800_000_000,
            all: true,
            least_serial: None,
        };
        sign(&base, None, &plan).unwrap().zone.unwrap()
    }

    /// Trusts it as the root's.
    pub(super) fn trust(&self, settings: &mut Settings) {
        settings.validate = true;
        let anchor = (Name::root(), RrType::DNSKEY, self.data().into());
        settings.anchors = Anchors::new(vec![anchor]);
    }
}

fn security(resolver: &Resolver, text: &str, rr_type: RrType) -> (Rcode, Security) {
    let ask = question(text, rr_type);
    let resolved = resolver.resolve(&ask).now_or_never().unwrap();
    (resolved.rcode, resolved.security)
}

const ROOT: &str = "@ NS a.root.\na.root. A 192.0.2.1\nexample. NS ns.example.\n\
                    ns.example. A 192.0.2.2\n";
const EXAMPLE: &str = "@ NS ns\nns A 192.0.2.2\nwww 100 A 192.0.2.80\n*.w TXT wild\n";

/// A root and a zone, both signed.
fn signed(root: &ZoneKey, mischief: Mischief) -> Arc<World> {
    let below = ZoneKey::new(257);
    let text = format!("{ROOT}example. DS {}\n", below.ds("example."));
    let zones = [
        ("192.0.2.1", root.sign(".", &text)),
        ("192.0.2.2", below.sign("example.", EXAMPLE)),
    ];
    world_serving(zones.into_iter(), mischief)
}

#[test]
fn what_is_signed_is_secure() {
    let key = ZoneKey::new(257);
    let world = signed(&key, honest());
    let resolver = resolver(&world, |settings| key.trust(settings));
    for (asked, rr_type, rcode) in [
        ("www.example.", RrType::A, Rcode::NOERROR),
        ("www.example.", RrType::MX, Rcode::NOERROR),
        ("a.w.example.", RrType::TXT, Rcode::NOERROR),
        ("none.example.", RrType::A, Rcode::NXDOMAIN),
        ("none.", RrType::A, Rcode::NXDOMAIN),
    ] {
        let told = security(&resolver, asked, rr_type);
        assert_eq!(told, (rcode, Security::Secure), "{asked} {rr_type}");
    }
}

/// An anchor that follows its zone's keys stays one, though its key is not marked as one.
#[test]
fn an_anchor_without_the_mark_of_one_holds() {
    for flags in [256, 257] {
        let key = ZoneKey::new(flags);
        let world = signed(&key, honest());
        let resolver = resolver(&world, |settings| key.trust(settings));
        let look = || {
            let anchor = resolver.settings.anchors.iter().next().unwrap();
            let looked = resolver.look_at_anchor(anchor).now_or_never().unwrap();
            let state = looked.unwrap().0;
            let trusted = state.trusted().count();
            let managed = &resolver.memory.managed;
            managed.lock().unwrap().insert(Name::root(), state);
            trusted
        };
        assert_eq!((look(), look()), (1, 1), "{flags}");
        let told = security(&resolver, "www.example.", RrType::A);
        assert_eq!(told, (Rcode::NOERROR, Security::Secure), "{flags}");
        // What an earlier run kept, and never came to trust anything by.
        let mut managed = resolver.memory.managed.lock().unwrap();
        managed.insert(Name::root(), Managed::default());
        drop(managed);
        resolver.flush(|_| true);
        let told = security(&resolver, "www.example.", RrType::A);
        assert_eq!(told, (Rcode::NOERROR, Security::Secure), "{flags}");
        assert_eq!(look(), 1, "{flags}");
    }
}

/// What one question could not afford is no other zone's fault.
#[test]
fn a_spent_budget_is_nobody_elses_failure() {
    let key = ZoneKey::new(257);
    let world = signed(&key, honest());
    let memory = Arc::new(Memory::new(8 << 20));
    let poor = |change: &dyn Fn(&mut Settings)| {
        let made = resolver(&world, |settings| {
            key.trust(settings);
            change(settings);
        });
        Resolver {
            memory: memory.clone(),
            settings: made.settings.clone(),
            network: world.clone(),
            local: None,
        }
    };
    let told = |resolver: &Resolver, asked: &str| security(resolver, asked, RrType::A);
    let rich = poor(&|_| {});
    for asked in ["www.example.", "none.example."] {
        for signatures in 0..4 {
            rich.flush(|_| true);
            let poor = poor(&|settings| settings.budget.signatures = signatures);
            let (rcode, _) = told(&poor, asked);
            assert_eq!(rcode, Rcode::SERVFAIL, "{asked} {signatures}");
            let (_, security) = told(&rich, asked);
            assert_eq!(
                security,
                Security::Secure,
                "{asked} {signatures} signatures"
            );
        }
        for queries in 1..6 {
            rich.flush(|_| true);
            let poor = poor(&|settings| settings.budget.queries = queries);
            told(&poor, asked);
            let (_, security) = told(&rich, asked);
            assert_eq!(security, Security::Secure, "{asked} {queries} queries");
        }
    }
    // As for the queries that a zone's servers get for all clients together.
    rich.flush(|_| true);
    let barred = poor(&|settings| settings.budget.per_zone = 0);
    assert_eq!(told(&barred, "www.example.").0, Rcode::SERVFAIL);
    assert_eq!(told(&rich, "www.example.").1, Security::Secure);
}

/// A message with records put to the end of its authority section.
fn with_authority(bytes: &[u8], records: &[OwnRecord]) -> Vec<u8> {
    let header = Header::read(bytes).unwrap();
    let mut reader = Reader::at(bytes, Header::LEN);
    reader.skip_name().unwrap();
    reader.u32().unwrap();
    for _ in 0..header.answers + header.authorities {
        reader.record().unwrap();
    }
    let at = reader.position();
    let mut added = Vec::new();
    for record in records {
        added.extend_from_slice(record.owner.as_ref().wire());
        added.extend_from_slice(&record.rr_type.0.to_be_bytes());
        added.extend_from_slice(&1u16.to_be_bytes());
        added.extend_from_slice(&record.ttl.to_be_bytes());
        added.extend_from_slice(&(record.rdata.len() as u16).to_be_bytes());
        added.extend_from_slice(&record.rdata);
    }
    let mut made = [&bytes[..at], &added, &bytes[at..]].concat();
    let count = header.authorities + records.len() as u16;
    made[8..10].copy_from_slice(&count.to_be_bytes());
    made
}

/// What comes along with an answer is as good as the answer, or does not go out with it.
#[test]
fn what_comes_along_is_verified_or_dropped() {
    let key = ZoneKey::new(257);
    let record = |rr_type: RrType, text: &str| {
        OwnRecord::from_text(name("a.example."), rr_type, 60, text).unwrap()
    };
    let signature = "NSEC 15 2 60 20290101000000 20270101000000 1 example. AAAA";
    let forged = [
        record(RrType::NSEC, "zz.example. A"),
        record(RrType::RRSIG, signature),
    ];
    let world = signed(
        &key,
        Box::new(move |_, carrier, _, bytes| match carrier {
            Carrier::Udp => Ok(with_authority(&bytes, &forged)),
            _ => Ok(bytes),
        }),
    );
    let resolver = resolver(&world, |settings| key.trust(settings));
    for (asked, rr_type, proofs) in [
        ("www.example.", RrType::A, 0),
        ("none.example.", RrType::A, 3),
        ("a.w.example.", RrType::TXT, 1),
    ] {
        let ask = question(asked, rr_type);
        let resolved = resolver.resolve(&ask).now_or_never().unwrap();
        assert_eq!(resolved.security, Security::Secure, "{asked}");
        let forged = |(set, _): &(Arc<_>, u32)| {
            let set: &RrSet = set;
            set.owner == name("a.example.")
        };
        assert!(!resolved.authority.iter().any(forged), "{asked}");
        assert!(resolved.authority.len() <= proofs, "{asked}");
    }
}

/// The SOA record of a denial says how long it holds: it must be the zone's own.
#[test]
fn a_denial_with_a_forged_soa_is_bogus() {
    let key = ZoneKey::new(257);
    let world = signed(
        &key,
        Box::new(|_, _, _, mut bytes| {
            // Refresh, retry, expire and minimum of the zones' SOA records.
            let tail = [0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4, 0, 0, 0, 60];
            let at = bytes.windows(tail.len()).position(|part| part == tail);
            if let Some(at) = at {
                bytes[at + 3] = 9;
            }
            Ok(bytes)
        }),
    );
    let resolver = resolver(&world, |settings| key.trust(settings));
    for asked in ["none.example.", "none."] {
        let told = security(&resolver, asked, RrType::A);
        assert_eq!(told, (Rcode::SERVFAIL, Security::Bogus), "{asked}");
    }
    let told = security(&resolver, "www.example.", RrType::A);
    assert_eq!(told, (Rcode::NOERROR, Security::Secure));
}

/// Nothing counts for longer than the signatures that were verified (RFC 4035 5.3.3).
#[test]
fn signatures_bound_the_time_to_live() {
    let (key, below) = (ZoneKey::new(257), ZoneKey::new(257));
    let text = format!("{ROOT}example. DS {}\n", below.ds("example."));
    let zones = [
        ("192.0.2.1", key.sign(".", &text)),
        ("192.0.2.2", below.sign_for("example.", EXAMPLE, 40)),
    ];
    // One that nobody made says that it holds for a year.
    let record = |rr_type: RrType, text: &str| {
        OwnRecord::from_text(name("example."), rr_type, 60, text).unwrap()
    };
    let forged = [record(
        RrType::RRSIG,
        "SOA 15 1 300 20290101000000 20270101000000 1 example. AAAA",
    )];
    let world = world_serving(
        zones.into_iter(),
        Box::new(move |_, _, _, bytes| Ok(with_authority(&bytes, &forged))),
    );
    let resolver = resolver(&world, |settings| key.trust(settings));
    for asked in ["www.example.", "none.example.", "a.none.example."] {
        let (_, _, ttl) = ask(&resolver, asked, RrType::A);
        assert!((1..=40).contains(&ttl), "{asked} {ttl}");
    }
    assert_eq!(ask(&resolver, "none.", RrType::A).2, 60);
    // They end, and what was known with them.
    world.clock.fetch_add(41_000, Ordering::Relaxed);
    let told = security(&resolver, "none.example.", RrType::A);
    assert_eq!(told, (Rcode::SERVFAIL, Security::Bogus));
}

/// A response to a query, of these records.
fn answering(query: &Outgoing, records: &[OwnRecord]) -> Vec<u8> {
    let mut reader = Reader::at(&query.bytes, Header::LEN);
    reader.skip_name().unwrap();
    reader.u32().unwrap();
    let mut made = query.bytes[..reader.position()].to_vec();
    made[2..12].copy_from_slice(&[0x84, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    let mut made = with_authority(&made, records);
    // As answers.
    made.copy_within(8..10, 6);
    made[8..10].fill(0);
    made
}

/// A set that a wildcard made counts with the proof that the name itself is not there, and where
/// no wildcard can make one, not at all.
#[test]
fn what_a_wildcard_made_needs_its_proof() {
    let (key, below) = (ZoneKey::new(257), ZoneKey::new(257));
    let text = format!("{ROOT}example. DS {}\n", below.ds("example."));
    let text_below = format!("{EXAMPLE}*.a CNAME www\n*.d DNAME www\n");
    let world_with = |mischief: Mischief| {
        let zones = [
            ("192.0.2.1", key.sign(".", &text)),
            ("192.0.2.2", below.sign("example.", &text_below)),
        ];
        world_serving(zones.into_iter(), mischief)
    };
    let checked = |world: &Arc<World>, asked: &str| {
        let resolver = resolver(world, |settings| {
            key.trust(settings);
            settings.minimise = false;
        });
        security(&resolver, asked, RrType::A)
    };
    let world = world_with(honest());
    let secure = (Rcode::NOERROR, Security::Secure);
    assert_eq!(checked(&world, "y.a.example."), secure);
    // The set of the wildcard as one of a name that it might make, without any proof.
    for (wildcard, rr_type, owner, asked) in [
        (
            "*.a.example.",
            RrType::CNAME,
            "y.a.example.",
            "y.a.example.",
        ),
        (
            "*.d.example.",
            RrType::DNAME,
            "q.d.example.",
            "x.q.d.example.",
        ),
    ] {
        let style = Style {
            edns: true,
            dnssec_ok: true,
            ..Style::default()
        };
        let query = Outgoing::new(name(wildcard).as_ref(), rr_type, style, &*world);
        let to = "192.0.2.2:53".parse().unwrap();
        let sent = world.exchange(to, &Carrier::Tcp, &query, Duration::from_secs(1));
        let told = Message::read(&sent.now_or_never().unwrap().unwrap()).unwrap();
        let mut records = told.answers;
        assert_eq!(records.len(), 2, "the set and its signature");
        for record in &mut records {
            record.owner = name(owner);
        }
        let asked_name = name(asked);
        let lying = world_with(Box::new(move |to, _, query, bytes| {
            let read = Message::read(&query.bytes).unwrap();
            let (about, rr_type, _) = &read.questions[0];
            let lies = *about == asked_name && *rr_type == RrType::A;
            match lies && to.ip().to_string() == "192.0.2.2" {
                true => Ok(answering(query, &records)),
                false => Ok(bytes),
            }
        }));
        let told = checked(&lying, asked);
        assert_eq!(told, (Rcode::SERVFAIL, Security::Bogus), "{asked}");
    }
}

/// Whatever becomes of the octets on their way, nothing is said to be secure that is not so.
#[test]
fn garbled_responses_are_no_secure_lies() {
    use proptest::prelude::*;
    let key = ZoneKey::new(257);
    let truth = |asked: usize| match asked {
        0 => ("www.example.", RrType::A, Rcode::NOERROR, 1),
        1 => ("www.example.", RrType::MX, Rcode::NOERROR, 0),
        2 => ("none.example.", RrType::A, Rcode::NXDOMAIN, 0),
        _ => ("a.w.example.", RrType::TXT, Rcode::NOERROR, 1),
    };
    let change = (any::<u16>(), any::<u8>());
    let strategy = (0usize..4, prop::collection::vec(change, 1..4));
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(200));
    let run = runner.run(&strategy, |(asked, changes)| {
        let world = signed(
            &key,
            Box::new(move |_, _, _, mut bytes| {
                let length = bytes.len();
                for (at, value) in &changes {
                    let at = usize::from(*at) % length;
                    // The question stays, or it would not be taken at all.
                    if at >= 30 || at == 3 || (6..12).contains(&at) {
                        bytes[at] = *value;
                    }
                }
                Ok(bytes)
            }),
        );
        let resolver = resolver(&world, |settings| key.trust(settings));
        let (text, rr_type, rcode, sets) = truth(asked);
        let ask = question(text, rr_type);
        let resolved = resolver.resolve(&ask).now_or_never().unwrap();
        if resolved.security == Security::Secure {
            prop_assert_eq!((resolved.rcode, resolved.answer.len()), (rcode, sets));
            for (set, _) in &resolved.answer {
                let data: &[u8] = match rr_type {
                    RrType::A => &[192, 0, 2, 80],
                    _ => b"\x04wild",
                };
                prop_assert_eq!(&*set.data[0], data);
                prop_assert_eq!(set.data.len(), 1);
            }
        } else {
            prop_assert_eq!(resolved.rcode, Rcode::SERVFAIL);
        }
        Ok(())
    });
    run.unwrap();
}
