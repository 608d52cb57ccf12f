//! Values: what is read, and that what is printed reads back to the same.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use omnid_config::{ByteSize, DomainName, IpNet, ListenAddr, Url, Value, load_str, print, section};
use proptest::prelude::*;

section! {
    /// One of each.
    pub struct Values {
        pub duration: Option<Duration> = None,
        pub size: Option<ByteSize> = None,
        pub listen: Option<ListenAddr> = None,
        pub socket: Option<SocketAddr> = None,
        pub address: Option<IpAddr> = None,
        pub network: Option<IpNet> = None,
        pub domain: Option<DomainName> = None,
        pub url: Option<Url> = None,
        pub text: Option<String> = None,
        pub path: Option<PathBuf> = None,
        pub number: Option<f64> = None,
        pub integer: Option<i64> = None,
    }
}

fn read(text: &str) -> Result<Values, String> {
    load_str::<Values>(text)
        .map(|loaded| loaded.value)
        .map_err(|report| report.to_string())
}

#[test]
fn texts_are_read_and_printed() {
    for (key, written, printed) in [
        ("duration", "0s", "0s"),
        ("duration", "1500ms", "1s500ms"),
        ("duration", "90m", "1h30m"),
        ("duration", "2w", "14d"),
        ("duration", "30m1h", "1h30m"),
        ("size", "0B", "0B"),
        ("size", "1024KiB", "1MiB"),
        ("size", "5MB", "5MB"),
        ("size", "5mb", "5MB"),
        ("size", "1025B", "1025B"),
        ("listen", "[::]:53", "[::]:53"),
        ("listen", "127.0.0.1:0", "127.0.0.1:0"),
        ("listen", "unix:/run/x.sock", "unix:/run/x.sock"),
        ("socket", "[2001:DB8::1]:53", "[2001:db8::1]:53"),
        ("address", "::ffff:192.0.2.1", "::ffff:192.0.2.1"),
        ("network", "192.0.2.0/24", "192.0.2.0/24"),
        ("network", "192.0.2.1/32", "192.0.2.1"),
        ("network", "::/0", "::/0"),
        ("network", "0.0.0.0/0", "0.0.0.0/0"),
        ("domain", "Example.ORG.", "example.org"),
        ("domain", ".", "."),
        (
            "domain",
            "0/25.2.0.192.in-addr.arpa",
            "0/25.2.0.192.in-addr.arpa",
        ),
        (
            "domain",
            "_acme-challenge.example.org",
            "_acme-challenge.example.org",
        ),
        ("url", "HTTP://example.org", "http://example.org"),
        ("url", "mailto:ops@example.org", "mailto:ops@example.org"),
        (
            "url",
            "postgres://u:p@[::1]:5432/db",
            "postgres://u:p@[::1]:5432/db",
        ),
    ] {
        let values = read(&format!("{key} = \"{written}\"\n")).unwrap();
        assert_eq!(print(&values, false), format!("{key} = \"{printed}\"\n"));
    }
}

#[test]
fn networks_contain_addresses() {
    for (network, address, inside) in [
        ("192.0.2.0/24", "192.0.2.255", true),
        ("192.0.2.0/24", "192.0.3.0", false),
        ("192.0.2.0/24", "::ffff:192.0.2.1", true),
        ("0.0.0.0/0", "203.0.113.1", true),
        ("0.0.0.0/0", "::1", false),
        ("::/0", "2001:db8::1", true),
        ("2001:db8::/33", "2001:db8:8000::", false),
        ("192.0.2.1", "192.0.2.1", true),
        ("192.0.2.1", "192.0.2.2", false),
    ] {
        let network: IpNet = network.parse().unwrap();
        assert_eq!(
            network.contains(address.parse().unwrap()),
            inside,
            "{network} {address}"
        );
    }
}

