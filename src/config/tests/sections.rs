//! Sections, choices and values as other crates define and read them.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use omnid_config::{
    ByteSize, DomainName, IpNet, ListenAddr, Problem, Problems, Secret, Section, Spanned, Url,
    load_str,
};

omnid_config::choice! {
    /// How loud.
    pub enum Loudness {
        /// Hardly.
        Low = "low",
        High = "high",
    }
}

omnid_config::section! {
    /// A bell.
    #[check(check_bell, needs(name))]
    pub struct Bell {
        /// Where it listens.
        pub listen: Vec<Spanned<ListenAddr>> = vec![ListenAddr::any(53).into()],
        /// What it is called.
        pub name: Spanned<String>,
        /// Its kind.
        #[key = "type"]
        pub kind: String = "brass".into(),
        #[range(1..=10)]
        pub rings: Option<Spanned<u8>> = None,
        pub loudness: Loudness = Loudness::Low,
        #[range(Duration::from_secs(1)..=Duration::from_secs(60))]
        pub pause: Duration = Duration::from_secs(2),
    }
}

fn check_bell(bell: &Bell, problems: &mut Problems) {
    if bell.name.as_str() == "silent" {
        problems.push(Problem::error("a bell is not silent").at(bell.name.span, "its name"));
    }
}

omnid_config::section! {
    pub struct Policy { pub allow: Vec<IpNet> = vec![], }
}

omnid_config::section! {
    /// Everything.
    pub struct Root {
        pub hostname: DomainName = DomainName::localhost(),
        pub data_dir: PathBuf = "/var/lib/omnid".into(),
        pub size: ByteSize = ByteSize::mib(5),
        pub ratio: f64 = 0.5,
        pub address: Option<IpAddr> = None,
        pub home: Option<Url> = None,
        pub secret: Option<Secret> = None,
        pub quiet: bool = false,
        /// Bells.
        pub bell: Vec<Bell> = vec![],
        pub policy: BTreeMap<String, Policy> = BTreeMap::new(),
        pub boxed: Option<Box<Bell>> = None,
    }
}

#[test]
fn an_empty_file_is_all_defaults() {
    let root = load_str::<Root>("").unwrap().value;
    assert_eq!(root, Root::default());
    assert_eq!(root.size.bytes(), 5 * 1024 * 1024);
}

#[test]
fn every_kind_of_value_is_read() {
    let loaded = load_str::<Root>(
        r#"
        hostname = "One.Example.Org."
        data_dir = "data"
        size = "64KiB"
        ratio = 1
        address = "2001:db8::1"
        home = "HTTPS://example.org:8443/x"
        secret = "hush"
        quiet = true

        [[bell]]
        name = "front"
        type = "tin"
        listen = ["127.0.0.1:0", "unix:/run/bell.sock"]
        rings = 3
        loudness = "high"
        pause = "1s500ms"

        [policy.office]
        allow = ["192.0.2.0/24", "2001:db8::1"]
        "#,
    )
    .unwrap();
    let root = loaded.value;
    assert_eq!(root.hostname.as_str(), "one.example.org");
    assert_eq!(root.data_dir, PathBuf::from("data"));
    assert_eq!(root.home.as_ref().unwrap().port(), Some(8443));
    assert_eq!(root.secret.as_ref().unwrap().expose(), "hush");
    let bell = &root.bell[0];
    assert_eq!(bell.kind, "tin");
    assert_eq!(bell.rings, Some(3.into()));
    assert_eq!(bell.pause, Duration::from_millis(1500));
    let place = loaded.sources.position(bell.place.span().unwrap()).unwrap();
    assert_eq!(place, "omnid.toml:11:9");
    assert!(root.policy["office"].allow[0].contains("192.0.2.7".parse().unwrap()));
}

#[test]
fn all_faults_are_found_at_once() {
    let report = load_str::<Root>(
        "hostnam = 'x'\nsize = 5\n[[bell]]\nrings = 11\npause = '2m'\n[policy.a]\nallow = ['192.0.2.1/24']\n[[bell]]\nname = 'silent'\nloudness = 'hgih'\n",
    )
    .unwrap_err();
    println!("{report}");
    assert_eq!(report.problems.errors(), 8, "{report}");
}

#[test]
fn descriptions_come_from_the_definition() {
    let info = Bell::INFO;
    assert_eq!(info.help, [" A bell."]);
    assert_eq!(info.fields[2].key, "type");
    assert!(info.fields[1].default.is_none());
}
