//! Zones over TLS (RFC 9103), out and in, with kdig and named at the other end; and a resolver
//! that forwards over TLS.

use super::*;

const ZONE: &str = "$TTL 300\n@ SOA ns hostmaster 10 3600 600 86400 60\n@ NS ns\nns A 127.0.0.1\n\
                    www A 192.0.2.1\ntxt TXT \"one\"\n";

/// Two authorities in a directory, and certificates that they made: `ns1`, `ns2` and `ns3` by the
/// one that is trusted, `stranger` for the name of `ns2` by the other.
fn certificates(directory: &Path) {
    let path = |name: &str| directory.join(name).to_str().unwrap().to_owned();
    fs::write(
        path("openssl.cnf"),
        "[req]\ndistinguished_name = name\n[name]\n",
    )
    .unwrap();
    let make = |name: &str, more: &[&str]| {
        let config = path("openssl.cnf");
        let (key, pem) = (path(&format!("{name}.key")), path(&format!("{name}.pem")));
        let subject = format!("/CN={name}");
        let mut arguments = vec![
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-days",
            "30",
            "-config",
            &config,
            "-subj",
            &subject,
            "-keyout",
            &key,
            "-out",
            &pem,
        ];
        arguments.extend(more);
        run("openssl", &arguments, LIMIT).success();
    };
    for authority in ["authority", "other"] {
        make(authority, &["-addext", "basicConstraints=critical,CA:TRUE"]);
    }
    for (name, host, authority) in [
        ("ns1", "ns1.test", "authority"),
        ("ns2", "ns2.test", "authority"),
        ("ns3", "ns3.test", "authority"),
        ("stranger", "ns2.test", "other"),
    ] {
        let (pem, key) = (
            path(&format!("{authority}.pem")),
            path(&format!("{authority}.key")),
        );
        let names = format!("subjectAltName=DNS:{host}");
        let basic = "basicConstraints=critical,CA:FALSE";
        let more = [
            "-CA", &pem, "-CAkey", &key, "-addext", &names, "-addext", basic,
        ];
        make(name, &more);
    }
}

/// named with the zone `dyn.test`, a plain port, and what TLS it speaks.
fn start_named_with(directory: &Path, port: u16, options: &str, more: &str) -> Background {
    let path = directory.join("named.conf");
    let text = format!(
        "options {{ directory \"{0}\"; listen-on port {port} {{ 127.0.0.1; }}; {options}\n\
         listen-on-v6 {{ none; }}; pid-file none; session-keyfile none; lock-file none;\n\
         recursion no; dnssec-validation no; notify no; masterfile-format text; }};\n\
         controls {{ }};\n{more}\n",
        directory.display()
    );
    fs::write(&path, text).unwrap();
    let arguments = ["-g", "-n", "1", "-c", path.to_str().unwrap()];
    let named = Background::start("named", &arguments, &directory.join("named.log"));
    wait_until("named answers", LIMIT, || {
        let message = question("version.bind", RrType::TXT, Class::CH, None);
        exchange(local(port), &message).is_some()
    });
    named
}

fn serial(port: u16) -> Option<u32> {
    let answer = dig(port, &["+short", "dyn.test", "SOA"]);
    answer.split_whitespace().nth(2)?.parse().ok()
}

fn update(port: u16, line: &str) {
    let script = format!("server 127.0.0.1 {port}\nzone dyn.test\n{line}\nsend\n");
    support::run_with("nsupdate", &["-t", "8"], &script, &[], LIMIT).success();
}

fn tls_section(own: &str) -> String {
    format!(
        "[tls]\nclient_authorities = [\"{{dir}}/authority.pem\"]\n\
         certificates = [{{ cert = \"{{dir}}/{own}.pem\", key = \"{{dir}}/{own}.key\" }}]\n"
    )
}

