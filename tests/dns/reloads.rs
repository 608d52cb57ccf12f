//! Reloads that give a zone another file, or another part to play.

use super::*;

/// Updates go where the zone goes, and what is written is written to the file that the
/// configuration names now.
#[test]
fn updates_follow_the_zone_from_file_to_file() {
    let server = start(&file("update = { from = [\"localhost\"] }"), ZONE);
    let (port, daemon) = (server.port, &server.daemon);
    let add = |name: &str| {
        let script = format!("update add {name}.dyn.test. 300 A 192.0.2.6");
        update_with("nsupdate", port, None, &script).success();
    };
    let names = |path: &str| -> Vec<&str> {
        let text = fs::read_to_string(daemon.path(path)).unwrap();
        let all = ["first", "second", "third", "fourth"];
        all.into_iter()
            .filter(|name| text.contains(&format!("{name}.dyn.test.")))
            .collect()
    };
    let other = "file = \"{dir}/other.zone\"\nupdate = { from = [\"localhost\"] }";
    add("first");

    // Another zone altogether would lose it.
    fs::write(daemon.path("other.zone"), ZONE.replace(" 10 ", " 30 ")).unwrap();
    daemon.write_config(&config(port, other));
    let reload = daemon.omnid(&["reload"]);
    let told = format!("{}{}", reload.stdout, reload.stderr);
    assert!(
        told.contains("was edited while updates had the zone"),
        "{told}"
    );
    assert_eq!(short(port, "first.dyn.test", "A"), "192.0.2.6\n");

    // A copy of the file goes on where the file was.
    fs::copy(daemon.path("dyn.zone"), daemon.path("other.zone")).unwrap();
    daemon.omnid(&["reload"]).success();
    assert_eq!(short(port, "first.dyn.test", "A"), "192.0.2.6\n");
    add("second");
    let status = daemon.json(&["zone", "sync", "dyn.test"]);
    assert!(
        status["file"].as_str().unwrap().ends_with("/other.zone"),
        "{status}"
    );
    assert!(names("dyn.zone").is_empty());
    assert_eq!(names("other.zone"), ["first", "second"]);

    // The copy of a primary is not written over the operator's file, and updates are in that.
    add("third");
    let dead = free_port();
    let primaries = format!("primaries = [{{ address = \"127.0.0.1:{dead}\" }}]");
    daemon.write_config(&config(port, &primaries));
    daemon.omnid(&["reload"]).success();
    let status = daemon.json(&["zone", "status", "dyn.test"]);
    assert_eq!(status["kind"], "secondary");
    assert!(
        !status["file"].as_str().unwrap().ends_with("/other.zone"),
        "{status}"
    );
    assert_eq!(names("other.zone"), ["first", "second", "third"]);

    daemon.write_config(&config(port, other));
    daemon.omnid(&["reload"]).success();
    assert_eq!(short(port, "third.dyn.test", "A"), "192.0.2.6\n");
    add("fourth");
    daemon.omnid(&["zone", "freeze", "dyn.test"]).success();
    assert_eq!(names("other.zone"), ["first", "second", "third", "fourth"]);
}
