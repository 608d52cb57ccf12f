//! What is kept of one question, and what it may not say of another.

use super::*;

/// A CNAME query that finds none says nothing of the name's addresses.
#[test]
fn no_cname_is_not_no_address() {
    let world = world(honest());
    let resolver = resolver(&world, |settings| {
        settings.stale = Duration::from_secs(3600);
    });
    assert_eq!(
        ask(&resolver, "www.example.", RrType::CNAME),
        (Rcode::NOERROR, 0, 60)
    );
    assert_eq!(
        ask(&resolver, "www.example.", RrType::A),
        (Rcode::NOERROR, 1, 100)
    );
    // Nor does it where only old data is to be had.
    world.clock.fetch_add(200_000, Ordering::Relaxed);
    ask(&resolver, "www.example.", RrType::CNAME);
    world.silent.store(true, Ordering::Relaxed);
    assert_eq!(
        ask(&resolver, "www.example.", RrType::MX).0,
        Rcode::SERVFAIL
    );
}
