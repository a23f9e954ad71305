//! The collector of what databases say of themselves, on a real PostgreSQL and a SQLite file.
#![cfg(feature = "service")]
#![allow(clippy::unwrap_used)]

mod support;

use std::time::{Duration, Instant};

use sqlx::postgres::PgConnection;
use sqlx::{Connection as _, Executor as _};
use support::metrics::points;
use support::postgres::Server;
use tachograph::collectors::Supervised;
use tachograph::collectors::database::DatabaseActivity;
use tachograph::{Telemetry, TelemetryConfig};

const INTERVAL: Duration = Duration::from_millis(100);
const PATIENCE: Duration = Duration::from_secs(30);

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let start = Instant::now();
    while !holds().await {
        assert!(start.elapsed() < PATIENCE, "{what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Two transactions that lock each other out; one of them is cancelled.
async fn deadlock(url: &str) {
    let mut one = PgConnection::connect(url).await.unwrap();
    let mut other = PgConnection::connect(url).await.unwrap();
    one.execute("BEGIN; UPDATE t SET n = n WHERE n = 1")
        .await
        .unwrap();
    other
        .execute("BEGIN; UPDATE t SET n = n WHERE n = 2")
        .await
        .unwrap();
    let (first, second) = tokio::join!(
        one.execute("UPDATE t SET n = n WHERE n = 2"),
        other.execute("UPDATE t SET n = n WHERE n = 1"),
    );
    assert!(first.is_err() != second.is_err());
}

#[tokio::test]
async fn databases_say_how_large_they_are_and_what_goes_on() {
    let mut config = TelemetryConfig::default();
    config.logs.filter = "off".to_owned();
    let telemetry = Telemetry::init(config).unwrap();
    let value = |metric: &str, labels: &[(&str, &str)]| points(&telemetry, metric).value(labels);

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.db");
    std::fs::write(&file, vec![0; 8_192]).unwrap();
    std::fs::write(folder.path().join("a.db-wal"), vec![0; 1_000]).unwrap();
    let size = || value("database.server.size", &[("db.system.name", "sqlite")]);
    let looking = Supervised::start(DatabaseActivity::sqlite(&file, INTERVAL)).unwrap();
    until("the file is measured", async || size() == Some(9_192.0)).await;
    std::fs::remove_file(&file).unwrap();
    until("a file that is gone has no size", async || size().is_none()).await;
    assert!(looking.shutdown(PATIENCE).await);

    let Some(server) = Server::start(&["fsync=off", "deadlock_timeout=20ms"]) else {
        return;
    };
    let url = server.url("postgres");
    server
        .execute(
            "postgres",
            "CREATE TABLE t (n int); INSERT INTO t VALUES (1), (2)",
        )
        .await;
    let activity = DatabaseActivity::postgres(&url, INTERVAL).unwrap();
    let turns = activity.turns().unwrap().unwrap();
    let turns = turns.lease(Duration::from_millis(600));
    let looking = Supervised::start_in_turn(activity, turns).unwrap();
    let of = [("db.namespace", "postgres")];
    let size = || value("database.server.size", &[("db.system.name", "postgresql")]);
    until("the database is measured", async || {
        size().is_some_and(|bytes| bytes > 1e6)
    })
    .await;
    // Everything before the first round is nobody's.
    let deadlocks = || value("database.server.deadlocks", &of).unwrap_or_default();
    assert_eq!(deadlocks(), 0.0);
    deadlock(&url).await;
    until("the deadlock is counted", async || deadlocks() == 1.0).await;
    let rollbacks = value("database.server.transactions", &[("end", "rollback")]);
    assert!(rollbacks.unwrap() >= 1.0);

    let mut idle = PgConnection::connect(&url).await.unwrap();
    idle.execute("BEGIN; SELECT * FROM t").await.unwrap();
    let sessions = || {
        value(
            "database.server.connections",
            &[("state", "idle_in_transaction")],
        )
    };
    until("it is seen to be idle", async || sessions() == Some(1.0)).await;
    until("its age is seen", async || {
        value("database.server.transaction.oldest", &of).is_some_and(|age| age > 0.3)
    })
    .await;
    idle.execute("ROLLBACK").await.unwrap();
    until("it is closed", async || {
        value("database.server.transaction.oldest", &of) == Some(0.0)
    })
    .await;
    let hits = value("database.server.blocks", &[("source", "cache")]);
    assert!(hits.unwrap() > 0.0);

    // One process looks at a time.
    let locks = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted";
    let locks: i64 = sqlx::query_scalar(locks)
        .fetch_one(&mut idle)
        .await
        .unwrap();
    assert_eq!(locks, 1);
    drop(idle);
    server.crash();
    until("nothing is known now", async || size().is_none()).await;
    server.run();
    until("it is looked at again", async || size().is_some()).await;
    assert!(looking.shutdown(PATIENCE).await);
}
