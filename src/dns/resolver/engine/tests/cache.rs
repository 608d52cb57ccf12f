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

/// What is no type of a record set is not looked for: no server could answer, and what it says
/// instead would be kept as if it spoke of the name.
#[test]
fn no_types_to_ask_a_resolver_for() {
    let world = world(honest());
    let resolver = resolver(&world, |_| {});
    let refused = |rr_type: RrType| {
        let answer = resolver.not_sought(&question("example.", rr_type))?;
        Some((answer.rcode, answer.answers(RrType::HINFO).len()))
    };
    for rr_type in [0, 41, 46, 128, 249, 250, 251, 252, 253, 254] {
        let told = refused(RrType(rr_type));
        assert_eq!(told, Some((Rcode::NOTIMP, 0)), "{rr_type}");
    }
    assert_eq!(refused(RrType::ANY), Some((Rcode::NOERROR, 1)), "RFC 8482");
    for rr_type in [1, 5, 43, 47, 65, 127, 256, 65_535] {
        assert_eq!(refused(RrType(rr_type)), None, "{rr_type}");
    }
    // Even if one came through, that a name has no such set is not that there is no such name.
    ask(&resolver, "example.", RrType(0));
    assert_eq!(
        ask(&resolver, "www.example.", RrType::A),
        (Rcode::NOERROR, 1, 100)
    );
    assert_eq!(
        ask(&resolver, "example.", RrType::NS),
        (Rcode::NOERROR, 1, 300)
    );
}

/// A renewal that fails takes nothing away.
#[test]
fn what_cannot_be_renewed_still_counts() {
    for stale in [0, 3600] {
        let world = world(honest());
        let resolver = resolver(&world, |settings| {
            settings.stale = Duration::from_secs(stale);
        });
        let answer = |refresh: bool| {
            let ask = Ask {
                refresh,
                ..question("www.example.", RrType::A)
            };
            let answer = resolver.answer(ask).now_or_never().unwrap();
            let age = answer.age(world.now());
            (answer.rcode, answer.ttl - age, answer.stale)
        };
        assert_eq!(answer(false), (Rcode::NOERROR, 100, false));
        world.clock.fetch_add(80_000, Ordering::Relaxed);
        world.silent.store(true, Ordering::Relaxed);
        world.clock.fetch_add(11_000, Ordering::Relaxed);
        let (rcode, left, is_stale) = answer(true);
        assert_eq!((rcode, is_stale), (Rcode::NOERROR, false), "{stale}");
        assert!((1..10).contains(&left), "{stale}: {left}");
        let kept = ask(&resolver, "www.example.", RrType::A);
        assert_eq!(kept.0, Rcode::NOERROR, "{stale}");
        let known = question("www.example.", RrType::A);
        let known = resolver
            .memory
            .answers
            .get(known.name.as_ref(), known.kind());
        assert_eq!(known.unwrap().rcode, Rcode::NOERROR, "{stale}");
    }
}
