//! The client of Redis against a real server: in normal traffic, killed, stalled, out of memory,
//! with its pool used up.
#![cfg(feature = "redis")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use support::redis::Server;
#[cfg(feature = "otlp")]
use support::tls::Authority;
use tachograph::instrumentation::redis::redis::{
    AsyncCommands as _, ErrorKind, RedisError, RedisResult, cmd, pipe,
};
use tachograph::instrumentation::redis::{
    BreakerConfig, BreakerState, Connection, Redis, RedisBuilder,
};
use tachograph::testing::{self, Capture, SpanQuery};

const PATIENCE: Duration = Duration::from_secs(20);
const SECRETS: [&str; 2] = ["key-of-somebody", "value-of-somebody"];

/// A client of the server, which may take its time to answer.
fn client(server: &Server) -> RedisBuilder {
    let redis = Redis::builder(&server.url()).deadline(PATIENCE);
    redis.connect_timeout(PATIENCE)
}

fn count(recorded: &Capture, operation: &str, status: &str) -> u64 {
    let operations = recorded.signal("redis.operation");
    let operations = operations.label("db.operation.name", operation);
    operations.label("status", status).count()
}

fn events(recorded: &Capture, event: &str, reason: &str) -> u64 {
    let events = recorded.signal("circuit_breaker.event");
    let events = events.label("circuit_breaker.event", event);
    events.label("circuit_breaker.reason", reason).count()
}

/// The spans of something that did not end well.
fn failing_span<'c>(recorded: &'c Capture, name: &str, status: &str, error: &str) -> SpanQuery<'c> {
    let span = recorded.span(name).field("status", status);
    span.field("error.type", error).failed(true)
}