#[test]
fn zones_leave_over_tls_to_those_with_a_certificate() {
    let (port, tls, named_port) = (free_port(), free_port(), free_port());
    let config = format!(
        "{}[dns]\nlisten = [\"127.0.0.1:{port}\"]\nlisten_tls = [\"127.0.0.1:{tls}\"]\n\
         sockets = 1\n[[dns.zone]]\nname = \"dyn.test\"\nfile = \"{{dir}}/zone\"\n\
         notify = [\"127.0.0.1:{named_port}\"]\nupdate = {{ from = [\"localhost\"] }}\n\
         transfer = {{ to = [\"cert ns2.test\"], tls = true }}\n\
         [[dns.zone]]\nname = \"open.test\"\nfile = \"{{dir}}/zone\"\n\
         transfer = {{ to = [\"any\"], tls = true }}\n",
        tls_section("ns1")
    );
    let daemon = Daemon::start_with(&config, &[], |directory| {
        certificates(directory);
        fs::write(directory.join("zone"), ZONE).unwrap();
    });
    let path = |name: &str| daemon.path(name).to_str().unwrap().to_owned();
    let transfer = |zone: &str, certificate: Option<&str>| {
        let files = certificate.map(|name| {
            (
                format!("+tls-certfile={}", path(&format!("{name}.pem"))),
                format!("+tls-keyfile={}", path(&format!("{name}.key"))),
            )
        });
        let mut arguments = vec!["+tls"];
        if let Some((pem, key)) = &files {
            arguments.extend([pem.as_str(), key.as_str()]);
        }
        arguments.extend([zone, "AXFR"]);
        let port = tls.to_string();
        let all = [&["@127.0.0.1", "-p", &port, "+retry=0"], &arguments[..]].concat();
        let output = run("kdig", &all, LIMIT);
        output.stdout + &output.stderr
    };
    let whole = |answer: &str| answer.contains("192.0.2.1") && answer.contains("hostmaster");
    let answer = transfer("dyn.test", Some("ns2"));
    assert!(whole(&answer), "{answer}");
    for certificate in [None, Some("ns3"), Some("stranger")] {
        let answer = transfer("dyn.test", certificate);
        assert!(!whole(&answer), "{certificate:?}: {answer}");
    }
    // For everybody, but over TLS.
    let answer = transfer("open.test", None);
    assert!(whole(&answer), "{answer}");
    for arguments in [
        ["+tcp", "open.test", "AXFR"],
        ["+tcp", "open.test", "IXFR=9"],
    ] {
        let answer = dig(port, &arguments);
        assert!(answer.contains("Transfer failed"), "{answer}");
    }
    let log = daemon.log();
    assert!(log.contains("the zone is sent over TLS 1.3 only"), "{log}");
    assert!(log.contains("client's certificate does not count"), "{log}");

    // named shows its certificate and looks at ours.
    let directory = tempfile::tempdir().unwrap();
    let ours = format!(
        "tls ours {{ remote-hostname \"ns1.test\"; ca-file \"{}\"; cert-file \"{}\"; \
         key-file \"{}\"; protocols {{ TLSv1.3; }}; }};\n\
         zone \"dyn.test\" {{ type secondary; file \"copy\"; allow-notify {{ 127.0.0.1; }}; \
         primaries {{ 127.0.0.1 port {tls} tls ours; }}; }};",
        path("authority.pem"),
        path("ns2.pem"),
        path("ns2.key")
    );
    let named = start_named_with(directory.path(), named_port, "", &ours);
    wait_until("the copy is there", LIMIT, || {
        serial(named_port) == Some(10)
    });
    update(port, "update add more.dyn.test. 300 A 192.0.2.9");
    wait_until("the change has come", LIMIT, || {
        serial(named_port) == Some(11)
    });
    assert_eq!(
        dig(named_port, &["+short", "more.dyn.test", "A"]),
        "192.0.2.9\n"
    );
    let log = daemon.log();
    assert!(log.contains("incremental=true"), "{log}");
    drop(named);
}

