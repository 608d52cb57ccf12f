//! What callers may rely on, on either engine.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use omnid_store::{Database, Migration, StoreConfig, StoreError, Value, params};
use support::postgres::Server;
use support::{Engine, Outcome, World};

on_each_engine! {
    values_come_back_as_they_went,
    statements_mean_the_same,
    a_failed_closure_rolls_back_alone,
    a_failed_statement_ends_its_transaction,
    concurrent_writes_are_as_if_one_after_another,
    readers_see_one_snapshot,
    migrations_from_every_version,
    migrations_that_do_not_fit_are_refused,
    two_nodes_may_start_at_once,
    a_closed_database_says_so,
    placeholders_and_values_must_agree,
}

const ITEMS: &[Migration] = &[Migration {
    version: 1,
    sql: "CREATE TABLE items (
        id {serial},
        name TEXT UNIQUE,
        number INTEGER,
        big BIGINT,
        real DOUBLE PRECISION,
        bytes {blob}
    )",
}];

async fn values_come_back_as_they_went(engine: Engine) -> Outcome {
    let database = World::new(engine)?.open().await?;
    database.migrate("items", ITEMS).await?;
    let rows = database
        .write(|tx| {
            for n in [0, -1, i64::MAX, i64::MIN] {
                tx.execute(
                    "INSERT INTO items (name, number, big, real, bytes) VALUES ($1, $2, $2, $3, $4)",
                    params![
                        format!("naïve \u{1f41d} {n}"),
                        n,
                        -1.5,
                        vec![0u8, 255, 13, 10, n.to_le_bytes()[0]]
                    ],
                )?;
            }
            tx.execute("INSERT INTO items (name) VALUES ($1)", params![None::<String>])?;
            tx.query("SELECT name, number, big, real, bytes FROM items ORDER BY id", &[])
        })
        .await?;
    assert_eq!(rows.len(), 5);
    for (row, n) in rows.iter().zip([0, -1, i64::MAX, i64::MIN]) {
        assert_eq!(row.get::<String>(0)?, format!("naïve \u{1f41d} {n}"));
        assert_eq!((row.get::<i64>(1)?, row.get::<i64>(2)?), (n, n));
        assert!((row.get::<f64>(3)? + 1.5).abs() < f64::EPSILON);
        assert_eq!(row.get::<Vec<u8>>(4)?, [0, 255, 13, 10, n.to_le_bytes()[0]]);
    }
    let last = &rows[4];
    assert!(last.values().iter().all(|value| *value == Value::Null));
    assert_eq!(last.get::<Option<String>>(0)?, None);
    assert!(matches!(
        last.get::<i64>(1),
        Err(StoreError::Type { column: 1, .. })
    ));
    assert!(matches!(
        last.get::<i64>(9),
        Err(StoreError::Type { column: 9, .. })
    ));
    Ok(())
}

async fn statements_mean_the_same(engine: Engine) -> Outcome {
    let database = World::new(engine)?.open().await?;
    database.migrate("items", ITEMS).await?;
    let (first, second, changed) = database
        .write(|tx| {
            let id = |row: Option<omnid_store::Row>| {
                row.ok_or_else(|| StoreError::other("no row"))?
                    .get::<i64>(0)
            };
            let insert = "INSERT INTO items (name, number) VALUES ($1, $2)
                ON CONFLICT (name) DO UPDATE SET number = excluded.number RETURNING id";
            let first = id(tx.query_one(insert, params!["a", 1])?)?;
            let second = id(tx.query_one(insert, params!["a", 2])?)?;
            tx.query_one(insert, params!["B", 3])?;
            tx.query_one(insert, params!["é", 4])?;
            let changed = tx.execute(
                "UPDATE items SET big = number * 2 WHERE number >= $1",
                params![3],
            )?;
            Ok((first, second, changed))
        })
        .await?;
    assert_eq!(first, second);
    assert_eq!(changed, 2);
    let (names, sum, average, page) = database
        .read(|reader| {
            let names = reader
                .query("SELECT name FROM items ORDER BY name", &[])?
                .iter()
                .map(|row| row.get::<String>(0))
                .collect::<Result<Vec<_>, _>>()?;
            let sum = reader.query_one("SELECT SUM(big), AVG(number), COUNT(*) FROM items", &[])?;
            let sum = sum.ok_or_else(|| StoreError::other("no row"))?;
            let page = reader.query(
                "SELECT id FROM items ORDER BY id LIMIT $1 OFFSET $2",
                params![2, 1],
            )?;
            Ok((names, sum.get::<i64>(0)?, sum.get::<f64>(1)?, page.len()))
        })
        .await?;
    // By bytes, whatever the locale.
    assert_eq!(names, ["B", "a", "é"]);
    assert_eq!(sum, 14);
    assert!((average - 3.0).abs() < 1e-9);
    assert_eq!(page, 2);
    Ok(())
}

