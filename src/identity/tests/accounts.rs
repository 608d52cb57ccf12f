//! Accounts from creation to removal, as the services see them, on either engine.

#[path = "../../store/tests/support/mod.rs"]
#[macro_use]
mod support;

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use omnid_hub::{Event, Hub};
use omnid_identity::{
    Address, AuthError, DigestAlgorithm, Identity, IdentityConfig, IdentityError, Role, ScramHash,
    ScramVerifier, Source,
    moving::{self, Moving, Verifiers},
};
use omnid_store::{Database, params};
use support::{Engine, Outcome};

on_each_engine! {
    one_password_for_every_protocol,
    unknown_and_disabled_names_look_alike,
    a_changed_password_is_the_only_one_at_once,
    app_passwords_are_for_verify_only,
    roles_names_aliases_and_extensions,
    failures_throttle_and_lock_across_services,
    security_events_are_kept_within_bounds,
    verifiers_follow_the_configured_cost,
    nothing_stored_is_the_password,
    accounts_from_elsewhere_get_what_they_lack,
}

const HERE: Source = Source {
    ip: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)),
    service: "test",
};

fn from(last: u8) -> Source {
    Source {
        ip: IpAddr::V4(Ipv4Addr::new(198, 51, 100, last)),
        service: "test",
    }
}

struct World {
    world: support::World,
    database: Database,
    hub: Hub,
    identity: Identity,
}

async fn world(engine: Engine) -> Outcome<World> {
    configured(engine, IdentityConfig::default()).await
}

async fn configured(engine: Engine, config: IdentityConfig) -> Outcome<World> {
    let world = support::World::new(engine)?;
    let database = world.open().await?;
    let hub = Hub::new();
    let identity = Identity::open(&config, database.clone(), hub.clone()).await?;
    Ok(World {
        world,
        database,
        hub,
        identity,
    })
}

fn address(text: &str) -> Outcome<Address> {
    Ok(text.parse()?)
}

async fn one_password_for_every_protocol(engine: Engine) -> Outcome {
    let world = world(engine).await?;
    let identity = &world.identity;
    let alice = address("Alice@Example.org")?;
    let account = identity
        .create(&alice, "correct horse", Role::Admin)
        .await?;
    assert!(account.roles.has(Role::Admin) && account.administers("elsewhere.org"));
    assert!(matches!(
        identity.create(&alice, "another horse", Role::User).await,
        Err(IdentityError::Exists(_))
    ));
    for unusable in ["short", "\u{7}control characters", &"x".repeat(2000)] {
        let created = identity
            .create(&address("bob@example.org")?, unusable, Role::User)
            .await;
        assert!(
            matches!(created, Err(IdentityError::Password(_))),
            "{unusable}"
        );
    }

    assert_eq!(
        identity.verify(&alice, "correct horse", HERE).await?,
        account
    );
    for hash in ScramHash::ALL {
        let verifier = identity.scram(&alice, hash, HERE).await?;
        assert!(verifier.exists && verifier.iterations >= 10_000);
        assert_eq!(verifier.stored_key.len(), hash.length());
    }
    for algorithm in DigestAlgorithm::ALL {
        for user in ["alice", "alice@example.org"] {
            let ha1 = identity
                .digest_ha1(user, "example.org", algorithm, HERE)
                .await?;
            let expected = algorithm.ha1(user, "example.org", "correct horse");
            assert_eq!(ha1, Some(expected.into_bytes()));
        }
    }
    // The hash of another spelling is another hash, and there is none.
    for (user, realm) in [
        ("Alice", "example.org"),
        ("alice", "example.com"),
        ("a b", "x"),
    ] {
        let ha1 = identity
            .digest_ha1(user, realm, DigestAlgorithm::Md5, HERE)
            .await?;
        assert_eq!(ha1, None, "{user} {realm}");
    }

    assert_eq!(identity.list(Some("example.org")).await?, [account]);
    assert!(identity.list(Some("example.com")).await?.is_empty());
    identity.remove(&alice).await?;
    assert!(identity.account(&alice).await?.is_none());
    assert!(
        identity
            .verify(&alice, "correct horse", HERE)
            .await
            .is_err()
    );
    let ha1 = identity
        .digest_ha1("alice", "example.org", DigestAlgorithm::Md5, HERE)
        .await?;
    assert_eq!(ha1, None);
    assert!(matches!(
        identity.remove(&alice).await,
        Err(IdentityError::NoAccount(_))
    ));
    Ok(())
}

