//! Zones signed beforehand by others, served as named and NSD serve them.

use super::*;

const TEXT: &str = include_str!("signed.test.zone");

/// The ways to sign: name of the zone, and the commands that make `NAME.signed` out of `NAME`.
const WAYS: [(&str, &str); 4] = [
    (
        "nsec.test",
        "k=$(ldns-keygen -a ECDSAP256SHA256 -k nsec.test) && \
         z=$(ldns-keygen -a ECDSAP256SHA256 nsec.test) && ldns-signzone -o nsec.test nsec.test $k $z",
    ),
    (
        "nsec3.test",
        "k=$(ldns-keygen -a ED25519 -k nsec3.test) && ldns-signzone -n -t 0 -o nsec3.test nsec3.test $k",
    ),
    (
        "optout.test",
        "dnssec-keygen -q -K . -a 13 -f KSK optout.test && dnssec-keygen -q -K . -a 13 optout.test && \
         dnssec-signzone -q -S -K . -3 - -A -H 0 -o optout.test -f optout.test.signed optout.test",
    ),
    (
        "salted.test",
        "dnssec-keygen -q -K . -a 8 -b 2048 -f KSK salted.test && \
         dnssec-keygen -q -K . -a 8 -b 2048 salted.test && \
         dnssec-signzone -q -S -K . -3 aabbccdd -H 7 -o salted.test -f salted.test.signed salted.test",
    ),
];

fn sign_all(directory: &Path) {
    for (zone, commands) in WAYS {
        fs::write(directory.join(zone), TEXT).unwrap();
        let commands = format!("set -e; cd {}; {commands}", directory.display());
        run("sh", &["-c", &commands], LIMIT).success();
        assert!(directory.join(format!("{zone}.signed")).exists());
    }
}

fn signed_config(port: u16) -> String {
    let mut text = format!("[dns]\nlisten = [\"127.0.0.1:{port}\"]\nsockets = 1\n");
    for (zone, _) in WAYS {
        text += &format!(
            "[[dns.zone]]\nname = \"{zone}\"\nfile = \"{{dir}}/{zone}.signed\"\n\
             transfer = {{ to = [\"127.0.0.1\"] }}\n"
        );
    }
    text
}

fn start_nsd(directory: &Path, port: u16) -> Background {
    let shown = directory.display();
    let mut text = format!(
        "server:\n ip-address: 127.0.0.1\n port: {port}\n username: \"\"\n chroot: \"\"\n \
         zonesdir: \"{shown}\"\n database: \"\"\n pidfile: \"{shown}/nsd.pid\"\n xfrdfile: \"\"\n \
         zonelistfile: \"{shown}/zone.list\"\n server-count: 1\n minimal-responses: yes\n \
         rrl-ratelimit: 0\nremote-control:\n control-enable: no\n"
    );
    for (zone, _) in WAYS {
        text += &format!("zone:\n name: {zone}\n zonefile: {zone}.signed\n");
    }
    let file = directory.join("nsd.conf");
    fs::write(&file, text).unwrap();
    let nsd = Background::start(
        "nsd",
        &["-d", "-c", file.to_str().unwrap()],
        &directory.join("nsd.log"),
    );
    wait_until("NSD answers", LIMIT, || {
        let message = question("salted.test", RrType::SOA, Class::IN, None);
        exchange(local(port), &message).is_some_and(|answer| answer[3] & 15 == 0)
    });
    nsd
}

/// Every owner of the zone file, and what lies above, below and beside it.
fn names_of(zone: &str, signed: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::from([zone.to_owned()]);
    let owners = TEXT
        .lines()
        .filter(|line| !line.starts_with(['\t', '$', '@']));
    for owner in owners.filter_map(|line| line.split('\t').next()) {
        let mut name = owner.to_owned();
        loop {
            for more in ["", "0.below.", "*.", "-"] {
                names.insert(format!("{more}{name}.{zone}"));
            }
            match name.split_once('.') {
                Some((first, above)) if !first.ends_with('\\') => name = above.to_owned(),
                _ => break,
            }
        }
    }
    // The owners of NSEC3 records are themselves not there.
    let hashed = signed.lines().filter(|line| line.contains("\tNSEC3\t"));
    for owner in hashed
        .filter_map(|line| line.split_whitespace().next())
        .take(5)
    {
        names.insert(owner.to_owned());
        names.insert(format!("below.{owner}"));
    }
    names.retain(|name| Name::from_text(name).is_ok());
    names
}