async fn count(database: &Database) -> Result<i64, StoreError> {
    database
        .read(|reader| {
            let row = reader.query_one("SELECT COUNT(*) FROM items", &[])?;
            row.ok_or_else(|| StoreError::other("no row"))?.get(0)
        })
        .await
}

async fn a_failed_closure_rolls_back_alone(engine: Engine) -> Outcome {
    let database = World::new(engine)?.open().await?;
    database.migrate("items", ITEMS).await?;
    let insert = "INSERT INTO items (name) VALUES ($1)";
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..60 {
        let database = database.clone();
        tasks.spawn(async move {
            let outcome = database
                .write(move |tx| {
                    tx.execute(insert, params![n.to_string()])?;
                    match n % 3 {
                        0 => Ok(n),
                        1 => Err(StoreError::other("no")),
                        _ => panic!("on purpose"),
                    }
                })
                .await;
            match (n % 3, outcome) {
                (0, Ok(m)) => m == n,
                (1, Err(StoreError::Other(error))) => error.to_string() == "no",
                (2, Err(StoreError::Panicked(text))) => text == "on purpose",
                _ => false,
            }
        });
    }
    while let Some(as_expected) = tasks.join_next().await {
        assert!(as_expected?);
    }
    assert_eq!(count(&database).await?, 20);
    // A panic in a read does not take a connection with it either.
    for _ in 0..50 {
        let outcome = database
            .read(|_| -> Result<(), StoreError> { panic!("on purpose") })
            .await;
        assert!(matches!(outcome, Err(StoreError::Panicked(_))));
    }
    assert_eq!(count(&database).await?, 20);
    Ok(())
}

async fn a_failed_statement_ends_its_transaction(engine: Engine) -> Outcome {
    let database = World::new(engine)?.open().await?;
    database.migrate("items", ITEMS).await?;
    let insert = "INSERT INTO items (name) VALUES ($1)";
    database
        .write(move |tx| tx.execute(insert, params!["a"]))
        .await?;
    let swallowed = database
        .write(move |tx| {
            tx.execute(insert, params!["b"])?;
            assert!(
                tx.execute(insert, params!["a"])
                    .is_err_and(|error| error.is_constraint())
            );
            assert!(matches!(
                tx.query("SELECT 1", &[]),
                Err(StoreError::Aborted)
            ));
            Ok(())
        })
        .await;
    assert!(
        matches!(swallowed, Err(StoreError::Aborted)),
        "{swallowed:?}"
    );
    let given_back = database
        .write(move |tx| tx.execute(insert, params!["a"]))
        .await;
    assert!(given_back.is_err_and(|error| error.is_constraint()));
    let wrong = database
        .write(|tx| tx.execute("INSERT INTO nowhere (x) VALUES (1)", &[]))
        .await;
    assert!(wrong.is_err());
    let in_a_read = database
        .read(|reader| reader.query("DELETE FROM items RETURNING id", &[]))
        .await;
    assert!(in_a_read.is_err(), "a reader must not write");
    assert_eq!(count(&database).await?, 1);
    Ok(())
}