async fn unknown_and_disabled_names_look_alike(engine: Engine) -> Outcome {
    let world = world(engine).await?;
    let identity = &world.identity;
    let (alice, nobody) = (
        address("alice@example.org")?,
        address("nobody@example.org")?,
    );
    identity.create(&alice, "correct horse", Role::User).await?;
    for who in [&alice, &nobody] {
        let refused = identity.verify(who, "wrong horse", HERE).await;
        assert!(matches!(refused, Err(AuthError::BadCredentials)));
    }
    // A made-up salt stays, also over a restart.
    let first = identity.scram(&nobody, ScramHash::Sha256, HERE).await?;
    let restarted = Identity::open(
        &IdentityConfig::default(),
        world.database.clone(),
        Hub::new(),
    )
    .await?;
    assert_eq!(
        restarted.scram(&nobody, ScramHash::Sha256, HERE).await?,
        first
    );
    assert!(!first.exists);

    let before = identity.scram(&alice, ScramHash::Sha256, HERE).await?;
    assert!(identity.verify(&alice, "correct horse", HERE).await.is_ok());
    identity.set_enabled(&alice, false).await?;
    let after = identity.scram(&alice, ScramHash::Sha256, HERE).await?;
    assert_eq!(
        (&after.salt, after.iterations, after.exists),
        (&before.salt, before.iterations, false)
    );
    let ha1 = identity
        .digest_ha1("alice", "example.org", DigestAlgorithm::Sha256, HERE)
        .await?;
    assert_eq!(ha1, None);
    // Only who knows the password learns that the account is there.
    let refused = identity.verify(&alice, "correct horse", HERE).await;
    assert!(matches!(refused, Err(AuthError::Disabled)));
    let refused = identity.verify(&alice, "wrong horse", HERE).await;
    assert!(matches!(refused, Err(AuthError::BadCredentials)));
    identity.set_enabled(&alice, true).await?;
    assert!(identity.verify(&alice, "correct horse", HERE).await.is_ok());

    // The same work for both. Far apart only if one of them did not hash at all.
    let mut times = Vec::new();
    for who in [&alice, &nobody] {
        let mut best = Duration::MAX;
        for n in 0..8 {
            let began = Instant::now();
            let refused = identity.verify(who, &format!("guess {n}"), from(n)).await;
            if matches!(refused, Err(AuthError::BadCredentials)) {
                best = best.min(began.elapsed());
            }
        }
        times.push(best);
    }
    assert!(
        times[0] < times[1] * 3 && times[1] < times[0] * 3,
        "{times:?}"
    );
    Ok(())
}

async fn a_changed_password_is_the_only_one_at_once(engine: Engine) -> Outcome {
    let world = world(engine).await?;
    let identity = &world.identity;
    let alice = address("alice@example.org")?;
    identity.create(&alice, "password 0", Role::User).await?;
    for n in 0..4 {
        let (old, new) = (format!("password {n}"), format!("password {}", n + 1));
        // Remembered, and being checked at the very moment of the change.
        identity.verify(&alice, &old, HERE).await?;
        let racing = tokio::spawn({
            let (identity, alice, old) = (identity.clone(), alice.clone(), old.clone());
            async move { identity.verify(&alice, &old, from(n)).await.is_ok() }
        });
        identity.set_password(&alice, &new).await?;
        racing.await?;
        assert!(identity.verify(&alice, &old, HERE).await.is_err(), "{n}");
        assert!(identity.verify(&alice, &new, HERE).await.is_ok(), "{n}");
        let ha1 = identity
            .digest_ha1("alice", "example.org", DigestAlgorithm::Md5, HERE)
            .await?;
        let expected = DigestAlgorithm::Md5.ha1("alice", "example.org", &new);
        assert_eq!(ha1, Some(expected.into_bytes()));
    }
    Ok(())
}

