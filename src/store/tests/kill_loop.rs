//! kill -9, again and again: a write that was acknowledged is never lost.
//!
//! A child process writes numbered rows from many tasks and prints each number when its write has
//! returned. It is killed at a random instant. Then every number that it got out must be there.

mod support;

use std::collections::HashSet;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use omnid_store::{Database, Migration, StoreConfig, StoreError, params};
use support::postgres::Server;
use support::{Engine, Outcome, World};

const ROWS: &[Migration] = &[Migration {
    version: 1,
    sql: "CREATE TABLE rows (n INTEGER PRIMARY KEY, filling TEXT)",
}];
const WRITERS: i64 = 32;
/// Numbers of one round begin at a multiple of this.
const ROUND: i64 = 10_000_000;

const URL: &str = "OMNID_KILL_LOOP_URL";
const DIRECTORY: &str = "OMNID_KILL_LOOP_DIRECTORY";
const FIRST: &str = "OMNID_KILL_LOOP_FIRST";

/// Not a test of its own: what the child runs, which is this binary again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child() -> Outcome {
    let (Ok(url), Ok(directory)) = (std::env::var(URL), std::env::var(DIRECTORY)) else {
        return Ok(());
    };
    let first: i64 = std::env::var(FIRST)?.parse()?;
    let config = StoreConfig {
        url: url.into(),
        ..StoreConfig::default()
    };
    let database = Database::open(&config, directory.as_ref()).await?;
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..WRITERS {
        let database = database.clone();
        writers.spawn(async move {
            for n in (first + writer..).step_by(WRITERS as usize) {
                let filling = "x".repeat(usize::try_from(n % 300)?);
                let written = database
                    .write(move |tx| {
                        tx.execute(
                            "INSERT INTO rows (n, filling) VALUES ($1, $2)",
                            params![n, &filling],
                        )
                    })
                    .await;
                match written {
                    // One line in one write: the pipe takes all of it or nothing.
                    Ok(_) => {
                        std::io::stdout().write_all(format!("acknowledged {n}\n").as_bytes())?;
                    }
                    // The server was stopped under it. What became of this row is not known, and
                    // nothing was claimed; the next has a number of its own.
                    Err(StoreError::OutcomeUnknown | StoreError::Constraint(_)) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            Outcome::Ok(())
        });
    }
    while let Some(ended) = writers.join_next().await {
        ended??;
    }
    Ok(())
}

struct Writing {
    child: Child,
    reader: std::thread::JoinHandle<Vec<i64>>,
    started: std::sync::mpsc::Receiver<()>,
}

impl Writing {
    fn start(world: &World, first: i64) -> Outcome<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(["--exact", "child", "--nocapture", "--test-threads=1"])
            .env(URL, &*world.config.url)
            .env(DIRECTORY, world.directory.path())
            .env(FIRST, first.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?;
        let output = BufReader::new(child.stdout.take().ok_or("no stdout")?);
        let (start, started) = std::sync::mpsc::channel();
        let reader = std::thread::spawn(move || {
            let mut acknowledged = Vec::new();
            for line in output.lines().map_while(Result::ok) {
                let Some(n) = line.strip_prefix("acknowledged ") else {
                    continue;
                };
                acknowledged.extend(n.parse::<i64>());
                start.send(()).ok();
            }
            acknowledged
        });
        Ok(Self {
            child,
            reader,
            started,
        })
    }

    /// Waits for the first acknowledgements, so that a slow start does not make an empty round.
    fn wait(&self) -> Outcome {
        Ok(self.started.recv_timeout(Duration::from_secs(60))?)
    }

    fn kill(mut self) -> Outcome<Vec<i64>> {
        // SIGKILL.
        self.child.kill()?;
        self.child.wait()?;
        self.reader.join().map_err(|_| "the reader panicked".into())
    }
}

async fn present(database: &Database) -> Result<HashSet<i64>, StoreError> {
    database
        .read(|reader| {
            let mut numbers = HashSet::new();
            reader.query_each("SELECT n FROM rows", &[], |row| {
                numbers.insert(row.get(0)?);
                Ok(true)
            })?;
            Ok(numbers)
        })
        .await
}

async fn check(world: &World, acknowledged: &HashSet<i64>) -> Outcome {
    let database = world.open().await?;
    let present = present(&database).await?;
    let lost: Vec<_> = acknowledged.difference(&present).collect();
    assert!(
        lost.is_empty(),
        "{} acknowledged writes lost: {lost:?}",
        lost.len()
    );
    let found = database.verify().await?;
    assert!(found.problems.is_empty(), "{:?}", found.problems);
    database.close().await;
    Ok(())
}

async fn kill_loop(engine: Engine, rounds: i64) -> Outcome {
    let world = World::new(engine)?;
    let database = world.open().await?;
    database.migrate("rows", ROWS).await?;
    database.close().await;
    drop(database);
    let mut acknowledged = HashSet::new();
    let began = Instant::now();
    for round in 0..rounds {
        let writing = Writing::start(&world, round * ROUND)?;
        writing.wait()?;
        tokio::time::sleep(Duration::from_micros(random(250_000))).await;
        acknowledged.extend(writing.kill()?);
        check(&world, &acknowledged).await?;
    }
    println!(
        "{engine:?}: {rounds} kills in {:?}, {} acknowledged writes, none lost",
        began.elapsed(),
        acknowledged.len()
    );
    Ok(())
}

fn random(below: u64) -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(0) % below
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sqlite_loses_no_acknowledged_write() -> Outcome {
    kill_loop(Engine::Sqlite, 25).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_loses_no_acknowledged_write() -> Outcome {
    kill_loop(Engine::Postgres, 12).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_postgres_loses_no_acknowledged_write() -> Outcome {
    let server = Server::start()?;
    let world = World {
        config: StoreConfig {
            url: server.database()?.into(),
            ..StoreConfig::default()
        },
        directory: tempfile::tempdir()?,
    };
    world.open().await?.migrate("rows", ROWS).await?;
    let writing = Writing::start(&world, 0)?;
    writing.wait()?;
    tokio::time::sleep(Duration::from_micros(random(250_000))).await;
    // As if its machine had crashed: no checkpoint, every connection cut.
    server.stop("immediate")?;
    let until_stop = writing.started.try_iter().count();
    server.restart()?;
    // The same child goes on writing when the server is back.
    writing.wait()?;
    tokio::time::sleep(Duration::from_millis(200)).await;
    let acknowledged: HashSet<i64> = writing.kill()?.into_iter().collect();
    check(&world, &acknowledged).await?;
    println!(
        "postgresql stopped under load after {until_stop} acknowledged writes, {} in all, none lost",
        acknowledged.len()
    );
    Ok(())
}
