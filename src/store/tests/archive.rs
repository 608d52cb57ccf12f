//! Backup, verify and restore, from and into either engine.

mod support;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use omnid_store::{BlobId, Database, Migration, Row, StoreError, params};
use support::{Engine, Outcome, World};

on_each_engine! {
    a_backup_restores_into_either_engine,
    a_backup_under_load_is_one_moment,
    a_restore_replaces_only_when_told,
    verify_finds_damage,
}

const TABLES: &[Migration] = &[
    // Children sort before their parents by name: order must come from the references.
    Migration {
        version: 1,
        sql: "CREATE TABLE zz_parents (id {serial}, name TEXT NOT NULL UNIQUE);
            CREATE TABLE children (
                parent INTEGER NOT NULL REFERENCES zz_parents (id) ON DELETE CASCADE,
                position INTEGER NOT NULL,
                weight DOUBLE PRECISION,
                bytes {blob},
                file TEXT,
                PRIMARY KEY (parent, position)
            );
            INSERT INTO zz_parents (name) VALUES ('made by the migration')",
    },
    Migration {
        version: 2,
        sql: "ALTER TABLE zz_parents ADD COLUMN note TEXT",
    },
];

/// Fills a database with rows and blobs.
async fn fill(database: &Database) -> Outcome<Vec<BlobId>> {
    database.migrate("tables", TABLES).await?;
    let mut blobs = Vec::new();
    for n in 0u32..5 {
        let mut writer = database.blobs().create().await?;
        for part in 0..n {
            writer
                .write(vec![b'a' + u8::try_from(part)?; 100_000])
                .await?;
        }
        blobs.push(writer.finish().await?.0);
    }
    let ids = blobs.clone();
    database
        .write(move |tx| {
            for (n, id) in (0i64..).zip(&ids) {
                let parent = tx.query_one(
                    "INSERT INTO zz_parents (name, note) VALUES ($1, $2) RETURNING id",
                    params![
                        format!("parent {n} \u{1f41d}"),
                        (n % 2 == 0).then_some("even")
                    ],
                )?;
                let parent: i64 = parent.ok_or_else(|| StoreError::other("no row"))?.get(0)?;
                for position in 0..700 {
                    tx.execute(
                        "INSERT INTO children (parent, position, weight, bytes, file)
                         VALUES ($1, $2, $3, $4, $5)",
                        params![
                            parent,
                            position,
                            2.0,
                            vec![0u8, 1, 2, 255],
                            (position == 0).then(|| id.to_string())
                        ],
                    )?;
                }
                id.link(tx)?;
            }
            // The last number given is not the highest in use.
            tx.execute("INSERT INTO zz_parents (name) VALUES ('gone')", &[])?;
            tx.execute("DELETE FROM zz_parents WHERE name = 'gone'", &[])
        })
        .await?;
    // Nothing refers to this one.
    database.blobs().put(&b"unlinked"[..]).await?;
    Ok(blobs)
}

async fn everything(database: &Database) -> Result<Vec<Row>, StoreError> {
    database
        .read(|reader| {
            reader.query(
                "SELECT p.id, p.name, p.note, c.position, c.weight, c.bytes, c.file
                 FROM zz_parents p LEFT JOIN children c ON c.parent = p.id
                 ORDER BY p.id, c.position",
                &[],
            )
        })
        .await
}

async fn a_backup_restores_into_either_engine(engine: Engine) -> Outcome {
    let world = World::new(engine)?;
    let database = world.open().await?;
    let blobs = fill(&database).await?;
    let archive = world.directory.path().join("archive");
    let report = database.backup(&archive).await?;
    assert_eq!((report.problems.len(), report.files), (0, 1 + 5));
    assert!(
        archive.join("manifest.json").exists() && !archive.join("database.sqlite-wal").exists()
    );
    let checked = Database::verify_archive(&archive).await?;
    assert_eq!((checked.problems.as_slice(), checked.blobs), (&[][..], 5));
    assert!(
        database.backup(&archive).await.is_err(),
        "a backup must not be written over"
    );

    for target in [Engine::Sqlite, Engine::Postgres] {
        let other = World::new(target)?;
        Database::restore(&archive, &other.config, other.directory.path(), false).await?;
        let restored = other.open().await?;
        // The schema is at its version: there is nothing to migrate.
        restored.migrate("tables", TABLES).await?;
        assert_eq!(everything(&restored).await?, everything(&database).await?);
        let found = restored.verify().await?;
        assert_eq!((found.problems.as_slice(), found.blobs), (&[][..], 5));
        for id in &blobs {
            assert!(restored.blobs().open_blob(id).await?.is_some());
        }
        // Numbers go on where they stood.
        let next = "INSERT INTO zz_parents (name) VALUES ('next') RETURNING id";
        let id = restored
            .write(move |tx| tx.query_one(next, &[]))
            .await?
            .ok_or("no row")?;
        assert_eq!(id.get::<i64>(0)?, 8);
    }
    Ok(())
}