const TYPES: [RrType; 6] = [
    RrType::A,
    RrType::TXT,
    RrType::DS,
    RrType::CNAME,
    RrType::NSEC,
    RrType::DNSKEY,
];

/// A question with an OPT record of that size and the DO bit.
fn question_do(name: &str, rr_type: RrType, size: u16) -> Vec<u8> {
    let mut message = question(name, rr_type, Class::IN, Some(size));
    let at = message.len() - 4;
    message[at] = 0x80;
    message
}

/// What two servers may do differently with one zone.
fn same(ours: &Answer, theirs: &Answer, whose: &str) -> bool {
    let [our_answers, our_authority, our_additional] = &ours.sections;
    let [their_answers, their_authority, their_additional] = &theirs.sections;
    if (ours.truncated, theirs.truncated) == (true, true) {
        return true;
    }
    // BIND adds the addresses of hosts in the zone where a record names them, NSD does so only in
    // referrals, and where there is no more room both stop somewhere.
    let additional = whose == "nsd"
        || their_additional.is_subset(our_additional)
        || our_additional.is_subset(their_additional);
    // NSD adds needless proofs where a wildcard itself is asked for, and leaves one out behind a
    // DNAME that leads to another name of the zone.
    let proofs = our_authority == their_authority
        || whose == "nsd"
            && (our_authority.is_subset(their_authority)
                || their_authority.is_subset(our_authority));
    ours.rcode == theirs.rcode
        && ours.authoritative == theirs.authoritative
        && ours.truncated == theirs.truncated
        && our_answers == their_answers
        && proofs
        && additional
}

#[test]
fn signed_zones_are_served_as_named_and_nsd_serve_them() {
    let (port, bind_port, nsd_port) = (free_port(), free_port(), free_port());
    let server = Daemon::start_with(&signed_config(port), &[], sign_all);
    let directory = server.directory();
    let zones: String = WAYS
        .iter()
        .map(|(zone, _)| {
            let file = directory.join(format!("{zone}.signed"));
            let file = file.display();
            format!("zone \"{zone}\" {{ type primary; file \"{file}\"; }};\n")
        })
        .collect();
    let _named = start_named(directory, bind_port, &zones);
    let _nsd = start_nsd(directory, nsd_port);
    let (mut compared, mut differences) = (0, Vec::new());
    for (whose, other) in [("named", bind_port), ("nsd", nsd_port)] {
        let mut ask = Asker::new([port, other]);
        for (zone, _) in WAYS {
            let signed = fs::read_to_string(directory.join(format!("{zone}.signed"))).unwrap();
            for name in names_of(zone, &signed) {
                // NSD follows a CNAME when NSEC is asked for, and takes what is below an NSEC3
                // record's owner for one of the zone's names.
                // And below a name that opt-out leaves without a record it proves too little.
                let odd = name.starts_with("below.") || name.ends_with("y.optout.test");
                if whose == "nsd" && odd {
                    continue;
                }
                for rr_type in TYPES
                    .into_iter()
                    .filter(|kind| whose == "named" || *kind != RrType::NSEC)
                {
                    let message = question_do(&name, rr_type, 4096);
                    let [ours, theirs] = ask.both(&message);
                    compared += 1;
                    if !same(&ours, &theirs, whose) {
                        differences.push(format!(
                            "{name} {rr_type}\n ours {ours:#?}\n {whose} {theirs:#?}"
                        ));
                    }
                }
            }
        }
    }
    println!("{compared} answers compared");
    assert!(
        differences.is_empty(),
        "{} of {compared} differ:\n{}",
        differences.len(),
        differences[..differences.len().min(8)].join("\n")
    );
    assert!(compared > 5_000);
}

/// The zone as a transfer gives it.
fn transferred(port: u16, zone: &str, to: &Path) {
    let text = dig(
        port,
        &[
            "+noidnout",
            "+onesoa",
            "+nocomments",
            "+nostats",
            "+nocmd",
            zone,
            "AXFR",
        ],
    );
    assert!(text.contains("SOA"), "{text}");
    fs::write(to, text).unwrap();
}

