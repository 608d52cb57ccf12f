//! Durable writes a second, with one writer and with many: what group commit is worth on this disk.
//!
//! `cargo run --release -p omnid-store --example durable_writes [URL [DIRECTORY]]`

use std::error::Error;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use omnid_store::{Database, Migration, StoreConfig, params};

const ROWS: &[Migration] = &[Migration {
    version: 1,
    sql: "CREATE TABLE example_rows (id {serial}, writer INTEGER NOT NULL, text TEXT NOT NULL)",
}];

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let mut arguments = std::env::args().skip(1);
    let url = arguments.next().unwrap_or_else(|| "sqlite".into());
    let directory = arguments.next().map_or_else(
        || std::env::temp_dir().join(format!("omnid-durable-writes-{}", std::process::id())),
        PathBuf::from,
    );
    let config = StoreConfig {
        url: url.into(),
        ..StoreConfig::default()
    };
    let database = Database::open(&config, &directory).await?;
    database.migrate("example", ROWS).await?;
    for writers in [1, 8, 64, 512] {
        let began = Instant::now();
        let mut tasks = tokio::task::JoinSet::new();
        for writer in 0..writers {
            let database = database.clone();
            tasks.spawn(async move {
                let mut slowest = Duration::ZERO;
                let mut count = 0u32;
                while began.elapsed() < Duration::from_secs(3) {
                    let asked = Instant::now();
                    database
                        .write(move |tx| {
                            tx.execute(
                                "INSERT INTO example_rows (writer, text) VALUES ($1, $2)",
                                params![
                                    writer,
                                    "some hundred bytes, as a short message has: ".repeat(2)
                                ],
                            )
                        })
                        .await?;
                    slowest = slowest.max(asked.elapsed());
                    count += 1;
                }
                Ok::<_, omnid_store::StoreError>((count, slowest))
            });
        }
        let (mut count, mut slowest) = (0, Duration::ZERO);
        while let Some(outcome) = tasks.join_next().await {
            let (more, slow) = outcome??;
            count += more;
            slowest = slowest.max(slow);
        }
        let rate = f64::from(count) / began.elapsed().as_secs_f64();
        println!("{writers:>4} writers: {rate:>8.0} durable writes/s, slowest {slowest:.1?}");
    }
    database.close().await;
    std::fs::remove_dir_all(&directory)?;
    Ok(())
}