async fn app_passwords_are_for_verify_only(engine: Engine) -> Outcome {
    let world = world(engine).await?;
    let identity = &world.identity;
    let (alice, bob) = (address("alice@example.org")?, address("bob@example.org")?);
    identity.create(&alice, "correct horse", Role::User).await?;
    identity.create(&bob, "correct horse", Role::User).await?;
    let password = identity
        .create_app_password(&alice, " phone \u{1f4f1} ")
        .await?;
    assert_eq!(password.len(), 23);
    assert!(identity.verify(&alice, &password, HERE).await.is_ok());
    assert!(
        identity
            .verify(&alice, &password.to_uppercase().replace('-', ""), HERE)
            .await
            .is_ok()
    );
    assert!(identity.verify(&bob, &password, HERE).await.is_err());
    identity.flush().await;
    let list = identity.app_passwords(&alice).await?;
    assert_eq!((list.len(), list[0].label.as_str()), (1, "phone \u{1f4f1}"));
    assert!(list[0].used_at.is_some());
    assert!(identity.app_passwords(&bob).await?.is_empty());
    // SCRAM knows nothing of it.
    let verifier = identity.scram(&alice, ScramHash::Sha256, HERE).await?;
    let derived = ScramVerifier::derive(
        ScramHash::Sha256,
        &password,
        &verifier.salt,
        verifier.iterations.try_into()?,
    );
    assert_ne!(derived.stored_key, verifier.stored_key);
    let of_bob = identity.revoke_app_password(&bob, list[0].id).await;
    assert!(matches!(of_bob, Err(IdentityError::NotFound(_))));
    identity.revoke_app_password(&alice, list[0].id).await?;
    assert!(identity.verify(&alice, &password, HERE).await.is_err());
    for n in 0..100 {
        identity.create_app_password(&alice, &n.to_string()).await?;
    }
    assert!(matches!(
        identity.create_app_password(&alice, "one too many").await,
        Err(IdentityError::Name(_))
    ));
    Ok(())
}

async fn roles_names_aliases_and_extensions(engine: Engine) -> Outcome {
    let world = world(engine).await?;
    let identity = &world.identity;
    let (alice, bob) = (address("alice@example.org")?, address("bob@example.com")?);
    identity.create(&alice, "correct horse", Role::User).await?;
    identity
        .create(&bob, "correct horse", [Role::User, Role::DomainAdmin])
        .await?;
    let account = identity.account(&bob).await?.ok_or("no bob")?;
    assert!(account.administers("example.com") && !account.administers("example.org"));
    identity.set_roles(&bob, Role::User).await?;
    identity.set_display_name(&bob, " Bob O'Brien ").await?;
    let account = identity.account(&bob).await?.ok_or("no bob")?;
    assert!(!account.administers("example.com"));
    assert_eq!(account.display_name, "Bob O'Brien");
    assert!(
        identity
            .set_display_name(&bob, "line\nbreak")
            .await
            .is_err()
    );

    let sales = address("sales@example.org")?;
    identity.add_alias(&sales, &alice).await?;
    assert!(matches!(
        identity.add_alias(&sales, &bob).await,
        Err(IdentityError::Exists(_))
    ));
    assert!(matches!(
        identity.add_alias(&bob, &alice).await,
        Err(IdentityError::Exists(_))
    ));
    let taken = identity.create(&sales, "correct horse", Role::User).await;
    assert!(matches!(taken, Err(IdentityError::Exists(_))));
    assert_eq!(identity.resolve(&sales).await?, Some(alice.clone()));
    assert_eq!(identity.resolve(&alice).await?, Some(alice.clone()));
    assert_eq!(identity.resolve(&address("x@example.org")?).await?, None);
    assert_eq!(
        identity.aliases(&alice).await?,
        std::slice::from_ref(&sales)
    );
    identity.remove_alias(&sales).await?;
    assert!(matches!(
        identity.remove_alias(&sales).await,
        Err(IdentityError::NotFound(_))
    ));

    identity.add_extension("101", &alice).await?;
    identity.add_extension("101", &bob).await?;
    identity.add_extension("*97", &alice).await?;
    for wrong in ["", "1 0", "abc", &"1".repeat(33)] {
        assert!(matches!(
            identity.add_extension(wrong, &alice).await,
            Err(IdentityError::Name(_))
        ));
    }
    assert!(matches!(
        identity.add_extension("101", &alice).await,
        Err(IdentityError::Exists(_))
    ));
    assert_eq!(
        identity.extension("example.com", "101").await?,
        Some(bob.clone())
    );
    assert_eq!(
        identity.extensions("example.org").await?,
        [
            ("*97".to_owned(), alice.clone()),
            ("101".to_owned(), alice.clone())
        ]
    );
    identity.remove_extension("example.org", "*97").await?;
    // An account takes its names with it.
    identity.remove(&alice).await?;
    assert_eq!(identity.extension("example.org", "101").await?, None);
    identity.create(&sales, "correct horse", Role::User).await?;
    Ok(())
}