/// What delv, which validates by itself, makes of an answer; it trusts the zone's keys with the SEP
/// flag, as the server gives them.
fn delv(port: u16, directory: &Path, zone: &str, name: &str, rr_type: &str) -> String {
    let keys = dig(port, &["+short", "+nosplit", zone, "DNSKEY"]);
    let keys: String = keys
        .lines()
        .filter(|line| line.starts_with("257 "))
        .map(|line| {
            let [flags, protocol, algorithm, key] =
                line.splitn(4, ' ').collect::<Vec<_>>().try_into().unwrap();
            format!("{zone}. static-key {flags} {protocol} {algorithm} \"{key}\";\n")
        })
        .collect();
    let anchors = directory.join(format!("{zone}.anchors"));
    fs::write(&anchors, format!("trust-anchors {{\n{keys}}};\n")).unwrap();
    let (port, root) = (port.to_string(), format!("+root={zone}"));
    let anchors = anchors.to_str().unwrap();
    let arguments = [
        "@127.0.0.1",
        "-p",
        &port,
        "-a",
        anchors,
        &root,
        name,
        rr_type,
    ];
    let output = run("delv", &arguments, LIMIT);
    format!("{}{}", output.stdout, output.stderr)
}

#[test]
fn signed_zones_validate() {
    let port = free_port();
    let server = Daemon::start_with(&signed_config(port), &[], sign_all);
    let directory = server.directory();
    for (zone, _) in WAYS {
        // What a secondary gets is the zone that was signed.
        let file = directory.join(format!("{zone}.transferred"));
        transferred(port, zone, &file);
        let file = file.to_str().unwrap();
        let verified = run("ldns-verify-zone", &[file], LIMIT).success();
        assert!(verified.stdout.contains("verified"), "{}", verified.stdout);

        let secure = "; fully validated";
        let denied = "; negative response, fully validated";
        let unsigned = "; unsigned answer";
        let cases = [
            ("web", "A", secure),
            ("deep.alias", "TXT", secure),
            ("x.y.wild", "TXT", secure),
            ("x.cwild", "AAAA", secure),
            ("a.a.moved", "A", secure),
            ("secure", "DS", secure),
            ("web", "MX", denied),
            ("nowhere", "A", denied),
            ("0.0.web", "A", denied),
            ("a.ent", "A", denied),
            ("some.wild", "A", denied),
            ("lone", "DS", denied),
        ];
        for (name, rr_type, expected) in cases {
            let name = format!("{name}.{zone}");
            let output = delv(port, directory, zone, &name, rr_type);
            // RFC 5155 9.2: what lies in a stretch of opt-out is not secure.
            let opted_out = zone == "optout.test" && output.contains(unsigned);
            assert!(
                output.contains(expected) || opted_out,
                "{name} {rr_type}: {output}"
            );
        }
    }
}

fn own_config(port: u16, dnssec: &str, more: &str) -> String {
    format!(
        "[dns]\nlisten = [\"127.0.0.1:{port}\"]\nsockets = 1\n[[dns.zone]]\nname = \"own.test\"\n\
         file = \"{{dir}}/own.test\"\n{dnssec}\ntransfer = {{ to = [\"127.0.0.1\"] }}\n{more}"
    )
}

/// The zone as it is transferred, found sound by ldns-verify-zone.
fn verified(server: &Daemon, port: u16) -> String {
    let file = server.path("own.transferred");
    transferred(port, "own.test", &file);
    let file = file.to_str().unwrap();
    run("ldns-verify-zone", &["-V", "2", file], LIMIT).success();
    fs::read_to_string(file).unwrap()
}

fn tags(server: &Daemon) -> Vec<(u64, String)> {
    let keys = server.json(&["zone", "keys", "own.test"]);
    let keys = keys["keys"].as_array().unwrap().iter();
    keys.map(|key| {
        let state = key["dnskey"].as_str().unwrap().to_owned();
        (key["tag"].as_u64().unwrap(), state)
    })
    .collect()
}

