//! What the resolver does beyond plain answers.

use std::fs;

use super::super::support::wait_until;
use super::signed;
use super::world::{LIMIT, World, ask, zones};

#[test]
fn lists_dns64_and_private_names() {
    let world = World::start(&zones());
    let list = world.directory.path().join("rpz.zone");
    let rules = "$TTL 60\n@ SOA ns. hm. 1 2 3 4 60\n@ NS ns.\n\
         www.plain.test CNAME .\n*.wild.plain.test CNAME *.\nalias.plain.test CNAME rpz-passthru.\n\
         garden.plain.test A 192.0.2.200\nto.plain.test CNAME www.omnid.test.\n\
         32.83.2.0.192.rpz-ip CNAME .\nns.net.rpz-nsdname CNAME .\n\
         mx.plain.test CNAME rpz-drop.\nzero.plain.test CNAME rpz-tcp-only.\n\
         32.7.0.0.127.rpz-client-ip CNAME .\n32.8.0.0.127.rpz-client-ip CNAME rpz-passthru.\n";
    fs::write(&list, rules).unwrap();
    let policy = format!(
        "dns64 = \"64:ff9b::/96\"\n[[dns.resolver.policy]]\nname = \"rpz.test\"\nfile = \"{}\"\n",
        list.display()
    );
    let resolver = world.resolver(&policy);
    let dig = |arguments: &[&str]| resolver.dig(arguments);
    let blocked = dig(&["www.plain.test", "A"]);
    assert!(
        blocked.contains("NXDOMAIN") && blocked.contains("EDE: 15"),
        "{blocked}"
    );
    let empty = dig(&["x.wild.plain.test", "TXT"]);
    assert!(
        empty.contains("NOERROR") && empty.contains("ANSWER: 0"),
        "{empty}"
    );
    // What is let be is let be to its end.
    assert_eq!(
        resolver.short(&["alias.plain.test", "A"]),
        "www.plain.test.\n192.0.2.80\n"
    );
    assert_eq!(resolver.short(&["garden.plain.test", "A"]), "192.0.2.200\n");
    assert_eq!(
        resolver.short(&["to.plain.test", "A"]),
        "www.omnid.test.\n192.0.2.81\n"
    );
    assert!(
        dig(&["www.lame.test", "A"]).contains("NXDOMAIN"),
        "an address"
    );
    assert!(
        dig(&["www.example.net", "A"]).contains("NXDOMAIN"),
        "a server"
    );
    let silence = dig(&["+time=1", "mx.plain.test", "MX"]);
    assert!(silence.contains("no servers could be reached"), "{silence}");
    let hint = dig(&["zero.plain.test", "A"]);
    assert!(hint.contains("(TCP)"), "{hint}");
    assert!(
        dig(&["-b", "127.0.0.7", "www.omnid.test", "A"]).contains("NXDOMAIN"),
        "a client"
    );
    let spared = dig(&["-b", "127.0.0.8", "www.plain.test", "A"]);
    assert!(spared.contains("192.0.2.80"), "{spared}");

    // Addresses of IPv6 where there are none, and only there.
    assert_eq!(
        resolver.short(&["www.omnid.test", "AAAA"]),
        "64:ff9b::c000:251\n"
    );
    assert_eq!(
        resolver.short(&["-b", "127.0.0.8", "www.plain.test", "AAAA"]),
        "2001:db8::80\n"
    );
    for name in ["1.0.168.192.in-addr.arpa", "x.onion", "b.e.f.ip6.arpa"] {
        let answer = dig(&[name, "PTR"]);
        assert!(answer.contains("nobody.invalid."), "{answer}");
    }
    assert_eq!(resolver.short(&["localhost", "A"]), "127.0.0.1\n");

    // A list that changes counts from the next reload on.
    fs::write(&list, rules.replace("www.plain.test CNAME .\n", "")).unwrap();
    resolver.daemon.omnid(&["reload"]).success();
    assert_eq!(resolver.short(&["www.plain.test", "A"]), "192.0.2.80\n");
}

