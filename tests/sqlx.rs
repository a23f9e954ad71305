//! The adapter to sqlx against SQLite and a real PostgreSQL: what sqlx tells of statements, and
//! what pools and executors record, in metrics and spans.
#![cfg(feature = "sqlx")]
#![allow(clippy::unwrap_used)]

mod support;

use std::time::Duration;

use futures_util::{StreamExt as _, TryStreamExt as _};
use sqlx::pool::PoolOptions;
use sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions};
use sqlx::{Executor as _, PgPool, Postgres, Row as _, SqlitePool};
use support::postgres::Server;
use tachograph::instrumentation::sqlx::{InstrumentedPool, Statements, instrumented, slow_after};
use tachograph::testing::{self, Capture};
use tachograph::{Telemetry, TelemetryConfig};
use tempfile::TempDir;
use tracing::instrument::Instrument as _;

const OPERATIONS: &str = "db.client.operations";

fn capture() -> Capture {
    testing::capture_with(|| {
        slow_after(Duration::from_secs(1));
        Telemetry::builder(TelemetryConfig::default()).reader(Statements::default())
    })
}

/// A pool on a new file with a table, made before anything is recorded.
async fn sqlite(folder: &TempDir, most: u32) -> SqlitePool {
    let options = SqliteConnectOptions::new()
        .filename(folder.path().join("a.db"))
        .busy_timeout(Duration::from_millis(50))
        .create_if_missing(true);
    let pool = SqlitePoolOptions::new()
        .max_connections(most)
        .acquire_timeout(Duration::from_millis(200))
        .connect_with(options)
        .await
        .unwrap();
    let table = "CREATE TABLE IF NOT EXISTS users (id INTEGER PRIMARY KEY, name TEXT UNIQUE)";
    pool.execute(table).await.unwrap();
    pool
}

async fn postgres(url: &str, most: u32) -> PgPool {
    let pool = PoolOptions::<Postgres>::new()
        .max_connections(most)
        .acquire_timeout(Duration::from_millis(1_000))
        .connect(url)
        .await
        .unwrap();
    let table = "CREATE TABLE IF NOT EXISTS users (id BIGSERIAL PRIMARY KEY, name TEXT UNIQUE)";
    pool.execute(table).await.unwrap();
    pool
}

/// The gauges of pools are read when somebody collects.
fn collect(recorded: &Capture) {
    recorded.telemetry().collector().unwrap().collect();
}

#[tokio::test]
async fn statements_are_recorded_from_what_sqlx_tells() {
    let folder = TempDir::new().unwrap();
    let pool = sqlite(&folder, 2).await;
    let recorded = capture();
    for name in ["ada", "grace"] {
        let insert = sqlx::query("INSERT INTO users (name) VALUES (?)");
        insert.bind(name).execute(&pool).await.unwrap();
    }
    let found = sqlx::query("SELECT id, name FROM users ORDER BY id, name LIMIT 10");
    assert_eq!(found.fetch_all(&pool).await.unwrap().len(), 2);
    let none = sqlx::query("SELECT id FROM users WHERE name = 'nobody' AND id > 0");
    assert!(none.fetch_optional(&pool).await.unwrap().is_none());
    // The statement is told of when its rows have been read, on the thread of the connection.
    pool.close().await;

    let inserts = recorded
        .metric(OPERATIONS)
        .label("db.operation.name", "INSERT");
    let inserts = inserts.label("db.collection.name", "users");
    inserts.label("status", "unknown").assert_value(2.0);
    let selects = recorded
        .metric(OPERATIONS)
        .label("db.operation.name", "SELECT");
    selects.label("db.system.name", "sqlite").assert_value(2.0);
    let rows = recorded.metric("db.client.response.returned_rows");
    assert_eq!(rows.observations(), 2);
    rows.assert_value(2.0);
    recorded
        .metric("db.client.response.affected_rows")
        .assert_value(2.0);
    let took = recorded.metric("db.client.operation.duration");
    let took = took.label("db.collection.name", "users");
    assert_eq!(took.observations(), 4);
    assert!(took.value().unwrap() > 0.0);
    // They are DEBUG events, which nobody asked to be logged.
    assert_eq!(recorded.span("SELECT users").count(), 0);
}