async fn failures_throttle_and_lock_across_services(engine: Engine) -> Outcome {
    let world = world(engine).await?;
    let identity = &world.identity;
    let mut events = world.hub.events().subscribe();
    let alice = address("alice@example.org")?;
    identity.create(&alice, "correct horse", Role::User).await?;
    identity.succeeded(&alice, HERE);
    for n in 0..5 {
        identity.failed(
            "alice@example.org",
            Source {
                service: "sip",
                ..from(n)
            },
        );
    }
    // What SIP counted holds for HTTP, XMPP and SIP; and the right password does not get through.
    let away = from(99);
    let http = identity.verify(&alice, "correct horse", away).await;
    assert!(matches!(http, Err(AuthError::Throttled { .. })), "{http:?}");
    let xmpp = identity.scram(&alice, ScramHash::Sha256, away).await;
    assert!(matches!(xmpp, Err(AuthError::Throttled { .. })));
    let sip = identity
        .digest_ha1("alice", "example.org", DigestAlgorithm::Md5, away)
        .await;
    assert!(matches!(sip, Err(AuthError::Throttled { .. })));
    for n in 5..20 {
        identity.failed("alice@example.org", from(n));
    }
    let locked = identity.verify(&alice, "correct horse", away).await;
    assert!(
        matches!(locked, Err(AuthError::Locked { .. })),
        "{locked:?}"
    );
    // A name that is not there is locked in the same way.
    for n in 0..20 {
        identity.failed("nobody@example.org", from(100 + n));
    }
    let nobody = identity
        .verify(&address("nobody@example.org")?, "x", away)
        .await;
    assert!(matches!(nobody, Err(AuthError::Locked { .. })));
    // From where she has logged in before, she still can.
    assert!(identity.verify(&alice, "correct horse", HERE).await.is_ok());

    let (mut failed, mut lockouts, mut logins) = (0, Vec::new(), 0);
    while let Ok(Some(published)) =
        tokio::time::timeout(Duration::from_millis(50), events.next()).await
    {
        match &published.event {
            Event::LoginFailed { .. } => failed += 1,
            Event::Lockout {
                subject,
                seconds: 900,
            } => lockouts.push(subject.clone()),
            Event::Login { .. } => logins += 1,
            _ => {}
        }
    }
    assert_eq!((failed, logins), (40, 2));
    assert_eq!(lockouts, ["alice@example.org", "nobody@example.org"]);

    // One source that tries many names.
    let mut tried = 0;
    for n in 0..100 {
        let name = address(&format!("user{n}@example.org"))?;
        match identity.verify(&name, "a guess", from(200)).await {
            Err(AuthError::BadCredentials) => tried += 1,
            Err(AuthError::Throttled { .. }) => break,
            other => return Err(format!("{other:?}").into()),
        }
    }
    assert_eq!(tried, 20);
    Ok(())
}