#[test]
fn a_zone_signs_itself_and_keeps_its_keys_and_signatures() {
    let port = free_port();
    let text = TEXT.to_owned();
    let config = own_config(port, "dnssec = \"default\"", "");
    let mut server = Daemon::start_with(&config, &[], |directory| {
        fs::write(directory.join("own.test"), &text).unwrap();
    });
    let directory = server.directory().to_owned();
    let first = verified(&server, port);
    for (name, rr_type, expected) in [
        ("web", "A", "; fully validated"),
        ("x.y.wild", "TXT", "; fully validated"),
        ("nowhere", "A", "; negative response, fully validated"),
        ("web", "MX", "; negative response, fully validated"),
        ("lone", "DS", "; negative response, fully validated"),
    ] {
        let output = delv(
            port,
            &directory,
            "own.test",
            &format!("{name}.own.test"),
            rr_type,
        );
        assert!(output.contains(expected), "{name} {rr_type}: {output}");
    }
    let checked = run(
        "dnssec-verify",
        &[
            "-z",
            "-o",
            "own.test",
            server.path("own.transferred").to_str().unwrap(),
        ],
        LIMIT,
    );
    checked.success();

    // The operator's view: one key, and what it waits for.
    let shown = server.omnid(&["zone", "keys", "own.test"]).success().stdout;
    assert!(shown.contains("too early to tell the parent"), "{shown}");
    assert!(shown.contains("own.test. IN DS "), "{shown}");

    // A restart signs nothing again: not one octet differs.
    let before = tags(&server);
    server = server.kill_and_start();
    assert_eq!(verified(&server, port), first);
    assert_eq!(tags(&server), before);

    // A change signs what has changed: a record, its NSEC neighbours' maps stay.
    fs::write(
        directory.join("own.test"),
        text.replace("192.0.2.99", "192.0.2.98"),
    )
    .unwrap();
    server.omnid(&["reload"]).success();
    let second = verified(&server, port);
    let signatures = |text: &str| -> BTreeSet<String> {
        let lines = text.lines().filter(|line| line.contains("\tRRSIG\t"));
        lines.map(str::to_owned).collect()
    };
    let (old, new) = (signatures(&first), signatures(&second));
    let fresh: Vec<&String> = new.difference(&old).collect();
    assert_eq!(fresh.len(), 2, "{fresh:#?}");
    assert!(second.contains("192.0.2.98"));

    // All of it anew, when told to.
    server.omnid(&["zone", "sign", "own.test"]).success();
    let third = verified(&server, port);
    assert!(signatures(&third).is_disjoint(&signatures(&second)));
    assert_eq!(tags(&server), before);

    // A roll publishes a second key beside the first.
    server.omnid(&["zone", "roll", "own.test"]).success();
    let both = tags(&server);
    assert_eq!(both.len(), 2);
    verified(&server, port);
    let again = server.omnid(&["zone", "roll", "own.test"]).failure();
    assert!(
        again.stderr.contains("being replaced already"),
        "{}",
        again.stderr
    );

    // Another policy, hashed denial with two keys; then no signing at all.
    let policy =
        "[dns.policy.two]\nkeys = [{ role = \"ksk\" }, { role = \"zsk\" }]\nnsec3 = true\n";
    server.write_config(&own_config(port, "dnssec = \"two\"", policy));
    server.omnid(&["reload"]).success();
    let hashed = verified(&server, port);
    assert!(hashed.contains("\tNSEC3PARAM"), "{hashed}");
    server.write_config(&own_config(port, "", ""));
    server.omnid(&["reload"]).success();
    wait_until("the zone is unsigned", LIMIT, || {
        dig(port, &["+dnssec", "web.own.test", "A"])
            .matches("RRSIG")
            .count()
            == 0
    });
}

/// Where signing fails a validator would take the zone unsigned for forged: the earlier signed one
/// is served, or none, and signing is tried again.
#[test]
fn a_zone_that_cannot_be_signed_is_not_served_unsigned() {
    let port = free_port();
    let config = own_config(port, "dnssec = \"default\"", "");
    // Where this is in the way, the signed form cannot be written.
    let stone = "data/dns/signed/own.test.zone.new";
    let mut server = Daemon::start_with(&config, &[], |directory| {
        fs::write(directory.join("own.test"), TEXT).unwrap();
        fs::create_dir_all(directory.join(stone)).unwrap();
    });
    let ask = || dig(port, &["+dnssec", "zz.own.test", "A"]);
    let signed = |text: &str| text.contains("status: NOERROR") && text.contains("\tRRSIG\t");
    let shown = ask();
    assert!(shown.contains("status: SERVFAIL"), "{shown}");
    assert!(!shown.contains("192.0.2.99"), "{shown}");
    let status = server.json(&["zone", "status", "own.test"]);
    assert_eq!(status["served"], false, "{status}");

    // Tried again without anybody's asking: the start publishes twice.
    wait_until("it has failed twice", LIMIT, || {
        server.log().matches("cannot sign the zone").count() >= 2
    });
    fs::remove_dir(server.path(stone)).unwrap();
    wait_until("it is signed", LIMIT, || signed(&ask()));
    let first = verified(&server, port);

    // The next version cannot be signed: that before stays, over a restart as well.
    fs::create_dir(server.path(stone)).unwrap();
    fs::write(
        server.path("own.test"),
        TEXT.replace("192.0.2.99", "192.0.2.98"),
    )
    .unwrap();
    server.omnid(&["reload"]).success();
    assert_eq!(verified(&server, port), first);
    server = server.kill_and_start();
    assert_eq!(verified(&server, port), first);
    fs::remove_dir(server.path(stone)).unwrap();
    wait_until("the next version is served", LIMIT, || {
        ask().contains("192.0.2.98")
    });
    verified(&server, port);
}