#[test]
fn the_cache_is_shown_flushed_renewed_and_served_stale() {
    let mut world = World::start(&zones());
    let resolver =
        world.resolver("serve_stale = \"1h\"\nserve_stale_after = \"300ms\"\nmin_ttl = \"11s\"");
    let stats = |member: &str| {
        let stats = resolver.daemon.json(&["dns", "stats"]);
        stats["resolver"][member].as_u64().unwrap()
    };
    assert_eq!(resolver.short(&["www.plain.test", "A"]), "192.0.2.80\n");
    assert_eq!(resolver.short(&["www.omnid.test", "A"]), "192.0.2.81\n");
    let shown = resolver
        .daemon
        .omnid(&["dns", "cache", "www.plain.test"])
        .success()
        .stdout;
    assert!(
        shown.contains("www.plain.test. 300 IN A 192.0.2.80"),
        "{shown}"
    );
    let sent = stats("sent");
    assert_eq!(resolver.short(&["www.plain.test", "A"]), "192.0.2.80\n");
    assert_eq!(stats("sent"), sent, "out of the cache");
    // What is no type of a record set is not looked for, and says nothing of the name.
    for (rr_type, told) in [("TYPE0", "NOTIMP"), ("RRSIG", "NOTIMP"), ("ANY", "RFC8482")] {
        let answer = resolver.dig(&["plain.test", rr_type]);
        assert!(answer.contains(told), "{answer}");
    }
    assert_eq!(stats("sent"), sent, "nor asked for");
    let dropped = resolver
        .daemon
        .json(&["dns", "flush", "plain.test", "--tree"]);
    assert!(dropped["dropped"].as_u64().unwrap() > 0, "{dropped}");
    assert_eq!(resolver.short(&["www.plain.test", "A"]), "192.0.2.80\n");
    assert!(stats("sent") > sent, "asked for anew");

    // Eleven seconds it counts for; in the last tenth of them it is fetched anew.
    resolver.short(&["short.plain.test", "A"]);
    wait_until("it is renewed", LIMIT, || {
        resolver.short(&["short.plain.test", "A"]);
        stats("prefetched") > 0
    });
    let misses = stats("misses");
    wait_until("what was fetched has all its time", LIMIT, || {
        let answer = resolver.dig(&["+noall", "+answer", "short.plain.test", "A"]);
        let ttl = answer.split_whitespace().nth(1);
        ttl.is_some_and(|ttl| ttl.parse::<u32>().unwrap() > 5)
    });
    assert_eq!(stats("misses"), misses, "nobody had to wait for it");
    // The servers go away: after its time the answer still serves, and says so.
    world.stop();
    wait_until("it is stale", LIMIT, || {
        let answer = resolver.dig(&["short.plain.test", "A"]);
        answer.contains("192.0.2.2") && answer.contains("EDE: 3")
    });
    let unknown = resolver.dig(&["unknown.plain.test", "A"]);
    assert!(unknown.contains("SERVFAIL"), "{unknown}");
}

#[test]
fn denials_are_used_again_and_names_exempt_for_a_time() {
    let world = signed::world();
    let resolver = world.resolver("");
    let stats = |member: &str| {
        let stats = resolver.daemon.json(&["dns", "stats"]);
        stats["resolver"][member].as_u64().unwrap()
    };
    let secure = |answer: &str| answer.contains(" ad;");
    let first = resolver.dig(&["+dnssec", "x1.p256.test", "A"]);
    assert!(first.contains("NXDOMAIN") && secure(&first), "{first}");
    let sent = stats("sent");
    // Between the same two names as the first: known not to be there (RFC 8198).
    let second = resolver.dig(&["+dnssec", "x2.p256.test", "A"]);
    assert!(
        second.contains("NXDOMAIN") && secure(&second) && second.contains("NSEC"),
        "{second}"
    );
    assert_eq!(stats("sent"), sent);
    assert_eq!(stats("denied"), 1);

    let broken = || resolver.dig(&["www.expired.test", "A"]);
    let answer = broken();
    assert!(
        answer.contains("SERVFAIL") && answer.contains("EDE: 7"),
        "{answer}"
    );
    resolver
        .daemon
        .omnid(&["dns", "nta", "add", "expired.test", "--seconds", "600"])
        .success();
    assert!(broken().contains("192.0.2.1"));
    let list = resolver
        .daemon
        .omnid(&["dns", "nta", "list"])
        .success()
        .stdout;
    assert!(list.contains("expired.test."), "{list}");
    // It outlives a restart, and so does the state of the anchor.
    let log = resolver.daemon.log();
    assert!(
        log.contains("trust anchor") && log.contains("state=valid"),
        "{log}"
    );
    let port = resolver.port;
    let daemon = resolver.daemon.kill_and_start();
    wait_until("it answers", LIMIT, || {
        ask("127.0.0.1", port, &["www.expired.test", "A"]).contains("192.0.2.1")
    });
    daemon
        .omnid(&["dns", "nta", "remove", "expired.test"])
        .success();
    assert!(ask("127.0.0.1", port, &["www.expired.test", "A"]).contains("SERVFAIL"));
    daemon
        .omnid(&["dns", "nta", "remove", "expired.test"])
        .failure();
}