#[tokio::test]
async fn what_goes_through_the_pool_is_counted_once_and_has_spans() {
    let folder = TempDir::new().unwrap();
    let recorded = capture();
    let pool = sqlite(&folder, 2).await;
    let before = recorded
        .metric(OPERATIONS)
        .label("db.operation.name", "SELECT");
    assert_eq!(before.value(), None);
    let pool = InstrumentedPool::new(&recorded.telemetry(), "spans", pool).namespace("a");
    async {
        let insert = sqlx::query("INSERT INTO users (name) VALUES ('ada'), ('grace')");
        assert_eq!(insert.execute(&pool).await.unwrap().rows_affected(), 2);
        let names = sqlx::query("SELECT name FROM users WHERE id < 10 AND name <> 'secret'");
        let names: Vec<_> = names.fetch(&pool).try_collect().await.unwrap();
        assert_eq!(names[0].get::<String, _>(0), "ada");
        let (count,): (i64,) = sqlx::query_as("SELECT count(*) FROM users")
            .fetch_one(&pool)
            .await
            .unwrap();
        assert_eq!(count, 2);
        let mut transaction = pool.begin().await.unwrap();
        sqlx::query("DELETE FROM users WHERE id = 1")
            .execute(instrumented(&mut *transaction))
            .await
            .unwrap();
        transaction.rollback().await.unwrap();
    }
    .instrument(tracing::info_span!("request"))
    .await;
    pool.pool().close().await;

    for (operation, count) in [("INSERT", 1.0), ("SELECT", 2.0), ("DELETE", 1.0)] {
        let all = recorded
            .metric(OPERATIONS)
            .label("db.operation.name", operation);
        all.assert_value(count);
        let well = recorded
            .metric(OPERATIONS)
            .label("db.operation.name", operation);
        well.label("status", "success").assert_value(count);
    }
    let read = recorded.span("SELECT users").child_of("request");
    read.field(
        "db.query.text",
        "SELECT name FROM users WHERE id < ? AND name <> ?",
    )
    .field("db.response.returned_rows", "2")
    .field("db.system.name", "sqlite")
    .field("db.namespace", "a")
    .failed(false)
    .assert_count(1);
    let written = recorded.span("INSERT users").child_of("request");
    written
        .field("db.query.text", "INSERT INTO users (name) VALUES (?), (?)")
        .field("db.response.affected_rows", "2")
        .assert_count(1);
    // No statement writes a log line.
    assert_eq!(recorded.log("db.client.operation ended").count(), 0);
    assert_eq!(
        recorded
            .metric("db.client.connection.use_time")
            .observations(),
        4
    );
}

#[tokio::test]
async fn errors_are_told_apart_by_class() {
    let folder = TempDir::new().unwrap();
    let recorded = capture();
    let pool = sqlite(&folder, 2).await;
    let holder = sqlite(&folder, 1).await;
    let pool = InstrumentedPool::new(&recorded.telemetry(), "errors", pool);
    let insert = "INSERT INTO users (name) VALUES ('ada')";
    pool.execute(insert).await.unwrap();
    pool.execute(insert).await.unwrap_err();
    pool.fetch_optional("SELEC").await.unwrap_err();
    let none = sqlx::query("SELECT name FROM users WHERE id = 99");
    none.fetch_one(&pool).await.unwrap_err();
    let mut lock = holder.acquire().await.unwrap();
    lock.execute("BEGIN EXCLUSIVE").await.unwrap();
    pool.execute("DELETE FROM users").await.unwrap_err();
    drop(lock);

    let failed = |class: &str, status: &str, count: f64| {
        let all = recorded.metric(OPERATIONS).label("error.type", class);
        all.label("status", status).assert_value(count);
    };
    failed("sqlite_constraint", "failed", 1.0);
    failed("sqlite_error", "failed", 1.0);
    failed("sqlite_busy", "timeout", 1.0);
    // That there is no such row is no failure.
    let selects = recorded
        .metric(OPERATIONS)
        .label("db.operation.name", "SELECT");
    selects.label("status", "success").assert_value(1.0);
    // SQLITE_CONSTRAINT_UNIQUE
    let span = recorded.span("INSERT users").failed(true);
    span.field("db.response.status_code", "2067")
        .field("error.type", "sqlite_constraint")
        .assert_count(1);
}