/// A policy whose waits are over at once, with servers that are asked for the DS records.
fn quick(agents: &[u16]) -> String {
    let agents: Vec<String> = agents
        .iter()
        .map(|port| format!("\"127.0.0.1:{port}\""))
        .collect();
    let agents = agents.join(", ");
    format!(
        "[dns.policy.quick]\ndnskey_ttl = \"1s\"\nmax_zone_ttl = \"0s\"\nzone_propagation = \"0s\"\n\
         parent_ds_ttl = \"1s\"\nparent_propagation = \"0s\"\npublish_safety = \"0s\"\n\
         retire_safety = \"0s\"\nparental_agents = [{agents}]\nparental_interval = \"1s\"\n"
    )
}

const SMALL: &str = "$TTL 1\n@ SOA ns hm 1 2 3 4 1\n@ NS ns\nns A 192.0.2.1\n";

/// named with the parent zone and a DS record in it, or with the root zone alone: that is lame, and
/// refers to others.
fn start_parent(server: &Daemon, port: u16, ds: Option<&str>) -> Background {
    let directory = server.path(&format!("parent{port}"));
    fs::create_dir_all(&directory).unwrap();
    let file = directory.join("zone");
    let (name, text) = match ds {
        Some(ds) => (
            "test",
            format!("{SMALL}own NS ns.own\nns.own A 192.0.2.1\nown DS {ds}\n"),
        ),
        None => (
            ".",
            format!("{SMALL}test NS ns.test\nns.test A 192.0.2.1\n"),
        ),
    };
    fs::write(&file, text).unwrap();
    let file = file.display();
    let zones = format!("zone \"{name}\" {{ type primary; file \"{file}\"; }};\n");
    start_named(&directory, port, &zones)
}

/// The parent's servers are asked, and a roll goes its way when they have the new DS, all of them.
#[test]
fn the_parent_is_asked_for_its_ds() {
    let (port, one, other) = (free_port(), free_port(), free_port());
    let config = own_config(port, "dnssec = \"quick\"", &quick(&[one, other]));
    let server = Daemon::start_with(&config, &[], |directory| {
        fs::write(directory.join("own.test"), SMALL).unwrap();
    });
    let state = |tag: u64, what: &str| {
        let keys = server.json(&["zone", "keys", "own.test"]);
        let keys = keys["keys"].as_array().unwrap();
        let key = keys.iter().find(|key| key["tag"] == tag);
        key.map(|key| key[what].as_str().unwrap().to_owned())
    };
    let cds = || dig(port, &["+short", "+nosplit", "own.test", "CDS"]);
    let first = tags(&server)[0].0;
    wait_until("CDS is published", LIMIT, || !cds().is_empty());
    let old = cds();
    let parents = [one, other].map(|agent| start_parent(&server, agent, Some(&old)));
    wait_until("the DS is everywhere", LIMIT, || {
        state(first, "ds").as_deref() == Some("omnipresent")
    });
    let shown = server.omnid(&["zone", "keys", "own.test"]).success().stdout;
    assert!(shown.contains("its parent vouches for it"), "{shown}");

    // A referral says nothing about the DS, least of all that it is gone.
    drop(parents);
    let lame = [one, other].map(|agent| start_parent(&server, agent, None));
    server.omnid(&["zone", "roll", "own.test"]).success();
    let second = tags(&server).iter().find(|key| key.0 != first).unwrap().0;
    wait_until("CDS is the new key's", LIMIT, || cds() != old);
    let new = cds();
    assert!(new.starts_with(&second.to_string()), "{new}");
    let nothing_has_changed = || {
        assert_eq!(state(first, "ds").as_deref(), Some("omnipresent"));
        assert_eq!(state(second, "ds").as_deref(), Some("hidden"));
        verified(&server, port);
    };
    wait_until("lame servers are asked", LIMIT, || {
        server.log().contains("it has not the parent zone")
    });
    nothing_has_changed();

    // One of them has the new DS, the other the old one still.
    drop(lame);
    let ahead = start_parent(&server, one, Some(&new));
    let behind = start_parent(&server, other, Some(&old));
    wait_until("they disagree", LIMIT, || {
        server.log().contains("do not agree yet")
    });
    nothing_has_changed();

    drop(behind);
    let _behind = (ahead, start_parent(&server, other, Some(&new)));
    wait_until("the roll is done", LIMIT, || {
        state(second, "ds").as_deref() == Some("omnipresent")
            && state(first, "dnskey").is_none_or(|state| state == "hidden")
    });
    verified(&server, port);
}

