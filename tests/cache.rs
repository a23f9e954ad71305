//! The read-through cache, alone and with a real Redis behind it.
#![cfg(feature = "redis")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use support::redis::Server;
use tachograph::instrumentation::cache::{Cache, ChangeError};
use tachograph::instrumentation::redis::{BreakerConfig, BreakerState, Redis};
use tachograph::testing::{self, Capture};

const MINUTE: Duration = Duration::from_secs(60);

#[derive(Debug)]
struct Away;

/// Loads what it is told, and counts.
async fn load(calls: &AtomicUsize, value: &str) -> Result<String, Away> {
    calls.fetch_add(1, Ordering::SeqCst);
    tokio::task::yield_now().await;
    Ok(value.to_owned())
}

fn requests(recorded: &Capture, result: &str) -> u64 {
    recorded
        .signal("cache.request")
        .label("cache.result", result)
        .count()
}

fn tier(recorded: &Capture, tier: &str, operation: &str, result: &str) -> u64 {
    let requests = recorded
        .signal("cache.tier.request")
        .label("cache.tier", tier);
    let requests = requests.label("cache.operation.name", operation);
    requests.label("cache.tier.result", result).count()
}

#[tokio::test]
async fn many_who_ask_at_once_load_once() {
    let recorded = testing::capture();
    let cache: Cache<String> = Cache::builder("single").build();
    let calls = AtomicUsize::new(0);
    let asking = (0..50).map(|_| cache.get_or_load("k", || load(&calls, "v")));
    for found in futures_util::future::join_all(asking).await {
        assert_eq!(found.unwrap(), "v");
    }
    assert_eq!(calls.load(Ordering::SeqCst), 1);
    assert_eq!(
        (requests(&recorded, "miss"), requests(&recorded, "hit")),
        (50, 0)
    );
    cache.get_or_load("k", || load(&calls, "v")).await.unwrap();
    assert_eq!(requests(&recorded, "hit"), 1);
    assert_eq!(calls.load(Ordering::SeqCst), 1);
    recorded
        .span("cache.load")
        .field("cache.name", "single")
        .assert_count(1);

    // What cannot be loaded is not kept.
    let failed = cache.get_or_load("away", || async { Err(Away) }).await;
    failed.unwrap_err();
    cache
        .get_or_load("away", || load(&calls, "back"))
        .await
        .unwrap();
    let operations = recorded.signal("cache.operation");
    operations.label("status", "failed").assert_count(1);

    // Nor is what nobody waited for.
    let mut asking = Box::pin(cache.get_or_load("slow", std::future::pending::<Result<_, Away>>));
    assert!(futures_util::poll!(&mut asking).is_pending());
    drop(asking);
    let operations = recorded.signal("cache.operation");
    operations.label("status", "abandoned").assert_count(1);
    cache.remove("k").await.unwrap();
    cache
        .get_or_load("k", || load(&calls, "new"))
        .await
        .unwrap();
    assert_eq!(calls.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn memory_is_bounded_and_what_leaves_it_is_counted() {
    let recorded = testing::capture();
    let cache: Cache<String> = Cache::builder("bounded").max_bytes(10_000).build();
    for key in 0..200 {
        let kept = cache.insert(&key.to_string(), "x".repeat(400)).await;
        kept.unwrap();
    }
    // Nobody asks it for anything any more.
    cache.report();
    let size = recorded.metric("cache.memory.size").value().unwrap();
    assert!((5_000.0..=10_000.0).contains(&size), "{size}");
    let entries = recorded.metric("cache.memory.entries").value().unwrap();
    let evicted = recorded.signal("cache.eviction");
    let evicted = evicted.label("cache.eviction.reason", "size").count();
    assert_eq!(entries + evicted as f64, 200.0);

    let short: Cache<u64> = Cache::builder("short")
        .time_to_live(Duration::from_millis(1))
        .build();
    short.insert("k", 1).await.unwrap();
    let start = Instant::now();
    let expired = || {
        let evicted = recorded.signal("cache.eviction");
        evicted.label("cache.eviction.reason", "expired").count()
    };
    while expired() == 0 {
        assert!(start.elapsed() < Duration::from_secs(10));
        tokio::time::sleep(Duration::from_millis(5)).await;
        short.report();
    }
}

#[tokio::test]
async fn redis_behind_it_is_shared_and_when_it_is_away_loading_goes_on() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let recorded = testing::capture();
    let breaker = BreakerConfig {
        failures: 2,
        cool_down: MINUTE,
    };
    let redis = Redis::builder(&server.url())
        .deadline(MINUTE)
        .breaker(breaker)
        .build()
        .unwrap();
    let cache = || -> Cache<String> {
        let cache = Cache::builder("shared");
        cache.redis(&redis, "shared:", MINUTE).build()
    };
    let calls = AtomicUsize::new(0);
    let (one, other) = (cache(), cache());
    one.get_or_load("k", || load(&calls, "v")).await.unwrap();
    let found = other.get_or_load("k", || load(&calls, "other")).await;
    assert_eq!(found.unwrap(), "v");
    assert_eq!(calls.load(Ordering::SeqCst), 1);
    assert_eq!(
        (requests(&recorded, "miss"), requests(&recorded, "hit")),
        (1, 1)
    );
    assert_eq!(tier(&recorded, "redis", "get", "hit"), 1);
    assert_eq!(tier(&recorded, "redis", "get", "miss"), 1);
    assert_eq!(tier(&recorded, "redis", "set", "done"), 1);
    assert!(
        server.ask("TTL shared:k").starts_with(":60") || server.ask("TTL shared:k") == ":59\r\n"
    );
    recorded
        .span("GET 0")
        .child_of("cache.load")
        .assert_count(2);

    // What cannot be read is loaded anew.
    assert!(server.ask("SET shared:odd {").starts_with("+OK"));
    let found = one.get_or_load("odd", || load(&calls, "even")).await;
    assert_eq!(found.unwrap(), "even");
    assert_eq!(tier(&recorded, "redis", "get", "failed"), 1);
    one.remove("odd").await.unwrap();
    assert_eq!(server.ask("EXISTS shared:odd"), ":0\r\n");

    server.kill();
    let before = calls.load(Ordering::SeqCst);
    let start = Instant::now();
    for key in 0..20 {
        let found = one
            .get_or_load(&key.to_string(), || load(&calls, "v"))
            .await;
        assert_eq!(found.unwrap(), "v");
    }
    // The breaker sees to it that nobody waits.
    assert_eq!(redis.breaker().state(), BreakerState::Open);
    assert!(start.elapsed() < Duration::from_secs(10));
    assert_eq!(calls.load(Ordering::SeqCst), before + 20);
    assert_eq!(tier(&recorded, "redis", "get", "failed"), 21);
    assert_eq!(tier(&recorded, "redis", "set", "failed"), 20);
    // What is in memory is there.
    one.get_or_load("k", || load(&calls, "?")).await.unwrap();
    assert_eq!(calls.load(Ordering::SeqCst), before + 20);
    // A change is made in memory, and that Redis does not know of it is told.
    let changed = one.insert("k", "new".to_owned()).await;
    assert!(matches!(changed, Err(ChangeError::Redis(_))), "{changed:?}");
    let found = one.get_or_load("k", || load(&calls, "?")).await;
    assert_eq!(found.unwrap(), "new");
    one.remove("k").await.unwrap_err();
    let found = one.get_or_load("k", || load(&calls, "loaded")).await;
    assert_eq!(found.unwrap(), "loaded");
    for operation in ["set", "delete"] {
        let operations = recorded.signal("cache.operation").label("status", "failed");
        let operations = operations.label("cache.operation.name", operation);
        operations.assert_count(1);
    }
    assert_eq!(tier(&recorded, "redis", "delete", "failed"), 1);
}
