//! Statements and pools of sqlx, recorded.
//!
//! ```text
//! cargo run --example sqlx
//! ```
//!
//! Prints what the metrics page shows of them afterwards. Spans go where the `OTEL_*` variables
//! say.

#[path = "common/page.rs"]
mod page;

use std::error::Error;
use std::time::Duration;

use sqlx::SqlitePool;
use sqlx::sqlite::SqlitePoolOptions;
use tachograph::instrumentation::sqlx::{InstrumentedPool, Statements, instrumented};
use tachograph::{Telemetry, TelemetryConfig};

/// Code that knows nothing of telemetry: what sqlx tells of its statements is read.
async fn unchanged(pool: &SqlitePool) -> sqlx::Result<()> {
    sqlx::query("CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT UNIQUE)")
        .execute(pool)
        .await?;
    sqlx::query("SELECT count(*) FROM users")
        .fetch_one(pool)
        .await?;
    Ok(())
}

/// With spans, errors by class, and waits for connections.
async fn instrumented_pool(pool: &InstrumentedPool<sqlx::Sqlite>) -> sqlx::Result<()> {
    let insert = || sqlx::query("INSERT INTO users (name) VALUES ($1)").bind("ada");
    insert().execute(pool).await?;
    if let Err(error) = insert().execute(pool).await {
        tracing::warn!(%error, "the second of a name is refused");
    }
    let mut transaction = pool.begin().await?;
    sqlx::query("DELETE FROM users WHERE name = 'ada'")
        .execute(instrumented(&mut *transaction))
        .await?;
    transaction.commit().await
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let telemetry = Telemetry::builder(TelemetryConfig::from_env()?)
        .reader(Statements::default())
        .init()?;
    let pool = SqlitePoolOptions::new().max_connections(1);
    let pool = pool.connect("sqlite::memory:").await?;
    unchanged(&pool).await?;
    let pool = InstrumentedPool::new(&telemetry, "main", pool);
    instrumented_pool(&pool).await?;

    page::print(&telemetry, &["db_client_"]).await?;
    telemetry.shutdown(Duration::from_secs(5))?;
    Ok(())
}