#[test]
fn zones_come_over_tls_from_a_primary_that_is_the_one_meant() {
    let (port, plain, strict, mutual) = (free_port(), free_port(), free_port(), free_port());
    let directory = tempfile::tempdir().unwrap();
    certificates(directory.path());
    fs::write(directory.path().join("zone"), ZONE).unwrap();
    let file = |name: &str| directory.path().join(name).display().to_string();
    let pair = format!(
        "cert-file \"{}\"; key-file \"{}\"; protocols {{ TLSv1.3; }};",
        file("ns1.pem"),
        file("ns1.key")
    );
    let options = format!(
        "listen-on port {strict} tls strict {{ 127.0.0.1; }};\n\
         listen-on port {mutual} tls mutual {{ 127.0.0.1; }};"
    );
    let more = format!(
        "tls strict {{ {pair} }};\ntls mutual {{ {pair} ca-file \"{}\"; }};\n\
         zone \"dyn.test\" {{ type primary; file \"zone\"; allow-update {{ 127.0.0.1; }}; \
         allow-transfer transport tls {{ any; }}; notify explicit; notify-delay 0; \
         also-notify {{ 127.0.0.1 port {port}; }}; }};",
        file("authority.pem")
    );
    let named = start_named_with(directory.path(), plain, &options, &more);

    // One after the other: no TLS, which named refuses; another's name; an authority that did not
    // make its certificate; no certificate, where one is asked for; and as it should be.
    let config = format!(
        "{}[dns]\nlisten = [\"127.0.0.1:{port}\"]\nsockets = 1\nrefresh_min = \"1s\"\n\
         [[dns.zone]]\nname = \"dyn.test\"\nprimaries = [\n\
         {{ address = \"127.0.0.1:{plain}\" }},\n\
         {{ address = \"127.0.0.1:{strict}\", tls = {{ name = \"ns3.test\", authorities = \"{{dir}}/authority.pem\" }} }},\n\
         {{ address = \"127.0.0.1:{strict}\", tls = {{ name = \"ns1.test\", authorities = \"{{dir}}/other.pem\" }} }},\n\
         {{ address = \"127.0.0.1:{mutual}\", tls = {{ name = \"ns1.test\", authorities = \"{{dir}}/authority.pem\" }} }},\n\
         {{ address = \"127.0.0.1:{mutual}\", tls = {{ name = \"ns1.test\", authorities = \"{{dir}}/authority.pem\", certificate = \"ns2.test\" }} }},\n\
         ]\n[[dns.zone]]\nname = \"any.test\"\nprimaries = [\n\
         {{ address = \"127.0.0.1:{strict}\", tls = {{ verify = false }} }} ]\n",
        tls_section("ns2")
    );
    let daemon = Daemon::start_with(&config, &[], |own| {
        for name in ["authority", "other", "ns2"] {
            for end in ["pem", "key"] {
                let name = format!("{name}.{end}");
                fs::copy(directory.path().join(&name), own.join(&name)).unwrap();
            }
        }
    });
    wait_until("the copy is there", LIMIT, || serial(port) == Some(10));
    // The first primary has told its serial, but does not give the zone.
    let log = daemon.log();
    assert!(log.matches("refresh failed").count() >= 4, "{log}");
    assert!(log.contains("not valid for name"), "{log}");
    assert!(log.contains("UnknownIssuer"), "{log}");
    update(plain, "update add more.dyn.test. 300 A 192.0.2.9");
    wait_until("the change has come", LIMIT, || serial(port) == Some(11));
    assert_eq!(dig(port, &["+short", "more.dyn.test", "A"]), "192.0.2.9\n");
    let log = daemon.log();
    assert!(log.contains("how=IXFR"), "{log}");
    // Whoever it is: named knows no such zone, which only an answer over TLS can have told.
    wait_until("the other primary has answered", LIMIT, || {
        daemon
            .log()
            .lines()
            .any(|line| line.contains("any.test") && line.contains("the primary answers NOTAUTH"))
    });
    drop(named);
}

#[test]
fn a_resolver_forwards_over_tls() {
    let (plain, tls) = (free_port(), free_port());
    let directory = tempfile::tempdir().unwrap();
    certificates(directory.path());
    fs::write(directory.path().join("zone"), ZONE).unwrap();
    let file = |name: &str| directory.path().join(name).display().to_string();
    let options = format!("listen-on port {tls} tls own {{ 127.0.0.1; }};");
    let more = format!(
        "tls own {{ cert-file \"{}\"; key-file \"{}\"; }};\n\
         zone \"dyn.test\" {{ type primary; file \"zone\"; }};",
        file("ns1.pem"),
        file("ns1.key")
    );
    let named = start_named_with(directory.path(), plain, &options, &more);
    let resolver = |forwarder: &str, authority: &str| {
        let port = free_port();
        let config = format!(
            "[dns]\nlisten = [\"127.0.0.1:{port}\"]\nsockets = 1\n[dns.resolver]\n\
             forward = [\"{forwarder}\"]\nvalidation = false\n\
             tls_authorities = \"{{dir}}/authority.pem\"\n"
        );
        let daemon = Daemon::start_with(&config, &[], |own| {
            let from = directory.path().join(authority);
            fs::copy(from, own.join("authority.pem")).unwrap();
        });
        (daemon, port)
    };
    let ask = |port: u16, arguments: &[&str]| {
        let port = port.to_string();
        let all = [
            &["@127.0.0.1", "-p", &port, "+tries=1", "+time=10"],
            arguments,
        ]
        .concat();
        run("dig", &all, LIMIT).success().stdout
    };
    let meant = format!("tls://127.0.0.1:{tls}#ns1.test");
    let (daemon, right) = resolver(&meant, "authority.pem");
    let answer = ask(right, &["www.dyn.test", "A"]);
    assert!(answer.contains("192.0.2.1"), "{answer}");
    let answer = ask(right, &["nobody.dyn.test", "A"]);
    assert!(answer.contains("NXDOMAIN"), "{answer}");
    for (forwarder, authority) in [
        (format!("tls://127.0.0.1:{tls}#ns3.test"), "authority.pem"),
        (meant.clone(), "other.pem"),
    ] {
        let (_daemon, wrong) = resolver(&forwarder, authority);
        let answer = ask(wrong, &["www.dyn.test", "A"]);
        assert!(answer.contains("SERVFAIL"), "{forwarder}: {answer}");
    }
    // Out of the cache, with the forwarder gone.
    drop(named);
    let answer = ask(right, &["+short", "www.dyn.test", "A"]);
    assert_eq!(answer, "192.0.2.1\n");
    drop(daemon);
}