async fn concurrent_writes_are_as_if_one_after_another(engine: Engine) -> Outcome {
    let database = World::new(engine)?.open().await?;
    database.migrate("items", ITEMS).await?;
    database
        .write(|tx| tx.execute("INSERT INTO items (name, number) VALUES ('n', 0)", &[]))
        .await?;
    let runs = Arc::new(AtomicU32::new(0));
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..16 {
        let (database, runs) = (database.clone(), Arc::clone(&runs));
        tasks.spawn(async move {
            for _ in 0..5 {
                let runs = Arc::clone(&runs);
                database
                    .write(move |tx| {
                        runs.fetch_add(1, Ordering::Relaxed);
                        // Read, think, write: at a weaker isolation level updates get lost.
                        let row = tx.query_one("SELECT number FROM items WHERE name = 'n'", &[])?;
                        let n: i64 = row.ok_or_else(|| StoreError::other("no row"))?.get(0)?;
                        tx.execute(
                            "UPDATE items SET number = $1 WHERE name = 'n'",
                            params![n + 1],
                        )
                    })
                    .await?;
            }
            Ok::<_, StoreError>(())
        });
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    let n = database
        .read(|reader| reader.query_one("SELECT number FROM items", &[]))
        .await?
        .ok_or("no row")?
        .get::<i64>(0)?;
    assert_eq!(n, 80);
    if engine == Engine::Postgres {
        assert!(
            runs.load(Ordering::Relaxed) > 80,
            "no conflict was ever tried again"
        );
    }
    Ok(())
}

async fn readers_see_one_snapshot(engine: Engine) -> Outcome {
    let database = World::new(engine)?.open().await?;
    database.migrate("items", ITEMS).await?;
    let (entered, wait_entered) = std::sync::mpsc::channel();
    let (go_on, wait_go_on) = std::sync::mpsc::channel::<()>();
    let reading = {
        let database = database.clone();
        tokio::spawn(async move {
            database
                .read(move |reader| {
                    let count = "SELECT COUNT(*) FROM items";
                    let before = reader.query_one(count, &[])?;
                    entered.send(()).map_err(StoreError::other)?;
                    wait_go_on.recv().map_err(StoreError::other)?;
                    let after = reader.query_one(count, &[])?;
                    Ok((before, after))
                })
                .await
        })
    };
    tokio::task::spawn_blocking(move || wait_entered.recv()).await??;
    database
        .write(|tx| tx.execute("INSERT INTO items (name) VALUES ('new')", &[]))
        .await?;
    go_on.send(())?;
    let (before, after) = reading.await??;
    assert_eq!(before, after);
    assert_eq!(count(&database).await?, 1);
    Ok(())
}

const STEPS: &[Migration] = &[
    Migration {
        version: 1,
        sql: "CREATE TABLE steps (id {serial}, a TEXT NOT NULL)",
    },
    Migration {
        version: 2,
        sql: "ALTER TABLE steps ADD COLUMN b INTEGER NOT NULL DEFAULT 7",
    },
    Migration {
        version: 3,
        sql: "CREATE TABLE more (step INTEGER NOT NULL REFERENCES steps (id), c {blob});
            INSERT INTO more (step) SELECT id FROM steps",
    },
    Migration {
        version: 4,
        sql: "UPDATE steps SET b = b + 1; CREATE INDEX steps_a ON steps (a)",
    },
];

async fn migrations_from_every_version(engine: Engine) -> Outcome {
    for from in 0..=STEPS.len() {
        let world = World::new(engine)?;
        let database = world.open().await?;
        let (before, _) = STEPS.split_at(from);
        database.migrate("steps", before).await?;
        if from > 0 {
            database
                .write(|tx| tx.execute("INSERT INTO steps (a) VALUES ('kept')", &[]))
                .await?;
        }
        database.close().await;
        let database = world.open().await?;
        database.migrate("steps", STEPS).await?;
        // Twice is the same as once.
        database.migrate("steps", STEPS).await?;
        let rows = database
            .read(|reader| {
                reader.query(
                    "SELECT s.a, s.b, m.c FROM steps s LEFT JOIN more m ON m.step = s.id",
                    &[],
                )
            })
            .await?;
        let kept = rows
            .iter()
            .map(|row| row.get::<String>(0))
            .collect::<Result<Vec<_>, _>>()?;
        assert_eq!(kept.len(), usize::from(from > 0), "from version {from}");
        assert!(database.verify().await?.problems.is_empty());
    }
    Ok(())
}

async fn migrations_that_do_not_fit_are_refused(engine: Engine) -> Outcome {
    let world = World::new(engine)?;
    let database = world.open().await?;
    database.migrate("steps", STEPS).await?;
    let (older, _) = STEPS.split_at(2);
    let newer = database.migrate("steps", older).await;
    assert!(
        matches!(
            newer,
            Err(StoreError::Newer {
                found: 4,
                known: 2,
                ..
            })
        ),
        "{newer:?}"
    );
    assert!(newer.is_err_and(|error| {
        error.to_string().contains("steps has schema version 4")
            && error.to_string().contains("up to 2")
    }));
    const EDITED: &[Migration] = &[Migration {
        version: 1,
        sql: "CREATE TABLE other (id {serial})",
    }];
    let edited = [EDITED[0], STEPS[1], STEPS[2], STEPS[3]];
    let edited: &'static [Migration] = Box::leak(Box::new(edited));
    assert!(matches!(
        database.migrate("steps", edited).await,
        Err(StoreError::Migration { .. })
    ));
    const GAP: &[Migration] = &[Migration {
        version: 2,
        sql: "SELECT 1",
    }];
    assert!(matches!(
        database.migrate("gap", GAP).await,
        Err(StoreError::Migration { .. })
    ));
    // One that fails leaves nothing of itself, and nothing of its predecessors.
    const BROKEN: &[Migration] = &[
        Migration {
            version: 1,
            sql: "CREATE TABLE broken (id {serial})",
        },
        Migration {
            version: 2,
            sql: "CREATE TABLE broken_too (id {serial}); CREATE NONSENSE",
        },
    ];
    assert!(database.migrate("broken", BROKEN).await.is_err());
    assert!(
        database
            .read(|reader| reader.query("SELECT id FROM broken", &[]))
            .await
            .is_err()
    );
    database.migrate("broken", BROKEN.split_at(1).0).await?;
    Ok(())
}

async fn two_nodes_may_start_at_once(engine: Engine) -> Outcome {
    let world = Arc::new(World::new(engine)?);
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let world = Arc::clone(&world);
        tasks.spawn(async move {
            let database = world.open().await?;
            database.migrate("items", ITEMS).await?;
            database.migrate("steps", STEPS).await?;
            Outcome::Ok(())
        });
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    Ok(())
}

async fn a_closed_database_says_so(engine: Engine) -> Outcome {
    let world = World::new(engine)?;
    let database = world.open().await?;
    database.migrate("items", ITEMS).await?;
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let database = database.clone();
        tasks.spawn(async move {
            database
                .write(|tx| tx.execute("INSERT INTO items (name) VALUES (NULL)", &[]))
                .await
        });
    }
    let first = tasks.join_next().await;
    assert!(matches!(first, Some(Ok(Ok(1)))));
    database.close().await;
    database.close().await;
    let mut written = 1;
    while let Some(outcome) = tasks.join_next().await {
        match outcome? {
            Ok(n) => written += i64::try_from(n)?,
            Err(StoreError::Closed) => {}
            Err(other) => return Err(other.into()),
        }
    }
    assert!(matches!(count(&database).await, Err(StoreError::Closed)));
    // What was acknowledged is there; what was refused is not.
    assert_eq!(count(&world.open().await?).await?, written);
    Ok(())
}