#[tokio::test]
async fn an_exhausted_pool_shows_who_waits() {
    let folder = TempDir::new().unwrap();
    let recorded = capture();
    let pool = sqlite(&folder, 1).await;
    let pool = InstrumentedPool::new(&recorded.telemetry(), "narrow", pool);
    let gauge = |name: &str| {
        recorded
            .metric(name)
            .label("db.client.connection.pool.name", "narrow")
    };
    let held = pool.acquire().await.unwrap();
    {
        let mut second = std::pin::pin!(pool.acquire());
        assert!(futures_util::poll!(&mut second).is_pending());
        gauge("db.client.connection.pending_requests").assert_value(1.0);
        // Given up before its time.
    }
    let error = pool.fetch_optional("SELECT 1").await.unwrap_err();
    assert!(matches!(error, sqlx::Error::PoolTimedOut), "{error}");
    collect(&recorded);
    gauge("db.client.connection.pending_requests").assert_value(0.0);
    gauge("db.client.connection.saturation").assert_value(1.0);
    gauge("db.client.connection.max").assert_value(1.0);
    let used = gauge("db.client.connection.count");
    used.label("db.client.connection.state", "used")
        .assert_value(1.0);
    gauge("db.client.connection.timeouts").assert_value(1.0);
    for status in ["success", "timeout", "abandoned"] {
        gauge("db.client.connection.acquires")
            .label("status", status)
            .assert_value(1.0);
    }
    let waited = gauge("db.client.connection.wait_time");
    assert_eq!(waited.observations(), 3);
    assert!(waited.value().unwrap() >= 0.2);
    drop(held);
    pool.fetch_optional("SELECT 1").await.unwrap();
    // A task of the pool's own takes it back.
    while pool.pool().num_idle() == 0 {
        tokio::task::yield_now().await;
    }
    collect(&recorded);
    let idle = gauge("db.client.connection.count");
    idle.label("db.client.connection.state", "idle")
        .assert_value(1.0);
    gauge("db.client.connection.saturation").assert_value(0.0);
    drop(pool);
    collect(&recorded);
    assert_eq!(gauge("db.client.connection.max").value(), None);
}

