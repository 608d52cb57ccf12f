//! Recursion and forwarding.

use std::{fs, time::Instant};

use super::world::{KNOT, RESOLVER, ROOT, SILENT, TOP, World, ask, zones};

#[test]
fn names_are_found_from_the_root_down() {
    let world = World::start(&zones());
    let resolver = world.resolver("");
    let short = |name: &str, kind: &str| resolver.short(&[name, kind]);
    for (name, kind, expected) in [
        ("www.plain.test", "A", "192.0.2.80\n"),
        ("www.plain.test", "AAAA", "2001:db8::80\n"),
        ("www.omnid.test", "A", "192.0.2.81\n"),
        ("www.lame.test", "A", "192.0.2.83\n"),
        ("www.glueless.test", "A", "192.0.2.84\n"),
        ("www.example.net", "A", "192.0.2.85\n"),
        ("alias.plain.test", "A", "www.plain.test.\n192.0.2.80\n"),
        ("away.plain.test", "A", "www.omnid.test.\n192.0.2.81\n"),
        ("back.omnid.test", "A", "www.plain.test.\n192.0.2.80\n"),
        (
            "x.tree.plain.test",
            "A",
            "other.omnid.test.\nx.other.omnid.test.\n192.0.2.82\n",
        ),
        ("any.wild.plain.test", "TXT", "\"wild\"\n"),
        ("a.b.c.deep.plain.test", "A", "192.0.2.4\n"),
        ("zero.plain.test", "A", "192.0.2.3\n"),
        ("mx.plain.test", "MX", "10 www.plain.test.\n"),
        ("test", "NS", "ns.top.test.\n"),
        (".", "NS", "a.root.\n"),
    ] {
        assert_eq!(short(name, kind), expected, "{name} {kind}");
    }
    // An answer of 120 strings goes over TCP from there, and to here.
    let big = resolver.dig(&["big.plain.test", "TXT"]);
    assert!(
        big.contains("ANSWER: 120") && big.contains("(TCP)"),
        "{big}"
    );

    let missing = resolver.dig(&["nothing.plain.test", "A"]);
    assert!(
        missing.contains("NXDOMAIN") && missing.contains("SOA"),
        "{missing}"
    );
    assert!(missing.contains("flags: qr rd ra;"), "{missing}");
    let no_data = resolver.dig(&["mx.plain.test", "A"]);
    assert!(
        no_data.contains("NOERROR") && no_data.contains("AUTHORITY: 1"),
        "{no_data}"
    );
    let between = resolver.dig(&["c.deep.plain.test", "A"]);
    assert!(
        between.contains("NOERROR") && between.contains("ANSWER: 0"),
        "{between}"
    );

    for name in ["c1.plain.test", "chain0.plain.test"] {
        let endless = resolver.dig(&[name, "A"]);
        assert!(endless.contains("SERVFAIL"), "{endless}");
    }
    // Out of the cache, with the time counted down.
    let again = resolver.dig(&["short.plain.test", "A"]);
    assert!(again.contains("IN\tA\t192.0.2.2"), "{again}");
}

#[test]
fn work_for_hostile_zones_is_bounded() {
    let world = World::start(&zones());
    let resolver = world.resolver("");
    let sent = || {
        let stats = resolver.daemon.json(&["dns", "stats"]);
        stats["resolver"]["sent"].as_u64().unwrap()
    };
    for (name, bound) in [
        ("www.loop1.test", 12),
        ("www.nxns.test", 30),
        ("www.dead.test", 8),
    ] {
        let (before, since) = (sent(), Instant::now());
        let answer = resolver.dig(&[name, "A"]);
        let cost = sent() - before;
        println!("{name}: {cost} queries, {:?}", since.elapsed());
        assert!(answer.contains("SERVFAIL"), "{answer}");
        assert!(cost <= bound, "{name} cost {cost} queries");
        // Remembered: asked again, it costs nothing (RFC 9520).
        let before = sent();
        assert!(resolver.dig(&[name, "A"]).contains("SERVFAIL"));
        assert_eq!(sent(), before, "{name} again");
    }
}

#[test]
fn forwarders_fail_over_and_zones_have_their_own() {
    let world = World::start(&zones());
    let inner = world.resolver("");
    let forward = format!(
        "forward = [\"{SILENT}:{}\", \"{RESOLVER}:{}\"]\n\
         [[dns.resolver.zone]]\nname = \"plain.test\"\nstub = [\"{KNOT}\"]\n\
         [[dns.resolver.zone]]\nname = \"net\"\niterate = true\n\
         [[dns.resolver.zone]]\nname = \"lame.test\"\nforward = [\"{SILENT}:{}\"]\n",
        world.port, inner.port, world.port
    );
    let outer = world.resolver(&forward);
    let short = |name: &str| outer.short(&[name, "A"]);
    assert_eq!(short("www.omnid.test"), "192.0.2.81\n");
    assert_eq!(short("away.plain.test"), "www.omnid.test.\n192.0.2.81\n");
    assert_eq!(short("www.example.net"), "192.0.2.85\n");
    let dead = outer.dig(&["www.lame.test", "A"]);
    assert!(
        dead.contains("SERVFAIL") && dead.contains("EDE: 22"),
        "{dead}"
    );
    // Zones of its own that delegate and lead away are followed for those whom it serves.
    let own = outer.daemon.path("own.zone");
    let text =
        "$TTL 60\n@ SOA ns hm 1 2 3 4 60\n@ NS ns\nns A 127.0.0.1\na CNAME www.plain.test.\n";
    fs::write(&own, text).unwrap();
    let zone = format!(
        "[[dns.zone]]\nname = \"example\"\nfile = \"{}\"\n",
        own.display()
    );
    let config = world.config(outer.port, &forward, &zone);
    outer.daemon.write_config(&config);
    outer.daemon.omnid(&["reload"]).success();
    assert_eq!(short("a.example"), "www.plain.test.\n192.0.2.80\n");
    let bare = outer.dig(&["+norec", "a.example", "A"]);
    assert!(
        bare.contains("ANSWER: 1") && bare.contains("flags: qr aa"),
        "{bare}"
    );
    // Nobody but this host, unless said so: a client at another address is refused.
    let refused = ask(
        RESOLVER,
        outer.port,
        &["-b", "127.0.0.1", "www.plain.test", "A"],
    );
    assert!(refused.contains("192.0.2.80"), "{refused}");
    let closed = world.resolver("allow = [\"192.0.2.0/24\"]");
    let refused = closed.dig(&["www.plain.test", "A"]);
    assert!(
        refused.contains("REFUSED") && !refused.contains(" ra"),
        "{refused}"
    );
    let _unused = (ROOT, TOP);
}