async fn security_events_are_kept_within_bounds(engine: Engine) -> Outcome {
    let config = IdentityConfig {
        audit_events: 100,
        ..IdentityConfig::default()
    };
    let world = configured(engine, config).await?;
    let identity = &world.identity;
    let alice = address("alice@example.org")?;
    identity.create(&alice, "correct horse", Role::User).await?;
    identity.verify(&alice, "correct horse", HERE).await?;
    for _ in 0..5 {
        // A telephone that registers again and again.
        identity.succeeded(&alice, HERE);
    }
    identity.failed("\0odd\0 name", HERE);
    let log = identity.audit(10).await?;
    let told: Vec<_> = log
        .iter()
        .map(|e| (e.event.as_str(), e.subject.as_str()))
        .collect();
    assert_eq!(
        told,
        [
            ("login.failed", "odd name"),
            ("login", "alice@example.org"),
            ("account.created", "alice@example.org")
        ]
    );
    assert_eq!(
        (log[0].source.as_deref(), log[0].service.as_deref()),
        (Some("192.0.2.1"), Some("test"))
    );
    for n in 0..2500u32 {
        identity.failed(&format!("user{n}"), HERE);
        if n % 500 == 0 {
            identity.flush().await;
        }
    }
    identity.flush().await;
    let rows = world
        .database
        .read(|reader| {
            reader.query_one("SELECT COUNT(*), MIN(id), MAX(id) FROM identity_audit", &[])
        })
        .await?
        .ok_or("no row")?;
    // Trimmed to 100 each thousand.
    assert!(rows.get::<i64>(0)? <= 100 + 1000 + 256, "{rows:?}");
    assert_eq!(identity.audit(1).await?[0].subject, "user2499");
    Ok(())
}

