//! What recording costs beside bare sqlx: statements on a SQLite in memory, one after the other.
//!
//! `cargo bench --bench sqlx -- [statements]`
//!
//! The ways take turns, so that the machine's moods fall on all of them.

use std::time::{Duration, Instant};

use sqlx::SqlitePool;
use sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions};
use tachograph::instrumentation::sqlx::{InstrumentedPool, Statements, instrumented};
use tachograph::pipeline::config::LogFormat;
use tachograph::{Telemetry, TelemetryConfig};

const TURNS: usize = 10;
const SELECT: &str = "SELECT id, name FROM users WHERE id = $1";

/// A pool of one connection, whose statements sqlx tells of or not.
async fn pool(told: bool) -> sqlx::Result<SqlitePool> {
    let mut options: SqliteConnectOptions = "sqlite::memory:".parse()?;
    if !told {
        options = sqlx::ConnectOptions::disable_statement_logging(options);
    }
    let pool = SqlitePoolOptions::new().max_connections(1);
    let pool = pool.connect_with(options).await?;
    for sql in [
        "CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT)",
        "INSERT INTO users (name) VALUES ('ada'), ('grace')",
    ] {
        sqlx::query(sql).execute(&pool).await?;
    }
    Ok(pool)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut numbers = std::env::args().filter_map(|arg| arg.parse::<usize>().ok());
    let statements = numbers.next().unwrap_or(50_000).max(TURNS) / TURNS;
    let mut config = TelemetryConfig::default();
    config.logs.format = LogFormat::Off;
    let telemetry = Telemetry::builder(config).reader(Statements::default());
    let telemetry = telemetry.init()?;
    let (bare, told) = (pool(false).await?, pool(true).await?);
    let wrapped = InstrumentedPool::new(&telemetry, "main", pool(false).await?);

    let mut took = [Duration::ZERO; 4];
    for _ in 0..TURNS {
        let start = Instant::now();
        for _ in 0..statements {
            sqlx::query(SELECT).bind(1).fetch_all(&bare).await?;
        }
        took[0] += start.elapsed();
        let start = Instant::now();
        for _ in 0..statements {
            sqlx::query(SELECT).bind(1).fetch_all(&told).await?;
        }
        took[1] += start.elapsed();
        let start = Instant::now();
        for _ in 0..statements {
            let query = sqlx::query(SELECT).bind(1);
            query.fetch_all(instrumented(&bare)).await?;
        }
        took[2] += start.elapsed();
        let start = Instant::now();
        for _ in 0..statements {
            sqlx::query(SELECT).bind(1).fetch_all(&wrapped).await?;
        }
        took[3] += start.elapsed();
    }
    let each = |took: Duration| took.as_secs_f64() * 1e6 / (statements * TURNS) as f64;
    let ways = ["bare", "events", "instrumented", "instrumented pool"];
    for (way, time) in ways.iter().zip(took) {
        let more = each(time) - each(took[0]);
        println!("{way:18} {:8.2} µs a statement, {more:+6.2} µs", each(time));
    }
    Ok(())
}
