//! Files that stay while something refers to them.

mod support;

use std::io::Read;
use std::time::{Duration, SystemTime};

use omnid_store::{BlobId, Database};
use support::{Engine, Outcome, World};

on_each_engine! {
    bytes_come_back,
    unreferenced_files_are_swept,
}

async fn content(database: &Database, id: &BlobId) -> Outcome<Option<Vec<u8>>> {
    let Some(mut file) = database.blobs().open_blob(id).await? else {
        return Ok(None);
    };
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(Some(bytes))
}

fn new_files(world: &World) -> Outcome<usize> {
    Ok(std::fs::read_dir(world.directory.path().join("blobs/new"))?.count())
}

async fn bytes_come_back(engine: Engine) -> Outcome {
    let world = World::new(engine)?;
    let database = world.open().await?;
    let blobs = database.blobs();
    let empty = blobs.put(Vec::new()).await?;
    assert_eq!(
        empty.to_string(),
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    );
    let id = blobs.put(&b"abc"[..]).await?;
    assert_eq!(
        id.to_string(),
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    );
    let mut writer = blobs.create().await?;
    writer.write(&b"a"[..]).await?;
    writer.write(&b"bc"[..]).await?;
    assert_eq!(writer.size(), 3);
    assert_eq!(writer.finish().await?, (id, 3));
    assert_eq!(content(&database, &id).await?.as_deref(), Some(&b"abc"[..]));
    let mut abandoned = blobs.create().await?;
    abandoned.write(&b"half"[..]).await?;
    assert_eq!(new_files(&world)?, 1);
    drop(abandoned);
    assert_eq!(new_files(&world)?, 0);
    let unknown = "00".repeat(32).parse()?;
    assert!(blobs.open_blob(&unknown).await?.is_none());
    Ok(())
}

/// As if it had been written two hours ago.
fn age(database: &Database, id: &BlobId) -> Outcome {
    let file = std::fs::File::options()
        .write(true)
        .open(database.blobs().path(id))?;
    file.set_modified(SystemTime::now() - Duration::from_secs(2 * 60 * 60))?;
    Ok(())
}

async fn unreferenced_files_are_swept(engine: Engine) -> Outcome {
    let world = World::new(engine)?;
    let database = world.open().await?;
    let linked = database.blobs().put(&b"linked"[..]).await?;
    let old = database.blobs().put(&b"old"[..]).await?;
    let young = database.blobs().put(&b"young"[..]).await?;
    database
        .write(move |tx| {
            linked.link(tx)?;
            linked.link(tx)
        })
        .await?;
    age(&database, &linked)?;
    age(&database, &old)?;
    database.maintain().await?;
    assert!(content(&database, &linked).await?.is_some());
    assert!(content(&database, &old).await?.is_none());
    assert!(content(&database, &young).await?.is_some());

    // One of two references goes: it stays. The other goes: it stays for an hour more.
    for _ in 0..2 {
        database.write(move |tx| linked.unlink(tx)).await?;
        database.maintain().await?;
        assert!(content(&database, &linked).await?.is_some());
    }
    database
        .write(|tx| tx.execute("UPDATE store_blobs SET unlinked_at = 1", &[]))
        .await?;
    // Put again in the meantime, its file is young, and is linked again before it is old.
    assert_eq!(database.blobs().put(&b"linked"[..]).await?, linked);
    database.maintain().await?;
    assert!(content(&database, &linked).await?.is_some());
    database.write(move |tx| linked.link(tx)).await?;
    age(&database, &linked)?;
    database.maintain().await?;
    assert!(content(&database, &linked).await?.is_some());
    Ok(())
}