async fn verifiers_follow_the_configured_cost(engine: Engine) -> Outcome {
    let world = world(engine).await?;
    let alice = address("alice@example.org")?;
    world
        .identity
        .create(&alice, "correct horse", Role::User)
        .await?;
    let before = world.identity.scram(&alice, ScramHash::Sha1, HERE).await?;
    assert_eq!(before.iterations, 10_000);
    let config = IdentityConfig {
        scram_iterations: 12_000,
        ..IdentityConfig::default()
    };
    let identity = Identity::open(&config, world.database.clone(), Hub::new()).await?;
    assert!(identity.verify(&alice, "wrong horse", HERE).await.is_err());
    identity.verify(&alice, "correct horse", HERE).await?;
    let until = Instant::now() + Duration::from_secs(20);
    loop {
        let now = identity.scram(&alice, ScramHash::Sha1, HERE).await?;
        if now.iterations == 12_000 {
            break;
        }
        assert!(Instant::now() < until, "verifiers were not derived anew");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let fresh = Identity::open(&config, world.database.clone(), Hub::new()).await?;
    fresh.verify(&alice, "correct horse", HERE).await?;
    Ok(())
}

async fn nothing_stored_is_the_password(engine: Engine) -> Outcome {
    const PASSWORD: &str = "a-password-to-be-found";
    let world = world(engine).await?;
    let alice = address("alice@example.org")?;
    world.identity.create(&alice, PASSWORD, Role::User).await?;
    let app = world.identity.create_app_password(&alice, "phone").await?;
    world.identity.verify(&alice, PASSWORD, HERE).await?;
    world.identity.verify(&alice, &app, HERE).await?;
    world.identity.flush().await;
    let archive = world.world.directory.path().join("archive");
    world.database.backup(&archive).await?;
    let bytes = std::fs::read(archive.join("database.sqlite"))?;
    let holds = |needle: &str| {
        bytes
            .windows(needle.len())
            .any(|window| window == needle.as_bytes())
    };
    assert!(holds("alice") && !holds(PASSWORD) && !holds(&app) && !holds(&app.replace('-', "")));
    // And what a database holds of it survives a move.
    world
        .database
        .write(|tx| tx.execute("DELETE FROM identity_audit", params![]))
        .await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_browser_costs_one_check() -> Outcome {
    let world = world(Engine::Sqlite).await?;
    let identity = &world.identity;
    let alice = address("alice@example.org")?;
    identity.create(&alice, "correct horse", Role::User).await?;
    let mut events = world.hub.events().subscribe();
    let mut requests = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let (identity, alice) = (identity.clone(), alice.clone());
        requests.spawn(async move { identity.verify(&alice, "correct horse", HERE).await });
    }
    while let Some(outcome) = requests.join_next().await {
        outcome??;
    }
    let mut checks = 0;
    while let Ok(Some(_)) = tokio::time::timeout(Duration::from_millis(50), events.next()).await {
        checks += 1;
    }
    assert_eq!(checks, 1);
    let began = Instant::now();
    for _ in 0..10_000 {
        identity.verify(&alice, "correct horse", HERE).await?;
    }
    let each = began.elapsed() / 10_000;
    println!("a remembered password: {each:?}");
    assert!(each < Duration::from_micros(500), "{each:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn guesses_at_once_are_bounded() -> Outcome {
    let world = world(Engine::Sqlite).await?;
    let alice = address("alice@example.org")?;
    world
        .identity
        .create(&alice, "correct horse", Role::User)
        .await?;
    let mut guesses = tokio::task::JoinSet::new();
    for n in 0..200 {
        let (identity, alice) = (world.identity.clone(), alice.clone());
        guesses.spawn(async move {
            let outcome = identity.verify(&alice, &format!("guess {n}"), HERE).await;
            matches!(outcome, Err(AuthError::BadCredentials))
        });
    }
    let mut checked = 0;
    while let Some(was_checked) = guesses.join_next().await {
        checked += usize::from(was_checked?);
    }
    assert!(
        (1..=9).contains(&checked),
        "{checked} of 200 guesses were free"
    );
    Ok(())
}

/// An account of which only SHA-1's verifier came logs in with its old password, and then has all.
async fn accounts_from_elsewhere_get_what_they_lack(engine: Engine) -> Outcome {
    let world = world(engine).await?;
    let alice = address("alice@example.org")?;
    let iterations = std::num::NonZeroU32::new(4096).ok_or("4096 is zero")?;
    let old = ScramVerifier::derive(ScramHash::Sha1, "correct horse", b"salt", iterations);
    let moving = Moving {
        display_name: "Alice".to_owned(),
        created_at: 7,
        verifiers: Verifiers {
            scram: vec![(ScramHash::Sha1, old)],
            digest: Vec::new(),
        },
        ..Moving::default()
    };
    for is_new in [true, false] {
        let (whose, moving) = (alice.clone(), moving.clone());
        let adopted = world
            .database
            .write(move |tx| moving::adopt(tx, &whose, &moving))
            .await?;
        assert_eq!(adopted, is_new);
    }
    let whose = alice.clone();
    let back = world
        .database
        .read(move |reader| moving::leaving(reader, &whose))
        .await?;
    assert_eq!(back, Some(moving));

    // The daemon starts after an import.
    let config = IdentityConfig::default();
    let identity = Identity::open(&config, world.database.clone(), world.hub.clone()).await?;
    let lacking = identity.lacking();
    assert_eq!(
        lacking.get("example.org").map(Vec::as_slice),
        Some([ScramHash::Sha256, ScramHash::Sha512].as_slice())
    );
    let wrong = identity.verify(&alice, "wrong horse", HERE).await;
    assert!(matches!(wrong, Err(AuthError::BadCredentials)));
    identity.verify(&alice, "correct horse", HERE).await?;
    let deadline = Instant::now() + Duration::from_secs(60);
    while !identity.lacking().is_empty() {
        assert!(Instant::now() < deadline, "{:?}", identity.lacking());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    for hash in ScramHash::ALL {
        assert!(identity.scram(&alice, hash, HERE).await?.exists);
    }
    Ok(())
}
