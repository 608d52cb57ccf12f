//! Accounts from creation to removal, as the services see them.

use std::error::Error;
use std::net::{IpAddr, Ipv4Addr};

use omnid_hub::Hub;
use omnid_identity::{
    Address, AuthError, DigestAlgorithm, Identity, IdentityConfig, IdentityError, Role, ScramHash,
    Source,
};
use omnid_store::{Database, StoreConfig};

type Outcome = Result<(), Box<dyn Error>>;

const HERE: Source = Source {
    ip: IpAddr::V4(Ipv4Addr::LOCALHOST),
    service: "test",
};

struct World {
    identity: Identity,
    #[allow(dead_code, reason = "removed when dropped")]
    directory: tempfile::TempDir,
}

async fn world() -> Result<World, Box<dyn Error>> {
    let directory = tempfile::tempdir()?;
    let database = Database::open(&StoreConfig::default(), directory.path()).await?;
    let identity = Identity::open(&IdentityConfig::default(), database, Hub::new()).await?;
    Ok(World {
        identity,
        directory,
    })
}

#[tokio::test]
async fn one_password_for_every_protocol() -> Outcome {
    let world = world().await?;
    let identity = &world.identity;
    let alice: Address = "Alice@Example.org".parse()?;
    let account = identity
        .create(&alice, "correct horse", Role::Admin)
        .await?;
    assert!(account.roles.has(Role::Admin) && account.administers("elsewhere.org"));
    assert!(matches!(
        identity.create(&alice, "another horse", Role::User).await,
        Err(IdentityError::Exists(_))
    ));
    assert!(matches!(
        identity
            .create(&"bob@example.org".parse()?, "short", Role::User)
            .await,
        Err(IdentityError::Password(_))
    ));

    assert_eq!(
        identity.verify(&alice, "correct horse", HERE).await?,
        account
    );
    assert!(matches!(
        identity.verify(&alice, "wrong horse", HERE).await,
        Err(AuthError::BadCredentials)
    ));
    assert!(matches!(
        identity
            .verify(&"nobody@example.org".parse()?, "correct horse", HERE)
            .await,
        Err(AuthError::BadCredentials)
    ));
    for hash in ScramHash::ALL {
        let verifier = identity.scram(&alice, hash, HERE).await?;
        assert!(verifier.exists && verifier.iterations >= 10_000);
        assert_eq!(verifier.stored_key.len(), hash.length());
    }
    let ha1 = identity
        .digest_ha1("alice", "example.org", DigestAlgorithm::Md5, HERE)
        .await?;
    assert_eq!(
        ha1.as_deref(),
        Some(
            DigestAlgorithm::Md5
                .ha1("alice", "example.org", "correct horse")
                .as_bytes()
        )
    );

    identity.set_password(&alice, "new password").await?;
    assert!(
        identity
            .verify(&alice, "correct horse", HERE)
            .await
            .is_err()
    );
    assert!(identity.verify(&alice, "new password", HERE).await.is_ok());
    assert_eq!(identity.list(Some("example.org")).await?.len(), 1);
    identity.remove(&alice).await?;
    assert!(identity.account(&alice).await?.is_none());
    let ha1 = identity
        .digest_ha1("alice", "example.org", DigestAlgorithm::Md5, HERE)
        .await?;
    assert_eq!(ha1, None);
    Ok(())
}

#[tokio::test]
async fn an_unknown_name_is_offered_the_same_salt_each_time() -> Outcome {
    let world = world().await?;
    let nobody: Address = "nobody@example.org".parse()?;
    let first = world
        .identity
        .scram(&nobody, ScramHash::Sha256, HERE)
        .await?;
    let again = world
        .identity
        .scram(&nobody, ScramHash::Sha256, HERE)
        .await?;
    assert_eq!(first, again);
    assert!(!first.exists);
    assert_eq!((first.salt.len(), first.stored_key.len()), (16, 32));
    let other = world
        .identity
        .scram(&"x@example.org".parse()?, ScramHash::Sha256, HERE)
        .await?;
    assert_ne!(first.salt, other.salt);
    Ok(())
}