async fn a_backup_under_load_is_one_moment(engine: Engine) -> Outcome {
    let world = World::new(engine)?;
    let database = world.open().await?;
    fill(&database).await?;
    let stop = Arc::new(AtomicBool::new(false));
    let writer = tokio::spawn({
        let (database, stop) = (database.clone(), Arc::clone(&stop));
        async move {
            let mut n = 0i64;
            while !stop.load(Ordering::Relaxed) {
                n += 1;
                // Two rows that a consistent copy has both of, or neither.
                database
                    .write(move |tx| {
                        tx.execute(
                            "UPDATE zz_parents SET note = $1 WHERE id = 1",
                            params![n.to_string()],
                        )?;
                        tx.execute(
                            "UPDATE children SET weight = $1 WHERE parent = 2",
                            params![f64::from(u32::try_from(n).unwrap_or(0))],
                        )
                    })
                    .await?;
            }
            Ok::<_, StoreError>(n)
        }
    });
    let mut archives = Vec::new();
    for n in 0..3 {
        let archive = world.directory.path().join(format!("archive-{n}"));
        database.backup(&archive).await?;
        archives.push(archive);
    }
    stop.store(true, Ordering::Relaxed);
    assert!(writer.await?? > 0);
    for archive in archives {
        let other = World::new(Engine::Sqlite)?;
        Database::restore(&archive, &other.config, other.directory.path(), false).await?;
        let rows = other
            .open()
            .await?
            .read(|reader| {
                reader.query(
                    "SELECT DISTINCT p.note, c.weight FROM zz_parents p, children c
                     WHERE p.id = 1 AND c.parent = 2",
                    &[],
                )
            })
            .await?;
        assert_eq!(rows.len(), 1);
        let note: f64 = rows[0]
            .get::<Option<String>>(0)?
            .as_deref()
            .unwrap_or("2")
            .parse()?;
        assert!((note - rows[0].get::<f64>(1)?).abs() < 1e-9, "{rows:?}");
    }
    Ok(())
}

async fn a_restore_replaces_only_when_told(engine: Engine) -> Outcome {
    let world = World::new(engine)?;
    let database = world.open().await?;
    fill(&database).await?;
    let archive = world.directory.path().join("archive");
    database.backup(&archive).await?;
    let before = everything(&database).await?;
    database
        .write(|tx| tx.execute("DELETE FROM zz_parents", &[]))
        .await?;

    let restore = |force| Database::restore(&archive, &world.config, world.directory.path(), force);
    if engine == Engine::Sqlite {
        assert!(
            matches!(restore(true).await, Err(StoreError::Busy(_))),
            "it is in use"
        );
    }
    database.close().await;
    drop(database);
    assert!(matches!(restore(false).await, Err(StoreError::NotEmpty(_))));
    restore(true).await?;
    let database = world.open().await?;
    database.migrate("tables", TABLES).await?;
    assert_eq!(everything(&database).await?, before);
    Ok(())
}

async fn verify_finds_damage(engine: Engine) -> Outcome {
    let world = World::new(engine)?;
    let database = world.open().await?;
    let blobs = fill(&database).await?;
    let archive = world.directory.path().join("archive");
    database.backup(&archive).await?;

    std::fs::write(database.blobs().path(&blobs[1]), "other bytes")?;
    std::fs::remove_file(database.blobs().path(&blobs[2]))?;
    let problems = database.verify().await?.problems;
    assert_eq!(problems.len(), 2, "{problems:?}");
    assert!(problems.iter().any(|text| text.contains("other bytes")));
    let partial = database
        .backup(&world.directory.path().join("partial"))
        .await?;
    assert_eq!((partial.problems.len(), partial.files), (2, 1 + 3));

    // Each kind of damage to an archive, one at a time.
    let blob = |id: &BlobId| {
        let name = id.to_string();
        archive.join("blobs").join(&name[..2]).join(&name)
    };
    let manifest = archive.join("manifest.json");
    type Damage<'a> = (&'a Path, fn(&mut Vec<u8>));
    let damages: [Damage<'_>; 5] = [
        (&blob(&blobs[3]), |bytes| bytes[1] ^= 1),
        (&blob(&blobs[3]), |bytes| bytes.truncate(10)),
        (&archive.join("database.sqlite"), |bytes| {
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
        }),
        (&manifest, |bytes| bytes.truncate(40)),
        (&manifest, |bytes| {
            *bytes = String::from_utf8_lossy(bytes)
                .replace("\"format\": 1", "\"format\": 99")
                .into();
        }),
    ];
    for (file, damage) in damages {
        let whole = std::fs::read(file)?;
        let mut bytes = whole.clone();
        damage(&mut bytes);
        std::fs::write(file, bytes)?;
        let found = Database::verify_archive(&archive).await;
        assert!(
            !matches!(&found, Ok(found) if found.problems.is_empty()),
            "{}: {found:?}",
            file.display()
        );
        let other = World::new(engine)?;
        let restored =
            Database::restore(&archive, &other.config, other.directory.path(), true).await;
        assert!(
            matches!(restored, Err(StoreError::Archive { .. })),
            "{restored:?}"
        );
        std::fs::write(file, whole)?;
    }
    assert!(
        Database::verify_archive(&archive)
            .await?
            .problems
            .is_empty()
    );
    std::fs::remove_file(blob(&blobs[3]))?;
    assert_eq!(Database::verify_archive(&archive).await?.problems.len(), 1);
    Ok(())
}
