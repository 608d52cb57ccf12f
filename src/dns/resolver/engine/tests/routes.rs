//! Sources of their own for parts of the names.

use super::trust::ZoneKey;
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
    assert_eq!(
        data(&resolver, "www.corp.", RrType::A),
        std::slice::from_ref(&real)
    );
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
    assert_eq!(
        data(&resolver, "to.example.", RrType::A),
        std::slice::from_ref(&real)
    );
    assert_eq!(data(&resolver, "other.corp.", RrType::A), [real]);
}

/// A root that is signed, and says that there is neither `corp.` nor `lab.`.
fn signed_root(key: &ZoneKey) -> (&'static str, Zone) {
    ("192.0.2.1", key.sign(".", ROOT.2))
}

/// What a zone above proves is not there may be there all the same, for those who are told where.
#[test]
fn proofs_from_above_do_not_close_a_route() {
    let key = ZoneKey::new(257);
    let corp = "@ NS ns\nns A 192.0.2.7\nother A 192.0.2.91\na.x A 192.0.2.92\n";
    let corp = load("corp.", &format!("{HEAD}{corp}")).zone.unwrap();
    let world = world_serving(
        [signed_root(&key), ("192.0.2.7", corp)].into_iter(),
        honest(),
    );
    // Ranges, a name above that does not exist, and the DS set of the route's own zone.
    for before in [
        ("coro.", RrType::A),
        ("corp.", RrType::DS),
        ("corp.", RrType::A),
    ] {
        for (route, asked, last) in [("corp.", "other.corp.", 91), ("x.corp.", "a.x.corp.", 92)] {
            let resolver = resolver(&world, |settings| {
                key.trust(settings);
                settings.exempt = vec![name(route)];
                settings.routes = vec![forward(route, "192.0.2.7")];
            });
            ask(&resolver, before.0, before.1);
            let real: Box<[u8]> = [192, 0, 2, last].into();
            let told = data(&resolver, asked, RrType::A);
            assert_eq!(told, [real], "{before:?} {route}");
            if asked == "other.corp." {
                assert_eq!(ask(&resolver, "corp.", RrType::NS).0, Rcode::NOERROR);
            }
        }
    }
}

/// Nor do they hide what is exempt from validation, wherever it comes from.
#[test]
fn proofs_do_not_hide_what_is_exempt() {
    let key = ZoneKey::new(257);
    let lab = "@ NS ns\nns A 192.0.2.1\nwww A 192.0.2.93\n";
    let lab = load("lab.", &format!("{HEAD}{lab}")).zone.unwrap();
    let world = world_serving(
        [signed_root(&key), ("192.0.2.1", lab)].into_iter(),
        honest(),
    );
    let resolver = resolver(&world, |settings| {
        key.trust(settings);
        settings.exempt = vec![name("lab.")];
        settings.routes = vec![forward(".", "192.0.2.1")];
    });
    assert_eq!(ask(&resolver, "laa.", RrType::A).0, Rcode::NXDOMAIN);
    let real: Box<[u8]> = [192, 0, 2, 93].into();
    assert_eq!(data(&resolver, "www.lab.", RrType::A), [real]);
}