#[test]
fn urls_come_apart() {
    let parts = |text: &str| {
        let url: Url = text.parse().unwrap();
        let (host, port) = (url.host().map(str::to_string), url.port());
        (url.scheme().to_string(), host, port, url.path().to_string())
    };
    let host = |name: &str| Some(name.to_string());
    for (text, scheme, expected, port, path) in [
        (
            "https://example.org/a?b#c",
            "https",
            host("example.org"),
            None,
            "/a?b#c",
        ),
        ("http://[::1]:8080", "http", host("::1"), Some(8080), ""),
        (
            "postgres://u:p@db:5432/x",
            "postgres",
            host("db"),
            Some(5432),
            "/x",
        ),
        (
            "ldap://u:p@[2001:db8::1]/",
            "ldap",
            host("2001:db8::1"),
            None,
            "/",
        ),
        (
            "sqlite:/var/lib/x.db",
            "sqlite",
            None,
            None,
            "/var/lib/x.db",
        ),
        ("file:///etc/x", "file", host(""), None, "/etc/x"),
    ] {
        assert_eq!(
            parts(text),
            (scheme.into(), expected, port, path.into()),
            "{text}"
        );
    }
}

#[test]
fn domains_lie_within_each_other() {
    let name = |text: &str| text.parse::<DomainName>().unwrap();
    assert!(name("a.example.org").is_within(&name("example.org")));
    assert!(name("example.org").is_within(&name("example.org")));
    assert!(name("example.org").is_within(&name(".")));
    assert!(!name("badexample.org").is_within(&name("example.org")));
    assert!(!name("org").is_within(&name("example.org")));
}

fn address() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        any::<[u8; 4]>().prop_map(|bytes| IpAddr::V4(Ipv4Addr::from(bytes))),
        any::<[u8; 16]>().prop_map(|bytes| IpAddr::V6(Ipv6Addr::from(bytes))),
    ]
}

fn network() -> impl Strategy<Value = IpNet> {
    (address(), 0_u8..=128).prop_map(|(address, length)| {
        let length = if address.is_ipv4() {
            length.min(32)
        } else {
            length
        };
        // The first address of the network that this one lies in.
        let clear = |bits: u128, width: u32| {
            let keep = u128::MAX
                .checked_shl(width - u32::from(length))
                .unwrap_or(0);
            bits & keep
        };
        let first = match address {
            IpAddr::V4(v4) => {
                let bits = clear(u128::from(u32::from(v4)), 32);
                IpAddr::V4(Ipv4Addr::from(u32::try_from(bits).unwrap()))
            }
            IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from(clear(u128::from(v6), 128))),
        };
        IpNet::new(first, length).unwrap()
    })
}

proptest! {
    #[test]
    fn printed_values_read_back(
        milliseconds in any::<u64>(),
        size in any::<u64>(),
        socket in (address(), any::<u16>()),
        network in network(),
        domain in "([a-z0-9_]{1,20}\\.){0,5}[a-z0-9]{1,20}",
        text in any::<String>(),
        path in "[^\0]{1,40}",
        number in prop::num::f64::NORMAL | prop::num::f64::ZERO,
        integer in any::<i64>(),
    ) {
        let socket = SocketAddr::from(socket);
        let values = Values {
            duration: Some(Duration::from_millis(milliseconds)),
            size: Some(ByteSize(size)),
            listen: Some(socket.into()),
            socket: Some(socket),
            address: Some(socket.ip()),
            network: Some(network),
            domain: Some(domain.parse().unwrap()),
            url: Some("https://example.org/".parse().unwrap()),
            text: Some(text),
            path: Some(path.into()),
            number: Some(number),
            integer: Some(integer),
            place: Default::default(),
        };
        for defaults in [false, true] {
            let printed = print(&values, defaults);
            prop_assert_eq!(&read(&printed).map_err(TestCaseError::fail)?, &values, "{}", printed);
        }
        prop_assert!(network.contains(network.address()));
        let inline = format!("{}", values.item());
        prop_assert!(!inline.contains('\n'));
    }
}