/// Tries until it works, as the breaker's time passes.
async fn until_it_works(redis: &Redis) -> Connection {
    let start = Instant::now();
    loop {
        match redis.get().await {
            Ok(connection) => return connection,
            Err(error) => assert!(start.elapsed() < PATIENCE, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn commands_pipelines_and_messages_are_recorded_and_no_key_or_value_is() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let recorded = testing::capture();
    let redis = client(&server).name("main").build().unwrap();
    let mut con = redis.get().await.unwrap();
    let [key, value] = SECRETS;
    con.set::<_, _, ()>(key, value).await.unwrap();
    let found: String = con.get(key).await.unwrap();
    assert_eq!(found, value);
    let refused: RedisResult<u64> = con.llen(key).await;
    assert_eq!(refused.unwrap_err().code(), Some("WRONGTYPE"));
    let (first, second): (u64, u64) = pipe()
        .incr("a", 1)
        .incr("a", 1)
        .query_async(&mut con)
        .await
        .unwrap();
    assert_eq!((first, second), (1, 2));
    let mut transaction = pipe();
    transaction.atomic().incr("a", 1).lpush(key, "x");
    let failed: RedisResult<()> = transaction.query_async(&mut con).await;
    failed.unwrap_err();
    cmd("DEBUG")
        .arg("JMAP")
        .exec_async(&mut con)
        .await
        .unwrap_err();

    let mut channel = redis.pubsub().await.unwrap();
    channel.subscribe("news").await.unwrap();
    for _ in 0..2 {
        con.publish::<_, _, ()>("news", value).await.unwrap();
    }
    let messages: Vec<_> = channel.messages().take(2).collect().await;
    assert_eq!(messages[1].get_payload::<String>().unwrap(), value);

    for (operation, status, expected) in [
        ("SET", "success", 1),
        ("GET", "success", 1),
        ("LLEN", "failed", 1),
        ("PIPELINE", "success", 1),
        ("MULTI", "failed", 1),
        ("PUBLISH", "success", 2),
        ("other", "failed", 1),
    ] {
        assert_eq!(count(&recorded, operation, status), expected, "{operation}");
    }
    let errors = recorded.signal("redis.operation");
    errors.label("error.type", "WRONGTYPE").assert_count(2);
    let sizes = recorded.metric("redis.client.pipeline.size");
    assert_eq!((sizes.observations(), sizes.value()), (2, Some(4.0)));
    let latency = recorded.metric("redis.client.operation.duration");
    let latency = latency.label("db.client.connection.pool.name", "main");
    assert_eq!(latency.label("db.namespace", "0").observations(), 8);
    for (direction, expected) in [("published", 2), ("received", 2)] {
        let messages = recorded.signal("redis.message");
        let messages = messages.label("redis.message.direction", direction);
        messages.assert_count(expected);
    }
    assert_eq!(redis.breaker().state(), BreakerState::Closed);

    let port = server.port().to_string();
    let span = recorded.span("GET 0").field("db.system.name", "redis");
    let span = span.field("db.operation.name", "GET");
    let span = span.field("server.address", "127.0.0.1");
    span.field("server.port", &port)
        .failed(false)
        .assert_count(1);
    let span = recorded.span("LLEN 0").field("error.type", "WRONGTYPE");
    span.failed(true).assert_count(1);
    let span = recorded.span("PIPELINE 0");
    span.field("db.operation.batch.size", "2").assert_count(1);
    let all = recorded.to_string();
    for secret in SECRETS {
        assert!(!all.contains(secret), "{secret} in {all}");
    }
}

#[tokio::test]
async fn killed_it_fails_fast_and_recovers_by_itself_and_so_does_a_connection_that_was_kept() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let recorded = testing::capture();
    let breaker = BreakerConfig {
        failures: 3,
        cool_down: Duration::from_millis(300),
    };
    let redis = client(&server).breaker(breaker);
    let redis = redis.build().unwrap();
    let mut kept = redis.get().await.unwrap();
    kept.set::<_, _, ()>("a", 1).await.unwrap();
    server.kill();
    let first: RedisResult<u64> = kept.get("a").await;
    assert_eq!(first.unwrap_err().kind(), ErrorKind::Io);
    while redis.breaker().state() == BreakerState::Closed {
        redis.get().await.unwrap_err();
    }
    // It refuses without trying.
    let refused: RedisError = redis.get().await.unwrap_err();
    assert!(refused.to_string().contains("circuit breaker"), "{refused}");
    let refused: RedisResult<u64> = kept.get("a").await;
    refused.unwrap_err();
    redis.report();
    recorded.metric("circuit_breaker.state").assert_value(1.0);
    let failures = recorded.metric("circuit_breaker.consecutive_failures");
    failures.assert_value(3.0);
    assert_eq!(events(&recorded, "opened", "too_many_failures"), 1);
    let acquired = recorded.signal("redis.connection.acquire");
    let rejected = acquired.label("status", "rejected").count();
    assert!(rejected >= 2, "{rejected}");

    // Still away when it tries: it stays open.
    let start = Instant::now();
    while events(&recorded, "opened", "probe_failed") == 0 {
        redis.get().await.unwrap_err();
        assert!(start.elapsed() < PATIENCE);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    server.run();
    let mut fresh = until_it_works(&redis).await;
    let none: Option<u64> = fresh.get("a").await.unwrap();
    assert_eq!(none, None);
    kept.set::<_, _, ()>("a", 2).await.unwrap();
    let found: u64 = kept.get("a").await.unwrap();
    assert_eq!(found, 2);
    assert_eq!(events(&recorded, "closed", "probe_succeeded"), 1);
    let tried = events(&recorded, "half_opened", "cool_down_over");
    assert_eq!(tried, events(&recorded, "opened", "probe_failed") + 1);
    recorded.metric("circuit_breaker.state").assert_value(0.0);

    let lost = recorded.signal("redis.operation");
    lost.label("error.type", "connection_lost").assert_count(1);
    let span = failing_span(&recorded, "GET 0", "failed", "connection_lost");
    span.assert_count(1);
    let refused = recorded.signal("redis.connection.acquire");
    let refused = refused.label("error.type", "connection_refused").count();
    assert!(refused >= 2, "{refused}");
    for (status, error, counted) in [
        ("failed", "connection_refused", refused),
        ("rejected", "circuit_open", rejected),
    ] {
        let spans = failing_span(&recorded, "redis.connection.acquire", status, error).count();
        assert!(spans as u64 >= counted, "{spans} {error}");
    }
    let span = failing_span(&recorded, "GET 0", "rejected", "circuit_open");
    span.assert_count(1);
    let log = recorded.log("the circuit breaker opened: calls are refused");
    assert!(log.count() >= 2);
    recorded.log("the circuit breaker closed").assert_count(1);
}

#[tokio::test]
async fn stalled_it_is_given_up_at_the_deadline_and_the_breaker_opens() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let recorded = testing::capture();
    let breaker = BreakerConfig {
        failures: 2,
        cool_down: Duration::from_millis(100),
    };
    let redis = Redis::builder(&server.url())
        .breaker(breaker)
        .deadline(Duration::from_millis(500))
        .build()
        .unwrap();
    let mut con = redis.get().await.unwrap();
    // It asks to wait itself, which is no stall.
    let waited: Option<(String, String)> = con.blpop("nothing", 0.8).await.unwrap();
    assert_eq!(waited, None);
    assert!(server.ask("CLIENT PAUSE 3000 ALL").starts_with("+OK"));
    for _ in 0..2 {
        let start = Instant::now();
        let late: RedisResult<Option<u64>> = con.get("a").await;
        assert!(late.unwrap_err().is_timeout());
        assert!(start.elapsed() < Duration::from_secs(10));
    }
    assert_eq!(redis.breaker().state(), BreakerState::Open);
    assert_eq!(count(&recorded, "GET", "timeout"), 2);
    assert_eq!(count(&recorded, "BLPOP", "success"), 1);
    failing_span(&recorded, "GET 0", "timeout", "timeout").assert_count(2);
    let span = recorded.span("BLPOP 0").field("status", "success");
    span.failed(false).assert_count(1);
    // The one that may try finds no answer either.
    let start = Instant::now();
    while events(&recorded, "opened", "probe_failed") == 0 {
        let late: RedisResult<Option<u64>> = con.get("a").await;
        late.unwrap_err();
        assert!(start.elapsed() < PATIENCE);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // The pause ends by itself.
    while con.set::<_, _, ()>("a", 6).await.is_err() {
        assert!(start.elapsed() < PATIENCE);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(redis.breaker().state(), BreakerState::Closed);
    // The answers that came late belong to nobody.
    con.set::<_, _, ()>("a", 7).await.unwrap();
    let found: u64 = con.get("a").await.unwrap();
    assert_eq!(found, 7);
    drop(con);

    // Nor is there a connection of a server that does not do anything.
    server.freeze();
    let error = redis.get().await.unwrap_err();
    assert!(error.is_timeout(), "{error}");
    let acquired = recorded.signal("redis.connection.acquire");
    let late = acquired.label("status", "timeout");
    late.label("error.type", "timeout").assert_count(1);
    let span = failing_span(&recorded, "redis.connection.acquire", "timeout", "timeout");
    span.assert_count(1);
    server.thaw();
}

#[tokio::test]
async fn out_of_memory_writes_fail_and_the_breaker_stays_closed() {
    let Some(server) = Server::start(&["--maxmemory", "4mb", "--maxmemory-policy", "noeviction"])
    else {
        return;
    };
    let recorded = testing::capture();
    let redis = client(&server).build().unwrap();
    let mut con = redis.get().await.unwrap();
    let megabyte = "x".repeat(1 << 20);
    let mut failed = 0;
    for key in 0..20 {
        let kept: RedisResult<()> = con.set(key, &megabyte).await;
        failed += u64::from(kept.is_err_and(|error| error.code() == Some("OOM")));
    }
    assert!(failed >= 10, "{failed}");
    let refused = recorded.signal("redis.operation");
    refused.label("error.type", "OOM").assert_count(failed);
    assert_eq!(count(&recorded, "SET", "failed"), failed);
    let spans = failing_span(&recorded, "SET 0", "failed", "OOM");
    spans.assert_count(usize::try_from(failed).unwrap());
    let spans = recorded.span("SET 0").field("status", "success");
    spans.assert_count(usize::try_from(20 - failed).unwrap());
    assert_eq!(redis.breaker().state(), BreakerState::Closed);
    // What is there can be read.
    let found: String = con.get(0).await.unwrap();
    assert_eq!(found.len(), megabyte.len());
}

#[tokio::test]
async fn a_pool_that_is_used_up_is_told_from_a_redis_that_is_away() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let recorded = testing::capture();
    let breaker = BreakerConfig {
        failures: 1,
        ..BreakerConfig::default()
    };
    let redis = client(&server)
        .name("small")
        .max_connections(2)
        .wait(Duration::from_millis(50))
        .breaker(breaker)
        .build()
        .unwrap();
    let held = [redis.get().await.unwrap(), redis.get().await.unwrap()];
    let error = redis.get().await.unwrap_err();
    assert!(
        error.to_string().contains("no connection of the pool"),
        "{error}"
    );
    let acquired = recorded.signal("redis.connection.acquire");
    let late = acquired.label("error.type", "pool_timeout");
    late.label("status", "timeout").assert_count(1);
    let acquire = "redis.connection.acquire";
    failing_span(&recorded, acquire, "timeout", "pool_timeout").assert_count(1);
    assert_eq!(redis.breaker().state(), BreakerState::Closed);
    let gauge = |name: &str| recorded.metric(name);
    let connections = |state: &str| {
        let of = gauge("redis.client.connections").label("db.client.connection.state", state);
        of.value()
    };
    redis.report();
    assert_eq!(
        (connections("used"), connections("idle")),
        (Some(2.0), Some(0.0))
    );
    gauge("redis.client.connections.max").assert_value(2.0);
    gauge("redis.client.connections.saturation").assert_value(1.0);
    drop(held);
    redis.report();
    assert_eq!(
        (connections("used"), connections("idle")),
        (Some(0.0), Some(2.0))
    );
    gauge("redis.client.connections.saturation").assert_value(0.0);

    // A caller that goes away while it waits is neither.
    let _held = [redis.get().await.unwrap(), redis.get().await.unwrap()];
    let mut waiting = Box::pin(redis.get());
    assert!(futures_util::poll!(&mut waiting).is_pending());
    drop(waiting);
    let acquired = recorded.signal("redis.connection.acquire");
    acquired.label("status", "abandoned").assert_count(1);
    failing_span(&recorded, acquire, "abandoned", "abandoned").assert_count(1);
}

#[tokio::test]
async fn the_database_is_the_one_that_is_in_use_and_no_other_caller_gets_it() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let recorded = testing::capture();
    let url = server.url().replace("/0", "/5");
    let redis = Redis::builder(&url).deadline(PATIENCE).max_connections(1);
    let redis = redis.build().unwrap();
    let keys = |database: &str| {
        let info = server.ask("INFO keyspace");
        let line = info.lines().find(|line| line.starts_with(database));
        line.map(|line| line.split(',').next().unwrap().to_owned())
    };
    let mut con = redis.get().await.unwrap();
    con.set::<_, _, ()>("a", 1).await.unwrap();
    assert_eq!(keys("db5").as_deref(), Some("db5:keys=1"));
    cmd("SELECT").arg(3).exec_async(&mut con).await.unwrap();
    con.set::<_, _, ()>("a", 1).await.unwrap();
    assert_eq!(keys("db3").as_deref(), Some("db3:keys=1"));
    // Whom Redis refuses, is not known to be anywhere: the next command is in the URL's.
    let refused = cmd("SELECT").arg(99).exec_async(&mut con).await;
    refused.unwrap_err();
    con.set::<_, _, ()>("b", 1).await.unwrap();
    assert_eq!(keys("db5").as_deref(), Some("db5:keys=2"));
    let mut pipeline = pipe();
    pipeline.cmd("SELECT").arg(7).ignore().set("a", 1).ignore();
    pipeline.exec_async(&mut con).await.unwrap();
    con.set::<_, _, ()>("b", 1).await.unwrap();
    assert_eq!(keys("db7").as_deref(), Some("db7:keys=2"));
    drop(con);
    // The pool has one connection at most, and it is not this one.
    let mut other = redis.get().await.unwrap();
    let found: Option<u64> = other.get("b").await.unwrap();
    assert_eq!(found, Some(1));
    other.set::<_, _, ()>("c", 1).await.unwrap();
    assert_eq!(keys("db5").as_deref(), Some("db5:keys=3"));
    assert_eq!(keys("db7").as_deref(), Some("db7:keys=2"));

    for (database, sets) in [("5", 3), ("3", 1), ("7", 1)] {
        let operations = recorded.signal("redis.operation");
        let operations = operations.label("db.namespace", database);
        let operations = operations.label("db.operation.name", "SET");
        operations.assert_count(sets);
        let spans = recorded.span(&format!("SET {database}"));
        let spans = spans.field("db.namespace", database).failed(false);
        spans.assert_count(usize::try_from(sets).unwrap());
    }
}

#[tokio::test]
async fn a_caller_that_goes_away_leaves_no_connection_that_waits_or_is_elsewhere() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let recorded = testing::capture();
    let redis = client(&server).max_connections(1).build().unwrap();
    let waiters = || server.ask("CLIENT LIST").matches("cmd=blpop").count();
    let mut con = redis.get().await.unwrap();
    for keeps in [true, false] {
        let mut waiting = Box::pin(con.blpop::<_, Option<(String, String)>>("jobs", 0.0));
        let start = Instant::now();
        while waiters() == 0 {
            assert!(futures_util::poll!(&mut waiting).is_pending());
            assert!(start.elapsed() < PATIENCE);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        drop(waiting);
        if !keeps {
            drop(con);
            con = redis.get().await.unwrap();
        }
        con.set::<_, _, ()>("a", 1).await.unwrap();
        while waiters() > 0 {
            assert!(start.elapsed() < PATIENCE);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    // Nobody takes it for one who is gone.
    con.rpush::<_, _, ()>("jobs", "first").await.unwrap();
    let found: u64 = con.llen("jobs").await.unwrap();
    assert_eq!(found, 1);
    assert_eq!(count(&recorded, "BLPOP", "abandoned"), 2);

    let mut select = cmd("SELECT");
    let mut selecting = Box::pin(select.arg(3).exec_async(&mut con));
    assert!(futures_util::poll!(&mut selecting).is_pending());
    let start = Instant::now();
    while !server.ask("CLIENT LIST").contains("db=3") {
        assert!(start.elapsed() < PATIENCE);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    drop(selecting);
    drop(con);
    let mut con = redis.get().await.unwrap();
    let found: u64 = con.llen("jobs").await.unwrap();
    assert_eq!(found, 1, "in the database of the URL");
}

#[cfg(feature = "otlp")]
#[tokio::test]
async fn over_tls_the_server_is_trusted_by_its_authority_and_its_name() {
    let (ours, others) = (Authority::new(), Authority::new());
    let Some((server, port)) = Server::secure(&ours) else {
        return;
    };
    let recorded = testing::capture();
    let url = |host: &str| format!("rediss://{host}:{port}/3");
    let built = |name: &str, host: &str, authority: Option<&Authority>| {
        let redis = Redis::builder(&url(host)).name(name);
        let redis = match authority {
            Some(authority) => redis.authorities(authority.pem.as_bytes()),
            None => redis,
        };
        redis.connect_timeout(PATIENCE).build().unwrap()
    };
    let redis = built("secure", "localhost", Some(&ours));
    let mut con = redis.get().await.unwrap();
    con.set::<_, _, ()>("a", 1).await.unwrap();
    let found: u64 = con.get("a").await.unwrap();
    assert_eq!(found, 1);
    let keyspace = server.ask("INFO keyspace");
    assert!(keyspace.contains("db3:keys=1"), "{keyspace}");
    let operations = recorded
        .signal("redis.operation")
        .label("status", "success");
    operations.label("db.namespace", "3").assert_count(2);
    let span = recorded.span("GET 3").field("server.address", "localhost");
    let span = span.field("server.port", &port.to_string());
    span.failed(false).assert_count(1);
    let mut channel = redis.pubsub().await.unwrap();
    channel.subscribe("news").await.unwrap();
    con.publish::<_, _, ()>("news", 1).await.unwrap();
    let message = channel.messages().next().await.unwrap();
    assert_eq!(message.get_payload::<u64>().unwrap(), 1);

    for (name, host, authority) in [
        ("another's", "localhost", Some(&others)),
        ("the system's", "localhost", None),
        ("another host", "127.0.0.1", Some(&ours)),
    ] {
        let error = built(name, host, authority).get().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Io, "{name}: {error}");
        let acquired = recorded.signal("redis.connection.acquire");
        let acquired = acquired.label("db.client.connection.pool.name", name);
        let failed = acquired.label("status", "failed");
        failed.label("error.type", "tls").assert_count(1);
    }
    let acquire = "redis.connection.acquire";
    failing_span(&recorded, acquire, "failed", "tls").assert_count(3);
    // A server that speaks no TLS there.
    let plain = Redis::builder(&format!("rediss://localhost:{}", server.port()));
    let plain = plain.authorities(ours.pem.as_bytes()).build().unwrap();
    plain.get().await.unwrap_err();
}