#[tokio::test]
async fn what_nobody_waits_for_is_abandoned() {
    let folder = TempDir::new().unwrap();
    let recorded = capture();
    let pool = sqlite(&folder, 1).await;
    let pool = InstrumentedPool::new(&recorded.telemetry(), "left", pool);
    let many = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n";
    let mut rows = pool.fetch(many);
    assert_eq!(rows.next().await.unwrap().unwrap().get::<i64, _>(0), 1);
    drop(rows);
    let selects = recorded
        .metric(OPERATIONS)
        .label("db.operation.name", "SELECT");
    selects.label("status", "abandoned").assert_value(1.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_statements_on_postgresql_are_all_counted() {
    let Some(server) = Server::shared() else {
        return;
    };
    let url = server.database().await;
    let pool = postgres(&url, 4).await;
    let recorded = capture();
    let plain = pool.clone();
    let pool = InstrumentedPool::new(&recorded.telemetry(), "busy", pool);
    let tasks = (0..8).map(|task| {
        let (pool, plain) = (pool.clone(), plain.clone());
        let work = async move {
            for n in 0..20 {
                let name = format!("{task}-{n}");
                let insert = sqlx::query("INSERT INTO users (name) VALUES ($1)");
                insert.bind(&name).execute(&pool).await.unwrap();
                let found = sqlx::query("SELECT id FROM users WHERE name = $1");
                found.bind(&name).fetch_one(&plain).await.unwrap();
            }
        };
        tokio::spawn(work.in_current_span())
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
    let inserts = recorded
        .metric(OPERATIONS)
        .label("db.operation.name", "INSERT");
    inserts
        .label("db.system.name", "postgresql")
        .label("status", "success")
        .assert_value(160.0);
    recorded
        .metric("db.client.response.affected_rows")
        .assert_value(160.0);
    recorded.span("INSERT users").assert_count(160);
    let selects = recorded
        .metric(OPERATIONS)
        .label("db.operation.name", "SELECT");
    selects.label("status", "unknown").assert_value(160.0);
    let rows = recorded.metric("db.client.response.returned_rows");
    rows.assert_value(160.0);
}

#[tokio::test]
async fn postgresql_tells_its_codes_and_what_was_slow() {
    let Some(server) = Server::shared() else {
        return;
    };
    let url = server.database().await;
    let pool = postgres(&url, 2).await;
    let recorded = capture();
    let pool = InstrumentedPool::new(&recorded.telemetry(), "codes", pool);
    let insert = "INSERT INTO users (name) VALUES ('ada')";
    pool.execute(insert).await.unwrap();
    pool.execute(insert).await.unwrap_err();
    let wrong = sqlx::query("SELECT nothing FROM nowhere");
    wrong.fetch_all(&pool).await.unwrap_err();
    pool.execute("SELECT pg_sleep(1.2) FROM users")
        .await
        .unwrap();
    let mut connection = pool.acquire().await.unwrap();
    connection
        .execute("SET statement_timeout = 20")
        .await
        .unwrap();
    instrumented(&mut *connection)
        .execute("UPDATE users SET name = pg_sleep(5)::text")
        .await
        .unwrap_err();

    let failed = |class: &str, status: &str| {
        let all = recorded.metric(OPERATIONS).label("error.type", class);
        all.label("status", status).assert_value(1.0);
    };
    failed("integrity_constraint_violation", "failed");
    failed("syntax_error_or_access_rule_violation", "failed");
    failed("query_canceled", "timeout");
    let slow = recorded.metric("db.client.slow_operations");
    slow.assert_value(1.0);
    slow.label("db.collection.name", "users")
        .label("db.operation.name", "SELECT")
        .assert_value(1.0);
    for (name, code) in [
        ("INSERT users", "23505"),
        ("SELECT nowhere", "42P01"),
        ("UPDATE users", "57014"),
    ] {
        let span = recorded.span(name).failed(true);
        span.field("db.response.status_code", code).assert_count(1);
    }
    let texts = recorded.span("SELECT users");
    texts
        .field("db.query.text", "SELECT pg_sleep(?) FROM users")
        .assert_count(1);
}

#[tokio::test]
async fn a_server_that_is_killed_shows_and_its_return_too() {
    let Some(server) = Server::start(&["fsync=off"]) else {
        return;
    };
    let pool = postgres(&server.url("postgres"), 1).await;
    let recorded = capture();
    let pool = InstrumentedPool::new(&recorded.telemetry(), "killed", pool);
    let mut connection = pool.acquire().await.unwrap();
    let sleep = instrumented(&mut *connection).execute("SELECT pg_sleep(30) FROM users LIMIT 0");
    sleep.await.unwrap();
    server.crash();
    instrumented(&mut *connection)
        .execute("UPDATE users SET id = id")
        .await
        .unwrap_err();
    drop(connection);
    // Nobody listens: the pool tries until the time is over.
    pool.execute("SELECT 1").await.unwrap_err();
    let cut = recorded
        .metric(OPERATIONS)
        .label("db.operation.name", "UPDATE");
    cut.label("status", "failed").assert_value(1.0);
    recorded.span("UPDATE users").failed(true).assert_count(1);
    let timeouts = recorded.metric("db.client.connection.timeouts");
    timeouts
        .label("db.client.connection.pool.name", "killed")
        .assert_value(1.0);
    server.run();
    pool.execute("SELECT 1").await.unwrap();
    let selects = recorded
        .metric(OPERATIONS)
        .label("db.operation.name", "SELECT");
    selects.label("status", "success").assert_value(2.0);
}