/// Servers that take a question and never answer hold up neither each other, nor signing, nor the
/// end.
#[test]
fn parental_agents_that_are_silent_hold_up_nothing() {
    let port = free_port();
    let agent = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    agent.set_nonblocking(true).unwrap();
    let names = ["a.test", "b.test", "c.test"];
    let mut config = format!("[dns]\nlisten = [\"127.0.0.1:{port}\"]\nsockets = 1\n");
    for name in names {
        config += &format!(
            "[[dns.zone]]\nname = \"{name}\"\nfile = \"{{dir}}/small\"\ndnssec = \"quick\"\n"
        );
    }
    config += &quick(&[agent.local_addr().unwrap().port()]);
    let server = Daemon::start_with(&config, &[], |directory| {
        fs::write(directory.join("small"), SMALL).unwrap();
    });
    let mut asked = Vec::new();
    // One after the other they would take ten seconds each.
    wait_until("all are asked at once", Duration::from_secs(8), || {
        asked.extend(agent.accept());
        asked.len() == names.len()
    });
    let (code, took) = server.stop();
    println!("stopped in {took:?}");
    assert_eq!(code, Some(0));
    assert!(took < Duration::from_secs(5), "{took:?}");
}

/// Keys with which named signs by its own policy, files and states as named left them.
#[test]
fn keys_of_bind_are_taken_over_without_a_roll() {
    let (port, bind_port) = (free_port(), free_port());
    let policy = "[dns.policy.bind]\nkeys = [{ role = \"ksk\" }, { role = \"zsk\" }]\n";
    let more = format!("import_keys = \"{{dir}}/keys\"\n{policy}");
    let mut before = String::new();
    let named_zone = |directory: &Path| {
        format!(
            "dnssec-policy two {{ keys {{ ksk key-directory lifetime unlimited algorithm 13; \
             zsk key-directory lifetime unlimited algorithm 13; }}; }};\n\
             zone \"own.test\" {{ type primary; file \"{0}/bind.zone\"; key-directory \
             \"{0}/keys\"; inline-signing yes; dnssec-policy two; }};\n",
            directory.display()
        )
    };
    let config = own_config(port, "dnssec = \"bind\"", &more);
    let server = Daemon::start_with(&config, &[], |directory| {
        fs::create_dir(directory.join("keys")).unwrap();
        fs::write(directory.join("own.test"), TEXT).unwrap();
        fs::write(directory.join("bind.zone"), TEXT).unwrap();
        let _named = start_named(directory, bind_port, &named_zone(directory));
        let keys = || dig(bind_port, &["+short", "+nosplit", "own.test", "DNSKEY"]);
        wait_until("named signs", LIMIT, || {
            let state = run(
                "sh",
                &["-c", &format!("cat {}/keys/*.state", directory.display())],
                LIMIT,
            );
            keys().lines().count() == 2 && state.stdout.matches("DNSKEYState").count() == 2
        });
        before = keys();
    });
    let sorted = |text: &str| -> BTreeSet<String> { text.lines().map(str::to_owned).collect() };
    let after = dig(port, &["+short", "+nosplit", "own.test", "DNSKEY"]);
    assert_eq!(sorted(&after), sorted(&before));
    assert_eq!(tags(&server).len(), 2);
    verified(&server, port);
    let daemon = server.kill_and_start();
    assert_eq!(
        sorted(&dig(port, &["+short", "+nosplit", "own.test", "DNSKEY"])),
        sorted(&before)
    );
    drop(daemon);
}
