//! Sources of their own for parts of the names.

use super::*;
use crate::resolver::engine::network::Server;
use crate::resolver::engine::settings::Route;

const ROOT: Unsigned<'_> = (
    ".",
    "192.0.2.1",
    "@ NS a.root.\na.root. A 192.0.2.1\nexample. NS ns.example.\nns.example. A 192.0.2.2\n",
);
const EXAMPLE: Unsigned<'_> = (
    "example.",
    "192.0.2.2",
    "@ NS ns\nns A 192.0.2.2\nwww 100 A 192.0.2.80\n",
);
/// A resolver that has its own view of everything.
const OTHER: Unsigned<'_> = (
    ".",
    "192.0.2.9",
    "@ NS a.root.\na.root. A 192.0.2.9\nwww.corp. CNAME www.example.\nwww.example. A 192.0.2.66\n",
);

fn forward(zone: &str, address: &str) -> (Name, Route) {
    let server = Server {
        address: SocketAddr::new(address.parse().unwrap(), 53),
        carrier: Carrier::Udp,
        name: None,
    };
    let servers = vec![server];
    (
        name(zone),
        Route::Forward {
            servers,
            first: false,
        },
    )
}

/// Who is asked about one zone is believed about that zone.
#[test]
fn a_conditional_forwarder_speaks_of_its_zone_only() {
    let world = world_of(&[ROOT, EXAMPLE, OTHER], honest());
    let resolver = resolver(&world, |settings| {
        settings.routes = vec![forward("corp.", "192.0.2.9")];
    });
    let real: Box<[u8]> = [192, 0, 2, 80].into();
    assert_eq!(data(&resolver, "www.corp.", RrType::A), [real.clone()]);
    assert_eq!(data(&resolver, "www.example.", RrType::A), [real]);
}

/// What a source says of names that have another is not kept.
#[test]
fn each_source_speaks_for_its_own_names() {
    let world = world_of(
        &[
            (
                "corp.",
                "192.0.2.7",
                "@ NS ns\nns A 192.0.2.7\nother A 192.0.2.91\n",
            ),
            (
                OTHER.0,
                OTHER.1,
                "@ NS a.root.\na.root. A 192.0.2.9\nto.example. CNAME other.corp.\nother.corp. A 192.0.2.66\n",
            ),
        ],
        honest(),
    );
    let resolver = resolver(&world, |settings| {
        settings.routes = vec![forward("corp.", "192.0.2.7"), forward(".", "192.0.2.9")];
    });
    let real: Box<[u8]> = [192, 0, 2, 91].into();
    assert_eq!(data(&resolver, "to.example.", RrType::A), [real.clone()]);
    assert_eq!(data(&resolver, "other.corp.", RrType::A), [real]);
}
