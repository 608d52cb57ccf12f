//! Catalog zones (RFC 9432) of named and knotd, whose members this server fetches and serves.

use std::fs;

use crate::{
    LIMIT, dig, start_named,
    support::{Background, Daemon, free_port, run_with, wait_until},
};

fn zone(which: &str) -> String {
    format!(
        "$TTL 300\n@ SOA ns hostmaster 10 3600 600 86400 60\n@ NS ns\nns A 127.0.0.1\n\
         which TXT \"{which}\"\n"
    )
}

const CATALOG: &str = "@ 0 SOA invalid. invalid. 1 3600 600 86400 0\n@ 0 NS invalid.\n\
    version 0 TXT \"2\"\nm1.zones 0 PTR one.test.\n";

fn serves(port: u16, name: &str, which: &str) -> bool {
    let text = dig(port, &["+short", &format!("which.{name}"), "TXT"]);
    text == format!("\"{which}\"\n")
}

fn config(port: u16, named: u16, knot: u16) -> String {
    format!(
        "[dns]\nlisten = [\"127.0.0.1:{port}\"]\nsockets = 1\nrefresh_min = \"1s\"\n\
         [[dns.zone]]\nname = \"cat.test\"\ncatalog = \"plain\"\n\
         primaries = [{{ address = \"127.0.0.1:{named}\" }}]\n\
         [[dns.zone]]\nname = \"knot.test\"\ncatalog = \"knot\"\n\
         primaries = [{{ address = \"127.0.0.1:{knot}\" }}]\n\
         [[dns.zone]]\nname = \"own.test\"\nfile = \"{{dir}}/own\"\n\
         [[dns.template]]\nname = \"plain\"\n\
         primaries = [{{ address = \"127.0.0.1:{named}\" }}]\n\
         [[dns.template]]\nname = \"closed\"\nquery_from = [\"127.0.0.9\"]\n\
         primaries = [{{ address = \"127.0.0.1:{named}\" }}]\n\
         [[dns.template]]\nname = \"knot\"\n\
         primaries = [{{ address = \"127.0.0.1:{knot}\" }}]\n"
    )
}

#[test]
fn zones_of_catalogs_come_and_go() {
    let (port, named_port, knot_port) = (free_port(), free_port(), free_port());
    let directory = tempfile::tempdir().unwrap();
    let mut zones = String::new();
    for name in ["cat", "one", "two", "own"] {
        let text = if name == "cat" {
            CATALOG.to_owned()
        } else {
            zone(name)
        };
        fs::write(directory.path().join(name), text).unwrap();
        zones += &format!(
            "zone \"{name}.test\" {{ type primary; file \"{name}\"; notify explicit; notify-delay 0;\n\
             also-notify {{ 127.0.0.1 port {port}; }}; allow-update {{ 127.0.0.1; }}; }};\n"
        );
    }
    let named = start_named(directory.path(), named_port, &zones);

    let knot_directory = tempfile::tempdir().unwrap();
    let knot_path = knot_directory.path();
    fs::write(knot_path.join("three.test.zone"), zone("three")).unwrap();
    let text = format!(
        "server:\n    rundir: \"{0}\"\n    listen: 127.0.0.1@{knot_port}\n\
         database:\n    storage: \"{0}/db\"\nlog:\n  - target: stderr\n    any: info\n\
         acl:\n  - id: transfer\n    address: 127.0.0.1\n    action: transfer\n\
         template:\n  - id: default\n    storage: \"{0}\"\n    acl: transfer\n\
         zone:\n  - domain: knot.test\n    catalog-role: generate\n\
         \x20 - domain: three.test\n    catalog-role: member\n    catalog-zone: knot.test\n\
         \x20   catalog-group: of-knot\n",
        knot_path.display()
    );
    fs::write(knot_path.join("knot.conf"), text).unwrap();
    let knot_config = knot_path.join("knot.conf");
    let _knotd = Background::start(
        "knotd",
        &["-c", knot_config.to_str().unwrap()],
        &knot_path.join("knotd.log"),
    );

    let mut daemon = Daemon::start_with(&config(port, named_port, knot_port), &[], |directory| {
        fs::write(directory.join("own"), zone("mine")).unwrap();
    });
    let is_served = |name: &str, which: &str| {
        wait_until("a member is served", LIMIT, || serves(port, name, which));
    };
    let refused = |name: &str| dig(port, &[&format!("which.{name}"), "TXT"]).contains("REFUSED");
    is_served("one.test", "one");
    is_served("three.test", "three");
    assert!(refused("two.test"));

    // More of them; a group is made by its own template; what the configuration has stays so.
    let update = |script: &str| {
        let script = format!("server 127.0.0.1 {named_port}\nzone cat.test\n{script}send\n");
        run_with("nsupdate", &["-t", "8"], &script, &[], LIMIT).success();
    };
    update(
        "update add m2.zones.cat.test. 0 PTR two.test.\n\
         update add group.m2.zones.cat.test. 0 TXT closed\n\
         update add m3.zones.cat.test. 0 PTR own.test.\n",
    );
    let inside = ["-b", "127.0.0.9", "+short", "which.two.test", "TXT"];
    wait_until("the second member", LIMIT, || {
        dig(port, &inside) == "\"two\"\n"
    });
    assert!(refused("two.test"));
    assert!(serves(port, "own.test", "mine"));
    let list = daemon.json(&["zone", "list"]).to_string();
    assert!(
        list.contains("\"two.test\"") && list.contains("\"three.test\""),
        "{list}"
    );

    // One goes, with what was kept of it.
    let copy = daemon.path("data/dns/one.test.zone");
    assert!(copy.exists());
    update("update delete m1.zones.cat.test. PTR\n");
    wait_until("the first member goes", LIMIT, || refused("one.test"));
    wait_until("so does its copy", LIMIT, || !copy.exists());

    // Another label is another zone, even if its serial is lower.
    let two = directory.path().join("two");
    let text = zone("anew").replace(" 10 3600", " 3 3600");
    drop(named);
    fs::write(&two, text).unwrap();
    let journal = directory.path().join("two.jnl");
    assert!(!journal.exists());
    let named = start_named(directory.path(), named_port, &zones);
    update(
        "update delete m2.zones.cat.test. PTR\nupdate delete group.m2.zones.cat.test. TXT\n\
         update add m4.zones.cat.test. 0 PTR two.test.\n",
    );
    is_served("two.test", "anew");

    // A broken catalog changes nothing.
    update("update add version.cat.test. 0 TXT 3\nupdate delete m4.zones.cat.test. PTR\n");
    wait_until("the catalog is found to be broken", LIMIT, || {
        daemon.log().contains("catalog is broken")
    });
    assert!(serves(port, "two.test", "anew"));

    // Nor does a start without the primaries: what they named last is served.
    drop(named);
    daemon.kill();
    daemon.start_again();
    assert!(serves(port, "two.test", "anew") && serves(port, "three.test", "three"));
    assert!(refused("one.test"));
}