async fn placeholders_and_values_must_agree(engine: Engine) -> Outcome {
    let database = World::new(engine)?.open().await?;
    database.migrate("items", ITEMS).await?;
    let by_name = "SELECT id FROM items WHERE name = $1";
    for values in [vec![], vec![Value::from("a"), Value::from("b")]] {
        assert!(
            database
                .read(move |reader| reader.query(by_name, &values))
                .await
                .is_err()
        );
    }
    // In any order, and more than once.
    let found = database
        .write(|tx| {
            tx.execute(
                "INSERT INTO items (big, name, number) VALUES ($2, $1, $2)",
                params!["x", 5],
            )?;
            tx.query(
                "SELECT id FROM items WHERE number = $2 AND big = $2 AND name = $1",
                params!["x", 5],
            )
        })
        .await?;
    assert_eq!(found.len(), 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_over_tcp_with_a_password() -> Outcome {
    let server = Server::shared()?;
    let directory = tempfile::tempdir()?;
    let config = StoreConfig {
        url: server.tcp_url.clone().into(),
        ..StoreConfig::default()
    };
    let database = Database::open(&config, directory.path()).await?;
    database
        .read(|reader| reader.query("SELECT 1", &[]))
        .await?;
    let wrong = server.tcp_url.replacen('@', "wrong@", 1);
    let config = StoreConfig {
        url: wrong.into(),
        ..StoreConfig::default()
    };
    let refused = Database::open(&config, directory.path()).await;
    let text = refused
        .err()
        .ok_or("a wrong password was accepted")?
        .to_string();
    assert!(text.contains("password authentication failed"), "{text}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_comes_back() -> Outcome {
    let server = Server::start()?;
    let directory = tempfile::tempdir()?;
    let config = StoreConfig {
        url: server.url.clone().into(),
        ..StoreConfig::default()
    };
    let database = Database::open(&config, directory.path()).await?;
    database.migrate("items", ITEMS).await?;
    // More connections than one lie idle when the server goes away.
    let write = || database.write(|tx| tx.execute("INSERT INTO items (name) VALUES (NULL)", &[]));
    let (a, b, c) = tokio::join!(write(), write(), write());
    a?;
    b?;
    c?;
    server.stop("immediate")?;
    server.restart()?;
    write().await?;
    // And one that waits while the server is away is done when it is back.
    server.stop("fast")?;
    let waiting = tokio::spawn({
        let database = database.clone();
        async move {
            database
                .write(|tx| tx.execute("INSERT INTO items (name) VALUES (NULL)", &[]))
                .await
        }
    });
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(!waiting.is_finished());
    server.restart()?;
    waiting.await??;
    assert_eq!(count(&database).await?, 5);
    Ok(())
}

#[tokio::test]
async fn urls_that_are_not_ones() -> Outcome {
    let directory = tempfile::tempdir()?;
    for url in [
        "",
        "mysql://x",
        "sqlite:",
        "sqlitex",
        "postgres://a:secret@h:99999/d",
        "postgres://h/d?sslmode=require",
    ] {
        let config = StoreConfig {
            url: url.to_owned().into(),
            ..StoreConfig::default()
        };
        let error = Database::open(&config, directory.path()).await.err();
        assert!(
            matches!(error, Some(StoreError::Url { .. })),
            "{url}: {error:?}"
        );
        assert!(
            !error
                .map(|e| e.to_string())
                .unwrap_or_default()
                .contains("secret")
        );
    }
    Ok(())
}

#[tokio::test]
async fn sqlite_syncs_every_commit() -> Outcome {
    let world = World::new(Engine::Sqlite)?;
    let database = world.open().await?;
    for (sql, expected) in [("PRAGMA synchronous", "2"), ("PRAGMA journal_mode", "wal")] {
        let row = database
            .write(move |tx| tx.query_one(sql, &[]))
            .await?
            .ok_or("no row")?;
        let value = match &row.values()[0] {
            Value::Integer(n) => n.to_string(),
            Value::Text(text) => text.clone(),
            other => format!("{other:?}"),
        };
        assert_eq!(value, expected, "{sql}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_loses_nothing_that_was_acknowledged() -> Outcome {
    let world = World::new(Engine::Sqlite)?;
    let database = world.open().await?;
    database.migrate("items", ITEMS).await?;
    // As full as a disk can be made without being root; SQLite takes it for one.
    database
        .write(|tx| tx.query("PRAGMA max_page_count = 200", &[]))
        .await?;
    let (mut written, mut refused) = (0, 0);
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..400 {
        let database = database.clone();
        let size = if n % 7 == 0 { 40_000 } else { 400 };
        tasks.spawn(async move {
            let row = params![n, vec![7u8; size]].to_vec();
            let insert = "INSERT INTO items (number, bytes) VALUES ($1, $2)";
            (n, database.write(move |tx| tx.execute(insert, &row)).await)
        });
    }
    let mut acknowledged = Vec::new();
    while let Some(done) = tasks.join_next().await {
        match done? {
            (n, Ok(_)) => {
                written += 1;
                acknowledged.push(i64::from(n));
            }
            (_, Err(error)) => {
                refused += 1;
                assert!(error.to_string().contains("full"), "{error}");
            }
        }
    }
    assert!(
        written > 0 && refused > 0,
        "{written} written, {refused} refused"
    );
    let numbers = |database: Database| async move {
        let sql = "SELECT number FROM items ORDER BY number";
        let rows = database.read(move |reader| reader.query(sql, &[])).await?;
        rows.iter()
            .map(|row| row.get::<i64>(0))
            .collect::<Result<Vec<_>, _>>()
    };
    acknowledged.sort_unstable();
    assert_eq!(numbers(database.clone()).await?, acknowledged);
    // With room again, it goes on.
    database
        .write(|tx| tx.query("PRAGMA max_page_count = 100000", &[]))
        .await?;
    database
        .write(|tx| tx.execute("INSERT INTO items (number) VALUES (1000)", &[]))
        .await?;
    acknowledged.push(1000);
    database.close().await;
    drop(database);
    let database = world.open().await?;
    assert_eq!(numbers(database.clone()).await?, acknowledged);
    assert!(database.verify().await?.problems.is_empty());
    Ok(())
}

/// As SQLite itself rolls back on an I/O error: the group's other writes are done again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_that_vanishes_takes_no_other_write_with_it() -> Outcome {
    let database = World::new(Engine::Sqlite)?.open().await?;
    database.migrate("items", ITEMS).await?;
    // The first holds the thread until the others have gathered behind it. It may be run again, as
    // any closure: then the channel's other end is gone, and it does not wait.
    let (go_on, wait) = std::sync::mpsc::channel::<()>();
    let mut tasks = tokio::task::JoinSet::new();
    let first = database.clone();
    tasks.spawn(async move {
        let outcome = first.write(move |_| Ok(wait.recv().is_err())).await;
        (0, outcome.map(u64::from))
    });
    for n in 1..100 {
        let database = database.clone();
        tasks.spawn(async move {
            let written = database
                .write(move |tx| {
                    let insert = "INSERT INTO items (number) VALUES ($1)";
                    let written = tx.execute(insert, params![n])?;
                    if n % 10 == 5 {
                        tx.execute("ROLLBACK", &[])?;
                    }
                    Ok(written)
                })
                .await;
            (n, written)
        });
    }
    tokio::task::yield_now().await;
    drop(go_on);
    while let Some(done) = tasks.join_next().await {
        let (n, outcome) = done?;
        match outcome {
            Ok(1) => assert_ne!(n % 10, 5),
            Err(StoreError::Commit(_)) => assert_eq!(n % 10, 5),
            other => return Err(format!("{n}: {other:?}").into()),
        }
    }
    let rows = database
        .read(|reader| reader.query("SELECT number FROM items", &[]))
        .await?;
    let mut numbers = rows
        .iter()
        .map(|row| row.get(0))
        .collect::<Result<Vec<i64>, _>>()?;
    numbers.sort_unstable();
    let expected: Vec<i64> = (1..100).filter(|n| n % 10 != 5).collect();
    assert_eq!(numbers, expected);
    Ok(())
}

#[tokio::test]
async fn sqlite_files_are_private() -> Outcome {
    use std::os::unix::fs::PermissionsExt;
    let world = World::new(Engine::Sqlite)?;
    let database = world.open().await?;
    database.migrate("items", ITEMS).await?;
    for name in ["omnid.db", "omnid.db-wal", "omnid.db-shm"] {
        let mode = std::fs::metadata(world.directory.path().join(name))?
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    Ok(())
}
